//! Baseline: how a route did before it went down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::config::{Guard, Measurement, PerStatus};
use super::excess::{Allowed, Sample, dispersion, float, upper_bound};
use super::{Counted, Traffic};

/// Behaviour of a route before it went down, for its guard to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Requests and errors.
    #[serde(flatten)]
    pub counted: Counted,
    /// Factor by which the errors vary more than independent ones would: they may come in bursts.
    #[serde(default = "independent", skip_serializing_if = "is_independent")]
    pub dispersion: f64,
    /// Most requests that hung at once; `None` if that was not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hanging: Option<u64>,
    /// 99th percentile of the latencies, in a usual minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Duration>,
    /// Shares of requests that were answered with the statuses that the guard names.
    #[serde(default, skip_serializing_if = "PerStatus::is_empty")]
    pub statuses: PerStatus<Usual>,
    /// Traffic of the last minutes; `None` if they were too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// Share of requests that were answered with a status.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// All requests.
    pub requests: u64,
    /// Requests that were answered with the status.
    pub answered: u64,
    /// Factor by which these vary more than independent ones would.
    #[serde(default = "independent", skip_serializing_if = "is_independent")]
    pub dispersion: f64,
}

impl Usual {
    /// Creates a share of counts, each all requests and those with the status, in slots of about ten seconds. `None` if
    /// there was no request.
    pub fn of(slots: &[(u64, u64)]) -> Option<Self> {
        let (requests, answered) = slots.iter().fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1));
        (requests > 0).then(|| Self { requests, answered: answered.min(requests), dispersion: dispersion(slots) })
    }

    /// Returns the share; 0 if there were no requests.
    pub(super) fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { float(self.answered) / float(self.requests) }
    }

    /// Returns the share, as high as it may have been by chance.
    pub(super) fn allowed(&self) -> Allowed {
        let dispersion = if self.dispersion.is_finite() { self.dispersion.max(1.0) } else { 1.0 };
        let (requests, answered) = (float(self.requests), float(self.answered));
        Allowed { share: upper_bound(requests / dispersion, answered / dispersion), dispersion }
    }
}

impl Baseline {
    /// Creates a baseline of counts, given in slots of about ten seconds. `None` if there was no request.
    pub fn of(slots: &[Counted]) -> Option<Self> {
        let sum = slots.iter().fold(Counted::default(), |sum, slot| sum.plus(*slot));
        let slots: Vec<_> = slots.iter().map(|slot| (slot.requests, slot.errors)).collect();
        // A cut response failed after its request was counted.
        let counted = Counted { errors: sum.errors.min(sum.requests), ..sum };
        (sum.requests > 0).then(|| Self {
            counted,
            dispersion: dispersion(&slots),
            hanging: None,
            p99: None,
            statuses: PerStatus::default(),
            traffic: None,
        })
    }

    /// Returns true if the baseline tells enough for a measurement of a guard.
    pub fn has(&self, measurement: Measurement, guard: &Guard) -> bool {
        match measurement {
            Measurement::ErrorRate => true,
            Measurement::P99 => self.p99.is_some(),
            Measurement::Zombies => self.hanging.is_some(),
            Measurement::Status(status) => self.statuses.get(status).is_some(),
            Measurement::Traffic => self.traffic.zip(guard.traffic).is_some_and(|(before, drop)| before.shows(drop)),
        }
    }

    /// Returns true if clearly more requests failed than before, as in an incident.
    pub fn is_worse_than(&self, before: &Self) -> bool {
        let Counted { requests, errors } = self.counted;
        let allowed = before.errors().allowed();
        let sample = Sample { requests, bad: errors, stretches: u32::MAX };
        sample.exceeds(Allowed { share: allowed.share + INCIDENT, ..allowed })
    }

    /// Returns the share of errors.
    pub(super) fn errors(&self) -> Usual {
        let Counted { requests, errors } = self.counted;
        Usual { requests, answered: errors, dispersion: self.dispersion }
    }
}

/// Share of errors more than before that makes an incident.
const INCIDENT: f64 = 0.01;

fn independent() -> f64 {
    1.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_independent(dispersion: &f64) -> bool {
    *dispersion <= 1.0
}
