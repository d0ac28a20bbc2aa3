//! The snapshot: everything a request needs to be decided, compiled, immutable.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};

use super::admission::Admission;
use super::config::{Guard, Log, RouteConfig, TrustedProxies, Upstream};
use super::flags::Mode;
use super::lifecycle::RouteState;
pub use super::lifecycle::{Phase, Source, Transition};
use super::limits::Limits;
use super::page::{Page, PageModel, Renderer};
use super::path::Prefix;

/// What is live at one instant: the routes, the phase of each, the finished pages.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the publications of one process, from 1.
    pub generation: u64,
    /// The instant that it was compiled for.
    pub compiled: Timestamp,
    /// The next instant at which something changes by itself; control compiles again then.
    pub next_change: Option<Timestamp>,
    /// Limits and time-outs. Shared: a connection keeps those that it began with, and not the snapshot.
    pub limits: Arc<Limits>,
    /// Whose forwarding fields are believed.
    pub trusted_proxies: TrustedProxies,
    /// How long requests in flight may go on when the process ends; routes may ask for longer.
    pub drain: Duration,
    /// What is logged.
    pub log: Log,
    /// Below it are the proxy's own paths.
    pub reserved: Prefix,
    /// What printed the pages, and knows their languages.
    pub renderer: Arc<Renderer>,
    /// Every page that a closed route shows.
    pub pages: HashMap<Arc<PageModel>, Arc<Page>>,
    /// By name, sorted. A route's index here is its handle within this snapshot.
    pub routes: Vec<Route>,
    /// Every upstream once. Routes refer to them by index.
    pub upstreams: Arc<[Upstream]>,
    /// Finds a request's route.
    pub table: Arc<Table>,
}

impl Snapshot {
    /// A route by name.
    pub fn route(&self, name: &str) -> Option<&Route> {
        let index = self.routes.binary_search_by(|route| route.config.name.as_str().cmp(name)).ok()?;
        self.routes.get(index)
    }
}

/// A route and where it is now.
#[derive(Debug)]
pub struct Route {
    /// Its index in [`Snapshot::routes`].
    pub index: usize,
    /// What the operator wrote.
    pub config: Arc<RouteConfig>,
    /// Indexes into [`Snapshot::upstreams`]; at least one.
    pub upstreams: Arc<[usize]>,
    /// Where it is now, and how it got there.
    pub state: Arc<RouteState>,
    /// What changed with this snapshot.
    pub transitions: Vec<Transition>,
    /// What comes next, and when, as far as that is known.
    pub next: Option<(Phase, Option<Timestamp>)>,
    /// The first generation that decided by the closure: what was forwarded by an earlier one is to end within the drain
    /// time.
    pub epoch: u64,
    /// What is announced of it, soonest first.
    pub announced: Vec<Announced>,
    /// Who may pass while it is not open, besides what its mode lets pass; `None` if nobody may.
    pub admission: Option<Arc<Admission>>,
    /// What responses tell of it (`Maintenance`), while it is open or can be read.
    pub notice: Option<HeaderValue>,
    /// The status of the route for everybody, while it is open.
    pub open: Bytes,
    /// Why it is not open, and what is shown. `None` while it is open.
    pub closure: Option<Arc<Closure>>,
    /// It is closed for so long that somebody may have forgotten it, and that crawlers drop its pages ([`LONG`]).
    pub long: bool,
}

/// After this time under maintenance an operator is asked whether that is meant.
pub const LONG: SignedDuration = SignedDuration::from_hours(24);

impl Route {
    /// Where it is now.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Since when.
    pub fn since(&self) -> Timestamp {
        self.state.since()
    }

    /// The guard that has an eye on it now: while it ramps, and while it is open and watched.
    pub fn guard(&self) -> Option<&Guard> {
        let guard = self.config.policy.guard.as_ref()?;
        let watched = match self.state.phase() {
            Phase::Ramping => true,
            Phase::Open => self.state.is_watched(),
            Phase::Draining | Phase::Closed | Phase::Verifying => false,
        };
        watched.then_some(guard)
    }

    /// Until when its guard watches it, while it is open again.
    pub fn watched_until(&self) -> Option<Timestamp> {
        let guard = self.config.policy.guard.filter(|_| self.state.is_watched())?;
        Some(super::lifecycle::after(self.state.began(), guard.watch))
    }

    /// Whether something may happen to it that neither a file nor the clock brings about.
    pub fn is_in_motion(&self) -> bool {
        matches!(self.state.phase(), Phase::Draining | Phase::Verifying | Phase::Ramping) || self.state.is_watched()
    }
}

/// A window that is announced for a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its id.
    pub id: String,
    /// What it will do.
    pub mode: Mode,
    /// When it begins.
    pub starts: Timestamp,
    /// When it is to end.
    pub ends: Timestamp,
}

/// Why a route is under maintenance, and what its clients are shown.
#[derive(Debug)]
pub struct Closure {
    /// The strictest mode of all that is flagged for the route.
    pub mode: Mode,
    /// When it began.
    pub started: Timestamp,
    /// When it lifts by itself, if that is known.
    pub until: Option<Timestamp>,
    /// Where it was flagged: `flag`, or a window's id.
    pub source: Source,
    /// Seconds from the compilation to `until`.
    pub seconds_left: Option<u64>,
    /// Clients whose cohort is below are admitted all the same, since the route ramps; 0 admits nobody.
    pub admits: u32,
    /// The finished page.
    pub page: Arc<Page>,
}

/// Finds a route by host and path: the most specific host that has the path, then the longest path.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<Box<str>, Paths>,
    /// Keyed by what stands behind the `*.`.
    below: HashMap<Box<str>, Paths>,
    any: Paths,
}

/// The paths of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    /// The route for `/`, which most hosts have and no other: it is found without a look-up.
    root: Option<usize>,
    /// The others.
    routes: HashMap<Box<str>, usize>,
    /// Bytes of the longest prefix: what is longer than that need not be hashed.
    longest: usize,
}

impl Table {
    /// Builds the table. Two routes with the same host and path are the caller's to refuse; the first stays.
    pub fn new(routes: &[Arc<RouteConfig>]) -> Self {
        use super::config::HostPattern;
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            if route.hosts.is_empty() {
                table.any.insert(route, index);
            }
            for host in &route.hosts {
                match host {
                    HostPattern::Exact(host) => {
                        table.exact.entry(host.as_str().into()).or_default().insert(route, index)
                    }
                    HostPattern::Below(host) => {
                        table.below.entry(host.as_str().into()).or_default().insert(route, index)
                    }
                }
            }
        }
        table
    }

    /// The index of the route for a host (lowercase, without port or trailing dot) and a path in normal form.
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        // No name is longer (RFC 1035 section 2.3.4): a hostile one is not worth a walk over its labels.
        if host.len() > LONGEST_HOST {
            return self.any.find(path);
        }
        if let Some(found) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(found);
        }
        if !self.below.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(found) = self.below.get(parent).and_then(|paths| paths.find(path)) {
                    return Some(found);
                }
                rest = parent;
            }
        }
        self.any.find(path)
    }
}

impl Paths {
    fn insert(&mut self, route: &RouteConfig, index: usize) {
        for path in route.paths.iter().map(Prefix::as_str) {
            if path == "/" {
                self.root.get_or_insert(index);
            } else {
                self.routes.entry(path.into()).or_insert(index);
                self.longest = self.longest.max(path.len());
            }
        }
    }

    /// Tries the whole path, then the path without its last segment, and so on to `/`.
    fn find(&self, path: &str) -> Option<usize> {
        let mut rest = cut(path.trim_end_matches('/'), self.longest);
        while !rest.is_empty() {
            if let Some(&index) = self.routes.get(rest) {
                return Some(index);
            }
            rest = rest.rfind('/').map_or("", |slash| &rest[..slash]);
        }
        self.root
    }
}

/// Cuts a path to its longest leading segments of at most `longest` bytes.
fn cut(path: &str, longest: usize) -> &str {
    if path.len() <= longest {
        return path;
    }
    let head = path.as_bytes().iter().take(longest + 1).rposition(|&byte| byte == b'/');
    head.map_or("", |slash| &path[..slash])
}

const LONGEST_HOST: usize = 255;
