//! The connections of a pool that can take a request: idle ones, and those that carry many.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::plan::limits::Limits;
use crate::proxy::error::Error;
use crate::proxy::io::executor::Local;
use crate::proxy::io::request_body::RequestBody;
use crate::proxy::io::socket::Socket;

use super::connection::UpstreamConnection;

/// The idle connections that may serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any that seems alive: the request can be sent again.
    Any,
    /// Only one that was used a moment ago. An upstream may just be closing the others, and this request cannot be
    /// sent twice.
    Recent,
    /// None.
    Fresh,
}

/// HTTP/1.1 connections without a request, the one used last on top.
#[derive(Default)]
pub(super) struct IdleConnections(RefCell<Vec<Idle>>);

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    connection: Rc<UpstreamConnection>,
    since: Instant,
}

impl IdleConnections {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Keeps a connection.
    pub(super) fn put(
        &self,
        sender: http1::SendRequest<RequestBody>,
        connection: Rc<UpstreamConnection>,
        since: Instant,
    ) {
        self.0.borrow_mut().push(Idle { sender, connection, since });
    }

    /// Takes the connection that was used last: it is the warmest, and unneeded ones expire.
    pub(super) fn take(&self, reuse: Reuse) -> Option<(http1::SendRequest<RequestBody>, Rc<UpstreamConnection>)> {
        let mut idle = self.0.borrow_mut();
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
                // The connection stays for requests that can be sent again.
                idle.push(Idle { sender, connection, since });
                return None;
            }
            return Some((sender, connection));
        }
        None
    }

    /// Closes the connection that has been idle for longest.
    pub(super) fn close_oldest(&self) {
        let mut idle = self.0.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0).connection.abort();
        }
    }

    /// Closes connections that have been idle for longer than `keep`, or whose address may not stay.
    pub(super) fn sweep(&self, keep: Duration, now: Instant, stays: impl Fn(Option<SocketAddr>) -> bool) {
        self.0.borrow_mut().retain(|idle| {
            let is_young = now.saturating_duration_since(idle.since) < keep;
            let stays = !idle.sender.is_closed() && is_young && stays(idle.connection.found);
            if !stays {
                idle.connection.abort();
            }
            stays
        });
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        self.0.borrow_mut().drain(..).for_each(|idle| idle.connection.abort());
    }
}

/// HTTP/2 connections.
#[derive(Default)]
pub(super) struct MultiplexedConnections(RefCell<Vec<Rc<Multiplexed>>>);

/// An HTTP/2 connection.
pub(crate) struct Multiplexed {
    pub(super) sender: RefCell<http2::SendRequest<RequestBody>>,
    streams: Cell<usize>,
    /// The number of streams that the upstream allows, as far as it is known.
    allowed: Cell<usize>,
    /// The end of the last stream.
    quiet_since: Cell<Instant>,
    /// The address that the connection was opened to, if that was looked up.
    found: Option<SocketAddr>,
}

impl MultiplexedConnections {
    pub(super) fn add(&self, connection: &Rc<Multiplexed>) {
        self.0.borrow_mut().push(Rc::clone(connection));
    }

    /// Begins a stream on the least busy connection that has room for one.
    pub(super) fn take(&self) -> Option<Rc<Multiplexed>> {
        let mut connections = self.0.borrow_mut();
        connections.retain(|connection| !connection.sender.borrow().is_closed());
        let with_room = connections.iter().filter(|connection| connection.streams.get() < connection.allowed.get());
        let connection = with_room.min_by_key(|connection| connection.streams.get())?;
        connection.streams.set(connection.streams.get() + 1);
        Some(Rc::clone(connection))
    }

    /// Closes connections that have been idle for longer than `keep`. One whose address may not stay gets no new streams.
    pub(super) fn sweep(&self, keep: Duration, now: Instant, stays: impl Fn(Option<SocketAddr>) -> bool) {
        self.0.borrow_mut().retain(|connection| {
            let idle =
                connection.streams.get() == 0 && now.saturating_duration_since(connection.quiet_since.get()) >= keep;
            !idle && stays(connection.found) && !connection.sender.borrow().is_closed()
        });
    }

    /// Returns true if there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Takes all connections out of use. They end with their streams.
    pub(super) fn close(&self) {
        self.0.borrow_mut().clear();
    }
}

impl Multiplexed {
    /// Wraps a connection with its first stream.
    pub(super) fn new(sender: http2::SendRequest<RequestBody>, found: Option<SocketAddr>) -> Self {
        Self {
            sender: RefCell::new(sender),
            streams: Cell::new(1),
            allowed: Cell::new(MOST_STREAMS),
            quiet_since: Cell::new(Instant::now()),
            found,
        }
    }

    /// Notes how many streams the upstream allows. It is 1 until the upstream has sent its settings.
    fn allow(&self, streams: usize) {
        self.allowed.set(if streams > 1 { streams.min(MOST_STREAMS) } else { MOST_STREAMS });
    }

    /// Notes the end of a stream.
    pub(super) fn end_stream(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.quiet_since.set(Instant::now());
    }
}

/// A connection that carries a tunnel or a stream of events.
pub(super) struct LongLived(Rc<Cell<usize>>);

impl LongLived {
    /// Counts one more.
    pub(super) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for LongLived {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Begins HTTP/2 on a connection.
pub(super) async fn multiplexed(
    socket: Socket,
    limits: &Limits,
) -> Result<(http2::SendRequest<RequestBody>, http2::Connection<TokioIo<Socket>, RequestBody, Local>), Error> {
    let window = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
    let handshake = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.h2_ping)
        .keep_alive_while_idle(false)
        .initial_stream_window_size(window(limits.h2_stream_window))
        // The window has room for every stream: data that some clients do not accept must not stop the others.
        .initial_connection_window_size(window(limits.h2_stream_window.saturating_mul(MOST_STREAMS)))
        .max_header_list_size(window(limits.upstream_head_size))
        // Only one stream until the upstream has said how many it allows: it would refuse the others.
        .initial_max_send_streams(1)
        .handshake(TokioIo::new(socket));
    handshake.await.map_err(Error::Broken)
}

/// Drives an HTTP/2 connection to its end. hyper tells its requests how it ended.
pub(super) async fn drive_multiplexed(
    mut driven: http2::Connection<TokioIo<Socket>, RequestBody, Local>,
    connection: Weak<Multiplexed>,
    slot: impl Any,
) {
    let _slot = slot;
    poll_fn(|cx| {
        let polled = Pin::new(&mut driven).poll(cx).map(drop);
        if let Some(connection) = connection.upgrade() {
            connection.allow(driven.current_max_send_streams());
        }
        polled
    })
    .await;
}

/// Servers close idle connections after seconds, seldom sooner. So a connection that was idle for less than this is not
/// being closed.
const RECENT: Duration = Duration::from_millis(900);

/// Most streams of one HTTP/2 connection to an upstream. If the upstream allows fewer, more connections are opened.
pub(super) const MOST_STREAMS: usize = 100;
