//! Store: subscriptions, updates and deliveries, in one SQLite file.
//!
//! Its calls block for as long as the disk does, so they run on the outbox's thread alone. The file may be open in
//! several programs: each change is one transaction.

mod deliveries;
mod schema;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

pub use deliveries::{Claim, Depth, Outcome, Recorded, Refusal};

/// Store of the outbox.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// Failure of the store.
#[derive(Debug)]
pub enum StoreError {
    /// The file cannot be created.
    Create(PathBuf, io::Error),
    /// The file is damaged. It is left as it is.
    Damaged(PathBuf, String),
    /// A newer backsoon wrote the file.
    Newer(PathBuf, i64),
    /// A limit is reached.
    Full(&'static str, i64),
    /// A value cannot be written as JSON.
    Json(serde_json::Error),
    /// SQLite has failed: the file is locked, the disk is full.
    Sqlite(rusqlite::Error),
}

impl Store {
    /// Opens a file, and creates it if it is missing.
    ///
    /// # Errors
    /// If it cannot be opened, is damaged, or is of a newer backsoon. It is never repaired or replaced.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Secrets stand in it. SQLite gives the same rights to its journal.
        let mut options = OpenOptions::new();
        let created = options.create(true).truncate(false).write(true).mode(0o600).open(path);
        created.map_err(|error| StoreError::Create(path.to_owned(), error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        let damaged = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                StoreError::Damaged(path.to_owned(), error.to_string())
            }
            _ => StoreError::Sqlite(error),
        };
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(damaged)?;
        if found != "ok" {
            return Err(StoreError::Damaged(path.to_owned(), found));
        }
        schema::prepare(&mut connection, path)?;
        Ok(Self { connection })
    }

    /// Removes what nobody needs any more, and gives the space back.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn prune(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let ago = |days: u64| millis(now) - i64::try_from(days * 86_400_000).unwrap_or(i64::MAX);
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute("DELETE FROM deliveries WHERE state <> 'due' AND finished < ?1", [ago(DAYS_OF_DELIVERIES)])?;
        change.execute(
            "DELETE FROM updates WHERE at < ?1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
             WHERE d.incident = updates.incident AND d.sequence = updates.sequence)",
            [ago(DAYS_OF_DELIVERIES)],
        )?;
        let unconfirmed = "DELETE FROM subscriptions WHERE state = 'unconfirmed' AND created < ?1";
        change.execute(unconfirmed, [ago(DAYS_UNCONFIRMED)])?;
        change.execute("DELETE FROM audit WHERE at < ?1", [ago(DAYS_OF_AUDIT)])?;
        change.commit()?;
        self.connection.execute_batch("PRAGMA incremental_vacuum")?;
        Ok(())
    }

    /// Begins a change that is on the disk when it is committed.
    fn durably(&mut self) -> Result<rusqlite::Transaction<'_>, StoreError> {
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Begins a change that survives the end of this process, and may be lost with the machine: then something is sent
    /// a second time.
    fn swiftly(&mut self) -> Result<rusqlite::Transaction<'_>, StoreError> {
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(path, _) => write!(f, "{} cannot be created", path.display()),
            Self::Damaged(path, found) => {
                write!(f, "{} is damaged ({found}); restore it from an export, or move it away", path.display())
            }
            Self::Newer(path, version) => write!(
                f,
                "{} has version {version}, and this backsoon knows versions up to {}; install the newer one again",
                path.display(),
                schema::VERSION
            ),
            Self::Full(what, most) => write!(f, "the store has {most} {what}, and takes no more"),
            Self::Json(_) => f.write_str("a value cannot be written"),
            Self::Sqlite(_) => f.write_str("the store cannot be read or written"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create(_, error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Sqlite(error) => Some(error),
            Self::Damaged(..) | Self::Newer(..) | Self::Full(..) => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// Returns an instant as the store writes it.
fn millis(instant: Timestamp) -> i64 {
    instant.as_millisecond()
}

/// Name of the file in the state directory.
pub const FILE: &str = ".subscribers.sqlite";

/// Time for which another program may keep the file locked.
const PATIENCE: Duration = Duration::from_secs(2);
const DAYS_OF_DELIVERIES: u64 = 30;
const DAYS_UNCONFIRMED: u64 = 7;
const DAYS_OF_AUDIT: u64 = 365;
