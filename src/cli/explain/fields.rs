//! Changes of a route to the fields of requests and answers, as the config has them.

use http::HeaderName;
use serde::Serialize;

use crate::plan::config::{FieldAction, FieldChanges, FieldText, Piece};

use super::super::words::harmless;

/// Change of one field.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    /// `set`, `add` or `remove`.
    action: &'static str,
    name: String,
    /// Value with its variables as they are written; absent if it is removed, or may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// Returns the changes, in the order in which they are made.
pub(super) fn changes(changes: Option<&FieldChanges>) -> Vec<Change> {
    let Some(changes) = changes else { return Vec::new() };
    let host = changes.host.as_ref().map(|host| Change {
        action: "set",
        name: "host".to_owned(),
        value: Some(String::from_utf8_lossy(host.as_bytes()).into_owned()),
    });
    let change = |(name, action): (&HeaderName, &FieldAction)| {
        let (action, text) = match action {
            FieldAction::Set(text) => ("set", Some(text)),
            FieldAction::Add(text) => ("add", Some(text)),
            FieldAction::Remove => ("remove", None),
        };
        let value = text.filter(|_| !may_be_secret(name.as_str())).map(written);
        Change { action, name: name.to_string(), value }
    };
    let others = changes.changes.iter().map(|changed| change((&changed.name, &changed.action)));
    host.into_iter().chain(others).collect()
}

/// Returns lines for people, the first of them with a label.
pub(super) fn lines(label: &'static str, changes: &[Change]) -> Vec<(&'static str, String)> {
    let line = |(index, change): (usize, &Change)| {
        let value = match (&change.value, change.action) {
            (Some(value), _) => format!(": {}", harmless(value)),
            (None, "remove") => String::new(),
            (None, _) => " (its value is not shown)".to_owned(),
        };
        (if index == 0 { label } else { "" }, format!("{} {}{value}", change.action, change.name))
    };
    changes.iter().enumerate().map(line).collect()
}

/// Returns a value as it is written.
fn written(text: &FieldText) -> String {
    match text {
        FieldText::Fixed(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        FieldText::Pieces(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                text.push_str(match piece {
                    Piece::Text(text) => text,
                    Piece::Variable(variable) => variable.as_str(),
                });
            }
            text
        }
    }
}

/// Returns true if the value of a field may be a secret, perhaps one from the environment.
fn may_be_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part))
}

/// Parts of the names of fields whose values may be secrets.
const SECRET: [&str; 8] = ["auth", "cookie", "credential", "key", "password", "secret", "signature", "token"];
