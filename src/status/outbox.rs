//! The outbox in `/status`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// State of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OutboxReport {
    /// Failure of the store or of the keys, in words. Nothing is sent while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The lease of the sender, if the replicas of a fleet settle by it who tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderReport>,
    /// Updates that are not recorded yet.
    pub unrecorded: usize,
    /// Deliveries that wait.
    pub due: u64,
    /// Instant of the oldest update that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// Deliveries that have failed for good in the last 30 days.
    pub failed: u64,
    /// Endpoints that are quarantined or disabled.
    pub silenced: u64,
    /// Deliveries that endpoints have taken since the start.
    pub sent: u64,
    /// Attempts that have failed since the start.
    pub failures: u64,
    /// Visits of the forms since the start, by how they ended.
    pub forms: BTreeMap<String, u64>,
}

impl SenderReport {
    /// Returns true if somebody tells all that this replica knows.
    pub(crate) fn is_good(&self) -> bool {
        (self.own || self.replica.is_some()) && self.differs.is_none()
    }
}

/// Lease of the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SenderReport {
    /// True if this replica tells subscribers now.
    pub own: bool,
    /// The name of the replica that tells them, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// Failure of the engine that has the lease, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Difference between the subscribers that this replica knows and those that the sender knows, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
}
