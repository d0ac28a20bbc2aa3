//! Windows: the counts of a route that came back, over several spans that end now.

use std::time::Duration;

use super::super::config::PerStatus;
use super::excess::Sample;
use super::{Clients, Counted};

/// Counts between two observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Time since its end.
    pub age: Duration,
    /// Requests and errors.
    pub counted: Counted,
    /// Requests that took longer than the guard allows.
    pub slow: u64,
    /// Requests that were answered with some statuses, as far as these were counted.
    pub statuses: PerStatus<u64>,
}

/// Counts over a span that ends now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Time over which the requests were counted.
    pub span: Duration,
    /// Requests that failed.
    pub errors: Sample,
    /// Requests that took longer than the guard allows.
    pub slow: Sample,
    /// Requests that were answered with some statuses.
    pub statuses: PerStatus<Sample>,
    /// 99th percentile of the latencies. Filled in only if something may be wrong.
    pub p99: Option<Duration>,
    /// Counts for each client. Filled in only if something may be wrong. Requests from before the watch belong to no
    /// client and cause no breach.
    pub clients: Clients,
}

/// Returns the windows that a guard judges, the shortest first. `moments` are those since the route came back `elapsed`
/// ago, the newest first.
pub(crate) fn windows(moments: &[Moment], elapsed: Duration) -> Vec<Window> {
    let mut windows = Vec::with_capacity(SPANS.len() + 1);
    for span in SPANS {
        windows.push(Window::new(moments, span.min(elapsed)));
        if elapsed <= span {
            return windows;
        }
    }
    if windows.last().is_some_and(|minute| minute.errors.requests < SPARSE) {
        windows.push(Window::new(moments, LONG_SPAN.min(elapsed)));
    }
    windows
}

impl Window {
    fn new(moments: &[Moment], span: Duration) -> Self {
        let within = moments.iter().take_while(|moment| moment.age < span || moment.age.is_zero());
        let (mut errors, mut slow, mut statuses) = (Counter::default(), Counter::default(), PerStatus::default());
        for moment in within {
            errors.add(moment, moment.counted.errors);
            slow.add(moment, moment.slow);
            // A moment in which a status was not counted says nothing of it.
            for (status, count) in moment.statuses.iter() {
                statuses.entry(status, Counter::default).into_iter().for_each(|counter| counter.add(moment, *count));
            }
        }
        let statuses = statuses.filter_map(|_, counter: &Counter| Some(counter.sample()));
        Self { span, errors: errors.sample(), slow: slow.sample(), statuses, ..Self::default() }
    }
}

/// Counter of bad requests and of the stretches that they came in.
#[derive(Clone, Copy, Default)]
struct Counter {
    sample: Sample,
    /// Age of the newest moment of the present stretch.
    stretch: Option<Duration>,
}

impl Counter {
    fn add(&mut self, moment: &Moment, bad: u64) {
        self.sample.requests += moment.counted.requests;
        self.sample.bad += bad;
        let goes_on = self.stretch.is_some_and(|newest| moment.age.saturating_sub(newest) < STRETCH);
        if bad > 0 && !goes_on {
            self.stretch = Some(moment.age);
            self.sample.stretches += 1;
        }
    }

    /// Returns the sums. A response is cut after its head was counted, so more may have failed than were counted.
    fn sample(self) -> Sample {
        Sample { bad: self.sample.bad.min(self.sample.requests), ..self.sample }
    }
}

/// Time that one incident covers, such as a restart of a worker or a fail-over.
pub(crate) const STRETCH: Duration = Duration::from_millis(3500);

/// Spans that are judged. Short ones find a great excess soon, long ones find a small one at all.
const SPANS: [Duration; 3] = [Duration::from_secs(15), Duration::from_secs(30), Duration::from_secs(60)];

/// Span that is judged as well if the last minute had few requests.
pub(super) const LONG_SPAN: Duration = Duration::from_secs(600);

/// Shortest span over which traffic is judged.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Requests in a minute below which they are few.
const SPARSE: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns half seconds with these failures out of ten requests each, the newest first.
    fn halves(errors: &[u64]) -> Vec<Moment> {
        let moments = errors.iter().zip(0..);
        let moment = |(&errors, index)| Moment {
            age: Duration::from_millis(500) * index,
            counted: Counted { requests: 10, errors },
            ..Moment::default()
        };
        moments.map(moment).collect()
    }

    fn stretches(errors: &[u64]) -> Vec<u32> {
        let moments = halves(errors);
        let elapsed = Duration::from_millis(500) * u32::try_from(errors.len()).unwrap();
        windows(&moments, elapsed).iter().map(|window| window.errors.stretches).collect()
    }

    #[test]
    fn failures_close_together_are_one_stretch() {
        assert_eq!(stretches(&[0, 10, 10, 10, 10, 10, 10, 0]), [1]);
        assert_eq!(stretches(&[1; 7]), [1]);
        assert_eq!((stretches(&[1; 8]), stretches(&[1; 15])), (vec![2], vec![3]));
        assert_eq!(stretches(&[0; 200]), [0, 0, 0]);
        assert_eq!(stretches(&[1; 200]), [5, 9, 18]);
    }

    #[test]
    fn a_window_has_what_is_within_it() {
        let seen = windows(&halves(&[1; 200]), Duration::from_secs(100));
        let seen: Vec<_> = seen.iter().map(|window| (window.span.as_secs(), window.errors.requests)).collect();
        assert_eq!(seen, [(15, 300), (30, 600), (60, 1200)]);
        // A quiet route is judged by all that it has.
        let quiet: Vec<_> =
            (0..20).map(|index| Moment { age: Duration::from_secs(30) * index, ..halves(&[1])[0] }).collect();
        let quiet: Vec<_> =
            quiet.iter().map(|moment| Moment { counted: Counted { requests: 1, errors: 1 }, ..*moment }).collect();
        let seen = windows(&quiet, Duration::from_secs(900));
        assert_eq!(seen.last().map(|window| (window.span.as_secs(), window.errors.bad)), Some((600, 20)));
        // Whatever came in the moment of the return counts.
        assert_eq!(windows(&halves(&[3]), Duration::ZERO)[0].errors.bad, 3);
    }

    #[test]
    fn no_more_fail_than_were_counted() {
        assert_eq!(windows(&halves(&[15]), Duration::from_secs(1))[0].errors.bad, 10);
    }
}
