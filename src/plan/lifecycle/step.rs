//! Steps of a route from phase to phase, one function a phase.

use std::time::Duration;

use jiff::Timestamp;

use super::super::flags::Mode;
use super::breach::Heeded;
use super::closing::{Closing, Trial};
use super::comeback::Eased;
use super::finding::Findings;
use super::ramp::share;
use super::state::{Checking, Down, PhaseState, Return, RouteInputs, RouteState, Step, Watch};
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
            PhaseState::Verifying(checking) => self.step_verifying(checking, inputs),
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
            None if down.breach.is_none() && self.is_slip(down, inputs) => {
                return Step::Enter(self.give_back(down, inputs));
            }
            None if down.breach.is_none() || down.is_forced(inputs) => {
                return Step::Enter(self.come_back(down, inputs, None));
            }
            None => FlagEffect::Same,
            Some(desired) => self.follow_flags(down, inputs, desired),
        };
        let (down, reason) = match heeded {
            FlagEffect::Stricter(state) => return Step::Enter(state),
            FlagEffect::Changed(down, reason) => (down, reason),
            // Requests that the stricter mode stopped end before the milder one begins.
            FlagEffect::Milder(down, eases) => {
                let closing = Closing { eases: Some(eases), ..down.closing.clone() };
                (Down { closing, ..down }, self.reason.clone())
            }
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
        // A milder mode that waited for the drain begins when that has ended, whatever came after.
        if let Some(eases) = down.closing.eases.as_ref().filter(|_| down.breach.is_none()) {
            return Step::Enter(self.come_back(down, inputs, Some(eases)));
        }
        let (down, news) = match self.heed_eased(down, inputs) {
            Eased::Trips(tripped) => return Step::Enter(tripped),
            Eased::GoesOn(down, news) => (down, news),
        };
        match (self.step_down(&down, inputs), news) {
            (Step::Update(updated), Some(reason)) => Step::Tell(Self { reason, ..updated }),
            (step, _) => step,
        }
    }

    /// Follows the flag file while the route is closed, and no guard objects anew.
    fn step_down(&self, down: &Down, inputs: RouteInputs<'_>) -> Step {
        let Some(desired) = inputs.desired else {
            return match &down.breach {
                // A window may have given another reason meanwhile.
                Some(breach) if !down.is_forced(inputs) => {
                    if down.retries_at(inputs.policy.guard.as_ref()).is_some_and(|at| at <= inputs.now) {
                        return Step::Enter(self.try_again(down, inputs));
                    }
                    Step::Update(Self { reason: Reason::tripped(breach), ..self.clone() })
                }
                Some(_) | None => Step::Enter(self.come_back(down, inputs, None)),
            };
        };
        match self.follow_flags(down, inputs, desired) {
            FlagEffect::Stricter(state) => Step::Enter(state),
            FlagEffect::Changed(down, reason) => {
                Step::Update(Self { phase: PhaseState::Closed(down), reason, ..self.clone() })
            }
            FlagEffect::Milder(down, eases) => Step::Enter(self.come_back(&down, inputs, Some(&eases))),
            FlagEffect::Same => Step::Update(self.with(PhaseState::Closed(down.clone()))),
        }
    }

    fn step_verifying(&self, checking: &Checking, inputs: RouteInputs<'_>) -> Step {
        let eased = inputs.desired.filter(|desired| checking.closing.is_eased_by(desired));
        if let Some(desired) = inputs.desired.filter(|_| eased.is_none()) {
            return Step::Enter(self.close_anew(checking, inputs, desired));
        }
        let checking = &Checking { closing: checking.closing.eased_by(eased), ..checking.clone() };
        if let Some(breach) = self.heard(inputs) {
            return Step::Enter(self.close_by_guard(&checking.closing, inputs, breach));
        }
        let Closing { tries, reloaded, .. } = checking.closing;
        let forced = Down::new(checking.closing.clone()).is_forced(inputs);
        // A word of force from before the guard closed the route does not skip the checks of another try, and one from
        // before a reload those of what it moved.
        if forced && (tries == 0 && !reloaded || inputs.forced >= Some(self.began)) {
            let closing = Closing { tries: 0, ..checking.closing.clone() };
            let checking = Checking { closing, ..checking.clone() };
            return Step::Enter(self.admit(&checking.passed(inputs.now, inputs.now), inputs, Reason::ForcedUnchecked));
        }
        let checks = &inputs.policy.verify;
        if checks.is_empty() {
            return Step::Enter(self.admit(&checking.passed(inputs.now, inputs.now), inputs, Reason::NoChecks));
        }
        let checks = &checking.enough(checks);
        match verdict(inputs.policy, checks, inputs.observed.checked(self.began), self.began) {
            Verdict::Passed(at) => {
                let passed = checking.passed(self.ramps_from(checking, checks, at), at.min(inputs.now));
                Step::Enter(self.admit(&passed, inputs, Reason::ChecksPassed))
            }
            Verdict::Failed(reason) | Verdict::Pending(reason) => {
                Step::Update(Self { phase: PhaseState::Verifying(checking.clone()), reason, ..self.clone() })
            }
        }
    }

    fn step_ramping(&self, back: &Return, inputs: RouteInputs<'_>) -> Step {
        let RouteInputs { policy, now, .. } = inputs;
        match back.trial {
            Trial::Under => return self.step_trial(back, inputs),
            Trial::None | Trial::Over => {}
        }
        let (eased, desired) = back.demands(inputs);
        let closing = Closing { eases: eased.cloned(), ..back.closing.clone() };
        let Some(ramp) = policy.ramp.as_ref() else {
            return Step::Enter(match desired {
                Some(desired) => self.close_by_flag(inputs, desired),
                None => self.arrive(&closing, inputs, now, Reason::NoRamp),
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
            (None, Heeded::Close(breach)) => Step::Enter(self.close_by_guard(&closing, inputs, breach)),
            (None, _) if over == now => Step::Enter(self.ramped(&Return { closing, ..back.clone() }, inputs, over)),
            (None, _) if inputs.skips_ramp(self.skippable(back)) => {
                Step::Enter(self.arrive(&closing, inputs, now, Reason::RampSkipped))
            }
            (None, Heeded::GoOn(findings)) => {
                let elapsed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
                let share = back.share.max(share(ramp, elapsed));
                let phase = PhaseState::Ramping(Return { closing, share, findings: findings.clone(), ..back.clone() });
                self.go_on(&back.findings, &findings, Self { began, ..self.with(phase) }, policy)
            }
        }
    }

    /// Returns the instant from which a word skips the ramp. One from before a trial is no answer to what the guard found.
    fn skippable(&self, back: &Return) -> Timestamp {
        match back.trial {
            Trial::None => back.closing.started,
            Trial::Under | Trial::Over => self.began,
        }
    }

    /// Opens the route after its ramp. A suspicion goes on.
    fn ramped(&self, back: &Return, inputs: RouteInputs<'_>, at: Timestamp) -> Self {
        let mut open = self.arrive(&back.closing, inputs, at, Reason::Ramped);
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
        let down = Down { interrupted: self.interrupted_here(inputs), ..Down::new(closing) };
        let baseline = inputs.observed.lately.map(Box::new).or_else(|| self.baseline.clone());
        Self { baseline, ..self.enter(PhaseState::Draining(down), inputs.now, Reason::flagged(desired)) }
    }

    /// Puts a route that is down into a stricter mode, if that is desired. Requests that the previous mode let through
    /// then have to end, too.
    pub(super) fn tighten(&self, down: &Down, inputs: RouteInputs<'_>, desired: &Desired) -> Option<Self> {
        if desired.mode <= down.closing.desired.mode {
            return None;
        }
        let closing = Closing::new(down.closing.started, desired.clone());
        let interrupted = self.carried(down, inputs, desired);
        let down = Down { breach: down.breach.clone(), interrupted, ..Down::new(closing) };
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
        let same = before == desired && down.closing.eases.is_none();
        if overruled.is_none() && (down.breach.is_some() || same) {
            return FlagEffect::Same;
        }
        if self.is_milder(down, inputs, desired) {
            return FlagEffect::Milder(down.clone(), desired.clone());
        }
        let flagged = Reason::flagged(desired);
        let renamed = overruled.is_some() || Reason::flagged(before) != flagged;
        let reason = if renamed { flagged } else { self.reason.clone() };
        let closing = Closing::new(down.closing.started, desired.clone());
        let interrupted = self.carried(down, inputs, desired);
        FlagEffect::Changed(Down { closing, breach: None, interrupted, watched: down.watched.clone() }, reason)
    }

    /// Takes the route down completely.
    fn close(&self, down: &Down, at: Timestamp, reason: Reason) -> Self {
        let reason = down.breach.as_ref().map_or(reason, Reason::tripped);
        self.enter(PhaseState::Closed(down.clone()), at, reason)
    }

    /// Brings a route back that its guard closed, to see whether it does better now.
    fn try_again(&self, down: &Down, inputs: RouteInputs<'_>) -> Self {
        let closing = Closing { tries: down.closing.tries.saturating_add(1), ..down.closing.clone() };
        if inputs.policy.verify.is_empty() {
            return self.admit(&Checking::new(closing).passed(inputs.now, inputs.now), inputs, Reason::TriesAgain);
        }
        self.enter(PhaseState::Verifying(Checking::new(closing)), inputs.now, Reason::TriesAgain)
    }

    /// Enters a phase: the only way from one to another.
    pub(super) fn enter(&self, phase: PhaseState, at: Timestamp, reason: Reason) -> Self {
        let began = match phase {
            PhaseState::Closed(_) => self.began,
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => at,
        };
        let open_before = self.open_before;
        Self { phase, since: at, reason, began, baseline: self.baseline.clone(), seen: self.seen, open_before }
    }

    /// Stays in the phase with other facts.
    pub(super) fn with(&self, phase: PhaseState) -> Self {
        Self { phase, reason: self.reason.clone(), baseline: self.baseline.clone(), ..*self }
    }
}

impl Return {
    /// Returns the demand that the route comes back to, and the one that takes it down; at most one of them.
    pub(super) fn demands<'i>(&self, inputs: RouteInputs<'i>) -> (Option<&'i Desired>, Option<&'i Desired>) {
        let eased = inputs.desired.filter(|desired| self.closing.eases.is_some() && desired.mode == Mode::ReadOnly);
        (eased, inputs.desired.filter(|_| eased.is_none()))
    }
}

impl Down {
    /// Returns true if an operator has overruled guard and checks: after the breach if there is one, otherwise after
    /// the closing.
    pub(super) fn is_forced(&self, inputs: RouteInputs<'_>) -> bool {
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
        // A flag that was in force when the guard tripped is no answer to that.
        let anew = desired.by_hand && self.closing.eases.as_ref() != Some(desired);
        if self.breach.is_none() || !anew && !self.is_forced(inputs) {
            return None;
        }
        // An opening by force from before the flag must not open a route that the flag closed.
        let started = if anew { inputs.now } else { self.closing.started };
        let closing = Closing::new(started, self.closing.desired.clone());
        Some(Self::new(closing))
    }
}

/// Effect of the flag file on a route that is down.
enum FlagEffect {
    /// The route drains anew, in a stricter mode.
    Stricter(RouteState),
    /// The route stays down for another reason.
    Changed(Down, Reason),
    /// The route comes back to a milder mode.
    Milder(Down, Desired),
    /// Nothing changes.
    Same,
}
