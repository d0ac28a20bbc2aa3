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
use crate::plan::verdict::Spared;
use crate::telemetry::RouteMeter;

/// See the module's description. An HTTP/1 connection has one for all its requests, an HTTP/2 stream has its own.
#[derive(Debug)]
pub(super) struct Standing {
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
    /// When it is to leave, if it lasts.
    leaves_at: Cell<Option<Instant>>,
    fate: Cell<Fate>,
    /// HTTP/2: the task of the stream.
    waker: RefCell<Option<Waker>>,
}

/// How a response goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
    fn lasts(self) -> bool {
        match self {
            Self::Plain | Self::Grpc => false,
            Self::Events | Self::Tunnel => true,
        }
    }
}

/// What is decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Stay,
    /// It is to end, in the way that is proper for it.
    Leave,
    /// It is broken off.
    Cut,
}

impl Standing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            route: Cell::new(0),
            generation: Cell::new(0),
            spared: Cell::new(Spared::Never),
            kind: Cell::new(Kind::Plain),
            started: Cell::new(now),
            answered: Cell::new(false),
            leaves_at: Cell::new(None),
            fate: Cell::new(Fate::Stay),
            waker: RefCell::default(),
        }
    }

    /// A request is forwarded.
    pub(super) fn depart(&self, route: &Arc<RouteMeter>, generation: u64, spared: Spared, started: Instant) {
        self.route.set(identity(route));
        self.generation.set(generation);
        self.spared.set(spared);
        self.kind.set(Kind::Plain);
        self.started.set(started);
        self.answered.set(false);
        self.leaves_at.set(None);
        self.fate.set(Fate::Stay);
    }

    /// Its response's head has come.
    pub(super) fn answered(&self) {
        self.answered.set(true);
    }

    /// How its response goes on.
    pub(super) fn goes_on(&self, kind: Kind) {
        self.kind.set(kind);
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// It is over.
    pub(super) fn arrived(&self) {
        self.route.set(0);
        self.fate.set(Fate::Stay);
    }

    pub(super) fn fate(&self) -> Fate {
        self.fate.get()
    }

    /// Whether it is to be broken off.
    pub(super) fn is_cut(&self) -> bool {
        self.fate.get() == Fate::Cut
    }

    /// The process ends: a tunnel leaves some time within this. True if it is one and has not left yet.
    pub(super) fn leaves_within(&self, time: Duration, now: Instant) -> bool {
        if self.route.get() == 0 || self.kind() != Kind::Tunnel {
            return false;
        }
        let at = self.leaves_at.get().unwrap_or_else(|| now + time.mul_f64(fastrand::f64()));
        self.leaves_at.set(Some(at));
        at <= now && self.decide(Fate::Leave)
    }

    /// Whether a request without a response's head hangs.
    pub(super) fn hangs(&self, route: &Arc<RouteMeter>, now: Instant) -> bool {
        self.route.get() == identity(route)
            && !self.answered.get()
            && now.saturating_duration_since(self.started.get()) > HANGS
    }

    /// HTTP/2: remembers whom to wake.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn decide(&self, fate: Fate) -> bool {
        if self.fate.get() == fate {
            return false;
        }
        self.fate.set(fate);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
        true
    }
}

/// Tells routes apart.
fn identity(route: &Arc<RouteMeter>) -> usize {
    Arc::as_ptr(route).addr()
}

/// What a route that is not open wants of the requests that were forwarded before.
#[derive(Debug)]
pub(super) struct Farewell {
    route: usize,
    /// Only what was decided before this generation is meant.
    epoch: u64,
    /// The route is closed only to writing.
    read_only: bool,
    /// For how long what lasts may go on; `None` if it is left alone.
    grace: Option<Duration>,
    /// The drain time is over.
    over: bool,
}

/// How many are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// All that were forwarded before, but for what is left alone.
    pub requests: u64,
    /// Some are to leave at an instant that is still to come.
    pub later: bool,
}

impl Farewell {
    pub(super) fn new(
        route: &Arc<RouteMeter>,
        epoch: u64,
        read_only: bool,
        grace: Option<Duration>,
        over: bool,
    ) -> Self {
        Self { route: identity(route), epoch, read_only, grace, over }
    }

    /// Has one request leave, if it is meant and it is time; `wake` wakes what drives it. Counts it.
    fn to(&self, standing: &Rc<Standing>, now: Instant, left: &mut Left, wake: impl FnOnce()) {
        let meant = standing.route.get() == self.route
            && standing.generation.get() < self.epoch
            && match standing.spared.get() {
                Spared::Always => false,
                Spared::ReadOnly => !self.read_only,
                Spared::Never => true,
            };
        if !meant {
            return;
        }
        let fate = match (standing.kind().lasts(), self.grace) {
            (true, None) => return,
            (true, Some(grace)) => {
                // Spread, so that not everybody comes back at once.
                let at = standing.leaves_at.get().unwrap_or_else(|| now + grace.mul_f64(fastrand::f64()));
                standing.leaves_at.set(Some(at));
                left.later |= at > now;
                if at > now { Fate::Stay } else { Fate::Leave }
            }
            (false, _) if self.over => Fate::Cut,
            (false, _) => Fate::Stay,
        };
        left.requests += 1;
        if standing.decide(fate) {
            wake();
        }
    }
}

/// The farewells of all routes that are not open.
#[derive(Debug, Default)]
pub(super) struct Farewells(HashMap<usize, (Farewell, Left)>);

impl FromIterator<Farewell> for Farewells {
    fn from_iter<I: IntoIterator<Item = Farewell>>(farewells: I) -> Self {
        Self(farewells.into_iter().map(|farewell| (farewell.route, (farewell, Left::default()))).collect())
    }
}

impl Farewells {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says the one that is meant for a request, if there is one.
    pub(super) fn to(&mut self, standing: &Rc<Standing>, now: Instant, wake: impl FnOnce()) {
        if let Some((farewell, left)) = self.0.get_mut(&standing.route.get()) {
            farewell.to(standing, now, left, wake);
        }
    }

    /// How many are left of a route's.
    pub(super) fn left(&self, route: &Arc<RouteMeter>) -> Left {
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
        let fate = |route, generation, spared, farewell: &Farewell| {
            let (standing, mut left) = (Rc::new(Standing::new(now)), Left::default());
            standing.depart(route, generation, spared, now);
            farewell.to(&standing, now, &mut left, || {});
            (standing.fate(), left.requests)
        };
        let farewell = |read_only, over| Farewell::new(&web, 5, read_only, None, over);
        let (read, write) = (Spared::ReadOnly, Spared::Never);
        assert_eq!(fate(&web, 4, read, &farewell(false, false)), (Fate::Stay, 1));
        assert_eq!(fate(&web, 4, read, &farewell(false, true)), (Fate::Cut, 1));
        assert_eq!(fate(&web, 5, read, &farewell(false, true)), (Fate::Stay, 0));
        assert_eq!(fate(&api, 4, read, &farewell(false, true)), (Fate::Stay, 0));
        assert_eq!(fate(&web, 4, read, &farewell(true, true)), (Fate::Stay, 0));
        assert_eq!(fate(&web, 4, write, &farewell(true, true)), (Fate::Cut, 1));
        assert_eq!(fate(&web, 4, Spared::Always, &farewell(false, true)), (Fate::Stay, 0));
    }

    #[test]
    fn what_lasts_leaves_within_its_grace_spread_and_is_never_cut() {
        let meters = Meters::new(1);
        let (web, now, grace) = (meters.route("web"), Instant::now(), Duration::from_secs(10));
        let standings: Vec<_> = (0..1000).map(|_| Rc::new(Standing::new(now))).collect();
        for standing in &standings {
            standing.depart(&web, 1, Spared::ReadOnly, now);
            standing.goes_on(Kind::Tunnel);
        }
        let gone = |grace, at| {
            let (farewell, mut left) = (Farewell::new(&web, 2, false, grace, true), Left::default());
            standings.iter().for_each(|standing| farewell.to(standing, at, &mut left, || {}));
            assert!(standings.iter().all(|standing| !standing.is_cut()));
            (standings.iter().filter(|standing| standing.fate() == Fate::Leave).count(), left.later)
        };
        assert_eq!(gone(None, now + grace), (0, false));
        assert_eq!(gone(Some(grace), now), (0, true));
        let (half, later) = gone(Some(grace), now + grace / 2);
        assert!((400..600).contains(&half) && later, "{half}");
        assert_eq!(gone(Some(grace), now + grace), (1000, false));
    }
}
