//! Consequences of a guard's finding: a second look, the closing, and another try.
//!
//! A guard that closes may find one thing by chance. If the route has checks, they are asked first. A check that fails
//! is a second witness, and the route closes at once. Checks that pass do not acquit, because they touch a few pages
//! only. The guard then counts anew, and the route closes if requests from after the first finding are as bad.

use std::time::Duration;

use jiff::Timestamp;

use super::super::config::{Check, Guard, OnBreach, Policy, Ramp};
use super::super::flags::Mode;
use super::closing::{Closing, Trial};
use super::finding::{Findings, Suspicion};
use super::state::{Checking, Down, PhaseState, Return, RouteInputs, RouteState, Step};
use super::verification::{Verdict, verdict};
use super::{Breach, Measured, Reason, after, dropped, judge};

/// Answer to what a guard found, or did not find.
pub(super) enum Heeded {
    /// The route closes.
    Close(Breach),
    /// The route goes on.
    GoOn(Findings),
}

/// Findings of one look, by their consequences.
#[derive(Default)]
struct Found {
    /// Finding that closes the route.
    closes: Option<Breach>,
    /// Finding that is told, and may hold the ramp.
    told: Option<Breach>,
}

impl RouteState {
    /// Heeds the guard of a route that has come back.
    pub(super) fn heed(&self, before: &Findings, inputs: RouteInputs<'_>) -> Heeded {
        if let Some(breach) = self.heard(inputs) {
            return Heeded::Close(breach);
        }
        let found = self.look(before.breach.as_ref(), inputs);
        let told = |findings| Heeded::GoOn(Findings { breach: found.told, ..findings });
        if !inputs.policy.guard.is_some_and(|guard| guard.closes()) {
            return told(Findings::default());
        }
        match self.suspect(before.suspicion.as_ref(), found.closes, inputs) {
            Heeded::GoOn(findings) => told(findings),
            Heeded::Close(breach) => Heeded::Close(breach),
        }
    }

    fn suspect(&self, before: Option<&Suspicion>, found: Option<Breach>, inputs: RouteInputs<'_>) -> Heeded {
        let go_on = |suspicion| Heeded::GoOn(Findings { breach: None, suspicion });
        let checks = &inputs.policy.verify;
        match (before, found) {
            (None, None) => go_on(None),
            (None, Some(breach)) if checks.is_empty() => Heeded::Close(breach),
            (None, Some(breach)) => go_on(Some(Suspicion { breach, cleared: false })),
            (Some(suspicion), _) if checks.is_empty() && !suspicion.cleared => {
                Heeded::Close(Breach { at: inputs.now, ..suspicion.breach.clone() })
            }
            (Some(suspicion), Some(breach)) if suspicion.cleared && is_before(&suspicion.breach, inputs) => {
                Heeded::Close(breach)
            }
            (Some(suspicion), _) if suspicion.cleared => go_on(Some(suspicion.clone())),
            (Some(suspicion), _) => self.ask_checks(suspicion, inputs),
        }
    }

    /// Asks the checks about a suspicion. A minute without their answer is an answer.
    fn ask_checks(&self, suspicion: &Suspicion, inputs: RouteInputs<'_>) -> Heeded {
        let (checks, breach) = (&inputs.policy.verify, &suspicion.breach);
        let go_on = |cleared| {
            let suspicion = Suspicion { breach: breach.clone(), cleared };
            Heeded::GoOn(Findings { breach: None, suspicion: Some(suspicion) })
        };
        let close = |why: &str| Heeded::Close(Breach::new(inputs.now, format!("{}; {why}", breach.what)));
        match verdict(inputs.policy, checks, inputs.observed.checked(breach.at), self.began) {
            Verdict::Passed(_) => go_on(true),
            Verdict::Failed(failed) => close(&failed.to_string()),
            // Without measurements the instant is one that passed unseen, and nothing was asked then.
            Verdict::Pending(_)
                if inputs.observed.measured.is_some() && after(breach.at, round(checks)) <= inputs.now =>
            {
                close("the checks have not passed since")
            }
            Verdict::Pending(_) => go_on(false),
        }
    }

    /// Asks the guard. After a restart what it told stays until there are new measurements.
    fn look(&self, before: Option<&Breach>, inputs: RouteInputs<'_>) -> Found {
        let mut found = Found::default();
        let Some(guard) = inputs.policy.guard.as_ref() else { return found };
        let Some(measured) = &inputs.observed.measured else { return Found { told: before.cloned(), ..found } };
        let (whole, now) = (inputs.observed.whole.as_ref(), inputs.now);
        let baseline = whole.and_then(|whole| whole.baseline.as_ref()).or(self.baseline());
        let among = whole.map(|whole| whole.among.words()).unwrap_or_default();
        let breach = judge(guard, measured, baseline, now);
        let drop = dropped(guard, measured, baseline, now);
        for (breach, consequence) in [(breach, guard.on_breach), (drop, guard.on_drop)] {
            let breach = breach.map(|found| Breach { what: found.what + &among, ..found });
            match consequence {
                OnBreach::Close => found.closes = found.closes.or(breach),
                OnBreach::HoldRamp | OnBreach::Warn => found.told = found.told.or(breach),
            }
        }
        found
    }

    /// Returns the finding of another replica for which this one closes the route as well: it is the same return, and the
    /// same guard.
    pub(super) fn heard(&self, inputs: RouteInputs<'_>) -> Option<Breach> {
        let whole =
            inputs.observed.whole.as_ref().filter(|_| inputs.policy.guard.is_some_and(|guard| guard.closes()))?;
        whole.breach.clone()
    }

    /// Stays in a phase that the guard watches, and tells what is new.
    pub(super) fn go_on(&self, before: &Findings, findings: &Findings, updated: Self, policy: &Policy) -> Step {
        let on_breach = policy.guard.map(|guard| guard.on_breach).unwrap_or_default();
        match findings.news(before, on_breach) {
            Some(reason) => Step::Tell(Self { reason, ..updated }),
            None => Step::Update(updated),
        }
    }

    /// Takes the route down because its guard found a breach. Whatever closed it before, nobody waits for an operator,
    /// and nobody reads from a service that was found broken: the mode is offline.
    pub(super) fn close_by_guard(&self, closing: &Closing, inputs: RouteInputs<'_>, breach: Breach) -> Self {
        let reason = Reason::tripped(&breach);
        let mut closing = closing.clone();
        closing.desired.mode = Mode::Offline;
        let down = Down { breach: Some(breach), ..Down::new(closing) };
        self.enter(PhaseState::Draining(down), inputs.now, reason)
    }

    /// Evaluates a route that a few clients try before the rest.
    pub(super) fn step_trial(&self, back: &Return, inputs: RouteInputs<'_>) -> Step {
        let RouteInputs { policy, now, .. } = inputs;
        let (eased, desired) = back.demands(inputs);
        if let Some(desired) = desired {
            return Step::Enter(self.close_by_flag(inputs, desired));
        }
        let back = &Return { closing: Closing { eases: eased.cloned(), ..back.closing.clone() }, ..back.clone() };
        if inputs.skips_ramp(self.began) {
            return Step::Enter(self.arrive(&back.closing, inputs, now, Reason::RampSkipped));
        }
        if inputs.forced.is_some_and(|forced| forced <= now && forced >= self.began) {
            let closing = Closing { tries: 0, ..back.closing.clone() };
            return Step::Enter(self.admit(&Checking::new(closing).passed(now, now), inputs, Reason::Forced));
        }
        let findings = match self.heed(&back.findings, inputs) {
            Heeded::Close(breach) => return Step::Enter(self.close_by_guard(&back.closing, inputs, breach)),
            Heeded::GoOn(findings) => findings,
        };
        let share = back.share.max(trial_share(policy));
        let before = &back.findings;
        let back = Return { share, findings: findings.clone(), ..back.clone() };
        if !findings.are_settled() || !self.has_seen_enough(inputs) {
            return self.go_on(before, &findings, self.with(PhaseState::Ramping(back)), policy);
        }
        if policy.ramp.is_none() {
            return Step::Enter(self.arrive(&back.closing, inputs, now, Reason::TriedWell));
        }
        let phase = PhaseState::Ramping(Return { trial: Trial::Over, ..back });
        Step::Tell(Self { began: now, reason: Reason::TriedWell, ..self.with(phase) })
    }

    /// Returns true if the guard knows enough about the few clients: after some time and requests, or after its watch.
    fn has_seen_enough(&self, inputs: RouteInputs<'_>) -> bool {
        let Some(guard) = inputs.policy.guard else { return true };
        let requests = inputs.observed.measured.as_ref().map_or(0, Measured::requests);
        let enough = requests >= guard.min_requests && after(self.began, LEAST_TRIAL) <= inputs.now;
        enough || after(self.began, guard.watch) <= inputs.now
    }

    /// Returns the instants at which what follows a finding, or a try, goes on without an observation.
    pub(super) fn deadlines(&self, inputs: RouteInputs<'_>) -> [Option<Timestamp>; 3] {
        let (policy, measured) = (inputs.policy, inputs.observed.measured.as_ref());
        let (findings, trial) = match &self.phase {
            PhaseState::Open(Some(watch)) => (&watch.findings, Trial::None),
            PhaseState::Ramping(back) => (&back.findings, back.trial),
            PhaseState::Closed(Down { watched: Some(findings), .. }) => (findings, Trial::None),
            PhaseState::Closed(down) => return [down.retries_at(policy.guard.as_ref()), None, None],
            PhaseState::Open(None) | PhaseState::Draining(_) | PhaseState::Verifying(_) => return [None; 3],
        };
        let suspicion = findings.suspicion.as_ref().map(|Suspicion { breach, cleared }| {
            let anew = || measured.map_or(Duration::ZERO, |measured| measured.span().saturating_sub(SLACK));
            after(breach.at, if *cleared { anew() } else { round(&policy.verify) })
        });
        let watch = policy.guard.filter(|_| trial == Trial::Under).map(|guard| guard.watch);
        let trial = watch.map(|watch| [LEAST_TRIAL, watch].map(|time| after(self.began, time)));
        [suspicion, trial.map(|[least, _]| least), trial.map(|[_, watch]| watch)]
    }
}

/// Returns true if the present measurements began after a finding.
fn is_before(breach: &Breach, inputs: RouteInputs<'_>) -> bool {
    let span = inputs.observed.measured.as_ref().map_or(Duration::MAX, Measured::span);
    let since = Duration::try_from(inputs.now.duration_since(breach.at)).unwrap_or_default();
    // Two clocks are compared.
    span <= since + SLACK
}

impl Down {
    /// Returns the instant at which the guard that closed the route tries again by itself.
    pub(super) fn retries_at(&self, guard: Option<&Guard>) -> Option<Timestamp> {
        let (breach, first) = (self.breach.as_ref()?, guard?.retry_after?);
        let factor = 1_u32.checked_shl(self.closing.tries).unwrap_or(u32::MAX);
        Some(after(breach.at, first.saturating_mul(factor).min(LONGEST_RETRY.max(first))))
    }
}

/// Returns the share of the clients that try the route for the others: that of the ramp's first point.
fn trial_share(policy: &Policy) -> f64 {
    match &policy.ramp {
        Some(Ramp::Steps(steps)) => steps.first().map_or(TRIAL_SHARE, |(_, share)| *share),
        Some(Ramp::Linear(_)) | None => TRIAL_SHARE,
    }
}

/// Returns the time for all checks to pass once more, up to a minute.
fn round(checks: &[Check]) -> Duration {
    let each = checks.iter().map(|check| check.every.saturating_mul(check.times.saturating_sub(1)) + check.within);
    (each.max().unwrap_or_default() + SLACK).min(LONGEST_ROUND)
}

/// Share of the clients that try a route without a ramp.
const TRIAL_SHARE: f64 = 0.05;

/// Shortest time in which a few clients try a route.
const LEAST_TRIAL: Duration = Duration::from_secs(30);

/// Longest wait for the checks before a route closes.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

/// Time for results to arrive, and by which two clocks may differ.
const SLACK: Duration = Duration::from_secs(1);

/// Longest time between two tries, unless the first is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(4 * 3600);
