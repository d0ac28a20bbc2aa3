//! Places at which a line of text may be broken, in every script.

use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_linebreak::linebreaks;

/// Returns options that wrap text to a width in columns. Words are never hyphenated.
pub(crate) fn options<'a>(width: usize) -> Options<'a> {
    Options::new(width).word_separator(WordSeparator::Custom(words)).word_splitter(WordSplitter::NoHyphenation)
}

/// Splits a line where it may be broken (Unicode Standard Annex 14), but not behind hyphens.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    let ends = linebreaks(line).map(|(end, _)| end);
    let ends = ends.filter(|end| *end == line.len() || !line[..*end].ends_with(HYPHENS));
    Box::new(ends.scan(0, |start, end| Some(Word::from(&line[std::mem::replace(start, end)..end]))))
}

/// A soft hyphen would have to be shown at a break.
const HYPHENS: [char; 2] = ['-', '\u{AD}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, width: usize, lines: &[&str]) {
        assert_eq!(textwrap::wrap(text, options(width)), lines);
    }

    #[test]
    fn latin_breaks_at_blanks_and_not_behind_hyphens() {
        check("in a well-known place", 12, &["in a", "well-known", "place"]);
        check("", 12, &[""]);
        check("one  two ", 4, &["one", "two"]);
    }

    #[test]
    fn japanese_breaks_between_characters_but_not_before_a_full_stop() {
        check("計画的な保守です。", 8, &["計画的な", "保守で", "す。"]);
    }

    #[test]
    fn a_break_that_the_text_demands_is_kept() {
        check("one\ntwo", 80, &["one", "two"]);
    }
}
