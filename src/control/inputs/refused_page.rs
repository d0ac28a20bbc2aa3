//! The page that was refused last. A trial of its templates may take seconds, so a reload does not try them again while
//! the files are the same.

use crate::plan::page::Renderers;
use crate::plan::problem::Problem;

use super::super::pages::{Checked, Unchecked};

/// The files of the page that was refused last.
#[derive(Debug, Default)]
pub(super) struct RefusedPage {
    latest: Option<(Unchecked, Checked)>,
}

impl RefusedPage {
    /// Checks files, unless they are the same as those refused last. A page of a known renderer needs no trial.
    pub(super) fn check(&mut self, files: Unchecked, known: &Renderers) -> Checked {
        if let Some((_, checked)) = self.latest.as_ref().filter(|(refused, _)| *refused == files) {
            return checked.clone();
        }
        let checked = files.clone().check(Some(known));
        self.note(files, &checked);
        checked
    }

    /// Notes the outcome of a check. A check that could not be made is reported on the config, and is repeated.
    pub(super) fn note(&mut self, files: Unchecked, checked: &Checked) {
        let config_file = files.config_file().display().to_string();
        let is_of_files = |problem: &Problem| !problem.is_error() || problem.file != config_file;
        let is_refused = checked.whole().is_none() && checked.problems.iter().all(is_of_files);
        self.latest = is_refused.then(|| (files, checked.clone()));
    }
}
