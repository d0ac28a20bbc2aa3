//! Share of the clients that a ramp admits.

use std::time::Duration;

use jiff::Timestamp;

use super::super::config::Ramp;
use super::after;

/// Returns the share of clients that a ramp admits after a time. It changes only at ticks, so that all replicas agree.
pub(crate) fn share(ramp: &Ramp, elapsed: Duration) -> f64 {
    match ramp {
        Ramp::Linear(length) => {
            let tick = tick(*length);
            let ticks = elapsed.as_nanos() / tick.as_nanos().max(1) + 1;
            // The ratio of two ticks is at most a few hundred.
            let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
            (tick.as_secs_f64() * f64::from(ticks) / length.as_secs_f64()).min(1.0)
        }
        Ramp::Steps(steps) => {
            steps.iter().take_while(|(after, _)| *after <= elapsed).last().map_or(0.0, |(_, share)| *share)
        }
    }
}

/// Returns how many of the 2³² cohorts a share admits. A client is in if its cohort is below that number.
pub(crate) fn cohorts(share: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2^32, which saturates")]
    let cohorts = (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u32;
    cohorts
}

pub(super) fn next_tick(ramp: &Ramp, began: Timestamp, now: Timestamp) -> Timestamp {
    let elapsed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    let next = match ramp {
        Ramp::Linear(length) => {
            let tick = tick(*length);
            let ticks = u32::try_from(elapsed.as_nanos() / tick.as_nanos().max(1) + 1).unwrap_or(u32::MAX);
            tick.saturating_mul(ticks).min(*length)
        }
        Ramp::Steps(steps) => steps.iter().map(|(after, _)| *after).find(|after| *after > elapsed).unwrap_or_default(),
    };
    after(began, next)
}

/// Returns the time between two steps of a linear ramp: a hundredth of its length, within bounds.
fn tick(length: Duration) -> Duration {
    (length / 100).clamp(SHORTEST_TICK, LONGEST_TICK)
}

const SHORTEST_TICK: Duration = Duration::from_millis(50);
const LONGEST_TICK: Duration = Duration::from_secs(5);
