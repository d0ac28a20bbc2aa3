//! Modes, instants and spans as words, and back. Pure: the time is an argument.

use jiff::civil;
use jiff::fmt::friendly::SpanParser;
use jiff::{SignedDuration, SpanRelativeTo, Timestamp, Unit};

use crate::files::author::Author;
use crate::plan::flags::Mode;
use crate::plan::instant;
use crate::plan::words;
pub(crate) use crate::plan::words::{harmless, instant, latency};

/// Returns the predicate for a route in a mode, as in "web is offline".
pub(crate) fn being(mode: Mode) -> &'static str {
    match mode {
        Mode::Offline => "offline",
        Mode::ReadOnly => "read-only",
        Mode::Hold => "on hold",
    }
}

/// Formats the author of an edit: `by anna at edge-1: on web`, or `in a file of anna`.
pub(crate) fn author(by: &Author) -> String {
    match by {
        Author::Command { user, host, command } => {
            format!("by {} at {}: {}", harmless(user), harmless(host), harmless(command))
        }
        Author::Tool { tool } => format!("by {}", harmless(tool)),
        Author::Owner { owner } => format!("in a file of {}", harmless(owner)),
    }
}

/// Joins words: `web`, `web and api`, `web, api and hooks`.
pub(crate) fn list<S: AsRef<str>>(words: &[S]) -> String {
    words::list(words, "and")
}

/// Formats a count: `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Formats a span in its two greatest units, rounded to the lesser: `45 s`, `30 min`, `1 h 5 min`, `2 d 3 h`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).unsigned_abs();
    let seconds = seconds.as_secs() + u64::from(seconds.subsec_millis() >= 500);
    let (minutes, hours, days) = ((seconds + 30) / 60, (seconds + 30) / 3600, (seconds + 1800) / 86400);
    let pair = |great: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{great} {unit}"),
        _ => format!("{great} {unit} {small} {small_unit}"),
    };
    match (days, hours, minutes) {
        (1.., _, _) => pair(days, "d", (seconds + 1800) / 3600 % 24, "h"),
        (_, 1.., _) => pair(hours, "h", minutes % 60, "min"),
        (_, _, 10..) => format!("{minutes} min"),
        _ if seconds >= 60 => pair(seconds / 60, "min", seconds % 60, "s"),
        _ => format!("{seconds} s"),
    }
}

/// Cuts an instant to whole seconds, because people read it.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Returns the last instant that can be written, in whole seconds.
pub(crate) fn last_instant() -> Timestamp {
    whole_seconds(Timestamp::MAX)
}

/// Parses the length of a pause: `30m`, `1h 30m`, `2 days`.
///
/// # Errors
/// A message with the right form.
pub(crate) fn parse_span(text: &str) -> Result<SignedDuration, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        return Err(format!("add a unit: `{number}m` for minutes, `{number}h` for hours"));
    }
    let example = || "write it like `45s`, `30m`, `1h 30m` or `2 days`".to_owned();
    let span = SpanParser::new().parse_span(text).map_err(|_| example())?;
    if matches!(unit(&span), Unit::Month | Unit::Year) {
        return Err("months and years differ in length: say the end with `--until`".to_owned());
    }
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| example())?;
    if duration < SignedDuration::from_secs(1) {
        return Err("it must be a second or more".to_owned());
    }
    Ok(duration)
}

/// Returns the greatest unit of a span.
fn unit(span: &jiff::Span) -> Unit {
    match (span.get_years(), span.get_months()) {
        (0, 0) => Unit::Week,
        (0, _) => Unit::Month,
        _ => Unit::Year,
    }
}

/// Parses an instant: RFC 3339 with an offset. People write the last day of the year 9999 for "for ever". An instant
/// of that year beyond the last possible one is taken as that one.
///
/// # Errors
/// A message with the right form.
pub(crate) fn parse_instant(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(instant) = instant::parse(text) {
        return Ok(instant);
    }
    if let Some(found) = beyond(text) {
        return found;
    }
    let today = Timestamp::now().strftime("%Y-%m-%d").to_string();
    // A date alone would mean midnight, which nobody wrote.
    if let Ok(date) = text.parse::<civil::Date>()
        && !text.contains([':', 'T', 't'])
    {
        return Err(format!("it has no time of day: write `{date}T15:00:00Z` for UTC"));
    }
    if let Ok(local) = text.parse::<civil::DateTime>() {
        return Err(format!(
            "it does not say in which time zone: write `{local}Z` for UTC, or one like `{local}+02:00`"
        ));
    }
    if let Ok(time) = text.trim_end_matches(['Z', 'z']).parse::<civil::Time>() {
        return Err(format!("it has no date: write `{today}T{time}Z` for UTC, or one like `{today}T{time}+02:00`"));
    }
    Err(format!("write date, time and offset, like `{today}T15:00:00Z` or `{today}T17:00:00+02:00`"))
}

/// Parses an instant whose date and time are right, but beyond the first or the last instant.
fn beyond(text: &str) -> Option<Result<Timestamp, String>> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let offset = time.find(['Z', 'z', '+', '-'])?;
    let out_of_range = || format!("it is out of range: the last instant is `{}`", last_instant());
    let year = date.trim_start_matches(['+', '-']).split('-').next()?;
    if year.len() > 4 && year.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Err(out_of_range()));
    }
    let (time, offset) = time.split_at(offset);
    let civil: civil::DateTime = match format!("{date}T{time}").parse() {
        Ok(civil) => civil,
        Err(_) => return no_such_day(date, time).map(Err),
    };
    // Only the offset can still be wrong.
    let right = format!("2026-05-19T15:00:00{offset}").parse::<Timestamp>().is_ok();
    right.then(|| if civil.year() == 9999 { Ok(last_instant()) } else { Err(out_of_range()) })
}

/// Returns the message for a date that the calendar does not have.
fn no_such_day(date: &str, time: &str) -> Option<String> {
    time.parse::<civil::Time>().ok()?;
    let mut parts = date.splitn(3, '-').map(str::parse::<u8>);
    let (_, month, day) = (parts.next()?, parts.next()?.ok()?, parts.next()?.ok()?);
    (month > 0 && day > 0).then(|| format!("there is no such day as {date}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_year_9999_is_the_last_instant() {
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T00:00:00+02:00", "9999-12-30T22:00:01Z"] {
            assert_eq!(parse_instant(text).map(whole_seconds), Ok(last_instant()), "{text}");
        }
        for text in ["10000-01-01T00:00:00Z", "+10000-01-01T00:00:00Z", "99999-01-01T00:00:00Z"] {
            assert!(parse_instant(text).unwrap_err().contains("the last instant is `9999-12-30T22:00:00Z`"), "{text}");
        }
        assert!(parse_instant("9999-12-31T23:59:59+99:00").unwrap_err().contains("T15:00:00Z`"));
        assert_eq!(parse_instant("2036-02-30T00:00:00Z"), Err("there is no such day as 2036-02-30".to_owned()));
    }

    #[test]
    fn a_span_is_told_in_its_two_greatest_units() {
        let now: Timestamp = "2026-05-19T14:00:00Z".parse().unwrap();
        for (seconds, words) in [
            (0, "0 s"),
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (90, "1 min 30 s"),
            (125, "2 min 5 s"),
            (600, "10 min"),
            (1799, "30 min"),
            (1800, "30 min"),
            (3600, "1 h"),
            (3900, "1 h 5 min"),
            (7199, "2 h"),
            (86400, "1 d"),
            (86400 * 2 + 3600 * 3, "2 d 3 h"),
        ] {
            assert_eq!(span(now, now + SignedDuration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn a_length_needs_a_unit() {
        assert_eq!(parse_span("1h 30m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(parse_span("2 days"), Ok(SignedDuration::from_hours(48)));
        assert_eq!(parse_span("30"), Err("add a unit: `30m` for minutes, `30h` for hours".to_owned()));
        for wrong in ["", "soon", "-5m", "0s", "1 month", "200ms"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instant_without_its_offset_is_answered_with_the_right_form() {
        assert!(parse_instant("2026-05-19T17:00:00+02:00").is_ok());
        let error = |text: &str| parse_instant(text).unwrap_err();
        assert!(error("2026-05-19T15:00").contains("`2026-05-19T15:00:00Z`"), "{}", error("2026-05-19T15:00"));
        assert!(error("15:00").contains("T15:00:00Z`"), "{}", error("15:00"));
        assert!(error("15:00Z").contains("T15:00:00Z`"), "{}", error("15:00Z"));
        assert!(error("2026-05-19").contains("no time of day"), "{}", error("2026-05-19"));
        assert!(error("tomorrow").contains("T15:00:00Z`"), "{}", error("tomorrow"));
    }
}
