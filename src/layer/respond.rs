//! Answers of the layer itself: the page, the app's status and its badge.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL,
    CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use crate::plan::answer::{
    AnswerContext, MAINTENANCE_FIELD, X_REQUEST_ID, add_fields, add_reload, timed, with_retry_after,
};
use crate::plan::page::Rendered;
use crate::plan::snapshot::{Closure, Route};

use super::watch::Live;

/// Returns the page of the closed app.
pub(super) fn page<B>(live: &Live, route: &Route, closure: &Closure, request: &Request<B>) -> Response<Bytes> {
    let renderer = &route.renderer;
    let (method, headers) = (request.method(), request.headers());
    let (chosen, _) = renderer.choose_for(&route.config, method, request.uri().query(), headers);
    let variant = timed(chosen);
    let rendered = closure.rendered(variant);
    let mut response = answer(rendered.prepared(), request);
    *response.status_mut() = rendered.status;
    let (elapsed, cors) = (live.published.elapsed(), renderer.config.cors.as_ref());
    let answer = AnswerContext { headers, elapsed, variant, cors };
    let seconds = add_fields(response.headers_mut(), rendered.status, closure, answer, |most| fastrand::u64(1..=most));
    if let Some(body) = with_retry_after(&rendered.body, variant, seconds) {
        response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        if *method != Method::HEAD {
            *response.body_mut() = body;
        }
    }
    if rendered.status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    add_reload(response.headers_mut(), &live.snapshot, &route.config, (method, headers));
    response
}

/// Returns the app's status for any client: its page with status 200, or a document that says it is open, which people get
/// as a page.
pub(super) fn status<B>(live: &Live, route: &Route, request: &Request<B>) -> Response<Bytes> {
    let mut response = match &route.closure {
        Some(closure) => page(live, route, closure, request),
        None => {
            let (query, headers) = (request.uri().query(), request.headers());
            let asked = live.snapshot.renderer.choose(None, request.method(), query, headers);
            match route.running_page(asked) {
                Some(page) => answer(page.rendered(), request),
                None => answer(Rendered::new(JSON, route.open.clone()), request),
            }
        }
    };
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.remove(RETRY_AFTER);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Adds the field that announces a maintenance, or says that the app is read-only.
pub(super) fn insert_notice<R>(response: &mut Response<R>, notice: Option<HeaderValue>) {
    if let Some(notice) = notice {
        response.headers_mut().insert(MAINTENANCE_FIELD, notice);
    }
}

/// Returns the badge of the app.
pub(super) fn badge<B>(route: &Route, request: &Request<B>) -> Response<Bytes> {
    let mut response = answer(route.renderer.badge(route.closure.is_some()).rendered(), request);
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// Returns the head of a stream of events.
pub(super) fn events_head<B>(request: &Request<B>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Otherwise nginx would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(X_REQUEST_ID, request_id(request));
    response
}

/// Returns the answer to a preflight for one of the layer's own paths, which anybody may read.
pub(super) fn preflight<B>(request: &Request<B>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    headers.insert(X_REQUEST_ID, request_id(request));
    response
}

/// Returns an answer from memory with status 200.
fn answer<B>(rendered: Rendered, request: &Request<B>) -> Response<Bytes> {
    let Rendered { head, body, .. } = rendered;
    let mut response = Response::new(if *request.method() == Method::HEAD { Bytes::new() } else { body });
    *response.headers_mut() = head;
    response.headers_mut().insert(X_REQUEST_ID, request_id(request));
    response
}

/// Returns the id that the app's own middleware gave to the request, or a new one.
fn request_id<B>(request: &Request<B>) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| id.len() <= LONGEST_ID && id.as_bytes().iter().all(u8::is_ascii_graphic);
    let given = request.headers().get(X_REQUEST_ID).filter(|id| !id.is_empty()).filter(is_plain);
    let made = || HeaderValue::try_from(format!("{:032x}", fastrand::u128(..)));
    // 32 digits are a valid value.
    given.cloned().unwrap_or_else(|| made().unwrap_or(HeaderValue::from_static("-")))
}

/// Longest id that is taken from a request.
const LONGEST_ID: usize = 128;
const ANY: HeaderValue = HeaderValue::from_static("*");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
