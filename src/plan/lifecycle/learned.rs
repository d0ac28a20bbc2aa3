//! Word of the other replicas that a process without memory takes over.
//!
//! It begins as they are: closed by a guard, verifying, or in their ramp. Its own checks come first where clients would be
//! let in, because nobody knows whether this process reaches the upstreams.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;

use super::closing::Closing;
use super::counts::GuardCounts;
use super::state::{Checking, PhaseState, RouteInputs, RouteState, Transition};
use super::{Baseline, Phase, Reason, cohorts};

/// State of a route at another replica.
#[derive(Clone, Debug)]
pub struct Learned {
    state: RouteState,
    /// Begin of its ramp, or of the watch if there was no ramp.
    pub returned: Option<Timestamp>,
    /// Name of the replica.
    pub from: String,
}

impl Learned {
    /// Chooses among the words of other replicas, each with its name; `None` if none of them tells a state. A finding that
    /// closes comes first, then what has passed the checks.
    pub(crate) fn of(words: &[(&str, &GuardCounts)]) -> Option<Self> {
        let states = words.iter().filter_map(|(name, word)| Some((word.state.as_deref()?, *name, word.returned)));
        let (state, from, returned) = states.max_by(|one, other| rank(one.0, one.1).cmp(&rank(other.0, other.1)))?;
        let mut state = state.clone();
        if let PhaseState::Draining(down) | PhaseState::Closed(down) = &mut state.phase {
            down.breach = down.breach.take().map(|breach| breach.found_by(from));
            state.reason = down.breach.as_ref().map_or(state.reason, Reason::tripped);
        }
        // Traffic is that of one replica, and this one takes over no part of it.
        let baseline = state.baseline.map(|baseline| Box::new(Baseline { traffic: None, ..*baseline }));
        Some(Self { state: RouteState { baseline, ..state }, returned, from: from.to_owned() })
    }

    /// Returns the phase at the other replica.
    pub(crate) fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Returns the first state of this process, and the transition that tells of its checks.
    pub(crate) fn joined(&self, inputs: RouteInputs<'_>) -> (RouteState, Option<Transition>) {
        let (state, now) = (self.state.clone(), inputs.now);
        let eases = match &state.phase {
            _ if inputs.policy.verify.is_empty() => return (state.restarted(), None),
            PhaseState::Draining(_) | PhaseState::Closed(_) | PhaseState::Verifying(_) => {
                return (state.restarted(), None);
            }
            PhaseState::Ramping(back) => back.closing.eases.clone(),
            PhaseState::Open(_) => None,
        };
        let interrupted = state.interrupted_here(inputs).filter(|interrupted| interrupted.share.is_some());
        let closing = Closing { lost: true, untold: true, eases, ..Closing::unknown(now) };
        let checking = Checking { interrupted, late: JOINING, ..Checking::new(closing) };
        let (phase, reason) = (PhaseState::Verifying(checking), Reason::Joined);
        let transition = Transition { from: Phase::Closed, to: Phase::Verifying, at: now, reason: reason.clone() };
        (RouteState { phase, since: now, reason, began: now, seen: now, ..state }, Some(transition))
    }
}

/// Returns the place of a state among those of other replicas.
fn rank<'n>(state: &RouteState, name: &'n str) -> (u8, Timestamp, u32, Reverse<&'n str>) {
    let place = match &state.phase {
        PhaseState::Draining(down) | PhaseState::Closed(down) if down.breach.is_some() => 4,
        PhaseState::Ramping(_) => 3,
        PhaseState::Open(_) => 2,
        PhaseState::Verifying(_) => 1,
        PhaseState::Draining(_) | PhaseState::Closed(_) => 0,
    };
    let found = state.breach().map_or(Timestamp::MIN, |breach| breach.at);
    (place, found, cohorts(state.share().unwrap_or_default()), Reverse(name))
}

/// Time for which the ramp of the others is followed although the checks here come later.
const JOINING: Duration = Duration::from_secs(60);
