//! Lines of iCalendar (RFC 5545).

use jiff::Timestamp;

/// Appends a line, folded so that no part is longer than 75 octets and no character is cut (section 3.1). Lines end with
/// CR LF.
pub(crate) fn push(text: &mut String, line: &str) {
    let mut length = 0;
    for c in line.chars() {
        if length + c.len_utf8() > LONGEST {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(c);
        length += c.len_utf8();
    }
    text.push_str("\r\n");
}

/// Escapes a text (section 3.3.11). Control characters are not allowed in it.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Formats an instant: `20261206T010000Z`.
pub(crate) fn instant(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Octets of a line without its end.
const LONGEST: usize = 75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_characters() {
        for line in ["SUMMARY:".to_owned() + &"größer ".repeat(30), "x".repeat(75), "x".repeat(76), String::new()] {
            let mut text = String::new();
            push(&mut text, &line);
            assert!(text.split_terminator("\r\n").all(|part| part.len() <= LONGEST), "{text}");
            assert_eq!(text.replace("\r\n ", ""), line + "\r\n");
        }
        assert_eq!(escaped("a;b,c\\d\r\ne\tf\u{7f}"), "a\\;b\\,c\\\\d\\nef");
    }
}
