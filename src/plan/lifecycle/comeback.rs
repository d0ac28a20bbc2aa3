//! Return of a route: one rule for whatever lifted. Checks come first, then the ramp, and the guard watches.
//!
//! Only a slip of the finger is undone at once. A hold gives back the ramp that it interrupted. A milder mode is a return
//! of what it lets through.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::config::{Check, OnBreach};
use super::super::flags::{Mode, Pace};
use super::breach::Heeded;
use super::closing::{Closing, Interrupted, Trial};
use super::finding::Findings;
use super::state::{Checking, Down, PhaseState, Return, RouteInputs, RouteState, Watch};
use super::{Desired, Reason, after};

/// Return of a route that may admit clients now.
pub(super) struct Comeback<'c> {
    closing: &'c Closing,
    /// Ramp that goes on.
    interrupted: Option<&'c Interrupted>,
    /// Instant from which a ramp counts.
    from: Timestamp,
    /// Instant of the admission, as it is reported.
    at: Timestamp,
}

/// Answer to the guard of a route in a milder mode than before.
pub(super) enum Eased {
    /// The route closes completely.
    Trips(RouteState),
    /// The route stays in its mode, and the history tells of the new reason if there is one.
    GoesOn(Down, Option<Reason>),
}

impl RouteState {
    /// Brings the route back after its maintenance, through its checks if it has any. With a milder demand, what that
    /// lets through comes back.
    pub(super) fn come_back(&self, down: &Down, inputs: RouteInputs<'_>, eases: Option<&Desired>) -> Self {
        let reason = match (&down.breach, eases) {
            (_, Some(desired)) => Reason::flagged(desired),
            (Some(_), None) => Reason::Forced,
            (None, None) if self.is_over(down, inputs) => Reason::TimeOver,
            (None, None) => Reason::Lifted,
        };
        // A milder demand that waited for the drain counts from the end of that.
        let waited = eases.is_some() && down.closing.eases.as_ref() == eases;
        let from = if waited { self.since } else { self.ended(down, inputs) };
        let at = from.max(self.since).min(inputs.now);
        let closing = Closing { eases: eases.cloned(), tries: 0, ..down.closing.clone() };
        let interrupted = down.closing.gives_back(down.interrupted.as_ref()).cloned();
        if inputs.policy.verify.is_empty() || down.is_forced(inputs) {
            let comeback = Comeback { closing: &closing, interrupted: interrupted.as_ref(), from, at };
            return self.admit(&comeback, inputs, reason);
        }
        let late = Duration::try_from(inputs.now.duration_since(from)).unwrap_or_default();
        let spares = matches!(self.phase, PhaseState::Draining(_));
        let checking = Checking { closing, late, interrupted, spares };
        Self { began: from, ..self.enter(PhaseState::Verifying(checking), at, reason) }
    }

    /// Lets clients in: by a ramp where there is one, else all at once.
    pub(super) fn admit(&self, comeback: &Comeback<'_>, inputs: RouteInputs<'_>, reason: Reason) -> Self {
        let Comeback { closing, interrupted, from, at } = *comeback;
        let (policy, findings) = (inputs.policy, Findings::default());
        let tries = closing.tries > 0 && policy.guard.is_some();
        if self.skips(closing, at, inputs) {
            let reason = if tries { Reason::RampSkipped } else { reason };
            return self.arrive(closing, inputs, at, reason);
        }
        if tries {
            let back = Return { closing: closing.clone(), share: 0.0, findings, trial: Trial::Under };
            return self.enter(PhaseState::Ramping(back), at, reason);
        }
        if closing.reads_on(interrupted) {
            return self.read_on(comeback, inputs);
        }
        if let Some(before) = interrupted.filter(|interrupted| interrupted.is_tried(policy)) {
            return self.enter(before.trial_again(), at, reason);
        }
        if policy.ramp.is_none() {
            return self.arrive(closing, inputs, at, reason);
        }
        if let Some(Interrupted { closing: before, share: Some(share), elapsed, trial }) = interrupted {
            let closing = Closing { eases: closing.eases.clone(), ..before.clone() };
            let back = Return { closing, share: *share, findings, trial: trial.past() };
            return Self { began: before_by(from, *elapsed), ..self.enter(PhaseState::Ramping(back), at, reason) };
        }
        if !closing.ramps(policy) {
            return self.arrive(closing, inputs, at, reason);
        }
        let back = Return { closing: closing.clone(), share: 0.0, findings, trial: Trial::None };
        Self { began: from, ..self.enter(PhaseState::Ramping(back), at, reason) }
    }

    /// Returns true if an operator lets everybody in at once when the route comes back at an instant. A word from before
    /// the guard tries again is no answer to what it found, and one from before a reload none to what that moved.
    pub(super) fn skips(&self, closing: &Closing, at: Timestamp, inputs: RouteInputs<'_>) -> bool {
        let since = match &self.phase {
            _ if closing.tries == 0 && !closing.reloaded => closing.started,
            PhaseState::Verifying(_) => self.began,
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Ramping(_) => at,
        };
        inputs.skips_ramp(since)
    }

    /// Ends the return: the route is open, or in its milder mode. Its guard watches from then on.
    pub(super) fn arrive(&self, closing: &Closing, inputs: RouteInputs<'_>, at: Timestamp, reason: Reason) -> Self {
        let guarded = inputs.policy.guard.is_some();
        let Some(eased) = &closing.eases else {
            let watch = guarded.then(|| Watch { closing: closing.clone(), findings: Findings::default() });
            return self.enter(PhaseState::Open(watch), at, reason);
        };
        let down = Down {
            watched: guarded.then(Findings::default),
            ..Down::new(Closing::new(closing.started, eased.clone()))
        };
        // What was spared has to drain, except for what the milder mode lets through.
        let phase = if self.spares() { PhaseState::Draining(down) } else { PhaseState::Closed(down) };
        Self { began: at, ..self.enter(phase, at, Reason::flagged(eased)) }
    }

    /// Lets reads in again after a reload has moved a route that was read-only.
    fn read_on(&self, comeback: &Comeback<'_>, inputs: RouteInputs<'_>) -> Self {
        let mut state = self.arrive(comeback.closing, inputs, comeback.at, Reason::ChecksPassed);
        if let PhaseState::Draining(down) | PhaseState::Closed(down) = &mut state.phase {
            down.interrupted = comeback.interrupted.cloned();
        }
        state
    }

    /// Returns true if the flag was lifted so soon that nothing can have been done behind the route. A route that is
    /// drained may be worked at, however short that took.
    pub(super) fn is_slip(&self, down: &Down, inputs: RouteInputs<'_>) -> bool {
        self.is_young(down, self.ended(down, inputs)) && !self.is_over(down, inputs)
    }

    /// Undoes a slip of the finger: everybody is served as before.
    pub(super) fn give_back(&self, down: &Down, inputs: RouteInputs<'_>) -> Self {
        let (now, reason) = (inputs.now, Reason::LiftedWhileDraining);
        let Some(before) = down.interrupted.clone() else {
            return self.enter(PhaseState::Open(None), now, reason);
        };
        if before.is_tried(inputs.policy) {
            return self.enter(before.trial_again(), now, reason);
        }
        let Interrupted { closing, share, elapsed, trial } = before;
        let phase = match share {
            Some(share) if inputs.policy.ramp.is_some() => {
                let trial = trial.past();
                PhaseState::Ramping(Return { closing, share, findings: Findings::default(), trial })
            }
            Some(_) | None => {
                PhaseState::Open(inputs.policy.guard.map(|_| Watch { closing, findings: Findings::default() }))
            }
        };
        Self { began: before_by(now, elapsed), ..self.enter(phase, now, reason) }
    }

    /// Closes a route that was being checked. What was spared has to drain.
    pub(super) fn close_anew(&self, checking: &Checking, inputs: RouteInputs<'_>, desired: &Desired) -> Self {
        let interrupted = match desired.mode {
            Mode::Hold => checking.interrupted.clone().or_else(|| checking.closing.owes(inputs)),
            Mode::ReadOnly => checking.interrupted.clone(),
            Mode::Offline => None,
        };
        let before = Down { interrupted: interrupted.clone(), ..Down::new(checking.closing.clone()) };
        if let Some(stricter) = self.tighten(&before, inputs, desired) {
            return stricter;
        }
        let down = Down { interrupted, ..Down::new(Closing::new(checking.closing.started, desired.clone())) };
        let phase = if checking.spares { PhaseState::Draining(down) } else { PhaseState::Closed(down) };
        self.enter(phase, inputs.now, Reason::flagged(desired))
    }

    /// Heeds the guard of what a milder mode lets through, as long as that is watched.
    pub(super) fn heed_eased(&self, down: &Down, inputs: RouteInputs<'_>) -> Eased {
        let guard = inputs.policy.guard.filter(|guard| inputs.now < after(self.began, guard.watch));
        let Some((findings, guard)) = down.watched.as_ref().zip(guard) else {
            return Eased::GoesOn(Down { watched: None, ..down.clone() }, None);
        };
        if guard.on_breach != OnBreach::Close {
            return Eased::GoesOn(down.clone(), None);
        }
        match self.heed(findings, inputs) {
            Heeded::Close(breach) => {
                let closing = Closing { eases: Some(down.closing.desired.clone()), ..down.closing.clone() };
                Eased::Trips(self.close_by_guard(&closing, inputs, breach))
            }
            Heeded::GoOn(found) => {
                let news = found.news(findings, guard.on_breach);
                Eased::GoesOn(Down { watched: Some(found), ..down.clone() }, news)
            }
        }
    }

    /// Returns true if a demand lets requests through that the route refuses or holds, and the policy has a rule for
    /// their return.
    pub(super) fn is_milder(&self, down: &Down, inputs: RouteInputs<'_>, desired: &Desired) -> bool {
        let policy = inputs.policy;
        let ruled = !policy.verify.is_empty() || policy.ramp.is_some() || policy.guard.is_some();
        let corrected = matches!(self.phase, PhaseState::Draining(_)) && self.is_young(down, inputs.now);
        ruled && !corrected && down.closing.is_eased_by(desired)
    }

    /// Returns the instant from which the ramp after the checks counts. A process that began to check late counts as the
    /// ones that were in time, unless its checks have failed meanwhile.
    pub(super) fn ramps_from(&self, checking: &Checking, checks: &[Check], passed: Timestamp) -> Timestamp {
        let points = |check: &Check| {
            let every = check.every.max(Duration::from_nanos(1));
            let times = check.times.saturating_sub(1);
            let skipped = u32::try_from(checking.late.as_nanos() / every.as_nanos()).unwrap_or(u32::MAX);
            (every.saturating_mul(times), every.saturating_mul(times.saturating_add(skipped)))
        };
        let (in_time, at_best) = checks
            .iter()
            .map(points)
            .fold((Duration::ZERO, Duration::ZERO), |most, one| (most.0.max(one.0), most.1.max(one.1)));
        if passed <= after(self.began, at_best) { after(self.began, in_time).min(passed) } else { passed }
    }

    /// Returns true if the route has been down for so short a time that a person may have slipped.
    pub(super) fn is_young(&self, down: &Down, now: Timestamp) -> bool {
        now < after(self.began.min(down.closing.started), SLIP)
    }

    /// Returns true if the window or the flag that closed the route has reached its end.
    fn is_over(&self, down: &Down, inputs: RouteInputs<'_>) -> bool {
        let past = |instant: &Timestamp| *instant <= inputs.now && *instant >= self.since;
        inputs.over.filter(past).or(down.closing.desired.until.filter(past)).is_some()
    }

    /// Returns the instant at which the maintenance ended, as the flag file has it if that is not long ago; else now.
    fn ended(&self, down: &Down, inputs: RouteInputs<'_>) -> Timestamp {
        let now = inputs.now;
        let least = down.closing.started.max(before_by(now, REMEMBERED));
        // The planned end of a window that overran is no end.
        let over = inputs.over.filter(|_| !down.closing.desired.overruns);
        let known = [inputs.lifted.map(|lift| lift.at), over, down.closing.desired.until];
        let known = known.into_iter().flatten().filter(|at| *at <= now && *at >= least);
        known.max().filter(|_| down.breach.is_none()).unwrap_or(now)
    }
}

impl Down {
    /// Creates the facts of a closure that interrupted nothing.
    pub(super) fn new(closing: Closing) -> Self {
        Self { closing, breach: None, interrupted: None, watched: None }
    }
}

impl Checking {
    /// Creates the facts of checks that follow the end of a maintenance at once.
    pub(super) fn new(closing: Closing) -> Self {
        Self { closing, late: Duration::ZERO, interrupted: None, spares: false }
    }

    /// Returns the checks with the passes that suffice here. A route that nothing is known of was most likely open.
    pub(super) fn enough<'c>(&self, checks: &'c [Check]) -> Cow<'c, [Check]> {
        if !self.closing.untold {
            return Cow::Borrowed(checks);
        }
        Cow::Owned(checks.iter().map(|check| Check { times: 1, ..check.clone() }).collect())
    }

    /// Returns the return after the checks. Its ramp counts `from` an instant.
    pub(super) fn passed(&self, from: Timestamp, at: Timestamp) -> Comeback<'_> {
        Comeback { closing: &self.closing, interrupted: self.interrupted.as_ref(), from, at }
    }
}

impl Closing {
    /// Returns true if a demand lets through what this closure stops.
    pub(super) fn is_eased_by(&self, desired: &Desired) -> bool {
        desired.mode == Mode::ReadOnly && self.desired.mode > Mode::ReadOnly
    }
}

impl Interrupted {
    /// Returns the trial from its beginning. Its time does not go on, because nobody tried the route meanwhile.
    fn trial_again(&self) -> PhaseState {
        let (share, findings) = (self.share.unwrap_or_default(), Findings::default());
        PhaseState::Ramping(Return { closing: self.closing.clone(), share, findings, trial: self.trial })
    }
}

impl Trial {
    /// Returns the trial of a ramp that goes on. One that cannot go on, because the guard is gone, is over.
    fn past(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Under | Self::Over => Self::Over,
        }
    }
}

impl RouteInputs<'_> {
    /// Returns true if an operator has let everybody in at once, at an instant or after it.
    pub(super) fn skips_ramp(&self, since: Timestamp) -> bool {
        let lift = self.lifted.filter(|lift| lift.at <= self.now && lift.at >= since);
        lift.is_some_and(|lift| lift.pace == Pace::AtOnce)
    }
}

fn before_by(instant: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    instant.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

/// Time after a closure in which its lifting is a slip of the finger.
const SLIP: Duration = Duration::from_secs(2);
/// Age up to which an end in the flag file counts. A file that reached this replica even later was held back.
const REMEMBERED: Duration = Duration::from_mins(5);
