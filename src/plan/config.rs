//! The config: the operator's static file, parsed into values that need no further checking.

mod address;
mod page;
mod parse;
mod policy;
mod route;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::dialect::Dialect;
use super::limits::Limits;
pub use page::{LANGUAGES, Links, Origins, PageConfig};
pub(super) use parse::MOST_ROUTES;
pub use policy::{Allowed, Bypass, Check, ErrorRate, Guard, HANGS, Hold, OnBreach, Policy, Ramp, Streams};
pub(super) use route::route_name;

use super::path::Prefix;
use super::problem::Problem;

/// The whole of `backsoon.toml`, checked. Its paths are resolved against the folder of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The flag file; `maintenance.toml` by default.
    pub maintenance: PathBuf,
    /// What a flag file that disappears means.
    pub on_missing: OnMissing,
    /// Where the state and the history are kept; `None` is a directory that suits.
    pub state_dir: Option<PathBuf>,
    /// How many workers; `None` is one per core.
    pub workers: Option<usize>,
    /// Whose forwarding fields are believed.
    pub trusted_proxies: TrustedProxies,
    /// How long in-flight requests may go on after SIGTERM. Routes may ask for longer.
    pub drain: Duration,
    /// Where clients connect; at least one.
    pub listen: Vec<Listen>,
    /// Where the admin listener is, if there is one.
    pub admin: Option<Address>,
    /// Limits and time-outs.
    pub limits: Limits,
    /// The log and the access log.
    pub log: Log,
    /// Whose page it is, and how it is given.
    pub page: PageConfig,
    /// By name, sorted. Snapshots share them.
    pub routes: Vec<Arc<RouteConfig>>,
}

/// What happens when the flag file disappears while running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// The last good state stays.
    #[default]
    Keep,
    /// Nothing is flagged any more.
    Open,
}

/// A socket address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `0.0.0.0:8080`, `[::1]:8080`.
    Ip(SocketAddr),
    /// `unix:/run/backsoon/http.sock`.
    Unix(PathBuf),
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// The certificate to serve; clear text without.
    pub tls: Option<TlsFiles>,
}

/// The files of a listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// Whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Peers in these networks.
    pub networks: Vec<IpNet>,
    /// `"unix:"` in the list: peers on a unix socket, which have no address.
    pub unix: bool,
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The least severe level that is logged: `error`, `warn`, `info` or `debug`.
    pub level: LogLevel,
    /// Which requests the access log records.
    pub access: Access,
    /// Where the access log goes; standard output without.
    pub access_file: Option<PathBuf>,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what a person must act on.
    Error,
    /// Handled, but wrong.
    Warn,
    /// The process changed: started, published, drained.
    #[default]
    Info,
    /// Per connection.
    Debug,
}

/// Which requests the access log records: `access = "off" | "full" | 0.01`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Access {
    /// None.
    #[default]
    Off,
    /// This share of them, above 0 and below 1, chosen at random.
    Sampled(f64),
    /// All.
    Full,
}

/// One `[routes.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// The route's handle everywhere: `[A-Za-z0-9_.-]`, 64 characters at most.
    pub name: String,
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    /// At least one; default `/`.
    pub paths: Vec<Prefix>,
    /// At least one.
    pub upstreams: Vec<Upstream>,
    /// Whether the client's `Host` goes to the upstream; else the upstream's own.
    pub keep_host: bool,
    /// Paths that are not closed, whatever is flagged.
    pub always_open: Vec<Exception>,
    /// Whether `/robots.txt` and ACME challenges are forwarded, whatever is flagged.
    pub well_known: WellKnown,
    /// The form of the page, where `Accept` would choose it.
    pub dialect: Option<Dialect>,
    /// How it goes down and comes back.
    pub policy: Policy,
}

/// A path that a closed route does not close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// It, and what is below it.
    pub path: Prefix,
    /// What the proxy answers there itself; without, the request is forwarded.
    pub answer: Option<Arc<Fixed>>,
}

/// An answer of the operator's own to a path of a closed route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// 200 to 599.
    pub status: u16,
    /// Plain text.
    pub body: String,
}

/// What a closed route does with `/robots.txt` and `/.well-known/acme-challenge/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WellKnown {
    /// Who reads them is let through: a crawler that finds no `robots.txt` leaves, and a certificate must be renewed.
    #[default]
    Pass,
    /// They are closed like every other path.
    Closed,
}

impl WellKnown {
    /// The paths in question (RFC 9309 section 2.3, RFC 8555 section 8.3).
    pub const PATHS: [&str; 2] = ["/robots.txt", "/.well-known/acme-challenge/"];
}

/// A host that a route answers for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `www.example.com`, lowercase, without port or trailing dot.
    Exact(String),
    /// `*.example.com`: any host below `example.com`, at any depth, but not itself. Holds `example.com`.
    Below(String),
}

/// Where a route's requests go. Equal values share their connections, across routes and generations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// `https://`: the trust that the upstream's certificate is checked against.
    pub tls: Option<Trust>,
    /// Where to connect.
    pub address: UpstreamAddress,
    /// Speak HTTP/2 to it (prior knowledge on clear text, ALPN on TLS).
    pub http2: bool,
}

/// Where an upstream listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A name or an IP address (without brackets), and a port.
    Host(String, u16),
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
}

impl UpstreamAddress {
    /// Returns the authority (RFC 3986 section 3.2) that the upstream is asked for unless the client's host is kept.
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

/// What an `https://` upstream's certificate is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The system's roots.
    System,
    /// The roots of this PEM file, and only they.
    File(PathBuf),
}

impl fmt::Display for Upstream {
    /// As it is written in the config.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            UpstreamAddress::Host(host, port) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{}", authority(host, *port))
            }
        }
    }
}

impl fmt::Display for Address {
    /// As it is written in the config.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Parses a config. Problems name `file`, and paths in the text are resolved against its folder.
///
/// Collects every problem of the text, in the order of the text. There is a config if none of them is an error.
pub fn parse(file: impl AsRef<Path>, text: &str) -> (Option<Config>, Vec<Problem>) {
    parse::config(file.as_ref(), text)
}
