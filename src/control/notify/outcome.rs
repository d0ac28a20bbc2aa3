//! Outcome of an attempt to tell a place.

use std::time::Duration;

/// Success of an attempt, in words.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub String);

/// Failure of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Reason, without the secret part of a URL.
    pub why: String,
    /// Sense of another attempt.
    pub next: Next,
}

/// Sense of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt may succeed, after the usual time or a longer one.
    Again(Option<Duration>),
    /// No attempt will succeed.
    Never,
}

impl Failure {
    pub(super) fn ended() -> Self {
        Self { why: "the process ends".to_owned(), next: Next::Never }
    }
}
