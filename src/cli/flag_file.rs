//! The flag file, found through the config. An edit never leaves it with new errors.

use std::path::Path;

use jiff::Timestamp;

use crate::control::load;
use crate::files::source;
use crate::plan::config::{Config, Parsed};
use crate::plan::encoding;
use crate::plan::flags::{self, Flags};
use crate::plan::problem::Problem;

use super::edit::EditError;
use super::exit;
use super::failure::Failure;
use super::place::Place;
use crate::files::write::{self, Emptied, RewriteError, WriteError};

/// Flag file of a config.
pub(super) struct FlagFile {
    /// Place of its text.
    pub(super) place: Place,
    /// Config that names it.
    pub(super) config: Config,
}

/// Result of an edit.
pub(super) struct Edited<T> {
    /// Report of the edit itself.
    pub(super) report: T,
    /// New text of the file.
    pub(super) text: String,
    /// Flags in the new text.
    pub(super) flags: Flags,
    /// True if the text differs from the one before.
    pub(super) changed: bool,
}

impl FlagFile {
    /// Finds the flag file of a config. Only the config is read, so other files may have errors.
    ///
    /// # Errors
    /// [`Failure::Problems`] of the config.
    pub(super) fn of(config_file: &Path) -> Result<Self, Failure> {
        let content = source::read(config_file)
            .content
            .map_err(|error| Failure::Problems(with_option(config_file, vec![Problem::in_file(config_file, error)])))?;
        let Parsed { config, problems, .. } = load::parse_config(config_file, &content, &mut load::Disk);
        let config = config.ok_or(Failure::Problems(problems))?;
        Ok(Self { place: Place::of(&config), config })
    }

    /// Reads the flags. A missing file has none.
    ///
    /// # Errors
    /// If the file cannot be read, or has errors.
    pub(super) fn flags(&self) -> Result<Flags, Failure> {
        flags(&self.place)
    }
}

/// Reads the flags of a file. A missing file has none.
///
/// # Errors
/// If the file cannot be read, or has errors.
pub(super) fn flags(place: &Place) -> Result<Flags, Failure> {
    let file = &place.path;
    let Some(content) = place.content()? else { return Ok(Flags::default()) };
    let text = encoding::decode(file, &content.bytes).map_err(|problem| Failure::Problems(vec![problem]))?;
    let (parsed, problems) = parse(file, text);
    parsed.map(|parsed| parsed.flags).ok_or(Failure::Problems(problems))
}

/// Edits a flag file, unless it would have errors afterwards. The caller decides about a file that was emptied.
///
/// # Errors
/// If the file has errors, would get errors, or cannot be edited, read or written.
pub(super) fn edit<T>(
    place: &Place,
    emptied: Emptied,
    mut edit: impl FnMut(&str) -> Result<(String, T), EditError>,
) -> Result<Edited<T>, Failure> {
    let file = &*place.path;
    if let Some(fleet) = &place.fleet {
        return place.edit_engine(fleet, edit);
    }
    let waiting = |file: &Path| exit::say(format_args!("waiting for another edit of `{}`", file.display()));
    let edited = write::rewrite(file, emptied, waiting, |before| {
        let edited = edit_text(file, before, &mut edit)?;
        Ok::<_, Failure>((edited.text.clone(), edited))
    });
    edited.map_err(|error| match error {
        RewriteError::Edit(failure) => failure,
        RewriteError::Write(error @ WriteError::NotText(_)) => not_text(file, error),
        RewriteError::Write(error) => Failure::Write(error),
    })
}

/// Returns the failure for a file that is not UTF-8, with the place if it can be read again.
fn not_text(file: &Path, error: WriteError) -> Failure {
    match flags(&Place::file(file.to_owned())) {
        Err(Failure::Problems(problems)) => Failure::WrongBefore { file: file.to_owned(), problems },
        Ok(_) | Err(_) => Failure::Write(error),
    }
}

/// Edits the text of a flag file, unless it would have errors afterwards. Nothing is written.
///
/// # Errors
/// If the text has errors, would get errors, or cannot be edited.
pub(super) fn edit_text<T>(
    file: &Path,
    before: &str,
    mut edit: impl FnMut(&str) -> Result<(String, T), EditError>,
) -> Result<Edited<T>, Failure> {
    let (text, report) = edit(before).map_err(|source| edit_failure(file, before, source))?;
    let flags = validate(file, before, &text)?;
    let changed = text != before;
    Ok(Edited { report, text, flags, changed })
}

/// Returns the failure for a refused edit. Errors in the text itself explain more than the editor's message.
fn edit_failure(file: &Path, before: &str, source: EditError) -> Failure {
    let (parsed, problems) = parse(file, before);
    let file = file.to_owned();
    match parsed {
        Some(_) => Failure::Edit { file, source },
        None => Failure::WrongBefore { file, problems },
    }
}

fn validate(file: &Path, before: &str, after: &str) -> Result<Flags, Failure> {
    let (parsed, problems) = parse(file, after);
    if let Some(parsed) = parsed {
        return Ok(parsed.flags);
    }
    match parse(file, before) {
        (None, problems) => Err(Failure::WrongBefore { file: file.to_owned(), problems }),
        (Some(_), _) => Err(Failure::WrongAfter { file: file.to_owned(), problems }),
    }
}

fn parse(file: &Path, text: &str) -> (Option<flags::Parsed>, Vec<Problem>) {
    flags::parse_at(&file.display().to_string(), text, Timestamp::now())
}

/// Adds a hint about `--config` if the only problem is that the config cannot be read.
pub(super) fn with_option(config_file: &Path, mut problems: Vec<Problem>) -> Vec<Problem> {
    if let [problem] = problems.as_mut_slice()
        && problem.place.is_none()
        && problem.help.is_none()
        && Path::new(&problem.file) == config_file
    {
        problem.help = Some("name the config with `--config FILE`; `backsoon init` writes one".to_owned());
    }
    problems
}
