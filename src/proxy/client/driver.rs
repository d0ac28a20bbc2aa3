//! A client connection from accept to close: the handshake, the protocol, and the socket while it is parked.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::plan::config::Listen;
use crate::plan::limits::Limits;
use crate::proxy::connection::{ClientConnection, Due, TlsSession};
use crate::proxy::io::client::Activity;
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::socket::{Plain, Socket, poll_read_some, read_some};
use crate::proxy::worker::{Admitted, Worker};

use super::certificate;
use super::http1::{HttpEnd, Served, close_http1, serve_http1};
use super::http2::serve_http2;
use super::introduced;

/// Connection as it was accepted.
pub(crate) struct Accepted {
    pub stream: Plain,
    /// The peer's address and the one that it connected to; `None` on a unix socket.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    pub tls: Option<Arc<ServerConfig>>,
    pub listen: Rc<Listen>,
}

/// Serves a connection to its end, and then gives its place back.
///
/// Most connections are idle most of the time, and this future lasts as long as the connection. So the serving future
/// is boxed, and dropped while the connection is parked.
pub(crate) async fn run(worker: Rc<Worker>, mut accepted: Accepted, _place: Admitted) {
    let _guard = PanicGuard(&worker);
    let limits = Arc::clone(&worker.generation().snapshot.limits);
    let Some(peer) = Box::pin(introduced::peer(&worker, &mut accepted, limits.head_read)).await else { return };
    let connection = Rc::new(ClientConnection::new(peer, Rc::clone(&accepted.listen), Instant::now()));
    let _registered = worker.register(Rc::clone(&connection));
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
        let served = serving.as_mut().await;
        drop(serving);
        let (mut socket, read) = match served {
            Served::Closed => return,
            Served::TakenOver(socket, read, by) => return by.run(socket, read, &limits, worker.cell()).await,
            Served::Parked(socket, read) => (socket, read),
        };
        drop(connection.upstream_read.take());
        let parked = if read.is_empty() {
            parked(&worker, &connection, &mut socket, &limits).await
        } else {
            // The beginning of a request, which came with the previous one.
            Ok(Some(read))
        };
        match parked {
            Ok(Some(prefix)) => {
                connection.activity.read();
                serving = Box::pin(serve_http1(&worker, &connection, socket, prefix, &limits));
            }
            Ok(None) => return end_parked(&worker, &connection, socket, HttpEnd::Done(Ok(())), &limits).await,
            Err(due) => return end_parked(&worker, &connection, socket, HttpEnd::Due(due), &limits).await,
        }
    }
}

/// Closes a parked connection. The future is boxed, so that it takes no memory while the connection is parked.
fn end_parked<'c>(
    worker: &'c Rc<Worker>,
    connection: &'c ClientConnection,
    socket: Socket,
    end: HttpEnd,
    limits: &'c Limits,
) -> Pin<Box<impl Future<Output = ()> + 'c>> {
    Box::pin(close_http1(worker, connection, (socket, Bytes::new()), end, limits))
}

/// Waits for the next request on a parked connection. Returns `None` when the client has gone.
async fn parked(
    worker: &Worker,
    connection: &ClientConnection,
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

/// Opens a connection, unless its client takes too long or the process ends first.
async fn open_in_time(
    worker: &Worker,
    connection: &ClientConnection,
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

/// Connection whose protocol is known.
struct Opened {
    socket: Socket,
    /// The bytes that were read to detect the protocol.
    prefix: Bytes,
    http2: bool,
}

/// Does the TLS handshake and detects the protocol. Returns `None` when the client gave up.
async fn open(worker: &Worker, connection: &ClientConnection, accepted: Accepted) -> Option<Opened> {
    let mut socket = match accepted.tls {
        None => Socket::Plain(accepted.stream),
        Some(config) => {
            // A client that has begun a handshake does not count as idle.
            accepted.stream.begins().await.ok()?;
            connection.activity.reads.set_heard(true);
            match TlsAcceptor::from(config).accept(accepted.stream).await {
                Ok(stream) => {
                    connection.activity.reads.set_heard(false);
                    connection.tls.set(TlsSession::of(stream.get_ref().1)).unwrap_or_default();
                    if let Some(shown) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
                        connection.peer.certificate.get_or_init(|| certificate::describe(shown));
                    }
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
    let (prefix, http2) = detect_protocol(&mut socket, &connection.activity).await?;
    Some(Opened { socket, prefix, http2 })
}

/// Reads until it is clear whether the client begins with the preface of HTTP/2 (RFC 9113 section 3.4).
async fn detect_protocol(socket: &mut Socket, activity: &Activity) -> Option<(Bytes, bool)> {
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

/// Guard that counts a connection as parked until it is dropped.
struct Parked<'w>(&'w Worker);

impl<'w> Parked<'w> {
    fn new(worker: &'w Worker) -> Self {
        worker.cell().parked.rise();
        worker.trim.moved();
        Self(worker)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.cell().parked.fall();
        self.0.trim.moved();
    }
}

/// Guard that counts a panic, which ends only its own connection.
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
