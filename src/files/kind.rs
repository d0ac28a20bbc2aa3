//! Part of a watched file that counts: its content, its existence, or the names that a pattern matches.

use std::path::Path;
use std::time::Duration;

use super::debounce::Timing;
use super::links::PathChain;
use super::listing;
use super::source::{self, Found, ReadError};

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
    /// Content that [`Files::hand`](super::Files::hand) brings. Nothing on the disk has this path.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer reads files alone"))]
    Handed,
}

impl Kind {
    /// Looks at what counts.
    pub(super) fn read(self, path: &Path) -> Found {
        match self {
            Self::Content => source::read(path),
            Self::Existence => Found { content: source::existence(path), unlinked: false },
            Self::Listing => listing::read(path),
            Self::Handed => Found { content: Err(ReadError::Missing), unlinked: false },
        }
    }

    /// Walks a path, unless nothing on the disk has it.
    pub(super) fn chain(self, path: &Path) -> PathChain {
        match self {
            Self::Content | Self::Existence | Self::Listing => PathChain::of(path),
            Self::Handed => PathChain::default(),
        }
    }

    /// Returns the delays of debouncing. Nothing is half of a file that exists, but one that is gone may be on its way
    /// back: some tools remove a file before they write it.
    pub(super) fn timing(self, timing: Timing) -> Timing {
        match self {
            Self::Content | Self::Listing => timing,
            Self::Handed => {
                let none = Duration::ZERO;
                Timing { quiet: none, lifts: none, unended: none, empty: none, gone: none, ..timing }
            }
            Self::Existence => Timing { quiet: Duration::ZERO, gone: timing.lifts, ..timing },
        }
    }
}
