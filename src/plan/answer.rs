//! Fields of the page's answer that depend on the request. The proxy and the layer add the same.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::accept::Coding;
use super::config::{Origins, RouteConfig};
use super::dialect::Dialect;
use super::page::{LONGEST_RETRY, RETRY_WITHOUT_END, Variant, pushback};
pub(crate) use super::page::{PROXY_STATUS, SHOULD_RETRY, TRUE, X_REQUEST_ID};
use super::path::normalize;
use super::snapshot::{Closure, Snapshot};
use super::verdict::{exception, normal_host};

/// Request that the answer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerContext<'q> {
    /// Fields.
    pub headers: &'q HeaderMap,
    /// Time since the snapshot was compiled.
    pub elapsed: Duration,
    /// Chosen variant of the page.
    pub variant: Variant,
    /// Origins that may read the answer; `None` if any may.
    pub cors: Option<&'q Origins>,
}

/// Adds the fields of a page's answer that depend on the request, most of them in their places: the time to come back, and
/// the origins that may read it. Returns the seconds of that time. `random` returns a number from 1 up to the one it is
/// given.
pub(crate) fn add_fields(
    answer: &mut HeaderMap,
    status: StatusCode,
    closure: &Closure,
    context: AnswerContext<'_>,
    random: impl Fn(u64) -> u64,
) -> u64 {
    let seconds = retry_after(closure, context.elapsed, &random);
    let dialect = context.variant.dialect;
    if dialect == Dialect::Grpc {
        answer.insert(GRPC_PUSHBACK, pushback(seconds).into());
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.insert(RETRY_AFTER, seconds.into());
    }
    if let Some(origin) = context.headers.get(ORIGIN) {
        allow(origin, context, answer);
    }
    seconds
}

/// Returns the body of a page with the same time to come back as its fields. Programs read it there, and would otherwise
/// all come back at once; `None` for a dialect that does not say it.
pub(crate) fn with_retry_after(body: &Bytes, variant: Variant, seconds: u64) -> Option<Bytes> {
    if variant.coding != Coding::Identity {
        return None;
    }
    let member = variant.dialect.retry_member()?;
    // A quote or `<` inside of a text is escaped, so that no text looks like the member.
    let from = memchr::memmem::find(body, member)? + member.len();
    // A template may have a space there, or something else than a number.
    let from = from + usize::from(body.get(from) == Some(&b' '));
    let digits = body.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    Some([body.get(..from)?, seconds.to_string().as_bytes(), body.get(from + digits..)?].concat().into())
}

/// Takes the promise that no upstream has got the request out of an answer: its fields, and its body if it is not
/// compressed.
pub(crate) fn without_promise(answer: &mut HeaderMap, body: &Bytes) -> Option<Bytes> {
    answer.remove(SHOULD_RETRY);
    [b"\"processed\":false,".as_slice(), b"<processed>false</processed>"].into_iter().find_map(|member| {
        let from = memchr::memmem::find(body, member)?;
        Some([body.get(..from)?, body.get(from + member.len()..)?].concat().into())
    })
}

/// Returns the variant in which the body can say when to come back: it is not compressed.
pub(crate) fn timed(variant: Variant) -> Variant {
    if variant.dialect.retry_member().is_some() { Variant { coding: Coding::Identity, ..variant } } else { variant }
}

/// Tells htmx to load the whole page again, which is then that of the maintenance: it would swap nothing for a 503, and
/// the visitor would see nothing happen.
///
/// Only if the page itself lies in the closed route. A page of an open route would load again with each of its requests
/// to a closed one, for ever.
pub(crate) fn add_reload(
    answer: &mut HeaderMap,
    snapshot: &Snapshot,
    route: &RouteConfig,
    (method, headers): (&Method, &HeaderMap),
) {
    let asks = *method == Method::GET && headers.contains_key(HX_REQUEST);
    if asks && headers.get(HX_CURRENT_URL).is_some_and(|url| leads_to(url, snapshot, route)) {
        answer.insert(HX_REFRESH, TRUE);
    }
}

/// Returns true if a URL leads to what a route closes.
fn leads_to(url: &HeaderValue, snapshot: &Snapshot, route: &RouteConfig) -> bool {
    let Ok(url) = Uri::try_from(url.as_bytes()) else { return false };
    let (host, Ok(path)) = (normal_host(url.host().unwrap_or_default()), normalize(url.path())) else { return false };
    let listener = route.listen.first().map(String::as_str);
    let found = snapshot.table.find(listener, &host, &path).and_then(|index| snapshot.routes.get(index));
    found.is_some_and(|found| found.config.name == route.name) && exception(route, &path).is_none()
}

/// Lets a script of another origin read the answer (<https://fetch.spec.whatwg.org/#http-cors-protocol>). By default any
/// may: the same words are public at the status.
///
/// A preflight is allowed for the operator's origins alone. The browser remembers the allowance, and the request itself
/// may find the route open: it would reach an app that has never allowed it.
fn allow(origin: &HeaderValue, context: AnswerContext<'_>, headers: &mut HeaderMap) {
    let is_preflight = context.variant.dialect == Dialect::Preflight;
    let named = context.cors.is_some_and(|origins| origins.names(origin.as_bytes()));
    let any = context.cors.map_or(!is_preflight, |origins| origins.any);
    if named {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    } else if any {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        return;
    }
    if is_preflight {
        for (wanted, allowed) in [
            (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
            (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        ] {
            if let Some(value) = context.headers.get(wanted) {
                headers.insert(allowed, value.clone());
            }
        }
        // The proxy's answer holds only during the maintenance, so it must not be cached for long.
        headers.insert(ACCESS_CONTROL_MAX_AGE, 5.into());
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// Returns the seconds until a new attempt, spread so that not all clients return at once: never 0, never before the
/// end, never much after it. If the operator sets the most, it is that or up to a tenth less, before the end or not.
fn retry_after(closure: &Closure, elapsed: Duration, random: impl Fn(u64) -> u64) -> u64 {
    let base = match closure.seconds_left {
        Some(left) => left.saturating_sub(elapsed.as_secs()).clamp(1, LONGEST_RETRY),
        None => RETRY_WITHOUT_END,
    };
    let seconds = base + random((base / 10).max(LEAST_JITTER));
    match closure.longest_retry {
        Some(most) if seconds > most => (most + 1 - random(most / 10 + 1)).max(1),
        Some(_) | None => seconds,
    }
}

/// Field that tells of a route's maintenance in forwarded responses: a structured field (RFC 9651) of this project.
pub(crate) const MAINTENANCE_FIELD: HeaderName = HeaderName::from_static("maintenance");

/// Fields that a script of another origin may read.
const EXPOSED: &str = "retry-after, x-should-retry, proxy-status, x-request-id, hx-refresh, grpc-status, grpc-message, grpc-status-details-bin";

/// Fields of htmx (<https://htmx.org/reference/#headers>).
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
const HX_CURRENT_URL: HeaderName = HeaderName::from_static("hx-current-url");
const HX_REFRESH: HeaderName = HeaderName::from_static("hx-refresh");

/// Field with the milliseconds after which a gRPC client may try again (gRPC proposal A6).
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Seconds over which the shortest waits are spread.
const LEAST_JITTER: u64 = 5;
