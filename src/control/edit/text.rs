//! Edits of a flag file's text, for `backsoon on`, `off`, `step`, `bypass`, `plan` and its kin.
//!
//! Text in, text out: no file, no clock. Edits are made at the spans that the parser reports. Every other byte stays:
//! comments, blank lines, order, spelling of strings, CRLF line ends, a byte order mark. Comments inside a replaced
//! value are lost.
//!
//! - [`on`] replaces the whole flag: an earlier end or message is dropped unless it is given again. A flag that already
//!   says the same keeps its spelling. A new flag becomes one line at the end of `[routes]`. A missing `[routes]` is
//!   inserted before the first table, because keys after a table's header would belong to that table.
//! - [`off`] removes the flag's line with its trailing comment, or its `[routes.web]` table. A comment above stays,
//!   because it may be about more than this flag. Windows are not touched.

mod find;
mod lifted;
mod set;
mod splice;
mod windows;

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use toml_edit::{Document, Item, TableLike};

use self::find::{FlagForm, InsertPoint};
pub(crate) use self::lifted::{forget_lifted, note_lifted};
pub(crate) use self::set::{TableRef, has_progress, set};
pub(crate) use self::windows::{NewSpan, NewWindow, add, leave_out, remove};
use crate::plan::flags::{Mode, OnOverrun};

/// Content of a flag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Mode of the route.
    pub mode: Mode,
    /// Instant at which the flag lifts by itself.
    pub until: Option<Timestamp>,
    /// Operator's text for the page.
    pub message: Option<String>,
    /// Holder, which renews the end.
    pub held_by: Option<String>,
    /// Reaction when the end has come.
    pub on_overrun: OnOverrun,
}

impl Entry {
    /// Creates a flag with neither an end nor words.
    pub(crate) const fn of(mode: Mode) -> Self {
        Self { mode, until: None, message: None, held_by: None, on_overrun: OnOverrun::Open }
    }
}

/// Flags that [`off`] removes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection<'a> {
    /// Flags of these routes; `*` is the flag of that name, not every flag.
    Routes(&'a [String]),
    /// Every flag.
    All,
}

/// Result of [`off`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lifted {
    /// Text without the flags.
    pub text: String,
    /// Routes whose flag was removed.
    pub removed: Vec<String>,
    /// Routes that had no flag of their own.
    pub absent: Vec<String>,
}

/// Error that prevents an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EditError {
    /// The text is not TOML.
    Parse {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// Message of the parser.
        message: String,
    },
    /// The flags are written in a form that cannot be edited, though it may be valid.
    Form {
        /// Counted from 1.
        line: usize,
        /// The route, or `routes` for the table as a whole.
        name: String,
    },
    /// The instant cannot be written in TOML: its year is not between 0 and 9999.
    Until(Timestamp),
    /// There is no such window.
    NoWindow {
        /// The id that was given.
        id: String,
    },
    /// The window has no such step.
    NoStep {
        /// The window's id.
        id: String,
        /// Counted from 0.
        index: usize,
        /// Number of steps that the window has.
        count: usize,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse { line, column, message } => write!(f, "line {line}, column {column}: {message}"),
            Self::Form { line, name } => {
                write!(f, "line {line}: `{name}` is written in a form that cannot be edited here; edit it by hand")
            }
            Self::NoWindow { id } => write!(f, "it has no window `{id}`"),
            Self::NoStep { id, count: 0, .. } => write!(f, "window `{id}` has no steps"),
            Self::NoStep { id, index, count } => {
                write!(f, "window `{id}` has no step {}, its steps are 1 to {count}", index.saturating_add(1))
            }
            Self::Until(at) => write!(f, "the end `{at}` is outside the years 0 to 9999"),
        }
    }
}

impl std::error::Error for EditError {}

/// Flags each of `routes` in `text` with `entry`, and returns the new text.
///
/// # Errors
/// If `text` is not TOML, or holds the flags in a form that cannot be edited.
pub(crate) fn on(text: &str, routes: &[String], entry: &Entry) -> Result<String, EditError> {
    if let Some(at) = entry.until {
        at.to_string().parse::<toml_edit::Datetime>().map_err(|_| EditError::Until(at))?;
    }
    let mut text = text.to_owned();
    for route in routes {
        text = apply_repeatedly(text, route, |text, doc| step_on(text, doc, route, entry))?;
    }
    Ok(text)
}

/// Removes the flags of `which` from `text`.
///
/// # Errors
/// If `text` is not TOML, or holds the flags in a form that cannot be edited.
pub(crate) fn off(text: &str, which: Selection<'_>) -> Result<Lifted, EditError> {
    let before = parse(text)?;
    let flagged: Vec<String> = find::routes(&before)?.map(names).unwrap_or_default();
    let asked = match which {
        Selection::Routes(routes) => deduplicated(routes),
        Selection::All => flagged.clone(),
    };
    let (removed, absent): (Vec<_>, Vec<_>) = asked.into_iter().partition(|route| flagged.contains(route));
    let mut text = text.to_owned();
    for route in &removed {
        text = apply_repeatedly(text, route, |text, doc| step_off(text, doc, route))?;
    }
    let lifts_all = !removed.is_empty() || matches!(which, Selection::All);
    if lifts_all && text.trim().is_empty() {
        // The proxy would refuse an empty file.
        text = "[routes]\n".to_owned();
    }
    Ok(Lifted { removed, absent, text })
}

/// Replacement of a range of the text.
type Change = (Range<usize>, String);

/// Applies the changes that `step` returns, one at a time, and parses again after each, until `step` returns none.
///
/// So no change depends on the offsets of another one, and the returned text is known to parse and to hold the edit.
fn apply_repeatedly(
    mut text: String,
    route: &str,
    step: impl Fn(&str, &Document<&str>) -> Result<Option<Change>, EditError>,
) -> Result<String, EditError> {
    for _ in 0..MAX_STEPS {
        let doc = parse(&text)?;
        let Some((range, with)) = step(&text, &doc)? else { return Ok(text) };
        text.replace_range(range, &with);
    }
    Err(EditError::Form { line: 1, name: route.to_owned() })
}

fn step_on(text: &str, doc: &Document<&str>, route: &str, entry: &Entry) -> Result<Option<Change>, EditError> {
    let line = || format!("{} = {}", splice::key(route), splice::value(entry));
    let change = match find::flag_form(text, doc, route)? {
        Some(FlagForm::Value { item, .. }) => {
            if find::entry(item).as_ref() == Some(entry) {
                return Ok(None);
            }
            (find::span(item), splice::value(entry))
        }
        Some(FlagForm::Keys { header, table }) => return Ok(step_keys(text, header, table, entry)),
        None => match find::insert_point(text, doc)? {
            InsertPoint::Lines { after, prefix } => splice::line_after(text, after, &format!("{prefix}{}", line())),
            InsertPoint::Inline { after: Some(after), .. } => (after..after, format!(", {}", line())),
            InsertPoint::Inline { after: None, whole } => (whole, format!("{{ {} }}", line())),
            InsertPoint::Missing { before } => splice::section(text, before, &line()),
        },
    };
    Ok(Some(change))
}

/// Returns the next change to a flag whose keys are on separate lines: `[routes.web]`, or `web.mode = "offline"`.
fn step_keys(text: &str, header: Option<Range<usize>>, table: &dyn TableLike, entry: &Entry) -> Option<Change> {
    let mut after = header.map(|header| (header.end, String::new()));
    for (name, wanted) in splice::keys(entry) {
        match (table.get_key_value(name), wanted) {
            (Some((key, item)), Some(wanted)) => {
                if !find::matches(item, name, entry) {
                    return Some((find::span(item), wanted));
                }
                let prefix = &text[splice::line_start(text, find::key_span(key).start)..find::key_span(key).start];
                after = Some((find::span(item).end, prefix.to_owned()));
            }
            (Some((key, item)), None) => {
                return Some((splice::lines(text, find::key_span(key).start, find::span(item).end), String::new()));
            }
            (None, Some(wanted)) => {
                // A table without a header has at least one key, though maybe an unknown one.
                let (at, prefix) = after.or_else(|| find::last_key(text, table))?;
                return Some(splice::line_after(text, at, &format!("{prefix}{name} = {wanted}")));
            }
            (None, None) => {}
        }
    }
    None
}

fn step_off(text: &str, doc: &Document<&str>, route: &str) -> Result<Option<Change>, EditError> {
    let change = match find::flag_form(text, doc, route)? {
        None => return Ok(None),
        Some(FlagForm::Value { key, item, inline: None }) => {
            (splice::lines(text, find::key_span(key).start, find::span(item).end), String::new())
        }
        Some(FlagForm::Value { key, item, inline: Some(table) }) => {
            let (start, end) = (find::key_span(key).start, find::span(item).end);
            let range = splice::inline_member(text, start..end, find::end_before(table, start));
            (range.ok_or_else(|| form(text, start, route))?, String::new())
        }
        Some(FlagForm::Keys { header: Some(header), table }) => {
            let end = find::end(table).unwrap_or(header.end);
            (splice::lines_and_gap(text, header.start, end), String::new())
        }
        Some(FlagForm::Keys { header: None, table }) => {
            let Some((key, item)) = find::first_key(table) else { return Err(form(text, 0, route)) };
            (splice::lines(text, find::key_span(key).start, find::span(item).end), String::new())
        }
    };
    Ok(Some(change))
}

fn parse(text: &str) -> Result<Document<&str>, EditError> {
    Document::parse(text).map_err(|e| {
        let (line, column) = splice::place(text, e.span().map_or(0, |span| span.start));
        EditError::Parse { line, column, message: e.message().replace('\n', ", ") }
    })
}

fn form(text: &str, at: usize, name: &str) -> EditError {
    EditError::Form { line: splice::place(text, at).0, name: name.to_owned() }
}

fn names(routes: &Item) -> Vec<String> {
    routes.as_table_like().map(|table| table.iter().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
}

/// Returns the names in their order, each once.
#[must_use]
pub(crate) fn deduplicated(routes: &[String]) -> Vec<String> {
    let mut seen = Vec::<String>::new();
    for route in routes {
        if !seen.contains(route) {
            seen.push(route.clone());
        }
    }
    seen
}

/// Most changes to one flag: its five keys, and each dotted key on its own. More mean that the edit does not converge.
const MAX_STEPS: usize = 64;

#[cfg(test)]
mod tests;
