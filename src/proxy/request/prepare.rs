//! The form of a request that goes to an upstream.

use std::rc::Rc;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::net;
use crate::plan::config::{RouteConfig, Upstream};
use crate::plan::limits::Limits;
use crate::plan::snapshot::{Portions, Route};
use crate::proxy::http::fields::Field;
use crate::proxy::http::headers::{self, HopByHop, X_REQUEST_ID};
use crate::proxy::http::trace;
use crate::proxy::io::gather::{Gather, Source};
use crate::proxy::io::request_body::{ClientBody, RequestBody};
use crate::proxy::io::upload::UploadState;
use crate::proxy::upstream::lease::SendOptions;

use super::exchange::Exchange;

/// Returns true if a request announces a body that is larger than allowed.
pub(super) fn is_too_large(limits: &Limits, request: &Request<Incoming>) -> bool {
    limits.body_size.is_some_and(|most| request.body().size_hint().lower() > most)
}

/// Returns the authority of the target, or else the `Host` field; `check` has verified that it is well-formed.
pub(super) fn host(request: &Request<Incoming>) -> HeaderValue {
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or_else(|| request.headers().get(HOST).cloned()).unwrap_or(HeaderValue::from_static(""))
}

/// Returns the host for upstreams, and whether it is sent in the place of the upstream's own.
pub(super) fn sent_host(route: &RouteConfig, asked: &HeaderValue) -> (HeaderValue, bool) {
    match route.request.as_ref().and_then(|changes| changes.host.as_ref()) {
        Some(set) => (set.clone(), true),
        None => (asked.clone(), route.keep_host),
    }
}

/// Gives a request a form that fits any upstream.
pub(super) fn request(
    exchange: &Exchange,
    (route, limits): (&Route, &Limits),
    host: &HeaderValue,
    request: Request<Incoming>,
) -> (Request<RequestBody>, HopByHop, SendOptions) {
    let changes = exchange.changes(route.config.request.as_ref(), Some(route), &request);
    let empty = request.body().is_end_stream();
    let repeatable = empty && request.method().is_safe();
    let upload = (!empty).then(|| Rc::new(UploadState::new(exchange.record.released)));
    let mut request = request.map(|incoming| match &upload {
        None => RequestBody::Empty,
        Some(upload) => {
            let source = source(exchange, incoming);
            let body = ClientBody::new(source, Rc::clone(upload), limits.body_size, limits.body_read);
            RequestBody::Client(Box::new(body))
        }
    });
    // hyper keeps state of the client's connection there.
    request.extensions_mut().clear();
    let headers = request.headers_mut();
    let mut hop = headers::strip_request(headers, exchange.fields, exchange.version);
    // A body before the switch is ambiguous: one side would read it as part of the request, the other as the tunnel's.
    hop.upgrade = hop.upgrade.filter(|_| empty);
    if let Some(name) = route.config.policy.bypass.as_ref().and_then(|bypass| bypass.header.as_ref()) {
        headers.remove(name);
    }
    if exchange.generation.snapshot.sets_cookies {
        headers::strip_own_cookies(headers, exchange.fields);
    }
    if let Some(marks) = route.portions.as_ref().and_then(Portions::marks) {
        headers::strip_marks(headers, exchange.fields, marks);
    }
    headers.reserve(MOST_ADDED);
    let peer = &exchange.record.connection.peer;
    let trusted = exchange.trusted.then_some(&exchange.generation.snapshot.trusted_proxies);
    headers::add_forwarded(headers, exchange.fields, peer, host, trusted);
    headers::merge_content_length(headers, exchange.fields);
    headers.insert(X_REQUEST_ID, exchange.context.id.clone());
    headers::join_cookies(headers, exchange.fields);
    if exchange.fields.has(Field::Trace) || exchange.trace.is_some() {
        trace::pass_on(headers, exchange.trace.as_ref());
    }
    if let Some(changes) = changes {
        changes.apply_to_request(headers);
    }
    let upgrades = hop.upgrade.is_some();
    let options =
        SendOptions { at: exchange.record.released, first_byte: limits.first_byte, upload, repeatable, upgrades };
    (request, hop, options)
}

/// Chooses how a client's body is read.
fn source(exchange: &Exchange, incoming: Incoming) -> Source {
    if exchange.version == Version::HTTP_2 {
        return Source::Ready(incoming, None);
    }
    if incoming.size_hint().exact().is_some() {
        return Source::Upload(incoming);
    }
    let gather = Gather::upload(incoming);
    exchange.record.connection.set_upload(&gather);
    Source::Gathered(gather)
}

/// Copies a request without a body.
pub(super) fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Returns the authority of an upstream's own address.
pub(super) fn authority_of(upstream: &Upstream) -> HeaderValue {
    HeaderValue::try_from(upstream.address.authority()).unwrap_or(HeaderValue::from_static("localhost"))
}

/// Returns the path and query, or `/` if there are none.
pub(super) fn target(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

pub(super) fn absolute(upstream: &Upstream, host: &HeaderValue, uri: &Uri) -> Uri {
    let authority = Authority::try_from(host.as_bytes()).unwrap_or(Authority::from_static("localhost"));
    net::absolute(upstream, authority, target(uri)).unwrap_or_default()
}

/// Fields that are added to a request, at most.
const MOST_ADDED: usize = 8;
