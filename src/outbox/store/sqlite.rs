//! Store in one SQLite file.
//!
//! Its calls block for as long as the disk does, so they run on the outbox's thread alone. The file may be open in
//! several programs: each change is one transaction.

mod deliveries;
mod progress;
mod readers;
mod schema;
mod subscriptions;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::limits::{DAYS_OF_AUDIT, DAYS_OF_DELIVERIES, DAYS_UNCONFIRMED};
use super::{StoreError, millis};

/// File that is open.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) connection: Connection,
}

impl SqliteStore {
    /// Opens a file, and creates it if it is missing.
    ///
    /// # Errors
    /// If it cannot be opened, is damaged, or is of a newer backsoon. It is never repaired or replaced.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        connect(path, &schema::STEPS).map(|connection| Self { connection })
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
        change.execute("DELETE FROM letters WHERE due < ?1", [ago(DAYS_UNCONFIRMED)])?;
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

/// Opens a file, creates it if it is missing, and brings it to the last version of a schema.
///
/// # Errors
/// If it cannot be opened, is damaged, or is of a newer backsoon. It is never repaired or replaced.
pub(super) fn connect(path: &Path, steps: &[&str]) -> Result<Connection, StoreError> {
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
    schema::prepare(&mut connection, path, steps)?;
    Ok(connection)
}

/// Time for which another program may keep the file locked.
const PATIENCE: Duration = Duration::from_secs(2);
