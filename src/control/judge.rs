//! Judge of new contents of a flag file: doubts one that lifts something, because the beginning of a longer file does so,
//! too. It reads no file.

#[cfg(feature = "proxy")]
pub(crate) mod config;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::files::Judge;
use crate::files::debounce::{Doubt, Hint};
use crate::files::source::Content;
use crate::plan::flags::{self, Flags};
use crate::plan::problem::Problem;

/// Returns a judge that compares with the flags in force and the text that they come from.
pub(crate) fn of(flags: Arc<Flags>, good: Bytes) -> Judge {
    Arc::new(move |hint, content| doubt(&flags, &good, hint, content))
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

/// Returns true if a content is valid and lifts something. A text with errors is refused anyway.
fn is_lifting(in_force: &Flags, content: &Content) -> bool {
    let text = std::str::from_utf8(&content.bytes).ok();
    let parsed = text.and_then(|text| flags::parse_at("", text, Timestamp::now()).0);
    parsed.is_some_and(|parsed| flags::lifts(in_force, &parsed.flags))
}
