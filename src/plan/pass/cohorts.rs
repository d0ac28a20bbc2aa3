//! Cohorts: where in a ramp a client's turn is. SipHash-2-4 of its address, by a key of the route.

use std::fmt;

/// What hashes the addresses of one route's clients.
#[derive(Clone, Copy)]
pub(super) struct Cohorts([u64; 2]);

impl Cohorts {
    pub(super) fn new(key: [u8; 16]) -> Self {
        let (low, high) = key.split_at(8);
        Self([word(low), word(high)])
    }

    /// The cohort of an address, by its bytes.
    pub(super) fn of(self, address: &[u8]) -> u32 {
        u32::try_from(self.hash(address) >> 32).unwrap_or(0)
    }

    /// SipHash-2-4 (<https://www.aumasson.jp/siphash/siphash.pdf>): the same in every build, which the standard library does not
    /// promise of its own.
    fn hash(self, bytes: &[u8]) -> u64 {
        let [low, high] = self.0;
        let mut state = [
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        let mut add = |word: u64| {
            state[3] ^= word;
            rounds(&mut state, 2);
            state[0] ^= word;
        };
        let chunks = bytes.chunks_exact(8);
        let rest = word(chunks.remainder());
        chunks.for_each(|chunk| add(word(chunk)));
        add(rest | (bytes.len() as u64) << 56);
        state[2] ^= 0xff;
        rounds(&mut state, 4);
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

/// Up to eight bytes, the first the lowest.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn rounds(state: &mut [u64; 4], count: usize) {
    let [a, b, c, d] = state;
    for _ in 0..count {
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

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
        // The paper's test vector, and two of its reference implementation.
        let bytes: Vec<u8> = (0..16).collect();
        let cohorts = Cohorts::new(std::array::from_fn(|index| bytes[index]));
        assert_eq!(cohorts.hash(&bytes[..15]), 0xa129_ca61_49be_45e5);
        assert_eq!(cohorts.hash(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(cohorts.hash(&bytes[..8]), 0x93f5_f579_9a93_2462);
    }
}
