//! Lifecycle of a maintenance: a route goes down, and comes back.
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
//! The phase follows from the flag file, the config, the observations, and the time. [`RouteState`] is the rest: facts that
//! must be remembered, which the controller saves for the next process.
//!
//! Replicas with the same file and the same clock come to the same phases without communication. Instants between two
//! evaluations are replayed in order: a ramp begins at the end of its window, whenever that is noticed. An edit counts
//! from now.

mod baseline;
mod breach;
mod clients;
mod closing;
mod comeback;
mod counts;
mod excess;
mod finding;
mod guard;
mod interrupted;
mod learned;
mod observed;
mod ramp;
mod reason;
mod reload;
mod saved;
#[cfg(test)]
mod simulation;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod traffic;
mod verification;
mod whole;
mod window;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::flags::Mode;

pub(crate) use baseline::{Baseline, Usual};
pub(crate) use clients::{Client, ClientCounts, Clients};
pub(crate) use closing::Closing;
pub(crate) use counts::{Counts, GuardCounts};
pub(crate) use guard::{Breach, Counted, Measured, is_suspect, judge};
pub(crate) use learned::Learned;
pub(crate) use observed::{Observed, Unwell};
pub(crate) use ramp::cohorts;
pub(crate) use reason::Reason;
pub use state::Transition;
pub(crate) use state::{RouteInputs, RouteState};
pub(crate) use traffic::{Arrivals, Traffic, arrivals, dropped};
pub(crate) use verification::{CheckResult, UpstreamChecks, Verification, enough, is_out_of_reach, left_out};
pub(crate) use whole::{Among, Peer, Standard, Whole, measure};
pub(crate) use window::{Moment, windows};
#[cfg(test)]
pub(crate) use {excess::Sample, window::Window};

/// Phase of a route's maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Every request is forwarded.
    Open,
    /// The route is under maintenance; requests that began before are still in flight.
    Draining,
    /// The route is under maintenance.
    Closed,
    /// The maintenance is over; checks decide whether the upstreams work.
    Verifying,
    /// A growing share of the clients is admitted.
    Ramping,
}

impl Phase {
    /// Returns the word for the phase in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Verifying => "verifying",
            Self::Ramping => "ramping",
        }
    }

    /// All phases, in the order of a maintenance.
    pub const ALL: [Self; 5] = [Self::Open, Self::Draining, Self::Closed, Self::Verifying, Self::Ramping];
}

/// Origin of a closure.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An entry of `[routes]`.
    Flag,
    /// A window, by its id.
    Window(String),
    /// A switch of the route, by its file.
    Switch(String),
}

/// Demand of the flag file that a route be under maintenance now, made of everything in it that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Mode in force.
    pub mode: Mode,
    /// Flag, window or switch whose words are shown.
    pub source: Source,
    /// End, if it is known.
    pub until: Option<Timestamp>,
    /// Start, as far as the file knows it.
    pub started: Option<Timestamp>,
    /// The source is a window or a flag that goes on after its planned end.
    #[serde(default)]
    pub overruns: bool,
    /// Holder of the source, which renews its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// An entry of `[routes]` is among the causes. A window may begin by itself; a flag is an operator's word.
    #[serde(default)]
    pub by_hand: bool,
}

/// Subtracts a duration from an instant, and stops at the first instant there is.
fn before(instant: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    instant.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

/// Adds a duration to an instant, and stops at the last instant there is.
pub(super) fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}
