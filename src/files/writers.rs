//! Writers at work: signs that somebody else is about to write a file, which must not be replaced now.
//!
//! If an edit replaces a file that a writer has open, the rest of the writer's text goes to a file that nobody reads.
//! The flags in that rest would be lost.

use std::fmt;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// A sign of a writer at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The file had a content, and became empty this long ago.
    Emptied(Duration),
    /// A process has the file open for writing.
    Open {
        /// The process id.
        pid: u32,
        /// The name of its program, as far as it is known.
        name: String,
    },
    /// The file was written within the last moment, and not all processes could be searched for its writer.
    Written,
    /// The file has just disappeared.
    Gone,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emptied(ago) => write!(f, "it was emptied {:.1} s ago", ago.as_secs_f64()),
            Self::Open { pid, name } => write!(f, "process {pid} ({name}) has it open for writing"),
            Self::Written => f.write_str("it is being written without a pause"),
            Self::Gone => f.write_str("it disappeared a moment ago"),
        }
    }
}

/// Returns the sign of a writer, if there is one. `found` is absent for a missing file. `waited` is how long the caller
/// has waited: a file that was recent when the wait began counts as recent until its end.
pub(super) fn sign(target: &Path, found: Option<&Metadata>, waited: Duration) -> Option<Sign> {
    let Some(found) = found else {
        let parent = target.parent().and_then(|parent| fs::metadata(parent).ok());
        return parent.is_some_and(|parent| age(&parent) < GONE).then_some(Sign::Gone);
    };
    let age = age(found);
    let is_blank = is_blank(target, found);
    let emptied = || (is_blank && was_emptied(found, age)).then_some(Sign::Emptied(age));
    if age >= RECENT + waited {
        return emptied();
    }
    // A rename, as of an edit by this program, changes the file later than its content. So does a `chmod`.
    let in_place = (found.mtime(), found.mtime_nsec()) == (found.ctime(), found.ctime_nsec());
    let open = if in_place { open_for_writing(found) } else { Open::By(None) };
    match open {
        Open::By(Some(writer)) => Some(writer),
        Open::By(None) | Open::Unknown if is_blank => emptied(),
        Open::By(None) => None,
        Open::Unknown => (age < JUST).then_some(Sign::Written),
    }
}

/// Result of a search for a process that has a file open for writing.
enum Open {
    By(Option<Sign>),
    /// None was found, but not all processes could be looked into.
    Unknown,
}

fn open_for_writing(found: &Metadata) -> Open {
    let Ok(processes) = fs::read_dir("/proc") else { return Open::Unknown };
    let deadline = Instant::now() + LONGEST_SEARCH;
    let mut unknown = false;
    for process in processes.filter_map(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match has_open(&process.path(), found) {
            Ok(true) => {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Open::By(Some(Sign::Open { pid, name: name.trim().to_owned() }));
            }
            Ok(false) => {}
            // A process that has ended writes no more.
            Err(error) => unknown |= error.kind() == io::ErrorKind::PermissionDenied,
        }
        if Instant::now() > deadline {
            return Open::Unknown;
        }
    }
    if unknown { Open::Unknown } else { Open::By(None) }
}

fn has_open(process: &Path, found: &Metadata) -> io::Result<bool> {
    let mut descriptors = fs::read_dir(process.join("fd"))?.filter_map(Result::ok);
    Ok(descriptors.any(|descriptor| writes(process, &descriptor, found)))
}

/// Returns true if a process's descriptor is the file, open for writing.
fn writes(process: &Path, descriptor: &fs::DirEntry, found: &Metadata) -> bool {
    let same = |other: Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
    if !fs::metadata(descriptor.path()).is_ok_and(same) {
        return false;
    }
    let info = fs::read_to_string(process.join("fdinfo").join(descriptor.file_name())).unwrap_or_default();
    // proc(5): the flags of open(2) in octal. The last two bits are the access mode, and 0 is reading.
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| flags.trim().ends_with(['1', '2', '5', '6']))
}

fn is_blank(target: &Path, found: &Metadata) -> bool {
    let mut start = Vec::new();
    let read = |file: fs::File| file.take(LONGEST_BLANK).read_to_end(&mut start);
    found.size() < LONGEST_BLANK
        && fs::File::open(target).and_then(read).is_ok()
        && start.iter().all(u8::is_ascii_whitespace)
}

/// Returns true if an empty file had a content before. A file unchanged since its creation was always empty, as after
/// `touch`. If the file system does not record the creation, a file that was modified lately counts as emptied.
fn was_emptied(found: &Metadata, age: Duration) -> bool {
    let (Ok(made), Ok(modified)) = (found.created(), found.modified()) else { return age < RECENT };
    modified.duration_since(made).unwrap_or_default() >= SAME_TIME
}

/// Returns the time since a file was modified; zero if that lies ahead.
fn age(found: &Metadata) -> Duration {
    let modified = found.modified().ok();
    modified.and_then(|modified| SystemTime::now().duration_since(modified).ok()).unwrap_or_default()
}

/// Time after which a silent writer has stopped for good. The proxy believes a file after the same time.
const RECENT: Duration = Duration::from_secs(3);
/// Age from which an emptied file is not waited for any more. Must be less than [`RECENT`], after which a file does not
/// count as emptied if its creation is not recorded.
pub(super) const EMPTY: Duration = Duration::from_millis(2900);
/// Time after the last write for which an unseen writer counts as being at work.
const JUST: Duration = Duration::from_millis(50);
/// Time within which a tool that removes a file makes it again.
pub(super) const GONE: Duration = Duration::from_millis(200);
/// Difference below which two times count as the same, because of the kernel's tick.
const SAME_TIME: Duration = Duration::from_millis(5);
/// Limit on the search. A machine with a thousand processes takes a tenth of it.
const LONGEST_SEARCH: Duration = Duration::from_millis(300);
/// Size from which a file is not examined for being blank.
const LONGEST_BLANK: u64 = 4096;
