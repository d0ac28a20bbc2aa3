//! The page of the admin listener: `backsoon status` for a browser. The page is read-only and complete without script.
//! With script, it follows `/events`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;
use jiff::Timestamp;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::plan::snapshot::Phase;
use crate::plan::words;
use crate::status::concerns::{by_kind, concerns};
use crate::status::{FileStatus, ProblemStatus, RouteStatus, Status, story};

/// The template, with the policy that allows its own style and script alone.
pub(in crate::control) struct Page {
    environment: Environment<'static>,
    policy: HeaderValue,
    /// Policy of the page with buttons, which has a style and a script more.
    write_policy: HeaderValue,
}

/// A status as the template sees it.
#[derive(Serialize)]
struct View<'s> {
    style: &'static str,
    script: &'static str,
    /// Buttons, with their style and script, if anybody may change flags.
    write: Option<WriteView>,
    /// Colour of the verdict.
    tone: Tone,
    /// The verdict.
    headline: String,
    /// The routes, counted by phase.
    summary: String,
    concerns: Vec<String>,
    routes: Vec<RouteView<'s>>,
    /// Open routes that are left out.
    more_routes: usize,
    files: Vec<FileView>,
    watching: Option<Line>,
    engine: Option<Line>,
    problems: Vec<ProblemView<'s>>,
    status: &'s Status,
    published: Option<String>,
    now: String,
}

/// The weight of a part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Tone {
    /// A person must act.
    Bad,
    /// A route is closed, as somebody wished.
    Closed,
    /// A route is in transition.
    Moving,
    /// All is open and well.
    Good,
}

#[derive(Serialize)]
struct WriteView {
    style: &'static str,
    script: &'static str,
}

#[derive(Serialize)]
struct RouteView<'s> {
    #[serde(flatten)]
    route: &'s RouteStatus,
    tone: Tone,
    story: Vec<String>,
    begin: Option<String>,
    end: Option<String>,
    p99: Option<String>,
    windows: Vec<String>,
    /// Window that closes it.
    window: Option<&'s str>,
    /// True if its own flag, or that of every route, closes it.
    flagged: bool,
}

#[derive(Serialize)]
struct FileView {
    role: String,
    path: String,
    content: String,
    tone: Tone,
    /// Reasons why the content is not in force, or may never change.
    remarks: Vec<String>,
}

/// A line with its weight.
#[derive(Serialize)]
struct Line {
    text: String,
    tone: Tone,
}

#[derive(Serialize)]
struct ProblemView<'s> {
    #[serde(flatten)]
    problem: &'s ProblemStatus,
    /// The line that marks the excerpt.
    marks: Option<String>,
    /// Problems of the same kind that are left out.
    more: usize,
}

impl Page {
    /// Parses the template.
    pub(in crate::control) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.unwrap_or_default());
        // A test renders the built-in template, so it is whole.
        let _ = environment.add_template(NAME, TEMPLATE);
        let hash = |part: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(part)));
        let policy = |styles: &str, scripts: &str| {
            let policy = format!(
                "default-src 'none'; style-src {styles}; script-src {scripts}; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            );
            HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
        };
        let both = |one: &str, other: &str| format!("{} {}", hash(one), hash(other));
        Self {
            policy: policy(&hash(STYLE), &hash(SCRIPT)),
            write_policy: policy(&both(STYLE, WRITE_STYLE), &both(SCRIPT, WRITE_SCRIPT)),
            environment,
        }
    }

    /// Renders a status, with buttons or without.
    pub(super) fn render(&self, status: &Status, now: Timestamp, buttons: bool) -> String {
        let made = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from(Serde(View::new(status, now, buttons)))));
        made.unwrap_or_else(|error| {
            tracing::warn!(%error, "the admin page cannot be made");
            "The page cannot be made; the log says why. See /status.".to_owned()
        })
    }

    /// Returns the answer for a page.
    pub(super) fn response(&self, html: Bytes, buttons: bool) -> Response<Full<Bytes>> {
        let policy = if buttons { &self.write_policy } else { &self.policy };
        let mut response = Response::new(Full::new(html));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.clone());
        response
    }
}

impl<'s> View<'s> {
    fn new(status: &'s Status, now: Timestamp, buttons: bool) -> Self {
        let concerns: Vec<String> = concerns(status, now).into_iter().map(|concern| concern.text).collect();
        let mut routes: Vec<RouteView<'_>> = status.routes.iter().map(|route| RouteView::new(route, now)).collect();
        // Sorting is stable, so routes of the same weight stay in the order of their names.
        routes.sort_by_key(|route| route.tone);
        let not_open = routes.iter().filter(|route| route.tone != Tone::Good).count();
        let more_routes = routes.len().saturating_sub(not_open.max(MOST_ROUTES));
        routes.truncate(not_open.max(MOST_ROUTES));
        let (tone, headline) = headline(status, concerns.len());
        let of_files = status.files.iter().flat_map(|file| problems(&file.problems));
        Self {
            style: STYLE,
            script: SCRIPT,
            write: buttons.then_some(WriteView { style: WRITE_STYLE, script: WRITE_SCRIPT }),
            tone,
            headline,
            summary: summary(status),
            concerns,
            routes,
            more_routes,
            files: files(status, now),
            watching: status.watching.as_ref().map(|watching| Line {
                text: story::watching(watching),
                tone: if watching.trouble.is_none() { Tone::Good } else { Tone::Bad },
            }),
            engine: status.fleet.as_ref().map(|fleet| Line {
                text: story::engine(fleet, now),
                tone: if fleet.is_good() { Tone::Good } else { Tone::Bad },
            }),
            problems: problems(status.other_problems()).into_iter().chain(of_files).collect(),
            status,
            published: status.published.map(|at| words::instant(at, now)),
            now: now.strftime("%H:%M:%S UTC").to_string(),
        }
    }
}

/// Returns the verdict on the whole.
fn headline(status: &Status, concerns: usize) -> (Tone, String) {
    let closed: Vec<&RouteStatus> = status.routes.iter().filter(|route| !route.is(Phase::Open)).collect();
    let tone = if closed.iter().any(|route| route.is(Phase::Closed)) { Tone::Closed } else { Tone::Moving };
    match (concerns, closed.as_slice(), status.routes.as_slice()) {
        (0, [], _) if status.stage == DRAINING => (Tone::Moving, "This proxy is ending".to_owned()),
        (0, [], [only]) => (Tone::Good, format!("{} is open", only.name)),
        (0, [], all) => (Tone::Good, format!("All {} routes are open", all.len())),
        (0, [one], _) => (tone, format!("{} is {}", one.name, one.phase)),
        (0, some, all) if some.len() == all.len() => (tone, format!("None of {} routes is open", all.len())),
        (0, some, all) => (tone, format!("{} of {} routes are not open", some.len(), all.len())),
        (1, ..) => (Tone::Bad, "One thing is not as it should be".to_owned()),
        (more, ..) => (Tone::Bad, format!("{more} things are not as they should be")),
    }
}

/// Counts the routes by phase: `2 closed, 1 ramping, 40 open`.
fn summary(status: &Status) -> String {
    let mut phases: Vec<(&str, usize)> = Vec::new();
    for route in &status.routes {
        match phases.iter_mut().find(|(phase, _)| *phase == route.phase) {
            Some((_, count)) => *count += 1,
            None => phases.push((&route.phase, 1)),
        }
    }
    phases.sort_by_key(|(phase, _)| *phase == Phase::Open.as_str());
    phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect::<Vec<_>>().join(", ")
}

/// Returns the two main files, and every other one that is not good.
fn files(status: &Status, now: Timestamp) -> Vec<FileView> {
    let main: Vec<&FileStatus> = status.main_files().collect();
    let others = status.files.iter().filter(|file| !is_plain(file) && !main.contains(file));
    main.iter().copied().chain(others).map(|file| FileView::new(file, now)).collect()
}

/// Returns true if there is nothing to say about a file.
fn is_plain(file: &FileStatus) -> bool {
    file.is_good() && file.pending.is_none() && file.caveat.is_none()
}

fn problems<'s>(problems: impl IntoIterator<Item = &'s ProblemStatus>) -> Vec<ProblemView<'s>> {
    let mut views = Vec::new();
    for group in by_kind(problems) {
        views.extend(group.shown.iter().map(|problem| ProblemView { problem, marks: marks(problem), more: 0 }));
        views.last_mut().into_iter().for_each(|last| last.more = group.more);
    }
    views
}

/// Returns the carets below an excerpt. The excerpt of a long line begins at an unknown column, so it has no carets.
fn marks(problem: &ProblemStatus) -> Option<String> {
    let (excerpt, column) = (problem.excerpt.as_ref()?, problem.column?);
    let length = excerpt.chars().count();
    if excerpt.starts_with('…') || column > length + 1 {
        return None;
    }
    let width = problem.width.unwrap_or(1).clamp(1, length.max(1));
    Some(format!("{}{}", " ".repeat(column.saturating_sub(1)), "^".repeat(width)))
}

impl<'s> RouteView<'s> {
    fn new(route: &'s RouteStatus, now: Timestamp) -> Self {
        let instant = |at: Timestamp| words::instant(at, now);
        let announced = route.announced.iter().filter_map(|window| {
            let (starts, ends) = (instant(window.starts?), instant(window.ends?));
            Some(format!("{} from {starts} to {ends} ({})", window.mode, window.window))
        });
        Self {
            route,
            tone: Tone::of(route),
            story: story::route(route, now),
            begin: route.since.map(instant),
            end: route.until.map(instant),
            p99: route.latency.map(|latency| words::latency(latency.p99)),
            windows: announced.collect(),
            window: route.source.as_deref().and_then(|source| source.strip_prefix("window ")),
            flagged: route.source.as_deref() == Some("flag"),
        }
    }
}

impl Tone {
    fn of(route: &RouteStatus) -> Self {
        if route.is(Phase::Open) {
            return if route.breach.is_some() { Self::Moving } else { Self::Good };
        }
        if route.is(Phase::Closed) { Self::Closed } else { Self::Moving }
    }
}

impl FileView {
    fn new(file: &FileStatus, now: Timestamp) -> Self {
        let pending = file.pending.as_ref().map(|pending| format!("an edit is not believed yet: {}", pending.why));
        let remarks = [file.trouble.clone(), pending, file.caveat.clone()];
        let tone = match () {
            () if !file.is_good() || file.pending.is_some() => Tone::Bad,
            () if file.caveat.is_some() => Tone::Moving,
            () => Tone::Good,
        };
        Self {
            role: file.role.clone(),
            path: story::path(file),
            content: story::content(file, now),
            tone,
            remarks: remarks.into_iter().flatten().collect(),
        }
    }
}

/// Open routes that the page shows at most. Nobody reads through more, and a browser becomes slow.
const MOST_ROUTES: usize = 500;

/// The word of the stage in which a process finishes what is in flight.
const DRAINING: &str = "draining";

const NAME: &str = "page.html";
const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const WRITE_STYLE: &str = include_str!("write.css");
const WRITE_SCRIPT: &str = include_str!("write.js");

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn rendered(status: Json) -> String {
        let now = "2026-05-19T14:30:00Z".parse().unwrap();
        Page::new().render(&serde_json::from_value(status).unwrap(), now, false)
    }

    fn headline(html: &str) -> &str {
        html.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap()
    }

    fn full(text: &str) -> Json {
        json!({
            "version": text, "stage": text, "published": "2026-05-19T14:28:00Z",
            "watching": { "by": text, "trouble": text },
            "problems": [{ "severity": "error", "file": text, "message": text, "help": text }],
            "files": [{
                "path": text, "role": "flags", "hash": text, "real": text, "trouble": text, "caveat": text,
                "pending": { "why": text }, "in_force": { "hash": text, "generation": 3 },
                "problems": [{
                    "severity": text, "file": text, "message": text, "help": text, "line": 2, "column": 3, "width": 4,
                    "excerpt": text,
                }],
            }],
            "routes": [{
                "name": text, "phase": text, "mode": text, "why": text, "source": text, "long": true,
                "since": "2026-05-19T14:28:00Z", "until": "2026-05-20T15:00:00Z", "next": { "phase": text },
                "breach": { "what": text }, "latency": { "p99": 8.25 }, "share": 0.5,
                "announced": [{
                    "window": text, "mode": text, "starts": "2026-05-19T15:00:00Z", "ends": "2026-05-19T16:00:00Z",
                }],
            }],
        })
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let empty = rendered(json!({}));
        assert!(empty.contains("there is no route"), "{empty}");
        let tags = |html: &str| html.matches('<').count();
        let (plain, hostile) = (rendered(full("plain")), rendered(full("<b id=x onclick='y'>&\"</script><!--")));
        assert!(plain.contains("8.2 ms") && plain.contains("until 2026-05-20 15:00 UTC"), "{plain}");
        assert_eq!(tags(&plain), tags(&hostile), "{hostile}");
        assert!(!hostile.contains("<b id=x"), "{hostile}");
    }

    #[test]
    fn buttons_are_there_for_those_who_may_alone() {
        let status: Status = serde_json::from_value(full("plain")).unwrap();
        let now = "2026-05-19T14:30:00Z".parse().unwrap();
        let render = |buttons| Page::new().render(&status, now, buttons);
        let (plain, with) = (render(false), render(true));
        assert!(!["<button", "<dialog", "<form", "x-csrf-token", "acts"].iter().any(|part| plain.contains(part)));
        assert!(["<button", "<dialog", "<form", "x-csrf-token"].iter().all(|part| with.contains(part)), "{with}");
        // Nothing but what is added differs.
        let mut rest = with.lines();
        assert!(plain.lines().all(|line| rest.any(|other| other == line)), "{plain}");
        let policy = |buttons| {
            let response = Page::new().response(Bytes::new(), buttons);
            response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
        };
        assert_eq!((policy(false).matches("sha256-").count(), policy(true).matches("sha256-").count()), (2, 4));
        assert!(!policy(true).contains("unsafe"));
    }

    #[test]
    fn the_verdict_stands_at_the_top() {
        let route = |name: &str, phase: &str| json!({ "name": name, "phase": phase });
        let refused = json!([{ "path": "f", "role": "flags", "problems": [{ "severity": "error", "file": "f" }] }]);
        for (files, routes, told) in [
            (json!([]), json!([route("web", "open")]), "web is open"),
            (json!([]), json!([route("api", "open"), route("web", "open")]), "All 2 routes are open"),
            (json!([]), json!([route("api", "open"), route("web", "closed")]), "web is closed"),
            (json!([]), json!([route("api", "closed"), route("web", "ramping")]), "None of 2 routes is open"),
            (refused, json!([route("web", "closed")]), "One thing is not as it should be"),
        ] {
            assert_eq!(headline(&rendered(json!({ "files": files, "routes": routes }))), told);
        }
    }

    #[test]
    fn a_fleet_is_shown_with_what_is_not_open_first() {
        let mut routes: Vec<_> = (0..2000).map(|n| json!({ "name": format!("r{n}"), "phase": "open" })).collect();
        routes[1234]["phase"] = "closed".into();
        let html = rendered(json!({ "routes": routes }));
        assert_eq!(headline(&html), "r1234 is closed");
        assert!(html.contains("and 1500 more open routes"), "{}", html.len());
        assert!(html.split("data-route=").nth(1).unwrap().starts_with("\"r1234\""));
    }
}
