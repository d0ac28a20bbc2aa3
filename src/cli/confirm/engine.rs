//! Confirmation through the engine: all replicas are asked at once, and again, until each one that is known has confirmed.
//!
//! A replica counts from when it answers, or another one has heard of it. One that falls silent without a farewell counts
//! on, and is missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::control::fleet;
use crate::plan::config::FleetConfig;

use super::super::admin::{self, Answer};
use super::super::roll::{Roll, Wait};
use super::super::whom::Whom;
use super::judge;
use super::{Claim, Disk, Objection, Patience, Poll, Until, Word, is_reached};

/// Engine through which all replicas are asked.
pub(super) struct Engine {
    roll: Roll,
    fleet: FleetConfig,
    disk: Disk,
    /// Names and words of the replicas, by the ids of their processes.
    words: BTreeMap<String, (String, Word)>,
    /// Time for those that are missing. It grows, so that one that is far away or busy is heard in the end.
    more: Duration,
}

impl Engine {
    pub(super) fn new(roll: Roll, fleet: FleetConfig, claim: &Claim) -> Self {
        Self { roll, fleet, disk: Disk::of(claim), words: BTreeMap::new(), more: MORE }
    }

    /// Returns the name of the flags.
    pub(super) fn place(&self) -> String {
        self.fleet.to_string()
    }

    /// Asks until every replica has reached the state, or waiting is of no use any more.
    pub(super) fn poll(&mut self, claim: &Claim, begun: Instant, patience: Patience) -> Vec<(Whom, Option<Word>)> {
        loop {
            let asked = Instant::now();
            let left = patience.within.saturating_sub(begun.elapsed());
            let called = self.roll.call(&claim.asked.0, Wait { whole: left, first: left.min(FIRST), more: self.more });
            if !self.roll.members.is_complete() {
                self.more = (self.more * 2).min(MOST_MORE);
            }
            self.judge(claim, patience.until);
            let is_over = called.is_ok() && self.is_over(claim, begun, patience);
            let pause = (begun.elapsed() / 16).clamp(SHORTEST_PAUSE, LONGEST_PAUSE).max(asked.elapsed() / 4);
            if is_over || patience.within.saturating_sub(begun.elapsed()) <= pause {
                let mut words: Vec<_> = std::mem::take(&mut self.words).into_values().collect();
                words.sort_by(|(one, _), (other, _)| one.cmp(other));
                return words.into_iter().map(|(name, word)| (Whom::Named(name), Some(word))).collect();
            }
            if called.is_ok() {
                self.look();
            }
            self.roll.pause(pause);
        }
    }

    /// Judges what the replicas have answered. One that has reached the state is not judged again, and one that has left
    /// does not count.
    fn judge(&mut self, claim: &Claim, until: Until) {
        let place = self.fleet.to_string();
        let mut before = std::mem::take(&mut self.words);
        for (id, member, has_answered) in self.roll.members.by_id() {
            let known = before.remove(id).map(|(_, word)| word);
            let word = match known.filter(|word| is_reached(word, claim, until)) {
                Some(word) => word,
                None => match member.told().filter(|_| has_answered) {
                    Some(told) => {
                        let answer = Answer { status: told.beat.status(&place), clock: told.beat.at };
                        judge::word(claim, &mut self.disk, answer)
                    }
                    None => Word::Silent(admin::Error::Missing(member.ago())),
                },
            };
            self.words.insert(id.clone(), (member.name.clone(), word));
        }
    }

    /// Returns true if waiting would change no word.
    fn is_over(&self, claim: &Claim, begun: Instant, patience: Patience) -> bool {
        let disk = Disk { text: self.disk.text.clone(), hashes: self.disk.hashes.clone() };
        let poll = Poll { claim, begun, patience, disk };
        let is_over = |word: &Word| is_reached(word, claim, patience.until) || poll.is_final(word);
        !self.words.is_empty() && self.words.values().all(|(_, word)| is_over(word))
    }

    /// Reads the text again, if a replica has another one: it may be a later edit.
    fn look(&mut self) {
        let has_other = |word: &Word| match word {
            Word::Not(objections) => objections.contains(&Objection::NotTaken),
            Word::InForce(_) | Word::Silent(_) => false,
        };
        if self.words.values().any(|(_, word)| has_other(word))
            && let Ok(Some(document)) = fleet::block_on(fleet::read(&self.fleet))
            && let Ok(text) = String::from_utf8(document.text.to_vec())
        {
            self.disk.add(text);
        }
    }
}

/// Time for the first answer to a question.
const FIRST: Duration = Duration::from_secs(1);
/// Time for those that are missing, after each answer.
const MORE: Duration = Duration::from_millis(300);
const MOST_MORE: Duration = Duration::from_secs(3);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
