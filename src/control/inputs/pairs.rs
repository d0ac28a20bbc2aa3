//! Pairs of a certificate and its key that do not fit for a moment, because one of the two files was written first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::status::PendingStatus;

/// State of the pair that is awaited.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    key: PathBuf,
    since: Timestamp,
    due: Instant,
}

impl Pairs {
    /// Takes in the key that does not fit, if there is one. Returns true as long as the other half may be on its way.
    pub(super) fn await_other_half(&mut self, key: Option<PathBuf>) -> bool {
        let Some(key) = key else {
            self.awaited = None;
            return false;
        };
        if self.is_due() {
            self.awaited = None;
            return false;
        }
        self.awaited.get_or_insert_with(|| Awaited { key, since: Timestamp::now(), due: Instant::now() + PATIENCE });
        true
    }

    /// Ends the wait, because all pairs fit, or because the other half alone would not help.
    pub(super) fn forget(&mut self) {
        self.awaited = None;
    }

    /// Returns the instant at which the wait ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.awaited.as_ref().map(|awaited| awaited.due)
    }

    /// Returns true if the wait has ended.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Returns the wait for a key file's certificate, if there is one.
    pub(super) fn pending(&self, file: &Path) -> Option<PendingStatus> {
        let awaited = self.awaited.as_ref().filter(|awaited| awaited.key == file)?;
        let why = "the key does not belong to its certificate yet".to_owned();
        Some(PendingStatus { since: Some(awaited.since), why })
    }
}

/// Longest time between the writes of a certificate and its key. A renewal needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
