//! One request: checked, decided, forwarded or answered.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::live::Generation;
use crate::plan::limits::Limits;
use crate::plan::verdict::{Head, Refusal, Verdict, decide};
use crate::telemetry::Limit;

use super::body::Body;
use super::check;
use super::connection::Connection;
use super::error::Error;
use super::flight::Flight;
use super::forward::{Failed, Hop, forward};
use super::headers::X_REQUEST_ID;
use super::http1::LINGER_QUIET;
use super::respond::{self, Asked};
use super::worker::Worker;

/// Answers one request. It never fails: whatever goes wrong has a status.
pub(super) async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    // The one look at what is live: route, verdict, page and log line come from this.
    let generation = worker.generation();
    let trusted = connection.peer.is_trusted(&generation.snapshot.trusted_proxies);
    let id = request_id(&worker, &request, trusted);
    let asked = Asked::new(request.method(), request.headers(), id.clone());
    let mut flight = Flight::new(&worker, &connection, &generation, &request, &id);
    let version = request.version();
    let mut response = match verdict(&generation, &request) {
        Ok(Verdict::Forward(route)) => {
            flight.depart(Arc::clone(&generation.routes[route.index]));
            let hop = Hop { worker: &worker, connection: &connection, generation: &generation, route, trusted, id };
            match forward(hop, request, flight).await {
                Ok(response) => response,
                Err(Failed { error, flight, unread }) => {
                    let answer = respond::error(&error, &asked);
                    if let Some(request) = unread {
                        settle(&worker, &connection, &generation.snapshot.limits, request).await;
                    }
                    flight.failed(&error, answer)
                }
            }
        }
        Ok(Verdict::Show(route, closure) | Verdict::Hold(route, closure)) => {
            let answer = respond::page(closure, generation.published, &asked);
            settle(&worker, &connection, &generation.snapshot.limits, request).await;
            flight.shown(&generation.routes[route.index], answer)
        }
        Ok(Verdict::Refuse(refusal)) => {
            let error = refused(refusal);
            if *request.method() == Method::CONNECT {
                // A client that counts on its tunnel may have sent into it already, and what it carries is not
                // this client's word: none of it is a request.
                connection.end_with_answer();
            }
            settle(&worker, &connection, &generation.snapshot.limits, request).await;
            flight.failed(&error, respond::error(&error, &asked))
        }
        Err(error) => {
            // What could be read in two ways ends the connection: nothing after it can be trusted to be a request.
            connection.end_with_answer();
            flight.failed(&error, respond::error(&error, &asked))
        }
    };
    if version == Version::HTTP_2 {
        connection.stream_waits();
    } else if response.status() != StatusCode::SWITCHING_PROTOCOLS
        && (connection.ends_with_answer() || worker.draining().is_some())
    {
        respond::close(&mut response);
    }
    Ok(response)
}

/// Checks the request and decides.
fn verdict<'g>(generation: &'g Generation, request: &Request<Incoming>) -> Result<Verdict<'g>, Error> {
    let host = check::request(request, generation.snapshot.limits.head_fields)?;
    Ok(decide(&generation.snapshot, Head { method: request.method(), host, path: request.uri().path() }))
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NoRoute => Error::NoRoute,
        Refusal::BadPath => Error::BadRequest("a path without a normal form"),
        Refusal::Method => Error::Method,
    }
}

/// The request's id: what a trusted proxy called it, else a new one.
fn request_id(worker: &Worker, request: &Request<Incoming>, trusted: bool) -> HeaderValue {
    let given = request.headers().get(&X_REQUEST_ID).filter(|id| trusted && !id.is_empty() && id.len() <= LONGEST_ID);
    given.cloned().unwrap_or_else(|| worker.request_id())
}

/// Before an answer of our own to a request whose body was not read: what follows on an HTTP/1 connection are bytes
/// of that body, and must never be taken for a request. A body that has arrived already is thrown away; else the
/// connection ends with the answer. HTTP/2 has frames for this: the stream alone is reset, behind the answer.
async fn settle(worker: &Rc<Worker>, connection: &Connection, limits: &Limits, request: Request<Incoming>) {
    if request.body().is_end_stream() {
        return;
    }
    if request.version() == Version::HTTP_2 {
        let (worker, body, linger, size) = (Rc::clone(worker), request.into_body(), limits.linger, limits.linger_size);
        tokio::task::spawn_local(async move {
            if !throw_away(body, linger, size).await {
                worker.cell().reached(Limit::Linger);
            }
        });
        return;
    }
    // To ask for the body would be to send `100 Continue`.
    let arrived = !check::expects_continue(request.headers()) && has_arrived(request.into_body()).await;
    if !arrived {
        connection.end_with_answer();
    }
}

/// Reads a body and throws it away, within bounds; false if they were reached. Dropping it resets the stream, which
/// the client is to take for no error, as the whole answer has come before (RFC 9113 section 8.1). Yet curl before
/// version 8 and httpx lose the answer then.
async fn throw_away(mut body: Incoming, linger: Duration, mut left: u64) -> bool {
    let deadline = Instant::now() + linger;
    loop {
        let patience = deadline.min(Instant::now() + LINGER_QUIET);
        match timeout_at(patience, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            Ok(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                match left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            // The client has sent all, or has given up.
            Ok(Some(Err(_)) | None) => return true,
            Err(_) => return false,
        }
    }
}

/// Throws away what is there of a body, without waiting; true if that was all of it.
async fn has_arrived(mut body: Incoming) -> bool {
    let mut left = SMALL_BODY;
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(frame))) => {
                    left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
                    if left == 0 {
                        return Poll::Ready(false);
                    }
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Longer ids than this are not ids.
const LONGEST_ID: usize = 128;

/// Bytes of a body that are thrown away for the sake of keeping the connection.
const SMALL_BODY: usize = 64 * 1024;
