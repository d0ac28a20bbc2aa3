//! Finds where a flag is written in a parsed flag file, or where a new one belongs. Changes nothing.

use std::ops::Range;

use jiff::Timestamp;
use toml_edit::{Document, Item, Key, TableLike, Value};

use super::{EditError, Entry, form, splice};
use crate::plan::flags::{Mode, OnOverrun};

/// Form in which a flag is written.
pub(super) enum FlagForm<'a> {
    /// One value after the name: `web = "offline"` or `web = { … }`; `inline` holds an inline `routes` table.
    Value { key: &'a Key, item: &'a Item, inline: Option<&'a dyn TableLike> },
    /// One line per key, below a header `[routes.web]` or dotted.
    Keys { header: Option<Range<usize>>, table: &'a dyn TableLike },
}

/// Place for a new flag.
pub(super) enum InsertPoint {
    /// A separate line after the line at this offset, with this prefix.
    Lines { after: usize, prefix: String },
    /// In an inline table, after its last value.
    Inline { after: Option<usize>, whole: Range<usize> },
    /// In a new `[routes]`, before the header at this offset or at the end of the text.
    Missing { before: Option<usize> },
}

/// Returns the item `routes`, if there is one. Anything but a table is an error.
pub(super) fn routes<'a>(doc: &'a Document<&str>) -> Result<Option<&'a Item>, EditError> {
    match doc.as_table().get("routes") {
        Some(item) if item.as_table_like().is_none() => Err(form(doc.raw(), start(item), "routes")),
        other => Ok(other),
    }
}

/// Returns the form of the flag of `route`, if there is one.
pub(super) fn flag_form<'a>(
    text: &str,
    doc: &'a Document<&str>,
    route: &str,
) -> Result<Option<FlagForm<'a>>, EditError> {
    let Some(parent) = routes(doc)? else { return Ok(None) };
    let Some(table) = parent.as_table_like() else { return Ok(None) };
    let Some((key, item)) = table.get_key_value(route) else { return Ok(None) };
    let inline = parent.is_value().then_some(table);
    match item {
        Item::Value(Value::InlineTable(dotted)) if dotted.is_dotted() => Err(form(text, key_span(key).start, route)),
        Item::Value(_) => Ok(Some(FlagForm::Value { key, item, inline })),
        Item::Table(table) if table.is_dotted() => Ok(Some(FlagForm::Keys { header: None, table })),
        Item::Table(table) if !table.is_implicit() => Ok(Some(FlagForm::Keys { header: table.span(), table })),
        Item::Table(_) | Item::ArrayOfTables(_) | Item::None => Err(form(text, key_span(key).start, route)),
    }
}

/// Returns the place for a new flag.
pub(super) fn insert_point(text: &str, doc: &Document<&str>) -> Result<InsertPoint, EditError> {
    let Some(item) = routes(doc)? else { return Ok(InsertPoint::Missing { before: first_header(doc.as_item()) }) };
    let indented = |after: usize| InsertPoint::Lines { after, prefix: splice::indent(text, after).to_owned() };
    match item {
        Item::Value(value) => {
            let whole = value.span().unwrap_or_default();
            Ok(InsertPoint::Inline { after: value.as_inline_table().and_then(|table| end(table)), whole })
        }
        Item::Table(table) if table.is_dotted() => match end(table) {
            Some(after) => Ok(InsertPoint::Lines { after, prefix: format!("{}routes.", splice::indent(text, after)) }),
            None => Err(form(text, start(item), "routes")),
        },
        Item::Table(table) if table.is_implicit() => Ok(InsertPoint::Missing { before: first_header(item) }),
        Item::Table(table) => Ok(indented(end(table).unwrap_or_else(|| table.span().unwrap_or_default().end))),
        Item::ArrayOfTables(_) | Item::None => Err(form(text, start(item), "routes")),
    }
}

/// Parses a flag; `None` if the item is no valid flag.
pub(super) fn entry(item: &Item) -> Option<Entry> {
    if let Some(word) = item.as_str() {
        return Some(Entry::of(splice::mode(word)?));
    }
    let table = item.as_table_like()?;
    if table.iter().any(|(key, _)| !["mode", "until", "message", "held_by", "on_overrun"].contains(&key)) {
        return None;
    }
    let until = table.get("until").map(instant);
    let message = table.get("message").map(|item| item.as_str().map(str::to_owned));
    let holder = table.get("held_by").map(|item| item.as_str().map(str::to_owned));
    Some(Entry {
        mode: table.get("mode").and_then(word)?,
        until: until.map_or(Some(None), |at| at.map(Some))?,
        message: message.map_or(Some(None), |text| text.map(Some))?,
        held_by: holder.map_or(Some(None), |text| text.map(Some))?,
        on_overrun: table.get("on_overrun").map_or(Some(OnOverrun::Open), |item| splice::on_overrun(item.as_str()?))?,
    })
}

/// Returns true if `item`, the value of a flag's key `name`, matches `entry`.
pub(super) fn matches(item: &Item, name: &str, entry: &Entry) -> bool {
    match name {
        "mode" => word(item) == Some(entry.mode),
        "until" => instant(item) == entry.until,
        "held_by" => item.as_str() == entry.held_by.as_deref(),
        "on_overrun" => item.as_str().and_then(splice::on_overrun) == Some(entry.on_overrun),
        _ => item.as_str() == entry.message.as_deref(),
    }
}

/// Returns the key of the table that comes first in the text.
pub(super) fn first_key(table: &dyn TableLike) -> Option<(&Key, &Item)> {
    let keys = table.iter().filter_map(|(name, _)| table.get_key_value(name));
    keys.filter(|(_, item)| item.is_value()).min_by_key(|(key, _)| key_span(key).start)
}

/// Returns the end of the table's last value, and the text before its key on the same line.
pub(super) fn last_key(text: &str, table: &dyn TableLike) -> Option<(usize, String)> {
    let keys = table.iter().filter_map(|(name, _)| table.get_key_value(name));
    let (key, item) = keys.filter(|(_, item)| item.is_value()).max_by_key(|(key, _)| key_span(key).start)?;
    let start = key_span(key).start;
    Some((span(item).end, text[splice::line_start(text, start)..start].to_owned()))
}

/// Returns the end of the last value of the table itself. Tables with their own header do not count.
pub(super) fn end(table: &dyn TableLike) -> Option<usize> {
    end_before(table, usize::MAX)
}

/// Returns the end of the table's last value that begins before `limit`.
pub(super) fn end_before(table: &dyn TableLike, limit: usize) -> Option<usize> {
    let ends = table.iter().filter_map(|(_, item)| match item {
        Item::Value(Value::InlineTable(inner)) if inner.is_dotted() => end_before(inner, limit),
        Item::Table(inner) if inner.is_dotted() => end_before(inner, limit),
        Item::Value(_) if start(item) < limit => Some(span(item).end),
        Item::Value(_) | Item::Table(_) | Item::ArrayOfTables(_) | Item::None => None,
    });
    ends.max()
}

/// Returns an item's span. The parser gives every item of a text a span.
pub(super) fn span(item: &Item) -> Range<usize> {
    item.span().unwrap_or_default()
}

/// Returns a key's span. The parser gives every key of a text a span.
pub(super) fn key_span(key: &Key) -> Range<usize> {
    key.span().unwrap_or_default()
}

fn start(item: &Item) -> usize {
    span(item).start
}

fn word(item: &Item) -> Option<Mode> {
    splice::mode(item.as_str()?)
}

fn instant(item: &Item) -> Option<Timestamp> {
    item.as_datetime()?.to_string().parse().ok()
}

/// Returns the offset of the first header inside an item.
fn first_header(item: &Item) -> Option<usize> {
    match item {
        Item::Table(table) => {
            let inner = table.iter().filter_map(|(_, item)| first_header(item)).min();
            let root_or_headless =
                table.is_implicit() || table.is_dotted() || table.span().is_none_or(|s| s.is_empty());
            let own = if root_or_headless { None } else { table.span().map(|span| span.start) };
            own.into_iter().chain(inner).min()
        }
        Item::ArrayOfTables(tables) => tables.iter().filter_map(|table| Some(table.span()?.start)).min(),
        Item::Value(_) | Item::None => None,
    }
}

/// Returns the windows, written as `[[windows]]` or as an array.
pub(super) fn windows<'a>(doc: &'a Document<&str>) -> Vec<&'a dyn TableLike> {
    match doc.get("windows") {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| table as &dyn TableLike).collect(),
        Some(Item::Value(Value::Array(array))) => {
            array.iter().filter_map(|value| Some(value.as_inline_table()? as &dyn TableLike)).collect()
        }
        Some(Item::Value(_) | Item::Table(_) | Item::None) | None => Vec::new(),
    }
}
