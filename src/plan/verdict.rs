//! Verdict: the decision on a request, by a snapshot and the request's head.

use std::borrow::Cow;

use http::Method;

use super::config::{Allowed, Exception, Fixed, Redirect, RouteConfig, SITE_PATH, ToHttps, WellKnown};
use super::flags::Mode;
pub use super::head::Head;
use super::methods::{is_overridden, is_safe};

use super::pass;
pub use super::pass::Pass;
use super::path;
use super::snapshot::{Closure, Route, Snapshot};

/// Decision on a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'s> {
    /// Send it to an upstream of this route.
    Forward(&'s Route, Pass),
    /// Answer it with the page.
    Show(&'s Route, &'s Closure),
    /// Let it wait for the route.
    Hold(&'s Route, &'s Closure),
    /// Answer it as the operator configured for this path of a closed route.
    Answer(&'s Route, &'s Fixed),
    /// Answer it with one of the proxy's own resources, about this route.
    Own(Resource, &'s Route),
    /// Answer it with a resource of the status site.
    Site(Mount),
    /// Send its client to another URL, as the route says.
    Redirect(&'s Route, &'s Redirect),
    /// Send its client to the same URL over https, where this route, or the status site, answers.
    Secure(Option<&'s Route>, ToHttps),
    /// Answer it with an error.
    Refuse(Refusal),
}

impl Pass {
    /// Returns the word for the reason in `explain` and the access log.
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

/// Resource below the reserved prefix. The path that follows selects the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `events`: a stream that announces a new page, and the opening of the route.
    Events,
    /// `status`: the page in any dialect, with status 200.
    Status,
    /// `badge.svg`.
    Badge,
    /// `banner.js`: a script that tells an open app's visitors of an announced maintenance.
    BannerScript,
    /// `banner.json`: the same for programs.
    BannerData,
    /// `bypass`: a signed link, which gives a cookie and leads to the path that follows.
    Bypass,
}

/// Place at which the status site is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// Below the reserved prefix: the site tells of the routes of the request's host alone.
    Reserved,
    /// At its own host, or below its own prefix.
    Own,
    /// At its own listener.
    Alone,
}

/// Reason for refusing a request, whatever is flagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No route matches: 404.
    NoRoute,
    /// The path has no normal form: 400.
    BadPath,
    /// A reverse proxy does not serve `CONNECT` and `TRACE`: 405.
    Method,
    /// There is no host to redirect to: 400. Only HTTP/1.0 has none.
    NoHost,
}

impl<'s> Verdict<'s> {
    /// Returns the route that the request is for; `None` if it is for none.
    pub fn route(&self) -> Option<&'s Route> {
        match self {
            Self::Forward(route, _)
            | Self::Show(route, _)
            | Self::Hold(route, _)
            | Self::Answer(route, _)
            | Self::Own(_, route) => Some(route),
            Self::Redirect(route, _) => Some(route),
            Self::Secure(route, _) => *route,
            Self::Site(_) | Self::Refuse(_) => None,
        }
    }

    /// Returns the word for the verdict in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Forward(..) => "forward",
            Self::Show(..) => "show",
            Self::Hold(..) => "hold",
            Self::Answer(..) => "answer",
            Self::Own(..) => "own",
            Self::Site(_) => "site",
            Self::Redirect(..) | Self::Secure(..) => "redirect",
            Self::Refuse(_) => "refuse",
        }
    }
}

/// Decides on a request. Allocates nothing for a path in normal form and a lowercase host.
pub fn decide<'s>(snapshot: &'s Snapshot, head: Head<'_>) -> Verdict<'s> {
    if matches!(*head.method, Method::CONNECT | Method::TRACE) {
        return Verdict::Refuse(Refusal::Method);
    }
    let Ok(path) = path::normalize(head.path) else {
        return Verdict::Refuse(Refusal::BadPath);
    };
    if let Some(below) = snapshot.reserved.below(&path) {
        return own(snapshot, &head, below);
    }
    let Some(index) = snapshot.table.find(head.listener, &normal_host(head.host), &path) else {
        return Verdict::Refuse(Refusal::NoRoute);
    };
    match snapshot.routes.get(index) {
        Some(route) => match (gate(snapshot, route, &head, &path), &route.config.redirect) {
            (Verdict::Forward(route, _), Some(redirect)) => Verdict::Redirect(route, redirect),
            (verdict, _) => verdict,
        },
        None => Verdict::Site(Mount::Own),
    }
}

/// Decides on a request at the listener of the status site, which has nothing else.
pub fn decide_at_site(head: Head<'_>) -> Verdict<'static> {
    match path::normalize(head.path) {
        _ if matches!(*head.method, Method::CONNECT | Method::TRACE) => Verdict::Refuse(Refusal::Method),
        Err(_) => Verdict::Refuse(Refusal::BadPath),
        Ok(_) => Verdict::Site(Mount::Alone),
    }
}

/// Decides on a path below the reserved prefix; `below` is the rest after it.
fn own<'s>(snapshot: &'s Snapshot, head: &Head<'_>, below: &str) -> Verdict<'s> {
    let name = below.strip_prefix('/').unwrap_or(below);
    let (name, about) = name.find('/').map_or((name, "/"), |slash| name.split_at(slash));
    let resource = match name {
        "events" => Resource::Events,
        "status" => Resource::Status,
        "badge.svg" => Resource::Badge,
        "banner.js" => Resource::BannerScript,
        "banner.json" => Resource::BannerData,
        "bypass" => Resource::Bypass,
        SITE_PATH => return news(snapshot, head),
        _ => return Verdict::Refuse(Refusal::NoRoute),
    };
    match snapshot
        .table
        .find(head.listener, &normal_host(head.host), about)
        .and_then(|index| snapshot.routes.get(index))
    {
        Some(route) => Verdict::Own(resource, route),
        None => Verdict::Refuse(Refusal::NoRoute),
    }
}

/// Decides on a path of the status site below the reserved prefix. A host without any route has no site.
fn news<'s>(snapshot: &'s Snapshot, head: &Head<'_>) -> Verdict<'s> {
    let has_routes = !snapshot.table.routes_of(head.listener, &normal_host(head.host)).is_empty();
    if has_routes { Verdict::Site(Mount::Reserved) } else { Verdict::Refuse(Refusal::NoRoute) }
}

/// Returns the path below the status site, which begins with `/`. It is empty if the path ends with the site's own.
pub fn site_path<'p>(snapshot: &Snapshot, host: &str, path: &'p str, mount: Mount) -> &'p str {
    let own = || {
        let site = snapshot.table.site();
        let is_host = site.host.as_deref() == Some(&*normal_host(host));
        if is_host { Some(path) } else { site.prefix.as_ref()?.below(path) }
    };
    let reserved = || snapshot.reserved.below(path)?.strip_prefix('/')?.strip_prefix(SITE_PATH);
    match mount {
        Mount::Own => own(),
        Mount::Reserved => reserved(),
        Mount::Alone => None,
    }
    .unwrap_or(path)
}

/// Decides by a route's state.
///
/// An exception opens a closed route, so it is matched narrowly. A path that is not in normal form might mean something
/// else to the upstream, which gets the path unchanged.
fn gate<'s>(snapshot: &'s Snapshot, route: &'s Route, head: &Head<'_>, path: &str) -> Verdict<'s> {
    let Some(closure) = &route.closure else {
        return Verdict::Forward(route, Pass::Open);
    };
    let (method, plain) = (head.method, path == head.path);
    if plain {
        match exception(&route.config, path).map(|exception| &exception.answer) {
            // On a read-only route a probe must reach the upstream.
            Some(Some(_)) if closure.mode == Mode::ReadOnly && is_safe(method) => {
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
    let reads = || {
        let reads = is_safe(method) && !is_overridden(head.headers, head.query);
        reads || plain && is_allowed(&route.config, method, path)
    };
    if closure.mode == Mode::ReadOnly && closure.eases.is_none() && reads() {
        return Verdict::Forward(route, Pass::ReadOnly);
    }
    if let Ok(reason) = pass::check(snapshot, route, closure, head)
        // Clients that are admitted to a milder mode get what that lets through.
        && (reason.pass() != Pass::Admitted || closure.eases != Some(Mode::ReadOnly) || reads())
    {
        return Verdict::Forward(route, reason.pass());
    }
    match closure.mode {
        // Clients wait only on `hold`. While another mode verifies or ramps, those not admitted get the page.
        Mode::Hold => Verdict::Hold(route, closure),
        Mode::ReadOnly | Mode::Offline => Verdict::Show(route, closure),
    }
}

/// Closures during which a forwarded request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// None.
    Never,
    /// Read-only closures.
    ReadOnly,
    /// All closures.
    Always,
}

/// Returns the closures of its route during which a forwarded request may go on. Only the method and the path count: a
/// field that asks for another method does not end a request that was let in.
/// Clients with a bypass get no exemption, and neither do the well-known paths, because requests for them are short.
pub fn exemption(route: &RouteConfig, method: &Method, path: &str) -> Exemption {
    // Most routes have no exceptions, so the normal form is not needed.
    let plain = || path::normalize(path).is_ok_and(|normal| normal == path);
    if exception(route, path).is_some_and(|exception| exception.answer.is_none()) && plain() {
        Exemption::Always
    } else if is_safe(method) || is_allowed(route, method, path) && plain() {
        Exemption::ReadOnly
    } else {
        Exemption::Never
    }
}

/// Returns true if a read-only route allows a method at a path in normal form.
pub fn is_allowed(route: &RouteConfig, method: &Method, path: &str) -> bool {
    let allows =
        |allowed: &Allowed| allowed.method.as_ref().is_none_or(|own| own == method) && allowed.path.covers(path);
    route.policy.read_only.iter().any(allows)
}

/// Returns the longest exception that covers a path in normal form.
pub fn exception<'r>(route: &'r RouteConfig, path: &str) -> Option<&'r Exception> {
    let covering = route.always_open.iter().filter(|exception| exception.path.covers(path));
    covering.max_by_key(|exception| exception.path.as_str().len())
}

/// Returns true if a path is one of [`WellKnown::PATHS`], and these pass.
pub fn passes_as_well_known(route: &RouteConfig, path: &str) -> bool {
    let known = |known: &str| path == known || known.ends_with('/') && path.starts_with(known);
    route.well_known == WellKnown::Pass && WellKnown::PATHS.iter().any(|path| known(path))
}

/// Returns the host in lowercase, without port and trailing dot. An IPv6 literal keeps its brackets.
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
