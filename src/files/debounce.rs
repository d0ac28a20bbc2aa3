//! Settling: whether what was just read of a file may be acted on yet.
//!
//! A pure machine: it reads no file and no clock. It is told why the file was looked at, what was seen and when, and
//! answers with one [`Step`]. It never lets a half-written file through while its writer is at work within
//! [`Timing::quiet`], and never takes a file that is empty or gone for a moment at its word.

use std::time::{Duration, Instant};

use super::source::{Content, Hash, ReadError};

/// Why a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// No reason: it is time to look, or something happened that does not say that the file changed.
    Poll,
    /// Somebody is at work on it, or it went away: what is seen may be half of something.
    Writing,
    /// Somebody finished: it was closed after writing, or it, a symlink or a directory on the way was renamed into place.
    Settled,
    /// The operator says so (SIGHUP): what is seen counts, unless it is empty or gone.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer receives no signals"))]
    Forced,
}

impl Hint {
    /// Takes back the promise, because it was for what the path led to before, and that says nothing of what it leads to
    /// now.
    pub(crate) fn downgraded(self) -> Self {
        match self {
            Self::Poll => Self::Poll,
            Self::Writing | Self::Settled | Self::Forced => Self::Writing,
        }
    }
}

/// What a look saw, as far as settling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A content that was read whole.
    Content {
        /// Which one.
        hash: Hash,
        /// Whether there is nothing in it.
        blank: bool,
    },
    /// None.
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

/// What to do about what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is what is known already.
    Same,
    /// Act on it: it is new, and whole.
    Accept,
    /// Take note: the content known already can be read again.
    Restored,
    /// Take note: there is no content, and the last one stays.
    ReadError(ReadError),
    /// Look again at this instant, if nothing calls for it earlier.
    Wait(Instant),
}

/// How long things must stay as they are before they are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How often everything is looked at without a reason.
    pub poll: Duration,
    /// For a new content of which nobody said that it is finished.
    pub quiet: Duration,
    /// For an empty file that was not empty before.
    pub empty: Duration,
    /// For a file that is missing or cannot be read.
    pub gone: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { poll: POLL, quiet: QUIET, empty: EMPTY_CONFIRM, gone: GONE_CONFIRM }
    }
}

/// The settling of one file: what is known of it, and what was seen but is not believed yet.
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
    /// Starts with what is there now, whatever it is: nothing is known yet that could be kept instead.
    pub(crate) fn start(seen: Observation, timing: Timing) -> Self {
        let mut debounce = Self { timing, accepted: None, error: None, pending: None };
        debounce.commit(seen);
        debounce
    }

    /// Returns when the file must be looked at again, if what was seen is not believed yet.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    /// Takes in one look.
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

    /// Since when it has been like this: activity on the file starts the time anew, even if it looks the same.
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
            // The whole of what was accepted before cannot be half of something else.
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
/// Also for what only polling sees: a shorter time would let half a file through when a slow writer pauses.
const QUIET: Duration = Duration::from_secs(2);
const EMPTY_CONFIRM: Duration = Duration::from_secs(3);
const GONE_CONFIRM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
