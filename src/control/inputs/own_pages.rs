//! Trial of the operator's own pages after an edit of their files.

use std::path::Path;
use std::sync::Arc;

use crate::plan::page::Renderers;
use crate::plan::problem::Problem;

use super::super::findings::warn;
use super::super::page_trial::Tried;
use super::super::pages::{self, Checked};
use super::{Effect, Inputs};

impl Inputs {
    /// Has the files of all pages tried; [`Inputs::take_tried`] takes the outcome.
    pub(super) fn try_pages(&mut self) {
        let config = Arc::clone(&self.config);
        let read = |path: &Path| self.files.present(path);
        let files = pages::read_files(&self.config_file, &config, read);
        self.trial.start(files, self.renderers.clone());
    }

    /// Takes the outcome of a trial. A page that was refused stays as it was last, and the others follow their files.
    pub(in crate::control) fn take_tried(&mut self, tried: Tried) -> Effect {
        let checked = tried.checked;
        self.refused_page.note(tried.files, &checked);
        let renderers = checked.over(&self.renderers);
        let errors: Vec<Problem> = checked.problems.iter().filter(|problem| problem.is_error()).cloned().collect();
        if !errors.is_empty() {
            self.findings.refuse(&errors);
        }
        if renderers.is_same(&self.renderers) {
            self.findings.set_page(&pages::files_of(&self.config), checked.problems.clone());
            self.take_pages_content(&checked);
            return Effect::None;
        }
        self.set_renderers(renderers, checked);
        Effect::Publish
    }

    pub(super) fn set_renderers(&mut self, renderers: Renderers, checked: Checked) {
        // Keep the old renderers if the new ones would render the same pages.
        if !renderers.is_same(&self.renderers) {
            let known: Vec<u64> = self.renderers.all().map(|known| known.fingerprint).collect();
            let new = renderers.all().filter(|renderer| !known.contains(&renderer.fingerprint));
            for page in new.filter_map(|renderer| renderer.finished.as_ref()) {
                tracing::info!(path = page, "the page has no placeholders: it is served as it stands");
            }
            self.renderers = renderers;
        }
        let warnings: Vec<Problem> = checked.problems.iter().filter(|problem| !problem.is_error()).cloned().collect();
        warn(&warnings);
        self.take_pages_content(&checked);
        self.findings.set_page(&pages::files_of(&self.config), checked.problems);
    }
}
