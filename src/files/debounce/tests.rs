//! Tests of debouncing: observations with their times, and the steps that follow.

use std::io;

use super::Hint::{Forced, Poll, Settled, Writing};
use super::*;

const OLD: Observation = content(1);
const NEW: Observation = content(2);
const OTHER: Observation = content(3);
const BLANK: Observation = Observation::Content { hash: Hash([0; 32]), blank: true };
const GONE: Observation = Observation::ReadError(ReadError::Missing);
const DENIED: Observation = Observation::ReadError(ReadError::Unreadable(io::ErrorKind::PermissionDenied));
const CHANGING: Observation = Observation::ReadError(ReadError::Changing);

const fn content(n: u8) -> Observation {
    Observation::Content { hash: Hash([n; 32]), blank: false }
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
    check(OLD, &[(0, Poll, OLD, Same), (1, Writing, OLD, Same), (2, Settled, OLD, Same), (3, Forced, OLD, Same)]);
    check(GONE, &[(0, Poll, GONE, Same), (9, Settled, GONE, Same)]);
}

#[test]
fn a_finished_content_counts_at_once() {
    check(OLD, &[(0, Settled, NEW, Accept), (1, Poll, NEW, Same), (2, Settled, OLD, Accept)]);
    check(GONE, &[(0, Settled, NEW, Accept)]);
    check(OLD, &[(0, Forced, NEW, Accept)]);
}

#[test]
fn an_unfinished_content_waits_for_the_end_or_for_quiet() {
    check(OLD, &[(0, Writing, NEW, Wait(2000)), (700, Writing, OTHER, Wait(2700)), (800, Settled, OTHER, Accept)]);
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
    check(OLD, &[(0, Poll, NEW, Wait(2000)), (1, Settled, NEW, Accept)]);
}

#[test]
fn an_empty_file_is_doubted_whatever_is_said() {
    for hint in [Poll, Writing, Settled, Forced] {
        check(OLD, &[(0, hint, BLANK, Wait(3000)), (2999, Poll, BLANK, Wait(3000)), (3000, Poll, BLANK, Accept)]);
        check(OLD, &[(0, hint, BLANK, Wait(3000)), (100, Settled, NEW, Accept)]);
        check(OLD, &[(0, hint, BLANK, Wait(3000)), (100, Poll, OLD, Same)]);
    }
    check(OLD, &[(0, Settled, BLANK, Wait(3000)), (2000, Settled, BLANK, Wait(5000))]);
    // Nothing was there, so nothing can be lost.
    check(GONE, &[(0, Settled, BLANK, Accept), (1, Settled, NEW, Accept)]);
}

#[test]
fn a_missing_file_is_doubted_for_a_while() {
    for hint in [Poll, Writing, Settled, Forced] {
        check(OLD, &[(0, hint, GONE, Wait(1000)), (1000, Poll, GONE, Told), (1001, Poll, GONE, Same)]);
        check(OLD, &[(0, hint, GONE, Wait(1000)), (10, Poll, OLD, Same), (20, hint, GONE, Wait(1020))]);
    }
    check(OLD, &[(0, Writing, GONE, Wait(1000)), (900, Writing, BLANK, Wait(3900)), (901, Settled, NEW, Accept)]);
}

#[test]
fn the_known_content_is_welcome_back_at_once() {
    let lost = [(0, Poll, GONE, Wait(1000)), (1000, Poll, GONE, Told)];
    for hint in [Poll, Writing, Settled, Forced] {
        check(OLD, &[lost.as_slice(), &[(1500, hint, OLD, Restored), (1501, Poll, OLD, Same)]].concat());
    }
    check(OLD, &[lost.as_slice(), &[(1500, Poll, NEW, Wait(3500)), (3500, Poll, NEW, Accept)]].concat());
    check(OLD, &[lost.as_slice(), &[(1500, Settled, BLANK, Wait(4500)), (4500, Poll, BLANK, Accept)]].concat());
}

#[test]
fn one_trouble_may_give_way_to_another() {
    check(OLD, &[(0, Poll, DENIED, Wait(1000)), (500, Poll, GONE, Wait(1500)), (1500, Poll, GONE, Told)]);
    check(GONE, &[(0, Poll, DENIED, Wait(1000)), (1000, Poll, DENIED, Told), (1100, Settled, NEW, Accept)]);
    check(OLD, &[(0, Settled, CHANGING, Wait(2000)), (1000, Poll, NEW, Wait(3000)), (3000, Poll, NEW, Accept)]);
    check(OLD, &[(0, Poll, CHANGING, Wait(2000)), (2000, Poll, CHANGING, Told)]);
}
