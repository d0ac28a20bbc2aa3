//! Debouncing: decides when a new content of a file may be acted on.
//!
//! The machine is pure: it reads no file and no clock. Its inputs are the reason for a look, what the look found,
//! and the time. The answer is a [`Step`].
//!
//! A half-written file never gets through, as long as its writer goes on within [`Timing::quiet`]. A file that is empty
//! or gone for just a moment is ignored.

use std::time::{Duration, Instant};

use super::source::{Content, Hash, ReadError};

/// The reason for looking at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// No reason, or an event that does not mean that the file changed.
    Poll,
    /// The file is being written or went away, so a look may find half of something.
    Writing,
    /// A writer has closed the file, or the file, or a symlink or directory on its path, was renamed into place.
    Settled,
    /// The operator asked for it (SIGHUP). Anything counts, unless the file is empty or gone.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer receives no signals"))]
    Forced,
}

impl Hint {
    /// Turns a finished write into an unfinished one, when it belongs to where the path led before. That says nothing
    /// about where the path leads now.
    pub(crate) fn downgraded(self) -> Self {
        match self {
            Self::Poll => Self::Poll,
            Self::Writing | Self::Settled | Self::Forced => Self::Writing,
        }
    }
}

/// The result of a look, as far as debouncing needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A content that was read whole.
    Content {
        /// The hash of the content.
        hash: Hash,
        /// True if the content is empty or only blanks.
        blank: bool,
    },
    /// No content.
    ReadError(ReadError),
}

impl From<&Result<Content, ReadError>> for Observation {
    fn from(content: &Result<Content, ReadError>) -> Self {
        match content {
            Ok(content) => Self::Content { hash: content.hash, blank: content.is_blank() },
            Err(error) => Self::ReadError(*error),
        }
    }
}

/// The step that follows from an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the observation is known already.
    Same,
    /// Act on the content, which is new and whole.
    Accept,
    /// Note that the known content can be read again.
    Restored,
    /// Note that there is no content. The last one stays.
    ReadError(ReadError),
    /// Look again at this instant, unless an event comes first.
    Wait(Instant),
}

/// Times that an observation must last before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Interval of looking at every file without a reason.
    pub poll: Duration,
    /// Delay for a new content that no event says is finished.
    pub quiet: Duration,
    /// Delay for a file that has become empty.
    pub empty: Duration,
    /// Delay for a file that is missing or cannot be read.
    pub gone: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { poll: POLL, quiet: QUIET, empty: EMPTY_CONFIRM, gone: GONE_CONFIRM }
    }
}

/// Debouncing of one file: the accepted observation, and a newer one that must still last.
#[derive(Clone, Debug)]
pub(crate) struct Debounce {
    timing: Timing,
    accepted: Option<(Hash, bool)>,
    error: Option<ReadError>,
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    seen: Observation,
    since: Instant,
    due: Instant,
}

impl Debounce {
    /// Starts with whatever is there now, since there is nothing older to keep.
    pub(crate) fn start(seen: Observation, timing: Timing) -> Self {
        let mut debounce = Self { timing, accepted: None, error: None, pending: None };
        debounce.commit(seen);
        debounce
    }

    /// Returns when to look at the file again, if an observation is pending.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    /// Takes in one observation.
    pub(crate) fn step(&mut self, hint: Hint, seen: Observation, now: Instant) -> Step {
        if self.is_known(seen) {
            self.pending = None;
            return Step::Same;
        }
        let since = self.since(hint, seen, now);
        let due = since + self.patience(hint, seen);
        if now < due {
            self.pending = Some(Pending { seen, since, due });
            return Step::Wait(due);
        }
        self.pending = None;
        self.commit(seen)
    }

    fn is_known(&self, seen: Observation) -> bool {
        match seen {
            Observation::Content { hash, .. } => self.error.is_none() && self.has_accepted(hash),
            Observation::ReadError(error) => self.error == Some(error),
        }
    }

    fn has_accepted(&self, hash: Hash) -> bool {
        self.accepted.is_some_and(|(accepted, _)| accepted == hash)
    }

    /// Returns since when the observation has been the same. Activity on the file starts the time again.
    fn since(&self, hint: Hint, seen: Observation, now: Instant) -> Instant {
        match (&self.pending, hint) {
            (Some(pending), Hint::Poll | Hint::Forced) if pending.seen == seen => pending.since,
            _ => now,
        }
    }

    fn patience(&self, hint: Hint, seen: Observation) -> Duration {
        match seen {
            Observation::ReadError(ReadError::Changing) => self.timing.quiet,
            Observation::ReadError(_) => self.timing.gone,
            // The accepted content was whole, so reading it again cannot be half of something else.
            Observation::Content { hash, .. } if self.has_accepted(hash) => Duration::ZERO,
            Observation::Content { blank: true, .. } if self.accepted.is_some_and(|(_, blank)| !blank) => {
                self.timing.empty
            }
            Observation::Content { .. } => match hint {
                Hint::Settled | Hint::Forced => Duration::ZERO,
                Hint::Poll | Hint::Writing => self.timing.quiet,
            },
        }
    }

    fn commit(&mut self, seen: Observation) -> Step {
        match seen {
            Observation::ReadError(error) => {
                self.error = Some(error);
                Step::ReadError(error)
            }
            Observation::Content { hash, .. } if self.has_accepted(hash) => {
                self.error = None;
                Step::Restored
            }
            Observation::Content { hash, blank } => {
                self.error = None;
                self.accepted = Some((hash, blank));
                Step::Accept
            }
        }
    }
}

const POLL: Duration = Duration::from_secs(2);
/// Delay also for what only polling finds. With a shorter one, half a file would get through when a slow writer pauses.
const QUIET: Duration = Duration::from_secs(2);
const EMPTY_CONFIRM: Duration = Duration::from_secs(3);
const GONE_CONFIRM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
