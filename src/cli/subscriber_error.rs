//! Failures of `backsoon subscribers`.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::outbox::endpoint::EndpointError;
use crate::outbox::store::StoreError;
use crate::plan::problem::quoted;

use super::exit;

/// Failure of `backsoon subscribers`.
#[derive(Debug)]
pub(super) enum SubscriberError {
    /// The file of the subscribers cannot be opened, read or written.
    Store(StoreError),
    /// There is no subscriber with this number or address.
    Missing(String),
    /// A line of an export is none.
    Import { file: PathBuf, line: usize, source: serde_json::Error },
    /// A line of an export has a URL that cannot be used.
    Address { file: PathBuf, line: usize, source: EndpointError },
}

impl SubscriberError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Store(_) => exit::IO,
            Self::Missing(_) | Self::Import { .. } | Self::Address { .. } => exit::USAGE,
        }
    }

    /// Returns what would be right.
    pub(super) fn help(&self) -> Option<String> {
        match self {
            Self::Store(_) => None,
            Self::Missing(_) => Some("`backsoon subscribers list` shows them".to_owned()),
            Self::Import { .. } => {
                Some("nothing was added; each line is as `backsoon subscribers export` writes it".to_owned())
            }
            Self::Address { .. } => {
                Some("nothing was added; write the URL as the service gave it, beginning with https://".to_owned())
            }
        }
    }
}

impl fmt::Display for SubscriberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Missing(name) => write!(f, "there is no subscriber {}", quoted(name)),
            Self::Import { file, line, .. } => write!(f, "`{}:{line}` is no subscriber", file.display()),
            // A colon and the source follow.
            Self::Address { file, line, .. } => write!(f, "the address in `{}:{line}` cannot be used", file.display()),
        }
    }
}

impl Error for SubscriberError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Missing(_) => None,
            Self::Import { source, .. } => Some(source),
            Self::Address { source, .. } => Some(source),
        }
    }
}
