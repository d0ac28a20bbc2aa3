//! Meters: cells that belong to one worker each, and are summed when they are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::plan::config::{Statuses, Upstream};
use crate::plan::lifecycle::{Client, ClientCounts, Clients};

use super::cell::{Cell, Gauge};
use super::histogram::{Counts, Histogram};
use super::statuses::StatusCells;

/// All meters of the process.
#[derive(Debug)]
pub struct Meters {
    /// Cells by worker.
    pub workers: Box<[WorkerCell]>,
    routes: Mutex<HashMap<String, Arc<RouteMeter>>>,
    upstreams: Mutex<UpstreamMeters>,
}

#[derive(Debug, Default)]
struct UpstreamMeters {
    by_key: HashMap<UpstreamKey, Arc<UpstreamMeter>>,
    next_id: usize,
}

/// The identity of an upstream: its configuration, and the content of the files that it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    /// The configuration.
    pub upstream: Upstream,
    /// The SHA-256 of the `ca` file, if there is one.
    pub roots: Option<String>,
    /// The hashes of the files of `client_cert`, if there is one.
    pub client_cert: Option<String>,
}

impl Meters {
    /// Creates meters for this many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers: per_worker(workers), routes: Mutex::default(), upstreams: Mutex::default() }
    }

    /// Returns the meter of a route, and creates it if needed. Called when a generation is made, never for a request.
    pub fn route(&self, name: &str) -> Arc<RouteMeter> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = routes.get(name) {
            return Arc::clone(meter);
        }
        let meter = Arc::new(RouteMeter { name: name.to_owned(), workers: per_worker(self.workers.len()) });
        routes.insert(name.to_owned(), Arc::clone(&meter));
        meter
    }

    /// Returns the meter of an upstream, and creates it if needed.
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

    /// Returns the meters of all routes, sorted by name. Routes that are no longer configured are included, since
    /// counters never go back.
    pub fn routes(&self) -> Vec<Arc<RouteMeter>> {
        let mut routes: Vec<_> = self.routes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        routes
    }

    /// Calls `look` for the meter of every route, in no order and without copies. `look` must not ask for a meter.
    pub fn each_route(&self, look: impl FnMut(&RouteMeter)) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.values().map(AsRef::as_ref).for_each(look);
    }
}

fn per_worker<T: Default>(workers: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(workers).collect()
}

/// Meter of a route.
#[derive(Debug)]
pub struct RouteMeter {
    /// Name of the route.
    pub name: String,
    /// Cells by worker.
    pub workers: Box<[RouteCell]>,
}

/// One worker's cell of a [`RouteMeter`], aligned to its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RouteCell {
    /// Requests forwarded whose response is not finished, including tunnels.
    pub in_flight: Gauge,
    /// Responses of upstreams by the first digit of the status; index 0 is unused.
    pub upstream: [Cell; 6],
    /// Requests answered with the page because the route is under maintenance.
    pub maintenance: Cell,
    /// Requests answered with a redirect.
    pub redirected: Cell,
    /// Requests that wait for the route now.
    pub held: Gauge,
    /// Streams of events about the route's page.
    pub watchers: Gauge,
    /// Requests that began to wait.
    pub held_total: Cell,
    /// Requests answered with the page because too many waited, or because they gave way to another client.
    pub hold_overflow: Cell,
    /// Requests answered with the page because they had waited for too long.
    pub hold_timeout: Cell,
    /// Requests forwarded after they had waited.
    pub hold_released: Cell,
    /// Requests that the proxy answered with 502, 503 or 504, because the upstream failed.
    pub failed: Cell,
    /// gRPC calls that the upstream answered with the status of a failure, or with none.
    pub calls_failed: Cell,
    /// Failures among `upstream`, `failed` and `calls_failed` of requests that the guard leaves out.
    pub ignored_failures: Cell,
    /// Requests that the client gave up before the response was finished.
    pub aborted: Cell,
    /// Requests that passed the closed route by its bypass.
    pub bypassed: Cell,
    /// Wrong secrets, links and cookies, which may be guesses.
    pub bypass_refused: Cell,
    /// Requests broken off because the route was down and its drain time over.
    pub cut: Cell,
    /// Tunnels and event streams that were asked to end because the route was down.
    pub left: Cell,
    /// Requests in flight that were forwarded before the route went down, as counted last.
    pub remaining: Gauge,
    /// The generation that `remaining` was counted for.
    pub counted: Gauge,
    /// Set by [`RouteCell::record_outcome`]. Created by the first request on a guarded route.
    clients: OnceLock<Box<Mutex<ClientOutcomes>>>,
    /// Set by [`RouteCell::record_status`]. Created by [`RouteMeter::count_statuses`].
    statuses: OnceLock<Box<StatusCells>>,
    /// Uses of the named links.
    pub links: super::links::LinkCell,
    /// Set by [`RouteCell::record_latency`]. Created by the route's first request on this worker, so an idle route
    /// costs nothing.
    latency: OnceLock<Box<Histogram>>,
    /// Set by [`RouteCell::record_ignored_latency`].
    ignored_latency: OnceLock<Box<Histogram>>,
}

/// Outcomes by client, on one worker. Only that worker and control take the lock, and control only to copy.
#[derive(Debug, Default)]
struct ClientOutcomes {
    /// Outcomes since control read them last.
    met: Clients,
    /// Clients with hanging requests, as counted last.
    hanging: Clients,
}

impl RouteCell {
    /// Records the outcome of a client's request for the guard of the route. Only the owning worker may call this.
    pub fn record_outcome(&self, client: Client, met: ClientCounts) {
        lock(self.clients.get_or_init(Box::default)).met.count(client, met);
    }

    /// Sets which clients have hanging requests. Only the owning worker may call this.
    pub fn set_hanging(&self, hanging: Clients) {
        if !hanging.is_empty() || self.clients.get().is_some() {
            lock(self.clients.get_or_init(Box::default)).hanging = hanging;
        }
    }

    /// Records the latency of a forwarded request.
    ///
    /// The latency counts from its head, or from its release if it was held. It ends with the head of the response, or
    /// with the upstream's failure. Only the owning worker may call this. The first call allocates 3.5 KiB, later ones
    /// nothing.
    pub fn record_latency(&self, latency: Duration) {
        self.latency.get_or_init(Box::default).record(latency);
    }

    /// Records the latency of a request that the guard leaves out. Only the owning worker may call this.
    pub fn record_ignored_latency(&self, latency: Duration) {
        self.ignored_latency.get_or_init(Box::default).record(latency);
    }

    /// Records the status of an answer that the guard counts, if a guard of the route has ever named one. Only the owning
    /// worker may call this.
    pub fn record_status(&self, status: u16) {
        self.statuses.get().into_iter().for_each(|cells| cells.count(status));
    }

    /// Returns the failures of requests that the guard counts. The cells are read one after the other, so the number may
    /// be wrong for a moment.
    pub fn failures(&self) -> u64 {
        let failures = self.upstream[SERVER_ERROR].get() + self.failed.get() + self.calls_failed.get();
        failures.saturating_sub(self.ignored_failures.get())
    }
}

/// Index of the class 5xx in [`RouteCell::upstream`].
pub const SERVER_ERROR: usize = 5;

fn lock(outcomes: &Mutex<ClientOutcomes>) -> MutexGuard<'_, ClientOutcomes> {
    outcomes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RouteMeter {
    /// Takes the outcomes by client since the last call, summed over workers. Only requests on a guarded route are
    /// recorded.
    pub fn take_met(&self) -> Clients {
        let mut clients = Clients::default();
        for outcomes in self.outcomes() {
            let met = std::mem::take(&mut lock(outcomes).met);
            clients.add(&met);
        }
        clients.limit();
        clients
    }

    /// Returns the clients with hanging requests, summed over workers.
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

    /// Counts the statuses of answers from now on. Called when a generation is made, never for a request.
    pub fn count_statuses(&self) {
        self.workers.iter().for_each(|cell| _ = cell.statuses.get_or_init(Box::default));
    }

    /// Returns the answers with a status, or with one of a class; 0 if they were never counted.
    pub fn answers(&self, status: Statuses) -> u64 {
        self.workers.iter().filter_map(|cell| cell.statuses.get()).map(|cells| cells.of(status)).sum()
    }

    /// Sums a number over the workers.
    pub fn sum(&self, of: impl Fn(&RouteCell) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }

    /// Returns the requests in flight that were forwarded before a generation. `None` until every worker has counted
    /// them.
    pub fn remaining(&self, epoch: u64) -> Option<u64> {
        let counted = self.workers.iter().all(|cell| cell.counted.seen() >= epoch);
        counted.then(|| self.sum(|cell| cell.remaining.get()))
    }

    /// Returns the latencies of all workers; see [`RouteCell::record_latency`].
    pub fn latency(&self) -> Counts {
        let mut counts = self.counted_latency();
        let ignored = self.workers.iter().filter_map(|cell| cell.ignored_latency.get());
        ignored.for_each(|histogram| counts.add(histogram));
        counts
    }

    /// Returns the same without the requests that the guard leaves out.
    pub fn counted_latency(&self) -> Counts {
        let mut counts = Counts::default();
        self.histograms().for_each(|histogram| counts.add(histogram));
        counts
    }

    /// Returns the sum of all latencies in microseconds, without those that the guard leaves out. As long as it stays
    /// the same, there was no request that counts.
    pub fn micros(&self) -> u64 {
        self.histograms().map(Histogram::micros).fold(0, u64::wrapping_add)
    }

    /// Returns true if there was any request.
    pub fn has_latency(&self) -> bool {
        self.workers.iter().any(|cell| cell.latency.get().is_some() || cell.ignored_latency.get().is_some())
    }

    fn histograms(&self) -> impl Iterator<Item = &Histogram> {
        self.workers.iter().filter_map(|cell| cell.latency.get()).map(AsRef::as_ref)
    }
}

/// Meter of an upstream.
#[derive(Debug)]
pub struct UpstreamMeter {
    /// Id, stable for the life of the process.
    pub id: usize,
    /// Name, as written in the config.
    pub name: String,
    /// Cells by worker.
    pub workers: Box<[UpstreamCell]>,
}

/// One worker's cell of an upstream, aligned to its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamCell {
    /// Requests sent whose response is not finished.
    pub pending: Gauge,
    /// Connections open.
    pub connections: Gauge,
    /// Connections opened.
    pub connected: Cell,
    /// Connection attempts that failed.
    pub connect_failures: Cell,
    /// Requests that failed before the head of a response.
    pub failures: Cell,
    /// Requests broken off because their client had stalled while others waited for a connection.
    pub evicted: Cell,
    /// 1 while this worker avoids the upstream.
    pub ejected: Gauge,
    /// Times that this worker ejected the upstream.
    pub ejections: Cell,
}

impl UpstreamMeter {
    /// Sums a number over the workers.
    pub fn sum(&self, of: impl Fn(&UpstreamCell) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }
}

/// Cell of a worker, aligned to its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCell {
    /// Client connections open.
    pub connections: Gauge,
    /// Client connections that are parked: idle, without the state that serves a request.
    pub parked: Gauge,
    /// Streams of page events.
    pub watchers: Gauge,
    /// Client connections accepted.
    pub accepted: Cell,
    /// Times that accepting failed and backed off, for example out of descriptors.
    pub accept_failures: Cell,
    /// TLS handshakes with clients that failed.
    pub tls_failures: Cell,
    /// Connections of trusted proxies that were closed for want of a valid PROXY header.
    pub proxy_headers_refused: Cell,
    /// Requests refused whatever is flagged: no route, malformed, or a method that no proxy serves.
    pub refused: Cell,
    /// Tunnels open.
    pub tunnels: Gauge,
    /// Connections that ended by a panic, which is always a bug.
    pub panics: Cell,
    /// Access log lines dropped because the writer could not keep up.
    pub log_dropped: Cell,
    /// Times that each [`Limit`] was reached.
    pub limits: [Cell; Limit::ALL.len()],
}

impl WorkerCell {
    /// Counts a limit that was reached.
    pub fn reached(&self, limit: Limit) {
        self.limits[limit as usize].increment();
    }
}

/// A limit that can be reached, named after its key in `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `head_size`.
    HeadSize,
    /// `head_fields`.
    HeadFields,
    /// `head_read`.
    HeadRead,
    /// `keep_alive`. Counted, though reaching it is normal.
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
    /// `upstream_head_size`.
    UpstreamHeadSize,
    /// `upstream_head_fields`.
    UpstreamHeadFields,
    /// `upstream_read`.
    UpstreamRead,
    /// `tunnel_idle`.
    TunnelIdle,
    /// `connections`.
    Connections,
    /// `upstream_connections`: a request waited in vain, or a stalled one was broken off.
    UpstreamConnections,
    /// `upstream_queue`.
    UpstreamQueue,
    /// `linger` or `linger_size`.
    Linger,
    /// `watchers`.
    Watchers,
}

impl Limit {
    /// All limits, in the order of their cells.
    pub const ALL: [Self; 18] = [
        Self::HeadSize,
        Self::HeadFields,
        Self::HeadRead,
        Self::KeepAlive,
        Self::BodySize,
        Self::BodyRead,
        Self::Write,
        Self::Connect,
        Self::FirstByte,
        Self::UpstreamHeadSize,
        Self::UpstreamHeadFields,
        Self::UpstreamRead,
        Self::TunnelIdle,
        Self::Connections,
        Self::UpstreamConnections,
        Self::UpstreamQueue,
        Self::Linger,
        Self::Watchers,
    ];

    /// Returns true if the limit is shared, so that others suffer besides the peer that reached it.
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
            | Self::UpstreamHeadSize
            | Self::UpstreamHeadFields
            | Self::UpstreamRead
            | Self::TunnelIdle
            | Self::Linger => false,
        }
    }

    /// Returns the key in `[limits]`.
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
            Self::UpstreamHeadSize => "upstream_head_size",
            Self::UpstreamHeadFields => "upstream_head_fields",
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
