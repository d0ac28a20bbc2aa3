//! Rewriting of a request's path, and of the places in its answer, where the route or an upstream asks for it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LOCATION, LOCATION, REFRESH, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::plan::config::{RouteConfig, Upstream};
use crate::plan::rewrite::Places;
use crate::proxy::error::Error;
use crate::proxy::http::headers::X_FORWARDED_PREFIX;

use super::prepare;

/// Target of a request whose path is rewritten.
pub(super) struct Rewritten {
    /// Path and query behind the prefix.
    rest: PathAndQuery,
    /// The prefix that was taken.
    prefix: Option<Arc<str>>,
    /// The host that the client asked.
    asked: HeaderValue,
    /// True if the places in the answer are rewritten.
    answers: bool,
}

/// Takes the route's prefix from a target. `None` if the route rewrites nothing.
///
/// # Errors
/// If the prefix ends in different places for different readers.
pub(super) fn rewritten(config: &RouteConfig, uri: &Uri, host: &HeaderValue) -> Result<Option<Box<Rewritten>>, Error> {
    let Some(rewrite) = &config.rewrite else { return Ok(None) };
    let target = prepare::target(uri);
    let rest = rewrite.rest(target.path()).map_err(|_| Error::BadRequest(UNCLEAR))?;
    let prefix = rest.stripped.map(|stripped| Arc::clone(&stripped.written));
    let rest = if prefix.is_some() { with_query(rest.path, target.query())? } else { target };
    Ok(Some(Box::new(Rewritten { rest, prefix, asked: host.clone(), answers: rewrite.answers })))
}

impl Rewritten {
    /// Returns the target for an upstream.
    pub(super) fn target(&self, upstream: &Upstream) -> PathAndQuery {
        // `*` asks about the server, and not about a path.
        if upstream.base.is_root() || self.rest.path() == "*" {
            return self.rest.clone();
        }
        let target = format!("{}{}", upstream.base.as_str(), self.rest);
        PathAndQuery::from_maybe_shared(Bytes::from(target)).unwrap_or_else(|_| self.rest.clone())
    }

    /// Tells the upstream which prefix is missing. What a trusted proxy has taken before comes first.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Some(prefix) = &self.prefix else { return };
        let told = headers.get_all(X_FORWARDED_PREFIX).iter().filter_map(|value| value.to_str().ok());
        let mut whole: String =
            told.flat_map(|value| value.split(',')).map(|one| one.trim().trim_end_matches('/')).collect();
        whole.push_str(prefix);
        if let Ok(value) = HeaderValue::try_from(whole) {
            headers.insert(X_FORWARDED_PREFIX, value);
        }
    }

    /// Rewrites the places that an answer names to those that clients know, if the route asks for it. `host` is the
    /// `Host` that the upstream got.
    pub(super) fn answer(&self, headers: &mut HeaderMap, upstream: &Upstream, host: &HeaderValue) {
        if !self.answers {
            return;
        }
        let places = Places {
            prefix: self.prefix.as_deref().unwrap_or_default(),
            base: &upstream.base,
            upstream: [&upstream.address.authority(), host.to_str().unwrap_or_default()],
            asked: self.asked.to_str().unwrap_or_default(),
        };
        replace(headers, &LOCATION, |value| places.url(value));
        replace(headers, &CONTENT_LOCATION, |value| places.url(value));
        replace(headers, &REFRESH, |value| places.refresh(value));
        if let http::header::Entry::Occupied(mut cookies) = headers.entry(SET_COOKIE) {
            for cookie in cookies.iter_mut() {
                let rewritten = places.cookie(cookie.as_bytes()).and_then(|value| HeaderValue::try_from(value).ok());
                if let Some(mut rewritten) = rewritten {
                    rewritten.set_sensitive(cookie.is_sensitive());
                    *cookie = rewritten;
                }
            }
        }
    }
}

/// Joins a path that came from a client and its query.
fn with_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, Error> {
    let path = if path.is_empty() { "/" } else { path };
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Error::BadRequest(UNCLEAR))
}

/// Replaces a field's value where there is another one for it.
fn replace(headers: &mut HeaderMap, name: &HeaderName, with: impl Fn(&str) -> Option<String>) {
    let value = headers.get(name).and_then(|value| with(value.to_str().ok()?));
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(name, value);
    }
}

const UNCLEAR: &str = "a path whose prefix ends in different places for different readers";
