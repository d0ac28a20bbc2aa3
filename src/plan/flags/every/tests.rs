use proptest::prelude::*;

use jiff::civil::{Date, DateTime};

use super::*;

fn every(text: &str) -> Every {
    Every::parse(text).unwrap_or_else(|(message, help)| panic!("{text}: {message}; {help}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns the first occurrences after an instant, in UTC.
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

/// Each change of the clock in 2026, with a span before it, in it and over it, in local times.
#[test]
fn local_times_are_right_on_both_sides_of_a_change_of_the_clock() {
    let table = [
        // Berlin springs forward from 02:00 to 03:00 on 29 March, and falls back from 03:00 to 02:00 on 25 October.
        ("Sun 00:30-01:30 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-28T23:30:00Z 2026-03-29T00:30:00Z"),
        ("Sun 01:30-02:30 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T00:30:00Z 2026-03-29T01:30:00Z"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z 2026-03-29T03:00:00Z"),
        ("Sun 01:00-04:00 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T00:00:00Z 2026-03-29T03:00:00Z"),
        ("Sun 01:00-04:00 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-24T23:00:00Z 2026-10-25T02:00:00Z"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z 2026-10-25T02:00:00Z"),
        ("Sun 01:00-02:30 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-24T23:00:00Z 2026-10-25T00:30:00Z"),
        // New York: 8 March and 1 November, at 02:00.
        ("Sun 02:00-04:00 America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T07:00:00Z 2026-03-08T09:00:00Z"),
        ("Sun 00:30-03:00 America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T04:30:00Z 2026-11-01T07:00:00Z"),
        ("Sun 01:30-02:30 America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T05:30:00Z 2026-11-01T06:30:00Z"),
        // Lord Howe moves by half an hour: 5 April from 02:00 back to 01:30, 4 October from 02:00 to 02:30.
        ("Sun 01:00-03:00 Australia/Lord_Howe", "2026-04-03T12:00:00Z", "2026-04-04T14:00:00Z 2026-04-04T16:00:00Z"),
        ("Sun 01:00-03:00 Australia/Lord_Howe", "2026-10-02T12:00:00Z", "2026-10-03T14:30:00Z 2026-10-03T16:30:00Z"),
        ("Sun 02:00-04:00 UTC", "2026-03-28T12:00:00Z", "2026-03-29T02:00:00Z 2026-03-29T04:00:00Z"),
        // The length stays the same.
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

/// Spans before, in, into, out of and over each change: the actual start, and the length of every other day.
#[test]
fn a_start_is_local_and_the_length_is_kept_over_every_change_of_the_clock() {
    let table = [
        // Into summer: a start that does not exist moves by the length of the gap.
        ("00:30-01:30 Europe/Berlin", "2027-03-27T23:30:00Z", 60),
        ("02:15-02:45 Europe/Berlin", "2027-03-28T01:15:00Z", 30),
        ("02:30-03:30 Europe/Berlin", "2027-03-28T01:30:00Z", 60),
        ("02:00-03:00 Europe/Berlin", "2027-03-28T01:00:00Z", 60),
        ("02:00-04:00 Europe/Berlin", "2027-03-28T01:00:00Z", 120),
        ("01:30-02:30 Europe/Berlin", "2027-03-28T00:30:00Z", 60),
        ("01:00-04:00 Europe/Berlin", "2027-03-28T00:00:00Z", 180),
        ("02:30-04:00 America/New_York", "2027-03-14T07:30:00Z", 90),
        ("01:00-04:00 America/New_York", "2027-03-14T06:00:00Z", 180),
        ("02:05-02:25 Australia/Lord_Howe", "2026-10-03T15:35:00Z", 20),
        ("01:30-02:15 Australia/Lord_Howe", "2026-10-03T15:00:00Z", 45),
        ("02:15-04:00 Australia/Lord_Howe", "2026-10-03T15:45:00Z", 105),
        ("02:30-03:30 Australia/Sydney", "2026-10-03T16:30:00Z", 60),
        // Midnight itself does not exist in Santiago.
        ("00:00-01:00 America/Santiago", "2027-09-05T04:00:00Z", 60),
        ("23:30-00:30 America/Santiago", "2027-09-05T03:30:00Z", 60),
        // Morocco leaves its summer time for Ramadan, and goes back to it after it.
        ("02:30-03:30 Africa/Casablanca", "2026-03-22T02:30:00Z", 60),
        ("02:00-04:00 Africa/Casablanca", "2026-02-15T01:00:00Z", 120),
        // Out of summer: a start that comes twice is the first.
        ("00:30-01:30 Europe/Berlin", "2027-10-30T22:30:00Z", 60),
        ("02:15-02:45 Europe/Berlin", "2027-10-31T00:15:00Z", 30),
        ("02:30-03:30 Europe/Berlin", "2027-10-31T00:30:00Z", 60),
        ("01:30-02:30 Europe/Berlin", "2027-10-30T23:30:00Z", 60),
        ("01:00-04:00 Europe/Berlin", "2027-10-30T23:00:00Z", 180),
        ("01:30-03:00 America/New_York", "2027-11-07T05:30:00Z", 90),
        ("01:35-01:55 Australia/Lord_Howe", "2026-04-04T14:35:00Z", 20),
        ("01:00-03:00 Australia/Lord_Howe", "2026-04-04T14:00:00Z", 120),
        ("23:30-00:30 America/Santiago", "2027-04-04T02:30:00Z", 60),
        ("02:30-03:30 Australia/Sydney", "2027-04-03T15:30:00Z", 60),
        // No change.
        ("02:00-04:00 Asia/Kathmandu", "2027-03-27T20:15:00Z", 120),
        ("01:00-04:00 UTC", "2027-03-28T01:00:00Z", 180),
    ];
    for (text, starts, minutes) in table {
        let starts = at(starts);
        let found = every(&format!("daily {text}")).after(starts - SignedDuration::from_secs(1));
        assert_eq!(found, Some((starts, starts + SignedDuration::from_mins(minutes))), "{text} at {starts}");
    }
}

#[test]
fn whole_days_end_with_the_day_however_long_it_is() {
    for (text, from, expected) in [
        ("Sun 00:00-24:00 Europe/Berlin", "2027-03-27T12:00:00Z", "2027-03-27T23:00:00Z 2027-03-28T22:00:00Z"),
        ("Sun 00:00-24:00 Europe/Berlin", "2027-10-30T12:00:00Z", "2027-10-30T22:00:00Z 2027-10-31T23:00:00Z"),
        ("Sun 00:00-00:00 America/Santiago", "2027-09-04T12:00:00Z", "2027-09-05T04:00:00Z 2027-09-06T03:00:00Z"),
    ] {
        assert_eq!(next(text, from, 1), [expected], "{text}");
    }
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
    assert_eq!(starts("day 1,15"), ["05-01", "05-15", "06-01"]);
    assert_eq!(starts("last day"), ["05-31", "06-30", "07-31"]);
    assert_eq!(starts("last day of the month"), ["05-31", "06-30", "07-31"]);
    assert_eq!(starts("1st,3rd Sun"), ["05-03", "05-17", "06-07"]);
    assert_eq!(starts("first, third sunday"), ["05-03", "05-17", "06-07"]);
    assert_eq!(starts("last workday"), ["05-29", "06-30", "07-31"]);
    assert_eq!(starts("1st weekday"), ["05-01", "06-01", "07-01"]);
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
fn exceptions_are_left_out() {
    let starts = |exceptions: &str| -> Vec<String> {
        let start = "DTSTART;TZID=America/New_York:20260501T220000 RRULE:FREQ=DAILY;COUNT=5 DURATION:PT1H";
        let found = next(&format!("{start} {exceptions}"), "2026-01-01T00:00:00Z", 9);
        found.iter().map(|span| span[8..10].to_owned()).collect()
    };
    // 22:00 in New York is 02:00 of the next day in UTC.
    for (exceptions, expected) in [
        ("", vec!["02", "03", "04", "05", "06"]),
        ("EXDATE;VALUE=DATE:20260502", vec!["02", "04", "05", "06"]),
        ("EXDATE;TZID=America/New_York:20260502T220000,20260505T220000", vec!["02", "04", "05"]),
        ("EXDATE:20260503T020000Z\nEXDATE:20260504T020000Z", vec!["02", "05", "06"]),
        ("EXDATE:20260502T220000", vec!["02", "04", "05", "06"]),
        ("EXDATE;TZID=Europe/Berlin:20260503T040000", vec!["02", "04", "05", "06"]),
        ("EXDATE;VALUE=DATE:20260601 EXDATE:20260503T020001Z", vec!["02", "03", "04", "05", "06"]),
    ] {
        assert_eq!(starts(exceptions), expected, "{exceptions}");
    }
    let mut sunday = every("Sun 02:00-04:00 Europe/Berlin");
    assert!(sunday.leave_out(Exception::Day(Date::constant(2026, 12, 27))));
    assert!(sunday.leave_out(Exception::Start(at("2027-01-03T01:00:00Z"))));
    assert!(!sunday.leave_out(Exception::Day(Date::constant(2026, 12, 26))));
    assert!(!sunday.leave_out(Exception::Start(at("2027-01-10T01:30:00Z"))));
    let dropped = at("2026-12-27T02:00:00Z");
    assert_eq!(
        (sunday.on(dropped), sunday.after(dropped).map(|next| next.0)),
        (None, Some(at("2027-01-10T01:00:00Z")))
    );
    assert_eq!(sunday.before(at("2027-01-10T00:00:00Z")).map(|last| last.0), Some(at("2026-12-20T01:00:00Z")));
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
        ("3rd Sonday 02:00-04:00 UTC", "not a day", "`sunday`"),
        ("day last 02:00-04:00 UTC", "`day last` is not a day", "`last day`"),
        ("day 32 02:00-04:00 UTC", "not a day", "day 15"),
        ("DTSTART:20260501T100000Z RRULE:FREQ=FORTNIGHTLY DURATION:PT1H", "not understood", "FREQ=HOURLY"),
        ("DTSTART:20260501T100000Z RRULE:FREQ=MINUTELY DURATION:PT1S", "comes too often", "FREQ=HOURLY"),
        ("DTSTART:20260501T100000Z RRULE:FREQ=DAILY;BYEASTER=1 DURATION:PT1H", "`BYEASTER=1` is not", "BYSETPOS"),
        ("DTSTART:20260501T100000Z RRULE:FREQ=DAILY;;BYHOUR=1 DURATION:PT1H", "is not understood", "FREQ"),
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

/// Returns days of a rule by the letter of RFC 5545. Without a `DTSTART` in the text it starts at 10:00 UTC on Friday,
/// 1 May 2026.
fn days(rule: &str, count: usize) -> Vec<String> {
    let text = format!("DTSTART:20260501T100000Z RRULE:{rule} DURATION:PT1H");
    next(&text, "2026-01-01T00:00:00Z", count).iter().map(|span| span[2..10].to_owned()).collect()
}

#[test]
fn a_rules_last_instant_is_an_instant() {
    assert_eq!(days("FREQ=WEEKLY;UNTIL=20260508T100000Z", 9), ["26-05-01", "26-05-08"]);
    assert_eq!(days("FREQ=WEEKLY;UNTIL=20260508T095959Z", 9), ["26-05-01"]);
    assert_eq!(days("FREQ=WEEKLY;UNTIL=20260508", 9), ["26-05-01", "26-05-08"]);
    // In New York, 22:00 on the 1st is 02:00 on the 2nd in UTC, which `UNTIL` includes.
    let text = "DTSTART;TZID=America/New_York:20260501T220000 RRULE:FREQ=DAILY;UNTIL=20260503T020000Z DURATION:PT1H";
    assert_eq!(
        next(text, "2026-01-01T00:00:00Z", 9),
        ["2026-05-02T02:00:00Z 2026-05-02T03:00:00Z", "2026-05-03T02:00:00Z 2026-05-03T03:00:00Z"]
    );
}

#[test]
fn days_of_the_week_and_of_the_month_limit_one_another() {
    assert_eq!(days("FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR", 3), ["26-05-01", "26-05-04", "26-05-05"]);
    assert_eq!(days("FREQ=DAILY;BYMONTHDAY=10,-1", 3), ["26-05-10", "26-05-31", "26-06-10"]);
    assert_eq!(days("FREQ=MONTHLY;BYDAY=MO", 5), ["26-05-04", "26-05-11", "26-05-18", "26-05-25", "26-06-01"]);
    assert_eq!(days("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", 2), ["26-11-13", "27-08-13"]);
    assert_eq!(days("FREQ=MONTHLY;BYDAY=MO,-1FR", 3), ["26-05-04", "26-05-11", "26-05-18"]);
}

#[test]
fn an_end_makes_an_exact_length_and_whole_days_a_nominal_one() {
    // RFC 5545 sections 3.8.5.3 and 3.3.6. The night of 29 March is an hour short in Berlin.
    let night = |length: &str| {
        let text = format!("DTSTART;TZID=Europe/Berlin:20260321T220000 RRULE:FREQ=WEEKLY {length}");
        next(&text, "2026-03-28T12:00:00Z", 1).remove(0)
    };
    assert_eq!(night("DTEND;TZID=Europe/Berlin:20260322T040000"), "2026-03-28T21:00:00Z 2026-03-29T03:00:00Z");
    assert_eq!(night("DURATION:P1D"), "2026-03-28T21:00:00Z 2026-03-29T20:00:00Z");
    assert_eq!(night("DURATION:PT24H"), "2026-03-28T21:00:00Z 2026-03-29T21:00:00Z");
    assert_eq!(night("DURATION:P1DT1H30M"), "2026-03-28T21:00:00Z 2026-03-29T21:30:00Z");
    // An end may be in another zone: 03:00 UTC is 04:00 in Berlin.
    assert_eq!(night("DTEND:20260322T030000Z"), "2026-03-28T21:00:00Z 2026-03-29T03:00:00Z");
}

#[test]
fn names_and_parameters_are_read_as_calendars_write_them() {
    let plain = next("Sun 02:00-04:00 Europe/Berlin", "2026-05-01T00:00:00Z", 2);
    for text in [
        "DTSTART;TZID=Europe/Berlin:20260405T020000\nRRULE:FREQ=WEEKLY;BYDAY=SU\nDURATION:PT2H",
        "dtstart;tzid=europe/berlin:20260405T020000 rrule:freq=weekly;byday=su duration:pt2h",
        "DTSTART;VALUE=DATE-TIME;TZID=\"Europe/Berlin\":20260405T020000\r\nDURATION:PT2H\r\nRRULE:FREQ=WEEKLY;WKST=MO\r\n",
        "sunday 2:00-4:00 europe/berlin",
        "SUN 02:00-04:00 EUROPE/BERLIN",
    ] {
        assert_eq!(next(text, "2026-05-01T00:00:00Z", 2), plain, "{text}");
    }
}

#[test]
fn an_occurrence_ends_where_the_next_begins() {
    // On 29 March 02:30 is 03:30, which is after that day's own 03:00.
    let found = next("daily 03:00-02:30 Europe/Berlin", "2026-03-28T00:00:00Z", 2);
    assert_eq!(found, ["2026-03-28T02:00:00Z 2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z"]);
    // Samoa had no 30 December 2011: a span that moves from it to the 31st is there already.
    let found = next("daily 02:00-04:00 Pacific/Apia", "2011-12-29T00:00:00Z", 3);
    assert_eq!(
        found,
        [
            "2011-12-29T12:00:00Z 2011-12-29T14:00:00Z",
            "2011-12-30T12:00:00Z 2011-12-30T14:00:00Z",
            "2011-12-31T12:00:00Z 2011-12-31T14:00:00Z"
        ]
    );
}

#[test]
fn what_a_rule_leaves_open_or_says_twice_is_refused() {
    let at = "DTSTART:20260501T100000Z";
    for (text, message, help) in [
        (format!("{at} RRULE:FREQ=YEARLY;BYMONTH=13 DURATION:PT1H"), "`BYMONTH=13` is not understood", "BYMONTH"),
        (format!("{at} RRULE:FREQ=YEARLY;BYDAY=54SU DURATION:PT1H"), "`BYDAY=54SU` is not understood", "BYDAY"),
        (format!("{at} RRULE:FREQ=MONTHLY;BYDAY=6SU DURATION:PT1H"), "more weeks than a month has", "-5"),
        (format!("{at} RRULE:FREQ=MONTHLY;BYYEARDAY=6 DURATION:PT1H"), "`BYYEARDAY` is for", "FREQ=YEARLY"),
        (format!("{at} RRULE:FREQ=HOURLY;BYSETPOS=1 DURATION:PT1M"), "`BYSETPOS` is not for FREQ=HOURLY", "BYHOUR"),
        (format!("{at} RRULE:FREQ=HOURLY DURATION:PT1H1S"), "begins before the one before it is over", "shorten"),
        (
            format!("{at} RRULE:FREQ=HOURLY;BYMINUTE=0,10,20,30,40 DURATION:PT1M"),
            "may come 120 times a day",
            "at most 96",
        ),
        (format!("{at} RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30 DURATION:PT1H"), "does not come", "BYMONTH"),
        (format!("{at} RRULE:FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1 DURATION:PT1H"), "does not come", "BYMONTH"),
        (format!("{at} RRULE:FREQ=DAILY;COUNT=3;UNTIL=20260601 DURATION:PT1H"), "both COUNT and UNTIL", "remove"),
        (format!("{at} RRULE:FREQ=DAILY;FREQ=WEEKLY DURATION:PT1H"), "`FREQ` twice", "remove"),
        (format!("{at} {at} RRULE:FREQ=DAILY DURATION:PT1H"), "`DTSTART` twice", "remove"),
        (format!("{at} RRULE:FREQ=DAILY DURATION:PT1H DTEND:20260501T110000Z"), "both DURATION and DTEND", "remove"),
        (format!("{at} RRULE:INTERVAL=2 DURATION:PT1H"), "has no FREQ", "FREQ=WEEKLY"),
        (format!("{at} RRULE:FREQ=WEEKLY;BYDAY=1SU DURATION:PT1H"), "`BYDAY=1SU`", "MONTHLY"),
        (format!("{at} RRULE:FREQ=WEEKLY;BYMONTHDAY=1 DURATION:PT1H"), "`BYMONTHDAY`", "MONTHLY"),
        (format!("{at} RRULE:FREQ=WEEKLY;WKST=XX DURATION:PT1H"), "`WKST=XX` is not understood", "WKST"),
        (format!("{at} RRULE:FREQ=DAILY EXDATE:tomorrow DURATION:PT1H"), "not a date and time", "20260405T020000"),
        (format!("{at} RRULE:FREQ=DAILY DURATION:-PT1H"), "not a length", "DURATION:PT2H"),
        (format!("{at} RRULE:FREQ=MONTHLY DURATION:P1M"), "not a length", "DURATION:PT2H"),
        (format!("{at} RRULE:FREQ=MONTHLY DURATION:P61D"), "longer than 60 days", "shorten"),
        (format!("{at} RRULE:FREQ=MONTHLY DTEND:20270501T100000Z"), "longer than 60 days", "shorten"),
        (format!("{at} RRULE:FREQ=DAILY DTEND:20260501T100000Z"), "DTEND is not after DTSTART", "DURATION"),
        (format!("{at} RRULE:FREQ=DAILY DURATION:PT25H"), "begins before the one before it is over", "shorten"),
        (format!("{at} RRULE:FREQ=DAILY;UNTIL=20260401 DURATION:PT1H"), "does not come", "UNTIL"),
        (format!("{at} RRULE:FREQ=MONTHLY;BYDAY=2MO;BYMONTHDAY=1 DURATION:PT1H"), "does not come", "BYMONTHDAY"),
        (format!("{at} RRULE:FREQ=DAILY;INTERVAL=1000;COUNT=1000 DURATION:PT1H"), "COUNT", "UNTIL"),
        (
            "DTSTART;TZID=Europe/Berlin:20260501T100000Z RRULE:FREQ=DAILY DURATION:PT1H".to_owned(),
            "both `TZID` and `Z`",
            "remove",
        ),
        ("Sun 02:00-04:00 Etc/Unknown".to_owned(), "no time zone", "IANA"),
        ("Sun 02:00-04:00 America/New York".to_owned(), "no time zone", "did you mean `America/New_York`?"),
        ("Sun 02:00-04:00 New York".to_owned(), "no time zone", "did you mean `America/New_York`?"),
        ("Sun 02:00 - 04:00 UTC".to_owned(), "not a span of time", "02:00-04:00"),
    ] {
        let (found, helped) = Every::parse(&text).unwrap_err();
        assert!(found.contains(message) && helped.contains(help), "{text}: {found}; {helped}");
    }
}

/// Returns true if a day is one of those in the words, computed in another way than by the code.
fn is_day(words: &str, day: Date) -> bool {
    let last = day.days_in_month();
    match words {
        "daily" => true,
        "Sun" => day.weekday() == Weekday::Sunday,
        "Mon-Fri" => !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday),
        "1st Sun" => day.weekday() == Weekday::Sunday && day.day() <= 7,
        "last Fri" => day.weekday() == Weekday::Friday && day.day() > last - 7,
        "day 15" => day.day() == 15,
        "Wed,Sat" => matches!(day.weekday(), Weekday::Wednesday | Weekday::Saturday),
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Away from a change of the clock, the local time alone decides.
    #[test]
    fn a_walk_over_the_minutes_finds_the_same(
        day in prop::sample::select(vec!["daily", "Sun", "Mon-Fri", "1st Sun", "last Fri", "day 15", "Wed,Sat"]),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        from in 0..1440_i64, length in 1..=1440_i64, begin in 0..370_i64,
    ) {
        let clock = |minute: i64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        let every = every(&format!("{day} {}-{} {zone}", clock(from), clock(from + length)));
        let zone = TimeZone::get(zone).unwrap();
        let begin = at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(begin * 24);
        let offset = |hours: i64| zone.to_offset(begin + SignedDuration::from_hours(hours));
        prop_assume!(offset(-48) == offset(48 + 24));
        let is_on = |wall: DateTime| {
            let minute = i64::from(wall.hour()) * 60 + i64::from(wall.minute());
            let yesterday = wall.date().yesterday().unwrap();
            (is_day(day, wall.date()) && from <= minute && minute < from + length)
                || (is_day(day, yesterday) && minute + 1440 < from + length)
        };
        for minutes in 0..24 * 60 {
            let now = begin + SignedDuration::from_mins(minutes);
            prop_assert_eq!(every.on(now).is_some(), is_on(zone.to_datetime(now)), "{}", now);
        }
    }

    /// Occurrences of any length, across any change of the clock.
    #[test]
    fn occurrences_are_in_order_and_apart(
        rule in prop::sample::select(vec![
            "daily", "Sun", "Mon-Fri", "last Sun", "day 25", "FREQ=DAILY", "FREQ=DAILY;INTERVAL=3",
            "FREQ=WEEKLY;BYDAY=SA,SU", "FREQ=MONTHLY;BYDAY=-1SU", "FREQ=DAILY;COUNT=200",
        ]),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        hour in 0..24, minute in 0..60, length in 1..1440, days in 0..2,
    ) {
        let text = if rule.contains("FREQ") {
            let start = format!("DTSTART;TZID={zone}:20260101T{hour:02}{minute:02}00");
            format!("{start} RRULE:{rule} DURATION:P{days}DT{length}M")
        } else {
            let end = hour * 60 + minute + length;
            format!("{rule} {hour:02}:{minute:02}-{:02}:{:02} {zone}", end / 60 % 24, end % 60)
        };
        let Ok(every) = Every::parse(&text) else {
            prop_assert!(days > 0, "{}", text);
            return Ok(());
        };
        let mut before = every.before(at("2026-01-01T00:00:00Z"));
        while let Some((starts, ends)) =
            every.after(before.map_or(at("2026-01-01T00:00:00Z"), |(starts, _)| starts))
        {
            prop_assert!(starts < ends && before.is_none_or(|(_, over)| over <= starts), "{:?} {}", before, starts);
            let last = ends - SignedDuration::from_secs(1);
            for now in [starts, last] {
                prop_assert_eq!(every.on(now), Some((starts, ends)));
                prop_assert_eq!(every.before(now), Some((starts, ends)));
            }
            prop_assert!(every.on(ends).is_none_or(|(next, _)| next == ends));
            prop_assert_eq!(every.before(starts - SignedDuration::from_secs(1)), before);
            before = Some((starts, ends));
            if starts > at("2027-01-01T00:00:00Z") {
                break;
            }
        }
    }
}

/// Rules, and what python-dateutil makes of them: see `tests/recurrence/make.py`.
pub(super) const DATEUTIL: &str = include_str!("../../../../tests/recurrence/expected.txt");

#[test]
fn recurrence_is_that_of_dateutil() {
    let end = DateTime::constant(2031, 1, 1, 0, 0, 0, 0);
    for line in DATEUTIL.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [zone, start, rule, count, sum, shown @ ..] = words.as_slice() else { panic!("{line}") };
        let rule = every(&format!("DTSTART;TZID={zone}:{start} RRULE:{rule} DURATION:PT1S"));
        let mut found: Vec<Timestamp> = Vec::new();
        let mut now = at("2025-01-01T00:00:00Z");
        while found.len() < 100
            && let Some(Start { instant, .. }) = rule.next_start(now, Timestamp::MAX)
            && rule.zone.to_datetime(instant) < end
        {
            found.push(instant);
            now = instant;
        }
        let told: Vec<String> = found.iter().take(3).chain(found.last()).map(Timestamp::to_string).collect();
        assert_eq!(told, shown, "{line}");
        assert_eq!(found.len().to_string(), *count, "{line}");
        let total: i64 = found.iter().zip(1..).map(|(found, number)| found.as_second() * number).sum();
        assert_eq!(total.rem_euclid(1 << 32).to_string(), *sum, "{line}");
        // The way back finds the same.
        for pair in found.windows(2).step_by(25) {
            let before = rule.last_start(pair[1] - SignedDuration::from_secs(1));
            assert_eq!(before.map(|start| start.instant), Some(pair[0]), "{line}");
        }
    }
}

#[test]
fn rules_are_taken_as_calendars_write_them() {
    let at = "DTSTART;TZID=Europe/Berlin:20260503T020000";
    for (rule, expected) in [
        ("FREQ=WEEKLY;WKST=SU;BYDAY=SU", ["26-05-03", "26-05-10", "26-05-17"]),
        ("FREQ=WEEKLY;BYDAY=SU;", ["26-05-03", "26-05-10", "26-05-17"]),
        ("FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", ["26-10-25", "27-10-31", "28-10-29"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;", ["26-05-29", "26-06-30", "26-07-31"]),
    ] {
        let found = next(&format!("{at} RRULE:{rule} DURATION:PT1H"), "2026-01-01T00:00:00Z", 3);
        let found: Vec<&str> = found.iter().map(|span| &span[2..10]).collect();
        assert_eq!(found, expected, "{rule}");
    }
}

#[test]
fn odd_nights_are_told_with_what_is_odd() {
    let (from, until) = (at("2026-11-28T00:00:00Z"), at("2027-11-28T00:00:00Z"));
    let odd = |text: &str| every(text).odd(from, until).iter().map(Odd::to_string).collect::<Vec<_>>();
    for (text, expected) in [
        (
            "Sun 02:30-03:30 Europe/Berlin",
            vec![
                "2027-03-28: 02:30 does not exist, it is on from 03:30 to 04:30, for 1h",
                "2027-10-31: 02:30 comes twice, the first counts, it is on from 02:30 to 02:30, for 1h",
            ],
        ),
        (
            "Sun 01:00-04:00 America/New_York",
            vec![
                "2027-03-14: the clock changes, it is on from 01:00 to 05:00, for 3h",
                "2027-11-07: 01:00 comes twice, the first counts, it is on from 01:00 to 03:00, for 3h",
            ],
        ),
        (
            "Sun 00:00-01:00 America/Santiago",
            vec!["2027-09-05: 00:00 does not exist, it is on from 01:00 to 02:00, for 1h"],
        ),
        (
            "Sat 23:30-00:30 America/Santiago",
            vec![
                "2027-04-03: 23:30 comes twice, the first counts, it is on from 23:30 to 23:30, for 1h",
                "2027-09-04: the clock changes, it is on from 23:30 to 01:30 on 2027-09-05, for 1h",
            ],
        ),
        ("Sun 04:00-05:00 Europe/Berlin", vec![]),
        ("Mon 02:30-03:30 Europe/Berlin", vec![]),
        ("Sun 00:00-24:00 Europe/Berlin", vec![]),
        ("daily 02:30-03:30 Asia/Kathmandu", vec![]),
    ] {
        assert_eq!(odd(text), expected, "{text}");
    }
    let hourly = every("DTSTART;TZID=Europe/Berlin:20260101T000000 RRULE:FREQ=HOURLY;BYMINUTE=0,30 DURATION:PT10M");
    assert_eq!(hourly.odd(from, until).len(), 4, "{:?}", hourly.odd(from, until));
}

#[test]
fn what_may_be_wrong_is_told() {
    for (text, expected) in [
        ("daily 02:00-02:00 UTC", Some("always on")),
        ("Mon-Sun 00:00-24:00 Europe/Berlin", Some("always on")),
        ("DTSTART:20260501T100000Z RRULE:FREQ=WEEKLY DURATION:P7D", Some("always on")),
        ("DTSTART:20260501T100000Z RRULE:FREQ=HOURLY DURATION:PT1H", Some("always on")),
        ("Sun 02:00-02:00 UTC", None),
        ("Mon-Fri 00:00-24:00 UTC", None),
        ("daily 02:00-01:59 UTC", None),
        ("DTSTART:20260501T100000Z RRULE:FREQ=DAILY;COUNT=3 DURATION:P1D", None),
        ("Sun 02:00-04:00 EST", Some("all year")),
        ("Sun 02:00-04:00 CET", None),
        ("Sun 02:00-04:00 Etc/GMT+2", Some("behind UTC")),
    ] {
        let told = every(text).caution().map(|(message, _)| message);
        assert_eq!(told.is_some(), expected.is_some(), "{text}: {told:?}");
        assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{text}");
    }
}

#[test]
fn rare_occurrences_are_found_however_old_the_rule_is() {
    for (rule, before, after) in [
        ("FREQ=YEARLY;BYYEARDAY=366;BYDAY=SU", "2000-12-31", "2028-12-31"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU", "2004-02-29", "2032-02-29"),
        ("FREQ=YEARLY;INTERVAL=1000", "2000-01-01", "3000-01-01"),
        ("FREQ=DAILY;INTERVAL=1000;BYMONTH=2", "", "2030-02-12"),
        ("FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=2,3", "2025-12-31", "2026-12-31"),
        ("FREQ=HOURLY;INTERVAL=999;BYHOUR=5", "2026-02-05", "2027-01-04"),
    ] {
        let every = every(&format!("DTSTART;TZID=Europe/Berlin:20000101T023000 RRULE:{rule} DURATION:PT1M"));
        let now = at("2026-05-01T00:00:00Z");
        let day = |span: Option<(Timestamp, Timestamp)>| span.map(|(starts, _)| every.day_of(starts).to_string());
        let found = (day(every.before(now)).unwrap_or_default(), day(every.after(now)).unwrap_or_default());
        assert_eq!(found, (before.to_owned(), after.to_owned()), "{rule}");
    }
}
