//! Decides *what should happen*: turns the config and the flag file into a [`snapshot::Snapshot`].
//!
//! The part holds values only. Nothing here does I/O, reads a clock, waits, locks or logs, and nothing here imports
//! from the rest of the crate. The time and all observations are arguments.

#![cfg_attr(not(feature = "proxy"), allow(dead_code, unused_imports, reason = "the layer needs a part of it"))]

pub(crate) mod encoding;
pub(crate) mod ical;
pub(crate) mod instant;
pub mod problem;
mod read;

pub(crate) mod color;
pub(crate) mod etag;
pub(crate) mod marks;
pub(crate) mod methods;
pub(crate) mod mode;
pub mod path;
pub(crate) mod portion;
pub mod rewrite;
pub(crate) mod target;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod words;

pub mod agenda;
pub mod config;
pub mod flags;
pub(crate) mod limits;
pub(crate) mod lines;

#[doc(hidden)]
pub mod key;
#[doc(hidden)]
pub mod keys;

pub mod accept;
pub(crate) mod dialect;

pub(crate) mod admission;
pub(crate) mod client;
pub(crate) mod head;
pub(crate) mod lifecycle;
pub mod pass;

pub(crate) mod answer;
pub mod banner;
pub mod compile;
pub mod news;
pub mod notify;
pub mod page;
pub mod redirect;
pub mod snapshot;
mod table;
pub mod verdict;
pub(crate) mod wave;

#[cfg(feature = "layer")]
pub(crate) mod app;

#[cfg(test)]
mod cases;
#[cfg(test)]
pub(crate) mod rehearsal;
