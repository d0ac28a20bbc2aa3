//! Flags of routes that are set and lifted.

use jiff::{SignedDuration, Timestamp};

use crate::plan::flags::{Lift, Pace};

use super::failure::EditFailure;
use super::text::{self as edit, EditError, Entry, Lifted, Selection, TableRef};
use super::words;

/// Returns the end of a flag, from an instant or from its length.
///
/// # Errors
/// If it is not in the future.
pub(crate) fn end(
    until: Option<Timestamp>,
    length: Option<SignedDuration>,
    now: Timestamp,
) -> Result<Option<Timestamp>, EditFailure> {
    let until = match (until, length) {
        (Some(until), _) => Some(until.min(words::last_instant())),
        // An end beyond the last instant is the last instant.
        (None, Some(length)) => Some(now.checked_add(length).unwrap_or(words::last_instant())),
        (None, None) => None,
    };
    if until.is_some_and(|until| until <= now) {
        return Err(EditFailure::Past);
    }
    Ok(until)
}

/// Flags routes in a text.
///
/// # Errors
/// If the text is not TOML, or has the flags in a form that cannot be edited.
pub(crate) fn flag(text: &str, routes: &[String], entry: &Entry, now: Timestamp) -> Result<String, EditError> {
    let text = edit::on(text, routes, entry)?;
    edit::forget_lifted(&text, routes, now)
}

/// Lifting of flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifting<'a> {
    /// Flags that are lifted.
    pub(crate) which: Selection<'a>,
    /// Way in which clients come back.
    pub(crate) pace: Pace,
    /// True if checks and guards are overruled.
    pub(crate) force: bool,
    /// Instant of it.
    pub(crate) at: Timestamp,
}

impl Lifting<'_> {
    /// Removes the flags from a text, and notes there when and how.
    ///
    /// # Errors
    /// As [`flag`].
    pub(crate) fn apply(&self, lifted: &Lifted) -> Result<String, EditError> {
        let text = self.noted(lifted)?;
        match self.which {
            Selection::Routes(routes) if self.force => with_forced(&text, routes, self.at),
            Selection::Routes(_) | Selection::All => Ok(text),
        }
    }

    /// Records in the text when the routes were lifted, and how their clients come back.
    fn noted(&self, lifted: &Lifted) -> Result<String, EditError> {
        let routes = match (self.pace, self.which) {
            // A route that is coming back already has no flag.
            (Pace::AtOnce, Selection::All) => vec!["*".to_owned()],
            (Pace::AtOnce, Selection::Routes(routes)) => edit::deduplicated(routes),
            (Pace::Ramp, _) => lifted.removed.clone(),
        };
        if routes.is_empty() {
            return edit::forget_lifted(&lifted.text, &[], self.at);
        }
        edit::note_lifted(&lifted.text, &routes, Lift { at: self.at, pace: self.pace })
    }
}

/// Records in the text that an operator opens routes regardless of checks and guards.
fn with_forced(text: &str, routes: &[String], now: Timestamp) -> Result<String, EditError> {
    let keys: Vec<_> = routes.iter().map(|route| (route.as_str(), Some(now.to_string()))).collect();
    edit::set(text, TableRef::TopLevel("forced"), &keys)
}
