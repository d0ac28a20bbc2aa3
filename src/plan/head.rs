//! Head of a request, as far as a decision needs it.

use std::time::Duration;

use http::{HeaderMap, Method};

use super::client::Origin;

/// Parts of a request that the decision needs.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    /// Method.
    pub method: &'r Method,
    /// Authority or `Host` field, unchanged.
    pub host: &'r str,
    /// Name of the listener, if it has one.
    pub listener: Option<&'r str>,
    /// Path, unchanged, without the query.
    pub path: &'r str,
    /// Query, if there is one.
    pub query: Option<&'r str>,
    /// Fields. They matter only if the route is not open.
    pub headers: &'r HeaderMap,
    /// Origin of the connection.
    pub peer: Origin,
    /// Time since the snapshot was compiled.
    pub elapsed: Duration,
}

impl<'r> Head<'r> {
    /// Returns a head of which only the fields are known.
    pub fn unknown(headers: &'r HeaderMap) -> Self {
        Self {
            method: &Method::GET,
            host: "",
            listener: None,
            path: "/",
            query: None,
            headers,
            peer: Origin::Unix,
            elapsed: Duration::ZERO,
        }
    }
}
