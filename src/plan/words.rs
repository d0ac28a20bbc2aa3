//! Words of messages: lists, and text from outside that is made harmless to a terminal.

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
