//! Decides *what should happen*: turns the config and the flag file into a [`snapshot::Snapshot`].
//!
//! The part holds values only. Nothing here does I/O, reads a clock, waits, locks or logs, and nothing here imports
//! from the rest of the crate. The time and all observations are arguments.

pub mod problem;
mod read;

pub mod color;
pub mod path;
pub mod target;
pub mod text;
mod units;
pub mod words;

pub mod config;
pub mod flags;
pub mod limits;

pub mod key;
pub mod keys;

pub mod accept;
pub mod dialect;

pub(crate) mod admission;
pub mod client;
pub(crate) mod head;
pub mod lifecycle;
pub mod pass;

pub mod answer;
pub mod compile;
pub mod page;
pub mod snapshot;
pub mod verdict;

pub mod app;

#[cfg(test)]
mod cases;
#[cfg(test)]
pub(crate) mod rehearsal;
