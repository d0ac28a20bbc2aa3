//! Recurrence by a part of RFC 5545: `DTSTART;TZID=Europe/Berlin:20260405T020000 RRULE:FREQ=WEEKLY;BYDAY=SU
//! DURATION:PT2H`.
//!
//! The parts stand on one line or on several. A DTSTART that does not match its own rule is no occurrence.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::super::super::problem::quoted;
use super::{
    Every, Exception, Exceptions, Invalid, LONGEST_DAYS, Length, MOST_DAYS, Nth, Rule, Unit, instant, shifted, weekday,
    zone_of,
};

/// Reads a rule of RFC 5545.
pub(super) fn rrule(text: &str) -> Result<Every, Invalid> {
    let Parts { start, end, duration, recur, except } = Parts::read(text)?;
    let start = start.ok_or_else(|| missing("DTSTART", "DTSTART;TZID=Europe/Berlin:20260405T020000"))?;
    let zone = start.zone.clone().ok_or_else(|| {
        let help = "write `DTSTART;TZID=Europe/Berlin:20260405T020000`, or end it with `Z` for UTC";
        ("DTSTART does not say in which time zone".to_owned(), help.to_owned())
    })?;
    let recur = recur.ok_or_else(|| missing("RRULE", "RRULE:FREQ=WEEKLY;BYDAY=SU"))?;
    let (day, starts) = (start.local.date(), start.local.time());
    let length = match (duration, end) {
        (Some(_), Some(_)) => return Err(both("DURATION", "DTEND")),
        (None, None) => return Err(missing("DURATION", "DURATION:PT2H")),
        (Some(ParsedDuration { days, more }), None) => Length { days, until: starts, more },
        // All occurrences have the exact length of the first (RFC 5545 section 3.8.5.3).
        (None, Some(end)) => Length { days: 0, until: starts, more: start.until(&end, &zone)? },
    };
    if length.from(starts) > SignedDuration::from_hours(i64::from(LONGEST_DAYS) * 24) {
        return Err((format!("an occurrence is longer than {LONGEST_DAYS} days"), "shorten it".to_owned()));
    }
    let last = recur.until.as_ref().map(|until| until.last_day(starts, &zone)).transpose()?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rule = recur.rule(day)?;
    let mut every = Every { text, rule, starts, length, zone, first: Some(day), last, except: Exceptions::default() };
    // Exceptions count for COUNT: they are left out of what the rule gives (RFC 5545 section 3.8.5.1).
    if let Some(count) = recur.count {
        every.last = Some(nth_day(&every.rule, day, count)?);
    }
    let mut every = checked(every, day)?;
    for moment in except {
        let exception = moment.exception(&every.zone)?;
        every.leave_out(exception);
    }
    Ok(every)
}

/// Refuses a rule without occurrences, and a rule whose occurrences overlap.
fn checked(every: Every, first: Date) -> Result<Every, Invalid> {
    let days = (0..MOST_DAYS).filter(|days| shifted(first, *days).is_some_and(|day| every.planned(day).is_some()));
    let mut before = None;
    for day in days {
        // Compared by local time. Occurrences that overlap only because the clock changes are cut, not refused.
        let apart = before.map(|before| SignedDuration::from_hours(i64::from(day - before) * 24));
        if apart.is_some_and(|apart| apart < every.length.from(every.starts)) {
            let help = "shorten it, or let it come less often";
            return Err(("an occurrence begins before the one before it is over".to_owned(), help.to_owned()));
        }
        before = Some(day);
    }
    match before {
        Some(_) => Ok(every),
        None => {
            let help = "look at UNTIL, and whether the days of BYDAY and BYMONTHDAY meet";
            Err(("the rule does not come in the eight years after DTSTART".to_owned(), help.to_owned()))
        }
    }
}

/// Returns the day of the nth occurrence.
fn nth_day(rule: &Rule, first: Date, count: usize) -> Result<Date, Invalid> {
    let days = (0..MOST_COUNTED_DAYS).map_while(|days| shifted(first, days));
    let nth = days.filter(|day| rule.has(*day, Some(first))).nth(count.saturating_sub(1));
    nth.ok_or_else(|| (format!("`COUNT={count}` is too far ahead"), "lower it, or write UNTIL in its place".to_owned()))
}

/// Parts of the text.
#[derive(Default)]
struct Parts {
    start: Option<Moment>,
    end: Option<Moment>,
    duration: Option<ParsedDuration>,
    recur: Option<Recur>,
    except: Vec<Moment>,
}

impl Parts {
    fn read(text: &str) -> Result<Self, Invalid> {
        let mut parts = Self::default();
        for word in text.split_whitespace() {
            // A rule alone needs no name.
            let (head, value) = word.split_once(':').unwrap_or(("RRULE", word));
            let mut parameters = head.split(';');
            let name = parameters.next().unwrap_or_default().to_ascii_uppercase();
            match name.as_str() {
                "DTSTART" => once(&mut parts.start, &name, Moment::read(parameters, value)?)?,
                "DTEND" => once(&mut parts.end, &name, Moment::read(parameters, value)?)?,
                "DURATION" if head.len() == name.len() => {
                    once(&mut parts.duration, &name, ParsedDuration::read(value)?)?;
                }
                "EXDATE" => {
                    let parameters: Vec<&str> = parameters.collect();
                    for value in value.split(',') {
                        parts.except.push(Moment::read(parameters.iter().copied(), value)?);
                    }
                }
                "RRULE" if head.len() == name.len() => once(&mut parts.recur, &name, Recur::read(value)?)?,
                _ => return Err(unknown(head)),
            }
        }
        Ok(parts)
    }
}

/// Date and time, such as `20260405T020000`, with its zone if one is written.
struct Moment {
    local: DateTime,
    zone: Option<TimeZone>,
    /// The text has only a date.
    is_day: bool,
}

impl Moment {
    fn read<'t>(parameters: impl Iterator<Item = &'t str>, value: &str) -> Result<Self, Invalid> {
        let mut moment = Self::bare(value)?;
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_uppercase().as_str() {
                "TZID" if moment.zone.is_some() => return Err(both("`TZID`", "`Z`")),
                "TZID" => moment.zone = Some(zone_of(value.trim_matches('"'))?),
                "VALUE" if ["DATE-TIME", "DATE"].iter().any(|kind| value.eq_ignore_ascii_case(kind)) => {}
                _ => return Err(unknown(parameter)),
            }
        }
        Ok(moment)
    }

    /// Reads a value without parameters: with or without a `Z`, or only a date such as `20260405`.
    fn bare(text: &str) -> Result<Self, Invalid> {
        let bare = text.strip_suffix(['Z', 'z']).unwrap_or(text);
        let is_utc = bare.len() < text.len();
        let digits = bare.bytes().enumerate().all(|(at, byte)| byte.is_ascii_digit() != (at == 8));
        let local = bare.parse::<DateTime>().ok();
        match local.filter(|_| digits && (bare.len() == 15 || (bare.len() == 8 && !is_utc))) {
            Some(local) => Ok(Self { local, zone: is_utc.then_some(TimeZone::UTC), is_day: bare.len() == 8 }),
            None => {
                let help = "write it as `20260405T020000`".to_owned();
                Err((format!("{} is not a date and time", quoted(text)), help))
            }
        }
    }

    /// Returns the instant; in `zone` if the text names none.
    fn instant(&self, zone: &TimeZone) -> Result<Timestamp, Invalid> {
        let found = instant(self.zone.as_ref().unwrap_or(zone), self.local.date(), self.local.time());
        found.ok_or_else(|| (format!("{} is beyond the end of time", self.local), "write a year like 2026".to_owned()))
    }

    /// Returns the exception that the moment stands for: a day, or a start.
    fn exception(&self, zone: &TimeZone) -> Result<Exception, Invalid> {
        if self.is_day {
            return Ok(Exception::Day(self.local.date()));
        }
        self.instant(zone).map(Exception::Start)
    }

    /// Returns the exact time until a later moment.
    fn until(&self, end: &Self, zone: &TimeZone) -> Result<SignedDuration, Invalid> {
        let length = self.instant(zone)?.duration_until(end.instant(zone)?);
        if !length.is_positive() {
            return Err(("DTEND is not after DTSTART".to_owned(), "say how long: `DURATION:PT2H`".to_owned()));
        }
        Ok(length)
    }

    /// Returns the last day on which a time of day is no later than this moment.
    fn last_day(&self, time: Time, zone: &TimeZone) -> Result<Date, Invalid> {
        if self.is_day {
            return Ok(self.local.date());
        }
        let end = self.instant(zone)?;
        let day = zone.to_datetime(end).date();
        let has_come = instant(zone, day, time).is_some_and(|starts| starts <= end);
        Ok(if has_come { day } else { shifted(day, -1).unwrap_or(day) })
    }
}

/// Duration such as `P1DT2H`: days of the calendar, then an exact length (RFC 5545 section 3.3.6).
struct ParsedDuration {
    days: i32,
    more: SignedDuration,
}

impl ParsedDuration {
    fn read(text: &str) -> Result<Self, Invalid> {
        let upper = text.to_ascii_uppercase();
        // jiff reads other notations, too; a duration begins with `P`.
        let span = upper.parse::<Span>().ok().filter(|span| upper.starts_with('P') && span.is_positive());
        let span = span.filter(|span| span.get_years() == 0 && span.get_months() == 0);
        let lasting = span.and_then(|span| {
            let days = span.get_weeks().checked_mul(7)?.checked_add(span.get_days())?;
            let clock = span.try_weeks(0).ok()?.try_days(0).ok()?;
            Some(Self { days, more: SignedDuration::try_from(clock).ok()? })
        });
        lasting.ok_or_else(|| (format!("{} is not a length", quoted(text)), "write it as `DURATION:PT2H`".to_owned()))
    }
}

/// Parts of an `RRULE`.
#[derive(Default)]
struct Recur {
    unit: Option<Unit>,
    interval: Option<i32>,
    /// Weekdays, with the part as it was written.
    weekdays: Option<(Vec<Nth>, String)>,
    month_days: Option<Vec<i8>>,
    count: Option<usize>,
    until: Option<Moment>,
    week_start: Option<()>,
}

impl Recur {
    fn read(text: &str) -> Result<Self, Invalid> {
        let mut recur = Self::default();
        for part in text.split(';') {
            recur.take(part)?;
        }
        match (recur.count, &recur.until) {
            (Some(_), Some(_)) => Err(both("COUNT", "UNTIL")),
            _ => Ok(recur),
        }
    }

    fn take(&mut self, part: &str) -> Result<(), Invalid> {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, wrong) = (name.to_ascii_uppercase(), || unknown(part));
        match name.as_str() {
            "FREQ" => once(&mut self.unit, &name, unit(value).ok_or_else(wrong)?),
            "INTERVAL" => {
                let number = value.parse().ok().filter(|number| (1..=MOST_INTERVAL).contains(number));
                once(&mut self.interval, &name, number.ok_or_else(wrong)?)
            }
            "COUNT" => {
                let number = value.parse().ok().filter(|number| (1..=MOST_COUNT).contains(number));
                once(&mut self.count, &name, number.ok_or_else(wrong)?)
            }
            "UNTIL" => once(&mut self.until, &name, Moment::bare(value)?),
            "BYDAY" => {
                let days: Option<Vec<Nth>> = value.split(',').map(nth_weekday).collect();
                once(&mut self.weekdays, &name, (days.ok_or_else(wrong)?, part.to_owned()))
            }
            "BYMONTHDAY" => {
                let days: Option<Vec<i8>> = value.split(',').map(month_day).collect();
                once(&mut self.month_days, &name, days.ok_or_else(wrong)?)
            }
            "WKST" if value.eq_ignore_ascii_case("MO") => once(&mut self.week_start, &name, ()),
            "WKST" => Err((format!("{} is not understood", quoted(part)), "weeks begin on Monday here".to_owned())),
            _ => Err(wrong()),
        }
    }

    /// Returns the rule. Parts that are not written come from the start (RFC 5545 section 3.3.10).
    fn rule(&self, start: Date) -> Result<Rule, Invalid> {
        let unit = self.unit.ok_or_else(|| missing("FREQ", "FREQ=WEEKLY"))?;
        let (mut weekdays, written) = self.weekdays.clone().unwrap_or_default();
        let mut month_days = self.month_days.clone().unwrap_or_default();
        match unit {
            Unit::Day | Unit::Week if weekdays.iter().any(|Nth(nth, _)| *nth != 0) => {
                let message = format!("{} counts the weeks of a month", quoted(&written));
                return Err((message, "write FREQ=MONTHLY, or leave the numbers out".to_owned()));
            }
            Unit::Week if !month_days.is_empty() => {
                let help = "write FREQ=MONTHLY, or remove one of them";
                return Err(("`BYMONTHDAY` is not for FREQ=WEEKLY".to_owned(), help.to_owned()));
            }
            Unit::Week if weekdays.is_empty() => weekdays.push(Nth(0, start.weekday())),
            Unit::Month if weekdays.is_empty() && month_days.is_empty() => month_days.push(start.day()),
            Unit::Day | Unit::Week | Unit::Month => {}
        }
        Ok(Rule { unit, interval: self.interval.unwrap_or(1), weekdays, month_days })
    }
}

fn unit(text: &str) -> Option<Unit> {
    match text.to_ascii_uppercase().as_str() {
        "DAILY" => Some(Unit::Day),
        "WEEKLY" => Some(Unit::Week),
        "MONTHLY" => Some(Unit::Month),
        _ => None,
    }
}

/// Reads `SU`, `1SU`, `-1FR`.
fn nth_weekday(text: &str) -> Option<Nth> {
    let letters = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, day) = text.split_at(letters);
    let nth = match number {
        "" => 0,
        number => number.parse::<i8>().ok().filter(|nth| *nth != 0 && (-5..=5).contains(nth))?,
    };
    Some(Nth(nth, weekday(day).filter(|_| day.len() == 2)?))
}

fn month_day(text: &str) -> Option<i8> {
    text.parse::<i8>().ok().filter(|number| *number != 0 && (-31..=31).contains(number))
}

/// Sets a part, and refuses a second one.
fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), Invalid> {
    if slot.replace(value).is_some() {
        return Err((format!("the rule says {} twice", quoted(name)), "remove one of them".to_owned()));
    }
    Ok(())
}

fn missing(what: &str, example: &str) -> Invalid {
    (format!("the rule has no {what}"), format!("add it: `{example}`"))
}

fn both(one: &str, other: &str) -> Invalid {
    (format!("the rule has both {one} and {other}"), "remove one of them".to_owned())
}

fn unknown(part: &str) -> Invalid {
    (format!("{} is not understood here", quoted(part)), HELP.to_owned())
}

const HELP: &str =
    "of RFC 5545 there is FREQ=DAILY, WEEKLY and MONTHLY with INTERVAL, BYDAY, BYMONTHDAY, COUNT and UNTIL, and EXDATE";
/// Greatest `INTERVAL`.
const MOST_INTERVAL: i32 = 1000;
/// Greatest `COUNT`.
const MOST_COUNT: usize = 10_000;
/// Days that are counted for `COUNT`: more than thirty years.
const MOST_COUNTED_DAYS: i32 = 12_000;
