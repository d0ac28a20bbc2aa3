//! Wishes: what a request asks for, with its words checked.

use std::borrow::Cow;

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::control::edit::moment::{self, Moment};
use crate::control::edit::steps::{StepChange, parse_change};
use crate::control::edit::words;
use crate::plan::flags::{Mode, Pace};
use crate::plan::problem::quoted;

use super::refusal::Refusal;

/// Resource that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// Flag of a route.
    Flag(String),
    /// Windows of a route.
    Windows(String),
    /// Steps of a route's windows.
    Steps(String),
    /// Window, by its id.
    Window(String),
}

/// Wish of a request.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// Nothing but a look at the flag of a route.
    Look(String),
    /// Flag of a route, as by `backsoon on`.
    Close { route: String, mode: Mode, end: End, message: Option<String> },
    /// Lifting of a flag, as by `backsoon off`.
    Open { route: String, pace: Pace },
    /// Window, as by `backsoon plan`.
    Plan(Box<Planned>),
    /// Removal of a window, as by `backsoon cancel`.
    Cancel { id: String, series: bool },
    /// New end of a window, as by `backsoon extend`.
    Extend { id: String, by: SignedDuration },
    /// Move of a step, as by `backsoon step`.
    Step { route: String, window: String, step: String, what: Vec<StepChange> },
}

/// End of a flag.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// At an instant.
    At(Timestamp),
    /// After a time.
    After(SignedDuration),
    /// Lifting by somebody.
    Lifted,
}

/// Window that is wished for.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) routes: Vec<String>,
    pub(super) at: Option<Moment>,
    pub(super) length: Option<SignedDuration>,
    pub(super) every: Option<String>,
    pub(super) announce: Option<SignedDuration>,
    pub(super) mode: Mode,
    pub(super) title: Option<String>,
    pub(super) message: Option<String>,
    pub(super) id: Option<String>,
}

/// Options of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// Time to wait for the edit to be in force.
    pub(super) wait: Option<SignedDuration>,
    now: bool,
    series: bool,
}

/// Condition of an edit.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// Entity tags of a condition.
#[derive(Clone, Debug)]
enum Tags {
    Any,
    These(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlagBody {
    #[serde(default = "offline")]
    mode: Mode,
    #[serde(rename = "for")]
    length: Option<String>,
    until: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowBody {
    at: Option<String>,
    #[serde(rename = "for")]
    length: Option<String>,
    every: Option<String>,
    announce: Option<String>,
    #[serde(default = "offline")]
    mode: Mode,
    title: Option<String>,
    message: Option<String>,
    id: Option<String>,
    /// Routes besides that of the path.
    #[serde(default)]
    routes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepBody {
    window: String,
    step: StepName,
    state: Option<String>,
    progress: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StepName {
    Number(u64),
    Title(String),
}

fn offline() -> Mode {
    Mode::Offline
}

impl Resource {
    /// Reads a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match *parts.as_slice() {
            ["routes", route, "flag"] => Self::Flag(decoded(route)?),
            ["routes", route, "windows"] => Self::Windows(decoded(route)?),
            ["routes", route, "steps"] => Self::Steps(decoded(route)?),
            ["windows", id] => Self::Window(decoded(id)?),
            _ => return None,
        })
    }

    /// Returns the methods that it takes.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Flag(_) => "GET, PUT, DELETE",
            Self::Windows(_) | Self::Steps(_) => "POST",
            Self::Window(_) => "PATCH, DELETE",
        }
    }

    /// Refuses a method that it does not take.
    ///
    /// # Errors
    /// If so.
    pub(super) fn check(&self, method: &Method) -> Result<(), Refusal> {
        let methods = self.methods();
        if methods.split(", ").any(|known| known == method.as_str()) { Ok(()) } else { Err(Refusal::method(methods)) }
    }
}

/// Decodes a part of a path; `None` if it is no text, or empty.
fn decoded(part: &str) -> Option<String> {
    // The library passes over what is no escape.
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !part.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(part).decode_utf8().ok().map(Cow::into_owned).filter(|text| !text.is_empty())
}

impl Options {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// If it has an option that is not known.
    pub(super) fn of(query: &str) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("now", "") => options.now = true,
                ("series", "") => options.series = true,
                ("wait", time) => {
                    let time = decoded(&time.replace('+', " ")).unwrap_or_default();
                    let wait = length("wait", &time)?;
                    if wait > LONGEST_WAIT {
                        return Err(Refusal::value("`wait`: at most `60s`"));
                    }
                    options.wait = Some(wait);
                }
                (name, _) => {
                    let detail = format!("the option {} is not known", quoted(name));
                    return Err(
                        Refusal::new(StatusCode::BAD_REQUEST, detail).help("it may be `wait=10s`, `now` or `series`")
                    );
                }
            }
        }
        Ok(options)
    }
}

impl Wish {
    /// Reads what a request asks for.
    ///
    /// # Errors
    /// If its body is not what the resource takes.
    pub(super) fn of(
        resource: Resource,
        method: &Method,
        options: Options,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        Ok(match resource {
            Resource::Flag(route) if method == Method::GET => Self::Look(route),
            Resource::Flag(route) if method == Method::DELETE => {
                Self::Open { route, pace: if options.now { Pace::AtOnce } else { Pace::Ramp } }
            }
            Resource::Flag(route) => {
                let FlagBody { mode, length, until, message } = parsed(body)?;
                Self::Close { route, mode, end: end(length.as_deref(), until.as_deref())?, message }
            }
            Resource::Windows(route) => Self::Plan(Box::new(planned(route, parsed(body)?, now)?)),
            Resource::Steps(route) => {
                let StepBody { window, step, state, progress } = parsed(body)?;
                let step = match step {
                    StepName::Number(number) => number.to_string(),
                    StepName::Title(title) => title,
                };
                Self::Step { route, window, step, what: changes(state, progress)? }
            }
            Resource::Window(id) if method == Method::DELETE => Self::Cancel { id, series: options.series },
            Resource::Window(id) => {
                let ExtendBody { by } = parsed(body)?;
                Self::Extend { id, by: length("by", &by)? }
            }
        })
    }
}

/// Parses a body.
///
/// # Errors
/// If it is no JSON, or has other properties than it may.
pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        Refusal::new(status, format!("the body: {error}"))
    })
}

/// Reads the end of a flag. That it has none must be said.
fn end(time: Option<&str>, until: Option<&str>) -> Result<End, Refusal> {
    match (time, until) {
        (Some(_), Some(_)) => Err(Refusal::value("`for` and `until` are both given").help("keep one of them")),
        (Some(text), None) => Ok(End::After(length("for", text)?)),
        (None, Some(LIFTED)) => Ok(End::Lifted),
        (None, Some(text)) => Ok(End::At(instant("until", text)?)),
        (None, None) => {
            let help =
                "say `\"for\": \"30m\"`, `\"until\": \"2026-05-19T15:00:00Z\"`, or `\"until\": \"lifted\"` for no end";
            Err(Refusal::value("the flag has no end").help(help))
        }
    }
}

fn planned(route: String, body: WindowBody, now: Timestamp) -> Result<Planned, Refusal> {
    let WindowBody { at, length: time, every, announce, mode, title, message, id, routes } = body;
    let at = at.map(|text| moment::parse(&text, now).map_err(|why| wrong("at", &text, &why))).transpose()?;
    let time = time.map(|text| length("for", &text)).transpose()?;
    let announce = announce.map(|text| length("announce", &text)).transpose()?;
    let is_one = matches!((&at, time, &every), (Some(_), Some(_), None) | (None, None, Some(_)));
    if !is_one {
        let help = "say `at` and `for`, or `every`: `{\"at\": \"2026-12-06T02:00:00Z\", \"for\": \"1h\"}`";
        return Err(Refusal::value("the window has no time").help(help));
    }
    let mut all = vec![route];
    all.extend(routes);
    let routes = crate::control::edit::text::deduplicated(&all);
    Ok(Planned { routes, at, length: time, every, announce, mode, title, message, id })
}

fn changes(state: Option<String>, progress: Option<String>) -> Result<Vec<StepChange>, Refusal> {
    let state = state.map(|state| match parse_change(&state) {
        Ok(change @ StepChange::State(_)) => Ok(change),
        Ok(StepChange::ProgressWord | StepChange::Progress(..)) => {
            Err(wrong("state", &state, "write pending, running, done or failed"))
        }
        Err(why) => Err(wrong("state", &state, &why)),
    });
    let progress = progress.map(|progress| match parse_change(&progress) {
        Ok(change @ StepChange::Progress(..)) => Ok(change),
        Ok(StepChange::ProgressWord | StepChange::State(_)) => {
            Err(wrong("progress", &progress, "write how far it is: `3/7`"))
        }
        Err(why) => Err(wrong("progress", &progress, &why)),
    });
    let changes: Vec<StepChange> = state.into_iter().chain(progress).collect::<Result<_, _>>()?;
    if changes.is_empty() {
        return Err(Refusal::value("neither `state` nor `progress` is given").help("say `\"state\": \"done\"`"));
    }
    Ok(changes)
}

fn length(name: &str, text: &str) -> Result<SignedDuration, Refusal> {
    words::parse_span(text).map_err(|why| wrong(name, text, &why))
}

fn instant(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    words::parse_instant(text).map_err(|why| wrong(name, text, &why))
}

fn wrong(name: &str, text: &str, why: &str) -> Refusal {
    Refusal::value(format!("`{name}` cannot be {}", quoted(text))).help(why)
}

impl Condition {
    /// Reads the condition of a request.
    ///
    /// # Errors
    /// If a field has no form that is known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self { if_match: tags(headers, &IF_MATCH)?, if_none_match: tags(headers, &IF_NONE_MATCH)? })
    }

    /// Refuses an edit of a text with this tag. `exists` is true if the resource is there.
    ///
    /// # Errors
    /// If the condition is not met.
    pub(super) fn check(&self, etag: &str, exists: bool) -> Result<(), Refusal> {
        match &self.if_match {
            Some(Tags::Any) if !exists => return Err(Refusal::condition("there is no such flag", etag)),
            Some(Tags::These(tags)) if !tags.iter().any(|tag| tag == etag) => {
                return Err(Refusal::condition("the flags were changed meanwhile", etag));
            }
            Some(Tags::Any | Tags::These(_)) | None => {}
        }
        match &self.if_none_match {
            Some(Tags::Any) if exists => Err(Refusal::condition("the route is flagged already", etag)),
            Some(Tags::These(tags)) if is_among(tags, etag) => Err(Refusal::condition("the flags are as before", etag)),
            Some(Tags::Any | Tags::These(_)) | None => Ok(()),
        }
    }

    /// Returns true if a client has the text with this tag already.
    pub(super) fn has(&self, etag: &str) -> bool {
        match &self.if_none_match {
            Some(Tags::Any) => true,
            Some(Tags::These(tags)) => is_among(tags, etag),
            None => false,
        }
    }
}

/// Finds a tag among others, of which weak ones count as well (RFC 9110 section 8.8.3.2).
fn is_among(tags: &[String], etag: &str) -> bool {
    tags.iter().any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Refusal> {
    let mut all = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = opaque.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
            if inner.is_none_or(|inner| inner.contains('"')) {
                let detail = format!("`{name}` is no list of entity tags");
                return Err(
                    Refusal::new(StatusCode::BAD_REQUEST, detail).help("write the `ETag` with its quotes, or `*`")
                );
            }
            all.push(tag.to_owned());
        }
    }
    Ok((!all.is_empty()).then_some(Tags::These(all)))
}

/// Word for a flag without an end.
const LIFTED: &str = "lifted";
/// Longest time for which an answer waits.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(method: &Method, path: &str, body: &str) -> Result<Wish, u16> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let read = || {
            let resource = Resource::of(path).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, ""))?;
            resource.check(method)?;
            let now = "2026-05-19T14:00:00Z".parse().unwrap();
            Wish::of(resource, method, Options::of(query)?, body.as_bytes(), now)
        };
        read().map_err(|refusal| refusal.response().status().as_u16())
    }

    #[test]
    fn a_flag_says_when_it_ends() {
        let put = |body: &str| wish(&Method::PUT, "/routes/web/flag", body);
        assert!(matches!(put(r#"{"for":"30m"}"#), Ok(Wish::Close { mode: Mode::Offline, end: End::After(_), .. })));
        let body = r#"{"mode":"read-only","until":"2026-05-19T15:00:00Z","message":"A"}"#;
        assert!(matches!(put(body), Ok(Wish::Close { mode: Mode::ReadOnly, end: End::At(_), message: Some(_), .. })));
        assert!(matches!(put(r#"{"until":"lifted"}"#), Ok(Wish::Close { end: End::Lifted, .. })));
        for (body, status) in [
            ("{}", 422),
            (r#"{"for":"30m","until":"lifted"}"#, 422),
            (r#"{"for":"30"}"#, 422),
            (r#"{"until":"15:00"}"#, 422),
            (r#"{"for":"30m","mode":"closed"}"#, 422),
            (r#"{"for":"30m","titel":"A"}"#, 422),
            ("{", 400),
            ("", 400),
        ] {
            assert_eq!(put(body).map(|_| ()), Err(status), "{body}");
        }
    }

    #[test]
    fn resources_are_found_by_their_paths() {
        let is = |method: Method, path: &str, body: &str| wish(&method, path, body).map(|_| ());
        assert_eq!(is(Method::GET, "/routes/web/flag", ""), Ok(()));
        assert_eq!(is(Method::DELETE, "/routes/*/flag?now&wait=10s", ""), Ok(()));
        assert_eq!(is(Method::DELETE, "/windows/a%20b?series", ""), Ok(()));
        assert_eq!(is(Method::PATCH, "/windows/M-1", r#"{"by":"30m"}"#), Ok(()));
        assert_eq!(is(Method::POST, "/routes/web/windows", r#"{"every":"Sun 02:00-04:00 UTC"}"#), Ok(()));
        assert_eq!(is(Method::POST, "/routes/web/windows", r#"{"at":"tomorrow 02:00","for":"1h"}"#), Ok(()));
        assert_eq!(is(Method::POST, "/routes/web/windows", r#"{"at":"tomorrow 02:00"}"#), Err(422));
        assert_eq!(is(Method::POST, "/routes/web/steps", r#"{"window":"M","step":2,"state":"done"}"#), Ok(()));
        assert_eq!(is(Method::POST, "/routes/web/steps", r#"{"window":"M","step":"A","progress":"3/7"}"#), Ok(()));
        assert_eq!(is(Method::POST, "/routes/web/steps", r#"{"window":"M","step":"A"}"#), Err(422));
        assert_eq!(is(Method::POST, "/routes/web/steps", r#"{"window":"M","step":"A","state":"3/7"}"#), Err(422));
        assert_eq!(is(Method::DELETE, "/routes/web/flag?wait=2h", ""), Err(422));
        assert_eq!(is(Method::DELETE, "/routes/web/flag?force", ""), Err(400));
        assert_eq!(is(Method::PUT, "/windows/M-1", "{}"), Err(405));
        for path in ["/routes/web", "/routes//flag", "/windows/", "/windows/%ff", "/windows/%f", "/routes/web/flag/"] {
            assert_eq!(is(Method::GET, path, ""), Err(404), "{path}");
        }
    }

    #[test]
    fn a_condition_is_about_the_text_or_about_the_flag() {
        let holds = |name: &'static str, value: &str, exists| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            Condition::of(&headers).map(|condition| condition.check("\"a\"", exists).is_ok()).ok()
        };
        assert_eq!(holds("if-match", "\"a\"", false), Some(true));
        assert_eq!(holds("if-match", "\"b\", \"a\"", false), Some(true));
        assert_eq!(holds("if-match", "\"b\"", true), Some(false));
        // A weak tag never matches here (RFC 9110 section 13.1.1).
        assert_eq!(holds("if-match", "W/\"a\"", true), Some(false));
        assert_eq!((holds("if-match", "*", true), holds("if-match", "*", false)), (Some(true), Some(false)));
        assert_eq!((holds("if-none-match", "*", true), holds("if-none-match", "*", false)), (Some(false), Some(true)));
        assert_eq!(holds("if-none-match", "W/\"a\"", true), Some(false));
        assert_eq!((holds("if-match", "a", true), holds("if-match", "\"a\"b\"", true)), (None, None));
    }
}
