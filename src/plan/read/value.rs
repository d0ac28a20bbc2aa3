//! Values with their keys and places, and readers for their forms.

#![expect(clippy::wildcard_enum_match_arm, reason = "every TOML type but the one that is read is wrong alike")]

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::friendly::SpanParser;
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};
use toml::value::Datetime;

use super::super::instant;
use super::super::units::{LARGEST, as_bytes, as_duration};
use super::{Report, did_you_mean, did_you_mean_text, list, quoted};

/// Value of the file, with its key.
///
/// Each reader reports a problem and returns `None` if the value has another form.
#[derive(Clone)]
pub(in crate::plan) struct Value<'d> {
    /// Last part of the key, as messages name it. Items of a list have the list's.
    pub(in crate::plan) key: &'d str,
    /// Span of the key.
    pub(in crate::plan) key_span: Range<usize>,
    /// Span of the value.
    pub(in crate::plan) span: Range<usize>,
    /// Value itself.
    pub(in crate::plan) inner: &'d DeValue<'d>,
    /// The value is one of several in a list.
    is_item: bool,
}

impl<'d> Value<'d> {
    pub(in crate::plan) fn new(key: &'d str, name: &Spanned<DeString<'_>>, value: &'d Spanned<DeValue<'d>>) -> Self {
        Self { key, key_span: name.span(), span: value.span(), inner: value.get_ref(), is_item: false }
    }

    /// Returns the same value under another name for messages.
    pub(in crate::plan) fn named(&self, key: &'d str) -> Self {
        Self { key, ..self.clone() }
    }

    /// Reports a wrong type: the type that it must be, and an example.
    pub(in crate::plan) fn mistyped(&self, wanted: &str, help: impl Into<String>, report: &mut Report<'_>) {
        let subject = if self.is_item { "an item of " } else { "" };
        let message = format!("{subject}{} must be {wanted}, not {}", quoted(self.key), found(self.inner));
        report.wrong(self.span.clone(), message, help);
    }

    /// Reads a string that is not empty.
    pub(in crate::plan) fn string(&self, example: &str, report: &mut Report<'_>) -> Option<&'d str> {
        let help = if self.is_item {
            format!("write it as `\"{example}\"`")
        } else {
            format!("write it as `{} = \"{example}\"`", self.key)
        };
        match self.inner {
            DeValue::String(text) if text.trim().is_empty() => {
                report.wrong(self.span.clone(), format!("`{}` is empty", self.key), help);
                None
            }
            DeValue::String(text) => Some(text),
            _ => {
                self.mistyped("a string", help, report);
                None
            }
        }
    }

    /// Reads a string for people: not empty, at most `longest` bytes, without control characters. `lines` tells if
    /// newlines are allowed.
    pub(in crate::plan) fn words(&self, longest: usize, lines: Lines, report: &mut Report<'_>) -> Option<String> {
        let text = match self.inner {
            DeValue::String(text) if !text.trim().is_empty() => text,
            DeValue::String(_) => {
                report.wrong(
                    self.span.clone(),
                    format!("`{}` is empty", self.key),
                    "write some words between the quotes",
                );
                return None;
            }
            _ => return self.string("…", report).map(str::to_owned),
        };
        if text.len() > longest {
            let message = format!("`{}` is too long: {} bytes", self.key, text.len());
            report.wrong(self.span.clone(), message, format!("at most {longest} bytes are allowed"));
            return None;
        }
        let allowed = |c: char| !c.is_control() || (lines == Lines::Many && matches!(c, '\n' | '\r' | '\t'));
        if let Some(control) = text.chars().find(|&c| !allowed(c)) {
            let message = format!("`{}` contains a control character, U+{:04X}", self.key, u32::from(control));
            let help = if control == '\n' { "it is shown on one line: use a space" } else { "remove it" };
            report.wrong(self.span.clone(), message, help);
            return None;
        }
        Some(text.to_string())
    }

    /// Reads a path of the file system.
    pub(in crate::plan) fn path(&self, example: &str, report: &mut Report<'_>) -> Option<PathBuf> {
        let text = self.string(example, report)?;
        if text.contains('\0') {
            let help = format!("write a file's name: `{} = \"{example}\"`", self.key);
            report.wrong(self.span.clone(), format!("{} is not the name of a file", quoted(text)), help);
            return None;
        }
        Some(report.resolve(text))
    }

    /// Returns true for a string with a variable in it. It may stand for a number, or for `true` and `false`, which have
    /// no other way to come from a variable.
    pub(in crate::plan) fn is_filled(&self, report: &Report<'_>) -> bool {
        report.filled.has(&self.span)
    }

    /// Reads `true` or `false`.
    pub(in crate::plan) fn boolean(&self, report: &mut Report<'_>) -> Option<bool> {
        match self.inner {
            DeValue::Boolean(value) => return Some(*value),
            DeValue::String(text) if text == "true" && self.is_filled(report) => return Some(true),
            DeValue::String(text) if text == "false" && self.is_filled(report) => return Some(false),
            _ => {}
        }
        let help = match self.inner {
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => "write it without quotes",
            _ => "write `true` or `false`",
        };
        self.mistyped("`true` or `false`", help, report);
        None
    }

    /// Reads a whole number within a range.
    pub(in crate::plan) fn count(&self, min: u64, max: u64, report: &mut Report<'_>) -> Option<u64> {
        let (value, written) = match self.inner {
            DeValue::Integer(number) => (whole(number), number.to_string()),
            DeValue::String(text) if self.is_filled(report) && text.parse::<u64>().is_ok() => {
                (text.parse().ok(), text.to_string())
            }
            other => {
                let help = match other {
                    DeValue::String(text) if text.parse::<u64>().is_ok() => "write it without quotes".to_owned(),
                    _ => format!("write a number from {}", range(min, max)),
                };
                self.mistyped("a whole number", help, report);
                return None;
            }
        };
        let value = value.filter(|value| (min..=max).contains(value));
        if value.is_none() {
            let message = format!("`{}` is out of range: {}", self.key, short(&written));
            report.wrong(self.span.clone(), message, format!("it may be from {}", range(min, max)));
        }
        value
    }

    /// Reads a number of bytes within a range: a whole number, or a string with a unit.
    pub(in crate::plan) fn size(&self, min: u64, max: u64, report: &mut Report<'_>) -> Option<u64> {
        let (value, written) = match self.inner {
            DeValue::Integer(number) => (whole(number), number.to_string()),
            DeValue::String(text) if self.is_filled(report) && text.parse::<u64>().is_ok() => {
                (text.parse().ok(), text.to_string())
            }
            DeValue::String(text) => match bytes_of(text) {
                Ok(bytes) => (Some(bytes), text.to_string()),
                Err(help) => {
                    report.wrong(self.span.clone(), format!("{} is not a size", quoted(text)), help);
                    return None;
                }
            },
            _ => {
                self.mistyped("a size", format!("write it as `{} = \"64KiB\"`, or in bytes", self.key), report);
                return None;
            }
        };
        let value = value.filter(|bytes| (min..=max).contains(bytes));
        if value.is_none() {
            let message = format!("`{}` is out of range: {}", self.key, short(&written));
            let help = match max {
                LARGEST.. => format!("it may be {} or more", as_bytes(min)),
                _ => format!("it may be from {} to {}", as_bytes(min), as_bytes(max)),
            };
            report.wrong(self.span.clone(), message, help);
        }
        value
    }

    /// Reads a duration inside of a longer text.
    ///
    /// # Errors
    /// Returns the correction.
    pub(in crate::plan) fn duration_of(text: &str) -> Result<Duration, String> {
        duration_of(text)
    }

    /// Reads a duration within a range, as a string with units.
    pub(in crate::plan) fn duration(&self, min: Duration, max: Duration, report: &mut Report<'_>) -> Option<Duration> {
        let text = match self.inner {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                let help =
                    format!("write it as a string, with a unit: `{} = \"{}s\"`", self.key, short(number.as_str()));
                self.mistyped("a duration", help, report);
                return None;
            }
            _ => {
                self.mistyped("a duration", format!("write it as `{} = \"30s\"`", self.key), report);
                return None;
            }
        };
        match duration_of(text) {
            Err(help) => report.wrong(self.span.clone(), format!("{} is not a duration", quoted(text)), help),
            Ok(Duration::ZERO) if !min.is_zero() => {
                report.wrong(self.span.clone(), format!("{} is not a duration", quoted(text)), MORE_THAN_ZERO);
            }
            Ok(duration) if (min..=max).contains(&duration) => return Some(duration),
            Ok(_) => {
                let message = format!("`{}` is out of range: {}", self.key, short(text));
                let help = format!("it may be from {} to {}", as_duration(min), as_duration(max));
                report.wrong(self.span.clone(), message, help);
            }
        }
        None
    }

    /// Reads an instant: a date-time with an offset, or the same as a string.
    pub(in crate::plan) fn instant(&self, report: &mut Report<'_>) -> Option<Timestamp> {
        let written = match self.inner {
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => {
                self.mistyped("a date and time", format!("write it as `{} = {EXAMPLE_INSTANT}`", self.key), report);
                return None;
            }
        };
        if let Some(instant) = instant::parse(&written) {
            return Some(instant);
        }
        let (message, help) = match written.parse::<Datetime>() {
            Ok(datetime) => incomplete(self.key, &datetime),
            Err(_) => {
                let help = format!("write it as `{} = {EXAMPLE_INSTANT}`", self.key);
                (format!("{} is not a date and time", quoted(&written)), help)
            }
        };
        report.wrong(self.span.clone(), message, help);
        None
    }

    /// Reads one of a few words.
    pub(in crate::plan) fn choice<T: Copy>(&self, words: &[(&str, T)], report: &mut Report<'_>) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let DeValue::String(text) = self.inner else {
            self.mistyped("a word", format!("write {}", list(&known, "or")), report);
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let help = match did_you_mean(text, known.iter().copied()) {
            Some(near) => did_you_mean_text(near),
            None => format!("it may be {}", list(&known, "or")),
        };
        let message = match self.key {
            "mode" | "status" | "state" | "level" => format!("unknown {} {}", self.key, quoted(text)),
            _ => format!("`{}` cannot be {}", self.key, quoted(text)),
        };
        report.wrong(self.span.clone(), message, help);
        None
    }

    /// Reads a table.
    pub(in crate::plan) fn table(&self, example: &str, report: &mut Report<'_>) -> Option<&'d DeTable<'d>> {
        if let DeValue::Table(table) = self.inner {
            return Some(table);
        }
        self.mistyped("a table", format!("write it as `{example}`"), report);
        None
    }

    /// Reads the items of a list, or a single value without brackets. An empty list is reported.
    pub(in crate::plan) fn one_or_more(&self, report: &mut Report<'_>) -> Vec<Self> {
        let items = self.any_number();
        if items.is_empty() {
            report.wrong(self.span.clone(), format!("`{}` is an empty list", self.key), "name at least one");
        }
        items
    }

    /// Reads the items of a list, which may be empty, or a single value without brackets.
    pub(in crate::plan) fn any_number(&self) -> Vec<Self> {
        match self.inner {
            DeValue::Array(items) => self.items_of(items),
            _ => vec![self.clone()],
        }
    }

    /// Reads the items of a `[[list]]` of tables.
    pub(in crate::plan) fn tables(
        &self,
        header: &str,
        report: &mut Report<'_>,
    ) -> Vec<(Range<usize>, &'d DeTable<'d>)> {
        let DeValue::Array(items) = self.inner else {
            let help = match self.inner {
                DeValue::Table(_) => format!("write the header with two brackets: `[[{header}]]`"),
                _ => format!("write each under its own `[[{header}]]` line"),
            };
            let message = format!("`{}` must be a list of tables, not {}", self.key, found(self.inner));
            let place = if self.inner.is_table() { &self.key_span } else { &self.span };
            report.wrong(place.clone(), message, help);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in self.items_of(items) {
            if let DeValue::Table(table) = item.inner {
                tables.push((item.span, table));
            } else {
                item.mistyped("a table", format!("write each under its own `[[{header}]]` line"), report);
            }
        }
        tables
    }

    fn items_of(&self, items: &'d [Spanned<DeValue<'d>>]) -> Vec<Self> {
        let item = |item: &'d Spanned<DeValue<'d>>| Self {
            span: item.span(),
            inner: item.get_ref(),
            is_item: true,
            ..self.clone()
        };
        items.iter().map(item).collect()
    }
}

/// Number of lines that a text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Lines {
    /// A single line.
    One,
    /// One or several paragraphs.
    Many,
}

/// Describes a value for "must be …, not …".
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty string".to_owned(),
        DeValue::String(text) => format!("the string \"{}\"", short(quoted(text).trim_matches('`'))),
        DeValue::Integer(number) => format!("the number {}", short(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", short(number.as_str())),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date and time".to_owned(),
        DeValue::Array(items) if items.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Cuts a text that a message repeats.
fn short(text: &str) -> String {
    let head: String = text.chars().take(LONGEST_REPEATED).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn range(min: u64, max: u64) -> String {
    if max >= LARGEST { format!("{min} upwards") } else { format!("{min} to {max}") }
}

/// Reads `64KiB`, `10 MB`, `512B`: a whole number and a unit. The error is the correction.
fn bytes_of(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let number: u64 = number.parse().map_err(|_| SIZE_HELP.to_owned())?;
    let factor = match unit.as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "" => return Err(format!("add the unit, `\"{number}B\"`, or leave out the quotes")),
        "k" | "m" | "g" => {
            let letter = unit.to_ascii_uppercase();
            return Err(format!("write `{number}{letter}iB` (counted by 1024) or `{number}{letter}B` (by 1000)"));
        }
        _ => return Err(SIZE_HELP.to_owned()),
    };
    number.checked_mul(factor).ok_or_else(|| SIZE_HELP.to_owned())
}

/// Reads `30s`, `5m`, `1h 30m`; not negative. The error is the correction.
fn duration_of(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Err(format!("add a unit: `{seconds}s` for seconds, `{seconds}m` for minutes"));
    }
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok()) {
        return Err(format!("write days as hours: `{}h`", days.saturating_mul(24)));
    }
    let duration = SpanParser::new().parse_duration(text).map_err(|_| DURATION_HELP.to_owned())?;
    if duration.is_negative() {
        return Err(MORE_THAN_ZERO.to_owned());
    }
    Duration::try_from(duration).map_err(|_| DURATION_HELP.to_owned())
}

/// Explains a date-time without an offset, or without one of its halves.
fn incomplete(key: &str, datetime: &Datetime) -> (String, String) {
    let written = datetime.to_string();
    match (datetime.date, datetime.time) {
        (Some(_), Some(_)) if datetime.offset.is_some() => (
            format!("`{written}` is not a date and time that exists"),
            format!("write it as `{key} = {EXAMPLE_INSTANT}`"),
        ),
        (Some(_), Some(_)) => (
            format!("`{written}` does not say in which time zone"),
            format!("add the offset: `{written}Z` for UTC, or one like `{written}+02:00`"),
        ),
        (Some(_), None) => (
            format!("`{written}` has no time of day"),
            format!("add it, and the offset: `{written}T14:00:00Z` for UTC, or one like `{written}T14:00:00+02:00`"),
        ),
        (None, _) => (
            format!("`{written}` has no date"),
            format!(
                "add it, and the offset: `2026-05-19T{written}Z` for UTC, or one like `2026-05-19T{written}+02:00`"
            ),
        ),
    }
}

const EXAMPLE_INSTANT: &str = "2026-05-19T14:00:00Z";
const MORE_THAN_ZERO: &str = "it must be more than zero";
const DURATION_HELP: &str = "durations are written like `500ms`, `30s`, `5m` or `1h 30m`";
const SIZE_HELP: &str = "sizes are written like `512B`, `64KiB`, `10MB` or `1GiB`";
/// Most characters of the operator's text that are repeated in the middle of a message.
const LONGEST_REPEATED: usize = 40;
