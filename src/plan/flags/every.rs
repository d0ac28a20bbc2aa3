//! Recurring windows: `every = "Sun 02:00-04:00 Europe/Berlin"`, or a recurrence rule of RFC 5545.
//!
//! Starts are local times, and each occurrence has the same length. If the clock jumps ahead, a start that does not exist
//! becomes the later one in its place (02:30 becomes 03:30). If the clock falls back, a start that comes twice means the
//! first one. RFC 5545 section 3.3.5 says the same. An occurrence keeps its length through a change, so it may end at
//! another local time. Whole days are the exception: they end at the same time of day (section 3.3.6).
//!
//! An occurrence that overlaps the next ends where the next begins. So occurrences are in order, and no two are in force
//! at once.
//!
//! Local times are computed first, and each becomes an instant by jiff alone: one time zone database decides. The zones
//! are part of the program; no files are read. A crate that recurs in time zones of its own would be a second one.

mod except;
mod odd;
mod plain;
mod recurrence;
mod rrule;
mod rule;
mod zone;

use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::super::instant::WEEKDAYS;

pub(in crate::plan) use except::Exception;
use except::Exceptions;
pub use odd::{Odd, Oddity};
pub use recurrence::Recurrence;
use rule::{Rule, Way, step};

/// Recurring span of a window.
#[derive(Clone, PartialEq)]
pub struct Every {
    text: String,
    rule: Rule,
    length: Length,
    zone: TimeZone,
    /// First local time; a rule's intervals are counted from here.
    first: Option<DateTime>,
    /// Last instant at which an occurrence may begin.
    last: Option<Timestamp>,
    except: Exceptions,
}

/// Length of an occurrence: so many days of the calendar, and then an exact time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Length {
    days: i32,
    more: SignedDuration,
}

/// Start of an occurrence: the local time of the rule, and the instant that it means.
#[derive(Clone, Copy, Debug)]
struct Start {
    planned: DateTime,
    instant: Timestamp,
}

impl fmt::Debug for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Every");
        tuple.field(&self.text);
        if self.except != Exceptions::default() {
            tuple.field(&self.except);
        }
        tuple.finish()
    }
}

impl fmt::Display for Every {
    /// Writes the rule as the file has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Problem and correction.
pub(super) type Invalid = (String, String);

impl Every {
    /// Parses a recurrence.
    ///
    /// # Errors
    ///
    /// Returns the first problem. A rule whose next occurrence is far away is no problem.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let upper = text.trim().to_ascii_uppercase();
        let is_rule = ["FREQ=", "DTSTART", "RRULE"].iter().any(|word| upper.contains(word));
        if is_rule { rrule::rrule(text) } else { plain::plain(text) }
    }

    /// Leaves an occurrence out. Returns false if there is none to leave out.
    pub(super) fn leave_out(&mut self, exception: Exception) -> bool {
        let is_one = match exception {
            Exception::Day(day) => self.starts_on(day, &self.rule.on(day)).next().is_some(),
            Exception::Start(instant) => self.last_start(instant).is_some_and(|start| start.instant == instant),
        };
        self.except.add(exception);
        is_one
    }

    /// Returns the rule without its exceptions.
    #[must_use]
    pub fn without_exceptions(&self) -> Self {
        Self { except: Exceptions::default(), ..self.clone() }
    }

    /// Returns the time zone of the rule.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Tells what may be wrong with the rule although it is understood.
    pub(super) fn caution(&self) -> Option<Invalid> {
        if let Some(message) = zone::caution(&self.zone) {
            return Some((message, "if another time is meant, write region and city, as `Europe/Berlin`".to_owned()));
        }
        let help = "correct the times; to close a route until further notice, flag it under `[routes]`";
        self.is_always_on()
            .then(|| ("`every` is always on: each time begins when the one before ends".to_owned(), help.to_owned()))
    }

    /// Returns the local day of an instant.
    pub(super) fn day_of(&self, instant: Timestamp) -> Date {
        self.zone.to_datetime(instant).date()
    }

    /// Returns the first instant of a local day.
    pub(super) fn midnight(&self, day: Date) -> Option<Timestamp> {
        instant(&self.zone, day.to_datetime(Time::midnight()))
    }

    /// Returns the occurrence in force at an instant.
    pub fn on(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // No two occurrences are in force at once, so only the last that has begun can be.
        self.before(now).filter(|(_, ends)| now < *ends)
    }

    /// Returns the next occurrence that begins after an instant.
    pub fn after(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.next_start(now, Timestamp::MAX).and_then(|start| self.of(start))
    }

    /// Returns the last occurrence that began at or before an instant.
    pub fn before(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.last_start(now).and_then(|start| self.of(start))
    }

    /// Returns true if no occurrence begins any more, and none is in force.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.last.is_some_and(|last| last <= now) && self.on(now).is_none()
    }

    /// Returns the first start after one instant, and before another.
    fn next_start(&self, after: Timestamp, before: Timestamp) -> Option<Start> {
        let today = self.day_of(after);
        // A change of the clock may move a start into the next day.
        let yesterday = step(today, Way::Back).unwrap_or(today);
        let from = self.first.map_or(yesterday, |first| first.date().max(yesterday));
        let last = self.day_of(self.last.map_or(before, |last| last.min(before)));
        let mut walk = self.rule.walk(from, Way::Ahead, last);
        let mut found: Option<Start> = None;
        while let Some((day, times)) = walk.next() {
            let starts = self.starts_on(day, &times).filter(|start| start.instant > after && start.instant < before);
            let Some(start) = starts.min_by_key(|start| start.instant) else { continue };
            if found.is_none_or(|found| start.instant < found.instant) {
                found = Some(start);
            }
            // Where the clock jumps, the next day may have an earlier start.
            walk.end_after(day);
        }
        found
    }

    /// Returns the last start at or before an instant.
    fn last_start(&self, now: Timestamp) -> Option<Start> {
        let from = self.day_of(self.last.map_or(now, |last| last.min(now)));
        let first = self.first.map_or(Date::MIN, DateTime::date);
        let mut walk = self.rule.walk(from, Way::Back, first);
        let mut found: Option<Start> = None;
        while let Some((day, times)) = walk.next() {
            let starts = self.starts_on(day, &times).filter(|start| start.instant <= now);
            let Some(start) = starts.max_by_key(|start| start.instant) else { continue };
            if found.is_none_or(|found| start.instant > found.instant) {
                found = Some(start);
            }
            walk.end_after(day);
        }
        found
    }

    /// Returns the starts of a day at times of day, without the exceptions.
    fn starts_on(&self, day: Date, times: &[Time]) -> impl Iterator<Item = Start> {
        let starts = times.iter().map(move |time| day.to_datetime(*time)).filter_map(|planned| {
            let instant = instant(&self.zone, planned)?;
            let inside =
                self.first.is_none_or(|first| first <= planned) && self.last.is_none_or(|last| instant <= last);
            (inside && !self.except.has(day, instant)).then_some(Start { planned, instant })
        });
        starts.collect::<Vec<_>>().into_iter()
    }

    /// Returns the occurrence of a start; `None` at the end of time.
    fn of(&self, start: Start) -> Option<(Timestamp, Timestamp)> {
        let ends = self.end(start)?;
        let next = self.next_start(start.instant, ends);
        Some((start.instant, next.map_or(ends, |next| next.instant)))
    }

    /// Returns the end of an occurrence, before the next one cuts it.
    fn end(&self, start: Start) -> Option<Timestamp> {
        let whole = shifted(start.planned, self.length.days).and_then(|planned| instant(&self.zone, planned));
        let nominal = match self.length.days {
            0 => start.instant,
            // Samoa left out a whole day: there, a day later is the same instant.
            _ => whole
                .filter(|end| *end > start.instant)
                .or_else(|| start.instant.checked_add(self.length.local()).ok())?,
        };
        nominal.checked_add(self.length.more).ok()
    }

    /// Returns true if each of some occurrences begins no later than the one before it ends.
    fn is_always_on(&self) -> bool {
        let first = self.first.unwrap_or(self.rule.anchor);
        let starts: Vec<DateTime> = self.planned(first).take(CHECKED_FOR_GAPS).collect();
        let is_gapless =
            |pair: &[DateTime]| matches!(pair, [one, next] if one.duration_until(*next) <= self.length.local());
        self.last.is_none()
            && self.except == Exceptions::default()
            && starts.len() > 1
            && starts.windows(2).all(is_gapless)
    }

    /// Returns the local starts from one on, without a look at time zones and exceptions.
    fn planned(&self, from: DateTime) -> impl Iterator<Item = DateTime> {
        let days = self.rule.walk(from.date(), Way::Ahead, Date::MAX);
        let starts = days.flat_map(|(day, times)| times.into_iter().map(move |time| day.to_datetime(time)));
        starts.filter(move |start| *start >= from)
    }
}

impl Length {
    /// Returns the length by local time.
    fn local(self) -> SignedDuration {
        SignedDuration::from_hours(i64::from(self.days) * 24).saturating_add(self.more)
    }
}

fn shifted(start: DateTime, days: i32) -> Option<DateTime> {
    start.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// Returns the instant of a local time; `None` beyond the ends of time.
fn instant(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(local).compatible().ok()
}

fn weekday(name: &str) -> Option<Weekday> {
    let lower = name.to_ascii_lowercase();
    // Three letters, two as in RFC 5545, or the whole name.
    WEEKDAYS.iter().find(|(own, _)| *own == lower || lower == own[..3] || lower == own[..2]).map(|(_, day)| *day)
}

/// Longest occurrence in days.
const LONGEST_DAYS: i32 = 60;
/// Occurrences that are compared to find out if a rule is always on.
const CHECKED_FOR_GAPS: usize = 100;

#[cfg(test)]
mod tests;
