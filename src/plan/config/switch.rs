//! Switch of a route: files whose existence closes it. The parser of `switch`.

use std::path::PathBuf;

use toml::de::DeValue;

use super::super::keys;
use super::super::mode::{MODES, Mode};
use super::super::read::{Report, Section, Value, did_you_mean_text};

/// Files whose existence closes a route, as deploy scripts touch and remove them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Files, at least one. Any of them closes the route.
    pub files: Vec<PathBuf>,
    /// Mode that the route gets.
    pub mode: Mode,
}

/// Reads `"/srv/app/maintenance.enable"`, a list of such files, or `{ file = …, mode = "read-only" }`.
pub(super) fn switch(value: &Value<'_>, report: &mut Report<'_>) -> Option<Switch> {
    let DeValue::Table(table) = value.inner else {
        return Some(Switch { files: files(value, report)?, mode: Mode::Offline });
    };
    let mut section = Section::new(&keys::SWITCH, "`switch`", value.span.clone(), table);
    let file = section.need("file", "say which: `file = \"/srv/app/maintenance.enable\"`");
    let files = file.and_then(|value| files(&value, report));
    let mode = section.take("mode").and_then(|value| value.choice(&MODES, report));
    section.finish(report, |key, _| matches!(key, "path" | "files").then(|| did_you_mean_text("file")));
    Some(Switch { files: files?, mode: mode.unwrap_or(Mode::Offline) })
}

fn files(value: &Value<'_>, report: &mut Report<'_>) -> Option<Vec<PathBuf>> {
    let items = value.one_or_more(report);
    report.at_most(MOST_FILES, items.len(), "files", value.key_span.clone());
    let mut files = Vec::new();
    let mut whole = !items.is_empty();
    for item in items.into_iter().take(MOST_FILES) {
        match file(&item, report) {
            Some(file) => files.push(file),
            None => whole = false,
        }
    }
    whole.then_some(files)
}

fn file(value: &Value<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let file = value.path(EXAMPLE, report)?;
    // Such a name is a directory's, or nothing at all.
    if file.file_name().is_none()
        || matches!(value.inner, DeValue::String(text) if text.ends_with('/') || text.is_empty())
    {
        let help = format!("name the file that is touched: `{} = \"{EXAMPLE}\"`", value.key);
        report.wrong(value.span.clone(), "a switch is a file, and this is a directory", help);
        return None;
    }
    Some(file)
}

/// Files of one switch.
const MOST_FILES: usize = 16;
const EXAMPLE: &str = "/srv/app/maintenance.enable";
