//! Health of an upstream, as one worker sees it: an upstream that fails is avoided for a while.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::error::Error;
use crate::telemetry::UpstreamCell;

/// Health of an upstream, as this worker sees it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: Cell<u32>,
    /// The number of ejections without a success between.
    ejections: Cell<u32>,
    until: Cell<Option<Instant>>,
    /// The end of the last ejection.
    back: Cell<Option<Instant>>,
}

impl Health {
    /// Returns true if the upstream is to be avoided now.
    pub(crate) fn ejected(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| now < until)
    }

    /// Returns how long ago the last ejection ended; `None` if there was none.
    pub(crate) fn back_for(&self, now: Instant) -> Option<Duration> {
        self.back.get().map(|back| now.saturating_duration_since(back))
    }

    /// Brings the gauge up to date: the time may have passed without a request.
    pub(crate) fn tell(&self, cell: &UpstreamCell) {
        cell.ejected.set(u64::from(self.ejected(Instant::now())));
    }

    /// Notes that the upstream answered.
    pub(crate) fn succeeded(&self, name: &str, cell: &UpstreamCell) {
        if self.ejections.get() != 0 {
            tracing::info!(upstream = name, "the upstream answers again");
            self.back.set(self.until.get().map(|until| until.min(Instant::now())));
        }
        if self.failures.get() != 0 || self.ejections.get() != 0 {
            self.failures.set(0);
            self.ejections.set(0);
            self.until.set(None);
            cell.ejected.set(0);
        }
    }

    /// Notes that the upstream failed before a response head. Several failures in a row eject it; each ejection doubles the next.
    pub(crate) fn failed(&self, name: &str, cell: &UpstreamCell, error: &Error) {
        let now = Instant::now();
        self.failures.set(self.failures.get().saturating_add(1));
        // After an ejection one failure is enough: it was a trial.
        if self.failures.get() >= FAILURES_TO_EJECT || self.ejections.get() > 0 && !self.ejected(now) {
            let doubled = FIRST_EJECTION.saturating_mul(1 << self.ejections.get().min(MOST_DOUBLINGS));
            let time = doubled.min(LONGEST_EJECTION).mul_f64(1.0 + fastrand::f64() / 4.0);
            self.until.set(Some(now + time));
            self.back.set(Some(now + time));
            self.ejections.set(self.ejections.get().saturating_add(1));
            self.failures.set(0);
            cell.ejected.set(1);
            cell.ejections.increment();
            // One line for each ejection, not for each request: there may be thousands.
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(upstream = name, ?time, %error, source, "the upstream fails and is avoided for a while");
        }
    }
}

const FAILURES_TO_EJECT: u32 = 3;
const FIRST_EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(60);
const MOST_DOUBLINGS: u32 = 6;
