//! The limits that were reached, told in the log: each once, and again if it goes on.

use std::time::{Duration, Instant};

use crate::telemetry::{Limit, Meters};

/// What was told of each limit.
#[derive(Debug)]
pub(super) struct LimitLog {
    reported: Box<[Reported]>,
}

/// What was told of a limit.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    /// How often it had been reached then.
    count: u64,
    at: Option<Instant>,
}

impl LimitLog {
    pub(super) fn new() -> Self {
        Self { reported: Limit::ALL.iter().map(|_| Reported::default()).collect() }
    }

    /// Writes a line for each limit that was reached since the last line about it, unless that was a moment ago.
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

    /// Returns the limits to tell of, and how often each was reached since it was told last.
    fn due(&mut self, meters: &Meters, now: Instant) -> Vec<(Limit, u64)> {
        let mut due = Vec::new();
        for (&limit, reported) in Limit::ALL.iter().zip(&mut self.reported) {
            let count = meters.workers.iter().map(|worker| worker.limits[limit as usize].get()).sum::<u64>();
            let rests = reported.at.is_some_and(|at| now.saturating_duration_since(at) < AGAIN_AFTER);
            // A client that is let go since it asks for nothing more is no news.
            if count > reported.count && !rests && limit != Limit::KeepAlive {
                due.push((limit, count - reported.count));
                *reported = Reported { count, at: Some(now) };
            }
        }
        due
    }
}

/// Between two lines about the same limit, at least.
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
