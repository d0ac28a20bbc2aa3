//! Texts of the operator, in one or several languages.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use super::accept::nearest;
use super::problem::quoted;
use super::read::{Lines, Report, Value, in_order};

/// Text of the operator: `title = "…"`, or `title = { en = "…", de = "…" }`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Text {
    /// Text for clients whose language is not listed.
    pub plain: String,
    /// Texts by language tag (BCP 47), in the order of the file; empty if there is only one text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<(String, String)>,
}

impl Text {
    /// Returns the language of what [`Text::in_language`] returns: the [nearest] tag, else that of the plain text.
    /// `plain` is the language of texts that name none.
    pub fn language_for<'t>(&'t self, tag: &'t str, plain: &'t str) -> &'t str {
        let shown = self.in_language(tag);
        let own = self.languages.iter().find(|(_, text)| std::ptr::eq(text.as_str(), shown));
        own.or(self.languages.first()).map_or(plain, |(own, _)| own)
    }

    /// Returns the text in a language: that of the [nearest] tag, else the plain one.
    pub fn in_language(&self, tag: &str) -> &str {
        let found = nearest(tag.as_bytes(), self.languages.iter().map(|(own, _)| own.as_str()));
        found.and_then(|index| self.languages.get(index)).map_or(&self.plain, |(_, text)| text)
    }
}

impl From<&str> for Text {
    fn from(plain: &str) -> Self {
        Self { plain: plain.to_owned(), languages: Vec::new() }
    }
}

impl fmt::Debug for Text {
    /// Prints a text in one language without its tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.languages.is_empty() {
            self.plain.fmt(f)
        } else {
            f.debug_map().entries(self.languages.iter().map(|(tag, text)| (tag, text))).finish()
        }
    }
}

/// Reads a text. If it has several languages, the first is the plain one.
pub(super) fn text(value: &Value<'_>, longest: usize, lines: Lines, report: &mut Report<'_>) -> Option<Text> {
    let DeValue::Table(table) = value.inner else {
        let plain = value.words(longest, lines, report)?;
        return Some(Text { plain, languages: Vec::new() });
    };
    report.at_most(MOST_LANGUAGES, table.len(), "languages", value.key_span.clone());
    let mut languages = Vec::new();
    let mut whole = true;
    for (tag, inner) in in_order(table).into_iter().take(MOST_LANGUAGES) {
        let item = Value::new(tag.get_ref(), tag, inner);
        let known = is_language(tag.get_ref());
        if !known {
            let help = "write language tags: `{ en = \"…\", de = \"…\" }`";
            report.wrong(tag.span(), format!("{} is not a language", quoted(tag.get_ref())), help);
        }
        match item.words(longest, lines, report) {
            Some(words) if known => languages.push((tag.get_ref().to_string(), words)),
            _ => whole = false,
        }
    }
    let Some((_, first)) = languages.first() else {
        if whole {
            report.wrong(
                value.span.clone(),
                format!("`{}` is an empty table", value.key),
                "write at least one language",
            );
        }
        return None;
    };
    Some(Text { plain: first.clone(), languages })
}

/// Returns true for a language tag (RFC 5646 section 2.1), as far as it matters for choosing.
pub(super) fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    let alphabetic = language.bytes().all(|byte| byte.is_ascii_alphabetic());
    (2..=3).contains(&language.len())
        && alphabetic
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Most languages of one text, or of the page.
pub(super) const MOST_LANGUAGES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_in_the_language_of_the_page_wherever_its_own_is_spoken() {
        let languages = ["en-GB", "pt-PT", "zh-TW", "zh-CN"].map(|tag| (tag.to_owned(), format!("in {tag}")));
        let text = Text { plain: "in en-GB".to_owned(), languages: languages.into() };
        let shown = ["en", "pt-BR", "zh-Hans", "zh-Hant", "de"].map(|tag| text.in_language(tag));
        assert_eq!(shown, ["in en-GB", "in pt-PT", "in zh-CN", "in zh-TW", "in en-GB"]);
    }
}
