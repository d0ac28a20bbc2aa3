//! Variables in the strings of a config: `${NAME}`, and `${NAME:-default}` for one that is unset or empty.
//!
//! Keys have none. `$${` stands for `${` itself.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::problem::quoted;
use super::super::read::{Fill, Report};

/// Variables that a config uses, by name, with the place that each value comes from.
pub type Used = BTreeMap<String, Origin>;

/// Place that a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The environment.
    Environment,
    /// The default that is written beside the name.
    Default,
}

/// Filler of the strings of a document.
pub(super) struct Filler<'v> {
    /// Values.
    pub(super) lookup: &'v dyn Fn(&str) -> Option<String>,
    /// Variables so far.
    pub(super) used: Used,
}

/// Part of a string.
enum Part<'s> {
    Text(&'s str),
    Variable {
        written: &'s str,
        name: &'s str,
        default: Option<&'s str>,
    },
    /// `${` without the rest.
    Wrong(&'s str),
}

impl Origin {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Default => "default",
        }
    }
}

impl Filler<'_> {
    /// Fills every string of a document, and moves its spans by `base`, the offset of its text.
    pub(super) fn table<'d>(
        &mut self,
        table: DeTable<'d>,
        (text, base): (&str, usize),
        report: &mut Report<'_>,
    ) -> DeTable<'d> {
        if base == 0 && !text.contains("${") {
            return table;
        }
        let moved = |span: Range<usize>| span.start + base..span.end + base;
        let entries = table.into_iter().map(|(key, value)| {
            let key_span = moved(key.span());
            let key = Spanned::new(key_span, key.into_inner());
            (key, self.value(value, (text, base), report))
        });
        entries.collect()
    }

    fn value<'d>(
        &mut self,
        value: Spanned<DeValue<'d>>,
        (text, base): (&str, usize),
        report: &mut Report<'_>,
    ) -> Spanned<DeValue<'d>> {
        let span = value.span().start + base..value.span().end + base;
        let raw = text.get(value.span()).unwrap_or_default();
        let filled = match value.into_inner() {
            DeValue::String(string) if string.contains("${") => {
                DeValue::String(self.string(&string, (raw, span.clone()), report).into())
            }
            DeValue::Table(table) => DeValue::Table(self.table(table, (text, base), report)),
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| self.value(item, (text, base), report));
                DeValue::Array(items.collect())
            }
            plain @ (DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)) => plain,
        };
        Spanned::new(span, filled)
    }

    /// Fills a string. `raw` is what the file has for it.
    fn string(&mut self, string: &str, (raw, span): (&str, Range<usize>), report: &mut Report<'_>) -> String {
        let mut filled = String::with_capacity(string.len());
        let mut found = 0;
        let mut fill = None;
        for part in Parts(string) {
            let (written, name, default) = match part {
                Part::Text(text) => {
                    filled.push_str(text);
                    continue;
                }
                Part::Variable { written, name, default } => (written, name, default),
                Part::Wrong(written) => (written, "", None),
            };
            // An escape may hide the variable in the file. Then the whole string is shown.
            let at = raw.get(found..).and_then(|rest| rest.find(written)).map(|at| at + found);
            let place = at.map_or(span.clone(), |at| span.start + at..span.start + at + written.len());
            found = at.map_or(found, |at| at + written.len());
            let value = self.value_of((written, name, default), place, report);
            if fill != Some(Fill::Broken) {
                fill = Some(if value.is_some() { Fill::Whole } else { Fill::Broken });
            }
            filled.push_str(value.as_deref().unwrap_or(written));
        }
        if let Some(fill) = fill {
            report.filled().note(span, fill);
        }
        filled
    }

    /// Returns the value of a variable. One that is missing or badly written is reported.
    fn value_of(
        &mut self,
        (written, name, default): (&str, &str, Option<&str>),
        place: Range<usize>,
        report: &mut Report<'_>,
    ) -> Option<String> {
        if name.is_empty() {
            report.wrong(place, format!("{} is not a variable", quoted(written)), SYNTAX_HELP);
            return None;
        }
        let set = (self.lookup)(name);
        if let Some(value) = set.filter(|value| default.is_none() || !value.is_empty()) {
            report.filled().hide(&value, &format!("${{{name}}}"));
            self.used.insert(name.to_owned(), Origin::Environment);
            return Some(value);
        }
        if let Some(default) = default {
            self.used.entry(name.to_owned()).or_insert(Origin::Default);
            return Some(default.to_owned());
        }
        let help = format!(
            "set it for the proxy and for commands that read this file, or write a default: {}",
            quoted(&format!("${{{name}:-…}}"))
        );
        report.wrong(place, format!("the environment has no {}", quoted(name)), help);
        None
    }
}

/// Iterator over the parts of a string.
struct Parts<'s>(&'s str);

impl<'s> Iterator for Parts<'s> {
    type Item = Part<'s>;

    fn next(&mut self) -> Option<Part<'s>> {
        let rest = self.0;
        if rest.is_empty() {
            return None;
        }
        let cut = |at: usize| (&rest[..at], &rest[at..]);
        if let Some(after) = rest.strip_prefix("$${") {
            self.0 = after;
            return Some(Part::Text("${"));
        }
        if !rest.starts_with("${") {
            let dollar = rest.find("$${").into_iter().chain(rest.find("${")).min();
            let (text, after) = cut(dollar.unwrap_or(rest.len()));
            self.0 = after;
            return Some(Part::Text(text));
        }
        let end = rest.find('}').map_or(rest.len(), |end| end + 1);
        let (written, after) = cut(end);
        self.0 = after;
        let inner = written.strip_prefix("${").and_then(|inner| inner.strip_suffix('}')).unwrap_or_default();
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty();
        Some(if is_name { Part::Variable { written, name, default } } else { Part::Wrong(written) })
    }
}

const SYNTAX_HELP: &str = "write `${NAME}` or `${NAME:-default}`; `$${` stands for `${` itself";

#[cfg(test)]
mod tests {
    use super::super::{Access, Surroundings, parse_in};
    use super::*;

    const CONFIG: &str = "\
workers = \"${WORKERS}\"
drain = \"${DRAIN}s\"
[[listen]]
address = \"127.0.0.1:${PORT}\"
[log]
access = \"${ACCESS}\"
[page]
brand = \"$${NOT} ${EMPTY:-by default} $5 ${EMPTY}!\"
[limits]
body_size = \"${LARGE}\"
[routes.web]
keep_host = \"${KEEP}\"
upstream = \"http://${UPSTREAM:-app}:3000\"
";

    #[test]
    fn strings_numbers_and_booleans_come_from_variables_and_are_told_by_name() {
        let set = [
            ("WORKERS", "3"),
            ("DRAIN", "20"),
            ("PORT", "9000"),
            ("ACCESS", "0.25"),
            ("EMPTY", ""),
            ("LARGE", "1048576"),
            ("KEEP", "false"),
            ("UNUSED", "x"),
        ];
        let variable = |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        let parsed =
            parse_in("backsoon.toml", CONFIG, &mut Surroundings { variable: &variable, include: &mut |_| Vec::new() });
        assert_eq!(parsed.problems, []);
        let config = parsed.config.unwrap();
        assert_eq!((config.workers, config.drain.as_secs()), (Some(3), 20));
        assert_eq!(config.listen[0].address.to_string(), "127.0.0.1:9000");
        assert_eq!((config.log.access, config.limits.body_size), (Access::Sampled(0.25), Some(1_048_576)));
        assert_eq!(config.page.brand.as_deref(), Some("${NOT} by default $5 !"));
        assert_eq!(config.routes[0].upstreams[0].to_string(), "http://app:3000");
        assert!(!config.routes[0].keep_host);
        let used = parsed.sources.variables;
        let defaults: Vec<&str> =
            used.iter().filter(|(_, origin)| **origin == Origin::Default).map(|(name, _)| name.as_str()).collect();
        assert_eq!((used.len(), defaults), (8, vec!["UPSTREAM"]), "{used:?}");
    }
}
