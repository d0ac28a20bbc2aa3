//! Decides when things change: watches files, clocks and signals, and never touches a request.

pub mod files;
pub mod settle;
pub mod source;
mod trail;
pub mod watch;
