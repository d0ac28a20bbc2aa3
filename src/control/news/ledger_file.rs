//! The file of the ledger, so that the news outlive the process.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control::state::StateDir;
use crate::files::write;
use crate::plan::news::Ledger;

/// The file of the ledger, beside the state file.
pub(super) struct LedgerFile {
    state: StateDir,
    /// The ledger that was written last.
    written: Option<Ledger>,
    /// The last attempt to write failed.
    fails: bool,
    /// There is a file that cannot be read now, and is left as it is.
    unread: bool,
}

#[derive(Serialize, Deserialize)]
struct Content<L> {
    version: u64,
    ledger: L,
}

/// Version alone, which every version of the file has.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

/// Reason why a ledger was not read.
#[derive(Debug)]
enum Unread {
    /// There is no file.
    None,
    /// The content is no ledger, and never will be.
    Damaged(io::Error),
    /// The file may be read at another time, or by another version.
    Unreadable(io::Error),
}

impl LedgerFile {
    pub(super) fn new(state: StateDir) -> Self {
        Self { state, written: None, fails: false, unread: false }
    }

    /// Reads the ledger of an earlier process; `None` if there is none. A damaged file is put aside. One that cannot be
    /// read stays, and is not written over.
    pub(super) fn load(&mut self) -> Option<Ledger> {
        let file = self.state.file(ENDING).display().to_string();
        match self.read() {
            Ok(ledger) => return self.written.insert(ledger).clone().into(),
            Err(Unread::None) => {}
            Err(Unread::Damaged(error)) => {
                let aside = self.put_aside().map(|path| path.display().to_string());
                tracing::error!(file, aside, %error, "the news of the past cannot be read, and begin anew");
            }
            Err(Unread::Unreadable(error)) => {
                self.unread = true;
                tracing::error!(file, %error, "the news of the past cannot be read, and none are saved until they can be");
            }
        }
        None
    }

    /// Reads a ledger again that could not be read at the start; `None` if it still cannot, or there is none any more.
    pub(super) fn found_again(&mut self) -> Option<Ledger> {
        if !self.unread {
            return None;
        }
        let read = self.read();
        self.unread = matches!(read, Err(Unread::Unreadable(_)));
        if !self.unread {
            tracing::info!(file = %self.state.file(ENDING).display(), "the news of the past can be read again");
        }
        match read {
            Ok(ledger) => self.written.insert(ledger).clone().into(),
            Err(Unread::Damaged(_)) => {
                self.put_aside();
                None
            }
            Err(Unread::None | Unread::Unreadable(_)) => None,
        }
    }

    fn read(&self) -> Result<Ledger, Unread> {
        let opened = self.state.open(ENDING, OpenOptions::new().read(true));
        let file = opened.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound { Unread::None } else { Unread::Unreadable(error) }
        })?;
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(Unread::Unreadable)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Unread::Damaged(io::Error::other("it is larger than any that is written")));
        }
        let damaged = |error: serde_json::Error| Unread::Damaged(error.into());
        let Head { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if version > VERSION {
            let message = format!("its version is {version}, and this program knows {VERSION}");
            return Err(Unread::Unreadable(io::Error::other(message)));
        }
        let content: Content<Ledger> = serde_json::from_slice(&bytes).map_err(damaged)?;
        Ok(content.ledger)
    }

    /// Puts a damaged file aside, beside earlier ones. Once there are as many as are kept, it stays and is written over.
    fn put_aside(&self) -> Option<PathBuf> {
        let file = self.state.file(ENDING);
        let free = ASIDE.iter().map(|ending| self.state.file(ending)).find(|path| path.symlink_metadata().is_err())?;
        std::fs::rename(file, &free).is_ok().then_some(free)
    }

    /// Writes the ledger if it has changed. The first failure is logged, and so is the end of failures.
    pub(super) fn save(&mut self, ledger: &Ledger) {
        if self.unread || self.written.as_ref() == Some(ledger) {
            return;
        }
        let written = self.write(ledger);
        let file = self.state.file(ENDING).display().to_string();
        match (&written, self.fails) {
            (Err(error), false) => tracing::warn!(file, %error, "the news cannot be saved: a restart forgets them"),
            (Ok(()), true) => tracing::info!(file, "the news are saved again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        self.fails = written.is_err();
        if written.is_ok() {
            self.written = Some(ledger.clone());
        }
    }

    fn write(&self, ledger: &Ledger) -> io::Result<()> {
        let text = serde_json::to_string(&Content { version: VERSION, ledger })?;
        if text.len() as u64 > LARGEST {
            return Err(io::Error::other("they are larger than what can be read again"));
        }
        self.state.make()?;
        write::privately(&self.state.file(ENDING), text.as_bytes()).map_err(io::Error::other)
    }
}

const ENDING: &str = ".news.json";
/// Endings of damaged files that were put aside.
const ASIDE: [&str; 3] = [".news.damaged.json", ".news.damaged-2.json", ".news.damaged-3.json"];
const VERSION: u64 = 1;
/// Bytes of the largest file that is read: a thousand incidents with two hundred updates each.
const LARGEST: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::*;

    fn file(dir: &tempfile::TempDir) -> LedgerFile {
        LedgerFile::new(StateDir::new(&dir.path().join("backsoon.toml"), None, None))
    }

    #[test]
    fn a_ledger_is_found_again_and_a_damaged_one_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(file(&dir).load(), None);
        let ledger = ledger();
        file(&dir).save(&ledger);
        assert_eq!(file(&dir).load(), Some(ledger.clone()));
        let path = file(&dir).state.file(ENDING);
        let whole = fs::read(&path).unwrap();
        let huge = [whole.as_slice(), &vec![b' '; usize::try_from(LARGEST).unwrap()]].concat();
        let damaged = [&whole[..whole.len() / 2], b"", huge.as_slice()];
        for content in damaged {
            fs::write(&path, content).unwrap();
            assert_eq!(file(&dir).load(), None);
            file(&dir).save(&ledger);
            assert_eq!(file(&dir).load(), Some(ledger.clone()));
        }
        // One more than is kept.
        fs::write(&path, b"{").unwrap();
        assert_eq!(file(&dir).load(), None);
        for (ending, content) in ASIDE.iter().zip(damaged) {
            assert!(fs::read(file(&dir).state.file(ending)).unwrap() == content, "{ending} is not what it was");
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1 + ASIDE.len());
    }

    #[test]
    fn a_file_that_cannot_be_read_now_is_left_as_it_is_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, path) = (ledger(), file(&dir).state.file(ENDING));
        file(&dir).save(&ledger);
        let whole = fs::read(&path).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":2,\"more\":{}");
        assert_ne!(newer.as_bytes(), whole);
        let unreadable: [(&str, &dyn Fn()); 2] = [
            ("a newer version", &|| fs::write(&path, &newer).unwrap()),
            // Opening it works, and reading does not, for root as well.
            ("a directory", &|| {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }),
        ];
        for (what, make) in unreadable {
            make();
            let mut file = file(&dir);
            assert_eq!(file.load(), None, "{what}");
            file.save(&Ledger::new(Timestamp::UNIX_EPOCH));
            assert_eq!(file.found_again(), None, "{what}");
            assert!(path.is_dir() || fs::read_to_string(&path).unwrap() == newer, "{what} was written over");
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "{what} was put aside");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            fs::write(&path, &whole).unwrap();
            assert_eq!(file.found_again(), Some(ledger.clone()), "{what}");
            assert_eq!(file.found_again(), None, "{what}");
        }
    }

    fn ledger() -> Ledger {
        Ledger::new(Timestamp::from_second(1_800_000_000).unwrap())
    }
}
