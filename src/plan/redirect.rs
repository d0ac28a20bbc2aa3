//! Redirects: which requests are redirected to https, and where a redirect leads.

use super::config::{HTTPS_PORT, OwnPath, Redirect, ToHttps, WellKnown};
use super::path;
use super::snapshot::{Route, Snapshot};
use super::verdict::{Head, Refusal, Verdict, decide, exception, normal_host};

/// Decides on a request at a listener that redirects to https.
///
/// Only what would be answered over https is redirected there: a host without a route is 404 here, so that a made-up
/// `Host` is not repeated in a `Location` unless some route takes every host. A challenge of ACME and the paths of
/// `always_open` are served as at any listener.
pub fn decide_before_https<'s>(snapshot: &'s Snapshot, head: Head<'_>, to: ToHttps) -> Verdict<'s> {
    let verdict = decide(snapshot, head);
    let route = match verdict {
        Verdict::Forward(route, _) | Verdict::Answer(route, _) if stays(route, head.path) => return verdict,
        // Its own target is absolute.
        Verdict::Redirect(..) | Verdict::Secure(..) | Verdict::Refuse(_) => return verdict,
        Verdict::Forward(route, _)
        | Verdict::Answer(route, _)
        | Verdict::Show(route, _)
        | Verdict::Hold(route, _)
        | Verdict::Own(_, route) => Some(route),
        Verdict::Site(_) => None,
    };
    if normal_host(head.host).is_empty() {
        return Verdict::Refuse(Refusal::NoHost);
    }
    Verdict::Secure(route, to)
}

/// Returns true if a path is served without https. It is matched narrowly, as exceptions of a closed route are.
fn stays(route: &Route, path: &str) -> bool {
    let is_plain = path::normalize(path).is_ok_and(|normal| normal == path);
    is_plain && (path.starts_with(WellKnown::CHALLENGES) || exception(&route.config, path).is_some())
}

impl ToHttps {
    /// Returns the URL for a request: its host, without its port, and its path and query as they came.
    pub fn location(&self, host: &str, target: &str) -> String {
        let (host, target) = (normal_host(host), origin_form(target));
        match self.port {
            HTTPS_PORT => format!("https://{host}{target}"),
            port => format!("https://{host}:{port}{target}"),
        }
    }
}

impl Redirect {
    /// Returns the URL for a request with this path and query.
    pub fn location(&self, target: &str) -> String {
        match self.path {
            OwnPath::Kept => format!("{}{}", self.to, origin_form(target)),
            OwnPath::Dropped => self.to.clone(),
        }
    }
}

/// Returns a path and query that may follow an authority. The `*` of `OPTIONS *` would become part of the host.
fn origin_form(target: &str) -> &str {
    if target.starts_with('/') { target } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::super::config::Lasts;
    use super::*;

    fn to(port: u16) -> ToHttps {
        ToHttps { port, lasts: Lasts::Permanent }
    }

    #[test]
    fn the_host_loses_its_port_and_the_target_stays_as_it_is() {
        for (host, target, location) in [
            ("example.com", "/", "https://example.com/"),
            ("example.com:80", "/a?b=c&d", "https://example.com/a?b=c&d"),
            (
                "Example.COM.:8080",
                "//evil.example/%2e%2E?x=https://y",
                "https://example.com//evil.example/%2e%2E?x=https://y",
            ),
            ("[2001:DB8::1]:80", "/a;b?", "https://[2001:db8::1]/a;b?"),
            ("192.0.2.1", "*", "https://192.0.2.1/"),
        ] {
            assert_eq!(to(443).location(host, target), location);
        }
        assert_eq!(to(8443).location("example.com:8080", "/a"), "https://example.com:8443/a");
        assert_eq!(to(8443).location("[::1]", "/a"), "https://[::1]:8443/a");
    }

    #[test]
    fn a_route_keeps_the_path_or_drops_it() {
        let redirect = |to: &str, path| Redirect { to: to.to_owned(), path, lasts: Lasts::Temporary };
        let kept = redirect("https://example.com/new", OwnPath::Kept);
        assert_eq!(kept.location("/a//b?c=%2F"), "https://example.com/new/a//b?c=%2F");
        assert_eq!(kept.location("*"), "https://example.com/new/");
        let dropped = redirect("https://example.com/?from=old", OwnPath::Dropped);
        assert_eq!(dropped.location("/a?b"), "https://example.com/?from=old");
    }
}
