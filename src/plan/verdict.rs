//! The decision: a snapshot and a request's head in, a verdict out.

use std::borrow::Cow;

use http::Method;

use super::config::{Allowed, Exception, Fixed, RouteConfig, WellKnown};
use super::flags::Mode;
pub use super::head::Head;
use super::pass;
pub use super::pass::Pass;
use super::path;
use super::snapshot::{Closure, Route, Snapshot};

/// What to do with a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'s> {
    /// Send it to an upstream of this route.
    Forward(&'s Route, Pass),
    /// Answer it with the page.
    Show(&'s Route, &'s Closure),
    /// Let it wait for the route.
    Hold(&'s Route, &'s Closure),
    /// Answer it as the operator wants this path of a closed route to be answered.
    Answer(&'s Route, &'s Fixed),
    /// It is for a path of the proxy's own, about this route.
    Own(Resource, &'s Route),
    /// Answer it with an error of our own.
    Refuse(Refusal),
}

impl Pass {
    /// The word for it, in `explain` and the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Excepted => "excepted",
            Self::ReadOnly => "read-only",
            Self::Admitted => "admitted",
            Self::Bypassed => "bypassed",
        }
    }
}

/// What is below the reserved prefix. The path that follows tells which route it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `events`: a stream that tells when the page changes, and when the route is back.
    Events,
    /// `status`: the page, in any dialect, with status 200.
    Status,
    /// `badge.svg`.
    Badge,
    /// `bypass`: a signed link, which gives a cookie and leads to the path that follows.
    Bypass,
}

/// Why a request is refused, whatever is flagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No route matches: 404.
    NoRoute,
    /// The path has no normal form: 400.
    BadPath,
    /// `CONNECT` and `TRACE` are not for a reverse proxy: 405.
    Method,
}

impl Verdict<'_> {
    /// The word for it in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Forward(..) => "forward",
            Self::Show(..) => "show",
            Self::Hold(..) => "hold",
            Self::Answer(..) => "answer",
            Self::Own(..) => "own",
            Self::Refuse(_) => "refuse",
        }
    }
}

/// Decides. Allocates nothing for a path in normal form and a lowercase host.
pub fn decide<'s>(snapshot: &'s Snapshot, head: Head<'_>) -> Verdict<'s> {
    if matches!(*head.method, Method::CONNECT | Method::TRACE) {
        return Verdict::Refuse(Refusal::Method);
    }
    let Ok(path) = path::normalize(head.path) else {
        return Verdict::Refuse(Refusal::BadPath);
    };
    if let Some(below) = snapshot.reserved.below(&path) {
        return own(snapshot, head.host, below);
    }
    let Some(index) = snapshot.table.find(&normal_host(head.host), &path) else {
        return Verdict::Refuse(Refusal::NoRoute);
    };
    gate(snapshot, &snapshot.routes[index], &head, &path)
}

/// What is asked of the proxy itself: `below` is what follows the reserved prefix.
fn own<'s>(snapshot: &'s Snapshot, host: &str, below: &str) -> Verdict<'s> {
    let name = below.strip_prefix('/').unwrap_or(below);
    let (name, about) = name.find('/').map_or((name, "/"), |slash| name.split_at(slash));
    let resource = match name {
        "events" => Resource::Events,
        "status" => Resource::Status,
        "badge.svg" => Resource::Badge,
        "bypass" => Resource::Bypass,
        _ => return Verdict::Refuse(Refusal::NoRoute),
    };
    match snapshot.table.find(&normal_host(host), about) {
        Some(index) => Verdict::Own(resource, &snapshot.routes[index]),
        None => Verdict::Refuse(Refusal::NoRoute),
    }
}

/// What a route's phase means for one request.
///
/// An exception opens a closed route, so it is read narrowly: a path that needs rewriting to match one might mean
/// something else to the upstream, which gets it as it came.
fn gate<'s>(snapshot: &'s Snapshot, route: &'s Route, head: &Head<'_>, path: &str) -> Verdict<'s> {
    let Some(closure) = &route.closure else {
        return Verdict::Forward(route, Pass::Open);
    };
    let (method, plain) = (head.method, path == head.path);
    if plain {
        match exception(&route.config, path).map(|exception| &exception.answer) {
            // Where the route can be read, a probe shall see the upstream.
            Some(Some(_)) if closure.mode == Mode::ReadOnly && method.is_safe() => {
                return Verdict::Forward(route, Pass::Excepted);
            }
            Some(Some(fixed)) => return Verdict::Answer(route, fixed),
            Some(None) => return Verdict::Forward(route, Pass::Excepted),
            None if method.is_safe() && passes_as_well_known(&route.config, path) => {
                return Verdict::Forward(route, Pass::Excepted);
            }
            None => {}
        }
    }
    if closure.mode == Mode::ReadOnly && (method.is_safe() || plain && is_allowed(&route.config, method, path)) {
        return Verdict::Forward(route, Pass::ReadOnly);
    }
    if let Ok(way) = pass::way(snapshot, route, closure, head) {
        return Verdict::Forward(route, way.pass());
    }
    match closure.mode {
        // What comes back, or is checked, is not waited for by who is not admitted yet, unless it was waited for before.
        Mode::Hold => Verdict::Hold(route, closure),
        Mode::ReadOnly | Mode::Offline => Verdict::Show(route, closure),
    }
}

/// Which closures a request that is forwarded already would outlast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// None.
    Never,
    /// Those that only close a route to writing.
    ReadOnly,
    /// All of them.
    Always,
}

/// Which closures of its route a request that is forwarded now would outlast. Who may pass a closed route by other means
/// than the path is not looked for, and neither are the well-known paths: what is asked for there is short.
pub fn spared(route: &RouteConfig, method: &Method, path: &str) -> Spared {
    // Most routes have no exceptions: they need no path in normal form.
    let plain = || path::normalize(path).is_ok_and(|normal| normal == path);
    if exception(route, path).is_some_and(|exception| exception.answer.is_none()) && plain() {
        Spared::Always
    } else if method.is_safe() || is_allowed(route, method, path) && plain() {
        Spared::ReadOnly
    } else {
        Spared::Never
    }
}

/// Whether a method is allowed at a path in normal form while the route is read-only.
pub fn is_allowed(route: &RouteConfig, method: &Method, path: &str) -> bool {
    let allows =
        |allowed: &Allowed| allowed.method.as_ref().is_none_or(|own| own == method) && allowed.path.covers(path);
    route.policy.read_only.iter().any(allows)
}

/// The exception that covers a path in normal form: as with routes, the longest.
pub fn exception<'r>(route: &'r RouteConfig, path: &str) -> Option<&'r Exception> {
    let covering = route.always_open.iter().filter(|exception| exception.path.covers(path));
    covering.max_by_key(|exception| exception.path.as_str().len())
}

/// Whether a path is one of [`WellKnown::PATHS`], and they pass.
pub fn passes_as_well_known(route: &RouteConfig, path: &str) -> bool {
    let known = |known: &str| path == known || known.ends_with('/') && path.starts_with(known);
    route.well_known == WellKnown::Pass && WellKnown::PATHS.iter().any(|path| known(path))
}

/// The host without port and trailing dot, lowercase. An IPv6 literal keeps its brackets.
pub fn normal_host(authority: &str) -> Cow<'_, str> {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}
