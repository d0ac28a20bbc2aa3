//! What came over a route in the last minute, from the counts of its whole life, looked at now and then. Time is an
//! argument, and of the kind that is never set: a step of the wall clock changes nothing here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::histogram::Counts;
use super::meters::RouteMeter;

/// A sliding window over the last [`Recent::SPAN`] of a route.
///
/// It takes 3.5 KiB and 8 bytes for each bucket that was hit between two observations: for a busy route some 20 KiB with
/// an observation each second, and 220 KiB at the very most.
#[derive(Debug, Default)]
pub struct Recent {
    /// What was counted up to the last observation.
    seen: Counts,
    failed: u64,
    /// Oldest first; only those in which something happened.
    slices: VecDeque<Slice>,
    /// Oldest first: when each began, how many requests it had, and how many of them failed.
    minutes: VecDeque<(Instant, u64, u64)>,
}

/// What happened between two observations.
#[derive(Debug)]
struct Slice {
    ended: Instant,
    failed: u64,
    /// The buckets that were hit, and how often.
    hits: Box<[(u16, u32)]>,
}

/// The requests of a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many were forwarded and got a response head, or failed for the upstream's sake.
    pub count: u64,
    /// How many of them failed: a response of 5xx, an answer of the proxy's own instead of one, or a response that was
    /// cut. At most `count`.
    pub failed: u64,
    /// From the request's head to the response's head: what half of them did not exceed. At most 1/16 too much, as the
    /// next two.
    pub p50: Duration,
    /// What nine of ten did not exceed.
    pub p90: Duration,
    /// What 99 of a hundred did not exceed.
    pub p99: Duration,
}

impl Recent {
    /// How far back it goes.
    pub const SPAN: Duration = Duration::from_secs(60);

    /// How far back its bare counts go.
    pub const LONG_SPAN: Duration = Duration::from_secs(600);

    /// Takes in what was counted since the last observation, all of it as if it had happened now. Meant to be called
    /// each second; costs next to nothing if nothing was counted. The first observation takes all there is, so it must
    /// not come later than the route's first traffic.
    pub fn observe(&mut self, meter: &RouteMeter, now: Instant) {
        self.forget(now);
        let failed = meter.sum(|cell| cell.upstream[SERVER_ERROR].get() + cell.failed.get());
        if meter.micros() == self.seen.micros && failed == self.failed {
            return;
        }
        let counts = meter.latency();
        let hits = self.seen.buckets.iter().zip(counts.buckets.iter()).zip(0_u16..);
        let hits = hits.filter(|((before, after), _)| after > before);
        let hits = hits.map(|((before, after), index)| (index, u32::try_from(after - before).unwrap_or(u32::MAX)));
        let slice = Slice { ended: now, failed: failed.saturating_sub(self.failed), hits: hits.collect() };
        self.note_minute(&slice, now);
        (self.seen, self.failed) = (counts, failed);
        self.slices.push_back(slice);
        if self.slices.len() > MOST_SLICES {
            self.slices.pop_front();
        }
    }

    /// What was observed in the `span` before `now`, at most [`Recent::SPAN`]; `None` if there was no request.
    pub fn over(&self, span: Duration, now: Instant) -> Option<Summary> {
        let span = span.min(Self::SPAN);
        let mut counts = Counts::default();
        let mut failed = 0;
        for slice in self.slices.iter().rev().take_while(|slice| slice.is_within(span, now)) {
            failed += slice.failed;
            for &(index, hits) in &slice.hits {
                if let Some(count) = counts.buckets.get_mut(usize::from(index)) {
                    *count += u64::from(hits);
                }
            }
        }
        let count = counts.count();
        Some(Summary {
            count,
            // A response is cut later than its head is counted, and one of 5xx can be cut as well.
            failed: failed.min(count),
            p50: counts.percentile(50)?,
            p90: counts.percentile(90)?,
            p99: counts.percentile(99)?,
        })
    }

    /// The requests of the last [`Recent::LONG_SPAN`], to the minute, and how many of them failed; `None` if there was none.
    pub fn long(&self, now: Instant) -> Option<(u64, u64)> {
        let within = self.minutes.iter().filter(|(began, ..)| is_within(*began, Self::LONG_SPAN, now));
        let (requests, failed) = within.fold((0, 0), |(all, bad), (_, count, failed)| (all + count, bad + failed));
        (requests > 0).then_some((requests, failed.min(requests)))
    }

    fn note_minute(&mut self, slice: &Slice, now: Instant) {
        while self.minutes.front().is_some_and(|(began, ..)| !is_within(*began, Self::LONG_SPAN, now)) {
            self.minutes.pop_front();
        }
        if self.minutes.back().is_none_or(|(began, ..)| !is_within(*began, MINUTE, now)) {
            self.minutes.push_back((now, 0, 0));
        }
        if let Some((_, requests, failed)) = self.minutes.back_mut() {
            *requests += slice.hits.iter().map(|(_, hits)| u64::from(*hits)).sum::<u64>();
            *failed += slice.failed;
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.slices.front().is_some_and(|slice| !slice.is_within(Self::SPAN, now)) {
            self.slices.pop_front();
        }
    }
}

impl Slice {
    fn is_within(&self, span: Duration, now: Instant) -> bool {
        is_within(self.ended, span, now)
    }
}

fn is_within(instant: Instant, span: Duration, now: Instant) -> bool {
    now.saturating_duration_since(instant) < span
}

/// The class of 5xx, in [`super::RouteCell::upstream`].
const SERVER_ERROR: usize = 5;

const MINUTE: Duration = Duration::from_secs(60);

/// One for each second of the span, and a few for an observer that hurries.
const MOST_SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Meters;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn route(workers: usize) -> Arc<RouteMeter> {
        Meters::new(workers).route("web")
    }

    fn at(start: Instant, seconds: u32) -> Instant {
        start + SECOND * seconds
    }

    /// The count and p99 in milliseconds.
    fn told(recent: &Recent, seconds: u32, now: Instant) -> Option<(u64, u128)> {
        recent.over(SECOND * seconds, now).map(|summary| (summary.count, summary.p99.as_millis()))
    }

    #[test]
    fn a_request_counts_for_as_long_as_it_is_asked_for() {
        let (meter, start) = (route(2), Instant::now());
        let mut recent = Recent::default();
        meter.workers[0].took(Duration::from_millis(100));
        recent.observe(&meter, start);
        meter.workers[1].took(Duration::from_millis(3));
        recent.observe(&meter, at(start, 1));
        assert_eq!(told(&recent, 60, at(start, 1)), Some((2, 102)));
        assert_eq!(told(&recent, 10, at(start, 9)), Some((2, 102)));
        assert_eq!(told(&recent, 10, at(start, 10)), Some((1, 3)));
        assert_eq!(told(&recent, 10, at(start, 11)), None);
        assert_eq!(told(&recent, 60, at(start, 59)), Some((2, 102)));
        assert_eq!(told(&recent, 600, at(start, 60)), Some((1, 3)), "no more is remembered");
        assert_eq!(told(&recent, 600, at(start, 61)), None);
    }

    #[test]
    fn the_window_slides_over_many_minutes() {
        let (meter, start) = (route(1), Instant::now());
        let mut recent = Recent::default();
        for second in 0..500 {
            for _ in 0..=second % 3 {
                meter.workers[0].took(Duration::from_micros(u64::from(second) * 7));
            }
            recent.observe(&meter, at(start, second));
        }
        let summary = recent.over(Recent::SPAN, at(start, 499)).unwrap();
        assert_eq!(summary.count, 120);
        // The slowest are of the last second, the 440th is the first of the minute.
        assert!(summary.p99 >= SECOND * 498 * 7 / 1_000_000 && summary.p99 <= SECOND * 499 * 8 / 1_000_000);
        assert!(summary.p50 >= SECOND * 440 * 7 / 1_000_000);
        assert_eq!(recent.slices.len(), 60);
    }

    #[test]
    fn a_quiet_route_is_forgotten_and_an_observer_that_hurries_is_limited() {
        let (meter, start) = (route(1), Instant::now());
        let mut recent = Recent::default();
        for _ in 0..1000 {
            meter.workers[0].took(SECOND);
            recent.observe(&meter, start);
        }
        assert_eq!(recent.slices.len(), MOST_SLICES);
        for second in 0..=60 {
            recent.observe(&meter, at(start, second));
        }
        assert_eq!(recent.slices.len(), 0);
    }

    #[test]
    fn what_failed_is_told_and_is_never_more_than_there_was() {
        let (meter, start) = (route(1), Instant::now());
        let (cell, mut recent) = (&meter.workers[0], Recent::default());
        for _ in 0..8 {
            cell.took(SECOND);
        }
        cell.upstream[5].increment();
        cell.failed.increment();
        recent.observe(&meter, start);
        assert_eq!(recent.over(SECOND, start).map(|summary| (summary.count, summary.failed)), Some((8, 2)));
        // Responses that were cut in a second without a new one.
        cell.failed.add(2);
        recent.observe(&meter, at(start, 1));
        assert_eq!(recent.over(SECOND, at(start, 1)), None);
        assert_eq!(recent.over(SECOND * 2, at(start, 1)).map(|summary| summary.failed), Some(4));
        cell.failed.add(20);
        recent.observe(&meter, at(start, 1));
        assert_eq!(recent.over(SECOND * 2, at(start, 1)).map(|summary| summary.failed), Some(8));
    }
}
