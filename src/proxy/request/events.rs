//! A watcher: a client that is told, over server-sent events, when the page of its route changes and when the route is
//! back.
//!
//! It costs a connection, and otherwise next to nothing: what it is told was finished with the snapshot, it wakes when
//! something was published and for a sign of life now and then, and it looks at what is live anew each time, so that it pins
//! no snapshot. What it is told is the state, not a log of changes: a watcher that missed some has lost nothing.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::Frame;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::io::AsyncWriteExt;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, timeout};

use crate::live::Generation;
use crate::plan::config::RouteConfig;
use crate::plan::limits::Limits;
use crate::plan::snapshot::Snapshot;
use crate::proxy::connection::{CLOSE_PATIENCE, Takeover};
use crate::proxy::io::request_body::Broken;
use crate::proxy::io::socket::{Socket, poll_read_some};
use crate::proxy::worker::{Live, Worker};
use crate::telemetry::{Limit, WorkerCell};

use super::record::RequestRecord;

/// The body of a stream of events.
pub(crate) struct Watch {
    worker: Rc<Worker>,
    record: RequestRecord,
    route: Arc<RouteConfig>,
    /// The client's cohort, if the route may ramp: the route is back for it once that is admitted.
    cohort: Option<u32>,
    /// What it was told last; nothing at first.
    told: Option<State>,
    /// When something is published. Waiting for it is what keeps its place.
    news: Pin<Box<OwnedNotified>>,
    beat: Pin<Box<Sleep>>,
    sent: u64,
    over: bool,
    _place: Place,
}

/// What a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is a page, of this version.
    Page(u64),
    /// The route is open, or there is no such route any more.
    Open,
}

/// A watcher's place among those of its worker.
struct Place(Rc<Worker>);

impl Place {
    /// Takes a place, if one is free.
    fn take(worker: &Rc<Worker>, most: usize) -> Option<Self> {
        let watchers = &worker.cell().watchers;
        if usize::try_from(watchers.get()).is_ok_and(|watchers| watchers >= most) {
            return None;
        }
        watchers.rise();
        Some(Self(Rc::clone(worker)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.cell().watchers.fall();
    }
}

impl Watch {
    /// Begins to watch a route. The flight comes back if there are too many watchers already.
    pub(crate) fn begin(
        record: RequestRecord,
        route: &Arc<RouteConfig>,
        cohort: Option<u32>,
        most: usize,
    ) -> Result<Self, RequestRecord> {
        let worker = Rc::clone(&record.worker);
        // Over HTTP/1 a watcher has a connection for itself, which no limit on idle ones ends: some are left for others.
        let most = if record.connection.http2.get() { most } else { most.min(worker.most / 2) };
        let Some(place) = Place::take(&worker, most) else { return Err(record) };
        Ok(Self {
            news: Box::pin(Arc::clone(&worker.news).notified_owned()),
            route: Arc::clone(route),
            cohort,
            told: None,
            beat: Box::pin(tokio::time::sleep(BEAT)),
            worker,
            record,
            sent: 0,
            over: false,
            _place: place,
        })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.record.in_flight.note_taken();
        if self.over || self.worker.draining().is_some() {
            // Another process takes over: the browser comes back by itself.
            return Poll::Ready(None);
        }
        // Before the look: what is published after it wakes.
        while self.news.as_mut().poll(cx).is_ready() {
            self.news.set(Arc::clone(&self.worker.news).notified_owned());
        }
        let generation = self.worker.generation();
        let (state, event) = look(&generation.snapshot, &self.route.name, self.cohort);
        if self.told != Some(state) {
            let event = if self.told.is_none() { first(&generation, &event) } else { event };
            self.told = Some(state);
            self.over = state == State::Open;
            return self.tell(event);
        }
        std::task::ready!(self.beat.as_mut().poll(cx));
        self.beat.as_mut().reset(Instant::now() + BEAT);
        self.tell(Bytes::from_static(BEAT_EVENT))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    fn tell(&mut self, event: Bytes) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.sent += event.len() as u64;
        if self.record.connection.http2.get() {
            self.record.in_flight.offer();
        }
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It is for the client to say how long it watches.
        self.record.complete(self.sent, Instant::now());
    }
}

/// A watcher of an HTTP/1 connection that was taken apart: its socket and this are all that is left.
pub(crate) struct EventStream {
    watch: Watch,
    /// What is to be written first.
    head: Bytes,
}

impl EventStream {
    pub(crate) fn new(watch: Watch, id: &HeaderValue, generation: &Generation) -> Self {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now(generation)).unwrap_or_default();
        let mut head = BytesMut::from(HEAD);
        head.extend_from_slice(b"x-request-id: ");
        head.extend_from_slice(id.as_bytes());
        head.extend_from_slice(format!("\r\ndate: {date}\r\n\r\n").as_bytes());
        Self { watch, head: head.freeze() }
    }

    /// Writes events until there are no more, the client has gone, or it takes nothing for too long.
    async fn write_all(mut self, mut socket: Socket, limits: &Limits) {
        let mut event = std::mem::take(&mut self.head);
        loop {
            let written = async {
                socket.write_all(&event).await?;
                socket.flush().await
            };
            match timeout(limits.write, written).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return self.watch.worker.cell().reached(Limit::Write),
            }
            let next = poll_fn(|cx| {
                if let Poll::Ready(next) = self.watch.poll(cx) {
                    return Poll::Ready(next.and_then(Result::ok));
                }
                // It has nothing more to say: what it sends is thrown away, and that it leaves is seen.
                loop {
                    match std::task::ready!(poll_read_some(&mut socket, cx, <[u8]>::len)) {
                        Ok(some) if some > 0 => {}
                        Ok(_) | Err(_) => return Poll::Ready(None),
                    }
                }
            });
            match next.await.and_then(|frame| frame.into_data().ok()) {
                Some(next) => event = next,
                None => break,
            }
        }
        // Whoever waits for the end of the stream sees it.
        let _ = timeout(CLOSE_PATIENCE, socket.shutdown()).await;
    }
}

impl Takeover for EventStream {
    fn is_immediate(&self) -> bool {
        true
    }

    fn run<'a>(
        self: Box<Self>,
        client: Socket,
        _read_ahead: Bytes,
        limits: &'a Limits,
        _cell: &'a WorkerCell,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(self.write_all(client, limits))
    }
}

/// What a watcher of a route would be told now, as one answer: for a client that finds no place and comes back later.
pub(crate) fn once(generation: &Live, route: &str) -> Bytes {
    let (_, event) = look(&generation.snapshot, route, None);
    let wait = fastrand::u64(CROWDED..=2 * CROWDED);
    Bytes::from([format!("retry: {wait}\n").as_bytes(), &event].concat())
}

fn look(snapshot: &Snapshot, route: &str, cohort: Option<u32>) -> (State, Bytes) {
    let closure = snapshot.route(route).and_then(|route| route.closure.as_ref());
    // Who is admitted may go: so watchers come back by and by, and not all when the ramp is over.
    let closure = closure.filter(|closure| cohort.is_none_or(|cohort| cohort >= closure.admits));
    match closure.map(|closure| &closure.page) {
        Some(page) => (State::Page(page.version), page.event()),
        None => (State::Open, Bytes::from_static(OPEN_EVENT)),
    }
}

/// What comes before the first event: when to come back should the connection break (not everybody at once), and what time
/// it is, because a page may have been made a minute ago and the client's own clock may be wrong.
fn first(generation: &Generation, event: &Bytes) -> Bytes {
    let retry = fastrand::u64(RETRY..=3 * RETRY);
    let now = now(generation).as_millisecond();
    let clock = format!("retry: {retry}\nevent: clock\ndata: {{\"now\":{now}}}\n\n");
    Bytes::from([clock.as_bytes(), event].concat())
}

/// The time, as control saw it.
fn now(generation: &Generation) -> Timestamp {
    let compiled = generation.snapshot.compiled;
    compiled.checked_add(generation.published.elapsed()).unwrap_or(compiled)
}

/// How often a watcher gets a sign of life: often enough for the boxes in between that close what is quiet.
const BEAT: Duration = Duration::from_secs(15);
const BEAT_EVENT: &[u8] = b"event: beat\ndata: {}\n\n";
const OPEN_EVENT: &[u8] = b"event: open\ndata: {\"phase\":\"open\"}\n\n";
/// The head of a stream whose end is the end of the connection. It says what `respond::events` says.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\
    x-accel-buffering: no\r\naccess-control-allow-origin: *\r\nconnection: close\r\n";
/// Milliseconds after which a watcher that lost its connection comes back, at least.
const RETRY: u64 = 1000;
/// Milliseconds after which a client that found no place asks again, at least.
const CROWDED: u64 = 20_000;
