//! Entry of a request for the access log, from its head until its line is written.

use std::sync::Arc;

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::client;
use crate::plan::config::{Access, LogField};
use crate::proxy::connection::ClientConnection;
use crate::telemetry::RouteMeter;
use crate::telemetry::line::Line;

/// Entry for the access log. Only what a line needs is copied from the head.
pub(super) struct Entry {
    pub(super) time: Timestamp,
    client: Option<String>,
    port: Option<u16>,
    pub(super) method: http::Method,
    host: Option<String>,
    pub(super) path: Option<String>,
    pub(super) query: Option<String>,
    user_agent: Option<String>,
    referer: Option<String>,
    version: http::Version,
    pub(super) verdict: &'static str,
    /// The route whose page is the answer.
    pub(super) shown: Option<Arc<RouteMeter>>,
    pub(super) generation: u64,
    pub(super) status: StatusCode,
    id: HeaderValue,
    /// The id of the trace.
    pub(super) trace: Option<Box<str>>,
    pub(super) error: Option<&'static str>,
}

impl Entry {
    /// Creates the entry of a request that was just read.
    pub(super) fn new(
        connection: &ClientConnection,
        generation: &Generation,
        request: &Request<Incoming>,
        id: &HeaderValue,
    ) -> Self {
        let fields = &generation.snapshot.log.fields;
        let has = |field| fields.has(field).then_some(());
        let (uri, headers) = (request.uri(), request.headers());
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        let client = client::of(connection.peer.origin(), headers, &generation.snapshot.trusted_proxies);
        // The port belongs to the client alone, not to a proxy that names it.
        let port = connection.peer.source_port.filter(|_| client.address() == connection.peer.address);
        let host = || uri.authority().map(|authority| authority.as_str().as_bytes()).or_else(|| value(HOST));
        let ends = |byte: &u8| matches!(byte, b'?' | b'#') && !fields.has(LogField::Query);
        let referer = |referer: &[u8]| cut(referer.split(ends).next().unwrap_or_default());
        Self {
            time: Timestamp::now(),
            client: has(LogField::Client).map(|()| client.to_string()),
            port,
            method: request.method().clone(),
            host: has(LogField::Host).and_then(|()| host()).map(cut),
            path: has(LogField::Path).map(|()| cut(uri.path().as_bytes())),
            query: has(LogField::Query).and_then(|()| uri.query()).map(|query| cut(query.as_bytes())),
            user_agent: has(LogField::UserAgent).and_then(|()| value(USER_AGENT)).map(cut),
            referer: has(LogField::Referer).and_then(|()| value(REFERER)).map(referer),
            version: request.version(),
            verdict: "",
            shown: None,
            generation: generation.snapshot.generation,
            // nginx's status for a client that left before the answer; replaced once there is an answer.
            status: StatusCode::from_u16(499).unwrap_or_default(),
            id: id.clone(),
            trace: None,
            error: None,
        }
    }

    /// Returns the line of the access log, without what is known only at the end.
    pub(super) fn line<'l>(&'l self, connection: &'l ClientConnection) -> Line<'l> {
        let tls = connection.tls.get();
        Line {
            time: self.time,
            client: self.client.as_deref(),
            port: self.port,
            method: Some(self.method.as_str()),
            host: self.host.as_deref(),
            path: self.path.as_deref(),
            query: self.query.as_deref(),
            version: Some(version(self.version)),
            route: None,
            verdict: self.verdict,
            generation: self.generation,
            status: self.status.as_u16(),
            bytes: 0,
            request_bytes: 0,
            micros: 0,
            upstream: None,
            tls: tls.map(|tls| tls.version),
            sni: tls.and_then(|tls| tls.name.as_deref()),
            user_agent: self.user_agent.as_deref(),
            referer: self.referer.as_deref(),
            id: self.id.to_str().ok(),
            trace: self.trace.as_deref(),
            error: self.error,
        }
    }
}

/// Returns true for a request that the access log records.
pub(crate) fn is_recorded(access: Access) -> bool {
    match access {
        Access::Off => false,
        Access::Sampled(share) => fastrand::f64() < share,
        Access::Full => true,
    }
}

/// Copies a value for the log, up to a length.
pub(crate) fn cut(value: &[u8]) -> String {
    match value.get(..LONGEST_VALUE) {
        None => String::from_utf8_lossy(value).into_owned(),
        Some(head) => format!("{}…", String::from_utf8_lossy(head).trim_end_matches(char::REPLACEMENT_CHARACTER)),
    }
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Bytes of the longest value that the log has whole.
const LONGEST_VALUE: usize = 2048;
