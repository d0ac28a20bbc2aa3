//! The watched files of the inputs: their roles, and what `/status` says of them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::files::source::ReadError;
use crate::status::{FileStatus, ProblemStatus, Role};

use super::super::report::Report;
use super::super::{certs, load, pages};
use super::Inputs;

impl Inputs {
    /// Returns every file that the inputs come from, sorted.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        let mut files = load::files_of(&self.config);
        files.push(self.config_file.clone());
        if let Some(waiting) = &self.waiting {
            files.extend(load::files_of(waiting));
            files.sort_unstable();
            files.dedup();
        }
        files
    }

    /// Reports the files and their problems.
    pub(in crate::control) fn report(&self) -> Report {
        let there = |path: &PathBuf| !(self.is_optional(path) && self.files.is_missing(path));
        let files = self.watched().into_iter().filter(there).map(|path| self.file_status(&path));
        Report { files: files.collect(), refused: self.findings.refused() }
    }

    fn file_status(&self, path: &Path) -> FileStatus {
        let state = self.files.get(path);
        let loaded = state.and_then(|state| Timestamp::try_from(state.content.as_ref()?.loaded).ok());
        let error = state.and_then(|state| state.error).filter(|error| !self.is_expected(path, *error));
        FileStatus {
            path: path.display().to_string(),
            role: self.role(path).as_str().to_owned(),
            hash: self.hash(path),
            loaded,
            problems: self.findings.of(path).map(ProblemStatus::from).collect(),
            trouble: error.map(|error| error.to_string()),
            caveat: state.and_then(|state| state.warning).map(|warning| warning.to_string()),
            ..FileStatus::default()
        }
    }

    /// Returns the hash of a file's content, except of a secret, since guesses could be checked against it.
    pub(super) fn hash(&self, path: &Path) -> Option<String> {
        let content = self.files.get(path)?.content.as_ref()?;
        (self.role(path) != Role::Secret).then(|| content.hash.to_string())
    }

    /// Returns true for a template or a message file. Without it, the built-in one is used.
    pub(super) fn is_optional(&self, path: &Path) -> bool {
        let page = &self.config.page;
        page.logo.as_deref() != Some(path) && pages::files_of(page).iter().any(|file| file == path)
    }

    /// Returns true if the error is normal: the flag file need not exist.
    fn is_expected(&self, path: &Path, error: ReadError) -> bool {
        let never_there = self.files.get(path).is_some_and(|state| state.content.is_none());
        *path == self.config.maintenance && error == ReadError::Missing && never_there
    }

    pub(super) fn role(&self, path: &Path) -> Role {
        if *path == self.config_file {
            return Role::Config;
        }
        if *path == self.config.maintenance {
            return Role::Flags;
        }
        let configs = [Some(&*self.config), self.waiting.as_ref()].into_iter().flatten();
        let found = configs.flat_map(certs::files_of).filter(|(file, _)| *file == path).map(|(_, role)| role).min();
        let is_page = || pages::files_of(&self.config.page).iter().any(|file| file == path);
        match found {
            Some(role @ (Role::Certificate | Role::Key)) => role,
            _ if is_page() => Role::Page,
            Some(role) => role,
            None => Role::Roots,
        }
    }
}
