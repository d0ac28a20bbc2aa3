//! Acts of subscribers themselves, in the file.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction};

use super::super::super::subscription::{Order, State, Subscription};
use super::super::super::token::{TokenKey, Uid};
use super::super::limits::{MOST_LETTERS, MOST_SUBSCRIPTIONS, MOST_UNCONFIRMED, host, letter_wait};
use super::super::readers::{Leaving, Whose};
use super::super::{StoreError, millis};
use super::SqliteStore;
use super::subscriptions::{COLUMNS, note, read};

impl SqliteStore {
    /// Returns the key of tokens. A file without one takes the offered one.
    ///
    /// # Errors
    /// If the file cannot be written, or its key is none.
    pub fn token_key(&mut self, offered: &TokenKey) -> Result<TokenKey, StoreError> {
        let change = self.durably()?;
        change.execute("INSERT OR IGNORE INTO secrets VALUES ('tokens', ?1)", [offered.to_text()])?;
        let text: String = change.query_row("SELECT value FROM secrets WHERE name = 'tokens'", [], |row| row.get(0))?;
        change.commit()?;
        TokenKey::parse(&text).ok_or(StoreError::TokenKey)
    }

    /// Notes that somebody wants an address to be told, and that the address shall be asked.
    ///
    /// # Errors
    /// If the file is full or cannot be written.
    pub fn ask(&mut self, order: &Order, secret: &str, now: Timestamp) -> Result<(), StoreError> {
        let change = self.durably()?;
        let known: Option<(i64, String)> = change
            .query_row(
                "SELECT id, state FROM subscriptions WHERE channel = ?1 AND address = ?2",
                (order.channel.as_str(), &order.address),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let wishes = serde_json::to_string(order)?;
        let id = match known {
            None => add(&change, order, &wishes, secret, now)?,
            Some((id, state)) if state == State::Unconfirmed.as_str() => {
                let statement = "UPDATE subscriptions SET wishes = ?2, created = ?3 WHERE id = ?1";
                change.execute(statement, (id, wishes, millis(now)))?;
                id
            }
            Some((_, state)) if state == State::Disabled.as_str() => return Ok(()),
            Some((id, _)) => id,
        };
        if order.channel.is_asked() {
            let statement = "INSERT INTO letters (subscription, due) VALUES (?1, ?2) \
                             ON CONFLICT (subscription) DO UPDATE SET due = excluded.due, attempt = 0";
            change.execute(statement, (id, millis(now)))?;
        }
        note(&change, now, "asked", id)?;
        Ok(change.commit()?)
    }

    /// Finds a subscription by its name in links.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find_uid(&self, uid: Uid) -> Result<Option<Subscription>, StoreError> {
        let statement = format!("SELECT {COLUMNS} FROM subscriptions WHERE uid = ?1");
        Ok(self.connection.query_row(&statement, [uid.to_string()], |row| read(row, 0)).optional()?.flatten())
    }

    /// Makes a subscription active whose owner has confirmed it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn confirm(&mut self, uid: Uid, now: Timestamp) -> Result<bool, StoreError> {
        let statement = "UPDATE subscriptions SET state = 'active', created = ?2, failures = 0, failing_since = NULL \
                         WHERE uid = ?1 AND state IN ('unconfirmed', 'quarantined') RETURNING id";
        self.noted("confirmed", now, |change| {
            change.query_row(statement, (uid.to_string(), millis(now)), |row| row.get(0))
        })
    }

    /// Changes the wishes of a subscription, and moves what waits.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn change(&mut self, uid: Uid, order: &Order, now: Timestamp, digest: Timestamp) -> Result<bool, StoreError> {
        let wishes = serde_json::to_string(order)?;
        let statement = "UPDATE subscriptions SET wishes = ?2 WHERE uid = ?1 RETURNING id";
        self.noted("changed", now, |change| {
            let id = change.query_row(statement, (uid.to_string(), &wishes), |row| row.get(0))?;
            move_waiting(change, id, order, now, digest)?;
            Ok(id)
        })
    }

    /// Removes a subscription and all that is known of it. The audit keeps its number alone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn leave(&mut self, uid: Uid, leaving: Leaving, now: Timestamp) -> Result<bool, StoreError> {
        let statement = "DELETE FROM subscriptions WHERE uid = ?1 RETURNING id";
        self.noted(leaving.as_str(), now, |change| change.query_row(statement, [uid.to_string()], |row| row.get(0)))
    }

    /// Returns readers who shall be asked now, and puts their next turn off.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn claim_letters(
        &mut self,
        whose: Whose,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Subscription>, StoreError> {
        let change = self.swiftly()?;
        let mut claimed = Vec::new();
        {
            let statement = format!(
                "SELECT {COLUMNS}, letters.attempt FROM letters JOIN subscriptions ON subscriptions.id = letters.subscription \
                 WHERE letters.due <= ?1 {} ORDER BY letters.due LIMIT ?2",
                whose.condition("subscriptions.channel")
            );
            let mut statement = change.prepare(&statement)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut rows = statement.query((millis(now), most))?;
            while let Some(row) = rows.next()? {
                let (id, attempt): (i64, i64) = (row.get(0)?, row.get("attempt")?);
                if attempt >= MOST_LETTERS {
                    change.execute("DELETE FROM letters WHERE subscription = ?1", [id])?;
                    continue;
                }
                let statement = "UPDATE letters SET due = ?2, attempt = attempt + 1 WHERE subscription = ?1";
                change.execute(statement, (id, millis(now) + letter_wait(attempt)))?;
                claimed.extend(read(row, 0)?);
            }
        }
        change.commit()?;
        Ok(claimed)
    }

    /// Notes that a reader was asked, or cannot be.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn drop_letter(&mut self, subscription: i64) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM letters WHERE subscription = ?1", [subscription])?;
        Ok(())
    }

    /// Changes a subscription, and notes that in the audit. Returns false if there is none.
    fn noted(
        &mut self,
        action: &str,
        now: Timestamp,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<i64>,
    ) -> Result<bool, StoreError> {
        let change = self.durably()?;
        let Some(id) = act(&change).optional()? else { return Ok(false) };
        note(&change, now, action, id)?;
        change.commit()?;
        Ok(true)
    }
}

/// Moves what waits to the pace of an order. What is under way stays: it is told already, or soon.
fn move_waiting(
    change: &Transaction<'_>,
    id: i64,
    order: &Order,
    now: Timestamp,
    digest: Timestamp,
) -> rusqlite::Result<()> {
    let (now, digest) = (millis(now), millis(digest));
    if order.is_digest() {
        let statement = "UPDATE deliveries SET digest = ?3, due = ?3 \
                         WHERE subscription = ?1 AND state = 'due' AND digest = 0 AND claimed_until <= ?2";
        change.execute(statement, [id, now, digest])?;
    } else {
        let statement = "UPDATE deliveries SET digest = 0, due = min(due, ?2) \
                         WHERE subscription = ?1 AND state = 'due' AND digest > 0 AND claimed_until <= ?2";
        change.execute(statement, [id, now])?;
    }
    Ok(())
}

/// Adds a subscription that waits for its proof.
fn add(change: &Transaction<'_>, order: &Order, wishes: &str, secret: &str, now: Timestamp) -> Result<i64, StoreError> {
    let counts = "SELECT count(*), count(*) FILTER (WHERE state = 'unconfirmed') FROM subscriptions";
    let (all, unconfirmed): (i64, i64) = change.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if all >= MOST_SUBSCRIPTIONS {
        return Err(StoreError::Full("subscriptions", MOST_SUBSCRIPTIONS));
    }
    if unconfirmed >= MOST_UNCONFIRMED {
        return Err(StoreError::Full("subscriptions without a confirmation", MOST_UNCONFIRMED));
    }
    let statement = "INSERT INTO subscriptions (channel, address, host, wishes, secret, state, created, uid) \
                     VALUES (?1, ?2, ?3, ?4, ?5, 'unconfirmed', ?6, ?7) RETURNING id";
    let (channel, uid) = (order.channel.as_str(), Uid::new().to_string());
    let row = (channel, &order.address, host(order), wishes, secret, millis(now), uid);
    Ok(change.query_row(statement, row, |row| row.get(0))?)
}
