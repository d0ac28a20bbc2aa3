//! Clerk: carries what subscribers themselves want to the thread of the outbox, and answers back.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::push::keys::PushKeys;
use super::subscription::{Order, Subscription};
use super::token::{Purpose, TokenKey};

/// Handle of those who answer visitors. It never waits to hand something over.
#[derive(Clone, Debug)]
pub struct Clerk {
    asks: mpsc::Sender<Ask>,
    /// Key of the links, once the store was read.
    tokens: Arc<OnceLock<TokenKey>>,
}

/// Request to the outbox.
#[derive(Debug)]
pub struct Ask {
    /// Errand of the visitor.
    pub errand: Errand,
    /// Way back; `None` if nobody waits.
    answer: Option<oneshot::Sender<Told>>,
}

/// Errand of a visitor.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Subscribe an address, if it agrees.
    Subscribe(Box<Order>),
    /// Subscribe a browser by its keys.
    SubscribeBrowser(Box<Order>, PushKeys),
    /// Look whether a token confirms something.
    LookToConfirm(String),
    /// Confirm by a token.
    Confirm(String),
    /// Look at the preferences.
    Look(String),
    /// Change the preferences. Channel and address of the order do not count.
    Change(String, Box<Order>),
    /// Delete all data.
    Erase(String),
    /// End the subscription.
    End(String),
}

/// Answer to an errand.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Done, or as asked.
    Done,
    /// The subscription is confirmed. The token is that of its preferences.
    Confirmed(String),
    /// Subscription of the token.
    Found(Box<Subscription>),
    /// The token serves no more, or never did.
    Gone,
}

/// Failure: the outbox has too much to do, or cannot use its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Errand {
    /// Returns the token of a link, and what it has to serve for.
    fn token(&self) -> Option<(&str, Purpose)> {
        match self {
            Self::Subscribe(_) | Self::SubscribeBrowser(..) => None,
            Self::LookToConfirm(token) | Self::Confirm(token) => Some((token, Purpose::Confirm)),
            Self::Look(token) | Self::Change(token, _) | Self::Erase(token) => Some((token, Purpose::Manage)),
            Self::End(token) => Some((token, Purpose::End)),
        }
    }
}

impl Clerk {
    /// Makes a clerk, and the end at which its requests come out.
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(MOST_ASKS);
        (Self { asks, tokens: Arc::default() }, receiver)
    }

    /// Knows the key of the links from now on.
    pub(super) fn learn(&self, key: &TokenKey) {
        self.tokens.get_or_init(|| key.clone());
    }

    /// Returns true for an errand by a link that never served, or serves no more.
    fn is_forged(&self, errand: &Errand) -> bool {
        let known = self.tokens.get().zip(errand.token());
        known.is_some_and(|(key, (token, purpose))| key.verify(token, purpose, Timestamp::now()).is_err())
    }

    /// Hands over an errand that nobody waits for.
    ///
    /// # Errors
    /// If too many wait.
    pub fn leave(&self, errand: Errand) -> Result<(), Busy> {
        self.asks.try_send(Ask { errand, answer: None }).map_err(|_| Busy)
    }

    /// Hands over an errand, and waits for its answer. The caller sets the limit of the wait. Whoever makes up links
    /// takes no time of the outbox.
    ///
    /// # Errors
    /// If too many wait, or the outbox ends.
    pub async fn ask(&self, errand: Errand) -> Result<Told, Busy> {
        if self.is_forged(&errand) {
            return Ok(Told::Gone);
        }
        let (answer, told) = oneshot::channel();
        self.asks.try_send(Ask { errand, answer: Some(answer) }).map_err(|_| Busy)?;
        told.await.map_err(|_| Busy)
    }
}

impl Ask {
    /// Returns true if whoever asked has gone.
    pub(super) fn is_forgotten(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Answers.
    pub(super) fn answer(self, told: Told) {
        if let Some(answer) = self.answer {
            // Whoever asked may have gone.
            let _ = answer.send(told);
        }
    }
}

/// Requests between the forms and the outbox.
const MOST_ASKS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::token::Uid;
    use super::*;

    #[tokio::test]
    async fn links_that_are_made_up_take_no_time_of_the_outbox() {
        let ((clerk, mut asks), key) = (Clerk::new(), TokenKey::generate().unwrap());
        let own = |purpose: Purpose| key.sign(purpose, Uid::new(), Timestamp::now());
        clerk.learn(&key);
        for errand in [
            Errand::Look("A".repeat(76)),
            Errand::Confirm(own(Purpose::Manage)),
            Errand::LookToConfirm("A".to_owned()),
            Errand::Erase(own(Purpose::End)),
            Errand::End(own(Purpose::Confirm)),
        ] {
            assert_eq!(clerk.ask(errand.clone()).await, Ok(Told::Gone), "{errand:?}");
        }
        assert!(asks.try_recv().is_err());
        let end = clerk.ask(Errand::End(own(Purpose::End)));
        let serve = async { asks.recv().await.unwrap().answer(Told::Done) };
        assert_eq!(tokio::join!(end, serve).0, Ok(Told::Done));
    }
}
