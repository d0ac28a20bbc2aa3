//! Keys of a route's checks.

use super::super::key::pattern::{AUTHORITY, GRPC_SERVICE, REGEX, REQUEST_TARGET, STATUS_CLASS};
use super::super::key::{Absent, Form, Key, Rule, Table};
use super::times::ROUTE_TIME;

/// Lists the keys of a check, and further keys.
macro_rules! keys_of_check {
    ($($more:expr),*) => {
        &[
        Key::new("get", Form::Text(&REQUEST_TARGET), ONE_OF, "Path, with its query, that is requested."),
        Key::new("tcp", Form::Bool, ONE_OF, "Only connects, with TLS where the upstream has it."),
        Key::new(
            "grpc",
            Form::Text(&GRPC_SERVICE),
            ONE_OF,
            "Service that `grpc.health.v1.Health/Check` is asked for, over HTTP/2. `\"\"` is the whole server.",
        ),
        Key::new(
            "method",
            Form::Choice(&["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]),
            Absent::Means("GET, or POST with `send`"),
            "Method of the request.",
        ),
        Key::new(
            "host",
            Form::Text(&AUTHORITY),
            Absent::Means("as for the route's requests"),
            "`Host` of the request.",
        ),
        Key::new("headers", Form::Fields(4096), Absent::Is("{}"), "More header fields of the request."),
        Key::new("send", Form::Paragraphs(32 * 1024), Absent::Means("none"), "Body of the request."),
        Key::new(
            "follow",
            Form::Count(0, 10),
            Absent::Is("0"),
            "Redirects that are followed, on the same upstream. The last answer counts.",
        ),
        Key::new(
            "expect",
            Form::OneOrArray(&Form::Either(&[Form::Count(100, 599), Form::Text(&STATUS_CLASS)]), 1..=16),
            Absent::Is("200"),
            "Statuses that pass: `200`, `\"2xx\"`, `[200, 204, \"3xx\"]`.",
        ),
        Key::new(
            "body",
            Form::Paragraphs(4096),
            Absent::Means("any body"),
            "Text that the first 64 KiB of the body must contain.",
        ),
        Key::new(
            "matches",
            Form::Text(&REGEX),
            Absent::Means("any body"),
            "Regular expression that must match in the first 64 KiB of the body.",
        ),
        Key::new(
            "expect_headers",
            Form::Fields(4096),
            Absent::Is("{}"),
            "Header fields of the response, with the text that each must contain.",
        ),
        Key::new("within", ROUTE_TIME, Absent::Is("\"2s\""), "Longest time that the whole attempt may take."),
        Key::new(
            "faster_than",
            ROUTE_TIME,
            Absent::Means("`within` alone"),
            "Time from which on a good answer is too slow to pass.",
        ),
        Key::new("times", Form::Count(1, 1000), Absent::Is("1"), "Successes in a row that are needed."),
        Key::new("every", ROUTE_TIME, Absent::Is("\"5s\""), "Time between two attempts."),
        Key::new(
            "region",
            Form::OneOrArray(&Form::Words(64), 1..=16),
            Absent::Means("none"),
            "Names of the places that the check speaks for, for the timeline.",
        ),
            $($more,)*
        ]
    };
}

/// Item of `verify`.
pub static CHECK: Table = Table {
    header: "verify",
    about: "Check of the upstreams.",
    keys: keys_of_check!(),
    rules: &[Rule::OneOf(&["get", "tcp", "grpc"])],
};

/// Item of `health`.
pub static HEALTH: Table = Table {
    header: "health",
    about: "Check of the upstreams while the route is open.",
    keys: keys_of_check!(Key::new(
        "fails",
        Form::Count(1, 1000),
        Absent::Is("3"),
        "Failures in a row after which the upstream is left out. `times` passes in a row bring it back."
    )),
    rules: &[Rule::OneOf(&["get", "tcp", "grpc"])],
};

const ONE_OF: Absent = Absent::Means("one of `get`, `tcp` and `grpc` is required");
