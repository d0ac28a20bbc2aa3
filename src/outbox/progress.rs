//! Progress of a sender: which updates were told, and to whom not yet. Replicas hand it on with the lease.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::news::Key;

/// Progress of a sender. An update that is not in it is still to be told to all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Updates, newest first.
    pub updates: Vec<ToldUpdate>,
    /// Subscribers of the sender's store, once it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers: Option<Readers>,
}

/// Update that was told to all but a few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToldUpdate {
    /// Key, the same in every replica that sees the same files.
    pub key: String,
    /// Instant of the change.
    pub at: Timestamp,
    /// Instant at which its incident was over, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<Timestamp>,
    /// Subscribers who are still to be told.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub waiting: BTreeSet<Reader>,
    /// True if the update waits for a digest that was not begun.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub digest: bool,
}

/// Short name of a subscriber, the same in every store. Two may share one, which repeats a message rather than losing it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reader(String);

/// Number and hash of the subscribers of a store, by which two stores can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readers {
    /// Number.
    pub count: u64,
    /// Hash of all their names; empty if there are none.
    pub hash: String,
}

impl Progress {
    /// Adds what earlier senders have told and this store does not know, unless it is so old that nobody asks.
    pub fn after(mut self, earlier: &Self, now: Timestamp) -> Self {
        let known: BTreeSet<&str> = self.updates.iter().map(|update| update.key.as_str()).collect();
        let is_kept =
            |update: &&ToldUpdate| !known.contains(update.key.as_str()) && now.duration_since(update.at) < KEPT;
        let added: Vec<ToldUpdate> = earlier.updates.iter().filter(is_kept).cloned().collect();
        self.updates.extend(added);
        self.updates.sort_by(|one, other| (other.at, &other.key).cmp(&(one.at, &one.key)));
        self.updates.truncate(MOST_UPDATES);
        self
    }

    /// Leaves out the updates that too many are still to be told: their names would fill the lease.
    pub fn bounded(mut self) -> Self {
        let mut room = MOST_WAITING;
        self.updates.retain(|update| {
            let has_room = update.waiting.len() <= room;
            room -= if has_room { update.waiting.len() } else { 0 };
            has_room
        });
        self
    }
}

impl ToldUpdate {
    /// Returns true if a subscriber was told, by a message of its own or by a digest.
    pub fn reached(&self, reader: &Reader, by_digest: bool) -> bool {
        !(by_digest && self.digest || self.waiting.contains(reader))
    }

    /// Returns true if this is an update with a key that happened at an instant. A replica with a new state directory
    /// gives the key of a closure that is over to the next one, which begins later.
    pub fn is(&self, key: &str, at: Timestamp, is_last: bool) -> bool {
        let late = if is_last { LATE } else { SKEW };
        self.key == key && self.over.is_none_or(|over| at.duration_since(over) < late)
    }
}

impl Reader {
    /// Returns the name of a subscriber.
    pub fn new(channel: &str, address: &str) -> Self {
        Self(Key::of(&["reader", channel, address]).as_str().chars().take(LETTERS).collect())
    }
}

impl Readers {
    /// Counts subscribers, who come in the order of their names.
    pub fn new(names: &BTreeSet<Reader>) -> Self {
        let all: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
        let hash = if all.is_empty() { String::new() } else { Key::of(&all).to_string() };
        Self { count: u64::try_from(all.len()).unwrap_or(u64::MAX), hash }
    }
}

/// Age up to which an update may still be told to somebody: the schedule of attempts takes three days.
pub const KEPT: SignedDuration = SignedDuration::from_hours(96);
/// Updates that the lease has at most, the newest.
pub const MOST_UPDATES: usize = 2000;
/// Names of those who are still to be told, of all updates together.
const MOST_WAITING: usize = 20_000;
/// Time by which a replica may see the end of an incident later than another.
const LATE: SignedDuration = SignedDuration::from_mins(1);
/// Time by which clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Letters of a name, five bits each.
const LETTERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    fn update(key: &str, instant: &str) -> ToldUpdate {
        ToldUpdate { key: key.to_owned(), at: at(instant), ..ToldUpdate::default() }
    }

    #[test]
    fn what_earlier_senders_told_is_handed_on_until_nobody_asks() {
        let earlier = Progress {
            updates: vec![update("a", "12:00:00"), ToldUpdate { digest: true, ..update("b", "13:00:00") }],
            ..Progress::default()
        };
        let own =
            || Progress { updates: vec![update("b", "13:00:00"), update("c", "11:00:00")], ..Progress::default() };
        let keys =
            |progress: Progress| progress.updates.into_iter().map(|one| (one.key, one.digest)).collect::<Vec<_>>();
        let told = |key: &str| (key.to_owned(), false);
        assert_eq!(
            keys(own().after(&earlier, at("14:00:00"))),
            [told("b"), told("a"), told("c")],
            "the own word counts"
        );
        let later = at("14:00:00") + SignedDuration::from_hours(96);
        assert_eq!(keys(own().after(&earlier, later)), [told("b"), told("c")]);
    }

    #[test]
    fn a_closure_that_begins_after_one_with_its_key_is_over_is_another() {
        let told = ToldUpdate { over: Some(at("13:00:00")), ..update("a", "12:00:00") };
        assert!(told.is("a", at("12:00:03"), false) && told.is("a", at("13:00:03"), false));
        assert!(!told.is("b", at("12:00:00"), false) && !told.is("a", at("13:00:05"), false));
        assert!(told.is("a", at("13:00:30"), true) && !told.is("a", at("13:01:00"), true));
        assert!(update("a", "12:00:00").is("a", at("18:00:00"), false), "one that goes on is seen late");
    }

    #[test]
    fn an_update_that_too_many_wait_for_is_left_out() {
        let names = |range: std::ops::Range<usize>| range.map(|at| Reader::new("mail", &at.to_string())).collect();
        let few = ToldUpdate { waiting: names(0..10), ..update("few", "12:00:00") };
        let many = ToldUpdate { waiting: names(0..MOST_WAITING), ..update("many", "13:00:00") };
        let progress = Progress { updates: vec![few.clone(), many], ..Progress::default() }.bounded();
        assert_eq!(progress.updates, [few]);
    }
}
