//! First states after a reload of the config: of a route that it adds, and of one that it moves.

use std::time::Duration;

use jiff::Timestamp;

use super::super::flags::Mode;
use super::closing::Closing;
use super::state::{Checking, PhaseState, RouteInputs, RouteState, Transition};
use super::{Desired, Phase, Reason};

impl RouteState {
    /// Returns the state of a route that a reload of the config adds, and the transition that tells so. The first pass
    /// of each check opens it.
    pub fn added(now: Timestamp) -> (Self, Transition) {
        let (state, transition) = Self::untold(now);
        let (phase, reason) = (PhaseState::Verifying(Checking::new(reloaded(now))), Reason::Added);
        (Self { phase, reason: reason.clone(), ..state }, Transition { reason, ..transition })
    }

    /// Returns the state of a route that forwards requests and that a reload of the config moves to other upstreams, and
    /// the transition that tells so; `None` if it forwards none. Requests in flight go on.
    pub fn moved(&self, inputs: RouteInputs<'_>) -> Option<(Self, Transition)> {
        let (now, reason) = (inputs.now, Reason::Moved);
        let open_before = match &self.phase {
            PhaseState::Open(_) => Some(self.opened()),
            PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => {
                self.open_before
            }
        };
        let phase = PhaseState::Verifying(self.checked_anew(inputs)?);
        let transition = Transition { from: self.phase(), to: Phase::Verifying, at: now, reason: reason.clone() };
        let state = Self { phase, since: now, reason, began: now, seen: now, open_before, ..self.clone() };
        Some((state, transition))
    }

    /// Returns the checks of a moved route. They give back what they interrupt.
    fn checked_anew(&self, inputs: RouteInputs<'_>) -> Option<Checking> {
        let spared = |closing| Checking { spares: true, ..Checking::new(closing) };
        Some(match &self.phase {
            PhaseState::Open(_) => spared(reloaded(inputs.now)),
            PhaseState::Ramping(back) => {
                let closing = Closing { eases: back.closing.eases.clone(), ..reloaded(inputs.now) };
                Checking { interrupted: self.interrupted_here(inputs), ..spared(closing) }
            }
            PhaseState::Draining(down) | PhaseState::Closed(down) => {
                let eases = Some(down.closing.desired.clone());
                let closing = Closing { eases, untold: true, ..unread(&down.closing)? };
                Checking { interrupted: down.interrupted.clone(), ..spared(closing) }
            }
            // The maintenance is over, and its checks remain: one pass is not enough.
            PhaseState::Verifying(checking) => {
                let closing = unread(&checking.closing)?;
                Checking { closing, late: Duration::ZERO, spares: true, ..checking.clone() }
            }
        })
    }
}

/// Returns a closure that lets reads through as one that lets nothing through; `None` if it does so already.
fn unread(closing: &Closing) -> Option<Closing> {
    let desired = Desired { mode: Mode::Offline, ..closing.desired.clone() };
    let reads = closing.desired.mode == Mode::ReadOnly;
    reads.then(|| Closing { desired, reloaded: true, ..closing.clone() })
}

/// Returns the closure of a route whose upstreams nobody has tried. Its clients come back at once.
fn reloaded(now: Timestamp) -> Closing {
    Closing { lost: true, untold: true, reloaded: true, ..Closing::unknown(now) }
}
