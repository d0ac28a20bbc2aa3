//! Cohorts: the turns of clients in a ramp. A cohort is the `SipHash`-2-4 of an address, by a key of the route.

use std::fmt;

use siphasher::sip::SipHasher24;

/// Hash of the addresses of one route's clients.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Cohorts(SipHasher24);

impl Cohorts {
    pub(in crate::plan) fn new(key: [u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// Returns the cohort of an address, by its bytes.
    pub(in crate::plan) fn of(&self, address: &[u8]) -> u32 {
        u32::try_from(self.0.hash(address) >> 32).unwrap_or(0)
    }
}

/// Hides the key, which may come from a secret.
impl fmt::Debug for Cohorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cohorts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash_2_4() {
        // Test vector of the paper (<https://www.aumasson.jp/siphash/siphash.pdf>, appendix A): its upper half.
        let bytes: Vec<u8> = (0..16).collect();
        let cohorts = Cohorts::new(std::array::from_fn(|index| bytes[index]));
        assert_eq!(cohorts.of(&bytes[..15]), 0xa129_ca61);
    }
}
