//! Encodings of the operator's files: only UTF-8 is read, and any other is named in the problem.

use std::path::Path;

use super::problem::{Place, Problem};

/// Returns the text of a file, which has to be UTF-8.
///
/// # Errors
/// The first place that is not UTF-8, with the encoding that the file probably has.
pub(crate) fn decode<'b>(file: &Path, bytes: &'b [u8]) -> Result<&'b str, Problem> {
    if let Some(wide) = Wide::of(bytes) {
        return Err(wide.problem(file, bytes));
    }
    std::str::from_utf8(bytes).map_err(|error| match error.error_len() {
        Some(_) => not_utf8(file, bytes),
        None => {
            let text = repaired(bytes).0;
            let place = Place::of(&text, error.valid_up_to()..error.valid_up_to() + 1);
            let message = "the file ends in the middle of a character, so its end is cut off";
            Problem::in_file(file, message).at(place).help("write it again, to its end")
        }
    })
}

fn not_utf8(file: &Path, bytes: &[u8]) -> Problem {
    let (text, at) = repaired(bytes);
    let wrong = text[at..].chars().next().unwrap_or_default();
    let byte = bytes.get(at).copied().unwrap_or_default();
    let message = format!("this is not UTF-8: the byte 0x{byte:02x}, which is `{wrong}` in Latin-1 (Windows-1252)");
    let help = "this seems to be Latin-1 (Windows-1252); save it as UTF-8";
    Problem::in_file(file, message).at(Place::of(&text, at..at + wrong.len_utf8())).help(help)
}

/// Returns a text with every byte that is not UTF-8 read as Windows-1252, and the place of the first one, up to which the
/// text is as it was.
fn repaired(bytes: &[u8]) -> (String, usize) {
    let (mut text, mut first) = (String::new(), None);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first.get_or_insert(text.len());
        }
        text.extend(chunk.invalid().iter().map(|byte| windows_1252(*byte)));
    }
    let first = first.unwrap_or(text.len());
    (text, first)
}

/// Returns the character of a byte. Five bytes mean nothing.
fn windows_1252(byte: u8) -> char {
    let high = byte.checked_sub(0x80).and_then(|index| HIGH.get(usize::from(index)).copied());
    high.unwrap_or(char::from(byte))
}

/// Encoding with more than one byte for each character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wide {
    Utf16Little,
    Utf16Big,
    Utf32Little,
    Utf32Big,
}

impl Wide {
    /// Recognizes an encoding by its byte order mark, or by where the zeros are that it puts beside plain letters.
    fn of(bytes: &[u8]) -> Option<Self> {
        // The mark of UTF-32 begins with that of UTF-16.
        let all = [Self::Utf32Little, Self::Utf32Big, Self::Utf16Little, Self::Utf16Big];
        all.into_iter().find(|wide| bytes.starts_with(wide.mark())).or_else(|| {
            let start = &bytes[..bytes.len().min(SAMPLE)];
            start.contains(&0).then(|| all.into_iter().find(|wide| wide.fits(start))).flatten()
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf16Little => "UTF-16 (little-endian)",
            Self::Utf16Big => "UTF-16 (big-endian)",
            Self::Utf32Little => "UTF-32 (little-endian)",
            Self::Utf32Big => "UTF-32 (big-endian)",
        }
    }

    fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf16Little => b"\xff\xfe",
            Self::Utf16Big => b"\xfe\xff",
            Self::Utf32Little => b"\xff\xfe\0\0",
            Self::Utf32Big => b"\0\0\xfe\xff",
        }
    }

    /// Returns the number of a character's bytes, and the index of the one that is not zero in plain letters.
    fn layout(self) -> (usize, usize) {
        match self {
            Self::Utf16Little => (2, 0),
            Self::Utf16Big => (2, 1),
            Self::Utf32Little => (4, 0),
            Self::Utf32Big => (4, 3),
        }
    }

    /// Returns true if nine of ten characters are plain letters in this encoding.
    fn fits(self, bytes: &[u8]) -> bool {
        let (width, letter) = self.layout();
        let is_plain = |unit: &&[u8]| unit.iter().enumerate().all(|(index, byte)| (*byte == 0) != (index == letter));
        let (all, plain) = (bytes.len() / width, bytes.chunks_exact(width).filter(is_plain).count());
        all >= LEAST_UNITS && plain * 10 >= all * 9
    }

    fn problem(self, file: &Path, bytes: &[u8]) -> Problem {
        let text = self.text(bytes.strip_prefix(self.mark()).unwrap_or(bytes));
        let end = text.find(['\r', '\n']).unwrap_or(text.len());
        let help = "save it as UTF-8 (Notepad: Save as, Encoding)";
        Problem::in_file(file, format!("this is {}; save it as UTF-8", self.name()))
            .at(Place::of(&text, 0..end))
            .help(help)
    }

    fn text(self, bytes: &[u8]) -> String {
        let (width, letter) = self.layout();
        let number = |unit: &[u8]| {
            let bytes: Vec<u8> = if letter == 0 { unit.iter().rev().copied().collect() } else { unit.to_vec() };
            bytes.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte))
        };
        let units = bytes.chunks_exact(width).take(SAMPLE).map(number);
        if width == 4 {
            return units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        }
        let units = units.map(|unit| u16::try_from(unit).unwrap_or_default());
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    }
}

/// Characters from which zeros tell an encoding. A stray zero among letters does not.
const LEAST_UNITS: usize = 4;
/// Bytes at the beginning of a file that tell its encoding.
const SAMPLE: usize = 4096;
/// Characters of Windows-1252 from 0x80. Above them it is Latin-1.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# flags\n[routes]\nweb = { message = \"Zurück – 5 €\" }\n";

    /// Bytes, and the place and words of their problem.
    #[track_caller]
    fn check(bytes: &[u8], line: usize, column: usize, words: &str) {
        let problem = decode(Path::new("flags.toml"), bytes).unwrap_err();
        let place = problem.place.as_ref().unwrap();
        assert_eq!((place.line, place.column), (line, column), "{problem}");
        assert!(problem.message.contains(words), "{problem}");
        assert!(problem.help.as_ref().unwrap().contains(if line == 9 { "end" } else { "UTF-8" }), "{problem}");
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn utf32(text: &str, bytes: fn(u32) -> [u8; 4]) -> Vec<u8> {
        text.chars().flat_map(|character| bytes(u32::from(character))).collect()
    }

    #[test]
    fn wide_encodings_are_recognized_with_and_without_their_mark() {
        for mark in ["", "\u{feff}"] {
            let text = format!("{mark}{TEXT}");
            check(&utf16(&text, u16::to_le_bytes), 1, 1, "this is UTF-16 (little-endian); save it as UTF-8");
            check(&utf16(&text, u16::to_be_bytes), 1, 1, "this is UTF-16 (big-endian); save it as UTF-8");
            check(&utf32(&text, u32::to_le_bytes), 1, 1, "this is UTF-32 (little-endian); save it as UTF-8");
            check(&utf32(&text, u32::to_be_bytes), 1, 1, "this is UTF-32 (big-endian); save it as UTF-8");
        }
        let problem = decode(Path::new("f"), &utf16(TEXT, u16::to_le_bytes)).unwrap_err();
        assert_eq!(problem.place.unwrap().excerpt, "# flags");
    }

    #[test]
    fn a_byte_of_windows_has_its_place_and_its_character() {
        let bytes: Vec<u8> =
            "# f\n[routes]\n# zur\u{fc}ck".chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        check(&bytes, 3, 6, "0xfc, which is `ü` in Latin-1");
        let problem = decode(Path::new("f"), &bytes).unwrap_err();
        assert_eq!(problem.place.unwrap().excerpt, "# zurück");
        check(b"# \x80", 1, 3, "0x80, which is `€`");
        check(b"ok = \"\xc3\xbc\"\n# \xfc\n", 2, 3, "0xfc");
        check(b"\xff", 1, 1, "0xff");
    }

    #[test]
    fn a_character_that_is_cut_is_not_taken_for_another_encoding() {
        let bytes = TEXT.as_bytes();
        let cut = TEXT.find('ü').unwrap() + 1;
        let problem = decode(Path::new("f"), &bytes[..cut]).unwrap_err();
        assert!(problem.message.contains("middle of a character"), "{problem}");
        assert_eq!(problem.place.unwrap().line, 3);
    }

    #[test]
    fn utf_8_is_returned_as_it_is() {
        for text in [TEXT, "", "\u{feff}[routes]\n", "a\0b", "\0"] {
            assert_eq!(decode(Path::new("f"), text.as_bytes()).unwrap(), text);
        }
    }
}
