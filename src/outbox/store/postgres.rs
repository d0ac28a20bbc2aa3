//! Store in a PostgreSQL database, which replicas share.
//!
//! Each call is one transaction and has a time-out. A connection that has failed is dropped, and the next call opens
//! another one, with ever longer waits while that fails. Replicas find each other by the rows alone: what one has locked
//! or claimed, the others pass over.

mod change;
mod deliveries;
mod link;
mod readers;
mod schema;
mod subscriptions;
#[cfg(test)]
mod tests;
mod tls;

use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use crate::plan::config::PostgresConfig;

use super::limits::{DAYS_OF_AUDIT, DAYS_OF_DELIVERIES, DAYS_UNCONFIRMED};
use super::{StoreError, millis};

use change::Change;
use change::Value::{Int, Text};
use link::Link;

/// Database, and the connection to it.
#[derive(Debug)]
pub struct PostgresStore {
    config: PostgresConfig,
    tls: ClientConfig,
    /// Connection; `None` before the first call, after a failure, and during a call: one that is dropped halfway leaves
    /// no transaction open.
    link: Option<Link>,
    /// Attempts to connect that have failed in a row.
    failures: u32,
    /// Last failure, and the instant before which there is no other attempt.
    rest: Option<(Instant, String)>,
}

/// Weight of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// On the disk when it is committed.
    Durable,
    /// May be lost with the machine of the database: then something is sent a second time.
    Swift,
}

impl PostgresStore {
    /// Creates a store. The first call connects.
    pub fn new(config: PostgresConfig, tls: ClientConfig) -> Self {
        Self { config, tls, link: None, failures: 0, rest: None }
    }

    /// Returns the secret with a name, which all replicas share. The first one to ask gives it.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn secret(&mut self, name: &str, own: &str) -> Result<String, StoreError> {
        self.change(Weight::Durable, CALL, async |change| {
            let statement = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            change.run(statement, &[Text(name), Text(own)]).await?;
            let found = change.row("SELECT value FROM secrets WHERE name = $1", &[Text(name)]).await?;
            Ok(found.try_get(0)?)
        })
        .await
    }

    /// Removes what nobody needs any more.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn prune(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let ago = |days: u64| millis(now) - i64::try_from(days * 86_400_000).unwrap_or(i64::MAX);
        self.change(Weight::Swift, LONG_CALL, async |change| {
            let delete = async |statement: &str, before: i64| change.run(statement, &[Int(before)]).await;
            delete("DELETE FROM deliveries WHERE state <> 'due' AND finished < $1", ago(DAYS_OF_DELIVERIES)).await?;
            let updates = "DELETE FROM updates WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM deliveries AS d \
                           WHERE d.incident = updates.incident AND d.sequence = updates.sequence)";
            delete(updates, ago(DAYS_OF_DELIVERIES)).await?;
            let unconfirmed = "DELETE FROM subscriptions WHERE state = 'unconfirmed' AND created < $1";
            delete(unconfirmed, ago(DAYS_UNCONFIRMED)).await?;
            delete("DELETE FROM letters WHERE due < $1", ago(DAYS_UNCONFIRMED)).await?;
            delete("DELETE FROM audit WHERE at < $1", ago(DAYS_OF_AUDIT)).await?;
            Ok(())
        })
        .await
    }

    /// Runs a change in a transaction of its own. If it fails or is dropped, nothing has changed; if the connection ends
    /// during the commit, either is possible.
    async fn change<T>(
        &mut self,
        weight: Weight,
        patience: Duration,
        work: impl AsyncFnOnce(Change<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let link = self.connect().await?;
        let run = async {
            link.begin(weight, patience).await?;
            let result = work(Change(&link.client)).await?;
            link.client.batch_execute("COMMIT").await?;
            Ok(result)
        };
        let result = timeout(patience, run).await.unwrap_or(Err(StoreError::Slow(patience)));
        let is_usable = match &result {
            Ok(_) => true,
            // The database has not failed. What was begun is undone.
            Err(StoreError::Full(..) | StoreError::Json(_)) => link.undo().await,
            Err(_) => false,
        };
        self.link = is_usable.then_some(link);
        result
    }

    /// Returns the connection, after opening one if there is none.
    async fn connect(&mut self) -> Result<Link, StoreError> {
        if let Some(link) = self.link.take().filter(|link| !link.client.is_closed()) {
            return Ok(link);
        }
        if let Some((until, cause)) = &self.rest
            && Instant::now() < *until
        {
            return Err(StoreError::Away(self.config.to_string(), cause.clone()));
        }
        match Link::open(&self.config, &self.tls).await {
            Ok(link) => {
                (self.failures, self.rest) = (0, None);
                Ok(link)
            }
            Err(cause) => {
                let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(MOST_DOUBLINGS)).min(LONGEST_WAIT);
                self.failures = self.failures.saturating_add(1);
                // Replicas do not come all at once when the database is back.
                self.rest = Some((Instant::now() + wait.mul_f64(0.5 + 0.5 * fastrand::f64()), cause.clone()));
                Err(StoreError::Away(self.config.to_string(), cause))
            }
        }
    }
}

/// Time for a call.
const CALL: Duration = Duration::from_secs(10);
/// Time for a call that reads or writes everything.
const LONG_CALL: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 5;
