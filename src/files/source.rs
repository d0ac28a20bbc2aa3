//! The content of a watched file, as one look finds it.
//!
//! A look never waits, never blocks on a pipe, and reads at most [`MAX_SIZE`] bytes. [`debounce`](super::debounce)
//! decides whether the content may be acted on.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::author::{Author, Trace};

/// Bytes that a watched file may have. A larger file is not read.
pub(crate) const MAX_SIZE: u64 = 1024 * 1024;

/// The whole content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The bytes of the file.
    pub bytes: Bytes,
    /// The hash, which tells contents apart. Inode, size and times can all stay the same.
    pub hash: Hash,
    /// Time of reading.
    pub loaded: SystemTime,
    /// The file that holds it.
    pub file: FileId,
    /// Traces of its author.
    pub trace: Trace,
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>, file: FileId, trace: Trace) -> Self {
        let hash = Hash::of(&bytes);
        Self { bytes: bytes.into(), hash, loaded: SystemTime::now(), file, trace }
    }

    /// Makes a content that comes from no file.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer reads files alone"))]
    pub(crate) fn handed(bytes: Vec<u8>, by: Option<Author>) -> Self {
        Self::new(bytes, FileId::default(), Trace::Told(by))
    }

    /// Returns true if the content is empty or blank, like a file that was just truncated.
    pub(crate) fn is_blank(&self) -> bool {
        self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.bytes).iter().all(u8::is_ascii_whitespace)
    }
}

/// The identity of a file, and its times. Contents are compared by their hash instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl FileId {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            changed: (found.ctime(), found.ctime_nsec()),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }

    /// Returns the seconds and nanoseconds of the last change of the file, its name or its mode (`ctime`).
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer has no /status"))]
    pub(crate) fn changed(&self) -> (i64, i64) {
        self.changed
    }

    /// Returns the time since the content was last modified (`mtime`), or zero if that lies ahead.
    pub(crate) fn age(&self) -> Duration {
        let (seconds, nanoseconds) = self.modified;
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let since = Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or(0));
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + since).unwrap_or_default()
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// The SHA-256 of a content. Prints as 64 lowercase hexadecimal digits, like `sha256sum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hash(pub [u8; 32]);

impl Hash {
    /// Hashes a content.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The reason why a file cannot be read now. The last good content stays in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// No file has this name, or a symlink on the way leads nowhere.
    Missing,
    /// The name belongs to a directory, a pipe, a socket or a device.
    NotAFile(&'static str),
    /// The file has more than [`MAX_SIZE`] bytes; this is the size found.
    TooLarge(u64),
    /// The file changed during every attempt to read it.
    Changing,
    /// The system refused.
    Unreadable(io::ErrorKind),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        let missing = matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        if missing { Self::Missing } else { Self::Unreadable(kind) }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::NotAFile(what) => write!(f, "it is a {what}, not a regular file"),
            Self::TooLarge(size) => write!(f, "it has {size} bytes; at most {MAX_SIZE} are read"),
            Self::Changing => f.write_str("it is being written without a pause"),
            Self::Unreadable(kind) => write!(f, "it cannot be read: {kind}"),
        }
    }
}

/// A reason why changes of a good file may never be seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchWarning {
    /// The file is a mount point by itself, as with `docker run -v ./file:/file` or a Kubernetes `subPath`.
    MountPoint,
    /// The open file has no name any more, because it was replaced where it was mounted from.
    Unlinked,
}

impl fmt::Display for WatchWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MountPoint => {
                "the file is mounted by itself, so once it is replaced outside, the old one stays here for ever; \
                 mount its directory instead"
            }
            Self::Unlinked => {
                "the file was replaced outside and the old one stays here for ever; \
                 mount its directory instead, then restart"
            }
        })
    }
}

/// The result of one look at a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The content, or the error.
    pub content: Result<Content, ReadError>,
    /// True if the open file has no name any more.
    pub unlinked: bool,
}

impl Found {
    /// Returns the time since the content was modified, or none if there is no content.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer receives no signals"))]
    pub(crate) fn age(&self) -> Duration {
        self.content.as_ref().map(|content| content.file.age()).unwrap_or_default()
    }
}

/// Reads a file, and tries a few more times if it changes meanwhile.
pub(crate) fn read(path: &Path) -> Found {
    let mut found = read_once(path);
    for _ in 1..READ_TRIES {
        // A rename during a look leaves a file without a name. The next attempt opens the new one.
        if !found.unlinked && !matches!(found.content, Err(ReadError::Changing)) {
            break;
        }
        found = read_once(path);
    }
    found
}

/// Looks whether a file exists, and reads it if it can be read: what exists without a content has an empty one.
///
/// A directory is no such file, because a container makes one in the place of a file that is not there. A symlink
/// counts if it leads to something.
///
/// # Errors
/// [`ReadError::Missing`] and [`ReadError::NotAFile`] if there is none, and any other error if nobody can tell.
pub(crate) fn existence(path: &Path) -> Result<Content, ReadError> {
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(ReadError::NotAFile(kind_of(&found)));
    }
    match read(path).content {
        Ok(content) => Ok(content),
        Err(ReadError::Missing) => Err(ReadError::Missing),
        Err(ReadError::NotAFile(_) | ReadError::TooLarge(_) | ReadError::Changing | ReadError::Unreadable(_)) => {
            Ok(Content::new(Vec::new(), FileId::of(&found), Trace::default()))
        }
    }
}

/// Returns true if a path leads to this file, and nothing tells of a change since. Some file systems tell late.
pub(super) fn is_still(path: &Path, file: &FileId) -> bool {
    fs::metadata(path).is_ok_and(|found| FileId::of(&found) == *file)
}

/// Returns true if the file itself, not a directory above it, is a mount point. Always false without `/proc`.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|table| mount_points(&table).any(|point| point == path))
}

fn read_once(path: &Path) -> Found {
    let mut unlinked = false;
    let content = read_open(path, &mut unlinked);
    Found { content, unlinked }
}

fn read_open(path: &Path, unlinked: &mut bool) -> Result<Content, ReadError> {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(ReadError::NotAFile(kind_of(&before)));
    }
    *unlinked = before.nlink() == 0;
    let bytes = read_bounded(&mut file, &before)?;
    let after = file.metadata()?;
    if (before.size(), before.mtime(), before.mtime_nsec()) != (after.size(), after.mtime(), after.mtime_nsec()) {
        return Err(ReadError::Changing);
    }
    Ok(Content::new(bytes, FileId::of(&after), Trace::of(&file, after.uid())))
}

fn read_bounded(file: &mut File, metadata: &Metadata) -> Result<Vec<u8>, ReadError> {
    if metadata.size() > MAX_SIZE {
        return Err(ReadError::TooLarge(metadata.size()));
    }
    let mut bytes = Vec::new();
    // The file may have grown since its size was read.
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size > MAX_SIZE => Err(ReadError::TooLarge(size)),
        _ => Ok(bytes),
    }
}

fn kind_of(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_fifo() => "pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

/// Returns the fifth field of each line, with escapes like `\040` undone (proc(5)).
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| {
        let spaces = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
        PathBuf::from(spaces.replace("\\134", "\\"))
    })
}

/// The mark that Windows' editors put before UTF-8, also before nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Attempts to read a file that keeps changing.
const READ_TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_prints_as_sha256sum_does() {
        let hash = Content::new(b"abc".to_vec(), FileId::default(), Trace::default()).hash.to_string();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_pipe_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).content.unwrap_err(), ReadError::NotAFile("directory"));
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(read(&pipe).content.unwrap_err(), ReadError::NotAFile("pipe"));
        assert_eq!(read(&pipe.join("x")).content.unwrap_err(), ReadError::Missing);
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        fs::write(&path, vec![b'x'; MAX_SIZE as usize]).unwrap();
        assert!(read(&path).content.is_ok());
        fs::write(&path, vec![b'x'; MAX_SIZE as usize + 1]).unwrap();
        assert_eq!(read(&path).content.unwrap_err(), ReadError::TooLarge(MAX_SIZE + 1));
    }

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = "36 35 98:0 / / rw - ext4 /dev/sda rw\n37 35 98:0 /a /mnt/my\\040file rw - ext4 /dev/sda rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/"), PathBuf::from("/mnt/my file")]);
    }
}
