//! What is observed of the routes while they run: how long their requests took lately, and how many failed; and so what
//! a guard judges by, and what it compares that with.

mod tally;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::config::Guard;
use crate::plan::lifecycle::{Clients, Counted, Measured, Observed, Phase};
use crate::plan::snapshot::Route;
use crate::telemetry::{Meters, Recent, RouteMeter, Summary};

use super::probe::Probes;

use tally::Tally;

/// What was observed of each route that ever had a request, by its name: also of one that is no longer configured, since
/// it may return, and its meter never goes back.
#[derive(Debug)]
pub(super) struct Observations {
    began: Instant,
    /// When every route was looked at last.
    looked: Instant,
    routes: HashMap<String, RouteTraffic>,
    /// Routes that a guard has an eye on.
    guarded: HashMap<String, Guarded>,
    /// Other routes that are not simply open.
    down: HashSet<String>,
}

/// What was observed of a route.
#[derive(Debug)]
struct RouteTraffic {
    recent: Recent,
    /// While it was simply open.
    open: Tally,
}

/// A route that ramps or is watched, and has a guard.
#[derive(Clone, Debug)]
struct Guarded {
    meter: Arc<RouteMeter>,
    /// From when its requests count: when it began to ramp, or to be watched if it did not ramp.
    from: Instant,
    phase: Phase,
    since: Timestamp,
}

/// A route's traffic in the span that ends now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// For a rate: shorter than what was asked for as long as the process is young. Not 0.
    pub span: Duration,
    /// The requests.
    pub summary: Summary,
}

impl Observations {
    /// Must be made before the first request comes.
    pub(super) fn new(now: Instant) -> Self {
        let (routes, guarded, down) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { began: now, looked: now, routes, guarded, down }
    }

    /// Looks at every route. Those without a new request cost a look at the cells of each worker.
    pub(super) fn observe(&mut self, meters: &Meters, now: Instant) {
        meters.each_route(|meter| self.look(meter, now));
        self.looked = now;
    }

    /// Looks at the routes that a guard has an eye on, which is due more often than a look at all.
    pub(super) fn observe_guarded(&mut self, now: Instant) {
        let meters: Vec<_> = self.guarded.values().map(|guarded| Arc::clone(&guarded.meter)).collect();
        meters.iter().for_each(|meter| self.look(meter, now));
    }

    /// Whether a guard has an eye on any route: only then is it worth the while to look [`GUARD_EVERY`].
    pub(super) fn has_guarded(&self) -> bool {
        !self.guarded.is_empty()
    }

    /// Takes note of where the routes are. To be called at once after each publication, the first included: what was
    /// counted before counts for where they were.
    pub(super) fn on_publish(&mut self, generation: &Generation, now: Instant) {
        let (mut guarded, mut down) = (HashMap::new(), HashSet::new());
        for (route, meter) in generation.snapshot.routes.iter().zip(generation.routes.iter()) {
            let (before, traffic_use) = (self.guarded.get(&meter.name), TrafficUse::of(route));
            let from = before.filter(|before| before.is_same_return(route)).map_or(now, |before| before.from);
            match traffic_use {
                TrafficUse::Baseline => {}
                TrafficUse::None => drop(down.insert(meter.name.clone())),
                TrafficUse::Guard => {
                    let (meter, phase, since) = (Arc::clone(meter), route.phase(), route.since());
                    guarded.insert(meter.name.clone(), Guarded { meter, from, phase, since });
                }
            }
            // Before it is known of it where it is now.
            if self.traffic_use(&meter.name) != traffic_use || traffic_use == TrafficUse::Guard && from == now {
                self.look(meter, now);
            }
        }
        let before = std::mem::replace(&mut self.guarded, guarded);
        self.down = down;
        for name in before.keys().filter(|name| !self.guarded.contains_key(*name)) {
            self.routes.get_mut(name).into_iter().for_each(|seen| seen.recent.drop_long());
        }
        for (name, _) in self.guarded.iter().filter(|(_, guarded)| guarded.from == now) {
            self.routes.get_mut(name).into_iter().for_each(|seen| seen.recent.keep_long(now));
        }
    }

    /// What came over a route in the `span` before `now`; `None` if there was no request.
    pub(super) fn traffic(&self, route: &str, span: Duration, now: Instant) -> Option<Traffic> {
        let summary = self.routes.get(route)?.recent.over(span, now)?;
        let lived = now.saturating_duration_since(self.began);
        Some(Traffic { span: span.min(Recent::SPAN).min(lived).max(OBSERVE_EVERY), summary })
    }

    /// How a route does that ramps or is watched; `None` if it is not, or has no guard. `hanging` are its requests that
    /// hang now.
    ///
    /// It is measured over [`WINDOW`], and where that has too few requests for its guard, over all of the time since it
    /// began to ramp that is remembered. Nothing counts that came before.
    pub(super) fn measured(&self, route: &str, guard: &Guard, hanging: &Clients, now: Instant) -> Option<Measured> {
        let guarded = self.guarded.get(route)?;
        let seen = self.routes.get(route);
        let elapsed = now.saturating_duration_since(guarded.from);
        let over = |span: Duration| {
            let span = span.min(elapsed);
            let summary = seen.and_then(|seen| seen.recent.since(guarded.from, span, now));
            let counted = summary.map(|summary| Counted { requests: summary.count, errors: summary.failed });
            let p99 = summary.map(|summary| summary.p99);
            Measured { span, counted: counted.unwrap_or_default(), p99, clients: Clients::default() }
        };
        let lately = over(WINDOW);
        let mut measured = if lately.counted.requests < guard.min_requests { over(Recent::LONG) } else { lately };
        if measured.may_breach(guard) || !hanging.is_empty() {
            let clients = seen.map(|seen| seen.recent.clients(guarded.from, measured.span, now));
            measured.clients = clients.unwrap_or_default();
            measured.clients.add(hanging);
        }
        Some(measured)
    }

    /// How a route did in the last ten minutes, as far as it was simply open; `None` if it is not now, or if there was no
    /// request. A route that comes back is no measure for itself.
    pub(super) fn baseline(&self, route: &str, now: Instant) -> Option<Counted> {
        if self.traffic_use(route) != TrafficUse::Baseline {
            return None;
        }
        self.routes.get(route)?.open.counted(now)
    }

    fn look(&mut self, meter: &RouteMeter, now: Instant) {
        // Before the look-up: of ten thousand routes, most are idle.
        if meter.micros() == 0 {
            return;
        }
        let traffic_use = self.traffic_use(&meter.name);
        match self.routes.get_mut(&meter.name) {
            Some(seen) => seen.look(meter, traffic_use, now),
            None => {
                let mut seen = self.new_route(&meter.name);
                seen.look(meter, traffic_use, now);
                self.routes.insert(meter.name.clone(), seen);
            }
        }
    }

    /// Of a route that had no request up to the last look at it.
    fn new_route(&self, route: &str) -> RouteTraffic {
        let from = self.guarded.get(route).map(|guarded| guarded.from);
        let mut recent = Recent::new(from.map_or(self.looked, |from| from.max(self.looked)));
        if let Some(from) = from {
            recent.keep_long(from);
        }
        RouteTraffic { recent, open: Tally::default() }
    }

    fn traffic_use(&self, route: &str) -> TrafficUse {
        if self.guarded.contains_key(route) {
            TrafficUse::Guard
        } else if self.down.contains(route) {
            TrafficUse::None
        } else {
            TrafficUse::Baseline
        }
    }
}

impl RouteTraffic {
    fn look(&mut self, meter: &RouteMeter, traffic_use: TrafficUse, now: Instant) {
        let counted = self.recent.observe(meter, now);
        if traffic_use == TrafficUse::Baseline {
            self.open.add(counted, now);
        }
    }
}

/// What a route's requests count for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrafficUse {
    /// It is simply open: they tell how it does when all is well.
    Baseline,
    /// It ramps or is watched, and its guard looks at them.
    Guard,
    /// For nothing.
    None,
}

impl TrafficUse {
    fn of(route: &Route) -> Self {
        if route.phase() == Phase::Open && !route.life.watched {
            return Self::Baseline;
        }
        if route.guard().is_some() { Self::Guard } else { Self::None }
    }
}

impl Guarded {
    /// Whether it is the same return: it still ramps, or is watched after it did.
    fn is_same_return(&self, route: &Route) -> bool {
        let same = self.phase == route.phase() && self.since == route.since();
        same || self.phase == Phase::Ramping && route.phase() == Phase::Open
    }
}

/// Returns what is observed of each route that moves or is guarded. Most routes are open and unguarded, and are left out.
pub(super) fn observed(
    live: &Generation,
    observations: &Observations,
    probes: &Probes,
    now: Instant,
) -> HashMap<String, Observed> {
    let routes = live.snapshot.routes.iter().filter(|route| is_observed(route));
    routes.map(|route| (route.config.name.clone(), observation(route, live, observations, probes, now))).collect()
}

fn is_observed(route: &Route) -> bool {
    route.is_in_motion() || route.config.policy.guard.is_some()
}

fn observation(
    route: &Route,
    live: &Generation,
    observations: &Observations,
    probes: &Probes,
    now: Instant,
) -> Observed {
    let (name, meter) = (route.config.name.as_str(), &live.routes[route.index]);
    let guard = route.config.policy.guard.as_ref();
    Observed {
        remaining: (route.phase() == Phase::Draining).then(|| meter.remaining(route.epoch)).flatten(),
        verification: probes.results(name),
        measured: guard.and_then(|guard| observations.measured(name, guard, &meter.hanging(), now)),
        lately: guard.and_then(|_| observations.baseline(name, now)),
    }
}

/// Between two observations, and so what an answer may lag behind.
pub(super) const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// The same for routes that a guard has an eye on: a breach is found so much after what brought it about, at most.
pub(super) const GUARD_EVERY: Duration = Duration::from_millis(500);

/// What a guard looks at, if there was enough in it.
pub(super) const WINDOW: Duration = Duration::from_secs(30);
