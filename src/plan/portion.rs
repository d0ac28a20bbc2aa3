//! Portions of a route's requests that its upstreams get.

use std::net::IpAddr;
use std::sync::Arc;

/// Portions of upstreams that are not alike, or that clients keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Portions {
    /// Portions in the order of [`super::snapshot::Route::in_use`].
    pub each: Arc<[Portion]>,
    /// True if a client keeps to an upstream by its address.
    pub sticky: bool,
}

/// Portion of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Weight, at least 1.
    pub weight: u32,
    /// True if the upstream is used only while no other answers.
    pub backup: bool,
    /// Hash of the upstream, the same in every replica.
    seed: u64,
}

impl Portion {
    /// Returns the portion of an upstream by its name.
    pub(super) fn new(weight: u32, backup: bool, upstream: &str) -> Self {
        Self { weight, backup, seed: hash(upstream.bytes()) }
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

    fn chosen(portions: &[Portion], client: u32) -> usize {
        let score = |index: &usize| portions[*index].score(IpAddr::V4(client.into()));
        (0..portions.len()).max_by(|one, other| score(one).total_cmp(&score(other))).unwrap()
    }

    #[test]
    fn clients_are_spread_by_weight_and_only_those_of_one_that_leaves_move() {
        let all: Vec<Portion> =
            [("a", 1), ("b", 1), ("c", 2)].map(|(name, weight)| Portion::new(weight, false, name)).into();
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
