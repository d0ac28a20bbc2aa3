//! Memory that a process has of the one before it.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::lifecycle::RouteState;

/// Memory of an earlier process.
#[derive(Clone, Debug)]
pub enum Memory {
    /// States of the routes that were not simply open, by name.
    States(HashMap<String, RouteState>),
    /// No process has left a memory: the flag file alone tells of the last minutes.
    Fresh,
    /// The memory is there, and cannot be used: any route may have been about to be checked.
    Lost,
}

impl Default for Memory {
    fn default() -> Self {
        Self::States(HashMap::new())
    }
}

impl Memory {
    /// Returns the state of a route; `None` if nothing is known of it.
    pub(super) fn of(&self, route: &str) -> Option<&RouteState> {
        match self {
            Self::States(states) => states.get(route),
            Self::Fresh | Self::Lost => None,
        }
    }

    /// Returns the instant of the earliest look.
    pub(super) fn seen(&self) -> Option<Timestamp> {
        match self {
            Self::States(states) => states.values().map(RouteState::seen).min(),
            Self::Fresh | Self::Lost => None,
        }
    }
}
