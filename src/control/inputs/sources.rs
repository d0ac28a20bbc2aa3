//! Sources of the config besides its file: what it includes, and what is made of all of them together.

use std::path::Path;

use crate::files::source::Hash;
use crate::plan::config::{Include, Sources};
use crate::plan::problem::Problem;

use super::super::{judge, load};
use super::Inputs;

/// Sources of the config in force, and of the text that was read last.
#[derive(Debug)]
pub(super) struct ConfigSources {
    pub(super) in_force: Sources,
    pub(super) read: Sources,
}

impl ConfigSources {
    /// Returns true if a change of this path may change the config.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.paths().any(|own| own == path)
    }

    /// Returns every path whose change may change the config.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.in_force.paths().chain(self.read.paths())
    }

    /// Returns true if a path is a pattern, and no file.
    pub(super) fn is_pattern(&self, path: &Path) -> bool {
        let includes = self.in_force.includes.iter().chain(&self.read.includes);
        includes.filter(|include| matches!(include, Include::Matching(_))).any(|include| include.path() == path)
    }

    /// Returns true if a path is that of an included file.
    pub(super) fn is_included(&self, path: &Path) -> bool {
        self.in_force.files.iter().chain(&self.read.files).any(|file| file == path)
    }
}

impl Inputs {
    /// Returns the problem of a config, or of a file that it includes, whose end seems to be missing.
    pub(super) fn doubted_config(&self) -> Option<Problem> {
        let files = std::iter::once(&self.config_file).chain(&self.sources.read.files);
        let mut doubts = files.filter_map(|file| Some((file, self.files.get(file)?.doubt)));
        doubts.find_map(|(file, doubt)| judge::config::refusal(file, doubt))
    }

    /// Returns the hash of the config that was read last, with all that it includes.
    pub(super) fn config_hash(&self) -> Option<String> {
        let included = self.sources.read.files.iter().filter_map(|file| self.content_hash(file));
        Some(load::whole_hash(self.content_hash(&self.config_file)?, included).to_string())
    }

    fn content_hash(&self, file: &Path) -> Option<Hash> {
        Some(self.files.get(file)?.content.as_ref()?.hash)
    }

    /// Notes that the config is in force, with all that it includes.
    pub(super) fn take_config_content(&mut self) {
        let included: Vec<_> = self.sources.in_force.files.iter().filter_map(|file| self.content_hash(file)).collect();
        let content = self.files.get(&self.config_file).and_then(|state| state.content.clone());
        if let Some(mut content) = content {
            content.hash = load::whole_hash(content.hash, included);
            self.in_force.take(&self.config_file, &content);
        }
        for file in self.sources.in_force.files.clone() {
            self.take_content(&file);
        }
    }

    /// Has the next contents of the config and of what it includes compared with what is in force.
    pub(super) fn judge_config(&mut self) {
        let good = |file: &Path| self.files.get(file).and_then(|state| Some(state.content.as_ref()?.bytes.clone()));
        let judge = judge::config::of((&self.config_file, &self.config), good(&self.config_file).unwrap_or_default());
        let included = self.sources.in_force.files.iter();
        let judges: Vec<_> =
            included.filter_map(|file| Some((file.clone(), judge::config::of_included(good(file)?)))).collect();
        self.files.set_judge(&self.config_file, judge);
        for (file, judge) in judges {
            self.files.set_judge(&file, judge);
        }
    }
}
