//! Findings of a guard on a route that goes on.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::super::config::OnBreach;
use super::{Breach, Reason};

/// Finding that closes the route unless its checks speak for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    /// First finding.
    pub breach: Breach,
    /// The checks have passed since, and the guard counts anew.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub cleared: bool,
}

/// Findings on a route that goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings {
    /// Finding of a guard that only warns or holds ramps.
    pub(super) breach: Option<Breach>,
    /// Finding of a guard that closes.
    pub(super) suspicion: Option<Suspicion>,
}

impl Findings {
    /// Returns the finding, to correct its instant.
    pub(super) fn first_mut(&mut self) -> Option<&mut Breach> {
        self.breach.as_mut().or(self.suspicion.as_mut().map(|suspicion| &mut suspicion.breach))
    }

    /// Returns true if nothing is found now, and no check is awaited.
    pub(super) fn are_settled(&self) -> bool {
        self.breach.is_none() && self.suspicion.as_ref().is_none_or(|suspicion| suspicion.cleared)
    }

    /// Returns the reason to tell once these findings follow others; `None` if nothing new was found.
    pub(super) fn news(&self, before: &Self, on_breach: OnBreach) -> Option<Reason> {
        let what = |breach: &Breach| breach.what.clone();
        match (&before.suspicion, &self.suspicion) {
            (None, Some(found)) => return Some(Reason::GuardChecks(what(&found.breach))),
            (Some(old), Some(found)) if found.cleared && !old.cleared => {
                return Some(Reason::GuardCountsAnew(what(&found.breach)));
            }
            (Some(_), None) => return Some(Reason::GuardContent),
            (None, None) | (Some(_), Some(_)) => {}
        }
        match (&before.breach, &self.breach, on_breach) {
            (None, Some(found), OnBreach::HoldRamp) => Some(Reason::GuardHolds(what(found))),
            (None, Some(found), OnBreach::Warn | OnBreach::Close) => Some(Reason::GuardWarns(what(found))),
            (Some(_), None, _) => Some(Reason::GuardContent),
            (None, None, _) | (Some(_), Some(_), _) => None,
        }
    }
}
