//! Recurring windows: `every = "Sun 02:00-04:00 Europe/Berlin"`, or a part of RFC 5545's recurrence rules.
//!
//! Times of day are local. If the clock jumps ahead, a time that does not exist becomes the later one in its place
//! (02:30 becomes 03:30). If the clock falls back, a time that comes twice means the first one, at the start and at the
//! end. RFC 5545 section 3.3.5 says the same. In the night of a change a span of times therefore lasts an hour more or
//! less.
//!
//! An occurrence that loses all of its length this way is left out. An occurrence that overlaps the next ends where the
//! next begins. So occurrences are in order, and no two are in force at once.
//!
//! The time zones are part of the program; no files are read.

mod except;
mod plain;
mod rrule;

use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::super::problem::{did_you_mean, quoted};
pub(in crate::plan) use except::Exception;
use except::Exceptions;

/// Recurring span of a window.
#[derive(Clone, PartialEq)]
pub struct Every {
    text: String,
    rule: Rule,
    starts: Time,
    length: Length,
    zone: TimeZone,
    /// First day; a rule's intervals are counted from here.
    first: Option<Date>,
    /// Last day.
    last: Option<Date>,
    except: Exceptions,
}

/// Days of a rule: every `interval`-th day, week or month, limited to those in both lists. An empty list limits
/// nothing.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    unit: Unit,
    /// Interval, at least 1.
    interval: i32,
    weekdays: Vec<Nth>,
    /// Days of the month, counted from 1, or backwards from -1.
    month_days: Vec<i8>,
}

/// Unit of a rule's interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
}

/// Weekday: the nth of the month, backwards if negative, or every one of them if 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nth(i8, Weekday);

/// Length of an occurrence: until a time of day, so many days later, and then some more.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Length {
    days: i32,
    until: Time,
    more: SignedDuration,
}

impl fmt::Debug for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Every").field(&self.text).finish()
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
            Exception::Day(day) => self.planned(day).is_some(),
            Exception::Start(start) => self.before(start).is_some_and(|(starts, _)| starts == start),
        };
        self.except.add(exception);
        is_one
    }

    /// Returns the time zone of the rule.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the local day of an instant.
    pub(super) fn day_of(&self, instant: Timestamp) -> Date {
        self.zone.to_datetime(instant).date()
    }

    /// Returns the first instant of a local day.
    pub(super) fn midnight(&self, day: Date) -> Option<Timestamp> {
        instant(&self.zone, day, Time::midnight())
    }

    /// Returns the occurrence in force at an instant.
    pub fn on(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // No two occurrences are in force at once, so only the last that has begun can be.
        self.before(now).filter(|(_, ends)| now < *ends)
    }

    /// Returns the next occurrence that begins after an instant, if there is one within eight years.
    pub fn after(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        // One day of margin: a change of the clock may move a start into the next day.
        let yesterday = shifted(today, -1).unwrap_or(today);
        let from = self.first.map_or(yesterday, |first| first.max(yesterday));
        let days = (0..MOST_DAYS).map_while(|days| shifted(from, days));
        let days = days.take_while(|day| self.last.is_none_or(|last| *day <= last));
        days.filter_map(|day| self.of(day)).find(|(starts, _)| *starts > now)
    }

    /// Returns the last occurrence that began at or before an instant, if there was one within eight years.
    pub fn before(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        let tomorrow = shifted(today, 1).unwrap_or(today);
        let from = self.last.map_or(tomorrow, |last| last.min(tomorrow));
        let days = (0..MOST_DAYS).map_while(|days| shifted(from, -days));
        let days = days.take_while(|day| self.first.is_none_or(|first| *day >= first));
        days.filter_map(|day| self.of(day)).find(|(starts, _)| *starts <= now)
    }

    /// Returns true if the last day has passed, and nothing is in force any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let today = self.zone.to_datetime(now).date();
        self.last.is_some_and(|last| last <= today) && self.on(now).is_none() && self.after(now).is_none()
    }

    /// Returns the occurrence that begins on a day.
    fn of(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let (starts, ends) = self.planned(day)?;
        let next = (1..=self.length.reach()).find_map(|days| self.planned(shifted(day, days)?));
        let ends = next.map_or(ends, |(next, _)| next.min(ends));
        (starts < ends).then_some((starts, ends))
    }

    /// Returns the occurrence that begins on a day, before the next one cuts it.
    fn planned(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let inside = self.first.is_none_or(|first| day >= first) && self.last.is_none_or(|last| day <= last);
        if !inside || !self.rule.has(day, self.first) {
            return None;
        }
        let starts = instant(&self.zone, day, self.starts)?;
        let ends = instant(&self.zone, shifted(day, self.length.days)?, self.length.until)?;
        let ends = ends.checked_add(self.length.more).ok()?;
        (starts < ends && !self.except.has(day, starts)).then_some((starts, ends))
    }
}

impl Length {
    /// Returns the length by local time, from a time of day.
    fn from(self, starts: Time) -> SignedDuration {
        let days = SignedDuration::from_hours(i64::from(self.days) * 24);
        days.saturating_add(starts.duration_until(self.until)).saturating_add(self.more)
    }

    /// Returns the most days that an occurrence may go on after its first day, with any change of the clock.
    fn reach(self) -> i32 {
        let more = i32::try_from(self.more.as_hours() / 24).unwrap_or(LONGEST_DAYS);
        self.days.saturating_add(more).min(LONGEST_DAYS) + 2
    }
}

impl Rule {
    fn has(&self, day: Date, first: Option<Date>) -> bool {
        let anchor = first.unwrap_or(EPOCH);
        let units = match self.unit {
            Unit::Day => days_between(anchor, day),
            Unit::Week => days_between(monday(anchor), monday(day)).div_euclid(7),
            Unit::Month => month(day) - month(anchor),
        };
        units.rem_euclid(self.interval) == 0
            && (self.weekdays.is_empty() || self.weekdays.iter().any(|own| own.is(day)))
            && (self.month_days.is_empty() || self.month_days.iter().any(|own| is_month_day(*own, day)))
    }
}

impl Nth {
    fn is(self, day: Date) -> bool {
        let Self(nth, weekday) = self;
        let from_end = day.days_in_month() - day.day();
        day.weekday() == weekday
            && match nth {
                0 => true,
                1.. => (day.day() - 1) / 7 + 1 == nth,
                ..0 => -(from_end / 7 + 1) == nth,
            }
    }
}

fn is_month_day(number: i8, day: Date) -> bool {
    day.day() == if number > 0 { number } else { day.days_in_month() + 1 + number }
}

/// Returns the Monday of a day's week.
fn monday(day: Date) -> Date {
    shifted(day, -i32::from(day.weekday().to_monday_zero_offset())).unwrap_or(day)
}

/// Returns a day's month, counted through the years.
fn month(day: Date) -> i32 {
    i32::from(day.year()) * 12 + i32::from(day.month())
}

fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

fn shifted(day: Date, days: i32) -> Option<Date> {
    day.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// Returns the instant of a local time; `None` beyond the ends of time.
fn instant(zone: &TimeZone, day: Date, time: Time) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok()
}

/// Finds a time zone by its name, in any case.
fn zone_of(name: &str) -> Result<TimeZone, Invalid> {
    // jiff knows the name `Etc/Unknown`, and would take it for UTC.
    if let Some(zone) = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()) {
        return Ok(zone);
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let meant = name.replace(' ', "_");
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    // Most wrong names have the right city.
    let by_city = known.iter().find(|known| city(known) == city(&meant)).map(String::as_str);
    let near = by_city.or_else(|| did_you_mean(&meant, known.iter().map(String::as_str)));
    let near = near.filter(|near| !near.eq_ignore_ascii_case(name));
    let help = near.map_or_else(
        || "write an IANA name, `Europe/Berlin` or `UTC`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Err((format!("there is no time zone {}", quoted(name)), help))
}

fn weekday(name: &str) -> Option<Weekday> {
    let lower = name.to_ascii_lowercase();
    // Three letters, two as in RFC 5545, or the whole name.
    WEEKDAYS.iter().find(|(own, _)| *own == lower || lower == own[..3] || lower == own[..2]).map(|(_, day)| *day)
}

/// Origin of weeks and months, unless a rule has a first day.
const EPOCH: Date = Date::constant(1970, 1, 1);
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];
/// Days that are searched for an occurrence: 29 February may be eight years away.
const MOST_DAYS: i32 = 3000;
/// Longest occurrence in days.
const LONGEST_DAYS: i32 = 60;

#[cfg(test)]
mod tests;
