//! Finished answers: fields and bytes, with compressed forms.
//!
//! A renderer has thousands of answers, and their fields would take more memory than their bytes. Most answers have the same
//! fields as many others, so they share them.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::accept::Coding;
use super::super::config::Framing;
use super::super::dialect::Dialect;
use super::language::Language;
use super::markup::Markup;
use super::policy::Policy;
use super::programs::{self, Wording};
use super::{PageModel, Trouble, places};

/// Answer with fields of its own.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Status: 503, except for dialects that carry it elsewhere.
    pub status: StatusCode,
    /// Fields of every answer.
    pub head: HeaderMap,
    /// Body, shared by all answers.
    pub body: Bytes,
}

/// Answer that is kept. It shares its fields with others.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Status: 503, except for dialects that carry it elsewhere.
    pub status: StatusCode,
    coding: Coding,
    /// Fields but for those that belong to the bytes: a `Content-Length` only marks its place.
    head: Arc<HeaderMap>,
    /// Fields of the head that only have a place there.
    places: Places,
    /// `Content-Length`, if the answer has one.
    length: Option<HeaderValue>,
    /// Body, shared by all answers.
    pub body: Bytes,
}

/// Places that a head has for fields which are filled in later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Places {
    /// The head has none.
    None,
    /// The head has those for the fields of each request, in an answer that is never compressed.
    OfRequest,
    /// The head has these, and one for the coding.
    OfRequestAndCoding,
}

/// Heads of the answers that are made together, each once.
#[derive(Debug, Default)]
pub(super) struct Heads {
    known: RefCell<Vec<Arc<HeaderMap>>>,
    /// Policy of the last document.
    policy: RefCell<Option<Policy>>,
}

impl Heads {
    /// Keeps an answer, whose bytes and fields take no more room than they need.
    pub(super) fn store(&self, rendered: Rendered) -> Stored {
        let Rendered { status, mut head, body } = rendered;
        let place = head.get_mut(CONTENT_LENGTH);
        let length = place.map(|place| std::mem::replace(place, HeaderValue::from_static("0")));
        // What was rendered has room to grow.
        let body = Bytes::copy_from_slice(&body);
        let (coding, places) = (Coding::Identity, Places::None);
        Stored { status, coding, head: self.share(&head), places, length, body }
    }

    /// Keeps an answer of a page, with places for the fields of each request.
    pub(super) fn store_page(&self, mut page: Rendered, dialect: Dialect) -> Stored {
        places::add(&mut page.head, page.status);
        let is_coded = is_worth_coding(&page.body, &page.head) && dialect.retry_member().is_none();
        if is_coded {
            page.head.insert(CONTENT_ENCODING, HeaderValue::from_static(Coding::Identity.as_str()));
        }
        let places = if is_coded { Places::OfRequestAndCoding } else { Places::OfRequest };
        Stored { places, ..self.store(page) }
    }

    /// Returns the policy of a document, whose framing is that of all documents made here.
    pub(super) fn policy(&self, markup: &Markup<'_>, framing: &Framing) -> HeaderValue {
        let mut last = self.policy.borrow_mut();
        match &*last {
            Some(last) if last.is_of(markup) => last.value.clone(),
            _ => last.insert(Policy::new(markup, framing)).value.clone(),
        }
    }

    /// Returns the known head that is the same, or keeps this one.
    fn share(&self, head: &HeaderMap) -> Arc<HeaderMap> {
        let mut known = self.known.borrow_mut();
        // Two maps are equal whatever the order of their fields, which a client sees. The last ones have the same language.
        let same = known.iter().rev().find(|known| known.len() == head.len() && known.iter().eq(head.iter()));
        if let Some(same) = same {
            return Arc::clone(same);
        }
        // A copy has exactly the room that it needs.
        let head = Arc::new(head.clone());
        known.push(Arc::clone(&head));
        head
    }
}

impl Stored {
    /// Returns the answer with fields of its own.
    pub fn rendered(&self) -> Rendered {
        let mut rendered = self.prepared();
        if self.places != Places::None {
            places::remove(&mut rendered.head);
        }
        rendered
    }

    /// Returns the answer with fields of its own. That of a page has the fields which [`places::add`] adds.
    pub(crate) fn prepared(&self) -> Rendered {
        let mut head = HeaderMap::clone(&self.head);
        self.add_those_of_bytes(&mut head);
        Rendered { status: self.status, head, body: self.body.clone() }
    }

    /// Puts the fields into the head of another answer, in the place of its own.
    pub fn add_fields(&self, head: &mut HeaderMap) {
        for (name, value) in &*self.head {
            head.insert(name.clone(), value.clone());
        }
        self.add_those_of_bytes(head);
    }

    fn add_those_of_bytes(&self, head: &mut HeaderMap) {
        if let Some(length) = &self.length {
            head.insert(CONTENT_LENGTH, length.clone());
        }
        if self.coding != Coding::Identity {
            head.insert(CONTENT_ENCODING, HeaderValue::from_static(self.coding.as_str()));
        } else if self.places == Places::OfRequestAndCoding {
            head.remove(CONTENT_ENCODING);
        }
    }

    /// Returns the same answer in a coding, unless it would not be smaller.
    fn coded(&self, coding: Coding, body: &[u8]) -> Option<Box<Self>> {
        let length = self.length.as_ref().map(|_| body.len().into());
        let coded = || Self { coding, length, body: Bytes::copy_from_slice(body), ..self.clone() };
        (body.len() < self.body.len()).then(|| Box::new(coded()))
    }
}

/// Answer with its compressed forms.
#[derive(Debug)]
pub(super) struct Encodings {
    plain: Stored,
    gzip: Option<Box<Stored>>,
    brotli: Option<Box<Stored>>,
}

impl Encodings {
    /// Wraps an answer without compressed forms.
    pub(super) fn plain(plain: Stored) -> Self {
        Self { plain, gzip: None, brotli: None }
    }

    /// Adds the compressed forms that are worth it.
    pub(super) fn compressed(self: &Arc<Self>) -> Arc<Self> {
        let Self { plain, .. } = &**self;
        if !is_worth_coding(&plain.body, &plain.head) {
            return Arc::clone(self);
        }
        let gzip = plain.coded(Coding::Gzip, &gzip(&plain.body));
        let brotli = plain.coded(Coding::Brotli, &brotli(&plain.body));
        Arc::new(Self { plain: plain.clone(), gzip, brotli })
    }

    /// Returns the form in a coding, or the nearest one.
    pub(super) fn coded(&self, coding: Coding) -> &Stored {
        let coded = match coding {
            Coding::Identity => None,
            Coding::Gzip => self.gzip.as_deref(),
            Coding::Brotli => self.brotli.as_deref().or(self.gzip.as_deref()),
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
}

/// Returns true for a body that is worth compressing: a text that is not short.
fn is_worth_coding(body: &Bytes, head: &HeaderMap) -> bool {
    let content_type = head.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let calls = [&b"application/grpc"[..], b"application/connect", b"text/event-stream"];
    body.len() >= LEAST_COMPRESSED && !calls.iter().any(|call| content_type.starts_with(call))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Rendered {
        Rendered::new(HeaderValue::from_static("text/plain"), body.to_owned().into())
    }

    #[test]
    fn answers_share_their_fields_but_for_those_of_their_bytes() {
        let heads = Heads::default();
        let [short, long] = ["short", "long enough"].map(|body| heads.store(answer(body)));
        assert!(Arc::ptr_eq(&short.head, &long.head));
        assert_eq!((short.rendered().head, long.rendered().head), (answer("short").head, answer("long enough").head));
        let coded = long.coded(Coding::Brotli, b"coded").unwrap();
        assert!(Arc::ptr_eq(&coded.head, &long.head));
        let fields: Vec<String> = coded.rendered().head.keys().map(ToString::to_string).collect();
        let usual: Vec<String> = answer("").head.keys().map(ToString::to_string).collect();
        assert_eq!(fields, [usual, vec!["content-encoding".to_owned()]].concat(), "in the order of before");
        assert_eq!(coded.rendered().head[CONTENT_LENGTH], "5");
        assert!(long.coded(Coding::Gzip, b"no shorter!").is_none());
    }

    #[test]
    fn fields_in_another_order_are_other_fields() {
        let heads = Heads::default();
        let mut other = answer("body");
        other.head.remove(CONTENT_TYPE);
        other.head.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let (usual, other) = (heads.store(answer("body")), heads.store(other));
        assert!(!Arc::ptr_eq(&usual.head, &other.head));
        let mut bare = answer("");
        bare.head.remove(CONTENT_LENGTH);
        assert!(heads.store(bare).rendered().head.get(CONTENT_LENGTH).is_none());
    }
}
