//! One client connection, from accept to close: its protocol, its deadlines, how it ends.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use rustls::ServerConfig;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::plan::limits::Limits;
use crate::proxy::client::http1::{close_http1, serve_http1};
use crate::proxy::client::http2::serve_http2;
use crate::proxy::http::headers::Peer;
use crate::proxy::io::client::Activity;
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::gather::Gather;
use crate::proxy::io::socket::{Plain, Socket, poll_read_some, read_some};
use crate::proxy::request::events::Stream;
use crate::proxy::request::tunnel::Tunnel;
use crate::telemetry::Limit;

use super::in_flight::Standing;
use super::worker::{Admitted, Worker};

/// A connection as it was accepted.
pub(crate) struct Accepted {
    pub stream: Plain,
    /// The peer's address, and the port that it has connected to; `None` on a unix socket.
    pub ends: Option<(IpAddr, u16)>,
    pub tls: Option<Arc<ServerConfig>>,
}

/// What the tasks of one client connection share.
pub(crate) struct Connection {
    /// Its number among those of its worker.
    pub(crate) id: Cell<u64>,
    pub(crate) peer: Peer,
    pub(crate) activity: Rc<Activity>,
    /// Requests under way.
    pub(crate) active: Cell<usize>,
    /// When the last one ended; before the first, when the connection was opened.
    pub(crate) quiet_since: Cell<Instant>,
    /// A request came at all.
    used: Cell<bool>,
    /// It speaks HTTP/2: bytes need not be the beginning of a request.
    pub(crate) http2: Cell<bool>,
    /// HTTP/1: what follows on the connection is not a request, so it ends with the answer.
    pub(crate) ends: Cell<bool>,
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
    /// HTTP/1: the chunked body of the request that is under way.
    pub(crate) upload: RefCell<Option<Rc<Gather>>>,
    /// HTTP/1: the request that runs asked for events, which need no HTTP from here on.
    pub(crate) watching: RefCell<Option<Box<Stream>>>,
    /// Whether there is one.
    pub(crate) watches: Cell<bool>,
    /// When an idle connection is closed because the process ends.
    pub(crate) closes_at: Cell<Option<Instant>>,
    /// HTTP/2: the stream whose task runs right now.
    pub(crate) stream: RefCell<Option<Rc<Standing>>>,
    /// HTTP/1: where its request stands.
    pub(crate) standing: Rc<Standing>,
    /// HTTP/2: where its streams stand.
    streams: RefCell<Vec<Weak<Standing>>>,
    /// HTTP/2: where the stream stands that begins right now, until there is a task for it.
    begins: RefCell<Option<Rc<Standing>>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    fn new(peer: Peer, now: Instant) -> Self {
        Self {
            id: Cell::new(0),
            peer,
            activity: Rc::new(Activity::new(now)),
            active: Cell::new(0),
            quiet_since: Cell::new(now),
            used: Cell::new(false),
            http2: Cell::new(false),
            ends: Cell::new(false),
            tunnel: RefCell::default(),
            upload: RefCell::default(),
            watching: RefCell::default(),
            watches: Cell::new(false),
            closes_at: Cell::new(None),
            stream: RefCell::default(),
            standing: Rc::new(Standing::new(now)),
            streams: RefCell::default(),
            begins: RefCell::default(),
            waker: RefCell::default(),
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.active.set(self.active.get() + 1);
        self.used.set(true);
        self.activity.begin_request();
    }

    /// When the head of the request arrived that begins now: what of it came while the one before was answered has
    /// only waited for that.
    pub(crate) fn head_arrived(&self, version: Version) -> Instant {
        match version {
            Version::HTTP_2 => Instant::now(),
            _ => self.activity.reads.last().max(self.quiet_since.get()).max(self.activity.writes.accepted()),
        }
    }

    /// A request has ended, just now.
    pub(crate) fn finish(&self, now: Instant) {
        self.active.set(self.active.get().saturating_sub(1));
        self.quiet_since.set(now.max(self.quiet_since.get()));
        self.upload.replace(None);
        self.activity.end_request(self.active.get());
    }

    /// HTTP/1: takes what has come of a chunked body. Returns whether there may be more right now.
    pub(crate) fn pump(&self, cx: &mut Context<'_>) -> bool {
        self.upload.borrow().as_ref().is_some_and(|upload| upload.pump(cx))
    }

    /// HTTP/1: the connection ends with this answer, with a lingering close.
    pub(crate) fn end_with_answer(&self) {
        self.ends.set(true);
    }

    pub(crate) fn ends_with_answer(&self) -> bool {
        self.ends.get()
    }

    /// The answer that is given now is a switch of protocols.
    pub(crate) fn open_tunnel(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// HTTP/1: the connection is taken apart, and what is left of it carries these events.
    pub(crate) fn give_to(&self, stream: Stream) {
        self.watching.replace(Some(Box::new(stream)));
        self.watches.set(true);
    }

    /// HTTP/2: the stream that runs right now has something to write from now on.
    pub(crate) fn stream_waits(&self) {
        if let Some(stream) = &*self.stream.borrow() {
            stream.offers();
        }
    }

    /// Where the request stands that begins now. hyper asks for the answer first, and makes the stream's task then.
    pub(crate) fn begin_standing(&self, version: Version, now: Instant) -> Rc<Standing> {
        if version != Version::HTTP_2 {
            return Rc::clone(&self.standing);
        }
        let standing = Rc::new(Standing::new(now));
        self.enlist(&standing);
        self.begins.replace(Some(Rc::clone(&standing)));
        standing
    }

    /// HTTP/2: where the stream stands whose task is made now.
    pub(crate) fn begun(&self) -> Option<Rc<Standing>> {
        self.begins.take()
    }

    fn enlist(&self, stream: &Rc<Standing>) {
        let mut streams = self.streams.borrow_mut();
        // Those that have ended make room, so that there are never many more than run.
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Rc::downgrade(stream));
    }

    /// Where the requests stand that are under way on it.
    pub(crate) fn standings(&self) -> Vec<Rc<Standing>> {
        match self.http2.get() {
            true => self.streams.borrow().iter().filter_map(Weak::upgrade).collect(),
            false if self.active.get() > 0 => vec![Rc::clone(&self.standing)],
            false => Vec::new(),
        }
    }

    /// Has what drives it look again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The process ends: an idle connection is closed some time in the second half of the time until `end`.
    pub(crate) fn drain(&self, end: Instant) {
        let now = Instant::now();
        let time = end.saturating_duration_since(now);
        self.closes_at.set(Some(now + time.mul_f64(0.5 + fastrand::f64() / 2.0)));
        self.activity.hint.change();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// When the connection is to be ended, and for which limit, if nothing changes.
    pub(crate) fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let blocked = self.activity.writes.blocked().map(|since| (since + limits.write, Due::Limit(Limit::Write)));
        let half_closed = self.activity.request.half_closed().map(|since| (since + CLOSE_PATIENCE, Due::Gone));
        // A response that was handed on to its end may still be on its way to a slow client: that is not quiet.
        let quiet = (self.active.get() == 0 && blocked.is_none()).then(|| self.quiet_due(limits));
        [blocked, half_closed, quiet].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// When a quiet HTTP/1 connection is to be parked, if nothing comes.
    pub(crate) fn parks(&self) -> Option<(Instant, Due)> {
        let activity = &self.activity;
        let busy = self.active.get() > 0 || activity.reads.heard() || activity.writes.blocked().is_some();
        let parks = self.used.get() && !busy && !self.ends.get();
        parks.then(|| (self.quiet_since.get().max(activity.writes.accepted()) + PARK_AFTER, Due::Parked))
    }

    fn quiet_due(&self, limits: &Limits) -> (Instant, Due) {
        // Until the client has taken the last answer it is not quiet.
        let taken_at = self.activity.writes.accepted();
        let quiet_since = self.quiet_since.get().max(taken_at);
        // Between HTTP/2 requests come answers to pings, windows and the like.
        let heard = self.activity.reads.heard() && !self.http2.get();
        let limit = if !self.used.get() {
            (quiet_since + limits.head_read, Due::Limit(Limit::HeadRead))
        } else if heard {
            (self.activity.reads.heard_at().max(taken_at) + limits.head_read, Due::Limit(Limit::HeadRead))
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
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// Why a connection is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Limit(Limit),
    Drained,
    /// The client sends no more, and there was nothing to send to it either for too long: it may have gone.
    Gone,
    /// Not ended: it is quiet, and need not keep what serves it.
    Parked,
}

/// How HTTP ended on a connection.
pub(crate) enum End {
    Done(hyper::Result<()>),
    Due(Due),
    /// What follows are events.
    Watching,
}

/// What is left of a connection when it no longer speaks HTTP/1.
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// It is quiet. With it what was read of the next request.
    Parked(Socket, Bytes),
    /// It carries events.
    Watching(Socket, Box<Stream>),
}

/// Serves a connection to its end, when its place is given back.
///
/// Most connections are idle most of the time, and this future lasts as long as the connection: what serves is boxed, and
/// gone while the connection is parked.
pub(crate) async fn run(worker: Rc<Worker>, accepted: Accepted, _place: Admitted) {
    let _guard = PanicGuard(&worker);
    let limits = Arc::clone(&worker.generation().snapshot.limits);
    let now = Instant::now();
    let scheme = if accepted.tls.is_some() { "https" } else { "http" };
    let (address, port) = accepted.ends.unzip();
    let connection = Rc::new(Connection::new(Peer::new(address, port, scheme), now));
    let _enlisted = worker.enlist(Rc::clone(&connection));
    if let Some(end) = worker.draining() {
        connection.drain(end);
    }
    let (socket, prefix) = match Box::pin(open_in_time(&worker, &connection, accepted, &limits)).await {
        Err(Due::Limit(limit)) => return worker.cell().reached(limit),
        Err(Due::Parked | Due::Drained | Due::Gone) | Ok(None) => return,
        Ok(Some(Opened { socket, prefix, http2: true })) => {
            return Box::pin(serve_http2(&worker, connection, socket, prefix, &limits)).await;
        }
        Ok(Some(Opened { socket, prefix, http2: false })) => (socket, prefix),
    };
    let mut serving = Box::pin(serve_http1(&worker, &connection, socket, prefix, &limits));
    loop {
        let left = serving.as_mut().await;
        drop(serving);
        let (mut socket, read) = match left {
            Left::Nothing => return,
            Left::Watching(socket, stream) => return Box::pin(stream.run(socket, &limits)).await,
            Left::Parked(socket, read) => (socket, read),
        };
        let parked = match read.is_empty() {
            true => parked(&worker, &connection, &mut socket, &limits).await,
            // The beginning of a request, which came with the one before.
            false => Ok(Some(read)),
        };
        match parked {
            Ok(Some(prefix)) => {
                connection.activity.read();
                serving = Box::pin(serve_http1(&worker, &connection, socket, prefix, &limits));
            }
            Ok(None) => return end_parked(&worker, &connection, socket, End::Done(Ok(())), &limits).await,
            Err(due) => return end_parked(&worker, &connection, socket, End::Due(due), &limits).await,
        }
    }
}

/// Boxed, like all that is not needed while a connection is parked.
fn end_parked<'c>(
    worker: &'c Worker,
    connection: &'c Connection,
    socket: Socket,
    end: End,
    limits: &'c Limits,
) -> Pin<Box<impl Future<Output = ()> + 'c>> {
    Box::pin(close_http1(worker, connection, socket, Bytes::new(), end, limits))
}

/// Waits for the next request on a connection that was taken apart. `None` when the client has gone.
async fn parked(
    worker: &Worker,
    connection: &Connection,
    socket: &mut Socket,
    limits: &Limits,
) -> Result<Option<Bytes>, Due> {
    let _parked = Parked::new(worker);
    let mut deadline = Deadline::default();
    poll_fn(|cx| {
        connection.watch(cx);
        if let Poll::Ready(read) = poll_read_some(socket, cx, Bytes::copy_from_slice) {
            return Poll::Ready(Ok(read.ok().filter(|read| !read.is_empty())));
        }
        let (due, why) = connection.quiet_due(limits);
        deadline.poll(cx, Some(due)).map(|()| Err(why))
    })
    .await
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
            connection.activity.reads.set_heard(true);
            match TlsAcceptor::from(config).accept(accepted.stream).await {
                Ok(stream) => {
                    connection.activity.reads.set_heard(false);
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
        let some = read_some(socket).await.ok()?;
        if some.is_empty() {
            return None;
        }
        activity.reads.set_heard(true);
        read.extend_from_slice(&some);
        if read.starts_with(PREFACE) {
            return Some((read.freeze(), true));
        }
        if !PREFACE.starts_with(&read) {
            return Some((read.freeze(), false));
        }
    }
}

/// Counts a connection as parked until it is dropped.
struct Parked<'w>(&'w Worker);

impl<'w> Parked<'w> {
    fn new(worker: &'w Worker) -> Self {
        worker.cell().parked.rise();
        Self(worker)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.cell().parked.fall();
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

/// A connection is parked when nothing came on it for this long.
const PARK_AFTER: Duration = Duration::from_secs(1);

/// What a client may take for its next request when the process ends and it could not be told.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// For the last words on a connection.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
