//! Windows that are still to come, announced or not.

use jiff::Timestamp;

use super::super::flags::{Flags, Target, When};

/// Returns the next start of each window after an instant, with the routes that it closes.
pub(super) fn starts(flags: &Flags, now: Timestamp) -> Vec<(Timestamp, Vec<Target>)> {
    let starts = flags.acting(now).filter_map(|window| {
        let starts = match &window.when {
            When::Once { starts, .. } => (now < *starts).then_some(*starts)?,
            When::Every(every) => every.after(now)?.0,
        };
        Some((starts, window.routes.iter().map(|(target, _)| target.clone()).collect()))
    });
    let mut starts: Vec<_> = starts.collect();
    starts.sort_unstable_by_key(|(starts, _)| *starts);
    starts
}
