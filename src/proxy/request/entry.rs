//! Entry of a request for the access log, from its head until its line is written.

use std::sync::Arc;

use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::client;
use crate::proxy::connection::ClientConnection;
use crate::telemetry::RouteMeter;
use crate::telemetry::access::Line;

/// Entry for the access log.
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) client: String,
    pub(super) method: http::Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) version: http::Version,
    pub(super) verdict: &'static str,
    /// The route whose page is the answer.
    pub(super) shown: Option<Arc<RouteMeter>>,
    pub(super) generation: u64,
    pub(super) status: StatusCode,
    pub(super) id: HeaderValue,
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
        let trusted = &generation.snapshot.trusted_proxies;
        let client = client::of(connection.peer.address, request.headers(), trusted);
        let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| {
            let host = request.headers().get(http::header::HOST)?;
            Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
        });
        Self {
            time: Timestamp::now(),
            client: client.to_string(),
            method: request.method().clone(),
            host: host.unwrap_or_default(),
            path: request.uri().path().to_owned(),
            version: request.version(),
            verdict: "",
            shown: None,
            generation: generation.snapshot.generation,
            // nginx's status for a client that left before the answer; replaced once there is an answer.
            status: StatusCode::from_u16(499).unwrap_or_default(),
            id: id.clone(),
            error: None,
        }
    }

    /// Returns the line of the access log, without what is known only at the end.
    pub(super) fn line(&self) -> Line<'_> {
        Line {
            time: self.time,
            client: &self.client,
            method: self.method.as_str(),
            host: &self.host,
            path: &self.path,
            version: version(self.version),
            route: None,
            verdict: self.verdict,
            generation: self.generation,
            status: self.status.as_u16(),
            bytes: 0,
            micros: 0,
            upstream: None,
            id: self.id.to_str().unwrap_or_default(),
            error: self.error,
        }
    }
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
