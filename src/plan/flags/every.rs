//! When a window comes again: `every = "Sun 02:00-04:00 Europe/Berlin"`, or a part of RFC 5545's recurrence rules.
//!
//! Times of day are local. Where the clock on the wall jumps ahead, a time that does not exist is the later one that takes
//! its place (02:30 becomes 03:30); where it falls back, a time that comes twice is the first, at the start and at the end:
//! RFC 5545 section 3.3.5 says the same. So a span of times is as long as the clock on the wall says, and an hour more
//! or less in the night of a change. An occurrence that has no length then is left out, and one that the next would
//! overtake ends where that begins: occurrences are in order, and no two are on at once.
//!
//! It reads no files: the time zones are part of the program.

mod plain;
mod rrule;

use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::super::problem::{did_you_mean, quoted};

/// See the module's description.
#[derive(Clone, PartialEq)]
pub struct Every {
    text: String,
    rule: Rule,
    starts: Time,
    length: Length,
    zone: TimeZone,
    /// None before this day; a rule's intervals are counted from here.
    first: Option<Date>,
    /// None after this day.
    last: Option<Date>,
}

/// On which days: those of every so-manieth day, week or month that are in both lists, where a list is not empty.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    unit: Unit,
    /// At least 1.
    interval: i32,
    weekdays: Vec<Nth>,
    /// Counted from 1, or backwards from -1.
    month_days: Vec<i8>,
}

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
}

/// A weekday: the nth of the month, or the last ones counted backwards from -1, or every one of them if it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nth(i8, Weekday);

/// How long: until this time of day, so many days later, and then so long.
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
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong, and what would be right.
pub(super) type Wrong = (String, String);

impl Every {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Of what is wrong, the first; never of an occurrence that does not come for long.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let upper = text.trim().to_ascii_uppercase();
        let is_rule = ["FREQ=", "DTSTART", "RRULE"].iter().any(|word| upper.contains(word));
        if is_rule { rrule::rrule(text) } else { plain::plain(text) }
    }

    /// The occurrence that is on at an instant.
    pub fn on(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // No two are on at once, so it can only be the last that has begun.
        self.before(now).filter(|(_, ends)| now < *ends)
    }

    /// The next one that begins after an instant, if there is one in the next eight years.
    pub fn after(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        // A day of margin, because a change of the clock may move a start into the day after.
        let yesterday = shifted(today, -1).unwrap_or(today);
        let from = self.first.map_or(yesterday, |first| first.max(yesterday));
        let days = (0..MOST_DAYS).map_while(|days| shifted(from, days));
        let days = days.take_while(|day| self.last.is_none_or(|last| *day <= last));
        days.filter_map(|day| self.of(day)).find(|(starts, _)| *starts > now)
    }

    /// The last one that has begun at or before an instant, if there was one in the last eight years.
    pub fn before(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        let tomorrow = shifted(today, 1).unwrap_or(today);
        let from = self.last.map_or(tomorrow, |last| last.min(tomorrow));
        let days = (0..MOST_DAYS).map_while(|days| shifted(from, -days));
        let days = days.take_while(|day| self.first.is_none_or(|first| *day >= first));
        days.filter_map(|day| self.of(day)).find(|(starts, _)| *starts <= now)
    }

    /// The occurrence that begins on a day.
    fn of(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let (starts, ends) = self.planned(day)?;
        let next = (1..=self.length.reach()).find_map(|days| self.planned(shifted(day, days)?));
        let ends = next.map_or(ends, |(next, _)| next.min(ends));
        (starts < ends).then_some((starts, ends))
    }

    /// The same, if there were no other.
    fn planned(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let inside = self.first.is_none_or(|first| day >= first) && self.last.is_none_or(|last| day <= last);
        if !inside || !self.rule.has(day, self.first) {
            return None;
        }
        let starts = instant(&self.zone, day, self.starts)?;
        let ends = instant(&self.zone, shifted(day, self.length.days)?, self.length.until)?;
        let ends = ends.checked_add(self.length.more).ok()?;
        (starts < ends).then_some((starts, ends))
    }
}

impl Length {
    /// As the clock on the wall counts it, from a time of day.
    fn from(self, starts: Time) -> SignedDuration {
        let days = SignedDuration::from_hours(i64::from(self.days) * 24);
        days.saturating_add(starts.duration_until(self.until)).saturating_add(self.more)
    }

    /// On how many days after its own it may still be on, wherever changes of the clock move its ends.
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

/// The Monday of a day's week.
fn monday(day: Date) -> Date {
    shifted(day, -i32::from(day.weekday().to_monday_zero_offset())).unwrap_or(day)
}

/// A day's month, counted through the years.
fn month(day: Date) -> i32 {
    i32::from(day.year()) * 12 + i32::from(day.month())
}

fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

fn shifted(day: Date, days: i32) -> Option<Date> {
    day.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// When it is a time of day in a zone; `None` beyond the ends of time.
fn instant(zone: &TimeZone, day: Date, time: Time) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok()
}

/// A time zone by its name, in any case.
fn zone_of(name: &str) -> Result<TimeZone, Wrong> {
    // `Etc/Unknown` is a name, and would be taken for UTC.
    if let Some(zone) = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()) {
        return Ok(zone);
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let meant = name.replace(' ', "_");
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    // Most who err know the city.
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
    // Three letters, or two as in RFC 5545, or the whole name.
    WEEKDAYS.iter().find(|(own, _)| *own == lower || lower == own[..3] || lower == own[..2]).map(|(_, day)| *day)
}

/// Where weeks and months are counted from, if nothing says it.
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
/// Days that are looked through for an occurrence: the 29th of February comes every eighth year at the least.
const MOST_DAYS: i32 = 3000;
/// Days that an occurrence may last.
const LONGEST_DAYS: i32 = 60;

#[cfg(test)]
mod tests;
