//! Switches of routes: looks which of their files exist.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::files::source::{self, ReadError};
use crate::plan::config::Config;
use crate::plan::flags::{self, Switched};
use crate::plan::problem::Problem;

/// Returns the files of all switches, once or more often.
pub(crate) fn files_of(config: &Config) -> impl Iterator<Item = &PathBuf> {
    config.routes.iter().filter_map(|route| route.switch.as_ref()).flat_map(|switch| &switch.files)
}

/// Looks which switches are on. One that nobody can tell of is off.
pub(crate) fn on(config: &Config) -> Vec<Switched> {
    flags::switched(config, |file| Some(source::existence(file).ok()?.bytes))
}

/// Returns the content of a file that exists, or none of one that does not.
///
/// # Errors
/// The error, if nobody can tell.
pub(crate) fn content(found: Result<Bytes, ReadError>) -> Result<Option<Bytes>, ReadError> {
    match found {
        Ok(content) => Ok(Some(content)),
        Err(ReadError::Missing | ReadError::NotAFile(_)) => Ok(None),
        Err(error @ (ReadError::TooLarge(_) | ReadError::Changing | ReadError::Unreadable(_))) => Err(error),
    }
}

/// Looks at the switches of a config that is about to be taken. A switch that nobody can tell of is an error: it would
/// be off, and might be on. `is_known` returns true for a file of which there is an earlier word.
pub(crate) fn problems(config_file: &Path, config: &Config, is_known: impl Fn(&Path) -> bool) -> Vec<Problem> {
    let mut files: Vec<&PathBuf> = files_of(config).filter(|file| !is_known(file)).collect();
    files.sort_unstable();
    files.dedup();
    files.into_iter().filter_map(|file| problem(config_file, file)).collect()
}

fn problem(config_file: &Path, file: &Path) -> Option<Problem> {
    let shown = file.display();
    let (message, help) = match source::existence(file) {
        Err(ReadError::Missing) if file.parent().is_some_and(|parent| !parent.is_dir()) => (
            format!("the directory of the switch `{shown}` does not exist"),
            "the switch is off until both exist: is the path right?",
        ),
        Err(ReadError::NotAFile(what)) => (
            format!("the switch `{shown}` is a {what}, which does not count"),
            "a container makes a directory in the place of a file that is not there: mount the directory above it",
        ),
        Err(error @ (ReadError::Unreadable(_) | ReadError::TooLarge(_) | ReadError::Changing)) => {
            let message = format!("nobody can tell whether the switch `{shown}` exists: {error}");
            let help = "let this program's user search (`x`) every directory of the path";
            return Some(Problem::in_file(config_file, message).help(help));
        }
        Ok(_) | Err(ReadError::Missing) => return None,
    };
    Some(Problem::warning(&config_file.display().to_string(), message).help(help))
}
