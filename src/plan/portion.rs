//! Portions of a route's requests that its upstreams get.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::Share;
use super::marks::Marks;

/// Portions of upstreams that are not alike, or that clients keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Portions {
    /// Portions in the order of [`super::snapshot::Route::in_use`].
    pub each: Arc<[Portion]>,
    /// Rule by which a client keeps to an upstream.
    pub sticky: Option<Keeping>,
    /// Time in which the share of an upstream grows that comes back or is new.
    pub slow_start: Option<Duration>,
}

/// Rule by which a client keeps to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub enum Keeping {
    /// By its address.
    Address,
    /// By a cookie.
    Cookie {
        /// Marks of the upstreams.
        marks: Arc<Marks>,
        /// Upstreams that drain, by their indexes in the snapshot: only clients that have their marks go there.
        drained: Arc<[(usize, Portion)]>,
    },
}

impl Portions {
    /// Returns the marks of the upstreams, if clients keep to them by a cookie.
    pub(crate) fn marks(&self) -> Option<&Marks> {
        match &self.sticky {
            Some(Keeping::Cookie { marks, .. }) => Some(marks),
            Some(Keeping::Address) | None => None,
        }
    }
}

/// Portion of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Weight, at least 1.
    pub weight: u32,
    /// True if the upstream is used only while no other answers.
    pub backup: bool,
    /// Place among the upstreams of the route.
    pub place: usize,
    /// Time for which the upstream had been in use at the compilation; `None` once its share is whole.
    pub used: Option<Duration>,
    /// Hash of the upstream, the same in every replica.
    seed: u64,
}

impl Portion {
    /// Returns the portion of an upstream, by its share, its place and its address.
    pub(super) fn new(share: &Share, place: usize, upstream: &str) -> Self {
        Self { weight: share.weight, backup: share.backup, place, used: None, seed: hash(upstream.bytes()) }
    }

    /// Returns the portion of an upstream whose share still grows after this time in use; `None` if it is whole.
    pub(super) fn used_for(self, used: Option<Duration>) -> Self {
        Self { used, ..self }
    }

    /// Returns the portion with its weight after a time in use, while the share grows. Weights are [`WHOLE`] times as large.
    pub(crate) fn grown(self, used: Option<Duration>, slow_start: Duration) -> Self {
        let used = used.filter(|used| *used < slow_start).unwrap_or(slow_start);
        // It begins with a hundredth, so that something is known of it soon.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to `WHOLE`")]
        let part = (used.as_secs_f64() / slow_start.as_secs_f64() * f64::from(WHOLE)) as u32;
        Self { weight: self.weight.saturating_mul(part.clamp(WHOLE / 100, WHOLE)), ..self }
    }

    /// Returns the score of the upstream for a client: it keeps to the one with the highest.
    ///
    /// This is weighted rendezvous hashing. When an upstream leaves, only its own clients move, and they return with it.
    pub(crate) fn score(self, client: IpAddr) -> f64 {
        let hash = match client {
            IpAddr::V4(address) => hash(address.octets()),
            IpAddr::V6(address) => hash(address.octets()),
        };
        #[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let share = ((mix(hash ^ self.seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(self.weight) / share.ln()
    }
}

/// Whole share of an upstream whose weight is 1, where shares grow.
const WHOLE: u32 = 1000;

/// Hashes bytes by FNV-1a.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads every bit of a hash over all, as splitmix64 does.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portion(weight: u32, name: &str) -> Portion {
        Portion::new(&Share { weight, ..Share::default() }, 0, name)
    }

    fn chosen(portions: &[Portion], client: u32) -> usize {
        let score = |index: &usize| portions[*index].score(IpAddr::V4(client.into()));
        (0..portions.len()).max_by(|one, other| score(one).total_cmp(&score(other))).unwrap()
    }

    #[test]
    fn a_share_grows_evenly_from_a_hundredth_to_the_whole() {
        let whole = |weight| portion(weight, "a").grown(None, Duration::from_secs(20)).weight;
        assert_eq!((whole(1), whole(7)), (1000, 7000));
        for (used, weight) in
            [(0, 20), (100, 20), (5000, 500), (10_000, 1000), (19_999, 1998), (20_000, 2000), (9_999_999, 2000)]
        {
            let used = Some(Duration::from_millis(used));
            assert_eq!(portion(2, "a").grown(used, Duration::from_secs(20)).weight, weight, "{used:?}");
        }
    }

    #[test]
    fn clients_are_spread_by_weight_and_only_those_of_one_that_leaves_move() {
        let all: Vec<Portion> = [("a", 1), ("b", 1), ("c", 2)].map(|(name, weight)| portion(weight, name)).into();
        let clients = || 0x0a00_0000..0x0a00_4000;
        let counts = clients().fold([0; 3], |mut counts, client| {
            counts[chosen(&all, client)] += 1;
            counts
        });
        for (count, expected) in counts.into_iter().zip([4096_i32, 4096, 8192]) {
            assert!((count - expected).abs() < 300, "{counts:?}");
        }
        for client in clients().filter(|client| chosen(&all, *client) != 2) {
            assert_eq!(chosen(&all, client), chosen(&all[..2], client));
        }
    }
}
