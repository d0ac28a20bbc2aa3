//! Signs in a request's head by which its client's dialect is known.

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Field that may tell a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Telling {
    Accept,
    ConnectVersion,
    ContentType,
    FetchDest,
    FetchMode,
    RequestedWith,
    ServiceWorker,
    SoapAction,
    Upgrade,
    UserAgent,
}

impl Telling {
    fn of(name: &HeaderName) -> Option<Self> {
        Some(match name.as_str() {
            "accept" => Self::Accept,
            "connect-protocol-version" => Self::ConnectVersion,
            "content-type" => Self::ContentType,
            "sec-fetch-dest" => Self::FetchDest,
            "sec-fetch-mode" => Self::FetchMode,
            // Of jQuery and other libraries for scripts.
            "x-requested-with" => Self::RequestedWith,
            // Of a browser that fetches a service worker's script
            // (<https://w3c.github.io/ServiceWorker/#service-worker-script-request>).
            "service-worker" => Self::ServiceWorker,
            "soapaction" => Self::SoapAction,
            "upgrade" => Self::Upgrade,
            "user-agent" => Self::UserAgent,
            _ => return None,
        })
    }

    fn name(self) -> HeaderName {
        match self {
            Self::Accept => ACCEPT,
            Self::ConnectVersion => HeaderName::from_static("connect-protocol-version"),
            Self::ContentType => CONTENT_TYPE,
            Self::FetchDest => HeaderName::from_static("sec-fetch-dest"),
            Self::FetchMode => HeaderName::from_static("sec-fetch-mode"),
            Self::RequestedWith => HeaderName::from_static("x-requested-with"),
            Self::ServiceWorker => HeaderName::from_static("service-worker"),
            Self::SoapAction => HeaderName::from_static("soapaction"),
            Self::Upgrade => UPGRADE,
            Self::UserAgent => USER_AGENT,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// Fields of a request, of which those that may tell a dialect are known. They are found in one pass: to look up each would
/// take longer, because most heads have few of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'h> {
    headers: &'h HeaderMap,
    present: u16,
}

impl<'h> Head<'h> {
    pub(super) fn new(headers: &'h HeaderMap) -> Self {
        let present = headers.keys().filter_map(Telling::of).fold(0, |present, field| present | field.bit());
        Self { headers, present }
    }

    /// Returns true if the head has this field.
    pub(super) fn has(self, field: Telling) -> bool {
        self.present & field.bit() != 0
    }

    /// Returns the value on the first line of a field.
    pub(super) fn get(self, field: Telling) -> Option<&'h HeaderValue> {
        if self.has(field) { self.headers.get(field.name()) } else { None }
    }
}

/// Part of a request's head that decided its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Type of a remote call's message, or Connect's own field or query.
    Call,
    /// `Origin` and `Access-Control-Request-Method` of an OPTIONS.
    Preflight,
    /// `Upgrade` to another protocol.
    Upgrade,
    /// `Sec-Fetch-Dest` or `Service-Worker` of a part that a document fetches.
    Part,
    /// Type of a SOAP message.
    Soap,
    /// `User-Agent`, query or type of git.
    Git,
    /// Type that `Accept` names.
    Accept,
    /// Picture, style, font, sound or film that `Accept` names first.
    Asset,
    /// Type of the body.
    Body,
    /// `Sec-Fetch-Dest: empty`, `Sec-Fetch-Mode: cors` or `X-Requested-With`.
    Script,
    /// Nothing that tells.
    Nothing,
    /// `dialect` of the route.
    Route,
    /// `template` of the route, where nothing tells.
    Template,
}

impl Sign {
    /// Returns the reason in words, to stand after "because".
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Call => "the type of its message is that of a remote call",
            Self::Preflight => "it is a CORS preflight",
            Self::Upgrade => "it asks for another protocol",
            Self::Part => "a document fetches a part of itself (`Sec-Fetch-Dest`)",
            Self::Soap => "its message is one of SOAP",
            Self::Git => "it comes from git",
            Self::Accept => "`Accept` names it",
            Self::Asset => "`Accept` names a picture, style, font, sound or film first",
            Self::Body => "`Accept` names nothing, and the request's own body has this type",
            Self::Script => "`Accept` names nothing, and a script asks (`Sec-Fetch-…` or `X-Requested-With`)",
            Self::Nothing => "`Accept` names none of the others",
            Self::Route => "the route has it as its `dialect`",
            Self::Template => "`Accept` names none of the others, and the route has a `template`",
        }
    }

    /// Returns true if the client speaks a fixed protocol, and can read no other form.
    pub(crate) fn is_of_a_protocol(self) -> bool {
        match self {
            Self::Call | Self::Preflight | Self::Upgrade | Self::Part | Self::Soap | Self::Git => true,
            Self::Accept | Self::Asset | Self::Body | Self::Script | Self::Nothing | Self::Route | Self::Template => {
                false
            }
        }
    }
}

/// Kind of a request's body that tells what its client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Json,
    Xml,
    /// SOAP 1.1.
    Soap,
    /// SOAP 1.2.
    Soap12,
}

impl BodyKind {
    /// Returns the kind of a request's body, by its type.
    pub(super) fn of(head: Head<'_>) -> Option<Self> {
        let content_type = head.get(Telling::ContentType)?.as_bytes();
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let slash = essence.iter().position(|&byte| byte == b'/')?;
        let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
        if kind.eq_ignore_ascii_case(b"application") && subtype.eq_ignore_ascii_case(b"soap+xml") {
            return Some(Self::Soap12);
        }
        if has_word(subtype, b"json") {
            return Some(Self::Json);
        }
        // The field tells SOAP 1.1 from all else that is sent as XML (SOAP 1.1 section 6.1.1).
        let is_soap = kind.eq_ignore_ascii_case(b"text") && head.has(Telling::SoapAction);
        let xml = if is_soap { Self::Soap } else { Self::Xml };
        has_word(subtype, b"xml").then_some(xml)
    }
}

/// Returns true if a subtype is a word, or has it between `+`, `-` and `.`: `vnd.api+json`, `x-amz-json-1.0`. A document of
/// an office suite (`vnd.openxmlformats-…`) is not XML.
fn has_word(subtype: &[u8], word: &[u8]) -> bool {
    subtype.split(|byte| !byte.is_ascii_alphanumeric()).any(|own| own.eq_ignore_ascii_case(word))
}

/// Returns true for a CORS preflight (<https://fetch.spec.whatwg.org/#cors-preflight-request>).
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Returns true if another protocol is asked for. `h2c` does not count: Java's client and `curl --http2` offer it with
/// every request in clear text, and read the answer as any other.
pub(super) fn is_upgrade(head: Head<'_>) -> bool {
    if !head.has(Telling::Upgrade) {
        return false;
    }
    let fields = head.headers.get_all(UPGRADE).into_iter().map(HeaderValue::as_bytes);
    let mut protocols = fields.flat_map(|field| field.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    protocols.any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Returns true if a document or a worker fetches a part of itself, such as a script, which no person reads.
pub(super) fn is_fetched_by_a_document(head: Head<'_>) -> bool {
    let destination = head.get(Telling::FetchDest).map(HeaderValue::as_bytes);
    destination.is_some_and(|destination| PARTS.contains(&destination)) || head.has(Telling::ServiceWorker)
}

/// Returns true if a script reads the answer: by `fetch` or `XMLHttpRequest`, which say so, or by a library that does.
/// The `fetch` of Node says its mode alone.
pub(super) fn is_of_a_script(head: Head<'_>) -> bool {
    head.get(Telling::FetchDest).is_some_and(|destination| destination == "empty")
        || head.get(Telling::FetchMode).is_some_and(|mode| mode == "cors")
        || head.has(Telling::RequestedWith)
}

/// Returns true for git, which writes a text before each of its lines (<https://git-scm.com/docs/http-protocol>).
pub(super) fn is_of_git(query: Option<&str>, head: Head<'_>) -> bool {
    let begins =
        |field: Telling, start: &[u8]| head.get(field).is_some_and(|value| value.as_bytes().starts_with(start));
    query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("service=git-")))
        || begins(Telling::UserAgent, b"git/")
        || begins(Telling::ContentType, GIT)
        || begins(Telling::Accept, GIT)
}

/// Returns true for a type that a document shows or plays, and whose answer nobody reads.
pub(super) fn is_asset(range: &[u8]) -> bool {
    let begins = |kind: &[u8]| range.get(..kind.len()).is_some_and(|own| own.eq_ignore_ascii_case(kind));
    ASSETS.into_iter().any(begins) || range.eq_ignore_ascii_case(b"text/css")
}

/// Destinations whose answer nobody sees (<https://fetch.spec.whatwg.org/#concept-request-destination>).
const PARTS: [&[u8]; 17] = [
    b"script",
    b"style",
    b"image",
    b"font",
    b"serviceworker",
    b"sharedworker",
    b"worker",
    b"manifest",
    b"audio",
    b"video",
    b"track",
    b"audioworklet",
    b"paintworklet",
    b"report",
    b"xslt",
    b"json",
    b"webidentity",
];

const ASSETS: [&[u8]; 4] = [b"image/", b"font/", b"audio/", b"video/"];

/// Beginning of git's own media types.
const GIT: &[u8] = b"application/x-git-";
