//! Escaping of text for XML 1.0 and HTML.

use std::fmt::{self, Write};

/// Text that stands between tags, or in a quoted attribute. Characters that XML cannot hold at all are left out.
pub(super) struct Escaped<'t>(pub(super) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if is_character(c) => f.write_char(c)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns true for the characters of XML 1.0 (section 2.2) that are no discouraged control characters. A carriage return
/// would become a line feed when it is read.
fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_an_element_or_an_attribute() {
        let escaped = |text: &str| Escaped(text).to_string();
        assert_eq!(escaped("a < b && \"c\" > 'd'"), "a &lt; b &amp;&amp; &quot;c&quot; &gt; &#39;d&#39;");
        assert_eq!(escaped("]]> <!-- ü \u{1f600}"), "]]&gt; &lt;!-- ü \u{1f600}");
        assert_eq!(escaped("a\u{0}b\u{8}c\u{1b}d\u{fffe}e\u{ffff}f\r\n\tg\u{7f}\u{9f}"), "abcdef\n\tg");
    }
}
