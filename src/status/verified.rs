//! Outcome of one round of checks: what `/verify` answers, and `backsoon verify` shows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Outcome of one attempt of each check on each upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Verified {
    /// Begin of the round.
    pub at: Option<Timestamp>,
    /// Routes, in the order of the config.
    pub routes: Vec<VerifiedRoute>,
}

/// Outcome for a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VerifiedRoute {
    /// The route's name.
    pub name: String,
    /// Number of its upstreams.
    pub upstreams: usize,
    /// Number of upstreams that passed every check.
    pub passed: usize,
    /// Number of upstreams that must pass.
    pub quorum: usize,
    /// Attempts, by upstream and then by check.
    pub attempts: Vec<VerifiedAttempt>,
}

/// Outcome of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VerifiedAttempt {
    /// The upstream as the config writes it.
    pub upstream: String,
    /// The check in words: `GET /healthz`.
    pub check: String,
    /// Regions that the check speaks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Milliseconds that it took; absent if it was not made.
    pub millis: Option<f64>,
    /// Failure in words; absent if the upstream passed.
    pub failure: Option<String>,
}

/// Outlook of an open route: whether it would open now if it were closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OutlookStatus {
    /// Time of the last round of its checks.
    pub at: Option<Timestamp>,
    /// True if a quorum of the upstreams passed.
    pub opens: bool,
    /// Failures, one for each upstream that did not pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Start of the next window that closes the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closes: Option<Timestamp>,
}

impl Verified {
    /// Returns true if every route would open.
    pub(crate) fn all_open(&self) -> bool {
        self.routes.iter().all(VerifiedRoute::opens)
    }
}

impl VerifiedRoute {
    /// Returns true if enough upstreams passed.
    pub(crate) fn opens(&self) -> bool {
        self.passed >= self.quorum
    }

    /// Returns the first failure of each upstream that did not pass.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failed: Vec<&VerifiedAttempt> =
            self.attempts.iter().filter(|attempt| attempt.failure.is_some()).collect();
        failed.dedup_by(|later, before| later.upstream == before.upstream);
        failed.into_iter().filter_map(|attempt| attempt.failure.clone()).collect()
    }
}
