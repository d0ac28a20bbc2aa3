//! Store: subscriptions, updates and deliveries.

mod delivery;
mod error;
pub mod journal;
mod limits;
mod postgres;
mod readers;
mod sqlite;
#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use rustls::ClientConfig;

use crate::plan::config::StoreConfig;

use super::notice::Notice;
use super::progress::Progress;
use super::subscription::{Order, State, Subscription};

pub use delivery::{Claim, Claimed, Depth, Outcome, Recorded, Refusal};
pub use error::StoreError;
pub use postgres::PostgresStore;
pub use readers::{Leaving, Whose};
pub use sqlite::SqliteStore;

/// Store of the outbox.
///
/// A call that is dropped before its end has changed all or nothing.
#[derive(Debug)]
pub enum Store {
    /// File of this proxy. Calls block for as long as the disk does.
    Sqlite(SqliteStore),
    /// Database that replicas share. Each call has a time-out.
    Postgres(Box<PostgresStore>),
}

impl Store {
    /// Opens the store that a config names. A file is created if it is missing; a database is connected to by the first
    /// call.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn of(config: &StoreConfig, state_dir: &Path, tls: &ClientConfig) -> Result<Self, StoreError> {
        match config {
            StoreConfig::Local => Self::open(&state_dir.join(FILE)),
            StoreConfig::Postgres(config) => {
                Ok(Self::Postgres(Box::new(PostgresStore::new(config.clone(), tls.clone()))))
            }
        }
    }

    /// Opens a file, and creates it if it is missing.
    ///
    /// # Errors
    /// If it cannot be opened, is damaged, or is of a newer backsoon. It is never repaired or replaced.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        SqliteStore::open(path).map(Self::Sqlite)
    }

    /// Returns keys, which are offered by a proxy and shared by all that share the store.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn shared_keys(&mut self, name: &str, own: String) -> Result<String, StoreError> {
        match self {
            // The file beside it is the place of the keys.
            Self::Sqlite(_) => Ok(own),
            Self::Postgres(store) => store.secret(name, &own).await,
        }
    }

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
        match self {
            Self::Sqlite(store) => store.subscribe(order, secret, state, now),
            Self::Postgres(store) => store.subscribe(order, secret, state, now).await,
        }
    }

    /// Adds the subscriptions of an export, all or none, and returns how many are new. Known addresses stay as they are.
    ///
    /// # Errors
    /// If the store is full or cannot be written.
    pub async fn import(&mut self, all: &[Subscription], now: Timestamp) -> Result<usize, StoreError> {
        match self {
            Self::Sqlite(store) => store.import(all, now),
            Self::Postgres(store) => store.import(all, now).await,
        }
    }

    /// Makes a subscription active: its endpoint has proved that it wants messages, or an operator says so. Returns
    /// false if there is no such subscription.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn activate(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(store) => store.activate(id, now),
            Self::Postgres(store) => store.activate(id, now).await,
        }
    }

    /// Removes a subscription and all that it was still to be told. Returns false if there is none.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn remove(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(store) => store.remove(id, now),
            Self::Postgres(store) => store.remove(id, now).await,
        }
    }

    /// Finds a subscription.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn find(&mut self, id: i64) -> Result<Option<Subscription>, StoreError> {
        match self {
            Self::Sqlite(store) => store.find(id),
            Self::Postgres(store) => store.find(id).await,
        }
    }

    /// Returns all subscriptions, oldest first. A channel of a newer backsoon is left out.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn subscriptions(&mut self) -> Result<Vec<Subscription>, StoreError> {
        match self {
            Self::Sqlite(store) => store.subscriptions(),
            Self::Postgres(store) => store.subscriptions().await,
        }
    }

    /// Returns endpoints that shall be asked now for their proof, and puts their next turn off: each failure doubles
    /// the wait.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn claim_proofs(&mut self, now: Timestamp, most: usize) -> Result<Vec<Subscription>, StoreError> {
        match self {
            Self::Sqlite(store) => store.claim_proofs(now, most),
            Self::Postgres(store) => store.claim_proofs(now, most).await,
        }
    }

    /// Records an update with a delivery for each subscriber that wants it and was there before it, all or nothing. Readers
    /// of the digest get theirs at the instant of the next one. A repeated update changes nothing.
    ///
    /// # Errors
    /// If too many deliveries wait, or the store cannot be written.
    pub async fn record(&mut self, notice: &Notice, now: Timestamp, digest: Timestamp) -> Result<Recorded, StoreError> {
        match self {
            Self::Sqlite(store) => store.record(notice, now, digest),
            Self::Postgres(store) => store.record(notice, now, digest).await,
        }
    }

    /// Claims deliveries that are due, at most `per_host` of one host at a time. All of a reader's digest are one claim.
    /// Drops those that a newer update of the same incident makes needless, but for digests, which tell of a whole day.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn claim(
        &mut self,
        now: Timestamp,
        lease: SignedDuration,
        most: usize,
        per_host: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        match self {
            Self::Sqlite(store) => store.claim(now, lease, most, per_host),
            Self::Postgres(store) => store.claim(now, lease, most, per_host).await,
        }
    }

    /// Notes the result of an attempt. A result that is noted already, or that comes when another sender has the
    /// delivery, changes nothing; but what an endpoint has taken, it has taken.
    ///
    /// # Errors
    /// If the store cannot be written. The delivery is then sent again when its lease has ended.
    pub async fn finish(&mut self, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.finish(claim, outcome, now),
            Self::Postgres(store) => store.finish(claim, outcome, now).await,
        }
    }

    /// Returns the instant from which something can be claimed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn next_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Sqlite(store) => store.next_due(),
            Self::Postgres(store) => store.next_due().await,
        }
    }

    /// Returns how much work waits, and how much has failed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn depth(&mut self) -> Result<Depth, StoreError> {
        match self {
            Self::Sqlite(store) => store.depth(),
            Self::Postgres(store) => store.depth().await,
        }
    }

    /// Returns which updates were told, and to whom not yet. Replicas that share a database see that there.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn progress(&self, now: Timestamp) -> Result<Progress, StoreError> {
        match self {
            Self::Sqlite(store) => store.progress(now),
            Self::Postgres(_) => Ok(Progress::default()),
        }
    }

    /// Ends the deliveries that another replica with a file of its own has made, and returns their number.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn take_over(&mut self, told: &Progress, now: Timestamp) -> Result<usize, StoreError> {
        match self {
            Self::Sqlite(store) => store.take_over(told, now),
            Self::Postgres(_) => Ok(0),
        }
    }

    /// Removes what nobody needs any more, and gives the space back.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn prune(&mut self, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.prune(now),
            Self::Postgres(store) => store.prune(now).await,
        }
    }
}

/// Returns an instant as the store writes it.
fn millis(instant: Timestamp) -> i64 {
    instant.as_millisecond()
}

/// Name of the file in the state directory.
pub const FILE: &str = ".subscribers.sqlite";
