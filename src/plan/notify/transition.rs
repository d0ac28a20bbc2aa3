//! Transitions of routes as events.

use super::super::config::EventKind;
use super::super::lifecycle::Reason;
use super::super::snapshot::{Phase, Transition};

/// Returns the kind of a transition, and the words that follow the route's name; `None` if operators are not told.
pub(super) fn kind(transition: &Transition) -> Option<(EventKind, &'static str)> {
    let Transition { from, to, reason, .. } = transition;
    if let Some(found) = of_guard(*from, reason) {
        return found;
    }
    if from == to {
        return None;
    }
    Some(match to {
        Phase::Draining => (EventKind::Closed, "is closed"),
        Phase::Closed if *from == Phase::Draining => (EventKind::Drained, drained(reason)),
        Phase::Closed => (EventKind::Closed, "is closed"),
        Phase::Verifying => (EventKind::Verifying, "is being checked before it opens"),
        Phase::Ramping => (EventKind::Ramping, "lets clients in step by step"),
        Phase::Open => (EventKind::Opened, "is open"),
    })
}

fn drained(reason: &Reason) -> &'static str {
    if *reason == Reason::DrainTimeOver { "is closed, and its drain time is over" } else { "is drained" }
}

/// Returns the event for a finding of the guard, or no event for a finding that was told before; `None` if the reason is
/// no finding.
fn of_guard(from: Phase, reason: &Reason) -> Option<Option<(EventKind, &'static str)>> {
    Some(match reason {
        // The route drains after its guard has closed it. That is no time for a migration.
        Reason::GuardTripped(_) if from == Phase::Draining => None,
        Reason::GuardTripped(_) => Some((EventKind::Breach, "is closed again by its guard")),
        Reason::GuardHolds(_) => Some((EventKind::Breach, "stays where it is: its guard holds the ramp")),
        Reason::GuardWarns(_) => Some((EventKind::Breach, "goes on, and its guard warns")),
        Reason::GuardContent => Some((EventKind::BreachOver, "does well again")),
        // The guard is not sure yet.
        Reason::GuardChecks(_) | Reason::GuardCountsAnew(_) => None,
        Reason::NotFlagged
        | Reason::Flagged(_)
        | Reason::Held { .. }
        | Reason::Window { .. }
        | Reason::Switched { .. }
        | Reason::Drained
        | Reason::DrainTimeOver
        | Reason::StateLost
        | Reason::Untold
        | Reason::Joined
        | Reason::Added
        | Reason::Moved
        | Reason::Restarted
        | Reason::LiftedWhileDraining
        | Reason::Lifted
        | Reason::TimeOver
        | Reason::Forced
        | Reason::ForcedUnchecked
        | Reason::NoChecks
        | Reason::NoRamp
        | Reason::ChecksPassed
        | Reason::ChecksPending { .. }
        | Reason::CheckFailed { .. }
        | Reason::Ramped
        | Reason::RampSkipped
        | Reason::TriesAgain
        | Reason::TriedWell
        | Reason::Other(_) => return None,
    })
}
