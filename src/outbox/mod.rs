//! Outbox: subscribers, and what they are still to be told.
//!
//! Deliveries wait in a file until their endpoint has taken them. The outbox never stands in the way of a request, and
//! trusts no address that a subscriber names.

pub mod address;
pub mod endpoint;
pub mod keys;
pub mod lease;
pub mod place;
pub mod progress;

pub mod mail;
pub mod notice;
pub mod schedule;
pub mod stationery;
pub mod store;
pub mod subscription;
pub mod token;
pub mod told;

mod answers;
mod bounded;
pub mod chat;
pub mod meaning;
pub mod post;
pub mod push;
pub mod sender;
pub mod signature;
pub mod webhook;

pub mod clerk;
pub mod run;
pub mod trial;

#[cfg(test)]
mod tests;
