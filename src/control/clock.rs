//! The clock: wakes control at an instant of the wall clock, however that is set meanwhile.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Returns when the wall clock has reached `instant`, or when it was set back to before `compiled`, the instant that
/// what is live was compiled for: then what was over may lie ahead again.
///
/// It looks at the clock again now and then: timers count time that passes, and a wall clock can be set, and a machine
/// can sleep. Cancel safe.
pub async fn moves(instant: Option<Timestamp>, compiled: Timestamp) {
    loop {
        let now = Timestamp::now();
        let left = instant
            .map_or(LONGEST_SLEEP, |instant| Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO));
        if left.is_zero() || compiled.duration_since(now) > SLACK {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

/// How late a change can be after the clock was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What a clock may be corrected by without anything being compiled again.
const SLACK: SignedDuration = SignedDuration::from_secs(1);
