//! Data plane: accepts connections, decides each request by the live snapshot, and forwards or answers it.
//!
//! This code is a hot path: no file is read, no template is rendered, and no wall clock is read except for the access
//! log. Workers share no lock, except for requests that are held. Each core has one thread, with its own runtime,
//! listeners and upstream connections.

mod client;
mod connection;
mod cuts;
mod drain;
mod error;
mod http;
mod in_flight;
mod io;
mod queue;
mod relief;
mod request;
mod throttle;
mod trim;
mod upstream;
mod worker;

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::LocalOptions;
use tokio::sync::watch as channel;

use crate::hold::HoldQueues;
use crate::live::{Reader, Stage};
use crate::telemetry::Meters;
use crate::telemetry::access::AccessLog;

pub use client::listen;
use listen::{Bound, WorkerListener};
use worker::{ConnectionLimits, Worker};

/// Everything that the workers are started with.
#[derive(Debug)]
pub struct Start {
    /// The listeners, in the order of the config.
    pub listeners: Vec<Bound>,
    /// True for each listener that speaks TLS, in the same order.
    pub tls: Vec<bool>,
    /// The reader of the live generation.
    pub reader: Reader,
    /// The meters to count in. Their number of workers is the number of workers.
    pub meters: Arc<Meters>,
    /// The stage of the process's life.
    pub stage: channel::Receiver<Stage>,
    /// The access logs, one for each worker.
    pub logs: Vec<AccessLog>,
}

/// Handle of the running workers.
#[derive(Debug)]
pub struct Proxy {
    threads: Vec<JoinHandle<()>>,
}

/// Starts the workers.
///
/// # Errors
/// Returns an error if a thread cannot be started.
pub fn start(mut start: Start) -> std::io::Result<Proxy> {
    // The index by which the live generation has the TLS of a listener.
    let tls: Vec<Option<usize>> = start.tls.iter().enumerate().map(|(index, &tls)| tls.then_some(index)).collect();
    let workers = start.meters.workers.len();
    let limits = connection_limits(&start.reader, workers);
    let holds = Arc::new(HoldQueues::default());
    let mut threads = Vec::with_capacity(workers);
    for (id, log) in start.logs.into_iter().enumerate() {
        let listeners = start.listeners.iter_mut().map(Bound::take).zip(tls.iter().copied());
        let listeners: Vec<_> = listeners.filter_map(|(listener, tls)| Some((listener?, tls))).collect();
        let (reader, meters, stage) = (start.reader.clone(), Arc::clone(&start.meters), start.stage.clone());
        let holds = Arc::clone(&holds);
        let body = move || {
            let _alive = Alive;
            let publications = reader.clone();
            run(|| Worker::new(id, reader.cached(), log, (meters, holds), limits), publications, listeners, stage);
        };
        threads.push(std::thread::Builder::new().name(format!("worker-{id}")).spawn(body)?);
    }
    Ok(Proxy { threads })
}

impl Proxy {
    /// Waits until every worker has ended.
    ///
    /// # Errors
    /// Returns an error if a worker ended by a panic.
    pub fn join(self) -> std::thread::Result<()> {
        self.threads.into_iter().try_for_each(JoinHandle::join)
    }
}

/// Guard that ends the process if a worker's thread dies. That worker's connections are lost, and its share of new ones
/// would be too. A restart is better.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker died");
            std::process::abort();
        }
    }
}

/// Runs one worker on the current thread.
fn run(
    worker: impl FnOnce() -> Worker,
    publications: Reader,
    listeners: Vec<(WorkerListener, Option<usize>)>,
    stage: channel::Receiver<Stage>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        // Without a runtime, the worker's listeners would answer nobody.
        Err(error) => panic!("a worker cannot start: {error}"),
    };
    runtime.block_on(work(Rc::new(worker()), publications, listeners, stage));
    // A hanging name look-up must not delay the end.
    runtime.shutdown_background();
}

async fn work(
    worker: Rc<Worker>,
    publications: Reader,
    listeners: Vec<(WorkerListener, Option<usize>)>,
    mut stage: channel::Receiver<Stage>,
) {
    let (switches, open) = AcceptSwitches::new();
    let mut accepting = Vec::new();
    for (listener, tls) in listeners {
        let switch = if listener.inherited { &open.inherited } else { &open.own };
        accepting.push(tokio::task::spawn_local(listen::accept(Rc::clone(&worker), listener, tls, switch.clone())));
    }
    let sweep = tokio::task::spawn_local(Rc::clone(&worker).sweep());
    // One task for all workers.
    let release =
        (worker.id == 0).then(|| tokio::task::spawn_local(release(Arc::clone(&worker.holds), publications.clone())));
    let follow = tokio::task::spawn_local(Rc::clone(&worker).follow(publications));
    let (deadline, grace) = draining(&mut stage).await;
    // Another process has an inherited socket: connections go there from now on. Our own socket stays open for the
    // grace time, since closing it refuses clients that have not been told yet.
    switches.inherited.send_replace(false);
    worker.drain(grace);
    let end = async {
        tokio::time::sleep(grace).await;
        switches.own.send_replace(false);
        for accepting in accepting {
            // Joining fails only after a panic.
            let _ = accepting.await;
        }
        worker.fewer_than(1).await;
    };
    if tokio::time::timeout_at(deadline.into(), end).await.is_err() {
        tracing::warn!(worker = worker.id, "drain time is over, cutting the remaining connections");
    }
    if let Some(release) = release {
        release.abort();
    }
    sweep.abort();
    follow.abort();
    worker.flush_log();
}

/// Releases held requests as their routes come back, until the process ends.
async fn release(holds: Arc<HoldQueues>, mut reader: Reader) {
    loop {
        let next = holds.call(&reader.current().snapshot, tokio::time::Instant::now());
        tokio::select! {
            // Both branches only trigger a check. They are cancel safe, since the next check sees what was missed.
            published = reader.published() => if !published { return },
            () = holds.due(next) => {}
        }
    }
}

/// Waits until the process is to end.
async fn draining(stage: &mut channel::Receiver<Stage>) -> (Instant, Duration) {
    loop {
        if let Stage::Draining { deadline, grace } = *stage.borrow_and_update() {
            return (deadline, grace);
        }
        if stage.changed().await.is_err() {
            return (Instant::now(), Duration::ZERO);
        }
    }
}

/// Switches that tell listeners whether to accept.
struct AcceptSwitches<T> {
    own: T,
    inherited: T,
}

impl AcceptSwitches<channel::Sender<bool>> {
    fn new() -> (Self, AcceptSwitches<channel::Receiver<bool>>) {
        let (own, own_open) = channel::channel(true);
        let (inherited, inherited_open) = channel::channel(true);
        (Self { own, inherited }, AcceptSwitches { own: own_open, inherited: inherited_open })
    }
}

/// Divides the file descriptors. Half of them are for clients, unless the config sets a number.
fn connection_limits(reader: &Reader, workers: usize) -> ConnectionLimits {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let descriptors = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / workers.max(1);
    let clients = reader.current().snapshot.limits.connections.unwrap_or((descriptors / 2).max(LEAST_CONNECTIONS));
    ConnectionLimits { clients, upstream: descriptors.saturating_sub(clients).max(LEAST_CONNECTIONS) }
}

/// Descriptors kept for files, listeners, the admin listener and the log.
const RESERVED_DESCRIPTORS: usize = 64;

/// Least limit on a worker's connections to clients, and on those to upstreams.
const LEAST_CONNECTIONS: usize = 16;
