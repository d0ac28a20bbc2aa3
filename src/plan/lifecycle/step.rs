//! Steps of a route from phase to phase, one function a phase.

use std::time::Duration;

use jiff::Timestamp;

use super::breach::Heeded;
use super::finding::Findings;
use super::ramp::share;
use super::state::{Closing, Down, PhaseState, Return, RouteInputs, RouteState, Step, Trial, Watch};
use super::verification::{Verdict, verdict};
use super::{Desired, Reason, after};

impl RouteState {
    /// Evaluates the phase once. `remaining` is the number of requests in flight from before the route went down, if it
    /// is known.
    pub(super) fn step(&self, inputs: RouteInputs<'_>, remaining: Option<u64>) -> Step {
        match &self.phase {
            PhaseState::Open(watch) => self.step_open(watch.as_ref(), inputs),
            PhaseState::Draining(down) => self.step_draining(down, inputs, remaining),
            PhaseState::Closed(down) => self.step_closed(down, inputs),
            PhaseState::Verifying(closing) => self.step_verifying(closing, inputs),
            PhaseState::Ramping(back) => self.step_ramping(back, inputs),
        }
    }

    fn step_open(&self, watch: Option<&Watch>, inputs: RouteInputs<'_>) -> Step {
        if let Some(desired) = inputs.desired {
            return Step::Enter(Self { open_before: Some(self.opened()), ..self.close_by_flag(inputs, desired) });
        }
        let Some(watch) = watch else { return Step::Stay };
        let guard = inputs.policy.guard.filter(|guard| inputs.now < after(self.began, guard.watch));
        if guard.is_none() {
            return Step::Update(self.with(PhaseState::Open(None)));
        }
        match self.heed(&watch.findings, inputs) {
            Heeded::Close(breach) => Step::Enter(self.close_by_guard(&watch.closing, inputs, breach)),
            Heeded::GoOn(findings) => {
                let watched = Watch { findings: findings.clone(), ..watch.clone() };
                let updated = self.with(PhaseState::Open(Some(watched)));
                self.go_on(&watch.findings, &findings, updated, inputs.policy)
            }
        }
    }

    fn step_draining(&self, down: &Down, inputs: RouteInputs<'_>, remaining: Option<u64>) -> Step {
        let ends = after(self.began, inputs.drain).max(self.seen);
        // The present demand did not exist yet when the drain time ended.
        if ends < inputs.now {
            return Step::Enter(self.close(down, ends, Reason::DrainTimeOver));
        }
        let heeded = match inputs.desired {
            // The route never was down: everybody is served as before.
            None if down.breach.is_none() => {
                return Step::Enter(self.open(&down.closing, inputs, inputs.now, Reason::LiftedWhileDraining));
            }
            None if down.is_forced(inputs) => return Step::Enter(self.come_back(down, inputs)),
            None => FlagEffect::Same,
            Some(desired) => self.follow_flags(down, inputs, desired),
        };
        let (down, reason) = match heeded {
            FlagEffect::Stricter(state) => return Step::Enter(state),
            FlagEffect::Changed(down, reason) => (down, reason),
            FlagEffect::Same => (down.clone(), self.reason.clone()),
        };
        if remaining == Some(0) {
            Step::Enter(self.close(&down, inputs.now, Reason::Drained))
        } else if ends == inputs.now {
            Step::Enter(self.close(&down, ends, Reason::DrainTimeOver))
        } else {
            Step::Update(Self { phase: PhaseState::Draining(down), reason, ..self.clone() })
        }
    }

    fn step_closed(&self, down: &Down, inputs: RouteInputs<'_>) -> Step {
        let Some(desired) = inputs.desired else {
            return match &down.breach {
                // A window may have given another reason meanwhile.
                Some(breach) if !down.is_forced(inputs) => {
                    if down.retries_at(inputs.policy.guard.as_ref()).is_some_and(|at| at <= inputs.now) {
                        return Step::Enter(self.try_again(down, inputs));
                    }
                    Step::Update(Self { reason: Reason::tripped(breach), ..self.clone() })
                }
                Some(_) | None => Step::Enter(self.come_back(down, inputs)),
            };
        };
        match self.follow_flags(down, inputs, desired) {
            FlagEffect::Stricter(state) => Step::Enter(state),
            FlagEffect::Changed(down, reason) => {
                Step::Update(Self { phase: PhaseState::Closed(down), reason, ..self.clone() })
            }
            FlagEffect::Same => Step::Stay,
        }
    }

    fn step_verifying(&self, closing: &Closing, inputs: RouteInputs<'_>) -> Step {
        let down = Down { closing: closing.clone(), breach: None };
        if let Some(desired) = inputs.desired {
            if let Some(stricter) = self.tighten(&down, inputs, desired) {
                return Step::Enter(stricter);
            }
            let closing = Closing::new(closing.started, desired.clone());
            let closed = PhaseState::Closed(Down { closing, breach: None });
            return Step::Enter(self.enter(closed, inputs.now, Reason::flagged(desired)));
        }
        // A word of force from before the guard closed the route does not skip the checks of another try.
        if down.is_forced(inputs) && (closing.tries == 0 || inputs.forced >= Some(self.began)) {
            let closing = Closing { tries: 0, ..closing.clone() };
            return Step::Enter(self.admit(&closing, inputs, inputs.now, Reason::ForcedUnchecked));
        }
        if inputs.policy.verify.is_empty() {
            return Step::Enter(self.admit(closing, inputs, inputs.now, Reason::NoChecks));
        }
        match verdict(inputs.policy, inputs.observed.checked(self.began), self.began) {
            Verdict::Passed(at) => Step::Enter(self.admit(closing, inputs, at.min(inputs.now), Reason::ChecksPassed)),
            Verdict::Failed(reason) | Verdict::Pending(reason) => Step::Update(Self { reason, ..self.clone() }),
        }
    }

    fn step_ramping(&self, back: &Return, inputs: RouteInputs<'_>) -> Step {
        let RouteInputs { policy, desired, now, .. } = inputs;
        match back.trial {
            Trial::Under => return self.step_trial(back, inputs),
            Trial::None | Trial::Over => {}
        }
        let Some(ramp) = policy.ramp.as_ref() else {
            return Step::Enter(match desired {
                Some(desired) => self.close_by_flag(inputs, desired),
                None => self.open(&back.closing, inputs, now, Reason::NoRamp),
            });
        };
        let heeded = self.heed(&back.findings, inputs);
        let began = match &heeded {
            Heeded::GoOn(Findings { breach: Some(_), .. }) if policy.holds_ramp() => self.held_began(now),
            Heeded::GoOn(_) | Heeded::Close(_) => self.began,
        };
        // A ramp that is shorter now than at the last evaluation did not end before that.
        let over = after(began, ramp.length()).max(self.seen);
        match (desired, heeded) {
            // The ramp ended before this input came.
            _ if over < now => Step::Enter(self.ramped(back, inputs, over)),
            (Some(desired), _) => Step::Enter(self.close_by_flag(inputs, desired)),
            (None, Heeded::Close(breach)) => Step::Enter(self.close_by_guard(&back.closing, inputs, breach)),
            (None, _) if over == now => Step::Enter(self.ramped(back, inputs, over)),
            (None, Heeded::GoOn(findings)) => {
                let elapsed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
                let share = back.share.max(share(ramp, elapsed));
                let phase = PhaseState::Ramping(Return { share, findings: findings.clone(), ..back.clone() });
                self.go_on(&back.findings, &findings, Self { began, ..self.with(phase) }, policy)
            }
        }
    }

    /// Opens the route after its ramp. A suspicion goes on.
    fn ramped(&self, back: &Return, inputs: RouteInputs<'_>, at: Timestamp) -> Self {
        let mut open = self.open(&back.closing, inputs, at, Reason::Ramped);
        if let PhaseState::Open(Some(watch)) = &mut open.phase {
            watch.findings.suspicion.clone_from(&back.findings.suspicion);
        }
        open
    }

    /// Returns the beginning of a ramp that is held: the time since the last evaluation does not count.
    fn held_began(&self, now: Timestamp) -> Timestamp {
        self.began.checked_add(now.duration_since(self.seen)).unwrap_or(now).min(now)
    }

    /// Takes the route down because it is flagged.
    pub(super) fn close_by_flag(&self, inputs: RouteInputs<'_>, desired: &Desired) -> Self {
        // A flag that was written only now has drained no requests before, whatever start it names.
        let started = desired.started.unwrap_or(inputs.now).min(inputs.now);
        let closing = Closing::new(started, desired.clone());
        let down = Down { closing, breach: None };
        let baseline = inputs.observed.lately.or(self.baseline);
        Self { baseline, ..self.enter(PhaseState::Draining(down), inputs.now, Reason::flagged(desired)) }
    }

    /// Puts a route that is down into a stricter mode, if that is desired. Requests that the previous mode let through
    /// then have to end, too.
    fn tighten(&self, down: &Down, inputs: RouteInputs<'_>, desired: &Desired) -> Option<Self> {
        if desired.mode <= down.closing.desired.mode {
            return None;
        }
        let closing = Closing::new(down.closing.started, desired.clone());
        let down = Down { closing, breach: down.breach.clone() };
        Some(self.enter(PhaseState::Draining(down), inputs.now, Reason::flagged(desired)))
    }

    /// Follows the flag file while the route is down.
    fn follow_flags(&self, down: &Down, inputs: RouteInputs<'_>, desired: &Desired) -> FlagEffect {
        let overruled = down.overruled(inputs, desired);
        let down = overruled.as_ref().unwrap_or(down);
        if let Some(stricter) = self.tighten(down, inputs, desired) {
            return FlagEffect::Stricter(stricter);
        }
        let before = &down.closing.desired;
        if overruled.is_none() && (down.breach.is_some() || before == desired) {
            return FlagEffect::Same;
        }
        let flagged = Reason::flagged(desired);
        let renamed = overruled.is_some() || Reason::flagged(before) != flagged;
        let reason = if renamed { flagged } else { self.reason.clone() };
        let closing = Closing::new(down.closing.started, desired.clone());
        FlagEffect::Changed(Down { closing, breach: None }, reason)
    }

    /// Takes the route down completely.
    fn close(&self, down: &Down, at: Timestamp, reason: Reason) -> Self {
        let reason = down.breach.as_ref().map_or(reason, Reason::tripped);
        self.enter(PhaseState::Closed(down.clone()), at, reason)
    }

    /// Brings the route back after its maintenance, through its checks if it has any.
    fn come_back(&self, down: &Down, inputs: RouteInputs<'_>) -> Self {
        let past = |instant: &Timestamp| *instant <= inputs.now && *instant >= self.since;
        let is_over = inputs.over.filter(past).or(down.closing.desired.until.filter(past)).is_some();
        let reason = match &down.breach {
            Some(_) => Reason::Forced,
            None if is_over => Reason::TimeOver,
            None => Reason::Lifted,
        };
        let closing = Closing { tries: 0, ..down.closing.clone() };
        if inputs.policy.verify.is_empty() || down.is_forced(inputs) {
            return self.admit(&closing, inputs, inputs.now, reason);
        }
        self.enter(PhaseState::Verifying(closing), inputs.now, reason)
    }

    /// Brings a route back that its guard closed, to see whether it does better now.
    fn try_again(&self, down: &Down, inputs: RouteInputs<'_>) -> Self {
        let closing = Closing { tries: down.closing.tries.saturating_add(1), ..down.closing.clone() };
        if inputs.policy.verify.is_empty() {
            return self.admit(&closing, inputs, inputs.now, Reason::TriesAgain);
        }
        self.enter(PhaseState::Verifying(closing), inputs.now, Reason::TriesAgain)
    }

    /// Lets clients in: by a ramp where there is one, else all at once.
    fn admit(&self, closing: &Closing, inputs: RouteInputs<'_>, at: Timestamp, reason: Reason) -> Self {
        let trial = if closing.tries > 0 && inputs.policy.guard.is_some() { Trial::Under } else { Trial::None };
        if !closing.ramps(inputs.policy) && trial == Trial::None {
            return self.open(closing, inputs, at, reason);
        }
        let back = Return { closing: closing.clone(), share: 0.0, findings: Findings::default(), trial };
        self.enter(PhaseState::Ramping(back), at, reason)
    }

    /// Opens the route. Its guard watches it from then on, unless the route was still draining.
    pub(super) fn open(&self, closing: &Closing, inputs: RouteInputs<'_>, at: Timestamp, reason: Reason) -> Self {
        let watch = match self.phase {
            PhaseState::Draining(_) => None,
            PhaseState::Open(_) | PhaseState::Closed(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => {
                inputs.policy.guard.map(|_| Watch { closing: closing.clone(), findings: Findings::default() })
            }
        };
        self.enter(PhaseState::Open(watch), at, reason)
    }

    /// Enters a phase: the only way from one to another.
    pub(super) fn enter(&self, phase: PhaseState, at: Timestamp, reason: Reason) -> Self {
        let began = match phase {
            PhaseState::Closed(_) => self.began,
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => at,
        };
        let open_before = self.open_before;
        Self { phase, since: at, reason, began, baseline: self.baseline, seen: self.seen, open_before }
    }

    /// Stays in the phase with other facts.
    pub(super) fn with(&self, phase: PhaseState) -> Self {
        Self { phase, reason: self.reason.clone(), ..*self }
    }
}

impl Down {
    /// Returns true if an operator has overruled guard and checks: after the breach if there is one, otherwise after
    /// the closing.
    fn is_forced(&self, inputs: RouteInputs<'_>) -> bool {
        // A future instant was written by a clock that is ahead. It counts once it has come.
        let Some(forced) = inputs.forced.filter(|forced| *forced <= inputs.now) else { return false };
        match &self.breach {
            Some(breach) => forced > breach.at,
            None => forced >= self.closing.started,
        }
    }

    /// Returns the facts without the breach, if an operator has overruled it by a flag or by force. A window that
    /// begins and ends by itself overrules nothing.
    fn overruled(&self, inputs: RouteInputs<'_>, desired: &Desired) -> Option<Self> {
        if self.breach.is_none() || !desired.by_hand && !self.is_forced(inputs) {
            return None;
        }
        // An opening by force from before the flag must not open a route that the flag closed.
        let started = if desired.by_hand { inputs.now } else { self.closing.started };
        let closing = Closing::new(started, self.closing.desired.clone());
        Some(Self { closing, breach: None })
    }
}

/// Effect of the flag file on a route that is down.
enum FlagEffect {
    /// The route drains anew, in a stricter mode.
    Stricter(RouteState),
    /// The route stays down for another reason.
    Changed(Down, Reason),
    /// Nothing changes.
    Same,
}
