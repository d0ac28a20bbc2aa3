//! Events: a stream that tells an open page of the app when it changes, and when the app is back.
//!
//! Events carry the state, not a log of changes: a watcher that missed some has lost nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

use super::watch::{Live, Shared};

/// Watchers of a layer: their number, and what wakes them.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    published: Arc<Notify>,
    count: AtomicUsize,
    ended: AtomicBool,
}

/// Use of event streams. Each is a response that lasts, which an app has to know of when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Telling {
    /// A page looks now and then.
    #[default]
    Never,
    /// A page is told.
    AtOnce,
}

/// Stream of events for one watcher. Its place is given back when it is dropped.
pub(super) struct Events {
    shared: Arc<Shared>,
    /// Wait for the next publication. It stays registered, so that the watcher misses none.
    published: Pin<Box<OwnedNotified>>,
    heartbeat: Pin<Box<Sleep>>,
    sent: Option<State>,
}

/// State that a watcher is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The app has a page of this version.
    Page(u64),
    Open,
}

impl Watchers {
    /// Wakes all watchers after a publication.
    pub(super) fn wake(&self) {
        self.published.notify_waiters();
    }

    /// Returns the number of watchers.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst).try_into().unwrap_or(u64::MAX)
    }

    /// Ends all streams, those to come as well.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }
}

impl Events {
    /// Begins a stream, unless there are too many.
    pub(super) fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let watchers = &shared.watchers;
        if watchers.count.fetch_add(1, Ordering::SeqCst) >= MOST_WATCHERS {
            watchers.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(Self {
            published: Box::pin(Arc::clone(&watchers.published).notified_owned()),
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT_INTERVAL)),
            shared: Arc::clone(shared),
            sent: None,
        })
    }

    /// Returns the next event; `None` at the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.sent == Some(State::Open) {
            return Poll::Ready(None);
        }
        // Registered before the state is read: a later publication wakes this task.
        while self.published.as_mut().poll(cx).is_ready() {
            self.published.set(Arc::clone(&self.shared.watchers.published).notified_owned());
        }
        if self.shared.watchers.ended.load(Ordering::SeqCst) {
            return Poll::Ready(None);
        }
        let live = self.shared.live();
        let (state, event) = look(&live);
        if self.sent != Some(state) {
            let event = if self.sent.is_none() { first(&live, &event) } else { event };
            self.sent = Some(state);
            return Poll::Ready(Some(event));
        }
        ready!(self.heartbeat.as_mut().poll(cx));
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT_INTERVAL);
        Poll::Ready(Some(Bytes::from_static(HEARTBEAT_EVENT)))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.watchers.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// Returns the state alone, for a watcher that found no place, with a long time until it asks again.
pub(super) fn once(live: &Live) -> Bytes {
    let wait = fastrand::u64(CROWDED..=2 * CROWDED);
    Bytes::from([format!("retry: {wait}\n").as_bytes(), &look(live).1].concat())
}

fn look(live: &Live) -> (State, Bytes) {
    match live.route().closure.as_ref().map(|closure| &closure.page) {
        Some(page) => (State::Page(page.version), page.event()),
        None => (State::Open, live.route().open_event()),
    }
}

/// Returns the first event, preceded by a delay for reconnections, which is random, and by the time.
fn first(live: &Live, event: &Bytes) -> Bytes {
    let retry = fastrand::u64(RETRY..=3 * RETRY);
    let compiled = live.snapshot.compiled;
    let now: Timestamp = compiled.checked_add(live.published.elapsed()).unwrap_or(compiled);
    let clock = format!("retry: {retry}\nevent: clock\ndata: {{\"now\":{}}}\n\n", now.as_millisecond());
    Bytes::from([clock.as_bytes(), event].concat())
}

/// Watchers that one layer serves at once.
const MOST_WATCHERS: usize = 1000;
/// Time between heartbeats: short enough for middleboxes that close quiet connections.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
const HEARTBEAT_EVENT: &[u8] = b"event: beat\ndata: {}\n\n";
/// Milliseconds, at least, until a watcher that lost its connection comes back.
const RETRY: u64 = 1000;
/// Milliseconds, at least, until a client that found no place asks again.
const CROWDED: u64 = 30_000;
