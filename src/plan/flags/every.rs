//! When a window comes again: `every = "Sun 02:00-04:00 Europe/Berlin"`, or a part of RFC 5545's recurrence rules.
//!
//! Times of day are local, and an occurrence is as long as the clock on the wall says. Where that clock jumps, a time that
//! does not exist is the later one that takes its place (02:30 becomes 03:30), and of a time that comes twice the start and
//! the end are the first: RFC 5545 section 3.3.5 says the same. An occurrence that has no length then is left out.

use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
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

/// On which days.
#[derive(Clone, Debug, PartialEq)]
enum Rule {
    /// Each so many days.
    Daily { interval: i32 },
    /// On these weekdays, each so many weeks.
    Weekly { interval: i32, days: Vec<Weekday> },
    /// On these days of the month, each so many months.
    Monthly { interval: i32, days: Vec<DayOfMonth> },
}

/// A day of a month.
#[derive(Clone, Copy, Debug, PartialEq)]
enum DayOfMonth {
    /// Counted from 1, or backwards from -1.
    Number(i8),
    /// The nth such weekday, or the last ones counted backwards.
    Weekday(i8, Weekday),
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Length {
    /// Until this time of day, so many days later.
    Until(Time, i8),
    /// So long.
    For(SignedDuration),
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
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let upper = text.trim().to_ascii_uppercase();
        if upper.contains("FREQ=") || upper.starts_with("DTSTART") { rrule(text) } else { plain(text) }
    }

    /// The occurrence that is on at an instant.
    pub fn on(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // One that crosses midnight, or lasts for days, began before.
        let today = self.zone.to_datetime(now).date();
        let back = self.longest_days();
        (-back..=1)
            .rev()
            .filter_map(|days| self.of(shifted(today, days)?))
            .find(|(starts, ends)| (*starts..*ends).contains(&now))
    }

    /// The next one that begins after an instant.
    pub fn after(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        let from = self.first.map_or(today, |first| first.max(shifted(today, -1).unwrap_or(today)));
        let days = (-1..MOST_DAYS).map_while(|days| shifted(from, days));
        let days = days.take_while(|day| self.last.is_none_or(|last| *day <= last));
        days.filter_map(|day| self.of(day)).find(|(starts, _)| *starts > now)
    }

    /// The last one that has begun at or before an instant.
    pub fn before(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        let from = self.last.map_or(today, |last| last.min(shifted(today, 1).unwrap_or(today)));
        let days = (-1..MOST_DAYS).map_while(|days| shifted(from, -days));
        let days = days.take_while(|day| self.first.is_none_or(|first| *day >= first));
        days.filter_map(|day| self.of(day)).find(|(starts, _)| *starts <= now)
    }

    /// The occurrence that begins on a day.
    fn of(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let inside = self.first.is_none_or(|first| day >= first) && self.last.is_none_or(|last| day <= last);
        if !inside || !self.rule.has(day, self.first) {
            return None;
        }
        let instant = |day: Date, time: Time| self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok();
        let starts = instant(day, self.starts)?;
        let ends = match self.length {
            Length::Until(time, days) => instant(shifted(day, days.into())?, time)?,
            Length::For(length) => starts.checked_add(length).ok()?,
        };
        (starts < ends).then_some((starts, ends))
    }

    /// How many days back an occurrence may have begun that is still on.
    fn longest_days(&self) -> i32 {
        match self.length {
            Length::Until(_, days) => i32::from(days) + 1,
            Length::For(length) => i32::try_from(length.as_hours() / 24).unwrap_or(0).min(LONGEST_DAYS) + 2,
        }
    }
}

impl Rule {
    fn has(&self, day: Date, first: Option<Date>) -> bool {
        let anchor = first.unwrap_or(EPOCH);
        match self {
            Self::Daily { interval } => days_between(anchor, day).rem_euclid(*interval) == 0,
            Self::Weekly { interval, days } => {
                let monday = |day: Date| shifted(day, -i32::from(day.weekday().to_monday_zero_offset())).unwrap_or(day);
                let weeks = days_between(monday(anchor), monday(day)).div_euclid(7);
                days.contains(&day.weekday()) && weeks.rem_euclid(*interval) == 0
            }
            Self::Monthly { interval, days } => {
                let month = |day: Date| i32::from(day.year()) * 12 + i32::from(day.month());
                (month(day) - month(anchor)).rem_euclid(*interval) == 0 && days.iter().any(|own| own.is(day))
            }
        }
    }
}

impl DayOfMonth {
    fn is(self, day: Date) -> bool {
        match self {
            Self::Number(number @ 1..) => day.day() == number,
            Self::Number(number) => day.day() == day.days_in_month() + 1 + number,
            Self::Weekday(nth, weekday) => {
                let from_end = day.days_in_month() - day.day();
                let its = if nth > 0 { (day.day() - 1) / 7 + 1 } else { -(from_end / 7 + 1) };
                day.weekday() == weekday && its == nth
            }
        }
    }
}

fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

fn shifted(day: Date, days: i32) -> Option<Date> {
    day.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// `Sun 02:00-04:00 Europe/Berlin`.
fn plain(text: &str) -> Result<Every, Wrong> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| word.contains(':')) else {
        return Err((format!("{} does not say at what time", quoted(text)), EXAMPLE.to_owned()));
    };
    let (days, rest) = words.split_at(at);
    let (starts, length) = span(rest.first().copied().unwrap_or_default())?;
    let zone = match rest.get(1..) {
        Some([zone]) => zone_of(zone)?,
        Some([]) | None => {
            let help = format!("add one, {}", quoted(&format!("{} Europe/Berlin", text.trim())));
            return Err((format!("{} does not say in which time zone", quoted(text)), help));
        }
        Some(more) => return Err((format!("{} is not a time zone", quoted(&more.join(" "))), EXAMPLE.to_owned())),
    };
    let rule = days_of(&days.join(" "))?;
    Ok(Every { text: text.trim().to_owned(), rule, starts, length, zone, first: None, last: None })
}

/// `02:00-04:00`; an end that is not after the start is on the next day.
fn span(text: &str) -> Result<(Time, Length), Wrong> {
    let wrong = || (format!("{} is not a span of time", quoted(text)), "write it as `02:00-04:00`".to_owned());
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let starts = time(from).ok_or_else(wrong)?;
    if to == "24:00" {
        return Ok((starts, Length::Until(Time::midnight(), 1)));
    }
    let ends = time(to).ok_or_else(wrong)?;
    Ok((starts, Length::Until(ends, i8::from(ends <= starts))))
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let digits =
        |text: &str| (text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok());
    Time::new(digits(hour)??, digits(minute)??, 0, 0).ok()
}

fn zone_of(name: &str) -> Result<TimeZone, Wrong> {
    if let Ok(zone) = TimeZone::get(name) {
        return Ok(zone);
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    // Most who err know the city.
    let by_city = known.iter().find(|known| last(known) == last(name)).map(String::as_str);
    let near = by_city.or_else(|| did_you_mean(name, known.iter().map(String::as_str)));
    let help = near.map_or_else(
        || "write an IANA name, `Europe/Berlin` or `UTC`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Err((format!("there is no time zone {}", quoted(name)), help))
}

/// `Sun`, `Mon-Fri`, `Mon,Wed`, `daily`, `1st Sun`, `last Fri`, `day 15`.
fn days_of(text: &str) -> Result<Rule, Wrong> {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let wrong = |what: &str| {
        let near = did_you_mean(what, WEEKDAYS.iter().map(|(name, _)| *name));
        let help = near.map_or_else(
            || "write days like `Sun`, `Mon-Fri`, `Mon,Wed`, `daily`, `1st Sun`, `last Fri` or `day 15`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        (format!("{} is not a day", quoted(what)), help)
    };
    let named = |name: &str| weekday(name).ok_or_else(|| wrong(name));
    match words.as_slice() {
        [] | ["daily" | "every", ..] if words.len() < 2 || words == ["every", "day"] => Ok(Rule::Daily { interval: 1 }),
        ["day", number] => {
            let number = number.trim_end_matches('.').parse::<i8>().ok().filter(|number| (1..=31).contains(number));
            let day = number.map(DayOfMonth::Number).ok_or_else(|| wrong(text))?;
            Ok(Rule::Monthly { interval: 1, days: vec![day] })
        }
        [nth, day] if ordinal(nth).is_some() => {
            let day = DayOfMonth::Weekday(ordinal(nth).unwrap_or(1), named(day)?);
            Ok(Rule::Monthly { interval: 1, days: vec![day] })
        }
        [list] => {
            let mut days = Vec::new();
            for part in list.split(',') {
                match part.split_once('-') {
                    None => days.push(named(part)?),
                    Some((from, to)) => days.extend(range(named(from)?, named(to)?)),
                }
            }
            Ok(Rule::Weekly { interval: 1, days })
        }
        _ => Err(wrong(text)),
    }
}

fn range(from: Weekday, to: Weekday) -> Vec<Weekday> {
    let days = i32::from(from.until(to));
    (0..=days).map(|days| from.wrapping_add(days)).collect()
}

fn ordinal(word: &str) -> Option<i8> {
    let words = [
        ("1st", 1),
        ("first", 1),
        ("2nd", 2),
        ("second", 2),
        ("3rd", 3),
        ("third", 3),
        ("4th", 4),
        ("fourth", 4),
        ("5th", 5),
        ("last", -1),
    ];
    words.iter().find(|(own, _)| *own == word).map(|(_, nth)| *nth)
}

fn weekday(name: &str) -> Option<Weekday> {
    let lower = name.to_ascii_lowercase();
    // Three letters, or two as in RFC 5545, or the whole name.
    WEEKDAYS.iter().find(|(own, _)| *own == lower || lower == own[..3] || lower == own[..2]).map(|(_, day)| *day)
}

/// `DTSTART;TZID=Europe/Berlin:20260405T020000 RRULE:FREQ=WEEKLY;BYDAY=SU DURATION:PT2H`, on one line or on several.
fn rrule(text: &str) -> Result<Every, Wrong> {
    let mut parts = Parts::default();
    for word in text.split_whitespace() {
        parts.take(word)?;
    }
    let missing = |what: &str, example: &str| (format!("the rule has no {what}"), format!("add it: `{example}`"));
    let (start, zone) = parts.start.ok_or_else(|| missing("DTSTART", "DTSTART;TZID=Europe/Berlin:20260405T020000"))?;
    let length = match (parts.length, parts.end) {
        (Some(length), _) => Length::For(length),
        (None, Some(end)) if end > start => {
            Length::Until(end.time(), i8::try_from(days_between(start.date(), end.date())).unwrap_or(i8::MAX))
        }
        (None, Some(_)) => {
            return Err(("DTEND is not after DTSTART".to_owned(), "say how long: `DURATION:PT2H`".to_owned()));
        }
        (None, None) => return Err(missing("DURATION", "DURATION:PT2H")),
    };
    let rule = parts.rule.ok_or_else(|| missing("RRULE", "RRULE:FREQ=WEEKLY;BYDAY=SU"))?;
    let rule = rule.complete(start.date());
    let mut every = Every {
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        rule,
        starts: start.time(),
        length,
        zone,
        first: Some(start.date()),
        last: parts.until,
    };
    if let Some(count) = parts.count {
        every.last = every.nth_day(count).or(every.last);
    }
    Ok(every)
}

impl Every {
    /// The day of the nth occurrence.
    fn nth_day(&self, count: u32) -> Option<Date> {
        let first = self.first?;
        let days = (0..MOST_DAYS * 4).map_while(|days| shifted(first, days));
        let mut days = days.filter(|day| self.rule.has(*day, self.first));
        days.nth(usize::try_from(count.saturating_sub(1)).ok()?)
    }
}

impl Rule {
    /// What a rule does not say follows from its start (RFC 5545 section 3.3.10).
    fn complete(self, start: Date) -> Self {
        match self {
            Self::Weekly { interval, days } if days.is_empty() => {
                Self::Weekly { interval, days: vec![start.weekday()] }
            }
            Self::Monthly { interval, days } if days.is_empty() => {
                Self::Monthly { interval, days: vec![DayOfMonth::Number(start.day())] }
            }
            Self::Daily { .. } | Self::Weekly { .. } | Self::Monthly { .. } => self,
        }
    }
}

/// What a rule's text says.
#[derive(Default)]
struct Parts {
    start: Option<(DateTime, TimeZone)>,
    end: Option<DateTime>,
    length: Option<SignedDuration>,
    rule: Option<Rule>,
    until: Option<Date>,
    count: Option<u32>,
}

impl Parts {
    fn take(&mut self, word: &str) -> Result<(), Wrong> {
        let (name, value) = word.split_once(':').unwrap_or(("RRULE", word));
        let (name, parameter) = name.split_once(';').map_or((name, None), |(name, parameter)| (name, Some(parameter)));
        match name.to_ascii_uppercase().as_str() {
            "DTSTART" => {
                let zone = match (
                    parameter.and_then(|parameter| parameter.strip_prefix("TZID=")),
                    value.ends_with(['Z', 'z']),
                ) {
                    (Some(zone), _) => zone_of(zone)?,
                    (None, true) => TimeZone::UTC,
                    (None, false) => {
                        let help = "write `DTSTART;TZID=Europe/Berlin:20260405T020000`, or end it with `Z` for UTC";
                        return Err(("DTSTART does not say in which time zone".to_owned(), help.to_owned()));
                    }
                };
                self.start = Some((date_time(value)?, zone));
            }
            "DTEND" => self.end = Some(date_time(value)?),
            "DURATION" => {
                let length = value.to_ascii_uppercase().parse::<SignedDuration>().ok();
                let length =
                    length.filter(|length| length.is_positive() && length.as_hours() <= i64::from(LONGEST_DAYS) * 24);
                let wrong = || (format!("{} is not a length", quoted(value)), "write it as `DURATION:PT2H`".to_owned());
                self.length = Some(length.ok_or_else(wrong)?);
            }
            "RRULE" => self.rule(value)?,
            other => return Err((format!("{} is not understood here", quoted(other)), RULE_HELP.to_owned())),
        }
        Ok(())
    }

    fn rule(&mut self, text: &str) -> Result<(), Wrong> {
        let (mut freq, mut interval, mut by_day, mut by_month_day) = (None, 1, Vec::new(), Vec::new());
        for part in text.split(';') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let wrong = || (format!("{} is not understood", quoted(part)), RULE_HELP.to_owned());
            match name.to_ascii_uppercase().as_str() {
                "FREQ" => freq = Some(value.to_ascii_uppercase()),
                "INTERVAL" => {
                    interval = value.parse::<i32>().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(wrong)?
                }
                "COUNT" => {
                    self.count = Some(value.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(wrong)?)
                }
                "UNTIL" => self.until = Some(date_time(value)?.date()),
                "BYDAY" => {
                    for day in value.split(',') {
                        by_day.push(nth_weekday(day).ok_or_else(wrong)?);
                    }
                }
                "BYMONTHDAY" => {
                    for day in value.split(',') {
                        let number = day.parse::<i8>().ok().filter(|n| *n != 0 && (-31..=31).contains(n));
                        by_month_day.push(DayOfMonth::Number(number.ok_or_else(wrong)?));
                    }
                }
                // Weeks begin on Monday here, as they do by default there.
                "WKST" if value.eq_ignore_ascii_case("MO") => {}
                _ => return Err(wrong()),
            }
        }
        let plain_days = || by_day.iter().filter(|(nth, _)| *nth == 0).map(|(_, day)| *day);
        let rule = match freq.as_deref() {
            Some("DAILY") if by_day.is_empty() && by_month_day.is_empty() => Rule::Daily { interval },
            Some("WEEKLY") if by_month_day.is_empty() && plain_days().count() == by_day.len() => {
                Rule::Weekly { interval, days: plain_days().collect() }
            }
            Some("MONTHLY") if by_day.is_empty() => Rule::Monthly { interval, days: by_month_day },
            Some("MONTHLY") if by_month_day.is_empty() && plain_days().count() == 0 => {
                let days = by_day.iter().map(|(nth, day)| DayOfMonth::Weekday(*nth, *day)).collect();
                Rule::Monthly { interval, days }
            }
            _ => return Err((format!("the rule {} is not understood", quoted(text)), RULE_HELP.to_owned())),
        };
        self.rule = Some(rule);
        Ok(())
    }
}

/// `SU`, `1SU`, `-1FR`; 0 where there is no number.
fn nth_weekday(text: &str) -> Option<(i8, Weekday)> {
    let letters = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, day) = text.split_at(letters);
    let nth =
        if number.is_empty() { 0 } else { number.parse::<i8>().ok().filter(|n| *n != 0 && (-5..=5).contains(n))? };
    Some((nth, weekday(day).filter(|_| day.len() == 2)?))
}

/// `20260405T020000`, with or without a `Z`, or `20260405`.
fn date_time(text: &str) -> Result<DateTime, Wrong> {
    let bare = text.trim_end_matches(['Z', 'z']);
    let read = bare.parse::<DateTime>().ok().filter(|_| bare.len() == 15 || bare.len() == 8);
    read.ok_or_else(|| (format!("{} is not a date and time", quoted(text)), "write it as `20260405T020000`".to_owned()))
}

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
const EXAMPLE: &str = "write it like `Sun 02:00-04:00 Europe/Berlin`";
const RULE_HELP: &str =
    "of RFC 5545 there is FREQ=DAILY, WEEKLY and MONTHLY with INTERVAL, BYDAY, BYMONTHDAY, COUNT and UNTIL";
/// Days that are looked through for an occurrence: the 29th of February comes every eighth year at the least.
const MOST_DAYS: i32 = 3000;
/// Days that an occurrence may last.
const LONGEST_DAYS: i32 = 60;

#[cfg(test)]
mod tests;
