//! Judgement of a lease: whose it is, and what is to be done about it. It reads no clock and asks no engine.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::outbox::progress::Progress;
use crate::plan::units::millis;

/// Content of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Word {
    /// Holder; `None` if the lease was given back.
    pub holder: Option<Holder>,
    /// Time for which the lease lasts after each write.
    pub length_ms: u64,
    /// Progress of this holder and those before.
    pub told: Progress,
}

/// Process that has the lease. A name alone may belong to several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Holder {
    /// Name of the replica.
    pub replica: String,
    /// Random word of the process.
    pub boot: String,
}

/// Judge of the lease.
#[derive(Debug)]
pub(super) struct Judge {
    own: Holder,
    seen: Option<Seen>,
    held: Option<Held>,
    /// Number by which the looks of many replicas are spread.
    spread: f64,
}

/// Key as it was seen first at its revision.
#[derive(Debug)]
struct Seen {
    revision: u64,
    holder: Option<Holder>,
    since: Instant,
    lasts: Duration,
}

/// Lease that is ours.
#[derive(Debug)]
struct Held {
    revision: u64,
    /// Instant before the last write.
    begun: Instant,
    /// Instant after which nothing is told, some time before others may take the lease.
    until: Instant,
    /// Instant of the next write.
    renew: Instant,
}

/// Thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Take or renew the lease, if the key still has this revision.
    Write { expected: u64 },
    /// Wait. Who does not hold the lease looks at it then.
    Rest { until: Instant },
}

impl Default for Word {
    fn default() -> Self {
        Self { holder: None, length_ms: millis(LENGTH), told: Progress::default() }
    }
}

impl Word {
    /// Reads a key; `None` was deleted. What nobody understands is somebody's, until it runs out.
    pub(super) fn parse(text: Option<&[u8]>) -> Self {
        let Some(text) = text else { return Self::default() };
        let strange =
            || Self { holder: Some(Holder { replica: "?".to_owned(), boot: String::new() }), ..Self::default() };
        serde_json::from_slice(text).unwrap_or_else(|_| strange())
    }

    /// Returns the content of the key.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Judge {
    pub(super) fn new(own: Holder) -> Self {
        Self { own, seen: None, held: None, spread: fastrand::f64() }
    }

    /// Returns this process.
    pub(super) fn own(&self) -> &Holder {
        &self.own
    }

    /// Returns true if the lease was ours when it was seen last. It may have run out since.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the instant until which we may tell.
    pub(super) fn until(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    /// Returns the holder, unless the lease has run out.
    pub(super) fn holder(&self, now: Instant) -> Option<&Holder> {
        match (&self.held, &self.seen) {
            (Some(held), _) => Some(&self.own).filter(|_| now < held.until),
            (None, Some(seen)) => seen.holder.as_ref().filter(|_| now < seen.since + seen.lasts),
            (None, None) => None,
        }
    }

    /// Takes in what the key has; `None` if there is none. Returns what was told if others have written it.
    pub(super) fn saw(&mut self, found: Option<(u64, Word)>, now: Instant) -> Option<Progress> {
        let (revision, word) = found.unwrap_or_default();
        let is_own = word.holder.as_ref() == Some(&self.own);
        let is_known = self.seen.as_ref().is_some_and(|seen| seen.revision == revision);
        if !is_own {
            self.held = None;
        } else if self.held.as_ref().is_none_or(|held| held.revision != revision) {
            // Written by us, and the answer was lost: nothing is known of the time, so it is written again at once.
            let until = self.until().unwrap_or(now);
            self.held = Some(Held { revision, begun: now, until, renew: now });
        }
        if is_known {
            return None;
        }
        let lasts = Duration::from_millis(word.length_ms).clamp(SHORTEST, LONGEST);
        self.seen = Some(Seen { revision, holder: word.holder, since: now, lasts });
        (!is_own && revision > 0).then_some(word.told)
    }

    /// Takes in the outcome of a write that was begun at an instant: its revision, or `None` if others have written.
    pub(super) fn wrote(&mut self, revision: Option<u64>, sent: Instant) {
        let held = |revision| Held { revision, begun: sent, until: sent + (LENGTH - MARGIN), renew: sent + LENGTH / 3 };
        self.held = revision.map(held);
        if let Some(revision) = revision {
            let holder = Some(self.own.clone());
            self.seen = Some(Seen { revision, holder, since: sent, lasts: LENGTH });
        }
    }

    /// Has the lease written at once.
    pub(super) fn hurry(&mut self) {
        self.held.iter_mut().for_each(|held| held.renew = held.begun);
    }

    /// Returns what is to be done.
    pub(super) fn next(&self, now: Instant) -> Step {
        if let Some(held) = &self.held {
            return if held.renew <= now {
                Step::Write { expected: held.revision }
            } else {
                Step::Rest { until: held.renew }
            };
        }
        let look = now + LOOK_EVERY + LOOK_EVERY.mul_f64(self.spread / 5.0);
        match &self.seen {
            Some(seen) if seen.holder.is_none() || seen.since + seen.lasts <= now => {
                Step::Write { expected: seen.revision }
            }
            Some(seen) => Step::Rest { until: look.min(seen.since + seen.lasts) },
            None => Step::Rest { until: look },
        }
    }
}

/// Time for which the lease lasts after each write.
pub(super) const LENGTH: Duration = Duration::from_secs(30);
/// Time before the end of the lease in which its holder tells nothing more.
const MARGIN: Duration = Duration::from_secs(5);
/// Time between two looks at the lease of another.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bounds of a length that another version writes.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &str) -> Judge {
        Judge::new(Holder { replica: name.to_owned(), boot: format!("boot of {name}") })
    }

    fn word(judge: &Judge) -> Word {
        Word { holder: Some(judge.own().clone()), ..Word::default() }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_taken_once_its_revision_was_seen_unchanged_for_its_length() {
        let (start, one, mut other) = (Instant::now(), judge("one"), judge("other"));
        other.saw(Some((4, word(&one))), start);
        assert!(matches!(other.next(start), Step::Rest { .. }));
        // Renewed: its time begins anew, however late the look was.
        other.saw(Some((5, word(&one))), after(start, 29));
        other.saw(Some((5, word(&one))), after(start, 58));
        assert!(matches!(other.next(after(start, 58)), Step::Rest { until } if until == after(start, 59)));
        assert_eq!(other.holder(after(start, 58)), Some(one.own()));
        assert_eq!(other.next(after(start, 59)), Step::Write { expected: 5 });
        assert_eq!(other.holder(after(start, 59)), None);
    }

    #[test]
    fn a_holder_stops_before_anybody_takes_its_lease() {
        let (start, mut one, mut other) = (Instant::now(), judge("one"), judge("other"));
        one.saw(None, start);
        assert_eq!(one.next(start), Step::Write { expected: 0 });
        one.wrote(Some(1), start);
        assert_eq!(one.next(after(start, 9)), Step::Rest { until: after(start, 10) });
        assert_eq!(one.next(after(start, 10)), Step::Write { expected: 1 });
        // Seen the instant it was written, which is the earliest.
        other.saw(Some((1, word(&one))), start);
        let taken = (0..60).find(|second| matches!(other.next(after(start, *second)), Step::Write { .. }));
        assert_eq!(taken, Some(30));
        assert_eq!(one.until(), Some(after(start, 25)));
        assert_eq!(one.holder(after(start, 25)), None, "it says so itself");
        // It comes back, and finds that somebody has it.
        let told = one.saw(Some((2, word(&other))), after(start, 40));
        assert!(told.is_some() && !one.holds() && one.until().is_none());
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_written_again_and_lends_no_time() {
        let (start, mut one) = (Instant::now(), judge("one"));
        one.wrote(Some(1), start);
        assert!(one.saw(Some((2, word(&one))), after(start, 15)).is_none(), "our own word");
        assert_eq!(one.until(), Some(after(start, 25)));
        assert_eq!(one.next(after(start, 15)), Step::Write { expected: 2 });
        let mut again = judge("one");
        again.saw(Some((2, word(&again))), start);
        assert!(again.until().is_some_and(|until| until <= start));
    }

    #[test]
    fn a_lease_that_was_given_back_deleted_or_never_there_is_taken_at_once() {
        let (start, one) = (Instant::now(), judge("one"));
        for (found, expected) in [(Some((7, Word::default())), 7), (Some((8, Word::parse(None))), 8), (None, 0)] {
            let mut other = judge("other");
            other.saw(found, start);
            assert_eq!(other.next(start), Step::Write { expected });
        }
        let mut again = Judge::new(Holder { boot: "another".to_owned(), ..one.own().clone() });
        again.saw(Some((3, word(&one))), start);
        assert!(matches!(again.next(start), Step::Rest { .. }), "the same name is not the same process");
        let mut other = judge("other");
        other.saw(Some((9, Word::parse(Some(b"nonsense")))), start);
        assert!(matches!(other.next(start), Step::Rest { .. }), "what nobody understands runs out");
        assert_eq!(other.next(after(start, 30)), Step::Write { expected: 9 });
    }

    #[test]
    fn the_holder_writes_at_once_when_it_has_told_something() {
        let (start, mut one) = (Instant::now(), judge("one"));
        one.wrote(Some(1), start);
        one.hurry();
        assert_eq!(one.next(after(start, 1)), Step::Write { expected: 1 });
        assert_eq!(one.until(), Some(after(start, 25)), "that lends no time");
        let word = word(&one);
        assert_eq!(Word::parse(Some(word.text().as_bytes())), word);
    }
}
