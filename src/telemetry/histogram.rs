//! Latency histograms: one per worker and route, with buckets of equal relative width.
//!
//! Recording takes no lock, allocates nothing, shares no cache line between workers, and reads no clock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use super::cell::Cell;

/// A histogram of durations that one worker recorded, aligned to its own cache lines.
///
/// The size is 3.5 KiB. Below 32 µs each microsecond has a bucket. From there on, each power of two has 16, so a bucket
/// is at most 1/16 wider than its least value. The last bucket holds everything from [`LONGEST`] on.
#[derive(Debug)]
#[repr(align(128))]
pub struct Histogram {
    buckets: [Cell; BUCKETS],
    /// The sum of all values. Stored last, with `Release`, so that whoever reads the sum finds the value in its bucket.
    micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Cell::default()), micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Records a duration. Only the owning worker may call this.
    pub fn record(&self, took: Duration) {
        let micros = micros(took);
        // `index` returns no index without a bucket.
        if let Some(bucket) = self.buckets.get(index(micros)) {
            bucket.increment();
        }
        self.micros.store(self.micros.load(Relaxed).wrapping_add(micros), Release);
    }

    /// Returns the sum in microseconds. Each value adds at least one, so an unchanged sum means that there was no
    /// value.
    pub fn micros(&self) -> u64 {
        self.micros.load(Acquire)
    }
}

/// A copy of the buckets: the sum of several histograms, or the values of a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Values in each bucket, shortest first.
    pub buckets: Box<[u64; BUCKETS]>,
    /// Sum of all values in microseconds.
    pub micros: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), micros: 0 }
    }
}

impl Counts {
    /// Adds the values of a worker's histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        // Read the sum before the buckets: every value in the sum is then in its bucket. The buckets may be ahead.
        self.micros = self.micros.wrapping_add(histogram.micros());
        for (sum, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += cell.get();
        }
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns how many values are certainly not above `bound`. The bucket that contains it is left out. A value less
    /// than 1/16 below the bound may be missed.
    pub fn within(&self, bound: Duration) -> u64 {
        let bound = micros(bound);
        self.buckets.iter().enumerate().take_while(|(index, _)| greatest(*index) <= bound).map(|(_, count)| count).sum()
    }

    /// Returns a percentile: the upper end of the bucket with the value of that rank, at most 1/16 too high.
    /// [`LONGEST`] stands for all values from there on. `None` if there are no values.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = (self.count() * percent.min(100)).div_ceil(100).max(1);
        let mut below = 0;
        let index = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Duration::from_micros(greatest(index).min(MOST_MICROS)))
    }
}

/// Rounds up to microseconds, so that no bound is too low; at least 1.
fn micros(took: Duration) -> u64 {
    let micros = took.as_secs().saturating_mul(1_000_000).saturating_add(took.subsec_nanos().div_ceil(1000).into());
    micros.max(1)
}

/// Returns the bucket of a value, from its power of two and the four bits below the leading one.
fn index(micros: u64) -> usize {
    let micros = micros.min(MOST_MICROS);
    // Zero up to 31, where each value has a bucket.
    let shift = (micros | WIDTH).ilog2() - WIDTH.ilog2();
    // The conversion cannot fail, since `MOST_MICROS` is in the last bucket.
    usize::try_from(u64::from(shift) * WIDTH + (micros >> shift)).unwrap_or(BUCKETS - 1)
}

/// Returns the first bucket whose values are all above this latency.
pub fn first_above(latency: Duration) -> usize {
    index(micros(latency)) + 1
}

/// Returns the greatest value of a bucket, the inverse of `index`. The last bucket has none.
fn greatest(index: usize) -> u64 {
    if index >= BUCKETS - 1 {
        return u64::MAX;
    }
    let index = index as u64;
    let shift = (index / WIDTH).saturating_sub(1);
    let leading = index - shift * WIDTH;
    ((leading + 1) << shift) - 1
}

/// Values from here on share one bucket: 2^30 µs, nearly 18 minutes.
pub const LONGEST: Duration = Duration::from_micros(MOST_MICROS);

/// Number of buckets: 16 below 16 µs, 16 for each of the 26 powers of two above, and the last.
pub const BUCKETS: usize = 433;

const MOST_MICROS: u64 = 1 << 30;

/// Buckets per power of two.
const WIDTH: u64 = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_value_about_a_power_of_two_is_in_the_bucket_that_says_so() {
        for power in 0..=30 {
            for micros in [(1_u64 << power) - 1, 1 << power, (1 << power) + 1] {
                let index = index(micros);
                let least = index.checked_sub(1).map_or(0, |before| greatest(before) + 1);
                assert!(least <= micros && micros <= greatest(index), "{micros} in {index}");
                assert!(greatest(index) == u64::MAX || greatest(index) - least <= least / 16, "{index} is too wide");
            }
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_the_last_takes_the_rest() {
        assert_eq!((index(0), index(31), index(32), index(33), index(34)), (0, 31, 32, 32, 33));
        for bucket in 0..BUCKETS - 1 {
            assert_eq!((index(greatest(bucket)), index(greatest(bucket) + 1)), (bucket, bucket + 1));
        }
        assert_eq!((index(MOST_MICROS - 1), index(MOST_MICROS), index(u64::MAX)), (431, 432, 432));
        assert_eq!(std::mem::size_of::<Histogram>(), 3584);
    }

    #[test]
    fn what_is_longer_than_the_longest_is_told_as_that() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(counted(&histogram).percentile(50), Some(LONGEST));
        assert_eq!(counted(&histogram).within(Duration::from_secs(3600)), 0);
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Counts::default().percentile(99), None);
        assert_eq!((Counts::default().count(), Counts::default().within(LONGEST)), (0, 0));
    }

    #[test]
    fn a_part_of_a_microsecond_counts_as_a_whole_one() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_nanos(10_001));
        assert_eq!(histogram.micros(), 12);
        assert_eq!(counted(&histogram).percentile(100), Some(Duration::from_micros(11)));
    }

    fn counted(histogram: &Histogram) -> Counts {
        let mut counts = Counts::default();
        counts.add(histogram);
        counts
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_samples_within_a_sixteenth(
            // Equally many of each order of magnitude.
            samples in prop::collection::vec((0..30_u32, 0..1_u64 << 30), 1..500), percent in 0..=100_u64,
        ) {
            let mut sorted: Vec<u64> = samples.iter().map(|(power, bits)| (1 << power) + bits % (1 << power)).collect();
            sorted.sort_unstable();
            let workers = [Histogram::default(), Histogram::default()];
            for (index, &sample) in sorted.iter().enumerate() {
                workers[index % 2].record(Duration::from_micros(sample));
            }
            let mut counts = Counts::default();
            workers.iter().for_each(|worker| counts.add(worker));
            let rank = (sorted.len() * usize::try_from(percent).unwrap()).div_ceil(100).max(1);
            let (exact, told) = (sorted[rank - 1], counts.percentile(percent).unwrap().as_micros());
            prop_assert!(told >= exact.into() && told <= (exact + exact / 16).into(), "{told} for {exact}");
            prop_assert_eq!(counts.count(), sorted.len() as u64);
            prop_assert_eq!(counts.micros, sorted.iter().sum::<u64>());
        }

        #[test]
        fn what_is_within_a_bound_is_and_what_is_well_below_it_is_told_so(
            samples in prop::collection::vec(1..100_000_u64, 1..200), bound in 1..100_000_u64,
        ) {
            let histogram = Histogram::default();
            samples.iter().for_each(|&sample| histogram.record(Duration::from_micros(sample)));
            let within = counted(&histogram).within(Duration::from_micros(bound));
            let up_to = |most: u64| samples.iter().filter(|&&sample| sample <= most).count() as u64;
            prop_assert!(within <= up_to(bound), "{within}");
            prop_assert!(within >= up_to(bound - bound.div_ceil(16)), "{within}");
        }
    }
}
