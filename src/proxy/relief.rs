//! Relief for requests that wait for an upstream without a free connection. Requests whose client has stalled are cut
//! (RFC 9113 section 10.5), so that a stalled client does not keep others waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::plan::client;
use crate::proxy::upstream::pool::Pool;

use super::connection::ClientConnection;
use super::in_flight::{InFlight, Scope};
use super::queue::Flow;
use super::worker::Worker;

/// Starts the task that relieves the queue of an upstream.
pub(crate) fn start(worker: &Rc<Worker>, pool: &Rc<Pool>) {
    tokio::task::spawn_local(relieve(Rc::clone(worker), Rc::clone(pool)));
}

/// Relieves the queue of an upstream until it is empty. A connection that becomes free serves the queue by itself. This
/// task makes connections free, and does what depends on time alone.
async fn relieve(worker: Rc<Worker>, pool: Rc<Pool>) {
    let _relief = Relief(&pool);
    let begun = Instant::now();
    let mut evicted_at: Option<Instant> = None;
    while pool.waiting() > 0 {
        pool.adjust_limit();
        pool.serve_waiting();
        let most = pool.most_for_next();
        let due = evicted_at.is_none_or(|evicted_at| evicted_at.elapsed() >= EVICT_INTERVAL);
        if due && pool.waiting() > 0 && pool.is_full(most) {
            evicted_at = Some(Instant::now());
            let (scope, capacity) = if pool.budget.is_spent() {
                worker.close_idle();
                (Scope::All, pool.budget.most)
            } else {
                (Scope::Upstream(pool.meter.id), pool.capacity(most))
            };
            let evicted = evict(&worker, &pool, scope, capacity, begun);
            pool.cell().evicted.add(evicted);
        }
        sleep(SERVE_INTERVAL).await;
    }
}

/// Guard that marks a pool as relieved until it is dropped.
struct Relief<'p>(&'p Pool);

impl Drop for Relief<'_> {
    fn drop(&mut self) {
        self.0.is_relieved.set(false);
    }
}

/// A request that its client has stalled.
struct Stalled {
    connection: Rc<ClientConnection>,
    in_flight: Rc<InFlight>,
    flow: Flow,
    since: Instant,
}

/// Cuts as many stalled requests as there are waiting ones, the longest stalled first. Returns their number.
///
/// `capacity` is the limit on requests under way at once. `begun` is the instant from which the queue has not been
/// empty.
fn evict(worker: &Worker, pool: &Pool, scope: Scope, capacity: usize, begun: Instant) -> u64 {
    let now = Instant::now();
    let mut shares = Shares::new(capacity);
    let mut stalled = Vec::new();
    let mut leaving = 0;
    for connection in worker.connections().values() {
        let flow = flow_of(worker, connection);
        let blocked = connection.activity.writes.blocked();
        for in_flight in connection.in_flight() {
            if !in_flight.holds(scope) {
                continue;
            }
            shares.add(flow);
            if in_flight.is_cut() {
                leaving += 1;
            } else if let Some(since) = in_flight.stalled(blocked, begun) {
                stalled.push(Stalled { connection: Rc::clone(connection), in_flight, flow, since });
            }
        }
    }
    let waiting = pool.waiting_flows();
    // True if a client waits whose network, or whose connection, holds no more than its share.
    let network_waits = waiting.iter().any(|flow| !shares.network_is_over(*flow));
    let connection_waits = waiting.iter().any(|flow| !shares.connection_is_over(*flow));
    stalled.retain(|stalled| {
        let gives_way = network_waits && shares.network_is_over(stalled.flow)
            || connection_waits && shares.connection_is_over(stalled.flow);
        let timeout = if gives_way { SHORT_STALL_TIMEOUT } else { STALL_TIMEOUT };
        now.saturating_duration_since(stalled.since) >= timeout
    });
    stalled.sort_unstable_by_key(|stalled| stalled.since);
    let wanted = pool.waiting().saturating_sub(leaving);
    let cut = stalled.iter().take(wanted).filter(|stalled| stalled.in_flight.evict());
    cut.map(|stalled| stalled.connection.wake()).count() as u64
}

/// Returns the client of a connection, without looking at a request's fields.
fn flow_of(worker: &Worker, connection: &ClientConnection) -> Flow {
    let generation = worker.generation();
    if connection.peer.is_trusted(&generation.snapshot.trusted_proxies) {
        Flow { network: None, connection: None }
    } else {
        Flow { network: connection.peer.address.map(client::network), connection: Some(connection.id.get()) }
    }
}

/// The number of connections to an upstream that each client holds.
struct Shares {
    of_network: HashMap<IpAddr, usize>,
    of_connection: HashMap<u64, usize>,
    most_of_network: usize,
    most_of_connection: usize,
}

impl Shares {
    /// Divides this many connections into shares.
    fn new(connections: usize) -> Self {
        Self {
            of_network: HashMap::new(),
            of_connection: HashMap::new(),
            most_of_network: connections.div_ceil(NETWORK_SHARE),
            most_of_connection: connections.div_ceil(CONNECTION_SHARE),
        }
    }

    fn add(&mut self, flow: Flow) {
        flow.network.into_iter().for_each(|network| *self.of_network.entry(network).or_default() += 1);
        flow.connection.into_iter().for_each(|connection| *self.of_connection.entry(connection).or_default() += 1);
    }

    /// Returns true if a client's network holds more than its share.
    fn network_is_over(&self, flow: Flow) -> bool {
        let held = flow.network.and_then(|network| self.of_network.get(&network));
        held.is_some_and(|&held| held > self.most_of_network)
    }

    /// Returns true if a client's connection holds more than its share.
    fn connection_is_over(&self, flow: Flow) -> bool {
        let held = flow.connection.and_then(|connection| self.of_connection.get(&connection));
        held.is_some_and(|&held| held > self.most_of_connection)
    }
}

/// Divisor of all connections: the result is the share of a network while others wait.
const NETWORK_SHARE: usize = 4;

/// Divisor of all connections: the result is the share of a client's connection while others wait.
const CONNECTION_SHARE: usize = 16;

/// Time after which a stalled request is cut if others wait.
const STALL_TIMEOUT: Duration = Duration::from_millis(1500);

/// The same for a client that holds more than its share, if a client waits that does not.
const SHORT_STALL_TIMEOUT: Duration = Duration::from_millis(200);

/// Time between two attempts to serve waiting requests.
const SERVE_INTERVAL: Duration = Duration::from_millis(5);

/// Time between two searches for stalled requests.
const EVICT_INTERVAL: Duration = Duration::from_millis(25);
