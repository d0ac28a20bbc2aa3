//! The history: one line of JSON for each transition of a route and each edit that was seen.
//!
//! Lines are appended and flushed to the disk. Files are rotated, so that the history is bounded.
//!
//! Texts in the history come from files and from upstreams. Make them harmless before they reach a terminal.

mod reader;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::StateDir;

pub use crate::files::author::Author;

pub(crate) use reader::{Line, Reader};

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Time of writing.
    pub time: Timestamp,
    /// The generation that was live then.
    pub generation: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// An event that is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The proxy started.
    Started {
        /// The version of the proxy.
        version: String,
        /// The process id.
        pid: u32,
    },
    /// The proxy was asked to end.
    Ended,
    /// Entries could not be written, for example because the disk was full.
    Gap {
        /// Number of the entries.
        entries: u64,
        /// Time of the first.
        from: Timestamp,
        /// Time of the last.
        to: Timestamp,
    },
    /// A file was seen with another content.
    Edit {
        /// The path of the file.
        file: String,
        /// The role of the file: `config`, `flags` or another.
        role: String,
        /// The SHA-256 of the content.
        #[serde(skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// True if the content was taken.
        taken: bool,
        /// Author of the content, as far as the file tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Author>,
        /// Errors and warnings in the content.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<String>,
    },
    /// A route went from one phase into another.
    Phase {
        /// The name of the route.
        route: String,
        /// The phase before.
        from: String,
        /// The phase after.
        to: String,
        /// Begin of the new phase, which may be earlier than the time when it was noticed.
        at: Timestamp,
        /// The reason for the transition.
        why: String,
        /// The mode that clients meet, unless the route is open.
        #[serde(skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        /// `flag`, `window` with its id, `guard` or `lost state`, unless the route is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// Time at which the route opens by itself, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The SHA-256 of the flag file in force.
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<String>,
        /// Requests in the phases before, with a transition by which clients come back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requests: Option<ClosureCounts>,
    },
}

/// Requests that a maintenance concerned, as this process counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosureCounts {
    /// Time from which they are counted: the begin, or the start of a process that was started later.
    pub since: Timestamp,
    /// Requests answered with the page.
    pub refused: u64,
    /// Requests that waited.
    pub held: u64,
    /// Requests broken off because the drain time was over.
    pub lost: u64,
}

/// Writer of the history.
#[derive(Debug)]
pub struct History {
    dir: StateDir,
    /// Bytes of a file before it is rotated. Tests use less than [`LARGEST`].
    largest: usize,
}

impl History {
    /// Creates a writer. Opens no file yet.
    pub fn new(dir: StateDir) -> Self {
        Self { dir, largest: LARGEST }
    }

    /// Returns the path of the file that is written now.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.file(HISTORY)
    }

    /// Appends entries, and flushes them to the disk.
    ///
    /// # Errors
    /// If the system refuses. The next call tries again.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            let line = line(entry)?;
            if lines.len() + line.len() > self.largest && !lines.is_empty() {
                self.write(&lines)?;
                lines.clear();
            }
            lines.extend_from_slice(&line);
        }
        if lines.is_empty() { Ok(()) } else { self.write(&lines) }
    }

    /// Writes lines to the file, which is opened each time: it may have been rotated or removed by somebody else.
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let (mut file, mut length) = self.open()?;
        if length > 0 && length + lines.len() as u64 > self.largest as u64 {
            drop(file);
            self.rotate()?;
            (file, length) = self.open()?;
        }
        file.write_all(lines)?;
        file.sync_data()?;
        if length == 0 { self.flush_names() } else { Ok(()) }
    }

    /// Opens the file for appending. Ends a line that a crash has torn, so that the next one starts fresh.
    fn open(&self) -> io::Result<(File, u64)> {
        self.dir.make()?;
        let mut file = self.dir.open(HISTORY, OpenOptions::new().read(true).append(true).create(true))?;
        let length = file.seek(SeekFrom::End(0))?;
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok((file, length))
    }

    fn rotate(&self) -> io::Result<()> {
        let names: Vec<PathBuf> = (0..=OLD_FILES).map(|age| self.dir.file(&file_name(age))).collect();
        for pair in names.windows(2).rev() {
            match fs::rename(&pair[0], &pair[1]) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.flush_names()
    }

    /// Flushes the directory. After a crash, a file is lost if its name is not on the disk.
    fn flush_names(&self) -> io::Result<()> {
        File::open(self.dir.path())?.sync_all()
    }
}

/// Encodes an entry as a line with its newline. An entry too long to be read back is shortened.
fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry)?;
    if line.len() > LONGEST {
        line = serde_json::to_vec(&Entry { event: shortened(&entry.event), ..entry.clone() })?;
    }
    line.push(b'\n');
    Ok(line)
}

fn shortened(event: &Event) -> Event {
    let cut = |text: &str| match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let mut event = event.clone();
    match &mut event {
        Event::Edit { problems, .. } => {
            let more = problems.len().saturating_sub(MOST_PROBLEMS);
            *problems = problems.iter().take(MOST_PROBLEMS).map(|problem| cut(problem)).collect();
            if more > 0 {
                problems.push(format!("and {more} more"));
            }
        }
        Event::Phase { why, .. } => *why = cut(why),
        Event::Started { .. } | Event::Ended | Event::Gap { .. } => {}
    }
    event
}

fn file_name(age: usize) -> String {
    if age == 0 { HISTORY.to_owned() } else { format!("{HISTORY}.{age}") }
}

const HISTORY: &str = ".history.jsonl";
/// Bytes of a file before it is rotated: about ten thousand lines.
const LARGEST: usize = 4 * 1024 * 1024;
/// Rotated files that are kept.
const OLD_FILES: usize = 4;
/// Bytes of a line. Most lines have a few hundred.
const LONGEST: usize = 256 * 1024;
/// Problems, and characters of a text, that a shortened entry keeps.
const MOST_PROBLEMS: usize = 20;
const LONGEST_TEXT: usize = 1000;

#[cfg(test)]
mod tests;
