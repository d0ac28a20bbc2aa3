//! Watching directories: turns the system's events into hints that a file may have changed.
//!
//! It reads nothing and decides nothing. A hint may come too often, too late or never; polling makes up for that. The
//! callback only sorts events by name, so that a noisy directory (logs beside the file) wakes nobody; hints for one
//! file replace each other, so that there is no queue that could overflow.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, fs, io};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::debounce::Hint;
use super::links::PathChain;

/// How changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// By the system's events, within a moment.
    Events,
    /// By polling, as was asked for.
    Polling,
    /// By polling, because there can be no events at all: the reason is the system's.
    Unavailable(String),
    /// By polling, at least in part: the system allows no more watches.
    Limit,
    /// By polling, at least in part: this directory cannot be watched.
    Unwatched(PathBuf, String),
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

/// What happened to the names that matter since it was last asked for.
#[derive(Debug, Default)]
pub(super) struct HintSet {
    names: HashMap<PathBuf, (u64, Hint)>,
    /// Set when something happened to a directory or a symlink: watches may be dead or may watch the wrong place.
    pub moved: bool,
    /// Set when events were lost: anything may have happened to any name.
    pub lost: bool,
}

impl HintSet {
    /// Returns the hint that the names of a trail give together: the last one counts, unless it says nothing.
    pub(super) fn on(&self, chain: &PathChain) -> Option<Hint> {
        let hints = chain.all().filter_map(|name| self.names.get(&*name));
        hints.max_by_key(|(order, hint)| (*hint != Hint::Poll, *order)).map(|(_, hint)| *hint)
    }
}

/// The watch on all directories that matter.
pub(super) struct Watch {
    shared: Arc<Shared>,
    watcher: Option<RecommendedWatcher>,
    armed: BTreeSet<PathBuf>,
    enabled: bool,
    /// How it goes, as of the last [`Watch::arm`].
    pub watching: Watching,
}

impl Watch {
    /// Makes a watch on nothing. When not `enabled` it stays one.
    pub(super) fn new(enabled: bool) -> Self {
        let watching = if enabled { Watching::Events } else { Watching::Polling };
        Self { shared: Arc::default(), watcher: None, armed: BTreeSet::new(), enabled, watching }
    }

    /// Watches the chains given, and nothing else.
    ///
    /// Adds every watch again: the system drops them silently, and an inode's number does not tell that it is the same.
    /// A watch that is still wanted is never removed first, because the events under way would be dropped with it.
    pub(super) fn arm(&mut self, chains: &[&PathChain]) {
        if !self.enabled {
            return;
        }
        let dirs = self.shared.lock().set_names(chains);
        let stale: Vec<_> = self.armed.difference(&dirs).cloned().collect();
        self.armed = dirs;
        self.watching = match start(&mut self.watcher, &self.shared) {
            Ok(watcher) => {
                // A watch that is gone already cannot be removed, which is as well.
                stale.iter().for_each(|dir| drop(watcher.unwatch(dir)));
                let results = self.armed.iter().map(|dir| (dir, watcher.watch(dir, RecursiveMode::NonRecursive)));
                let troubles: Vec<_> = results.filter_map(|(dir, result)| trouble(dir, result.err()?)).collect();
                troubles.into_iter().find(|trouble| matters(trouble, chains)).unwrap_or(Watching::Events)
            }
            Err(error) => Watching::Unavailable(error.to_string()),
        };
    }

    /// Takes the hints that are there.
    pub(super) fn take(&self) -> HintSet {
        let pending = std::mem::take(&mut self.shared.lock().pending);
        let hint = |(path, (order, event)): (PathBuf, (u64, NameEvent))| {
            let hint = event.hint(&path);
            (path, (order, hint))
        };
        HintSet { names: pending.names.into_iter().map(hint).collect(), moved: pending.moved, lost: pending.lost }
    }

    /// Says whether somebody has been at work on a trail since the hints were taken.
    pub(super) fn is_busy(&self, chain: &PathChain) -> bool {
        let table = self.shared.lock();
        let busy =
            |name: &Path| matches!(table.pending.names.get(name), Some((_, NameEvent::Busy | NameEvent::Created)));
        table.pending.lost || chain.all().any(|name| busy(&name))
    }

    /// Does as if the system had lost events.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        self.shared.on_event(&Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
    }

    /// Waits until there are hints. Cancel safe.
    pub(super) async fn wait(&self) {
        self.shared.wake.notified().await;
    }
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

/// What the callback and the control loop share.
#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    wake: Notify,
}

#[derive(Default)]
struct Table {
    names: HashMap<PathBuf, Name>,
    pending: PendingEvents,
}

/// A name whose events matter.
#[derive(Clone, Copy, Default)]
struct Name {
    /// It is a directory that is watched, or a symlink: what happens to it may leave watches dead or misplaced.
    leads_on: bool,
    /// It is a watched directory only, so what is written in it or changed about it is of no interest.
    dir_only: bool,
}

#[derive(Default)]
struct PendingEvents {
    /// The last thing that happened to each name, and the how-manieth thing it was; as many as there are names, at most.
    names: HashMap<PathBuf, (u64, NameEvent)>,
    count: u64,
    moved: bool,
    lost: bool,
}

/// What happened to a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameEvent {
    /// Something that leaves the content alone.
    Touched,
    /// It is being written, or it is gone.
    Busy,
    /// It was renamed into place, or closed after writing.
    Done,
    /// It was created; only a look at it tells whether it is a symlink, and thus complete.
    Created,
}

impl NameEvent {
    fn of(event: &EventKind) -> Option<Self> {
        match event {
            // Opening and reading would be our own.
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Self::Done),
            EventKind::Access(_) => None,
            EventKind::Create(CreateKind::Folder) => Some(Self::Busy),
            EventKind::Create(_) => Some(Self::Created),
            // One of each came before.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Self::Busy),
            EventKind::Modify(ModifyKind::Name(_)) => Some(Self::Done),
            EventKind::Modify(ModifyKind::Metadata(_)) => Some(Self::Touched),
            EventKind::Modify(_) | EventKind::Remove(_) => Some(Self::Busy),
            EventKind::Any | EventKind::Other => Some(Self::Touched),
        }
    }

    /// Says whether the name may mean something else now, or nothing.
    fn is_move(event: &EventKind) -> bool {
        matches!(event, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
    }

    fn hint(self, path: &Path) -> Hint {
        match self {
            Self::Touched => Hint::Poll,
            Self::Done => Hint::Settled,
            Self::Created if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => Hint::Settled,
            Self::Busy | Self::Created => Hint::Writing,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere leaves at worst a hint out.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: &notify::Result<Event>) {
        let mut table = self.lock();
        let woken = match event {
            Ok(event) if event.need_rescan() => table.mark_lost(),
            Ok(event) => event.paths.iter().filter(|path| table.note(&event.kind, path)).count() > 0,
            Err(_) => table.mark_lost(),
        };
        drop(table);
        if woken {
            self.wake.notify_one();
        }
    }
}

impl Table {
    /// Sets the names whose events matter, and returns the directories where they happen.
    fn set_names(&mut self, chains: &[&PathChain]) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        self.names.clear();
        for chain in chains {
            for path in chain.names() {
                let name = self.names.entry(path.to_path_buf()).or_default();
                name.leads_on |= chain.links.contains(path);
            }
            all.extend(chain.dirs());
        }
        for dir in &all {
            let name = self.names.entry(dir.clone()).or_insert(Name { dir_only: true, ..Name::default() });
            name.leads_on = true;
        }
        all
    }

    /// Notes what happened to a name, and says whether it matters to anybody.
    fn note(&mut self, event: &EventKind, path: &Path) -> bool {
        let Some(name) = self.names.get(path) else { return false };
        let moved = NameEvent::is_move(event);
        if name.dir_only && !moved {
            return false;
        }
        let Some(mut note) = NameEvent::of(event) else { return false };
        if name.dir_only && note == NameEvent::Busy && !matches!(event, EventKind::Create(_)) {
            // A directory that is gone takes the file with it. That an old one is gone for good may be told only after
            // the new one is in place, and must not cast doubt on this.
            note = NameEvent::Touched;
        }
        let pending = &mut self.pending;
        pending.moved |= moved && name.leads_on;
        pending.count += 1;
        // The last one counts: a writer who begins anew takes back that the file was finished.
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

fn trouble(dir: &Path, error: notify::Error) -> Option<Watching> {
    match error.kind {
        // It went away since the way was walked; the next walk ends earlier.
        ErrorKind::PathNotFound => None,
        ErrorKind::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        ErrorKind::MaxFilesWatch => Some(Watching::Limit),
        ErrorKind::Io(error) => Some(Watching::Unwatched(dir.to_path_buf(), error.to_string())),
        kind @ (ErrorKind::Generic(_) | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_)) => {
            Some(Watching::Unwatched(dir.to_path_buf(), notify::Error::new(kind).to_string()))
        }
    }
}

/// Says whether changes of files are missed. A directory that only holds directories of the way is seldom replaced, and
/// often not ours to watch.
fn matters(trouble: &Watching, chains: &[&PathChain]) -> bool {
    let Watching::Unwatched(dir, _) = trouble else { return true };
    chains.iter().any(|chain| chain.holders().contains(dir.as_path()))
}
