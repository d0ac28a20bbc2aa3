//! The flag file, found through the config.

use std::path::Path;

use crate::control::edit::flag_file::{self as shared, Manner};
use crate::control::load;
use crate::files::author::Signer;
use crate::files::source;
use crate::files::write::Emptied;
use crate::plan::config::{Config, Parsed};
use crate::plan::flags::Flags;
use crate::plan::problem::Problem;

use super::edit::EditError;
use super::exit;
use super::failure::Failure;
use super::place::Place;

pub(super) use crate::control::edit::flag_file::{Edited, edit_text, flags};

/// Flag file of a config.
pub(super) struct FlagFile {
    /// Place of its text.
    pub(super) place: Place,
    /// Config that names it.
    pub(super) config: Config,
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
        Ok(flags(&self.place)?)
    }
}

/// Edits a flag file for the user of this process, unless it would have errors afterwards. The caller decides about a
/// file that was emptied.
///
/// # Errors
/// If the file has errors, would get errors, or cannot be edited, read or written.
pub(super) fn edit<T>(
    place: &Place,
    emptied: Emptied,
    edit: impl FnMut(&str) -> Result<(String, T), EditError>,
) -> Result<Edited<T>, Failure> {
    let waiting = |file: &Path| exit::say(format_args!("waiting for another edit of `{}`", file.display()));
    let manner = Manner { emptied, by: &Signer::of_process(), waiting };
    Ok(shared::edit(place, &manner, edit)?)
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
