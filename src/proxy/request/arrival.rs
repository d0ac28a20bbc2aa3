//! An upstream's answer as it arrives: how it goes on, and what of it belongs to the upstream's connection.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;

use crate::proxy::http::fields::{Field, Fields};
use crate::proxy::http::headers;
use crate::proxy::in_flight::Kind;

/// Returns how a response of unknown length goes on.
pub(super) fn kind(headers: &HeaderMap) -> Kind {
    let is =
        |value: &[u8], start: &[u8]| value.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start));
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(value) if is(value, b"text/event-stream") => Kind::Events,
        Some(value) if is(value, b"application/grpc") && !is(value, b"application/grpc-web") => Kind::Grpc,
        Some(_) | None => Kind::Plain,
    }
}

/// Removes what belongs to the upstream's connection from a response.
pub(super) fn clean(response: &mut Response<Incoming>, fields: Fields, trailers: bool) {
    // An HTTP/1.0 upstream must not downgrade the client's connection.
    *response.version_mut() = Version::HTTP_11;
    headers::strip_response(response.headers_mut(), fields, trailers);
    if fields.has(Field::ContentLength)
        && matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    headers::merge_content_length(response.headers_mut(), fields);
    let extensions = response.extensions_mut();
    if !extensions.is_empty() {
        // The upstream's reason phrase is kept only if it is unusual. hyper has none for unknown statuses.
        let reason = extensions.remove::<ReasonPhrase>();
        extensions.clear();
        if let Some(reason) = reason {
            extensions.insert(reason);
        }
    }
}
