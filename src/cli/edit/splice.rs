//! Text to insert, and the ranges of text that go. Knows lines and spelling, nothing of what was parsed.

use std::ops::Range;

use super::{Change, Entry};
use crate::plan::flags::Mode;

/// A flag's value: the short form if there is neither an end nor a message.
pub(super) fn value(entry: &Entry) -> String {
    if entry.until.is_none() && entry.message.is_none() {
        return quoted(word(entry.mode));
    }
    let given = keys(entry).into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
    format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
}

/// The keys of a flag in the order in which they are written, each with its value if it has one.
pub(super) fn keys(entry: &Entry) -> [(&'static str, Option<String>); 3] {
    [
        ("mode", Some(quoted(word(entry.mode)))),
        ("until", entry.until.map(|at| at.to_string())),
        ("message", entry.message.as_deref().map(quoted)),
    ]
}

/// A key, quoted if it must be.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// The mode that a word of the flag file names.
pub(super) fn mode(word: &str) -> Option<Mode> {
    match word {
        "offline" => Some(Mode::Offline),
        "read-only" => Some(Mode::ReadOnly),
        "hold" => Some(Mode::Hold),
        _ => None,
    }
}

/// A line inserted after the line that `at` is on, with that line's kind of line end.
pub(super) fn line_after(text: &str, at: usize, line: &str) -> Change {
    let end = line_end(text, at);
    let newline = newline(text);
    // The last line of a text may lack its end.
    let joint = if text[..end].ends_with('\n') { "" } else { newline };
    (end..end, format!("{joint}{line}{newline}"))
}

/// A `[routes]` with one line, inserted before the header at `before` and the comment above it, or at the end.
pub(super) fn section(text: &str, before: Option<usize>, line: &str) -> Change {
    let newline = newline(text);
    let at = before.map_or(text.len(), |header| comment_start(text, header));
    let above = &text[..at];
    let joint = match above.trim_start_matches('\u{feff}') {
        "" => String::new(),
        _ if !above.ends_with('\n') => newline.repeat(2),
        _ if last_line(above).trim().is_empty() => String::new(),
        _ => newline.to_owned(),
    };
    let gap = if at < text.len() { newline } else { "" };
    (at..at, format!("{joint}[routes]{newline}{line}{newline}{gap}"))
}

/// The whole lines from the one that `start` is on to the one that `end` is on.
pub(super) fn lines(text: &str, start: usize, end: usize) -> Range<usize> {
    line_start(text, start)..line_end(text, end)
}

/// As [`lines`], and one of the two blank lines that would meet.
pub(super) fn lines_and_gap(text: &str, start: usize, end: usize) -> Range<usize> {
    let range = lines(text, start, end);
    let (above, below) = (&text[..range.start], &text[range.end..]);
    let blank_above = above.is_empty() || last_line(above).trim().is_empty();
    if !blank_above {
        return range;
    }
    let below_line = &below[..line_end(below, 0)];
    if !below_line.is_empty() && below_line.trim().is_empty() {
        return range.start..range.end + below_line.len();
    }
    if below.is_empty() && !above.is_empty() {
        return above.len() - last_line(above).len()..range.end;
    }
    range
}

/// A member of an inline table with its comma. `previous` is where the member before it ends.
pub(super) fn inline_member(text: &str, member: Range<usize>, previous: Option<usize>) -> Option<Range<usize>> {
    if let Some(previous) = previous {
        return Some(previous..member.end);
    }
    let rest = &text[member.end..];
    let gap = rest.len() - rest.trim_start().len();
    match rest[gap..].chars().next()? {
        ',' => {
            let after = &rest[gap + 1..];
            let space = after.len() - after.trim_start_matches([' ', '\t']).len();
            Some(member.start..member.end + gap + 1 + space)
        }
        '}' => Some(member.start..member.end + gap),
        _ => None,
    }
}

/// Line and column, from 1, of an offset; the column in characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let upto = text.get(..at).unwrap_or(text);
    let start = line_start(upto, upto.len());
    (upto.matches('\n').count() + 1, upto[start..].chars().filter(|c| *c != '\u{feff}').count() + 1)
}

/// Where the line begins that `at` is on. A byte order mark is before the first line.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    match text[..at].rfind('\n') {
        Some(newline) => newline + 1,
        None if text.starts_with('\u{feff}') => '\u{feff}'.len_utf8(),
        None => 0,
    }
}

/// The white space that the line begins with that `at` is on.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Where the line after the one begins that `at` is on.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// The last line of a text, with its end if it has one.
fn last_line(text: &str) -> &str {
    let body = text.strip_suffix('\n').unwrap_or(text);
    &text[line_start(text, body.len())..]
}

/// Where the comment begins that stands directly above the line that `at` is on; that line, if there is none.
fn comment_start(text: &str, at: usize) -> usize {
    let mut start = line_start(text, at);
    loop {
        let above = last_line(&text[..start]);
        if !above.trim_start().starts_with('#') || above.is_empty() {
            return start;
        }
        start -= above.len();
    }
}

/// The line end that the text uses, by its first line.
fn newline(text: &str) -> &'static str {
    let first = &text[..line_end(text, 0)];
    if first.ends_with("\r\n") { "\r\n" } else { "\n" }
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Offline => "offline",
        Mode::ReadOnly => "read-only",
        Mode::Hold => "hold",
    }
}

/// A string on one line, whatever it holds: a flag stays one line of the file.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
