//! One client connection, from accept to close: its protocol, its deadlines, how it ends.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::plan::limits::Limits;
use crate::telemetry::Limit;

use super::body::Progress;
use super::deadline::Deadline;
use super::exchange::serve;
use super::headers::Peer;
use super::pool::HYPER_HEAD_FIELDS;
use super::socket::{Activity, ClientIo, Closer, Plain, Socket, read_some};
use super::tunnel::Tunnel;
use super::worker::{Admitted, Worker};

/// A connection as it was accepted.
pub(super) struct Accepted {
    pub stream: Plain,
    /// `None` on a unix socket.
    pub address: Option<IpAddr>,
    pub tls: Option<Arc<ServerConfig>>,
}

/// What the tasks of one client connection share.
pub(super) struct Connection {
    pub(super) peer: Peer,
    activity: Rc<Activity>,
    /// Requests under way.
    active: Cell<usize>,
    /// When the last one ended; before the first, when the connection was opened.
    quiet_since: Cell<Instant>,
    /// A request came at all.
    used: Cell<bool>,
    /// It speaks HTTP/2: bytes need not be the beginning of a request.
    http2: Cell<bool>,
    /// HTTP/1: what follows on the connection is not a request, so it ends with the answer.
    ends: Cell<bool>,
    tunnel: RefCell<Option<Tunnel>>,
    /// When an idle connection is closed because the process ends.
    closes_at: Cell<Option<Instant>>,
    /// HTTP/2: the stream whose task runs right now.
    stream: RefCell<Option<Rc<Progress>>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    fn new(peer: Peer, now: Instant) -> Self {
        Self {
            peer,
            activity: Rc::new(Activity::new(now)),
            active: Cell::new(0),
            quiet_since: Cell::new(now),
            used: Cell::new(false),
            http2: Cell::new(false),
            ends: Cell::new(false),
            tunnel: RefCell::default(),
            closes_at: Cell::new(None),
            stream: RefCell::default(),
            waker: RefCell::default(),
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.active.set(self.active.get() + 1);
        self.used.set(true);
    }

    /// A request has ended.
    pub(super) fn finish(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        self.quiet_since.set(Instant::now());
        self.activity.heard.set(false);
    }

    /// HTTP/1: the connection ends with this answer, with a lingering close.
    pub(super) fn end_with_answer(&self) {
        self.ends.set(true);
    }

    pub(super) fn ends_with_answer(&self) -> bool {
        self.ends.get()
    }

    /// The answer that is given now is a switch of protocols.
    pub(super) fn open_tunnel(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// HTTP/2: the stream whose task runs right now.
    pub(super) fn stream(&self) -> Option<Rc<Progress>> {
        self.stream.borrow().clone()
    }

    /// HTTP/2: the stream that runs right now has something to write from now on.
    pub(super) fn stream_waits(&self) {
        if let Some(stream) = &*self.stream.borrow() {
            stream.wait();
        }
    }

    /// The process ends: an idle connection is closed some time in the second half of the time until `end`.
    pub(super) fn drain(&self, end: Instant) {
        let now = Instant::now();
        let time = end.saturating_duration_since(now);
        self.closes_at.set(Some(now + time.mul_f64(0.5 + fastrand::f64() / 2.0)));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// When the connection is to be ended, and for which limit, if nothing changes.
    fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let blocked = self.activity.write_blocked.get().map(|since| (since + limits.write, Due::Limit(Limit::Write)));
        // A response that was handed on to its end may still be on its way to a slow client: that is not quiet.
        let quiet = (self.active.get() == 0 && blocked.is_none()).then(|| self.quiet_due(limits));
        [blocked, quiet].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    fn quiet_due(&self, limits: &Limits) -> (Instant, Due) {
        // Until the client has taken the last answer it is not quiet.
        let taken_at = self.activity.taken_at.get();
        let quiet_since = self.quiet_since.get().max(taken_at);
        // Between HTTP/2 requests come answers to pings, windows and the like.
        let heard = self.activity.heard.get() && !self.http2.get();
        let limit = if !self.used.get() {
            (quiet_since + limits.head_read, Due::Limit(Limit::HeadRead))
        } else if heard {
            (self.activity.heard_at.get().max(taken_at) + limits.head_read, Due::Limit(Limit::HeadRead))
        } else {
            (quiet_since + limits.keep_alive, Due::Limit(Limit::KeepAlive))
        };
        match self.closes_at.get() {
            // Who was told to leave is gone already. Who was not has perhaps just sent the next request.
            Some(at) if !heard && at.max(quiet_since + LAST_MOMENT) < limit.0 => {
                (at.max(quiet_since + LAST_MOMENT), Due::Drained)
            }
            Some(_) | None => limit,
        }
    }

    /// Remembers whom to wake when the process ends.
    fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// Why a connection is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Limit(Limit),
    Drained,
}

/// How HTTP ended on a connection.
enum End {
    Done(hyper::Result<()>),
    Due(Due),
}

/// Serves a connection to its end, when its place is given back.
pub(super) async fn run(worker: Rc<Worker>, accepted: Accepted, _place: Admitted) {
    let _guard = PanicGuard(&worker);
    let limits = worker.generation().snapshot.limits.clone();
    let now = Instant::now();
    let scheme = if accepted.tls.is_some() { "https" } else { "http" };
    let connection = Rc::new(Connection::new(Peer::new(accepted.address, scheme), now));
    let _enlisted = worker.enlist(Rc::clone(&connection));
    if let Some(end) = worker.draining() {
        connection.drain(end);
    }
    match open_in_time(&worker, &connection, accepted, &limits).await {
        Err(Due::Limit(limit)) => worker.cell().reached(limit),
        Err(Due::Drained) | Ok(None) => {}
        Ok(Some(Opened { socket, prefix, http2: true })) => {
            serve_http2(&worker, connection, socket, prefix, &limits).await
        }
        Ok(Some(Opened { socket, prefix, http2: false })) => {
            serve_http1(&worker, connection, socket, prefix, &limits).await
        }
    }
}

/// Opens a connection, as long as its client does not take too long and the process does not end.
async fn open_in_time(
    worker: &Worker,
    connection: &Connection,
    accepted: Accepted,
    limits: &Limits,
) -> Result<Option<Opened>, Due> {
    let mut opening = std::pin::pin!(open(worker, connection, accepted));
    let mut deadline = Deadline::default();
    let opened = poll_fn(|cx| {
        connection.watch(cx);
        if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
            return Poll::Ready(Ok(opened));
        }
        let (due, why) = connection.quiet_due(limits);
        deadline.poll(cx, Some(due)).map(|()| Err(why))
    });
    opened.await
}

/// A connection whose protocol is known.
struct Opened {
    socket: Socket,
    /// What was read to learn it.
    prefix: Bytes,
    http2: bool,
}

/// Does the TLS handshake and learns the protocol. `None` when the client gave up.
async fn open(worker: &Worker, connection: &Connection, accepted: Accepted) -> Option<Opened> {
    let mut socket = match accepted.tls {
        None => Socket::Plain(accepted.stream),
        Some(config) => {
            // A client that has begun a handshake is not taken for an idle one.
            accepted.stream.begins().await.ok()?;
            connection.activity.heard.set(true);
            match TlsAcceptor::from(config).accept(accepted.stream).await {
                Ok(stream) => {
                    connection.activity.heard.set(false);
                    Socket::Server(Box::new(stream))
                }
                Err(error) => {
                    worker.cell().tls_failures.increment();
                    tracing::debug!(%error, "TLS handshake failed");
                    return None;
                }
            }
        }
    };
    if let Socket::Server(stream) = &socket
        && let Some(protocol) = stream.get_ref().1.alpn_protocol()
    {
        let http2 = protocol == b"h2";
        return Some(Opened { socket, prefix: Bytes::new(), http2 });
    }
    let (prefix, http2) = learn(&mut socket, &connection.activity).await?;
    Some(Opened { socket, prefix, http2 })
}

/// Reads until it is clear whether the client begins with the preface of HTTP/2 (RFC 9113 section 3.4).
async fn learn(socket: &mut Socket, activity: &Activity) -> Option<(Bytes, bool)> {
    let mut read = BytesMut::new();
    loop {
        let some = read_some(socket, FIRST_READ).await.ok()?;
        if some.is_empty() {
            return None;
        }
        activity.heard.set(true);
        read.extend_from_slice(&some);
        if read.starts_with(PREFACE) {
            return Some((read.freeze(), true));
        }
        if !PREFACE.starts_with(&read) {
            return Some((read.freeze(), false));
        }
    }
}

async fn serve_http1(worker: &Rc<Worker>, connection: Rc<Connection>, socket: Socket, prefix: Bytes, limits: &Limits) {
    let io = ClientIo::new(socket, prefix, Rc::clone(&connection.activity), Closer::Driver);
    let mut builder = http1::Builder::new();
    // Time is kept here: hyper's own timer would cost an allocation a request.
    builder.header_read_timeout(None).max_header_size(limits.head_size).half_close(false);
    if limits.head_fields != HYPER_HEAD_FIELDS {
        builder.max_headers(limits.head_fields);
    }
    let service = service_fn(|request| serve(Rc::clone(worker), Rc::clone(&connection), request));
    let mut http = builder.serve_connection(io, service);
    let mut deadline = Deadline::default();
    let end = poll_fn(|cx| {
        connection.watch(cx);
        // hyper is not asked to shut down: it would close behind an answer whose head is out already and says nothing of
        // it, with the next request perhaps on its way. The next answer says it.
        if let Poll::Ready(done) = Pin::new(&mut http).poll(cx) {
            return Poll::Ready(End::Done(done));
        }
        let due = connection.due(limits);
        deadline.poll(cx, due.map(|(due, _)| due)).map(|()| End::Due(due.map_or(Due::Drained, |(_, why)| why)))
    });
    let end = end.await;
    let parts = http.into_parts();
    close_http1(worker, &connection, parts.io.into_socket(), parts.read_buf, end, limits).await;
}

/// Ends an HTTP/1 connection: as a tunnel, with a word, or with a lingering close where the client may still be sending.
async fn close_http1(
    worker: &Worker,
    connection: &Connection,
    mut socket: Socket,
    read_ahead: Bytes,
    end: End,
    limits: &Limits,
) {
    if let Some(tunnel) = connection.tunnel.take() {
        return tunnel.run(socket, read_ahead, limits, worker.cell()).await;
    }
    let lingers = match end {
        End::Done(Ok(())) => connection.ends.get(),
        End::Done(Err(error)) => {
            note(worker, &error, &read_ahead, limits);
            // hyper has answered 400 or 431, and the client may be in the middle of sending.
            error.is_parse() || connection.ends.get()
        }
        End::Due(Due::Drained) => false,
        End::Due(Due::Limit(limit)) => {
            worker.cell().reached(limit);
            if limit == Limit::Write {
                return;
            }
            let begun = limit == Limit::HeadRead && (!read_ahead.is_empty() || connection.activity.heard.get());
            begun && timeout(CLOSE_PATIENCE, socket.write_all(REQUEST_TIMEOUT)).await.is_ok()
        }
    };
    // The end of the stream is told first: a client that reads to the end has the whole answer then.
    if timeout(CLOSE_PATIENCE, socket.shutdown()).await.is_ok() && lingers {
        linger(worker, socket, limits).await;
    }
}

/// Counts what hyper refused. `unread` begins with the head that it refused.
fn note(worker: &Worker, error: &hyper::Error, unread: &[u8], limits: &Limits) {
    if error.is_parse_too_large() {
        // hyper has one error for both: a head of a size that is allowed has too many fields.
        let end = unread.windows(2).position(|pair| pair == b"\n\n" || pair == b"\n\r");
        let limit =
            if end.unwrap_or(unread.len()) + 2 < limits.head_size { Limit::HeadFields } else { Limit::HeadSize };
        worker.cell().reached(limit);
    } else if error.is_parse() {
        worker.cell().refused.increment();
    }
    tracing::debug!(%error, "client connection ended");
}

/// Reads and throws away what the client is still sending, within bounds. Closing with bytes unread would reset the
/// connection, and the reset may overtake the answer (RFC 9112 section 9.6).
async fn linger(worker: &Worker, mut socket: Socket, limits: &Limits) {
    let deadline = Instant::now() + limits.linger;
    let mut left = limits.linger_size;
    loop {
        let patience = deadline.min(Instant::now() + LINGER_QUIET);
        match timeout_at(patience, read_some(&mut socket, LINGER_READ)).await {
            Ok(Ok(some)) if !some.is_empty() => match left.checked_sub(some.len() as u64) {
                Some(rest) => left = rest,
                None => return worker.cell().reached(Limit::Linger),
            },
            Ok(_) => return,
            Err(_) => return worker.cell().reached(Limit::Linger),
        }
    }
}

async fn serve_http2(worker: &Rc<Worker>, connection: Rc<Connection>, socket: Socket, prefix: Bytes, limits: &Limits) {
    connection.http2.set(true);
    let io = ClientIo::new(socket, prefix, Rc::clone(&connection.activity), Closer::Hyper);
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX >> 1);
    let executor = Streams { worker: Rc::clone(worker), connection: Rc::clone(&connection), write: limits.write };
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.h2_ping)
        .keep_alive_timeout(PING_PATIENCE)
        .max_concurrent_streams(number(limits.h2_streams))
        .max_header_list_size(number(limits.h2_field_list))
        .max_pending_accept_reset_streams(limits.h2_pending_resets)
        .max_local_error_reset_streams(limits.h2_error_resets)
        .initial_stream_window_size(number(limits.h2_stream_window))
        .initial_connection_window_size(number(limits.h2_connection_window))
        .max_send_buf_size(H2_SEND_BUFFER);
    let service = service_fn(|request| serve(Rc::clone(worker), Rc::clone(&connection), request));
    let mut http = std::pin::pin!(builder.serve_connection(io, service));
    let mut deadline = Deadline::default();
    let mut leaving: Option<Instant> = None;
    let end = poll_fn(|cx| {
        connection.watch(cx);
        if let Poll::Ready(done) = http.as_mut().poll(cx) {
            return Poll::Ready(End::Done(done));
        }
        loop {
            let due = connection.due(limits).or(connection.closes_at.get().map(|at| (at, Due::Drained)));
            let due = leaving.map_or(due, |until| {
                // GOAWAY was sent: what is under way ends by its own time-outs, an idle client gets a moment.
                let blocked = connection.activity.write_blocked.get().map(|since| since + limits.write);
                let idle =
                    (connection.active.get() == 0).then_some(until.max(connection.quiet_since.get() + CLOSE_PATIENCE));
                [blocked, idle].into_iter().flatten().min().map(|at| (at, Due::Drained))
            });
            std::task::ready!(deadline.poll(cx, due.map(|(due, _)| due)));
            let why = due.map_or(Due::Drained, |(_, why)| why);
            if let Due::Limit(limit) = why {
                worker.cell().reached(limit);
            }
            if leaving.is_some() || why == Due::Limit(Limit::Write) {
                return Poll::Ready(End::Due(why));
            }
            leaving = Some(Instant::now() + CLOSE_PATIENCE);
            http.as_mut().graceful_shutdown();
            if let Poll::Ready(done) = http.as_mut().poll(cx) {
                return Poll::Ready(End::Done(done));
            }
        }
    });
    if let End::Done(Err(error)) = end.await {
        tracing::debug!(%error, "client connection ended");
    }
}

/// Runs the streams of one HTTP/2 connection, each in a task that ends when its client takes nothing for too long.
#[derive(Clone)]
struct Streams {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    write: Duration,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let stream = Stream {
            future: Box::pin(future),
            progress: Rc::new(Progress::new()),
            deadline: Deadline::default(),
            streams: self.clone(),
        };
        tokio::task::spawn_local(stream);
    }
}

/// One stream. Dropping hyper's future resets it.
struct Stream<F> {
    future: Pin<Box<F>>,
    progress: Rc<Progress>,
    deadline: Deadline,
    streams: Streams,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &mut *self;
        let connection = &stream.streams.connection;
        // So that the request that runs inside finds its own progress.
        connection.stream.replace(Some(Rc::clone(&stream.progress)));
        let polled = stream.future.as_mut().poll(cx);
        connection.stream.replace(None);
        if polled.is_ready() {
            return polled;
        }
        let due = stream.progress.waiting.get().then(|| stream.progress.since.get() + stream.streams.write);
        std::task::ready!(stream.deadline.poll(cx, due));
        stream.streams.worker.cell().reached(Limit::Write);
        Poll::Ready(())
    }
}

/// Counts a panic. It ends the connection and nothing else.
struct PanicGuard<'w>(&'w Worker);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cell().panics.increment();
        }
    }
}

/// The preface of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Said to a client that began a head and did not end it.
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n";

/// Bytes of the first read.
const FIRST_READ: usize = 4096;

/// Bytes that a lingering close reads at a time.
const LINGER_READ: usize = 64 * 1024;

/// A client that sends nothing for this long is done sending.
pub(super) const LINGER_QUIET: Duration = Duration::from_secs(5);

/// What a client may take for its next request when the process ends and it could not be told.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// For the last words on a connection.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long an HTTP/2 client may take to answer a ping.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that one HTTP/2 stream may have waiting for its window.
const H2_SEND_BUFFER: usize = 64 * 1024;
