//! The failures of one request: the side at fault, and the client's answer.

use std::fmt;
use std::io;

use http::StatusCode;

use crate::telemetry::Limit;

/// The reason why a request got no answer from an upstream.
#[derive(Debug)]
pub(crate) enum Error {
    /// The request breaks a rule of HTTP that a proxy must not pass on.
    BadRequest(&'static str),
    /// More fields than `head_fields`.
    HeadFields,
    /// The body is larger than `body_size`.
    BodyTooLarge,
    /// The client stopped sending its body.
    BodyTimeout,
    /// The client cut its body short, or sent it malformed.
    BodyBroken,
    /// No route matches.
    NoRoute,
    /// The route has no banner.
    NoBanner,
    /// A method that is not for a reverse proxy.
    Method,
    /// A method other than GET and HEAD on a path of the proxy's own.
    ReadOnlyResource,
    /// The upstream could not be connected to.
    Connect(io::Error),
    /// The upstream did not accept in time.
    ConnectTimeout,
    /// The TLS handshake with the upstream failed.
    Tls(io::Error),
    /// Every connection is in use and none became free in time.
    NoConnection,
    /// The client has stalled, and others waited for its connection to the upstream.
    Evicted,
    /// The flag file leaves the route no upstream.
    NoUpstream,
    /// Too many requests wait for the upstream already.
    QueueFull,
    /// The upstream closed the connection before a response head, or does not speak HTTP.
    Broken(hyper::Error),
    /// The head of the response breaks a rule of HTTP, so that it cannot be read.
    OddAnswer(hyper::Error),
    /// The head of the response has more bytes than `upstream_head_size`.
    AnswerHeadSize,
    /// The head of the response has more fields than `upstream_head_fields`.
    AnswerHeadFields,
    /// No response head in time.
    FirstByte,
    /// The response breaks a rule of HTTP that a proxy must not pass on.
    BadResponse(&'static str),
    /// The route is down, and the drain time for requests in flight is over.
    Drained,
}

/// The side whose fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client's: a 4xx.
    Client,
    /// The upstream's: a 5xx.
    Upstream,
    /// Nobody's: the operator wanted it.
    Operator,
}

impl Error {
    /// Returns the side whose fault the error is.
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::BadRequest(_)
            | Self::HeadFields
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::Evicted
            | Self::NoRoute
            | Self::NoBanner
            | Self::Method
            | Self::ReadOnlyResource => Side::Client,
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::NoConnection
            | Self::NoUpstream
            | Self::QueueFull
            | Self::Broken(_)
            | Self::OddAnswer(_)
            | Self::AnswerHeadSize
            | Self::AnswerHeadFields
            | Self::FirstByte
            | Self::BadResponse(_) => Side::Upstream,
            Self::Drained => Side::Operator,
        }
    }

    /// Returns the status for the client.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::HeadFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout | Self::Evicted => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute | Self::NoBanner => StatusCode::NOT_FOUND,
            Self::Method | Self::ReadOnlyResource => StatusCode::METHOD_NOT_ALLOWED,
            Self::Connect(_) | Self::Tls(_) | Self::Broken(_) | Self::BadResponse(_) => StatusCode::BAD_GATEWAY,
            Self::OddAnswer(_) | Self::AnswerHeadSize | Self::AnswerHeadFields => StatusCode::BAD_GATEWAY,
            Self::NoConnection | Self::NoUpstream | Self::QueueFull | Self::Drained => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout | Self::FirstByte => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns the error type for the `Proxy-Status` field (RFC 9209 section 2.3).
    pub(crate) fn proxy_status(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::BodyBroken | Self::BodyTimeout | Self::Evicted => "http_request_error",
            Self::Method | Self::ReadOnlyResource => "http_request_error",
            Self::HeadFields => "http_request_error",
            Self::BodyTooLarge => "http_request_error",
            Self::NoRoute | Self::NoBanner => "destination_not_found",
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => "connection_refused",
            Self::Connect(_) | Self::NoUpstream => "destination_unavailable",
            Self::ConnectTimeout => "connection_timeout",
            Self::Tls(error) if is_about_certificate(error) => "tls_certificate_error",
            Self::Tls(_) => "tls_protocol_error",
            Self::NoConnection | Self::QueueFull => "connection_limit_reached",
            Self::Broken(error) if error.is_parse() => "http_protocol_error",
            Self::Broken(_) => "http_response_incomplete",
            Self::FirstByte => "http_response_timeout",
            Self::BadResponse(_) | Self::OddAnswer(_) => "http_protocol_error",
            Self::AnswerHeadSize | Self::AnswerHeadFields => "http_response_header_section_size",
            Self::Drained => "drained",
        }
    }

    /// Returns the limit that was reached, if any.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::HeadFields => Some(Limit::HeadFields),
            Self::BodyTooLarge => Some(Limit::BodySize),
            Self::BodyTimeout => Some(Limit::BodyRead),
            Self::ConnectTimeout => Some(Limit::Connect),
            Self::NoConnection | Self::Evicted => Some(Limit::UpstreamConnections),
            Self::QueueFull => Some(Limit::UpstreamQueue),
            Self::FirstByte => Some(Limit::FirstByte),
            Self::AnswerHeadSize => Some(Limit::UpstreamHeadSize),
            Self::AnswerHeadFields => Some(Limit::UpstreamHeadFields),
            Self::BadRequest(_)
            | Self::BodyBroken
            | Self::NoRoute
            | Self::NoBanner
            | Self::NoUpstream
            | Self::Method
            | Self::ReadOnlyResource
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Broken(_)
            | Self::OddAnswer(_)
            | Self::BadResponse(_)
            | Self::Drained => None,
        }
    }

    /// Returns true if the error counts against the upstream's health. A sign of load does not, and neither does an odd
    /// answer: any client may choose a URL that has one.
    pub(crate) fn is_failure(&self) -> bool {
        self.side() == Side::Upstream
            && !matches!(self, Self::NoConnection | Self::NoUpstream | Self::QueueFull)
            && !self.is_odd_answer()
    }

    /// Returns true if the upstream has answered, but the answer cannot be passed on.
    pub(crate) fn is_odd_answer(&self) -> bool {
        matches!(self, Self::OddAnswer(_) | Self::AnswerHeadSize | Self::AnswerHeadFields | Self::BadResponse(_))
    }

    /// Returns the reason why no response head could be read. `exceeded` says that more came than its
    /// head may have.
    pub(crate) fn of_answer(error: hyper::Error, exceeded: bool) -> Self {
        if error.is_parse_too_large() {
            // hyper has one error for both limits.
            return if exceeded { Self::AnswerHeadSize } else { Self::AnswerHeadFields };
        }
        let reset = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
        let refused = reset.is_some_and(|error| error.is_reset() && error.is_library());
        // A head that does not even begin with a version of HTTP is not an answer.
        let odd = error.is_parse() && !error.to_string().contains("version");
        if odd || refused { Self::OddAnswer(error) } else { Self::Broken(error) }
    }

    /// Returns true if it is certain that no upstream has got the request, of which the last attempt failed by this error.
    /// A request that is sent again after it had left is a safe one, and may come another time anyhow.
    pub(crate) fn never_arrived(&self) -> bool {
        self.never_left() || self.unprocessed() || matches!(self, Self::NoUpstream)
    }

    /// Returns true if another upstream may be tried, since the request never left.
    pub(crate) fn never_left(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_) | Self::NoConnection | Self::QueueFull)
    }

    /// Returns true if an HTTP/2 upstream reported that it did not process the request: it was shutting down, or had
    /// too many streams (RFC 9113 section 8.7).
    pub(crate) fn unprocessed(&self) -> bool {
        let Self::Broken(error) = self else {
            return false;
        };
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
        source.is_some_and(|error| match error.reason() {
            Some(h2::Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
            Some(h2::Reason::REFUSED_STREAM) => error.is_reset() && error.is_remote(),
            Some(_) | None => false,
        })
    }
}

fn is_about_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRequest(why) | Self::BadResponse(why) => why,
            Self::HeadFields => "too many header fields",
            Self::BodyTooLarge => "the request body is too large",
            Self::BodyTimeout => "the request body did not arrive in time",
            Self::BodyBroken => "the request body was broken off or malformed",
            Self::NoRoute => "nothing is served here",
            Self::NoBanner => "this route has no banner: its key `announce_banner` is off",
            Self::Method => "this method is not for a proxy of this kind",
            Self::ReadOnlyResource => "this path can only be read",
            Self::Connect(_) => "the upstream could not be connected to",
            Self::ConnectTimeout => "the upstream did not accept a connection in time",
            Self::Tls(_) => "the TLS handshake with the upstream failed",
            Self::NoConnection => "no connection to the upstream became free in time",
            Self::NoUpstream => "no upstream is left: all are taken out for maintenance",
            Self::QueueFull => "too many requests wait for the upstream",
            Self::Evicted => "the request stalled while others waited for the upstream",
            Self::Broken(error) if error.is_parse() => "the upstream does not speak HTTP",
            Self::Broken(_) => "the upstream broke off before it answered",
            Self::OddAnswer(_) => "the head of the upstream's answer is not valid HTTP",
            Self::AnswerHeadSize => "the head of the upstream's answer is larger than `upstream_head_size`",
            Self::AnswerHeadFields => "the head of the upstream's answer has more fields than `upstream_head_fields`",
            Self::FirstByte => "the upstream did not answer in time",
            Self::Drained => "under maintenance: the time for what was in flight is over",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Tls(error) => Some(error),
            Self::Broken(error) | Self::OddAnswer(error) => Some(error),
            Self::BadRequest(_)
            | Self::HeadFields
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::NoRoute
            | Self::NoBanner
            | Self::Method
            | Self::ReadOnlyResource
            | Self::ConnectTimeout
            | Self::NoConnection
            | Self::NoUpstream
            | Self::Evicted
            | Self::QueueFull
            | Self::FirstByte
            | Self::AnswerHeadSize
            | Self::AnswerHeadFields
            | Self::BadResponse(_)
            | Self::Drained => None,
        }
    }
}
