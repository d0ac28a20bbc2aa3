//! Settled contents of the watched files, for those who read them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::debounce::Hint;
use super::source::{self, Content, ReadError, WatchWarning};
use super::watch::Watching;
use super::{Change, Entry, Files, Kind};

impl Files {
    /// Watches a file that was not watched. The present content counts.
    fn load_new(&mut self, path: &Path, kind: Kind) {
        let entry = Entry::new(path, kind, self.options.timing);
        self.entries.insert(path.to_path_buf(), entry);
        self.arm();
        self.start(path);
    }

    /// Returns the last settled content of a file. Reads a file that is not watched yet.
    ///
    /// # Errors
    /// The error of the file, if there never was a content.
    pub(crate) fn settled(&mut self, path: &Path) -> Result<Content, ReadError> {
        self.content(path, Kind::Content)
    }

    /// Returns the last settled listing of the files that a pattern matches. It is watched like a file.
    ///
    /// # Errors
    /// The error of the folder, if it never could be listed.
    pub(crate) fn listed(&mut self, pattern: &Path) -> Result<Content, ReadError> {
        self.content(pattern, Kind::Listing)
    }

    fn content(&mut self, path: &Path, kind: Kind) -> Result<Content, ReadError> {
        if !self.entries.contains_key(path) {
            self.load_new(path, kind);
        }
        let state = self.get(path).ok_or(ReadError::Missing)?;
        state.content.clone().ok_or(state.error.unwrap_or(ReadError::Missing))
    }

    /// Returns the content of a file that counts only as long as it exists.
    ///
    /// # Errors
    /// The error of the file, if there never was a content or the file is gone.
    pub(crate) fn present(&mut self, path: &Path) -> Result<Content, ReadError> {
        let content = self.settled(path)?;
        if self.is_missing(path) { Err(ReadError::Missing) } else { Ok(content) }
    }

    /// Returns true if a watched file is gone.
    pub(crate) fn is_missing(&self, path: &Path) -> bool {
        self.get(path).is_some_and(|state| state.error == Some(ReadError::Missing))
    }

    /// Returns the next time at which every file is looked at.
    pub(crate) fn next_poll(&self) -> Instant {
        self.next_poll
    }

    /// Returns how changes are noticed.
    pub(crate) fn watching(&self) -> &Watching {
        &self.watch.watching
    }

    /// Looks at every file now, because the operator asked for it. A content is taken if an event says that it is
    /// finished, or if it has been quiet for long enough. All others are waited for, since a writer may be at work.
    pub(crate) fn force(&mut self) -> Vec<Change> {
        let hints = self.watch.take();
        self.arm();
        let by_events: BTreeMap<_, _> =
            self.entries.keys().map(|path| (path.clone(), self.hint(path, &hints))).collect();
        let mut changes = self.look_at_all(|path, found| match by_events.get(path) {
            Some(hint @ (Hint::Writing | Hint::Closed | Hint::Renamed)) => *hint,
            Some(Hint::Poll | Hint::Forced(_)) | None => Hint::Forced(found.age()),
        });
        let mounted = self.entries.iter_mut().filter(|(path, _)| source::is_mount_point(path));
        changes.extend(mounted.filter_map(|(path, entry)| entry.warn(path, WatchWarning::MountPoint)));
        changes.extend(self.list());
        changes.extend(self.report_watching());
        changes
    }
}
