//! Watchers: clients that learn over server-sent events when the page of their route changes, and when the route is
//! back.
//!
//! A watcher costs a connection and almost nothing else. Its events come ready-made with the snapshot. It wakes when
//! something is published, and now and then for a heartbeat. Each time it looks at the live generation again, so that
//! it pins no snapshot. Events carry the state, not a log of changes: a watcher that missed some has lost nothing.

use std::collections::BTreeSet;
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
use crate::plan::limits::Limits;
use crate::plan::pass::{self, Turn};
use crate::plan::snapshot::{Closure, Snapshot, Wave};
use crate::proxy::connection::{CLOSE_TIMEOUT, Takeover};
use crate::proxy::io::request_body::Broken;
use crate::proxy::io::socket::{Socket, poll_read_some};
use crate::proxy::worker::{Live, Worker};
use crate::telemetry::{Gauge, Limit, RouteMeter, WorkerCell};

use super::record::RequestRecord;

/// Body of an event stream.
pub(crate) struct Watch {
    worker: Rc<Worker>,
    record: RequestRecord,
    subject: Subject,
    /// The state that was last sent; `None` at first.
    sent_state: Option<State>,
    /// The wait for the next publication. It stays registered, so that the watcher misses none.
    published: Pin<Box<OwnedNotified>>,
    heartbeat: Pin<Box<Sleep>>,
    sent: u64,
    over: bool,
    _permit: WatcherPermit,
}

/// Subject of a watcher.
pub(crate) enum Subject {
    /// A route, by its meter. It is back for this client once its turn is admitted, if it has one.
    Route(Arc<RouteMeter>, Option<Turn>),
    /// The status site: all of it, or what it tells of some routes.
    Site(Option<BTreeSet<String>>),
}

/// State that a watcher is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The route has a page of this version.
    Page(u64),
    /// The route is open, or no longer exists.
    Open,
    /// The news are those of this rendering, or have this fingerprint.
    News(u64),
}

/// Permit to watch, one of those of a worker. It is given back when dropped.
struct WatcherPermit {
    worker: Rc<Worker>,
    /// The route that is watched, if it is one.
    route: Option<Arc<RouteMeter>>,
}

impl WatcherPermit {
    /// Takes a place, if one is free.
    fn take(worker: &Rc<Worker>, subject: &Subject, most: usize) -> Option<Self> {
        let watchers = &worker.cell().watchers;
        if usize::try_from(watchers.get()).is_ok_and(|watchers| watchers >= most) {
            return None;
        }
        let route = match subject {
            Subject::Route(route, _) => Some(Arc::clone(route)),
            Subject::Site(_) => None,
        };
        let permit = Self { worker: Rc::clone(worker), route };
        permit.gauges().for_each(Gauge::rise);
        Some(permit)
    }

    /// Returns the gauges in which the watcher counts.
    fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        let route = self.route.as_ref().and_then(|route| route.workers.get(self.worker.id));
        route.map(|cell| &cell.watchers).into_iter().chain([&self.worker.cell().watchers])
    }
}

impl Drop for WatcherPermit {
    fn drop(&mut self) {
        self.gauges().for_each(Gauge::fall);
    }
}

impl Watch {
    /// Begins to watch. Gives the record back if there are too many watchers already.
    pub(crate) fn begin(record: RequestRecord, subject: Subject, most: usize) -> Result<Self, RequestRecord> {
        let worker = Rc::clone(&record.worker);
        // Over HTTP/1 each watcher occupies a connection, which no idle limit ends. So half of the connections are
        // reserved for other clients.
        let most = if record.connection.http2.get() { most } else { most.min(worker.most / 2) };
        let Some(permit) = WatcherPermit::take(&worker, &subject, most) else { return Err(record) };
        Ok(Self {
            published: Box::pin(Arc::clone(&worker.published).notified_owned()),
            subject,
            sent_state: None,
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT_INTERVAL)),
            worker,
            record,
            sent: 0,
            over: false,
            _permit: permit,
        })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.record.in_flight.note_taken();
        if self.over || self.worker.draining().is_some() {
            // Another process takes over: the browser reconnects by itself.
            return Poll::Ready(None);
        }
        // Registered before the state is read: a later publication wakes this task.
        while self.published.as_mut().poll(cx).is_ready() {
            self.published.set(Arc::clone(&self.worker.published).notified_owned());
        }
        let generation = self.worker.generation();
        let (state, event) = look(&self.worker, &generation, &self.subject);
        if self.sent_state != Some(state) {
            let event = if self.sent_state.is_none() { first(&generation, &event) } else { event };
            self.sent_state = Some(state);
            self.over = state == State::Open;
            return self.send(event);
        }
        std::task::ready!(self.heartbeat.as_mut().poll(cx));
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT_INTERVAL);
        self.send(Bytes::from_static(HEARTBEAT_EVENT))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    fn send(&mut self, event: Bytes) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.sent += event.len() as u64;
        if self.record.connection.http2.get() {
            self.record.in_flight.offer();
        }
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A watcher that leaves has not aborted: the client decides how long it watches.
        self.record.complete(self.sent, Instant::now());
    }
}

/// Watcher on an HTTP/1 connection without hyper: only the socket and this value are kept.
pub(crate) struct EventStream {
    watch: Watch,
    /// The bytes to write first.
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

    /// Writes events until none are left, the client has gone, or it accepts no bytes for too long.
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
                // Nothing is left to write now: read and discard what the client sends, so that its end is noticed.
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
        // A client that waits for the end of the stream sees it.
        let _ = timeout(CLOSE_TIMEOUT, socket.shutdown()).await;
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

/// Returns the current event as a single answer, for a client that finds no place and comes back later.
pub(crate) fn once(worker: &Worker, generation: &Live, subject: &Subject) -> Bytes {
    let (_, event) = look(worker, generation, subject);
    let wait = fastrand::u64(CROWDED..=2 * CROWDED);
    Bytes::from([format!("retry: {wait}\n").as_bytes(), &event].concat())
}

fn look(worker: &Worker, generation: &Live, subject: &Subject) -> (State, Bytes) {
    match subject {
        Subject::Route(route, turn) => look_at_route(&generation.snapshot, &route.name, *turn),
        Subject::Site(None) => {
            let site = worker.site();
            (State::News(site.version), site.event())
        }
        // The instant of a change would tell of what these visitors may not know.
        Subject::Site(Some(routes)) => {
            let state = State::News(worker.site().fingerprint_of(routes));
            (state, Bytes::from_static(NEWS_EVENT))
        }
    }
}

fn look_at_route(snapshot: &Snapshot, route: &str, turn: Option<Turn>) -> (State, Bytes) {
    let Some(route) = snapshot.route(route) else { return (State::Open, Wave::calm()) };
    // Admitted clients are told that the route is open. So watchers come back gradually, and not all when the ramp
    // ends.
    let is_out = |closure: &Closure| turn.is_none_or(|turn| !pass::is_admitted(route, closure, turn));
    match route.closure.as_deref().filter(|closure| is_out(closure)) {
        Some(Closure { page, .. }) => (State::Page(page.version), page.event()),
        None => (State::Open, route.open_event()),
    }
}

/// Returns the first event, preceded by a reconnection delay and the current time. The delay is random, so that not
/// everybody reconnects at once. The time is sent because a page may be a minute old, and the client's own clock may be
/// wrong.
fn first(generation: &Generation, event: &Bytes) -> Bytes {
    let retry = fastrand::u64(RETRY..=3 * RETRY);
    let now = now(generation).as_millisecond();
    let clock = format!("retry: {retry}\nevent: clock\ndata: {{\"now\":{now}}}\n\n");
    Bytes::from([clock.as_bytes(), event].concat())
}

/// Returns the current time by the clock of control.
fn now(generation: &Generation) -> Timestamp {
    let compiled = generation.snapshot.compiled;
    compiled.checked_add(generation.published.elapsed()).unwrap_or(compiled)
}

/// Time between heartbeats: short enough for middleboxes that close quiet connections.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
const NEWS_EVENT: &[u8] = b"event: news\ndata: {}\n\n";
const HEARTBEAT_EVENT: &[u8] = b"event: beat\ndata: {}\n\n";
/// Head of a stream that ends with its connection. The fields must match those of `respond::events`.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\
    x-accel-buffering: no\r\naccess-control-allow-origin: *\r\nconnection: close\r\n";
/// Milliseconds, at least, until a watcher that lost its connection comes back.
const RETRY: u64 = 1000;
/// Milliseconds, at least, until a client that found no place asks again.
const CROWDED: u64 = 20_000;
