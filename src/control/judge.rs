//! Judges of new contents: doubt a flag file that lifts something, and a config that drops routes, because the beginning
//! of a longer file does so, too. They read no file.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::files::Judge;
use crate::files::debounce::{Doubt, Hint};
use crate::files::source::Content;
use crate::plan::config::{self, Config};
use crate::plan::flags::{self, Flags};
use crate::plan::problem::Problem;

/// Returns a judge that compares with the flags in force and the text that they come from.
pub(crate) fn of(flags: Arc<Flags>, good: Bytes) -> Judge {
    Arc::new(move |hint, content| doubt(&flags, &good, hint, content))
}

/// Returns a judge of a config that compares with the one in force, and with the text that it comes from. A request to a
/// route that is gone gets that of another one, or 404, whatever was flagged.
pub(crate) fn of_config(config: Arc<Config>, good: Bytes) -> Judge {
    Arc::new(move |hint, content| doubt_config(&config, &good, hint, content))
}

/// Returns the problem of a config that is refused although it is valid, because its end seems to be missing.
pub(crate) fn config_refusal(config_file: &Path, doubt: Doubt) -> Option<Problem> {
    let help = "write it again, with a line break at its end, or write it beside and rename it";
    match doubt {
        Doubt::None | Doubt::Lifts | Doubt::Unended | Doubt::Empty => None,
        Doubt::Cut => Some(Problem::in_file(config_file, config_reason(doubt)).help(help)),
    }
}

/// Returns the doubt about a config in words.
pub(crate) fn config_reason(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::None | Doubt::Lifts | Doubt::Unended | Doubt::Empty => reason(doubt),
        Doubt::Cut => "it drops routes, and its end seems to be cut off",
    }
}

/// Returns the problem of a content that is refused although it is valid, because it lifts something and its writer
/// probably did not mean that.
pub(crate) fn refusal(flag_file: &Path, doubt: Doubt) -> Option<Problem> {
    match doubt {
        Doubt::None | Doubt::Lifts | Doubt::Unended => None,
        Doubt::Empty | Doubt::Cut => Some(Problem::in_file(flag_file, reason(doubt)).help(help(doubt))),
    }
}

/// Returns the doubt in words: `it is empty`.
pub(crate) fn reason(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::None => "it is new",
        Doubt::Lifts => "it lifts something, and its writer may not have finished",
        Doubt::Unended => "it lifts something, and ends without a line break",
        Doubt::Cut => "it lifts something, and its end seems to be cut off",
        Doubt::Empty => "it is empty",
    }
}

/// Returns the words for a doubt that ends in a refusal: what to write instead.
pub(crate) fn help(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::None | Doubt::Lifts | Doubt::Unended => "end it with a line break, or write it beside and rename it",
        Doubt::Cut => {
            "write it again, with a line break at its end, or write it beside and rename it; `backsoon off` lifts flags"
        }
        Doubt::Empty => "to lift all flags write `[routes]`, or run `backsoon off --all`",
    }
}

fn doubt(in_force: &Flags, good: &[u8], hint: Hint, content: &Content) -> Doubt {
    if content.is_blank() {
        return if flags::lifts(in_force, &Flags::default()) { Doubt::Empty } else { Doubt::None };
    }
    // A look at the content is needless: nothing renames half a file, and a file that is being written does not count
    // yet.
    if matches!(hint, Hint::Renamed | Hint::Writing) || !is_lifting(in_force, content) {
        return Doubt::None;
    }
    if flags::is_cut(&content.bytes, good) {
        return Doubt::Cut;
    }
    if flags::is_unended(&content.bytes, good) { Doubt::Unended } else { Doubt::Lifts }
}

fn doubt_config(in_force: &Config, good: &[u8], hint: Hint, content: &Content) -> Doubt {
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
    let text = std::str::from_utf8(&content.bytes).ok();
    let Some(config) = text.and_then(|text| config::parse(Path::new(""), text).0) else { return false };
    let kept: HashSet<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    in_force.routes.iter().any(|route| !kept.contains(route.name.as_str()))
}

/// Returns true if a content is valid and lifts something. A text with errors is refused anyway.
fn is_lifting(in_force: &Flags, content: &Content) -> bool {
    let text = std::str::from_utf8(&content.bytes).ok();
    let parsed = text.and_then(|text| flags::parse("", text).0);
    parsed.is_some_and(|parsed| flags::lifts(in_force, &parsed.flags))
}
