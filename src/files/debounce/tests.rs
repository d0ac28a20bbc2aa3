//! Tests of debouncing: observations with their times, and the steps that follow.

use std::io;

use super::Hint::{Closed, Poll, Renamed, Writing};
use super::*;

const OLD: Observation = content(1);
const NEW: Observation = content(2);
const OTHER: Observation = content(3);
const BLANK: Observation = doubted(0, Doubt::Empty);
/// Contents that take something away.
const LIFTING: Observation = doubted(4, Doubt::Lifts);
const UNENDED: Observation = doubted(5, Doubt::Unended);
const CUT: Observation = doubted(6, Doubt::Cut);
/// A signal when the file was written just now, and one when it has been quiet for long.
const FORCED: Hint = Hint::Forced(Duration::ZERO);
const LATER_FORCED: Hint = Hint::Forced(Duration::from_secs(60));
const GONE: Observation = Observation::ReadError(ReadError::Missing);
const DENIED: Observation = Observation::ReadError(ReadError::Unreadable(io::ErrorKind::PermissionDenied));
const CHANGING: Observation = Observation::ReadError(ReadError::Changing);

const fn content(n: u8) -> Observation {
    doubted(n, Doubt::None)
}

const fn doubted(n: u8, doubt: Doubt) -> Observation {
    Observation::Content { hash: Hash([n; 32]), doubt }
}

/// The expected step. A wait lasts until that many milliseconds after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Same,
    Accept,
    Restored,
    Told,
    Wait(u64),
}
use Want::{Accept, Restored, Same, Told, Wait};

/// Starts with `first`, then takes in observations: time, hint, observation, expected step.
#[track_caller]
fn check(first: Observation, looks: &[(u64, Hint, Observation, Want)]) {
    let start = Instant::now();
    let mut settle = Debounce::start(first, Timing::default());
    for (n, (at, hint, seen, want)) in looks.iter().enumerate() {
        let got = match settle.step(*hint, *seen, start + Duration::from_millis(*at)) {
            Step::Same => Same,
            Step::Accept => Accept,
            Step::Restored => Restored,
            Step::ReadError(_) => Told,
            Step::Wait(due) => Wait((due - start).as_millis() as u64),
        };
        assert_eq!(got, *want, "look {n}: {hint:?} {seen:?} at {at} ms");
        let due = settle.due().map(|due| Wait((due - start).as_millis() as u64));
        assert_eq!(due, Some(got).filter(|got| matches!(got, Wait(_))), "look {n}: due");
    }
}

#[test]
fn what_is_known_needs_nothing() {
    check(OLD, &[(0, Poll, OLD, Same), (1, Writing, OLD, Same), (2, Closed, OLD, Same), (3, FORCED, OLD, Same)]);
    check(GONE, &[(0, Poll, GONE, Same), (9, Closed, GONE, Same)]);
}

#[test]
fn a_finished_content_counts_at_once() {
    check(OLD, &[(0, Closed, NEW, Accept), (1, Poll, NEW, Same), (2, Closed, OLD, Accept)]);
    check(GONE, &[(0, Closed, NEW, Accept)]);
    check(OLD, &[(0, Renamed, NEW, Accept)]);
}

#[test]
fn a_signal_takes_what_is_quiet_and_waits_for_a_writer() {
    check(OLD, &[(0, LATER_FORCED, NEW, Accept)]);
    check(OLD, &[(0, FORCED, NEW, Wait(2000)), (2000, Poll, NEW, Accept)]);
    check(OLD, &[(0, FORCED, NEW, Wait(2000)), (5, Closed, NEW, Accept)]);
    // The writer goes on, also if the file's time was put back.
    check(OLD, &[(0, Writing, NEW, Wait(2000)), (500, LATER_FORCED, NEW, Wait(2000)), (600, Closed, OTHER, Accept)]);
    check(OLD, &[(0, Closed, LIFTING, Wait(18)), (10, LATER_FORCED, LIFTING, Wait(18)), (18, Poll, LIFTING, Accept)]);
    check(OLD, &[(0, Closed, BLANK, Wait(3000)), (500, FORCED, BLANK, Wait(3000)), (600, Closed, NEW, Accept)]);
}

#[test]
fn what_lifts_something_waits_for_a_writer_that_may_go_on_but_a_rename_does_not() {
    for lifting in [LIFTING, UNENDED, CUT] {
        check(OLD, &[(0, Renamed, lifting, Accept)]);
    }
    check(OLD, &[(0, Closed, LIFTING, Wait(18)), (17, Poll, LIFTING, Wait(18)), (18, Poll, LIFTING, Accept)]);
    check(OLD, &[(0, Closed, LIFTING, Wait(18)), (5, Closed, UNENDED, Wait(505)), (300, Closed, NEW, Accept)]);
    check(OLD, &[(0, Closed, LIFTING, Wait(18)), (5, Writing, LIFTING, Wait(2005)), (9, Closed, LIFTING, Wait(27))]);
    // The next part is there, and its event is not.
    check(OLD, &[(0, Closed, LIFTING, Wait(18)), (18, Poll, OTHER, Wait(2018)), (19, Closed, OLD, Same)]);
    check(OLD, &[(0, Closed, UNENDED, Wait(500)), (500, Poll, UNENDED, Accept)]);
    check(OLD, &[(0, Closed, CUT, Wait(3000)), (3000, Poll, CUT, Accept)]);
    check(OLD, &[(0, Writing, LIFTING, Wait(2000)), (2000, Poll, LIFTING, Accept)]);
    check(OLD, &[(0, Writing, CUT, Wait(3000)), (3000, Poll, CUT, Accept)]);
}

#[test]
fn the_wait_has_a_reason() {
    let reason = |hint, seen| {
        let mut debounce = Debounce::start(OLD, Timing::default());
        debounce.step(hint, seen, Instant::now());
        debounce.waits_for()
    };
    assert_eq!(reason(Closed, NEW), None);
    assert_eq!(reason(Writing, NEW), Some(super::Wait::Writing));
    assert_eq!(reason(Poll, LIFTING), Some(super::Wait::Writing));
    assert_eq!(reason(Closed, LIFTING), Some(super::Wait::Doubt(Doubt::Lifts)));
    assert_eq!(reason(Writing, BLANK), Some(super::Wait::Doubt(Doubt::Empty)));
    assert_eq!(reason(Writing, GONE), Some(super::Wait::ReadError(ReadError::Missing)));
}

#[test]
fn an_unfinished_content_waits_for_the_end_or_for_quiet() {
    check(OLD, &[(0, Writing, NEW, Wait(2000)), (700, Writing, OTHER, Wait(2700)), (800, Closed, OTHER, Accept)]);
    check(OLD, &[(0, Writing, NEW, Wait(2000)), (1999, Poll, NEW, Wait(2000)), (2000, Poll, NEW, Accept)]);
    // The same observation again, but the file was touched, so the time starts again.
    check(OLD, &[(0, Writing, NEW, Wait(2000)), (1000, Writing, NEW, Wait(3000)), (3000, Poll, NEW, Accept)]);
    // Another content at the end of the wait, so the time starts again.
    check(OLD, &[(0, Writing, NEW, Wait(2000)), (2000, Poll, OTHER, Wait(4000)), (4000, Poll, OTHER, Accept)]);
    check(GONE, &[(0, Writing, NEW, Wait(2000)), (2000, Poll, NEW, Accept)]);
}

#[test]
fn what_only_polling_sees_is_to_be_seen_twice() {
    check(OLD, &[(0, Poll, NEW, Wait(2000)), (2000, Poll, NEW, Accept)]);
    check(OLD, &[(0, Poll, NEW, Wait(2000)), (1000, Poll, OLD, Same), (1500, Poll, NEW, Wait(3500))]);
    check(OLD, &[(0, Poll, NEW, Wait(2000)), (1, Closed, NEW, Accept)]);
}

#[test]
fn an_empty_file_is_doubted_whatever_is_said() {
    for hint in [Poll, Writing, Closed, Renamed, FORCED] {
        check(OLD, &[(0, hint, BLANK, Wait(3000)), (2999, Poll, BLANK, Wait(3000)), (3000, Poll, BLANK, Accept)]);
        check(OLD, &[(0, hint, BLANK, Wait(3000)), (100, Closed, NEW, Accept)]);
        check(OLD, &[(0, hint, BLANK, Wait(3000)), (100, Poll, OLD, Same)]);
    }
    check(OLD, &[(0, Closed, BLANK, Wait(3000)), (2000, Closed, BLANK, Wait(5000))]);
    // Nothing was there, so nothing can be lost.
    let blank = doubted(0, Doubt::None);
    check(GONE, &[(0, Closed, blank, Accept), (1, Closed, NEW, Accept)]);
}

#[test]
fn a_missing_file_is_doubted_for_a_while() {
    for hint in [Poll, Writing, Closed, Renamed, FORCED] {
        check(OLD, &[(0, hint, GONE, Wait(1000)), (1000, Poll, GONE, Told), (1001, Poll, GONE, Same)]);
        check(OLD, &[(0, hint, GONE, Wait(1000)), (10, Poll, OLD, Same), (20, hint, GONE, Wait(1020))]);
    }
    check(OLD, &[(0, Writing, GONE, Wait(1000)), (900, Writing, BLANK, Wait(3900)), (901, Closed, NEW, Accept)]);
}

#[test]
fn the_known_content_is_welcome_back_at_once() {
    let lost = [(0, Poll, GONE, Wait(1000)), (1000, Poll, GONE, Told)];
    for hint in [Poll, Writing, Closed, Renamed, FORCED] {
        check(OLD, &[lost.as_slice(), &[(1500, hint, OLD, Restored), (1501, Poll, OLD, Same)]].concat());
    }
    check(OLD, &[lost.as_slice(), &[(1500, Poll, NEW, Wait(3500)), (3500, Poll, NEW, Accept)]].concat());
    check(OLD, &[lost.as_slice(), &[(1500, Closed, BLANK, Wait(4500)), (4500, Poll, BLANK, Accept)]].concat());
}

#[test]
fn one_trouble_may_give_way_to_another() {
    check(OLD, &[(0, Poll, DENIED, Wait(1000)), (500, Poll, GONE, Wait(1500)), (1500, Poll, GONE, Told)]);
    check(GONE, &[(0, Poll, DENIED, Wait(1000)), (1000, Poll, DENIED, Told), (1100, Closed, NEW, Accept)]);
    check(OLD, &[(0, Closed, CHANGING, Wait(2000)), (1000, Poll, NEW, Wait(3000)), (3000, Poll, NEW, Accept)]);
    check(OLD, &[(0, Poll, CHANGING, Wait(2000)), (2000, Poll, CHANGING, Told)]);
}
