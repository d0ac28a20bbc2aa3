//! The meters: cells of one worker each, summed when somebody looks.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::plan::config::Upstream;
use crate::plan::lifecycle::{Client, Clients, Met};

use super::histogram::{Counts, Histogram};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds one. Only the owning worker may call it: it is a plain load and store, which is what makes it cheap.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds. Only the owning worker may call it.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down; one thread writes, any thread reads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one. Only the owning worker may call it.
    pub fn rise(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }

    /// Takes one away, and stops at 0. Only the owning worker may call it.
    pub fn fall(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Sets it. Only the owning worker may call it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Sets it, behind all that was set before: whoever sees it ([`Gauge::seen`]) sees that as well. Only the owning worker
    /// may call it.
    pub fn publish(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// The number, with what was set before it was published.
    pub fn seen(&self) -> u64 {
        self.0.load(Acquire)
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All meters of the process.
#[derive(Debug)]
pub struct Meters {
    /// One for each worker.
    pub workers: Box<[WorkerCell]>,
    routes: Mutex<HashMap<String, Arc<RouteMeter>>>,
    upstreams: Mutex<UpstreamMeters>,
}

#[derive(Debug, Default)]
struct UpstreamMeters {
    by_key: HashMap<UpstreamKey, Arc<UpstreamMeter>>,
    next_id: usize,
}

/// What makes two upstreams the same one: what was configured, and the content of the files it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    /// What was configured.
    pub upstream: Upstream,
    /// The SHA-256 of its `ca` file, if it has one.
    pub roots: Option<String>,
}

impl Meters {
    /// Meters for this many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers: per_worker(workers), routes: Mutex::default(), upstreams: Mutex::default() }
    }

    /// The meter of a route, made when first asked for. Called when a generation is made, never for a request.
    pub fn route(&self, name: &str) -> Arc<RouteMeter> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = routes.get(name) {
            return Arc::clone(meter);
        }
        let meter = Arc::new(RouteMeter { name: name.to_owned(), workers: per_worker(self.workers.len()) });
        routes.insert(name.to_owned(), Arc::clone(&meter));
        meter
    }

    /// The meter of an upstream, made when first asked for.
    pub fn upstream(&self, key: UpstreamKey) -> Arc<UpstreamMeter> {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = upstreams.by_key.get(&key) {
            return Arc::clone(meter);
        }
        let id = upstreams.next_id;
        upstreams.next_id += 1;
        let meter =
            Arc::new(UpstreamMeter { id, name: key.upstream.to_string(), workers: per_worker(self.workers.len()) });
        upstreams.by_key.insert(key, Arc::clone(&meter));
        meter
    }

    /// Every route's meter, by name, sorted: also of routes that are no longer configured, since counters never go back.
    pub fn routes(&self) -> Vec<Arc<RouteMeter>> {
        let mut routes: Vec<_> = self.routes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        routes
    }

    /// Looks at every route's meter, in no order; `look` must not ask for a meter. For who looks often, at routes without
    /// number: nothing is copied.
    pub fn each_route(&self, look: impl FnMut(&RouteMeter)) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.values().map(AsRef::as_ref).for_each(look);
    }
}

fn per_worker<T: Default>(workers: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(workers).collect()
}

/// What is counted of a route.
#[derive(Debug)]
pub struct RouteMeter {
    /// Its name.
    pub name: String,
    /// By worker.
    pub workers: Box<[RouteCell]>,
}

/// One worker's share of a [`RouteMeter`]. Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RouteCell {
    /// Requests forwarded whose response is not finished, tunnels among them.
    pub in_flight: Gauge,
    /// Responses of the upstream, by the first digit of their status; index 0 is unused.
    pub upstream: [Cell; 6],
    /// Requests answered with the page because the route is under maintenance.
    pub maintenance: Cell,
    /// Requests that wait for the route.
    pub held: Gauge,
    /// Requests that ever began to wait for it.
    pub held_total: Cell,
    /// Requests answered with the page because too many waited already, or because they gave way to another client.
    pub hold_overflow: Cell,
    /// Requests answered with the page because they had waited for too long.
    pub hold_timeout: Cell,
    /// Requests forwarded after they had waited.
    pub hold_released: Cell,
    /// Requests that the proxy answered itself because the upstream failed (502, 503, 504).
    pub failed: Cell,
    /// Requests that the client gave up before the response was finished.
    pub aborted: Cell,
    /// Requests that passed the closed route by its bypass.
    pub bypassed: Cell,
    /// Secrets, links and cookies that were not good, and may have been guessed.
    pub bypass_refused: Cell,
    /// Requests broken off because the route was down and its drain time over.
    pub cut: Cell,
    /// Tunnels and event streams that were asked to leave because the route was down.
    pub left: Cell,
    /// Requests in flight that were forwarded before the route went down, when they were counted last.
    pub remaining: Gauge,
    /// The generation that they were counted for.
    pub counted: Gauge,
    /// See [`RouteCell::record_outcome`]. Made by the first request that a guard asks about.
    clients: OnceLock<Box<Mutex<ClientOutcomes>>>,
    /// See [`RouteCell::record_latency`]. Made by the route's first request on this worker: a route without any costs nothing.
    latency: OnceLock<Box<Histogram>>,
}

/// Whose requests did how, on one worker. No other worker takes its lock, and control for no longer than it takes to take
/// what is in it.
#[derive(Debug, Default)]
struct ClientOutcomes {
    /// Since control looked last.
    met: Clients,
    /// When they were counted last.
    hanging: Clients,
}

impl RouteCell {
    /// Records what a client met on the route, for the guard that watches it. Only the owning worker may call it.
    pub fn record_outcome(&self, client: Client, met: Met) {
        lock(self.clients.get_or_init(Box::default)).met.meet(client, met);
    }

    /// Records whose requests hang. Only the owning worker may call it.
    pub fn set_hanging(&self, hanging: Clients) {
        if !hanging.is_empty() || self.clients.get().is_some() {
            lock(self.clients.get_or_init(Box::default)).hanging = hanging;
        }
    }

    /// Records how long a forwarded request took from its head (or, where it was held, from its release) to the response's
    /// head, or to the failure of the upstream.
    /// Only the owning worker may call it. The first call takes 3.5 KiB, the others nothing.
    pub fn record_latency(&self, latency: Duration) {
        self.latency.get_or_init(Box::default).record(latency);
    }
}

fn lock(outcomes: &Mutex<ClientOutcomes>) -> MutexGuard<'_, ClientOutcomes> {
    outcomes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RouteMeter {
    /// What clients met since this was asked last, over all workers: only of requests that a guard asks about.
    pub fn take_met(&self) -> Clients {
        let mut clients = Clients::default();
        for outcomes in self.outcomes() {
            let met = std::mem::take(&mut lock(outcomes).met);
            clients.add(&met);
        }
        clients.limit();
        clients
    }

    /// Whose requests hang, over all workers, when they were counted last.
    pub fn hanging(&self) -> Clients {
        let mut clients = Clients::default();
        for outcomes in self.outcomes() {
            let hanging = lock(outcomes).hanging.clone();
            clients.add(&hanging);
        }
        clients
    }

    fn outcomes(&self) -> impl Iterator<Item = &Mutex<ClientOutcomes>> {
        self.workers.iter().filter_map(|cell| cell.clients.get()).map(AsRef::as_ref)
    }

    /// Sums one number over the workers.
    pub fn sum(&self, of: impl Fn(&RouteCell) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }

    /// Requests in flight that were forwarded before a generation; `None` until every worker has counted them since.
    pub fn remaining(&self, epoch: u64) -> Option<u64> {
        let counted = self.workers.iter().all(|cell| cell.counted.seen() >= epoch);
        counted.then(|| self.sum(|cell| cell.remaining.get()))
    }

    /// How long its requests took, over all workers. See [`RouteCell::record_latency`].
    pub fn latency(&self) -> Counts {
        let mut counts = Counts::default();
        self.histograms().for_each(|histogram| counts.add(histogram));
        counts
    }

    /// The sum of what its requests took, in microseconds: 0 if there was none, and the same only if there were no more.
    pub fn micros(&self) -> u64 {
        self.histograms().map(Histogram::micros).fold(0, u64::wrapping_add)
    }

    fn histograms(&self) -> impl Iterator<Item = &Histogram> {
        self.workers.iter().filter_map(|cell| cell.latency.get()).map(AsRef::as_ref)
    }
}

/// What is counted of an upstream.
#[derive(Debug)]
pub struct UpstreamMeter {
    /// Stable for the life of the process.
    pub id: usize,
    /// As it would be written in the config.
    pub name: String,
    /// By worker.
    pub workers: Box<[UpstreamCell]>,
}

/// One worker's view of an upstream. Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamCell {
    /// Requests sent to it whose response is not finished.
    pub pending: Gauge,
    /// Connections open.
    pub connections: Gauge,
    /// Connections opened.
    pub connected: Cell,
    /// Connection attempts that failed.
    pub connect_failures: Cell,
    /// Requests that failed before a response head.
    pub failures: Cell,
    /// Requests that were broken off because their client had stalled and others waited for a connection.
    pub evicted: Cell,
    /// 1 while this worker avoids it.
    pub ejected: Gauge,
    /// How often this worker ejected it.
    pub ejections: Cell,
}

impl UpstreamMeter {
    /// Sums one number over the workers.
    pub fn sum(&self, of: impl Fn(&UpstreamCell) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }
}

/// What is counted of a worker. Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCell {
    /// Client connections open.
    pub connections: Gauge,
    /// Of those, parked: idle, and held without what serves a request.
    pub parked: Gauge,
    /// Streams of page events.
    pub watchers: Gauge,
    /// Client connections accepted.
    pub accepted: Cell,
    /// Times that accepting failed and backed off (out of descriptors, say).
    pub accept_failures: Cell,
    /// TLS handshakes with clients that failed.
    pub tls_failures: Cell,
    /// Requests refused whatever is flagged: no route, malformed, a method that is not for a proxy.
    pub refused: Cell,
    /// Tunnels open.
    pub tunnels: Gauge,
    /// Connections that ended by a panic. Any is a bug.
    pub panics: Cell,
    /// Access log lines dropped because the writer could not keep up.
    pub log_dropped: Cell,
    /// Limits reached, by [`Limit`].
    pub limits: [Cell; Limit::ALL.len()],
}

impl WorkerCell {
    /// Counts a limit that was reached.
    pub fn reached(&self, limit: Limit) {
        self.limits[limit as usize].increment();
    }
}

/// A limit that can be reached. The name is that of its key in `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `head_size`.
    HeadSize,
    /// `head_fields`.
    HeadFields,
    /// `head_read`.
    HeadRead,
    /// `keep_alive`: not an error, but worth a count.
    KeepAlive,
    /// `body_size`.
    BodySize,
    /// `body_read`.
    BodyRead,
    /// `write`.
    Write,
    /// `connect`.
    Connect,
    /// `first_byte`.
    FirstByte,
    /// `upstream_read`.
    UpstreamRead,
    /// `tunnel_idle`.
    TunnelIdle,
    /// `connections`.
    Connections,
    /// `upstream_connections`: waited for in vain, or the reason for breaking off what had stalled.
    UpstreamConnections,
    /// `upstream_queue`.
    UpstreamQueue,
    /// `linger` or `linger_size`.
    Linger,
    /// `watchers`.
    Watchers,
}

impl Limit {
    /// All of them, in the order of their cells.
    pub const ALL: [Self; 16] = [
        Self::HeadSize,
        Self::HeadFields,
        Self::HeadRead,
        Self::KeepAlive,
        Self::BodySize,
        Self::BodyRead,
        Self::Write,
        Self::Connect,
        Self::FirstByte,
        Self::UpstreamRead,
        Self::TunnelIdle,
        Self::Connections,
        Self::UpstreamConnections,
        Self::UpstreamQueue,
        Self::Linger,
        Self::Watchers,
    ];

    /// Whether others have to do with it, and not only the client or the upstream that reached it.
    pub fn is_shared(self) -> bool {
        match self {
            Self::Connections | Self::UpstreamConnections | Self::UpstreamQueue | Self::Watchers => true,
            Self::HeadSize
            | Self::HeadFields
            | Self::HeadRead
            | Self::KeepAlive
            | Self::BodySize
            | Self::BodyRead
            | Self::Write
            | Self::Connect
            | Self::FirstByte
            | Self::UpstreamRead
            | Self::TunnelIdle
            | Self::Linger => false,
        }
    }

    /// The key in `[limits]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeadSize => "head_size",
            Self::HeadFields => "head_fields",
            Self::HeadRead => "head_read",
            Self::KeepAlive => "keep_alive",
            Self::BodySize => "body_size",
            Self::BodyRead => "body_read",
            Self::Write => "write",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::UpstreamRead => "upstream_read",
            Self::TunnelIdle => "tunnel_idle",
            Self::Connections => "connections",
            Self::UpstreamConnections => "upstream_connections",
            Self::UpstreamQueue => "upstream_queue",
            Self::Linger => "linger",
            Self::Watchers => "watchers",
        }
    }
}
