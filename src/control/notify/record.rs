//! Record of notifications, by which a crash, or the end of the process, loses none.
//!
//! A record that cannot be written stops nothing: then notifications are in memory alone, and the log says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::control::state::StateDir;
use crate::outbox::store::StoreError;
use crate::outbox::store::journal::{Care, ENDING, Journal, Waiting};
use crate::outbox::told::told;
use crate::plan::config::Destination;
use crate::plan::news::Key;
use crate::plan::notify::OperatorEvent;

/// Record of this process.
pub(super) struct Record {
    state: StateDir,
    journal: Option<Arc<Journal>>,
    is_failing: bool,
}

/// Row of a notification, until it is told.
#[derive(Debug)]
pub(super) struct Row {
    journal: Arc<Journal>,
    number: i64,
    /// Attempts that were begun.
    pub(super) attempts: u32,
}

/// Reason why a notification of an earlier process is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// The place is in the config no more.
    NoPlace,
    /// A newer backsoon wrote it.
    Unreadable,
    /// The program may have begun, and must not begin twice.
    MayHaveRun,
}

impl Record {
    pub(super) fn new(state: StateDir) -> Self {
        Self { state, journal: None, is_failing: false }
    }

    /// Writes notifications down. Returns a row for each, or none at all.
    pub(super) fn add(&mut self, all: &[(&str, &OperatorEvent)]) -> Vec<Row> {
        let rows = self.journal().and_then(|journal| {
            let rows = journal.add(all, Timestamp::now())?;
            Ok(rows.into_iter().map(|number| Row { journal: Arc::clone(&journal), number, attempts: 0 }).collect())
        });
        let failed = self.note(rows.as_ref().err());
        if failed { Vec::new() } else { rows.unwrap_or_default() }
    }

    /// Returns what an earlier process has left, oldest first.
    pub(super) fn left(&mut self) -> Vec<(Waiting, Row)> {
        let found = self.journal().and_then(|journal| {
            let row = |one: &Waiting| Row { journal: Arc::clone(&journal), number: one.row, attempts: one.attempts };
            Ok(journal.waiting()?.into_iter().map(|one| (row(&one), one)).map(|(row, one)| (one, row)).collect())
        });
        let failed = self.note(found.as_ref().err());
        if failed { Vec::new() } else { found.unwrap_or_default() }
    }

    /// Returns the journal, which is opened when it is needed first.
    fn journal(&mut self) -> Result<Arc<Journal>, StoreError> {
        if let Some(journal) = &self.journal {
            return Ok(Arc::clone(journal));
        }
        let path = self.state.file(ENDING);
        self.state.make().map_err(|error| StoreError::Create(path.clone(), error))?;
        let journal = Arc::new(Journal::open(&path)?);
        self.journal = Some(Arc::clone(&journal));
        Ok(journal)
    }

    /// Logs a failure, once until there is none. Returns true if there is one.
    fn note(&mut self, failure: Option<&StoreError>) -> bool {
        let was_failing = std::mem::replace(&mut self.is_failing, failure.is_some());
        if let Some(error) = failure.filter(|_| !was_failing) {
            tracing::error!(error = told(error), "notifications are not recorded, and would not survive a crash");
        }
        failure.is_some()
    }
}

impl Row {
    /// Notes that an attempt begins. Returns false if another process has the notification.
    pub(super) fn begin(&mut self, to: &Destination) -> bool {
        // A message may come twice, with the same id. A migration must not.
        let care = if matches!(to, Destination::Exec(_)) { Care::Much } else { Care::Little };
        let begun = self.journal.begin(self.number, self.attempts, care);
        self.attempts += 1;
        begun.unwrap_or_else(|error| {
            tracing::warn!(error = told(&error), "an attempt to notify is not recorded");
            true
        })
    }

    /// Forgets the notification.
    pub(super) fn end(self) {
        if let Err(error) = self.journal.end(self.number) {
            tracing::warn!(error = told(&error), "a notification is not forgotten, and may be sent again");
        }
    }
}

impl GivenUp {
    /// Returns the reason in words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoPlace => "an earlier process left it, and its place is not in the config any more",
            Self::Unreadable => "an earlier process left it, of another version",
            Self::MayHaveRun => {
                "the process ended while the program ran, or was about to; look whether it has done its work, since it is \
                 not run twice without `retries`"
            }
        }
    }
}

/// Decides on a notification that an earlier process left to a place.
pub(super) fn resume(to: &Destination, attempts: u32, retries: u32) -> Result<(), GivenUp> {
    match to {
        Destination::Exec(_) if attempts > retries => Err(GivenUp::MayHaveRun),
        Destination::Exec(_) | Destination::Hook(..) | Destination::Mail(_) => Ok(()),
    }
}

/// Returns the age from which a notification is dropped. A message says when it was; a migration that starts late may
/// meet the next shift.
pub(super) fn oldest(to: &Destination, is_left: Left) -> Duration {
    match (to, is_left) {
        (Destination::Hook(..) | Destination::Mail(_), Left::ByEarlierProcess) => OLDEST_LEFT,
        (Destination::Exec(_), Left::ByEarlierProcess) | (_, Left::Not) => STALE,
    }
}

/// Origin of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// This process made it.
    Not,
    /// An earlier process left it.
    ByEarlierProcess,
}

/// Returns how long ago an instant was.
pub(super) fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since).max(SignedDuration::ZERO)).unwrap_or_default()
}

/// Returns the key by which a place is known again. Its secret does not stand in the file.
pub(super) fn key(to: &Destination) -> Key {
    match to {
        Destination::Hook(channel, url) => {
            let target = url.target.as_str();
            Key::of(&["place", channel.as_str(), &url.authority(), target])
        }
        Destination::Mail(address) => Key::of(&["place", "mail", address]),
        Destination::Exec(path) => Key::of(&["place", "exec", &path.to_string_lossy()]),
    }
}

/// Age at which a notification is dropped.
const STALE: Duration = Duration::from_mins(15);
/// Age at which a message that an earlier process left is dropped.
const OLDEST_LEFT: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_may_have_run_runs_again_only_if_it_may_be_repeated() {
        let (program, mail) = (Destination::Exec("/bin/true".into()), Destination::Mail("a@example.com".to_owned()));
        for (to, attempts, retries, expected) in [
            (&program, 0, 0, Ok(())),
            (&program, 1, 0, Err(GivenUp::MayHaveRun)),
            (&program, 1, 1, Ok(())),
            (&program, 2, 1, Err(GivenUp::MayHaveRun)),
            (&mail, 7, 4, Ok(())),
        ] {
            assert_eq!(resume(to, attempts, retries), expected, "{to}, {attempts} of {retries}");
        }
    }

    #[test]
    fn a_place_is_known_by_all_that_leads_to_it_and_its_secret_is_hidden() {
        let all = ["slack:https://a.example/secret", "slack:https://a.example/other", "ntfy:https://a.example/secret"];
        let keys: Vec<String> = all.iter().map(|to| key(&Destination::parse(to).unwrap()).to_string()).collect();
        assert!(keys[0] != keys[1] && keys[0] != keys[2], "{keys:?}");
        assert!(keys.iter().all(|key| !key.contains("secret")));
    }
}
