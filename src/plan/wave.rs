//! Wave: the way in which the watchers of a route come back, spread over a time so that the app can serve them.
//!
//! All watchers are told at the same moment, and each comes back at a random moment of the spread. The spread follows from
//! their number and from the rate that the route is given for requests that were held.

use bytes::Bytes;
use jiff::Timestamp;

/// Wave of watchers that were told to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Seconds over which the watchers come back.
    pub spread: u64,
    /// Instant at which all of them are back. Watchers that are told later are few.
    pub over: Timestamp,
    /// Event that tells watchers to come back.
    pub event: Bytes,
}

impl Wave {
    /// Creates the wave of watchers that are told now.
    pub(crate) fn new(spread: u64, now: Timestamp) -> Self {
        let seconds = i64::try_from(spread).unwrap_or(i64::MAX);
        let over = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let event = format!("event: open\ndata: {{\"phase\":\"open\",\"spread\":{spread}}}\n\n").into();
        Self { spread, over, event }
    }

    /// Returns the event that tells watchers to come back where no wave is on.
    pub(crate) fn calm() -> Bytes {
        Bytes::from_static(CALM_EVENT)
    }
}

/// Returns the seconds over which a number of watchers come back at a rate in a second.
#[allow(clippy::cast_precision_loss, reason = "a number beyond 2^53 is beyond the longest spread, too")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
pub(crate) fn spread(watchers: u64, rate: f64) -> u64 {
    ((watchers as f64 / rate).ceil() as u64).clamp(SHORTEST_SPREAD, LONGEST_SPREAD)
}

/// Fewest seconds over which watchers come back.
pub(crate) const SHORTEST_SPREAD: u64 = 5;
/// Most seconds. Whoever has waited for the route does not wait longer for a slow rate.
const LONGEST_SPREAD: u64 = 120;
/// Event where no wave is on, with the shortest spread.
const CALM_EVENT: &[u8] = b"event: open\ndata: {\"phase\":\"open\",\"spread\":5}\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_follows_from_number_and_rate_within_its_bounds() {
        for (watchers, rate, seconds) in [
            (0, 50.0, 5),
            (1, 50.0, 5),
            (250, 50.0, 5),
            (251, 50.0, 6),
            (2000, 50.0, 40),
            (2000, 100.0, 20),
            (2000, 1000.0, 5),
            (6000, 50.0, 120),
            (u64::MAX, 1.0 / 60.0, 120),
        ] {
            assert_eq!(spread(watchers, rate), seconds, "{watchers} at {rate}/s");
        }
    }

    #[test]
    fn the_calm_event_has_the_shortest_spread() {
        assert_eq!(Wave::calm(), Wave::new(SHORTEST_SPREAD, Timestamp::UNIX_EPOCH).event);
    }
}
