//! Reads and edits the text of the flag file. An edit never leaves it with new errors.

use std::path::Path;

use jiff::Timestamp;

use crate::files::author::Signer;
use crate::files::write::{self, Emptied, RewriteError, WriteError};
use crate::plan::encoding;
use crate::plan::flags::{self, Flags};
use crate::plan::problem::Problem;

use super::failure::{EditFailure, Unmade};
use super::place::Place;

/// Manner of an edit.
pub(crate) struct Manner<'a> {
    /// Treatment of a file that had a content and is empty now.
    pub(crate) emptied: Emptied,
    /// Person or program that the edit is signed by.
    pub(crate) by: &'a Signer,
    /// Called if the wait for another writer is long.
    pub(crate) waiting: fn(&Path),
}

/// Result of an edit.
pub(crate) struct Edited<T> {
    /// Report of the edit itself.
    pub(crate) report: T,
    /// New text of the file.
    pub(crate) text: String,
    /// Flags in the new text.
    pub(crate) flags: Flags,
    /// True if the text differs from the one before.
    pub(crate) changed: bool,
}

/// Reads the flags of a file. A missing file has none.
///
/// # Errors
/// If the file cannot be read, or has errors.
pub(crate) fn flags(place: &Place) -> Result<Flags, EditFailure> {
    let file = &place.path;
    let Some(content) = place.content()? else { return Ok(Flags::default()) };
    let text = encoding::decode(file, &content.bytes).map_err(|problem| EditFailure::Problems(vec![problem]))?;
    let (parsed, problems) = parse(file, text);
    parsed.map(|parsed| parsed.flags).ok_or(EditFailure::Problems(problems))
}

/// Edits a flag file, unless it would have errors afterwards. The caller decides about a file that was emptied.
///
/// # Errors
/// If the file has errors, would get errors, or cannot be edited, read or written.
pub(crate) fn edit<T, E: Into<Unmade>>(
    place: &Place,
    manner: &Manner<'_>,
    mut edit: impl FnMut(&str) -> Result<(String, T), E>,
) -> Result<Edited<T>, EditFailure> {
    let file = &*place.path;
    if let Some(fleet) = &place.fleet {
        return place.edit_engine(fleet, manner.by, edit);
    }
    let edited = write::rewrite(file, manner.emptied, manner.by, manner.waiting, |before| {
        let edited = edit_text(file, before, &mut edit)?;
        Ok::<_, EditFailure>((edited.text.clone(), edited))
    });
    edited.map_err(|error| match error {
        RewriteError::Edit(failure) => failure,
        RewriteError::Write(error @ WriteError::NotText(_)) => not_text(file, error),
        RewriteError::Write(error) => EditFailure::Write(error),
    })
}

/// Returns the failure for a file that is not UTF-8, with the place if it can be read again.
fn not_text(file: &Path, error: WriteError) -> EditFailure {
    match flags(&Place::file(file.to_owned())) {
        Err(EditFailure::Problems(problems)) => EditFailure::WrongBefore { file: file.to_owned(), problems },
        Ok(_) | Err(_) => EditFailure::Write(error),
    }
}

/// Edits the text of a flag file, unless it would have errors afterwards. Nothing is written.
///
/// # Errors
/// If the text has errors, would get errors, or cannot be edited.
pub(crate) fn edit_text<T, E: Into<Unmade>>(
    file: &Path,
    before: &str,
    mut edit: impl FnMut(&str) -> Result<(String, T), E>,
) -> Result<Edited<T>, EditFailure> {
    let (text, report) = edit(before).map_err(|unmade| edit_failure(file, before, unmade.into()))?;
    let flags = validate(file, before, &text)?;
    let changed = text != before;
    Ok(Edited { report, text, flags, changed })
}

/// Returns the failure for a refused edit. Errors in the text itself explain more than the editor's message.
fn edit_failure(file: &Path, before: &str, unmade: Unmade) -> EditFailure {
    let source = match unmade {
        Unmade::Failure(failure) => return failure,
        Unmade::Text(source) => source,
    };
    let (parsed, problems) = parse(file, before);
    let file = file.to_owned();
    match parsed {
        Some(_) => EditFailure::Text { file, source },
        None => EditFailure::WrongBefore { file, problems },
    }
}

fn validate(file: &Path, before: &str, after: &str) -> Result<Flags, EditFailure> {
    let (parsed, problems) = parse(file, after);
    if let Some(parsed) = parsed {
        return Ok(parsed.flags);
    }
    match parse(file, before) {
        (None, problems) => Err(EditFailure::WrongBefore { file: file.to_owned(), problems }),
        (Some(_), _) => Err(EditFailure::WrongAfter { file: file.to_owned(), problems }),
    }
}

/// Parses a text that is about to be edited.
///
/// # Errors
/// If it has errors.
pub(crate) fn flags_of(file: &Path, text: &str) -> Result<Flags, EditFailure> {
    let (parsed, problems) = parse(file, text);
    parsed.map(|parsed| parsed.flags).ok_or_else(|| EditFailure::WrongBefore { file: file.to_owned(), problems })
}

fn parse(file: &Path, text: &str) -> (Option<flags::Parsed>, Vec<Problem>) {
    flags::parse_at(&file.display().to_string(), text, Timestamp::now())
}
