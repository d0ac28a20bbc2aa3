//! Meaning of an answer. The same status is the end for one channel, and a moment of weakness for another.

use std::time::Duration;

/// Meaning of an answer, with words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The message was taken.
    Taken,
    /// Another attempt may succeed, at the earliest after a time that the receiver names.
    Again(String, Option<Duration>),
    /// The place is gone, or closed to us.
    Gone(String),
    /// This message is not taken, and no repetition of it will be.
    Refused(String),
}
