//! Interruption of a return: what a hold and a `read-only` mode suspend, and give back.
//!
//! While `read-only` suspends a ramp, only those clients read that the ramp had admitted.

use std::time::Duration;

use super::super::config::Policy;
use super::super::flags::Mode;
use super::Desired;
use super::closing::{Closing, Interrupted, Trial};
use super::ramp::share;
use super::state::{Down, PhaseState, RouteInputs, RouteState};

impl RouteState {
    /// Returns the return that a closure interrupts here and now.
    pub(super) fn interrupted_here(&self, inputs: RouteInputs<'_>) -> Option<Interrupted> {
        let elapsed = Duration::try_from(inputs.now.duration_since(self.began)).unwrap_or_default();
        let (closing, share) = match &self.phase {
            PhaseState::Open(watch) => {
                // The watch may have ended since the last look.
                let watches = inputs.policy.guard.is_some_and(|guard| elapsed < guard.watch);
                (&watch.as_ref().filter(|_| watches)?.closing, None)
            }
            // A trial has no time of the ramp.
            PhaseState::Ramping(back) if back.trial == Trial::Under => (&back.closing, Some(back.share)),
            PhaseState::Ramping(back) => {
                // The last look may be long ago.
                let share = inputs.policy.ramp.as_ref().map_or(back.share, |ramp| share(ramp, elapsed));
                (&back.closing, Some(share.max(back.share)))
            }
            PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Verifying(_) => return None,
        };
        Some(Interrupted { closing: closing.clone(), share, elapsed, trial: self.trial().unwrap_or_default() })
    }

    /// Returns the interrupted return of a route that stays down for another demand. A hold after another mode owes the
    /// ramp of that mode, or the one that this suspended.
    pub(super) fn carried(&self, down: &Down, inputs: RouteInputs<'_>, desired: &Desired) -> Option<Interrupted> {
        let kept = || down.interrupted.clone();
        if self.is_young(down, inputs.now) {
            return kept();
        }
        let suspended = || kept().filter(|interrupted| interrupted.ramps_on(inputs.policy));
        match (down.closing.desired.mode, desired.mode) {
            (Mode::ReadOnly, Mode::Hold) => suspended().or_else(|| down.closing.owes(inputs)).or_else(kept),
            (Mode::Offline, Mode::Hold) => down.closing.owes(inputs).or_else(kept),
            // What another mode ended is not given back.
            (Mode::Offline, Mode::ReadOnly) => None,
            (Mode::ReadOnly | Mode::Hold, Mode::ReadOnly) | (_, Mode::Offline) | (Mode::Hold, Mode::Hold) => kept(),
        }
    }

    /// Returns a closed route with what it interrupted according to another state.
    pub fn interrupting(mut self, other: Self) -> Self {
        let interrupted = match other.phase {
            PhaseState::Draining(down) | PhaseState::Closed(down) => down.interrupted,
            PhaseState::Verifying(checking) => checking.interrupted,
            PhaseState::Open(_) | PhaseState::Ramping(_) => None,
        };
        if let PhaseState::Closed(down) = &mut self.phase {
            down.interrupted = interrupted;
        }
        self
    }

    /// Returns true if the route is down, and does not come back yet.
    pub fn is_down(&self) -> bool {
        match &self.phase {
            PhaseState::Draining(_) | PhaseState::Closed(_) => true,
            PhaseState::Open(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => false,
        }
    }

    /// Returns the ramp whose clients a `read-only` mode lets read, and its share. `None` if it lets everybody read, or
    /// if nothing is suspended.
    pub fn suspended(&self, policy: &Policy) -> Option<(&Closing, f64)> {
        let (closing, interrupted) = match &self.phase {
            PhaseState::Draining(down) | PhaseState::Closed(down) => (&down.closing, down.interrupted.as_ref()?),
            PhaseState::Verifying(checking) => (&checking.closing, checking.interrupted.as_ref()?),
            PhaseState::Open(_) | PhaseState::Ramping(_) => return None,
        };
        let before = &interrupted.closing;
        let is_stricter = before.desired.mode > closing.desired.mode;
        let suspends = closing.desired.mode == Mode::ReadOnly && is_stricter && interrupted.ramps_on(policy);
        suspends.then_some((before, interrupted.share?))
    }

    /// Returns the share of clients that a ramp admits, or that one admitted which is suspended; `None` without a ramp.
    pub fn admitted(&self, policy: &Policy) -> Option<f64> {
        self.share().or_else(|| self.suspended(policy).map(|(_, share)| share))
    }
}

impl Closing {
    /// Returns the return that the route goes on with after this closure. `interrupted` is what the closure interrupted.
    pub(super) fn gives_back<'i>(&self, interrupted: Option<&'i Interrupted>) -> Option<&'i Interrupted> {
        match self.desired.mode {
            Mode::Hold | Mode::ReadOnly => interrupted,
            Mode::Offline => None,
        }
    }

    /// Returns the ramp or the trial that would follow this closure, not yet begun.
    pub(super) fn owes(&self, inputs: RouteInputs<'_>) -> Option<Interrupted> {
        let is_tried = self.tries > 0 && inputs.policy.guard.is_some();
        let trial = if is_tried { Trial::Under } else { Trial::None };
        let whole = || Interrupted { closing: self.clone(), share: Some(0.0), elapsed: Duration::ZERO, trial };
        (is_tried || self.ramps(inputs.policy)).then(whole)
    }
}
