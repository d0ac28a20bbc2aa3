//! Cohorts: the places of clients in a ramp.
//!
//! A client has one turn: the hash of its address. Its cohort is a hash of that turn and of the ramp's group. So a client
//! that is admitted to a page is admitted to the API beside it. The next maintenance does not begin with the same
//! clients again. No secret takes part, so all routes and replicas agree. The hash is `SipHash`-2-4.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

/// Turn of a client, the same in every ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Hash of the client's address, or of the address that it had when its cookie was made.
    Hash(u32),
    /// Turn of clients that nothing tells apart. As one cohort they would all come back at once, and perhaps first.
    Last,
}

/// Group of ramps in which every client has the same cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group<'g> {
    /// Ramps of routes with this `ramp_group`.
    Named(&'g str),
    /// Ramps after a window, by its id.
    Window(&'g str),
    /// Ramps after flags. Replicas see a flag at different times, so nothing else names it.
    Flags,
}

impl Turn {
    /// Returns the turn of an address, by its bytes.
    pub(in crate::plan) fn of(address: &[u8]) -> Self {
        Self::Hash(hash(TURN, address, &[]))
    }

    /// Returns the cohort of a client with this turn.
    pub(in crate::plan) fn cohort(self, group: Group<'_>) -> u32 {
        match (self, group) {
            (Self::Last, _) => LAST,
            (Self::Hash(turn), Group::Named(name)) => hash(NAMED, name.as_bytes(), &turn.to_be_bytes()),
            (Self::Hash(turn), Group::Window(id)) => hash(WINDOW, id.as_bytes(), &turn.to_be_bytes()),
            (Self::Hash(turn), Group::Flags) => hash(FLAGS, &[], &turn.to_be_bytes()),
        }
    }
}

/// Hashes two texts. The second has the same length in all hashes of one kind, so no two pairs are read alike.
fn hash(kind: u8, first: &[u8], second: &[u8]) -> u32 {
    let mut hasher = SipHasher24::new_with_key(KEY);
    hasher.write(&[kind]);
    hasher.write(first);
    hasher.write(second);
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}

/// Cohort that is admitted last.
const LAST: u32 = u32::MAX;

/// Key of the hash. Any key would do that all replicas have.
const KEY: &[u8; 16] = b"backsoon cohorts";

const TURN: u8 = 1;
const NAMED: u8 = 2;
const WINDOW: u8 = 3;
const FLAGS: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_place_in_a_group_and_others_elsewhere() {
        let groups = [Group::Named("a"), Group::Window("a"), Group::Window("b"), Group::Flags];
        for (index, group) in groups.into_iter().enumerate() {
            let turn = Turn::of(&[198, 51, 100, 1]);
            assert_eq!(turn.cohort(group), Turn::of(&[198, 51, 100, 1]).cohort(group));
            assert_eq!(Turn::Last.cohort(group), u32::MAX);
            assert!(groups[..index].iter().all(|other| turn.cohort(*other) != turn.cohort(group)), "{group:?}");
        }
    }

    #[test]
    fn cohorts_are_spread_evenly() {
        let turns = (0..4000_u32).map(|n| Turn::of(&n.to_be_bytes()));
        let early = turns.filter(|turn| turn.cohort(Group::Flags) < u32::MAX / 4).count();
        assert!((900..1100).contains(&early), "{early} of 4000, not a quarter");
    }
}
