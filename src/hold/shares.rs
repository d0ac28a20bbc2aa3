//! Shares of clients in a queue. Memory use follows the places: a client without one is forgotten.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Places of the known clients, by ticket.
#[derive(Debug, Default)]
pub(super) struct Shares {
    tickets: HashMap<IpAddr, BTreeSet<u64>>,
    /// The number of places of each client, the fewest first.
    ranking: BTreeSet<(usize, IpAddr)>,
}

impl Shares {
    /// Gives a place to a client.
    pub(super) fn give(&mut self, client: IpAddr, ticket: u64) {
        self.change(client, |tickets| tickets.insert(ticket));
    }

    /// Takes a place back.
    pub(super) fn take(&mut self, client: IpAddr, ticket: u64) {
        self.change(client, |tickets| tickets.remove(&ticket));
    }

    /// Returns how many places a client has.
    pub(super) fn of(&self, client: IpAddr) -> usize {
        self.tickets.get(&client).map_or(0, BTreeSet::len)
    }

    /// Returns the tickets of the client with the most places, if it has more than `share`.
    pub(super) fn beyond(&self, share: usize) -> Option<&BTreeSet<u64>> {
        let (held, client) = self.ranking.last()?;
        self.tickets.get(client).filter(|_| *held > share)
    }

    fn change(&mut self, client: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let tickets = self.tickets.entry(client).or_default();
        let before = tickets.len();
        change(tickets);
        let after = tickets.len();
        self.ranking.remove(&(before, client));
        if after == 0 {
            self.tickets.remove(&client);
        } else {
            self.ranking.insert((after, client));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_with_the_most_is_found_and_who_has_none_is_forgotten() {
        let (mut shares, [one, other]) = (Shares::default(), [1, 2].map(|last| IpAddr::from([192, 0, 2, last])));
        assert_eq!(shares.beyond(0), None);
        (0..3).for_each(|ticket| shares.give(one, ticket));
        (3..5).for_each(|ticket| shares.give(other, ticket));
        assert_eq!((shares.of(one), shares.of(other)), (3, 2));
        assert_eq!((shares.beyond(2), shares.beyond(3)), (Some(&BTreeSet::from([0, 1, 2])), None));
        shares.take(one, 2);
        shares.take(one, 2);
        shares.take(one, 0);
        assert_eq!(shares.beyond(1), Some(&BTreeSet::from([3, 4])));
        for (client, ticket) in [(one, 1), (other, 3), (other, 4)] {
            shares.take(client, ticket);
        }
        assert!(shares.tickets.is_empty() && shares.ranking.is_empty());
    }
}
