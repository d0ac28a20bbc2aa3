//! Atomic replacement: a reader sees the old text or the new one, and a crash leaves one of the two.
//!
//! The new text goes to a temporary file in the same directory, which is flushed to the disk and then renamed. A
//! symlink is followed to its file, and stays. Mode and owner are kept; extended attributes and hard links are not.
//! After a failure before the rename, the file is as it was, and the temporary file is gone.
//!
//! [`rewrite`] reads, edits and replaces. A lock on the directory keeps its calls apart, in any number of processes. An
//! editor takes no such lock. So the edit waits for other writers that it can see at work ([`writers`]), and gives up
//! if they do not finish. Otherwise it would drop their text. The file is compared just before the rename, and the edit
//! starts over if the file changed. The edit waits only for the lock, a writer and the disk.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::author::{self, Signer};
use super::writers::{self, Sign};

/// The reason why a file was not replaced.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The system refused a step.
    Io {
        /// The step.
        step: Step,
        /// The path that it was done to.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is a directory or a device.
    NotAFile(PathBuf),
    /// The path has no file name, or its symlinks form a loop.
    NoTarget(PathBuf),
    /// The file is not UTF-8.
    NotText(PathBuf),
    /// The file is larger than any flag file.
    TooLarge(PathBuf),
    /// Another edit held the directory's lock for too long.
    Locked(PathBuf),
    /// Another writer was at work all the time.
    Busy(PathBuf, Sign),
    /// The file changed again and again between reading and writing.
    Contended(PathBuf),
}

/// A step of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Following symlinks to the file.
    Resolve,
    /// Reading the old file.
    Read,
    /// Taking the lock on its directory.
    Lock,
    /// Creating the temporary file.
    Create,
    /// Filling and flushing it.
    Write,
    /// Giving it the file's owner.
    Own,
    /// Giving it the file's mode.
    Mode,
    /// Giving it the file's name.
    Rename,
    /// Flushing the directory: the new text is in place, but a power failure may undo it.
    SyncDirectory,
}

/// The reason why [`rewrite`] changed nothing.
#[derive(Debug)]
pub(crate) enum RewriteError<E> {
    /// The file could not be read or replaced.
    Write(WriteError),
    /// The edit was refused, and nothing was written.
    Edit(E),
}

/// The way in which [`rewrite`] treats a file that had a content and is empty now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// Nothing is written.
    Refused,
    /// The empty text is edited.
    Taken,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { step: Step::Rename, path, source } if source.kind() == io::ErrorKind::ResourceBusy => {
                // A single file that is bind-mounted answers so, because its name cannot be replaced.
                write!(f, "cannot replace `{}`: it is a mount point; mount its directory instead", path.display())
            }
            Self::Io { step, path, .. } => write!(f, "cannot {} `{}`", step.verb(), path.display()),
            Self::NotAFile(path) => write!(f, "`{}` is not a regular file", path.display()),
            Self::NoTarget(path) => write!(f, "`{}` leads to no file", path.display()),
            Self::NotText(path) => write!(f, "`{}` is not UTF-8 text", path.display()),
            Self::TooLarge(path) => write!(f, "`{}` is larger than {MAX_SIZE} bytes", path.display()),
            Self::Locked(path) => {
                write!(f, "another edit has held `{}` for {} s", path.display(), LOCK_PATIENCE.as_secs())
            }
            Self::Busy(path, sign @ Sign::Emptied(_)) => write!(
                f,
                "`{}` may not be what it should be: {sign}; put it back, or write `[routes]` into it to lift all flags",
                path.display()
            ),
            Self::Busy(path, sign) => {
                write!(f, "another writer is at work on `{}`: {sign}; try again when it has finished", path.display())
            }
            Self::Contended(path) => write!(f, "`{}` keeps changing while it is edited", path.display()),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::NotAFile(_)
            | Self::NoTarget(_)
            | Self::NotText(_)
            | Self::TooLarge(_)
            | Self::Locked(_)
            | Self::Busy(..)
            | Self::Contended(_) => None,
        }
    }
}

impl<E> fmt::Display for RewriteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(_) => f.write_str("the file was not changed"),
            Self::Edit(_) => f.write_str("the edit was refused, the file was not changed"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RewriteError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(error) => Some(error),
            Self::Edit(error) => Some(error),
        }
    }
}

impl<E> From<WriteError> for RewriteError<E> {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Self::Resolve => "find",
            Self::Read => "read",
            Self::Lock => "lock",
            Self::Create => "create a temporary file in",
            Self::Write => "write",
            Self::Own => "keep the owner of",
            Self::Mode => "keep the mode of",
            Self::Rename => "replace",
            Self::SyncDirectory => "flush the directory",
        }
    }

    fn failed<'a>(self, path: &'a Path) -> impl FnOnce(io::Error) -> WriteError + use<'a> {
        move |source| WriteError::Io { step: self, path: path.to_owned(), source }
    }
}

/// Reads the file at `path`, has `edit` make the new text, and replaces the file. A missing file reads as empty.
///
/// `edit` returns the new text and a report for the caller, and runs again if the file changed meanwhile. An unchanged
/// text is not written. `waiting` is called once if the wait for another edit or writer takes more than a second. The
/// flags of an emptied file are lost, so only an edit that keeps none of them may take such a file.
///
/// # Errors
/// If `edit` refuses, or the file cannot be read or replaced; see [`WriteError`].
pub(crate) fn rewrite<T, E>(
    path: &Path,
    emptied: Emptied,
    by: &Signer,
    waiting: impl FnMut(&Path),
    mut edit: impl FnMut(&str) -> Result<(String, T), E>,
) -> Result<T, RewriteError<E>> {
    let mut wait = Waiting { path, began: Instant::now(), tell: Some(waiting) };
    for _ in 0..MAX_ATTEMPTS {
        let target = resolve(path)?;
        let _lock = lock(directory(&target), || wait.pause(LOCK_PAUSE))?;
        // The target may have moved during the wait. A lock on the wrong directory guards nothing.
        if resolve(path)? != target {
            continue;
        }
        match await_writer(&target, || wait.pause(WRITER_PAUSE)) {
            Err(WriteError::Busy(_, Sign::Emptied(_))) if emptied == Emptied::Taken => {}
            awaited => awaited?,
        }
        remove_leftovers(directory(&target));
        let old = read(&target)?;
        let text = text(old.as_deref().unwrap_or_default(), path)?;
        let (new, report) = edit(text).map_err(RewriteError::Edit)?;
        if new == text {
            return Ok(report);
        }
        if replace(&target, new.as_bytes(), Expect::Unchanged(old.as_deref(), by), NEW_MODE)? == Outcome::Replaced {
            return Ok(report);
        }
    }
    Err(RewriteError::Write(WriteError::Contended(path.to_owned())))
}

/// Replaces or creates the file at `path`.
///
/// # Errors
/// If the system refuses a step; see [`WriteError`].
pub(crate) fn atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let target = resolve(path)?;
    let _lock = lock(directory(&target), || thread::sleep(LOCK_PAUSE))?;
    replace(&target, bytes, Expect::Anything, NEW_MODE).map(|_| ())
}

/// Replaces a file, or creates it for its owner alone. A symlink is refused, and no lock is taken. For files that only
/// one process writes, and nobody edits.
///
/// # Errors
/// If the system refuses a step, or something else is in the way; see [`WriteError`].
pub(crate) fn privately(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    replace(path, bytes, Expect::Anything, PRIVATE_MODE).map(|_| ())
}

/// Replaces a file, or creates it for everybody to read. A symlink is refused, and no lock is taken. For files that
/// only one process writes, and nobody edits.
///
/// # Errors
/// If the system refuses a step, or something else is in the way; see [`WriteError`].
pub(crate) fn readably(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    replace(path, bytes, Expect::Anything, NEW_MODE).map(|_| ())
}

/// The content that the file must have just before the rename.
#[derive(Clone, Copy)]
enum Expect<'a> {
    /// Any content.
    Anything,
    /// Exactly these bytes, or no file. The new content is signed.
    Unchanged(Option<&'a [u8]>, &'a Signer),
}

/// The outcome of a replacement that did not fail.
#[derive(PartialEq, Eq)]
enum Outcome {
    Replaced,
    /// The file had another content than expected, and nothing was done.
    Changed,
}

fn replace(target: &Path, bytes: &[u8], expect: Expect<'_>, new_mode: u32) -> Result<Outcome, WriteError> {
    let directory = directory(target);
    let kept = metadata(target)?;
    let (temporary, mut file) = Temporary::create(directory, kept.as_ref().map_or(new_mode, |_| PRIVATE_MODE))?;
    file.write_all(bytes).map_err(Step::Write.failed(target))?;
    if let Some(kept) = kept {
        // Change the owner first, since that clears bits of the mode.
        keep_owner(&file, &kept).map_err(Step::Own.failed(target))?;
        let mode = Permissions::from_mode(kept.mode() & MODE_BITS);
        file.set_permissions(mode).map_err(Step::Mode.failed(target))?;
    }
    if let Expect::Unchanged(_, by) = expect {
        author::sign(&file, bytes, by);
    }
    // Flush before the rename. A name that survives a crash must not lead to text that does not.
    file.sync_all().map_err(Step::Write.failed(target))?;
    if let Expect::Unchanged(old, _) = expect
        && read(target)?.as_deref() != old
    {
        return Ok(Outcome::Changed);
    }
    temporary.rename(target)?;
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.map_err(Step::SyncDirectory.failed(directory))?;
    Ok(Outcome::Replaced)
}

fn keep_owner(file: &File, kept: &fs::Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (kept.uid(), kept.gid()) {
        return Ok(());
    }
    fchown(file, Some(kept.uid()), Some(kept.gid()))
}

/// A temporary file, removed on drop unless it was renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(directory: &Path, mode: u32) -> Result<(Self, File), WriteError> {
        let mut tries = 0;
        loop {
            let path = directory.join(format!("{PREFIX}{:016x}{SUFFIX}", fastrand::u64(..)));
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
                Ok(file) => return Ok((Self { path, renamed: false }, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < MAX_ATTEMPTS => tries += 1,
                Err(e) => return Err(Step::Create.failed(directory)(e)),
            }
        }
    }

    fn rename(mut self, target: &Path) -> Result<(), WriteError> {
        fs::rename(&self.path, target).map_err(Step::Rename.failed(target))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing can be done about a failure here, and the first error is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A wait that is reported once it is long.
struct Waiting<'p, F> {
    path: &'p Path,
    began: Instant,
    tell: Option<F>,
}

impl<F: FnMut(&Path)> Waiting<'_, F> {
    fn pause(&mut self, time: Duration) {
        if self.began.elapsed() >= LONG_WAIT
            && let Some(mut tell) = self.tell.take()
        {
            tell(self.path);
        }
        thread::sleep(time);
    }
}

/// Waits until no writer is at work on a file.
fn await_writer(target: &Path, mut pause: impl FnMut()) -> Result<(), WriteError> {
    let began = Instant::now();
    loop {
        let waited = began.elapsed();
        let Some(sign) = writers::sign(target, metadata(target)?.as_ref(), waited) else { return Ok(()) };
        // A missing file may as well be one that was never there.
        if sign == Sign::Gone && waited >= writers::GONE {
            return Ok(());
        }
        let is_over = matches!(sign, Sign::Emptied(ago) if ago >= writers::EMPTY);
        if is_over || waited >= WRITER_PATIENCE {
            return Err(WriteError::Busy(target.to_owned(), sign));
        }
        pause();
    }
}

/// Removes the temporary files of edits that were killed. Such a file has exactly the right form of name, belongs to
/// this user, and is too old for an edit under way.
fn remove_leftovers(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let is_leftover = || {
            let name = entry.file_name();
            let random = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let is_ours = random.len() == 16 && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let found = entry.metadata().ok().filter(|found| is_ours && found.is_file())?;
            let is_old = found.modified().ok()?.elapsed().ok()? > LEFT_OVER;
            (is_old && found.uid() == rustix::process::geteuid().as_raw()).then_some(())
        };
        if is_leftover().is_some() {
            // If it cannot be removed, the next edit tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Follows symlinks to the file that `path` means, which need not exist yet.
fn resolve(path: &Path) -> Result<PathBuf, WriteError> {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let name = at.file_name().ok_or_else(|| WriteError::NoTarget(path.to_owned()))?;
        let directory = fs::canonicalize(directory(&at)).map_err(Step::Resolve.failed(path))?;
        let here = directory.join(name);
        match fs::read_link(&here) {
            Ok(link) => at = directory.join(link),
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => return Ok(here),
            Err(e) => return Err(Step::Resolve.failed(path)(e)),
        }
    }
    Err(WriteError::NoTarget(path.to_owned()))
}

/// Returns the directory of a path.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Locks a directory until the file is dropped. The file itself cannot be locked, since another one is about to replace
/// it.
fn lock(directory: &Path, mut pause: impl FnMut()) -> Result<Option<File>, WriteError> {
    let file = File::open(directory).map_err(Step::Lock.failed(directory))?;
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => pause(),
            Err(TryLockError::WouldBlock) => return Err(WriteError::Locked(directory.to_owned())),
            // NFS cannot lock a directory. The comparison before the rename remains.
            Err(TryLockError::Error(e)) if cannot_lock(&e) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(Step::Lock.failed(directory)(e)),
        }
    }
}

/// Returns true if the file system refuses all locks, and not only this one.
fn cannot_lock(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::BADF | Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP))
}

/// Returns the file's metadata, if it exists. Anything but a regular file is refused before it is opened.
fn metadata(target: &Path) -> Result<Option<fs::Metadata>, WriteError> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(_) => Err(WriteError::NotAFile(target.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Step::Read.failed(target)(e)),
    }
}

/// Returns the file's bytes, if it exists.
fn read(target: &Path) -> Result<Option<Vec<u8>>, WriteError> {
    if metadata(target)?.is_none() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = File::open(target).map_err(Step::Read.failed(target))?;
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(Step::Read.failed(target))?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(WriteError::TooLarge(target.to_owned()));
    }
    Ok(Some(bytes))
}

fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, WriteError> {
    str::from_utf8(bytes).map_err(|_| WriteError::NotText(path.to_owned()))
}

/// Mode of a new file, less the umask.
const NEW_MODE: u32 = 0o644;
/// Mode of a temporary file until it takes over the old file's mode. The text may be one that others must not read.
const PRIVATE_MODE: u32 = 0o600;
/// Permission bits of `st_mode`.
const MODE_BITS: u32 = 0o7777;
/// Symlinks that are followed, as many as Linux does.
const MAX_LINKS: usize = 40;
/// Attempts to edit a file that others change, and to find a free temporary name.
const MAX_ATTEMPTS: usize = 8;
/// Protects against reading a device or a log by mistake. A flag file has a few kilobytes.
const MAX_SIZE: u64 = 16 * 1024 * 1024;
/// Time that another edit may hold the lock. One edit takes milliseconds, but the queue is not fair.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// Time that a writer may be at work: as long as the proxy waits for one.
const WRITER_PATIENCE: Duration = Duration::from_secs(3);
/// Pause between two looks for a writer.
const WRITER_PAUSE: Duration = Duration::from_millis(10);
/// Time after which a wait is reported.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// Age of a temporary file that nobody will rename any more.
const LEFT_OVER: Duration = Duration::from_secs(60);
/// Beginning and end of a temporary file's name.
const PREFIX: &str = ".backsoon-";
const SUFFIX: &str = ".tmp";
/// Pause between two attempts to lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
