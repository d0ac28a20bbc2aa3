//! Keys of a route's `guard`.

use std::time::Duration;

use super::super::key::pattern::{ERROR_RATE, PATH_PATTERN, TIMES_BASELINE, TRAFFIC, ZOMBIES};
use super::super::key::{Absent, Form, Key, Table};
use super::times::{MILLISECOND, ROUTE_TIME};

/// `guard` of a route.
pub static GUARD: Table = Table {
    header: "guard",
    about: "Conditions for a route that has come back. At least one of the first five should be set.",
    keys: &[
        Key::new(
            "error_rate",
            Form::Text(&ERROR_RATE),
            Absent::Means("not measured"),
            "Share of requests that may fail: `1%`, `baseline + 1%` for one percent more than before the route went down, \
             or `baseline + 1%, at most 5%`. Chance is allowed for.",
        ),
        Key::new(
            "p99",
            Form::Either(&[Form::Time(MILLISECOND, Duration::from_secs(600)), Form::Text(&TIMES_BASELINE)]),
            Absent::Means("not measured"),
            "Latency that 99 of a hundred requests must not exceed: `800ms`, `baseline * 1.5` for half as much again as \
             before, or `baseline * 1.5, at most 2s`.",
        ),
        Key::new(
            "zombies",
            Form::Either(&[Form::Count(1, 1_000_000), Form::Text(&ZOMBIES)]),
            Absent::Means("not measured"),
            "Requests that may hang, without a response for 10 s, besides those that hung before: `10` or \
             `baseline + 10`, `baseline + 10, at most 50`, or `at most 50`.",
        ),
        Key::new(
            "statuses",
            Form::Statuses(&Form::Text(&ERROR_RATE), 4),
            Absent::Means("not measured"),
            "Shares of requests that may be answered with a status, `401`, or a class of them, `4xx`. Bounds are written \
             as those of `error_rate`.",
        ),
        Key::new(
            "traffic",
            Form::Text(&TRAFFIC),
            Absent::Means("not measured"),
            "Drop in traffic: `baseline - 80%` for fewer than a fifth of the requests before. Judged once the route is \
             fully open.",
        ),
        Key::new(
            "ignore",
            Form::OneOrArray(&Form::Text(&PATH_PATTERN), 0..=64),
            Absent::Is("[]"),
            "Paths whose requests are not counted, such as long polls and reports. What is below them is left out as well. \
             `*` stands for any characters of a segment.",
        ),
        Key::new(
            "watch",
            ROUTE_TIME,
            Absent::Is("\"10m\""),
            "Time for which the guard watches after the route is fully open.",
        ),
        Key::new(
            "min_requests",
            Form::Count(1, 1_000_000),
            Absent::Is("20"),
            "Requests in the span that is judged, below which nothing is.",
        ),
        Key::new(
            "on_breach",
            Form::Choice(&["close", "hold-ramp", "warn"]),
            Absent::Is("\"close\""),
            "Effect of a breach: the route closes until an operator acts, the ramp stays while the breach lasts, or a \
             warning alone.",
        ),
        Key::new(
            "on_drop",
            Form::Choice(&["warn", "close"]),
            Absent::Is("\"warn\""),
            "Effect of a drop in `traffic`: a warning alone, or the route closes as it does for other breaches.",
        ),
        Key::new(
            "retry_after",
            Form::Time(Duration::from_secs(1), Duration::from_secs(24 * 3600)),
            Absent::Means("it waits for an operator"),
            "Time after which a guard that closed the route tries again by itself. It doubles with each try in vain.",
        ),
        Key::new(
            "ready",
            Form::Bool,
            Absent::Is("true"),
            "Whether `/readyz` still says that the proxy is ready while its guard keeps the route closed.",
        ),
    ],
    rules: &[],
};
