//! Maintenance that took a route down, as far as its return depends on it.

use std::ops::Not;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::config::Policy;
use super::super::flags::Mode;
use super::{Desired, Phase, Source};

/// Maintenance that took a route down: from its beginning until the route is open again and not watched any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Beginning of the maintenance.
    pub started: Timestamp,
    /// Latest demand of the flag file.
    #[serde(rename = "demand")]
    pub desired: Desired,
    /// The saved state was lost, and nothing is known of a maintenance: the demand is made up.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub lost: bool,
    /// Times that the guard tried again by itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// A process began without any memory: each check has to pass once.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub untold: bool,
    /// A reload of the config added or moved the route.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub reloaded: bool,
    /// Milder demand that is in force while the route comes back: what it lets through is checked, ramped and watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eases: Option<Desired>,
}

/// Return of a route that was interrupted: where it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Interrupted {
    /// Maintenance that the route was coming back from.
    pub(super) closing: Closing,
    /// Share of the clients that was admitted; `None` if everybody was, and the guard watched.
    pub(super) share: Option<f64>,
    /// Time that the ramp or the watch had lasted.
    pub(super) elapsed: Duration,
    /// Trial by a few clients that was under way.
    #[serde(default, skip_serializing_if = "Trial::is_none")]
    pub(super) trial: Trial,
}

/// Trial by a few clients, after a guard closed the route and tries again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Trial {
    /// The guard did not close the route.
    #[default]
    None,
    /// A few clients are admitted, and the guard watches them.
    Under,
    /// The few clients did well.
    Over,
}

impl Trial {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Closing {
    /// Creates a closing for a demand of the flag file.
    pub(super) fn new(started: Timestamp, desired: Desired) -> Self {
        Self { started, desired, lost: false, tries: 0, untold: false, reloaded: false, eases: None }
    }

    /// Returns the start of the latest demand by the flag file: the route may have been down for other reasons before.
    pub fn planned(&self) -> Timestamp {
        self.desired.started.unwrap_or(self.started)
    }

    /// Returns a closing for a route whose state file does not tell what took it down.
    pub(super) fn unknown(started: Timestamp) -> Self {
        let (mode, source) = (Mode::Offline, Source::Flag);
        let desired =
            Desired { mode, source, until: None, started: None, overruns: false, held_by: None, by_hand: false };
        Self::new(started, desired)
    }
}

impl Interrupted {
    /// Returns true if a few clients were trying the route, and still can.
    pub(super) fn is_tried(&self, policy: &Policy) -> bool {
        self.trial == Trial::Under && policy.guard.is_some()
    }

    /// Returns true if what was interrupted admits a share of the clients.
    pub(super) fn ramps_on(&self, policy: &Policy) -> bool {
        self.share.is_some() && (policy.ramp.is_some() || self.is_tried(policy))
    }
}

impl Closing {
    /// Returns true if the clients are to come back by a ramp. Held requests are released at a rate of their own. A route
    /// whose state was lost was most likely open, and a ramp would turn its clients away.
    pub(super) fn ramps(&self, policy: &Policy) -> bool {
        policy.ramp.is_some() && self.desired.mode != Mode::Hold && !self.lost
    }

    /// Returns true if the route was read-only when a reload moved it, and is so again after the checks. A ramp to a
    /// milder mode goes on instead.
    pub(super) fn reads_on(&self, interrupted: Option<&Interrupted>) -> bool {
        let ramps = interrupted.is_some_and(|interrupted| interrupted.closing.eases.is_some());
        self.reloaded && self.eases.is_some() && !ramps
    }

    /// Returns the closing with the milder demand that is in force now. What is lifted while its reads are checked comes
    /// back as after every maintenance.
    pub(super) fn eased_by(&self, eased: Option<&Desired>) -> Self {
        let lifted = self.eases.is_some() && eased.is_none() && !self.lost;
        Self { eases: eased.cloned(), untold: self.untold && !lifted, ..self.clone() }
    }

    /// Returns the phase that follows the checks. `interrupted` is what they give back.
    pub(super) fn opens_into(&self, interrupted: Option<&Interrupted>, policy: &Policy) -> Phase {
        let is_tried = self.tries > 0 && policy.guard.is_some();
        let gives_back = interrupted.is_some_and(|interrupted| interrupted.ramps_on(policy));
        if self.reads_on(interrupted) {
            self.ends_in()
        } else if self.ramps(policy) || is_tried || gives_back {
            Phase::Ramping
        } else {
            self.ends_in()
        }
    }

    /// Returns the phase at the end of the return.
    pub(super) fn ends_in(&self) -> Phase {
        if self.eases.is_some() { Phase::Closed } else { Phase::Open }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
