//! Filters of text templates: wrapping and padding by the width of characters on a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::plan::lines;

/// Wraps one paragraph. Lines after the first begin with `indent` blanks, and words that are wider than a line are
/// broken.
pub(super) fn wrap(text: &str, width: usize, indent: Option<usize>) -> String {
    let indent = " ".repeat(indent.unwrap_or(0).min(MOST_BLANKS));
    let options = lines::options(width.clamp(1, MOST_BLANKS));
    let paragraph = text.split_whitespace().collect::<Vec<_>>().join(" ");
    textwrap::fill(&paragraph, options.subsequent_indent(&indent))
}

/// Pads with blanks to a width, or cuts with `…`.
pub(super) fn pad(text: &str, width: usize) -> String {
    let width = width.min(MOST_BLANKS);
    let own = text.width();
    if own <= width {
        return format!("{text}{}", " ".repeat(width - own));
    }
    let mut cut = String::with_capacity(width * 2);
    let mut taken = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if taken + wide + 1 > width {
            break;
        }
        taken += wide;
        cut.push(character);
    }
    format!("{cut}…{}", " ".repeat(width.saturating_sub(taken + 1)))
}

/// Returns a line below a text, as wide as the text.
pub(super) fn rule(text: &str, character: &str) -> String {
    character.repeat(text.width().min(MOST_BLANKS))
}

/// Escapes a text for one line of Markdown, so that it is shown as it is written.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '\\' | '|' | '[' | ']' | '*' | '_' | '`' => escaped.extend(['\\', character]),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '\n' => escaped.push(' '),
            '\r' => {}
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Greatest width.
const MOST_BLANKS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_a_terminal() {
        assert_eq!(pad("ab", 4), "ab  ");
        assert_eq!(pad("日本語", 5), "日本…");
        assert_eq!(pad("日本語", 4), "日… ");
        assert_eq!(pad("abc", 3), "abc");
        assert_eq!(rule("日本", "="), "====");
        assert_eq!(wrap("one two  three\nfour", 9, Some(2)), "one two\n  three\n  four");
        assert!(wrap(&"x".repeat(300), 80, None).lines().all(|line| line.width() <= 80));
    }

    #[test]
    fn nothing_in_a_text_is_markup_of_markdown() {
        assert_eq!(
            markdown("a|b [c](d) *e* _f_ `g` \\<b>&lt;\r\nh é"),
            "a\\|b \\[c\\](d) \\*e\\* \\_f\\_ \\`g\\` \\\\&lt;b>&amp;lt; h é"
        );
    }
}
