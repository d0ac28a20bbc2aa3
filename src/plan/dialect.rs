//! Dialect: the form of an answer that a client can read, chosen by its request's head before any of the body is read.

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::accept;

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Document for people.
    Html,
    /// Plain text in 80 columns.
    Text,
    /// Markdown.
    Markdown,
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// The problem document as `application/json`, for clients that accept nothing else.
    Json,
    /// `application/problem+xml` (RFC 9457 appendix B).
    Xml,
    /// One line of text for requests whose answer no person reads: scripts, images, refused upgrades.
    Short,
    /// gRPC: a head that holds the trailers, and no body.
    Grpc,
    /// gRPC-Web: the trailers are the body.
    GrpcWeb,
    /// gRPC-Web in base64.
    GrpcWebText,
    /// Unary call of Connect: 503 with its JSON.
    Connect,
    /// Connect stream of JSON messages: the last message is the answer.
    ConnectStreamJson,
    /// Connect stream of Protocol Buffers.
    ConnectStreamProto,
    /// `text/event-stream`: 200 with a time to reconnect. An `EventSource` never comes back after a 503.
    Events,
    /// Answer to a CORS preflight: 204.
    Preflight,
}

impl Dialect {
    /// All dialects, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Html,
        Self::Text,
        Self::Markdown,
        Self::Problem,
        Self::Json,
        Self::Xml,
        Self::Short,
        Self::Grpc,
        Self::GrpcWeb,
        Self::GrpcWebText,
        Self::Connect,
        Self::ConnectStreamJson,
        Self::ConnectStreamProto,
        Self::Events,
        Self::Preflight,
    ];

    /// Returns the word for the dialect on the command line and in explanations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Problem => "problem",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Short => "short",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::GrpcWebText => "grpc-web-text",
            Self::Connect => "connect",
            Self::ConnectStreamJson => "connect-stream-json",
            Self::ConnectStreamProto => "connect-stream-proto",
            Self::Events => "events",
            Self::Preflight => "preflight",
        }
    }

    /// Chooses a dialect by a request's head.
    ///
    /// A fixed protocol comes first: a gRPC client can read nothing else, whatever it accepts. Then comes
    /// `Sec-Fetch-Dest`: HTML in the place of a script would be run and cached. `Accept` comes last.
    ///
    /// A client that accepts anything, or names nothing, gets text: it is a command line or a script. A client that
    /// accepts none of the dialects gets text, too, because a 503 in the wrong form is better than a 406 without a
    /// page.
    pub fn choose(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Self {
        if let Some(called) = Self::of_call(method, query, headers) {
            return called;
        }
        // <https://fetch.spec.whatwg.org/#cors-preflight-request>
        let asks = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if asks && *method == Method::OPTIONS {
            return Self::Preflight;
        }
        if is_upgrade(headers) || is_fetched_by_a_document(headers) {
            return Self::Short;
        }
        let accepted = Self::accepted(|| headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes));
        // An `EventSource` uses no other method. To another client, 200 would mean success.
        if accepted == Self::Events && !matches!(*method, Method::GET | Method::HEAD) {
            return Self::Problem;
        }
        accepted
    }

    /// Returns the dialect of a remote call, by the type of its message.
    pub fn of_call(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if let Some(rest) = strip(content_type, b"application/grpc") {
            return match (strip(rest, b"-web-text"), strip(rest, b"-web")) {
                (Some(rest), _) => ends_type(rest).then_some(Self::GrpcWebText),
                (None, Some(rest)) => ends_type(rest).then_some(Self::GrpcWeb),
                (None, None) => ends_type(rest).then_some(Self::Grpc),
            };
        }
        if let Some(codec) = strip(content_type, b"application/connect+") {
            let json = strip(codec, b"json").is_some();
            return Some(if json { Self::ConnectStreamJson } else { Self::ConnectStreamProto });
        }
        // A unary call of Connect says so in a field, or in the query of a GET
        // (<https://connectrpc.com/docs/protocol>).
        let unary = headers.contains_key(CONNECT_PROTOCOL_VERSION)
            || *method == Method::GET && query.is_some_and(|query| query.split('&').any(|pair| pair == "connect=v1"));
        unary.then_some(Self::Connect)
    }

    /// Returns the dialect that the fields of `Accept` ask for. For a type built on JSON or XML (RFC 6839), that is
    /// JSON or XML.
    pub fn accepted<'a, A: Iterator<Item = &'a [u8]>>(accept: impl Fn() -> A) -> Self {
        let suffix = || match accept::suffix(accept())? {
            b"json" => Some(Self::Problem),
            b"xml" => Some(Self::Xml),
            _ => None,
        };
        accept::choose(accept(), &OFFERS).or_else(suffix).unwrap_or(Self::Text)
    }

    /// Returns true for dialects that have every language and are compressed.
    pub fn is_for_reading(self) -> bool {
        self == Self::Short || self.is_negotiated()
    }

    /// Returns true if `Accept` chooses the dialect, so that an operator may fix it.
    pub fn is_negotiated(self) -> bool {
        OFFERS.iter().any(|(offered, _)| *offered == self && *offered != Self::Events)
    }
}

/// Returns true if another protocol is asked for. `h2c` does not count: Java's client and `curl --http2` offer it with
/// every request in clear text, and read the answer as any other.
fn is_upgrade(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(UPGRADE).into_iter().map(HeaderValue::as_bytes);
    let mut protocols = fields.flat_map(|field| field.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    protocols.any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Returns true if a document or a worker fetches a part of itself, such as a script, which no person reads.
fn is_fetched_by_a_document(headers: &HeaderMap) -> bool {
    let destination = headers.get(SEC_FETCH_DEST).map(HeaderValue::as_bytes);
    destination.is_some_and(|destination| PARTS.contains(&destination)) || headers.contains_key(SERVICE_WORKER)
}

/// Returns the text after a prefix, in any case.
fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Returns true if a media type ends here, except for its suffix and its parameters.
fn ends_type(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

/// Offers in the order of preference. `text/event-stream` stands last, because no wildcard means it.
const OFFERS: [(Dialect, &str); 11] = [
    (Dialect::Html, "text/html"),
    (Dialect::Problem, "application/problem+json"),
    (Dialect::Json, "application/json"),
    (Dialect::Text, "text/plain"),
    (Dialect::Markdown, "text/markdown"),
    (Dialect::Xml, "application/problem+xml"),
    (Dialect::Xml, "application/xml"),
    (Dialect::Xml, "text/xml"),
    (Dialect::Html, "application/xhtml+xml"),
    (Dialect::Json, "text/json"),
    (Dialect::Events, "text/event-stream"),
];

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

const CONNECT_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Field of a browser that fetches a service worker's script
/// (<https://w3c.github.io/ServiceWorker/#service-worker-script-request>).
const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(method: &str, target: &str, fields: &[(&str, &str)]) -> Dialect {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = fields.collect::<Vec<(HeaderName, HeaderValue)>>().into_iter().collect();
        Dialect::choose(&method.parse().unwrap(), target.split_once('?').map(|(_, query)| query), &headers)
    }

    #[test]
    fn accept_decides_where_nothing_else_does() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (accept, expected) in [
            (browser, Dialect::Html),
            ("text/*", Dialect::Html),
            ("application/xhtml+xml", Dialect::Html),
            ("application/json", Dialect::Json),
            ("application/problem+json", Dialect::Problem),
            ("application/*", Dialect::Problem),
            ("application/json, text/plain, */*", Dialect::Json),
            ("application/problem+json, application/json;q=0.9", Dialect::Problem),
            ("text/markdown, text/plain;q=0.5", Dialect::Markdown),
            ("application/problem+xml", Dialect::Xml),
            ("text/xml", Dialect::Xml),
            ("application/vnd.api+json", Dialect::Problem),
            ("application/atom+xml;q=0.5, */*;q=0.1", Dialect::Xml),
            ("application/vnd.api+json;q=0", Dialect::Text),
            ("application/vnd.api+json, text/html", Dialect::Html),
            ("text/event-stream", Dialect::Events),
            ("text/event-stream, */*", Dialect::Events),
            ("text/html;q=0, */*", Dialect::Text),
            ("image/png", Dialect::Text),
            ("nonsense;;;,,", Dialect::Text),
            ("*/*", Dialect::Text),
            ("", Dialect::Text),
        ] {
            assert_eq!(chosen("GET", "/", &[("accept", accept)]), expected, "{accept}");
        }
        assert_eq!(chosen("GET", "/", &[]), Dialect::Text);
    }

    #[test]
    fn an_event_stream_is_only_got() {
        let events = [("accept", "text/event-stream")];
        for (method, expected) in [("HEAD", Dialect::Events), ("POST", Dialect::Problem), ("QUERY", Dialect::Problem)] {
            assert_eq!(chosen(method, "/", &events), expected, "{method}");
        }
    }

    #[test]
    fn a_remote_call_is_known_by_its_message() {
        for (content_type, expected) in [
            ("application/grpc", Dialect::Grpc),
            ("Application/GRPC+proto", Dialect::Grpc),
            ("application/grpc;charset=x", Dialect::Grpc),
            ("application/grpc-web", Dialect::GrpcWeb),
            ("application/grpc-web+proto", Dialect::GrpcWeb),
            ("application/grpc-web-text+proto", Dialect::GrpcWebText),
            ("application/connect+json", Dialect::ConnectStreamJson),
            ("application/connect+proto", Dialect::ConnectStreamProto),
            ("application/grpcx", Dialect::Html),
            ("application/grpc-webx", Dialect::Html),
            ("application/json", Dialect::Html),
        ] {
            let fields = [("content-type", content_type), ("accept", "text/html")];
            assert_eq!(chosen("POST", "/", &fields), expected, "{content_type}");
        }
        let unary = [("content-type", "application/json"), ("connect-protocol-version", "1")];
        assert_eq!(chosen("POST", "/a.B/C", &unary), Dialect::Connect);
        assert_eq!(chosen("GET", "/a.B/C?message=x&connect=v1", &[]), Dialect::Connect);
        assert_eq!(chosen("POST", "/a.B/C?connect=v1", &[]), Dialect::Text);
    }

    #[test]
    fn what_no_person_reads_is_never_html() {
        for destination in ["script", "style", "image", "font", "serviceworker", "manifest", "video"] {
            let fields = [("accept", "text/html,*/*;q=0.8"), ("sec-fetch-dest", destination)];
            assert_eq!(chosen("GET", "/", &fields), Dialect::Short, "{destination}");
        }
        for destination in ["document", "iframe", "empty", "frame", "nonsense"] {
            let fields = [("accept", "text/html,*/*;q=0.8"), ("sec-fetch-dest", destination)];
            assert_eq!(chosen("GET", "/", &fields), Dialect::Html, "{destination}");
        }
        assert_eq!(chosen("GET", "/sw.js", &[("accept", "*/*"), ("service-worker", "script")]), Dialect::Short);
        let upgrade = [("upgrade", "websocket"), ("connection", "upgrade"), ("accept", "text/html")];
        assert_eq!(chosen("GET", "/", &upgrade), Dialect::Short);
        assert_eq!(chosen("GET", "/", &[("upgrade", "h2c, websocket")]), Dialect::Short);
        assert_eq!(chosen("GET", "/", &[("upgrade", "h2c"), ("accept", "application/json")]), Dialect::Json);
    }

    #[test]
    fn a_preflight_is_known_by_all_its_parts() {
        let whole = [("origin", "https://a.example"), ("access-control-request-method", "PUT")];
        assert_eq!(chosen("OPTIONS", "/", &whole), Dialect::Preflight);
        assert_eq!(chosen("GET", "/", &whole), Dialect::Text);
        assert_eq!(chosen("OPTIONS", "/", &whole[..1]), Dialect::Text);
        assert_eq!(chosen("OPTIONS", "/", &whole[1..]), Dialect::Text);
    }

    proptest! {
        /// Any bytes get an answer, and an answer that nobody sees stays short.
        #[test]
        fn any_head_has_a_dialect(
            accept in proptest::collection::vec(any::<u8>(), 0..200),
            language in proptest::collection::vec(any::<u8>(), 0..200),
            content_type in "(application/(grpc|connect)[a-z+;=-]{0,12})?[ -~]{0,20}",
            pieces in proptest::collection::vec(
                "(text|application|\\*)/(html|json|\\*|xml|event-stream)(;q=[0-9.]{0,5})?|[,;= /*q-]{0,4}", 0..12),
        ) {
            let mut headers = HeaderMap::new();
            let joined = pieces.join(",");
            for (name, value) in [
                ("accept", accept.as_slice()), ("accept", joined.as_bytes()), ("accept-language", language.as_slice()),
                ("content-type", content_type.as_bytes()),
            ] {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(name, value);
                }
            }
            let free = Dialect::choose(&Method::GET, None, &headers);
            prop_assert!(free != Dialect::Preflight);
            let fields = |name: &str| headers.get_all(name).into_iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
            accept::language(fields("accept-language").into_iter(), &["en", "de"]);
            accept::coding(fields("accept").into_iter());
            headers.insert("sec-fetch-dest", HeaderValue::from_static("script"));
            prop_assert!(Dialect::choose(&Method::GET, None, &headers) != Dialect::Html);
        }
    }
}
