//! Odd nights of a recurring window: occurrences that a change of the clock moves.

use std::fmt;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::super::{Flags, When, Window};
use super::{Every, Start};

/// Occurrence that a change of the clock moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Odd {
    /// Start.
    pub starts: Timestamp,
    /// End.
    pub ends: Timestamp,
    /// Local start by the rule.
    pub planned: DateTime,
    /// Local start, and local end.
    pub local: (DateTime, DateTime),
    /// Way in which it is odd.
    pub oddity: Oddity,
}

/// Way in which an occurrence is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// Planned start that does not exist: the occurrence begins later.
    Moved,
    /// Planned start that comes twice: the occurrence begins at the first.
    Twice,
    /// Clock that changes before the occurrence ends.
    OtherEnd,
}

impl fmt::Display for Odd {
    /// Writes the night in local times: `2027-03-28: 02:30 does not exist, it is on from 03:30 to 04:30, for 1h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { starts, ends, planned, local: (from, to), oddity } = self;
        let planned_at = planned.strftime("%H:%M");
        write!(f, "{}: ", planned.date())?;
        match oddity {
            Oddity::Moved => write!(f, "{planned_at} does not exist, ")?,
            Oddity::Twice => write!(f, "{planned_at} comes twice, the first counts, ")?,
            Oddity::OtherEnd => write!(f, "the clock changes, ")?,
        }
        let day = |at: &DateTime| {
            if at.date() == planned.date() {
                at.strftime("%H:%M").to_string()
            } else {
                at.strftime("%H:%M on %F").to_string()
            }
        };
        // An hour that comes twice is not seen in the local times.
        write!(f, "it is on from {} to {}, for {:#}", day(from), day(to), ends.duration_since(*starts))
    }
}

impl Flags {
    /// Returns the odd nights of all recurring windows between two instants, soonest first.
    pub fn odd_nights(&self, from: Timestamp, until: Timestamp) -> Vec<(&Window, Odd)> {
        let of = |window: &Window| match &window.when {
            When::Once { .. } => Vec::new(),
            When::Every(every) => every.odd(from, until),
        };
        let windows = self.windows.iter();
        let mut nights: Vec<_> =
            windows.flat_map(|window| of(window).into_iter().map(move |odd| (window, odd))).collect();
        nights.sort_by_key(|(_, odd)| odd.starts);
        nights
    }
}

impl Oddity {
    /// Returns the word for the oddity in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Twice => "twice",
            Self::OtherEnd => "other-end",
        }
    }
}

impl Every {
    /// Returns the odd nights between two instants, at most some of them.
    pub fn odd(&self, from: Timestamp, until: Timestamp) -> Vec<Odd> {
        let reach = self.length.local().saturating_add(SignedDuration::from_hours(24));
        let mut odd: Vec<Odd> = Vec::new();
        for change in self.zone.following(from).take(MOST_CHANGES).take_while(|change| change.timestamp() <= until) {
            let change = change.timestamp();
            let first = change.checked_sub(reach).unwrap_or(Timestamp::MIN).max(from);
            let last = change.checked_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
            let mut next = self.next_start(first, last);
            let mut looked_at = 0;
            while let Some(start) = next.filter(|_| looked_at < MOST_STARTS) {
                if odd.iter().all(|known| known.starts != start.instant) {
                    odd.extend(self.oddity(start));
                }
                looked_at += 1;
                next = self.next_start(start.instant, last);
            }
        }
        odd.truncate(MOST_TOLD);
        odd
    }

    /// Returns what a change of the clock does to the occurrence that begins at an instant.
    pub fn odd_at(&self, starts: Timestamp) -> Option<Odd> {
        let start = self.last_start(starts).filter(|start| start.instant == starts)?;
        self.oddity(start)
    }

    fn oddity(&self, start: Start) -> Option<Odd> {
        let (starts, ends) = self.of(start)?;
        let planned = start.planned;
        let local = (self.zone.to_datetime(starts), self.zone.to_datetime(ends));
        let planned_end = planned.checked_add(self.length.local()).ok()?;
        let is_whole = ends == self.end(start)?;
        let oddity = if local.0 != planned {
            Oddity::Moved
        } else if self.zone.to_ambiguous_timestamp(planned).is_ambiguous() {
            Oddity::Twice
        } else if local.1 != planned_end && is_whole {
            Oddity::OtherEnd
        } else {
            return None;
        };
        Some(Odd { starts, ends, planned, local, oddity })
    }
}

/// Most changes of the clock that are looked at. Morocco has two a year, and no zone more than four.
const MOST_CHANGES: usize = 8;
/// Most starts that are looked at around a change.
const MOST_STARTS: usize = 200;
/// Most nights that are told of one window.
const MOST_TOLD: usize = 16;
