//! The life of a maintenance: how a route goes down, and comes back.
//!
//! ```text
//!            flagged            nothing old in flight,          lifted, or its time is over
//!                               or the drain time is over
//!   open ───────────▶ draining ─────────────────────▶ closed ──────────────────▶ verifying
//!     ▲ ▲                ▲                              │ │                          │ every check passed
//!     │ │ everybody      │ flagged again, or a guard    │ │ without `verify`         ▼
//!     │ └── is in ── ramping ◀──────────────────────────┼─┴────────────────────── (ramp?)
//!     └───────────────────────────────────── without `ramp`, or after a hold
//! ```
//!
//! The phase is a function of the flag file, the config, what was observed, and the time; what has to be remembered is
//! [`RouteState`], which control keeps over a restart. So replicas that see the same file and the same clock make the same
//! choices without talking: what the file says of the time between two looks is made up for in order, instant by instant
//! (the end of a window is when its ramp began, whenever that is noticed). What was edited meanwhile counts from now.

mod clients;
mod guard;
mod observed;
mod ramp;
mod reason;
mod saved;
mod state;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::flags::Mode;

pub use clients::{Client, Clients, Met};
pub use guard::{Breach, Counted, Measured, judge};
pub use observed::{Checked, Observed, Verification};
pub use ramp::{cohorts, share};
pub use reason::Reason;
pub use state::{Closing, RouteInputs, RouteState, Transition};

/// Where a route is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Forwarding.
    Open,
    /// Under maintenance, with requests in flight that began before.
    Draining,
    /// Under maintenance.
    Closed,
    /// The maintenance is over, and whether the upstreams work is being checked.
    Verifying,
    /// A growing share of clients is admitted.
    Ramping,
}

impl Phase {
    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Verifying => "verifying",
            Self::Ramping => "ramping",
        }
    }

    /// All of them, in the order of a maintenance.
    pub const ALL: [Self; 5] = [Self::Open, Self::Draining, Self::Closed, Self::Verifying, Self::Ramping];
}

/// Where a closure comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An entry of `[routes]`.
    Flag,
    /// A window, by its id.
    Window(String),
}

/// Demand of the flag file that a route be under maintenance now, made of everything in it that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// What clients meet.
    pub mode: Mode,
    /// Where it was flagged.
    pub source: Source,
    /// When it lifts by itself, if that is known.
    pub until: Option<Timestamp>,
    /// Since when, as far as the file knows it.
    pub started: Option<Timestamp>,
    /// It is a window that goes on after its end.
    #[serde(default)]
    pub overruns: bool,
    /// An entry of `[routes]` is among what says so. A window may begin by itself; this is an operator's word.
    #[serde(default)]
    pub by_hand: bool,
}

/// An instant so much later, or the last there is.
pub(super) fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}
