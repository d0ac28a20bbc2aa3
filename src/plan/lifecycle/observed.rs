//! What is observed of a route.

use jiff::Timestamp;

use super::{Counted, Measured};

/// What is observed of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Requests in flight that began before the route went down; `None` if that is not known yet.
    pub remaining: Option<u64>,
    /// What came of its checks.
    pub verification: Option<Verification>,
    /// How it does now.
    pub measured: Option<Measured>,
    /// How it did lately, while it was open: what becomes the baseline.
    pub lately: Option<Counted>,
}

impl Observed {
    /// What came of the checks that were begun for this [`super::RouteState::began`], in their order; nothing if they have not begun.
    pub fn checked(&self, began: Timestamp) -> &[Checked] {
        let results = self.verification.as_ref().filter(|results| results.began == began);
        results.map(|results| results.checks.as_slice()).unwrap_or_default()
    }
}

/// What came of a route's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The [`super::RouteState::began`] that they were begun for: what was found before is worth nothing.
    pub began: Timestamp,
    /// By the index of the check.
    pub checks: Vec<Checked>,
}

/// What came of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How often in a row it has passed on every upstream.
    pub passed: u32,
    /// When the last of those was due. Due, and not done: so replicas agree.
    pub at: Option<Timestamp>,
    /// Why it did not pass last time.
    pub failure: Option<String>,
}
