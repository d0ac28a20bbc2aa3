//! Sets keys of a window, of one of its steps, or of a top-level table. A missing top-level table is added.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use super::{Change, EditError, apply_repeatedly, find, form, splice};

/// Table whose keys are set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TableRef<'a> {
    /// A top-level table such as `[forced]`.
    TopLevel(&'a str),
    /// A window, by its id.
    Window(&'a str),
    /// A step of a window, counted from 0.
    Step(&'a str, usize),
    /// Progress of such a step, which must exist.
    Progress(&'a str, usize),
}

/// Sets each key to a value spelled as in TOML, or removes the key.
///
/// # Errors
/// If `text` is not TOML, if the window or step is missing, or if its form cannot be edited.
pub(crate) fn set(text: &str, target: TableRef<'_>, keys: &[(&str, Option<String>)]) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for (key, value) in keys {
        let name = (*key).to_owned();
        text = apply_repeatedly(text, &name, |text, doc| step(text, doc, target, key, value.as_deref()))?;
    }
    Ok(text)
}

/// Returns true if a step of a window, counted from 0, has a progress.
///
/// # Errors
/// As [`set`].
pub(crate) fn has_progress(text: &str, id: &str, index: usize) -> Result<bool, EditError> {
    let doc = super::parse(text)?;
    Ok(nth_step(&doc, id, index)?.contains_key("progress"))
}

fn step(
    text: &str,
    doc: &Document<&str>,
    target: TableRef<'_>,
    key: &str,
    value: Option<&str>,
) -> Result<Option<Change>, EditError> {
    let mut header = None;
    let table = match target {
        TableRef::TopLevel(name) => match doc.get(name) {
            None => return Ok(value.map(|value| appended(text, name, key, value))),
            Some(item) => {
                header = item.as_table().and_then(toml_edit::Table::span);
                item.as_table_like().ok_or_else(|| form(text, find::span(item).start, name))?
            }
        },
        TableRef::Window(id) => window(doc, id)?,
        TableRef::Step(id, index) => nth_step(doc, id, index)?,
        TableRef::Progress(id, index) => {
            let progress = nth_step(doc, id, index)?.get("progress").and_then(Item::as_table_like);
            progress.ok_or_else(|| form(text, 0, "progress"))?
        }
    };
    match (table.get_key_value(key), value) {
        (None, None) => Ok(None),
        (None, Some(value)) => inserted(text, table, header, key, value).map(Some).ok_or_else(|| form(text, 0, key)),
        (Some((_, item)), Some(value)) => {
            let span = item.is_value().then(|| find::span(item)).ok_or_else(|| form(text, 0, key))?;
            Ok((text.get(span.clone()) != Some(value)).then(|| (span, value.to_owned())))
        }
        (Some((name, item)), None) => {
            let member = find::key_span(name).start..find::span(item).end;
            removed(text, table, member).map(|range| Some((range, String::new()))).ok_or_else(|| form(text, 0, key))
        }
    }
}

fn nth_step<'a>(doc: &'a Document<&str>, id: &str, index: usize) -> Result<&'a dyn TableLike, EditError> {
    let steps = steps(window(doc, id)?);
    let count = steps.len();
    steps.get(index).copied().ok_or_else(|| EditError::NoStep { id: id.to_owned(), index, count })
}

/// Finds a window by its id.
fn window<'a>(doc: &'a Document<&str>, id: &str) -> Result<&'a dyn TableLike, EditError> {
    let mut windows = find::windows(doc).into_iter();
    let found = windows.find(|window| window.get("id").and_then(Item::as_str) == Some(id));
    found.ok_or_else(|| EditError::NoWindow { id: id.to_owned() })
}

/// Returns the steps of a window, written as `[[windows.steps]]` or as an array.
fn steps(window: &dyn TableLike) -> Vec<&dyn TableLike> {
    match window.get("steps") {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| table as &dyn TableLike).collect(),
        Some(Item::Value(Value::Array(array))) => {
            array.iter().filter_map(|value| Some(value.as_inline_table()? as &dyn TableLike)).collect()
        }
        Some(Item::Value(_) | Item::Table(_) | Item::None) | None => Vec::new(),
    }
}

/// Inserts a key after the last one of its table, on a new line or inside the inline table.
fn inserted(text: &str, table: &dyn TableLike, header: Option<Range<usize>>, key: &str, value: &str) -> Option<Change> {
    let line = format!("{} = {value}", splice::key(key));
    let Some((last, prefix)) = find::last_key(text, table) else {
        // The header has no keys below it.
        return Some(splice::line_after(text, header?.end, &line));
    };
    if prefix.trim().is_empty() {
        return Some(splice::line_after(text, last, &format!("{prefix}{line}")));
    }
    Some((last..last, format!(", {line}")))
}

/// Returns the range to remove for a key with its value: whole lines, or a part of an inline table.
fn removed(text: &str, table: &dyn TableLike, member: Range<usize>) -> Option<Range<usize>> {
    let before = &text[splice::line_start(text, member.start)..member.start];
    if before.trim().is_empty() {
        return Some(splice::lines(text, member.start, member.end));
    }
    splice::inline_member(text, member.clone(), find::end_before(table, member.start))
}

/// Appends a new table at the end of the text.
fn appended(text: &str, name: &str, key: &str, value: &str) -> Change {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let joint = match text.trim_end() {
        "" => String::new(),
        _ if text.ends_with("\n\n") || text.ends_with("\n\r\n") => String::new(),
        _ if text.ends_with('\n') => newline.to_owned(),
        _ => newline.repeat(2),
    };
    (text.len()..text.len(), format!("{joint}[{name}]{newline}{} = {value}{newline}", splice::key(key)))
}
