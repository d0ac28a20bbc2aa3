//! Watched files: their settled contents, and changes of them.
//!
//! Nothing here knows what the files mean. Files are read on the thread that awaits [`Files::next`], which must never
//! be a worker of the proxy. An event only causes a look. What counts is what the look reads, and [`debounce`] decides
//! when.

pub(crate) mod debounce;
mod links;
pub(crate) mod source;
pub(crate) mod watch;
#[cfg(feature = "proxy")]
pub(crate) mod write;

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::time::{self, sleep_until};

use debounce::{Debounce, Hint, Observation, Step, Timing};
use links::PathChain;
use source::{Content, ReadError, WatchWarning};
use watch::{HintSet, Watch, Watching};

/// Options of watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// True to ask the system for events. Without events, files are polled.
    pub events: bool,
    /// Delays of debouncing.
    pub timing: Timing,
}

impl Default for Options {
    fn default() -> Self {
        Self { events: true, timing: Timing::default() }
    }
}

/// State of a watched file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The last content that could be acted on. Kept while the file cannot be read. Absent if there never was one.
    pub content: Option<Content>,
    /// The error, if the file cannot be read now.
    pub error: Option<ReadError>,
    /// The reason why changes may never be seen.
    pub warning: Option<WatchWarning>,
}

/// A change of a file. [`Files::get`] returns the new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The file has a new content, which has settled.
    Accepted(PathBuf),
    /// The known content can be read again after an error.
    Restored(PathBuf),
    /// The file has been gone for a while.
    Missing(PathBuf),
    /// The file exists and cannot be read; see [`State::error`].
    Unreadable(PathBuf),
    /// Changes may never be seen, for a new reason; see [`State::warning`].
    WatchWarning(PathBuf),
    /// Changes are noticed in another way than before; see [`Files::watching`].
    Watching,
}

/// The set of watched files.
///
/// Methods read files, and may block as long as the file system does.
pub(crate) struct Files {
    options: Options,
    entries: BTreeMap<PathBuf, Entry>,
    watch: Watch,
    /// The way of watching that was reported last.
    reported: Watching,
    /// True if the watches must be set again before waiting, because something moved or other files are watched now.
    rearm: bool,
    next_poll: Instant,
    /// Number of looks, a measure of what noise costs.
    looks: u64,
}

struct Entry {
    debounce: Debounce,
    state: State,
    chain: PathChain,
}

impl Files {
    /// Creates a set that watches nothing yet.
    pub(crate) fn new(options: Options) -> Self {
        let watch = Watch::new(options.events);
        Self {
            reported: watch.watching.clone(),
            next_poll: now() + options.timing.poll,
            entries: BTreeMap::new(),
            rearm: false,
            looks: 0,
            watch,
            options,
        }
    }

    /// Sets the files to watch. Files that were watched before keep their state.
    ///
    /// A new file is read at once, and counts as it is.
    pub(crate) fn set(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let timing = self.options.timing;
        let mut before = mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        for path in paths {
            if self.entries.contains_key(&path) {
                continue;
            }
            let entry = before.remove(&path).unwrap_or_else(|| {
                fresh.push(path.clone());
                Entry::new(&path, timing)
            });
            self.entries.insert(path, entry);
        }
        self.arm();
        // Read only now: with the watches in place, no later change is missed.
        fresh.iter().for_each(|path| self.start(path));
    }

    /// Returns the state of a watched file.
    pub(crate) fn get(&self, path: &Path) -> Option<&State> {
        self.entries.get(path).map(|entry| &entry.state)
    }

    /// Waits for changes and returns them; the list is never empty.
    ///
    /// Cancel safe: changes that were not returned are returned by the next call.
    pub(crate) async fn next(&mut self) -> Vec<Change> {
        loop {
            let changes = self.process();
            if !changes.is_empty() {
                return changes;
            }
            let due = self.due();
            tokio::select! {
                () = self.watch.wait() => {}
                () = sleep_until(due.into()) => {}
            }
        }
    }

    /// Handles all events and delays that are due now.
    fn process(&mut self) -> Vec<Change> {
        let hints = self.watch.take();
        self.rearm |= hints.moved || hints.lost;
        let mut changes = self.look_at_hinted(&hints);
        // Report changes before setting watches, which takes longer.
        if changes.is_empty() {
            if now() >= self.next_poll {
                self.next_poll = now() + self.options.timing.poll;
                self.rearm = true;
            }
            if self.rearm {
                self.arm();
                changes = self.look_at_all(Hint::Poll);
            }
        }
        changes.extend(self.report_watching());
        changes
    }

    fn look_at_hinted(&mut self, hints: &HintSet) -> Vec<Change> {
        let now = now();
        let is_due = |entry: &Entry| {
            let late = entry.debounce.due().is_some_and(|due| due <= now);
            late || hints.lost || hints.on(&entry.chain).is_some()
        };
        let due: Vec<_> =
            self.entries.iter().filter(|(_, entry)| is_due(entry)).map(|(path, _)| path.clone()).collect();
        due.iter().flat_map(|path| self.look_at(path, hints)).collect()
    }

    /// Looks at a file, with the hint that the events give.
    fn look_at(&mut self, path: &Path, hints: &HintSet) -> Vec<Change> {
        let before = self.entries.get(path).and_then(|entry| hints.on(&entry.chain));
        let hint = match hints.on(&PathChain::of(path)).or(before.map(Hint::downgraded)) {
            // Lost events do not promise that the file is finished.
            _ if hints.lost => Hint::Writing,
            Some(hint) => hint,
            None => Hint::Poll,
        };
        self.look(path, hint)
    }

    fn look_at_all(&mut self, hint: Hint) -> Vec<Change> {
        let paths: Vec<_> = self.entries.keys().cloned().collect();
        paths.iter().flat_map(|path| self.look(path, hint)).collect()
    }

    fn look(&mut self, path: &Path, hint: Hint) -> Vec<Change> {
        let Some(entry) = self.entries.get_mut(path) else { return Vec::new() };
        self.looks += 1;
        let chain = PathChain::of(path);
        if chain != entry.chain {
            entry.chain = chain;
            self.rearm = true;
        }
        let found = source::read(path);
        // Another writer may have begun between the event and the read.
        let hint = if hint == Hint::Settled && self.watch.is_busy(&entry.chain) { Hint::Writing } else { hint };
        let unlinked = entry.check_unlinked(path, hint, found.unlinked);
        entry.take(path, hint, found.content).into_iter().chain(unlinked).collect()
    }

    fn start(&mut self, path: &Path) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        let found = source::read(path);
        entry.debounce = Debounce::start(Observation::from(&found.content), self.options.timing);
        entry.state.error = found.content.as_ref().err().copied();
        entry.state.content = found.content.ok();
        let mounted = source::is_mount_point(path).then_some(WatchWarning::MountPoint);
        entry.state.warning = if found.unlinked { Some(WatchWarning::Unlinked) } else { mounted };
    }

    fn arm(&mut self) {
        self.rearm = false;
        for (path, entry) in &mut self.entries {
            entry.chain = PathChain::of(path);
        }
        let chains: Vec<_> = self.entries.values().map(|entry| &entry.chain).collect();
        self.watch.arm(&chains);
    }

    fn report_watching(&mut self) -> Option<Change> {
        (self.reported != self.watch.watching).then(|| {
            self.reported = self.watch.watching.clone();
            Change::Watching
        })
    }

    fn due(&self) -> Instant {
        let settled = self.entries.values().filter_map(|entry| entry.debounce.due());
        let due = settled.fold(self.next_poll, Instant::min);
        // The path led elsewhere at the last look, so set the watches at once.
        if self.rearm { now() } else { due }
    }
}

#[cfg(feature = "proxy")]
impl Files {
    /// Reads a file now, and returns its state. Watches the file if it was not watched.
    ///
    /// For a new file, whatever is there counts. For others this is [`Files::force`] for one file, and the change is
    /// not reported again.
    pub(crate) fn load_now(&mut self, path: &Path) -> &State {
        if self.entries.contains_key(path) {
            self.look(path, Hint::Forced);
        } else {
            let entry = Entry::new(path, self.options.timing);
            self.entries.insert(path.to_path_buf(), entry);
            self.arm();
            self.start(path);
        }
        &self.entries.get(path).expect("a file is watched once it was loaded").state
    }

    /// Returns the last settled content of a file. Reads a file that is not watched yet.
    ///
    /// # Errors
    /// The error of the file, if there never was a content.
    pub(crate) fn settled(&mut self, path: &Path) -> Result<Content, ReadError> {
        if !self.entries.contains_key(path) {
            self.load_now(path);
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

    /// Returns how changes are noticed.
    pub(crate) fn watching(&self) -> &Watching {
        &self.watch.watching
    }

    /// Looks at every file now and takes what is there, except that an empty or missing file must last as usual.
    pub(crate) fn force(&mut self) -> Vec<Change> {
        self.arm();
        let mut changes = self.look_at_all(Hint::Forced);
        let mounted = self.entries.iter_mut().filter(|(path, _)| source::is_mount_point(path));
        changes.extend(mounted.filter_map(|(path, entry)| entry.warn(path, WatchWarning::MountPoint)));
        changes.extend(self.report_watching());
        changes
    }
}

impl Entry {
    fn new(path: &Path, timing: Timing) -> Self {
        let missing = ReadError::Missing;
        Self {
            debounce: Debounce::start(Observation::ReadError(missing), timing),
            state: State { content: None, error: Some(missing), warning: None },
            chain: PathChain::of(path),
        }
    }

    fn take(&mut self, path: &Path, hint: Hint, content: Result<Content, ReadError>) -> Option<Change> {
        let step = self.debounce.step(hint, Observation::from(&content), now());
        let path = path.to_path_buf();
        let change = match step {
            Step::Same | Step::Wait(_) => return None,
            Step::Accept => Change::Accepted(path),
            Step::Restored => Change::Restored(path),
            Step::ReadError(ReadError::Missing) => Change::Missing(path),
            Step::ReadError(_) => Change::Unreadable(path),
        };
        self.state.error = content.as_ref().err().copied();
        if step == Step::Accept {
            self.state.content = content.ok();
        }
        Some(change)
    }

    /// Warns of a file without a name. A file that is being replaced looks the same for a moment, so only polling
    /// decides.
    fn check_unlinked(&mut self, path: &Path, hint: Hint, unlinked: bool) -> Option<Change> {
        if !unlinked && self.state.warning == Some(WatchWarning::Unlinked) {
            self.state.warning = None;
        }
        (unlinked && hint == Hint::Poll).then(|| self.warn(path, WatchWarning::Unlinked)).flatten()
    }

    fn warn(&mut self, path: &Path, warning: WatchWarning) -> Option<Change> {
        // A warning of a loss that has happened outweighs one of a loss that may.
        let known = self.state.warning == Some(warning) || self.state.warning == Some(WatchWarning::Unlinked);
        (!known).then(|| {
            self.state.warning = Some(warning);
            Change::WatchWarning(path.to_path_buf())
        })
    }
}

/// Returns the time of tokio's clock, which tests can pause.
fn now() -> Instant {
    time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
