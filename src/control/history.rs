//! The history: every transition of a route and every edit that was seen, a line of JSON each, appended and flushed to the
//! disk. It is rotated, so that it never grows without bound.
//!
//! What it tells came from files and from upstreams: it is data, and never fit for a terminal as it is.

mod reader;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::StateDir;

pub(crate) use reader::{Line, Reader};

/// What a line of the history tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written.
    pub time: Timestamp,
    /// The generation that was live then.
    pub generation: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The proxy started.
    Started {
        /// Its version.
        version: String,
        /// Its process.
        pid: u32,
    },
    /// It was told to end.
    Ended,
    /// A file was seen with another content.
    Edit {
        /// Which.
        file: String,
        /// `config`, `flags` or another.
        role: String,
        /// Of the content: SHA-256.
        #[serde(skip_serializing_if = "Option::is_none")]
        hash: Option<String>,
        /// Whether it is in force.
        taken: bool,
        /// What is wrong with it, or remarked upon.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<String>,
    },
    /// A route went from one phase into another.
    Phase {
        /// Its name.
        route: String,
        /// Where it was.
        from: String,
        /// Where it is then.
        to: String,
        /// Since when, which may be earlier than it was noticed.
        at: Timestamp,
        /// Why.
        why: String,
        /// What clients meet, if it is not open.
        #[serde(skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        /// When it lifts by itself, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The flag file that was in force: SHA-256.
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<String>,
    },
}

/// The writing end.
#[derive(Debug)]
pub struct History {
    dir: StateDir,
    /// Bytes of a file; tests take less than [`LARGEST`].
    largest: usize,
}

impl History {
    /// Nothing is opened before something is to be written.
    pub fn new(dir: StateDir) -> Self {
        Self { dir, largest: LARGEST }
    }

    /// Appends, and flushes to the disk.
    ///
    /// # Errors
    /// When the system refuses; the next call tries anew.
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

    /// The file is opened each time: another process may have rotated it, or somebody may have removed it.
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

    /// Opens the file for appending. A line that was torn, by a crash, is ended: what follows is a line of its own.
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

    /// A file whose name is not on the disk is lost with a crash, however well its content is kept.
    fn flush_names(&self) -> io::Result<()> {
        File::open(self.dir.path())?.sync_all()
    }
}

/// An entry as a line, with its end. One that would be too long to be read back says less.
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
        Event::Started { .. } | Event::Ended => {}
    }
    event
}

fn file_name(age: usize) -> String {
    if age == 0 { HISTORY.to_owned() } else { format!("{HISTORY}.{age}") }
}

const HISTORY: &str = ".history.jsonl";
/// Bytes of a file of the history before it is rotated: some ten thousand lines.
const LARGEST: usize = 4 * 1024 * 1024;
/// Files that are kept behind it.
const OLD_FILES: usize = 4;
/// Bytes of a line. Most have some hundreds.
const LONGEST: usize = 256 * 1024;
/// Problems and characters of a text that are kept of an entry that is longer.
const MOST_PROBLEMS: usize = 20;
const LONGEST_TEXT: usize = 1000;

#[cfg(test)]
mod tests;
