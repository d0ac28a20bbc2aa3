//! The reading end: line by line over all files of the history, oldest first, and on from there as it grows.
//!
//! It takes no lock and needs no writer. A file that is rotated away while it is read is read to its end.

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

/// A line of the history that can be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// When it was written.
    pub time: Timestamp,
    /// What stands there, JSON.
    pub text: String,
    /// What it tells; `None` if it is of a kind that this version does not know.
    pub entry: Option<Entry>,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: StateDir,
    /// Oldest first; the last one may still grow.
    files: VecDeque<Tail>,
    damaged: usize,
}

impl Reader {
    /// Begins with the oldest line there is.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub(crate) fn open(dir: StateDir) -> io::Result<Self> {
        let files = begun_since(&dir, None)?;
        Ok(Self { dir, files, damaged: 0 })
    }

    /// The next line; `None` if there is none, for now. Damaged ones are left out, and counted.
    ///
    /// # Errors
    /// When a file cannot be read.
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

    /// What stands behind the last line's end, for who does not wait for more: a line that lacks nothing but its end is
    /// whole.
    pub(crate) fn rest(&mut self) -> Option<Line> {
        let bytes = mem::take(&mut self.files.back_mut()?.partial);
        self.parse(bytes)
    }

    /// Finds the files that were partial since, so that [`Reader::line`] goes on with them.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub(crate) fn look_again(&mut self) -> io::Result<()> {
        if let Some(last) = self.files.back_mut() {
            last.rewind_if_cut()?;
        }
        let last = self.files.back().map(|last| last.id);
        self.files.append(&mut begun_since(&self.dir, last)?);
        Ok(())
    }

    /// How many lines were left out, because they are torn or not the history's.
    pub(crate) fn damaged(&self) -> usize {
        self.damaged
    }

    fn parse(&mut self, bytes: Vec<u8>) -> Option<Line> {
        // A torn line is ended by the next process, and it may have had its end.
        if bytes.is_empty() {
            return None;
        }
        let line = parsed(bytes);
        self.damaged += usize::from(line.is_none());
        line
    }
}

fn parsed(bytes: Vec<u8>) -> Option<Line> {
    /// What the line of every version has.
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

/// The files that are younger than one that was known, oldest first; all of them, if none was.
fn begun_since(dir: &StateDir, known: Option<Id>) -> io::Result<VecDeque<Tail>> {
    let mut files = VecDeque::<Tail>::new();
    // The youngest first: if they are rotated meanwhile, one is met twice, and none is missed.
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
    // The known one was removed: which of the others were read before it cannot be told, and only the youngest is new for
    // certain. (Rotated away within one look, it would be the same; that takes as many bytes as are kept.)
    if known.is_some() && dir.file(HISTORY).exists() {
        files.drain(..files.len().saturating_sub(1));
    } else if known.is_some() {
        files.clear();
    }
    Ok(files)
}

/// Which file it is, whatever its name is by now. It tells files apart that are open, or one of which is.
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

/// A file, as far as it was read.
#[derive(Debug)]
struct Tail {
    id: Id,
    file: BufReader<File>,
    /// Bytes that were read.
    read: u64,
    /// A line whose end was not met yet.
    partial: Vec<u8>,
    /// Whether that line is longer than any of ours: then it is passed over.
    too_long: bool,
}

impl Tail {
    fn new(file: File, id: Id) -> Self {
        Self { id, file: BufReader::new(file), read: 0, partial: Vec::new(), too_long: false }
    }

    /// The next line, without its end.
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

    /// Somebody may have emptied it in place.
    fn rewind_if_cut(&mut self) -> io::Result<()> {
        if self.file.get_ref().metadata()?.len() < self.read {
            self.file.seek(SeekFrom::Start(0))?;
            (self.read, self.partial, self.too_long) = (0, Vec::new(), false);
        }
        Ok(())
    }
}

/// What is read in place of a line that is too long: no entry.
const TOO_LONG: &[u8] = b"too long";
