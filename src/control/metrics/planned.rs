//! Planned maintenance as metrics, so that alerts can be silenced by what is planned.

use jiff::Timestamp;

use crate::plan::snapshot::{Phase, Route, Snapshot, Source};

use super::exposition::Exposition;
use super::{flag, seconds};

/// Window that is announced for a route, or that it is down for.
#[derive(Debug, PartialEq)]
struct Planned<'r> {
    route: &'r str,
    window: &'r str,
    phase: &'static str,
    starts: Timestamp,
    /// End, as long as it is planned to end by itself.
    ends: Option<Timestamp>,
}

impl Planned<'_> {
    /// Returns true if the time of the window is over, and its route is still down.
    fn is_late(&self, now: Timestamp) -> bool {
        self.phase != ANNOUNCED && self.ends.is_none_or(|ends| ends <= now)
    }
}

/// Writes the windows that are announced or in force.
pub(super) fn planned(text: &mut Exposition, snapshot: &Snapshot) {
    let all: Vec<Planned<'_>> = snapshot.routes.iter().flat_map(of_route).collect();
    let help = "1 while a window is announced for the route, or the route is down for it.";
    let mut metric = text.gauge("backsoon_planned_maintenance", help);
    for Planned { route, window, phase, .. } in &all {
        metric.sample(&[("route", route), ("window", window), ("phase", phase)], 1.0);
    }
    let mut metric =
        text.gauge("backsoon_planned_maintenance_start_timestamp_seconds", "When the window begins or began.");
    for Planned { route, window, starts, .. } in &all {
        metric.sample(&[("route", route), ("window", window)], seconds(*starts));
    }
    let help = "When the window ends; left out once it goes on until somebody ends it.";
    let mut metric = text.gauge("backsoon_planned_maintenance_end_timestamp_seconds", help);
    for Planned { route, window, ends, .. } in &all {
        if let Some(ends) = ends {
            metric.sample(&[("route", route), ("window", window)], seconds(*ends));
        }
    }
    let help = "1 if the time of the window is over, and the route is still down.";
    let mut metric = text.gauge("backsoon_planned_maintenance_overrun", help);
    for one in &all {
        // A window's end makes a snapshot of its own.
        let is_late = one.is_late(snapshot.compiled);
        metric.sample(&[("route", one.route), ("window", one.window)], flag(is_late));
    }
}

/// Returns the windows of a route, each once: the one that it is down for, and those that are announced.
fn of_route(route: &Route) -> Vec<Planned<'_>> {
    let mut all: Vec<Planned<'_>> = in_force(route).into_iter().collect();
    for next in &route.announced {
        if all.iter().all(|known| known.window != next.id) {
            all.push(Planned {
                route: &route.config.name,
                window: &next.id,
                phase: ANNOUNCED,
                starts: next.starts,
                ends: Some(next.ends),
            });
        }
    }
    all
}

fn in_force(route: &Route) -> Option<Planned<'_>> {
    let closing = route.state.closing().filter(|_| route.phase() != Phase::Open)?;
    let Source::Window(window) = &closing.desired.source else { return None };
    Some(Planned {
        route: &route.config.name,
        window,
        phase: route.phase().as_str(),
        starts: closing.planned(),
        ends: closing.desired.until,
    })
}

/// Phase of a window that has not begun.
const ANNOUNCED: &str = "announced";
