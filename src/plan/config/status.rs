//! `[status]`: the status site, its services, and how long the news are kept.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::super::keys;
use super::super::path::Prefix;
use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text, no_hint};
use super::digest::{DigestTime, digest_time};
use super::store::{self, StoreConfig};
use super::{HostPattern, Listen, PageConfig, RouteConfig, Serves, address, page, route_name, socket, tls};

/// Settings of the status site. By default the site is below the reserved prefix of each route alone.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusConfig {
    /// Host that is the site and nothing else, in lowercase.
    pub host: Option<String>,
    /// Prefix of the site on every host.
    pub prefix: Option<Prefix>,
    /// Listener of the site alone, and the place of its address in the config.
    pub listen: Option<(Listen, Range<usize>)>,
    /// Public URL of the site, without a slash at its end. Feeds and mails link there.
    pub url: Option<String>,
    /// Name of the site; by default the brand of the page.
    pub title: Option<String>,
    /// Time for which incidents are kept after they are over.
    pub keep: Duration,
    /// True if this proxy tells subscribers. Of several that share a flag file, one may, unless they share a store.
    pub send: bool,
    /// Place of subscribers and deliveries.
    pub store: StoreConfig,
    /// Time of day of the digests.
    pub digest_at: DigestTime,
    /// Networks in which subscribers' endpoints may be, besides public ones.
    pub allow_private: Vec<IpNet>,
    /// Services; by default the routes.
    pub services: Vec<StatusService>,
}

/// Place of the status site besides the reserved prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SitePlace {
    /// Host that is the site and nothing else, in lowercase.
    pub host: Option<String>,
    /// Prefix of the site on every host.
    pub prefix: Option<Prefix>,
}

/// Service of the status site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusService {
    /// Name.
    pub name: String,
    /// Second line.
    pub detail: Option<String>,
    /// Routes that it consists of.
    pub routes: Vec<String>,
    /// Regions that it is in.
    pub regions: Vec<String>,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            host: None,
            prefix: None,
            listen: None,
            url: None,
            title: None,
            keep: KEEP,
            send: false,
            store: StoreConfig::Local,
            digest_at: DigestTime::default(),
            allow_private: Vec::new(),
            services: Vec::new(),
        }
    }
}

impl StatusConfig {
    /// Returns true if the site has a host, a prefix or a listener of its own, so that a proxy may have no routes.
    pub fn is_served(&self) -> bool {
        self.host.is_some() || self.prefix.is_some() || self.listen.is_some()
    }

    /// Returns the URL of the site without a slash at its end; a path below the reserved prefix if none is configured.
    pub fn base(&self, reserved: &Prefix) -> String {
        self.url.clone().unwrap_or_else(|| format!("{}/{SITE_PATH}", reserved.as_str().trim_end_matches('/')))
    }

    /// Returns the place of the site.
    pub fn place(&self) -> SitePlace {
        SitePlace { host: self.host.clone(), prefix: self.prefix.clone() }
    }
}

/// Reads `[status]`. The routes and the page are read already.
pub(super) fn status(
    value: &Value<'_>,
    page: &PageConfig,
    routes: &[Arc<RouteConfig>],
    report: &mut Report<'_>,
) -> StatusConfig {
    let defaults = StatusConfig::default();
    let Some(table) = value.table("[status]", report) else { return defaults };
    let mut section = Section::new(&keys::STATUS, "`[status]`", value.span.clone(), table);
    let host = section.take("host").and_then(|value| host(&value, routes, report));
    let prefix = section.take("prefix").and_then(|value| prefix(&value, page, routes, report));
    let listen = listener(&mut section, report);
    let is_served = host.is_some() || prefix.is_some() || listen.is_some();
    let url = section.take("url").and_then(|value| {
        url(&value, report).inspect(|url| {
            if !is_served && !url.ends_with(&format!("/{SITE_PATH}")) {
                elsewhere(&value, report);
            }
        })
    });
    let url = url.or_else(|| host.as_ref().map(|host| format!("https://{host}")));
    let title = section.take("title").and_then(|value| value.words(LONGEST_LINE, Lines::One, report));
    let keep = section.take("keep").and_then(|value| value.duration(LEAST_KEEP, LONGEST_KEEP, report));
    let send = section.take("send").and_then(|value| send(&value, url.as_ref(), report));
    let store = store::store(&mut section, report);
    let digest_at = section.take("digest_at").and_then(|value| digest_time(&value, report));
    let allow_private = section.take("allow_private").map(|value| networks(&value, report));
    let services = section.take("services").map(|value| services(&value, routes, report)).unwrap_or_default();
    section.finish(report, hint);
    StatusConfig {
        host,
        prefix,
        listen,
        url,
        title,
        keep: keep.unwrap_or(KEEP),
        send: send.unwrap_or(false),
        store: store.unwrap_or_default(),
        digest_at: digest_at.unwrap_or_default(),
        allow_private: allow_private.unwrap_or_default(),
        services,
    }
}

/// Reads the listener of the site alone, and the place of its address.
fn listener(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<(Listen, Range<usize>)> {
    let written = section.take("listen");
    let tls = section.take("tls").map(|value| (value.span.clone(), tls::tls(&value, report)));
    let Some(written) = written else {
        for key in ["mode", "owner", "group"] {
            if let Some(value) = section.take(key) {
                let help = "say where the site listens: `listen = \"unix:/run/backsoon/status.sock\"`";
                let message = format!("`{key}` is that of the site's own socket, and there is none");
                report.wrong(value.key_span, message, help);
            }
        }
        if let Some((place, _)) = tls {
            let help = "say where the site listens, `listen = \"0.0.0.0:8443\"`; that of routes is under `[[listen]]`";
            report.wrong(place, "`tls` is that of the site's own listener, and there is none", help);
        }
        return None;
    };
    let address = address::listen(&written, report);
    let file = socket::file(section, address.as_ref(), report);
    let address = address?;
    let tls = tls.map(|(_, files)| files);
    // A certificate that is wrong must not make clear text of it.
    let tls = if tls == Some(None) { return None } else { tls.flatten() };
    Some((Listen { tls, file, serves: Serves::Site, ..Listen::plain(address) }, written.span.clone()))
}

/// Reads whether this proxy tells subscribers. Those by e-mail follow links to the site.
fn send(value: &Value<'_>, url: Option<&String>, report: &mut Report<'_>) -> Option<bool> {
    let sends = value.boolean(report)?;
    if sends && url.is_none() {
        let message = "nobody can subscribe by e-mail: mails cannot link to a site without a URL";
        report.warn(value.span.clone(), message, PLACE_HELP);
    }
    Some(sends)
}

fn networks(value: &Value<'_>, report: &mut Report<'_>) -> Vec<IpNet> {
    let items = value.any_number();
    report.at_most(MOST_NETWORKS, items.len(), "networks", value.key_span.clone());
    let items = items.iter().take(MOST_NETWORKS);
    items.filter_map(|item| address::network(item, item.string("10.0.0.0/8", report)?, report)).collect()
}

fn hint(key: &str, _: &DeValue<'_>) -> Option<String> {
    match key {
        "name" | "brand" => Some(did_you_mean_text("title")),
        "domain" | "server_name" => Some(did_you_mean_text("host")),
        "path" => Some(did_you_mean_text("prefix")),
        "database" | "db" | "database_url" | "postgres" => Some(did_you_mean_text("store")),
        "store_password" => {
            Some("write it into a file, and name that: `store_password_file = \"/run/secrets/postgres\"`".to_owned())
        }
        "digest" | "digests" | "digest_time" => Some(did_you_mean_text("digest_at")),
        "address" | "listener" => Some(did_you_mean_text("listen")),
        "components" => Some(did_you_mean_text("services")),
        _ => None,
    }
}

fn host(value: &Value<'_>, routes: &[Arc<RouteConfig>], report: &mut Report<'_>) -> Option<String> {
    let host = match address::host(value, report)? {
        HostPattern::Exact(host) => host,
        HostPattern::Below(host) => {
            let help = format!("write one host, like `status.{host}`");
            report.wrong(value.span.clone(), "the status site has one host", help);
            return None;
        }
    };
    let is_host = |route: &&Arc<RouteConfig>| route.hosts.contains(&HostPattern::Exact(host.clone()));
    if let Some(route) = routes.iter().find(is_host) {
        let message = format!("route {} has the host {} as well", quoted(&route.name), quoted(&host));
        report.wrong(value.span.clone(), message, "give the status site a host of its own, or a `prefix`");
        return None;
    }
    Some(host)
}

fn prefix(
    value: &Value<'_>,
    page: &PageConfig,
    routes: &[Arc<RouteConfig>],
    report: &mut Report<'_>,
) -> Option<Prefix> {
    let prefix = page::prefix(value, report)?;
    let reserved = &page.prefix;
    if reserved.below(prefix.as_str()).is_some() || prefix.below(reserved.as_str()).is_some() {
        let message = format!("{} meets the proxy's own paths, {}", quoted(prefix.as_str()), quoted(reserved.as_str()));
        report.wrong(value.span.clone(), message, "name a path of its own: `prefix = \"/status\"`");
        return None;
    }
    if let Some(route) = routes.iter().find(|route| route.paths.iter().any(|path| path.as_str() == prefix.as_str())) {
        let message = format!("route {} has the path {} as well", quoted(&route.name), quoted(prefix.as_str()));
        report.wrong(value.span.clone(), message, "name a path of its own: `prefix = \"/status\"`");
        return None;
    }
    Some(prefix)
}

/// Reads the public URL of the site.
fn url(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.words(LONGEST_URL, Lines::One, report)?;
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let named = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', '"', '<', '>', ' '])
    });
    if named {
        return Some(text.trim_end_matches('/').to_owned());
    }
    let help = "write it whole, like `https://status.example.com`";
    report.wrong(value.span.clone(), format!("{} is not the URL of a site", quoted(&text)), help);
    None
}

/// Warns of a URL at which the site is not, unless a proxy in front brings it there.
fn elsewhere(value: &Value<'_>, report: &mut Report<'_>) {
    let message = "this proxy has no site at this URL, to which feeds and mails link";
    report.advise(value.span.clone(), message, PLACE_HELP);
}

fn services(value: &Value<'_>, routes: &[Arc<RouteConfig>], report: &mut Report<'_>) -> Vec<StatusService> {
    let items = value.any_number();
    report.at_most(MOST_SERVICES, items.len(), "services", value.key_span.clone());
    let mut services: Vec<StatusService> = Vec::new();
    for item in items.iter().take(MOST_SERVICES) {
        let Some(service) = service(item, routes, report) else { continue };
        if services.iter().any(|other| other.name == service.name) {
            let message = format!("two services have the name {}", quoted(&service.name));
            report.wrong(item.span.clone(), message, "give each service a name of its own: it is known by it");
            continue;
        }
        services.push(service);
    }
    services
}

fn service(value: &Value<'_>, routes: &[Arc<RouteConfig>], report: &mut Report<'_>) -> Option<StatusService> {
    let table = value.table("services = [{ name = \"Shop\", routes = [\"web\"] }]", report)?;
    let mut section = Section::new(&keys::STATUS_SERVICE, "an item of `services`", value.span.clone(), table);
    let name = section.need("name", "say how people know it: `name = \"Shop\"`");
    let name = name.and_then(|value| value.words(LONGEST_LINE, Lines::One, report));
    let detail = section.take("detail").and_then(|value| value.words(LONGEST_LINE, Lines::One, report));
    let names = section.take("routes").map(|value| value.any_number()).unwrap_or_default();
    let of_service = names.iter().filter_map(|name| known_route(name, routes, report)).collect();
    let regions = section.take("regions").map(|value| value.any_number()).unwrap_or_default();
    let regions = regions.iter().filter_map(|region| region.words(LONGEST_LINE, Lines::One, report)).collect();
    section.finish(report, no_hint);
    Some(StatusService { name: name?, detail, routes: of_service, regions })
}

/// Reads the name of a route. The flag file of a fleet may name routes that this proxy lacks, so an unknown one is a
/// warning.
fn known_route(value: &Value<'_>, routes: &[Arc<RouteConfig>], report: &mut Report<'_>) -> Option<String> {
    let text = value.string("web", report)?;
    let name = route_name(text, &value.span, report)?;
    if routes.iter().all(|route| route.name != name) {
        let near = did_you_mean(name, routes.iter().map(|route| route.name.as_str()));
        let help = near
            .map_or_else(|| "what happens to that route is told by the flag file alone".to_owned(), did_you_mean_text);
        report.warn(value.span.clone(), format!("this proxy has no route {}", quoted(name)), help);
    }
    Some(name.to_owned())
}

/// Help to whoever needs a site with a URL.
const PLACE_HELP: &str = "give the site a host: `host = \"status.example.com\"`; or say on which host people reach it: \
    `url = \"https://www.example.com/.backsoon/news\"`";

/// Path of the site below the reserved prefix.
pub const SITE_PATH: &str = "news";

const KEEP: Duration = Duration::from_secs(90 * DAY);
const LEAST_KEEP: Duration = Duration::from_secs(DAY);
const LONGEST_KEEP: Duration = Duration::from_secs(3650 * DAY);
const DAY: u64 = 86_400;
const LONGEST_LINE: usize = 256;
const LONGEST_URL: usize = 2048;
const MOST_SERVICES: usize = 256;
const MOST_NETWORKS: usize = 256;
