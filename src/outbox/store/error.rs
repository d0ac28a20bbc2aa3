//! Failures of the store.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// Failure of the store.
#[derive(Debug)]
pub enum StoreError {
    /// The file cannot be created.
    Create(PathBuf, io::Error),
    /// The file is damaged. It is left as it is.
    Damaged(PathBuf, String),
    /// A newer backsoon wrote the file: its version, and the last one that is known here.
    Newer(PathBuf, i64, usize),
    /// A limit is reached.
    Full(&'static str, i64),
    /// The system has no random numbers.
    Random(String),
    /// The key of tokens in the store is none.
    TokenKey,
    /// A value cannot be written as JSON.
    Json(serde_json::Error),
    /// The database cannot be reached, or refuses: its URL, and why.
    Away(String, String),
    /// The database has not answered in this time.
    Slow(Duration),
    /// The database has failed: it ended the connection, or a right is missing.
    Postgres(tokio_postgres::Error),
    /// SQLite has failed: the file is locked, the disk is full.
    Sqlite(rusqlite::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(path, _) => write!(f, "{} cannot be created", path.display()),
            Self::Damaged(path, found) => {
                write!(f, "{} is damaged ({found}); restore it from an export, or move it away", path.display())
            }
            Self::Newer(path, version, known) => write!(
                f,
                "{} has version {version}, and this backsoon knows versions up to {known}; install the newer one again",
                path.display()
            ),
            Self::Full(what, most) => write!(f, "the store has {most} {what}, and takes no more"),
            Self::Random(error) => write!(f, "there are no random numbers: {error}"),
            Self::TokenKey => {
                f.write_str("the key of tokens is none: delete its row in `secrets`, and a new one is made")
            }
            Self::Json(_) => f.write_str("a value cannot be written"),
            Self::Away(place, cause) => write!(f, "the store {place} cannot be used: {cause}"),
            Self::Slow(patience) => write!(f, "the store has not answered within {} s", patience.as_secs()),
            Self::Sqlite(_) | Self::Postgres(_) => f.write_str("the store cannot be read or written"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Create(_, error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Sqlite(error) => Some(error),
            Self::Postgres(error) => Some(error),
            Self::Away(..)
            | Self::Slow(_)
            | Self::Damaged(..)
            | Self::Newer(..)
            | Self::Full(..)
            | Self::TokenKey
            | Self::Random(_) => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}
