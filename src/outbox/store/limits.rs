//! Limits of the store, alike in every kind of it.

use jiff::SignedDuration;

use super::super::subscription::{Channel, Order};

/// Returns the host that shares the limit of attempts at a time.
pub(super) fn host(order: &Order) -> String {
    match order.channel {
        Channel::Push | Channel::Webhook | Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy => {
            order.endpoint().map(|endpoint| endpoint.authority()).unwrap_or_default()
        }
        // All mails go to one server.
        Channel::Mail => Channel::Mail.as_str().to_owned(),
    }
}

/// Returns the milliseconds until an endpoint without a proof is asked again.
pub(super) fn proof_wait(failures: u32) -> i64 {
    FIRST_PROOF_WAIT_MS << failures.min(MOST_DOUBLINGS)
}

/// Returns the milliseconds until a mail that asks for a confirmation is sent again.
pub(super) fn letter_wait(attempt: i64) -> i64 {
    FIRST_LETTER_WAIT_MS << (2 * attempt.clamp(0, MOST_LETTERS))
}

/// Age from which an update is not told any more.
pub(super) const OLD: SignedDuration = SignedDuration::from_hours(24);
/// Deliveries in one digest. What is more goes into another one.
pub(super) const MOST_IN_DIGEST: i64 = 100;
/// Refusals in a row after which an address is believed not to exist.
pub(super) const MOST_REFUSALS: i64 = 3;
/// Time after which an endpoint that has always failed is silenced.
pub(super) const LONG_FAILURE: SignedDuration = SignedDuration::from_hours(72);
pub(super) const MOST_DELIVERIES: i64 = 2_000_000;
pub(super) const MOST_SUBSCRIPTIONS: i64 = 100_000;
/// Subscriptions without a proof. Strangers make them, and shall not fill the store.
pub(super) const MOST_UNCONFIRMED: i64 = 20_000;
/// Attempts to send a mail that asks for a confirmation.
pub(super) const MOST_LETTERS: i64 = 4;
const FIRST_LETTER_WAIT_MS: i64 = 60_000;
const FIRST_PROOF_WAIT_MS: i64 = 60_000;
const MOST_DOUBLINGS: u32 = 10;
pub(super) const DAYS_OF_DELIVERIES: u64 = 30;
pub(super) const DAYS_UNCONFIRMED: u64 = 7;
pub(super) const DAYS_OF_AUDIT: u64 = 365;
