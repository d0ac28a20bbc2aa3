//! Decides *when it changes*: watches files, clocks and signals, compiles, publishes. It never touches a request.
//!
//! Cold. It may block, and it may fail: then what is live stays. An event is a hint and nothing more: control wakes,
//! reads again what is true, compiles that, and publishes it or keeps the last good.

pub mod certs;
pub mod files;
pub mod load;
pub mod settle;
pub mod source;
mod trail;
pub mod watch;
