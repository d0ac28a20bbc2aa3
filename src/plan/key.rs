//! Key of a file: its name, the form of its value, its default and its meaning.

pub(in crate::plan) mod pattern;
mod reference;

use std::ops::RangeInclusive;
use std::time::Duration;

use super::units::{LARGEST, as_bytes, as_duration};
pub use pattern::{DURATION, FIELD_NAME, INSTANT, Pattern, ROUTE_NAME, SIZE, STATUS_NAME, TARGET};

/// Table of a file, with its keys in the order in which the parser takes them.
#[derive(Debug)]
pub struct Table {
    /// Key or header under which it is written, for documents and titles.
    pub header: &'static str,
    /// One sentence about the table.
    pub about: &'static str,
    /// Keys.
    pub keys: &'static [Key],
    /// Conditions between keys.
    pub rules: &'static [Rule],
}

/// Key of a table.
#[derive(Debug)]
pub struct Key {
    /// Name as it is written.
    pub name: &'static str,
    /// Form of its values.
    pub form: Form,
    /// Value that applies where the key is not written.
    pub absent: Absent,
    /// Effect, in Markdown.
    pub meaning: &'static str,
}

/// Form of a value.
#[derive(Debug)]
pub enum Form {
    /// String of a known form: an address, a path, a rate.
    Text(&'static Pattern),
    /// String on one line, of at most this many bytes.
    Words(usize),
    /// String of one or several lines, of at most this many bytes.
    Paragraphs(usize),
    /// String of at most this many bytes, or a table with one string for each language.
    Translated(usize),
    /// `true` or `false`.
    Bool,
    /// Whole number within a range.
    Count(u64, u64),
    /// Number from 0 to 1.
    Share,
    /// Bytes within a range: a whole number, or a string such as `"64KiB"`.
    Size(u64, u64),
    /// Duration within a range: a string such as `"30s"`.
    Time(Duration, Duration),
    /// Date and time with an offset.
    Instant,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// List of a length within the range.
    Array(&'static Self, RangeInclusive<usize>),
    /// One value, or a list of a length within the range.
    OneOrArray(&'static Self, RangeInclusive<usize>),
    /// Table with a line of text, of at most this many bytes, for each of some header fields.
    Fields(usize),
    /// Table with a value for each of some statuses or classes of them, at most this many.
    Statuses(&'static Self, usize),
    /// Table in the line, or under a header of its own.
    Table(&'static Table),
    /// Tables under `[[…]]` headers, at most this many.
    Tables(&'static Table, usize),
    /// Table with a value for each route, by its name.
    Routes(&'static Self),
    /// Table with a value for each route, by its name; `"*"` stands for every route.
    Targets(&'static Self),
    /// Table with a value for each upstream, by its address.
    Upstreams(&'static Self),
    /// Any of several forms.
    Either(&'static [Self]),
}

/// Value that applies where a key is not written.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// Nothing: the key is required.
    Required,
    /// The same as this value, in TOML.
    Is(&'static str),
    /// The same as this number.
    Count(u64),
    /// The same as this many bytes.
    Bytes(u64),
    /// The same as this many milliseconds.
    Millis(u64),
    /// A default that no value can express, described in words.
    Means(&'static str),
}

/// Condition between keys of a table.
#[derive(Debug)]
pub enum Rule {
    /// The first key needs the second.
    Needs(&'static str, &'static str),
    /// Keys of which exactly one must be written.
    OneOf(&'static [&'static str]),
    /// Key that replaces others.
    Instead {
        /// Key.
        key: &'static str,
        /// Replaced keys: required without the key, refused beside it.
        of: &'static [&'static str],
        /// More keys that are refused beside it.
        refused: &'static [&'static str],
    },
}

impl Table {
    /// Returns the names of the keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// Returns true if a key of this name may stand in the table.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}

impl Key {
    pub(in crate::plan) const fn new(name: &'static str, form: Form, absent: Absent, meaning: &'static str) -> Self {
        Self { name, form, absent, meaning }
    }

    /// Returns the default in TOML, if a value can express it.
    pub fn default(&self) -> Option<String> {
        match self.absent {
            Absent::Is(value) => Some(value.to_owned()),
            Absent::Count(number) => Some(number.to_string()),
            Absent::Bytes(bytes) => Some(format!("{:?}", as_bytes(bytes))),
            Absent::Millis(millis) => Some(format!("{:?}", as_duration(Duration::from_millis(millis)))),
            Absent::Required | Absent::Means(_) => None,
        }
    }
}

impl Form {
    /// Returns the range of a number of bytes or of a duration, as it is written.
    pub fn range(&self) -> Option<String> {
        match self {
            Self::Size(least, LARGEST) => Some(format!("{} or more", as_bytes(*least))),
            Self::Size(least, most) => Some(format!("{} to {}", as_bytes(*least), as_bytes(*most))),
            Self::Time(least, most) => Some(format!("{} to {}", as_duration(*least), as_duration(*most))),
            Self::Either(forms) => forms.iter().find_map(Self::range),
            Self::Text(_)
            | Self::Words(_)
            | Self::Paragraphs(_)
            | Self::Translated(_)
            | Self::Bool
            | Self::Count(..)
            | Self::Share
            | Self::Instant
            | Self::Choice(_)
            | Self::Fields(_)
            | Self::Statuses(..)
            | Self::Array(..)
            | Self::OneOrArray(..)
            | Self::Table(_)
            | Self::Tables(..)
            | Self::Routes(_)
            | Self::Targets(_)
            | Self::Upstreams(_) => None,
        }
    }
}
