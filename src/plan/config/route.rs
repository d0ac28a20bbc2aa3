//! Parser of one `[routes.NAME]`.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::super::dialect::Dialect;
use super::super::keys;
use super::super::limits::{self, Limits};
use super::super::path::PathPattern;
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text};
use super::super::rewrite::BasePath;
use super::claims::{Owners, Places};
use super::errors::Inherited;
use super::fields::Direction;
use super::route_page::RoutePages;
use super::{
    Exception, FieldChanges, Fixed, ProxyVersion, Redirect, RouteConfig, Share, Trust, Upstream, UpstreamAddress,
    WellKnown,
};
use super::{
    address, balance, errors, fields, policy, redirect, rewrite, socket, sticky, switch, template, tls, values,
};

/// Reads a route. Returns `None` if a required part is wrong or absent.
pub(super) fn route<'d>(
    (name, value): (&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>),
    (inherited, whole): (&Inherited, &Limits),
    (owners, pages): (&mut Owners, &mut RoutePages<'_>),
    report: &mut Report<'_>,
) -> Option<RouteConfig> {
    let value = Value::new(name.get_ref(), name, value);
    let valid = route_name(value.key, &value.key_span, report);
    let table = value.table(&format!("[routes.{}]", value.key), report)?;
    let mut section = Section::new(&keys::ROUTE, format!("route {}", quoted(value.key)), value.span.clone(), table);
    let places = places(&mut section, owners.listeners(), report);
    let paths = places.paths.iter().map(|(path, _)| path);
    let strip = section.take("strip_prefix").map(|value| rewrite::strip(&value, paths, report)).unwrap_or_default();
    let redirects = section.has("redirect");
    let upstreams = upstreams(&mut section, report);
    if redirects {
        refuse_beside_redirect(&section, report);
    }
    let sticky = section.take("sticky").and_then(|value| sticky::sticky(&value, &places.paths, report));
    let slow_start = section.take("slow_start").and_then(|value| values::duration(&value, report));
    let keep_host = section.take("keep_host").and_then(|value| value.boolean(report));
    let (request, response) = changes(&mut section, keep_host, inherited, report);
    let rewrite = rewrite::rewrite(strip, section.take("rewrite_answers").as_ref(), &upstreams.list, report);
    let always_open = section.take("always_open").map(|value| always_open(&value, report)).unwrap_or_default();
    let well_known = section.take("well_known").and_then(|value| value.choice(&WELL_KNOWN, report));
    let limits = section.take("limits").and_then(|value| limits_of(&value, whole, report)).map(Arc::new);
    let dialect = section.take("dialect").and_then(|value| value.choice(&DIALECTS, report));
    let errors = section.take("errors").map(|value| errors::errors(&value, inherited, report));
    pages.read(value.key, section.take("page").as_ref(), report);
    let template = section.take("template").and_then(|value| template::template(&value, report)).map(Arc::new);
    let switch = section.take("switch").and_then(|value| switch::switch(&value, report));
    let policy = policy::policy(&mut section, upstreams.list.len(), report);
    section.finish(report, |key, inner| hint(value.key, key, inner));
    owners.claim(value.key, &value.key_span, &places, report);
    let balance = balance::balance(&upstreams.list, upstreams.shares, sticky, slow_start).map(Arc::new);
    Some(RouteConfig {
        name: valid?.to_owned(),
        hosts: places.hosts.into_iter().map(|(host, _)| host).collect(),
        paths: places.paths.into_iter().map(|(path, _)| path).collect(),
        listen: places.listen,
        upstreams: upstreams.list,
        redirect: upstreams.redirect,
        keep_host: keep_host.unwrap_or(true),
        request,
        response,
        rewrite,
        always_open,
        well_known: well_known.unwrap_or_default(),
        limits,
        dialect,
        errors: errors.unwrap_or_else(|| inherited.errors.clone()),
        page: None,
        template,
        balance,
        switch,
        policy,
    })
}

/// Reads `request` and `response`, and joins them with the general ones.
fn changes(
    section: &mut Section<'_>,
    keep_host: Option<bool>,
    inherited: &Inherited,
    report: &mut Report<'_>,
) -> (Option<Arc<FieldChanges>>, Option<Arc<FieldChanges>>) {
    let written = section.take("request");
    let request = written.as_ref().map(|value| fields::fields(value, Direction::Request, report));
    let response = section.take("response").map(|value| fields::fields(&value, Direction::Response, report));
    if let (Some(value), Some(FieldChanges { host: Some(_), .. }), Some(false)) = (&written, &request, keep_host) {
        let help = "remove it, or set no `Host`";
        report.wrong(value.key_span.clone(), "`keep_host = false` has a `Host` of its own to send", help);
    }
    let names_host = keep_host.is_some() || request.as_ref().is_some_and(|request| request.host.is_some());
    // A route that says itself what becomes of `Host` does not get the general one.
    let general = inherited
        .request
        .as_ref()
        .map(|general| if names_host { fields::hostless(general) } else { Arc::clone(general) });
    (fields::joined(request, general.as_ref()), fields::joined(response, inherited.response.as_ref()))
}

/// Reads a route's name: 1 to 64 of `[A-Za-z0-9_.-]`. It becomes a metric's label and a word of the command line.
pub(in crate::plan) fn route_name<'n>(name: &'n str, span: &Range<usize>, report: &mut Report<'_>) -> Option<&'n str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let help = if name == "*" {
        "`*` means every route in the flag file; give this one a name"
    } else if name.is_empty() || !name.chars().all(allowed) {
        "a name is made of letters, digits, `_`, `.` and `-`"
    } else if name.len() > LONGEST_NAME {
        "at most 64 characters are allowed"
    } else if name.starts_with('-') {
        "a name must not begin with `-`: the command would take it for an option"
    } else {
        return Some(name);
    };
    report.wrong(span.clone(), format!("{} cannot be the name of a route", quoted(name)), help);
    None
}

/// Returns a correction for an unknown key of a route.
fn hint(route: &str, key: &str, value: &DeValue<'_>) -> Option<String> {
    if value.get("upstream").is_some() {
        let name = format!("[routes.\"{route}.{key}\"]");
        return Some(format!("if the route's name has a dot, quote it: {}", quoted(&name)));
    }
    match key {
        "mode" | "until" | "message" => Some(format!("`{key}` belongs in the flag file")),
        "admin" | "log" | "workers" | "trusted_proxies" | "maintenance" | "on_missing" => {
            Some(format!("`{key}` is not a route's: write it above the first `[routes.NAME]` line"))
        }
        _ if limits::ROUTE_TABLE.has(key) => Some(format!("write it inside of `limits`: `limits = {{ {key} = … }}`")),
        _ if limits::TABLE.has(key) => Some(for_the_whole_proxy(key)),
        _ => None,
    }
}

/// Reads `limits = { first_byte = "10m" }`. What it does not set is as in `whole`.
fn limits_of(value: &Value<'_>, whole: &Limits, report: &mut Report<'_>) -> Option<Limits> {
    let table = value.table("limits = { first_byte = \"10m\" }", report)?;
    let mut section = Section::new(&limits::ROUTE_TABLE, "`limits` of a route", value.span.clone(), table);
    let limits = limits::read_route(whole, &mut section, report);
    section.finish(report, |key, _| limits::TABLE.has(key).then(|| for_the_whole_proxy(key)));
    Some(limits)
}

fn for_the_whole_proxy(key: &str) -> String {
    format!("{} is for the whole proxy: write it under `[limits]`", quoted(key))
}

/// Reads hosts, paths and listeners.
fn places(section: &mut Section<'_>, listeners: &[String], report: &mut Report<'_>) -> Places {
    let mut hosts = Vec::new();
    let mut whole = true;
    if let Some(value) = section.take("host") {
        let items = value.one_or_more(report);
        report.at_most(MOST_PLACES, items.len(), "hosts", value.key_span.clone());
        for item in items.into_iter().take(MOST_PLACES) {
            hosts.extend(address::host(&item, report).map(|host| (host, item.span)));
        }
        whole = !hosts.is_empty();
    }
    let mut paths: Vec<_> = PathPattern::new("/").map(|root| (root, section.span.clone())).into_iter().collect();
    if let Some(value) = section.take("path") {
        paths = patterns(&value, value.one_or_more(report), report);
        whole &= !paths.is_empty();
    }
    let mut listen = Vec::new();
    if let Some(value) = section.take("listen") {
        let named = value.one_or_more(report);
        report.at_most(MOST_LISTENERS, named.len(), "listeners", value.key_span.clone());
        let named = named.into_iter().take(MOST_LISTENERS);
        let named = named.filter_map(|item| Some((socket::named(&item, listeners, report)?, item.span)));
        listen = named.collect();
        whole &= !listen.is_empty();
    }
    let listen = unique(listen, "listener", report).into_iter().map(|(name, _)| name).collect();
    let hosts = unique(hosts, "host", report);
    let paths = unique(paths, "path", report);
    Places { hosts, paths, listen, whole }
}

/// Reads the paths that stay open. The list may be empty.
fn always_open(value: &Value<'_>, report: &mut Report<'_>) -> Vec<Exception> {
    let items = value.any_number();
    report.at_most(MOST_PLACES, items.len(), "paths", value.key_span.clone());
    items.iter().take(MOST_PLACES).filter_map(|item| exception(item, report)).collect()
}

/// Reads `"/webhooks/"` or `{ path = "/healthz", answer = 200 }`.
fn exception(value: &Value<'_>, report: &mut Report<'_>) -> Option<Exception> {
    let DeValue::Table(table) = value.inner else {
        return pattern(value, report).map(|path| Exception { path, answer: None });
    };
    let mut section = Section::new(&keys::EXCEPTION, "an item of `always_open`", value.span.clone(), table);
    let path = section.need("path", "say which: `path = \"/healthz\"`").and_then(|value| pattern(&value, report));
    let answer = section.take("answer");
    let status = answer.as_ref().and_then(|value| value.count(200, 599, report));
    let body = section.take("body");
    section.finish(report, |key, _| (key == "status").then(|| did_you_mean_text("answer")));
    if let (Some(body), None) = (&body, &answer) {
        let help = "say with which status: `answer = 200`";
        report.wrong(body.key_span.clone(), "`body` needs `answer`", help);
    }
    let body = body.and_then(|value| value.words(LONGEST_BODY, Lines::Many, report));
    let answer = status.and_then(|status| u16::try_from(status).ok());
    let answer = answer.map(|status| Arc::new(Fixed { status, body: body.unwrap_or_default() }));
    Some(Exception { path: path?, answer })
}

fn patterns(value: &Value<'_>, items: Vec<Value<'_>>, report: &mut Report<'_>) -> Vec<(PathPattern, Range<usize>)> {
    report.at_most(MOST_PLACES, items.len(), "paths", value.key_span.clone());
    let mut patterns = Vec::new();
    for item in items.into_iter().take(MOST_PLACES) {
        patterns.extend(pattern(&item, report).map(|pattern| (pattern, item.span)));
    }
    patterns
}

fn pattern(value: &Value<'_>, report: &mut Report<'_>) -> Option<PathPattern> {
    let text = value.string("/", report)?;
    values::pattern_of(value, text, report)
}

/// Reports duplicates in a list.
fn unique<T: PartialEq>(items: Vec<(T, Range<usize>)>, what: &str, report: &mut Report<'_>) -> Vec<(T, Range<usize>)> {
    let mut seen: Vec<(T, Range<usize>)> = Vec::with_capacity(items.len());
    for (item, span) in items {
        if seen.iter().any(|(other, _)| *other == item) {
            report.wrong(span, format!("this {what} is listed twice"), "remove one of them");
        } else {
            seen.push((item, span));
        }
    }
    seen
}

/// Place that a route sends its requests to.
struct Upstreams {
    list: Vec<Upstream>,
    shares: Vec<Share>,
    /// Redirect in their place.
    redirect: Option<Redirect>,
}

/// Reads `upstream` or `redirect`.
fn upstreams(section: &mut Section<'_>, report: &mut Report<'_>) -> Upstreams {
    let mut upstreams = Vec::new();
    let mut whole = false;
    let redirects = section.has("redirect");
    let written = if redirects { section.take("upstream") } else { section.need("upstream", UPSTREAM_HELP) };
    if let (Some(value), true) = (&written, redirects) {
        let help = "a route has one of both: remove the other";
        report.wrong(value.key_span.clone(), "`upstream` stands beside `redirect`", help);
    }
    if let Some(value) = written {
        let items = value.one_or_more(report);
        report.at_most(MOST_UPSTREAMS, items.len(), "upstreams", value.key_span.clone());
        let written = items.len();
        for item in items.into_iter().take(MOST_UPSTREAMS) {
            upstreams.extend(balance::entry(item, report, upstream));
        }
        whole = written > 0 && upstreams.len() == written;
    }
    let redirect = section.take("redirect").and_then(|value| redirect::of_route(&value, report));
    let http2 = section.take("http2").and_then(|value| value.boolean(report)).unwrap_or(false);
    let ca = section.take("ca");
    let client_cert = section.take("client_cert");
    for value in [&ca, &client_cert].into_iter().flatten() {
        if whole && upstreams.iter().all(|entry| entry.upstream.tls.is_none()) {
            let message = format!("`{}` is only for upstreams with `https://`", value.key);
            report.wrong(value.key_span.clone(), message, "remove it, or reach the upstream by `https://`");
        }
    }
    let ca = ca.and_then(|value| value.path("tls/ca.pem", report));
    let proxy_protocol = section.take("proxy_protocol");
    if let Some(value) = proxy_protocol.as_ref().filter(|_| http2) {
        let help = "remove one of them: over HTTP/2, clients share a connection, and a PROXY header names one client";
        report.wrong(value.key_span.clone(), "`proxy_protocol` does not go with `http2`", help);
    }
    let proxy_protocol = proxy_protocol.and_then(|value| value.choice(&PROXY_VERSIONS, report));
    let client_cert = client_cert.and_then(|value| tls::files(&value, report));
    let entries = balance::distinct(upstreams, report).into_iter();
    let (list, shares) = entries.map(|entry| (entry.upstream, entry.share)).unzip();
    let list = <Vec<Upstream>>::into_iter(list).map(|upstream| Upstream {
        client_cert: client_cert.clone().filter(|_| upstream.tls.is_some()),
        tls: upstream.tls.map(|trust| ca.clone().map_or(trust, Trust::File)),
        http2,
        proxy_protocol,
        ..upstream
    });
    Upstreams { list: list.collect(), shares, redirect }
}

/// Refuses keys about upstreams on a route that has none.
fn refuse_beside_redirect(section: &Section<'_>, report: &mut Report<'_>) {
    for key in OF_UPSTREAMS {
        if let Some(span) = section.span_of(key) {
            let help = "remove it: a route with `redirect` asks no upstream";
            report.wrong(span, format!("`{key}` has no effect beside `redirect`"), help);
        }
    }
}

/// Reads `http://127.0.0.1:3000`, `https://app.internal`, `unix:/run/app.sock`.
fn upstream(value: &Value<'_>, report: &mut Report<'_>) -> Option<Upstream> {
    let text = value.string("http://127.0.0.1:3000", report)?;
    if let Some(path) = text.strip_prefix("unix:") {
        let address = address::socket_path(value, path, report)?;
        return Some(Upstream {
            tls: None,
            address: UpstreamAddress::Unix(address),
            base: BasePath::default(),
            client_cert: None,
            http2: false,
            proxy_protocol: None,
        });
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (tls, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (None, 80),
        "https" => (Some(Trust::System), 443),
        other => {
            report.wrong(value.span.clone(), format!("{} is not an upstream", quoted(text)), scheme_help(other, rest));
            return None;
        }
    };
    match address::upstream(rest, port) {
        Some((address, base)) => {
            Some(Upstream { tls, address, base, client_cert: None, http2: false, proxy_protocol: None })
        }
        None => {
            report.wrong(
                value.span.clone(),
                format!("{} is not an upstream", quoted(text)),
                upstream_help(scheme, rest, port),
            );
            None
        }
    }
}

fn scheme_help(scheme: &str, rest: &str) -> String {
    match scheme {
        "" if rest.starts_with('/') => format!("did you mean {}?", quoted(&format!("unix:{rest}"))),
        "" if address::authority(rest, 80).is_some() => format!("did you mean {}?", quoted(&format!("http://{rest}"))),
        "unix" => "write a socket as `unix:/run/app.sock`".to_owned(),
        "h2c" | "grpc" | "h2" => format!("write {} and `http2 = true`", quoted(&format!("http://{rest}"))),
        "ws" => format!("write {}: websockets go through it", quoted(&format!("http://{rest}"))),
        "wss" | "grpcs" => format!("write {}", quoted(&format!("https://{rest}"))),
        _ => UPSTREAM_HELP.to_owned(),
    }
}

/// Returns a correction for the part after a valid scheme.
fn upstream_help(scheme: &str, rest: &str, port: u16) -> String {
    if rest.contains('@') {
        return "an upstream has no user or password".to_owned();
    }
    let name = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if name.len() < rest.len() && address::authority(name, port).is_some() {
        let meant = quoted(&format!("{scheme}://{name}"));
        return match &rest[name.len()..] {
            "/" => format!("write {meant}; `strip_prefix = true` takes the route's path from the request's"),
            path if path.starts_with('/') && !path.contains(['?', '#']) => {
                "the path of an upstream is plain: letters, digits and `-._~`, without escapes and `..`".to_owned()
            }
            _ => format!("write {meant}: an upstream has no query"),
        };
    }
    let (host, written) = name.rsplit_once(':').unwrap_or((name, ""));
    if !written.is_empty() && address::authority(host, port).is_some() {
        return "a port is a number from 1 to 65535".to_owned();
    }
    UPSTREAM_HELP.to_owned()
}

/// Characters of a route's name.
const LONGEST_NAME: usize = 64;
/// Hosts, or paths, of one route.
const MOST_PLACES: usize = 256;
/// Keys about the upstreams of a route.
const OF_UPSTREAMS: [&str; 15] = [
    "strip_prefix",
    "http2",
    "ca",
    "client_cert",
    "proxy_protocol",
    "sticky",
    "slow_start",
    "keep_host",
    "request",
    "rewrite_answers",
    "limits",
    "verify",
    "quorum",
    "health",
    "guard",
];
/// Listeners of one route.
const MOST_LISTENERS: usize = 64;
/// Upstreams of one route.
const MOST_UPSTREAMS: usize = 64;
/// Bytes of an operator's own answer.
const LONGEST_BODY: usize = 4096;
const PROXY_VERSIONS: [(&str, ProxyVersion); 2] = [("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];
const WELL_KNOWN: [(&str, WellKnown); 2] = [("pass", WellKnown::Pass), ("closed", WellKnown::Closed)];
/// Dialects that a route's page may be fixed to.
const DIALECTS: [(&str, Dialect); 6] = [
    ("html", Dialect::Html),
    ("text", Dialect::Text),
    ("markdown", Dialect::Markdown),
    ("problem", Dialect::Problem),
    ("json", Dialect::Json),
    ("xml", Dialect::Xml),
];
const UPSTREAM_HELP: &str =
    "write one like `http://127.0.0.1:3000`, `https://app.internal:8443` or `unix:/run/app.sock`";
