//! Watches on directories: turn the system's events into hints that a file may have changed.
//!
//! Hints may come too often, too late or never; polling makes up for that. The callback sorts events by name, so a
//! noisy directory, with logs beside the file, wakes nobody. Hints for one file replace each other, so no queue can
//! overflow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs, io, mem};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::debounce::Hint;
use super::links::PathChain;
use super::listing;

/// The way in which changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// Events of the system, within a moment.
    Events,
    /// Polling, as configured.
    Polling,
    /// Polling, because the system gives no events, for this reason.
    Unavailable(String),
    /// Polling, at least in part, because the system allows no more watches.
    Limit,
    /// Polling, at least in part, because this directory cannot be watched.
    Unwatched(PathBuf, String),
}

impl Watching {
    /// Returns true if events were wanted, but at least some files are polled.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_degraded(&self) -> bool {
        match self {
            Self::Events | Self::Polling => false,
            Self::Unavailable(_) | Self::Limit | Self::Unwatched(..) => true,
        }
    }
}

impl fmt::Display for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("changes are seen at once"),
            Self::Polling => f.write_str("changes are seen by polling only"),
            Self::Unavailable(reason) => write!(
                f,
                "changes are seen by polling only: files cannot be watched ({reason}); \
                 raise fs.inotify.max_user_instances or the limit on open files"
            ),
            Self::Limit => f.write_str(
                "changes are seen by polling only: the system allows no more watches; raise fs.inotify.max_user_watches",
            ),
            Self::Unwatched(dir, reason) => write!(
                f,
                "changes are seen by polling only: {} cannot be watched ({reason}); make it readable",
                dir.display()
            ),
        }
    }
}

/// Hints that were collected since the last [`Watch::take`].
#[derive(Debug, Default)]
pub(super) struct HintSet {
    names: HashMap<PathBuf, (u64, Hint)>,
    /// True if a directory or a symlink changed. Watches may be dead or in the wrong place then.
    pub moved: bool,
    /// True if events were lost. Anything may have happened to any name then.
    pub lost: bool,
    /// True if a name came or went in one of the directories that are listed.
    pub listed: bool,
}

impl HintSet {
    /// Returns the hint for a chain. The latest counts, unless it says nothing.
    pub(super) fn on(&self, chain: &PathChain) -> Option<Hint> {
        let hints = chain.all().filter_map(|name| self.names.get(&*name));
        hints.max_by_key(|(order, hint)| (*hint != Hint::Poll, *order)).map(|(_, hint)| *hint)
    }
}

/// Watches on all directories that matter.
pub(super) struct Watch {
    shared: Arc<Shared>,
    watcher: Option<RecommendedWatcher>,
    /// Directories that are watched, with the device and inode that they had.
    armed: BTreeMap<PathBuf, Option<(u64, u64)>>,
    armed_at: Instant,
    enabled: bool,
    /// The way of watching since the last [`Watch::arm`].
    pub watching: Watching,
}

impl Watch {
    /// Creates a watch on nothing. Unless `enabled`, it never watches anything.
    pub(super) fn new(enabled: bool) -> Self {
        let watching = if enabled { Watching::Events } else { Watching::Polling };
        Self {
            shared: Arc::default(),
            watcher: None,
            armed: BTreeMap::new(),
            armed_at: Instant::now(),
            enabled,
            watching,
        }
    }

    /// Watches these chains and nothing else.
    ///
    /// Every watch is added again, because the system drops watches silently, and an inode's number can be reused. A
    /// wanted watch is not removed first, because its pending events would be lost. The exception is a directory whose
    /// name leads to another one now: its events would be taken for events of the new one.
    pub(super) fn arm(&mut self, chains: &[&PathChain]) {
        if !self.enabled {
            return;
        }
        let replaced = self.shared.lock().replaced.clone();
        let dirs = self.shared.lock().set_names(chains);
        let dirs: BTreeMap<_, _> = dirs
            .into_iter()
            .map(|dir| {
                let id = identity(&dir);
                (dir, id)
            })
            .collect();
        let armed = mem::replace(&mut self.armed, dirs);
        let stale: Vec<_> = armed.into_iter().filter(|(dir, id)| self.armed.get(dir) != Some(id)).collect();
        self.watching = match start(&mut self.watcher, &self.shared) {
            Ok(watcher) => {
                // Removing a watch fails if it is gone already, which is fine.
                stale.iter().for_each(|(dir, _)| drop(watcher.unwatch(dir)));
                let results = self.armed.keys().map(|dir| (dir, watcher.watch(dir, RecursiveMode::NonRecursive)));
                let failures: Vec<_> = results.filter_map(|(dir, result)| watch_failure(dir, result.err()?)).collect();
                failures.into_iter().find(|failure| matters(failure, chains)).unwrap_or(Watching::Events)
            }
            Err(error) => Watching::Unavailable(error.to_string()),
        };
        self.shared.lock().replaced.retain(|dir| !replaced.contains(dir));
        self.armed_at = Instant::now();
    }

    /// Returns true if watches may no longer be where they are wanted: a name leads to another directory, some watch was
    /// refused, or the last [`Watch::arm`] was [`TRUST`] ago. Watches that the system dropped silently cost no change,
    /// since files are polled; until then, changes are seen later.
    pub(super) fn may_be_dead(&self, now: Instant) -> bool {
        self.watching != Watching::Events
            || now.saturating_duration_since(self.armed_at) >= TRUST
            || self.armed.iter().any(|(dir, id)| identity(dir) != *id)
    }

    /// Sets the directories in which every name matters. Their chains have to be armed as well, to watch them.
    pub(super) fn list(&self, dirs: BTreeSet<PathBuf>) {
        self.shared.lock().listed = dirs;
    }

    /// Notices events on the names of a chain, as far as their directories are watched already.
    pub(super) fn add_names(&self, chain: &PathChain) {
        self.shared.lock().add_names(chain);
    }

    /// Takes the collected hints.
    pub(super) fn take(&self) -> HintSet {
        let pending = std::mem::take(&mut self.shared.lock().pending);
        let hint = |(path, (order, event)): (PathBuf, (u64, NameEvent))| {
            let hint = event.hint(&path);
            (path, (order, hint))
        };
        let names = pending.names.into_iter().map(hint).collect();
        HintSet { names, moved: pending.moved, lost: pending.lost, listed: pending.listed }
    }

    /// Returns true if somebody has worked on a chain since the hints were taken.
    pub(super) fn is_busy(&self, chain: &PathChain) -> bool {
        let table = self.shared.lock();
        let busy =
            |name: &Path| matches!(table.pending.names.get(name), Some((_, NameEvent::Busy | NameEvent::Created)));
        table.pending.lost || chain.all().any(|name| busy(&name))
    }

    /// Pretends that the system has lost events.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        self.shared.on_event(&Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
    }

    /// Waits for hints. Cancel safe.
    pub(super) async fn wait(&self) {
        self.shared.wake.notified().await;
    }
}

/// Time for which watches are trusted to live. Adding them wakes two threads, and the process is at rest for most of its
/// life.
const TRUST: Duration = Duration::from_secs(30);

/// Returns the device and inode of a directory, if it exists.
fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir).ok().map(|found| (found.dev(), found.ino()))
}

fn start<'a>(
    watcher: &'a mut Option<RecommendedWatcher>,
    shared: &Arc<Shared>,
) -> notify::Result<&'a mut RecommendedWatcher> {
    let started = match watcher.take() {
        Some(watcher) => watcher,
        None => {
            let shared = Arc::clone(shared);
            notify::recommended_watcher(move |event| shared.on_event(&event))?
        }
    };
    Ok(watcher.insert(started))
}

/// State shared by the callback and the control loop.
#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    wake: Notify,
}

#[derive(Default)]
struct Table {
    names: HashMap<PathBuf, Name>,
    /// Names with a `*`, by their directory: events on the names that they match are theirs.
    patterns: HashMap<PathBuf, Vec<PathBuf>>,
    /// Directories that were renamed into place, and whose watches are still those of the directories before them.
    replaced: BTreeSet<PathBuf>,
    /// Directories in which every name matters, free of symlinks.
    listed: BTreeSet<PathBuf>,
    pending: PendingEvents,
}

/// A name whose events matter.
#[derive(Clone, Copy, Default)]
struct Name {
    /// True for a watched directory or a symlink. Changes to it may leave watches dead or misplaced.
    leads_on: bool,
    /// True for a name that is only a watched directory. Writes to it do not matter.
    dir_only: bool,
}

#[derive(Default)]
struct PendingEvents {
    /// The latest event for each name, with its sequence number.
    names: HashMap<PathBuf, (u64, NameEvent)>,
    count: u64,
    moved: bool,
    lost: bool,
    listed: bool,
}

/// An event on a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameEvent {
    /// The content is unchanged.
    Touched,
    /// The file is being written, or is gone.
    Busy,
    /// The file was closed after writing.
    Closed,
    /// The file was renamed into place.
    Renamed,
    /// The file was created. Only a look tells whether it is a symlink, and so complete.
    Created,
}

impl NameEvent {
    fn of(event: &EventKind) -> Option<Self> {
        match event {
            // Opening and reading are our own doing.
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Self::Closed),
            EventKind::Access(_) => None,
            EventKind::Create(CreateKind::Folder) => Some(Self::Busy),
            EventKind::Create(_) => Some(Self::Created),
            // One event for each of the two names came before.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Self::Busy),
            EventKind::Modify(ModifyKind::Name(_)) => Some(Self::Renamed),
            EventKind::Modify(ModifyKind::Metadata(_)) => Some(Self::Touched),
            EventKind::Modify(_) | EventKind::Remove(_) => Some(Self::Busy),
            EventKind::Any | EventKind::Other => Some(Self::Touched),
        }
    }

    /// Returns true if the name may lead elsewhere now, or nowhere.
    fn is_move(event: &EventKind) -> bool {
        matches!(event, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
    }

    /// Returns true if the name leads nowhere now.
    fn is_loss(event: &EventKind) -> bool {
        matches!(event, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
    }

    fn hint(self, path: &Path) -> Hint {
        match self {
            Self::Touched => Hint::Poll,
            Self::Closed => Hint::Closed,
            Self::Renamed => Hint::Renamed,
            Self::Created if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => Hint::Renamed,
            Self::Busy | Self::Created => Hint::Writing,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere loses one hint at worst.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: &notify::Result<Event>) {
        let mut table = self.lock();
        let wake = match event {
            Ok(event) if event.need_rescan() => table.mark_lost(),
            Ok(event) => event.paths.iter().filter(|path| table.note(&event.kind, path)).count() > 0,
            Err(_) => table.mark_lost(),
        };
        drop(table);
        if wake {
            self.wake.notify_one();
        }
    }
}

impl Table {
    /// Sets the names whose events matter, and returns the directories to watch.
    fn set_names(&mut self, chains: &[&PathChain]) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        self.names.clear();
        self.patterns.clear();
        for chain in chains {
            self.add_names(chain);
            all.extend(chain.dirs());
        }
        for dir in &all {
            let name = self.names.entry(dir.clone()).or_insert(Name { dir_only: true, ..Name::default() });
            name.leads_on = true;
        }
        all
    }

    fn add_names(&mut self, chain: &PathChain) {
        for path in chain.names() {
            let name = self.names.entry(path.to_path_buf()).or_default();
            name.dir_only = false;
            name.leads_on |= chain.links.contains(path);
        }
        let is_pattern = chain.end.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'*'));
        if let Some(dir) = chain.end.parent().filter(|_| is_pattern) {
            let patterns = self.patterns.entry(dir.to_path_buf()).or_default();
            if !patterns.contains(&chain.end) {
                patterns.push(chain.end.clone());
            }
        }
    }

    /// Notes an event on a name, and on the patterns that it matches. Returns true if anybody needs to know.
    fn note(&mut self, event: &EventKind, path: &Path) -> bool {
        let patterns = path.parent().and_then(|dir| self.patterns.get(dir)).cloned().unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let matching = patterns.iter().filter(|pattern| *pattern != path && listing::matches(pattern, name));
        let noted = matching.fold(false, |noted, pattern| self.note_name(event, pattern) | noted);
        let is_listed = NameEvent::is_move(event) && path.parent().is_some_and(|dir| self.listed.contains(dir));
        self.pending.listed |= is_listed;
        self.note_name(event, path) | noted | is_listed
    }

    fn note_name(&mut self, event: &EventKind, path: &Path) -> bool {
        let Some(name) = self.names.get(path) else { return false };
        let moved = NameEvent::is_move(event);
        if name.dir_only && !moved {
            return false;
        }
        let Some(mut note) = NameEvent::of(event) else { return false };
        if name.dir_only && note == NameEvent::Busy && !matches!(event, EventKind::Create(_)) {
            // A directory that is gone takes the file along. The end of an old directory may be reported after the new
            // one is in place, and must not cast doubt on the new one.
            note = NameEvent::Touched;
        }
        if NameEvent::is_loss(event) && path.ancestors().skip(1).any(|dir| self.replaced.contains(dir)) {
            // The name was lost in the old directory, since the new one is not watched yet.
            note = NameEvent::Touched;
        }
        if name.leads_on && note == NameEvent::Renamed {
            self.replaced.insert(path.to_path_buf());
        }
        let pending = &mut self.pending;
        pending.moved |= moved && name.leads_on;
        pending.count += 1;
        // The latest event counts: once a writer starts again, the file is not finished any more.
        if note != NameEvent::Touched || !pending.names.contains_key(path) {
            pending.names.insert(path.to_path_buf(), (pending.count, note));
        }
        true
    }

    fn mark_lost(&mut self) -> bool {
        self.pending.lost = true;
        true
    }
}

fn watch_failure(dir: &Path, error: notify::Error) -> Option<Watching> {
    match error.kind {
        // The directory went away since the walk. The next walk ends earlier.
        ErrorKind::PathNotFound => None,
        ErrorKind::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        ErrorKind::MaxFilesWatch => Some(Watching::Limit),
        ErrorKind::Io(error) => Some(Watching::Unwatched(dir.to_path_buf(), error.to_string())),
        kind @ (ErrorKind::Generic(_) | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_)) => {
            Some(Watching::Unwatched(dir.to_path_buf(), notify::Error::new(kind).to_string()))
        }
    }
}

/// Returns true if changes of files are missed. A directory that only holds other directories of the path is seldom
/// replaced, and often not ours to watch.
fn matters(failure: &Watching, chains: &[&PathChain]) -> bool {
    let Watching::Unwatched(dir, _) = failure else { return true };
    chains.iter().any(|chain| chain.holders().contains(dir.as_path()))
}

#[cfg(test)]
mod tests {
    use notify::event::RemoveKind;

    use super::*;

    /// Pretends that the system reports an event on a path.
    fn report(watch: &Watch, kind: EventKind, path: &Path) {
        watch.shared.on_event(&Ok(Event::new(kind).add_path(path.to_path_buf())));
    }

    #[test]
    fn the_late_end_of_a_swapped_directory_casts_no_doubt_on_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "x").unwrap();
        let chain = PathChain::of(&root.join("d/f"));
        let mut watch = Watch::new(true);
        watch.arm(&[&chain]);
        report(&watch, EventKind::Modify(ModifyKind::Name(RenameMode::To)), &root.join("d"));
        assert_eq!(watch.take().on(&chain), Some(Hint::Renamed));
        // The file of the old directory is removed, and its watch still has the name.
        report(&watch, EventKind::Remove(RemoveKind::File), &root.join("d/f"));
        assert!(!watch.is_busy(&chain), "nobody writes the new file");
        assert_eq!(watch.take().on(&chain), Some(Hint::Poll));
        watch.arm(&[&chain]);
        report(&watch, EventKind::Remove(RemoveKind::File), &root.join("d/f"));
        assert_eq!(watch.take().on(&chain), Some(Hint::Writing), "the new directory is watched now");
    }
}
