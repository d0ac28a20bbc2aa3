//! Baseline: how a route did before it went down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::config::Measurement;
use super::Counted;
use super::excess::{Allowed, Sample, dispersion, float, upper_bound};

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
}

impl Baseline {
    /// Creates a baseline of counts, given in slots of about ten seconds. `None` if there was no request.
    pub fn of(slots: &[Counted]) -> Option<Self> {
        let sum = slots.iter().fold(Counted::default(), |sum, slot| sum.plus(*slot));
        let slots: Vec<_> = slots.iter().map(|slot| (slot.requests, slot.errors)).collect();
        // A cut response failed after its request was counted.
        let counted = Counted { errors: sum.errors.min(sum.requests), ..sum };
        (sum.requests > 0).then(|| Self { counted, dispersion: dispersion(&slots), hanging: None, p99: None })
    }

    /// Returns true if the baseline tells of a measurement.
    pub fn has(&self, measurement: Measurement) -> bool {
        match measurement {
            Measurement::ErrorRate => true,
            Measurement::P99 => self.p99.is_some(),
            Measurement::Zombies => self.hanging.is_some(),
        }
    }

    /// Returns true if clearly more requests failed than before, as in an incident.
    pub fn is_worse_than(&self, before: &Self) -> bool {
        let Counted { requests, errors } = self.counted;
        let allowed = before.errors();
        let sample = Sample { requests, bad: errors, stretches: u32::MAX };
        sample.exceeds(Allowed { share: allowed.share + INCIDENT, ..allowed })
    }

    /// Returns the share of errors, as high as it may have been by chance.
    pub(super) fn errors(&self) -> Allowed {
        let dispersion = if self.dispersion.is_finite() { self.dispersion.max(1.0) } else { 1.0 };
        let (requests, errors) = (float(self.counted.requests), float(self.counted.errors));
        Allowed { share: upper_bound(requests / dispersion, errors / dispersion), dispersion }
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
