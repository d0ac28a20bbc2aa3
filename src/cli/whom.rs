//! Replica that a command asks: by its admin listener, or by its name through the engine.

use std::fmt;

use super::admin::Endpoint;

/// Replica that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Replica behind an admin listener.
    At(Endpoint),
    /// Replica that is asked through the engine.
    Named(String),
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            // It comes from another process.
            Self::Named(name) => f.write_str(&super::words::harmless(name)),
        }
    }
}
