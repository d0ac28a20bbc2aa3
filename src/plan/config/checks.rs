//! Checks of a route's upstreams: what is asked, and which answer passes.

mod read;

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use regex_lite::Regex;

pub(super) use read::{health, quorum_of, verify};

/// Smoke test of the upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The question, and the answer that passes.
    pub probe: Probe,
    /// Longest time for the answer.
    pub within: Duration,
    /// Time from which on an answer is too slow to pass.
    pub faster_than: Option<Duration>,
    /// Successes in a row that are needed.
    pub times: u32,
    /// Time between two attempts.
    pub every: Duration,
    /// Names of the places that the check speaks for, for the timeline.
    pub regions: Vec<String>,
}

/// Check that is made while the route is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The check. After `times` passes in a row the upstream is used again.
    pub check: Check,
    /// Failures in a row after which the upstream is left out.
    pub fails: u32,
}

/// Question of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP request.
    Http(Box<HttpProbe>),
    /// A connection alone, with TLS where the upstream has it.
    Connect,
    /// A call of `grpc.health.v1.Health/Check` over HTTP/2.
    Grpc(GrpcProbe),
}

/// HTTP request of a check, and the answer that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// `Host` of the request; `None` is the one that the route's requests have.
    pub host: Option<String>,
    /// More fields of the request.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Body of the request.
    pub send: Option<String>,
    /// Redirects that are followed.
    pub follow: u64,
    /// Statuses that pass; at least one.
    pub expect: Vec<Statuses>,
    /// Text that the body must contain.
    pub body: Option<String>,
    /// Regular expression that must match in the body.
    pub matches: Option<BodyPattern>,
    /// Fields of the response, with the text that each must contain.
    pub expect_fields: Vec<(HeaderName, String)>,
}

/// Call of the health service of gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// Name of the service; empty for the whole server.
    pub service: String,
    /// Authority of the call; `None` is the one that the route's requests have.
    pub host: Option<String>,
}

/// Statuses that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// A single status.
    One(u16),
    /// A class by its first digit: 2 for `2xx`.
    Class(u16),
}

/// Regular expression for a body. Two are equal if they are written alike.
#[derive(Clone, Debug)]
pub struct BodyPattern(Regex);

impl Probe {
    /// Returns the host that the check asks for, if it names one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Http(probe) => probe.host.as_deref(),
            Self::Connect => None,
            Self::Grpc(probe) => probe.host.as_deref(),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(probe) => write!(f, "{} {}", probe.method, probe.target),
            Self::Connect => f.write_str("connecting"),
            Self::Grpc(probe) if probe.service.is_empty() => f.write_str("gRPC health"),
            Self::Grpc(probe) => write!(f, "gRPC health of {}", probe.service),
        }
    }
}

impl Statuses {
    /// Reads a status, `401`, or a class of them, `4xx`.
    pub fn parse(text: &str) -> Option<Self> {
        let (digit, rest) = text.split_at_checked(1)?;
        let digit = digit.parse().ok().filter(|digit| (1..=5).contains(digit))?;
        if rest.eq_ignore_ascii_case("xx") {
            return Some(Self::Class(digit));
        }
        let is_status = rest.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_status).map(Self::One)
    }

    /// Returns true if a status passes.
    pub fn has(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            Self::Class(digit) => status / 100 == digit,
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

impl BodyPattern {
    /// Returns true if the expression matches somewhere in a text. Takes time in proportion to the text.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for BodyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for BodyPattern {}

impl fmt::Display for BodyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Number of upstreams that must pass every check before the route opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of them.
    #[default]
    Most,
    /// All of them.
    All,
    /// This many, or all if there are fewer.
    AtLeast(usize),
}

impl Quorum {
    /// Returns the number for a route with this many upstreams: at least 1.
    pub fn of(self, upstreams: usize) -> usize {
        match self {
            Self::Most => upstreams / 2 + 1,
            Self::All => upstreams.max(1),
            Self::AtLeast(number) => number.min(upstreams).max(1),
        }
    }
}
