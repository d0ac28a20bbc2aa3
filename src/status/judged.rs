//! Replicas whose counts a guard judges together, in `/status`.

use serde::{Deserialize, Serialize};

/// Replicas whose counts a guard judges together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JudgedStatus {
    /// Replicas that are counted, this one among them.
    pub counted: usize,
    /// Replicas that are known.
    pub known: usize,
    /// The others that are not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingStatus>,
}

/// Replica whose counts are not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MissingStatus {
    /// Name.
    pub replica: String,
    /// The reason, in words that follow the name.
    pub why: String,
}
