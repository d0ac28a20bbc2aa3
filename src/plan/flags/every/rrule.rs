//! Recurrence by RFC 5545: `DTSTART;TZID=Europe/Berlin:20260405T020000 RRULE:FREQ=WEEKLY;BYDAY=SU DURATION:PT2H`.
//!
//! The parts stand on one line or on several. A DTSTART that does not match its own rule is no occurrence.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::super::super::problem::quoted;
use super::rule::{Nth, Rule, Unit, Way, step};
use super::zone::zone_of;
use super::{Every, Exception, Exceptions, Invalid, LONGEST_DAYS, Length, instant, weekday};

/// Reads a rule of RFC 5545.
pub(super) fn rrule(text: &str) -> Result<Every, Invalid> {
    let Parts { start, end, duration, recur, except } = Parts::read(text)?;
    let start = start.ok_or_else(|| missing("DTSTART", "DTSTART;TZID=Europe/Berlin:20260405T020000"))?;
    let zone = start.zone.clone().ok_or_else(|| {
        let help = "write `DTSTART;TZID=Europe/Berlin:20260405T020000`, or end it with `Z` for UTC";
        ("DTSTART does not say in which time zone".to_owned(), help.to_owned())
    })?;
    let recur = recur.ok_or_else(|| missing("RRULE", "RRULE:FREQ=WEEKLY;BYDAY=SU"))?;
    let length = length(&start, end.as_ref(), duration, &zone)?;
    let last = recur.until.as_ref().map(|until| until.last(&zone)).transpose()?;
    let (text, count) = (text.split_whitespace().collect::<Vec<_>>().join(" "), recur.count);
    let rule = recur.rule(start.local)?;
    let mut every = Every { text, rule, length, zone, first: Some(start.local), last, except: Exceptions::default() };
    // Exceptions count for COUNT: they are left out of what the rule gives (RFC 5545 section 3.8.5.1).
    if let Some(count) = count {
        every.last = Some(nth(&every, start.local, count)?);
    }
    checked(&every, start.local)?;
    for moment in except {
        let exception = moment.exception(&every.zone)?;
        every.leave_out(exception);
    }
    Ok(every)
}

/// Returns the length of each occurrence.
fn length(start: &Moment, end: Option<&Moment>, duration: Option<Length>, zone: &TimeZone) -> Result<Length, Invalid> {
    let length = match (duration, end) {
        (Some(_), Some(_)) => return Err(both("DURATION", "DTEND")),
        (None, None) => return Err(missing("DURATION", "DURATION:PT2H")),
        (Some(length), None) => length,
        // All occurrences have the exact length of the first (RFC 5545 section 3.8.5.3).
        (None, Some(end)) => Length { days: 0, more: start.until(end, zone)? },
    };
    if length.local() > SignedDuration::from_hours(i64::from(LONGEST_DAYS) * 24) {
        return Err((format!("an occurrence is longer than {LONGEST_DAYS} days"), "shorten it".to_owned()));
    }
    Ok(length)
}

/// Refuses a rule without occurrences, and a rule whose occurrences overlap.
fn checked(every: &Every, start: DateTime) -> Result<(), Invalid> {
    let before =
        every.midnight(start.date()).and_then(|midnight| midnight.checked_sub(SignedDuration::from_secs(1)).ok());
    if before.is_none_or(|before| every.next_start(before, Timestamp::MAX).is_none()) {
        let help = "look at UNTIL, and whether the days of BYMONTH, BYMONTHDAY and BYDAY meet";
        return Err(("the rule does not come after DTSTART".to_owned(), help.to_owned()));
    }
    // Compared by local time. Occurrences that overlap only because the clock changes are cut, not refused.
    let (mut known, length) = (None::<DateTime>, every.length.local());
    for next in every.planned(start).take(MOST_COMPARED) {
        if every.last.zip(instant(&every.zone, next)).is_some_and(|(last, next)| next > last) {
            break;
        }
        if known.is_some_and(|known| known.duration_until(next) < length) {
            let help = "shorten it, or let it come less often";
            return Err(("an occurrence begins before the one before it is over".to_owned(), help.to_owned()));
        }
        known = Some(next);
    }
    Ok(())
}

/// Returns the instant of the nth occurrence.
fn nth(every: &Every, start: DateTime, count: usize) -> Result<Timestamp, Invalid> {
    let end = start.date().checked_add(Span::new().years(LONGEST_COUNT)).unwrap_or(start.date());
    let days = every.rule.walk(start.date(), Way::Ahead, end).with_looks(MOST_COUNTED_DAYS);
    let starts = days.flat_map(|(day, times)| times.into_iter().map(move |time| day.to_datetime(time)));
    let nth = starts.filter(|planned| *planned >= start).nth(count.saturating_sub(1));
    nth.and_then(|planned| instant(&every.zone, planned)).ok_or_else(|| {
        (format!("`COUNT={count}` is too far ahead"), "lower it, or write UNTIL in its place".to_owned())
    })
}

/// Parts of the text.
#[derive(Default)]
struct Parts {
    start: Option<Moment>,
    end: Option<Moment>,
    duration: Option<Length>,
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
                    once(&mut parts.duration, &name, duration(value)?)?;
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
        let found = instant(self.zone.as_ref().unwrap_or(zone), self.local);
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

    /// Returns the last instant that `UNTIL` includes. A day is included as a whole.
    fn last(&self, zone: &TimeZone) -> Result<Timestamp, Invalid> {
        let next = step(self.local.date(), Way::Ahead).filter(|_| self.is_day);
        match next.and_then(|next| instant(zone, next.to_datetime(Time::midnight()))) {
            Some(next) => Ok(next.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(next)),
            None => self.instant(zone),
        }
    }
}

/// Reads a duration such as `P1DT2H`: days of the calendar, then an exact length (RFC 5545 section 3.3.6).
fn duration(text: &str) -> Result<Length, Invalid> {
    let upper = text.to_ascii_uppercase();
    // jiff reads other notations, too; a duration begins with `P`.
    let span = upper.parse::<Span>().ok().filter(|span| upper.starts_with('P') && span.is_positive());
    let span = span.filter(|span| span.get_years() == 0 && span.get_months() == 0);
    let lasting = span.and_then(|span| {
        let days = span.get_weeks().checked_mul(7)?.checked_add(span.get_days())?;
        let clock = span.try_weeks(0).ok()?.try_days(0).ok()?;
        Some(Length { days, more: SignedDuration::try_from(clock).ok()? })
    });
    lasting.ok_or_else(|| (format!("{} is not a length", quoted(text)), "write it as `DURATION:PT2H`".to_owned()))
}

/// Parts of an `RRULE`.
#[derive(Default)]
struct Recur {
    unit: Option<Unit>,
    interval: Option<i32>,
    count: Option<usize>,
    until: Option<Moment>,
    week_start: Option<Weekday>,
    months: Option<Vec<i8>>,
    year_days: Option<Vec<i16>>,
    month_days: Option<Vec<i8>>,
    /// Weekdays, with the part as it was written.
    weekdays: Option<(Vec<Nth>, String)>,
    hours: Option<Vec<i8>>,
    minutes: Option<Vec<i8>>,
    seconds: Option<Vec<i8>>,
    positions: Option<Vec<i16>>,
}

impl Recur {
    fn read(text: &str) -> Result<Self, Invalid> {
        let mut recur = Self::default();
        // Some calendars end a rule with a semicolon.
        for part in text.strip_suffix(';').unwrap_or(text).split(';') {
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
            "FREQ" => once(&mut self.unit, &name, unit(value).ok_or_else(|| frequency(part, value))?),
            "INTERVAL" => {
                let number = value.parse().ok().filter(|number| (1..=MOST_INTERVAL).contains(number));
                once(&mut self.interval, &name, number.ok_or_else(wrong)?)
            }
            "COUNT" => {
                let number = value.parse().ok().filter(|number| (1..=MOST_COUNT).contains(number));
                once(&mut self.count, &name, number.ok_or_else(wrong)?)
            }
            "UNTIL" => once(&mut self.until, &name, Moment::bare(value)?),
            "WKST" => once(&mut self.week_start, &name, weekday(value).filter(|_| value.len() == 2).ok_or_else(wrong)?),
            "BYDAY" => {
                let days: Option<Vec<Nth>> = value.split(',').map(nth_weekday).collect();
                once(&mut self.weekdays, &name, (days.ok_or_else(wrong)?, part.to_owned()))
            }
            "BYMONTH" => once(&mut self.months, &name, numbers(value, |n| (1..=12).contains(&n)).ok_or_else(wrong)?),
            "BYMONTHDAY" => once(&mut self.month_days, &name, numbers(value, counted(31)).ok_or_else(wrong)?),
            "BYYEARDAY" => once(&mut self.year_days, &name, numbers(value, counted(366)).ok_or_else(wrong)?),
            "BYSETPOS" => once(&mut self.positions, &name, numbers(value, counted(366)).ok_or_else(wrong)?),
            "BYHOUR" => once(&mut self.hours, &name, numbers(value, |n| (0..24).contains(&n)).ok_or_else(wrong)?),
            "BYMINUTE" => once(&mut self.minutes, &name, numbers(value, |n| (0..60).contains(&n)).ok_or_else(wrong)?),
            "BYSECOND" => once(&mut self.seconds, &name, numbers(value, |n| (0..60).contains(&n)).ok_or_else(wrong)?),
            _ => Err(wrong()),
        }
    }

    /// Returns the rule. Parts that are not written come from the start (RFC 5545 section 3.3.10).
    fn rule(self, start: DateTime) -> Result<Rule, Invalid> {
        let unit = self.unit.ok_or_else(|| missing("FREQ", "FREQ=WEEKLY"))?;
        self.misfit(unit)?;
        let hours = match unit {
            Unit::Hour => Vec::new(),
            Unit::Day | Unit::Week | Unit::Month | Unit::Year => vec![start.hour()],
        };
        let mut rule = Rule {
            unit,
            interval: self.interval.unwrap_or(1),
            week_start: self.week_start.unwrap_or(Weekday::Monday),
            anchor: start,
            months: self.months.unwrap_or_default(),
            year_days: self.year_days.unwrap_or_default(),
            month_days: self.month_days.unwrap_or_default(),
            weekdays: self.weekdays.map(|(days, _)| days).unwrap_or_default(),
            hours: self.hours.unwrap_or(hours),
            minutes: self.minutes.unwrap_or_else(|| vec![start.minute()]),
            seconds: self.seconds.unwrap_or_else(|| vec![start.second()]),
            positions: self.positions.unwrap_or_default(),
        };
        if rule.most_times() > MOST_TIMES {
            let help = format!("at most {MOST_TIMES} are allowed: shorten BYHOUR, BYMINUTE or BYSECOND");
            return Err((format!("the rule may come {} times a day", rule.most_times()), help));
        }
        let no_day = rule.weekdays.is_empty() && rule.month_days.is_empty() && rule.year_days.is_empty();
        match unit {
            Unit::Week if no_day => rule.weekdays.push(Nth(0, start.weekday())),
            Unit::Month if no_day => rule.month_days.push(start.day()),
            Unit::Year if no_day => {
                if rule.months.is_empty() {
                    rule.months.push(start.month());
                }
                rule.month_days.push(start.day());
            }
            Unit::Hour | Unit::Day | Unit::Week | Unit::Month | Unit::Year => {}
        }
        Ok(rule)
    }

    /// Refuses parts that RFC 5545 section 3.3.10 does not allow together.
    fn misfit(&self, unit: Unit) -> Result<(), Invalid> {
        let counts_weeks = self.weekdays.as_ref().filter(|(days, _)| days.iter().any(|Nth(nth, _)| *nth != 0));
        let (short, long) = (matches!(unit, Unit::Hour | Unit::Day | Unit::Week), unit == Unit::Year);
        if let Some((_, written)) = counts_weeks.filter(|_| short) {
            let message = format!("{} counts the weeks of a month", quoted(written));
            return Err((message, "write FREQ=MONTHLY, or leave the numbers out".to_owned()));
        }
        let of_month = |days: &[Nth]| days.iter().any(|Nth(nth, _)| nth.abs() > 5);
        if let Some((_, written)) = counts_weeks.filter(|(days, _)| of_month(days) && !(long && self.months.is_none()))
        {
            return Err((
                format!("{} is more weeks than a month has", quoted(written)),
                "write 1 to 5, or -1 to -5".to_owned(),
            ));
        }
        if unit == Unit::Week && self.month_days.is_some() {
            let help = "write FREQ=MONTHLY, or remove one of them";
            return Err(("`BYMONTHDAY` is not for FREQ=WEEKLY".to_owned(), help.to_owned()));
        }
        if self.year_days.is_some() && matches!(unit, Unit::Day | Unit::Week | Unit::Month) {
            let help = "write FREQ=YEARLY, or remove it";
            return Err(("`BYYEARDAY` is for FREQ=YEARLY and FREQ=HOURLY".to_owned(), help.to_owned()));
        }
        if unit == Unit::Hour && self.positions.is_some() {
            let help = "write FREQ=DAILY with BYHOUR, or remove it";
            return Err(("`BYSETPOS` is not for FREQ=HOURLY here".to_owned(), help.to_owned()));
        }
        Ok(())
    }
}

fn unit(text: &str) -> Option<Unit> {
    match text.to_ascii_uppercase().as_str() {
        "HOURLY" => Some(Unit::Hour),
        "DAILY" => Some(Unit::Day),
        "WEEKLY" => Some(Unit::Week),
        "MONTHLY" => Some(Unit::Month),
        "YEARLY" => Some(Unit::Year),
        _ => None,
    }
}

fn frequency(part: &str, value: &str) -> Invalid {
    match value.to_ascii_uppercase().as_str() {
        "MINUTELY" | "SECONDLY" => {
            (format!("{} comes too often for a window", quoted(part)), "write FREQ=HOURLY, or with BYMINUTE".to_owned())
        }
        _ => unknown(part),
    }
}

/// Reads numbers, each once.
fn numbers<T: std::str::FromStr + Ord + Copy>(text: &str, is_good: impl Fn(T) -> bool) -> Option<Vec<T>> {
    let numbers: Option<Vec<T>> = text.split(',').map(|number| number.parse().ok().filter(|n| is_good(*n))).collect();
    let mut numbers = numbers?;
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// Returns the condition on numbers that count from the first, or backwards from the last.
fn counted<T: Into<i32>>(most: i32) -> impl Fn(T) -> bool {
    move |number| {
        let number: i32 = number.into();
        number != 0 && number.abs() <= most
    }
}

/// Reads `SU`, `1SU`, `-1FR`.
fn nth_weekday(text: &str) -> Option<Nth> {
    let letters = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, day) = text.split_at(letters);
    let nth = match number {
        "" => 0,
        number => number.parse::<i8>().ok().filter(|nth| *nth != 0 && (-53..=53).contains(nth))?,
    };
    Some(Nth(nth, weekday(day).filter(|_| day.len() == 2)?))
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

const HELP: &str = "of RFC 5545 there is FREQ=HOURLY, DAILY, WEEKLY, MONTHLY and YEARLY with INTERVAL, COUNT, UNTIL, WKST, \
                    BYMONTH, BYYEARDAY, BYMONTHDAY, BYDAY, BYHOUR, BYMINUTE, BYSECOND and BYSETPOS; and EXDATE";
/// Greatest `INTERVAL`.
const MOST_INTERVAL: i32 = 1000;
/// Greatest `COUNT`.
const MOST_COUNT: usize = 10_000;
/// Most starts on one day.
const MOST_TIMES: usize = 96;
/// Most days that are looked at for `COUNT`.
const MOST_COUNTED_DAYS: usize = 40_000;
/// Years within which `COUNT` must be reached.
const LONGEST_COUNT: i64 = 30;
/// Occurrences that are compared to find out if they overlap.
const MOST_COMPARED: usize = 500;
