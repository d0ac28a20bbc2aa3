//! Descriptions of keys, for the documents and the manual pages: the type of a value, and what applies without one.

use std::ops::RangeInclusive;

use super::{Absent, Form, Key, Table};

impl Table {
    /// Returns the table and those inside of it, each header once, in the order in which they are described.
    pub fn with_inner(&'static self) -> Vec<&'static Self> {
        let mut tables = vec![self];
        let mut index = 0;
        while let Some(table) = tables.get(index) {
            let inner = table.keys.iter().flat_map(|key| key.form.tables());
            let new: Vec<_> = inner.filter(|inner| !tables.iter().any(|table| table.header == inner.header)).collect();
            tables.extend(new);
            index += 1;
        }
        tables
    }
}

impl Key {
    /// Returns what applies where the key is not written, in Markdown.
    pub fn absence(&self) -> String {
        match (self.default().as_deref(), self.absent) {
            (Some("{}"), _) => "its defaults".to_owned(),
            (Some("[]"), _) => "none".to_owned(),
            (Some(value), _) => format!("`{value}`"),
            (None, Absent::Required) => "*required*".to_owned(),
            (None, Absent::Means(words)) => words.to_owned(),
            (None, Absent::Is(_) | Absent::Count(_) | Absent::Bytes(_) | Absent::Millis(_)) => String::new(),
        }
    }
}

impl Form {
    /// Returns the type of a value, in Markdown. `link` writes a link to a table.
    pub fn described(&self, link: &dyn Fn(&Table) -> String) -> String {
        match self {
            Self::Text(pattern) => pattern.name.to_owned(),
            Self::Words(longest) => format!("line of text, {longest} bytes at most"),
            Self::Paragraphs(longest) => format!("text, {longest} bytes at most"),
            Self::Translated(longest) => format!("[translatable text](#types), {longest} bytes at most"),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Count(least, most) if *most > MOST => format!("number, {least} or more"),
            Self::Count(least, most) => format!("number, {least} to {most}"),
            Self::Share => "share, 0 to 1".to_owned(),
            Self::Size(..) => format!("[size](#types), {}", self.range().unwrap_or_default()),
            Self::Time(..) => format!("[duration](#types), {}", self.range().unwrap_or_default()),
            Self::Instant => "[instant](#types)".to_owned(),
            Self::Choice(words) => words.iter().map(|word| format!("`{word:?}`")).collect::<Vec<_>>().join(", "),
            Self::Array(item, counts) => format!("list of {}: {}", count(counts), item.described(link)),
            Self::OneOrArray(item, counts) => format!("{}; or a list of {}", item.described(link), count(counts)),
            Self::Fields(longest) => format!("for each header field: line of text, {longest} bytes at most"),
            Self::Statuses(item, most) => {
                format!("for each status or class of them, {most} at most: {}", item.described(link))
            }
            Self::Table(table) => format!("table {}", link(table)),
            Self::Tables(table, most) => format!("tables {}, {most} at most", link(table)),
            Self::Routes(item) => format!("for each name: {}", item.described(link)),
            Self::Targets(item) => format!("for each route: {}", item.described(link)),
            Self::Upstreams(item) => format!("for each upstream: {}", item.described(link)),
            Self::Either(forms) => forms.iter().map(|form| form.described(link)).collect::<Vec<_>>().join("; or "),
        }
    }

    fn tables(&self) -> Vec<&'static Table> {
        match self {
            Self::Table(table) | Self::Tables(table, _) => vec![table],
            Self::Array(item, _)
            | Self::OneOrArray(item, _)
            | Self::Statuses(item, _)
            | Self::Routes(item)
            | Self::Targets(item)
            | Self::Upstreams(item) => item.tables(),
            Self::Either(forms) => forms.iter().flat_map(Self::tables).collect(),
            Self::Text(_)
            | Self::Words(_)
            | Self::Paragraphs(_)
            | Self::Translated(_)
            | Self::Bool
            | Self::Count(..)
            | Self::Share
            | Self::Size(..)
            | Self::Time(..)
            | Self::Instant
            | Self::Choice(_)
            | Self::Fields(_) => Vec::new(),
        }
    }
}

fn count(counts: &RangeInclusive<usize>) -> String {
    match counts.end() {
        &usize::MAX => "any length".to_owned(),
        end => format!("{} to {end}", counts.start()),
    }
}

/// Greatest upper end of a range. A range with a greater one is shown without an end.
const MOST: u64 = 1 << 60;
