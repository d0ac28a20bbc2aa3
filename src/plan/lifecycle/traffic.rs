//! Traffic: whether fewer requests come than before the route went down.
//!
//! Fewer requests are judged only once the route is fully open: a ramp admits a share of them. No client is at fault for
//! requests that do not come, so nothing is asked of the clients.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::config::Guard;
use super::excess::{float, is_fewer_than, spread};
use super::window::{LONG_SPAN, MINUTE, Moment};
use super::{Baseline, Breach, Measured};

/// Requests that came in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Time over which they were counted.
    pub span: Duration,
}

/// Traffic of a route before it went down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// All requests.
    #[serde(flatten)]
    pub arrivals: Arrivals,
    /// Factor by which the counts vary more than those of independent requests would.
    pub dispersion: f64,
}

impl Traffic {
    /// Creates the traffic of slots of about ten seconds, with and without requests. `None` if they are not a minute.
    pub fn of(slots: &[Arrivals]) -> Option<Self> {
        let sum = slots.iter().fold(Arrivals::default(), |sum, slot| Arrivals {
            requests: sum.requests + slot.requests,
            span: sum.span + slot.span,
        });
        let slots: Vec<_> = slots.iter().map(|slot| (slot.requests, slot.span.as_secs_f64())).collect();
        (sum.span >= MINUTE).then(|| Self { arrivals: sum, dispersion: spread(&slots) })
    }

    /// Returns true if a drop by this share could be told from chance within ten minutes.
    pub fn shows(&self, drop: f64) -> bool {
        self.is_more_than(drop, Arrivals { requests: 0, span: LONG_SPAN })
    }

    /// Returns true if the arrivals are fewer than this traffic, less a share, and chance explain.
    fn is_more_than(&self, drop: f64, arrivals: Arrivals) -> bool {
        let dispersion = if self.dispersion.is_finite() { self.dispersion.max(1.0) } else { return false };
        let before = float(self.arrivals.requests);
        // The traffic before is known only roughly: one standard deviation less counts.
        let sure = (before - (before * dispersion).sqrt()).max(0.0);
        let least = self.scaled(sure, arrivals.span) * (1.0 - drop);
        self.scaled(before, arrivals.span) >= LEAST_EXPECTED && is_fewer_than(least, arrivals.requests, dispersion)
    }

    fn scaled(&self, requests: f64, span: Duration) -> f64 {
        if self.arrivals.span.is_zero() { 0.0 } else { requests * span.div_duration_f64(self.arrivals.span) }
    }
}

/// Returns the arrivals to judge of a route that has been fully open for some time: those of the last minute, and those
/// since then, of at most ten minutes. None before a minute has passed.
pub(crate) fn arrivals(moments: &[Moment], open: Duration) -> Vec<Arrivals> {
    let spans = [MINUTE, open.min(LONG_SPAN)];
    let within = |span: Duration| moments.iter().take_while(move |moment| moment.age < span);
    let arrivals = |span| Arrivals { requests: within(span).map(|moment| moment.counted.requests).sum(), span };
    spans.into_iter().take(if open < MINUTE { 0 } else { spans.len() }).map(arrivals).collect()
}

/// Judges whether traffic dropped. Returns `None` if it did not, or if there is nothing to compare with.
pub(crate) fn dropped(
    guard: &Guard,
    measured: &Measured,
    baseline: Option<&Baseline>,
    now: Timestamp,
) -> Option<Breach> {
    let (drop, traffic) = guard.traffic.zip(baseline.and_then(|baseline| baseline.traffic))?;
    let found = measured.arrivals.iter().find(|arrivals| traffic.is_more_than(drop, **arrivals))?;
    let before = traffic.scaled(float(traffic.arrivals.requests), found.span);
    let what = format!(
        "{} requests came in {} s, at least {:.0} should (before it were {before:.0}, and {:.0}% fewer may)",
        found.requests,
        found.span.as_secs(),
        before * (1.0 - drop),
        drop * 100.0
    );
    Some(Breach::new(now, what))
}

/// Requests that must be expected in a span, below which nothing is judged.
const LEAST_EXPECTED: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(requests: &[u64]) -> Vec<Arrivals> {
        requests.iter().map(|&requests| Arrivals { requests, span: Duration::from_secs(10) }).collect()
    }

    fn drops(before: &Traffic, requests: u64, seconds: u64) -> bool {
        before.is_more_than(0.8, Arrivals { requests, span: Duration::from_secs(seconds) })
    }

    #[test]
    fn a_drop_is_what_chance_does_not_explain() {
        let steady = Traffic::of(&slots(&[100; 60])).unwrap();
        // A fifth of 600 in a minute is 120.
        assert!(
            drops(&steady, 0, 60) && drops(&steady, 70, 60) && !drops(&steady, 100, 60) && !drops(&steady, 600, 60)
        );
        assert!(drops(&steady, 1000, 600) && !drops(&steady, 1200, 600));
        let mut bursts = [0; 60];
        (0..6).for_each(|minute| bursts[minute * 10] = 1000);
        let bursts = Traffic::of(&slots(&bursts)).unwrap();
        assert_eq!(bursts.arrivals, steady.arrivals);
        assert!(bursts.dispersion > 500.0 && !drops(&bursts, 0, 60), "{}", bursts.dispersion);
    }

    #[test]
    fn few_requests_are_judged_over_a_longer_time_or_never() {
        let few = Traffic::of(&slots(&[1; 60])).unwrap();
        assert!(!drops(&few, 0, 60) && drops(&few, 0, 600) && few.shows(0.8));
        let fewer = Traffic::of(&slots(&[0, 1, 0, 0].repeat(15))).unwrap();
        assert!(!drops(&fewer, 0, 600) && !fewer.shows(0.8) && !few.shows(0.999));
        assert_eq!(Traffic::of(&slots(&[100; 5])), None, "less than a minute");
        assert!(!Traffic::of(&slots(&[0; 60])).unwrap().shows(0.5));
    }

    #[test]
    fn arrivals_are_those_of_the_last_minute_and_of_all_the_time() {
        let moment = |age| Moment {
            age: Duration::from_secs(age),
            counted: super::super::Counted { requests: 2, errors: 0 },
            ..Moment::default()
        };
        let moments: Vec<_> = (0..900).map(moment).collect();
        let found = |open| -> Vec<_> {
            let arrivals = arrivals(&moments, Duration::from_secs(open));
            arrivals.iter().map(|arrivals| (arrivals.requests, arrivals.span.as_secs())).collect()
        };
        assert_eq!((found(0), found(59)), (vec![], vec![]));
        assert_eq!((found(60), found(90)), (vec![(120, 60); 2], vec![(120, 60), (180, 90)]));
        assert_eq!(found(5000), [(120, 60), (1200, 600)]);
    }
}
