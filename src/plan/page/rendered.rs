//! Finished answers: fields and bytes, with compressed forms.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::accept::Coding;
use super::super::dialect::Dialect;
use super::language::Language;
use super::programs::{self, Wording};
use super::{PageModel, Trouble};

/// Finished answer.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Status: 503, except for dialects that carry it elsewhere.
    pub status: StatusCode,
    /// Fields of every answer.
    pub head: HeaderMap,
    /// Body, shared by all answers.
    pub body: Bytes,
}

/// Answer with its compressed forms.
#[derive(Debug)]
pub(super) struct Encodings {
    plain: Rendered,
    gzip: Option<Rendered>,
    brotli: Option<Rendered>,
}

impl Encodings {
    /// Wraps an answer without compressed forms.
    pub(super) fn plain(plain: Rendered) -> Self {
        // A clone has no room for more fields. There are thousands of answers, and each would keep room for ten.
        let head = plain.head.clone();
        Self { plain: Rendered { head, ..plain }, gzip: None, brotli: None }
    }

    /// Adds the compressed forms that are worth it.
    pub(super) fn compressed(&self) -> Self {
        let Self { plain, .. } = self;
        let size = plain.body.len();
        if size < LEAST_COMPRESSED || !is_text(plain) {
            return Self::plain(plain.clone());
        }
        let coded = |coding: Coding, body: Vec<u8>| (body.len() < size).then(|| plain.coded(coding, body.into()));
        let gzip = coded(Coding::Gzip, gzip(&plain.body));
        let brotli = coded(Coding::Brotli, brotli(&plain.body));
        Self { plain: plain.clone(), gzip, brotli }
    }

    /// Returns the form in a coding, or the nearest one.
    pub(super) fn coded(&self, coding: Coding) -> &Rendered {
        let coded = match coding {
            Coding::Identity => None,
            Coding::Gzip => self.gzip.as_ref(),
            Coding::Brotli => self.brotli.as_ref().or(self.gzip.as_ref()),
        };
        coded.unwrap_or(&self.plain)
    }
}

impl Rendered {
    /// Creates an answer that no cache may store.
    pub fn new(content_type: HeaderValue, body: Bytes) -> Self {
        let mut head = HeaderMap::with_capacity(USUAL_FIELDS);
        head.insert(CONTENT_TYPE, content_type);
        head.insert(CONTENT_LENGTH, body.len().into());
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        head.insert(VARY, HeaderValue::from_static("accept, accept-encoding, accept-language, origin"));
        head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self { status: StatusCode::SERVICE_UNAVAILABLE, head, body }
    }

    fn coded(&self, coding: Coding, body: Bytes) -> Self {
        let mut head = self.head.clone();
        head.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        head.insert(CONTENT_LENGTH, body.len().into());
        Self { status: self.status, head, body }
    }
}

/// Builds the answer in a dialect that no person reads: of a remote call, an event stream or a preflight.
pub(super) fn machine_answer(dialect: Dialect, model: &PageModel, version: u64, words: Wording<'_>) -> Rendered {
    let message = programs::message(model, words);
    let after = model.retry_after();
    let with = |status, content_type: &'static str, body: Vec<u8>| {
        let rendered = Rendered::new(HeaderValue::from_static(content_type), body.into());
        Rendered { status, ..rendered }
    };
    match dialect {
        Dialect::Grpc => {
            let mut rendered = with(StatusCode::OK, "application/grpc", Vec::new());
            rendered.head.remove(CONTENT_LENGTH);
            rendered.head.insert(GRPC_STATUS, programs::UNAVAILABLE.into());
            for (name, value) in [
                (GRPC_MESSAGE, programs::percent_encoded(&message)),
                (GRPC_STATUS_DETAILS, programs::status_details(&message, after)),
            ] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    rendered.head.insert(name, value);
                }
            }
            rendered
        }
        Dialect::GrpcWeb => with(StatusCode::OK, "application/grpc-web+proto", programs::web_trailers(&message, after)),
        Dialect::GrpcWebText => {
            with(StatusCode::OK, "application/grpc-web-text+proto", programs::web_trailers_text(&message, after))
        }
        Dialect::ConnectStreamJson => {
            with(StatusCode::OK, "application/connect+json", programs::connect_end(&message, after))
        }
        Dialect::ConnectStreamProto => {
            with(StatusCode::OK, "application/connect+proto", programs::connect_end(&message, after))
        }
        Dialect::Events => {
            with(StatusCode::OK, "text/event-stream", programs::events(model, version, words).into_bytes())
        }
        Dialect::Preflight => {
            let mut rendered = with(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", Vec::new());
            rendered.head.remove(CONTENT_TYPE);
            rendered.head.remove(CONTENT_LENGTH);
            rendered
        }
        Dialect::Connect
        | Dialect::Html
        | Dialect::Text
        | Dialect::Markdown
        | Dialect::Problem
        | Dialect::Json
        | Dialect::Xml
        | Dialect::Short
        | Dialect::Soap
        | Dialect::Soap12 => {
            let json = programs::connect(&message, after).into_bytes();
            with(StatusCode::SERVICE_UNAVAILABLE, "application/json", json)
        }
    }
}

/// Returns one line for answers that no person reads.
pub(super) fn short(model: &PageModel, language: &Language) -> String {
    let line = match (model.content.trouble, model.content.until) {
        (Trouble::Found, _) => language.own("short-problem", &[]),
        (Trouble::None | Trouble::Slow, Some(until)) => language.own("short", &[("full", language.date_time(until))]),
        (Trouble::None | Trouble::Slow, None) => language.own("short-open-ended", &[]),
    };
    line + "\n"
}

fn is_text(rendered: &Rendered) -> bool {
    let content_type = rendered.head.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let calls = [&b"application/grpc"[..], b"application/connect", b"text/event-stream"];
    !calls.iter().any(|call| content_type.starts_with(call))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), flate2::Compression::best());
    // Writing to memory does not fail. An empty result would not be smaller, and would not be used.
    match encoder.write_all(bytes) {
        Ok(()) => encoder.finish().unwrap_or_else(|_| bytes.to_vec()),
        Err(_) => bytes.to_vec(),
    }
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(bytes.len() / 2);
    let parameters = ::brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: 18,
        mode: ::brotli::enc::backward_references::BrotliEncoderMode::BROTLI_MODE_TEXT,
        size_hint: bytes.len(),
        ..Default::default()
    };
    match ::brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters) {
        Ok(_) => compressed,
        Err(_) => bytes.to_vec(),
    }
}

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Room for the fields of an answer, including those of each request.
const USUAL_FIELDS: usize = 16;
/// Fewest bytes that are worth compressing.
const LEAST_COMPRESSED: usize = 512;
/// Quality, from 0 to 11. The page with everything has 9,571 bytes with it, and 9,542 with 9, which makes finishing its
/// twelve languages take three times as long.
const BROTLI_QUALITY: i32 = 5;
