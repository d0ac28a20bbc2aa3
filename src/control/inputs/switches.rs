//! Switches of the routes: the last word about each of their files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::files::Change;
use crate::plan::flags::{self, Switched, switch_message};
use crate::plan::problem::Problem;

use super::super::switches;
use super::{Effect, Inputs};

/// Files of the switches with their contents, as far as they exist.
#[derive(Debug, Default)]
pub(super) struct Switches(BTreeMap<PathBuf, Option<Bytes>>);

impl Inputs {
    /// Takes in what the switches say now. One that nobody can tell of stays as it was.
    pub(in crate::control) fn take_switches(&mut self) -> Effect {
        let config = Arc::clone(&self.config);
        let known = switches::files_of(&config).map(|file| {
            let state = self.files.get(file);
            let found = state.map(|state| match (state.error, &state.content) {
                (None, Some(content)) => switches::content(Ok(content.bytes.clone())),
                (None, None) => Ok(None),
                (Some(error), _) => switches::content(Err(error)),
            });
            let content = match found {
                Some(Ok(content)) => content,
                Some(Err(_)) | None => self.switches.0.get(file).cloned().flatten(),
            };
            (file.clone(), content)
        });
        self.switches = Switches(known.collect());
        let files: Vec<(PathBuf, bool)> =
            self.switches.0.iter().map(|(file, on)| (file.clone(), on.is_some())).collect();
        for (file, is_on) in files {
            if is_on { self.take_content(&file) } else { self.in_force.forget(&file) }
        }
        let switched = flags::switched(&config, |file| self.switches.0.get(file).cloned().flatten());
        if switched == self.flags.switched {
            return Effect::None;
        }
        self.log_switches(&switched);
        Arc::make_mut(&mut self.flags).switched = switched;
        Effect::Publish
    }

    /// Takes in the switches if one of their files has changed.
    pub(super) fn follow_switches(&mut self, changes: &[Change]) -> Effect {
        let concerns = |change: &Change| match change {
            Change::Accepted(path) | Change::Restored(path) | Change::Missing(path) | Change::Unreadable(path) => {
                self.switches.0.contains_key(path)
            }
            Change::WatchWarning(_) | Change::Noted(_) | Change::Listed(_) | Change::Watching => false,
        };
        if changes.iter().any(concerns) { self.take_switches() } else { Effect::None }
    }

    /// Returns true for a file of a switch.
    pub(super) fn is_switch(&self, path: &Path) -> bool {
        self.switches.0.contains_key(path)
    }

    /// Looks at the switches that a new config names for the first time.
    pub(super) fn new_switches(&self, config: &crate::plan::config::Config) -> Vec<Problem> {
        switches::problems(&self.config_file, config, |file| self.is_switch(file))
    }

    fn log_switches(&self, switched: &[Switched]) {
        let before = &self.flags.switched;
        let is_in = |list: &[Switched], one: &Switched| {
            list.iter().any(|other| (&other.route, &other.file) == (&one.route, &one.file))
        };
        for switch in switched.iter().filter(|switch| !is_in(before, switch)) {
            let content = self.switches.0.get(Path::new(&switch.file)).cloned().flatten();
            let note = content.and_then(|content| switch_message(&content).err()).map(|note| note.to_string());
            tracing::info!(path = %switch.file, route = %switch.route, note, "the switch is on");
        }
        for switch in before.iter().filter(|switch| !is_in(switched, switch)) {
            tracing::info!(path = %switch.file, route = %switch.route, "the switch is off");
        }
    }
}
