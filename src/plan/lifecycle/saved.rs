//! The form in which a route's state is saved, the same since 0.1.

use std::ops::Not;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::closing::{Closing, Interrupted, Trial};
use super::finding::{Findings, Suspicion};
use super::state::{Checking, Down, PhaseState, Return, RouteState, Watch};
use super::{Baseline, Breach, Phase, Reason};

/// State of a route as the state file has it: flat, with a place for the facts of every phase.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedRoute {
    phase: Phase,
    since: Timestamp,
    why: String,
    closure: Option<Closing>,
    began: Timestamp,
    #[serde(default)]
    share: f64,
    #[serde(default)]
    watched: bool,
    #[serde(default)]
    baseline: Option<Box<Baseline>>,
    #[serde(default)]
    breach: Option<Breach>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interrupted: Option<Interrupted>,
    #[serde(default, skip_serializing_if = "Not::not")]
    eased: bool,
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    late: Duration,
    seen: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_before: Option<Timestamp>,
}

impl From<RouteState> for SavedRoute {
    fn from(state: RouteState) -> Self {
        let (interrupted, eased, late) = match &state.phase {
            PhaseState::Draining(down) | PhaseState::Closed(down) => {
                (down.interrupted.clone(), down.watched.is_some(), Duration::ZERO)
            }
            PhaseState::Verifying(checking) => (checking.interrupted.clone(), false, checking.late),
            PhaseState::Open(_) | PhaseState::Ramping(_) => (None, false, Duration::ZERO),
        };
        Self {
            phase: state.phase(),
            since: state.since,
            why: state.reason.to_string(),
            closure: state.closing().cloned(),
            began: state.began,
            share: state.share().unwrap_or_default(),
            watched: matches!(state.phase, PhaseState::Open(Some(_))),
            baseline: state.baseline.clone(),
            breach: state.breach().cloned(),
            suspicion: state.suspicion().cloned(),
            trial: state.trial(),
            interrupted,
            eased,
            late,
            seen: state.seen,
            open_before: state.open_before,
        }
    }
}

impl From<SavedRoute> for RouteState {
    fn from(saved: SavedRoute) -> Self {
        let SavedRoute {
            phase, since, why, closure, began, share, watched, baseline, breach, suspicion, trial, ..
        } = saved;
        let SavedRoute { interrupted, eased, late, seen, open_before, .. } = saved;
        let closing = closure.unwrap_or_else(|| Closing::unknown(since));
        let of_eased = Findings { breach: None, suspicion: suspicion.clone() };
        let watched_down = eased.then_some(of_eased);
        let phase = match phase {
            Phase::Open => {
                PhaseState::Open(watched.then_some(Watch { closing, findings: Findings { breach, suspicion } }))
            }
            Phase::Draining => PhaseState::Draining(Down { closing, breach, interrupted, watched: watched_down }),
            Phase::Closed => PhaseState::Closed(Down { closing, breach, interrupted, watched: watched_down }),
            // The requests that were spared ended with their process.
            Phase::Verifying => PhaseState::Verifying(Checking { closing, late, interrupted, spares: false }),
            Phase::Ramping => {
                let (findings, trial) = (Findings { breach, suspicion }, trial.unwrap_or_default());
                PhaseState::Ramping(Return { closing, share, findings, trial })
            }
        };
        Self { phase, since, reason: Reason::parse(&why), began, baseline, seen, open_before }
    }
}
