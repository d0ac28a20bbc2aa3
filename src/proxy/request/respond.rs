//! The proxy's own answers: the page, and errors. No other module turns an [`Error`] into a response.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL,
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::live::Generation;
use crate::plan::accept::Coding;
use crate::plan::answer::{
    AnswerContext, MAINTENANCE_FIELD, PROXY_STATUS, SHOULD_RETRY, TRUE, add_fields, add_reload, timed,
    with_retry_after, without_promise,
};
use crate::plan::banner::BannerForm;
use crate::plan::config::{Fixed, Lasts, RouteConfig};
use crate::plan::dialect::Dialect;
use crate::plan::news::document::{Document, Selected};
use crate::plan::news::forms::Reply;
use crate::plan::page::{Rendered, Stored, Variant};
use crate::plan::pass::InvalidToken;
use crate::plan::snapshot::{Closure, Route};
use crate::plan::verdict::Pass;
use crate::proxy::error::Error;
use crate::proxy::http::headers::X_REQUEST_ID;

use super::body::Body;
use super::response_context::ResponseContext;

/// Returns the page of a closed route.
pub(crate) fn page<B>(
    closure: &Closure,
    route: &RouteConfig,
    live: &Generation,
    request: &Request<B>,
    context: &ResponseContext,
) -> Response<Body> {
    let renderer = &closure.page.look.renderer;
    let (chosen, _) = renderer.choose_for(route, request.method(), request.uri().query(), request.headers());
    let variant = timed(chosen);
    let rendered = closure.rendered(variant);
    let mut response = answer(rendered.status, rendered.prepared(), context);
    let answer = AnswerContext {
        headers: request.headers(),
        elapsed: live.published.elapsed(),
        variant,
        cors: renderer.config.cors.as_ref(),
    };
    let seconds = add_fields(response.headers_mut(), rendered.status, closure, answer, |most| fastrand::u64(1..=most));
    set_time(&mut response, rendered, variant, seconds, context);
    add_reload(response.headers_mut(), &live.snapshot, route, (request.method(), request.headers()));
    response
}

/// Returns the page of a route that went down, for a request that was forwarded before. Of its head, only the dialect
/// that it accepts is still known.
pub(crate) fn drained_page(closure: &Closure, live: &Generation, context: &ResponseContext) -> Response<Body> {
    let variant = Variant { dialect: context.dialect(), language: 0, coding: Coding::Identity };
    let rendered = closure.rendered(variant);
    let mut response = answer(rendered.status, rendered.prepared(), context);
    let (headers, elapsed) = (&HeaderMap::new(), live.published.elapsed());
    // The head is gone, and with it the request's origin and whether it was a navigation.
    let cors = closure.page.look.renderer.config.cors.as_ref();
    let answer = AnswerContext { headers, elapsed, variant, cors };
    let seconds = add_fields(response.headers_mut(), rendered.status, closure, answer, |most| fastrand::u64(1..=most));
    set_time(&mut response, rendered, variant, seconds, context);
    forget_promise(&mut response);
    response
}

/// Takes the promise that no upstream has got the request out of an answer.
fn forget_promise(response: &mut Response<Body>) {
    let whole = match response.body() {
        Body::Full(body) | Body::Sliced(body) => body.clone(),
        Body::Empty | Body::Watch(_) | Body::Upstream(_) => Bytes::new(),
    };
    if let Some(body) = without_promise(response.headers_mut(), &whole) {
        response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        *response.body_mut() = Body::Full(body);
    }
}

/// Puts the seconds of `Retry-After` into the body, if this variant says them.
fn set_time(
    response: &mut Response<Body>,
    rendered: &Stored,
    variant: Variant,
    seconds: u64,
    context: &ResponseContext,
) {
    let Some(body) = with_retry_after(&rendered.body, variant, seconds) else { return };
    response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    if !context.head_only() {
        *response.body_mut() = Body::Full(body);
    }
}

/// Returns the operator's fixed answer for a path of a closed route.
pub(crate) fn fixed(fixed: &Fixed, context: &ResponseContext) -> Response<Body> {
    let status = StatusCode::from_u16(fixed.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        return without_content(status, context);
    }
    answer(status, Rendered::new(PLAIN_TEXT, fixed.body.clone().into()), context)
}

/// Returns an answer whose status forbids content (RFC 9110 section 6.4.1). hyper enforces that over HTTP/1 only.
fn without_content(status: StatusCode, context: &ResponseContext) -> Response<Body> {
    let mut response = answer(status, Rendered::new(PLAIN_TEXT, Bytes::new()), context);
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}

/// Returns the status of a route, for anybody: the page with status 200, or the fact that the route is open, which people
/// are told by a page as well. For an `admitted` client the route is open.
pub(crate) fn status<B>(
    route: &Route,
    admitted: bool,
    request: &Request<B>,
    context: &ResponseContext,
) -> Response<Body> {
    let renderer = &route.renderer;
    let (method, query, headers) = (request.method(), request.uri().query(), request.headers());
    let mut response = match route.closure.as_ref().filter(|_| !admitted) {
        Some(closure) => {
            let (variant, _) = renderer.choose_for(&route.config, method, query, headers);
            answer(StatusCode::OK, closure.rendered(variant).rendered(), context)
        }
        None => match route.running_page(renderer.choose(None, method, query, headers)) {
            Some(page) => answer(StatusCode::OK, page.rendered(), context),
            None => answer(StatusCode::OK, Rendered::new(JSON, route.open.clone()), context),
        },
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// Returns the answer to a preflight for one of the proxy's own paths, which anybody may read.
pub(crate) fn own_preflight(context: &ResponseContext) -> Response<Body> {
    let mut response = without_content(StatusCode::NO_CONTENT, context);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    response
}

/// Returns the badge of a route.
pub(crate) fn badge(route: &Route, context: &ResponseContext) -> Response<Body> {
    let mut response = answer(StatusCode::OK, route.renderer.badge(route.closure.is_some()).rendered(), context);
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// Returns a form of a route's banner, or the fact that the client has it.
pub(crate) fn banner(form: &BannerForm, fresh: Fresh, context: &ResponseContext) -> Response<Body> {
    let mut response = match fresh {
        Fresh::Yes => without_content(StatusCode::NOT_MODIFIED, context),
        Fresh::No => answer(StatusCode::OK, Rendered::new(form.content_type.clone(), form.bytes.clone()), context),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, form.etag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(VARY, HeaderValue::from_static("accept-language"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    // An app that is isolated from other origins may include the script of its API's host.
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

/// State of a document that a client may have already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// The client has the document.
    Yes,
    /// The client has none, or an old one.
    No,
}

/// Returns a document of the status site, or the fact that the client has it. `variant` is the choice of a page.
pub(crate) fn document(
    document: &Document,
    selected: Selected,
    variant: Option<Variant>,
    fresh: Fresh,
    context: &ResponseContext,
) -> Response<Body> {
    let mut response = match fresh {
        Fresh::Yes => without_content(StatusCode::NOT_MODIFIED, context),
        Fresh::No => answer(StatusCode::OK, Rendered::new(document.content_type.clone(), selected.bytes), context),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, selected.etag);
    if let Some(modified) = selected.modified {
        headers.insert(LAST_MODIFIED, modified);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=15, stale-if-error=600"));
    match variant {
        Some(_) => {
            headers.insert(VARY, HeaderValue::from_static("accept, accept-language"));
        }
        None => {
            headers.remove(VARY);
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        }
    }
    headers.extend(document.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    response
}

/// Returns an answer that was written for one visitor of a form.
pub(crate) fn reply(reply: Reply, context: &ResponseContext) -> Response<Body> {
    let mut response = Response::new(if context.head_only() { Body::Empty } else { Body::Full(reply.body.clone()) });
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.fields;
    response.headers_mut().insert(CONTENT_LENGTH, reply.body.len().into());
    response.headers_mut().insert(X_REQUEST_ID, context.id.clone());
    response
}

/// Refuses a visit of a form, with the reason and what would be right.
pub(crate) fn refused_visit(status: StatusCode, detail: &str, context: &ResponseContext) -> Response<Body> {
    let mut response = text_answer(status, detail, context);
    let headers = response.headers_mut();
    unshared(headers);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, fastrand::u64(1..=LEAST_JITTER).into());
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}

/// Redirects to the front page of the status site, so that its links are relative to it.
pub(crate) fn see_site(path: &str, query: Option<&str>, context: &ResponseContext) -> Response<Body> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}/{query}", path.rsplit('/').next().unwrap_or_default());
    let mut response = text_answer(StatusCode::PERMANENT_REDIRECT, "the status site begins with a slash", context);
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(target).unwrap_or(HeaderValue::from_static("/")));
    response
}

/// Returns the head of an event stream with this body.
pub(crate) fn events(body: Body, context: &ResponseContext) -> Response<Body> {
    let mut response = Response::new(if context.head_only() { Body::Empty } else { body });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Otherwise nginx would hold events back.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(X_REQUEST_ID, context.id.clone());
    response
}

/// Adds the route's notice to the upstream's answer, and the reason why the request was forwarded.
pub(crate) fn add_notice(headers: &mut HeaderMap, route: &Route, pass: Pass, cookie: Option<HeaderValue>) {
    let notice = match pass {
        Pass::Bypassed => Some(BYPASS),
        Pass::Open | Pass::Excepted | Pass::ReadOnly | Pass::Admitted => route.notice.clone(),
    };
    if let Some(notice) = notice {
        headers.insert(MAINTENANCE_FIELD, notice);
    }
    match pass {
        Pass::Bypassed => {
            // No cache may store a tester's view. The other two fields would override this one (RFC 9213).
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.remove(CDN_CACHE_CONTROL);
            headers.remove(SURROGATE_CONTROL);
        }
        Pass::ReadOnly => drop(headers.append(PROXY_STATUS, READ_ONLY)),
        Pass::Open | Pass::Excepted | Pass::Admitted => {}
    }
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
        // A shared cache would give everybody the same cookie.
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Redirects a bypass link to its target, with the cookie if the route is closed.
pub(crate) fn see_other(target: &str, cookie: Option<HeaderValue>, context: &ResponseContext) -> Response<Body> {
    let detail = if cookie.is_some() { "you may pass now" } else { "the route is open" };
    let mut response = text_answer(StatusCode::SEE_OTHER, detail, context);
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(target).unwrap_or(HeaderValue::from_static("/")));
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    unshared(headers);
    response
}

/// Redirects to a URL, with the same method. A permanent redirect is remembered for a day, so that one that was written
/// by mistake ends.
pub(crate) fn redirect(location: &str, lasts: Lasts, context: &ResponseContext) -> Response<Body> {
    let Ok(location) = HeaderValue::try_from(location) else {
        return error(&Error::BadRequest("a target that no redirect can name"), None, context);
    };
    let status = StatusCode::from_u16(lasts.status()).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
    let mut response = text_answer(status, "the `Location` field says where this is", context);
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    if lasts == Lasts::Permanent {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    }
    response
}

/// Returns the answer to an invalid bypass link, with the reason if one is given.
pub(crate) fn forbidden(invalid: Option<InvalidToken>, context: &ResponseContext) -> Response<Body> {
    let detail = match invalid {
        Some(invalid) => {
            let why = invalid.as_str();
            format!("this link does not let you pass: {why}; ask whoever sent it for a new one")
        }
        None => "this link does not let you pass; ask whoever sent it for a new one".to_owned(),
    };
    let mut response = text_answer(StatusCode::FORBIDDEN, &detail, context);
    unshared(response.headers_mut());
    response
}

/// Keeps an answer from caches and referrers: a link's path and its answer are for one person.
fn unshared(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// Returns an error in a form that the client reads: its page, if it has one.
pub(crate) fn error(error: &Error, page: Option<&Stored>, context: &ResponseContext) -> Response<Body> {
    let mut response = match page {
        Some(page) => answer(page.status, page.rendered(), context),
        None => text_answer(error.status(), &error.to_string(), context),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(format!("backsoon; error={}", error.proxy_status())) {
        headers.insert(PROXY_STATUS, value);
    }
    if error.never_arrived() {
        headers.insert(SHOULD_RETRY, TRUE);
    }
    match error {
        Error::Method => drop(headers.insert(ALLOW, HeaderValue::from_static(METHODS))),
        Error::ReadOnlyResource => drop(headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"))),
        Error::NoConnection | Error::NoUpstream | Error::QueueFull => {
            headers.insert(RETRY_AFTER, fastrand::u64(1..=LEAST_JITTER).into());
        }
        Error::BadRequest(_)
        | Error::HeadFields
        | Error::BodyTooLarge
        | Error::BodyTimeout
        | Error::BodyBroken
        | Error::NoRoute
        | Error::NoBanner
        | Error::Connect(_)
        | Error::ConnectTimeout
        | Error::Tls(_)
        | Error::Evicted
        | Error::Broken(_)
        | Error::OddAnswer(_)
        | Error::AnswerHeadSize
        | Error::AnswerHeadFields
        | Error::FirstByte
        | Error::BadResponse(_)
        | Error::Drained => {}
    }
    response
}

fn text_answer(status: StatusCode, detail: &str, context: &ResponseContext) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let (grpc, connect) = call_status(status);
    match context.dialect() {
        Dialect::Grpc | Dialect::GrpcWeb | Dialect::GrpcWebText => {
            let web = context.call != Some(Dialect::Grpc);
            let content_type = if web { "application/grpc-web+proto" } else { "application/grpc" };
            let mut response =
                answer(StatusCode::OK, Rendered::new(HeaderValue::from_static(content_type), Bytes::new()), context);
            let headers = response.headers_mut();
            headers.remove(CONTENT_LENGTH);
            headers.insert(GRPC_STATUS, grpc.into());
            if let Ok(message) = HeaderValue::try_from(format!("{code} {title}: {detail}")) {
                headers.insert(GRPC_MESSAGE, message);
            }
            response
        }
        Dialect::Connect | Dialect::ConnectStreamJson | Dialect::ConnectStreamProto => {
            let json = format!("{{\"code\":\"{connect}\",\"message\":\"{detail}\"}}");
            answer(status, Rendered::new(JSON, json.into()), context)
        }
        Dialect::Problem | Dialect::Json => {
            let json = format!(
                "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{code},\"detail\":\"{detail}\"}}\n"
            );
            answer(status, Rendered::new(PROBLEM_JSON, json.into()), context)
        }
        Dialect::Html
        | Dialect::Text
        | Dialect::Markdown
        | Dialect::Xml
        | Dialect::Short
        | Dialect::Soap
        | Dialect::Soap12
        | Dialect::Events
        | Dialect::Preflight => {
            answer(status, Rendered::new(PLAIN_TEXT, format!("{code} {title}: {detail}\n").into()), context)
        }
    }
}

/// Maps a status to its gRPC code (gRPC, "HTTP to gRPC Status Code Mapping") and to Connect's name for that.
fn call_status(status: StatusCode) -> (u16, &'static str) {
    match status.as_u16() {
        400 | 413 | 431 => (13, "internal"),
        404 | 405 => (12, "unimplemented"),
        408 | 502..=504 => (14, "unavailable"),
        _ => (2, "unknown"),
    }
}

fn answer(status: StatusCode, rendered: Rendered, context: &ResponseContext) -> Response<Body> {
    let Rendered { head, body, .. } = rendered;
    let empty = context.head_only() || body.is_empty();
    let mut response = Response::new(if empty { Body::Empty } else { Body::Full(body) });
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response.headers_mut().insert(X_REQUEST_ID, context.id.clone());
    response
}

/// Tells an HTTP/1 client that the connection ends with this answer.
pub(crate) fn close(response: &mut Response<Body>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

const ANY: HeaderValue = HeaderValue::from_static("*");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(crate) const BYPASS: HeaderValue = HeaderValue::from_static("bypass");
/// Value for an upstream's answer on a read-only route, which forwards no request that changes something.
const READ_ONLY: HeaderValue = HeaderValue::from_static("backsoon; details=\"maintenance: read-only\"");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
pub(super) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
pub(super) const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Seconds over which the shortest waits are spread.
const LEAST_JITTER: u64 = 5;
