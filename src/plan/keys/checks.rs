//! Keys of a route's checks.

use super::super::key::pattern::REQUEST_TARGET;
use super::super::key::{Absent, Form, Key, Table};
use super::config::ROUTE_TIME;

/// Item of `verify`.
pub static CHECK: Table = Table {
    header: "verify",
    about: "Check of the upstreams.",
    keys: &[
        Key::new("get", Form::Text(&REQUEST_TARGET), Absent::Required, "Path, with its query, that is requested."),
        Key::new("expect", Form::Count(100, 599), Absent::Is("200"), "Status that must come."),
        Key::new("within", ROUTE_TIME, Absent::Is("\"2s\""), "Longest time that the answer may take."),
        Key::new("times", Form::Count(1, 1000), Absent::Is("1"), "Successes in a row that are needed."),
        Key::new("every", ROUTE_TIME, Absent::Is("\"5s\""), "Time between two attempts."),
        Key::new("region", Form::Words(64), Absent::Means("none"), "Name of the place of the check, for the timeline."),
    ],
    rules: &[],
};
