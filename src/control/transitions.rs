//! The log of publications: one line for each, and one for each transition of a route.

use std::sync::Arc;

use crate::plan::flags::Withdrawn;
use crate::plan::snapshot::{ClosedBy, Closure, LeftOut, Route, Snapshot, Transition};

use super::report::overruns;

/// The reason for a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A file has changed.
    File,
    /// An instant was reached at which something changes.
    Time,
    /// A signal asked for a reload.
    Signal,
    /// Something was observed of a route.
    Observed,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Time => "time",
            Self::Signal => "signal",
            Self::Observed => "observed",
        }
    }

    /// Returns true for a cause that often changes only the times on a page.
    fn is_routine(self) -> bool {
        match self {
            Self::Time | Self::Observed => true,
            Self::File | Self::Signal => false,
        }
    }
}

/// Logs the first publication.
pub(super) fn log_first(first: &Snapshot) {
    warn_of_long(None, first);
    warn_of_undone(None, first);
    warn_of_lost(None, first);
    first.routes.iter().for_each(log_transitions);
}

/// Logs a publication, and each route whose phase or mode changed.
pub(super) fn log(before: &Snapshot, after: &Snapshot, cause: Cause) {
    warn_of_long(Some(before), after);
    warn_of_undone(Some(before), after);
    warn_of_lost(Some(before), after);
    log_left_out(before, after);
    log_withdrawn(before, after);
    log_spared(before, after);
    let (generation, why) = (after.generation, cause.as_str());
    if cause.is_routine() && after.routes.iter().all(|route| is_as_before(before, route)) {
        tracing::debug!(generation, why, "published");
        return;
    }
    tracing::info!(generation, why, "published");
    for route in &after.routes {
        if !route.transitions.is_empty() {
            log_transitions(route);
        } else if !is_as_before(before, route) {
            log_mode(route);
        }
    }
}

fn log_transitions(route: &Route) {
    let (name, mode, until) = (route.config.name.as_str(), mode(route), until(route));
    for Transition { from, to, at, reason } in &route.transitions {
        let (stays, at, why) = (from == to, at.to_string(), reason.to_string());
        let (from, phase) = (from.as_str(), to.as_str());
        if stays {
            tracing::warn!(route = name, phase, at, why, "the guard of a route has news");
            continue;
        }
        tracing::info!(route = name, phase, from, at, mode, until, why, "a route changed its phase");
    }
}

/// Logs a route that stays in its phase, but is closed in another mode.
fn log_mode(route: &Route) {
    let (name, mode, until) = (route.config.name.as_str(), mode(route), until(route));
    let (phase, why) = (route.phase().as_str(), route.state.reason().to_string());
    tracing::info!(route = name, phase, mode, until, why, "a route changed its mode");
}

fn mode(route: &Route) -> Option<&'static str> {
    route.closure.as_ref().map(|closure| closure.mode.as_str())
}

fn until(route: &Route) -> Option<String> {
    route.closure.as_ref().and_then(|closure| closure.until).map(|until| until.to_string())
}

/// Returns true if a route has the mode that it had before.
fn is_as_before(before: &Snapshot, route: &Route) -> bool {
    let mode = |closure: &Option<Arc<Closure>>| closure.as_ref().map(|closure| closure.mode);
    let was = before.route(&route.config.name);
    route.transitions.is_empty() && was.is_some_and(|was| mode(&was.closure) == mode(&route.closure))
}

/// Logs who is left out from now on, and who is used again.
fn log_left_out(before: &Snapshot, after: &Snapshot) {
    let of = |snapshot: &Snapshot, route: &Route| -> Vec<(String, String)> {
        let outs = route
            .left_out
            .iter()
            .filter_map(|out| Some((snapshot.upstreams.get(out.upstream)?.to_string(), out.failure.clone())));
        outs.collect()
    };
    for route in &after.routes {
        let name = route.config.name.as_str();
        let Some(was) = before.route(name).filter(|was| was.left_out != route.left_out) else { continue };
        let (was, is) = (of(before, was), of(after, route));
        let lacks = |list: &[(String, String)], upstream: &str| !list.iter().any(|(other, _)| other == upstream);
        for (upstream, failure) in is.iter().filter(|(upstream, _)| lacks(&was, upstream)) {
            tracing::warn!(route = name, upstream, failure, "the route goes without an upstream that fails its checks");
        }
        for (upstream, _) in was.iter().filter(|(upstream, _)| lacks(&is, upstream)) {
            tracing::info!(route = name, upstream, "the route uses an upstream again");
        }
    }
}

/// Logs who is taken out by the flag file from now on, and who is taken back.
fn log_withdrawn(before: &Snapshot, after: &Snapshot) {
    let of = |snapshot: &Snapshot, route: &Route| -> Vec<(String, Withdrawn)> {
        let outs = route.withdrawn.iter();
        outs.filter_map(|(index, how)| Some((snapshot.upstreams.get(*index)?.to_string(), *how))).collect()
    };
    for route in &after.routes {
        let name = route.config.name.as_str();
        let was = before.route(name).map(|was| of(before, was)).unwrap_or_default();
        let is = of(after, route);
        if was == is {
            continue;
        }
        for (upstream, how) in is.iter().filter(|one| !was.contains(one)) {
            tracing::info!(route = name, upstream, how = how.as_str(), "an upstream is taken out");
        }
        for (upstream, _) in was.iter().filter(|(upstream, _)| !is.iter().any(|(other, _)| other == upstream)) {
            tracing::info!(route = name, upstream, "an upstream is taken back");
        }
        if route.in_use.is_empty() {
            tracing::warn!(route = name, "no upstream is left for the route: its requests are answered by 503");
        }
    }
}

/// Logs each route whose upstreams all fail from now on, and each that has a good one again.
fn log_spared(before: &Snapshot, after: &Snapshot) {
    for route in &after.routes {
        let name = route.config.name.as_str();
        let was_spared = before.route(name).is_some_and(|was| !was.spared.is_empty());
        match (was_spared, route.spared.first()) {
            (false, Some(LeftOut { failure, .. })) => {
                tracing::warn!(
                    route = name,
                    failure,
                    "all upstreams fail their health checks, and are used all the same"
                );
            }
            (true, None) => tracing::info!(route = name, "an upstream of the route passes its health checks again"),
            (false, None) | (true, Some(_)) => {}
        }
    }
}

/// Warns once of each route that a window opens soon although steps of it are not done.
fn warn_of_undone(before: Option<&Snapshot>, after: &Snapshot) {
    let was_told = |name: &str| before.and_then(|before| before.route(name)).is_some_and(|was| !was.undone.is_empty());
    for route in after.routes.iter().filter(|route| !route.undone.is_empty() && !was_told(&route.config.name)) {
        let (name, opens, steps) = (route.config.name.as_str(), until(route), route.undone.join(", "));
        tracing::warn!(
            route = name,
            opens,
            steps,
            "the window ends soon, and opens the route although steps are not done"
        );
    }
}

/// Warns once of each route whose flag goes on after its end: its holder is lost.
fn warn_of_lost(before: Option<&Snapshot>, after: &Snapshot) {
    let lost = |route: &Route| overruns(route) && route.closed_by() == Some(ClosedBy::Flag);
    let was_lost = |name: &str| before.and_then(|before| before.route(name)).is_some_and(lost);
    for route in after.routes.iter().filter(|route| lost(route) && !was_lost(&route.config.name)) {
        let (name, why) = (route.config.name.as_str(), route.state.reason().to_string());
        tracing::warn!(route = name, why, "the end of a flag has passed, and its route stays closed as it says");
    }
}

/// Warns once of each route that somebody may have forgotten to open.
fn warn_of_long(before: Option<&Snapshot>, after: &Snapshot) {
    let was_long = |name: &str| before.and_then(|before| before.route(name)).is_some_and(|was| was.long);
    for route in after.routes.iter().filter(|route| route.long && !was_long(&route.config.name)) {
        let (name, since) = (route.config.name.as_str(), route.since().to_string());
        tracing::warn!(route = name, since, "under maintenance for 24 hours: search engines begin to drop its pages");
    }
}
