//! Keys of `bypass`.

use super::super::key::pattern::{FIELD_NAME, FILE, NETWORK};
use super::super::key::{Absent, Form, Key, Rule, Table};

/// `bypass` of a route.
pub static BYPASS: Table = Table {
    header: "bypass",
    about: "Clients that pass a closed route.",
    keys: &[
        Key::new(
            "networks",
            Form::OneOrArray(&Form::Text(&NETWORK), 0..=256),
            Absent::Is("[]"),
            "Networks and addresses whose clients pass.",
        ),
        Key::new(
            "header",
            Form::Text(&FIELD_NAME),
            Absent::Means("no field"),
            "Header field in which a client may send the secret. Needs `secret_file`.",
        ),
        Key::new(
            "secret_file",
            Form::Text(&FILE),
            Absent::Means("no secret, no links"),
            "File with the secret, which also signs links and cookies.",
        ),
    ],
    rules: &[Rule::Needs("header", "secret_file")],
};
