//! State of a request in flight: the facts that matter when its route goes down, or when others wait for its connection.
//! Plain cells, written as the request goes its way.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::config::{HANGS, PerStatus};
use crate::plan::lifecycle::Client;
use crate::plan::verdict::Exemption;
use crate::proxy::io::upload::{Upload, UploadState};
use crate::telemetry::RouteMeter;

/// State of a request in flight. An HTTP/1 connection has one for all its requests, an HTTP/2 stream has its own.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The address of the route's meter, which tells routes apart over generations; 0 while nothing is forwarded.
    route: Cell<usize>,
    /// The number of the generation that decided the request.
    generation: Cell<u64>,
    /// The closures that the request outlasts.
    exemption: Cell<Exemption>,
    kind: Cell<Kind>,
    /// The instant when the head had arrived, or when a held request was released.
    started: Cell<Instant>,
    /// True once the response's head has come.
    answered: Cell<bool>,
    /// The instant at which a lasting request is to leave, and the epoch for which it was chosen.
    leaves_at: Cell<Option<(u64, Instant)>>,
    interruption: Cell<Interruption>,
    /// The client, if the route has a guard that counts it.
    subject: RefCell<Option<Box<Subject>>>,
    /// True if the guard of the route leaves the request out.
    ignored: Cell<bool>,
    /// The state of the request's body, if there is one.
    upload: RefCell<Option<Rc<UploadState>>>,
    /// The upstream whose connection the request holds, by the id of its meter.
    upstream: Cell<Option<usize>>,
    /// The time for which the client may accept nothing, if the route has its own.
    write: Cell<Option<Duration>>,
    /// HTTP/2: the instant from which bytes have waited for the client.
    untaken: Cell<Option<Instant>>,
    /// HTTP/2: the waker of the stream's task.
    waker: RefCell<Option<Waker>>,
}

/// A request's client, as the guard of the route sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// The client.
    pub client: Client,
    /// Time after which a request counts as slow.
    pub slow: Duration,
    /// Statuses that the guard names.
    pub statuses: PerStatus<()>,
}

/// The connections that a search covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The connections to an upstream, by the id of its meter.
    Upstream(usize),
    /// The connections to all upstreams.
    All,
}

/// The form of a response, which decides how it can be ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A response that ends by itself.
    Plain,
    /// A gRPC response, which can be ended by trailers.
    Grpc,
    /// Server-sent events, for as long as the client listens.
    Events,
    /// A tunnel.
    Tunnel,
}

impl Kind {
    /// Returns true for a response that does not end by itself.
    pub(crate) fn is_long_lived(self) -> bool {
        match self {
            Self::Plain | Self::Grpc => false,
            Self::Events | Self::Tunnel => true,
        }
    }
}

/// Interruption of a request, the hardest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interruption {
    /// The request goes on.
    None,
    /// The request is told to end, in the way that its kind allows.
    Leave,
    /// The request is cut.
    Cut,
    /// The request is cut, because its client has stalled and others wait for its connection to the upstream.
    Evict,
}

impl InFlight {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            route: Cell::new(0),
            generation: Cell::new(0),
            exemption: Cell::new(Exemption::Never),
            kind: Cell::new(Kind::Plain),
            started: Cell::new(now),
            answered: Cell::new(false),
            leaves_at: Cell::new(None),
            interruption: Cell::new(Interruption::None),
            subject: RefCell::default(),
            ignored: Cell::new(false),
            upload: RefCell::default(),
            upstream: Cell::new(None),
            untaken: Cell::new(None),
            write: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// Notes that a request is forwarded.
    pub(crate) fn start(&self, route: &Arc<RouteMeter>, generation: u64, exemption: Exemption, started: Instant) {
        self.route.set(identity(route));
        self.generation.set(generation);
        self.exemption.set(exemption);
        self.kind.set(Kind::Plain);
        self.started.set(started);
        self.answered.set(false);
        self.ignored.set(false);
        self.leaves_at.set(None);
        self.interruption.set(Interruption::None);
        self.upstream.set(None);
        self.write.set(None);
        if self.upload.borrow().is_some() {
            self.upload.replace(None);
        }
    }

    /// Notes the client if a guard watches the route, or none.
    pub(crate) fn observe(&self, subject: Option<Subject>) {
        self.subject.replace(subject.map(Box::new));
    }

    /// Notes that the guard of the route leaves the request out.
    pub(crate) fn ignore(&self) {
        self.ignored.set(true);
        self.observe(None);
    }

    /// Returns true if the guard of the route leaves the request out.
    pub(crate) fn is_ignored(&self) -> bool {
        self.ignored.get()
    }

    pub(crate) fn subject(&self) -> Option<Subject> {
        self.subject.borrow().as_deref().copied()
    }

    /// Notes the state of the request's body.
    pub(crate) fn set_upload(&self, upload: &Rc<UploadState>) {
        self.upload.replace(Some(Rc::clone(upload)));
    }

    /// Notes that the response's head has come.
    pub(crate) fn set_answered(&self) {
        self.answered.set(true);
    }

    /// Notes the form of the response.
    pub(crate) fn set_kind(&self, kind: Kind) {
        self.kind.set(kind);
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// Notes the upstream whose connection the request holds.
    pub(crate) fn set_upstream(&self, upstream: Option<usize>) {
        self.upstream.set(upstream);
    }

    /// Notes the time for which the client may accept nothing, if the route has its own.
    pub(crate) fn set_write(&self, write: Duration) {
        self.write.set(Some(write));
    }

    /// Returns the time for which the client may accept nothing. `usual` is that of the whole proxy.
    pub(crate) fn write(&self, usual: Duration) -> Duration {
        self.write.get().unwrap_or(usual)
    }

    /// HTTP/2: notes that bytes wait for the client from now on.
    pub(crate) fn offer(&self) {
        self.untaken.set(Some(Instant::now()));
    }

    /// HTTP/2: notes that the client has accepted all bytes.
    pub(crate) fn note_taken(&self) {
        self.untaken.set(None);
    }

    /// HTTP/2: returns the instant from which bytes have waited for the client, if any do.
    pub(crate) fn offered_since(&self) -> Option<Instant> {
        self.untaken.get()
    }

    /// Returns the instant from which the client has stalled the request, if it has: it sends no more of the body, or
    /// accepts no more of the response. `blocked` is the instant from which its connection has accepted no bytes.
    ///
    /// While others wait, HTTP/2 responses are sent in small slices, so the time counts from `begun` at the earliest.
    pub(crate) fn stalled(&self, blocked: Option<Instant>, begun: Instant) -> Option<Instant> {
        if self.route.get() == 0 || self.kind().is_long_lived() {
            return None;
        }
        let upload = self.upload.borrow().as_ref().and_then(|upload| upload.stalled());
        let response =
            || self.answered.get().then(|| self.untaken.get().map(|since| since.max(begun)).or(blocked)).flatten();
        upload.or_else(response)
    }

    /// Returns true if the request holds a connection in this scope.
    pub(crate) fn holds(&self, scope: Scope) -> bool {
        self.route.get() != 0
            && match scope {
                Scope::Upstream(upstream) => self.upstream.get() == Some(upstream),
                Scope::All => self.upstream.get().is_some(),
            }
    }

    /// Cuts the request, so that others get its connection. Returns true if it was not cut before.
    pub(crate) fn evict(&self) -> bool {
        self.interrupt(Interruption::Evict)
    }

    /// Notes that the request is over.
    pub(crate) fn end(&self) {
        self.route.set(0);
        self.upstream.set(None);
        self.interruption.set(Interruption::None);
    }

    pub(crate) fn interruption(&self) -> Interruption {
        self.interruption.get()
    }

    /// Returns true if the request is to be cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.interruption.get() >= Interruption::Cut
    }

    /// Tells a tunnel to leave at a random instant within `time`, since the process ends. Returns true if that instant
    /// is now.
    pub(crate) fn leave_within(&self, time: Duration, now: Instant) -> bool {
        if self.route.get() == 0 || self.kind() != Kind::Tunnel {
            return false;
        }
        let at = self.leaves_at.get().map_or_else(|| now + time.mul_f64(fastrand::f64()), |(_, at)| at);
        self.leaves_at.set(Some((ENDING, at)));
        at <= now && self.interrupt(Interruption::Leave)
    }

    /// Returns when the request leaves: a random instant within `stay`, chosen once each time that its route goes down.
    fn leaves_at(&self, epoch: u64, stay: Duration, now: Instant) -> Instant {
        match self.leaves_at.get() {
            Some((of, at)) if of == epoch || of == ENDING => at,
            Some(_) | None => {
                let at = now + stay.mul_f64(fastrand::f64());
                self.leaves_at.set(Some((epoch, at)));
                at
            }
        }
    }

    /// Returns true if the request hangs without a response's head, and counts for the guard. While the client still sends, the upstream is not to
    /// blame.
    pub(crate) fn hangs(&self, now: Instant) -> bool {
        self.route.get() != 0
            && !self.is_ignored()
            && !self.answered.get()
            && !self.upload.borrow().as_ref().is_some_and(|upload| upload.state.get() == Upload::Open)
            && now.saturating_duration_since(self.started.get()) > HANGS
    }

    /// Returns true if the request is forwarded on this route.
    pub(crate) fn is_on(&self, route: &Arc<RouteMeter>) -> bool {
        self.route.get() == identity(route)
    }

    /// HTTP/2: remembers the stream's task, to wake it.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Notes an interruption, and wakes the stream. Returns true if it is new. An interruption is never taken back.
    fn interrupt(&self, interruption: Interruption) -> bool {
        if self.interruption.get() >= interruption {
            return false;
        }
        self.interruption.set(interruption);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
        true
    }
}

/// Value of an epoch that stands for the end of the process.
const ENDING: u64 = u64::MAX;

/// Time that a long-lived request has to leave before it is cut: a client that accepts no bytes does not see the end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns a number that is unique to a route.
pub(crate) fn identity(route: &Arc<RouteMeter>) -> usize {
    Arc::as_ptr(route).addr()
}

/// Order to drain the requests that were forwarded before their route went down.
#[derive(Debug)]
pub(crate) struct DrainOrder {
    /// The route's [`identity`].
    pub route: usize,
    /// The generation before which a request must have been decided for the order to concern it.
    pub epoch: u64,
    /// True if the route is closed only to writing.
    pub read_only: bool,
    /// Time from now in which lasting requests may go on; `None` if they are left alone.
    pub stay: Option<Duration>,
    /// True once the drain time is over.
    pub over: bool,
}

/// The number of requests that remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// All requests that were forwarded before, except those that are left alone.
    pub requests: u64,
    /// True if long-lived requests still have to leave, now or later.
    pub later: bool,
}

impl DrainOrder {
    /// Applies the order to one request, if the order concerns it and it is time. Counts the request; `wake` wakes its
    /// driver.
    fn apply(&self, in_flight: &Rc<InFlight>, now: Instant, left: &mut Remaining, wake: impl FnOnce()) {
        let meant = in_flight.route.get() == self.route
            && in_flight.generation.get() < self.epoch
            && match in_flight.exemption.get() {
                Exemption::Always => false,
                Exemption::ReadOnly => !self.read_only,
                Exemption::Never => true,
            };
        if !meant {
            return;
        }
        let interruption = match (in_flight.kind().is_long_lived(), self.stay) {
            (true, None) => return,
            (true, Some(stay)) => {
                // Spread, so that not everybody comes back at once.
                let at = in_flight.leaves_at(self.epoch, stay, now);
                left.later = true;
                match now.checked_duration_since(at) {
                    None => Interruption::None,
                    Some(since) if since < LEAVE_TIMEOUT => Interruption::Leave,
                    Some(_) => Interruption::Cut,
                }
            }
            (false, _) if self.over => Interruption::Cut,
            (false, _) => Interruption::None,
        };
        left.requests += 1;
        if in_flight.interrupt(interruption) {
            wake();
        }
    }
}

/// The orders of all routes that are not open.
#[derive(Debug, Default)]
pub(crate) struct DrainOrders(HashMap<usize, (DrainOrder, Remaining)>);

impl FromIterator<DrainOrder> for DrainOrders {
    fn from_iter<I: IntoIterator<Item = DrainOrder>>(orders: I) -> Self {
        Self(orders.into_iter().map(|order| (order.route, (order, Remaining::default()))).collect())
    }
}

impl DrainOrders {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the order that concerns a request, if there is one.
    pub(crate) fn apply(&mut self, in_flight: &Rc<InFlight>, now: Instant, wake: impl FnOnce()) {
        if let Some((order, left)) = self.0.get_mut(&in_flight.route.get()) {
            order.apply(in_flight, now, left, wake);
        }
    }

    /// Returns the number of a route's requests that remain.
    pub(crate) fn left(&self, route: &Arc<RouteMeter>) -> Remaining {
        self.0.get(&identity(route)).map(|(_, left)| *left).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Meters;

    use super::*;

    #[test]
    fn only_what_was_forwarded_before_by_the_same_route_is_asked_to_leave() {
        let meters = Meters::new(1);
        let (web, api, now) = (meters.route("web"), meters.route("api"), Instant::now());
        let interruption = |route, generation, exemption, order: &DrainOrder| {
            let (in_flight, mut left) = (Rc::new(InFlight::new(now)), Remaining::default());
            in_flight.start(route, generation, exemption, now);
            order.apply(&in_flight, now, &mut left, || {});
            (in_flight.interruption(), left.requests)
        };
        let order = |read_only, over| DrainOrder { route: identity(&web), epoch: 5, read_only, stay: None, over };
        let (read, write) = (Exemption::ReadOnly, Exemption::Never);
        assert_eq!(interruption(&web, 4, read, &order(false, false)), (Interruption::None, 1));
        assert_eq!(interruption(&web, 4, read, &order(false, true)), (Interruption::Cut, 1));
        assert_eq!(interruption(&web, 5, read, &order(false, true)), (Interruption::None, 0));
        assert_eq!(interruption(&api, 4, read, &order(false, true)), (Interruption::None, 0));
        assert_eq!(interruption(&web, 4, read, &order(true, true)), (Interruption::None, 0));
        assert_eq!(interruption(&web, 4, write, &order(true, true)), (Interruption::Cut, 1));
        assert_eq!(interruption(&web, 4, Exemption::Always, &order(false, true)), (Interruption::None, 0));
    }

    /// Many tunnels, and how many of them an order tells to leave, and cuts.
    struct Tunnels(Arc<RouteMeter>, Vec<Rc<InFlight>>);

    impl Tunnels {
        fn new(now: Instant) -> Self {
            let web = Meters::new(1).route("web");
            let in_flight: Vec<_> = (0..1000).map(|_| Rc::new(InFlight::new(now))).collect();
            for in_flight in &in_flight {
                in_flight.start(&web, 1, Exemption::ReadOnly, now);
                in_flight.set_kind(Kind::Tunnel);
            }
            Self(web, in_flight)
        }

        fn told(&self, epoch: u64, stay: Option<Duration>, at: Instant) -> (usize, usize, bool) {
            let order = DrainOrder { route: identity(&self.0), epoch, read_only: false, stay, over: true };
            let mut left = Remaining::default();
            self.1.iter().for_each(|in_flight| order.apply(in_flight, at, &mut left, || {}));
            let count =
                |interruption| self.1.iter().filter(|in_flight| in_flight.interruption() == interruption).count();
            (count(Interruption::Leave), count(Interruption::Cut), left.later)
        }
    }

    #[test]
    fn what_lasts_leaves_within_its_grace_spread_and_is_cut_only_if_it_cannot() {
        let (now, grace) = (Instant::now(), Duration::from_secs(2));
        let tunnels = Tunnels::new(now);
        assert_eq!(tunnels.told(2, None, now + grace), (0, 0, false));
        assert_eq!(tunnels.told(2, Some(grace), now), (0, 0, true));
        let (half, cut, _) = tunnels.told(2, Some(grace / 2), now + grace / 2);
        assert!((400..600).contains(&half) && cut == 0, "{half} {cut}");
        assert_eq!(tunnels.told(2, Some(Duration::ZERO), now + grace), (1000, 0, true), "they are looked after");
        assert_eq!(tunnels.told(2, Some(Duration::ZERO), now + grace + LEAVE_TIMEOUT), (0, 1000, true));
    }

    #[test]
    fn a_route_that_goes_down_again_spreads_anew() {
        let (now, grace) = (Instant::now(), Duration::from_secs(2));
        let tunnels = Tunnels::new(now);
        assert_eq!(tunnels.told(2, Some(grace), now), (0, 0, true));
        // Lifted at once, and long after that flagged again.
        let again = now + grace * 100;
        assert_eq!(tunnels.told(9, Some(grace), again), (0, 0, true));
        let (half, ..) = tunnels.told(9, Some(grace / 2), again + grace / 2);
        assert!((400..600).contains(&half), "{half}");
        // And once more: what was told to leave does not stay for that.
        assert_eq!(tunnels.told(12, Some(grace), again + grace), (half, 0, true));
    }

    #[test]
    fn a_request_whose_client_still_sends_does_not_hang() {
        let (web, now) = (Meters::new(1).route("web"), Instant::now());
        let (in_flight, upload) = (InFlight::new(now), Rc::new(UploadState::new(now)));
        in_flight.start(&web, 1, Exemption::Never, now);
        let late = now + HANGS * 2;
        assert!(in_flight.hangs(late) && !in_flight.hangs(now + HANGS));
        in_flight.set_upload(&upload);
        assert!(!in_flight.hangs(late));
        upload.state.set(Upload::Complete);
        assert!(in_flight.hangs(late) && in_flight.is_on(&web));
        in_flight.ignore();
        assert!(!in_flight.hangs(late), "the guard leaves it out");
        in_flight.start(&web, 1, Exemption::Never, now);
        assert!(in_flight.hangs(late), "the next request of the connection counts");
        in_flight.set_answered();
        assert!(!in_flight.hangs(late));
    }
}
