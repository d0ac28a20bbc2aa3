//! Observations of running routes: the latency and failures of their requests.
//!
//! A guard judges a route by them, and compares them with the time when the route was open.

mod remembered;
mod tally;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::config::{Guard, Latency, PerStatus};
use crate::plan::lifecycle::{Baseline, Clients, Measured, Observed, Phase, arrivals, is_suspect, windows};
use crate::plan::snapshot::Route;
use crate::telemetry::{Meters, Recent, RouteMeter, Summary};

use super::health::Health;
use super::probe::Probes;

pub(super) use remembered::Baselines;
use remembered::Remembered;
use tally::{Now, Quiet, Tally};
use whole::RouteWord;
use whole::comes_back;
pub(super) use whole::{Word, is_judged_by_all};

/// Observations of every route that ever had a request, by name. A route that is no longer configured is kept, because
/// it may return, and its meter never goes back.
#[derive(Debug)]
pub(super) struct Observations {
    began: Instant,
    /// Time of the last observation of all routes.
    observed_at: Instant,
    routes: HashMap<String, RouteTraffic>,
    /// Routes that a guard watches.
    guarded: HashMap<String, Guarded>,
    /// Other routes that are not plainly open.
    down: HashSet<String>,
    /// Routes among those that a guard will watch.
    returning: Vec<Arc<RouteMeter>>,
    /// Time of the last observation of those.
    returning_at: Option<Instant>,
    /// Guards of the routes that have one.
    guards: HashMap<String, Guard>,
    /// Baselines of earlier times.
    remembered: Baselines,
    /// Begins of the returns that go on, their checks included.
    backs: HashMap<String, Timestamp>,
    /// Begins of returns that other replicas told at the start.
    learned: HashMap<String, Timestamp>,
    /// Word of the other replicas about the routes that come back.
    words: HashMap<String, RouteWord>,
}

/// Traffic observed on a route.
#[derive(Debug)]
struct RouteTraffic {
    recent: Recent,
    /// Requests while the route was plainly open.
    open: Tally,
}

/// A route that has a guard and ramps, or is watched after its ramp.
#[derive(Clone, Debug)]
struct Guarded {
    meter: Arc<RouteMeter>,
    /// Requests count from here: the begin of the ramp, or of the watch if there was no ramp.
    from: Instant,
    /// Time from which the route has been fully open.
    opened: Option<Instant>,
    /// The same instant by the wall clock, as the flag file has it. A finding does not move it.
    returned: Timestamp,
    phase: Phase,
    since: Timestamp,
    /// First finding since which requests count anew.
    suspected: Option<Timestamp>,
}

/// Standard by which a returning route is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged<'j> {
    /// The guard.
    pub guard: &'j Guard,
    /// Behaviour before the route went down.
    pub baseline: Option<&'j Baseline>,
    /// Clients whose requests hang.
    pub hanging: &'j Clients,
}

/// Traffic of a route in a span that ends now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// Span from which a rate is computed. Shorter than asked for while the process is young, and never 0.
    pub span: Duration,
    /// Summary of the requests.
    pub summary: Summary,
}

impl Observations {
    /// Creates observations. Must be called before the first request arrives.
    pub(super) fn new(now: Instant) -> Self {
        let (routes, guarded, down, guards) = (HashMap::new(), HashMap::new(), HashSet::new(), HashMap::new());
        let (returning, returning_at, remembered) = (Vec::new(), None, Baselines::default());
        let (backs, learned, words) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self {
            began: now,
            observed_at: now,
            routes,
            guarded,
            down,
            returning,
            returning_at,
            guards,
            remembered,
            backs,
            learned,
            words,
        }
    }

    /// Takes over the begins of returns that other replicas have told to a process without memory.
    pub(super) fn learn(&mut self, returned: HashMap<String, Timestamp>) {
        self.learned = returned;
    }

    /// Observes every route. A route without new requests costs a read of each worker's cells. Returns true if any route
    /// had requests since the last time.
    pub(super) fn observe(&mut self, meters: &Meters, now: Instant) -> bool {
        let mut busy = false;
        meters.each_route(|meter| busy |= self.look(meter, now));
        self.observed_at = now;
        busy
    }

    /// Observes guarded routes only, which is done more often.
    pub(super) fn observe_guarded(&mut self, now: Instant) {
        let meters: Vec<_> = self.guarded.values().map(|guarded| Arc::clone(&guarded.meter)).collect();
        for meter in &meters {
            self.look(meter, now);
        }
    }

    /// Observes the routes that a guard will watch. Called right before a publication that may open them: requests from
    /// there on belong to the open route.
    pub(super) fn observe_returning(&mut self, now: Instant) {
        let meters = self.returning.clone();
        for meter in &meters {
            self.look(meter, now);
        }
        self.returning_at = Some(now);
    }

    /// Returns true if any route is guarded. Only then is [`GUARD_EVERY`] worth its cost.
    pub(super) fn has_guarded(&self) -> bool {
        !self.guarded.is_empty()
    }

    /// Takes note of the state of the routes. Must be called right after each publication, including the first.
    /// Requests before it count for the state before.
    pub(super) fn on_publish(&mut self, generation: &Generation, now: Instant) {
        let (mut guarded, mut down, mut returning, mut begun) =
            (HashMap::new(), HashSet::new(), Vec::new(), Vec::new());
        let returns = self.returns_at(now);
        let guard = |route: &Route| Some((route.config.name.clone(), route.config.policy.guard?));
        self.guards = generation.snapshot.routes.iter().filter_map(guard).collect();
        for (route, meter) in generation.snapshot.routes.iter().zip(generation.routes.iter()) {
            let (before, traffic_use) = (self.guarded.get(&meter.name), TrafficUse::of(route));
            let begins = before.is_none_or(|before| !before.is_same_return(route));
            let from = before.filter(|_| !begins).map_or_else(|| returns(&meter.name), |before| before.from);
            match traffic_use {
                TrafficUse::Baseline => {}
                TrafficUse::None => {
                    down.insert(meter.name.clone());
                    returning.extend(route.config.policy.guard.map(|_| Arc::clone(meter)));
                }
                TrafficUse::Guard => {
                    let (meter, phase, since) = (Arc::clone(meter), route.phase(), route.since());
                    let suspected = route.state.suspicion().map(|suspicion| suspicion.breach.at);
                    let opened_before = before.filter(|_| !begins).and_then(|before| before.opened);
                    let opened =
                        (phase == Phase::Open).then(|| opened_before.unwrap_or(if begins { from } else { now }));
                    let same = before.filter(|before| before.is_of_same_phases(route)).map(|before| before.returned);
                    let learned = self.learned.get(&meter.name).copied();
                    let returned = same.or(learned).unwrap_or_else(|| route.state.began());
                    let guarded_now = Guarded { meter, from, opened, returned, phase, since, suspected };
                    guarded.insert(guarded_now.meter.name.clone(), guarded_now);
                }
            }
            begun.extend((traffic_use == TrafficUse::Guard && begins).then(|| (meter.name.clone(), from)));
            // Observe with the old state, before the new one is known.
            if self.traffic_use(&meter.name) != traffic_use || traffic_use == TrafficUse::Guard && begins {
                self.look(meter, now);
            }
        }
        self.follow_returns(&generation.snapshot.routes);
        let before = std::mem::replace(&mut self.guarded, guarded);
        (self.down, self.returning, self.returning_at) = (down, returning, None);
        for name in before.keys().filter(|name| !self.guarded.contains_key(*name)) {
            self.routes.get_mut(name).into_iter().for_each(|seen| seen.recent.drop_long());
        }
        for (name, from) in begun {
            self.routes.get_mut(&name).into_iter().for_each(|seen| seen.recent.keep_long(from));
        }
    }

    /// Notes which routes come back, and since when. What another replica found before is answered.
    fn follow_returns(&mut self, routes: &[Route]) {
        let begin = |route: &Route| route.state.began().min(route.since());
        let backs = routes.iter().filter(|route| comes_back(route)).map(|route| {
            let name = &route.config.name;
            (name.clone(), self.backs.get(name).copied().unwrap_or_else(|| begin(route)))
        });
        self.backs = backs.collect();
        self.learned.retain(|name, _| self.backs.contains_key(name));
        self.words.retain(|name, _| self.backs.contains_key(name));
    }

    /// Returns the traffic of a route in the `span` before `now`; `None` if there was no request.
    pub(super) fn traffic(&self, route: &str, span: Duration, now: Instant) -> Option<Traffic> {
        let summary = self.routes.get(route)?.recent.over(span, now)?;
        let lived = now.saturating_duration_since(self.began);
        Some(Traffic { span: span.min(Recent::SPAN).min(lived).max(OBSERVE_EVERY), summary })
    }

    /// Measures a guarded route; `None` if the route is not guarded now. Requests before the ramp never count.
    pub(super) fn measured(&self, route: &str, judged: Judged<'_>, now: Instant) -> Option<Measured> {
        let guarded = self.guarded.get(route)?;
        if let Some(of_all) = self.measured_by_all((route, guarded), judged, now) {
            return Some(of_all);
        }
        let Judged { guard, baseline, hanging } = judged;
        let from = guarded.from;
        let elapsed = now.saturating_duration_since(from);
        let Some(RouteTraffic { recent, .. }) = self.routes.get(route) else {
            let arrivals = guarded.open_for(now).map(|open| arrivals(&[], open)).unwrap_or_default();
            return Some(Measured { windows: windows(&[], elapsed), hanging: hanging.clone(), arrivals });
        };
        let slow = guard.p99.and_then(|p99| p99.bound(baseline.and_then(|baseline| baseline.p99)));
        let moments = recent.moments(from, now, slow);
        let arrivals = guarded.open_for(now).map(|open| arrivals(&moments, open)).unwrap_or_default();
        let mut windows = windows(&moments, elapsed);
        for window in windows.iter_mut().filter(|window| is_suspect(guard, window, baseline)) {
            window.clients = recent.clients(from, window.span, now);
            window.p99 = recent.since(from, window.span, now).map(|summary| summary.p99);
        }
        let mut all = Clients::default();
        if !hanging.is_empty() {
            all = recent.clients(from, Recent::SPAN, now);
            all.add(hanging);
        }
        Some(Measured { windows, hanging: all, arrivals })
    }

    /// Returns the behaviour in the last ten minutes in which a route was plainly open. An earlier one is taken if that
    /// was clearly better or tells more. `None` if the route never had a request, or is not open now: a route that comes
    /// back must not be its own measure.
    pub(super) fn baseline(&self, route: &str, now: Instant) -> Option<Baseline> {
        if self.traffic_use(route) != TrafficUse::Baseline {
            return None;
        }
        self.remembered.choose(route, self.lately(route, now))
    }

    fn lately(&self, route: &str, now: Instant) -> Option<Baseline> {
        let statuses = self.guards.get(route).map(|guard| guard.statuses).unwrap_or_default();
        self.routes.get(route)?.open.baseline(&statuses, now)
    }

    /// Takes over the baselines that an earlier process remembered.
    pub(super) fn recall(&mut self, remembered: Baselines, at: Timestamp) {
        self.remembered = remembered;
        self.remembered.forget(at);
    }

    /// Remembers the baselines of the routes with a guard, for a later time or process. `at` is the same instant as
    /// `now`.
    pub(super) fn remember(&mut self, live: &Generation, now: Instant, at: Timestamp) -> &Baselines {
        let routes = live.snapshot.routes.iter().filter(|route| route.config.policy.guard.is_some());
        for name in routes.map(|route| route.config.name.as_str()) {
            let lately = Some(name).filter(|name| self.traffic_use(name) == TrafficUse::Baseline);
            if let Some(baseline) = lately.and_then(|name| self.lately(name, now)) {
                self.remembered.take(name, Remembered { at, baseline });
            }
        }
        self.remembered.forget(at);
        &self.remembered
    }

    /// Returns the time from which the requests of a route count that begins to come back now.
    fn returns_at(&self, now: Instant) -> impl Fn(&str) -> Instant + use<> {
        let names: HashSet<_> = self.returning.iter().map(|meter| meter.name.clone()).collect();
        let observed = self.returning_at;
        move |name| observed.filter(|_| names.contains(name)).unwrap_or(now)
    }

    /// Observes a route. Returns true if it had requests since the last time.
    fn look(&mut self, meter: &RouteMeter, now: Instant) -> bool {
        // Check this before the look-up, since most of ten thousand routes are idle.
        if meter.micros() == 0 {
            return false;
        }
        let traffic_use = self.traffic_use(&meter.name);
        let guard = self.guards.get(&meter.name).copied();
        if !self.routes.contains_key(&meter.name) {
            self.routes.insert(meter.name.clone(), self.new_route(&meter.name));
        }
        let Some(seen) = self.routes.get_mut(&meter.name) else { return false };
        let new = seen.recent.observe(meter, now);
        seen.recent.count_answers(&guard.map_or(PerStatus::EMPTY, |guard| guard.statuses), meter);
        if traffic_use == TrafficUse::Baseline {
            // Percentiles cost more than counts, and ten seconds hardly change them.
            let timed = guard.is_some_and(is_timed) && seen.open.begins_slot(now);
            let p99 = if timed { seen.recent.over(Recent::SPAN, now).map(|summary| summary.p99) } else { None };
            let quiet = guard.and_then(|guard| guard.traffic).map_or(Quiet::Passes, |_| Quiet::Counts);
            seen.open.add(Now { seen: new, hanging: meter.hanging().all_hanging(), p99, quiet }, now);
        }
        new.counted.requests > 0
    }

    /// Starts observing a route that had no request until now.
    fn new_route(&self, route: &str) -> RouteTraffic {
        let from = self.guarded.get(route).map(|guarded| guarded.from);
        let statuses = self.guards.get(route).map(|guard| guard.statuses).unwrap_or_default();
        let began = from.map_or(self.observed_at, |from| from.max(self.observed_at));
        let mut recent = Recent::new(began).with_answers(&statuses);
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

/// The use that is made of a route's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrafficUse {
    /// The route is plainly open: requests show its normal behaviour.
    Baseline,
    /// The route ramps or is watched: its guard judges the requests.
    Guard,
    /// Requests are not used.
    None,
}

impl TrafficUse {
    fn of(route: &Route) -> Self {
        if route.phase() == Phase::Open && !route.state.is_watched() {
            return Self::Baseline;
        }
        if route.guard().is_some() { Self::Guard } else { Self::None }
    }
}

impl Guarded {
    /// Returns the time for which the route has been fully open. `None` while it is not, and while held requests come
    /// in.
    fn open_for(&self, now: Instant) -> Option<Duration> {
        let opened = self.opened.filter(|_| self.meter.sum(|cell| cell.held.get()) == 0)?;
        Some(now.saturating_duration_since(opened))
    }

    /// Returns true if requests go on counting: the route still ramps or is watched after that ramp, and its guard has
    /// not found anything new.
    fn is_same_return(&self, route: &Route) -> bool {
        let suspected = route.state.suspicion().map(|suspicion| suspicion.breach.at);
        self.is_of_same_phases(route) && (suspected.is_none() || suspected == self.suspected)
    }

    /// Returns true if the route still ramps or is watched after that ramp.
    fn is_of_same_phases(&self, route: &Route) -> bool {
        let same = self.phase == route.phase() && self.since == route.since();
        same || self.phase == Phase::Ramping && matches!(route.phase(), Phase::Open | Phase::Closed)
    }
}

/// Checks that are being made.
pub(super) struct Checks<'c> {
    /// Checks of routes that come back.
    pub probes: &'c Probes,
    /// Checks of routes that serve.
    pub health: &'c Health,
}

impl Checks<'_> {
    fn are_made_of(&self, route: &str) -> bool {
        self.probes.has(route) || self.health.has(route)
    }
}

/// Returns observations of each route that is in transition, guarded or checked. Most routes are neither.
pub(super) fn observed(
    live: &Generation,
    observations: &Observations,
    checks: &Checks<'_>,
    now: Instant,
) -> HashMap<String, Observed> {
    let is_observed = |route: &&Route| is_observed(route) || checks.are_made_of(&route.config.name);
    let routes = live.snapshot.routes.iter().filter(is_observed);
    routes.map(|route| (route.config.name.clone(), observation(route, live, observations, checks, now))).collect()
}

fn is_observed(route: &Route) -> bool {
    route.is_in_motion() || route.config.policy.guard.is_some()
}

/// Returns true if the guard compares the latency with that of before.
fn is_timed(guard: Guard) -> bool {
    match guard.p99 {
        Some(Latency::Times(_) | Latency::Both { .. }) => true,
        Some(Latency::AtMost(_)) | None => false,
    }
}

fn observation(
    route: &Route,
    live: &Generation,
    observations: &Observations,
    checks: &Checks<'_>,
    now: Instant,
) -> Observed {
    let (name, meter) = (route.config.name.as_str(), &live.routes[route.index]);
    let guard = route.config.policy.guard.as_ref();
    Observed {
        remaining: (route.phase() == Phase::Draining).then(|| meter.remaining(route.epoch)).flatten(),
        verification: checks.probes.results(name),
        unwell: checks.health.unwell(name),
        measured: guard.and_then(|guard| {
            let (baseline, hanging) = (observations.baseline_of(route), meter.hanging());
            let judged = Judged { guard, baseline, hanging: &hanging };
            observations.measured(name, judged, now)
        }),
        lately: guard.and_then(|_| observations.baseline(name, now)),
        whole: observations.whole(name),
    }
}

/// Time between two observations, by which reports may lag.
pub(super) const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// Time between two observations while no route has requests. A process at rest wakes for little else.
pub(super) const OBSERVE_IDLE_EVERY: Duration = Duration::from_secs(2);

/// Time between two observations of guarded routes. A breach is found at most this much later.
pub(super) const GUARD_EVERY: Duration = Duration::from_millis(500);
