//! Acts of subscribers themselves, in the database.

use jiff::Timestamp;

use super::super::super::subscription::{Order, State, Subscription};
use super::super::super::token::{TokenKey, Uid};
use super::super::limits::{MOST_LETTERS, MOST_SUBSCRIPTIONS, MOST_UNCONFIRMED, host, letter_wait};
use super::super::readers::{Leaving, Whose};
use super::super::{StoreError, millis};
use super::change::Change;
use super::change::Value::{self, Int, Text};
use super::subscriptions::{COLUMNS, note, read};
use super::{CALL, PostgresStore, Weight};

impl PostgresStore {
    /// Returns the key of tokens, which all replicas share.
    ///
    /// # Errors
    /// If the store cannot be written, or its key is none.
    pub async fn token_key(&mut self, offered: &TokenKey) -> Result<TokenKey, StoreError> {
        let text = self.secret("tokens", &offered.to_text()).await?;
        TokenKey::parse(&text).ok_or(StoreError::TokenKey)
    }

    /// Notes that somebody wants an address to be told, and that the address shall be asked.
    ///
    /// # Errors
    /// If the store is full or cannot be written, also if another replica notes the same at the same time.
    pub async fn ask(&mut self, order: &Order, secret: &str, now: Timestamp) -> Result<(), StoreError> {
        let wishes = serde_json::to_string(order)?;
        self.change(Weight::Durable, CALL, async |change| {
            let statement = "SELECT id, state FROM subscriptions WHERE channel = $1 AND address = $2 FOR UPDATE";
            let known = change.any_row(statement, &[Text(order.channel.as_str()), Text(&order.address)]).await?;
            let id = match known {
                None => add(change, order, &wishes, secret, now).await?,
                Some(row) => {
                    let (id, state): (i64, &str) = (row.try_get(0)?, row.try_get(1)?);
                    if state == State::Disabled.as_str() {
                        return Ok(());
                    }
                    if state == State::Unconfirmed.as_str() {
                        let statement = "UPDATE subscriptions SET wishes = $2, created = $3 WHERE id = $1";
                        change.run(statement, &[Int(id), Text(&wishes), Int(millis(now))]).await?;
                    }
                    id
                }
            };
            if order.channel.is_asked() {
                let statement = "INSERT INTO letters (subscription, due) VALUES ($1, $2) \
                                 ON CONFLICT (subscription) DO UPDATE SET due = excluded.due, attempt = 0";
                change.run(statement, &[Int(id), Int(millis(now))]).await?;
            }
            note(change, now, "asked", id).await
        })
        .await
    }

    /// Finds a subscription by its name in links.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn find_uid(&mut self, uid: Uid) -> Result<Option<Subscription>, StoreError> {
        self.change(Weight::Swift, CALL, async |change| {
            let statement = format!("SELECT {COLUMNS} FROM subscriptions AS s WHERE uid = $1");
            let found = change.any_row(&statement, &[Text(&uid.to_string())]).await?;
            Ok(found.map(|row| read(&row)).transpose()?.flatten())
        })
        .await
    }

    /// Makes a subscription active whose owner has confirmed it.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn confirm(&mut self, uid: Uid, now: Timestamp) -> Result<bool, StoreError> {
        let statement = "UPDATE subscriptions SET state = 'active', created = $2, failures = 0, failing_since = NULL \
                         WHERE uid = $1 AND state IN ('unconfirmed', 'quarantined') RETURNING id";
        self.act("confirmed", statement, &[Text(&uid.to_string()), Int(millis(now))], now).await
    }

    /// Changes the wishes of a subscription, and moves what waits.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn change_wishes(
        &mut self,
        uid: Uid,
        order: &Order,
        now: Timestamp,
        digest: Timestamp,
    ) -> Result<bool, StoreError> {
        let wishes = serde_json::to_string(order)?;
        self.change(Weight::Durable, CALL, async |change| {
            let statement = "UPDATE subscriptions SET wishes = $2 WHERE uid = $1 RETURNING id";
            let values = [Text(&uid.to_string()), Text(&wishes)];
            let Some(row) = change.any_row(statement, &values).await? else { return Ok(false) };
            let id = row.try_get(0)?;
            move_waiting(change, id, order, (now, digest)).await?;
            note(change, now, "changed", id).await?;
            Ok(true)
        })
        .await
    }

    /// Removes a subscription and all that is known of it. The audit keeps its number alone.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn leave(&mut self, uid: Uid, leaving: Leaving, now: Timestamp) -> Result<bool, StoreError> {
        let statement = "DELETE FROM subscriptions WHERE uid = $1 RETURNING id";
        self.act(leaving.as_str(), statement, &[Text(&uid.to_string())], now).await
    }

    /// Returns readers who shall be asked now, and puts their next turn off. No other replica gets them.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn claim_letters(
        &mut self,
        whose: Whose,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Subscription>, StoreError> {
        let (instant, most) = (millis(now), i64::try_from(most).unwrap_or(i64::MAX));
        self.change(Weight::Swift, CALL, async |change| {
            let statement = format!(
                "SELECT {COLUMNS}, l.attempt FROM letters AS l JOIN subscriptions AS s ON s.id = l.subscription \
                 WHERE l.due <= $1 {} ORDER BY l.due, s.id LIMIT $2 FOR UPDATE OF l SKIP LOCKED",
                whose.condition("s.channel")
            );
            let mut claimed = Vec::new();
            for row in change.rows(&statement, &[Int(instant), Int(most)]).await? {
                let (id, attempt): (i64, i64) = (row.try_get("subscription")?, row.try_get("attempt")?);
                if attempt >= MOST_LETTERS {
                    change.run("DELETE FROM letters WHERE subscription = $1", &[Int(id)]).await?;
                    continue;
                }
                let statement = "UPDATE letters SET due = $2, attempt = attempt + 1 WHERE subscription = $1";
                change.run(statement, &[Int(id), Int(instant + letter_wait(attempt))]).await?;
                claimed.extend(read(&row)?);
            }
            Ok(claimed)
        })
        .await
    }

    /// Notes that a reader was asked, or cannot be.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn drop_letter(&mut self, subscription: i64) -> Result<(), StoreError> {
        self.change(Weight::Swift, CALL, async |change| {
            change.run("DELETE FROM letters WHERE subscription = $1", &[Int(subscription)]).await?;
            Ok(())
        })
        .await
    }

    /// Changes a subscription, and notes that in the audit. Returns false if there is none.
    async fn act(
        &mut self,
        action: &str,
        statement: &str,
        values: &[Value<'_>],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change(Weight::Durable, CALL, async |change| {
            let Some(row) = change.any_row(statement, values).await? else { return Ok(false) };
            note(change, now, action, row.try_get(0)?).await?;
            Ok(true)
        })
        .await
    }
}

/// Moves what waits to the pace of an order, at an instant and with the one of the next digest. What is under way stays:
/// it is told already, or soon.
async fn move_waiting(
    change: Change<'_>,
    id: i64,
    order: &Order,
    (now, digest): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    let (now, digest) = (millis(now), millis(digest));
    if order.is_digest() {
        let statement = "UPDATE deliveries SET digest = $3, due = $3 \
                         WHERE subscription = $1 AND state = 'due' AND digest = 0 AND claimed_until <= $2";
        change.run(statement, &[Int(id), Int(now), Int(digest)]).await?;
    } else {
        let statement = "UPDATE deliveries SET digest = 0, due = least(due, $2) \
                         WHERE subscription = $1 AND state = 'due' AND digest > 0 AND claimed_until <= $2";
        change.run(statement, &[Int(id), Int(now)]).await?;
    }
    Ok(())
}

/// Adds a subscription that waits for its proof.
async fn add(change: Change<'_>, order: &Order, wishes: &str, secret: &str, now: Timestamp) -> Result<i64, StoreError> {
    let counts = "SELECT count(*), count(*) FILTER (WHERE state = 'unconfirmed') FROM subscriptions";
    let row = change.row(counts, &[]).await?;
    let (all, unconfirmed): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if all >= MOST_SUBSCRIPTIONS {
        return Err(StoreError::Full("subscriptions", MOST_SUBSCRIPTIONS));
    }
    if unconfirmed >= MOST_UNCONFIRMED {
        return Err(StoreError::Full("subscriptions without a confirmation", MOST_UNCONFIRMED));
    }
    let statement = "INSERT INTO subscriptions (channel, address, host, wishes, secret, state, created, uid) \
                     VALUES ($1, $2, $3, $4, $5, 'unconfirmed', $6, $7) RETURNING id";
    let (host, uid) = (host(order), Uid::new().to_string());
    let known = [Text(order.channel.as_str()), Text(&order.address), Text(&host), Text(wishes), Text(secret)];
    let values: Vec<Value<'_>> = known.into_iter().chain([Int(millis(now)), Text(&uid)]).collect();
    Ok(change.row(statement, &values).await?.try_get(0)?)
}
