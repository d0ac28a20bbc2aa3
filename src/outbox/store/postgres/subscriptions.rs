//! Subscriptions in the database.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::super::subscription::{Channel, Order, State, Subscription};
use super::super::super::token::Uid;
use super::super::limits::{MOST_SUBSCRIPTIONS, host, proof_wait};
use super::super::{StoreError, millis};
use super::change::Change;
use super::change::Value;
use super::change::Value::{Int, Ints, Text, Texts};
use super::{CALL, LONG_CALL, PostgresStore, Weight};

impl PostgresStore {
    /// Adds a subscription, and returns its number. A known address keeps its state and its secret, and takes the new
    /// wishes.
    ///
    /// # Errors
    /// If the store is full or cannot be written.
    pub async fn subscribe(
        &mut self,
        order: &Order,
        secret: &str,
        state: State,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let (wishes, host) = (serde_json::to_string(order)?, host(order));
        let (channel, address, state) = (order.channel.as_str(), order.address.as_str(), state.as_str());
        self.change(Weight::Durable, CALL, async |change| {
            if count(change).await? >= MOST_SUBSCRIPTIONS {
                return Err(StoreError::Full("subscriptions", MOST_SUBSCRIPTIONS));
            }
            let statement = "INSERT INTO subscriptions (channel, address, host, wishes, secret, state, created, uid) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                             ON CONFLICT (channel, address) DO UPDATE SET wishes = excluded.wishes RETURNING id";
            let uid = Uid::new().to_string();
            let known = [Text(channel), Text(address), Text(&host), Text(&wishes), Text(secret), Text(state)];
            let values: Vec<Value<'_>> = known.into_iter().chain([Int(millis(now)), Text(&uid)]).collect();
            let id = change.row(statement, &values).await?.try_get(0)?;
            note(change, now, "subscribed", id).await?;
            Ok(id)
        })
        .await
    }

    /// Adds the subscriptions of an export, all or none, and returns how many are new. Known addresses stay as they are.
    ///
    /// # Errors
    /// If the store is full or cannot be written.
    pub async fn import(&mut self, all: &[Subscription], now: Timestamp) -> Result<usize, StoreError> {
        self.change(Weight::Durable, LONG_CALL, async |change| {
            let mut added = 0;
            for some in all.chunks(CHUNK) {
                added += import_some(change, some, now).await?;
            }
            if count(change).await? > MOST_SUBSCRIPTIONS {
                return Err(StoreError::Full("subscriptions", MOST_SUBSCRIPTIONS));
            }
            Ok(added)
        })
        .await
    }

    /// Makes a subscription active. Returns false if there is no such subscription.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn activate(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let statement = "UPDATE subscriptions SET state = 'active', failures = 0, failing_since = NULL WHERE id = $1";
        self.noted("activated", statement, id, now).await
    }

    /// Removes a subscription and all that it was still to be told. Returns false if there is none.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn remove(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        self.noted("removed", "DELETE FROM subscriptions WHERE id = $1", id, now).await
    }

    /// Finds a subscription.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn find(&mut self, id: i64) -> Result<Option<Subscription>, StoreError> {
        self.change(Weight::Swift, CALL, async |change| {
            let statement = format!("SELECT {COLUMNS} FROM subscriptions AS s WHERE id = $1");
            let found = change.any_row(&statement, &[Int(id)]).await?;
            Ok(found.map(|row| read(&row)).transpose()?.flatten())
        })
        .await
    }

    /// Returns all subscriptions, oldest first. A channel of a newer backsoon is left out.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn subscriptions(&mut self) -> Result<Vec<Subscription>, StoreError> {
        self.change(Weight::Swift, LONG_CALL, async |change| {
            let statement = format!("SELECT {COLUMNS} FROM subscriptions AS s ORDER BY id");
            known(&change.rows(&statement, &[]).await?)
        })
        .await
    }

    /// Returns endpoints that shall be asked now for their proof, and puts their next turn off. No other replica gets
    /// them.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn claim_proofs(&mut self, now: Timestamp, most: usize) -> Result<Vec<Subscription>, StoreError> {
        let (instant, most) = (millis(now), i64::try_from(most).unwrap_or(i64::MAX));
        self.change(Weight::Swift, CALL, async |change| {
            let statement = format!(
                "SELECT {COLUMNS} FROM subscriptions AS s WHERE state = 'unconfirmed' AND channel = 'webhook' \
                 AND proof_due <= $1 ORDER BY proof_due, id LIMIT $2 FOR UPDATE SKIP LOCKED"
            );
            let found = known(&change.rows(&statement, &[Int(instant), Int(most)]).await?)?;
            for one in &found {
                let statement = "UPDATE subscriptions SET proof_due = $2, failures = failures + 1 WHERE id = $1";
                let next = instant + proof_wait(one.failures);
                change.run(statement, &[Int(one.id), Int(next)]).await?;
            }
            Ok(found)
        })
        .await
    }

    /// Changes a subscription, and notes that in the audit. Returns false if there is none.
    async fn noted(&mut self, action: &str, statement: &str, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        self.change(Weight::Durable, CALL, async |change| {
            let found = change.run(statement, &[Int(id)]).await? > 0;
            if found {
                note(change, now, action, id).await?;
            }
            Ok(found)
        })
        .await
    }
}

/// Adds some subscriptions of an export, and returns how many are new.
async fn import_some(change: Change<'_>, some: &[Subscription], now: Timestamp) -> Result<usize, StoreError> {
    let column = |of: fn(&Subscription) -> &str| some.iter().map(of).collect::<Vec<_>>();
    let (channels, addresses) = (column(|one| one.order.channel.as_str()), column(|one| &one.order.address));
    let (secrets, states) = (column(|one| &one.secret), column(|one| one.state.as_str()));
    let hosts: Vec<String> = some.iter().map(|one| host(&one.order)).collect();
    let wishes: Vec<String> = some.iter().map(|one| serde_json::to_string(&one.order)).collect::<Result<_, _>>()?;
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let wishes: Vec<&str> = wishes.iter().map(String::as_str).collect();
    let uids: Vec<String> = some.iter().map(|one| one.uid.to_string()).collect();
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    let created: Vec<i64> = some.iter().map(|one| millis(one.created)).collect();
    let statement = "WITH added AS (INSERT INTO subscriptions (channel, address, host, wishes, secret, state, created, uid) \
                     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING id) \
                     INSERT INTO audit (at, action, subscription) SELECT $9, 'imported', id FROM added";
    let values = [
        Texts(&channels),
        Texts(&addresses),
        Texts(&hosts),
        Texts(&wishes),
        Texts(&secrets),
        Texts(&states),
        Ints(&created),
        Texts(&uids),
        Int(millis(now)),
    ];
    let added = change.run(statement, &values).await?;
    Ok(usize::try_from(added).unwrap_or(usize::MAX))
}

async fn count(change: Change<'_>) -> Result<i64, StoreError> {
    Ok(change.row("SELECT count(*) FROM subscriptions", &[]).await?.try_get(0)?)
}

/// Writes a line of the audit.
pub(super) async fn note(change: Change<'_>, now: Timestamp, action: &str, id: i64) -> Result<(), StoreError> {
    let statement = "INSERT INTO audit (at, action, subscription) VALUES ($1, $2, $3)";
    change.run(statement, &[Int(millis(now)), Text(action), Int(id)]).await?;
    Ok(())
}

/// Reads the rows that this backsoon knows.
pub(super) fn known(rows: &[Row]) -> Result<Vec<Subscription>, StoreError> {
    let all: Result<Vec<_>, _> = rows.iter().map(read).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// Reads [`COLUMNS`] of a row; `None` if this backsoon does not know its channel or its state.
pub(super) fn read(row: &Row) -> Result<Option<Subscription>, StoreError> {
    let (channel, wishes, state): (&str, &str, &str) =
        (row.try_get("channel")?, row.try_get("wishes")?, row.try_get("state")?);
    let known = Channel::find(channel).zip(State::find(state));
    let Some(((channel, state), order)) = known.zip(serde_json::from_str::<Order>(wishes).ok()) else {
        return Ok(None);
    };
    let failures: i64 = row.try_get("failures")?;
    Ok(Some(Subscription {
        id: row.try_get("subscription")?,
        uid: Uid::parse(row.try_get("uid")?).unwrap_or_default(),
        order: Order { channel, address: row.try_get("address")?, ..order },
        secret: row.try_get("secret")?,
        state,
        created: Timestamp::from_millisecond(row.try_get("created")?).unwrap_or(Timestamp::UNIX_EPOCH),
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
        last_error: row.try_get("last_error")?,
    }))
}

pub(super) const COLUMNS: &str = "s.id AS subscription, s.channel, s.address, s.wishes, s.secret, s.state, s.created, \
    s.failures, s.last_error, s.uid";

/// Subscriptions that are written at a time.
const CHUNK: usize = 1000;
