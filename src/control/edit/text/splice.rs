//! Text to insert, and ranges of text to remove. Works on lines and spelling only, without parsed items.

use std::ops::Range;

use super::{Change, Entry};
use crate::plan::flags::{Mode, OnOverrun};

/// Spells a flag's value, in the short form if it has neither an end nor a message.
pub(super) fn value(entry: &Entry) -> String {
    if *entry == Entry::of(entry.mode) {
        return quoted(word(entry.mode));
    }
    let given = keys(entry).into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
    format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
}

/// Returns the keys of a flag in the order of writing, each with its value if it has one.
pub(super) fn keys(entry: &Entry) -> [(&'static str, Option<String>); 5] {
    [
        ("mode", Some(quoted(word(entry.mode)))),
        ("until", entry.until.map(|at| at.to_string())),
        ("message", entry.message.as_deref().map(quoted)),
        ("held_by", entry.held_by.as_deref().map(quoted)),
        ("on_overrun", (entry.on_overrun == OnOverrun::Stay).then(|| quoted("stay"))),
    ]
}

/// Spells a key, quoted if necessary.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// Parses the name of a mode.
pub(super) fn mode(word: &str) -> Option<Mode> {
    match word {
        "offline" => Some(Mode::Offline),
        "read-only" => Some(Mode::ReadOnly),
        "hold" => Some(Mode::Hold),
        _ => None,
    }
}

/// Parses the reaction to an end.
pub(super) fn on_overrun(word: &str) -> Option<OnOverrun> {
    match word {
        "open" => Some(OnOverrun::Open),
        "stay" => Some(OnOverrun::Stay),
        _ => None,
    }
}

/// Inserts a line after the line of `at`, with the text's line ending.
pub(super) fn line_after(text: &str, at: usize, line: &str) -> Change {
    let end = line_end(text, at);
    let newline = newline(text);
    // The last line may lack a line ending.
    let joint = if text[..end].ends_with('\n') { "" } else { newline };
    (end..end, format!("{joint}{line}{newline}"))
}

/// Inserts a `[routes]` with one line before the header at `before` and its comment, or at the end of the text.
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

/// Returns the range of the whole lines from `start` to `end`.
pub(super) fn lines(text: &str, start: usize, end: usize) -> Range<usize> {
    line_start(text, start)..line_end(text, end)
}

/// Like [`lines`], and includes one of two blank lines that would become adjacent.
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

/// Returns the range of a member of an inline table with its comma. `previous` is the end of the member before it.
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

/// Returns line and column of an offset, both from 1; the column counts characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let upto = text.get(..at).unwrap_or(text);
    let start = line_start(upto, upto.len());
    (upto.matches('\n').count() + 1, upto[start..].chars().filter(|c| *c != '\u{feff}').count() + 1)
}

/// Returns the start of the line of `at`. A byte order mark does not belong to the first line.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    match text[..at].rfind('\n') {
        Some(newline) => newline + 1,
        None if text.starts_with('\u{feff}') => '\u{feff}'.len_utf8(),
        None => 0,
    }
}

/// Returns the indentation of the line of `at`.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Returns the end of the line of `at`, after its line ending.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// Returns the last line of a text, with its line ending if it has one.
pub(super) fn last_line(text: &str) -> &str {
    let body = text.strip_suffix('\n').unwrap_or(text);
    &text[line_start(text, body.len())..]
}

/// Returns the start of the comment directly above the line of `at`, or of that line if there is no comment.
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

/// Returns the line ending of the text's first line.
pub(super) fn newline(text: &str) -> &'static str {
    let first = &text[..line_end(text, 0)];
    if first.ends_with("\r\n") { "\r\n" } else { "\n" }
}

/// Returns the word for a mode in the flag file.
pub(super) fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Offline => "offline",
        Mode::ReadOnly => "read-only",
        Mode::Hold => "hold",
    }
}

/// Quotes a string on one line, whatever it contains, so that a flag stays one line of the file.
pub(super) fn quoted(text: &str) -> String {
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
