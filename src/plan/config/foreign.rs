//! Words that users of other proxies write first, with what does the same here, or what to put beside backsoon.
//!
//! Only unknown keys come here. Nothing is accepted under another name: the words are for corrections alone.

mod lack;
mod words;

#[cfg(test)]
mod tests;

use super::super::key::Table;
use super::super::keys;
use super::super::limits;
use super::super::problem::quoted;
use super::super::read::did_you_mean_text;

use lack::Lack;
use words::WORDS;

/// Answer to a word of another proxy.
enum Answer {
    /// Key that does it. It may belong to another table than that of the word.
    Key(&'static Table, &'static str),
    /// Key that does it, if the table of the word has it.
    Own(&'static str),
    /// Correction in words.
    Say(&'static str),
    /// Nothing here does it.
    Not(Lack),
}

/// Returns the correction for an unknown key of a table: from the words of other proxies, or because another table has
/// the key.
pub(super) fn correction(table: &'static Table, key: &str) -> Option<String> {
    let word = normal(key);
    let answers = WORDS.iter().filter(|(words, _)| words.split(' ').any(|other| other == word));
    let mut known = answers.filter_map(|(_, answer)| answer.text(table));
    known.next().or_else(|| belongs(table, key))
}

impl Answer {
    /// Returns the correction, if this answer fits in the table.
    fn text(&self, table: &'static Table) -> Option<String> {
        match self {
            Self::Key(owner, key) if std::ptr::eq(*owner, table) => Some(did_you_mean_text(key)),
            Self::Key(owner, key) if std::ptr::eq(*owner, &limits::TABLE) && is_a_routes(table, key) => {
                Some(format!("{} does that: write it inside of `limits`: `limits = {{ {key} = … }}`", quoted(key)))
            }
            Self::Key(owner, key) => Some(format!("{} does that: write it {}", quoted(key), place(owner))),
            Self::Own(key) => table.has(key).then(|| did_you_mean_text(key)),
            Self::Say(text) => Some((*text).to_owned()),
            Self::Not(lack) => Some(lack.help()),
        }
    }
}

/// Returns true if a limit can be a route's, and the table is one.
fn is_a_routes(table: &'static Table, key: &str) -> bool {
    std::ptr::eq(table, &keys::ROUTE) && limits::ROUTE_TABLE.has(key)
}

/// Returns a correction for a key that another table has.
fn belongs(table: &'static Table, key: &str) -> Option<String> {
    let others = PLACES.iter().filter(|other| !std::ptr::eq(**other, table));
    let owner = others.copied().find(|other| other.has(key))?;
    Some(format!("{} belongs elsewhere: write it {}", quoted(key), place(owner)))
}

/// Says where the keys of a table are written.
fn place(table: &Table) -> String {
    match table.header {
        "backsoon.toml" => "above the first `[…]` line".to_owned(),
        header if header.starts_with('[') => format!("under a `{header}` line"),
        header => format!("inside of `{header}`"),
    }
}

/// Writes a word as the table has it: in lower case, with `_` between its parts.
fn normal(key: &str) -> String {
    let mut word = String::with_capacity(key.len() + 4);
    let mut after_small = false;
    for character in key.chars() {
        if character.is_uppercase() && after_small {
            word.push('_');
        }
        after_small = character.is_lowercase() || character.is_ascii_digit();
        match character {
            '-' | ' ' | '.' => word.push('_'),
            other => word.extend(other.to_lowercase()),
        }
    }
    word
}

/// Tables whose keys are looked for when they stand in another one, the likelier first.
static PLACES: [&Table; 6] = [&keys::ROUTE, &keys::LISTEN, &limits::TABLE, &keys::LOG, &keys::CONFIG, &keys::PAGE];
