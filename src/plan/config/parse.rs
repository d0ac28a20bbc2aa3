//! Parser of the config: the top level and its sections. Routes have their own file.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::super::keys;
use super::super::limits::{self, Limits};
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, document, in_order, no_hint};
use super::claims::{self, Edge, Owners};
use super::errors::Inherited;
use super::fields::Direction;
use super::log::log;
use super::notify::MailTable;
use super::route_page::RoutePages;
use super::variables::Filler;
use super::{
    Address, AdminWrite, Config, Endpoint, FleetConfig, Listen, MOST_REPLICAS, OnMissing, PageConfig, Parsed,
    ProgramTemplate, RouteConfig, SocketFile, StatusConfig, StoreConfig, Surroundings, Trace, TrustedProxies, Used,
};
use super::{
    address, fields, fleet, foreign, include, mail, notify, page, proxy_protocol, redirect, route, socket, status, tls,
    values, write,
};

/// Parses a config.
pub(super) fn config(file: &Path, text: &str, surroundings: &mut Surroundings<'_>) -> Parsed {
    let name = file.display().to_string();
    let (texts, mut sources);
    let mut report = Report::new(&name, text).beside(file).knowing(foreign::correction);
    let mut filler = Filler { lookup: surroundings.variable, used: Used::new() };
    let table = document(text, &mut report).map(|table| filler.table(table, (text, 0), &mut report));
    (sources, texts) = include::fetch((file, table.as_ref()), surroundings, &mut report);
    // The texts live longer than what is parsed from here on, and less long than the config's own.
    let mut report: Report<'_> = report;
    let config = table.map(|table| {
        let table = include::merge(table, &texts, &mut filler, &mut report);
        let mut top = Section::new(&keys::CONFIG, "the config", 0..0, &table);
        let config = top_level(&mut top, &mut report);
        top.finish(&mut report, misplaced);
        config
    });
    let (config, problems) = report.finish(config);
    sources.variables = filler.used;
    Parsed { config: config.flatten(), problems, sources }
}

fn top_level(top: &mut Section<'_>, report: &mut Report<'_>) -> Config {
    let maintenance_span = top.span_of("maintenance");
    let maintenance = top.take("maintenance").and_then(|value| value.path("maintenance.toml", report));
    let on_missing = top.take("on_missing").and_then(|value| value.choice(&ON_MISSING, report));
    let state_dir = top.take("state_dir").and_then(|value| value.path("/var/lib/backsoon", report));
    let workers = top.take("workers").and_then(|value| value.count(1, MOST_WORKERS, report));
    let trusted_proxies = top.take("trusted_proxies").map(|value| trusted(&value, report));
    let drain = top.take("drain").and_then(|value| values::duration(&value, report));
    let errors = top.take("errors");
    let retry_after_max = values::retry_after_max(top, report);
    let request = top.take("request").map(|value| fields::fields(&value, Direction::Request, report));
    let response = top.take("response").map(|value| fields::fields(&value, Direction::Response, report));
    let (request, response) = (fields::joined(request, None), fields::joined(response, None));
    let trace = top.take("trace").and_then(|value| trace(&value, report)).unwrap_or_default();
    let listen = listeners(top, report);
    let admin = top.take("admin").and_then(|value| admin(&value, &listen, report)).unwrap_or_default();
    let replicas = top.take("replicas").map(|value| replicas(&value, report)).unwrap_or_default();
    let fleet = top.take("fleet").and_then(|value| fleet::fleet(&value, report));
    refuse_two_sources(fleet.is_some(), maintenance_span, report);
    let limits = top.take("limits").map(|value| limits_of(&value, report)).unwrap_or_default();
    let log = top.take("log").map(|value| log(&value, report)).unwrap_or_default();
    let (page, status) = (page::page(top, report), top.take("status"));
    let mail = top.take("mail");
    let server = if mail.is_some() { MailTable::Written } else { MailTable::Missing };
    let mail = mail.and_then(|value| mail::mail(&value, report));
    let has_site = |value: &Value<'_>| ["host", "prefix", "listen"].iter().any(|key| value.inner.get(*key).is_some());
    let least = if status.as_ref().is_some_and(has_site) { Least::None } else { Least::One };
    let inherited = Inherited::new(errors.as_ref(), page.errors, report);
    let inherited = Inherited { retry_after_max, request, response: response.clone(), ..inherited };
    include::take(top);
    let mut pages = RoutePages::new(&page);
    let edge = (listen.as_slice(), &page.prefix);
    let (mut routes, programs) = routes(top, least, (&inherited, &limits, &mut pages, edge), report);
    let status_span = status.as_ref().map(|value| value.span.clone());
    let status = status.map(|value| status::status(&value, &page, &routes, report)).unwrap_or_default();
    let site =
        status.listen.clone().filter(|(site, place)| is_free(site, place, (&listen, admin.address.as_ref()), report));
    warn_of_many_senders(&status, (replicas.len(), Settled::of(fleet.as_ref())), status_span, report);
    warn_of_no_https(&listen, trusted_proxies.as_ref(), report);
    let notify = notify::notify(top, &routes, server, report);
    let page = PageConfig { site: Some(status.base(&page.prefix)), programs, ..page.clone() };
    pages.assign(&page, &mut routes, report);
    Config {
        maintenance: match &fleet {
            Some(fleet) => PathBuf::from(fleet.to_string()),
            None => maintenance.unwrap_or_else(|| report.resolve("maintenance.toml")),
        },
        on_missing: on_missing.unwrap_or_default(),
        state_dir,
        workers: workers.and_then(|workers| usize::try_from(workers).ok()),
        trusted_proxies: trusted_proxies.unwrap_or_default(),
        drain: drain.unwrap_or(DEFAULT_DRAIN),
        trace,
        response,
        listen: listen.into_iter().chain(site).map(|(listen, _)| listen).collect(),
        admin: admin.address,
        admin_file: admin.file,
        admin_write: write::of_routes(admin.write, &routes, report),
        replicas,
        fleet,
        limits,
        log,
        page,
        status,
        mail,
        routes,
        notify,
    }
}

/// Refuses a flag file beside the source of the fleet: one of them would have no effect.
fn refuse_two_sources(has_fleet: bool, maintenance: Option<Range<usize>>, report: &mut Report<'_>) {
    if let (true, Some(span)) = (has_fleet, maintenance) {
        let help = "remove `maintenance`, or remove `[fleet]`";
        report.wrong(span, "`maintenance` has no effect beside `[fleet]`, which says where the flags come from", help);
    }
}

/// Warns if several replicas may tell everybody. Their configs are not to be seen from here.
fn warn_of_many_senders(
    status: &StatusConfig,
    (replicas, settled): (usize, Settled),
    span: Option<Range<usize>>,
    report: &mut Report<'_>,
) {
    let (true, StoreConfig::Local, 2.., Some(span)) = (status.send, &status.store, replicas, span) else { return };
    let (what, help) = match settled {
        Settled::Not => (
            "each one with `send = true` tells all subscribers",
            "let them share a `store` (PostgreSQL), or make sure that the others have `send = false`: which they have \
             cannot be seen from here",
        ),
        Settled::ByLease => (
            "each one with `send = true` keeps subscribers of its own",
            "let them share a `store` (PostgreSQL), or import the same subscribers at each: who subscribes by the form of \
             one is not known to the others",
        ),
    };
    report.warn(span, format!("{replicas} replicas are named, and {what}"), help);
}

/// Way in which replicas settle who tells subscribers.
#[derive(Clone, Copy)]
enum Settled {
    /// By the lease in their engine.
    ByLease,
    /// Not at all.
    Not,
}

impl Settled {
    /// Returns the way of a fleet.
    fn of(fleet: Option<&FleetConfig>) -> Self {
        if fleet.and_then(FleetConfig::nats).is_some() { Self::ByLease } else { Self::Not }
    }
}

/// Warns of a redirect to https if nothing here speaks it: neither a listener, nor a proxy that says so.
fn warn_of_no_https(listen: &[(Listen, Range<usize>)], trusted: Option<&TrustedProxies>, report: &mut Report<'_>) {
    let is_secured = listen.iter().any(|(listen, _)| listen.tls.is_some());
    if is_secured || trusted.is_some_and(|trusted| *trusted != TrustedProxies::default()) {
        return;
    }
    if let Some((_, place)) = listen.iter().find(|(listen, _)| listen.redirect.is_some()) {
        let help = "add a `[[listen]]` with `tls`; if a proxy in front speaks https, name it in `trusted_proxies`";
        report.warn(place.clone(), "this listener redirects to https, and no listener here speaks it", help);
    }
}

/// Returns a correction for a key that belongs elsewhere, or whose section has no header.
fn misplaced(key: &str, value: &DeValue<'_>) -> Option<String> {
    match key {
        "route" => Some("a route is written under a `[routes.NAME]` line".to_owned()),
        "host" | "path" | "upstream" => {
            Some(format!("`{key}` belongs to a route: write it under a `[routes.NAME]` line"))
        }
        "windows" => Some("windows are written in the flag file".to_owned()),
        _ if keys::LISTEN.has(key) => Some(format!("`{key}` belongs under a `[[listen]]` line")),
        _ if keys::LOG.has(key) => Some(format!("`{key}` belongs under a `[log]` line")),
        _ if keys::PAGE.has(key) => Some(format!("`{key}` belongs under a `[page]` line")),
        _ if limits::TABLE.has(key) && !value.is_table() => Some(format!("`{key}` belongs under a `[limits]` line")),
        _ => None,
    }
}

/// Reads `true`, `false` or a share.
fn trace(value: &Value<'_>, report: &mut Report<'_>) -> Option<Trace> {
    let share = match value.inner {
        DeValue::Boolean(true) => 1.0,
        DeValue::Boolean(false) => return Some(Trace::Pass),
        DeValue::Float(share) => share.as_str().parse::<f64>().ok()?,
        DeValue::Integer(share) => share.as_str().parse::<f64>().ok()?,
        DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            value.mistyped("`true`, `false` or a share of the traces", TRACE_HELP, report);
            return None;
        }
    };
    if !(0.0..=1.0).contains(&share) {
        report.wrong(value.span.clone(), "`trace` is out of range: a share lies between 0 and 1", TRACE_HELP);
    }
    Some(Trace::Begin(share))
}

fn listeners(top: &mut Section<'_>, report: &mut Report<'_>) -> Vec<(Listen, Range<usize>)> {
    let Some(value) = top.take("listen") else {
        report.whole("the config has no `[[listen]]`", format!("say where clients connect: {LISTEN_EXAMPLE}"));
        return Vec::new();
    };
    let tables = value.tables("listen", report);
    let trusts = top.has("trusted_proxies");
    if tables.is_empty() && value.inner.as_array().is_some_and(|items| items.is_empty()) {
        report.wrong(
            value.span.clone(),
            "`listen` is an empty list",
            format!("say where clients connect: {LISTEN_EXAMPLE}"),
        );
    }
    report.at_most(MOST_LISTENERS, tables.len(), "listeners", value.key_span.clone());
    let mut listeners: Vec<(Listen, Range<usize>)> = Vec::new();
    for (span, table) in tables.into_iter().take(MOST_LISTENERS) {
        let Some((listen, place)) = listener(span, table, trusts, report) else { continue };
        if let Some((_, first)) = listeners.iter().find(|(other, _)| listen.name.is_some() && other.name == listen.name)
        {
            let help = format!("the first is at {}: give each a name of its own", report.line(first.clone()));
            report.wrong(place.clone(), "two listeners have the same name", help);
        }
        let meeting = |(other, place): &(Listen, Range<usize>)| {
            Some((socket::meeting(&listen.address, &other.address)?, other.clone(), place.clone()))
        };
        match listeners.iter().find_map(meeting) {
            Some((meeting, other, first)) => {
                let (message, help) = socket::told(meeting, (&listen, &other), &report.line(first));
                report.wrong(place, message, help);
            }
            None => listeners.push((listen, place)),
        }
    }
    listeners
}

/// Reads the name of a listener.
fn listener_name(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = value.string("internal", report)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(allowed) {
        return Some(name.to_owned());
    }
    let help = "a name is made of letters, digits, `_`, `.` and `-`, 64 at most";
    report.wrong(value.span.clone(), format!("{} cannot be the name of a listener", quoted(name)), help);
    None
}

/// Reads one `[[listen]]`, and the place of its address.
fn listener(
    span: Range<usize>,
    table: &DeTable<'_>,
    trusts: bool,
    report: &mut Report<'_>,
) -> Option<(Listen, Range<usize>)> {
    let mut section = Section::new(&keys::LISTEN, "`[[listen]]`", span, table);
    let written = section.need("address", "say where clients connect: `address = \"0.0.0.0:8080\"`");
    let place = written.as_ref().map(|value| value.span.clone());
    let address = written.and_then(|value| address::listen(&value, report));
    let name = section.take("name").and_then(|value| listener_name(&value, report));
    let secures = section.has("tls");
    let tls = section.take("tls").and_then(|value| tls::tls(&value, report));
    let redirect = section.take("redirect").and_then(|value| {
        if secures {
            let help = "write it at the listener of plain HTTP, as `address = \"0.0.0.0:80\"`";
            report.wrong(value.key_span.clone(), "a listener with `tls` has nothing to redirect to https", help);
        }
        redirect::of_listener(&value, report)
    });
    let proxy_protocol = section.take("proxy_protocol");
    let proxy_protocol =
        proxy_protocol.and_then(|value| proxy_protocol::headers(&value, address.as_ref(), trusts, report));
    let proxy_protocol = proxy_protocol.unwrap_or_default();
    let file = socket::file(&mut section, address.as_ref(), report);
    section.finish(report, |key, _| match key {
        "cert" | "key" => Some(format!("write it inside of `tls`: `{}`", tls::EXAMPLE)),
        "certificates" | "dir" | "client_ca" | "client_auth" | "min_version" => {
            Some(format!("write it inside of `tls`: `tls = {{ …, {key} = … }}`"))
        }
        "port" => Some("write it in the address: `address = \"0.0.0.0:8080\"`".to_owned()),
        _ => None,
    });
    Some((Listen { name, tls, redirect, file, proxy_protocol, ..Listen::plain(address?) }, place?))
}

/// Returns true if no other listener has the address of the site's.
fn is_free(
    site: &Listen,
    place: &Range<usize>,
    (listen, admin): (&[(Listen, Range<usize>)], Option<&Address>),
    report: &mut Report<'_>,
) -> bool {
    let other = listen.iter().find(|(other, _)| socket::meeting(&other.address, &site.address).is_some());
    let message = match other {
        Some((_, first)) => format!("clients of routes connect there as well ({})", report.line(first.clone())),
        None if admin.is_some_and(|admin| socket::meeting(admin, &site.address).is_some()) => {
            "the admin listener has this address as well".to_owned()
        }
        None => return true,
    };
    report.wrong(place.clone(), message, "give the status site an address of its own");
    false
}

/// Admin listener.
#[derive(Default)]
struct Admin {
    address: Option<Address>,
    file: SocketFile,
    /// Rights to change flags there, with the place that says so.
    write: Option<(AdminWrite, Range<usize>)>,
}

/// Reads the admin listener, and who may use it.
fn admin(value: &Value<'_>, listen: &[(Listen, Range<usize>)], report: &mut Report<'_>) -> Option<Admin> {
    let table = value.table("[admin]", report)?;
    let mut section = Section::new(&keys::ADMIN, "`[admin]`", value.span.clone(), table);
    let written = section.need("address", "say where: `address = \"127.0.0.1:9901\"`");
    let address = written.as_ref().and_then(|written| address::listen(written, report));
    let file = socket::file(&mut section, address.as_ref(), report);
    let write = section.take("write");
    let write = write.and_then(|value| Some((write::write(&value, address.as_ref(), report)?, value.span.clone())));
    section.finish(report, no_hint);
    let (written, address) = (written?, address?);
    if let Some((_, public)) = listen.iter().find(|(listen, _)| socket::meeting(&listen.address, &address).is_some()) {
        let help = format!(
            "clients connect there ({}): give the admin listener an address of its own",
            report.line(public.clone())
        );
        report.wrong(written.span, "the admin listener must not share a public address", help);
        return None;
    }
    Some(Admin { address: Some(address), file, write })
}

fn replicas(value: &Value<'_>, report: &mut Report<'_>) -> Vec<Endpoint> {
    let items = value.any_number();
    report.at_most(MOST_REPLICAS, items.len(), "replicas", value.key_span.clone());
    let mut replicas: Vec<Endpoint> = Vec::new();
    for item in items.iter().take(MOST_REPLICAS) {
        let Some(text) = item.string("replica-1:9901", report) else { continue };
        match text.parse::<Endpoint>() {
            Ok(replica) if replicas.contains(&replica) => {
                let message = format!("{} is named twice", quoted(text));
                report.warn(item.span.clone(), message, "name each replica once");
            }
            Ok(replica) => replicas.push(replica),
            Err(help) => {
                report.wrong(
                    item.span.clone(),
                    format!("{} is not the address of an admin listener", quoted(text)),
                    help,
                );
            }
        }
    }
    replicas
}

fn trusted(value: &Value<'_>, report: &mut Report<'_>) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    for item in value.any_number() {
        let Some(text) = item.string("10.0.0.0/8", report) else { continue };
        if text == "unix:" {
            trusted.unix = true;
        } else if let Some(network) = address::network(&item, text, report) {
            trusted.networks.push(network);
        }
    }
    trusted
}

fn limits_of(value: &Value<'_>, report: &mut Report<'_>) -> Limits {
    let Some(table) = value.table("[limits]", report) else { return Limits::default() };
    let mut section = Section::new(&limits::TABLE, "`[limits]`", value.span.clone(), table);
    let limits = limits::read(&mut section, report);
    section.finish(report, no_hint);
    limits
}

/// Least number of routes.
#[derive(Clone, Copy, PartialEq)]
enum Least {
    /// The proxy is a status site and nothing else.
    None,
    One,
}

/// Reads the routes with the pages that they have of their own, and the names of their templates.
fn routes(
    top: &mut Section<'_>,
    least: Least,
    (inherited, limits, pages, edge): (&Inherited, &Limits, &mut RoutePages<'_>, Edge<'_>),
    report: &mut Report<'_>,
) -> (Vec<Arc<RouteConfig>>, Vec<String>) {
    let Some(value) = top.take("routes") else {
        if least == Least::One {
            report.whole("the config has no route", format!("say where requests go: {ROUTE_EXAMPLE}"));
        }
        return Default::default();
    };
    let Some(table) = value.table("[routes.web]", report) else { return Default::default() };
    if table.is_empty() && least == Least::One {
        report.wrong(value.span.clone(), "the config has no route", format!("say where requests go: {ROUTE_EXAMPLE}"));
    }
    report.at_most(MOST_ROUTES, table.len(), "routes", value.key_span.clone());
    let mut owners = Owners::new(edge.0);
    let mut routes = Vec::new();
    for (name, table) in in_order(table).into_iter().take(MOST_ROUTES) {
        let table = (name, table);
        let Some(mut route) = route::route(table, (inherited, limits), (&mut owners, pages), report) else { continue };
        route.policy.retry_after_max = route.policy.retry_after_max.or(inherited.retry_after_max);
        routes.push(route);
    }
    redirect::warn_of_circles(&routes, table, report);
    claims::warn_of_unreachable(&routes, edge, table, report);
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    let programs = programs_of(&mut routes);
    report.at_most(MOST_TEMPLATES, programs.len(), "templates", value.key_span.clone());
    (routes.into_iter().map(Arc::new).collect(), programs)
}

/// Returns the names of the routes' templates, each once, and gives the routes their indexes.
fn programs_of(routes: &mut [RouteConfig]) -> Vec<String> {
    let names = routes.iter().filter_map(|route| route.template.as_ref());
    let names: BTreeSet<String> = names.map(|template| template.name.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    for template in routes.iter_mut().filter_map(|route| route.template.as_mut()) {
        let index = names.binary_search(&template.name).unwrap_or_default();
        *template = Arc::new(ProgramTemplate { index, ..ProgramTemplate::clone(template) });
    }
    names
}

/// Time that requests in flight may still take after SIGTERM, unless the config says otherwise.
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
const MOST_WORKERS: u64 = 1024;
const MOST_LISTENERS: usize = 64;
/// Characters of a listener's name.
const LONGEST_NAME: usize = 64;
/// Routes of one config, or of one flag file.
pub(in crate::plan) const MOST_ROUTES: usize = 16 * 1024;

/// Templates of all routes. Each page is rendered in each of them.
const MOST_TEMPLATES: usize = 16;

const ON_MISSING: [(&str, OnMissing); 2] = [("keep", OnMissing::Keep), ("open", OnMissing::Open)];

const LISTEN_EXAMPLE: &str = "`[[listen]]`, and below it `address = \"0.0.0.0:8080\"`";
const ROUTE_EXAMPLE: &str = "`[routes.web]`, and below it `upstream = \"http://127.0.0.1:3000\"`";
const TRACE_HELP: &str =
    "write `trace = true`, or the share of the traces that are to be recorded, like `trace = 0.01`";
