//! Times as people write them: `2026-12-06T02:00Z`, `tomorrow 02:00`, `Sun 02:00 Europe/Berlin`, `in 2h`. Pure: the
//! present time is an argument.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::words;
use crate::plan::instant::{self, WEEKDAYS};
use crate::plan::problem::{did_you_mean, quoted};

/// Instant that a person wrote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moment {
    /// Instant.
    pub(crate) at: Timestamp,
    /// Time zone by which it was written.
    pub(crate) zone: TimeZone,
    /// Remark on how it was understood.
    pub(crate) remark: Option<String>,
}

/// Parses a time that is to come.
///
/// # Errors
/// A message with the right form.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Moment, String> {
    let text = text.trim();
    if let Some(at) = instant::parse(text) {
        return Ok(Moment { at, zone: written_zone(text), remark: None });
    }
    if let Some(span) = text.strip_prefix("in ") {
        let at = now.checked_add(words::parse_span(span)?).map_err(|_| "that is beyond the end of time".to_owned())?;
        return Ok(Moment { at: words::whole_seconds(at), zone: TimeZone::UTC, remark: None });
    }
    let spaced = match text.split_once(['T', 't']) {
        Some((date, time)) if date.parse::<Date>().is_ok() => format!("{date} {time}"),
        Some(_) | None => text.to_owned(),
    };
    let parts: Vec<&str> = spaced.split_whitespace().collect();
    let (day, time, zone) = match *parts.as_slice() {
        [day, time] => (day, time, None),
        [day, time, zone] => (day, time, Some(zone)),
        _ => return Err(EXAMPLES.to_owned()),
    };
    let time = time_of_day(time)?;
    let named = zone.map(zone_of).transpose()?;
    let zone = named.clone().unwrap_or(TimeZone::UTC);
    let date = date(day, time, now, &zone)?;
    let ambiguous = zone.to_ambiguous_timestamp(date.to_datetime(time));
    let at = ambiguous.compatible().map_err(|_| "that is beyond the end of time".to_owned())?;
    let clock = if ambiguous.is_ambiguous() { Some(clock_change(at, date, time, &zone)) } else { None };
    let remark = clock.or_else(|| named.is_none().then(|| NO_ZONE.to_owned()));
    Ok(Moment { at, zone, remark })
}

/// Explains a local time that does not exist, or that comes twice.
fn clock_change(at: Timestamp, date: Date, time: Time, zone: &TimeZone) -> String {
    let found = zone.to_datetime(at).time();
    let time = time.strftime("%H:%M");
    if zone.to_datetime(at).time().strftime("%H:%M").to_string() == time.to_string() {
        return format!("{time} comes twice on {date}, because the clocks change: the first one is taken");
    }
    let found = found.strftime("%H:%M");
    format!("{time} does not exist on {date}, because the clocks change: {found} takes its place")
}

/// Returns the zone of an instant's own offset.
fn written_zone(text: &str) -> TimeZone {
    let offset = jiff::fmt::temporal::Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
    offset.filter(|offset| !offset.is_zero()).map_or(TimeZone::UTC, TimeZone::fixed)
}

fn time_of_day(text: &str) -> Result<Time, String> {
    let is_clock = text.contains(':') && text.len() >= 4;
    let padded = if text.find(':') == Some(1) { format!("0{text}") } else { text.to_owned() };
    let time = if is_clock { padded.parse::<Time>().ok() } else { None };
    time.ok_or_else(|| format!("{} is no time of day: write one like `02:00`", quoted(text)))
}

/// Finds the day of a word: a date, `today`, `tomorrow`, or the next such weekday on which the time is still to come.
fn date(word: &str, time: Time, now: Timestamp, zone: &TimeZone) -> Result<Date, String> {
    if let Ok(date) = word.parse::<Date>() {
        return Ok(date);
    }
    let today = zone.to_datetime(now).date();
    let later = |days: i64| today.checked_add(days.days()).map_err(|_| "that is beyond the end of time".to_owned());
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "today" => return Ok(today),
        "tomorrow" => return later(1),
        _ => {}
    }
    let weekday = weekday(&lower).ok_or_else(|| format!("{} is no day: {EXAMPLES}", quoted(word)))?;
    let ahead = i64::from(today.weekday().until(weekday));
    let passed = ahead == 0 && zone.to_datetime(now).time() >= time;
    later(if passed { 7 } else { ahead })
}

fn weekday(word: &str) -> Option<Weekday> {
    let is = |name: &str| name == word || word.len() >= 3 && name.starts_with(word);
    WEEKDAYS.iter().find(|(name, _)| is(name)).map(|(_, day)| *day)
}

/// Finds a time zone by its name. An abbreviation such as `CET` is refused where it hides a change of the clock.
fn zone_of(name: &str) -> Result<TimeZone, String> {
    if name == "Z" || name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    if let Some(zone) = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown() && name.contains('/')) {
        return Ok(zone);
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let by_city = known.iter().find(|known| known.contains('/') && city(known) == city(name)).map(String::as_str);
    let near = by_city.or_else(|| did_you_mean(name, known.iter().map(String::as_str)));
    let near = near.filter(|near| near.contains('/'));
    let right = near
        .map_or("write an IANA name, `Europe/Berlin` or `UTC`".to_owned(), |near| format!("did you mean `{near}`?"));
    Err(format!("{} is no time zone: {right}", quoted(name)))
}

const EXAMPLES: &str = "write `Sun 02:00 Europe/Berlin`, `tomorrow 02:00 UTC`, `2026-12-06 02:00 Europe/Berlin`, `2026-12-06T02:00Z` or `in 2h`";
const NO_ZONE: &str = "no time zone was named, so the time is UTC";

#[cfg(test)]
mod tests {
    use super::*;

    /// A Saturday.
    fn now() -> Timestamp {
        "2026-11-28T18:00:00Z".parse().unwrap()
    }

    #[test]
    fn times_are_understood_as_people_write_them() {
        for (text, expected) in [
            ("2026-12-06T02:00Z", "2026-12-06T02:00:00Z"),
            ("2026-12-06T02:00+01:00", "2026-12-06T01:00:00Z"),
            ("2026-12-06 02:00 Europe/Berlin", "2026-12-06T01:00:00Z"),
            ("2026-12-06T02:00 Europe/Berlin", "2026-12-06T01:00:00Z"),
            ("tomorrow 02:00", "2026-11-29T02:00:00Z"),
            ("Tomorrow 2:00 America/New_York", "2026-11-29T07:00:00Z"),
            ("today 23:30 UTC", "2026-11-28T23:30:00Z"),
            ("Sun 02:00 Europe/Berlin", "2026-11-29T01:00:00Z"),
            ("sunday 02:00 europe/berlin", "2026-11-29T01:00:00Z"),
            ("Sat 18:30 UTC", "2026-11-28T18:30:00Z"),
            ("Sat 18:00 UTC", "2026-12-05T18:00:00Z"),
            // Auckland has Sunday already.
            ("Sun 06:00 Pacific/Auckland", "2026-12-05T17:00:00Z"),
            ("in 2h", "2026-11-28T20:00:00Z"),
            ("in 1h 30m", "2026-11-28T19:30:00Z"),
        ] {
            assert_eq!(parse(text, now()).map(|moment| moment.at.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_time_that_a_change_of_the_clock_touches_is_remarked_on() {
        let remark = |text: &str| parse(text, now()).unwrap().remark.unwrap_or_default();
        assert!(remark("2027-03-28 02:30 Europe/Berlin").contains("02:30 does not exist on 2027-03-28"));
        assert!(remark("2027-03-28 02:30 Europe/Berlin").contains("03:30 takes its place"));
        assert!(remark("2027-10-31 02:30 Europe/Berlin").contains("comes twice on 2027-10-31"));
        assert!(remark("tomorrow 02:00").contains("no time zone was named"));
        assert_eq!(remark("tomorrow 02:00 UTC"), "");
        assert_eq!(remark("2026-12-06T02:00Z"), "");
    }

    #[test]
    fn what_is_not_understood_is_answered_with_the_right_form() {
        let error = |text: &str| parse(text, now()).unwrap_err();
        assert!(error("soon").contains("`Sun 02:00 Europe/Berlin`"));
        assert!(error("Foo 02:00").starts_with("`Foo` is no day: write"), "{}", error("Foo 02:00"));
        assert!(error("Sun 25:00").contains("no time of day"));
        assert!(error("Sun 2").contains("no time of day"));
        assert!(error("Sun 02:00 Berlin").contains("did you mean `Europe/Berlin`?"), "{}", error("Sun 02:00 Berlin"));
        assert!(error("Sun 02:00 CET").contains("is no time zone"));
        assert!(error("in 30").contains("add a unit"));
    }
}
