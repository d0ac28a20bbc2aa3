//! `digest_at` of `[status]`: the time of day at which readers get all news of a day in one mail.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::super::problem::quoted;
use super::super::read::{Report, Value};

/// Time of day of the digests, in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct DigestTime {
    time: Time,
    zone: TimeZone,
}

impl Default for DigestTime {
    /// Returns 08:00 in UTC.
    fn default() -> Self {
        Self { time: Time::constant(8, 0, 0, 0), zone: TimeZone::UTC }
    }
}

impl DigestTime {
    /// Returns the first time of the digests after an instant. One that the clocks skip is as much later, and of one that
    /// comes twice it is the first.
    pub fn after(&self, instant: Timestamp) -> Timestamp {
        let today = self.zone.to_datetime(instant).date();
        // The end of time is nothing that a mail waits for.
        let days = (0..=2).filter_map(|days| today.checked_add(days.days()).ok());
        let mut times = days.filter_map(|day| self.zone.to_timestamp(day.to_datetime(self.time)).ok());
        times.find(|time| *time > instant).unwrap_or(instant)
    }
}

/// Reads the time.
pub(super) fn digest_time(value: &Value<'_>, report: &mut Report<'_>) -> Option<DigestTime> {
    let text = value.string("08:00", report)?;
    let mut words = text.split_whitespace();
    let (time, zone) = (words.next().unwrap_or_default(), words.next());
    let Some(time) = time_of_day(time).filter(|_| words.next().is_none()) else {
        let help = "write hours and minutes, and a time zone if it is not UTC: `digest_at = \"08:00 Europe/Berlin\"`";
        report.wrong(value.span.clone(), format!("{} is no time of day", quoted(text)), help);
        return None;
    };
    let Some(name) = zone else { return Some(DigestTime { time, zone: TimeZone::UTC }) };
    // jiff knows the name `Etc/Unknown`, and would take it for UTC.
    let Some(zone) = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()) else {
        let help = "write a name of the IANA database, `Europe/Berlin` or `UTC`";
        report.wrong(value.span.clone(), format!("there is no time zone {}", quoted(name)), help);
        return None;
    };
    Some(DigestTime { time, zone })
}

/// Reads hours and minutes, two digits each.
fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |part: &str| {
        let is_pair = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_pair.then(|| part.parse::<i8>().ok()).flatten()
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_digest_is_at_its_time_of_day_whatever_the_clocks_do() {
        let cases = [
            ("08:00", "UTC", "2026-05-19T07:59:59Z", "2026-05-19T08:00:00Z"),
            ("08:00", "UTC", "2026-05-19T08:00:00Z", "2026-05-20T08:00:00Z"),
            ("00:00", "UTC", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            ("08:00", "Europe/Berlin", "2026-05-19T05:59:59Z", "2026-05-19T06:00:00Z"),
            // The day there is another one than in UTC.
            ("08:00", "Pacific/Auckland", "2026-05-19T19:59:59Z", "2026-05-19T20:00:00Z"),
            ("08:00", "America/Los_Angeles", "2026-05-19T01:00:00Z", "2026-05-19T15:00:00Z"),
            // Summer begins and ends: the day has 23 and 25 hours.
            ("08:00", "Europe/Berlin", "2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z"),
            ("08:00", "Europe/Berlin", "2026-10-24T06:00:00Z", "2026-10-25T07:00:00Z"),
            // 02:30 is skipped, and comes twice.
            ("02:30", "Europe/Berlin", "2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z"),
            ("02:30", "Europe/Berlin", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"),
            ("02:30", "Europe/Berlin", "2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"),
            ("02:30", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            // Samoa had no 30 December 2011.
            ("08:00", "Pacific/Apia", "2011-12-29T18:00:00Z", "2011-12-30T18:00:00Z"),
        ];
        for (time, zone, now, next) in cases {
            let at = DigestTime { time: time_of_day(time).unwrap(), zone: TimeZone::get(zone).unwrap() };
            assert_eq!(at.after(now.parse().unwrap()), next.parse().unwrap(), "{time} {zone} after {now}");
        }
    }
}
