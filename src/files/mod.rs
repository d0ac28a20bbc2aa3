//! Watched files: their settled contents, and changes of them.
//!
//! Nothing here knows what the files mean. Files are read on the thread that awaits [`Files::next`], which must never
//! be a worker of the proxy. An event only causes a look. The content that the look reads counts once [`debounce`] says
//! so.

pub(crate) mod author;
pub(crate) mod debounce;
mod dirs;
#[cfg(feature = "proxy")]
mod handed;
mod kind;
mod links;
pub(crate) mod listing;
#[cfg(feature = "proxy")]
mod settled;
pub(crate) mod source;
pub(crate) mod watch;
#[cfg(feature = "proxy")]
pub(crate) mod write;
#[cfg(feature = "proxy")]
pub(crate) mod writers;

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::time::{self, sleep_until};

use debounce::{Debounce, Doubt, Hint, Observation, Step, Timing, Wait};
use dirs::{Listed, within};
pub(crate) use kind::Kind;
use links::PathChain;
use source::{Content, Found, ReadError, WatchWarning};
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
    /// The doubt that was left about that content. A doubted content that lasts may still be unintended.
    pub doubt: Doubt,
    /// A newer observation that is not believed yet.
    pub pending: Option<Pending>,
    /// The error, if the file cannot be read now.
    pub error: Option<ReadError>,
    /// The reason why changes may never be seen.
    pub warning: Option<WatchWarning>,
}

/// An observation that is not believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Time since which nothing new was believed.
    pub since: SystemTime,
    /// The reason for the wait.
    pub wait: Wait,
}

/// A judge of new contents: says whether one takes away what is in force.
pub(crate) type Judge = Arc<dyn Fn(Hint, &Content) -> Doubt + Send + Sync>;

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
    /// The content stays, but [`State::pending`] has changed, or another file holds the content.
    Noted(PathBuf),
    /// Names have come or gone in a directory that is listed.
    Listed(PathBuf),
    /// Changes are noticed in another way than before; see [`Files::watching`].
    Watching,
}

/// The set of watched files.
///
/// Methods read files, and may block as long as the file system does.
pub(crate) struct Files {
    options: Options,
    entries: BTreeMap<PathBuf, Entry>,
    /// Directories whose names matter.
    dirs: BTreeMap<PathBuf, Listed>,
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
    kind: Kind,
    debounce: Debounce,
    state: State,
    chain: PathChain,
    judge: Option<Judge>,
    /// True if the last look without a reason was left out.
    rested: bool,
}

impl Files {
    /// Creates a set that watches nothing yet.
    pub(crate) fn new(options: Options) -> Self {
        let watch = Watch::new(options.events);
        Self {
            reported: watch.watching.clone(),
            next_poll: now() + options.timing.poll,
            entries: BTreeMap::new(),
            dirs: BTreeMap::new(),
            rearm: false,
            looks: 0,
            watch,
            options,
        }
    }

    /// Sets the files to watch for their contents. Files that were watched before keep their state.
    ///
    /// A new file is read at once, and counts as it is.
    #[cfg(any(test, feature = "layer"))]
    pub(crate) fn set(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.set_all(paths.into_iter().map(|path| (path, Kind::Content)));
    }

    /// Sets the files to watch, as [`Files::set`] does, with what counts of each. The first of two kinds wins.
    pub(crate) fn set_all(&mut self, paths: impl IntoIterator<Item = (PathBuf, Kind)>) {
        let timing = self.options.timing;
        let mut before = mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        for (path, kind) in paths {
            if self.entries.contains_key(&path) {
                continue;
            }
            let known = before.remove(&path).filter(|entry| entry.kind == kind);
            let entry = known.unwrap_or_else(|| {
                fresh.push(path.clone());
                Entry::new(&path, kind, timing)
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

    /// Returns where a path leads, with all symlinks followed.
    pub(crate) fn real(&self, path: &Path) -> Option<&Path> {
        self.entries.get(path).filter(|entry| entry.kind != Kind::Handed).map(|entry| entry.chain.end.as_path())
    }

    /// Sets the judge of a watched file. Without one, only a file that became empty is doubted.
    pub(crate) fn set_judge(&mut self, path: &Path, judge: Judge) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.judge = Some(judge);
        }
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
        if hints.listed || hints.lost {
            changes.extend(self.list());
        }
        // Report changes before setting watches, which takes longer.
        if changes.is_empty() {
            let polls = self.polls(now());
            if polls {
                self.rearm |= self.watch.may_be_dead(now());
            }
            let rearms = self.rearm;
            if rearms {
                self.arm();
            }
            if rearms {
                changes = self.look_at_all(|_, _| Hint::Poll);
                changes.extend(self.list());
            } else if polls {
                changes = self.look_at_moved();
                changes.extend(self.list());
            }
        }
        changes.extend(self.report_watching());
        changes
    }

    /// Returns true if it is time to look at every file, and sets the next time. Times keep their distance, so that other
    /// timers of the same distance wake the process together with these.
    fn polls(&mut self, now: Instant) -> bool {
        let due = now >= self.next_poll;
        if due {
            let next = self.next_poll + self.options.timing.poll;
            self.next_poll = if next > now { next } else { now + self.options.timing.poll };
        }
        due
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
        let hint = self.hint(path, hints);
        self.look(path, |_| hint)
    }

    fn hint(&self, path: &Path, hints: &HintSet) -> Hint {
        // Lost events do not promise that the file is finished.
        if hints.lost {
            return Hint::Writing;
        }
        let before = || self.entries.get(path).and_then(|entry| hints.on(&entry.chain));
        hints.on(&PathChain::of(path)).or_else(|| before().map(Hint::downgraded)).unwrap_or(Hint::Poll)
    }

    fn look_at_all(&mut self, hint: impl Fn(&Path, &Found) -> Hint) -> Vec<Change> {
        let paths: Vec<_> = self.entries.keys().cloned().collect();
        paths.iter().flat_map(|path| self.look(path, |found| hint(path, found))).collect()
    }

    fn look(&mut self, path: &Path, hint: impl FnOnce(&Found) -> Hint) -> Vec<Change> {
        let Some(entry) = self.entries.get_mut(path).filter(|entry| entry.kind != Kind::Handed) else {
            return Vec::new();
        };
        self.looks += 1;
        let chain = PathChain::of(path);
        if chain != entry.chain {
            // Before the read, so that no later change of a link is missed until the watches are set.
            self.watch.add_names(&chain);
            entry.chain = chain;
            self.rearm = true;
        }
        let found = entry.kind.read(path);
        let hint = match hint(&found) {
            // Another writer may have begun between the event and the read.
            Hint::Closed | Hint::Renamed if self.watch.is_busy(&entry.chain) => Hint::Writing,
            hint @ (Hint::Poll | Hint::Writing | Hint::Closed | Hint::Renamed | Hint::Forced(_)) => hint,
        };
        let unlinked = entry.check_unlinked(path, hint, found.unlinked);
        entry.take(path, hint, found.content).into_iter().chain(unlinked).collect()
    }

    /// Looks at every file, except at those that rest.
    fn look_at_moved(&mut self) -> Vec<Change> {
        let awake = self.entries.iter_mut().filter_map(|(path, entry)| (!entry.rests(path)).then(|| path.clone()));
        let paths: Vec<_> = awake.collect();
        paths.iter().flat_map(|path| self.look(path, |_| Hint::Poll)).collect()
    }

    fn start(&mut self, path: &Path) {
        let Some(entry) = self.entries.get_mut(path).filter(|entry| entry.kind != Kind::Handed) else { return };
        let found = entry.kind.read(path);
        entry.debounce =
            Debounce::start(observation(&found.content, Doubt::None), entry.kind.timing(self.options.timing));
        entry.state.error = found.content.as_ref().err().copied();
        entry.state.content = found.content.ok();
        let mounted = source::is_mount_point(path).then_some(WatchWarning::MountPoint);
        entry.state.warning = if found.unlinked { Some(WatchWarning::Unlinked) } else { mounted };
    }

    fn arm(&mut self) {
        self.rearm = false;
        for (path, entry) in &mut self.entries {
            entry.chain = entry.kind.chain(path);
        }
        for (dir, listed) in &mut self.dirs {
            listed.chain = PathChain::of(&within(dir));
        }
        let dirs = self.dirs.values().map(|listed| &listed.chain);
        let on_disk = self.entries.values().filter(|entry| entry.kind != Kind::Handed);
        let chains: Vec<_> = on_disk.map(|entry| &entry.chain).chain(dirs).collect();
        self.watch.list(self.dirs.values().filter_map(|listed| Some(listed.chain.end.parent()?.to_owned())).collect());
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

impl Entry {
    fn new(path: &Path, kind: Kind, timing: Timing) -> Self {
        let missing = ReadError::Missing;
        Self {
            kind,
            debounce: Debounce::start(Observation::ReadError(missing), kind.timing(timing)),
            state: State { content: None, doubt: Doubt::None, pending: None, error: Some(missing), warning: None },
            chain: kind.chain(path),
            judge: None,
            rested: false,
        }
    }

    /// Returns true if a look without a reason may be left out: the file is settled, nothing tells of a change, and the
    /// last such look was not left out. Opening a file wakes the thread of the watches, and a process at rest is to sleep.
    fn rests(&mut self, path: &Path) -> bool {
        let settled = self.debounce.due().is_none() && self.state.error.is_none();
        let still = |content: &Content| source::is_still(path, &content.file);
        self.rested = !self.rested && settled && self.state.content.as_ref().is_some_and(still);
        self.rested
    }

    fn take(&mut self, path: &Path, hint: Hint, content: Result<Content, ReadError>) -> Option<Change> {
        let doubt = content.as_ref().map_or(Doubt::None, |content| self.doubt(hint, content));
        let step = self.debounce.step(hint, observation(&content, doubt), now());
        let noted = self.note(content.as_ref().ok());
        let path = path.to_path_buf();
        let change = match step {
            Step::Same | Step::Wait(_) => return noted.then_some(Change::Noted(path)),
            Step::Accept => Change::Accepted(path),
            Step::Restored => Change::Restored(path),
            Step::ReadError(ReadError::Missing) => Change::Missing(path),
            Step::ReadError(_) => Change::Unreadable(path),
        };
        self.state.error = content.as_ref().err().copied();
        if step == Step::Accept {
            self.state.content = content.ok();
            self.state.doubt = doubt;
        }
        Some(change)
    }

    fn doubt(&self, hint: Hint, content: &Content) -> Doubt {
        if self.debounce.has_accepted(content.hash) || self.kind == Kind::Existence {
            return Doubt::None;
        }
        if let Some(judge) = &self.judge {
            return judge(hint, content);
        }
        let was_full = self.state.content.as_ref().is_some_and(|content| !content.is_blank());
        if was_full && content.is_blank() { Doubt::Empty } else { Doubt::None }
    }

    /// Notes the observation that is pending now, and the file that holds the known content. Returns true if either is
    /// new.
    fn note(&mut self, found: Option<&Content>) -> bool {
        let known = self.state.content.as_mut().zip(found).filter(|(known, found)| known.hash == found.hash);
        let moved = known.is_some_and(|(known, found)| mem::replace(&mut known.file, found.file) != found.file);
        let before = self.state.pending;
        let since = before.map_or_else(SystemTime::now, |before| before.since);
        self.state.pending = self.debounce.waits_for().map(|wait| Pending { since, wait });
        moved || self.state.pending != before
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
        // A loss that has happened outweighs a loss that may happen.
        let known = self.state.warning == Some(warning) || self.state.warning == Some(WatchWarning::Unlinked);
        (!known).then(|| {
            self.state.warning = Some(warning);
            Change::WatchWarning(path.to_path_buf())
        })
    }
}

fn observation(content: &Result<Content, ReadError>, doubt: Doubt) -> Observation {
    match content {
        Ok(content) => Observation::Content { hash: content.hash, doubt },
        Err(error) => Observation::ReadError(*error),
    }
}

/// Returns the time of tokio's clock, which tests can pause.
fn now() -> Instant {
    time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
