//! The proxy's own answers: the page, and errors. The one place where an [`Error`] becomes a response.

use std::time::Instant;

use http::header::{ACCEPT, ALLOW, CONNECTION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::plan::page::{Dialect, Rendered};
use crate::plan::snapshot::Closure;

use super::body::Body;
use super::error::Error;
use super::fields::{Field, Fields};
use super::headers::X_REQUEST_ID;

/// What an answer of our own depends on, besides what it says.
#[derive(Debug)]
pub(super) struct Asked {
    head_only: bool,
    accept: Option<HeaderValue>,
    pub id: HeaderValue,
}

impl Asked {
    pub(super) fn new(method: &Method, headers: &HeaderMap, fields: Fields, id: HeaderValue) -> Self {
        let accept = match fields.has(Field::Accept) {
            false => None,
            true if fields.repeats(Field::Accept) => {
                // Seldom, and as good as one line (RFC 9110 section 5.3).
                let lines: Vec<&[u8]> = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes).collect();
                HeaderValue::from_bytes(&lines.join(&b","[..])).ok()
            }
            true => headers.get(ACCEPT).cloned(),
        };
        Self { head_only: *method == Method::HEAD, accept, id }
    }

    /// The dialect of the answer. Found only where one is given: most requests are forwarded.
    fn dialect(&self) -> Dialect {
        Dialect::choose(self.accept.iter().map(HeaderValue::as_bytes))
    }
}

/// The page of a closed route. `published` is when its snapshot was.
pub(super) fn page(closure: &Closure, published: Instant, asked: &Asked) -> Response<Body> {
    let rendered = closure.page.rendered(asked.dialect());
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, rendered, asked);
    let headers = response.headers_mut();
    headers.insert(PROXY_STATUS, MAINTENANCE);
    headers.insert(RETRY_AFTER, retry_after(closure, published).into());
    response
}

/// Seconds until it may be worth to try again, spread so that not everybody returns at once: never 0, never before
/// the end, never much after it.
fn retry_after(closure: &Closure, published: Instant) -> u64 {
    let base = match closure.seconds_left {
        Some(left) => left.saturating_sub(published.elapsed().as_secs()).clamp(1, LONGEST_RETRY),
        None => RETRY_WITHOUT_END,
    };
    base + fastrand::u64(1..=(base / 10).max(LEAST_JITTER))
}

/// An error, in a form that the client reads.
pub(super) fn error(error: &Error, asked: &Asked) -> Response<Body> {
    let status = error.status();
    let title = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let rendered = match asked.dialect() {
        Dialect::Json => Rendered::new(
            PROBLEM_JSON,
            format!("{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{code},\"detail\":\"{error}\"}}\n")
                .into(),
        ),
        Dialect::Html | Dialect::Text => Rendered::new(PLAIN_TEXT, format!("{code} {title}: {error}\n").into()),
    };
    let mut response = answer(status, &rendered, asked);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(format!("backsoon; error={}", error.proxy_status())) {
        headers.insert(PROXY_STATUS, value);
    }
    match error {
        Error::Method => drop(headers.insert(ALLOW, HeaderValue::from_static(METHODS))),
        Error::NoConnection | Error::QueueFull => {
            headers.insert(RETRY_AFTER, fastrand::u64(1..=LEAST_JITTER).into());
        }
        _ => {}
    }
    response
}

fn answer(status: StatusCode, rendered: &Rendered, asked: &Asked) -> Response<Body> {
    let mut response = Response::new(if asked.head_only { Body::Empty } else { Body::Full(rendered.body.clone()) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.clone_from(&rendered.head);
    headers.insert(X_REQUEST_ID, asked.id.clone());
    response
}

/// Tells an HTTP/1 client that the connection ends with this answer.
pub(super) fn close(response: &mut Response<Body>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The proxy answered on purpose, without trying the upstream (RFC 9209 section 2.3.27). The detail tells a planned
/// pause from every other 503.
const MAINTENANCE: HeaderValue =
    HeaderValue::from_static("backsoon; error=proxy_internal_response; details=\"maintenance\"");

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Seconds of `Retry-After` when nobody knows the end.
const RETRY_WITHOUT_END: u64 = 60;

/// Longer than this nobody is sent away: plans change.
const LONGEST_RETRY: u64 = 3600;

/// Seconds over which the shortest waits are spread.
const LEAST_JITTER: u64 = 5;
