//! Words of messages: lists, instants and latencies, and text from outside that is made harmless to a terminal.

use jiff::Timestamp;

/// Joins words: `web`, `web and api`, `web, api and hooks`, or with another word than `and`.
pub(crate) fn list<S: AsRef<str>>(words: &[S], between: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} {between} {last}", rest.join(", ")),
    }
}

/// Makes text from outside fit for a terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(harmless_char).collect()
}

/// Replaces a character that would move a terminal's cursor, or change the order of the characters after it, by U+FFFD. A
/// tab becomes a space.
pub(super) fn harmless_char(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Formats an instant: `15:00 UTC`, with seconds unless they are 0, and with the day unless it is `now`'s.
pub(crate) fn instant(at: Timestamp, now: Timestamp) -> String {
    let of_day = if at.as_second() % 60 == 0 { "%H:%M UTC" } else { "%H:%M:%S UTC" };
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    if day(at) == day(now) { at.strftime(of_day).to_string() } else { format!("{} {}", day(at), at.strftime(of_day)) }
}

/// Writes a number with its noun: `1 day`, `3 days`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// Formats a latency with two or three significant digits: `0.42 ms`, `8.3 ms`, `120 ms`, `2.5 s`.
pub(crate) fn latency(millis: f64) -> String {
    match millis {
        1000.0.. => format!("{:.1} s", millis / 1000.0),
        99.5.. => format!("{millis:.0} ms"),
        0.995.. => format!("{millis:.1} ms"),
        _ => format!("{millis:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_told_with_as_many_digits_as_are_of_use() {
        let told = [0.001, 0.42, 0.998, 1.04, 8.28, 99.4, 99.96, 120.4, 999.0, 1000.0, 60817.4].map(latency);
        let words = [
            "0.00 ms", "0.42 ms", "1.0 ms", "1.0 ms", "8.3 ms", "99.4 ms", "100 ms", "120 ms", "999 ms", "1.0 s",
            "60.8 s",
        ];
        assert_eq!(told, words);
    }

    #[test]
    fn an_instant_names_its_day_when_that_is_not_today() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-05-19T14:00:00Z");
        assert_eq!(instant(at("2026-05-19T15:00:00Z"), now), "15:00 UTC");
        assert_eq!(instant(at("2026-05-19T15:00:07Z"), now), "15:00:07 UTC");
        assert_eq!(instant(at("2026-05-20T00:00:00Z"), now), "2026-05-20 00:00 UTC");
    }
}
