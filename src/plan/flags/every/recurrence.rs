//! Recurrence in the words of RFC 5545, for calendars.

use jiff::civil::{DateTime, Weekday};
use jiff::{SignedDuration, Timestamp};

use super::rule::{Nth, Rule, Unit};
use super::{Every, Exceptions, Length, Start};

/// Recurrence from an instant on, in the words of RFC 5545. Times are local times of the rule's zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    /// Start of the first occurrence.
    pub start: DateTime,
    /// Value of `RRULE`.
    pub rule: String,
    /// Starts that the rule gives, and that are left out.
    pub left_out: Vec<DateTime>,
    /// Whole days of an occurrence. A day may have 23 or 25 hours.
    pub days: i32,
    /// Exact length besides.
    pub more: SignedDuration,
}

impl Every {
    /// Returns the recurrence from an instant on, as calendars can say it. It is `None` if they cannot, or if no occurrence
    /// begins any more.
    pub fn recurrence(&self, from: Timestamp) -> Option<Recurrence> {
        let before = from.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        let start = self.next_start(before, Timestamp::MAX)?.planned;
        let mut rule = rrule(&self.rule, start)?;
        if let Some(last) = self.last {
            rule.push_str(&last.strftime(";UNTIL=%Y%m%dT%H%M%SZ").to_string());
        }
        let left_out = self.left_out().into_iter().filter(|planned| *planned > start).collect();
        let Length { days, more } = self.length;
        Some(Recurrence { start, rule, left_out, days, more })
    }

    /// Returns the local time that the rule has for the start at an instant, whether or not it is left out.
    pub fn planned_at(&self, starts: Timestamp) -> Option<DateTime> {
        let start = self.bare().last_start(starts)?;
        (start.instant == starts).then_some(start.planned)
    }

    /// Returns the local starts that are left out, in order.
    fn left_out(&self) -> Vec<DateTime> {
        let bare = self.bare();
        let of_days =
            self.except.days.iter().flat_map(|day| bare.starts_on(*day, &bare.rule.on(*day)).collect::<Vec<_>>());
        let mut all: Vec<DateTime> = of_days.map(|Start { planned, .. }| planned).collect();
        all.extend(self.except.starts.iter().filter_map(|instant| bare.planned_at(*instant)));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns the recurrence without its exceptions.
    fn bare(&self) -> Self {
        Self { except: Exceptions::default(), ..self.clone() }
    }
}

/// Writes a rule whose first occurrence begins at a local time. What that start says already is left out.
fn rrule(rule: &Rule, start: DateTime) -> Option<String> {
    let (frequency, hours) = match rule.unit {
        Unit::Hour => ("DAILY", hours(rule)?),
        Unit::Day => ("DAILY", rule.hours.clone()),
        Unit::Week => ("WEEKLY", rule.hours.clone()),
        Unit::Month => ("MONTHLY", rule.hours.clone()),
        Unit::Year => ("YEARLY", rule.hours.clone()),
    };
    let mut text = format!("FREQ={frequency}");
    if rule.unit != Unit::Hour && rule.interval > 1 {
        text.push_str(&format!(";INTERVAL={}", rule.interval));
    }
    if rule.week_start != Weekday::Monday {
        text.push_str(&format!(";WKST={}", letters(rule.week_start)));
    }
    let weekday = |Nth(nth, day): &Nth| match nth {
        0 => letters(*day).to_owned(),
        nth => format!("{nth}{}", letters(*day)),
    };
    part(&mut text, "BYMONTH", &rule.months, i8::to_string);
    part(&mut text, "BYYEARDAY", &rule.year_days, i16::to_string);
    part(&mut text, "BYMONTHDAY", &rule.month_days, i8::to_string);
    part(&mut text, "BYDAY", &rule.weekdays, weekday);
    for (name, own, said) in [
        ("BYHOUR", &hours, start.hour()),
        ("BYMINUTE", &rule.minutes, start.minute()),
        ("BYSECOND", &rule.seconds, start.second()),
    ] {
        if *own != [said] {
            part(&mut text, name, own, i8::to_string);
        }
    }
    part(&mut text, "BYSETPOS", &rule.positions, i16::to_string);
    Some(text)
}

/// Returns the hours of each day at which an hourly rule comes; `None` if they are not those of every day. Whether hours are
/// counted by the local clock, where it changes, is something that calendars do not agree upon.
fn hours(rule: &Rule) -> Option<Vec<i8>> {
    let interval = i8::try_from(rule.interval).ok().filter(|interval| 24 % interval == 0)?;
    if !rule.year_days.is_empty() {
        return None;
    }
    let is_own = |hour: &i8| rule.hours.is_empty() || rule.hours.contains(hour);
    Some((0..24).filter(|hour| (hour - rule.anchor.hour()).rem_euclid(interval) == 0).filter(is_own).collect())
}

fn part<T>(text: &mut String, name: &str, list: &[T], word: impl Fn(&T) -> String) {
    if !list.is_empty() {
        let words: Vec<String> = list.iter().map(word).collect();
        text.push_str(&format!(";{name}={}", words.join(",")));
    }
}

fn letters(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "MO",
        Weekday::Tuesday => "TU",
        Weekday::Wednesday => "WE",
        Weekday::Thursday => "TH",
        Weekday::Friday => "FR",
        Weekday::Saturday => "SA",
        Weekday::Sunday => "SU",
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Date;

    use super::super::Exception;
    use super::super::tests::DATEUTIL;
    use super::*;

    fn every(text: &str) -> Every {
        Every::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Returns the first occurrences from an instant on.
    fn first(every: &Every, from: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let before = from - SignedDuration::from_secs(1);
        std::iter::successors(every.after(before), |(starts, _)| every.after(*starts)).take(40).collect()
    }

    /// Reads back what a rule says of itself.
    fn read_back(every: &Every, from: Timestamp) -> Option<Every> {
        let Recurrence { start, rule, left_out, days, more } = every.recurrence(from)?;
        let zone = every.zone().iana_name()?;
        let local = |at: &DateTime| at.strftime("%Y%m%dT%H%M%S").to_string();
        let time = if more.is_zero() { String::new() } else { format!("T{}S", more.as_secs()) };
        let mut text = format!("DTSTART;TZID={zone}:{} RRULE:{rule} DURATION:P{days}D{time}", local(&start));
        for left in &left_out {
            text.push_str(&format!(" EXDATE;TZID={zone}:{}", local(left)));
        }
        Some(self::every(&text))
    }

    #[test]
    fn a_rule_says_itself_in_the_words_of_calendars() {
        for (text, from, start, rule) in [
            ("Sun 02:00-04:00 Europe/Berlin", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00", "FREQ=WEEKLY;BYDAY=SU"),
            ("daily 23:30-00:30 UTC", "2026-03-01T00:00:00Z", "2026-03-01T23:30:00", "FREQ=DAILY"),
            ("day 31 02:00-04:00 UTC", "2026-02-01T00:00:00Z", "2026-03-31T02:00:00", "FREQ=MONTHLY;BYMONTHDAY=31"),
            ("last Fri 02:00-04:00 UTC", "2026-02-01T00:00:00Z", "2026-02-27T02:00:00", "FREQ=MONTHLY;BYDAY=-1FR"),
            (
                "last workday 02:00-04:00 UTC",
                "2026-02-01T00:00:00Z",
                "2026-02-27T02:00:00",
                "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            ),
            (
                "DTSTART;TZID=UTC:20260101T023000 RRULE:FREQ=HOURLY;INTERVAL=6;COUNT=9 DURATION:PT1H",
                "2026-01-02T00:00:00Z",
                "2026-01-02T02:30:00",
                "FREQ=DAILY;BYHOUR=2,8,14,20;UNTIL=20260103T023000Z",
            ),
        ] {
            let recurrence = every(text).recurrence(at(from)).unwrap();
            assert_eq!((recurrence.start.to_string().as_str(), recurrence.rule.as_str()), (start, rule), "{text}");
        }
        for text in [
            "DTSTART;TZID=UTC:20260101T023000 RRULE:FREQ=HOURLY;INTERVAL=7 DURATION:PT1H",
            "DTSTART;TZID=UTC:20200101T023000 RRULE:FREQ=DAILY;COUNT=7 DURATION:PT1H",
        ] {
            assert_eq!(every(text).recurrence(at("2026-01-01T00:00:00Z")), None, "{text}");
        }
    }

    #[test]
    fn what_a_rule_says_of_itself_means_the_same() {
        let mut said = 0;
        for (number, line) in DATEUTIL.lines().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let [zone, start, rule, ..] = words.as_slice() else { panic!("{line}") };
            let mut rule = every(&format!("DTSTART;TZID={zone}:{start} RRULE:{rule} DURATION:PT1S"));
            let from = at(["2025-01-01T00:00:00Z", "2027-03-20T00:00:00Z"][number % 2]);
            if let Some((starts, _)) = first(&rule, from).get(3) {
                rule.leave_out(Exception::Start(*starts));
                rule.leave_out(Exception::Day(Date::constant(2027, 4, 4)));
            }
            let Some(read) = read_back(&rule, from) else { continue };
            assert_eq!(first(&read, from), first(&rule, from), "{line}");
            said += 1;
        }
        assert!(said > 500, "only {said} rules");
    }

    #[test]
    fn whole_days_and_exceptions_are_said_as_they_are_meant() {
        let mut days = every("Sat 00:00-24:00 Europe/Berlin");
        days.leave_out(Exception::Day(Date::constant(2026, 4, 4)));
        days.leave_out(Exception::Start(at("2026-04-10T22:00:00Z")));
        let from = at("2026-03-20T00:00:00Z");
        let said = days.recurrence(from).unwrap();
        assert_eq!((said.days, said.more), (1, SignedDuration::ZERO));
        assert_eq!(
            said.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["2026-04-04T00:00:00", "2026-04-11T00:00:00"]
        );
        assert_eq!(first(&read_back(&days, from).unwrap(), from), first(&days, from));
        assert_eq!(
            days.planned_at(at("2026-04-10T22:00:00Z")),
            Some(said.left_out[1]),
            "left out, and planned all the same"
        );
        assert_eq!(days.planned_at(at("2026-04-10T23:00:00Z")), None);
    }
}
