//! Who has shown wrong credentials lately: after a few, what comes from the same address is not looked at for a while.
//!
//! Each worker counts by itself, so that an address has as many guesses as there are workers times [`MOST_WRONG`]. Nobody
//! guesses a secret in that many; it spares the proxy the work, and tells the operator.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::client::network;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    by_address: RefCell<HashMap<IpAddr, Spell>>,
}

/// Wrong ones of one address.
#[derive(Clone, Copy, Debug)]
struct Spell {
    /// When the first came; once there are too many, when the last came.
    since: Instant,
    wrong: u32,
}

impl Guesses {
    /// Whether nobody has guessed: then no address has to be found.
    pub(super) fn is_empty(&self) -> bool {
        self.by_address.borrow().is_empty()
    }

    /// Whether what comes from an address is not to be looked at. Without an address (unknown, or on a unix socket
    /// whose peer is not trusted) it always is: one who guesses must not shut out all others.
    pub(super) fn is_shut(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let by_address = self.by_address.borrow();
        let spell = address.and_then(|address| by_address.get(&network(address)));
        spell.is_some_and(|spell| spell.wrong >= MOST_WRONG && !spell.is_over(now))
    }

    /// Counts a wrong one.
    pub(super) fn count(&self, address: Option<IpAddr>, now: Instant) {
        let Some(address) = address.map(network) else { return };
        let mut by_address = self.by_address.borrow_mut();
        if by_address.len() >= MOST_ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, spell| !spell.is_over(now));
            // Still as many: one of them gets away.
            let other = by_address.keys().next().copied().filter(|_| by_address.len() >= MOST_ADDRESSES);
            other.map(|other| by_address.remove(&other));
        }
        let fresh = Spell { since: now, wrong: 0 };
        let spell = by_address.entry(address).or_insert(fresh);
        if spell.is_over(now) {
            *spell = fresh;
        }
        spell.wrong += 1;
        if spell.wrong == MOST_WRONG {
            spell.since = now;
        }
    }

    /// Forgets what is over.
    pub(super) fn sweep(&self, now: Instant) {
        if !self.is_empty() {
            self.by_address.borrow_mut().retain(|_, spell| !spell.is_over(now));
        }
    }
}

impl Spell {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SPELL
    }
}

/// Wrong ones of an address within a [`SPELL`] until nothing of it is looked at for another.
const MOST_WRONG: u32 = 10;
const SPELL: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const MOST_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_wrong_ones_shut_an_address_out_for_a_minute() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let address = |text: &str| Some(text.parse().unwrap());
        for _ in 0..MOST_WRONG {
            assert!(!guesses.is_shut(address("2001:db8::1"), now));
            guesses.count(address("2001:db8::1"), now);
        }
        assert!(guesses.is_shut(address("2001:db8::1"), now) && guesses.is_shut(address("2001:db8::2"), now));
        assert!(!guesses.is_shut(address("192.0.2.1"), now) && !guesses.is_shut(None, now));
        assert!(!guesses.is_shut(address("2001:db8::1"), now + SPELL));
        guesses.sweep(now + SPELL);
        assert!(guesses.is_empty());
    }

    #[test]
    fn a_few_wrong_ones_are_forgiven() {
        let (guesses, address, mut now) = (Guesses::default(), Some(IpAddr::from([192, 0, 2, 1])), Instant::now());
        for _ in 0..5 {
            (1..MOST_WRONG).for_each(|_| guesses.count(address, now));
            now += SPELL;
        }
        assert!(!guesses.is_shut(address, now));
    }

    #[test]
    fn the_table_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..u32::try_from(2 * MOST_ADDRESSES).unwrap() {
            guesses.count(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        assert_eq!(guesses.by_address.borrow().len(), MOST_ADDRESSES);
    }
}
