//! HTTP/1 on a client connection: driven, and ended in the way that lets the client read the last answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::plan::limits::Limits;
use crate::proxy::connection::{CLOSE_PATIENCE, ClientConnection, Due, Takeover};
use crate::proxy::io::client::{ClientIo, Closer};
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::gather::MOST_PUMPED;
use crate::proxy::io::socket::{Socket, skip_some};
use crate::proxy::request::serve::serve;
use crate::proxy::request::unread::LINGER_QUIET;
use crate::proxy::upstream::pool::HYPER_HEAD_FIELDS;
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;

/// How HTTP/1 ended on a connection.
pub(crate) enum HttpEnd {
    Done(hyper::Result<()>),
    Due(Due),
    /// The socket is given away, and the request that asked for that gets no answer through hyper.
    TakenOver,
}

/// What is left of a connection when HTTP/1 has ended.
pub(crate) enum Left {
    Nothing,
    /// A quiet socket, and what was read of the next request.
    Parked(Socket, Bytes),
    /// The socket, what was read behind the request, and their new user.
    TakenOver(Socket, Bytes, Box<dyn Takeover>),
}

/// Serves HTTP/1 to the end of the connection, or until it is quiet or asked for events: then the socket comes back.
pub(crate) async fn serve_http1(
    worker: &Rc<Worker>,
    connection: &Rc<ClientConnection>,
    socket: Socket,
    prefix: Bytes,
    limits: &Limits,
) -> Left {
    let mut builder = http1::Builder::new();
    // Time is kept here: hyper's own timer would cost an allocation a request. And so is whether the client is still
    // there, where that can be seen without reading.
    builder.header_read_timeout(None).max_header_size(limits.head_size).half_close(socket.tells_its_end());
    if limits.head_fields != HYPER_HEAD_FIELDS {
        builder.max_headers(limits.head_fields);
    }
    let io = ClientIo::new(socket, prefix, Rc::clone(&connection.activity), Closer::Driver);
    let service = service_fn(|request| serve(worker, connection, request));
    let mut http = builder.serve_connection(io, service);
    let mut deadline = Deadline::default();
    let end = poll_fn(|cx| {
        connection.watch(cx);
        connection.activity.watch_for_bytes();
        // hyper is not asked to shut down: it would close behind an answer whose head is out already and says nothing of
        // it, with the next request perhaps on its way. The next answer says it.
        for _ in 0..MOST_PUMPED {
            if let Poll::Ready(done) = Pin::new(&mut http).poll(cx) {
                return Poll::Ready(HttpEnd::Done(done));
            }
            if !connection.pump(cx) {
                break;
            }
        }
        let activity = &connection.activity;
        // A client that takes nothing will not take an end either.
        if connection.in_flight.is_cut() && activity.writes.blocked().is_some() {
            return Poll::Ready(HttpEnd::Due(Due::Drained));
        }
        // What was answered before has left hyper's hands then.
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
                // What begins after this is looked at before it is due: no limit is shorter than the time between looks.
                std::task::ready!(deadline.poll(cx, Some(due.min(now + LOOK_EVERY))));
            } else if why == Due::Parked && activity.has_moved() {
                // What moved just now may not have been all: hyper goes on when it is polled again.
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
    // A copy, also of nothing: it would keep the buffer that it is a part of.
    let read = Bytes::from([parts.read_buf, unread].concat());
    match (end, connection.takeover()) {
        (HttpEnd::TakenOver, Some(by)) => Left::TakenOver(socket, read, by),
        (_, Some(by)) if !by.is_immediate() => Left::TakenOver(socket, read, by),
        (HttpEnd::Due(Due::Parked), _) => Left::Parked(socket, read),
        (end, _) => {
            close_http1(worker, connection, socket, read, end, limits).await;
            Left::Nothing
        }
    }
}

/// Ends an HTTP/1 connection: with a 408 if a head was begun, and with a lingering close where the client may still be sending.
pub(crate) async fn close_http1(
    worker: &Worker,
    connection: &ClientConnection,
    mut socket: Socket,
    read_ahead: Bytes,
    end: HttpEnd,
    limits: &Limits,
) {
    let lingers = match end {
        HttpEnd::Done(Ok(())) => connection.closes_after_answer(),
        HttpEnd::Done(Err(error)) => {
            note(worker, &error, &read_ahead, limits);
            // hyper has answered 400 or 431, and the client may be in the middle of sending.
            error.is_parse() || connection.closes_after_answer()
        }
        HttpEnd::Due(Due::Drained | Due::Gone | Due::Parked) | HttpEnd::TakenOver => false,
        HttpEnd::Due(Due::Limit(limit)) => {
            worker.cell().reached(limit);
            if limit == Limit::Write {
                return;
            }
            // A head may also have begun in the read that brought the request before it.
            let progress = !read_ahead.is_empty() || limit == Limit::HeadRead && connection.activity.reads.heard();
            progress && timeout(CLOSE_PATIENCE, socket.write_all(REQUEST_TIMEOUT)).await.is_ok()
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
        match timeout_at(patience, skip_some(&mut socket)).await {
            Ok(Ok(some)) if some > 0 => match left.checked_sub(some as u64) {
                Some(rest) => left = rest,
                None => return worker.cell().reached(Limit::Linger),
            },
            Ok(_) => return,
            Err(_) => return worker.cell().reached(Limit::Linger),
        }
    }
}

/// Said to a client that began a head and did not end it.
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n";

/// How often the deadlines of a connection are looked at. Not longer than the shortest limit may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
