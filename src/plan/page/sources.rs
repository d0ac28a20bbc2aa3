//! Operator's files: templates, messages and a logo.

use bytes::Bytes;

/// Operator's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Templates of [`TEMPLATES`](super::TEMPLATES) and message files (`messages/de.toml`), if they exist.
    pub files: Vec<Source>,
    /// Path and content of the logo.
    pub logo: Option<(String, Bytes)>,
}

/// File of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name below the directory: `page.html`.
    pub name: String,
    /// Path as problems name it.
    pub path: String,
    /// Content.
    pub text: String,
}
