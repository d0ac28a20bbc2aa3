//! Observations of a route.

use jiff::Timestamp;

use super::super::config::Upstream;
use super::whole::Whole;
use super::{Baseline, Measured, UpstreamChecks, Verification};

/// Observations of a route at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Requests in flight that began before the route went down; `None` if that is not known yet.
    pub remaining: Option<u64>,
    /// Results of the checks.
    pub verification: Option<Verification>,
    /// Upstreams that fail their health checks.
    pub unwell: Vec<Unwell>,
    /// Measurements of the guard.
    pub measured: Option<Measured>,
    /// Behaviour of the route while it was open lately. It becomes the baseline.
    pub lately: Option<Baseline>,
    /// Word of the other replicas; `None` without any. The measurements are those of all replicas then.
    pub whole: Option<Whole>,
}

impl Observed {
    /// Returns the results of the checks that were started for this [`super::RouteState::began`], for each upstream.
    /// Empty before they have started.
    pub fn checked(&self, began: Timestamp) -> &[UpstreamChecks] {
        let results = self.verification.as_ref().filter(|results| results.began == began);
        results.map(|results| results.upstreams.as_slice()).unwrap_or_default()
    }
}

/// Upstream that fails its health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwell {
    /// The upstream.
    pub upstream: Upstream,
    /// Failure of its checks, in words.
    pub failure: String,
}
