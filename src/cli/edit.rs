//! Edits the text of a flag file: what `backsoon on` and `backsoon off` do to it.
//!
//! Text in, text out: no file, no clock. The edit is made in the text itself, at the places that the parser names, so
//! every byte elsewhere stays as it was: comments, blank lines, order, spelling of strings, CRLF line ends, a byte
//! order mark. What is inside a replaced value goes with it.
//!
//! - [`on`] states the whole flag: an end or a message that is not given is not kept from before. A flag that already
//!   says the same is left as it is written. A new flag is one line at the end of `[routes]`; a `[routes]` that is
//!   missing is made before the first table of the file, since keys after a table's header would belong to that table.
//! - [`off`] removes the flag's line with the comment behind it, or its `[routes.web]` table; a comment that stands
//!   above stays, because it may speak of more than this flag. Windows are left alone, and reported.

mod find;
mod set;
mod splice;

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use toml_edit::{Document, Item, TableLike};

use self::find::{FlagForm, InsertPoint};
pub use self::set::{TableRef, has_progress, set, steps_of};
use crate::plan::flags::Mode;

/// What a flag says.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it does to the route.
    pub mode: Mode,
    /// The instant at which it lifts by itself.
    pub until: Option<Timestamp>,
    /// The operator's words for the page.
    pub message: Option<String>,
}

/// Whose flags [`off`] removes.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// Of these routes; `*` is the flag of that name, not every flag.
    Routes(&'a [String]),
    /// All of them.
    All,
}

/// What [`off`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifted {
    /// The text without the flags.
    pub text: String,
    /// The routes whose flag was removed.
    pub removed: Vec<String>,
    /// The routes that had no flag of their own.
    pub absent: Vec<String>,
    /// What else in the file flags these routes, now or at another time.
    pub others: Vec<OtherFlag>,
}

/// A route that something else in the file flags, too.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherFlag {
    /// The route, or `*` for every route.
    pub route: String,
    /// What flags it.
    pub source: FlagSource,
}

/// What else flags a route.
#[derive(Clone, Debug, PartialEq)]
pub enum FlagSource {
    /// The flag `"*"`.
    Every,
    /// A window that names the route or `*`.
    Window {
        /// Its `id`; empty if it has none.
        id: String,
        /// Its `starts`, if that is an instant.
        starts: Option<Timestamp>,
        /// Its `ends`, if that is an instant.
        ends: Option<Timestamp>,
    },
}

impl OtherFlag {
    /// Tells whether the route is flagged at `now`. A window whose span cannot be read counts as in force.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        match &self.source {
            FlagSource::Every => true,
            FlagSource::Window { starts, ends, .. } => {
                starts.is_none_or(|at| at <= now) && ends.is_none_or(|at| now < at)
            }
        }
    }
}

/// Why a text was not edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The text is not TOML.
    Parse {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The flags are written in a form that is not edited, though it may be valid.
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
        /// The id that was looked for.
        id: String,
    },
    /// The window has no such step.
    NoStep {
        /// The window's id.
        id: String,
        /// Counted from 0.
        index: usize,
        /// How many it has.
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

/// Flags `routes` in `text`, each with `entry`, and returns the new text.
///
/// # Errors
/// If `text` is not TOML, or holds the flags in a form that is not edited.
pub fn on(text: &str, routes: &[String], entry: &Entry) -> Result<String, EditError> {
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
/// If `text` is not TOML, or holds the flags in a form that is not edited.
pub fn off(text: &str, which: Selection<'_>) -> Result<Lifted, EditError> {
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
    let after = parse(&text)?;
    let others = match which {
        Selection::Routes(_) => removed.iter().chain(&absent).flat_map(|route| find::others(&after, route)).collect(),
        Selection::All => find::all_windows(&after),
    };
    Ok(Lifted { removed, absent, others, text })
}

/// A replacement of a range of the text.
type Change = (Range<usize>, String);

/// Makes the changes that `step` names, one at a time, parsing anew in between, until it names none.
///
/// So no change has to reckon with another one, and what is returned is known to parse and to say what was asked for.
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

/// The next change to a flag that has its keys on lines of their own: `[routes.web]`, or `web.mode = "offline"`.
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
                // Without a header there is a key at least, but it may be one that is not known here.
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

fn deduplicated(routes: &[String]) -> Vec<String> {
    let mut seen = Vec::<String>::new();
    for route in routes {
        if !seen.contains(route) {
            seen.push(route.clone());
        }
    }
    seen
}

/// Changes to one flag: its three keys, and each key of a dotted one on its own. More means that the text does not
/// converge.
const MAX_STEPS: usize = 64;

#[cfg(test)]
mod tests;
