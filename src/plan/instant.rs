//! Instants as operators write them.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::fmt::temporal::{Pieces, PiecesOffset};

/// Parses an instant with its offset, such as `2026-05-19T14:00:00Z`. Returns `None` for anything else.
///
/// The last two days of the year 9999 become the last instant there is: many write them for "for ever".
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| is_for_ever(text).then_some(Timestamp::MAX))
}

/// Returns true for an instant that exists, and that is later than the last one here.
fn is_for_ever(text: &str) -> bool {
    let Ok(pieces) = Pieces::parse(text) else { return false };
    let has_offset = match pieces.offset() {
        Some(PiecesOffset::Zulu | PiecesOffset::Numeric(_)) => true,
        Some(_) | None => false,
    };
    pieces.date() >= LAST && pieces.time().is_some() && has_offset
}

/// The day before the last one of the calendar. An instant of it may exist here or not, by its offset.
const LAST: Date = Date::constant(9999, 12, 30);

/// Days of the week by their names.
pub(crate) const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_year_9999_is_for_ever_and_nothing_else_is() {
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31 00:00:00+00:00",
            "9999-12-31T23:59:59-12:00",
            "9999-12-30T23:00:00Z",
        ] {
            assert_eq!(parse(text), Some(Timestamp::MAX), "{text}");
        }
        assert_eq!(parse("9999-12-30T21:00:00Z").map(|at| at.to_string()).as_deref(), Some("9999-12-30T21:00:00Z"));
        for text in [
            "9999-12-31T23:59:59",
            "9999-12-31",
            "23:59:59Z",
            "9999-12-32T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
