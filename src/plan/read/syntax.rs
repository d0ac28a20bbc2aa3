//! Parser of the text as TOML, with its errors as problems.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::notation::Notation;
use super::{Report, quoted};

/// Parses a text. The first error of each line is reported, except for errors that follow from another.
pub(in crate::plan) fn document<'t>(text: &'t str, report: &mut Report<'_>) -> Option<DeTable<'t>> {
    if text.len() > LARGEST_FILE {
        let message = format!("the file is too large: {} bytes", text.len());
        report.whole(message, format!("at most {LARGEST_FILE} bytes are allowed"));
        return None;
    }
    if let Some(deep) = too_deep(text) {
        report.wrong(deep..deep + 1, TOO_DEEP_MESSAGE, TOO_DEEP_HELP);
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(document.into_inner());
    }
    if let Some((notation, span)) = Notation::of(text) {
        report.wrong(span, format!("this is {}; TOML is wanted", notation.name()), TOML_HELP);
        return None;
    }
    for error in first_of_each_line(&errors, text, report) {
        if error.span().is_none() || error.message().starts_with(TOO_DEEP) {
            report.whole(TOO_DEEP_MESSAGE, TOO_DEEP_HELP);
            return None;
        }
        let span = span_of(error, text);
        let (message, help) = explain(error, text, &span);
        report.wrong(span, message, help);
    }
    None
}

/// Keeps the first error of each line. After a syntax error, or below a duplicate table, keys that seem duplicate are
/// left out, because they are a consequence.
fn first_of_each_line<'e>(errors: &'e [Error], text: &str, report: &Report<'_>) -> Vec<&'e Error> {
    let mut first = Vec::new();
    let (mut last_line, mut confused) = (0, false);
    for error in errors {
        let place = report.place(error.span().unwrap_or(text.len()..text.len()));
        let is_duplicate = error.message().starts_with(DUPLICATE);
        if place.line <= last_line || (confused && is_duplicate) {
            continue;
        }
        last_line = place.line;
        confused |= !is_duplicate || place.excerpt.trim_start().starts_with('[');
        first.push(error);
    }
    first
}

/// Returns the span of an error. For an unclosed multi-line text that is its start: the parser reports the end of the
/// file, which does not help.
fn span_of(error: &Error, text: &str) -> Range<usize> {
    let quotes = match error.message() {
        message if message.starts_with("invalid multi-line basic string") => "\"\"\"",
        message if message.starts_with("invalid multi-line literal string") => "'''",
        _ => "",
    };
    let span = error.span().unwrap_or(text.len()..text.len());
    match text.rfind(quotes) {
        Some(opening) if !quotes.is_empty() && span.start >= text.trim_end().len() => opening..opening + quotes.len(),
        _ => span,
    }
}

/// Returns the place of the first key outside of strings and comments that has more than [`MOST_DOTS`], or of the first
/// value that lies in more than [`MOST_BRACKETS`]. The parser limits the depth of values and the dots of a key, but not
/// their product. Tables nested that deep exhaust the stack when they are dropped.
fn too_deep(text: &str) -> Option<usize> {
    let (mut dots, mut brackets) = (0, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => string_length(rest, first),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        match first {
            '.' => dots += 1,
            '=' | ',' | '{' | '}' | '[' | ']' | '\n' => dots = 0,
            _ => {}
        }
        match first {
            '[' | '{' => brackets += 1,
            ']' | '}' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        if dots > MOST_DOTS || brackets > MOST_BRACKETS {
            return Some(text.len() - rest.len());
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

/// Returns the length of the string at the beginning of a text, with its quotes. An unclosed one ends with the line, or
/// with the text.
fn string_length(text: &str, quote: char) -> usize {
    let triple: String = [quote; 3].iter().collect();
    let is_long = text.starts_with(&triple);
    let opening = if is_long { 3 } else { 1 };
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(opening) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            '\n' if !is_long => return index,
            _ if character == quote && !is_long => return index + 1,
            _ if is_long && text[index..].starts_with(&triple) => return index + 3,
            _ => {}
        }
    }
    text.len()
}

/// Explains a parser's error in an operator's words, with a correction.
fn explain(error: &Error, text: &str, span: &Range<usize>) -> (String, String) {
    let (what, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    let found = text.get(span.clone()).unwrap_or_default().trim();
    let is_open = found.len() == 3;
    let line = line_at(text, span.start);
    let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
    let own = |message: &str, help: &str| (message.to_owned(), help.to_owned());
    match what {
        DUPLICATE => duplicate(text, span, found),
        "string values must be quoted" if found.is_empty() => (format!("{} has no value", quoted(key)), a_value(key)),
        "string values must be quoted" => own("a value without quotes", &in_quotes(found)),
        "key with no value" | "missing value for key" if !line.contains('=') => no_equals(line),
        "invalid unquoted key" => own("a key that needs quotes", &in_quotes(key)),
        "invalid basic string" | "invalid literal string" if has_control(line) => {
            own("a control character in a string", "remove it, or write it as an escape like `\\u001b`")
        }
        "invalid basic string" | "invalid literal string" => {
            own("a string without its closing quote", "close it on the same line")
        }
        "invalid multi-line basic string" | "invalid multi-line literal string" if is_open => {
            (format!("a text without its closing {}", quoted(found)), "close it".to_owned())
        }
        "invalid float" | "invalid integer" if value.contains([':', '/']) || value.matches('.').count() > 1 => {
            own("a value without quotes", &in_quotes(value.split(" #").next().unwrap_or_default()))
        }
        "invalid key-value pair" => own("this is not TOML", TOML_HELP),
        "unclosed table" => own("a header without its `]`", "close it: `[name]`"),
        "unclosed array table" => own("a header without its `]]`", "close it: `[[name]]`"),
        "unclosed array" => own("a list without its `]`", "close it"),
        "unclosed inline table" => own("a table without its `}`", "close it"),
        _ if expected.is_empty() => own(&format!("not TOML: {what}"), TOML_HELP),
        _ => (format!("not TOML: {what}"), format!("expected {expected}")),
    }
}

/// Returns the line around an index, without white space at its ends.
fn line_at(text: &str, index: usize) -> &str {
    let index = index.min(text.trim_end().len());
    let start = text.get(..index).and_then(|above| above.rfind('\n')).map_or(0, |newline| newline + 1);
    text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim()
}

fn has_control(line: &str) -> bool {
    line.chars().any(|c| c.is_control() && c != '\t')
}

fn in_quotes(text: &str) -> String {
    format!("write it in quotes: {}", quoted(&format!("\"{}\"", text.trim_matches(['"', '\'']))))
}

fn a_value(key: &str) -> String {
    format!("write one, {}, or remove the line", quoted(&format!("{key} = \"…\"")))
}

/// Explains a line that is neither `key = value` nor a header.
fn no_equals(line: &str) -> (String, String) {
    let words: Vec<&str> = line.split([' ', '\t', ':']).filter(|word| !word.is_empty()).take(3).collect();
    let help = match words[..] {
        _ if line.contains(": ") => "write `=` instead of `:`".to_owned(),
        [key, value] if value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            format!("write {}", quoted(&format!("{key} = \"{value}\"")))
        }
        _ => TOML_HELP.to_owned(),
    };
    ("a line without `=`".to_owned(), help)
}

/// Explains a duplicate key or header, with the line of the first one if it can be found.
fn duplicate(text: &str, span: &Range<usize>, key: &str) -> (String, String) {
    let line_start = text.get(..span.start).and_then(|above| above.rfind('\n')).map_or(0, |newline| newline + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    let message = match line.strip_suffix(']') {
        Some(_) if line.starts_with('[') => format!("{} is written twice", quoted(line)),
        _ => format!("{} is written twice", quoted(key)),
    };
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

/// Message of the parser for a duplicate key or header.
const DUPLICATE: &str = "duplicate key";
/// Message of the parser for nesting that could exhaust the stack. For a key with many dots it has no place.
const TOO_DEEP: &str = "cannot recurse further";
const TOO_DEEP_MESSAGE: &str = "tables or lists are nested too deeply";
const TOO_DEEP_HELP: &str = "nothing here is nested more than three levels deep";
/// Most dots of a key. The deepest known key has three.
const MOST_DOTS: usize = 8;
/// Most brackets that are open at once. The parser allows 80, and the deepest known value lies in four.
const MOST_BRACKETS: usize = 64;
/// Most bytes of a file.
const LARGEST_FILE: usize = 1024 * 1024;
const TOML_HELP: &str = "lines are `key = value`, `[table]` or `# comment`";
