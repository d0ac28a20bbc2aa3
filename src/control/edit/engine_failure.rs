//! Failures of edits of the text that an engine keeps.

use std::fmt;
use std::path::PathBuf;

use crate::control::fleet::FleetError;
use crate::files::author::Author;

use super::words;

/// Failure of an edit of an engine's text. Nothing was written.
#[derive(Debug)]
pub(crate) enum EngineFailure {
    /// The engine cannot be asked, or takes no edits.
    Engine {
        /// Name of the text.
        place: PathBuf,
        /// Failure of the engine.
        source: FleetError,
    },
    /// Others edited it each time.
    Outrun {
        /// Name of the text.
        place: PathBuf,
        /// Author of the edit that won last.
        by: Option<Author>,
    },
}

impl EngineFailure {
    /// Returns advice.
    pub(crate) fn help(&self) -> Option<String> {
        Some(match self {
            Self::Engine { source: FleetError::ReadOnly(_), .. } => return None,
            Self::Engine { .. } => "what is live stays live; try again when the engine answers".to_owned(),
            Self::Outrun { .. } => "nothing was written; try again".to_owned(),
        })
    }
}

impl fmt::Display for EngineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine { place, .. } => write!(f, "`{}`", place.display()),
            Self::Outrun { place, by } => {
                write!(f, "`{}` was edited by others {MOST_EDITS} times meanwhile, ", place.display())?;
                match by {
                    Some(by) => write!(f, "last {}", words::author(by)),
                    None => f.write_str("and it is not known by whom"),
                }
            }
        }
    }
}

impl std::error::Error for EngineFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine { source, .. } => Some(source),
            Self::Outrun { .. } => None,
        }
    }
}

/// Attempts to make an edit: the first, and five more on what others wrote.
pub(crate) const MOST_EDITS: u32 = 6;
