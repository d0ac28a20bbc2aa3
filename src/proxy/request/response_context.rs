//! What is kept of a request's head to choose the form of our own answers.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};

use crate::plan::dialect::Dialect;
use crate::proxy::http::fields::{Field, Fields};

/// Context of a request that decides the form of our own answers.
#[derive(Debug)]
pub(crate) struct ResponseContext {
    pub(super) head_only: bool,
    accept: Option<HeaderValue>,
    /// The dialect of a remote call, if the request is one: its client reads nothing else.
    pub(super) call: Option<Dialect>,
    pub id: HeaderValue,
}

impl ResponseContext {
    pub(crate) fn new(method: &Method, headers: &HeaderMap, fields: Fields, id: HeaderValue) -> Self {
        let accept = match fields.has(Field::Accept) {
            false => None,
            true if fields.repeats(Field::Accept) => {
                // Rare, and equivalent to one line (RFC 9110 section 5.3).
                let lines: Vec<&[u8]> = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes).collect();
                HeaderValue::from_bytes(&lines.join(&b","[..])).ok()
            }
            true => headers.get(ACCEPT).cloned(),
        };
        let call = fields.has(Field::ContentType).then(|| Dialect::of_call(method, None, headers)).flatten();
        Self { head_only: *method == Method::HEAD, accept, call, id }
    }

    /// Returns true if the request is a gRPC call, whose status is in the trailers. Those of gRPC-Web are in the body.
    pub(crate) fn is_grpc(&self) -> bool {
        self.call == Some(Dialect::Grpc)
    }

    /// Returns the dialect of an error. It is computed only if there is an error, since most requests are forwarded.
    pub(super) fn dialect(&self) -> Dialect {
        self.call.unwrap_or_else(|| Dialect::accepted(|| self.accept.iter().map(HeaderValue::as_bytes)))
    }
}
