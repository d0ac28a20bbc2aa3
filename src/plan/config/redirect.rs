//! Redirects: of a whole listener to https, and of a route to another URL.

use http::Uri;
use toml::de::{DeTable, DeValue};

use super::super::keys;
use super::super::path::{self, PathPattern, Rank};
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, did_you_mean_text, no_hint};
use super::{HostPattern, RouteConfig, address};

/// Redirect of a listener: each request is sent to the same host, path and query over https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToHttps {
    /// Port of the listener for https, as clients reach it.
    pub port: u16,
    /// Time for which clients may remember it.
    pub lasts: Lasts,
}

/// Redirect of a route, in the place of upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// URL. Without a slash at its end if the path is kept.
    pub to: String,
    /// Handling of the request's path and query.
    pub path: OwnPath,
    /// Time for which clients may remember it.
    pub lasts: Lasts,
}

/// Time for which clients may remember a redirect. The method stays the same in both cases (RFC 9110 section 15.4.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lasts {
    /// 308: for a long time.
    #[default]
    Permanent,
    /// 307: for this request.
    Temporary,
}

/// Handling of the path and query of a request that is redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnPath {
    /// Target of the request after the URL, byte for byte.
    #[default]
    Kept,
    /// URL alone.
    Dropped,
}

impl Lasts {
    /// Returns the status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Permanent => 308,
            Self::Temporary => 307,
        }
    }
}

/// Reads `redirect` of a listener: `"https"`, `"https:8443"`, or a table with that as `to`.
pub(super) fn of_listener(value: &Value<'_>, report: &mut Report<'_>) -> Option<ToHttps> {
    let DeValue::Table(table) = value.inner else {
        return https(value, report).map(|port| ToHttps { port, lasts: Lasts::default() });
    };
    let mut section = Section::new(&keys::LISTEN_REDIRECT, "`redirect`", value.span.clone(), table);
    let port = section.need("to", "say where: `to = \"https\"`").and_then(|value| https(&value, report));
    let lasts = lasts(&mut section, report);
    section
        .finish(report, |key, _| (key == "port").then(|| "write it behind `https`: `to = \"https:8443\"`".to_owned()));
    Some(ToHttps { port: port?, lasts })
}

/// Reads `https` or `https:8443`, and returns the port.
fn https(value: &Value<'_>, report: &mut Report<'_>) -> Option<u16> {
    let text = value.string("https", report)?;
    if text == "https" {
        return Some(HTTPS_PORT);
    }
    let port = text.strip_prefix("https:").map(str::parse::<u16>);
    if let Some(Ok(port @ 1..)) = port {
        return Some(port);
    }
    let digits = text.strip_prefix(':').unwrap_or(text);
    let help = match port {
        Some(_) if text.contains("//") => ELSEWHERE.to_owned(),
        Some(_) => "a port is a number from 1 to 65535".to_owned(),
        None if digits.parse::<u16>().is_ok() => did_you_mean_text(&format!("https:{digits}")),
        None if text.eq_ignore_ascii_case("https") => did_you_mean_text("https"),
        None if text.contains("//") || text.contains('.') => ELSEWHERE.to_owned(),
        None => "write `https`, or `https:8443` where clients find https at another port than 443".to_owned(),
    };
    report.wrong(value.span.clone(), format!("a listener cannot redirect to {}", quoted(text)), help);
    None
}

/// Reads `redirect` of a route: a URL, or a table with that as `to`.
pub(super) fn of_route(value: &Value<'_>, report: &mut Report<'_>) -> Option<Redirect> {
    let DeValue::Table(table) = value.inner else {
        return url(value, OwnPath::Kept, report).map(|to| Redirect {
            to,
            path: OwnPath::Kept,
            lasts: Lasts::default(),
        });
    };
    let mut section = Section::new(&keys::ROUTE_REDIRECT, "`redirect`", value.span.clone(), table);
    let to = section.need("to", "say where: `to = \"https://example.com\"`");
    let lasts = lasts(&mut section, report);
    let keeps = section.take("keep_path").and_then(|value| value.boolean(report)).unwrap_or(true);
    section.finish(report, no_hint);
    let path = if keeps { OwnPath::Kept } else { OwnPath::Dropped };
    Some(Redirect { to: url(&to?, path, report)?, path, lasts })
}

/// Reads `permanent`.
fn lasts(section: &mut Section<'_>, report: &mut Report<'_>) -> Lasts {
    match section.take("permanent").and_then(|value| value.boolean(report)) {
        Some(false) => Lasts::Temporary,
        Some(true) | None => Lasts::Permanent,
    }
}

/// Reads the URL that a route redirects to.
fn url(value: &Value<'_>, path: OwnPath, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("https://example.com", report)?;
    let help = match url_of(text, path) {
        Ok(url) => return Some(url),
        Err(help) => help,
    };
    report.wrong(value.span.clone(), format!("{} is not a URL to redirect to", quoted(text)), help);
    None
}

/// Checks a URL.
///
/// # Errors
/// A correction.
fn url_of(text: &str, path: OwnPath) -> Result<String, String> {
    if text == "https" || text.starts_with("https:") && !text.starts_with("https://") {
        return Err(
            "that is written under `[[listen]]`; a route names a whole URL, as `https://example.com`".to_owned()
        );
    }
    if text.contains(['$', '{']) {
        return Err(
            "nothing is replaced in it: write the host itself; path and query are kept unless `keep_path = false`"
                .to_owned(),
        );
    }
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\')) {
        return Err("it has a character that URLs do not have: write it encoded, such as `%20`".to_owned());
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => return Err(without_scheme(text)),
    };
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err("write one with `https://` or `http://`".to_owned());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, target) = rest.split_at(end);
    if place.contains('@') {
        return Err("leave out the user before `@`: every client would see it".to_owned());
    }
    if address::authority(place, HTTPS_PORT).is_none() {
        return Err("write a host, and a port if it needs one: `https://example.com:8443`".to_owned());
    }
    match path {
        OwnPath::Kept if target.contains(['?', '#']) => {
            Err("the path and query of each request follow it: leave out its own, or say `keep_path = false`"
                .to_owned())
        }
        OwnPath::Kept => Ok(format!("{scheme}://{place}{}", target.trim_end_matches('/'))),
        OwnPath::Dropped if target.starts_with('/') => Ok(format!("{scheme}://{rest}")),
        OwnPath::Dropped => Ok(format!("{scheme}://{place}/{target}")),
    }
}

fn without_scheme(text: &str) -> String {
    let bare = text.trim_start_matches('/');
    let place = bare.split('/').next().unwrap_or_default();
    if !text.starts_with('/') && place.contains('.') || text.starts_with("//") {
        return did_you_mean_text(&format!("https://{bare}"));
    }
    "write it whole, as `https://example.com`".to_owned()
}

/// Warns of routes that lead to themselves. Another program may serve the URL, so this is no error.
pub(super) fn warn_of_circles(routes: &[RouteConfig], table: &DeTable<'_>, report: &mut Report<'_>) {
    // The URL of a route for some listeners may be that of another one.
    for route in routes.iter().filter(|route| route.listen.is_empty()) {
        let Some(Ok(to)) = route.redirect.as_ref().map(|redirect| redirect.to.parse::<Uri>()) else { continue };
        let host = to.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let Ok(path) = path::normalize(to.path()) else { continue };
        let answering = routes.iter().max_by_key(|other| rank(other, &host, &path));
        if answering.is_some_and(|other| other.name == route.name && rank(other, &host, &path).is_some())
            && let Some(written) = table.get(route.name.as_str()).and_then(|table| table.get_ref().get("redirect"))
        {
            let message =
                format!("route {} leads to itself: it answers for {} as well", quoted(&route.name), quoted(&host));
            let help =
                "name its own `host`, or add a route for that one; if another program serves the URL, all is well";
            report.advise(written.span(), message, help);
        }
    }
}

/// Returns how closely a route's host and path meet a URL, if they do: the closest route answers.
fn rank(route: &RouteConfig, host: &str, path: &str) -> Option<(usize, Rank)> {
    let of_host = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (name == host).then_some(usize::MAX),
        HostPattern::Below(parent) => {
            host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.')).then_some(parent.len())
        }
    };
    let by_host = if route.hosts.is_empty() { Some(0) } else { route.hosts.iter().filter_map(of_host).max() };
    by_host.zip(route.path_of(path).map(PathPattern::rank))
}

/// Port of https where none is written.
pub const HTTPS_PORT: u16 = 443;
const ELSEWHERE: &str = "a listener sends its clients to the host that they asked for: write `https`; a route sends them \
                         elsewhere: `redirect = \"https://example.com\"` under `[routes.NAME]`";
