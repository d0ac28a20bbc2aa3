//! The clock: wakes control at an instant of the wall clock, however that is set meanwhile.

use std::time::Duration;

use jiff::Timestamp;

/// Returns when the wall clock has reached `instant`; never, if there is none.
///
/// It looks at the clock again now and then: timers count time that passes, and a wall clock can be set, and a machine
/// can sleep. Cancel safe.
pub(super) async fn reaches(instant: Option<Timestamp>) {
    let Some(instant) = instant else {
        return std::future::pending().await;
    };
    loop {
        let left = Duration::try_from(instant.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

/// How late a change can be after the clock was set forward.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
