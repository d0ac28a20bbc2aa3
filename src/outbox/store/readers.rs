//! Acts of subscribers themselves, by forms and by links.

use jiff::Timestamp;

use super::super::subscription::{Order, Subscription};
use super::super::token::{TokenKey, Uid};
use super::{Store, StoreError};

/// Way in which a subscriber leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// By the link of a mail.
    Unsubscribed,
    /// By asking for the deletion of all data.
    Erased,
}

impl Leaving {
    /// Returns the word for the audit.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribed => "unsubscribed",
            Self::Erased => "erased",
        }
    }
}

/// Readers who are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All.
    All,
    /// All but mailboxes, while there is no server for them.
    NoMailbox,
}

impl Whose {
    /// Returns the condition of a statement.
    pub(super) fn condition(self, column: &str) -> String {
        match self {
            Self::All => String::new(),
            Self::NoMailbox => format!("AND {column} <> 'mail'"),
        }
    }
}

impl Store {
    /// Returns the key of tokens, which every proxy with this store has. A store without one takes the offered one.
    ///
    /// # Errors
    /// If the store cannot be written, or its key is none.
    pub async fn token_key(&mut self, offered: &TokenKey) -> Result<TokenKey, StoreError> {
        match self {
            Self::Sqlite(store) => store.token_key(offered),
            Self::Postgres(store) => store.token_key(offered).await,
        }
    }

    /// Notes that somebody wants an address to be told, and that the address shall be asked whether it does.
    ///
    /// Nobody has shown yet that the address is theirs. So the wishes of one that was confirmed stay as they are, and one
    /// that wants silence is left alone.
    ///
    /// # Errors
    /// If the store is full or cannot be written.
    pub async fn ask(&mut self, order: &Order, secret: &str, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.ask(order, secret, now),
            Self::Postgres(store) => store.ask(order, secret, now).await,
        }
    }

    /// Finds a subscription by its name in links.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn find_uid(&mut self, uid: Uid) -> Result<Option<Subscription>, StoreError> {
        match self {
            Self::Sqlite(store) => store.find_uid(uid),
            Self::Postgres(store) => store.find_uid(uid).await,
        }
    }

    /// Makes a subscription active whose owner has confirmed it. Returns false if there is none that waits for that.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn confirm(&mut self, uid: Uid, now: Timestamp) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(store) => store.confirm(uid, now),
            Self::Postgres(store) => store.confirm(uid, now).await,
        }
    }

    /// Changes the wishes of a subscription; its channel and its address stay. What waits follows a change of pace: it
    /// goes out now, or at the instant of the next digest. Returns false if there is no subscription.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn change(
        &mut self,
        uid: Uid,
        order: &Order,
        now: Timestamp,
        digest: Timestamp,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(store) => store.change(uid, order, now, digest),
            Self::Postgres(store) => store.change_wishes(uid, order, now, digest).await,
        }
    }

    /// Removes a subscription and all that is known of it. Returns false if there is none.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn leave(&mut self, uid: Uid, leaving: Leaving, now: Timestamp) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(store) => store.leave(uid, leaving, now),
            Self::Postgres(store) => store.leave(uid, leaving, now).await,
        }
    }

    /// Returns readers who shall be asked now, and puts their next turn off.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn claim_letters(
        &mut self,
        whose: Whose,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Subscription>, StoreError> {
        match self {
            Self::Sqlite(store) => store.claim_letters(whose, now, most),
            Self::Postgres(store) => store.claim_letters(whose, now, most).await,
        }
    }

    /// Notes that a reader was asked, or cannot be.
    ///
    /// # Errors
    /// If the store cannot be written. The reader is then asked again.
    pub async fn drop_letter(&mut self, subscription: i64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.drop_letter(subscription),
            Self::Postgres(store) => store.drop_letter(subscription).await,
        }
    }
}
