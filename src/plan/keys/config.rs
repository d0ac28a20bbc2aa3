//! Keys of the config.

use super::super::key::pattern::{
    ADDRESS, DIRECTORY, ENDPOINT, EXCEPTION as EXCEPTION_TEXT, FILE, HOST, INCLUDED, LISTENER_NAME, PATH_PATTERN,
    PREFIX, PROGRAM, PROXY, RAMP_POINT, RATE, UPSTREAM, URL,
};
use super::super::key::{Absent, Form, Key, ROUTE_NAME, Rule, Table};
use super::super::limits;
use super::bypass::BYPASS;
use super::checks::{CHECK, HEALTH};
use super::errors::ERRORS;
use super::fields::{REQUEST, RESPONSE};
use super::fleet::FLEET;
use super::guard::GUARD;
use super::listen::{GROUP_KEY, LISTEN, MODE_KEY, OWNER_KEY};
use super::log::LOG;
use super::mail::MAIL;
use super::notify::NOTIFY;
use super::page::PAGE;
use super::redirect::ROUTE_REDIRECT;
use super::route_page::ROUTE_PAGE;
use super::status::STATUS;
use super::sticky::STICKY;
use super::switch::SWITCH;
use super::times::{RETRY_TIME, ROUTE_TIME};
use super::tls::CERTIFICATE;
use super::upstream;
use super::write::ADMIN_WRITE;

/// `backsoon.toml`.
pub static CONFIG: Table = Table {
    header: "backsoon.toml",
    about: "Keys above the first table.",
    keys: &[
        Key::new("maintenance", Form::Text(&FILE), Absent::Is("\"maintenance.toml\""), "Path of the flag file."),
        Key::new(
            "on_missing",
            Form::Choice(&["keep", "open"]),
            Absent::Is("\"keep\""),
            "Effect of a flag file that disappears: keep the last good state, or open every route.",
        ),
        Key::new(
            "state_dir",
            Form::Text(&DIRECTORY),
            Absent::Means("systemd's `StateDirectory`, else `.backsoon` beside the config"),
            "Directory for the state that survives a restart, and for the history.",
        ),
        Key::new(
            "workers",
            Form::Count(1, 1024),
            Absent::Means("one per core"),
            "Number of workers. A change needs a restart.",
        ),
        Key::new(
            "trusted_proxies",
            Form::OneOrArray(&Form::Text(&PROXY), 0..=usize::MAX),
            Absent::Is("[]"),
            "Peers whose forwarding fields (`X-Forwarded-*`, `Forwarded`, `X-Request-Id`) are believed. `\"unix:\"` \
             stands for every peer on a unix socket.",
        ),
        Key::new(
            "drain",
            ROUTE_TIME,
            Absent::Is("\"30s\""),
            "Time that requests in flight may take to finish when a route closes or the process ends.",
        ),
        Key::new(
            "errors",
            Form::Table(&ERRORS),
            Absent::Is("{}"),
            "Errors that have the proxy's page, on routes without a key of their own.",
        ),
        Key::new(
            "retry_after_max",
            RETRY_TIME,
            Absent::Means("until the end, at most an hour"),
            "Longest time that clients are told to wait before they ask again.",
        ),
        Key::new(
            "request",
            Form::Table(&REQUEST),
            Absent::Is("{}"),
            "Fields of the requests that upstreams get, on all routes. A route has the last word on the fields that it names.",
        ),
        Key::new(
            "response",
            Form::Table(&RESPONSE),
            Absent::Is("{}"),
            "Fields of the answers that clients get, on all routes and on the proxy's own answers, which keep the fields \
             that they have. A route has the last word on the fields that it names.",
        ),
        Key::new(
            "trace",
            Form::Either(&[Form::Bool, Form::Share]),
            Absent::Is("false"),
            "Begins a trace (`traceparent`) for each request without one, and marks this share of them as to be recorded; \
             `true` is all. Without it, valid traces pass.",
        ),
        Key::new(
            "listen",
            Form::Tables(&LISTEN, 64),
            Absent::Required,
            "Listeners for clients, at least one. A change needs a restart.",
        ),
        Key::new(
            "admin",
            Form::Table(&ADMIN),
            Absent::Means("no admin listener"),
            "Listener for operators. A change needs a restart.",
        ),
        Key::new(
            "replicas",
            Form::OneOrArray(&Form::Text(&ENDPOINT), 0..=64),
            Absent::Means("the proxy of `[admin]` alone"),
            "Admin listeners of all proxies that share the flag file, this one included. `status`, `on`, `off` and `step` \
             ask them all. A name that has several addresses stands for all of them, and may be written as \
             `\"dns:NAME:PORT\"`. With `nats` in `[fleet]`, all are asked [through it](fleet.md#proof), and these only while \
             nobody answers there.",
        ),
        Key::new(
            "fleet",
            Form::Table(&FLEET),
            Absent::Means("the file of `maintenance`"),
            "Source of the flag file that several proxies share, in the place of `maintenance`. A change needs a restart.",
        ),
        Key::new("limits", Form::Table(&limits::TABLE), Absent::Is("{}"), "Limits and time-outs."),
        Key::new("log", Form::Table(&LOG), Absent::Is("{}"), "Log and access log."),
        Key::new(
            "pages",
            Form::Text(&DIRECTORY),
            Absent::Means("the built-in page alone"),
            "Directory with your own templates and messages. Each file replaces the built-in one of its name.",
        ),
        Key::new("page", Form::Table(&PAGE), Absent::Is("{}"), "Look and content of the page."),
        Key::new("status", Form::Table(&STATUS), Absent::Is("{}"), "Status site."),
        Key::new("mail", Form::Table(&MAIL), Absent::Means("no mails"), "Mail server for subscribers by e-mail."),
        Key::new(
            "include",
            Form::OneOrArray(&Form::Text(&INCLUDED), 0..=64),
            Absent::Is("[]"),
            "Files with more `[routes.NAME]` tables, and nothing else. `*` in the name of a file stands for any characters: \
             `\"routes/*.toml\"`. At most 256 files with 8 MiB.",
        ),
        Key::new(
            "routes",
            Form::Routes(&Form::Table(&ROUTE)),
            Absent::Required,
            "Routes by name, at least one and at most 16384. A name has 1 to 64 letters, digits, `_`, `.` and `-`, and \
             does not begin with `-`.",
        ),
        Key::new(
            "notify",
            Form::Tables(&NOTIFY, 64),
            Absent::Means("nobody is told"),
            "Places where operators are told of events.",
        ),
    ],
    rules: &[],
};

/// `[admin]`.
pub static ADMIN: Table = Table {
    header: "[admin]",
    about: "Listener for `/livez`, `/readyz`, `/metrics` and `/status`.",
    keys: &[
        Key::new(
            "address",
            Form::Text(&ADDRESS),
            Absent::Required,
            "Address to listen on, written as for `[[listen]]`. The address of a `[[listen]]` is refused.",
        ),
        MODE_KEY,
        OWNER_KEY,
        GROUP_KEY,
        Key::new(
            "write",
            Form::Table(&ADMIN_WRITE),
            Absent::Means("nothing can be changed there"),
            "Who may change flags through the admin listener. A change takes effect at once.",
        ),
    ],
    rules: &[],
};

/// `[routes.NAME]`.
pub static ROUTE: Table = Table {
    header: "[routes.NAME]",
    about: "Route: the requests for a host and a path, their upstreams, and the way down and back.",
    keys: &[
        Key::new(
            "host",
            Form::OneOrArray(&Form::Text(&HOST), 1..=256),
            Absent::Means("any host"),
            "Host without a port. `*.example.com` means every host below `example.com`. The most specific host wins.",
        ),
        Key::new(
            "path",
            Form::OneOrArray(&Form::Text(&PATH_PATTERN), 1..=256),
            Absent::Is("\"/\""),
            "Prefix of the path, at segment boundaries, or a [pattern](forwarding.md#patterns): `*` stands for any characters \
             of a segment, `**` for any segments. The closest one wins: of prefixes, the longest.",
        ),
        Key::new(
            "listen",
            Form::OneOrArray(&Form::Text(&LISTENER_NAME), 1..=64),
            Absent::Means("every listener"),
            "Names of the listeners that the route is for. It comes before routes for every listener.",
        ),
        Key::new(
            "strip_prefix",
            Form::Either(&[Form::Bool, Form::Text(&PREFIX)]),
            Absent::Means("the whole path goes on"),
            "Prefix that is taken from the path before it goes to the upstream; `true` takes the route's `path`. The \
             upstream is told by `X-Forwarded-Prefix`.",
        ),
        Key::new(
            "upstream",
            Form::OneOrArray(&Form::Either(&[Form::Text(&UPSTREAM), Form::Table(&upstream::UPSTREAM)]), 1..=64),
            Absent::Means("one of `upstream` and `redirect` is required"),
            "Service to forward to: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. A path, as in \
             `http://HOST:PORT/app`, comes before that of each request. Several share the load; a table gives one a \
             weight.",
        ),
        Key::new(
            "redirect",
            Form::Either(&[Form::Text(&URL), Form::Table(&ROUTE_REDIRECT)]),
            Absent::Means("one of `upstream` and `redirect` is required"),
            "URL that clients are sent to, in the place of upstreams: `https://example.com`. The path and query of the \
             request follow it.",
        ),
        Key::new("http2", Form::Bool, Absent::Is("false"), "Speaks HTTP/2 to the upstreams. gRPC needs it."),
        Key::new(
            "ca",
            Form::Text(&FILE),
            Absent::Means("the system's roots"),
            "PEM file with the roots that `https://` upstreams are checked against, instead of the system's.",
        ),
        Key::new(
            "client_cert",
            Form::Table(&CERTIFICATE),
            Absent::Means("none"),
            "Certificate that is shown to `https://` upstreams, which may ask for one. Checks show it as well.",
        ),
        Key::new(
            "proxy_protocol",
            Form::Choice(&["v1", "v2"]),
            Absent::Means("none"),
            "Begins each connection to the upstreams with a PROXY header that names the client. Each request then has a \
             connection of its own. Not with `http2`.",
        ),
        Key::new(
            "sticky",
            Form::Either(&[Form::Choice(&["address", "cookie"]), Form::Table(&STICKY)]),
            Absent::Means("any upstream"),
            "Keeps a client to one upstream, by its address or by a cookie. Clients of one that is out go to others.",
        ),
        Key::new(
            "slow_start",
            ROUTE_TIME,
            Absent::Means("none"),
            "Time in which the share of an upstream that comes back, or is new, grows to the whole.",
        ),
        Key::new(
            "keep_host",
            Form::Bool,
            Absent::Is("true"),
            "Forwards the client's `Host`. `false` sends the upstream's own.",
        ),
        Key::new(
            "request",
            Form::Table(&REQUEST),
            Absent::Means("`request` above the tables"),
            "Fields of the requests that upstreams get, besides those above the tables.",
        ),
        Key::new(
            "response",
            Form::Table(&RESPONSE),
            Absent::Means("`response` above the tables"),
            "Fields of the answers that clients get, besides those above the tables.",
        ),
        Key::new(
            "rewrite_answers",
            Form::Bool,
            Absent::Is("false"),
            "Undoes what `strip_prefix` and the path of the upstream did, in `Location`, `Content-Location`, `Refresh` and \
             the `Path` of `Set-Cookie`. For apps that do not know their place.",
        ),
        Key::new(
            "always_open",
            Form::OneOrArray(&Form::Either(&[Form::Text(&PATH_PATTERN), Form::Table(&EXCEPTION)]), 0..=256),
            Absent::Is("[]"),
            "[Patterns](forwarding.md#patterns) of paths that stay open whatever is flagged. A table makes the proxy answer them itself.",
        ),
        Key::new(
            "well_known",
            Form::Choice(&["pass", "closed"]),
            Absent::Is("\"pass\""),
            "Treatment of `/robots.txt` and `/.well-known/acme-challenge/` while the route is closed: forwarded, or \
             closed as well.",
        ),
        Key::new(
            "limits",
            Form::Table(&limits::ROUTE_TABLE),
            Absent::Means("those of `[limits]`"),
            "Limits and time-outs of the route alone.",
        ),
        Key::new(
            "dialect",
            Form::Choice(&["html", "text", "markdown", "problem", "json", "xml"]),
            Absent::Means("chosen by `Accept`"),
            "Fixed form of the page, for caches in between that confuse forms.",
        ),
        Key::new(
            "errors",
            Form::Table(&ERRORS),
            Absent::Means("`errors` above the tables"),
            "Errors that have the proxy's page.",
        ),
        Key::new(
            "page",
            Form::Either(&[Form::Table(&ROUTE_PAGE), Form::Text(&ROUTE_NAME)]),
            Absent::Means("that of `[page]`"),
            "Page of the route alone. A name shows the page of that route. At most 64 pages differ.",
        ),
        Key::new(
            "template",
            Form::Text(&PROGRAM),
            Absent::Means("the problem document"),
            "Form of the answers to programs, in the place of JSON (or XML): a built-in one such as `openai.json`, or a \
             file in `programs/` of `pages`. A program that names no form gets it, too.",
        ),
        Key::new(
            "switch",
            Form::Either(&[Form::OneOrArray(&Form::Text(&FILE), 1..=16), Form::Table(&SWITCH)]),
            Absent::Means("none"),
            "File whose existence is a flag: `touch` closes the route, `rm` opens it. Its content, if any, is the message.",
        ),
        Key::new(
            "drain",
            ROUTE_TIME,
            Absent::Means("`drain` above the tables"),
            "Time that requests in flight may take to finish when the route closes.",
        ),
        Key::new(
            "retry_after_max",
            RETRY_TIME,
            Absent::Means("`retry_after_max` above the tables"),
            "Longest time that clients are told to wait (`Retry-After`), for programs that sleep as long as they are told.",
        ),
        Key::new(
            "streams",
            Form::Either(&[Form::Choice(&["drain", "grace", "keep"]), ROUTE_TIME]),
            Absent::Is("\"drain\""),
            "Time over which WebSockets, other tunnels and event streams are closed. `drain` (or `grace`) takes the \
             drain time, `keep` leaves them alone.",
        ),
        Key::new(
            "ramp",
            Form::Either(&[ROUTE_TIME, Form::Array(&Form::Text(&RAMP_POINT), 1..=64)]),
            Absent::Means("everybody at once"),
            "Share of clients that is admitted when the route comes back. It grows evenly over a time, or by points such as \
             `[\"5% at 0s\", \"25% at 2m\", \"100% at 5m\"]`. Points grow, end at 100 %, and lie within a \
             week.",
        ),
        Key::new(
            "ramp_group",
            Form::Words(64),
            Absent::Means("the routes of one window, or of flags"),
            "Routes in whose ramps a client has the same turn. Who is admitted to one of them is admitted to the others, \
             as far as they are. Needs `ramp`.",
        ),
        Key::new("hold", Form::Table(&HOLD), Absent::Is("{}"), "Bounds of the mode `hold`."),
        Key::new(
            "announce_banner",
            Form::Bool,
            Absent::Is("false"),
            "Offers `/.backsoon/banner.js/PATH` and `banner.json`, by which the open app can tell its visitors of an \
             announced window.",
        ),
        Key::new(
            "verify",
            Form::OneOrArray(&Form::Table(&CHECK), 1..=32),
            Absent::Means("no check"),
            "Checks of the upstreams before the route opens. An upstream that fails is left out.",
        ),
        Key::new(
            "quorum",
            Form::Either(&[Form::Choice(&["all"]), Form::Count(1, 64)]),
            Absent::Means("more than half"),
            "Number of upstreams that must pass every check before the route opens. Needs `verify`.",
        ),
        Key::new(
            "health",
            Form::OneOrArray(&Form::Table(&HEALTH), 1..=32),
            Absent::Means("no check"),
            "Checks of the upstreams while the route is open. An upstream that fails is left out.",
        ),
        Key::new(
            "guard",
            Form::Table(&GUARD),
            Absent::Means("not watched"),
            "Conditions that close the route again after it came back.",
        ),
        Key::new("bypass", Form::Table(&BYPASS), Absent::Means("nobody passes"), "Clients that pass a closed route."),
        Key::new(
            "cookie_secure",
            Form::Bool,
            Absent::Is("true"),
            "Sets the cookies of bypass and ramp over HTTPS alone. `false` also sets them over plain HTTP, for internal \
             sites.",
        ),
        Key::new(
            "read_only",
            Form::Table(&READ_ONLY),
            Absent::Is("{}"),
            "Requests that pass in the mode `read-only`, besides those whose method only reads.",
        ),
    ],
    rules: &[
        Rule::OneOf(&["upstream", "redirect"]),
        Rule::Needs("strip_prefix", "path"),
        Rule::Needs("ramp_group", "ramp"),
        Rule::Needs("quorum", "verify"),
    ],
};

/// Item of `always_open`.
pub static EXCEPTION: Table = Table {
    header: "always_open",
    about: "Path that stays open.",
    keys: &[
        Key::new(
            "path",
            Form::Text(&PATH_PATTERN),
            Absent::Required,
            "[Pattern](forwarding.md#patterns) of paths, and all below. `*` stands for any characters of a segment, `**` for any \
             segments.",
        ),
        Key::new(
            "answer",
            Form::Count(200, 599),
            Absent::Means("forwarded"),
            "Status of the proxy's own answer. The upstream is not asked.",
        ),
        Key::new("body", Form::Paragraphs(4096), Absent::Means("empty"), "Plain text of that answer. Needs `answer`."),
    ],
    rules: &[Rule::Needs("body", "answer")],
};

/// `hold` of a route.
pub static HOLD: Table = Table {
    header: "hold",
    about: "Bounds of held requests.",
    keys: &[
        Key::new(
            "max_wait",
            ROUTE_TIME,
            Absent::Is("\"30s\""),
            "Longest time that a request waits. Then it gets the page.",
        ),
        Key::new(
            "max_held",
            Form::Count(1, 1_000_000),
            Absent::Is("1000"),
            "Requests that may wait at once, over all workers.",
        ),
        Key::new(
            "release",
            Form::Text(&RATE),
            Absent::Is("\"50/s\""),
            "Rate at which held requests are forwarded when the route is back, and pages that watch it come back: `50/s` or \
             `30/m`.",
        ),
    ],
    rules: &[],
};

/// `read_only` of a route.
pub static READ_ONLY: Table = Table {
    header: "read_only",
    about: "Exceptions from the mode `read-only`.",
    keys: &[Key::new(
        "allow",
        Form::OneOrArray(&Form::Text(&EXCEPTION_TEXT), 0..=256),
        Absent::Is("[]"),
        "Requests that pass: a method and a path (`POST /login`), or a path for every method. Paths are [patterns](forwarding.md#patterns).",
    )],
    rules: &[],
};
