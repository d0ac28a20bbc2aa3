//! What is observed of the routes: what is left in flight, what their checks found, how they do. Control feeds it to `plan`.

use std::collections::HashMap;
use std::time::Instant;

use crate::live::Generation;
use crate::plan::lifecycle::{Observed, Phase};
use crate::plan::snapshot::Route;

use super::observe::Observations;
use super::probe::Probes;

/// Observes every route of which something may matter; most are open, unguarded, and stay so.
pub(super) fn observed(
    live: &Generation,
    observations: &Observations,
    probes: &Probes,
    now: Instant,
) -> HashMap<String, Observed> {
    let routes = live.snapshot.routes.iter().filter(|route| matters(route));
    routes.map(|route| (route.config.name.clone(), of(route, live, observations, probes, now))).collect()
}

fn matters(route: &Route) -> bool {
    route.is_in_motion() || route.config.policy.guard.is_some()
}

fn of(route: &Route, live: &Generation, observations: &Observations, probes: &Probes, now: Instant) -> Observed {
    let (name, meter) = (route.config.name.as_str(), &live.routes[route.index]);
    let guard = route.config.policy.guard.as_ref();
    Observed {
        remaining: (route.phase() == Phase::Draining).then(|| meter.remaining(route.epoch)).flatten(),
        verification: probes.results(name),
        measured: guard.and_then(|guard| observations.measured(name, guard, &meter.hanging(), now)),
        lately: guard.and_then(|_| observations.lately(name, now)),
    }
}
