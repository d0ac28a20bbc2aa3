//! Recent traffic of a route: of the last minute, or of the last ten if asked for.
//!
//! Requests that the guard of the route leaves out are not in it. The counts since the start are read now and then, and their differences kept. Times are arguments on the monotonic
//! clock, so setting the wall clock changes nothing here.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::time::{Duration, Instant};

use crate::plan::config::PerStatus;
use crate::plan::lifecycle::{Clients, Counted, Moment};

use super::histogram::{Counts, first_above};
use super::meters::{RouteCell, RouteMeter};

/// A sliding window over the last [`Recent::SPAN`] of a route's traffic.
///
/// The size is 3.5 KiB, and 8 bytes for each bucket hit between two observations. For a busy route, with an observation
/// each second, that is about 20 KiB, and never more than 450 KiB. [`Recent::keep_long`] adds at most 145 KiB. Each
/// slice in which a guard watched more clients than are remembered adds 24 KiB.
#[derive(Debug)]
pub struct Recent {
    /// Counts at the last observation.
    last: Counts,
    failed: u64,
    /// Answers with some statuses until the last observation.
    answers: PerStatus<u64>,
    /// Time of the last observation.
    observed_at: Instant,
    /// Slices in which something happened, oldest first.
    slices: VecDeque<Slice>,
    /// Older slices, if they are kept.
    long: Option<LongWindow>,
}

/// Slices older than the span, merged into wider ones.
#[derive(Debug)]
struct LongWindow {
    /// Slices that began earlier are not kept.
    from: Instant,
    slices: VecDeque<Slice>,
}

/// Traffic between two observations.
#[derive(Debug)]
struct Slice {
    began: Instant,
    ended: Instant,
    failed: u64,
    /// Buckets that were hit, in order, each with its number of hits.
    hits: Box<[(u16, u32)]>,
    /// Answers with the statuses that were counted for all the time of the slice.
    answers: PerStatus<u64>,
    /// Outcomes by client, if the route was guarded.
    clients: Clients,
}

/// Counts between two observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests and failures.
    pub counted: Counted,
    /// Answers with the statuses that were counted for all the time.
    pub answers: PerStatus<u64>,
    /// Time between the two.
    pub span: Duration,
}

/// Summary of the requests in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Requests that got the head of a response, or failed because of the upstream.
    pub count: u64,
    /// Requests that failed: a response of 5xx, a failed gRPC call, an answer by the proxy, or a cut response. At most
    /// `count`.
    pub failed: u64,
    /// The median latency, from the request's head to the response's. All percentiles are at most 1/16 too high.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// The 99th percentile.
    pub p99: Duration,
}

impl Recent {
    /// Span of the window.
    pub const SPAN: Duration = Duration::from_secs(60);

    /// Span of the long window.
    pub const LONG: Duration = Duration::from_secs(600);

    /// Creates a window for a route without traffic before `began`.
    pub fn new(began: Instant) -> Self {
        Self {
            last: Counts::default(),
            failed: 0,
            answers: PerStatus::EMPTY,
            observed_at: began,
            slices: VecDeque::new(),
            long: None,
        }
    }

    /// Counts the answers with these statuses from the very first on.
    pub fn with_answers<T>(self, statuses: &PerStatus<T>) -> Self {
        Self { answers: statuses.filter_map(|_, _| Some(0)), ..self }
    }

    /// Adds the counts since the last observation, as if they had come now, and returns them.
    ///
    /// Meant to be called once or twice a second. Costs almost nothing without new requests. The first observation
    /// takes all counts, so it must not come after the route's first traffic.
    pub fn observe(&mut self, meter: &RouteMeter, now: Instant) -> Seen {
        self.forget(now);
        let began = std::mem::replace(&mut self.observed_at, now);
        // A number that was wrong for a moment is made up for by the next.
        let failed = meter.sum(RouteCell::failures).max(self.failed);
        let clients = meter.take_met();
        if meter.micros() == self.last.micros && failed == self.failed && clients.is_empty() {
            return Seen {
                span: now.saturating_duration_since(began),
                answers: self.answers.filter_map(|_, _| Some(0)),
                ..Seen::default()
            };
        }
        let counts = meter.counted_latency();
        let hits = self.last.buckets.iter().zip(counts.buckets.iter()).zip(0_u16..);
        let hits = hits.filter(|((before, after), _)| after > before);
        let hits = hits.map(|((before, after), index)| (index, u32::try_from(after - before).unwrap_or(u32::MAX)));
        let (failures, hits) = (failed.saturating_sub(self.failed), hits.collect());
        let answered = self.answers.filter_map(|status, _| Some(meter.answers(status)));
        let answers = answered.filter_map(|status, now| Some(now.saturating_sub(*self.answers.get(status)?)));
        let slice = Slice { began, ended: now, failed: failures, hits, answers, clients };
        let counted = Counted { requests: slice.count(), errors: slice.failed };
        let seen = Seen { counted, answers, span: now.saturating_duration_since(began) };
        (self.last, self.failed, self.answers) = (counts, failed, answered);
        self.slices.push_back(slice);
        if self.slices.len() > MOST_SLICES {
            self.retire();
        }
        seen
    }

    /// Counts the answers with these statuses from the last observation on, and no others.
    pub fn count_answers<T>(&mut self, statuses: &PerStatus<T>, meter: &RouteMeter) {
        let answers = |status| self.answers.get(status).copied().unwrap_or_else(|| meter.answers(status));
        self.answers = statuses.filter_map(|status, _| Some(answers(status)));
    }

    /// Keeps slices from now on for [`Recent::LONG`], to be read by [`Recent::since`].
    pub fn keep_long(&mut self, from: Instant) {
        self.long = Some(LongWindow { from, slices: VecDeque::new() });
    }

    /// Drops the long window.
    pub fn drop_long(&mut self) {
        self.long = None;
    }

    /// Summarises the `span` before `now`, at most [`Recent::SPAN`]; `None` if there was no request.
    pub fn over(&self, span: Duration, now: Instant) -> Option<Summary> {
        let span = span.min(Self::SPAN);
        summary(self.slices.iter().rev().take_while(|slice| slice.is_within(span, now)))
    }

    /// Summarises up to [`Recent::LONG`], as far as kept, without slices that began before `from`.
    pub fn since(&self, from: Instant, span: Duration, now: Instant) -> Option<Summary> {
        summary(self.slices(from, span, now))
    }

    /// Returns the same slices one by one, the newest first. `slow` is the latency above which a request is slow.
    pub(crate) fn moments(&self, from: Instant, now: Instant, slow: Option<Duration>) -> Vec<Moment> {
        let first = slow.map_or(usize::MAX, first_above);
        let moment = |slice: &Slice| Moment {
            age: now.saturating_duration_since(slice.ended),
            counted: Counted { requests: slice.count(), errors: slice.failed },
            slow: slice.count_from(first),
            statuses: slice.answers,
        };
        self.slices(from, Self::LONG, now).map(moment).collect()
    }

    /// Returns the outcomes by client in the same slices, if the route was guarded.
    pub fn clients(&self, from: Instant, span: Duration, now: Instant) -> Clients {
        let mut clients = Clients::default();
        self.slices(from, span, now).for_each(|slice| clients.add(&slice.clients));
        clients
    }

    fn slices(&self, from: Instant, span: Duration, now: Instant) -> impl Iterator<Item = &Slice> {
        let span = span.min(Self::LONG);
        let kept = self.long.iter().flat_map(|kept| kept.slices.iter().rev());
        let slices = self.slices.iter().rev().chain(kept).take_while(move |slice| slice.is_within(span, now));
        slices.filter(move |slice| slice.began >= from)
    }

    fn forget(&mut self, now: Instant) {
        while self.slices.front().is_some_and(|slice| !slice.is_within(Self::SPAN, now)) {
            self.retire();
        }
        let Some(kept) = &mut self.long else { return };
        while kept.slices.front().is_some_and(|slice| !slice.is_within(Self::LONG, now)) {
            kept.slices.pop_front();
        }
    }

    /// Moves the oldest slice to the long window, if there is one.
    fn retire(&mut self) {
        let (Some(slice), Some(kept)) = (self.slices.pop_front(), &mut self.long) else { return };
        if slice.began < kept.from {
            return;
        }
        match kept.slices.back_mut() {
            Some(last) if slice.ended.saturating_duration_since(last.began) <= WIDE => last.merge(&slice),
            Some(_) | None => kept.slices.push_back(slice),
        }
        if kept.slices.len() > MOST_KEPT {
            kept.slices.pop_front();
        }
    }
}

impl Slice {
    fn is_within(&self, span: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.ended) < span
    }

    fn count(&self) -> u64 {
        self.hits.iter().map(|&(_, hits)| u64::from(hits)).sum()
    }

    /// Returns the number of hits from this bucket on.
    fn count_from(&self, first: usize) -> u64 {
        let hits = self.hits.iter().rev().take_while(|(index, _)| usize::from(*index) >= first);
        hits.map(|&(_, hits)| u64::from(hits)).sum()
    }

    /// Merges the slice that follows.
    fn merge(&mut self, next: &Self) {
        self.ended = next.ended;
        self.failed += next.failed;
        self.answers = self.answers.filter_map(|status, count| Some(*count + *next.answers.get(status)?));
        self.clients.add(&next.clients);
        self.clients.limit();
        self.hits = Merged { one: self.hits.iter().peekable(), other: next.hits.iter().peekable() }.collect();
    }
}

/// Hits of two slices, merged in order.
struct Merged<'h, I: Iterator<Item = &'h (u16, u32)>> {
    one: Peekable<I>,
    other: Peekable<I>,
}

impl<'h, I: Iterator<Item = &'h (u16, u32)>> Iterator for Merged<'h, I> {
    type Item = (u16, u32);

    fn next(&mut self) -> Option<(u16, u32)> {
        let first = [self.one.peek(), self.other.peek()].into_iter().flatten().map(|(index, _)| *index).min()?;
        let of_one = self.one.next_if(|(index, _)| *index == first).map_or(0, |(_, hits)| *hits);
        let of_other = self.other.next_if(|(index, _)| *index == first).map_or(0, |(_, hits)| *hits);
        Some((first, of_one.saturating_add(of_other)))
    }
}

fn summary<'s>(slices: impl Iterator<Item = &'s Slice>) -> Option<Summary> {
    let mut counts = Counts::default();
    let mut failed = 0;
    for slice in slices {
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
        // A response is cut after its head was counted, and a 5xx can be cut as well.
        failed: failed.min(count),
        p50: counts.percentile(50)?,
        p90: counts.percentile(90)?,
        p99: counts.percentile(99)?,
    })
}

/// Slices of the window: one per half second, and a few more for frequent observers.
const MOST_SLICES: usize = 128;

/// Greatest width of a slice in the long window.
const WIDE: Duration = Duration::from_secs(15);

/// Slices of the long window.
const MOST_KEPT: usize = 41;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use crate::plan::lifecycle::ClientCounts;

    use super::super::Meters;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn route(workers: usize) -> Arc<RouteMeter> {
        Meters::new(workers).route("web")
    }

    fn at(start: Instant, seconds: u32) -> Instant {
        start + SECOND * seconds
    }

    /// Returns the count, and the p99 in milliseconds.
    fn told(recent: &Recent, seconds: u32, now: Instant) -> Option<(u64, u128)> {
        recent.over(SECOND * seconds, now).map(|summary| (summary.count, summary.p99.as_millis()))
    }

    #[test]
    fn a_request_counts_for_as_long_as_it_is_asked_for() {
        let (meter, start) = (route(2), Instant::now());
        let mut recent = Recent::new(start);
        meter.workers[0].record_latency(Duration::from_millis(100));
        recent.observe(&meter, start);
        meter.workers[1].record_latency(Duration::from_millis(3));
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
    fn requests_that_the_guard_leaves_out_are_not_counted_and_no_failure_is_counted_twice() {
        let (meter, start) = (route(1), Instant::now());
        let (cell, mut recent) = (&meter.workers[0], Recent::new(start));
        cell.record_latency(SECOND);
        cell.record_ignored_latency(SECOND * 14);
        cell.upstream[5].increment();
        cell.ignored_failures.increment();
        assert_eq!(recent.observe(&meter, start).counted, Counted { requests: 1, errors: 0 });
        assert_eq!((told(&recent, 60, start), meter.latency().count()), (Some((1, 1015)), 2));
        // A look between the two cells of a failure sees too many, and the next look makes up for it.
        cell.upstream[5].increment();
        assert_eq!(recent.observe(&meter, at(start, 1)).counted.errors, 1);
        cell.ignored_failures.increment();
        assert_eq!(recent.observe(&meter, at(start, 2)).counted.errors, 0);
        cell.upstream[5].increment();
        cell.record_latency(SECOND);
        assert_eq!(recent.observe(&meter, at(start, 3)).counted, Counted { requests: 1, errors: 0 });
        cell.upstream[5].increment();
        cell.record_latency(SECOND);
        assert_eq!(recent.observe(&meter, at(start, 4)).counted, Counted { requests: 1, errors: 1 });
    }

    #[test]
    fn the_window_slides_over_many_minutes() {
        let (meter, start) = (route(1), Instant::now());
        let mut recent = Recent::new(start);
        for second in 0..500 {
            for _ in 0..=second % 3 {
                meter.workers[0].record_latency(Duration::from_micros(u64::from(second) * 7));
            }
            recent.observe(&meter, at(start, second));
        }
        let summary = recent.over(Recent::SPAN, at(start, 499)).unwrap();
        assert_eq!(summary.count, 120);
        // The slowest are of the last second; the 440th is the first within the minute.
        assert!(summary.p99 >= SECOND * 498 * 7 / 1_000_000 && summary.p99 <= SECOND * 499 * 8 / 1_000_000);
        assert!(summary.p50 >= SECOND * 440 * 7 / 1_000_000);
        assert_eq!(recent.slices.len(), 60);
    }

    #[test]
    fn a_quiet_route_is_forgotten_and_an_observer_that_hurries_is_limited() {
        let (meter, start) = (route(1), Instant::now());
        let mut recent = Recent::new(start);
        for _ in 0..1000 {
            meter.workers[0].record_latency(SECOND);
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
        let (cell, mut recent) = (&meter.workers[0], Recent::new(start));
        for _ in 0..8 {
            cell.record_latency(SECOND);
        }
        cell.upstream[5].increment();
        cell.failed.increment();
        recent.observe(&meter, start);
        assert_eq!(recent.over(SECOND, start).map(|summary| (summary.count, summary.failed)), Some((8, 2)));
        // Responses cut in a second without a new request.
        cell.failed.add(2);
        recent.observe(&meter, at(start, 1));
        assert_eq!(recent.over(SECOND, at(start, 1)), None);
        assert_eq!(recent.over(SECOND * 2, at(start, 1)).map(|summary| summary.failed), Some(4));
        cell.failed.add(20);
        recent.observe(&meter, at(start, 1));
        assert_eq!(recent.over(SECOND * 2, at(start, 1)).map(|summary| summary.failed), Some(8));
    }

    #[test]
    fn what_is_kept_goes_back_ten_minutes_and_tells_the_same_as_the_counts() {
        let (meter, start) = (route(2), Instant::now());
        let mut recent = Recent::new(start);
        recent.keep_long(start);
        for half in 0..2400_u32 {
            meter.workers[0].record_latency(Duration::from_micros(u64::from(half % 200) * 50));
            meter.workers[1].record_latency(Duration::from_millis(30));
            if half % 10 == 0 {
                meter.workers[1].upstream[5].increment();
            }
            recent.observe(&meter, start + (SECOND / 2) * half);
        }
        let now = start + (SECOND / 2) * 2399;
        let kept = recent.long.as_ref().unwrap();
        assert!(kept.slices.len() <= MOST_KEPT && kept.slices.len() >= 34, "{}", kept.slices.len());
        let minute = recent.since(start, Recent::SPAN, now).unwrap();
        assert_eq!((minute.count, Some(minute)), (240, recent.over(Recent::SPAN, now)));
        // The oldest slice stays as long as any part of it is within the span.
        let all = recent.since(start, Recent::LONG, now).unwrap();
        assert!((2400..=2460).contains(&all.count), "{}", all.count);
        assert!((120..=123).contains(&all.failed), "{}", all.failed);
        assert_eq!((all.p50.as_millis(), all.p99.as_millis()), (10, 30));
        recent.drop_long();
        assert_eq!(recent.since(start, Recent::LONG, now).map(|all| all.count), Some(240));
    }

    #[test]
    fn clients_are_summed_over_workers_and_slices_for_as_long_as_their_requests_count() {
        let (meter, start) = (route(2), Instant::now());
        let mut recent = Recent::new(start);
        recent.keep_long(start);
        let met = |requests, failed| ClientCounts { requests, failed, ..ClientCounts::default() };
        let mut expected = Clients::default();
        for half in 0..2400_u32 {
            // A client without an address has connections on both workers; others ask once each.
            let other = Some(IpAddr::from(half.to_be_bytes()));
            for (worker, client, failed) in [(0, None, 1), (1, None, 1), (1, other, 0)] {
                meter.workers[worker].record_latency(SECOND);
                meter.workers[worker].record_outcome(client, met(1, failed));
            }
            expected.count(None, met(2, 2));
            recent.observe(&meter, start + (SECOND / 2) * half);
        }
        let now = start + (SECOND / 2) * 2399;
        let stranger = |clients: &Clients| {
            let failed = |share| clients.exceed(share, |met| met.failed);
            (failed(0.0), clients.is_empty())
        };
        let half_minute = recent.clients(start, SECOND * 30, now);
        assert_eq!(stranger(&half_minute), (false, false), "nobody else has failed");
        assert!(expected.exceed(0.0, |met| met.failed), "alone it counts");
        let all = recent.clients(start, Recent::LONG, now);
        assert_eq!(stranger(&all), (false, false), "nor among what is kept");
        assert_eq!(stranger(&recent.clients(now, Recent::LONG, now)), (false, true), "nothing that was before");
        // An outcome without a new count is not lost.
        meter.workers[0].record_outcome(Some(IpAddr::from([192, 0, 2, 1])), met(0, 1));
        let later = now + SECOND / 2;
        recent.observe(&meter, later);
        assert!(!recent.clients(later - SECOND / 2, SECOND, later).is_empty());
    }

    #[test]
    fn nothing_counts_that_may_have_been_before_the_beginning() {
        let (meter, start) = (route(1), Instant::now());
        let (cell, mut recent) = (&meter.workers[0], Recent::new(start));
        let since = |recent: &Recent, now| recent.since(at(start, 5), Recent::LONG, now).map(|summary| summary.count);
        cell.record_latency(SECOND);
        recent.observe(&meter, at(start, 4));
        recent.keep_long(at(start, 5));
        // This request may have come before the fifth second.
        cell.record_latency(SECOND);
        recent.observe(&meter, at(start, 6));
        assert_eq!(since(&recent, at(start, 6)), None);
        cell.record_latency(SECOND);
        assert_eq!(recent.observe(&meter, at(start, 7)).counted, Counted { requests: 1, errors: 0 });
        assert_eq!(since(&recent, at(start, 7)), Some(1));
        // Nor does it count later, in the long window.
        recent.observe(&meter, at(start, 300));
        assert_eq!((since(&recent, at(start, 300)), recent.slices.len()), (Some(1), 0));
        recent.observe(&meter, at(start, 607));
        assert_eq!(since(&recent, at(start, 607)), None);
    }
}
