//! Requests that HTTP/1 refuses before there is a request: they have no head, and a line in the access log all the same.

use std::rc::Rc;

use hyper::Error;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::plan::client;
use crate::plan::config::LogField;
use crate::plan::limits::Limits;
use crate::proxy::connection::ClientConnection;
use crate::proxy::request::entry::{cut, is_recorded};
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;
use crate::telemetry::line::Line;

/// Answer to what is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The head is malformed.
    Malformed,
    /// The target is longer than hyper takes.
    LongTarget,
    /// The head has too many bytes.
    HeadSize,
    /// The head has too many fields.
    HeadFields,
    /// The head did not come in time.
    Late,
}

impl Refused {
    /// Returns what hyper has answered; `None` if it has not. `unread` begins with the head.
    pub(super) fn by_hyper(error: &Error, unread: &[u8], limits: &Limits) -> Option<Self> {
        if !error.is_parse() || unread.starts_with(PREFACE) {
            return None;
        }
        if !error.is_parse_too_large() {
            return Some(Self::Malformed);
        }
        if RequestLine::of(unread).target.len() > LONGEST_TARGET {
            return Some(Self::LongTarget);
        }
        // hyper has one error for both limits: a head of allowed size must have too many fields.
        let end = unread.windows(2).position(|pair| pair == b"\n\n" || pair == b"\n\r");
        let fits = end.unwrap_or(unread.len()) + 2 < limits.head_size;
        Some(if fits { Self::HeadFields } else { Self::HeadSize })
    }

    /// Returns the limit that was reached, if it is one of the config's.
    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Self::HeadSize => Some(Limit::HeadSize),
            Self::HeadFields => Some(Limit::HeadFields),
            // The driver of the connection has counted it.
            Self::Late => None,
            Self::Malformed | Self::LongTarget => None,
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Late => 408,
            Self::LongTarget => 414,
            Self::HeadSize | Self::HeadFields => 431,
        }
    }

    fn error(self) -> &'static str {
        match self {
            Self::Malformed => "http_request_error",
            Self::Late => "head_read",
            Self::LongTarget => "target_too_long",
            Self::HeadSize => "head_size",
            Self::HeadFields => "head_fields",
        }
    }

    /// Writes a line to the access log, if this answer is recorded. The fields of a head that was not read are unknown:
    /// the client is the peer.
    pub(super) fn record(self, worker: &Rc<Worker>, connection: &ClientConnection, unread: &[u8]) {
        let generation = worker.generation();
        let log = &generation.snapshot.log;
        if !is_recorded(log.access) {
            return;
        }
        let peer = &connection.peer;
        let trusted = &generation.snapshot.trusted_proxies;
        let client = client::of(peer.origin(), &http::HeaderMap::new(), trusted).to_string();
        let words = RequestLine::of(unread);
        let (method, path) = words.logged().unzip();
        let query = words.query().filter(|_| log.fields.has(LogField::Query)).map(cut);
        let took = Instant::now().saturating_duration_since(connection.activity.reads.heard_at());
        let tls = connection.tls.get();
        worker.write_log(&Line {
            time: Timestamp::now(),
            client: Some(&client),
            port: peer.source_port,
            method: method.as_deref(),
            host: None,
            path: path.as_deref(),
            query: query.as_deref(),
            version: Some("HTTP/1.1"),
            route: None,
            verdict: "refuse",
            generation: generation.snapshot.generation,
            status: self.status(),
            bytes: 0,
            request_bytes: 0,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            upstream: None,
            tls: tls.map(|tls| tls.version),
            sni: tls.and_then(|tls| tls.name.as_deref()),
            user_agent: None,
            referer: None,
            id: None,
            trace: None,
            error: Some(self.error()),
        });
    }
}

/// The first line of a head, as far as it came.
struct RequestLine<'h> {
    method: &'h [u8],
    target: &'h [u8],
}

impl<'h> RequestLine<'h> {
    fn of(unread: &'h [u8]) -> Self {
        let line = unread.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ');
        Self { method: words.next().unwrap_or_default(), target: words.next().unwrap_or_default() }
    }

    /// Returns method and path, if they look like these. Anything else is no HTTP: the greeting of TLS, say.
    fn logged(&self) -> Option<(String, String)> {
        let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
        let looks = (1..=LONGEST_METHOD).contains(&self.method.len()) && self.method.iter().all(is_method);
        let path = self.target.split(|&byte| byte == b'?').next().filter(|path| path.starts_with(b"/"))?;
        looks.then(|| (cut(self.method), cut(path)))
    }

    fn query(&self) -> Option<&'h [u8]> {
        let at = self.target.iter().position(|&byte| byte == b'?')?;
        self.logged().and_then(|_| self.target.get(at + 1..))
    }
}

/// The preface of HTTP/2, as a request: hyper closes then without an answer.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Bytes of the longest target that hyper takes.
const LONGEST_TARGET: usize = 65_534;

/// Bytes of the longest method that is logged of a broken head.
const LONGEST_METHOD: usize = 24;
