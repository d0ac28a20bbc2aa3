//! Simulation of come-backs: how often a guard closes a healthy service, and how soon one that fails.
//!
//! The counts of half seconds are drawn at random and judged by the guard as it is. `BACKSOON_COMEBACKS=1000` draws as
//! many for each cell as the documentation has; `docs/guard.md` has the table.

use super::excess::float;
use super::window::{Moment, windows};
use super::*;
use crate::plan::config::{Bound, Guard, OnBreach, PerStatus, Readiness};

/// Random numbers, the same in every run (xorshift*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        float(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) / float(1 << 53)
    }

    /// Draws how many arrive where `mean` are expected (Poisson).
    fn arrivals(&mut self, mean: f64) -> u64 {
        let (least, mut product, mut count) = ((-mean).exp(), self.next(), 0);
        while product > least {
            count += 1;
            product *= self.next();
        }
        count
    }
}

/// Service with a rate of requests and a share of failures.
#[derive(Clone, Copy)]
struct Service {
    rate: f64,
    share: f64,
    course: Course,
}

#[derive(Clone, Copy, PartialEq)]
enum Course {
    /// Each request fails by chance.
    Steady,
    /// All requests of three seconds fail, now and then.
    Bursts,
}

impl Service {
    /// Draws this many half seconds.
    fn halves(self, random: &mut Random, count: usize) -> Vec<Counted> {
        let mut left = 0;
        let mut half = |random: &mut Random| {
            let requests = random.arrivals(self.rate / 2.0);
            let share = match self.course {
                Course::Steady => self.share,
                Course::Bursts => {
                    if left == 0 && random.next() < self.share / 6.0 {
                        left = 6;
                    }
                    let fails = left > 0;
                    left = left.max(1) - 1;
                    f64::from(u8::from(fails))
                }
            };
            let errors = (0..requests).filter(|_| random.next() < share).count();
            Counted { requests, errors: errors as u64 }
        };
        (0..count).map(|_| half(random)).collect()
    }

    /// Draws its ten minutes before the maintenance.
    fn baseline(self, random: &mut Random) -> Option<Baseline> {
        let slots: Vec<_> = self
            .halves(random, WATCH)
            .chunks(20)
            .map(|slot| slot.iter().fold(Counted::default(), |sum, half| sum.plus(*half)))
            .collect();
        Baseline::of(&slots)
    }
}

/// Returns the seconds until a guard closes a service, if it does within the watch.
fn closes(halves: &[Counted], baseline: Option<&Baseline>) -> Option<f64> {
    for index in 0..halves.len() {
        // Fewer failures than five are no excess in any window.
        if halves[(index + 1).saturating_sub(KEPT)..=index].iter().map(|half| half.errors).sum::<u64>() < 5 {
            continue;
        }
        let elapsed = HALF * u32::try_from(index + 1).unwrap();
        let newest = halves[..=index].iter().rev().take(KEPT).zip(0..);
        let newest: Vec<_> =
            newest.map(|(counted, age)| Moment { age: HALF * age, counted: *counted, ..Moment::default() }).collect();
        let mut windows = windows(&newest, elapsed);
        for window in &mut windows {
            // All clients fare alike.
            let one =
                ClientCounts { requests: window.errors.requests, failed: window.errors.bad, ..ClientCounts::default() };
            window.clients.count(None, one);
        }
        let measured = Measured { windows, ..Measured::default() };
        if judge(&GUARD, &measured, baseline, Timestamp::UNIX_EPOCH).is_some() {
            return Some(elapsed.as_secs_f64());
        }
    }
    None
}

/// Returns the share of healthy come-backs that are closed.
fn false_closures(service: Service, runs: u32, random: &mut Random) -> f64 {
    let closed = (0..runs).filter(|_| {
        let baseline = service.baseline(random);
        closes(&service.halves(random, WATCH), baseline.as_ref()).is_some()
    });
    f64::from(u32::try_from(closed.count()).unwrap()) / f64::from(runs)
}

/// Returns the median time until a service that fails is closed, and the share that is within the limit.
fn detection(service: Service, fails: f64, limit: f64, (runs, random): (u32, &mut Random)) -> (f64, f64) {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let baseline = service.baseline(random);
            let broken = Service { share: fails, ..service };
            closes(&broken.halves(random, WATCH), baseline.as_ref()).unwrap_or(f64::INFINITY)
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    let within = u32::try_from(times.iter().filter(|time| **time <= limit).count()).unwrap();
    (times[times.len() / 2], f64::from(within) / f64::from(runs))
}

/// Returns the come-backs of each cell and the rates of requests. The former are few by default.
fn extent() -> (u32, [f64; 4]) {
    let asked = std::env::var("BACKSOON_COMEBACKS").ok().and_then(|runs| runs.parse().ok());
    (asked.unwrap_or(5), [3.5, 10.0, 33.0, 100.0])
}

#[test]
fn healthy_services_stay_open() {
    let ((runs, rates), mut random) = (extent(), Random(88_172_645_463_325_252));
    let is_whole = runs >= 1000;
    for (course, name, most) in [(Course::Steady, "steady", 0.005), (Course::Bursts, "in bursts of 3 s", 0.05)] {
        println!("closed although healthy, errors {name}, {runs} come-backs each");
        println!("| requests/s | 0.1 % | 0.2 % | 0.5 % | 1 % | 2 % |\n|---|---|---|---|---|---|");
        let (mut sum, mut cells) = (0.0, 0.0);
        for rate in rates {
            let shares = SHARES.map(|share| false_closures(Service { rate, share, course }, runs, &mut random));
            println!("| {rate} |{}", shares.map(|share| format!(" {:.1} % |", share * 100.0)).concat());
            assert!(!is_whole || shares.iter().all(|share| *share <= most), "{name}, {rate}: {shares:?}");
            (sum, cells) = (sum + shares.iter().sum::<f64>(), cells + 5.0);
        }
        assert!(sum / cells <= most, "{name}: {}", sum / cells);
    }
}

#[test]
fn a_service_that_fails_is_closed() {
    let ((runs, rates), mut random) = (extent(), Random(1_181_783_497_276_652_981));
    for (fails, limit) in [(0.2, 15.0), (0.05, 60.0)] {
        println!("{:.0} % fail: median, and share closed within {limit} s, by errors before", fails * 100.0);
        println!("| requests/s | 0.1 % | 0.5 % | 1 % | 2 % |\n|---|---|---|---|---|");
        for rate in rates {
            let found = [0.001, 0.005, 0.01, 0.02].map(|share| {
                let service = Service { rate, share, course: Course::Steady };
                detection(service, fails, limit, (runs, &mut random))
            });
            let cell = |(median, within): (f64, f64)| format!(" {median:.1} s, {:.0} % |", within * 100.0);
            println!("| {rate} |{}", found.map(cell).concat());
            let promised = fails > 0.1 || rate >= 33.0;
            assert!(!promised || found.iter().all(|(median, _)| *median <= limit), "{fails}, {rate}: {found:?}");
        }
    }
}

const GUARD: Guard = Guard {
    error_rate: Some(Bound::AboveBaseline(0.01)),
    p99: None,
    zombies: None,
    statuses: PerStatus::EMPTY,
    traffic: None,
    watch: Duration::from_secs(600),
    min_requests: 20,
    on_breach: OnBreach::Close,
    on_drop: OnBreach::Warn,
    retry_after: None,
    readiness: Readiness::Stays,
};
const SHARES: [f64; 5] = [0.001, 0.002, 0.005, 0.01, 0.02];
const HALF: Duration = Duration::from_millis(500);
/// Half seconds of a watch of ten minutes.
const WATCH: usize = 1200;
/// Half seconds that a guard looks back on.
const KEPT: usize = 120;
