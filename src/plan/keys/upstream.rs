//! Keys of an item of `upstream`.

use super::super::key::pattern::UPSTREAM as ADDRESS;
use super::super::key::{Absent, Form, Key, Table};

/// Item of `upstream`.
pub static UPSTREAM: Table = Table {
    header: "upstream",
    about: "Upstream with a share of its own.",
    keys: &[
        Key::new("url", Form::Text(&ADDRESS), Absent::Required, "Address, as it is written without a table."),
        Key::new(
            "weight",
            Form::Count(1, 1000),
            Absent::Is("1"),
            "Requests that it gets, in proportion to the weights of the others.",
        ),
        Key::new("backup", Form::Bool, Absent::Is("false"), "Used only while no other upstream is in use and answers."),
        Key::new(
            "name",
            Form::Words(64),
            Absent::Means("none"),
            "Name of the upstream in `[upstreams]` of the flag file, besides its address. One word.",
        ),
    ],
    rules: &[],
};
