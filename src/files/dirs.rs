//! Directories whose names matter, whatever the files in them hold.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::links::PathChain;
use super::{Change, Files};

/// Directory whose names matter.
pub(super) struct Listed {
    names: BTreeSet<OsString>,
    pub(super) chain: PathChain,
}

impl Files {
    /// Lists the directories again, and returns those in which names have come or gone.
    pub(super) fn list(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (dir, listed) in &mut self.dirs {
            let names = names_in(dir);
            if names != listed.names {
                listed.names = names;
                changes.push(Change::Listed(dir.clone()));
            }
        }
        changes
    }

    /// Sets the directories to list. Those that were listed before keep their names.
    ///
    /// All names of a new one have come: it is listed once it is watched, so that no later change is missed.
    #[cfg(feature = "proxy")]
    pub(crate) fn set_dirs(&mut self, dirs: impl IntoIterator<Item = PathBuf>) {
        let mut before = std::mem::take(&mut self.dirs);
        for dir in dirs {
            let listed = before.remove(&dir).unwrap_or_else(|| {
                self.rearm = true;
                Listed { names: BTreeSet::new(), chain: PathChain::of(&within(&dir)) }
            });
            self.dirs.insert(dir, listed);
        }
        self.rearm |= !before.is_empty();
    }
}

/// Returns a path that leads through a directory, whatever that holds.
pub(super) fn within(dir: &Path) -> PathBuf {
    // No file has this name: an empty name would be the directory, and its parent would be watched.
    dir.join(" any name ")
}

/// Returns the names in a directory. One that cannot be read has none.
fn names_in(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).into_iter().flatten().take(MOST_NAMES);
    entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect()
}

/// Names of one directory that are looked at.
const MOST_NAMES: usize = 16 * 1024;
