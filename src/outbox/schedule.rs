//! Schedule of retries.

use std::time::Duration;

/// Returns the wait after a failed attempt, counted from 1; `None` if it was the last.
///
/// `jitter` is from 0 to 1, and spreads retries over a tenth of their wait. A wait that the endpoint asks for
/// (`Retry-After`) counts if it is longer, up to a day.
pub fn after(attempt: u32, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
    let wait = *WAITS.get(usize::try_from(attempt).ok()?)?;
    let wait = wait.mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0));
    Some(wait.max(asked.unwrap_or_default().min(LONGEST_ASKED)))
}

/// Waits before each attempt, as Standard Webhooks proposes them: 75 hours 35 minutes in all.
const WAITS: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

const LONGEST_ASKED: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_follow_the_schedule_and_what_the_endpoint_asks() {
        let waits: Vec<u64> = (1..).map_while(|attempt| after(attempt, None, 0.0)).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!(waits.iter().sum::<u64>(), 75 * 3600 + 35 * 60 + 5);
        assert_eq!(after(1, None, 1.0), Some(Duration::from_millis(5500)));
        assert_eq!(after(1, Some(Duration::from_secs(60)), 0.0), Some(Duration::from_secs(60)));
        assert_eq!(after(2, Some(Duration::from_secs(60)), 0.0), Some(Duration::from_secs(300)));
        assert_eq!(after(1, Some(Duration::from_hours(9999)), 0.0), Some(LONGEST_ASKED));
    }
}
