//! Judge of new contents of a config: doubts one that drops routes, because the beginning of a longer file does so, too.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::files::Judge;
use crate::files::debounce::{Doubt, Hint};
use crate::files::source::Content;
use crate::plan::config::Config;
use crate::plan::flags;
use crate::plan::problem::Problem;

use super::super::load;

/// Returns a judge of a config that compares with the one in force, and with the text that it comes from. A request to a
/// route that is gone gets that of another one, or 404, whatever was flagged.
pub(crate) fn of((config_file, config): (&Path, &Arc<Config>), good: Bytes) -> Judge {
    let (config_file, config) = (config_file.to_owned(), Arc::clone(config));
    Arc::new(move |hint, content| doubt(|content| drops_routes((&config_file, &config), content), &good, hint, content))
}

/// Returns a judge of an included file that compares with the text in force.
pub(crate) fn of_included(good: Bytes) -> Judge {
    let named = routes_of(&good);
    Arc::new(move |hint, content| {
        let drops = |content: &Content| !routes_of(&content.bytes).is_superset(&named);
        doubt(drops, &good, hint, content)
    })
}

/// Returns the names of the routes with a table of their own in a text.
fn routes_of(text: &[u8]) -> HashSet<String> {
    let table = std::str::from_utf8(text).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let routes = table.and_then(|mut table| table.remove("routes"));
    let routes = routes.and_then(|routes| routes.try_into::<toml::Table>().ok()).unwrap_or_default();
    routes.into_iter().map(|(name, _)| name).collect()
}

/// Returns the problem of a config that is refused although it is valid, because its end seems to be missing.
pub(crate) fn refusal(config_file: &Path, doubt: Doubt) -> Option<Problem> {
    let help = "write it again, with a line break at its end, or write it beside and rename it";
    match doubt {
        Doubt::None | Doubt::Lifts | Doubt::Unended | Doubt::Empty => None,
        Doubt::Cut => Some(Problem::in_file(config_file, reason(doubt)).help(help)),
    }
}

/// Returns the doubt about a config in words.
pub(crate) fn reason(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::None | Doubt::Lifts | Doubt::Unended | Doubt::Empty => super::reason(doubt),
        Doubt::Cut => "it drops routes, and its end seems to be cut off",
    }
}

fn doubt(drops: impl FnOnce(&Content) -> bool, good: &[u8], hint: Hint, content: &Content) -> Doubt {
    if content.is_blank() {
        return Doubt::Empty;
    }
    if matches!(hint, Hint::Renamed | Hint::Writing) || !drops(content) {
        return Doubt::None;
    }
    if flags::is_cut(&content.bytes, good) { Doubt::Cut } else { Doubt::None }
}

/// Returns true if a config is valid and lacks a route. A text with errors is refused anyway.
fn drops_routes((config_file, in_force): (&Path, &Config), content: &Content) -> bool {
    let Some(config) = load::parse_config(config_file, content, &mut load::Disk).config else { return false };
    let kept: HashSet<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    in_force.routes.iter().any(|route| !kept.contains(route.name.as_str()))
}
