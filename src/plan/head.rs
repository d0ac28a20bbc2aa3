//! The head of a request, as far as a decision looks at it.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, Method};

/// The part of a request that the decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r Method,
    /// The authority or the `Host` field, as it came.
    pub host: &'r str,
    /// The path, as it came, without the query.
    pub path: &'r str,
    /// The query, if there is one.
    pub query: Option<&'r str>,
    /// The fields. Looked at only where the route is not open.
    pub headers: &'r HeaderMap,
    /// The other end of the connection; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// Time since the snapshot was compiled.
    pub elapsed: Duration,
}

impl<'r> Head<'r> {
    /// A head of which only the fields are known.
    pub fn unknown(headers: &'r HeaderMap) -> Self {
        Self { method: &Method::GET, host: "", path: "/", query: None, headers, peer: None, elapsed: Duration::ZERO }
    }
}
