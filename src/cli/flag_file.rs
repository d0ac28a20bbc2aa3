//! The flag file, found through the config. An edit never leaves it with new errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::control::load;
use crate::files::source;
use crate::plan::compile::{Inputs, Known, compile};
use crate::plan::config::Config;
use crate::plan::flags::{self, Flags};
use crate::plan::page::Renderer;
use crate::plan::problem::Problem;
use crate::plan::snapshot::Snapshot;

use super::edit::EditError;
use super::exit;
use super::failure::{Failure, Force};
use crate::files::write::{self, Emptied, RewriteError};

/// Flag file of a config.
pub(super) struct FlagFile {
    /// Path of the file.
    pub(super) path: PathBuf,
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
        let (config, problems) = load::parse_config(config_file, &content);
        let config = config.ok_or(Failure::Problems(problems))?;
        Ok(Self { path: config.maintenance.clone(), config })
    }

    /// Refuses a name that is neither `*` nor a route of the config.
    ///
    /// # Errors
    /// [`Failure::NoRoute`].
    pub(super) fn check_route(&self, name: &str) -> Result<(), Failure> {
        if name == "*" || self.config.routes.iter().any(|route| route.name == name) {
            return Ok(());
        }
        let known = self.config.routes.iter().map(|route| route.name.clone()).collect();
        Err(Failure::NoRoute { name: name.to_owned(), known, force: Force::Possible })
    }

    /// Reads the flags. A missing file has none.
    ///
    /// # Errors
    /// If the file cannot be read, or has errors.
    pub(super) fn flags(&self) -> Result<Flags, Failure> {
        let content = match source::read(&self.path).content {
            Ok(content) => content,
            Err(source::ReadError::Missing) => return Ok(Flags::default()),
            Err(error) => return Err(Failure::Problems(vec![Problem::in_file(&self.path, error)])),
        };
        let (flags, problems) = load::parse_flags(&self.path, &content, &self.config);
        flags.ok_or(Failure::Problems(problems))
    }

    /// Edits the file, unless it would have errors afterwards.
    ///
    /// # Errors
    /// If the file has errors, would get errors, or cannot be edited, read or written.
    pub(super) fn edit<T>(
        &self,
        edit: impl FnMut(&str) -> Result<(String, T), EditError>,
    ) -> Result<Edited<T>, Failure> {
        self.edit_even(Emptied::Refused, edit)
    }

    /// Edits the file like [`FlagFile::edit`]. The caller says whether one that was emptied is edited, too.
    ///
    /// # Errors
    /// Those of [`FlagFile::edit`].
    pub(super) fn edit_even<T>(
        &self,
        emptied: Emptied,
        mut edit: impl FnMut(&str) -> Result<(String, T), EditError>,
    ) -> Result<Edited<T>, Failure> {
        let waiting = |file: &Path| exit::say(format_args!("waiting for another edit of `{}`", file.display()));
        let edited = write::rewrite(&self.path, emptied, waiting, |before| {
            let (text, report) = edit(before).map_err(|source| self.edit_failure(before, source))?;
            let flags = self.validate(before, &text)?;
            let changed = text != before;
            Ok::<_, Failure>((text.clone(), Edited { report, text, flags, changed }))
        });
        edited.map_err(|error| match error {
            RewriteError::Edit(failure) => failure,
            RewriteError::Write(error) => Failure::Write(error),
        })
    }

    /// Returns the snapshot that a proxy with this config would make of these flags.
    pub(super) fn snapshot(&self, flags: &Flags, now: Timestamp) -> Snapshot {
        // Only the closures matter here, so the built-in page is enough.
        let renderer = Arc::new(Renderer::built_in());
        let known = Known::default();
        compile(Inputs {
            config: &self.config,
            flags,
            renderer: &renderer,
            known: &known,
            previous: None,
            now,
            generation: 1,
        })
    }

    /// Returns the failure for a refused edit. Errors in the text itself explain more than the editor's message.
    fn edit_failure(&self, before: &str, source: EditError) -> Failure {
        let (parsed, problems) = self.parse(before);
        match parsed {
            Some(_) => Failure::Edit { file: self.path.clone(), source },
            None => Failure::WrongBefore { file: self.path.clone(), problems },
        }
    }

    fn validate(&self, before: &str, after: &str) -> Result<Flags, Failure> {
        let (parsed, problems) = self.parse(after);
        if let Some(parsed) = parsed {
            return Ok(parsed.flags);
        }
        let file = self.path.clone();
        match self.parse(before) {
            (None, problems) => Err(Failure::WrongBefore { file, problems }),
            (Some(_), _) => Err(Failure::WrongAfter { file, problems }),
        }
    }

    fn parse(&self, text: &str) -> (Option<flags::Parsed>, Vec<Problem>) {
        flags::parse(&self.path.display().to_string(), text)
    }
}

/// Adds a hint about `--config` if the only problem is that the config cannot be read.
pub(super) fn with_option(config_file: &Path, mut problems: Vec<Problem>) -> Vec<Problem> {
    if let [problem] = problems.as_mut_slice()
        && problem.place.is_none()
        && problem.help.is_none()
        && Path::new(&problem.file) == config_file
    {
        problem.help = Some("name the config with `--config FILE`; `backsoon demo` makes one to play with".to_owned());
    }
    problems
}
