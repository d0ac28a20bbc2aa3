//! Offset of a proxy's clock from the clock of this machine, as far as a request can tell.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::super::words;

/// Offset of a proxy's clock. Half of the round trip is uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Offset {
    /// Time by which the proxy's clock is ahead; negative if it is behind.
    ahead: SignedDuration,
    /// Largest error of the measurement.
    within: SignedDuration,
}

impl Offset {
    /// Measures an offset by a clock that was read between two instants of this machine.
    pub(in crate::cli) fn between(sent: Timestamp, theirs: Timestamp, received: Timestamp) -> Self {
        let within = received.duration_since(sent).abs() / 2;
        // The sum of two instants of today is far from the ends of time.
        let middle = sent.checked_add(within).unwrap_or(received);
        Self { ahead: theirs.duration_since(middle), within }
    }

    /// Returns true if the clocks are apart for sure.
    pub(in crate::cli) fn is_told(&self) -> bool {
        self.ahead.abs() - self.within >= SMALLEST
    }

    /// Returns true if the clocks of two of the proxies are apart for sure.
    pub(in crate::cli) fn are_apart(all: &[Self]) -> bool {
        let latest = all.iter().map(|one| one.ahead - one.within).max();
        let earliest = all.iter().map(|one| one.ahead + one.within).min();
        latest.zip(earliest).is_some_and(|(latest, earliest)| latest - earliest >= SMALLEST)
    }
}

impl fmt::Display for Offset {
    /// Formats an offset: `2 min ahead`, `1.4 s behind`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.ahead.is_negative() { "behind" } else { "ahead" };
        let ahead = self.ahead.abs();
        if ahead < SignedDuration::from_secs(10) {
            return write!(f, "{:.1} s {side}", ahead.as_secs_f64());
        }
        let until = Timestamp::UNIX_EPOCH.checked_add(ahead).unwrap_or(Timestamp::MAX);
        write!(f, "{} {side}", words::span(Timestamp::UNIX_EPOCH, until))
    }
}

/// Smallest offset that is told. A ramp of some seconds differs visibly by it.
const SMALLEST: SignedDuration = SignedDuration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_from_a_second_beyond_half_the_round_trip() {
        let at = |millis: i64| Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap();
        let of = |theirs, round_trip| Offset::between(at(0), at(theirs), at(round_trip));
        for (theirs, round_trip, told, text) in [
            (5, 10, false, "0.0 s ahead"),
            (1004, 10, false, "1.0 s ahead"),
            (1010, 10, true, "1.0 s ahead"),
            (-1010, 10, true, "1.0 s behind"),
            (2500, 3000, false, "1.0 s ahead"),
            (120_000, 10, true, "2 min ahead"),
            (-7_200_000, 10, true, "2 h behind"),
        ] {
            let offset = of(theirs, round_trip);
            assert_eq!((offset.is_told(), offset.to_string().as_str()), (told, text), "{theirs} in {round_trip}");
        }
        assert!(!Offset::are_apart(&[of(600, 10), of(-300, 10)]));
        assert!(Offset::are_apart(&[of(0, 10), of(600, 10), of(-600, 10)]));
        assert!(!Offset::are_apart(&[of(600, 500), of(-600, 500)]));
        assert!(!Offset::are_apart(&[of(5000, 10)]) && !Offset::are_apart(&[]));
    }
}
