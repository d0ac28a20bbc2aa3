//! Keys of `errors`.

use super::super::key::{Absent, Form, Key, Table};

/// `errors` of the config and of a route.
pub static ERRORS: Table = Table {
    header: "errors",
    about: "Errors that have the proxy's page, besides those of the proxy itself.",
    keys: &[Key::new(
        "upstream",
        Form::OneOrArray(&Form::Count(502, 504), 0..=3),
        Absent::Is("[]"),
        "Statuses of an upstream's answer in whose place a browser gets the page, when it opens a document. All other \
         clients get the answer as it is.",
    )],
    rules: &[],
};
