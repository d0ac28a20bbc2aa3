//! Debouncing: decides when a new content of a file may be acted on.
//!
//! The machine is pure: it reads no file and no clock. The inputs are the reason for a look, its result, and the time.
//! The answer is a [`Step`].
//!
//! A half-written file never gets through, as long as its writer goes on within [`Timing::quiet`]. A file that is empty
//! or gone for just a moment is ignored.
//!
//! A file that is renamed into place is complete. A file that was closed is complete as well, unless its content takes
//! something away. Then the writer may be about to write the rest, and gets [`Timing::lifts`] to begin. The judge of
//! the file tells by a [`Doubt`] which contents take something away.

use std::time::{Duration, Instant};

use super::source::{Hash, ReadError};

/// The reason for looking at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// No reason, or an event that does not mean that the file changed.
    Poll,
    /// The file is being written or went away, so a look may find half of something.
    Writing,
    /// A writer has closed the file. Another one may go on where this one stopped.
    Closed,
    /// The file, or a symlink or directory on its path, was renamed into place.
    Renamed,
    /// The operator asked for a look (SIGHUP), and no event says anything of the file. A writer may be at work
    /// nevertheless. So this holds the age of the content: the time since the file was modified.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer receives no signals"))]
    Forced(Duration),
}

impl Hint {
    /// Turns a finished write into an unfinished one. Used for an event at a place to which the path led before, which
    /// says nothing about the place to which it leads now.
    pub(crate) fn downgraded(self) -> Self {
        match self {
            Self::Poll => Self::Poll,
            Self::Writing | Self::Closed | Self::Renamed | Self::Forced(_) => Self::Writing,
        }
    }
}

/// A doubt about a content: could it be only the beginning of what its writer wants?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// None: everything in force stays.
    #[default]
    None,
    /// Content that takes something away, as the beginning of a longer content would.
    Lifts,
    /// Content that takes something away and has no line break at its end.
    Unended,
    /// Content that takes something away and whose end is cut off.
    Cut,
    /// Content that is empty or blank, where something is in force.
    Empty,
}

/// The result of a look, as far as debouncing needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A content that was read whole.
    Content {
        /// The hash of the content.
        hash: Hash,
        /// The doubt about it.
        doubt: Doubt,
    },
    /// No content.
    ReadError(ReadError),
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
    /// Delay for a content that was closed by its writer and lifts something.
    pub lifts: Duration,
    /// Delay for a content that lifts something and has no line break at its end.
    pub unended: Duration,
    /// Delay for a file that has become empty, or is cut off.
    pub empty: Duration,
    /// Delay for a file that is missing or cannot be read.
    pub gone: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { poll: POLL, quiet: QUIET, lifts: LIFTS, unended: UNENDED, empty: EMPTY_CONFIRM, gone: GONE_CONFIRM }
    }
}

/// The reason for not believing an observation yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing says that its writer has finished.
    Writing,
    /// Content that is finished and doubted.
    Doubt(Doubt),
    /// The file cannot be read.
    ReadError(ReadError),
}

/// Debouncing of one file: the accepted observation, and a newer one that must still last.
#[derive(Clone, Debug)]
pub(crate) struct Debounce {
    timing: Timing,
    accepted: Option<Hash>,
    error: Option<ReadError>,
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    seen: Observation,
    /// The strongest reason for a look that found this observation.
    hint: Hint,
    since: Instant,
    due: Instant,
}

impl Debounce {
    /// Starts with the present content, since there is nothing older to keep.
    pub(crate) fn start(seen: Observation, timing: Timing) -> Self {
        let mut debounce = Self { timing, accepted: None, error: None, pending: None };
        debounce.commit(seen);
        debounce
    }

    /// Returns when to look at the file again, if an observation is pending.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    /// Returns the reason for the wait, if an observation is pending.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        let pending = self.pending.as_ref()?;
        Some(match (pending.seen, pending.hint) {
            (Observation::ReadError(error), _) => Wait::ReadError(error),
            (Observation::Content { doubt: doubt @ (Doubt::Empty | Doubt::Cut), .. }, _) => Wait::Doubt(doubt),
            (Observation::Content { .. }, Hint::Poll | Hint::Writing | Hint::Forced(_)) => Wait::Writing,
            (Observation::Content { doubt, .. }, Hint::Closed | Hint::Renamed) => Wait::Doubt(doubt),
        })
    }

    /// Returns the reason that counts for a look that found a content. A look without a reason inherits that of earlier
    /// looks with the same result.
    fn hint_for(&self, hint: Hint, hash: Hash) -> Hint {
        match (&self.pending, hint) {
            (Some(pending), Hint::Poll | Hint::Forced(_)) if pending.seen.is_content(hash) => pending.hint,
            (_, hint) => hint,
        }
    }

    /// Returns true if this content is the accepted one.
    pub(crate) fn has_accepted(&self, hash: Hash) -> bool {
        self.accepted == Some(hash)
    }

    /// Takes in one observation.
    pub(crate) fn step(&mut self, hint: Hint, seen: Observation, now: Instant) -> Step {
        if self.is_known(seen) {
            self.pending = None;
            return Step::Same;
        }
        let since = self.since(hint, seen, now);
        let hint = match seen {
            Observation::Content { hash, .. } => self.hint_for(hint, hash),
            Observation::ReadError(_) => hint,
        };
        let due = since + self.patience(hint, seen);
        if now < due {
            self.pending = Some(Pending { seen, hint, since, due });
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

    /// Returns the time since which the observation has been the same. Activity on the file starts it again.
    fn since(&self, hint: Hint, seen: Observation, now: Instant) -> Instant {
        match (&self.pending, hint) {
            (Some(pending), Hint::Poll | Hint::Forced(_)) if pending.seen.is_like(seen) => pending.since,
            // The file itself tells since when it has been quiet.
            (_, Hint::Forced(age)) => now.checked_sub(age).unwrap_or(now),
            (_, Hint::Poll | Hint::Writing | Hint::Closed | Hint::Renamed) => now,
        }
    }

    fn patience(&self, hint: Hint, seen: Observation) -> Duration {
        let Observation::Content { hash, doubt } = seen else {
            let changing = seen == Observation::ReadError(ReadError::Changing);
            return if changing { self.timing.quiet } else { self.timing.gone };
        };
        // The accepted content was whole, so reading it again cannot be half of something else.
        if self.has_accepted(hash) {
            return Duration::ZERO;
        }
        match (doubt, hint) {
            (Doubt::Empty, _) => self.timing.empty,
            // Nothing renames half a file.
            (_, Hint::Renamed) | (Doubt::None, Hint::Closed) => Duration::ZERO,
            (Doubt::Cut, _) => self.timing.empty,
            (_, Hint::Poll | Hint::Writing | Hint::Forced(_)) => self.timing.quiet,
            (Doubt::Lifts, Hint::Closed) => self.timing.lifts,
            (Doubt::Unended, Hint::Closed) => self.timing.unended,
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
            Observation::Content { hash, .. } => {
                self.error = None;
                self.accepted = Some(hash);
                Step::Accept
            }
        }
    }
}

impl Observation {
    fn is_content(self, wanted: Hash) -> bool {
        matches!(self, Self::Content { hash, .. } if hash == wanted)
    }

    /// Returns true for the same content, even if there is another doubt about it now.
    fn is_like(self, other: Self) -> bool {
        match other {
            Self::Content { hash, .. } => self.is_content(hash),
            Self::ReadError(_) => self == other,
        }
    }
}

const POLL: Duration = Duration::from_secs(2);
/// Delay also for changes that only polling finds. With a shorter delay, half a file would be believed when a slow
/// writer pauses.
const QUIET: Duration = Duration::from_secs(2);
/// Delay in which a writer that closes the file after each part begins the next part.
const LIFTS: Duration = Duration::from_millis(18);
/// Delay for a part that ends within a line. Few tools leave out the last line break, so most edits do not wait for it.
const UNENDED: Duration = Duration::from_millis(500);
const EMPTY_CONFIRM: Duration = Duration::from_secs(3);
const GONE_CONFIRM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
