//! First states after a reload of the config: of a route that it adds, and of one that it moves.

use jiff::Timestamp;

use super::closing::Closing;
use super::state::{Checking, PhaseState, RouteState, Transition};
use super::{Phase, Reason};

impl RouteState {
    /// Returns the state of a route that a reload of the config adds, and the transition that tells so. The first pass
    /// of each check opens it.
    pub fn added(now: Timestamp) -> (Self, Transition) {
        let (state, transition) = Self::untold(now);
        let (phase, reason) = (PhaseState::Verifying(Checking::new(reloaded(now))), Reason::Added);
        (Self { phase, reason: reason.clone(), ..state }, Transition { reason, ..transition })
    }

    /// Returns the state of an open route that a reload of the config moves to other upstreams, and the transition that
    /// tells so. Requests in flight go on.
    pub fn moved(&self, now: Timestamp) -> (Self, Transition) {
        let phase = PhaseState::Verifying(Checking { spares: true, ..Checking::new(reloaded(now)) });
        let (reason, open_before) = (Reason::Moved, Some(self.opened()));
        let state =
            Self { phase, since: now, reason: reason.clone(), began: now, seen: now, open_before, ..self.clone() };
        (state, Transition { from: Phase::Open, to: Phase::Verifying, at: now, reason })
    }
}

/// Returns the closure of a route whose upstreams nobody has tried. Its clients come back at once.
fn reloaded(now: Timestamp) -> Closing {
    Closing { lost: true, untold: true, reloaded: true, ..Closing::unknown(now) }
}
