//! Place of a flag file's text: a file, or the engine of a fleet.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::control::fleet::{self, Document, FleetError, Swapped};
use crate::files::author::Signer;
use crate::files::source::{self, Content, ReadError};
use crate::plan::config::{Config, FleetConfig};

use super::engine_failure::{EngineFailure, MOST_EDITS};
use super::failure::{EditFailure, Unmade};
use super::flag_file::{self, Edited};

/// Place of a flag file's text.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Path of the file, or the name of the engine's text.
    pub(crate) path: PathBuf,
    /// Engine that keeps the text.
    pub(crate) fleet: Option<FleetConfig>,
}

impl Place {
    /// Returns the place that a config names.
    pub(crate) fn of(config: &Config) -> Self {
        Self { path: config.maintenance.clone(), fleet: config.fleet.clone() }
    }

    /// Returns the place of a file.
    pub(crate) fn file(path: PathBuf) -> Self {
        Self { path, fleet: None }
    }

    /// Reads the text as a content.
    ///
    /// # Errors
    /// If there is none, or if it cannot be read.
    pub(crate) fn read(&self) -> Result<Content, ReadError> {
        match &self.fleet {
            None => source::read(&self.path).content,
            Some(config) => match fleet::block_on(fleet::read(config)) {
                Ok(Some(document)) => Ok(document.content()),
                Ok(None) => Err(ReadError::Missing),
                Err(_) => Err(ReadError::Unreadable(io::ErrorKind::NotConnected)),
            },
        }
    }

    /// Reads the text for somebody who needs it; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn content(&self) -> Result<Option<Content>, EditFailure> {
        if let Some(config) = &self.fleet {
            let read = fleet::block_on(fleet::read(config)).map_err(|source| self.failed(source))?;
            return Ok(read.map(|document| document.content()));
        }
        match source::read(&self.path).content {
            Ok(content) => Ok(Some(content)),
            Err(ReadError::Missing) => Ok(None),
            Err(error) => Err(EditFailure::unreadable(&self.path, error)),
        }
    }

    fn failed(&self, source: FleetError) -> EditFailure {
        EditFailure::Engine(EngineFailure::Engine { place: self.path.clone(), source })
    }

    /// Edits the text of an engine by compare-and-set, unless it would have errors afterwards. If others edit it at the
    /// same time, the edit is made again on what they wrote.
    ///
    /// # Errors
    /// If the text has errors, would get errors, or cannot be edited, read or written.
    pub(crate) fn edit_engine<T, E: Into<Unmade>>(
        &self,
        config: &FleetConfig,
        by: &Signer,
        mut edit: impl FnMut(&str) -> Result<(String, T), E>,
    ) -> Result<Edited<T>, EditFailure> {
        let read = || fleet::block_on(fleet::read(config)).map_err(|source| self.failed(source));
        let mut before = read()?;
        for again in 1..=MOST_EDITS {
            let text = self.text(before.as_ref())?;
            let edited = flag_file::edit_text(&self.path, &text, &mut edit)?;
            if !edited.changed {
                return Ok(edited);
            }
            if self.swap(config, before.as_ref(), (&edited.text, by))? == Swapped::Done {
                return Ok(edited);
            }
            // The others wait as well, for other times.
            thread::sleep(PAUSE.mul_f64(f64::from(again) * fastrand::f64()));
            before = read()?;
        }
        let by = before.and_then(|document| document.by);
        Err(EditFailure::Engine(EngineFailure::Outrun { place: self.path.clone(), by }))
    }

    /// Writes a text. If it is not known whether the engine has taken it, the engine is asked.
    fn swap(
        &self,
        config: &FleetConfig,
        before: Option<&Document>,
        (text, by): (&str, &Signer),
    ) -> Result<Swapped, EditFailure> {
        let source = match fleet::block_on(fleet::swap(config, before, text.to_owned(), by)) {
            Ok(swapped) => return Ok(swapped),
            Err(error @ FleetError::ReadOnly(_)) => return Err(self.failed(error)),
            Err(error) => error,
        };
        let is_there = |document: &Document| document.text == text.as_bytes();
        match fleet::block_on(fleet::read(config)) {
            Ok(Some(now)) if is_there(&now) => Ok(Swapped::Done),
            Ok(_) | Err(_) => Err(self.failed(source)),
        }
    }

    fn text(&self, document: Option<&Document>) -> Result<String, EditFailure> {
        let Some(document) = document else { return Ok(String::new()) };
        let text = crate::plan::encoding::decode(&self.path, &document.text);
        text.map(str::to_owned).map_err(|problem| EditFailure::Problems(vec![problem]))
    }
}

/// Longest pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(100);
