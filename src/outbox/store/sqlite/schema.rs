//! Schema of the store. Each version is made of the one before.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Brings a file to the newest version.
///
/// # Errors
/// If the file is newer, or cannot be written.
pub(super) fn prepare(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StoreError> {
    // Counts only as long as the file has no table.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = change.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = usize::try_from(version).ok().filter(|version| *version <= steps.len());
    let Some(known) = known else {
        return Err(StoreError::Newer(path.to_owned(), version, steps.len()));
    };
    for step in &steps[known..] {
        change.execute_batch(step)?;
    }
    change.execute_batch(&format!("PRAGMA user_version = {}", steps.len()))?;
    Ok(change.commit()?)
}

/// Changes from each version to the next. Instants are milliseconds since 1970, sets are arrays in JSON.
pub(super) const STEPS: [&str; 3] = [FIRST, WITH_FORMS, WITH_DIGESTS];

const FIRST: &str = "
CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    host TEXT NOT NULL,
    wishes TEXT NOT NULL,
    secret TEXT NOT NULL,
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    proof_due INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    last_error TEXT,
    UNIQUE (channel, address)
);
CREATE TABLE updates (
    incident TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    notice TEXT NOT NULL,
    PRIMARY KEY (incident, sequence)
);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    incident TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    host TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'due',
    attempt INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    finished INTEGER,
    last_error TEXT,
    UNIQUE (subscription, incident, sequence)
);
CREATE INDEX due_deliveries ON deliveries (due) WHERE state = 'due';
CREATE INDEX due_deliveries_by_host ON deliveries (host, claimed_until) WHERE state = 'due';
CREATE INDEX deliveries_of_update ON deliveries (incident, sequence);
CREATE TABLE audit (
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    subscription INTEGER,
    detail TEXT
);
";

/// Public forms: names of subscriptions in links, the key of tokens, and mails that ask for a confirmation.
const WITH_FORMS: &str = "
ALTER TABLE subscriptions ADD COLUMN uid TEXT NOT NULL DEFAULT '';
UPDATE subscriptions SET uid = lower(hex(randomblob(16)));
CREATE UNIQUE INDEX subscriptions_by_uid ON subscriptions (uid);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE letters (
    subscription INTEGER PRIMARY KEY REFERENCES subscriptions (id) ON DELETE CASCADE,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0
);
";

/// Digests: the instant of each, or 0 for what is told by itself.
const WITH_DIGESTS: &str = "
ALTER TABLE deliveries ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
";
