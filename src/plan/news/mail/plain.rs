//! Plain text of a mail, in lines that every program shows.

use textwrap::{Options, WordSplitter};

use super::{Letter, Links};

/// Writes the text.
pub(super) fn text(letter: &Letter, links: &Links) -> String {
    let mut parts: Vec<String> = Vec::new();
    let stage = letter.stage.as_ref().map(|stage| format!("{stage}: ")).unwrap_or_default();
    parts.push(filled(&format!("{stage}{}", letter.heading)));
    parts.extend(letter.paragraphs.iter().map(|paragraph| filled(paragraph)));
    let facts: Vec<String> = letter.facts.iter().map(|(label, value)| filled(&format!("{label}: {value}"))).collect();
    parts.push(facts.join("\n"));
    parts.extend(letter.action.iter().map(|action| link(&action.label, &action.url)));
    // RFC 3676 section 4.3: programs fold what follows this line.
    let mut foot = vec![format!("-- \n{}", letter.site), filled(&letter.reason)];
    let own = [(&letter.manage, links.manage.as_ref()), (&letter.unsubscribe, links.end())];
    foot.extend(own.into_iter().filter_map(|(label, url)| Some(link(label, url?))));
    parts.push(foot.join("\n"));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

/// Returns a label, and a URL on a line of its own, which no program breaks.
fn link(label: &str, url: &str) -> String {
    format!("{label}:\n{url}")
}

/// Breaks a paragraph into lines. Characters that steer a terminal are left out.
fn filled(paragraph: &str) -> String {
    let shown: String = paragraph.chars().filter(|one| *one == '\n' || !one.is_control()).collect();
    textwrap::fill(&shown, Options::new(WIDTH).word_splitter(WordSplitter::NoHyphenation).break_words(false))
}

/// RFC 5322 section 2.1.1 asks for 78 at most; quoting takes some.
const WIDTH: usize = 72;
