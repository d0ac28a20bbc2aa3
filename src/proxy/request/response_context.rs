//! Parts of a request's head that choose the form of our own answers.

use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderName, HeaderValue, Method, Request};

use crate::plan::accept;
use crate::plan::dialect::Dialect;
use crate::plan::page::{Fate, Renderer, Variant};
use crate::proxy::error::Error;
use crate::proxy::http::fields::{Field, Fields, Values};

/// Context of a request that decides the form of our own answers. The values share the head's memory.
#[derive(Debug)]
pub(crate) struct ResponseContext {
    asks: Asks,
    accept: Option<HeaderValue>,
    language: Option<HeaderValue>,
    coding: Option<HeaderValue>,
    /// True if a script asks, and not a browser that opens a document.
    by_script: bool,
    /// The dialect of a remote call, if the request is one: its client reads nothing else.
    pub(super) call: Option<Dialect>,
    pub id: HeaderValue,
}

/// Method of a request, as far as its answers depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Get,
    Head,
    Otherwise,
}

impl ResponseContext {
    /// Keeps a part of a head, whose fields and values were found before.
    pub(crate) fn new<B>(request: &Request<B>, fields: Fields, values: &Values<'_>, id: HeaderValue) -> Self {
        let (method, headers) = (request.method(), request.headers());
        let listed = |field: Field, name: HeaderName| {
            if !fields.repeats(field) {
                return values.get(field).cloned();
            }
            // Rare, and equivalent to one line (RFC 9110 section 5.3).
            let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&lines.join(&b","[..])).ok()
        };
        let asks = match *method {
            Method::GET => Asks::Get,
            Method::HEAD => Asks::Head,
            _ => Asks::Otherwise,
        };
        Self {
            asks,
            accept: listed(Field::Accept, ACCEPT),
            language: listed(Field::AcceptLanguage, ACCEPT_LANGUAGE),
            coding: listed(Field::AcceptEncoding, ACCEPT_ENCODING),
            by_script: values.get(Field::SecFetchMode).is_some_and(|mode| mode != "navigate"),
            call: fields.has(Field::ContentType).then(|| Dialect::of_call(method, None, headers)).flatten(),
            id,
        }
    }

    /// Returns true if the answer has no body.
    pub(super) fn head_only(&self) -> bool {
        self.asks == Asks::Head
    }

    /// Returns true if a browser opens a document that it may ask for again.
    pub(super) fn navigates(&self) -> bool {
        self.asks != Asks::Otherwise && !self.by_script
    }

    /// Returns true if the request is a gRPC call, whose status is in the trailers. Those of gRPC-Web are in the body.
    pub(crate) fn is_grpc(&self) -> bool {
        self.call == Some(Dialect::Grpc)
    }

    /// Returns the fate of what the client sent, if its request failed by this error.
    pub(super) fn fate(&self, error: &Error) -> Fate {
        match self.asks {
            Asks::Get | Asks::Head => Fate::Nothing,
            Asks::Otherwise if error.never_arrived() => Fate::Unsent,
            Asks::Otherwise => Fate::Unknown,
        }
    }

    /// Returns the dialect of an error. It is computed only if there is an error, since most requests are forwarded.
    pub(super) fn dialect(&self) -> Dialect {
        self.call.unwrap_or_else(|| Dialect::accepted(|| self.accept.iter().map(HeaderValue::as_bytes)))
    }

    /// Chooses the answer for an error. `fixed` is the operator's form for the route, which replaces a choice by `Accept`.
    pub(super) fn variant(&self, renderer: &Renderer, fixed: Option<Dialect>) -> Variant {
        let accepted = self.dialect();
        let dialect = fixed.filter(|_| accepted.is_negotiated()).unwrap_or(accepted);
        let languages = self.language.iter().map(HeaderValue::as_bytes);
        let codings = self.coding.iter().map(HeaderValue::as_bytes);
        let language = accept::language(languages, &renderer.tags).unwrap_or(0);
        Variant { dialect, language, coding: accept::coding(codings) }
    }
}
