//! Control decides *when it changes*: it watches files, clocks and signals, compiles, and publishes. No request ever
//! waits for it.
//!
//! Control may block and may fail; then the live snapshot stays. An event is only a hint. Control wakes, reads the
//! present state, and compiles it. The result is published, or the last good one is kept.

pub(crate) mod clock;

#[cfg(feature = "proxy")]
pub(crate) mod admin;
#[cfg(feature = "proxy")]
mod baselines_file;
#[cfg(feature = "proxy")]
mod beats;
#[cfg(feature = "proxy")]
pub(crate) mod certs;
#[cfg(feature = "proxy")]
pub(crate) mod checker;
#[cfg(feature = "proxy")]
mod chore;
#[cfg(feature = "proxy")]
mod closure_counts;
#[cfg(feature = "proxy")]
pub(crate) mod controller;
#[cfg(feature = "proxy")]
pub(crate) mod edit;
#[cfg(feature = "proxy")]
mod findings;
#[cfg(feature = "proxy")]
mod finisher;
#[cfg(feature = "proxy")]
pub(crate) mod fleet;
#[cfg(feature = "proxy")]
mod forms;
#[cfg(feature = "proxy")]
mod health;
#[cfg(feature = "proxy")]
pub mod history;
#[cfg(feature = "proxy")]
mod inputs;
pub(crate) mod judge;
#[cfg(feature = "proxy")]
mod learning;
#[cfg(feature = "proxy")]
mod limit_log;
#[cfg(feature = "proxy")]
pub(crate) mod load;
#[cfg(feature = "proxy")]
mod lookout;
#[cfg(feature = "proxy")]
mod metrics;
#[cfg(feature = "proxy")]
mod news;
#[cfg(feature = "proxy")]
pub(crate) mod notify;
#[cfg(feature = "proxy")]
mod observe;
#[cfg(feature = "proxy")]
mod page_trial;
#[cfg(feature = "proxy")]
pub(crate) mod pages;
#[cfg(feature = "proxy")]
pub(crate) mod preview;
#[cfg(feature = "proxy")]
mod probe;
#[cfg(feature = "proxy")]
mod publish;
#[cfg(feature = "proxy")]
mod recorder;
#[cfg(feature = "proxy")]
mod report;
#[cfg(feature = "proxy")]
mod run;
#[cfg(feature = "proxy")]
pub(crate) mod runtime_file;
#[cfg(feature = "proxy")]
mod signals;
#[cfg(feature = "proxy")]
mod sockets;
#[cfg(feature = "proxy")]
mod startup;
#[cfg(feature = "proxy")]
pub mod state;
#[cfg(feature = "proxy")]
mod subscribers;
#[cfg(feature = "proxy")]
pub(crate) mod switches;
#[cfg(feature = "proxy")]
mod transitions;

#[cfg(feature = "proxy")]
pub(crate) use run::{End, Start, run};
#[cfg(feature = "proxy")]
pub(crate) use signals::Signals;

#[cfg(all(test, feature = "proxy"))]
mod tests;
