//! Reader of the history: goes line by line over all files, oldest first, and follows the last one as it grows.
//!
//! No lock is taken, and no writer is needed. A file that is rotated while it is read is read to its end.

use std::collections::VecDeque;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::mem;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::state::StateDir;
use super::{Entry, HISTORY, LONGEST, OLD_FILES, file_name};

/// A line of the history that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Time of writing.
    pub time: Timestamp,
    /// The line as it stands, JSON.
    pub text: String,
    /// The entry; `None` if its kind is unknown to this version.
    pub entry: Option<Entry>,
}

/// Reader of all files of the history.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: StateDir,
    /// Files, oldest first. The last one may still grow.
    files: VecDeque<Tail>,
    damaged: usize,
}

impl Reader {
    /// Opens the history at its oldest line.
    ///
    /// # Errors
    /// If a file exists and cannot be read.
    pub(crate) fn open(dir: StateDir) -> io::Result<Self> {
        let files = begun_since(&dir, None)?;
        Ok(Self { dir, files, damaged: 0 })
    }

    /// Returns the next line; `None` if there is none yet. Damaged lines are skipped and counted.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let last = self.files.len() == 1;
            let Some(file) = self.files.front_mut() else { return Ok(None) };
            let bytes = match file.line()? {
                Some(bytes) => bytes,
                None if last => return Ok(None),
                None => {
                    let torn = mem::take(&mut file.partial);
                    self.files.pop_front();
                    torn
                }
            };
            if let Some(line) = self.parse(bytes) {
                return Ok(Some(line));
            }
        }
    }

    /// Returns the line at the end that has no newline yet. For callers that do not wait for more.
    pub(crate) fn rest(&mut self) -> Option<Line> {
        let bytes = mem::take(&mut self.files.back_mut()?.partial);
        self.parse(bytes)
    }

    /// Finds files that were started since the last look, so that [`Reader::line`] continues with them.
    ///
    /// # Errors
    /// If a file exists and cannot be read.
    pub(crate) fn look_again(&mut self) -> io::Result<()> {
        if let Some(last) = self.files.back_mut() {
            last.rewind_if_cut()?;
        }
        let last = self.files.back().map(|last| last.id);
        self.files.append(&mut begun_since(&self.dir, last)?);
        Ok(())
    }

    /// Returns the number of lines that were skipped because they are torn or no lines of the history.
    pub(crate) fn damaged(&self) -> usize {
        self.damaged
    }

    fn parse(&mut self, bytes: Vec<u8>) -> Option<Line> {
        // The next process ends a torn line, although it may have had its newline.
        if bytes.is_empty() {
            return None;
        }
        let line = parsed(bytes);
        self.damaged += usize::from(line.is_none());
        line
    }
}

fn parsed(bytes: Vec<u8>) -> Option<Line> {
    /// Fields of a line that every version has.
    #[derive(Deserialize)]
    struct Stamp {
        time: Timestamp,
        #[serde(rename = "event")]
        _event: IgnoredAny,
    }
    let text = String::from_utf8(bytes).ok()?;
    let entry: Option<Entry> = serde_json::from_str(&text).ok();
    let time = match &entry {
        Some(entry) => entry.time,
        None => serde_json::from_str::<Stamp>(&text).ok()?.time,
    };
    Some(Line { time, text, entry })
}

/// Returns the files that are newer than a known one, oldest first; all files if none is known.
fn begun_since(dir: &StateDir, known: Option<Id>) -> io::Result<VecDeque<Tail>> {
    let mut files = VecDeque::<Tail>::new();
    // Go from the newest to the oldest: if files are rotated meanwhile, one is met twice, but none is missed.
    for age in 0..=OLD_FILES {
        let file = match dir.open(&file_name(age), OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let id = Id::of(&file.metadata()?);
        if Some(id) == known {
            return Ok(files);
        }
        if files.iter().all(|file| file.id != id) {
            files.push_front(Tail::new(file, id));
        }
    }
    // The known file was removed, so nothing tells which of the others were read. Only the newest is new for certain. A
    // known file that is rotated away between two looks has the same effect, but only if all kept bytes were replaced.
    if known.is_some() && dir.file(HISTORY).exists() {
        files.drain(..files.len().saturating_sub(1));
    } else if known.is_some() {
        files.clear();
    }
    Ok(files)
}

/// Identity of a file, whatever its name is now. Valid while one of the files compared is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    device: u64,
    inode: u64,
}

impl Id {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file that is being read.
#[derive(Debug)]
struct Tail {
    id: Id,
    file: BufReader<File>,
    /// Bytes read so far.
    read: u64,
    /// A line without its newline so far.
    partial: Vec<u8>,
    /// True if that line is too long, and is to be skipped.
    too_long: bool,
}

impl Tail {
    fn new(file: File, id: Id) -> Self {
        Self { id, file: BufReader::new(file), read: 0, partial: Vec::new(), too_long: false }
    }

    /// Returns the next line without its newline.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let room = (LONGEST + 1).saturating_sub(self.partial.len());
            let read = Read::by_ref(&mut self.file).take(room as u64).read_until(b'\n', &mut self.partial)?;
            self.read += read as u64;
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                let line = mem::take(&mut self.partial);
                return Ok(Some(if mem::take(&mut self.too_long) { TOO_LONG.to_owned() } else { line }));
            }
            if self.partial.len() <= LONGEST {
                return Ok(None);
            }
            self.partial.clear();
            self.too_long = true;
        }
    }

    /// Starts over if somebody has truncated the file in place.
    fn rewind_if_cut(&mut self) -> io::Result<()> {
        if self.file.get_ref().metadata()?.len() < self.read {
            self.file.seek(SeekFrom::Start(0))?;
            (self.read, self.partial, self.too_long) = (0, Vec::new(), false);
        }
        Ok(())
    }
}

/// Stand-in for a line that is too long. No entry parses from it.
const TOO_LONG: &[u8] = b"too long";
