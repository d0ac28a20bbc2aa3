//! Members of a fleet, as answers and beats tell them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::status::beat::{Acquaintance, Beat};

use super::super::admin::Offset;

/// Members of a fleet, by the ids of their processes.
#[derive(Debug, Default)]
pub(in crate::cli) struct Members {
    known: BTreeMap<String, Member>,
    /// Ids of the processes that gave a sign, by name.
    names: BTreeMap<String, Vec<String>>,
    /// Processes that have said farewell.
    gone: BTreeSet<String>,
    /// Number of the present round of questions.
    round: u32,
}

/// Member of a fleet.
#[derive(Debug, Default)]
pub(in crate::cli) struct Member {
    /// Name.
    pub(in crate::cli) name: String,
    /// Last answer.
    told: Option<Told>,
    /// Round of the last answer.
    round: u32,
    /// True if it gave a sign itself.
    has_signed: bool,
    /// Time of the last one.
    signed_at: Option<Instant>,
    /// True if a process with the same name has given a sign since.
    has_successor: bool,
    /// Processes that have heard of it, and the time since then.
    by: BTreeMap<String, Duration>,
}

/// Answer of a replica.
#[derive(Debug)]
pub(in crate::cli) struct Told {
    /// Answer.
    pub(in crate::cli) beat: Beat,
    /// Offset of its clock.
    pub(in crate::cli) clock: Option<Offset>,
}

impl Members {
    /// Begins a new round: earlier answers are none.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Takes in an answer of this round.
    pub(super) fn answered(&mut self, told: Told) {
        let round = self.round;
        let (boot, heard) = (told.beat.boot.clone(), told.beat.heard.clone());
        if let Some(member) = self.sign(&told.beat) {
            member.round = round;
            let before = member.told.replace(told).map(|told| told.beat.heard).unwrap_or_default();
            self.take_mentions(&boot, &before, &heard);
        }
    }

    /// Takes in a beat that is no answer.
    pub(super) fn heard(&mut self, beat: &Beat) {
        if beat.leaving {
            self.known.remove(&beat.boot);
            self.gone.insert(beat.boot.clone());
        } else {
            self.sign(beat);
        }
    }

    /// Returns the member that has given a sign.
    fn sign(&mut self, beat: &Beat) -> Option<&mut Member> {
        if self.gone.contains(&beat.boot) || !self.known.contains_key(&beat.boot) && self.known.len() >= MOST_MEMBERS {
            return None;
        }
        let is_new = !self.known.get(&beat.boot).is_some_and(|member| member.has_signed);
        if is_new {
            // A process that was begun anew. Two that live tell so by their next signs.
            let namesakes = self.names.entry(beat.replica.clone()).or_default();
            for namesake in namesakes.iter() {
                if let Some(one) = self.known.get_mut(namesake).filter(|one| one.round < self.round) {
                    one.has_successor = true;
                }
            }
            namesakes.push(beat.boot.clone());
        }
        let member = self.known.entry(beat.boot.clone()).or_default();
        member.name.clone_from(&beat.replica);
        member.signed_at = Some(Instant::now());
        (member.has_signed, member.has_successor) = (true, false);
        Some(member)
    }

    /// Notes whom a member mentions now, in the place of those whom it mentioned before. One that nobody mentions any
    /// more, and that gave no sign itself, has left or was replaced.
    fn take_mentions(&mut self, by: &str, before: &[Acquaintance], now: &[Acquaintance]) {
        for other in before {
            let Some(member) = self.known.get_mut(&other.boot) else { continue };
            member.by.remove(by);
            if member.by.is_empty() && !member.has_signed {
                self.known.remove(&other.boot);
            }
        }
        for other in now.iter().filter(|other| !self.gone.contains(&other.boot)) {
            if self.known.len() >= MOST_MEMBERS && !self.known.contains_key(&other.boot) {
                continue;
            }
            let member = self.known.entry(other.boot.clone()).or_default();
            if member.name.is_empty() {
                member.name.clone_from(&other.replica);
            }
            member.by.insert(by.to_owned(), Duration::from_millis(other.ago_ms));
        }
    }

    /// Forgets those that nobody speaks of, and that gave no sign for a time themselves. Whoever waits for all does not
    /// forget anybody.
    pub(in crate::cli) fn forget(&mut self, after: Duration) {
        let is_old = |member: &Member| member.signed_at.is_none_or(|at| at.elapsed() >= after);
        self.known.retain(|_, member| !(member.by.is_empty() && is_old(member)));
    }

    /// Returns the members, sorted by name, each with true if it has answered in this round.
    pub(in crate::cli) fn all(&self) -> Vec<(&Member, bool)> {
        let present = self.known.values().filter(|member| !member.is_replaced());
        let mut all: Vec<_> = present.map(|member| (member, member.round == self.round)).collect();
        all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        all
    }

    /// Returns true if a member has answered in one of the last rounds.
    pub(in crate::cli) fn is_recent(&self, member: &Member, rounds: u32) -> bool {
        member.told.is_some() && member.round + rounds > self.round
    }

    /// Returns the names of those that have answered in this round.
    pub(in crate::cli) fn answering(&self) -> Vec<&str> {
        self.all()
            .into_iter()
            .filter(|(_, has_answered)| *has_answered)
            .map(|(member, _)| member.name.as_str())
            .collect()
    }

    /// Returns the members with the ids of their processes.
    pub(in crate::cli) fn by_id(&self) -> impl Iterator<Item = (&String, &Member, bool)> {
        let present = self.known.iter().filter(|(_, member)| !member.is_replaced());
        present.map(|(id, member)| (id, member, member.round == self.round))
    }

    /// Returns true if somebody has answered in this round.
    pub(in crate::cli) fn has_answer(&self) -> bool {
        self.known.values().any(|member| member.told.is_some() && member.round == self.round)
    }

    /// Returns true if everybody has answered in this round.
    pub(in crate::cli) fn is_complete(&self) -> bool {
        let mut all = self.known.values().filter(|member| !member.is_replaced()).peekable();
        all.peek().is_some() && all.all(|member| member.round == self.round && member.told.is_some())
    }
}

impl Member {
    /// Returns true if another process has taken its place, by the word of all.
    fn is_replaced(&self) -> bool {
        self.has_successor && self.by.is_empty()
    }

    /// Returns the last answer, of this round or an earlier one.
    pub(in crate::cli) fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// Returns the time since another replica has heard of it.
    pub(in crate::cli) fn ago(&self) -> Option<Duration> {
        self.by.values().min().copied()
    }
}

/// Members that are kept.
const MOST_MEMBERS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(name: &str, boot: &str, heard: &[(&str, &str)]) -> Beat {
        let heard = heard.iter().map(|(replica, boot)| {
            let (replica, boot) = ((*replica).to_owned(), (*boot).to_owned());
            Acquaintance { replica, boot, ago_ms: 12_300 }
        });
        let (replica, boot) = (name.to_owned(), boot.to_owned());
        Beat { replica, boot, heard: heard.collect(), ..Beat::default() }
    }

    fn answer(members: &mut Members, name: &str, boot: &str, heard: &[(&str, &str)]) {
        members.answered(Told { beat: beat(name, boot, heard), clock: None });
    }

    fn names(members: &Members) -> Vec<(&str, bool)> {
        members.all().into_iter().map(|(member, answered)| (member.name.as_str(), answered)).collect()
    }

    #[test]
    fn one_that_others_have_heard_of_is_missing_until_it_answers() {
        let mut members = Members::default();
        members.begin_round();
        assert!(!members.is_complete());
        answer(&mut members, "a", "1", &[("b", "2"), ("c", "3")]);
        answer(&mut members, "b", "2", &[("a", "1"), ("c", "3")]);
        assert!(!members.is_complete() && members.has_answer());
        assert_eq!(names(&members), [("a", true), ("b", true), ("c", false)]);
        assert_eq!(members.all()[2].0.ago(), Some(Duration::from_millis(12_300)));
        answer(&mut members, "c", "3", &[]);
        assert!(members.is_complete());
        members.begin_round();
        assert!(!members.is_complete());
        assert_eq!(names(&members), [("a", false), ("b", false), ("c", false)]);
    }

    #[test]
    fn one_that_has_left_is_not_missing_whatever_the_others_say() {
        let mut members = Members::default();
        members.begin_round();
        answer(&mut members, "a", "1", &[("b", "2")]);
        members.heard(&Beat { leaving: true, ..beat("b", "2", &[]) });
        answer(&mut members, "a", "1", &[("b", "2")]);
        assert_eq!(names(&members), [("a", true)]);
        // Nobody speaks of this one any more: the others have its farewell.
        answer(&mut members, "a", "1", &[("c", "3")]);
        assert!(!members.is_complete());
        members.begin_round();
        answer(&mut members, "a", "1", &[]);
        assert!(members.is_complete());
    }

    #[test]
    fn one_that_gave_a_sign_stays_missing_without_a_farewell_and_its_successor_takes_its_place() {
        let mut members = Members::default();
        members.begin_round();
        answer(&mut members, "a", "1", &[("b", "2")]);
        answer(&mut members, "b", "2", &[]);
        members.begin_round();
        answer(&mut members, "a", "1", &[]);
        assert_eq!(names(&members), [("a", true), ("b", false)], "forgotten by the others, but not here");
        members.heard(&beat("b", "9", &[]));
        assert_eq!(names(&members), [("a", true), ("b", false)]);
        answer(&mut members, "b", "9", &[]);
        assert!(members.is_complete());
        members.forget(Duration::from_secs(60));
        assert!(members.is_complete());
        let recent = |rounds| members.all().iter().filter(|(one, _)| members.is_recent(one, rounds)).count();
        assert_eq!((recent(1), recent(2)), (2, 2));
        // Two that live with one name are two.
        members.begin_round();
        answer(&mut members, "a", "1", &[]);
        answer(&mut members, "b", "2", &[]);
        answer(&mut members, "b", "9", &[]);
        assert_eq!(names(&members), [("a", true), ("b", true), ("b", true)]);
        members.forget(Duration::ZERO);
        assert!(members.all().is_empty());
    }

    #[test]
    fn a_large_fleet_is_known_by_a_few_mentions_in_each_answer() {
        let mut members = Members::default();
        members.begin_round();
        let name = |number: u32| format!("host-{:04}:9901", number % 1000);
        for number in 0..999 {
            let mentioned: Vec<(String, String)> = (1..=8)
                .map(|step| (name(number + step * 111), (number + step * 111) % 1000))
                .map(|(a, b)| (a, b.to_string()))
                .collect();
            let mentioned: Vec<(&str, &str)> = mentioned.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            answer(&mut members, &name(number), &number.to_string(), &mentioned);
        }
        assert!(!members.is_complete());
        let silent: Vec<_> = members.all().into_iter().filter(|(_, answered)| !answered).collect();
        assert_eq!(silent.len(), 1);
        assert_eq!(silent[0].0.name, "host-0999:9901");
        assert_eq!(members.answering().len(), 999);
    }
}
