//! The decision: a snapshot and a request's head in, a verdict out.

use std::borrow::Cow;

use http::Method;

use super::flags::Mode;
use super::path;
use super::snapshot::{Closure, Route, Snapshot};

/// What the decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r Method,
    /// The authority or the `Host` field, as it came.
    pub host: &'r str,
    /// The path, as it came, without the query.
    pub path: &'r str,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'s> {
    /// Send it to an upstream of this route.
    Forward(&'s Route),
    /// Answer it with the page.
    Show(&'s Route, &'s Closure),
    /// Let it wait for the route.
    Hold(&'s Route, &'s Closure),
    /// Answer it with an error of our own.
    Refuse(Refusal),
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
            Self::Forward(_) => "forward",
            Self::Show(..) => "show",
            Self::Hold(..) => "hold",
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
    let Some(index) = snapshot.table.find(&normal_host(head.host), &path) else {
        return Verdict::Refuse(Refusal::NoRoute);
    };
    gate(&snapshot.routes[index], head.method, &path, path == head.path)
}

/// What a route's phase means for one request. `plain`: the path came in its normal form.
///
/// An exception opens a closed route, so it is read narrowly: a path that needs rewriting to match one might mean
/// something else to the upstream, which gets it as it came.
fn gate<'s>(route: &'s Route, method: &Method, path: &str, plain: bool) -> Verdict<'s> {
    let Some(closure) = &route.closure else {
        return Verdict::Forward(route);
    };
    if plain && route.config.always_open.iter().any(|prefix| prefix.covers(path)) {
        return Verdict::Forward(route);
    }
    match closure.mode {
        Mode::ReadOnly if method.is_safe() => Verdict::Forward(route),
        Mode::ReadOnly | Mode::Offline => Verdict::Show(route, closure),
        Mode::Hold => Verdict::Hold(route, closure),
    }
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
