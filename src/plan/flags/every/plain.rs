//! Recurrence as people write it: `Sun 02:00-04:00 Europe/Berlin`.

use jiff::SignedDuration;
use jiff::civil::{Time, Weekday};

use super::super::super::problem::{did_you_mean, quoted};
use super::rule::{Nth, Rule, Unit};
use super::zone::zone_of;
use super::{Every, Exceptions, Invalid, Length, WEEKDAYS, weekday};

/// Reads `Sun 02:00-04:00 Europe/Berlin`.
pub(super) fn plain(text: &str) -> Result<Every, Invalid> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| word.contains(':')) else {
        return Err((format!("{} does not say at what time", quoted(text)), EXAMPLE.to_owned()));
    };
    let (days, rest) = words.split_at(at);
    let (starts, length) = times(rest.first().copied().unwrap_or_default())?;
    let zone = match rest.get(1..) {
        Some([zone]) => zone_of(zone)?,
        Some([]) | None => {
            let help = format!("add one, {}", quoted(&format!("{} Europe/Berlin", text.trim())));
            return Err((format!("{} does not say in which time zone", quoted(text)), help));
        }
        // No zone has a space in its name; `America/New York` gets the right name as a correction.
        Some(more) => zone_of(&more.join(" "))?,
    };
    let rule = days_of(&days.join(" "), starts)?;
    let text = text.trim().to_owned();
    Ok(Every { text, rule, length, zone, first: None, last: None, except: Exceptions::default() })
}

/// Reads `02:00-04:00`. An end that is not after the start is on the next day. Whole days end with the day, however long it
/// is.
fn times(text: &str) -> Result<(Time, Length), Invalid> {
    let wrong = || (format!("{} is not a span of time", quoted(text)), "write it as `02:00-04:00`".to_owned());
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let starts = time(from).ok_or_else(wrong)?;
    // The end of the day is the start of the next day.
    let until = if to == "24:00" { Time::midnight() } else { time(to).ok_or_else(wrong)? };
    let more = starts.duration_until(until);
    Ok((
        starts,
        match more {
            SignedDuration::ZERO => Length { days: 1, more },
            more if more.is_negative() => Length { days: 0, more: more + SignedDuration::from_hours(24) },
            more => Length { days: 0, more },
        },
    ))
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let digits =
        |text: &str| (text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok());
    Time::new(digits(hour)??, digits(minute)??, 0, 0).ok()
}

/// Reads `Sun`, `Mon-Fri`, `Mon,Wed`, `daily`, `1st Sun`, `1st,3rd Sun`, `last Fri`, `day 15`, `last day`, `last workday`.
fn days_of(text: &str, starts: Time) -> Result<Rule, Invalid> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let rule = |unit| Rule::at(unit, starts);
    let is = |word: &str, own: &str| word.eq_ignore_ascii_case(own);
    // People say `every Sun` and `every day`, although the key already says `every`.
    let words = match words.as_slice() {
        [every, rest @ ..] if is(every, "every") => rest,
        words => words,
    };
    // `1st, 3rd Sun` has a space that means nothing.
    let joined = words.join(" ").replace(", ", ",");
    let words: Vec<&str> = joined.split(' ').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => Ok(rule(Unit::Day)),
        [daily] if is(daily, "daily") || is(daily, "day") => Ok(rule(Unit::Day)),
        [list] => Ok(Rule { weekdays: listed(list)?, ..rule(Unit::Week) }),
        [day, numbers] if is(day, "day") => {
            let number = |number: &str| number.trim_end_matches('.').parse().ok().filter(|day| (1..=31).contains(day));
            let numbers: Option<Vec<i8>> = numbers.split(',').map(number).collect();
            Ok(Rule { month_days: numbers.ok_or_else(|| no_day(text))?, ..rule(Unit::Month) })
        }
        [nth, kind, rest @ ..] if rest.is_empty() || is(&rest.join(" "), "of the month") => {
            let nths: Option<Vec<i8>> = nth.split(',').map(ordinal).collect();
            nth_days(&nths.ok_or_else(|| no_day(text))?, kind, rule(Unit::Month))
        }
        _ => Err(no_day(text)),
    }
}

/// Limits a monthly rule to the nth days, workdays or weekdays of a month.
fn nth_days(nths: &[i8], kind: &str, rule: Rule) -> Result<Rule, Invalid> {
    match kind.to_ascii_lowercase().as_str() {
        "day" => Ok(Rule { month_days: nths.to_vec(), ..rule }),
        "workday" | "weekday" => {
            let weekdays = range(Weekday::Monday, Weekday::Friday).into_iter().map(|day| Nth(0, day)).collect();
            Ok(Rule { weekdays, positions: nths.iter().map(|nth| (*nth).into()).collect(), ..rule })
        }
        day => {
            let day = named(day)?;
            Ok(Rule { weekdays: nths.iter().map(|nth| Nth(*nth, day)).collect(), ..rule })
        }
    }
}

/// Reads `Mon,Wed-Fri`.
fn listed(list: &str) -> Result<Vec<Nth>, Invalid> {
    let mut days = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            None => days.push(named(part)?),
            Some((from, to)) => days.extend(range(named(from)?, named(to)?)),
        }
    }
    Ok(days.into_iter().map(|day| Nth(0, day)).collect())
}

fn named(name: &str) -> Result<Weekday, Invalid> {
    weekday(name).ok_or_else(|| no_day(name))
}

fn no_day(text: &str) -> Invalid {
    // `daily` looks like a day of the month, and would close every day.
    let near = did_you_mean(text, WEEKDAYS.iter().map(|(name, _)| *name));
    let near =
        near.or_else(|| did_you_mean(text, ["daily"]).filter(|_| !text.split_whitespace().any(|word| word == "day")));
    let help = near.map_or_else(|| DAYS.to_owned(), |near| format!("did you mean `{near}`?"));
    (format!("{} is not a day", quoted(text)), help)
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
        ("fifth", 5),
        ("last", -1),
    ];
    words.iter().find(|(own, _)| own.eq_ignore_ascii_case(word)).map(|(_, nth)| *nth)
}

const DAYS: &str = "write days like `Sun`, `Mon-Fri`, `Mon,Wed`, `daily`, `1st Sun`, `last Fri`, `day 15`, `last day` or `last workday`";
const EXAMPLE: &str = "write it like `Sun 02:00-04:00 Europe/Berlin`";
