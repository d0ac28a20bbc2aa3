//! Subscriptions in the file.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::super::super::subscription::{Channel, Order, State, Subscription};
use super::super::super::token::Uid;
use super::super::limits::{MOST_SUBSCRIPTIONS, host, proof_wait};
use super::super::{StoreError, millis};
use super::SqliteStore;

impl SqliteStore {
    /// Adds a subscription, and returns its number. A known address keeps its state and its secret, and takes the new
    /// wishes.
    ///
    /// # Errors
    /// If the store is full or cannot be written.
    pub fn subscribe(&mut self, order: &Order, secret: &str, state: State, now: Timestamp) -> Result<i64, StoreError> {
        let wishes = serde_json::to_string(order)?;
        let change = self.durably()?;
        let count: i64 = change.query_row("SELECT count(*) FROM subscriptions", [], |row| row.get(0))?;
        if count >= MOST_SUBSCRIPTIONS {
            return Err(StoreError::Full("subscriptions", MOST_SUBSCRIPTIONS));
        }
        let id = change.query_row(
            "INSERT INTO subscriptions (channel, address, host, wishes, secret, state, created, uid) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (channel, address) DO UPDATE SET wishes = excluded.wishes RETURNING id",
            (
                order.channel.as_str(),
                &order.address,
                host(order),
                wishes,
                secret,
                state.as_str(),
                millis(now),
                Uid::new().to_string(),
            ),
            |row| row.get(0),
        )?;
        note(&change, now, "subscribed", id)?;
        change.commit()?;
        Ok(id)
    }

    /// Adds the subscriptions of an export, all or none, and returns how many are new. Known addresses stay as they are.
    ///
    /// # Errors
    /// If the store is full or cannot be written.
    pub fn import(&mut self, all: &[Subscription], now: Timestamp) -> Result<usize, StoreError> {
        let change = self.durably()?;
        let mut added = 0;
        for one in all {
            let statement = "INSERT OR IGNORE INTO subscriptions (channel, address, host, wishes, secret, state, created, uid) \
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let order = &one.order;
            let (wishes, created) = (serde_json::to_string(order)?, millis(one.created));
            let (channel, state) = (order.channel.as_str(), one.state.as_str());
            let row = (channel, &order.address, host(order), wishes, &one.secret, state, created, one.uid.to_string());
            if change.execute(statement, row)? > 0 {
                added += 1;
                note(&change, now, "imported", change.last_insert_rowid())?;
            }
        }
        let count: i64 = change.query_row("SELECT count(*) FROM subscriptions", [], |row| row.get(0))?;
        if count > MOST_SUBSCRIPTIONS {
            return Err(StoreError::Full("subscriptions", MOST_SUBSCRIPTIONS));
        }
        change.commit()?;
        Ok(added)
    }

    /// Makes a subscription active: its endpoint has proved that it wants messages, or an operator says so. Returns
    /// false if there is no such subscription.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn activate(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let change = self.durably()?;
        let statement = "UPDATE subscriptions SET state = 'active', failures = 0, failing_since = NULL WHERE id = ?1";
        let found = change.execute(statement, [id])? > 0;
        if found {
            note(&change, now, "activated", id)?;
        }
        change.commit()?;
        Ok(found)
    }

    /// Removes a subscription and all that it was still to be told. Returns false if there is none.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn remove(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let change = self.durably()?;
        let found = change.execute("DELETE FROM subscriptions WHERE id = ?1", [id])? > 0;
        if found {
            note(&change, now, "removed", id)?;
        }
        change.commit()?;
        Ok(found)
    }

    /// Finds a subscription.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn find(&self, id: i64) -> Result<Option<Subscription>, StoreError> {
        let statement = format!("SELECT {COLUMNS} FROM subscriptions WHERE id = ?1");
        Ok(self.connection.query_row(&statement, [id], |row| read(row, 0)).optional()?.flatten())
    }

    /// Returns all subscriptions, oldest first. A channel of a newer backsoon is left out.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn subscriptions(&self) -> Result<Vec<Subscription>, StoreError> {
        let mut statement = self.connection.prepare(&format!("SELECT {COLUMNS} FROM subscriptions ORDER BY id"))?;
        let found: Result<Vec<_>, _> = statement.query_map([], |row| read(row, 0))?.collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// Returns endpoints that shall be asked now for their proof, and puts their next turn off: each failure doubles
    /// the wait.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn claim_proofs(&mut self, now: Timestamp, most: usize) -> Result<Vec<Subscription>, StoreError> {
        let change = self.swiftly()?;
        let found: Vec<Subscription> = {
            let statement = format!(
                "SELECT {COLUMNS} FROM subscriptions WHERE state = 'unconfirmed' AND channel = 'webhook' AND proof_due <= ?1 \
                 ORDER BY proof_due LIMIT ?2"
            );
            let mut statement = change.prepare(&statement)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let found: Result<Vec<_>, _> = statement.query_map([millis(now), most], |row| read(row, 0))?.collect();
            found?.into_iter().flatten().collect()
        };
        for one in &found {
            let statement = "UPDATE subscriptions SET proof_due = ?2, failures = failures + 1 WHERE id = ?1";
            change.execute(statement, [one.id, millis(now) + proof_wait(one.failures)])?;
        }
        change.commit()?;
        Ok(found)
    }
}

/// Writes a line of the audit.
pub(super) fn note(change: &Transaction<'_>, now: Timestamp, action: &str, id: i64) -> Result<(), StoreError> {
    let statement = "INSERT INTO audit (at, action, subscription) VALUES (?1, ?2, ?3)";
    change.execute(statement, (millis(now), action, id))?;
    Ok(())
}

/// Reads [`COLUMNS`] of a row, which begin at an index; `None` if this backsoon does not know its channel or its state.
pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Subscription>> {
    let (channel, wishes, state): (String, String, String) = (row.get(at + 1)?, row.get(at + 3)?, row.get(at + 5)?);
    let known = Channel::find(&channel).zip(State::find(&state));
    let Some(((channel, state), order)) = known.zip(serde_json::from_str::<Order>(&wishes).ok()) else {
        return Ok(None);
    };
    Ok(Some(Subscription {
        id: row.get(at)?,
        uid: Uid::parse(&row.get::<_, String>(at + 9)?).unwrap_or_default(),
        order: Order { channel, address: row.get(at + 2)?, ..order },
        secret: row.get(at + 4)?,
        state,
        created: Timestamp::from_millisecond(row.get(at + 6)?).unwrap_or(Timestamp::UNIX_EPOCH),
        failures: row.get(at + 7)?,
        last_error: row.get(at + 8)?,
    }))
}

pub(super) const COLUMNS: &str = "subscriptions.id, subscriptions.channel, subscriptions.address, subscriptions.wishes, \
    subscriptions.secret, subscriptions.state, subscriptions.created, subscriptions.failures, subscriptions.last_error, \
    subscriptions.uid";
