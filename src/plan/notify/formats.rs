//! Forms of a notice: one for each receiver.

mod discord;
mod mail;
mod ntfy;
mod push;
mod slack;
mod teams;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::Notice;

pub use discord::discord;
pub use mail::mail;
pub use ntfy::ntfy;
pub use push::push;
pub use slack::slack;
pub use teams::teams;

/// Finished body of a POST, with the fields that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Fields, `Content-Type` among them.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Bytes.
    pub bytes: Bytes,
}

impl Body {
    /// Creates a body of JSON.
    pub fn json(value: &Value) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self { fields: vec![(http::header::CONTENT_TYPE, content_type)], bytes: value.to_string().into() }
    }
}
