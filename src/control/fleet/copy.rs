//! Copy of the last good text on this machine's disk, for a start while the engine is away.

use std::fs::OpenOptions;
use std::io::Read as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::author::Author;
use crate::files::source::Hash;
use crate::files::write;

use super::super::state::StateDir;
use super::{Document, MOST_TEXT, Revision};

/// Copy of the last good text. It belongs to one place: the copy of another engine's text is none.
#[derive(Debug)]
pub(crate) struct GoodCopy {
    dir: StateDir,
    place: String,
    /// Revision and hash of the text that was saved last.
    saved: Option<(Revision, Hash)>,
    /// Reason why the last text could not be saved.
    trouble: Option<String>,
}

/// Text of a copy, and the time when it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Text.
    pub document: Document,
    /// Time.
    pub taken: Timestamp,
}

/// Content of the file.
#[derive(Serialize, Deserialize)]
struct File {
    version: u64,
    source: String,
    /// Number of the revision, if it is one.
    number: Option<u64>,
    /// Word of the revision otherwise.
    tag: Option<String>,
    taken: Timestamp,
    by: Option<Author>,
    sha256: String,
    text: String,
}

impl GoodCopy {
    /// Creates the copy of the text of a place. Reads nothing.
    pub(crate) fn new(dir: StateDir, place: String) -> Self {
        Self { dir, place, saved: None, trouble: None }
    }

    /// Reads the copy; `None` if there is none that can be used.
    pub(crate) fn load(&self) -> Option<Copied> {
        let file = self.dir.open(ENDING, OpenOptions::new().read(true)).ok()?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        let file: File = serde_json::from_slice(&bytes).ok()?;
        let is_whole = Hash::of(file.text.as_bytes()).to_string() == file.sha256;
        if file.version != VERSION || file.source != self.place || !is_whole {
            return None;
        }
        let revision = match file.number {
            Some(number) => Revision::Number(number),
            None => Revision::Tag(file.tag.unwrap_or_default()),
        };
        Some(Copied { document: Document { text: file.text.into(), revision, by: file.by }, taken: file.taken })
    }

    /// Saves a text that was taken, unless it is saved already. A failure is logged once.
    pub(crate) fn save(&mut self, document: &Document) {
        let key = (document.revision.clone(), Hash::of(&document.text));
        if self.saved.as_ref() == Some(&key) {
            return;
        }
        match self.write(document, key.1) {
            Ok(()) => (self.saved, self.trouble) = (Some(key), None),
            Err(why) => {
                if self.trouble.as_ref() != Some(&why) {
                    let file = self.dir.file(ENDING);
                    tracing::warn!(path = %file.display(), %why, "the last good flags cannot be kept for a restart");
                }
                self.trouble = Some(why);
            }
        }
    }

    /// Returns the reason why the last text could not be saved.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn write(&self, document: &Document, hash: Hash) -> Result<(), String> {
        let (number, tag) = match &document.revision {
            Revision::Number(number) => (Some(*number), None),
            Revision::Tag(tag) => (None, Some(tag.clone())),
        };
        // What was taken is a flag file, and so is UTF-8.
        let text = String::from_utf8(document.text.to_vec()).map_err(|error| error.to_string())?;
        let file = File {
            version: VERSION,
            source: self.place.clone(),
            number,
            tag,
            taken: Timestamp::now(),
            by: document.by.clone(),
            sha256: hash.to_string(),
            text,
        };
        let bytes = serde_json::to_vec(&file).map_err(|error| error.to_string())?;
        self.dir.make().map_err(|error| error.to_string())?;
        let written = write::privately(&self.dir.file(ENDING), &bytes);
        written.map_err(|error| crate::outbox::told::told(&error))
    }
}

/// Ending of the file's name.
const ENDING: &str = ".flags.json";
const VERSION: u64 = 1;
/// Bytes that are read: a text in which each byte is escaped, and the rest.
const LARGEST: u64 = 6 * MOST_TEXT as u64 + 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("backsoon.toml"), Some(&dir.path().join("state")), None);
        let mut copy = GoodCopy::new(state.clone(), "nats://a/b/c".to_owned());
        assert_eq!(copy.load(), None);
        let by = Some(Author::Tool { tool: "kubectl-edit".to_owned() });
        let document = Document { text: "[routes]\nä = \"offline\"\n".into(), revision: Revision::Number(9), by };
        copy.save(&document);
        assert_eq!(copy.load().map(|copied| copied.document), Some(document.clone()));
        let other = GoodCopy::new(state.clone(), "nats://a/b/other".to_owned());
        assert_eq!(other.load(), None, "of another place");
        let tagged = Document { revision: Revision::Tag("\"x\"".to_owned()), ..document };
        copy.save(&tagged);
        assert_eq!(copy.load().map(|copied| copied.document), Some(tagged));
        let file = state.file(ENDING);
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, whole.replace("offline", "OFFLINE")).unwrap();
        assert_eq!(copy.load(), None, "damaged");
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(copy.load(), None, "torn");
        assert!(copy.trouble().is_none());
    }

    #[test]
    fn a_copy_that_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("state");
        std::fs::write(&blocked, "a file in the place of the directory").unwrap();
        let state = StateDir::new(&dir.path().join("backsoon.toml"), Some(&blocked), None);
        let mut copy = GoodCopy::new(state, "nats://a/b/c".to_owned());
        copy.save(&Document { text: "".into(), revision: Revision::Number(1), by: None });
        assert!(copy.trouble().is_some());
    }
}
