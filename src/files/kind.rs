//! Part of a watched file that counts: its content, its existence, or the names that a pattern matches.

use std::path::Path;
use std::time::Duration;

use super::debounce::Timing;
use super::listing;
use super::source::{self, Found};

/// Part of a watched file that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Content, once it is whole.
    Content,
    /// Existence. The content is an addition, and is taken as it is found.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer has no switches"))]
    Existence,
    /// Names of the files that the last part of the path matches as a pattern.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer includes no files"))]
    Listing,
}

impl Kind {
    /// Looks at what counts.
    pub(super) fn read(self, path: &Path) -> Found {
        match self {
            Self::Content => source::read(path),
            Self::Existence => Found { content: source::existence(path), unlinked: false },
            Self::Listing => listing::read(path),
        }
    }

    /// Returns the delays of debouncing. Nothing is half of a file that exists, but one that is gone may be on its way
    /// back: some tools remove a file before they write it.
    pub(super) fn timing(self, timing: Timing) -> Timing {
        match self {
            Self::Content | Self::Listing => timing,
            Self::Existence => Timing { quiet: Duration::ZERO, gone: timing.lifts, ..timing },
        }
    }
}
