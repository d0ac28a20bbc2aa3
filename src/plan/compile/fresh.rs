//! First states of a process without memory: they follow from the flag file, as far as that tells of the last minutes.
//!
//! A replica that is started while the others come back joins them. If nothing is known, each check has to pass once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::config::{Config, Policy, RouteConfig};
use super::super::flags::{Flags, Mode};
use super::super::lifecycle::{Observed, RouteInputs, RouteState, Transition};
use super::causes::Causes;
use super::{Inputs, MissedChanges, over};

/// Returns the instant before which nothing matters: every return from before is over.
pub(super) fn horizon(config: &Config, now: Timestamp) -> Option<Timestamp> {
    let longest = config.routes.iter().filter_map(|route| returning(&route.policy)).max()?;
    before(now, longest)
}

/// Returns the state of a route that is not flagged now, and the last transition that led to it.
pub(super) fn first(
    inputs: &Inputs<'_>,
    missed: &MissedChanges<'_>,
    config: &RouteConfig,
    route_inputs: RouteInputs<'_>,
) -> (RouteState, Vec<Transition>) {
    let now = inputs.now;
    let begin = returning(&config.policy).and_then(|longest| before(now, longest));
    let joined = begin.and_then(|begin| join(inputs, missed, config, route_inputs, begin));
    match joined {
        Some((state, transition)) => (state, transition.into_iter().collect()),
        None if config.policy.verify.is_empty() => (RouteState::first(route_inputs), Vec::new()),
        None => {
            let (state, transition) = RouteState::untold(now);
            (state, vec![transition])
        }
    }
}

/// Returns the state of a route that is flagged now. A mode that gives back what it interrupts does so by what the flag
/// file tells. A flag does not tell how long it has been there: it interrupts what would be now.
pub(super) fn flagged(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    route_inputs: RouteInputs<'_>,
) -> (RouteState, Vec<Transition>) {
    let first = RouteState::first(route_inputs);
    match suspending(inputs, config, route_inputs) {
        // A return to a milder mode goes on.
        Some((joined, told)) if !joined.is_down() => (joined, told.into_iter().collect()),
        Some((joined, _)) => (first.interrupting(joined), Vec::new()),
        None => (first, Vec::new()),
    }
}

/// Replays the flag file up to a mode that gives back what it interrupts.
fn suspending(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    route_inputs: RouteInputs<'_>,
) -> Option<(RouteState, Option<Transition>)> {
    let now = inputs.now;
    let desired = route_inputs.desired.filter(|desired| desired.mode != Mode::Offline)?;
    let others = desired.by_hand.then(|| Flags { routes: Vec::new(), switched: Vec::new(), ..inputs.flags.clone() });
    let inputs = Inputs { flags: others.as_ref().unwrap_or(inputs.flags), ..*inputs };
    let started = desired.started.filter(|_| !desired.by_hand).unwrap_or(now).min(now);
    let begin = before(started, returning(&config.policy)?)?;
    let missed = MissedChanges::since(inputs.flags, Some(begin), now);
    let beside = missed.now.desired(&config.name);
    let replayed = RouteInputs { desired: beside.as_ref(), ..route_inputs };
    let (state, told) = join(&inputs, &missed, config, replayed, begin)?;
    let (state, made) = state.advance(RouteInputs { observed: &Observed::default(), ..route_inputs });
    Some((state.noticed(now), made.into_iter().next_back().or(told)))
}

/// Replays the flag file from an instant on. Returns `None` if the route is plainly open in the end.
fn join(
    inputs: &Inputs<'_>,
    missed: &MissedChanges<'_>,
    config: &RouteConfig,
    route_inputs: RouteInputs<'_>,
    begin: Timestamp,
) -> Option<(RouteState, Option<Transition>)> {
    let now = inputs.now;
    let nothing = Observed::default();
    let desired_at = |at| Causes::new(inputs.flags, at).desired(&config.name);
    let lifted = route_inputs.lifted.map(|lift| lift.at).filter(|at| *at > begin && *at <= now);
    let from = lifted.unwrap_or(begin);
    let desired = desired_at(from);
    let then = RouteInputs { desired: desired.as_ref(), observed: &nothing, now: from, ..route_inputs };
    let mut state = if lifted.is_some() { RouteState::shut(from) } else { RouteState::first(then) };
    let mut last = None;
    let later = missed.desires(&config.name).filter(|(at, _)| *at > from);
    let present = lifted.map(|at| (at, desired.clone()));
    for (at, desired) in present.into_iter().chain(later).chain([(now, route_inputs.desired.cloned())]) {
        let over = over(inputs, &state, at);
        let inputs = RouteInputs { desired: desired.as_ref(), over, observed: &nothing, now: at, ..route_inputs };
        let (next, made) = state.advance(inputs);
        state = next;
        last = made.into_iter().next_back().or(last);
    }
    (!state.is_plain()).then(|| (state.noticed(now), last))
}

/// Returns the time that a return takes at best, with the watch after it; `None` if the policy has no rules for one.
fn returning(policy: &Policy) -> Option<Duration> {
    let ramp = policy.ramp.as_ref().map(|ramp| ramp.length());
    let watch = policy.guard.map(|guard| guard.watch);
    let checks = policy.verify.iter().map(|check| check.every.saturating_mul(check.times)).max();
    if ramp.is_none() && watch.is_none() && checks.is_none() {
        return None;
    }
    let all = [ramp, watch, checks].into_iter().flatten().fold(Duration::ZERO, Duration::saturating_add);
    Some(all.max(SHORTEST))
}

fn before(now: Timestamp, duration: Duration) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::try_from(duration).ok()?).ok()
}

/// Shortest time for which the flag file is asked. A policy without ramp and guard has no time of its own.
const SHORTEST: Duration = Duration::from_mins(5);
