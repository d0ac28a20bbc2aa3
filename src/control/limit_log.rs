//! The log of limits that were reached: one line for each limit, repeated as long as it is reached.

use std::time::{Duration, Instant};

use crate::telemetry::{Limit, Meters};

/// State of the log, by limit.
#[derive(Debug)]
pub(super) struct LimitLog {
    reported: Box<[Reported]>,
}

/// The last line about a limit.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    /// Number of times that the limit had been reached by then.
    count: u64,
    at: Option<Instant>,
}

impl LimitLog {
    pub(super) fn new() -> Self {
        Self { reported: Limit::ALL.iter().map(|_| Reported::default()).collect() }
    }

    /// Logs each limit that was reached since its last line, unless that line is recent.
    pub(super) fn log(&mut self, meters: &Meters, now: Instant) {
        for (limit, times) in self.due(meters, now) {
            let key = limit.as_str();
            if limit.is_shared() {
                tracing::warn!(limit = key, times, "a limit was reached");
            } else {
                tracing::info!(limit = key, times, "a limit was reached");
            }
        }
    }

    /// Returns the limits to log, each with how often it was reached since its last line.
    fn due(&mut self, meters: &Meters, now: Instant) -> Vec<(Limit, u64)> {
        let mut due = Vec::new();
        for (&limit, reported) in Limit::ALL.iter().zip(&mut self.reported) {
            let count = meters.workers.iter().map(|worker| worker.limits[limit as usize].get()).sum::<u64>();
            let rests = reported.at.is_some_and(|at| now.saturating_duration_since(at) < AGAIN_AFTER);
            // Closing an idle connection is normal.
            if count > reported.count && !rests && limit != Limit::KeepAlive {
                due.push((limit, count - reported.count));
                *reported = Reported { count, at: Some(now) };
            }
        }
        due
    }
}

/// Minimum time between two lines about the same limit.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_of_at_once_and_then_once_a_minute_with_what_came_meanwhile() {
        let (meters, mut log, now) = (Meters::new(2), LimitLog::new(), Instant::now());
        assert_eq!(log.due(&meters, now), []);
        meters.workers[0].reached(Limit::Connections);
        meters.workers[1].reached(Limit::Connections);
        meters.workers[1].reached(Limit::KeepAlive);
        assert_eq!(log.due(&meters, now), [(Limit::Connections, 2)]);
        meters.workers[0].reached(Limit::Connections);
        meters.workers[0].reached(Limit::BodySize);
        assert_eq!(log.due(&meters, now + AGAIN_AFTER / 2), [(Limit::BodySize, 1)]);
        assert_eq!(log.due(&meters, now + AGAIN_AFTER), [(Limit::Connections, 1)]);
        assert_eq!(log.due(&meters, now + AGAIN_AFTER * 3), []);
    }
}
