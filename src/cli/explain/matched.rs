//! Patterns of a route that match a request.

use serde::Serialize;

use crate::plan::config::{HostPattern, RouteConfig};
use crate::plan::path::PathPattern;

/// Patterns of the route that matched the request.
#[derive(Debug, Serialize)]
pub(super) struct Matched {
    /// Absent if the route serves any host.
    pub(super) host: Option<String>,
    /// Path of the config, perhaps with `*`.
    pub(super) path: String,
}

/// Returns the patterns of the route that matched the request.
pub(super) fn matched(route: &RouteConfig, host: &str, path: &str) -> Matched {
    Matched {
        host: host_of(route, host).flatten().map(pattern),
        path: route.path_of(path).map_or("/", PathPattern::as_str).to_owned(),
    }
}

/// Returns the most specific of a route's host patterns that match a host; `Some(None)` if the route serves any host.
pub(super) fn host_of<'r>(route: &'r RouteConfig, host: &str) -> Option<Option<&'r HostPattern>> {
    if route.hosts.is_empty() {
        return Some(None);
    }
    let met = route.hosts.iter().filter(|pattern| match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Below(parent) => host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.')),
    });
    met.max_by_key(|pattern| match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Below(parent) => parent.len(),
    })
    .map(Some)
}

fn pattern(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Below(parent) => format!("*.{parent}"),
    }
}

/// Describes a route with its hosts and paths: `web (www.example.com, path /)`.
pub(super) fn describe_route(route: &RouteConfig) -> String {
    let hosts: Vec<String> = route.hosts.iter().map(pattern).collect();
    let hosts = if hosts.is_empty() { "any host".to_owned() } else { hosts.join(", ") };
    let paths: Vec<&str> = route.paths.iter().map(PathPattern::as_str).collect();
    let listen =
        if route.listen.is_empty() { String::new() } else { format!(", listener {}", route.listen.join(", ")) };
    format!("{} ({hosts}, path {}{listen})", route.name, paths.join(", "))
}
