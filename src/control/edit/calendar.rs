//! Words for planned times: the day and the clock of the place, and UTC beside it. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::plan::flags::Target;
use crate::plan::flags::{Odd, Oddity};

use super::words;

/// Formats an instant in a zone: `Sun 2026-12-06 02:00 CET (01:00 UTC)`.
pub(crate) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    let local = format!("{} {} {}", day(at, zone), time(at, zone), abbreviation(at, zone));
    if is_utc(at, zone) {
        return local;
    }
    format!("{local} ({} UTC)", beside(at, at, zone))
}

/// Formats a span in a zone: `Sun 2026-12-06 02:00-03:00 CET (01:00-02:00 UTC), 1 h`.
pub(crate) fn span(starts: Timestamp, ends: Timestamp, zone: &TimeZone) -> String {
    let length = words::span(starts, ends);
    let same_day = day(starts, zone) == day(ends, zone);
    let same_clock = abbreviation(starts, zone) == abbreviation(ends, zone);
    if !same_day || !same_clock {
        return format!("{} to {}, {length}", moment(starts, zone), moment(ends, zone));
    }
    let local = format!("{} {}-{}", day(starts, zone), time(starts, zone), time(ends, zone));
    let local = format!("{local} {}", abbreviation(starts, zone));
    if is_utc(starts, zone) {
        return format!("{local}, {length}");
    }
    let utc = format!("{}-{}", beside(starts, starts, zone), beside(ends, starts, zone));
    format!("{local} ({utc} UTC), {length}")
}

/// Formats the day of an instant in a zone: `Sun 2026-12-06`.
pub(crate) fn day(at: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(at).strftime("%a %Y-%m-%d").to_string()
}

/// Formats the time of day of an instant in a zone, with seconds unless they are 0.
pub(crate) fn time(at: Timestamp, zone: &TimeZone) -> String {
    let format = if at.as_second().rem_euclid(60) == 0 { "%H:%M" } else { "%H:%M:%S" };
    zone.to_datetime(at).strftime(format).to_string()
}

/// Formats the abbreviation of a zone at an instant: `CET`, `+0530`, `UTC`.
pub(crate) fn abbreviation(at: Timestamp, zone: &TimeZone) -> String {
    zone.to_offset_info(at).abbreviation().to_owned()
}

/// Describes an odd night, after "it".
pub(crate) fn odd(odd: &Odd, starts: Timestamp, ends: Timestamp, zone: &TimeZone) -> String {
    let (from, to) = (time(starts, zone), time(ends, zone));
    match odd.oddity {
        Oddity::Moved => {
            format!("starts at {from}, not at {}: the clocks change that night", odd.planned.strftime("%H:%M"))
        }
        Oddity::Twice => format!("starts at {from}, which comes twice as the clocks change: the first one counts"),
        Oddity::OtherEnd => {
            format!("lasts {} as ever, and the clocks change meanwhile: it ends at {to}", { words::span(starts, ends) })
        }
    }
}

/// Returns the name of a target as a person reads it.
pub(crate) fn target(target: &Target) -> &str {
    match target {
        Target::Every => "every route",
        Target::Route(name) => name,
    }
}

fn is_utc(at: Timestamp, zone: &TimeZone) -> bool {
    zone == &TimeZone::UTC || abbreviation(at, zone) == "UTC"
}

/// Formats the time of an instant in UTC, with its day if that is not the local one of `beside`.
fn beside(at: Timestamp, beside: Timestamp, zone: &TimeZone) -> String {
    let utc = TimeZone::UTC;
    if day(at, &utc) == day(beside, zone) { time(at, &utc) } else { format!("{} {}", day(at, &utc), time(at, &utc)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_the_clock_of_the_place_and_in_utc() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let new_york = TimeZone::get("America/New_York").unwrap();
        let say = |from: &str, to: &str, zone: &TimeZone| span(at(from), at(to), zone);
        assert_eq!(
            say("2026-12-06T01:00:00Z", "2026-12-06T02:00:00Z", &berlin),
            "Sun 2026-12-06 02:00-03:00 CET (01:00-02:00 UTC), 1 h"
        );
        assert_eq!(
            say("2026-12-06T01:00:00Z", "2026-12-06T02:00:10Z", &TimeZone::UTC),
            "Sun 2026-12-06 01:00-02:00:10 UTC, 1 h"
        );
        assert_eq!(
            say("2026-12-06T03:00:00Z", "2026-12-06T04:00:00Z", &new_york),
            "Sat 2026-12-05 22:00-23:00 EST (Sun 2026-12-06 03:00-Sun 2026-12-06 04:00 UTC), 1 h"
        );
        assert_eq!(
            say("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", &berlin),
            "Sun 2026-10-25 02:30 CEST (00:30 UTC) to Sun 2026-10-25 02:30 CET (01:30 UTC), 1 h"
        );
    }
}
