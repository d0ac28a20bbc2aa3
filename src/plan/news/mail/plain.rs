//! Plain text of a mail, in lines that every program shows.

use super::digest::Section;
use super::{Letter, Links};
use crate::plan::lines;

/// Writes the text.
pub(super) fn text(letter: &Letter, links: &Links) -> String {
    let mut parts: Vec<String> = Vec::new();
    let stage = letter.stage.as_ref().map(|stage| format!("{stage}: ")).unwrap_or_default();
    parts.push(filled(&format!("{stage}{}", letter.heading)));
    parts.extend(letter.paragraphs.iter().map(|paragraph| filled(paragraph)));
    parts.push(facts(&letter.facts));
    parts.extend(letter.action.iter().map(|action| link(&action.label, &action.url)));
    parts.push(foot(letter, links));
    joined(parts)
}

/// Writes the text of a digest.
pub(super) fn digest(frame: &Letter, sections: &[Section], more: Option<&str>, links: &Links) -> String {
    let mut parts = vec![filled(&frame.heading)];
    for section in sections {
        let stage = section.stage.as_ref().map(|stage| format!("{stage}: ")).unwrap_or_default();
        let heading = filled(&format!("{stage}{}", section.heading));
        // A line below tells a heading from a text.
        let line = "=".repeat(textwrap::core::display_width(heading.lines().last().unwrap_or_default()).min(WIDTH));
        parts.push(format!("{heading}\n{line}"));
        parts.push(facts(&section.facts));
        for (when, paragraphs) in &section.updates {
            let paragraphs: Vec<String> = paragraphs.iter().map(|paragraph| filled(paragraph)).collect();
            parts.push(format!("{when}\n{}", paragraphs.join("\n\n")).trim().to_owned());
        }
        parts.extend(section.action.iter().map(|action| link(&action.label, &action.url)));
    }
    parts.extend(more.map(filled));
    parts.push(foot(frame, links));
    joined(parts)
}

fn facts(facts: &[(String, String)]) -> String {
    let facts: Vec<String> = facts.iter().map(|(label, value)| filled(&format!("{label}: {value}"))).collect();
    facts.join("\n")
}

fn foot(letter: &Letter, links: &Links) -> String {
    // RFC 3676 section 4.3: programs fold what follows this line.
    let mut foot = vec![format!("-- \n{}", letter.site), filled(&letter.reason)];
    let own = [(&letter.manage, links.manage.as_ref()), (&letter.unsubscribe, links.end())];
    foot.extend(own.into_iter().filter_map(|(label, url)| Some(link(label, url?))));
    foot.join("\n")
}

fn joined(mut parts: Vec<String>) -> String {
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
    textwrap::fill(&shown, lines::options(WIDTH).break_words(false))
}

/// RFC 5322 section 2.1.1 asks for 78 at most; quoting takes some.
const WIDTH: usize = 72;
