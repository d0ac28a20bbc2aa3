//! Keys of the flag file.

use std::time::Duration;

use super::super::key::pattern::{OCCASION, RECURRENCE, ROUTE_NAME};
use super::super::key::{Absent, Form, Key, Rule, Table};
use super::super::units::LARGEST;

/// `maintenance.toml`.
pub static FLAGS: Table = Table {
    header: "maintenance.toml",
    about: "Tables of the flag file. An empty file flags nothing.",
    keys: &[
        Key::new(
            "routes",
            Form::Targets(&Form::Either(&[MODE, Form::Table(&FLAG)])),
            Absent::Is("{}"),
            "Flags by route: a mode (`web = \"offline\"`) or a table. `\"*\"` means every route.",
        ),
        Key::new(
            "windows",
            Form::Tables(&WINDOW, 2048),
            Absent::Is("[]"),
            "Planned windows. Those that are over do not count. At most 256 may have `every`.",
        ),
        Key::new(
            "forced",
            Form::Targets(&Form::Instant),
            Absent::Is("{}"),
            "Instants at which an operator opened a route by force. Findings of checks and guards from before are \
             overruled. `backsoon off --force` writes it.",
        ),
        Key::new(
            "lifted",
            Form::Targets(&Form::Either(&[Form::Instant, Form::Table(&LIFT)])),
            Absent::Is("{}"),
            "Instants at which an operator lifted a route, from which its ramp counts for five minutes after. \
             `backsoon off` writes it.",
        ),
        Key::new(
            "revoked",
            Form::Targets(&Form::Instant),
            Absent::Is("{}"),
            "Instants before which the bypass links and cookies of a route are void. `backsoon bypass --revoke` writes \
             it.",
        ),
        Key::new(
            "links",
            Form::Routes(&Form::Table(&LINK)),
            Absent::Is("{}"),
            "Bypass links by their names, at most 1024. A named link that is not here is void. `backsoon bypass --name` \
             writes it, and `--revoke NAME` takes it out.",
        ),
        Key::new(
            "upstreams",
            Form::Upstreams(&Form::Choice(&["drain", "down"])),
            Absent::Is("{}"),
            "Upstreams that are out of every route: `\"10.0.0.3:8080\" = \"drain\"`. A host alone means all of its \
             ports. `backsoon upstream` writes it.",
        ),
    ],
    rules: &[],
};

/// Entry of `[links]`.
pub static LINK: Table = Table {
    header: "[links.NAME]",
    about: "Bypass link with a name.",
    keys: &[
        Key::new("route", Form::Text(&ROUTE_NAME), Absent::Required, "Route that it passes."),
        Key::new("issued", Form::Instant, Absent::Required, "Instant of issue, to the millisecond."),
        Key::new("expires", Form::Instant, Absent::Required, "Instant from which it is void."),
    ],
    rules: &[],
};

/// Entry of `[routes]`.
pub static FLAG: Table = Table {
    header: "[routes.NAME]",
    about: "Flag of a route.",
    keys: &[
        Key::new("mode", MODE, Absent::Is("\"offline\""), "Effect on the route."),
        Key::new(
            "until",
            Form::Instant,
            Absent::Means("until it is lifted"),
            "Instant at which the flag lifts by itself.",
        ),
        Key::new("message", Form::Translated(4096), Absent::Means("none"), "Paragraphs of the page."),
        Key::new(
            "held_by",
            Form::Words(1024),
            Absent::Means("nobody"),
            "Holder, for operators alone: the command that renews `until` while it runs. `backsoon with` writes it.",
        ),
        Key::new(
            "on_overrun",
            Form::Choice(&["open", "stay"]),
            Absent::Is("\"open\""),
            "Effect of `until`: the flag lifts by itself, or the route stays closed, overrunning, until it is lifted.",
        ),
    ],
    rules: &[],
};

/// Entry of `[lifted]`.
pub static LIFT: Table = Table {
    header: "[lifted.NAME]",
    about: "Lifting of a route.",
    keys: &[
        Key::new("at", Form::Instant, Absent::Required, "Instant at which the route was lifted."),
        Key::new("ramp", Form::Bool, Absent::Is("true"), "`false` admits everybody at once, after the checks."),
    ],
    rules: &[],
};

/// `[[windows]]`.
pub static WINDOW: Table = Table {
    header: "[[windows]]",
    about: "Planned window: from `starts` until just before `ends`, or again and again by `every`.",
    keys: &[
        Key::new("id", Form::Words(64), Absent::Required, "Incident reference, unique in the file."),
        Key::new(
            "every",
            Form::Text(&RECURRENCE),
            Absent::Means("once"),
            "Recurrence, such as `Sun 02:00-04:00 Europe/Berlin`, instead of `starts` and `ends`. At most 1024 bytes.",
        ),
        Key::new(
            "except",
            Form::OneOrArray(&Form::Text(&OCCASION), 0..=256),
            Absent::Means("none"),
            "Occurrences of `every` that are left out: dates (`2026-12-27`) in the time zone of the rule, or instants at \
             which one begins.",
        ),
        Key::new("starts", Form::Instant, Absent::Means("required without `every`"), "Start."),
        Key::new("ends", Form::Instant, Absent::Means("required without `every`"), "End: the first instant after it."),
        Key::new(
            "started",
            Form::Instant,
            Absent::Means("`starts`"),
            "Instant at which it really began. Not for `every`.",
        ),
        Key::new("title", LINE, Absent::Means("a built-in heading"), "Heading of the page."),
        Key::new("summary", LINE, Absent::Means("none"), "Line below the heading."),
        Key::new("message", Form::Translated(4096), Absent::Means("a built-in text"), "Paragraphs of the page."),
        Key::new("label", LINE, Absent::Means("none"), "Word beside \"live\", such as `investigating`."),
        Key::new(
            "ended",
            Form::Instant,
            Absent::Means("the end"),
            "Instant at which it really ended, before or after `ends`. One before the start is ignored.",
        ),
        Key::new(
            "announce",
            Form::Time(Duration::from_secs(1), Duration::from_secs(366 * 24 * 3600)),
            Absent::Means("not announced"),
            "Time before the start from which the window is announced.",
        ),
        Key::new(
            "on_overrun",
            Form::Choice(&["open", "stay"]),
            Absent::Is("\"open\""),
            "Effect of the end: the routes come back, or they stay closed, overrunning, until the window has `ended`.",
        ),
        Key::new(
            "opens",
            Form::Choice(&["time", "steps", "word"]),
            Absent::Is("\"time\""),
            "Event that ends the window: its end, or every step without `auto` is done, or `backsoon off --window`. \
             `steps` is not for `every`.",
        ),
        Key::new("regions", REGIONS, Absent::Is("[]"), "Regions that are concerned."),
        Key::new("impact", Form::Table(&IMPACT), Absent::Means("none"), "Impact on customers."),
        Key::new(
            "routes",
            Form::Targets(&MODE),
            Absent::Means("no route, with a warning"),
            "Mode for each route. `\"*\"` means every route.",
        ),
        Key::new("services", Form::Tables(&SERVICE, 256), Absent::Is("[]"), "Rows of the table of services."),
        Key::new("steps", Form::Tables(&STEP, 256), Absent::Is("[]"), "Steps of the timeline."),
    ],
    rules: &[
        Rule::Needs("except", "every"),
        Rule::Instead { key: "every", of: &["starts", "ends"], refused: &["started"] },
    ],
};

/// `impact` of a window.
pub static IMPACT: Table = Table {
    header: "impact",
    about: "Impact on customers.",
    keys: &[
        Key::new("level", LINE, Absent::Required, "Any word: none, low, medium, high."),
        Key::new("note", LINE, Absent::Means("none"), "Explanation of the level."),
    ],
    rules: &[],
};

/// `[[windows.services]]`.
pub static SERVICE: Table = Table {
    header: "[[windows.services]]",
    about: "Row of the table of services.",
    keys: &[
        Key::new("name", LINE, Absent::Required, "Name of the service."),
        Key::new("detail", LINE, Absent::Means("none"), "Second line, often a host name."),
        Key::new(
            "route",
            Form::Text(&ROUTE_NAME),
            Absent::Means("none"),
            "Route whose real state the service shows, instead of `status`.",
        ),
        Key::new(
            "status",
            Form::Choice(&["operational", "degraded", "restarting", "queued", "offline"]),
            Absent::Is("\"operational\""),
            "State of the service.",
        ),
        Key::new("eta", Form::Instant, Absent::Means("none"), "Instant at which it is expected back."),
        Key::new("regions", REGIONS, Absent::Is("[]"), "Regions of the service."),
    ],
    rules: &[],
};

/// `[[windows.steps]]`.
pub static STEP: Table = Table {
    header: "[[windows.steps]]",
    about: "Step of the timeline.",
    keys: &[
        Key::new("title", LINE, Absent::Required, "Name of the step."),
        Key::new("detail", Form::Translated(4096), Absent::Means("none"), "Explanation in a sentence or two."),
        Key::new(
            "auto",
            Form::Choice(&["drain", "verify", "ramp", "watch"]),
            Absent::Means("moved by hand"),
            "Phase that moves the step by itself. `state` and `progress` are not used then.",
        ),
        Key::new(
            "state",
            Form::Choice(&["pending", "running", "done", "failed"]),
            Absent::Is("\"pending\""),
            "State of the step.",
        ),
        Key::new("progress", Form::Table(&PROGRESS), Absent::Means("none"), "Progress of the step, in counted units."),
        Key::new(
            "at",
            Form::Instant,
            Absent::Means("not known"),
            "Instant at which the step was moved. In a window with `every`, a step that was moved before the occurrence \
             began is pending again. `backsoon step` writes it there.",
        ),
    ],
    rules: &[],
};

/// `progress` of a step.
pub static PROGRESS: Table = Table {
    header: "progress",
    about: "Progress of a step.",
    keys: &[
        Key::new("done", Form::Count(0, LARGEST), Absent::Required, "Units that are done, at most `total`."),
        Key::new("total", Form::Count(1, LARGEST), Absent::Required, "Units in all."),
        Key::new("unit", LINE, Absent::Means("none"), "Name of the units, such as `schema changes`."),
    ],
    rules: &[],
};

const MODE: Form = Form::Choice(&["offline", "read-only", "hold"]);
const LINE: Form = Form::Translated(256);
const REGIONS: Form = Form::OneOrArray(&Form::Words(256), 0..=64);
