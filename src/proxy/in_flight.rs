//! Where a request in flight stands: what has to be known of it when its route goes down. It is written as the request goes
//! its way, in plain cells, and read only then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::config::HANGS;
use crate::plan::lifecycle::Client;
use crate::plan::verdict::Spared;
use crate::proxy::io::upload::{Upload, UploadState};
use crate::telemetry::RouteMeter;

/// See the module's description. An HTTP/1 connection has one for all its requests, an HTTP/2 stream has its own.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The address of the route's meter, which tells routes apart over generations; 0 while nothing is forwarded.
    route: Cell<usize>,
    /// The number of the generation that it was decided by.
    generation: Cell<u64>,
    /// What it would outlast.
    spared: Cell<Spared>,
    kind: Cell<Kind>,
    /// When its head had arrived, or when it was released if it was held.
    started: Cell<Instant>,
    /// The response's head has come.
    answered: Cell<bool>,
    /// When it is to leave, if it lasts, and for the sake of which epoch that was found.
    leaves_at: Cell<Option<(u64, Instant)>>,
    fate: Cell<Interruption>,
    /// Whose request it is, where a guard asks for that.
    subject: RefCell<Option<Box<Subject>>>,
    /// How its body is doing, if it has one.
    upload: RefCell<Option<Rc<UploadState>>>,
    /// The upstream of which it holds a connection, by the id of its meter.
    upstream: Cell<Option<usize>>,
    /// HTTP/2: since when the client is to take something, and has not.
    untaken: Cell<Option<Instant>>,
    /// HTTP/2: the task of the stream.
    waker: RefCell<Option<Waker>>,
}

/// Whose request it is, as the guard of its route has to know that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Its client.
    pub client: Client,
    /// Longer than this may none of its requests take.
    pub slow: Duration,
}

/// Whose connections are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of an upstream, by the id of its meter.
    Upstream(usize),
    /// Those of all upstreams.
    All,
}

/// How a response goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To its end.
    Plain,
    /// The client and the upstream talk by gRPC, and part by trailers.
    Grpc,
    /// As server-sent events, for as long as the client listens.
    Events,
    /// As a tunnel.
    Tunnel,
}

impl Kind {
    /// Whether it lasts: then it does not end by itself.
    pub(crate) fn lasts(self) -> bool {
        match self {
            Self::Plain | Self::Grpc => false,
            Self::Events | Self::Tunnel => true,
        }
    }
}

/// What is decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interruption {
    /// It goes on.
    None,
    /// It is to end, in the way that is proper for it.
    Leave,
    /// It is broken off.
    Cut,
    /// It is broken off, because its client has stalled and others wait for its connection to the upstream.
    Evict,
}

impl InFlight {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            route: Cell::new(0),
            generation: Cell::new(0),
            spared: Cell::new(Spared::Never),
            kind: Cell::new(Kind::Plain),
            started: Cell::new(now),
            answered: Cell::new(false),
            leaves_at: Cell::new(None),
            fate: Cell::new(Interruption::None),
            subject: RefCell::default(),
            upload: RefCell::default(),
            upstream: Cell::new(None),
            untaken: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// A request is forwarded.
    pub(crate) fn start(&self, route: &Arc<RouteMeter>, generation: u64, spared: Spared, started: Instant) {
        self.route.set(identity(route));
        self.generation.set(generation);
        self.spared.set(spared);
        self.kind.set(Kind::Plain);
        self.started.set(started);
        self.answered.set(false);
        self.leaves_at.set(None);
        self.fate.set(Interruption::None);
        self.upstream.set(None);
        if self.upload.borrow().is_some() {
            self.upload.replace(None);
        }
    }

    /// A guard watches its route, or none does.
    pub(crate) fn observe(&self, subject: Option<Subject>) {
        self.subject.replace(subject.map(Box::new));
    }

    pub(crate) fn subject(&self) -> Option<Subject> {
        self.subject.borrow().as_deref().copied()
    }

    /// It has a body.
    pub(crate) fn set_upload(&self, upload: &Rc<UploadState>) {
        self.upload.replace(Some(Rc::clone(upload)));
    }

    /// Its response's head has come.
    pub(crate) fn set_answered(&self) {
        self.answered.set(true);
    }

    /// How its response goes on.
    pub(crate) fn set_kind(&self, kind: Kind) {
        self.kind.set(kind);
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// Notes of which upstream it holds a connection.
    pub(crate) fn set_upstream(&self, upstream: Option<usize>) {
        self.upstream.set(upstream);
    }

    /// HTTP/2: notes that the client is to take something from now on.
    pub(crate) fn offer(&self) {
        self.untaken.set(Some(Instant::now()));
    }

    /// HTTP/2: notes that the client has taken all there was for it.
    pub(crate) fn note_taken(&self) {
        self.untaken.set(None);
    }

    /// HTTP/2: returns since when the client is to take something, if it is.
    pub(crate) fn offered_since(&self) -> Option<Instant> {
        self.untaken.get()
    }

    /// Returns since when its client keeps a connection to this upstream from others, if it does: by sending no more of
    /// its body, or by taking no more of the response. `blocked`: since when its connection takes nothing.
    ///
    /// HTTP/2 has slices, of which only small ones are given out while others wait: so that time counts from `begun`.
    pub(crate) fn stalled(&self, blocked: Option<Instant>, begun: Instant) -> Option<Instant> {
        if self.route.get() == 0 || self.kind().lasts() {
            return None;
        }
        let upload = self.upload.borrow().as_ref().and_then(|upload| upload.stalled());
        let response =
            || self.answered.get().then(|| self.untaken.get().map(|since| since.max(begun)).or(blocked)).flatten();
        upload.or_else(response)
    }

    /// Whether it holds a connection to this upstream.
    pub(crate) fn holds(&self, scope: Scope) -> bool {
        self.route.get() != 0
            && match scope {
                Scope::Upstream(upstream) => self.upstream.get() == Some(upstream),
                Scope::All => self.upstream.get().is_some(),
            }
    }

    /// Has it broken off, so that others get its connection. True if that is new.
    pub(crate) fn evict(&self) -> bool {
        self.interrupt(Interruption::Evict)
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.route.set(0);
        self.upstream.set(None);
        self.fate.set(Interruption::None);
    }

    pub(crate) fn interruption(&self) -> Interruption {
        self.fate.get()
    }

    /// Whether it is to be broken off.
    pub(crate) fn is_cut(&self) -> bool {
        self.fate.get() >= Interruption::Cut
    }

    /// The process ends: a tunnel leaves some time within this. True if it is one and has not left yet.
    pub(crate) fn leave_within(&self, time: Duration, now: Instant) -> bool {
        if self.route.get() == 0 || self.kind() != Kind::Tunnel {
            return false;
        }
        let at = self.leaves_at.get().map_or_else(|| now + time.mul_f64(fastrand::f64()), |(_, at)| at);
        self.leaves_at.set(Some((ENDING, at)));
        at <= now && self.interrupt(Interruption::Leave)
    }

    /// When it leaves, once for each time that its route goes down: some time within `stay`.
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

    /// Whose request hangs without a response's head, if a guard watches it. Not as long as its client sends: that is no fault
    /// of the upstream.
    pub(crate) fn hanging_client(&self, route: &Arc<RouteMeter>, now: Instant) -> Option<Client> {
        let hangs = self.route.get() == identity(route)
            && !self.answered.get()
            && !self.upload.borrow().as_ref().is_some_and(|upload| upload.state.get() == Upload::Open)
            && now.saturating_duration_since(self.started.get()) > HANGS;
        self.subject().filter(|_| hangs).map(|asker| asker.client)
    }

    /// HTTP/2: remembers whom to wake.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// True if that is new. What was told to end stays told.
    fn interrupt(&self, fate: Interruption) -> bool {
        if self.fate.get() >= fate {
            return false;
        }
        self.fate.set(fate);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
        true
    }
}

/// Stands for an epoch: the process ends.
const ENDING: u64 = u64::MAX;

/// How long what lasts may take to leave: a client that takes nothing cannot be told that it is over.
const PARTING: Duration = Duration::from_secs(3);

/// Tells routes apart.
fn identity(route: &Arc<RouteMeter>) -> usize {
    Arc::as_ptr(route).addr()
}

/// What a route that is not open wants of the requests that were forwarded before.
#[derive(Debug)]
pub(crate) struct DrainOrder {
    route: usize,
    /// Only what was decided before this generation is meant.
    epoch: u64,
    /// The route is closed only to writing.
    read_only: bool,
    /// For how long what lasts may go on from now; `None` if it is left alone.
    stay: Option<Duration>,
    /// The drain time is over.
    over: bool,
}

/// How many are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// All that were forwarded before, but for what is left alone.
    pub requests: u64,
    /// Some last, and are to leave at an instant that is still to come, or were told to and have not yet.
    pub later: bool,
}

impl DrainOrder {
    pub(crate) fn new(
        route: &Arc<RouteMeter>,
        epoch: u64,
        read_only: bool,
        stay: Option<Duration>,
        over: bool,
    ) -> Self {
        Self { route: identity(route), epoch, read_only, stay, over }
    }

    /// Has one request leave, if it is meant and it is time; `wake` wakes what drives it. Counts it.
    fn to(&self, in_flight: &Rc<InFlight>, now: Instant, left: &mut Remaining, wake: impl FnOnce()) {
        let meant = in_flight.route.get() == self.route
            && in_flight.generation.get() < self.epoch
            && match in_flight.spared.get() {
                Spared::Always => false,
                Spared::ReadOnly => !self.read_only,
                Spared::Never => true,
            };
        if !meant {
            return;
        }
        let fate = match (in_flight.kind().lasts(), self.stay) {
            (true, None) => return,
            (true, Some(stay)) => {
                // Spread, so that not everybody comes back at once.
                let at = in_flight.leaves_at(self.epoch, stay, now);
                left.later = true;
                match now.checked_duration_since(at) {
                    None => Interruption::None,
                    Some(since) if since < PARTING => Interruption::Leave,
                    Some(_) => Interruption::Cut,
                }
            }
            (false, _) if self.over => Interruption::Cut,
            (false, _) => Interruption::None,
        };
        left.requests += 1;
        if in_flight.interrupt(fate) {
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

    /// Says the one that is meant for a request, if there is one.
    pub(crate) fn to(&mut self, in_flight: &Rc<InFlight>, now: Instant, wake: impl FnOnce()) {
        if let Some((order, left)) = self.0.get_mut(&in_flight.route.get()) {
            order.to(in_flight, now, left, wake);
        }
    }

    /// How many are left of a route's.
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
        let fate = |route, generation, spared, order: &DrainOrder| {
            let (in_flight, mut left) = (Rc::new(InFlight::new(now)), Remaining::default());
            in_flight.start(route, generation, spared, now);
            order.to(&in_flight, now, &mut left, || {});
            (in_flight.interruption(), left.requests)
        };
        let order = |read_only, over| DrainOrder::new(&web, 5, read_only, None, over);
        let (read, write) = (Spared::ReadOnly, Spared::Never);
        assert_eq!(fate(&web, 4, read, &order(false, false)), (Interruption::None, 1));
        assert_eq!(fate(&web, 4, read, &order(false, true)), (Interruption::Cut, 1));
        assert_eq!(fate(&web, 5, read, &order(false, true)), (Interruption::None, 0));
        assert_eq!(fate(&api, 4, read, &order(false, true)), (Interruption::None, 0));
        assert_eq!(fate(&web, 4, read, &order(true, true)), (Interruption::None, 0));
        assert_eq!(fate(&web, 4, write, &order(true, true)), (Interruption::Cut, 1));
        assert_eq!(fate(&web, 4, Spared::Always, &order(false, true)), (Interruption::None, 0));
    }

    /// Many tunnels, and how many of them are told to leave and are cut, as they would be asked by a order.
    struct Tunnels(Arc<RouteMeter>, Vec<Rc<InFlight>>);

    impl Tunnels {
        fn new(now: Instant) -> Self {
            let web = Meters::new(1).route("web");
            let in_flight: Vec<_> = (0..1000).map(|_| Rc::new(InFlight::new(now))).collect();
            for in_flight in &in_flight {
                in_flight.start(&web, 1, Spared::ReadOnly, now);
                in_flight.set_kind(Kind::Tunnel);
            }
            Self(web, in_flight)
        }

        fn told(&self, epoch: u64, stay: Option<Duration>, at: Instant) -> (usize, usize, bool) {
            let (order, mut left) = (DrainOrder::new(&self.0, epoch, false, stay, true), Remaining::default());
            self.1.iter().for_each(|in_flight| order.to(in_flight, at, &mut left, || {}));
            let count = |fate| self.1.iter().filter(|in_flight| in_flight.interruption() == fate).count();
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
        assert_eq!(tunnels.told(2, Some(Duration::ZERO), now + grace + PARTING), (0, 1000, true));
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
        in_flight.start(&web, 1, Spared::Never, now);
        let late = now + HANGS * 2;
        assert_eq!(in_flight.hanging_client(&web, late), None, "no guard asks");
        in_flight.observe(Some(Subject { client: None, slow: HANGS }));
        assert_eq!(in_flight.hanging_client(&web, late), Some(None));
        in_flight.set_upload(&upload);
        assert_eq!(in_flight.hanging_client(&web, late), None);
        upload.state.set(Upload::Complete);
        assert_eq!(in_flight.hanging_client(&web, late), Some(None));
        in_flight.set_answered();
        assert_eq!(in_flight.hanging_client(&web, late), None);
    }
}
