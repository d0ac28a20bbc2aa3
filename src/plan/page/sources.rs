//! The files that an operator brings: templates, messages and a logo.

use bytes::Bytes;

/// The operator's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The files of [`TEMPLATES`](super::TEMPLATES) and message files (`messages/de.toml`) that are there.
    pub files: Vec<Source>,
    /// The logo.
    pub logo: Option<(String, Bytes)>,
}

/// One of the operator's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name below the directory: `page.html`.
    pub name: String,
    /// As problems name it.
    pub path: String,
    /// The text.
    pub text: String,
}
