//! HTTP/2 on a client connection, with a write timeout for each stream.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;

use crate::plan::limits::Limits;
use crate::proxy::connection::{CLOSE_TIMEOUT, ClientConnection, Due};
use crate::proxy::in_flight::InFlight;
use crate::proxy::io::client::{ClientIo, Closer};
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::socket::Socket;
use crate::proxy::request::serve::serve;
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;

/// Serves HTTP/2 to the end of the connection.
pub(crate) async fn serve_http2(
    worker: &Rc<Worker>,
    connection: Rc<ClientConnection>,
    socket: Socket,
    prefix: Bytes,
    limits: &Limits,
) {
    connection.http2.set(true);
    let io = ClientIo::new(socket, prefix, Rc::clone(&connection.activity), Closer::Hyper);
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX >> 1);
    let executor = Streams { worker: Rc::clone(worker), connection: Rc::clone(&connection), write: limits.write };
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.h2_ping)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(number(limits.h2_streams))
        .max_header_list_size(number(limits.h2_field_list))
        .max_pending_accept_reset_streams(limits.h2_pending_resets)
        .max_local_error_reset_streams(limits.h2_error_resets)
        .initial_stream_window_size(number(limits.h2_stream_window))
        .initial_connection_window_size(number(limits.h2_connection_window))
        .max_send_buf_size(H2_SEND_BUFFER);
    let service = service_fn(|request| serve(worker, &connection, request));
    let mut http = std::pin::pin!(builder.serve_connection(io, service));
    let mut deadline = Deadline::default();
    let mut closing_at: Option<Instant> = None;
    let end = poll_fn(|cx| {
        connection.watch(cx);
        if let Poll::Ready(done) = http.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        loop {
            let due = connection.due(limits).or(connection.closes_at.get().map(|at| (at, Due::Drained)));
            let due = closing_at.map_or(due, |until| {
                // GOAWAY was sent: requests under way end by their own timeouts, and an idle client gets a moment.
                let blocked = connection.activity.writes.blocked().map(|since| since + limits.write);
                // The last bytes that were handed over may still be on their way to a slow client.
                let taken = connection.activity.writes.accepted().max(connection.quiet_since.get());
                let idle =
                    (connection.active.get() == 0 && blocked.is_none()).then_some(until.max(taken + CLOSE_TIMEOUT));
                [blocked, idle].into_iter().flatten().min().map(|at| (at, Due::Drained))
            });
            std::task::ready!(deadline.poll(cx, due.map(|(due, _)| due)));
            let why = due.map_or(Due::Drained, |(_, why)| why);
            if let Due::Limit(limit) = why {
                worker.cell().reached(limit);
            }
            if closing_at.is_some() || why == Due::Limit(Limit::Write) {
                return Poll::Ready(Ok(()));
            }
            closing_at = Some(Instant::now() + CLOSE_TIMEOUT);
            http.as_mut().graceful_shutdown();
            if let Poll::Ready(done) = http.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
        }
    });
    if let Err(error) = end.await {
        tracing::debug!(%error, "client connection ended");
    }
}

/// Executor for the streams of one HTTP/2 connection. Each stream runs in a task, which ends if the client accepts no
/// bytes for too long.
#[derive(Clone)]
struct Streams {
    worker: Rc<Worker>,
    connection: Rc<ClientConnection>,
    write: Duration,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let in_flight = self.connection.started_stream().unwrap_or_else(|| Rc::new(InFlight::new(Instant::now())));
        let stream =
            StreamTask { future: Box::pin(future), in_flight, deadline: Deadline::default(), streams: self.clone() };
        tokio::task::spawn_local(stream);
    }
}

/// Task of one stream. Dropping hyper's future resets the stream.
struct StreamTask<F> {
    future: Pin<Box<F>>,
    in_flight: Rc<InFlight>,
    deadline: Deadline,
    streams: Streams,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &mut *self;
        let connection = &stream.streams.connection;
        let polled = connection.run_stream(&stream.in_flight, || stream.future.as_mut().poll(cx));
        if polled.is_ready() {
            return polled;
        }
        let in_flight = &stream.in_flight;
        in_flight.watch(cx);
        let untaken = in_flight.offered_since();
        if in_flight.is_cut() && untaken.is_some() {
            // A client that accepts no bytes would not accept an orderly end either.
            return Poll::Ready(());
        }
        let due = untaken.map(|since| since + in_flight.write(stream.streams.write));
        std::task::ready!(stream.deadline.poll(cx, due));
        stream.streams.worker.cell().reached(Limit::Write);
        Poll::Ready(())
    }
}

/// Time that an HTTP/2 client has to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that one HTTP/2 stream may have waiting for its window.
const H2_SEND_BUFFER: usize = 64 * 1024;
