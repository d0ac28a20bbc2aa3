//! Progress of the sender, and that of another replica's.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::super::progress::{KEPT, MOST_UPDATES, Progress, Reader, Readers, ToldUpdate};
use super::super::{StoreError, millis};
use super::SqliteStore;

/// Update of the file, by which its deliveries are found.
struct Row {
    incident: String,
    sequence: u32,
    key: String,
    at: Timestamp,
    /// True if its incident was over then.
    is_last: bool,
}

/// Delivery that waits.
struct Wait {
    delivery: i64,
    reader: Reader,
    by_digest: bool,
}

impl SqliteStore {
    /// Returns which updates were told, and to whom not yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn progress(&self, now: Timestamp) -> Result<Progress, StoreError> {
        let mut updates = Vec::new();
        // Newest first, so that the end of an incident comes before all else of it.
        let mut ends = BTreeMap::new();
        for row in self.updates_since(now, "1")? {
            if row.is_last {
                ends.entry(row.incident.clone()).or_insert(row.at);
            }
            let over = ends.get(&row.incident).copied();
            let waits = self.waits(&row)?;
            let digest = waits.iter().any(|wait| wait.by_digest) && !self.has_begun_digest(&row)?;
            let waiting = waits.into_iter().filter(|wait| !(digest && wait.by_digest)).map(|wait| wait.reader);
            updates.push(ToldUpdate { waiting: waiting.collect(), digest, over, key: row.key, at: row.at });
        }
        Ok(Progress { updates, readers: Some(self.readers()?) })
    }

    /// Ends the deliveries that another replica has made, and returns their number.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn take_over(&mut self, told: &Progress, now: Timestamp) -> Result<usize, StoreError> {
        let waits = "EXISTS (SELECT 1 FROM deliveries AS d WHERE d.incident = updates.incident \
                     AND d.sequence = updates.sequence AND d.state = 'due')";
        let mut done = Vec::new();
        for row in self.updates_since(now, waits)? {
            let Some(told) = told.updates.iter().find(|update| update.is(&row.key, row.at, row.is_last)) else {
                continue;
            };
            let waits = self.waits(&row)?.into_iter();
            done.extend(waits.filter(|wait| told.reached(&wait.reader, wait.by_digest)).map(|wait| wait.delivery));
        }
        if done.is_empty() {
            return Ok(0);
        }
        let change = self.swiftly()?;
        for delivery in &done {
            let statement = "UPDATE deliveries SET state = 'done', last_error = NULL, finished = ?2, claimed_until = 0 \
                             WHERE id = ?1 AND state = 'due'";
            change.execute(statement, [*delivery, millis(now)])?;
        }
        change.commit()?;
        Ok(done.len())
    }

    /// Returns the updates that may still be told to somebody and for which a condition holds, newest first.
    fn updates_since(&self, now: Timestamp, condition: &str) -> Result<Vec<Row>, StoreError> {
        let statement = format!(
            "SELECT incident, sequence, json_extract(notice, '$.update.key'), at, \
             json_extract(notice, '$.update.stage') IN ('over', 'cancelled') FROM updates WHERE at > ?1 AND {condition} \
             ORDER BY at DESC, sequence DESC LIMIT ?2"
        );
        let mut statement = self.connection.prepare(&statement)?;
        let since = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        let limit = i64::try_from(MOST_UPDATES).unwrap_or(i64::MAX);
        let found: Result<Vec<_>, _> = statement
            .query_map([millis(since), limit], |row| {
                let at = Timestamp::from_millisecond(row.get(3)?).unwrap_or(Timestamp::UNIX_EPOCH);
                Ok(Row { incident: row.get(0)?, sequence: row.get(1)?, key: row.get(2)?, at, is_last: row.get(4)? })
            })?
            .collect();
        Ok(found?)
    }

    fn waits(&self, row: &Row) -> Result<Vec<Wait>, StoreError> {
        let statement = "SELECT d.id, s.channel, s.address, d.digest > 0 FROM deliveries AS d \
                         JOIN subscriptions AS s ON s.id = d.subscription \
                         WHERE d.incident = ?1 AND d.sequence = ?2 AND d.state = 'due'";
        let mut statement = self.connection.prepare(statement)?;
        let found: Result<Vec<_>, _> = statement
            .query_map((&row.incident, row.sequence), |row| {
                let (channel, address): (String, String) = (row.get(1)?, row.get(2)?);
                let reader = Reader::new(&channel, &address);
                Ok(Wait { delivery: row.get(0)?, reader, by_digest: row.get(3)? })
            })?
            .collect();
        Ok(found?)
    }

    /// Returns true if a digest with an update was sent to anybody.
    fn has_begun_digest(&self, row: &Row) -> Result<bool, StoreError> {
        let statement = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE incident = ?1 AND sequence = ?2 \
                         AND digest > 0 AND state <> 'due')";
        Ok(self.connection.query_row(statement, (&row.incident, row.sequence), |row| row.get(0))?)
    }

    /// Returns the subscribers who have confirmed.
    fn readers(&self) -> Result<Readers, StoreError> {
        let statement = "SELECT channel, address FROM subscriptions WHERE state <> 'unconfirmed'";
        let mut statement = self.connection.prepare(statement)?;
        let names: Result<BTreeSet<_>, _> = statement
            .query_map([], |row| Ok(Reader::new(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)))?
            .collect();
        Ok(Readers::new(&names?))
    }
}
