//! Keys of redirects.

use super::super::key::pattern::{HTTPS, URL};
use super::super::key::{Absent, Form, Key, Table};

/// `redirect` of a listener.
pub static LISTEN_REDIRECT: Table = Table {
    header: "[listen.redirect]",
    about: "Redirect of a listener to https.",
    keys: &[
        Key::new("to", Form::Text(&HTTPS), Absent::Required, "`https`, with its port where that is not 443."),
        Key::new(
            "permanent",
            Form::Bool,
            Absent::Is("true"),
            "Answers 308, which clients remember. `false` answers 307.",
        ),
    ],
    rules: &[],
};

/// `redirect` of a route.
pub static ROUTE_REDIRECT: Table = Table {
    header: "[routes.NAME.redirect]",
    about: "Redirect of a route.",
    keys: &[
        Key::new("to", Form::Text(&URL), Absent::Required, "URL, which the path and query of each request follow."),
        Key::new(
            "permanent",
            Form::Bool,
            Absent::Is("true"),
            "Answers 308, which clients remember. `false` answers 307.",
        ),
        Key::new("keep_path", Form::Bool, Absent::Is("true"), "`false` sends all requests to the URL itself."),
    ],
    rules: &[],
};
