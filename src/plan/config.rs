//! Config: the operator's static file, parsed into values that need no further checking.

mod address;
mod balance;
mod checks;
mod claims;
mod destination;
mod digest;
mod endpoint;
mod errors;
mod fields;
mod fleet;
mod foreign;
mod guard;
mod include;
mod kind;
mod log;
mod mail;
mod notify;
mod page;
mod parse;
mod per_status;
mod policy;
mod proxy_protocol;
mod read_only;
mod redirect;
mod rewrite;
mod route;
mod route_page;
mod server;
mod socket;
mod status;
mod sticky;
mod store;
mod switch;
mod template;
mod tls;
mod values;
mod variables;
mod write;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::dialect::Dialect;
use super::limits::Limits;
pub use balance::{Balance, Share};
pub use checks::{BodyPattern, Check, GrpcProbe, HealthCheck, HttpProbe, Probe, Quorum, Statuses};
pub use destination::{BadDestination, Channel, Destination, HookScheme, HookUrl};
pub use digest::DigestTime;
pub use endpoint::{ENDPOINT_HELP, Endpoint, MOST_REPLICAS};
pub use errors::{ErrorStatus, Errors};
pub use fields::{FieldAction, FieldChange, FieldChanges, FieldText, Piece, Reach, Variable};
pub use fleet::{FleetConfig, FleetEngine, FleetKubernetes, FleetNats, FleetUrl, NatsServer};
pub use guard::{Bound, Guard, HANGS, Latency, Measurement, OnBreach, Readiness};
pub use include::{Include, Included};
pub use kind::EventKind;
pub use log::{Access, Log, LogField, LogFields, LogFormat, LogLevel};
pub use mail::{DkimConfig, MailConfig, MailLogin, MailServer, MailTls, Mailbox, is_address};
pub use notify::{MAIL_HELP, Notify, To};
pub use page::{Framing, LANGUAGES, Links, Origins, PageConfig};
pub(super) use parse::MOST_ROUTES;
pub use per_status::PerStatus;
pub use policy::{Bypass, Cookies, Hold, Policy, Ramp, Streams};
pub use read_only::Allowed;
pub use redirect::{HTTPS_PORT, Lasts, OwnPath, Redirect, ToHttps};
pub(super) use route::route_name;
pub use socket::{Account, SocketFile};
pub use status::{SITE_PATH, SitePlace, StatusConfig, StatusService};
pub use sticky::Sticky;
pub use store::{PostgresConfig, PostgresServer, PostgresTls, StoreConfig};
pub use switch::Switch;
pub use template::{ProgramFormat, ProgramTemplate};
pub use tls::{CertSource, ClientAuth, ClientNeed, ListenTls, TlsFiles, TlsVersion};
pub use variables::{Origin, Used};
pub use write::AdminWrite;

use super::path::PathPattern;
use super::problem::Problem;
use super::rewrite::{BasePath, Rewrite};

/// Content of `backsoon.toml`, checked. Paths are resolved against the folder of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The flag file; `maintenance.toml` by default. With a fleet, the place of its text, which is no path.
    pub maintenance: PathBuf,
    /// Reaction to a flag file that disappears.
    pub on_missing: OnMissing,
    /// Directory of the state and the history; `None` chooses one.
    pub state_dir: Option<PathBuf>,
    /// Number of workers; `None` is one per core.
    pub workers: Option<usize>,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: TrustedProxies,
    /// Time that requests in flight may still take after SIGTERM. Routes may ask for longer.
    pub drain: Duration,
    /// Handling of traces.
    pub trace: Trace,
    /// Changes to the fields of the proxy's own answers on no route.
    pub response: Option<Arc<FieldChanges>>,
    /// Listeners; at least one.
    pub listen: Vec<Listen>,
    /// Address of the admin listener, if there is one.
    pub admin: Option<Address>,
    /// Access to the file of the admin listener, if that is a unix socket.
    pub admin_file: SocketFile,
    /// Rights to change flags through the admin listener; `None` if nobody may.
    pub admin_write: Option<AdminWrite>,
    /// Admin listeners of all proxies that share the flag file, for commands; the proxy itself asks none.
    pub replicas: Vec<Endpoint>,
    /// Source of the flag file; `None` for a file.
    pub fleet: Option<FleetConfig>,
    /// Limits and time-outs.
    pub limits: Limits,
    /// The log and the access log.
    pub log: Log,
    /// Brand, languages and paths of the page.
    pub page: PageConfig,
    /// The status site.
    pub status: StatusConfig,
    /// Mail server; `None` if nobody is told by mail.
    pub mail: Option<MailConfig>,
    /// Routes, sorted by name. Snapshots share them.
    pub routes: Vec<Arc<RouteConfig>>,
    /// Places at which operators are told of events.
    pub notify: Vec<Notify>,
}

impl Config {
    /// Returns every page once: the general one first, then those of single routes.
    pub fn pages(&self) -> impl Iterator<Item = &PageConfig> {
        let own = self.routes.iter().filter_map(|route| {
            let page = route.page.as_deref()?;
            (page.route.as_ref() == Some(&route.name)).then_some(page)
        });
        std::iter::once(&self.page).chain(own)
    }
}

/// Reaction to a flag file that disappears while the proxy runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// Keep the last good state.
    #[default]
    Keep,
    /// Treat it as empty: nothing is flagged.
    Open,
}

/// Socket address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `0.0.0.0:8080`, `[::1]:8080`.
    Ip(SocketAddr),
    /// `unix:/run/backsoon/http.sock`.
    Unix(PathBuf),
}

/// Listener for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address to listen on.
    pub address: Address,
    /// Name by which routes choose it.
    pub name: Option<String>,
    /// TLS; `None` is clear text.
    pub tls: Option<ListenTls>,
    /// Access to the file of a unix socket.
    pub file: SocketFile,
    /// Redirect of everything to https, but for the paths that stay open.
    pub redirect: Option<ToHttps>,
    /// Content.
    pub serves: Serves,
    /// PROXY headers from trusted proxies.
    pub proxy_protocol: ProxyHeaders,
}

/// PROXY headers of trusted proxies on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeaders {
    /// Nobody sends any.
    #[default]
    Off,
    /// Some send them, and some do not.
    Optional,
    /// Every trusted proxy sends one on each connection.
    Required,
}

/// Handling of the traces that requests belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Trace {
    /// A trace is passed on, and none begins.
    #[default]
    Pass,
    /// A request without a trace begins one, and this share of them is to be recorded.
    Begin(f64),
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Listen {
    /// Returns a listener for routes in clear text.
    pub fn plain(address: Address) -> Self {
        Self {
            address,
            name: None,
            tls: None,
            redirect: None,
            file: SocketFile::default(),
            serves: Serves::Routes,
            proxy_protocol: ProxyHeaders::Off,
        }
    }
}

/// Content of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// Routes, and the proxy's own paths.
    #[default]
    Routes,
    /// The status site alone, whatever the host.
    Site,
}

/// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Peers in these networks.
    pub networks: Vec<IpNet>,
    /// `"unix:"` in the list: peers on a unix socket, which have no address.
    pub unix: bool,
}

/// Settings of one `[routes.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Name of the route in every output: `[A-Za-z0-9_.-]`, at most 64 characters.
    pub name: String,
    /// Hosts; empty means any.
    pub hosts: Vec<HostPattern>,
    /// Paths; at least one, by default `/`.
    pub paths: Vec<PathPattern>,
    /// Names of the listeners; empty means any.
    pub listen: Vec<String>,
    /// Upstreams; at least one, unless the route redirects.
    pub upstreams: Vec<Upstream>,
    /// Redirect, which takes the place of upstreams.
    pub redirect: Option<Redirect>,
    /// Send the client's `Host` to the upstream instead of the upstream's own.
    pub keep_host: bool,
    /// Changes to the fields of requests, the general ones included.
    pub request: Option<Arc<FieldChanges>>,
    /// Changes to the fields of answers, the general ones included.
    pub response: Option<Arc<FieldChanges>>,
    /// Rewriting of paths on their way to the upstreams, if there is any.
    pub rewrite: Option<Arc<Rewrite>>,
    /// Paths that stay open, whatever is flagged.
    pub always_open: Vec<Exception>,
    /// Handling of `/robots.txt` and ACME challenges while the route is closed.
    pub well_known: WellKnown,
    /// Limits and time-outs, if the route has any of its own; what it does not set is as in [`Config::limits`].
    pub limits: Option<Arc<Limits>>,
    /// Form of the page, where `Accept` would choose it.
    pub dialect: Option<Dialect>,
    /// Errors that are answered with the proxy's page.
    pub errors: Errors,
    /// Page of the route, if it is not that of [`Config::page`]. Routes with equal ones share it.
    pub page: Option<Arc<PageConfig>>,
    /// Template of the answers to programs.
    pub template: Option<Arc<ProgramTemplate>>,
    /// Balance of the upstreams; `None` if all are alike, and no client keeps to one.
    pub balance: Option<Arc<Balance>>,
    /// Files whose existence closes the route.
    pub switch: Option<Switch>,
    /// Policy for going down and coming back.
    pub policy: Policy,
}

impl RouteConfig {
    /// Returns the upstreams, with the names that they have besides their addresses.
    pub fn named_upstreams(&self) -> impl Iterator<Item = (&Upstream, Option<&str>)> {
        let name = |place: usize| self.balance.as_ref()?.shares.get(place)?.name.as_deref();
        self.upstreams.iter().enumerate().map(move |(place, upstream)| (upstream, name(place)))
    }

    /// Returns the closest of the paths that cover a path in normal form.
    pub fn path_of(&self, path: &str) -> Option<&PathPattern> {
        self.paths.iter().filter(|pattern| pattern.covers(path)).max_by_key(|pattern| pattern.rank())
    }

    /// Returns the host if the route is for one alone.
    pub fn one_host(&self) -> Option<&str> {
        match self.hosts.as_slice() {
            [HostPattern::Exact(host)] => Some(host),
            _ => None,
        }
    }
}

/// Path that a closed route keeps open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The path and everything below it.
    pub path: PathPattern,
    /// The proxy's own answer; without one the request is forwarded.
    pub answer: Option<Arc<Fixed>>,
}

/// Operator's own answer to a path of a closed route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Status, 200 to 599.
    pub status: u16,
    /// Body in plain text.
    pub body: String,
}

/// Handling of `/robots.txt` and `/.well-known/acme-challenge/` by a closed route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WellKnown {
    /// Forward them. A crawler that finds no `robots.txt` leaves, and a certificate must be renewed.
    #[default]
    Pass,
    /// Close them like every other path.
    Closed,
}

impl WellKnown {
    /// Paths in question (RFC 9309 section 2.3, RFC 8555 section 8.3).
    pub const PATHS: [&str; 2] = ["/robots.txt", Self::CHALLENGES];

    /// Prefix of the paths at which certificate authorities look for a challenge, over plain HTTP.
    pub const CHALLENGES: &str = "/.well-known/acme-challenge/";
}

/// Host that a route answers for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// A single host, lowercase, without port or trailing dot: `www.example.com`.
    Exact(String),
    /// Any host below a domain, at any depth, but not the domain itself: `*.example.com` is held as `example.com`.
    Below(String),
}

/// Upstream of a route. Equal values share their connections, across routes and generations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Roots for the certificate of an `https://` upstream.
    pub tls: Option<Trust>,
    /// Address to connect to.
    pub address: UpstreamAddress,
    /// Path below which the upstream has the app.
    pub base: BasePath,
    /// Certificate to show to an `https://` upstream.
    pub client_cert: Option<TlsFiles>,
    /// Speak HTTP/2: by prior knowledge on clear text, by ALPN on TLS.
    pub http2: bool,
    /// PROXY header that begins each connection, which then belongs to one client.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// Address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// Name or IP address (without brackets), and port.
    Host(String, u16),
    /// Unix socket: `unix:/run/app.sock`.
    Unix(PathBuf),
}

impl UpstreamAddress {
    /// Returns the authority (RFC 3986 section 3.2) to send as the host, unless the client's host is kept.
    pub fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Host(host, port) => authority(host, *port),
        }
    }
}

/// Joins a host and a port, with brackets around an IPv6 address.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Roots that an upstream's certificate is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Roots of the system.
    System,
    /// Only the roots in this PEM file.
    File(PathBuf),
}

impl fmt::Display for Upstream {
    /// Writes the upstream as the config has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            UpstreamAddress::Host(host, port) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{}{}", authority(host, *port), self.base.as_str())
            }
        }
    }
}

impl fmt::Display for Account {
    /// Writes the account as the config has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Address {
    /// Writes the address as the config has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// World around the text of a config, by functions: parsing itself reads nothing.
pub struct Surroundings<'s> {
    /// Returns the value of a variable of the environment, if it is set.
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    /// Returns the files that are included, sorted: one by name, even if it cannot be read, and any number by pattern.
    pub include: &'s mut dyn FnMut(&Include) -> Vec<Included>,
}

/// Outcome of parsing a config.
#[derive(Debug)]
pub struct Parsed {
    /// Config, if no problem is an error.
    pub config: Option<Config>,
    /// Every problem, in the order of the text.
    pub problems: Vec<Problem>,
    /// Sources besides the file itself.
    pub sources: Sources,
}

/// Sources of a config besides its own file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Variables that its strings use.
    pub variables: Used,
    /// Names and patterns of files that are included.
    pub includes: Vec<Include>,
    /// Files that are included, each once.
    pub files: Vec<PathBuf>,
}

impl Sources {
    /// Returns every path whose change may change the config.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.includes.iter().map(Include::path).chain(self.files.iter().map(PathBuf::as_path))
    }
}

/// Parses a config that stands alone: no variable is set, and nothing is there to be included.
///
/// Every problem of the text is collected, in the order of the text. A config is returned if none of them is an error.
pub fn parse(file: impl AsRef<Path>, text: &str) -> (Option<Config>, Vec<Problem>) {
    let parsed = parse_in(file, text, &mut Surroundings { variable: &|_| None, include: &mut |_| Vec::new() });
    (parsed.config, parsed.problems)
}

/// Parses a config. Problems name `file`, and paths in the text are resolved against its folder.
pub fn parse_in(file: impl AsRef<Path>, text: &str, surroundings: &mut Surroundings<'_>) -> Parsed {
    parse::config(file.as_ref(), text, surroundings)
}
