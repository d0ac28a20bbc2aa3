//! The text as TOML: either a document, or where it stops being one.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::Report;

/// Parses a text. What is not TOML is reported, as many places as can be told apart.
pub(in crate::plan) fn document<'t>(text: &'t str, report: &mut Report<'_>) -> Option<DeTable<'t>> {
    if text.len() > LARGEST_FILE {
        let message = format!("the file is too large: {} bytes", text.len());
        report.whole(message, format!("at most {LARGEST_FILE} bytes are allowed"));
        return None;
    }
    if let Some(deep) = too_deep(text) {
        report.wrong(deep, "a key with too many dots", "keys here have three parts at most");
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(document.into_inner());
    }
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let line = report.place(span.clone()).line;
        // What the parser says next about a line is a consequence of what it said first.
        if line > last_line {
            last_line = line;
            let (message, help) = explain(&error, text, &span);
            report.wrong(span, message, help);
        }
    }
    None
}

/// Finds a line with so many dots that tables nested that deep could exhaust the stack when they are dropped.
fn too_deep(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let key = line.split(['=', '#', '"', '\'']).next().unwrap_or_default();
        if key.matches('.').count() > MOST_DOTS {
            return Some(start..start + key.len());
        }
        start += line.len();
    }
    None
}

/// Says what the parser means in an operator's words: what is wrong, and what would be right.
fn explain(error: &Error, text: &str, span: &Range<usize>) -> (String, String) {
    let (what, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    let found = text.get(span.clone()).unwrap_or_default();
    match what {
        "duplicate key" => duplicate(text, span, found),
        "string values must be quoted" => {
            ("a value without quotes".to_owned(), format!("write `\"{}\"`", found.trim()))
        }
        "key with no value" | "missing value for key" => {
            ("a key without a value".to_owned(), "write `key = value`".to_owned())
        }
        "unclosed table" => ("a header without its `]`".to_owned(), "write `[name]`".to_owned()),
        "unclosed array table" => ("a header without its `]]`".to_owned(), "write `[[name]]`".to_owned()),
        "unclosed array" => ("a list without its `]`".to_owned(), "close it".to_owned()),
        "unclosed inline table" => ("a table without its `}`".to_owned(), "close it".to_owned()),
        _ => (
            format!("not TOML: {what}"),
            if expected.is_empty() { TOML_HELP.to_owned() } else { format!("expected {expected}") },
        ),
    }
}

/// A key or header that stands twice, and where it stands first, if a look at the lines above can tell.
fn duplicate(text: &str, span: &Range<usize>, key: &str) -> (String, String) {
    let message = format!("{} is written twice", super::quoted(key.trim()));
    let line_start = text.get(..span.start).and_then(|above| above.rfind('\n')).map_or(0, |newline| newline + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    let above: Vec<&str> = text.get(..line_start).unwrap_or_default().lines().collect();
    let first = if line.starts_with('[') {
        above.iter().rposition(|other| other.trim() == line)
    } else {
        let same = |other: &&str| other.split('=').next().is_some_and(|name| name.trim() == key.trim());
        let section =
            above.iter().rposition(|other| other.trim_start().starts_with('[')).map_or(0, |header| header + 1);
        above.iter().skip(section).rposition(same).map(|index| index + section)
    };
    let help = match first {
        Some(index) => format!("the first is on line {}: keep one of them", index + 1),
        None => "keep one of them".to_owned(),
    };
    (message, help)
}

/// Bytes of a file that are read.
const LARGEST_FILE: usize = 1024 * 1024;
/// Dots in a key. The deepest key that means something has three.
const MOST_DOTS: usize = 64;
const TOML_HELP: &str = "lines are `key = value`, `[table]` or `# comment`";
