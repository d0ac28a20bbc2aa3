//! Fitting of texts into the limits of receivers.

use super::super::words::harmless_char;

/// Unit in which a receiver counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// UTF-16 code units, as JavaScript counts. No receiver's characters are more.
    Utf16,
    /// Bytes of UTF-8.
    Byte,
}

/// Number of lines that a text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// One: a newline becomes a space.
    One,
    /// Any number.
    Many,
}

/// Room for a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) most: usize,
    pub(super) unit: Unit,
    pub(super) lines: Lines,
}

impl Room {
    /// Creates room for one line.
    pub(super) fn line(most: usize) -> Self {
        Self { most, unit: Unit::Utf16, lines: Lines::One }
    }

    /// Creates room for several lines.
    pub(super) fn lines(most: usize) -> Self {
        Self { lines: Lines::Many, ..Self::line(most) }
    }

    /// Counts in bytes.
    pub(super) fn bytes(self) -> Self {
        Self { unit: Unit::Byte, ..self }
    }

    /// Fits a text as it is.
    pub(super) fn plain(self, text: &str) -> String {
        self.escaped(text, String::push)
    }

    /// Fits a text. `escape` writes a character in the receiver's form, which counts. A text that is too long ends with
    /// `…`. Control characters, and those that change the order of others, are replaced.
    pub(super) fn escaped(self, text: &str, escape: impl Fn(&mut String, char)) -> String {
        let mut fitted = String::new();
        let mut used = 0;
        // Where the text is cut, if more comes than there is room for.
        let mut cut = 0;
        let room = self.most.saturating_sub(self.measure(ELLIPSIS));
        for character in text.chars().map(|character| self.harmless(character)) {
            let before = fitted.len();
            escape(&mut fitted, character);
            used += self.measure(&fitted[before..]);
            if used <= room {
                cut = fitted.len();
            }
            if used > self.most {
                fitted.truncate(cut);
                fitted.push_str(ELLIPSIS);
                return fitted;
            }
        }
        fitted
    }

    fn harmless(self, character: char) -> char {
        match (character, self.lines) {
            ('\n', Lines::Many) => '\n',
            ('\n' | '\r', Lines::One | Lines::Many) => ' ',
            (other, Lines::One | Lines::Many) => harmless_char(other),
        }
    }

    fn measure(self, text: &str) -> usize {
        match self.unit {
            Unit::Utf16 => text.encode_utf16().count(),
            Unit::Byte => text.len(),
        }
    }
}

/// Fits several texts into one room, and leaves out what comes after it is full.
pub(super) fn all<'t>(
    room: Room,
    texts: impl IntoIterator<Item = &'t String>,
    most: usize,
    fit: impl Fn(Room, &str) -> String,
) -> Vec<String> {
    let mut left = room.most;
    let mut fitted = Vec::new();
    for text in texts.into_iter().filter(|text| !text.trim().is_empty()).take(most) {
        if left < LEAST {
            break;
        }
        let one = fit(Room { most: left, ..room }, text);
        left = left.saturating_sub(room.measure(&one));
        fitted.push(one);
    }
    fitted
}

/// Returns a URL that cannot end early in a receiver's form; `None` if it is none of the web.
pub(super) fn url(text: &str, longest: usize) -> Option<String> {
    let is_web = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    if !is_web || text.len() > longest {
        return None;
    }
    let mut url = String::new();
    for character in text.chars() {
        match character {
            ' ' | '<' | '>' | '|' | '"' | '\\' | '^' | '`' | '{' | '}' | '(' | ')' => {
                url.push_str(&format!("%{:02X}", u32::from(character)));
            }
            c if c.is_control() || !c.is_ascii() => return None,
            c => url.push(c),
        }
    }
    Some(url)
}

const ELLIPSIS: &str = "…";
/// Room below which a text is not begun.
const LEAST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_in_its_room_whatever_it_has() {
        let doubled = |out: &mut String, character: char| out.extend([character, character]);
        for (room, text, fitted) in [
            (Room::line(5), "abcde", "abcde"),
            (Room::line(5), "abcdef", "abcd…"),
            (Room::line(9), "a\nb\r\nc", "a b  c"),
            (Room::lines(9), "a\nb\u{7}\u{202e}c", "a\nb\u{fffd}\u{fffd}c"),
            (Room::line(3), "😀😀", "😀…"),
            (Room::line(7).bytes(), "😀😀", "😀…"),
            (Room::line(8).bytes(), "😀😀", "😀😀"),
        ] {
            let found = room.plain(text);
            assert!(room.measure(&found) <= room.most, "{found:?}");
            assert_eq!(found, fitted);
        }
        assert_eq!(Room::line(5).escaped("abc", doubled), "aabb…");
        assert_eq!(Room::line(6).escaped("abc", doubled), "aabbcc");
    }

    #[test]
    fn a_url_has_nothing_that_ends_it_early() {
        let fitted = |text: &str| url(text, 40);
        assert_eq!(fitted("https://a.example/b?c=d&e=f").as_deref(), Some("https://a.example/b?c=d&e=f"));
        assert_eq!(fitted("https://a.example/|<x>)").as_deref(), Some("https://a.example/%7C%3Cx%3E%29"));
        for bad in ["javascript:alert(1)", "/path", "https://a\r\nb", "https://ä.example", &"https://a/".repeat(9)] {
            assert_eq!(fitted(bad), None, "{bad}");
        }
    }
}
