//! The connections of one worker to one upstream: opened when needed, kept while idle, bounded in number.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::plan::config::Upstream;
use crate::plan::limits::Limits;
use crate::telemetry::{UpstreamCell, UpstreamMeter};

use super::body::RequestBody;
use super::connect::connect;
use super::error::Error;
use super::health::Health;
use super::lease::{Connection, Lease, LeaseKind, drive};
use super::socket::{SentHead, UpstreamIo};
use super::worker::Local;

/// One worker's connections to one upstream.
pub(super) struct Pool {
    upstream: Upstream,
    tls: Option<Arc<ClientConfig>>,
    pub(super) meter: Arc<UpstreamMeter>,
    worker: usize,
    pub(super) health: Health,
    idle: RefCell<Vec<Idle>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// An HTTP/2 connection is being opened; who comes meanwhile waits for it.
    opening: Cell<bool>,
    /// The upstream is no longer configured: nothing is kept any more.
    closed: Cell<bool>,
    waiting: Cell<usize>,
    /// Names are looked up by threads that cannot be stopped: this many at a time.
    lookups: Arc<Semaphore>,
    /// Told when a connection becomes idle or ends.
    pub(super) freed: Notify,
}

/// An HTTP/1.1 connection that waits for a request.
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    connection: Rc<Connection>,
    since: Instant,
}

/// An HTTP/2 connection.
pub(super) struct Multiplexed {
    pub(super) sender: RefCell<http2::SendRequest<RequestBody>>,
    pub(super) streams: Cell<usize>,
    /// When its last stream ended.
    pub(super) quiet_since: Cell<Instant>,
}

/// Whether a connection that has been idle may serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Any that seems alive: the request can be sent again.
    Any,
    /// Only one that was used a moment ago: an upstream may just be closing the others, and this request cannot be
    /// sent twice.
    Recent,
    /// None.
    Fresh,
}

impl Pool {
    pub(super) fn new(
        upstream: Upstream,
        tls: Option<Arc<ClientConfig>>,
        meter: Arc<UpstreamMeter>,
        worker: usize,
    ) -> Self {
        // It may be one that was avoided when it was last configured.
        meter.workers[worker].ejected.set(0);
        Self {
            upstream,
            tls,
            meter,
            worker,
            health: Health::default(),
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            opening: Cell::new(false),
            closed: Cell::new(false),
            waiting: Cell::new(0),
            lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)),
            freed: Notify::new(),
        }
    }

    /// Whether requests must be HTTP/2.
    pub(super) fn http2(&self) -> bool {
        self.upstream.http2
    }

    /// What the upstream is called in its own words: for `Host`, where the client's is not kept.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(super) fn cell(&self) -> &UpstreamCell {
        &self.meter.workers[self.worker]
    }

    /// The upstream answered.
    pub(super) fn succeeded(&self) {
        self.health.succeeded(&self.meter.name, self.cell());
    }

    /// The upstream failed before a response head.
    pub(super) fn failed(&self, error: &Error) {
        self.health.failed(&self.meter.name, self.cell(), error);
    }

    /// Gets a connection: an idle one, a new one, or the next that becomes free.
    pub(super) async fn checkout(self: &Rc<Self>, limits: &Limits, reuse: Reuse) -> Result<Lease, Error> {
        let deadline = Instant::now() + limits.connect;
        loop {
            if let Some(lease) = self.take_idle(reuse) {
                return Ok(lease);
            }
            if self.may_open(limits) {
                let opened = timeout_at(deadline, self.open(limits)).await;
                return opened
                    .unwrap_or(Err(Error::ConnectTimeout))
                    .inspect_err(|_| self.cell().connect_failures.increment());
            }
            if self.close_oldest_idle() {
                // The task of that connection ends before this one goes on.
                tokio::task::yield_now().await;
                continue;
            }
            self.wait(deadline, limits).await?;
        }
    }

    /// Closes the connection that has been idle for longest, to make room. True if there was one.
    ///
    /// Idle connections hold places, and a request that must not use them would else wait in vain for one.
    fn close_oldest_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return false;
        }
        idle.remove(0).connection.abort();
        true
    }

    fn may_open(&self, limits: &Limits) -> bool {
        let open = self.cell().connections.get() < limits.upstream_connections as u64;
        open && !(self.http2() && self.opening.get())
    }

    /// Waits until a connection is freed.
    async fn wait(&self, deadline: Instant, limits: &Limits) -> Result<(), Error> {
        if self.waiting.get() >= limits.upstream_queue {
            return Err(Error::QueueFull);
        }
        let _place = Counted::new(&self.waiting);
        timeout_at(deadline, self.freed.notified()).await.map_err(|_| Error::NoConnection)
    }

    /// Takes a connection that is at hand.
    pub(super) fn take_idle(self: &Rc<Self>, reuse: Reuse) -> Option<Lease> {
        if self.http2() {
            return self.take_multiplexed();
        }
        let mut idle = self.idle.borrow_mut();
        // The one used last is on top: it is the warmest, and the others get a chance to grow old and go.
        while let Some(Idle { sender, connection, since }) = idle.pop() {
            let usable = match reuse {
                Reuse::Any => true,
                Reuse::Recent => since.elapsed() < RECENT,
                Reuse::Fresh => false,
            };
            if sender.is_closed() {
                continue;
            }
            if !usable {
                // It stays for requests that can be sent again.
                idle.push(Idle { sender, connection, since });
                return None;
            }
            let kind = LeaseKind::One { sender: Some(sender), connection };
            return Some(Lease::reusing(self, kind));
        }
        None
    }

    fn take_multiplexed(self: &Rc<Self>) -> Option<Lease> {
        let mut connections = self.multiplexed.borrow_mut();
        connections.retain(|connection| !connection.sender.borrow().is_closed());
        let connection = connections
            .iter()
            .filter(|connection| connection.has_room())
            .min_by_key(|connection| connection.streams.get())?;
        connection.streams.set(connection.streams.get() + 1);
        let kind = LeaseKind::Two { connection: Rc::clone(connection) };
        Some(Lease::reusing(self, kind))
    }

    /// Opens a connection and gives it to a task that drives it.
    async fn open(self: &Rc<Self>, limits: &Limits) -> Result<Lease, Error> {
        let place = Place::new(self);
        if self.http2() {
            return self.open_multiplexed(limits, place).await;
        }
        let socket = connect(&self.upstream, self.tls.clone(), &self.lookups).await?;
        let mut builder = http1::Builder::new();
        builder.max_header_size(limits.head_size);
        if limits.head_fields != HYPER_HEAD_FIELDS {
            builder.max_headers(limits.head_fields);
        }
        let sent = Rc::new(SentHead::default());
        let io = UpstreamIo::new(socket, Rc::clone(&sent));
        let (sender, driven) = builder.handshake(io).await.map_err(Error::Broken)?;
        let connection = Rc::new(Connection::new(sent));
        let task = tokio::task::spawn_local(drive(driven, Rc::clone(&connection), place));
        connection.abort.replace(Some(task.abort_handle()));
        self.cell().connected.increment();
        let kind = LeaseKind::One { sender: Some(sender), connection };
        Ok(Lease::opened(self, kind))
    }

    async fn open_multiplexed(self: &Rc<Self>, limits: &Limits, place: Place) -> Result<Lease, Error> {
        let _opening = Opening::new(self);
        let socket = connect(&self.upstream, self.tls.clone(), &self.lookups).await?;
        let window = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
        let handshake = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.h2_ping)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(window(limits.h2_stream_window))
            .initial_connection_window_size(window(limits.h2_connection_window))
            .max_header_list_size(window(limits.h2_field_list))
            // Until the upstream has said how many it allows, there is one stream: it would refuse the others.
            .initial_max_send_streams(1)
            .handshake(TokioIo::new(socket));
        let (sender, driven) = handshake.await.map_err(Error::Broken)?;
        tokio::task::spawn_local(async move {
            let _place = place;
            // How it ended is told to the requests on it.
            let _ = driven.await;
        });
        self.cell().connected.increment();
        let connection = Rc::new(Multiplexed {
            sender: RefCell::new(sender),
            streams: Cell::new(1),
            quiet_since: Cell::new(Instant::now()),
        });
        if !self.closed.get() {
            self.multiplexed.borrow_mut().push(Rc::clone(&connection));
        }
        Ok(Lease::opened(self, LeaseKind::Two { connection }))
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, sender: http1::SendRequest<RequestBody>, connection: Rc<Connection>, now: Instant) {
        if self.closed.get() {
            connection.abort();
        } else if !sender.is_closed() {
            self.idle.borrow_mut().push(Idle { sender, connection, since: now });
            self.freed.notify_one();
        }
    }

    /// Closes what has been idle for too long. Called now and then by the worker.
    pub(super) fn sweep(&self, keep: Duration) {
        let now = Instant::now();
        let stays = |since: Instant| now.saturating_duration_since(since) < keep;
        self.idle.borrow_mut().retain(|idle| {
            let stays = !idle.sender.is_closed() && stays(idle.since);
            if !stays {
                idle.connection.abort();
            }
            stays
        });
        self.multiplexed.borrow_mut().retain(|connection| {
            let idle = connection.streams.get() == 0 && !stays(connection.quiet_since.get());
            !idle && !connection.sender.borrow().is_closed()
        });
        self.health.tell(self.cell());
    }

    /// Closes what is idle, and whatever comes back later: the upstream is no longer configured. The tasks of its
    /// connections hold the pool, and the pool holds what keeps them alive.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().drain(..).for_each(|idle| idle.connection.abort());
        self.multiplexed.borrow_mut().clear();
    }
}

impl Multiplexed {
    fn has_room(&self) -> bool {
        self.streams.get() < MOST_STREAMS
    }
}

/// A connection's place among those allowed; given back when it ends.
pub(super) struct Place(Rc<Pool>);

impl Place {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.cell().connections.rise();
        Self(Rc::clone(pool))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.cell().connections.fall();
        self.0.freed.notify_one();
    }
}

/// While an HTTP/2 connection is being opened.
struct Opening(Rc<Pool>);

impl Opening {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.opening.set(true);
        Self(Rc::clone(pool))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.freed.notify_waiters();
    }
}

/// One more in a count, until it is dropped.
struct Counted<'c>(&'c Cell<usize>);

impl<'c> Counted<'c> {
    fn new(count: &'c Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Servers close idle connections after seconds, seldom sooner: one idle for less than this is not closing now.
pub(super) const RECENT: Duration = Duration::from_millis(900);

/// hyper keeps room for this many fields on the stack; another number costs an allocation.
pub(super) const HYPER_HEAD_FIELDS: usize = 100;

/// Streams of one HTTP/2 connection to an upstream. Where the upstream allows fewer, h2 lets the others wait.
const MOST_STREAMS: usize = 100;

/// Look-ups of an upstream's name that one worker has under way.
const MOST_LOOKUPS: usize = 4;
