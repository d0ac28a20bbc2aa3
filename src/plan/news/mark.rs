//! Marks around items in templates, by which a filter leaves items out.

use serde::Serialize;

use super::document::{BEGIN, END, OPEN};

/// Mark around an item in a template: see [`super::document::Document::marked`].
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mark {
    open: String,
    close: char,
}

impl Mark {
    /// Creates the mark of an item, whose tags have an index.
    pub(super) fn new(index: usize) -> Self {
        Self { open: format!("{OPEN}{index}{BEGIN}"), close: END }
    }
}
