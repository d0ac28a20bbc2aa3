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
