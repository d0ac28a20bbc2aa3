use proptest::prelude::*;

use super::*;

fn every(text: &str) -> Every {
    Every::parse(text).unwrap_or_else(|(message, help)| panic!("{text}: {message}; {help}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The first occurrences after an instant, in UTC.
fn next(text: &str, from: &str, count: usize) -> Vec<String> {
    let (every, mut now) = (every(text), at(from));
    let mut found = Vec::new();
    while found.len() < count
        && let Some((starts, ends)) = every.after(now)
    {
        found.push(format!("{starts} {ends}"));
        now = starts;
    }
    found
}

/// Each transition of 2026, with a span before it, in it and over it: local times, and what becomes of them.
#[test]
fn local_times_are_right_on_both_sides_of_a_change_of_the_clock() {
    let table = [
        // Berlin springs forward from 02:00 to 03:00 on 29 March, and falls back from 03:00 to 02:00 on 25 October.
        ("Sun 00:30-01:30 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-28T23:30:00Z 2026-03-29T00:30:00Z"),
        ("Sun 01:30-02:30 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T00:30:00Z 2026-03-29T01:30:00Z"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z 2026-03-29T02:00:00Z"),
        ("Sun 01:00-04:00 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T00:00:00Z 2026-03-29T02:00:00Z"),
        ("Sun 01:00-04:00 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-24T23:00:00Z 2026-10-25T03:00:00Z"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z 2026-10-25T03:00:00Z"),
        ("Sun 01:00-02:30 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-24T23:00:00Z 2026-10-25T00:30:00Z"),
        // New York: 8 March and 1 November, at 02:00.
        ("Sun 02:00-04:00 America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T07:00:00Z 2026-03-08T08:00:00Z"),
        ("Sun 00:30-03:00 America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T04:30:00Z 2026-11-01T08:00:00Z"),
        ("Sun 01:30-02:30 America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T05:30:00Z 2026-11-01T07:30:00Z"),
        // Lord Howe moves by half an hour: 5 April from 02:00 back to 01:30, 4 October from 02:00 to 02:30.
        ("Sun 01:00-03:00 Australia/Lord_Howe", "2026-04-03T12:00:00Z", "2026-04-04T14:00:00Z 2026-04-04T16:30:00Z"),
        ("Sun 01:00-03:00 Australia/Lord_Howe", "2026-10-02T12:00:00Z", "2026-10-03T14:30:00Z 2026-10-03T16:00:00Z"),
        ("Sun 02:00-04:00 UTC", "2026-03-28T12:00:00Z", "2026-03-29T02:00:00Z 2026-03-29T04:00:00Z"),
        // A length is a length.
        (
            "DTSTART;TZID=Europe/Berlin:20260322T013000 RRULE:FREQ=WEEKLY DURATION:PT2H",
            "2026-03-28T12:00:00Z",
            "2026-03-29T00:30:00Z 2026-03-29T02:30:00Z",
        ),
    ];
    for (text, from, expected) in table {
        assert_eq!(next(text, from, 1), [expected], "{text}");
    }
}

#[test]
fn a_span_that_the_clock_jumps_over_is_left_out() {
    // 02:00 to 03:00 does not exist on that day: both ends are one instant.
    let found = next("Sun 02:00-03:00 Europe/Berlin", "2026-03-28T12:00:00Z", 1);
    assert_eq!(found, ["2026-04-05T00:00:00Z 2026-04-05T01:00:00Z"]);
}

#[test]
fn days_are_written_in_the_ways_that_people_write_them() {
    let starts = |text: &str| -> Vec<String> {
        let found = next(&format!("{text} 10:00-11:00 UTC"), "2026-05-01T00:00:00Z", 3);
        found.iter().map(|span| span[5..10].to_owned()).collect()
    };
    assert_eq!(starts("Mon"), ["05-04", "05-11", "05-18"]);
    assert_eq!(starts("monday,WED"), ["05-04", "05-06", "05-11"]);
    assert_eq!(starts("Sat-Mon"), ["05-02", "05-03", "05-04"]);
    assert_eq!(starts("daily"), ["05-01", "05-02", "05-03"]);
    assert_eq!(starts(""), ["05-01", "05-02", "05-03"]);
    assert_eq!(starts("1st Sun"), ["05-03", "06-07", "07-05"]);
    assert_eq!(starts("last Fri"), ["05-29", "06-26", "07-31"]);
    assert_eq!(starts("day 31"), ["05-31", "07-31", "08-31"]);
}

#[test]
fn a_span_may_cross_midnight_and_end_with_the_day() {
    let found = next("Fri 23:00-01:00 UTC", "2026-05-01T00:00:00Z", 1);
    assert_eq!(found, ["2026-05-01T23:00:00Z 2026-05-02T01:00:00Z"]);
    let friday = every("Fri 23:00-01:00 UTC");
    assert!(friday.on(at("2026-05-02T00:59:59Z")).is_some() && friday.on(at("2026-05-02T01:00:00Z")).is_none());
    let whole = every("daily 00:00-24:00 UTC");
    assert_eq!(whole.on(at("2026-05-02T12:00:00Z")).unwrap(), (at("2026-05-02T00:00:00Z"), at("2026-05-03T00:00:00Z")));
}

#[test]
fn rules_of_rfc_5545_mean_what_they_mean_there() {
    let starts = |rule: &str, count| -> Vec<String> {
        let text = format!("DTSTART:20260501T100000Z RRULE:{rule} DURATION:PT1H");
        next(&text, "2026-01-01T00:00:00Z", count).iter().map(|span| span[2..10].to_owned()).collect()
    };
    assert_eq!(starts("FREQ=DAILY;INTERVAL=3;COUNT=3", 9), ["26-05-01", "26-05-04", "26-05-07"]);
    assert_eq!(starts("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR", 3), ["26-05-01", "26-05-11", "26-05-15"]);
    assert_eq!(starts("FREQ=WEEKLY;UNTIL=20260515T100000Z", 9), ["26-05-01", "26-05-08", "26-05-15"]);
    assert_eq!(starts("FREQ=MONTHLY;BYDAY=2TU,-1SU", 3), ["26-05-12", "26-05-31", "26-06-09"]);
    assert_eq!(starts("FREQ=MONTHLY;BYMONTHDAY=-1", 2), ["26-05-31", "26-06-30"]);
    assert_eq!(starts("FREQ=MONTHLY;INTERVAL=2", 2), ["26-05-01", "26-07-01"]);
    let end = every(
        "DTSTART;TZID=Europe/Berlin:20260501T220000\nDTEND;TZID=Europe/Berlin:20260502T020000\nRRULE:FREQ=WEEKLY",
    );
    assert_eq!(
        end.after(at("2026-05-01T00:00:00Z")).unwrap(),
        (at("2026-05-01T20:00:00Z"), at("2026-05-02T00:00:00Z"))
    );
}

#[test]
fn what_is_not_understood_is_refused_with_a_word_of_help() {
    for (text, message, help) in [
        ("Sun 02:00-04:00", "does not say in which time zone", "Europe/Berlin"),
        ("Sun 02:00-04:00 Berlin", "no time zone `Berlin`", "did you mean `Europe/Berlin`?"),
        ("Sun 02:00-04:00 Europe/Berlim", "no time zone", "did you mean `Europe/Berlin`?"),
        ("Sonday 02:00-04:00 UTC", "not a day", "did you mean"),
        ("Sun 2-4 UTC", "does not say at what time", "Sun 02:00-04:00 Europe/Berlin"),
        ("Sun 25:00-04:00 UTC", "not a span of time", "02:00-04:00"),
        ("day 32 02:00-04:00 UTC", "not a day", "day 15"),
        ("DTSTART:20260501T100000Z RRULE:FREQ=YEARLY DURATION:PT1H", "not understood", "FREQ=DAILY"),
        (
            "DTSTART:20260501T100000Z RRULE:FREQ=DAILY;BYSETPOS=1 DURATION:PT1H",
            "`BYSETPOS=1` is not understood",
            "FREQ",
        ),
        ("DTSTART:20260501T100000Z RRULE:FREQ=DAILY", "has no DURATION", "DURATION:PT2H"),
        ("DTSTART:20260501T100000 RRULE:FREQ=DAILY DURATION:PT1H", "in which time zone", "TZID"),
        ("RRULE:FREQ=DAILY DURATION:PT1H", "has no DTSTART", "DTSTART"),
    ] {
        let (found, helped) = Every::parse(text).unwrap_err();
        assert!(found.contains(message) && helped.contains(help), "{text}: {found}; {helped}");
    }
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    for text in ["daily 02:00-04:00 Europe/Berlin", "5th Sun 23:00-01:00 Pacific/Kiritimati"] {
        let every = every(text);
        for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let _ = (every.on(now), every.after(now), every.before(now));
        }
    }
}

proptest! {
    #[test]
    fn occurrences_are_in_order_and_agree_with_a_walk_over_the_minutes(
        day in prop::sample::select(vec!["daily", "Sun", "Mon-Fri", "last Sun", "day 25", "Sat,Sun"]),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        from in 0..48_u32, length in 1..48_u32, begin in 0..370_i64,
    ) {
        let clock = |half: u32| format!("{:02}:{:02}", half / 2 % 24, half % 2 * 30);
        let every = every(&format!("{day} {}-{} {zone}", clock(from), clock(from + length)));
        let begin = at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(begin * 24);
        let mut last: Option<(Timestamp, Timestamp)> = None;
        for minutes in (0..3 * 24 * 60).step_by(15) {
            let now = begin + SignedDuration::from_mins(minutes);
            let on = every.on(now);
            if let Some((starts, ends)) = on {
                prop_assert!(starts <= now && now < ends);
                prop_assert_eq!(every.on(starts), on);
                prop_assert!(every.before(now).is_some_and(|(begun, _)| begun >= starts));
                if let Some((_, before)) = last.filter(|before| Some(*before) != on) {
                    prop_assert!(before <= starts);
                }
                last = on;
            }
            let after = every.after(now);
            prop_assert!(after.is_none_or(|(starts, ends)| starts > now && ends > starts));
            if let Some((starts, _)) = after {
                prop_assert!(every.on(starts).is_some_and(|(begun, _)| begun == starts), "{} {:?}", now, after);
            }
        }
    }
}
