//! Throttle for wrong credentials: counts how many each client address has recently shown.
//!
//! A right credential passes nevertheless: many clients may share an address, and a secret of 256 bits is not guessed.
//! A client that goes on guessing is just no longer told why. The operator is told once.
//!
//! Each worker counts by itself, and remembers a bounded number of addresses.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::client::network;

/// Counters of wrong credentials by address. See the module's description.
#[derive(Debug, Default)]
pub(crate) struct FailedAuthThrottle {
    by_address: RefCell<HashMap<IpAddr, Window>>,
    /// The time of the last warning in the log.
    warned_at: Cell<Option<Instant>>,
}

/// Count of wrong credentials from one address.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The time of the first wrong credential.
    since: Instant,
    wrong: u32,
}

impl FailedAuthThrottle {
    /// Counts a wrong credential. Returns true if the address has shown more than [`MOST_WRONG`] in this [`WINDOW`].
    ///
    /// Returns false without an address, since each credential may then be another client's. That is so if the address
    /// is unknown, or on a unix socket whose peer is not trusted.
    pub(crate) fn count(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let Some(address) = address.map(network) else { return false };
        let mut by_address = self.by_address.borrow_mut();
        if by_address.len() >= MOST_ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, window| !window.is_over(now));
            // The table is still full: one address is forgotten.
            let other = by_address.keys().next().copied().filter(|_| by_address.len() >= MOST_ADDRESSES);
            other.map(|other| by_address.remove(&other));
        }
        let fresh = Window { since: now, wrong: 0 };
        let window = by_address.entry(address).or_insert(fresh);
        if window.is_over(now) {
            *window = fresh;
        }
        window.wrong = window.wrong.saturating_add(1);
        if window.wrong == MOST_WRONG && self.may_warn(now) {
            tracing::warn!(client = %address, "many wrong credentials came from one client");
        }
        window.wrong > MOST_WRONG
    }

    /// Forgets addresses whose window is over.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut by_address = self.by_address.borrow_mut();
        if !by_address.is_empty() {
            by_address.retain(|_, window| !window.is_over(now));
        }
    }

    /// Returns true if no address is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_address.borrow().is_empty()
    }

    /// Returns true if the log may warn now. A limit in time keeps it from naming each of many guessing addresses.
    fn may_warn(&self, now: Instant) -> bool {
        let may_warn = self.warned_at.get().is_none_or(|warned_at| now.saturating_duration_since(warned_at) >= WINDOW);
        if may_warn {
            self.warned_at.set(Some(now));
        }
        may_warn
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

/// Wrong credentials from one address within a [`WINDOW`] that are still answered with a reason.
const MOST_WRONG: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered, at most.
const MOST_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_few_wrong_ones_in_a_minute() {
        let (throttle, now) = (FailedAuthThrottle::default(), Instant::now());
        let count = |text: &str, now| throttle.count(text.parse().ok(), now);
        for _ in 0..MOST_WRONG {
            assert!(!count("2001:db8::1", now));
        }
        assert!(count("2001:db8::1", now) && count("2001:db8::2", now), "its client has all of a /64");
        assert!(!count("192.0.2.1", now));
        (0..2 * MOST_WRONG).for_each(|_| assert!(!count("unix", now)));
        assert!(!count("2001:db8::1", now + WINDOW));
        throttle.sweep(now + WINDOW * 2);
        assert!(throttle.by_address.borrow().is_empty());
    }

    #[test]
    fn a_few_wrong_ones_are_forgiven() {
        let (throttle, address, mut now) =
            (FailedAuthThrottle::default(), Some(IpAddr::from([192, 0, 2, 1])), Instant::now());
        for _ in 0..5 {
            (0..MOST_WRONG).for_each(|_| assert!(!throttle.count(address, now)));
            now += WINDOW;
        }
    }

    #[test]
    fn the_log_tells_of_one_address_a_minute() {
        let (throttle, now) = (FailedAuthThrottle::default(), Instant::now());
        assert_eq!(
            [now, now, now + WINDOW / 2, now + WINDOW].map(|now| throttle.may_warn(now)),
            [true, false, false, true]
        );
    }

    #[test]
    fn the_table_is_bounded() {
        let (throttle, now) = (FailedAuthThrottle::default(), Instant::now());
        for n in 0..u32::try_from(2 * MOST_ADDRESSES).unwrap() {
            throttle.count(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        assert_eq!(throttle.by_address.borrow().len(), MOST_ADDRESSES);
    }
}
