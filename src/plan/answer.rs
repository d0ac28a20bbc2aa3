//! The fields of the page's answer that depend on the request: whoever answers, the proxy or the layer, adds the same.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, REFRESH, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::config::Origins;
use super::dialect::Dialect;
use super::page::{LONGEST_RETRY, RETRY_WITHOUT_END, Variant};
use super::snapshot::Closure;

/// What is asked, and when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The method.
    pub method: &'q Method,
    /// The fields.
    pub headers: &'q HeaderMap,
    /// How long ago the snapshot was compiled.
    pub elapsed: Duration,
}

/// Adds to the fields of a page's answer: the marker, when to come back, and who may read it. `random` gives a number from 1
/// up to the one it is given.
pub fn dress(
    answer: &mut HeaderMap,
    status: StatusCode,
    closure: &Closure,
    want: Variant,
    cors: &Origins,
    question: Question<'_>,
    random: impl Fn(u64) -> u64,
) {
    answer.insert(PROXY_STATUS, MAINTENANCE);
    let seconds = retry_after(closure, question.elapsed, &random);
    match want.dialect {
        Dialect::Grpc => drop(answer.insert(GRPC_PUSHBACK, (seconds * 1000).into())),
        _ if status == StatusCode::SERVICE_UNAVAILABLE => drop(answer.insert(RETRY_AFTER, seconds.into())),
        _ => {}
    }
    if want.dialect == Dialect::Html && navigates(question) {
        answer.insert(REFRESH, seconds.min(LONGEST_REFRESH - 1 + random(LEAST_JITTER + 1)).into());
    }
    if let Some(origin) = question.headers.get(ORIGIN) {
        allow(origin, cors, question.headers, want.dialect, answer);
    }
}

/// Whether a document is asked for that may be asked for again: a page that was the answer to a form must not be.
fn navigates(question: Question<'_>) -> bool {
    let mode = question.headers.get(SEC_FETCH_MODE);
    *question.method == Method::GET && mode.is_none_or(|mode| mode == "navigate")
}

/// Lets a script of another origin read the answer, if the operator named its origin
/// (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
fn allow(origin: &HeaderValue, origins: &Origins, asked: &HeaderMap, dialect: Dialect, headers: &mut HeaderMap) {
    let named = origins.names(origin.as_bytes());
    if named {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    } else if origins.any {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        return;
    }
    if dialect == Dialect::Preflight {
        for (wanted, allowed) in [
            (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
            (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        ] {
            if let Some(value) = asked.get(wanted) {
                headers.insert(allowed, value.clone());
            }
        }
        // What is allowed now is the maintenance's word, not the app's.
        headers.insert(ACCESS_CONTROL_MAX_AGE, 5.into());
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// Seconds until it may be worth to try again, spread so that not everybody returns at once: never 0, never before
/// the end, never much after it.
fn retry_after(closure: &Closure, elapsed: Duration, random: impl Fn(u64) -> u64) -> u64 {
    let base = match closure.seconds_left {
        Some(left) => left.saturating_sub(elapsed.as_secs()).clamp(1, LONGEST_RETRY),
        None => RETRY_WITHOUT_END,
    };
    base + random((base / 10).max(LEAST_JITTER))
}

/// RFC 9209.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What is told of a route's maintenance with whatever is forwarded: a structured field (RFC 9651) of this project.
pub const MAINTENANCE_FIELD: HeaderName = HeaderName::from_static("maintenance");

/// The proxy answered on purpose, without trying the upstream (RFC 9209 section 2.3.27). The detail tells a planned
/// pause from every other 503.
const MAINTENANCE: HeaderValue =
    HeaderValue::from_static("backsoon; error=proxy_internal_response; details=\"maintenance\"");

/// What a script of another origin may see of an answer.
const EXPOSED: &str = "retry-after, proxy-status, x-request-id, grpc-status, grpc-message, grpc-status-details-bin";

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// When a gRPC client may try again (gRPC proposal A6).
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Seconds after which a browser without script asks again, at most.
const LONGEST_REFRESH: u64 = 60;

/// Seconds over which the shortest waits are spread.
const LEAST_JITTER: u64 = 5;
