//! Makes it happen: accepts connections, decides each request by what is live, forwards or answers.
//!
//! Hot. It reads no files, renders no templates, looks at no wall clock (but for a line of the access log) and takes
//! no lock that workers share, but for requests that are held. One thread a core, each with its own runtime, listeners and
//! upstream connections.

mod client;
mod connection;
mod error;
mod holds;
mod http;
mod in_flight;
mod io;
mod queue;
mod relief;
mod request;
mod tend;
mod throttle;
mod upstream;
mod worker;

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::runtime::LocalOptions;
use tokio::sync::watch as channel;

use crate::live::{Reader, Stage};
use crate::telemetry::Meters;
use crate::telemetry::access::AccessLog;

pub use client::listen;
use client::tls;
use holds::Holds;
use listen::{Bound, Mine};
use worker::{Room, Worker};

/// What the workers are started with.
#[derive(Debug)]
pub struct Start {
    /// In the order of the config.
    pub listeners: Vec<Bound>,
    /// Whether each of them speaks TLS.
    pub tls: Vec<bool>,
    /// What is live.
    pub reader: Reader,
    /// Where to count. Its number of workers is the number of workers.
    pub meters: Arc<Meters>,
    /// How the process's life goes.
    pub stage: channel::Receiver<Stage>,
    /// One for each worker.
    pub logs: Vec<AccessLog>,
}

/// The running workers.
#[derive(Debug)]
pub struct Proxy {
    threads: Vec<JoinHandle<()>>,
}

/// Starts the workers.
///
/// # Errors
/// When a thread cannot be started, or the TLS configuration cannot be made.
pub fn start(mut start: Start) -> std::io::Result<Proxy> {
    let listeners = start.tls.iter().enumerate();
    let tls: Vec<Option<Arc<ServerConfig>>> = listeners
        .map(|(index, &tls)| tls.then(|| tls::server_config(start.reader.clone(), index)).transpose())
        .collect::<std::io::Result<_>>()?;
    let workers = start.meters.workers.len();
    let room = room_per_worker(&start.reader, workers);
    let holds = Arc::new(Holds::default());
    let mut threads = Vec::with_capacity(workers);
    for (id, log) in start.logs.into_iter().enumerate() {
        let mine = start.listeners.iter_mut().map(Bound::take).zip(tls.iter().cloned());
        let mine: Vec<_> = mine.filter_map(|(mine, tls)| Some((mine?, tls))).collect();
        let (reader, meters, stage) = (start.reader.clone(), Arc::clone(&start.meters), start.stage.clone());
        let holds = Arc::clone(&holds);
        let body = move || {
            let _alive = Alive;
            let news = reader.clone();
            run(|| Worker::new(id, reader.cached(), meters, holds, log, room), news, mine, stage);
        };
        threads.push(std::thread::Builder::new().name(format!("worker-{id}")).spawn(body)?);
    }
    Ok(Proxy { threads })
}

impl Proxy {
    /// Waits until every worker has ended.
    ///
    /// # Errors
    /// When one of them ended by a panic.
    pub fn join(self) -> std::thread::Result<()> {
        self.threads.into_iter().try_for_each(JoinHandle::join)
    }
}

/// Ends the process if a worker's thread dies: what the worker had accepted is lost, and its share of new connections
/// would be. Better a restart.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker died");
            std::process::abort();
        }
    }
}

/// A worker's thread.
fn run(
    worker: impl FnOnce() -> Worker,
    news: Reader,
    listeners: Vec<(Mine, Option<Arc<ServerConfig>>)>,
    stage: channel::Receiver<Stage>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        // Its listeners would answer nobody.
        Err(error) => panic!("a worker cannot start: {error}"),
    };
    runtime.block_on(work(Rc::new(worker()), news, listeners, stage));
    // A look-up of a name that hangs must not hold the end.
    runtime.shutdown_background();
}

async fn work(
    worker: Rc<Worker>,
    news: Reader,
    listeners: Vec<(Mine, Option<Arc<ServerConfig>>)>,
    mut stage: channel::Receiver<Stage>,
) {
    let (doors, open) = Doors::new();
    let mut accepting = Vec::new();
    for (mine, tls) in listeners {
        let door = if mine.inherited { &open.inherited } else { &open.own };
        accepting.push(tokio::task::spawn_local(listen::accept(Rc::clone(&worker), mine, tls, door.clone())));
    }
    let sweep = tokio::task::spawn_local(Rc::clone(&worker).sweep());
    // One for all workers.
    let release = (worker.id == 0).then(|| tokio::task::spawn_local(Arc::clone(&worker.holds).release(news.clone())));
    let spread = tokio::task::spawn_local(Rc::clone(&worker).follow(news));
    let (deadline, grace) = draining(&mut stage).await;
    // Another process has an inherited socket: the connections go there from now on. Our own socket stays open for
    // the grace time, since closing it refuses whoever was not told yet.
    doors.inherited.send_replace(false);
    worker.drain(grace);
    let end = async {
        tokio::time::sleep(grace).await;
        doors.own.send_replace(false);
        for accepting in accepting {
            // It fails only by a panic.
            let _ = accepting.await;
        }
        worker.fewer_than(1).await;
    };
    if tokio::time::timeout_at(deadline.into(), end).await.is_err() {
        tracing::warn!(worker = worker.id, "drain time is over, cutting what is left");
    }
    if let Some(release) = release {
        release.abort();
    }
    sweep.abort();
    spread.abort();
    worker.flush_log();
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

/// Whether listeners still accept.
struct Doors<T> {
    own: T,
    inherited: T,
}

impl Doors<channel::Sender<bool>> {
    fn new() -> (Self, Doors<channel::Receiver<bool>>) {
        let (own, own_open) = channel::channel(true);
        let (inherited, inherited_open) = channel::channel(true);
        (Self { own, inherited }, Doors { own: own_open, inherited: inherited_open })
    }
}

/// Divides the descriptors: half of them are for clients, unless the config says how many those have.
fn room_per_worker(reader: &Reader, workers: usize) -> Room {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let descriptors = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / workers.max(1);
    let clients = reader.current().snapshot.limits.connections.unwrap_or((descriptors / 2).max(LEAST_CONNECTIONS));
    Room { clients, upstream: descriptors.saturating_sub(clients).max(LEAST_CONNECTIONS) }
}

/// Descriptors kept for files, listeners, the admin listener and the log.
const RESERVED_DESCRIPTORS: usize = 64;

/// A worker has at least this many to clients, and as many to upstreams.
const LEAST_CONNECTIONS: usize = 16;
