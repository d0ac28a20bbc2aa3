//! Deliveries, and what became of them.

use jiff::Timestamp;

use super::super::notice::Notice;
use super::super::subscription::Subscription;

/// Delivery that is claimed until its lease ends. After that, any sender may claim it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Number of the delivery.
    pub delivery: i64,
    /// Number of the attempt, from 1. An attempt that a crash cut short counts.
    pub attempt: u32,
    /// Subscription.
    pub subscription: Subscription,
    /// Notice.
    pub notice: Notice,
    /// Further deliveries that go into the same mail, which is a digest; `None` if this one goes by itself.
    pub digest: Option<Vec<Claimed>>,
}

/// Delivery that goes into a digest with others.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// Number of the delivery.
    pub delivery: i64,
    /// Number of the attempt.
    pub attempt: u32,
    /// Notice.
    pub notice: Notice,
}

impl Claim {
    /// Returns the numbers and the attempts of all deliveries that the claim has.
    pub fn deliveries(&self) -> impl Iterator<Item = (i64, u32)> {
        let further = self.digest.iter().flatten().map(|one| (one.delivery, one.attempt));
        std::iter::once((self.delivery, self.attempt)).chain(further)
    }

    /// Returns all notices, oldest delivery first.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        std::iter::once(&self.notice).chain(self.digest.iter().flatten().map(|one| &one.notice))
    }

    /// Returns the number of attempts that the oldest delivery has had, by which the next one waits.
    pub fn attempts(&self) -> u32 {
        self.deliveries().map(|(_, attempt)| attempt).max().unwrap_or(self.attempt)
    }
}

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has taken it.
    Done,
    /// The attempt has failed, and there is another.
    Retry {
        /// Instant of the next attempt.
        at: Timestamp,
        /// Failure.
        error: String,
    },
    /// The last attempt has failed.
    Failed {
        /// Failure.
        error: String,
    },
    /// The message was refused for ever. Several in a row silence the subscription, if they are about its address.
    Refused {
        /// Failure.
        error: String,
        /// Cause.
        cause: Refusal,
    },
    /// The endpoint wants no more messages, or is gone.
    Gone {
        /// Failure.
        error: String,
    },
}

/// Cause of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The address is not known.
    Address,
    /// The message is not wanted.
    Message,
}

/// Result of recording an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The update is new, and this many subscribers will be told.
    New(usize),
    /// The update is known already.
    Known,
    /// The update is so old that nobody wants to hear of it.
    Old,
}

/// Amount of work that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries that are due or wait for their next attempt.
    pub due: u64,
    /// Instant at which the oldest of them was due first.
    pub oldest: Option<Timestamp>,
    /// Deliveries that have failed for good in the last 30 days.
    pub failed: u64,
    /// Endpoints that are quarantined or disabled.
    pub silenced: u64,
}
