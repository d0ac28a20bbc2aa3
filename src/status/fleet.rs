//! The engine that the flags come from, in `/status`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The engine that the flags come from, and how fresh its last word is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FleetStatus {
    /// The place of the text.
    pub source: String,
    /// `url`, `nats` or `kubernetes`.
    pub kind: String,
    /// The revision of the engine's last text, taken or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The revision of the text in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force: Option<String>,
    /// Instant of the engine's last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// Instant since which the flags may be out of date, while the engine is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// Reason why the engine is away, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// True if the engine has no text, so that the last one stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Revisions between which the engine has lost data: `from 7 to 3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Reason why the last good text cannot be kept for a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
}

impl FleetStatus {
    /// Returns true if the engine answers, and has the flags in force or newer ones.
    pub(crate) fn is_good(&self) -> bool {
        self.trouble.is_none() && !(self.deleted && self.in_force.is_some())
    }

    /// Returns the same without the instant that each word of the engine changes.
    pub(super) fn timeless(&self) -> Self {
        Self { confirmed: None, ..self.clone() }
    }
}
