//! Clerk: carries what subscribers themselves want to the thread of the outbox, and answers back.

use tokio::sync::{mpsc, oneshot};

use super::subscription::{Order, Subscription};

/// Handle of those who answer visitors. It never waits to hand something over.
#[derive(Clone, Debug)]
pub struct Clerk(mpsc::Sender<Ask>);

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

impl Clerk {
    /// Makes a clerk, and the end at which its requests come out.
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (sender, receiver) = mpsc::channel(MOST_ASKS);
        (Self(sender), receiver)
    }

    /// Hands over an errand that nobody waits for.
    ///
    /// # Errors
    /// If too many wait.
    pub fn leave(&self, errand: Errand) -> Result<(), Busy> {
        self.0.try_send(Ask { errand, answer: None }).map_err(|_| Busy)
    }

    /// Hands over an errand, and waits for its answer. The caller sets the limit of the wait.
    ///
    /// # Errors
    /// If too many wait, or the outbox ends.
    pub async fn ask(&self, errand: Errand) -> Result<Told, Busy> {
        let (answer, told) = oneshot::channel();
        self.0.try_send(Ask { errand, answer: Some(answer) }).map_err(|_| Busy)?;
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
