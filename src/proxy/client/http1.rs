//! HTTP/1 on a client connection. The connection is closed in a way that lets the client read the last answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::plan::limits::Limits;
use crate::proxy::connection::{CLOSE_TIMEOUT, ClientConnection, Due, Takeover};
use crate::proxy::http::HYPER_HEAD_FIELDS;
use crate::proxy::io::client::{ClientIo, Closer};
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::socket::{Socket, skip_some};
use crate::proxy::io::wake::{DriverWaker, poll_pumped};
use crate::proxy::request::serve::serve;
use crate::proxy::request::unread::LINGER_QUIET;
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;

use super::refused::Refused;

/// Reason why HTTP/1 ended on a connection.
pub(crate) enum HttpEnd {
    Done(hyper::Result<()>),
    Due(Due),
    /// The socket is handed over, and hyper does not answer the request that asked for that.
    TakenOver,
}

/// Result of serving HTTP/1: the connection's socket, if it is still open.
pub(crate) enum Served {
    Closed,
    /// A quiet socket, and the bytes already read of the next request.
    Parked(Socket, Bytes),
    /// The socket, the bytes read behind the request, and the new user of both.
    TakenOver(Socket, Bytes, Box<dyn Takeover>),
}

/// Serves HTTP/1 until the connection ends, parks or is taken over. In the last two cases the socket comes back.
pub(crate) async fn serve_http1(
    worker: &Rc<Worker>,
    connection: &Rc<ClientConnection>,
    socket: Socket,
    prefix: Bytes,
    limits: &Limits,
) -> Served {
    let mut builder = http1::Builder::new();
    // Timeouts are kept here: hyper's own timer would cost an allocation per request. This code also notices if the
    // client has gone, where that can be seen without reading.
    builder.header_read_timeout(None).max_header_size(limits.head_size).half_close(socket.tells_its_end());
    if limits.head_fields != HYPER_HEAD_FIELDS {
        builder.max_headers(limits.head_fields);
    }
    let io = ClientIo::new(socket, prefix, Rc::clone(&connection.activity), Closer::Driver);
    let service = service_fn(|request| serve(worker, connection, request));
    let mut http = builder.serve_connection(io, service);
    let (mut deadline, mut waker) = (Deadline::default(), DriverWaker::default());
    let end = poll_fn(|cx| {
        connection.watch(cx);
        connection.activity.watch_for_bytes();
        // hyper's graceful shutdown is not used. It would close after an answer whose head was sent without announcing
        // the end, and the next request may then be on its way. Instead, the next answer announces the end.
        let mut inner = Context::from_waker(waker.of(cx));
        if let Poll::Ready(done) = poll_pumped(cx, || Pin::new(&mut http).poll(&mut inner), || connection.pump(cx)) {
            return Poll::Ready(HttpEnd::Done(done));
        }
        let activity = &connection.activity;
        // A client that accepts no bytes would not accept an orderly end either.
        if connection.in_flight.is_cut() && activity.writes.blocked().is_some() {
            return Poll::Ready(HttpEnd::Due(Due::Drained));
        }
        // Nothing is blocked, so hyper has written all earlier answers.
        if connection.is_taken_over() && activity.writes.blocked().is_none() {
            return Poll::Ready(HttpEnd::TakenOver);
        }
        loop {
            if activity.hint.rests(&deadline) {
                return Poll::Pending;
            }
            let due = connection.parks().into_iter().chain(connection.due(limits)).min_by_key(|(due, _)| *due);
            let Some((due, why)) = due else {
                activity.hint.sleep();
                return Poll::Pending;
            };
            let now = Instant::now();
            if due > now {
                // A deadline that is set meanwhile is noticed in time: no limit is shorter than this interval.
                std::task::ready!(deadline.poll(cx, Some(due.min(now + DEADLINE_INTERVAL))));
            } else if why == Due::Parked && activity.has_moved() {
                // There was progress, and more may follow: hyper continues when it is polled again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            } else {
                return Poll::Ready(HttpEnd::Due(why));
            }
        }
    });
    let end = end.await;
    let parts = http.into_parts();
    let (socket, unread) = parts.io.into_parts();
    // The bytes are copied, even if there are none: a slice would keep its whole buffer alive.
    let read = Bytes::from([parts.read_buf, unread].concat());
    match (end, connection.takeover()) {
        (HttpEnd::TakenOver, Some(by)) => Served::TakenOver(socket, read, by),
        (_, Some(by)) if !by.is_immediate() => Served::TakenOver(socket, read, by),
        (HttpEnd::Due(Due::Parked), _) => Served::Parked(socket, read),
        (end, _) => {
            close_http1(worker, connection, (socket, read), end, limits).await;
            Served::Closed
        }
    }
}

/// Ends an HTTP/1 connection, given its socket and the bytes that were read ahead. Sends a 408 if a head was begun, and lingers before closing if the client may still be
/// sending.
pub(crate) async fn close_http1(
    worker: &Rc<Worker>,
    connection: &ClientConnection,
    (mut socket, read_ahead): (Socket, Bytes),
    end: HttpEnd,
    limits: &Limits,
) {
    let lingers = match end {
        HttpEnd::Done(Ok(())) => connection.closes_after_answer(),
        HttpEnd::Done(Err(error)) => {
            tracing::debug!(%error, "client connection ended");
            if let Some(refused) = Refused::by_hyper(&error, &read_ahead, limits) {
                count(worker, refused);
                refused.record(worker, connection, &read_ahead);
            }
            // hyper has answered 400 or 431, and the client may still be sending.
            error.is_parse() || connection.closes_after_answer()
        }
        HttpEnd::Due(Due::Drained | Due::Gone | Due::Parked) | HttpEnd::TakenOver => false,
        HttpEnd::Due(Due::Limit(limit)) => {
            worker.cell().reached(limit);
            if limit == Limit::Write {
                return;
            }
            // The read that brought the previous request may also have brought the beginning of a head.
            let progress = !read_ahead.is_empty() || limit == Limit::HeadRead && connection.activity.reads.heard();
            if progress {
                Refused::Late.record(worker, connection, &read_ahead);
            }
            progress && timeout(CLOSE_TIMEOUT, socket.write_all(REQUEST_TIMEOUT)).await.is_ok()
        }
    };
    // The end of the stream is sent first: a client that reads to the end then has the whole answer.
    if timeout(CLOSE_TIMEOUT, socket.shutdown()).await.is_ok() && lingers {
        linger(worker, socket, limits).await;
    }
}

/// Counts a request that hyper refused.
fn count(worker: &Worker, refused: Refused) {
    match refused.limit() {
        Some(limit) => worker.cell().reached(limit),
        None => worker.cell().refused.increment(),
    }
}

/// Reads and discards what the client is still sending, within bounds. Closing with unread bytes would reset the
/// connection, and the reset may overtake the answer (RFC 9112 section 9.6).
async fn linger(worker: &Worker, mut socket: Socket, limits: &Limits) {
    let deadline = Instant::now() + limits.linger;
    let mut left = limits.linger_size;
    loop {
        let due = deadline.min(Instant::now() + LINGER_QUIET);
        match timeout_at(due, skip_some(&mut socket)).await {
            Ok(Ok(some)) if some > 0 => match left.checked_sub(some as u64) {
                Some(rest) => left = rest,
                None => return worker.cell().reached(Limit::Linger),
            },
            Ok(_) => return,
            Err(_) => return worker.cell().reached(Limit::Linger),
        }
    }
}

/// Answer to a client that began a head and did not complete it.
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n";

/// Longest sleep between two checks of a connection's deadlines. Not longer than the shortest limit that can be set.
const DEADLINE_INTERVAL: Duration = Duration::from_secs(1);
