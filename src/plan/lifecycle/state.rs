//! State of a route: its phase, the facts that this phase needs, and how one evaluation follows another.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::config::Policy;
use super::super::flags::{Lift, Mode};
use super::closing::{Closing, Interrupted, Trial};
use super::finding::{Findings, Suspicion};
use super::ramp::next_tick;
use super::saved::SavedRoute;
use super::{Baseline, Breach, Desired, Observed, Phase, Reason, after, before};

/// State of a route, as far as it has to be remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedRoute", into = "SavedRoute")]
pub struct RouteState {
    pub(super) phase: PhaseState,
    /// Start of the phase, as it is reported.
    pub(super) since: Timestamp,
    pub(super) reason: Reason,
    /// Instant from which the phase's time counts: the drain time, the ramp, the watch. It moves if the clock is set
    /// back, or if a guard holds a ramp. A closed route keeps the instant of the phase before.
    pub(super) began: Timestamp,
    /// Behaviour of the route before it went down, for the guard to compare with.
    pub(super) baseline: Option<Box<Baseline>>,
    /// Instant of the last evaluation.
    pub(super) seen: Timestamp,
    /// Instant at which the route was last open before the flag file took it down; `None` if that is not known. The route
    /// may change its cause and its phase since, and its guard may close it again: it is one maintenance.
    pub(super) open_before: Option<Timestamp>,
}

/// Phase of a route with the facts that only this phase has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PhaseState {
    /// Forwarding; after a maintenance the guard watches for a while.
    Open(Option<Watch>),
    /// Under maintenance, with older requests in flight.
    Draining(Down),
    /// Under maintenance.
    Closed(Down),
    /// The maintenance is over; checks decide when the route opens.
    Verifying(Checking),
    /// Admitting a growing share of the clients.
    Ramping(Return),
}

/// Facts about an open route that its guard watches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watch {
    pub(super) closing: Closing,
    pub(super) findings: Findings,
}

/// Facts about a route that is down.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Down {
    pub(super) closing: Closing,
    /// Finding that keeps the route down, whatever the flag file says.
    pub(super) breach: Option<Breach>,
    /// Return that this closure interrupted. A slip of the finger and a hold give it back.
    pub(super) interrupted: Option<Interrupted>,
    /// Findings of the guard, if the route came back to a milder mode and the guard watches what that lets through.
    pub(super) watched: Option<Findings>,
}

/// Facts about a route whose checks run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checking {
    pub(super) closing: Closing,
    /// Time from the end of the maintenance until this process noticed it.
    pub(super) late: Duration,
    /// Ramp that goes on after the checks.
    pub(super) interrupted: Option<Interrupted>,
    /// Requests from before the maintenance go on, because it was lifted while they were in flight.
    pub(super) spares: bool,
}

/// Facts about a route that ramps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Return {
    pub(super) closing: Closing,
    /// Share of the clients that is admitted. It never falls.
    pub(super) share: f64,
    pub(super) findings: Findings,
    pub(super) trial: Trial,
}

/// Change of a route from one phase to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// Instant of the change.
    pub at: Timestamp,
    /// Reason for the change.
    pub reason: Reason,
}

/// Inputs of one evaluation of a route.
#[derive(Clone, Copy, Debug)]
pub struct RouteInputs<'i> {
    /// The route's policy.
    pub policy: &'i Policy,
    /// Time that requests in flight may still take.
    pub drain: Duration,
    /// Demand of the flag file at this instant; `None` if the route is to be open.
    pub desired: Option<&'i Desired>,
    /// Instant at which an operator last overruled guard and checks.
    pub forced: Option<Timestamp>,
    /// End of the window that took the route down, by the flag file as it is now.
    pub over: Option<Timestamp>,
    /// Latest lifting by an operator, as the flag file has it.
    pub lifted: Option<Lift>,
    /// Observations at this instant.
    pub observed: &'i Observed,
    /// Instant of the evaluation.
    pub now: Timestamp,
}

/// Outcome of one evaluation of a phase.
pub(super) enum Step {
    /// Nothing changes.
    Stay,
    /// The phase goes on, and something about it has changed.
    Update(RouteState),
    /// The phase goes on, and the history tells of the new reason.
    Tell(RouteState),
    /// The route enters another phase, or the same one anew.
    Enter(RouteState),
}

impl RouteState {
    /// Returns the first state of a route without a remembered one. None of its requests is in flight here.
    pub fn first(inputs: RouteInputs<'_>) -> Self {
        let RouteInputs { now, desired, .. } = inputs;
        let open = Self {
            phase: PhaseState::Open(None),
            since: now,
            reason: Reason::NotFlagged,
            began: now,
            baseline: None,
            seen: now,
            open_before: None,
        };
        let Some(desired) = desired else { return open };
        let started = desired.started.unwrap_or(now).min(now);
        let closing = Closing::new(started, desired.clone());
        let phase = PhaseState::Closed(Down::new(closing));
        // A flag does not tell how long it has been there.
        let open_before = (!desired.by_hand).then(|| before(started, UNSEEN));
        Self { phase, since: started, reason: Reason::flagged(desired), began: started, open_before, ..open }
    }

    /// Returns the state of a route whose saved state was lost, and the transition that tells so: nobody knows whether it
    /// had passed its checks.
    pub fn unproven(now: Timestamp) -> (Self, Transition) {
        let closing = Closing { lost: true, ..Closing::unknown(now) };
        let reason = Reason::StateLost;
        let transition = Transition { from: Phase::Closed, to: Phase::Verifying, at: now, reason: reason.clone() };
        let phase = PhaseState::Verifying(Checking::new(closing));
        (Self { phase, since: now, reason, began: now, baseline: None, seen: now, open_before: None }, transition)
    }

    /// Returns the state of a route that nothing is known of, and the transition that tells so. The first pass of each
    /// check opens it.
    pub fn untold(now: Timestamp) -> (Self, Transition) {
        let (state, transition) = Self::unproven(now);
        let reason = Reason::Untold;
        let closing = Closing { lost: true, untold: true, ..Closing::unknown(now) };
        let phase = PhaseState::Verifying(Checking::new(closing));
        (Self { phase, reason: reason.clone(), ..state }, Transition { reason, ..transition })
    }

    /// Returns the state of a route that was down until an instant, for reasons that nobody remembers.
    pub fn shut(until: Timestamp) -> Self {
        let phase = PhaseState::Closed(Down::new(Closing::unknown(until)));
        let reason = Reason::Flagged(Mode::Offline);
        Self { phase, since: until, reason, began: until, baseline: None, seen: until, open_before: None }
    }

    /// Returns the state in a process that notices only now what happened, and that has no older requests.
    pub fn noticed(self, now: Timestamp) -> Self {
        let PhaseState::Verifying(checking) = self.phase else { return self };
        let late = Duration::try_from(now.duration_since(self.began)).unwrap_or_default();
        Self { phase: PhaseState::Verifying(Checking { late, spares: false, ..checking }), ..self }
    }

    /// Goes through as many phases as the time and the observations allow, in order.
    pub fn advance(&self, inputs: RouteInputs<'_>) -> (Self, Vec<Transition>) {
        let mut state = self.clone();
        state.follow_clock(inputs.now);
        let mut transitions = Vec::new();
        // Each phase is left at most once, except if the route is flagged again while it comes back.
        for _ in 0..MOST_TRANSITIONS {
            // The count of requests in flight is older than the transitions made here, so it is not used after one.
            let remaining = inputs.observed.remaining.filter(|_| transitions.is_empty());
            match state.step(inputs, remaining) {
                Step::Stay => break,
                Step::Update(updated) => {
                    state = updated;
                    break;
                }
                Step::Tell(updated) => {
                    let (phase, reason) = (updated.phase(), updated.reason.clone());
                    transitions.push(Transition { from: phase, to: phase, at: inputs.now, reason });
                    state = updated;
                    break;
                }
                Step::Enter(entered) => {
                    let (from, to) = (state.phase(), entered.phase());
                    transitions.push(Transition { from, to, at: entered.since, reason: entered.reason.clone() });
                    state = entered;
                }
            }
        }
        state.seen = inputs.now;
        (state, transitions)
    }

    /// Returns the state after the end of its process, which ended all requests in flight.
    pub fn restarted(self) -> Self {
        let PhaseState::Draining(down) = self.phase else { return self };
        let reason = if down.breach.is_some() { self.reason } else { Reason::Restarted };
        Self { phase: PhaseState::Closed(down), reason, ..self }
    }

    /// Follows a clock that was set back: nothing began later than now.
    fn follow_clock(&mut self, now: Timestamp) {
        if now >= self.seen {
            return;
        }
        for instant in [&mut self.since, &mut self.began, &mut self.seen] {
            *instant = now.min(*instant);
        }
        self.open_before = self.open_before.map(|instant| instant.min(now));
        // Otherwise a command that an operator gives now would be older than the closing and the breach that it
        // overrules.
        if let Some(closing) = self.phase.closing_mut() {
            closing.started = closing.started.min(now);
        }
        if let Some(breach) = self.phase.breach_mut() {
            breach.at = breach.at.min(now);
        }
    }

    /// Returns the next instant at which the state changes by itself, unless an input changes before.
    pub fn next_change(&self, inputs: RouteInputs<'_>) -> Option<Timestamp> {
        let Policy { ramp, guard, .. } = inputs.policy;
        let instant = match &self.phase {
            PhaseState::Closed(Down { watched: Some(_), .. }) | PhaseState::Open(Some(_)) => {
                guard.map(|guard| after(self.began, guard.watch))
            }
            PhaseState::Open(None) | PhaseState::Closed(_) => None,
            PhaseState::Ramping(back) if back.trial == Trial::Under => None,
            PhaseState::Verifying(_) => Some(after(self.began, LONG_CHECKS)),
            PhaseState::Draining(_) => Some(after(self.began, inputs.drain)),
            PhaseState::Ramping(_) => ramp.as_ref().map(|ramp| next_tick(ramp, self.began, inputs.now)),
        };
        let instants = instant.into_iter().chain(self.deadlines(inputs).into_iter().flatten());
        instants.filter(|instant| *instant > inputs.now).min()
    }

    /// Returns the phase that comes next and its instant, as far as they are known.
    pub fn next(&self, inputs: RouteInputs<'_>) -> Option<(Phase, Option<Timestamp>)> {
        let Policy { ramp, verify, .. } = inputs.policy;
        match &self.phase {
            PhaseState::Open(_) => None,
            PhaseState::Draining(_) => Some((Phase::Closed, Some(after(self.began, inputs.drain)))),
            // An operator has to act, unless the guard tries again.
            PhaseState::Closed(down @ Down { breach: Some(_), .. }) => {
                let next = if verify.is_empty() { Phase::Ramping } else { Phase::Verifying };
                down.retries_at(inputs.policy.guard.as_ref()).map(|at| (next, Some(at)))
            }
            PhaseState::Closed(Down { closing, breach: None, interrupted, .. }) => {
                let owed = closing.gives_back(interrupted.as_ref());
                let next = if verify.is_empty() { closing.opens_into(owed, inputs.policy) } else { Phase::Verifying };
                Some((next, inputs.desired.and_then(|desired| desired.until)))
            }
            PhaseState::Verifying(Checking { closing, .. }) if self.skips(closing, inputs.now, inputs) => {
                Some((closing.ends_in(), None))
            }
            PhaseState::Verifying(Checking { closing, interrupted, .. }) => {
                Some((closing.opens_into(interrupted.as_ref(), inputs.policy), None))
            }
            // The end of a ramp that does not move is not known.
            PhaseState::Ramping(back) if back.trial == Trial::Under => Some((back.closing.ends_in(), None)),
            PhaseState::Ramping(back) if back.findings.breach.is_some() && inputs.policy.holds_ramp() => {
                Some((back.closing.ends_in(), None))
            }
            PhaseState::Ramping(back) => {
                Some((back.closing.ends_in(), ramp.as_ref().map(|ramp| after(self.began, ramp.length()))))
            }
        }
    }

    /// Returns the beginning of the checks that are to run now: those before the opening, or those before the guard
    /// closes the route.
    pub fn checked_since(&self) -> Option<Timestamp> {
        match &self.phase {
            PhaseState::Verifying(_) => Some(self.began),
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Ramping(_) => {
                self.suspicion().filter(|suspicion| !suspicion.cleared).map(|suspicion| suspicion.breach.at)
            }
        }
    }

    /// Returns the first finding of a guard that counts anew since then.
    pub(crate) fn suspicion(&self) -> Option<&Suspicion> {
        match &self.phase {
            PhaseState::Open(watch) => watch.as_ref()?.findings.suspicion.as_ref(),
            PhaseState::Ramping(back) => back.findings.suspicion.as_ref(),
            PhaseState::Closed(down) => down.watched.as_ref()?.suspicion.as_ref(),
            PhaseState::Draining(_) | PhaseState::Verifying(_) => None,
        }
    }

    /// Returns how far the trial of a route that ramps is; `None` without one.
    pub(super) fn trial(&self) -> Option<Trial> {
        match &self.phase {
            PhaseState::Ramping(back) => Some(back.trial).filter(|trial| *trial != Trial::None),
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Verifying(_) => None,
        }
    }

    /// Returns true while a guard that closed the route lets a few clients try it again.
    pub fn is_tried(&self) -> bool {
        self.trial() == Some(Trial::Under)
    }

    /// Returns true if the checks before the opening take longer than visitors expect.
    pub fn is_checked_for_long(&self, now: Timestamp) -> bool {
        matches!(self.phase, PhaseState::Verifying(_)) && after(self.began, LONG_CHECKS) <= now
    }

    /// Returns the phase without its facts.
    pub fn phase(&self) -> Phase {
        match self.phase {
            PhaseState::Open(_) => Phase::Open,
            PhaseState::Draining(_) => Phase::Draining,
            PhaseState::Closed(_) => Phase::Closed,
            PhaseState::Verifying(_) => Phase::Verifying,
            PhaseState::Ramping(_) => Phase::Ramping,
        }
    }

    /// Returns the start of the phase.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the reason for the phase.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Returns the instant from which the phase counts.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Returns the instant of the last evaluation.
    pub fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Returns the instant at which the route was last open before the flag file took it down. If nothing is known of it,
    /// that is the earliest instant there is.
    pub fn open_before(&self) -> Timestamp {
        self.open_before.unwrap_or(Timestamp::MIN)
    }

    /// Returns the instant at which an open route was opened. A process that has just begun cannot tell; a link that was
    /// made shortly before, or by a clock that is behind, is good.
    pub(super) fn opened(&self) -> Timestamp {
        if self.reason == Reason::NotFlagged { before(self.since, UNSEEN) } else { self.since }
    }

    /// Returns the behaviour of the route before it went down; `None` if that is not known.
    pub fn baseline(&self) -> Option<&Baseline> {
        self.baseline.as_deref()
    }

    /// Returns the maintenance that took the route down, until it is open and not watched any more.
    pub fn closing(&self) -> Option<&Closing> {
        match &self.phase {
            PhaseState::Open(watch) => watch.as_ref().map(|watch| &watch.closing),
            PhaseState::Draining(down) | PhaseState::Closed(down) => Some(&down.closing),
            PhaseState::Verifying(checking) => Some(&checking.closing),
            PhaseState::Ramping(back) => Some(&back.closing),
        }
    }

    /// Returns the finding of the guard: it keeps the route closed, holds the ramp, or is only reported.
    pub fn breach(&self) -> Option<&Breach> {
        match &self.phase {
            PhaseState::Open(watch) => watch.as_ref()?.findings.breach.as_ref(),
            PhaseState::Draining(down) | PhaseState::Closed(down) => down.breach.as_ref(),
            PhaseState::Verifying(_) => None,
            PhaseState::Ramping(back) => back.findings.breach.as_ref(),
        }
    }

    /// Returns true if the guard keeps the route down, whatever the flag file says.
    pub fn is_shut(&self) -> bool {
        match &self.phase {
            PhaseState::Draining(down) | PhaseState::Closed(down) => down.breach.is_some(),
            PhaseState::Open(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => false,
        }
    }

    /// Returns the share of clients that a ramp admits; `None` if the route does not ramp.
    pub fn share(&self) -> Option<f64> {
        match &self.phase {
            PhaseState::Ramping(back) => Some(back.share),
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Verifying(_) => None,
        }
    }

    /// Returns true while the guard watches what came back: an open route, or one in a milder mode than before.
    pub fn is_watched(&self) -> bool {
        match &self.phase {
            PhaseState::Open(watch) => watch.is_some(),
            PhaseState::Closed(down) => down.watched.is_some(),
            PhaseState::Draining(_) | PhaseState::Verifying(_) | PhaseState::Ramping(_) => false,
        }
    }

    /// Returns the milder mode in which clients that are admitted come back; `None` if they get everything.
    pub fn eases_into(&self) -> Option<Mode> {
        match &self.phase {
            PhaseState::Verifying(Checking { closing, .. }) | PhaseState::Ramping(Return { closing, .. }) => {
                closing.eases.as_ref().map(|desired| desired.mode)
            }
            PhaseState::Open(_) | PhaseState::Draining(_) | PhaseState::Closed(_) => None,
        }
    }

    /// Returns true if requests from before the closure go on.
    pub fn spares(&self) -> bool {
        matches!(&self.phase, PhaseState::Verifying(checking) if checking.spares)
    }

    /// Returns true if the route is simply open, which need not be remembered over a restart.
    pub fn is_plain(&self) -> bool {
        matches!(self.phase, PhaseState::Open(None))
    }
}

impl PhaseState {
    fn closing_mut(&mut self) -> Option<&mut Closing> {
        match self {
            Self::Open(watch) => watch.as_mut().map(|watch| &mut watch.closing),
            Self::Draining(down) | Self::Closed(down) => Some(&mut down.closing),
            Self::Verifying(checking) => Some(&mut checking.closing),
            Self::Ramping(back) => Some(&mut back.closing),
        }
    }

    fn breach_mut(&mut self) -> Option<&mut Breach> {
        match self {
            Self::Open(watch) => watch.as_mut()?.findings.first_mut(),
            Self::Draining(down) | Self::Closed(down) => {
                down.breach.as_mut().or(down.watched.as_mut().and_then(Findings::first_mut))
            }
            Self::Verifying(_) => None,
            Self::Ramping(back) => back.findings.first_mut(),
        }
    }
}

/// Time of checks after which visitors are told that it takes longer.
const LONG_CHECKS: Duration = Duration::from_secs(300);

/// Time before the first look at a route in which it is taken to have been open already.
const UNSEEN: Duration = Duration::from_secs(600);

/// Most transitions of one evaluation.
pub(super) const MOST_TRANSITIONS: usize = 8;
