//! The form in which a route's state is saved, the same since 0.1.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::finding::{Findings, Suspicion};
use super::state::{Closing, Down, PhaseState, Return, RouteState, Trial, Watch};
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
    baseline: Option<Baseline>,
    #[serde(default)]
    breach: Option<Breach>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    seen: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_before: Option<Timestamp>,
}

impl From<RouteState> for SavedRoute {
    fn from(state: RouteState) -> Self {
        Self {
            phase: state.phase(),
            since: state.since,
            why: state.reason.to_string(),
            closure: state.closing().cloned(),
            began: state.began,
            share: state.share().unwrap_or_default(),
            watched: state.is_watched(),
            baseline: state.baseline,
            breach: state.breach().cloned(),
            suspicion: state.suspicion().cloned(),
            trial: state.trial(),
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
        let SavedRoute { seen, open_before, .. } = saved;
        let closing = closure.unwrap_or_else(|| Closing::unknown(since));
        let phase = match phase {
            Phase::Open => {
                PhaseState::Open(watched.then_some(Watch { closing, findings: Findings { breach, suspicion } }))
            }
            Phase::Draining => PhaseState::Draining(Down { closing, breach }),
            Phase::Closed => PhaseState::Closed(Down { closing, breach }),
            Phase::Verifying => PhaseState::Verifying(closing),
            Phase::Ramping => {
                let (findings, trial) = (Findings { breach, suspicion }, trial.unwrap_or_default());
                PhaseState::Ramping(Return { closing, share, findings, trial })
            }
        };
        Self { phase, since, reason: Reason::parse(&why), began, baseline, seen, open_before }
    }
}
