//! Observations of a route.

use jiff::Timestamp;

use super::{Baseline, Measured};

/// Observations of a route at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Requests in flight that began before the route went down; `None` if that is not known yet.
    pub remaining: Option<u64>,
    /// Results of the checks.
    pub verification: Option<Verification>,
    /// Measurements of the guard.
    pub measured: Option<Measured>,
    /// Behaviour of the route while it was open lately. It becomes the baseline.
    pub lately: Option<Baseline>,
}

impl Observed {
    /// Returns the results of the checks that were started for this [`super::RouteState::began`], in their order. Empty
    /// before they have started.
    pub fn checked(&self, began: Timestamp) -> &[CheckResult] {
        let results = self.verification.as_ref().filter(|results| results.began == began);
        results.map(|results| results.checks.as_slice()).unwrap_or_default()
    }
}

/// Results of a route's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The [`super::RouteState::began`] that they were started for. Older results do not count.
    pub began: Timestamp,
    /// One result for each check, by its index.
    pub checks: Vec<CheckResult>,
}

/// Result of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// Successes in a row, on every upstream.
    pub passed: u32,
    /// Instant at which the last success was due. The due time, unlike the actual one, is the same in every replica.
    pub at: Option<Timestamp>,
    /// Failure of the last attempt.
    pub failure: Option<String>,
}
