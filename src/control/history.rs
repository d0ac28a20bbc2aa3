//! The history: every transition of a route and every edit that was seen, a line of JSON each, appended and flushed to the
//! disk. It is rotated, so that it never grows without bound.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::StateDir;

/// A line of the history.
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
    file: Option<File>,
}

impl History {
    /// Nothing is opened before something is to be written.
    pub fn new(dir: StateDir) -> Self {
        Self { dir, file: None }
    }

    /// Appends, and flushes to the disk.
    ///
    /// # Errors
    /// When the system refuses; the next call tries anew.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        let written = self.write(&lines);
        if written.is_err() {
            self.file = None;
        }
        written
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        if file.metadata()?.len() + lines.len() as u64 > LARGEST {
            drop(file);
            self.rotate()?;
            file = self.open()?;
        }
        file.write_all(lines)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }

    /// Opens the file for appending. A line that was torn, by a crash, is ended: what follows is a line of its own.
    fn open(&self) -> io::Result<File> {
        self.dir.make()?;
        let path = self.dir.file(HISTORY);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }

    fn rotate(&self) -> io::Result<()> {
        let names: Vec<PathBuf> = (0..=OLD_FILES).map(|age| self.dir.file(&named(age))).collect();
        for pair in names.windows(2).rev() {
            match fs::rename(&pair[0], &pair[1]) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        File::open(self.dir.path())?.sync_all()
    }
}

/// What was read of a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Lines that could not be read: torn, or of another version.
    pub unread: usize,
}

/// Reads the whole history.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read(dir: &StateDir) -> io::Result<Recorded> {
    let mut recorded = Recorded::default();
    for age in (0..=OLD_FILES).rev() {
        let file = match File::open(dir.file(&named(age))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file.take(2 * LARGEST)).split(b'\n') {
            let line = line?;
            match serde_json::from_slice(&line) {
                Ok(entry) => recorded.entries.push(entry),
                Err(_) if line.is_empty() => {}
                Err(_) => recorded.unread += 1,
            }
        }
    }
    Ok(recorded)
}

fn named(age: usize) -> String {
    if age == 0 { HISTORY.to_owned() } else { format!("{HISTORY}.{age}") }
}

const HISTORY: &str = ".history.jsonl";
/// Bytes of a file of the history before it is rotated: some ten thousand lines.
const LARGEST: u64 = 4 * 1024 * 1024;
/// Files that are kept behind it.
const OLD_FILES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(generation: u64, why: &str) -> Entry {
        let at = "2026-05-19T14:00:00Z".parse().unwrap();
        let event = Event::Phase {
            route: "web".to_owned(),
            from: "open".to_owned(),
            to: "draining".to_owned(),
            at,
            why: why.to_owned(),
            mode: Some("offline".to_owned()),
            until: None,
            flags: None,
        };
        Entry { time: at, generation, event }
    }

    fn place() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), None, None);
        (dir, state)
    }

    #[test]
    fn what_is_appended_is_read_back_in_order() {
        let (_dir, state) = place();
        let mut history = History::new(state.clone());
        assert_eq!(read(&state).unwrap(), Recorded::default());
        history.append(&[entry(1, "flagged offline"), entry(2, "a\nb\u{1b}")]).unwrap();
        let ended = Entry { event: Event::Ended, ..entry(3, "") };
        History::new(state.clone()).append(std::slice::from_ref(&ended)).unwrap();
        let recorded = read(&state).unwrap();
        assert_eq!(recorded.entries, [entry(1, "flagged offline"), entry(2, "a\nb\u{1b}"), ended]);
        assert_eq!(recorded.unread, 0);
    }

    #[test]
    fn it_is_rotated_and_never_grows_without_bound() {
        let (_dir, state) = place();
        let mut history = History::new(state.clone());
        let long = "x".repeat(1024 * 1024);
        for generation in 0..30 {
            history.append(&[entry(generation, &long)]).unwrap();
        }
        let entries = read(&state).unwrap().entries;
        let generations: Vec<u64> = entries.iter().map(|entry| entry.generation).collect();
        assert_eq!(generations, (30 - generations.len() as u64..30).collect::<Vec<_>>());
        let files: Vec<u64> =
            fs::read_dir(state.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
        assert!(files.len() == OLD_FILES + 1 && files.iter().all(|size| *size <= LARGEST), "{files:?}");
    }

    #[test]
    fn where_it_cannot_be_written_that_is_an_error_and_later_it_is_tried_anew() {
        let (dir, state) = place();
        fs::write(dir.path().join(".backsoon"), "in the way").unwrap();
        let mut history = History::new(state.clone());
        assert!(history.append(&[entry(1, "")]).is_err());
        fs::remove_file(dir.path().join(".backsoon")).unwrap();
        history.append(&[entry(2, "")]).unwrap();
        assert_eq!(read(&state).unwrap().entries.len(), 1);
    }

    proptest! {
        #[test]
        fn a_crash_at_any_byte_loses_no_line_but_the_torn_one(lines in 1..6_u64, torn in 0..400_usize) {
            let (_dir, state) = place();
            let mut history = History::new(state.clone());
            (0..lines).for_each(|generation| history.append(&[entry(generation, "before")]).unwrap());
            let path = state.file(HISTORY);
            let whole = fs::read(&path).unwrap();
            let kept = whole.len().saturating_sub(torn);
            fs::write(&path, &whole[..kept]).unwrap();
            let complete = whole[..kept].iter().filter(|byte| **byte == b'\n').count();
            History::new(state.clone()).append(&[entry(99, "after")]).unwrap();
            let recorded = read(&state).unwrap();
            // A line that lacks nothing but its end is whole.
            prop_assert!((complete + 1..=complete + 2).contains(&recorded.entries.len()));
            prop_assert_eq!(recorded.entries.last().map(|entry| entry.generation), Some(99));
            prop_assert!(recorded.entries.iter().zip(0..).take(complete).all(|(entry, n)| entry.generation == n));
        }
    }
}
