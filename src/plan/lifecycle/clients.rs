//! Counts for each client of a watched route, so that a few clients cannot cause a breach.
//!
//! A breach needs bad counts from more than half of the clients, or from more than [`FEW`] of them. If there is only
//! one client, it counts in full.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::net::{IpAddr, Ipv4Addr};

use siphasher::sip::SipHasher24;

use super::super::config::PerStatus;
use super::counts::MARKS;

/// Client in these counts: its network. All unknown clients count as one, because one of them may send most requests.
/// If no client is known, that one counts in full.
pub(crate) type Client = Option<IpAddr>;

/// Counts of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Requests that the upstream answered with 5xx, not at all, or not to the end.
    pub failed: u64,
    /// Requests that took longer than the guard allows.
    pub slow: u64,
    /// Requests that hang now.
    pub hanging: u64,
    /// Requests that were answered with the statuses that the guard names.
    pub statuses: PerStatus<u32>,
}

/// Counts for each client; see the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    each: HashMap<Client, ClientCounts>,
    /// Sum of the clients that are not counted one by one.
    others: ClientCounts,
}

impl ClientCounts {
    /// Returns the sum of all bad counts. The clients with the greatest sums are counted one by one.
    fn bad(&self) -> u64 {
        let statuses = self.statuses.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
        self.failed + self.slow + self.hanging + statuses
    }

    fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.failed += more.failed;
        self.slow += more.slow;
        self.hanging += more.hanging;
        for (status, more) in more.statuses.iter() {
            if let Some(count) = self.statuses.entry(status, || 0) {
                *count = count.saturating_add(*more);
            }
        }
    }
}

impl Clients {
    /// Clients that are counted one by one within a moment.
    pub const MOST: usize = 128;

    /// Returns true if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty() && self.others == ClientCounts::default()
    }

    /// Adds counts of a client. At most [`Clients::MOST`] clients are counted one by one, preferably those with bad
    /// counts.
    pub fn count(&mut self, client: Client, counts: ClientCounts) {
        if self.each.len() >= Self::MOST && !self.each.contains_key(&client) {
            let mildest = (counts.bad() > 0).then(|| self.each.iter().min_by_key(|(_, other)| other.bad())).flatten();
            let Some(mildest) =
                mildest.filter(|(_, mildest)| mildest.bad() <= counts.bad()).map(|(mildest, _)| *mildest)
            else {
                return self.others.add(counts);
            };
            self.each.remove(&mildest).into_iter().for_each(|counts| self.others.add(counts));
        }
        self.each.entry(client).or_default().add(counts);
    }

    /// Adds counts of another worker or another time, and still counts every client one by one.
    pub fn add(&mut self, more: &Self) {
        self.others.add(more.others);
        for (client, counts) in &more.each {
            self.each.entry(*client).or_default().add(*counts);
        }
    }

    /// Counts one by one only the [`Clients::MOST`] clients with the worst counts. The rest are summed up.
    pub fn limit(&mut self) {
        if self.each.len() <= Self::MOST {
            return;
        }
        let mut each: Vec<_> = self.each.drain().collect();
        each.sort_unstable_by_key(|(_, counts)| std::cmp::Reverse(counts.bad()));
        each.drain(Self::MOST..).for_each(|(_, counts)| self.others.add(counts));
        self.each = each.into_iter().collect();
    }

    /// Returns true if more than the share `most` of the requests is `bad`, even without the few worst clients.
    #[allow(clippy::cast_precision_loss, reason = "nobody counts to 2^53 in ten minutes")]
    pub fn exceed(&self, most: f64, bad: impl Fn(&ClientCounts) -> u64) -> bool {
        // Greater than 0 if the share is exceeded.
        let excess = |counts: &ClientCounts| bad(counts).min(counts.requests) as f64 - most * counts.requests as f64;
        let mut each: Vec<f64> = self.each.values().map(excess).collect();
        each.sort_unstable_by(|one, other| other.total_cmp(one));
        // Clients that do well are never left out.
        let worst = each.iter().take(self.few()).take_while(|excess| **excess > 0.0).count();
        each.iter().skip(worst).sum::<f64>() + excess(&self.others) > 0.0
    }

    /// Returns the number of hanging requests. Each client counts only up to a limit, so that a few together stay at or
    /// below `most`.
    pub fn hanging(&self, most: u64) -> u64 {
        let share = match self.few() as u64 {
            0 => u64::MAX,
            few => most / (few + 1) + 1,
        };
        // The other clients are more than a few, so no limit applies to them.
        self.others.hanging + self.each.values().map(|counts| counts.hanging.min(share)).sum::<u64>()
    }

    /// Returns the number of hanging requests without any limit.
    pub fn all_hanging(&self) -> u64 {
        self.others.hanging + self.each.values().map(|counts| counts.hanging).sum::<u64>()
    }

    /// Returns the counts with a number in the place of each client, and those of several clients together. The number
    /// is the same in every replica. So few bits are left of it that nobody can tell the address from it.
    pub(super) fn marked(&self, salt: &str) -> impl Iterator<Item = (Option<u32>, bool, ClientCounts)> {
        let each =
            self.each.iter().map(move |(client, counts)| (client.map(|client| mark(client, salt)), false, *counts));
        each.chain((self.others != ClientCounts::default()).then_some((None, true, self.others)))
    }

    /// Adds counts of a client by its number, or those of several clients. No client is left out.
    pub(super) fn add_marked(&mut self, mark: Option<u32>, others: bool, counts: ClientCounts) {
        if others {
            return self.others.add(counts);
        }
        // No client has an address of this network, so none is taken for another one.
        let client = mark.map(|mark| IpAddr::from(Ipv4Addr::from(mark & MARKS)));
        self.each.entry(client).or_default().add(counts);
    }

    /// Returns the greatest number of clients that cannot cause a breach.
    fn few(&self) -> usize {
        (self.each.len() / 2).min(FEW)
    }
}

/// Returns the number of a client.
fn mark(client: IpAddr, salt: &str) -> u32 {
    let mut hasher = SipHasher24::new_with_key(KEY);
    match client {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.write(salt.as_bytes());
    u32::try_from(hasher.finish() >> 40).unwrap_or(0) & MARKS
}

/// Key of the hash. Any key would do that all replicas have.
const KEY: &[u8; 16] = b"backsoon clients";

/// Up to this many clients cause no breach.
const FEW: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> Client {
        Some(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()))
    }

    /// Builds groups of clients: how many, and the requests and failures of each.
    fn clients(groups: &[(usize, u64, u64)]) -> Clients {
        let mut clients = Clients::default();
        let each = groups.iter().flat_map(|&(count, requests, failed)| (0..count).map(move |_| (requests, failed)));
        for (number, (requests, failed)) in each.enumerate() {
            clients.count(client(number), ClientCounts { requests, failed, ..ClientCounts::default() });
        }
        clients
    }

    fn fails(groups: &[(usize, u64, u64)]) -> bool {
        clients(groups).exceed(0.05, |counts| counts.failed)
    }

    #[test]
    fn one_client_alone_counts_in_full() {
        assert!(fails(&[(1, 100, 6)]) && !fails(&[(1, 100, 5)]) && !fails(&[]));
    }

    #[test]
    fn a_minority_brings_about_nothing_and_neither_do_ten() {
        for honest in 1..100 {
            let most = honest.min(10);
            assert!(!fails(&[(1, 1000, 1000), (honest, 10, 0)]), "{honest}");
            assert!(!fails(&[(most, 1000, 1000), (honest, 10, 0)]), "{honest}");
            assert!(fails(&[(most + 2, 1000, 1000), (honest, 10, 0)]), "{honest}");
        }
    }

    #[test]
    fn whoever_asks_all_fail_if_the_service_does() {
        for count in 1..100 {
            assert!(fails(&[(count, 20, 20)]) && fails(&[(count, 50, 3)]), "{count}");
            assert!(!fails(&[(count, 50, 2)]), "{count}");
            assert!(fails(&[(1, 10_000, 600), (count, 50, 3)]), "{count} beside one who asks most");
            assert!(!fails(&[(1, 10_000, 10_000), (count, 50, 2)]), "{count}, as before, beside a stranger");
        }
        // Each client asks once.
        assert!(fails(&[(70, 1, 0), (30, 1, 1)]) && !fails(&[(90, 1, 0), (10, 1, 1)]));
    }

    fn hanging(groups: &[(usize, u64)], most: u64) -> bool {
        let mut clients = Clients::default();
        let each = groups.iter().flat_map(|&(count, hanging)| (0..count).map(move |_| hanging));
        for (number, hanging) in each.enumerate() {
            clients.count(client(number), ClientCounts { hanging, requests: 1, ..ClientCounts::default() });
        }
        clients.hanging(most) > most
    }

    #[test]
    fn what_hangs_counts_up_to_a_share_of_each_client() {
        for most in [1, 3, 10, 100] {
            assert!(hanging(&[(1, most + 1)], most) && !hanging(&[(1, most)], most), "one alone, {most}");
            for honest in 1..100 {
                assert!(!hanging(&[(1, 1000), (honest, 0)], most), "{honest} {most}");
                assert!(hanging(&[(honest + 1, most + 1)], most), "{honest} {most}");
                assert!(honest <= most.try_into().unwrap() || hanging(&[(honest, 1)], most), "{honest} with one each");
            }
        }
        assert!(!hanging(&[(1, 1000), (9, 1), (20, 0)], 10) && hanging(&[(1, 1000), (10, 1), (20, 0)], 10));
    }

    #[test]
    fn who_is_not_known_is_one_client() {
        let mut clients = clients(&[(3, 10, 0)]);
        clients.count(None, ClientCounts { requests: 1000, failed: 1000, hanging: 50, ..ClientCounts::default() });
        assert!(!clients.exceed(0.05, |counts| counts.failed) && clients.hanging(10) <= 10);
    }

    #[test]
    fn who_does_worst_is_remembered_among_any_number() {
        let counts = |failed| ClientCounts { requests: 1, failed, ..ClientCounts::default() };
        let mut all = Clients::default();
        for moment in 0..10 {
            let mut clients = Clients::default();
            (0..1000).for_each(|number| clients.count(client(number + moment * 1000), counts(0)));
            (0..300).for_each(|number| clients.count(client(number + moment * 1000 + 500), counts(1)));
            (0..200).for_each(|_| clients.count(client(100_000), counts(1)));
            assert_eq!(clients.each.len(), Clients::MOST);
            assert!(clients.each[&client(100_000)].failed >= 199, "{:?}", clients.each[&client(100_000)]);
            all.add(&clients);
            all.limit();
        }
        assert_eq!(all.each.len(), Clients::MOST);
        let requests = all.others.requests + all.each.values().map(|counts| counts.requests).sum::<u64>();
        assert_eq!((requests, all.each[&client(100_000)].failed), (15_000, 2000));
        // 3000 of 13,000 fail without the stranger, 5000 of 15,000 with it.
        assert!(all.exceed(0.2, |counts| counts.failed) && !all.exceed(0.25, |counts| counts.failed));
    }
}
