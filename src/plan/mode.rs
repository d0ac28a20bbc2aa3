//! Mode of a closed route.

use serde::{Deserialize, Serialize};

/// Mode of a closed route. Modes are ordered by strictness, and the strictest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Safe methods pass; the page answers the rest.
    ReadOnly,
    /// Requests wait for the route.
    Hold,
    /// The page answers every request.
    Offline,
}

impl Mode {
    /// All modes, from the mildest to the strictest.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Hold, Self::Offline];

    /// Returns the word for the mode in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Hold => "hold",
            Self::Offline => "offline",
        }
    }
}

/// Words for the modes in the files.
pub(super) const MODES: [(&str, Mode); 3] =
    [("offline", Mode::Offline), ("read-only", Mode::ReadOnly), ("hold", Mode::Hold)];
