//! Keys of `write` of `[admin]`.

use super::super::key::pattern::{ACCOUNT, FILE, HOST};
use super::super::key::{Absent, Form, Key, ROUTE_NAME, Rule, Table};

/// `write` of `[admin]`.
pub static ADMIN_WRITE: Table = Table {
    header: "write",
    about: "Rights to change flags through the admin listener.",
    keys: &[
        Key::new(
            "token_file",
            Form::Text(&FILE),
            Absent::Means("no tokens"),
            "File with a line `name:token` for each who may, of at least 32 characters each, and behind it the routes that \
             this one may change, if not all. Others must not be able to read it. It is read for each request.",
        ),
        Key::new(
            "allow",
            Form::OneOrArray(&Form::Text(&ROUTE_NAME), 1..=1024),
            Absent::Means("all routes"),
            "Routes that may be changed. A window may be changed if all of its routes may.",
        ),
        Key::new(
            "peers",
            Form::OneOrArray(&Form::Text(&ACCOUNT), 1..=64),
            Absent::Means("nobody without a token"),
            "Users who may without a token, by name or number. For a unix socket, where the system tells who connects.",
        ),
        Key::new(
            "hosts",
            Form::OneOrArray(&Form::Text(&HOST), 1..=64),
            Absent::Means("addresses and `localhost`"),
            "Names by which clients reach the listener. Requests for a `Host` that is none of them change nothing.",
        ),
    ],
    rules: &[Rule::OneOf(&["token_file", "peers"])],
};
