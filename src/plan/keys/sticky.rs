//! Keys of `sticky`.

use std::time::Duration;

use super::super::key::pattern::{COOKIE_NAME, COOKIE_PATH};
use super::super::key::{Absent, Form, Key, Table};

/// `sticky` of a route, as a table.
pub static STICKY: Table = Table {
    header: "[routes.NAME.sticky]",
    about: "Cookie by which a client keeps to one upstream.",
    keys: &[
        Key::new(
            "cookie",
            Form::Text(&COOKIE_NAME),
            Absent::Required,
            "Name of the cookie, which the app must not use.",
        ),
        Key::new(
            "path",
            Form::Text(&COOKIE_PATH),
            Absent::Means("the route's `path`, or `/` if it has several"),
            "Path below which browsers send the cookie.",
        ),
        Key::new(
            "max_age",
            Form::Time(Duration::from_secs(1), Duration::from_secs(400 * 24 * 3600)),
            Absent::Means("the end of the browser's session"),
            "Time after a client's last answer for which it keeps to its upstream.",
        ),
        Key::new(
            "same_site",
            Form::Choice(&["lax", "strict", "none"]),
            Absent::Is("\"lax\""),
            "Requests from other sites that have the cookie. `none` is for apps within pages of other sites, and over https \
             alone.",
        ),
    ],
    rules: &[],
};
