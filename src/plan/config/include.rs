//! `include` of the config: files with routes, by name or by pattern.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::key::Table;
use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, document};
use super::variables::Filler;
use super::{Sources, Surroundings};

/// Files that a config includes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Include {
    /// File of this name, which must exist.
    File(PathBuf),
    /// Files whose names match the last part of this path, in which `*` stands for any characters. There may be none.
    Matching(PathBuf),
}

/// File that is included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Path of the file.
    pub file: PathBuf,
    /// Text, or the reason why it cannot be read.
    pub text: Result<String, String>,
}

impl Include {
    /// Returns the path, as it is watched.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Matching(path) => path,
        }
    }
}

/// Texts of the included files, with their names.
pub(super) struct Texts(pub(super) Vec<(String, String)>);

/// Reads the files that the config names.
pub(super) fn fetch(
    (config_file, table): (&Path, Option<&DeTable<'_>>),
    surroundings: &mut Surroundings<'_>,
    report: &mut Report<'_>,
) -> (Sources, Texts) {
    let (mut includes, mut files, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let Some((table, (name, value))) = table.and_then(|table| Some((table, table.get_key_value("include")?))) else {
        return (Sources::default(), Texts(texts));
    };
    let value = Value::new("include", name, value);
    let flags = table.get("maintenance").and_then(|value| value.get_ref().as_str()).unwrap_or("maintenance.toml");
    let mut seen = HashSet::from([config_file.to_owned(), report.resolve(flags)]);
    let items = value.any_number();
    report.at_most(MOST_INCLUDES, items.len(), "files", value.key_span.clone());
    let mut size = 0;
    for item in items.iter().take(MOST_INCLUDES) {
        let Some(include) = include(item, report) else { continue };
        if let Include::File(path) = &include
            && path == config_file
        {
            report.wrong(item.span.clone(), "the config includes itself", "name other files");
            continue;
        }
        for Included { file, text } in (surroundings.include)(&include) {
            if !seen.insert(file.clone()) {
                continue;
            }
            let shown = file.display().to_string();
            files.push(file);
            match text {
                Ok(text) => {
                    size += text.len();
                    texts.push((shown, text));
                }
                Err(why) => {
                    let help = match &include {
                        Include::File(_) => "write that file; a pattern such as `routes/*.toml` may match none",
                        Include::Matching(_) => "make it readable, or move it away",
                    };
                    report.wrong(item.span.clone(), format!("{} cannot be included: {why}", quoted(&shown)), help);
                }
            }
        }
        includes.push(include);
    }
    if files.len() > MOST_FILES || size > LARGEST_ALL {
        let message = format!("too much is included: {} files with {size} bytes", files.len());
        let help = format!("at most {MOST_FILES} files with {LARGEST_ALL} bytes together are allowed");
        report.wrong(value.span.clone(), message, help);
        texts.clear();
    }
    (Sources { includes, files, ..Sources::default() }, Texts(texts))
}

/// Reads one name or pattern.
fn include(item: &Value<'_>, report: &mut Report<'_>) -> Option<Include> {
    let path = item.path("routes/*.toml", report)?;
    if !path.to_string_lossy().contains('*') {
        return Some(Include::File(path));
    }
    if path.parent().is_some_and(|folder| folder.to_string_lossy().contains('*')) {
        let help = "a `*` may stand in the name of the file alone: `routes/*.toml`";
        report.wrong(item.span.clone(), "this pattern has a `*` in a folder", help);
        return None;
    }
    Some(Include::Matching(path))
}

/// Adds the routes of the included texts to those of the config.
pub(super) fn merge<'d>(
    mut table: DeTable<'d>,
    texts: &'d Texts,
    filler: &mut Filler<'_>,
    report: &mut Report<'d>,
) -> DeTable<'d> {
    for (file, text) in &texts.0 {
        let base = report.include(file, text);
        let mut own = Report::new(file, text);
        let parsed = document(text, &mut own);
        report.absorb(own);
        let Some(parsed) = parsed else { continue };
        let parsed = filler.table(parsed, (text, base), report);
        for (key, value) in parsed {
            if key.get_ref() == "routes" && value.get_ref().is_table() {
                add_routes(&mut table, (key, value), report);
            } else {
                refuse(&key, value.get_ref(), report);
            }
        }
    }
    table
}

/// Reports a key of an included file that is no route.
fn refuse(key: &Spanned<toml::de::DeString<'_>>, value: &DeValue<'_>, report: &mut Report<'_>) {
    let name = key.get_ref();
    let help = match name.as_ref() {
        "include" => "included files include no others: name them in the config itself".to_owned(),
        "routes" => "write each route under a `[routes.NAME]` line".to_owned(),
        _ if keys::CONFIG.has(name) => format!("write `{name}` in the config itself"),
        _ if is_route(&keys::ROUTE, value) => format!("write it under a {} line", quoted(&format!("[routes.{name}]"))),
        _ => "write keys of routes under a `[routes.NAME]` line".to_owned(),
    };
    report.wrong(key.span(), format!("{} is not for an included file, which has routes alone", quoted(name)), help);
}

fn is_route(route: &Table, value: &DeValue<'_>) -> bool {
    value.as_table().is_some_and(|table| table.keys().any(|key| route.has(key.get_ref())))
}

fn add_routes<'d>(
    table: &mut DeTable<'d>,
    (key, value): (Spanned<toml::de::DeString<'d>>, Spanned<DeValue<'d>>),
    report: &mut Report<'_>,
) {
    let Some(all) = table.get_mut("routes") else {
        table.insert(key, value);
        return;
    };
    // What else `routes` may be is reported when it is read.
    let (DeValue::Table(all), DeValue::Table(added)) = (all.get_mut(), value.into_inner()) else { return };
    let mut twice = Vec::new();
    for (name, route) in added {
        match all.get_key_value(name.get_ref().as_ref()) {
            Some((first, _)) => twice.push((name, first.span())),
            None => {
                all.insert(name, route);
            }
        }
    }
    for (name, first) in twice {
        let message = format!("route {} is written twice", quoted(name.get_ref()));
        report.wrong(name.span(), message, format!("the first is at {}: keep one of them", report.line(first)));
    }
}

/// Takes the key, which was read before all others.
pub(super) fn take(top: &mut Section<'_>) {
    let _ = top.take("include");
}

/// Names and patterns of one config.
const MOST_INCLUDES: usize = 64;
/// Files of one config.
const MOST_FILES: usize = 256;
/// Bytes of all included files.
const LARGEST_ALL: usize = 8 * 1024 * 1024;
