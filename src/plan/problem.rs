//! A problem: something wrong in the operator's input, with its place and what would be right.

use std::fmt;

use serde::Serialize;

/// Something wrong in an input of the operator's.
///
/// Many are collected in one pass; each says where it is, what was found and what would be right.
/// [`fmt::Display`] prints it the way a compiler would, with the excerpt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether the input is refused or only remarked upon.
    pub severity: Severity,
    /// The file as the operator named it.
    pub file: String,
    /// Where in the file; absent when the file as a whole is meant (it cannot be read, say).
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What was found, lowercase, no full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// How much a [`Problem`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused whole: what was live before stays live.
    Error,
    /// The rest of the file applies.
    Warning,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The line's text.
    pub excerpt: String,
    /// How many characters of the excerpt, from `column`, are meant; at least 1.
    pub width: usize,
}
