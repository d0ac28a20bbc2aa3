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
pub(crate) fn of(config: Arc<Config>, good: Bytes) -> Judge {
    Arc::new(move |hint, content| doubt(&config, &good, hint, content))
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

fn doubt(in_force: &Config, good: &[u8], hint: Hint, content: &Content) -> Doubt {
    if content.is_blank() {
        return Doubt::Empty;
    }
    if matches!(hint, Hint::Renamed | Hint::Writing) || !drops_routes(in_force, content) {
        return Doubt::None;
    }
    if flags::is_cut(&content.bytes, good) { Doubt::Cut } else { Doubt::None }
}

/// Returns true if a config is valid and lacks a route. A text with errors is refused anyway.
fn drops_routes(in_force: &Config, content: &Content) -> bool {
    let Some(config) = load::parse_config(Path::new(""), content).config else { return false };
    let kept: HashSet<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    in_force.routes.iter().any(|route| !kept.contains(route.name.as_str()))
}
