//! Journal: what operators are still to be told, in a file of this replica's own.
//!
//! Each replica tells its own events, and must be able to while a database that replicas share is down. So the file is
//! never shared, whatever store the subscribers have.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use crate::plan::notify::OperatorEvent;

use super::sqlite::connect;
use super::{StoreError, millis};

/// Journal that is open. Its calls block for as long as the disk does.
#[derive(Debug)]
pub struct Journal(Mutex<Connection>);

/// Notification that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Number of the row.
    pub row: i64,
    /// Key of the place.
    pub place: String,
    /// Attempts that were begun.
    pub attempts: u32,
    /// Instant at which it was written down.
    pub since: Timestamp,
    /// Event; `None` if this backsoon cannot read it.
    pub event: Option<OperatorEvent>,
}

/// Care with which the begin of an attempt is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// The machine may forget it with a loss of power: then there is one more attempt.
    Little,
    /// The disk has it before the attempt begins: what must not run twice asks for this.
    Much,
}

impl Journal {
    /// Opens a file, and creates it if it is missing.
    ///
    /// # Errors
    /// If it cannot be opened, is damaged, or is of a newer backsoon. It is never repaired or replaced.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        connect(path, &STEPS).map(|connection| Self(Mutex::new(connection)))
    }

    /// Writes notifications down, all or none, each a pair of a place's key and an event. Returns the numbers of their
    /// rows.
    ///
    /// # Errors
    /// If too many wait, or the file cannot be written.
    pub fn add(&self, all: &[(&str, &OperatorEvent)], now: Timestamp) -> Result<Vec<i64>, StoreError> {
        let mut connection = self.connection();
        connection.execute_batch("PRAGMA synchronous = FULL")?;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let waiting: i64 = change.query_row("SELECT count(*) FROM notifications", [], |row| row.get(0))?;
        if waiting.saturating_add(i64::try_from(all.len()).unwrap_or(i64::MAX)) > MOST_WAITING {
            return Err(StoreError::Full("notifications", MOST_WAITING));
        }
        let mut rows = Vec::new();
        for (place, event) in all {
            let event = serde_json::to_string(event)?;
            let statement = "INSERT INTO notifications (place, event, since) VALUES (?1, ?2, ?3)";
            change.execute(statement, (place, event, millis(now)))?;
            rows.push(change.last_insert_rowid());
        }
        change.commit()?;
        Ok(rows)
    }

    /// Notes that an attempt begins, after as many as are named. Returns false if the notification is not ours any more:
    /// another process has begun it, or has told it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&self, row: i64, after: u32, care: Care) -> Result<bool, StoreError> {
        let connection = self.connection();
        connection.execute_batch(match care {
            Care::Little => "PRAGMA synchronous = NORMAL",
            Care::Much => "PRAGMA synchronous = FULL",
        })?;
        let statement = "UPDATE notifications SET attempts = attempts + 1 WHERE id = ?1 AND attempts = ?2";
        Ok(connection.execute(statement, (row, after))? > 0)
    }

    /// Forgets a notification: it was told, or never will be.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&self, row: i64) -> Result<(), StoreError> {
        let connection = self.connection();
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        connection.execute("DELETE FROM notifications WHERE id = ?1", [row])?;
        connection.execute_batch("PRAGMA incremental_vacuum")?;
        Ok(())
    }

    /// Returns what waits, oldest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let connection = self.connection();
        let statement = "SELECT id, place, attempts, since, event FROM notifications ORDER BY id LIMIT ?1";
        let mut statement = connection.prepare(statement)?;
        let found: Result<Vec<_>, _> = statement
            .query_map([MOST_WAITING], |row| {
                let event: String = row.get(4)?;
                Ok(Waiting {
                    row: row.get(0)?,
                    place: row.get(1)?,
                    attempts: row.get(2)?,
                    since: Timestamp::from_millisecond(row.get(3)?).unwrap_or(Timestamp::UNIX_EPOCH),
                    event: serde_json::from_str(&event).ok(),
                })
            })?
            .collect();
        Ok(found?)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // Each change is one transaction, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ending of the file's name in the state directory.
pub const ENDING: &str = ".notifications.sqlite";

/// Changes from each version to the next. A number is never given twice, since an older process may still hold it.
const STEPS: [&str; 1] = ["
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    place TEXT NOT NULL,
    event TEXT NOT NULL,
    since INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);
"];

/// Notifications that may wait: as many as all places together take.
const MOST_WAITING: i64 = 4096;
