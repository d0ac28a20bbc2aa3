//! The watched files of the inputs: their roles, and their description in `/status`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::files::debounce::Wait;
use crate::files::source::{FileId, ReadError, WatchWarning};
use crate::files::watch::Watching;
use crate::files::{Kind, Pending};
use crate::plan::problem::Problem;
use crate::status::{CertificateStatus, FileStatus, PendingStatus, ProblemStatus, Role, WatchingStatus};

use super::super::certs::Facts;
use super::super::report::Report;
use super::super::{certs, judge, load, pages, switches};
use super::Inputs;

/// Describes how changes are noticed. If files are polled although events were wanted, that is a problem.
fn watching(watching: &Watching) -> (WatchingStatus, Option<ProblemStatus>) {
    let by = match watching {
        Watching::Events => "events",
        Watching::Polling | Watching::Unavailable(_) | Watching::Limit | Watching::Unwatched(..) => "polling",
    };
    let trouble = watching.is_degraded().then(|| watching.to_string());
    let problem = trouble.as_ref().map(|trouble| ProblemStatus::from(&Problem::warning("", trouble.clone())));
    (WatchingStatus { by: by.to_owned(), trouble }, problem)
}

/// Returns true if the file in force can never change again.
fn is_dead(warning: &WatchWarning) -> bool {
    match warning {
        WatchWarning::Unlinked => true,
        WatchWarning::MountPoint => false,
    }
}

fn certificate(facts: &Facts) -> CertificateStatus {
    CertificateStatus { names: facts.names.clone(), starts: facts.starts, ends: facts.ends }
}

fn changed(file: &FileId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = file.changed();
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

impl Inputs {
    /// Returns every file that the inputs come from, sorted.
    pub(super) fn watched(&self) -> Vec<(PathBuf, Kind)> {
        let mut files = load::files_of(&self.config);
        files.push(self.config_file.clone());
        if let Some(waiting) = &self.waiting {
            files.extend(load::files_of(waiting));
        }
        files.extend(self.materials.found().map(|(file, _)| file.to_owned()));
        files.sort_unstable();
        files.dedup();
        let configs = [Some(&*self.config), self.waiting.as_ref()].into_iter().flatten();
        let switches = configs.flat_map(switches::files_of).map(|file| (file.clone(), Kind::Existence));
        let sources = [&self.sources.in_force, &self.sources.read].into_iter().flat_map(load::sources_of);
        let is_handed = |file: &PathBuf| self.fleet.is_some() && *file == self.config.maintenance;
        let kind = |file: &PathBuf| if is_handed(file) { Kind::Handed } else { Kind::Content };
        let files = files.into_iter().map(|file| (kind(&file), file)).map(|(kind, file)| (file, kind));
        let mut watched: Vec<_> = files.chain(sources).chain(switches).collect();
        // The first of two kinds wins.
        watched.sort_by(|(one, _), (other, _)| one.cmp(other));
        watched.dedup_by(|(one, _), (other, _)| one == other);
        watched
    }

    /// Reports the files and their problems.
    pub(in crate::control) fn report(&self) -> Report {
        let absent = |path: &Path| (self.is_optional(path) || self.is_switch(path)) && self.files.is_missing(path);
        let there = |path: &PathBuf| !absent(path) && !self.sources.is_pattern(path);
        let files = self.watched().into_iter().map(|(path, _)| path).filter(there).map(|path| self.file_status(&path));
        let (watching, problem) = watching(self.files.watching());
        Report {
            files: files.collect(),
            watching,
            problems: problem.into_iter().collect(),
            refused: self.findings.refused(),
            config: Some(Arc::clone(self.config())),
            admin: self.startup.bound.clone(),
            fleet: self.fleet_report(),
            ..Report::default()
        }
    }

    fn file_status(&self, path: &Path) -> FileStatus {
        let state = self.files.get(path);
        let loaded = state.and_then(|state| Timestamp::try_from(state.content.as_ref()?.loaded).ok());
        let content = state.and_then(|state| state.content.as_ref());
        let on_disk = content.filter(|content| content.file != FileId::default());
        let error = state.and_then(|state| state.error).filter(|error| !self.is_expected(path, *error));
        let warning = state.and_then(|state| state.warning);
        let is_secret = self.role(path) == Role::Secret;
        FileStatus {
            path: path.display().to_string(),
            role: self.role(path).as_str().to_owned(),
            hash: self.hash(path),
            loaded,
            problems: self.findings.of(path).map(ProblemStatus::from).collect(),
            real: content.and_then(|_| Some(self.files.real(path)?.display().to_string())),
            inode: on_disk.map(|content| content.file.to_string()),
            changed: on_disk.and_then(|content| changed(&content.file)),
            in_force: self.in_force.of(path).filter(|_| !is_secret),
            pending: state.and_then(|state| self.pending(path, state.pending?)).or_else(|| self.pairs.pending(path)),
            // No change of a dead file is ever seen, which is worse than a file that cannot be read.
            trouble: error
                .map(|error| error.to_string())
                .or_else(|| warning.filter(is_dead).map(|dead| dead.to_string())),
            caveat: warning.filter(|warning| !is_dead(warning)).map(|warning| warning.to_string()),
            certificate: self.materials.facts(path).map(certificate),
        }
    }

    /// Describes an observation of a file that is not believed yet.
    fn pending(&self, path: &Path, pending: Pending) -> Option<PendingStatus> {
        let error = |error| (!self.is_expected(path, error)).then(|| error.to_string());
        let why = match pending.wait {
            Wait::Writing => "it is being written, or was a moment ago".to_owned(),
            Wait::ReadError(reason) => error(reason)?,
            Wait::Doubt(doubt) if self.role(path) == Role::Flags => {
                format!("{}; {}", judge::reason(doubt), judge::help(doubt))
            }
            Wait::Doubt(doubt) if matches!(self.role(path), Role::Config | Role::Included) => {
                judge::config::reason(doubt).to_owned()
            }
            Wait::Doubt(doubt) => judge::reason(doubt).to_owned(),
        };
        Some(PendingStatus { since: Timestamp::try_from(pending.since).ok(), why })
    }

    /// Returns the hash of a file's content, except of a secret, since guesses could be checked against it.
    pub(super) fn hash(&self, path: &Path) -> Option<String> {
        if *path == self.config_file {
            return self.config_hash();
        }
        let content = self.files.get(path)?.content.as_ref()?;
        (self.role(path) != Role::Secret).then(|| content.hash.to_string())
    }

    /// Returns true for a template or a message file. Such a file is optional, since a built-in one exists.
    pub(super) fn is_optional(&self, path: &Path) -> bool {
        let is_logo = self.config.pages().any(|page| page.logo.as_deref() == Some(path));
        !is_logo && pages::files_of(&self.config).iter().any(|file| file == path)
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
        if self.sources.is_included(path) {
            return Role::Included;
        }
        let configs = [Some(&*self.config), self.waiting.as_ref()].into_iter().flatten();
        if self.is_switch(path) {
            return Role::Switch;
        }
        let named = configs.flat_map(certs::files_of).chain(self.materials.found());
        let found = named.filter(|(file, _)| *file == path).map(|(_, role)| role).min();
        let is_page = || pages::files_of(&self.config).iter().any(|file| file == path);
        match found {
            Some(role @ (Role::Certificate | Role::Key)) => role,
            _ if is_page() => Role::Page,
            Some(role) => role,
            None => Role::Roots,
        }
    }
}
