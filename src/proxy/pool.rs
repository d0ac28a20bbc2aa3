//! The connections of one worker to one upstream: opened when needed, kept while idle, bounded in number.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, timeout, timeout_at};

use crate::plan::config::Upstream;
use crate::plan::limits::Limits;
use crate::telemetry::{UpstreamCell, UpstreamMeter};

use super::body::{RequestBody, UploadState};
use super::connect::connect;
use super::error::Error;
use super::socket::{Socket, UpstreamIo};
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
    waiting: Cell<usize>,
    /// Told when a connection becomes idle or ends.
    freed: Notify,
}

/// How an upstream has been answering this worker.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: Cell<u32>,
    /// How often it was ejected without a success between.
    ejections: Cell<u32>,
    until: Cell<Option<Instant>>,
}

/// An HTTP/1.1 connection that waits for a request.
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    connection: Rc<Connection>,
    since: Instant,
}

/// What a request shares with the task that drives its connection.
pub(super) struct Connection {
    abort: RefCell<Option<AbortHandle>>,
    /// When a response head is due, counted from the upload's last move.
    waiting: RefCell<Option<(Rc<UploadState>, Duration)>>,
    timed_out: Cell<bool>,
    /// Where the stream goes when the upstream switches protocols.
    tunnel: RefCell<Option<oneshot::Sender<Switched>>>,
}

/// An upstream's stream after HTTP.
pub(super) struct Switched {
    pub socket: Socket,
    /// What the upstream sent behind its response.
    pub read_ahead: Bytes,
    /// A tunnel is a connection like any other.
    pub place: Place,
}

/// An HTTP/2 connection.
struct Multiplexed {
    sender: RefCell<http2::SendRequest<RequestBody>>,
    streams: Cell<usize>,
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

/// A connection for one request. Dropped before [`Lease::finish`], it ends an HTTP/1.1 connection and resets an
/// HTTP/2 stream.
pub(super) struct Lease {
    pool: Rc<Pool>,
    kind: LeaseKind,
    upload: Option<Rc<UploadState>>,
    /// Where the stream comes out if the upstream switches protocols.
    tunnel: Option<oneshot::Receiver<Switched>>,
    /// The connection was open before: the upstream may be closing it right now.
    pub(super) reused: bool,
}

enum LeaseKind {
    One { sender: Option<http1::SendRequest<RequestBody>>, connection: Rc<Connection> },
    Two { connection: Rc<Multiplexed> },
}

/// Why a request got no response head.
pub(super) struct Unsent {
    pub error: Error,
    /// The request, if none of it left.
    pub request: Option<Request<RequestBody>>,
}

impl Pool {
    pub(super) fn new(
        upstream: Upstream,
        tls: Option<Arc<ClientConfig>>,
        meter: Arc<UpstreamMeter>,
        worker: usize,
    ) -> Self {
        Self {
            upstream,
            tls,
            meter,
            worker,
            health: Health::default(),
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            opening: Cell::new(false),
            waiting: Cell::new(0),
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

    fn take_idle(self: &Rc<Self>, reuse: Reuse) -> Option<Lease> {
        if self.http2() {
            return self.take_multiplexed();
        }
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        // The one used last is on top: it is the warmest, and the others get a chance to grow old and go.
        while let Some(Idle { sender, connection, since }) = idle.pop() {
            let idled = now.saturating_duration_since(since);
            let usable = match reuse {
                Reuse::Any => true,
                Reuse::Recent => idled < RECENT,
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
            return Some(Lease { pool: Rc::clone(self), kind, upload: None, tunnel: None, reused: true });
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
        Some(Lease { pool: Rc::clone(self), kind, upload: None, tunnel: None, reused: true })
    }

    /// Opens a connection and gives it to a task that drives it.
    async fn open(self: &Rc<Self>, limits: &Limits) -> Result<Lease, Error> {
        let place = Place::new(self);
        if self.http2() {
            return self.open_multiplexed(limits, place).await;
        }
        let socket = connect(&self.upstream, self.tls.clone()).await?;
        let mut builder = http1::Builder::new();
        builder.max_header_size(limits.head_size);
        if limits.head_fields != HYPER_HEAD_FIELDS {
            builder.max_headers(limits.head_fields);
        }
        let (sender, driven) = builder.handshake(UpstreamIo::new(socket)).await.map_err(Error::Broken)?;
        let connection = Rc::new(Connection::new());
        let task = tokio::task::spawn_local(drive(driven, Rc::clone(&connection), place));
        connection.abort.replace(Some(task.abort_handle()));
        self.cell().connected.increment();
        let kind = LeaseKind::One { sender: Some(sender), connection };
        Ok(Lease { pool: Rc::clone(self), kind, upload: None, tunnel: None, reused: false })
    }

    async fn open_multiplexed(self: &Rc<Self>, limits: &Limits, place: Place) -> Result<Lease, Error> {
        let _opening = Opening::new(self);
        let socket = connect(&self.upstream, self.tls.clone()).await?;
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
        let connection = Rc::new(Multiplexed { sender: RefCell::new(sender), streams: Cell::new(1) });
        self.multiplexed.borrow_mut().push(Rc::clone(&connection));
        Ok(Lease {
            pool: Rc::clone(self),
            kind: LeaseKind::Two { connection },
            upload: None,
            tunnel: None,
            reused: false,
        })
    }

    /// Keeps a connection for the next request.
    fn put(&self, sender: http1::SendRequest<RequestBody>, connection: Rc<Connection>) {
        if !sender.is_closed() {
            self.idle.borrow_mut().push(Idle { sender, connection, since: Instant::now() });
            self.freed.notify_one();
        }
    }

    /// Closes what has been idle for too long. Called now and then by the worker.
    pub(super) fn sweep(&self, keep: Duration) {
        let now = Instant::now();
        self.idle
            .borrow_mut()
            .retain(|idle| !idle.sender.is_closed() && now.saturating_duration_since(idle.since) < keep);
        self.multiplexed.borrow_mut().retain(|connection| !connection.sender.borrow().is_closed());
    }
}

impl Multiplexed {
    fn has_room(&self) -> bool {
        self.streams.get() < MOST_STREAMS
    }
}

impl Connection {
    fn new() -> Self {
        Self {
            abort: RefCell::default(),
            waiting: RefCell::default(),
            timed_out: Cell::new(false),
            tunnel: RefCell::default(),
        }
    }

    /// Ends the task that drives it.
    fn abort(&self) {
        if let Some(abort) = self.abort.borrow().as_ref() {
            abort.abort();
        }
    }

    /// When the response head is due, if one is waited for and it is the upstream that is waited for.
    fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        let (upload, patience) = waiting.as_ref().filter(|(upload, _)| !upload.starved.get())?;
        Some(upload.progress.get() + *patience)
    }
}

impl Lease {
    /// Sends a request and waits for the response's head.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
        upload: Rc<UploadState>,
        first_byte: Duration,
    ) -> Result<Response<Incoming>, Unsent> {
        upload.progress.set(Instant::now());
        self.upload = Some(Rc::clone(&upload));
        match &mut self.kind {
            LeaseKind::One { sender, connection } => {
                let Some(sender) = sender else {
                    return Err(Unsent { error: Error::NoConnection, request: Some(request) });
                };
                // A connection is put back when its response has ended, which may be a moment before it is ready.
                if !sender.is_ready()
                    && let Err(error) = becomes_ready(sender).await
                {
                    return Err(Unsent { error, request: Some(request) });
                }
                if request.headers().contains_key(UPGRADE) {
                    // Before it is sent: with the answer the driver is done, and has to know whose the stream is.
                    let (send, receive) = oneshot::channel();
                    connection.tunnel.replace(Some(send));
                    self.tunnel = Some(receive);
                }
                connection.waiting.replace(Some((upload, first_byte)));
                let sent = sender.try_send_request(request).await;
                connection.waiting.replace(None);
                sent.map_err(|error| unsent(error, connection.timed_out.get()))
            }
            LeaseKind::Two { connection } => {
                let sent = connection.sender.borrow_mut().try_send_request(request);
                within_first_byte(sent, &upload, first_byte).await
            }
        }
    }

    /// The stream, once the upstream has switched protocols and the response's head was read.
    pub(super) fn tunnel(&mut self) -> Option<oneshot::Receiver<Switched>> {
        let LeaseKind::One { sender, .. } = &mut self.kind else {
            return None;
        };
        // The driver ends the HTTP part by itself; nothing may be sent on it any more.
        sender.take();
        self.tunnel.take()
    }

    /// The response was read to its end. The connection is kept if the request was sent to its end as well; else
    /// hyper would keep it for ever (hyper#4176), so it is ended.
    pub(super) fn finish(mut self) {
        let sent = self.upload.as_ref().is_none_or(|upload| upload.state.get() == super::body::Upload::Complete);
        if let LeaseKind::One { sender, connection } = &mut self.kind
            && sent
            && let Some(sender) = sender.take()
        {
            self.pool.put(sender, Rc::clone(connection));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.kind {
            LeaseKind::One { sender: Some(_), connection } => connection.abort(),
            LeaseKind::One { sender: None, .. } => {}
            LeaseKind::Two { connection } => {
                connection.streams.set(connection.streams.get().saturating_sub(1));
                self.pool.freed.notify_one();
            }
        }
    }
}

/// Waits a moment for a connection whose last request may still be on its way out.
async fn becomes_ready(sender: &mut http1::SendRequest<RequestBody>) -> Result<(), Error> {
    let ready = timeout(READY_PATIENCE, poll_fn(|cx| sender.poll_ready(cx))).await;
    ready.map_err(|_| Error::NoConnection)?.map_err(Error::Broken)
}

/// What became of a request that got no response head.
fn unsent(mut error: hyper::client::conn::TrySendError<Request<RequestBody>>, timed_out: bool) -> Unsent {
    let request = error.take_message();
    let error = if timed_out { Error::FirstByte } else { Error::Broken(error.into_error()) };
    Unsent { error, request }
}

/// Waits for an HTTP/2 response's head as long as the upload moves and `patience` after.
async fn within_first_byte(
    sent: impl Future<Output = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<RequestBody>>>>,
    upload: &UploadState,
    patience: Duration,
) -> Result<Response<Incoming>, Unsent> {
    let mut sent = std::pin::pin!(sent);
    let mut due = upload.progress.get() + patience;
    loop {
        match timeout_at(due, sent.as_mut()).await {
            Ok(sent) => return sent.map_err(|error| unsent(error, false)),
            Err(_) if upload.starved.get() => due = Instant::now() + patience,
            Err(_) if upload.progress.get() + patience > due => due = upload.progress.get() + patience,
            Err(_) => return Err(Unsent { error: Error::FirstByte, request: None }),
        }
    }
}

/// Drives an HTTP/1.1 connection to its end, and hands its stream on if it became a tunnel.
async fn drive(mut driven: http1::Connection<UpstreamIo, RequestBody>, connection: Rc<Connection>, place: Place) {
    let mut deadline = Deadline::default();
    let ended = poll_fn(|cx| {
        // Without shutdown: the stream of a tunnel lives on.
        if let Poll::Ready(ended) = driven.poll_without_shutdown(cx) {
            return Poll::Ready(ended.is_ok());
        }
        if deadline.poll(cx, connection.due()).is_ready() {
            connection.timed_out.set(true);
            return Poll::Ready(false);
        }
        Poll::Pending
    });
    if !ended.await {
        return;
    }
    if let Some(tunnel) = connection.tunnel.take() {
        let parts = driven.into_parts();
        // Nobody waits any more if the upstream did not switch, or if the client went away meanwhile.
        let _ = tunnel.send(Switched { socket: parts.io.into_socket(), read_ahead: parts.read_buf, place });
    }
}

/// A deadline that moves all the time and is looked at seldom: the timer is set again only when it has run out or
/// when the deadline has come nearer.
#[derive(Default)]
pub(super) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Deadline {
    /// Ready when `due` has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        let Some(due) = due else {
            return Poll::Pending;
        };
        loop {
            if self.armed.is_none_or(|armed| armed > due) {
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(due),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(due))),
                }
                self.armed = Some(due);
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            std::task::ready!(timer.as_mut().poll(cx));
            self.armed = None;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
        }
    }
}

impl Health {
    /// Whether it is to be avoided now.
    pub(super) fn ejected(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| now < until)
    }

    /// It answered.
    pub(super) fn succeeded(&self, cell: &UpstreamCell) {
        if self.failures.get() != 0 || self.ejections.get() != 0 {
            self.failures.set(0);
            self.ejections.set(0);
            self.until.set(None);
            cell.ejected.set(0);
        }
    }

    /// It failed before a response head. Several failures in a row eject it; each ejection doubles the next.
    pub(super) fn failed(&self, cell: &UpstreamCell, now: Instant) {
        self.failures.set(self.failures.get().saturating_add(1));
        // After an ejection one failure is enough: it was a trial.
        if self.failures.get() >= FAILURES_TO_EJECT || self.ejections.get() > 0 && !self.ejected(now) {
            let doubled = FIRST_EJECTION.saturating_mul(1 << self.ejections.get().min(MOST_DOUBLINGS));
            let time = doubled.min(LONGEST_EJECTION).mul_f64(1.0 + fastrand::f64() / 4.0);
            self.until.set(Some(now + time));
            self.ejections.set(self.ejections.get().saturating_add(1));
            self.failures.set(0);
            cell.ejected.set(1);
            cell.ejections.increment();
        }
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

/// How long a connection that was put back may take to be ready.
const READY_PATIENCE: Duration = Duration::from_millis(500);

const FAILURES_TO_EJECT: u32 = 3;
const FIRST_EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(60);
const MOST_DOUBLINGS: u32 = 6;
