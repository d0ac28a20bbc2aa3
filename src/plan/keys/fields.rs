//! Keys of `request` and `response`.

use super::super::key::pattern::FIELD_NAME;
use super::super::key::{Absent, Form, Key, Table};

/// `request` of the config and of a route.
pub static REQUEST: Table = Table {
    header: "request",
    about: "Fields of the requests that upstreams get. Values may have [variables](forwarding.md#fields-of-your-own).",
    keys: &KEYS,
    rules: &[],
};

/// `response` of the config and of a route.
pub static RESPONSE: Table = Table {
    header: "response",
    about: "Fields of the answers that clients get. Values may have [variables](forwarding.md#fields-of-your-own).",
    keys: &KEYS,
    rules: &[],
};

const KEYS: [Key; 3] = [
    Key::new("set", Form::Fields(4096), Absent::Is("{}"), "Fields that get a value, and no other."),
    Key::new("add", Form::Fields(4096), Absent::Is("{}"), "Fields that get a line, besides those that they have."),
    Key::new("remove", Form::OneOrArray(&Form::Text(&FIELD_NAME), 0..=64), Absent::Is("[]"), "Fields that go."),
];
