//! Followers: clients of `/events`, who receive the whole status and then every change of it.
//!
//! Events carry the state, not a log of changes. So a follower that reads slowly misses states in between, and one that
//! does not read at all is dropped. An event is made once for all followers.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;

use crate::live::Stage;
use crate::status::Status;
use crate::status::counts::CountsStatus;

use super::{Shared, status_of};

/// All followers, and the state that was sent to them last.
#[derive(Default)]
pub(crate) struct Followers {
    list: RefCell<Vec<Weak<Follower>>>,
    told: RefCell<Option<Rc<Told>>>,
    /// Something may have changed.
    news: Notify,
}

/// One state, with its forms for all who ask for it.
pub(super) struct Told {
    pub(super) status: Status,
    event: OnceCell<Bytes>,
    /// The page, with the second that it shows, and true if it has buttons.
    page: RefCell<Option<((i64, bool), Bytes)>>,
}

/// The queue of one follower.
struct Follower {
    queue: RefCell<VecDeque<Bytes>>,
    /// Time since which the first event in the queue waits.
    waits_since: Cell<Option<Instant>>,
    /// True after the last event.
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    connection: Rc<Connection>,
}

/// A connection of a follower, which is to end if the follower does not read.
#[derive(Default)]
pub(super) struct Connection {
    follows: Cell<bool>,
    dropped: Notify,
}

/// Body of an event stream.
pub(super) struct Events(Rc<Follower>);

/// Difference between two states.
enum News {
    None,
    /// The counts of these routes differ.
    Counts(Vec<CountsStatus>),
    /// More than counts differs.
    State,
}

impl Followers {
    /// Notes that something may have changed. Costs nothing while nobody follows.
    pub(crate) fn note(&self) {
        self.news.notify_one();
    }

    /// Makes a follower, unless there are too many.
    pub(super) fn follow(&self, shared: &Shared, connection: &Rc<Connection>) -> Option<Events> {
        self.forget_those_gone();
        if self.list.borrow().len() >= MOST_FOLLOWERS {
            return None;
        }
        let told = self.look(shared);
        let follower = Follower::on(connection);
        follower.send(&Bytes::from_static(RETRY.as_bytes()), &told);
        follower.send(told.event(), &told);
        if shared.stage.get() != Stage::Running {
            follower.end(&told);
        }
        // The counts are looked at while anybody follows.
        self.note();
        self.list.borrow_mut().push(Rc::downgrade(&follower));
        Some(Events(follower))
    }

    /// Tells the followers that the process ends, and waits for up to a moment until they have read it.
    pub(in crate::control) async fn end(&self, shared: &Shared) {
        let told = self.look(shared);
        self.each(|follower| follower.end(&told));
        let left = async {
            while self.list.borrow().iter().any(|follower| follower.strong_count() > 0) {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        // The other followers have to find out by themselves.
        let _ = tokio::time::timeout(LONGEST_END, left).await;
    }

    /// Looks at the present state, tells the followers if it has changed, and returns it.
    pub(super) fn look(&self, shared: &Shared) -> Rc<Told> {
        let mut fresh = status_of(shared);
        let before = self.told.borrow().clone();
        if let Some(before) = before.as_ref().filter(|before| before.status.generation == fresh.generation) {
            // The time of publication is computed from another clock, and would differ by some microseconds each time.
            fresh.published = before.status.published;
        }
        let news = before.as_ref().map_or(News::State, |before| News::between(&before.status, &fresh));
        let told = Rc::new(Told::new(fresh));
        match news {
            News::None => return before.unwrap_or(told),
            News::Counts(counts) => self.send(&event("counts", &counts), &told),
            News::State if self.list.borrow().is_empty() => {}
            News::State => self.send(told.event(), &told),
        }
        self.told.replace(Some(Rc::clone(&told)));
        told
    }

    fn send(&self, event: &Bytes, told: &Told) {
        self.each(|follower| follower.send(event, told));
    }

    fn each(&self, mut act: impl FnMut(&Follower)) {
        self.list.borrow().iter().filter_map(Weak::upgrade).for_each(|follower| act(&follower));
    }

    fn forget_those_gone(&self) {
        self.list.borrow_mut().retain(|follower| follower.strong_count() > 0);
    }

    /// Drops followers that have not read for long.
    fn drop_stalled(&self, now: Instant) {
        self.each(|follower| {
            if follower.waits_since.get().is_some_and(|since| now.saturating_duration_since(since) > LONGEST_STALL) {
                follower.connection.dropped.notify_one();
            }
        });
    }
}

/// Tells the followers what changes, until the process ends.
pub(super) async fn serve(shared: Rc<Shared>) {
    let followers = &shared.followers;
    let mut tick = tokio::time::interval(COUNT_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut beat = Instant::now();
    loop {
        tokio::select! {
            () = followers.news.notified() => {}
            _ = tick.tick(), if !followers.list.borrow().is_empty() => {}
        }
        followers.forget_those_gone();
        if followers.list.borrow().is_empty() {
            followers.told.replace(None);
            continue;
        }
        let began = Instant::now();
        followers.drop_stalled(began);
        let told = followers.look(&shared);
        if shared.stage.get() != Stage::Running {
            followers.each(|follower| follower.end(&told));
        }
        if began.saturating_duration_since(beat) >= BEAT_EVERY {
            beat = began;
            followers.send(&Bytes::from_static(BEAT.as_bytes()), &told);
        }
        // Followers must not keep the control loop from its work.
        tokio::time::sleep(LEAST_PAUSE.max(began.elapsed() * PAUSE_FACTOR)).await;
    }
}

impl News {
    fn between(before: &Status, after: &Status) -> Self {
        match after.counts_since(before) {
            None => Self::State,
            Some(counts) if counts.is_empty() => Self::None,
            Some(counts) => Self::Counts(counts),
        }
    }
}

impl Told {
    fn new(status: Status) -> Self {
        Self { status, event: OnceCell::new(), page: RefCell::default() }
    }

    fn event(&self) -> &Bytes {
        self.event.get_or_init(|| event("status", &self.status))
    }

    /// Returns the page of this state, made once a second: the page shows what time it is.
    pub(super) fn page(&self, (now, buttons): (Timestamp, bool), make: impl FnOnce(&Status) -> String) -> Bytes {
        let (mut page, shows) = (self.page.borrow_mut(), (now.as_second(), buttons));
        match &*page {
            Some((shown, page)) if *shown == shows => page.clone(),
            Some(_) | None => page.insert((shows, make(&self.status).into())).1.clone(),
        }
    }
}

impl Follower {
    fn on(connection: &Rc<Connection>) -> Rc<Self> {
        connection.follows.set(true);
        Rc::new(Self {
            queue: RefCell::default(),
            waits_since: Cell::new(None),
            over: Cell::new(false),
            waker: RefCell::default(),
            connection: Rc::clone(connection),
        })
    }

    /// Queues an event. If too many wait already, the whole state replaces them all.
    fn send(&self, event: &Bytes, told: &Told) {
        if self.over.get() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        if queue.len() < MOST_QUEUED {
            queue.push_back(event.clone());
        } else {
            queue.clear();
            queue.push_back(told.event().clone());
        }
        if self.waits_since.get().is_none() {
            self.waits_since.set(Some(Instant::now()));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Queues the last event.
    fn end(&self, told: &Told) {
        self.send(&Bytes::from_static(END.as_bytes()), told);
        self.over.set(true);
    }
}

impl Connection {
    /// Waits until the connection has to end: its follower was dropped, or it has lasted for `longest` without one.
    pub(super) async fn over(&self, longest: Duration) {
        loop {
            tokio::select! {
                () = self.dropped.notified() => return,
                () = tokio::time::sleep(longest) => {}
            }
            if !self.follows.get() {
                return;
            }
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let follower = &self.0;
        let mut queue = follower.queue.borrow_mut();
        let first = queue.pop_front();
        follower.waits_since.set((!queue.is_empty()).then(Instant::now));
        match first {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None if follower.over.get() => Poll::Ready(None),
            None => {
                follower.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.connection.follows.set(false);
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    // JSON on one line has no line break that would end the field.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Followers at once. Half of the connections stay free for probes and scrapers.
const MOST_FOLLOWERS: usize = 32;
/// Events that wait for one follower.
const MOST_QUEUED: usize = 4;
/// Time after which a follower that does not read is dropped.
const LONGEST_STALL: Duration = Duration::from_secs(20);
/// Time that the end of the process waits for its followers.
const LONGEST_END: Duration = Duration::from_millis(250);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// Time between two looks at the counts.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Time between two heartbeats, by which a follower knows that the connection lives.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// Least time between two looks.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a look, as a multiple of what the look cost: followers get a tenth of the control thread.
const PAUSE_FACTOR: u32 = 9;

/// The time after which a browser reconnects.
const RETRY: &str = "retry: 1000\n\n";
/// A heartbeat as an event, because the script of a page cannot see comments.
const BEAT: &str = ": heartbeat\nevent: beat\ndata: {}\n\n";
const END: &str = "event: end\ndata: {}\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all events that wait for a follower.
    fn waiting(follower: &Follower) -> Vec<Bytes> {
        follower.queue.borrow().iter().cloned().collect()
    }

    #[test]
    fn what_waits_for_a_slow_follower_is_bounded_and_ends_with_the_state() {
        let (told, follower) = (Told::new(Status::default()), Follower::on(&Rc::default()));
        let counts = Bytes::from_static(b"event: counts\n\n");
        for sent in 1..1000 {
            follower.send(&counts, &told);
            assert!(waiting(&follower).len() <= MOST_QUEUED, "{sent}");
        }
        let waiting = waiting(&follower);
        assert_eq!(waiting.first(), Some(told.event()), "the state stands for all that was left out");
        assert!(waiting.iter().skip(1).all(|event| *event == counts));
        follower.end(&told);
        follower.send(&counts, &told);
        assert!(follower.queue.borrow().back().is_some_and(|last| last == END), "nothing follows the end");
    }

    #[tokio::test]
    async fn a_follower_that_does_not_read_loses_its_connection() {
        let (followers, told) = (Followers::default(), Told::new(Status::default()));
        let connection = Rc::default();
        let follower = Follower::on(&connection);
        followers.list.borrow_mut().push(Rc::downgrade(&follower));
        follower.send(&Bytes::from_static(b"event: counts\n\n"), &told);
        let is_over = async |connection: &Connection| {
            let over = connection.over(Duration::from_secs(3600));
            tokio::time::timeout(Duration::from_millis(10), over).await.is_ok()
        };
        followers.drop_stalled(Instant::now());
        assert!(!is_over(&connection).await);
        followers.drop_stalled(Instant::now() + LONGEST_STALL * 2);
        assert!(is_over(&connection).await);
    }
}
