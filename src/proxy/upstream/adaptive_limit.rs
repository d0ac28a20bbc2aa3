//! Adaptive limit on busy connections to an upstream (compare Envoy's adaptive concurrency).
//!
//! With too many connections each request costs more, because caches overflow, and the upstream is overloaded. With too
//! few, requests wait without need. The limit is found by trials. While requests wait, it grows as long as that raises
//! the rate of answers. If this process or the upstream is the bottleneck, it shrinks as long as the rate of answers
//! does not fall.

use std::time::{Duration, Instant};

/// The current limit on busy connections to one upstream, and the trial that adjusts it.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    limit: usize,
    trial: Trial,
    /// The beginning of the trial.
    since: Instant,
    /// Answers since then.
    answers: u32,
    /// The average time of an answer.
    latency: Duration,
    /// The length of the next rest.
    rest: Duration,
}

/// The current trial.
#[derive(Clone, Copy, Debug)]
enum Trial {
    /// More connections. Succeeds at this rate of answers a second.
    More(f64),
    /// Fewer connections. Succeeds at this rate of answers a second.
    Fewer(f64),
    /// No trial for a while.
    Rest,
}

impl AdaptiveLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            limit: LEAST_LIMIT,
            trial: Trial::More(0.0),
            since: now,
            answers: 0,
            latency: Duration::ZERO,
            rest: FIRST_REST,
        }
    }

    /// Notes that the upstream has answered, and how long that took.
    pub(crate) fn answered(&mut self, latency: Duration) {
        self.answers = self.answers.saturating_add(1);
        self.latency = self.latency - self.latency / SMOOTHING + latency / SMOOTHING;
    }

    /// Returns true if one more connection may be opened for a waiting request, while this many are busy.
    pub(crate) fn allows(&self, busy: usize) -> bool {
        busy < self.limit
    }

    /// Returns true if more connections are busy than the limit allows.
    pub(crate) fn is_exceeded(&self, busy: usize) -> bool {
        busy > self.limit
    }

    /// Evaluates the trial. Called while requests wait.
    ///
    /// A timer must call this, so that a delay of this process does not count against the upstream.
    pub(crate) fn evaluate(&mut self, busy: usize, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        // A trial takes effect only once the upstream has answered requests of that time.
        let window =
            if self.answers == 0 { SILENT_TRIAL } else { SHORTEST_TRIAL.max(self.latency * 2).min(LONGEST_TRIAL) };
        if passed < window {
            return;
        }
        let rate = f64::from(self.answers) / passed.as_secs_f64();
        match self.trial {
            _ if self.answers == 0 || passed > STALE_AFTER => self.more(busy, 0.0, now),
            Trial::More(_) if busy < self.limit => {}
            Trial::More(wanted) if rate >= wanted => self.more(busy, rate, now),
            Trial::Fewer(wanted) if rate < wanted => {
                self.begin(Trial::Rest, self.limit + self.limit.div_ceil(3), now);
            }
            Trial::More(_) | Trial::Fewer(_) if self.limit > LEAST_LIMIT => {
                self.begin(Trial::Fewer(rate * NO_LOSS), self.limit.min(busy) / 4 * 3, now);
            }
            Trial::Rest if passed >= self.rest => {
                self.rest = (self.rest * 2).min(LONGEST_REST);
                self.begin(Trial::More(rate * LITTLE_GAIN), busy + busy.div_ceil(4), now);
            }
            Trial::Rest => {}
            Trial::More(_) | Trial::Fewer(_) => self.begin(Trial::Rest, self.limit, now),
        }
    }

    /// Doubles the limit, after growth raised the rate of answers.
    fn more(&mut self, busy: usize, rate: f64, now: Instant) {
        self.rest = FIRST_REST;
        self.begin(Trial::More(rate * GAIN), busy.saturating_mul(2), now);
    }

    fn begin(&mut self, trial: Trial, limit: usize, now: Instant) {
        (self.trial, self.limit) = (trial, limit.max(LEAST_LIMIT));
        (self.since, self.answers) = (now, 0);
    }
}

/// The least limit. Up to this number connections are opened without a trial.
const LEAST_LIMIT: usize = 32;

/// The shortest trial, while the upstream answers and while it does not.
const SHORTEST_TRIAL: Duration = Duration::from_millis(40);
const SILENT_TRIAL: Duration = Duration::from_millis(25);
const LONGEST_TRIAL: Duration = Duration::from_secs(1);

/// The age at which a trial's result is too old to use.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Factors by which the rate of answers must rise: for twice the connections, and for a quarter more.
const GAIN: f64 = 1.5;
const LITTLE_GAIN: f64 = 1.125;

/// Factor of the rate of answers that must be kept with a quarter fewer connections.
const NO_LOSS: f64 = 0.95;

const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Divisor of the weight that one answer has in the average.
const SMOOTHING: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream whose answers take a time, and of which at most so many come a second. Requests always wait.
    /// Returns how many connections are open after each second.
    fn grown(latency: Duration, most: f64, seconds: usize) -> Vec<usize> {
        let start = Instant::now();
        let (mut limit, mut open, mut due) = (AdaptiveLimit::new(start), 0, 0.0);
        let mut grown = Vec::new();
        for millis in 1..=seconds * 1000 {
            let now = start + Duration::from_millis(millis as u64);
            if Duration::from_millis(millis as u64) > latency {
                let latency = latency.as_secs_f64().max(open as f64 / most);
                due += open as f64 / latency / 1000.0;
            }
            while due >= 1.0 {
                limit.answered(latency.max(Duration::from_secs_f64(open as f64 / most)));
                due -= 1.0;
            }
            if millis % 5 == 0 {
                limit.evaluate(open, now);
            }
            while open < 4096 && limit.allows(open) {
                open += 1;
            }
            while limit.is_exceeded(open) {
                open -= 1;
            }
            if millis % 1000 == 0 {
                grown.push(open);
            }
        }
        grown
    }

    #[test]
    fn an_upstream_that_takes_its_time_gets_as_many_as_wait() {
        for latency in [Duration::from_millis(50), Duration::from_millis(300), Duration::from_secs(30)] {
            assert_eq!(grown(latency, f64::MAX, 3).last(), Some(&4096), "{latency:?}");
        }
    }

    #[test]
    fn an_upstream_that_can_do_no_more_gets_no_more() {
        for most in [1000.0, 30_000.0] {
            let grown = grown(Duration::from_millis(1), most, 10);
            assert!(grown.iter().all(|&open| open <= 128), "{most}: {grown:?}");
        }
    }
}
