//! The file of the ledger, so that the news outlive the process.

use std::fs::OpenOptions;
use std::io::{self, Read};

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
}

#[derive(Serialize, Deserialize)]
struct Content<L> {
    version: u64,
    ledger: L,
}

impl LedgerFile {
    pub(super) fn new(state: StateDir) -> Self {
        Self { state, written: None, fails: false }
    }

    /// Reads the ledger of an earlier process; `None` if there is none. A file that cannot be read is put aside.
    pub(super) fn load(&mut self) -> Option<Ledger> {
        match self.read() {
            Ok(ledger) => self.written.insert(ledger).clone().into(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let (file, aside) = (self.state.file(ENDING), self.state.file(ASIDE));
                let kept = std::fs::rename(&file, &aside).is_ok();
                let (file, aside) = (file.display().to_string(), kept.then(|| aside.display().to_string()));
                tracing::error!(file, aside, %error, "the news of the past cannot be read, and begin anew");
                None
            }
        }
    }

    fn read(&self) -> io::Result<Ledger> {
        let file = self.state.open(ENDING, OpenOptions::new().read(true))?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        let content: Content<Ledger> = serde_json::from_slice(&bytes)?;
        if content.version == VERSION { Ok(content.ledger) } else { Err(io::Error::other("its version is not known")) }
    }

    /// Writes the ledger if it has changed. The first failure is logged, and so is the end of failures.
    pub(super) fn save(&mut self, ledger: &Ledger) {
        if self.written.as_ref() == Some(ledger) {
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
        self.state.make()?;
        write::privately(&self.state.file(ENDING), text.as_bytes()).map_err(io::Error::other)
    }
}

const ENDING: &str = ".news.json";
const ASIDE: &str = ".news.damaged.json";
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
        let ledger = Ledger::new(Timestamp::from_second(1_800_000_000).unwrap());
        file(&dir).save(&ledger);
        assert_eq!(file(&dir).load(), Some(ledger.clone()));
        let path = file(&dir).state.file(ENDING);
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{\"version\":99,\"ledger\":{}}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(file(&dir).load(), None);
            assert_eq!(fs::read(file(&dir).state.file(ASIDE)).unwrap(), damaged, "nothing is lost");
            file(&dir).save(&ledger);
            assert_eq!(file(&dir).load(), Some(ledger.clone()));
        }
    }
}
