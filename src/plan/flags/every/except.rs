//! Exceptions of a recurring window: occurrences that are left out.

use jiff::Timestamp;
use jiff::civil::Date;

/// Occurrence that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Exception {
    /// Every occurrence that begins on a day of the window's time zone.
    Day(Date),
    /// Occurrence that begins at an instant.
    Start(Timestamp),
}

/// Exceptions of a rule, sorted: each evaluation asks for some days.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exceptions {
    pub(super) days: Vec<Date>,
    pub(super) starts: Vec<Timestamp>,
}

impl Exceptions {
    /// Adds an exception. The order in which they are written does not matter.
    pub(super) fn add(&mut self, exception: Exception) {
        match exception {
            Exception::Day(day) => insert(&mut self.days, day),
            Exception::Start(start) => insert(&mut self.starts, start),
        }
    }

    /// Returns true if the occurrence that begins on this day, at this instant, is left out.
    pub(super) fn has(&self, day: Date, start: Timestamp) -> bool {
        self.days.binary_search(&day).is_ok() || self.starts.binary_search(&start).is_ok()
    }
}

fn insert<T: Ord>(sorted: &mut Vec<T>, value: T) {
    if let Err(index) = sorted.binary_search(&value) {
        sorted.insert(index, value);
    }
}
