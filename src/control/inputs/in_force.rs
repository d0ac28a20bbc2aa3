//! Contents in force of the watched files, and the generations that were made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

use crate::files::source::{Content, Hash};
use crate::plan::config::Config;
use crate::plan::flags::Flags;
use crate::status::InForceStatus;

use super::super::judge;
use super::super::pages::Checked;
use super::Inputs;

/// Contents in force, by file.
#[derive(Debug, Default)]
pub(super) struct InForce {
    by_file: BTreeMap<PathBuf, Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    hash: Hash,
    since: SystemTime,
    /// The first generation that was made of it. Absent until there is one.
    generation: Option<u64>,
}

impl InForce {
    /// Notes that a content was taken. The next publication is made of it.
    pub(super) fn take(&mut self, file: &Path, content: &Content) {
        let known = self.by_file.get(file).is_some_and(|taken| taken.hash == content.hash);
        if !known {
            let taken = Taken { hash: content.hash, since: content.loaded, generation: None };
            self.by_file.insert(file.to_owned(), taken);
        }
    }

    /// Forgets a file that is not in use any more.
    pub(super) fn forget(&mut self, file: &Path) {
        self.by_file.remove(file);
    }

    /// Forgets the files that are not kept.
    pub(super) fn retain(&mut self, mut kept: impl FnMut(&Path) -> bool) {
        self.by_file.retain(|file, _| kept(file));
    }

    /// Notes the generation that is made of all contents taken so far.
    pub(super) fn publish(&mut self, generation: u64) {
        for taken in self.by_file.values_mut() {
            taken.generation.get_or_insert(generation);
        }
    }

    /// Returns the hash of the content in force of a file.
    pub(super) fn hash_of(&self, file: &Path) -> Option<Hash> {
        self.by_file.get(file).map(|taken| taken.hash)
    }

    /// Returns the content in force of a file.
    pub(super) fn of(&self, file: &Path) -> Option<InForceStatus> {
        let taken = self.by_file.get(file)?;
        Some(InForceStatus {
            hash: taken.hash.to_string(),
            generation: taken.generation?,
            since: Timestamp::try_from(taken.since).ok(),
        })
    }
}

impl Inputs {
    /// Returns the config in force.
    pub(in crate::control) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns the flags in force.
    pub(in crate::control) fn flags(&self) -> &Arc<Flags> {
        &self.flags
    }

    /// Notes the generation that is made of all inputs in force.
    pub(in crate::control) fn published(&mut self, generation: u64) {
        self.in_force.publish(generation);
    }

    /// Sets the judge of the flag file, which compares later contents with the flags in force.
    pub(super) fn judge_flags(&mut self) {
        let flag_file = &self.config.maintenance;
        let good = self.files.get(flag_file).and_then(|state| Some(state.content.as_ref()?.bytes.clone()));
        let judge = judge::of(Arc::clone(&self.flags), good.unwrap_or_default());
        self.files.set_judge(flag_file, judge);
    }

    /// Notes that everything that was read at the start is in force.
    pub(super) fn take_all(&mut self) {
        let files = self.watched();
        files.iter().for_each(|(file, _)| self.take_content(file));
        // The hash of the config is that of all it includes.
        self.in_force.forget(&self.config_file.clone());
        self.take_config_content();
        self.judge_flags();
        self.judge_config();
    }

    /// Notes that the content of a file is in force.
    pub(super) fn take_content(&mut self, file: &Path) {
        let content = self.files.get(file).and_then(|state| state.content.as_ref());
        if let Some(content) = content {
            self.in_force.take(file, content);
        }
    }

    /// Notes that the contents of the pages that are not refused are in force.
    pub(super) fn take_pages_content(&mut self, checked: &Checked) {
        checked.good_files().iter().for_each(|file| self.take_content(file));
    }
}
