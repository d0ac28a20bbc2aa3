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
    /// The other replicas, if the engine carries their beats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeersStatus>,
}

/// The other replicas, as far as their beats tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PeersStatus {
    /// The number of replicas whose beats are heard.
    pub heard: usize,
    /// The number of those whose next beats are missing.
    pub late: usize,
    /// Reason why nothing can be heard, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Some of the replicas, sorted by name, the late ones first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<PeerStatus>,
}

/// Another replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PeerStatus {
    /// The name of the replica.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// The number of its live generation.
    pub generation: u64,
    /// The revision of its flags in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// True if its next beats are missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Milliseconds by which its clock is ahead of this proxy's, less the time that its beat was on its way.
    pub clock_ahead_ms: i64,
}

impl FleetStatus {
    /// Returns true if the engine answers, and has the flags in force or newer ones.
    pub(crate) fn is_good(&self) -> bool {
        self.trouble.is_none() && !(self.deleted && self.in_force.is_some())
    }

    /// Returns the same without the instants that each word of the engine or of a replica changes.
    pub(super) fn timeless(&self) -> Self {
        let mut timeless = Self { confirmed: None, ..self.clone() };
        timeless.peers.iter_mut().flat_map(|peers| &mut peers.replicas).for_each(|peer| peer.clock_ahead_ms = 0);
        timeless
    }
}
