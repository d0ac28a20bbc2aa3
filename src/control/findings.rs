//! Findings: problems of the watched files, as the log and `/status` show them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::plan::problem::Problem;

/// Problems of all files.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// By file: errors in the content read last, or warnings about the content in force.
    by_file: BTreeMap<PathBuf, Vec<Problem>>,
    /// Problems found when the page's files were read last. Some are reported on the config.
    page: Vec<Problem>,
    /// Number of times that a file was refused.
    refused: u64,
}

impl Findings {
    /// Starts with the warnings of the first read.
    pub(super) fn of_start(warnings: &[Problem]) -> Self {
        let mut findings = Self::default();
        for warning in warnings {
            findings.by_file.entry(PathBuf::from(&warning.file)).or_default().push(warning.clone());
        }
        findings
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Replaces the problems of a file.
    pub(super) fn set(&mut self, file: PathBuf, problems: Vec<Problem>) {
        self.by_file.insert(file, problems);
    }

    /// Forgets the problems of a file.
    pub(super) fn clear(&mut self, file: &Path) {
        self.by_file.remove(file);
    }

    /// Adds a problem to a file. Returns false if it is known.
    pub(super) fn add(&mut self, problem: &Problem) -> bool {
        if self.by_file.values().flatten().any(|known| known == problem) {
            return false;
        }
        self.by_file.entry(PathBuf::from(&problem.file)).or_default().push(problem.clone());
        true
    }

    /// Forgets one problem, whichever file it is reported on.
    pub(super) fn retract(&mut self, problem: &Problem) {
        self.by_file.values_mut().for_each(|problems| problems.retain(|known| known != problem));
    }

    /// Forgets the problems of the files that are not kept.
    pub(super) fn retain(&mut self, mut kept: impl FnMut(&Path) -> bool) {
        self.by_file.retain(|file, _| kept(file));
    }

    /// Replaces the problems of the page's files.
    pub(super) fn set_page(&mut self, files: &[PathBuf], problems: Vec<Problem>) {
        // The first read recorded them by file.
        files.iter().for_each(|file| self.clear(file));
        self.page = problems;
    }

    /// Logs and counts a file that was refused.
    pub(super) fn refuse(&mut self, problems: &[Problem]) {
        self.refused += 1;
        for Problem { file, place, message, help, .. } in problems {
            let (line, column) = (place.as_ref().map(|place| place.line), place.as_ref().map(|place| place.column));
            tracing::error!(file, line, column, problem = message, help, "refused, the last good one stays");
        }
    }

    /// Returns all problems of a file.
    pub(super) fn of(&self, file: &Path) -> impl Iterator<Item = &Problem> {
        let own = self.by_file.get(file).map(Vec::as_slice).unwrap_or_default();
        let page = self.page.iter().filter(move |problem| Path::new(&problem.file) == file);
        // A warning of the first read may be found again.
        own.iter().chain(page.filter(|problem| !own.contains(problem)))
    }
}

/// Logs warnings about files that are taken nevertheless.
pub(super) fn warn(problems: &[Problem]) {
    for Problem { file, place, message, help, .. } in problems {
        let (line, column) = (place.as_ref().map(|place| place.line), place.as_ref().map(|place| place.column));
        tracing::warn!(file, line, column, problem = message, help, "taken, with a warning");
    }
}
