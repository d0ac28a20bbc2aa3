//! Dialect: the form of an answer that a client can read, chosen by its request's head before any of the body is read.

mod sign;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};

use super::accept;
pub(crate) use sign::Sign;
use sign::{BodyKind, Head, Telling};

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
    /// One line of text for requests whose answer no person reads: scripts, images, git, refused upgrades.
    Short,
    /// Fault of SOAP 1.1.
    Soap,
    /// Fault of SOAP 1.2.
    Soap12,
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
    pub const ALL: [Self; 17] = [
        Self::Html,
        Self::Text,
        Self::Markdown,
        Self::Problem,
        Self::Json,
        Self::Xml,
        Self::Short,
        Self::Soap,
        Self::Soap12,
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
            Self::Soap => "soap",
            Self::Soap12 => "soap12",
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

    /// Chooses a dialect by a request's head, and returns the sign that decided.
    ///
    /// A fixed protocol comes first: a client of gRPC, SOAP or git can read nothing else, whatever it accepts. Then comes
    /// `Sec-Fetch-Dest`: HTML in the place of a script would be run and cached. `Accept` comes next.
    ///
    /// A client that accepts anything, or names nothing, may show by its body or by a script's field that a program reads
    /// the answer. Any other one gets text: it is a command line. A client that accepts none of the dialects gets text,
    /// too, because a 503 in the wrong form is better than a 406 without a page.
    pub(crate) fn choose(method: &Method, query: Option<&str>, headers: &HeaderMap) -> (Self, Sign) {
        let head = Head::new(headers);
        if let Some(called) = Self::called(method, query, head) {
            return (called, Sign::Call);
        }
        if sign::is_preflight(method, headers) {
            return (Self::Preflight, Sign::Preflight);
        }
        if sign::is_upgrade(head) {
            return (Self::Short, Sign::Upgrade);
        }
        if sign::is_fetched_by_a_document(head) {
            return (Self::Short, Sign::Part);
        }
        let body = BodyKind::of(head);
        match body {
            Some(BodyKind::Soap) => return (Self::Soap, Sign::Soap),
            Some(BodyKind::Soap12) => return (Self::Soap12, Sign::Soap),
            Some(BodyKind::Json | BodyKind::Xml) | None => {}
        }
        if sign::is_of_git(query, head) {
            return (Self::Short, Sign::Git);
        }
        match Self::named(|| headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes)) {
            // An `EventSource` uses no other method. To another client, 200 would mean success.
            Some((Self::Events, sign)) if !matches!(*method, Method::GET | Method::HEAD) => (Self::Problem, sign),
            Some(named) => named,
            None => Self::unnamed(body, head),
        }
    }

    /// Chooses a dialect for a client that would read anything.
    fn unnamed(body: Option<BodyKind>, head: Head<'_>) -> (Self, Sign) {
        match body {
            Some(BodyKind::Json) => (Self::Json, Sign::Body),
            Some(BodyKind::Xml) => (Self::Xml, Sign::Body),
            Some(BodyKind::Soap | BodyKind::Soap12) | None if sign::is_of_a_script(head) => (Self::Json, Sign::Script),
            Some(BodyKind::Soap | BodyKind::Soap12) | None => (Self::Text, Sign::Nothing),
        }
    }

    /// Returns the dialect of a remote call, by the type of its message.
    pub fn of_call(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Option<Self> {
        Self::called(method, query, Head::new(headers))
    }

    fn called(method: &Method, query: Option<&str>, head: Head<'_>) -> Option<Self> {
        let content_type = head.get(Telling::ContentType).map(HeaderValue::as_bytes).unwrap_or_default();
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
        let unary = head.has(Telling::ConnectVersion)
            || *method == Method::GET && query.is_some_and(|query| query.split('&').any(|pair| pair == "connect=v1"));
        unary.then_some(Self::Connect)
    }

    /// Returns the dialect that the fields of `Accept` ask for, if nothing else of the request is known.
    pub fn accepted<'a, A: Iterator<Item = &'a [u8]>>(accept: impl Fn() -> A) -> Self {
        Self::named(accept).map_or(Self::Text, |(dialect, _)| dialect)
    }

    /// Returns the dialect that the fields of `Accept` name; `None` if they name none. For a type built on JSON or XML
    /// (RFC 6839), that is JSON or XML.
    fn named<'a, A: Iterator<Item = &'a [u8]>>(accept: impl Fn() -> A) -> Option<(Self, Sign)> {
        if let Some(named) = accept::choose(accept(), &OFFERS) {
            return Some((named, Sign::Accept));
        }
        if accept::first(accept()).is_some_and(sign::is_asset) {
            return Some((Self::Short, Sign::Asset));
        }
        match accept::suffix(accept())? {
            b"json" => Some((Self::Problem, Sign::Accept)),
            b"xml" => Some((Self::Xml, Sign::Accept)),
            _ => None,
        }
    }

    /// Returns the member of the body that says when to come back, up to its number. A body with one is never compressed.
    pub(in crate::plan) fn retry_member(self) -> Option<&'static [u8]> {
        match self {
            Self::Json | Self::Problem | Self::Events => Some(b"\"retry_after\":"),
            Self::Xml | Self::Soap | Self::Soap12 => Some(b"<retry_after>"),
            Self::Html
            | Self::Text
            | Self::Markdown
            | Self::Short
            | Self::Grpc
            | Self::GrpcWeb
            | Self::GrpcWebText
            | Self::Connect
            | Self::ConnectStreamJson
            | Self::ConnectStreamProto
            | Self::Preflight => None,
        }
    }

    /// Returns true for dialects that have every language and are compressed.
    pub fn is_for_reading(self) -> bool {
        matches!(self, Self::Short | Self::Soap | Self::Soap12) || self.is_negotiated()
    }

    /// Returns true if `Accept` chooses the dialect, so that an operator may fix it.
    pub fn is_negotiated(self) -> bool {
        OFFERS.iter().any(|(offered, _)| *offered == self && *offered != Self::Events)
    }
}

/// Returns the text after a prefix, in any case.
pub(super) fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use http::HeaderName;

    use super::*;

    fn chosen(method: &str, target: &str, fields: &[(&str, &str)]) -> Dialect {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = fields.collect::<Vec<(HeaderName, HeaderValue)>>().into_iter().collect();
        Dialect::choose(&method.parse().unwrap(), target.split_once('?').map(|(_, query)| query), &headers).0
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
            ("application/x-own", Dialect::Text),
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
    fn a_program_is_known_by_its_body_and_a_script_by_its_fields() {
        for (fields, expected) in [
            (&[("content-type", "application/json")][..], Dialect::Json),
            (&[("content-type", "Application/JSON; charset=utf-8"), ("accept", "*/*")], Dialect::Json),
            (&[("content-type", "application/vnd.api+json"), ("accept", "*/*;q=0.5")], Dialect::Json),
            (&[("content-type", "application/x-amz-json-1.0")], Dialect::Json),
            (&[("content-type", "application/json"), ("accept", "text/plain")], Dialect::Text),
            (&[("content-type", "application/json"), ("accept", "text/html, */*;q=0.1")], Dialect::Html),
            (&[("content-type", "application/xml")], Dialect::Xml),
            (&[("content-type", "text/xml; charset=utf-8"), ("accept", "*/*")], Dialect::Xml),
            (&[("content-type", "application/atom+xml")], Dialect::Xml),
            (&[("content-type", "application/xml"), ("accept", "application/json")], Dialect::Json),
            (
                &[("content-type", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")],
                Dialect::Text,
            ),
            (&[("content-type", "application/x-www-form-urlencoded")], Dialect::Text),
            (&[("content-type", "json")], Dialect::Text),
            (&[("sec-fetch-dest", "empty"), ("accept", "*/*")], Dialect::Json),
            (&[("sec-fetch-dest", "empty"), ("accept", "text/html")], Dialect::Html),
            (&[("sec-fetch-dest", "document"), ("accept", "*/*")], Dialect::Text),
            (&[("sec-fetch-mode", "cors"), ("accept", "*/*")], Dialect::Json),
            (&[("sec-fetch-mode", "navigate"), ("accept", "*/*")], Dialect::Text),
            (&[("x-requested-with", "XMLHttpRequest"), ("accept", "*/*")], Dialect::Json),
            (&[("x-requested-with", "com.example.app"), ("accept", "text/html,*/*;q=0.8")], Dialect::Html),
            (&[("x-requested-with", "XMLHttpRequest"), ("content-type", "text/xml")], Dialect::Xml),
        ] {
            assert_eq!(chosen("POST", "/", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn soap_gets_a_fault_of_its_own_version() {
        for (fields, expected) in [
            (
                &[("content-type", "text/xml; charset=utf-8"), ("soapaction", "\"\""), ("accept", "text/html, */*")][..],
                Dialect::Soap,
            ),
            (&[("content-type", "application/soap+xml; charset=utf-8; action=\"x\"")], Dialect::Soap12),
            (&[("content-type", "text/xml")], Dialect::Xml),
            (&[("content-type", "application/xml"), ("soapaction", "x")], Dialect::Xml),
            (&[("content-type", "application/json"), ("soapaction", "x")], Dialect::Json),
            (&[("soapaction", "x")], Dialect::Text),
        ] {
            assert_eq!(chosen("POST", "/", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn git_and_whoever_asks_for_a_picture_gets_one_line() {
        for (target, fields, expected) in [
            ("/a.git/info/refs?service=git-upload-pack", &[("accept", "*/*")][..], Dialect::Short),
            ("/a.git/info/refs?a=b&service=git-receive-pack", &[], Dialect::Short),
            ("/a.git/HEAD", &[("user-agent", "git/2.47.3"), ("accept", "*/*")], Dialect::Short),
            ("/a.git/git-upload-pack", &[("content-type", "application/x-git-upload-pack-request")], Dialect::Short),
            ("/a.git/git-upload-pack", &[("accept", "application/x-git-upload-pack-result")], Dialect::Short),
            ("/a", &[("user-agent", "gitea/1.2")], Dialect::Text),
            ("/a?service=github", &[], Dialect::Text),
            ("/a", &[("accept", "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8")], Dialect::Short),
            ("/a", &[("accept", "text/css,*/*;q=0.1")], Dialect::Short),
            ("/a", &[("accept", "Video/webm,*/*;q=0.5")], Dialect::Short),
            ("/a", &[("accept", "audio/*"), ("content-type", "application/json")], Dialect::Short),
            ("/a", &[("accept", "font/woff2;q=0, font/woff;q=0.1")], Dialect::Short),
            ("/a", &[("accept", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2")], Dialect::Html),
            ("/a", &[("accept", "image/png, application/json")], Dialect::Json),
            ("/a", &[("accept", "*/*, image/png")], Dialect::Text),
        ] {
            assert_eq!(chosen("GET", target, fields), expected, "{target} {fields:?}");
        }
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
            let (free, sign) = Dialect::choose(&Method::GET, None, &headers);
            prop_assert!(free != Dialect::Preflight && sign != Sign::Route);
            let fields = |name: &str| headers.get_all(name).into_iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
            accept::language(fields("accept-language").into_iter(), &["en", "de"]);
            accept::coding(fields("accept").into_iter());
            headers.insert("sec-fetch-dest", HeaderValue::from_static("script"));
            prop_assert!(Dialect::choose(&Method::GET, None, &headers).0 != Dialect::Html);
        }
    }
}
