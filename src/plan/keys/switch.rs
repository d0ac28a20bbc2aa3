//! Keys of `switch`.

use super::super::key::pattern::FILE;
use super::super::key::{Absent, Form, Key, Table};

/// `switch` of a route.
pub static SWITCH: Table = Table {
    header: "switch",
    about: "Files whose existence closes a route.",
    keys: &[
        Key::new(
            "file",
            Form::OneOrArray(&Form::Text(&FILE), 1..=16),
            Absent::Required,
            "File, or several. The route is closed while one of them exists.",
        ),
        Key::new(
            "mode",
            Form::Choice(&["offline", "read-only", "hold"]),
            Absent::Is("\"offline\""),
            "Effect on the route.",
        ),
    ],
    rules: &[],
};
