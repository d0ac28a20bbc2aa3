//! Lease of an upstream connection for one request. Afterwards the connection is kept or ended.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::proxy::error::Error;
use crate::proxy::io::gather::{Gather, Source};
use crate::proxy::io::request_body::RequestBody;
use crate::proxy::io::upload::{Upload, UploadState};

use super::connection::{PendingResponse, Switched, UpstreamConnection};
use super::idle::{LongLived, Multiplexed};
use super::pool::Pool;

/// A connection for one request. Dropped before [`Lease::finish`], it ends an HTTP/1.1 connection and resets an
/// HTTP/2 stream.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    kind: LeaseKind,
    upload: Option<Rc<UploadState>>,
    /// The stream, if the upstream switches protocols.
    tunnel: Option<oneshot::Receiver<Switched>>,
    /// Set while the connection carries a tunnel or a stream of events.
    long_lived: Option<LongLived>,
    /// True if the connection has served before: the upstream may be closing it right now.
    pub(crate) reused: bool,
}

/// The connection, by protocol.
pub(crate) enum LeaseKind {
    Http1 { sender: Option<http1::SendRequest<RequestBody>>, connection: Rc<UpstreamConnection> },
    Http2 { connection: Rc<Multiplexed> },
}

/// Options of sending a request.
pub(crate) struct SendOptions {
    /// The instant when the request is sent.
    pub at: Instant,
    /// Time for the response head.
    pub first_byte: Duration,
    /// The state of the request's body, if there is one.
    pub upload: Option<Rc<UploadState>>,
    /// True if the request may be sent twice: a safe method, and no body.
    pub repeatable: bool,
    /// True if the request asks for another protocol.
    pub upgrades: bool,
}

impl SendOptions {
    /// Notes that the request is sent now. The time before, in which it waited, is not the upstream's.
    pub(crate) fn now(&mut self) {
        self.at = Instant::now();
        if let Some(upload) = &self.upload {
            upload.start(self.at);
        }
    }
}

/// The outcome of a request, as hyper's client returns it.
pub(crate) type Received = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A request without a response head, and the reason.
pub(crate) struct Unsent {
    pub error: Error,
    /// The request, if none of it left.
    pub request: Option<Request<RequestBody>>,
}

impl Lease {
    /// Leases a connection that was just opened.
    pub(crate) fn opened(pool: &Rc<Pool>, kind: LeaseKind) -> Self {
        Self { pool: Rc::clone(pool), kind, upload: None, tunnel: None, long_lived: None, reused: false }
    }

    /// Leases a connection that has served before.
    pub(crate) fn reusing(pool: &Rc<Pool>, kind: LeaseKind) -> Self {
        Self { pool: Rc::clone(pool), kind, upload: None, tunnel: None, long_lived: None, reused: true }
    }

    /// Sends a request if that is possible without waiting: over HTTP/1.1, on a connection that is ready. (A connection
    /// is put back when its response has ended, which may be a moment before it is ready.) The caller hands the outcome
    /// to [`Lease::received`].
    ///
    /// # Errors
    /// The request, if it was not sent.
    #[allow(clippy::result_large_err, reason = "the request goes back to where it came from")]
    pub(crate) fn start(
        &mut self,
        request: Request<RequestBody>,
        options: &SendOptions,
    ) -> Result<impl Future<Output = Received> + use<>, Request<RequestBody>> {
        let LeaseKind::Http1 { sender: Some(sender), connection } = &mut self.kind else {
            return Err(request);
        };
        if !sender.is_ready() {
            return Err(request);
        }
        self.upload.clone_from(&options.upload);
        if options.upgrades {
            // This is set before sending: the driver ends with the answer, and must know by then who takes the stream.
            self.tunnel = Some(connection.expect_switch());
        }
        let (since, first_byte) = (options.at, options.first_byte);
        let pending = PendingResponse { since, first_byte, upload: options.upload.clone() };
        let again = self.reused || self.pool.answer_fields.may_exceed();
        connection.expect(pending, options.repeatable && again);
        Ok(sender.try_send_request(request))
    }

    /// Returns the outcome of a request that was started.
    pub(crate) fn received(&self, received: Received) -> Result<Response<Incoming>, Unsent> {
        let timed_out = match &self.kind {
            LeaseKind::Http1 { connection, .. } => connection.received(),
            LeaseKind::Http2 { .. } => false,
        };
        received.map_err(|error| {
            unsent(
                error,
                |error| {
                    if timed_out { Error::FirstByte } else { Error::of_answer(error, self.is_exceeded()) }
                },
            )
        })
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        options: &SendOptions,
    ) -> Result<Response<Incoming>, Unsent> {
        match &mut self.kind {
            LeaseKind::Http1 { sender, .. } => {
                let ready = match sender {
                    Some(sender) if !sender.is_ready() => becomes_ready(sender).await,
                    _ => Ok(()),
                };
                if let Err(error) = ready {
                    return Err(Unsent { error, request: Some(request) });
                }
                match self.start(request, options) {
                    Ok(started) => {
                        let received = started.await;
                        self.received(received)
                    }
                    Err(request) => Err(Unsent { error: Error::NoConnection, request: Some(request) }),
                }
            }
            LeaseKind::Http2 { connection } => {
                self.upload.clone_from(&options.upload);
                let sent = connection.sender.borrow_mut().try_send_request(request);
                within_first_byte(sent, options).await
            }
        }
    }

    /// Returns true if more has come than the head of an answer may have.
    fn is_exceeded(&self) -> bool {
        match &self.kind {
            LeaseKind::Http1 { connection, .. } => connection.is_exceeded(),
            LeaseKind::Http2 { .. } => false,
        }
    }

    /// Returns the request that was sent last, if it may be sent again and its connection was not closed at once.
    pub(crate) fn sent_head(&self) -> Option<Request<RequestBody>> {
        match &self.kind {
            LeaseKind::Http1 { connection, .. } => connection.sent_head(),
            LeaseKind::Http2 { .. } => None,
        }
    }

    /// Returns the stream, once the upstream has switched protocols and the response's head was read.
    pub(crate) fn tunnel(&mut self) -> Option<oneshot::Receiver<Switched>> {
        let LeaseKind::Http1 { sender, .. } = &mut self.kind else {
            return None;
        };
        // The driver ends the HTTP part by itself; nothing may be sent on it any more.
        sender.take();
        self.tunnel.take()
    }

    /// Notes that the connection carries a tunnel or a stream of events, which does not end by itself.
    pub(crate) fn set_long_lived(&mut self) {
        if matches!(self.kind, LeaseKind::Http1 { .. }) {
            self.long_lived = Some(self.pool.count_long_lived());
        }
    }

    /// Returns true if others wait for a connection like this one.
    pub(crate) fn is_wanted(&self) -> bool {
        self.pool.waiting() > 0
    }

    /// Chooses how the response's body is read.
    pub(crate) fn read(&self, incoming: Incoming) -> Source {
        match &self.kind {
            LeaseKind::Http2 { .. } => Source::Ready(incoming, None),
            LeaseKind::Http1 { .. } if incoming.is_end_stream() || incoming.size_hint().exact().is_some() => {
                Source::Frames(incoming)
            }
            LeaseKind::Http1 { connection, .. } => {
                let gather = Gather::new(incoming, connection.driver());
                connection.gather(&gather);
                Source::Gathered(gather)
            }
        }
    }

    /// Ends the lease after the response was read to its end. The connection is kept if the request was sent to its end
    /// as well. If not, the connection is closed, because hyper would keep it for ever (hyper#4176).
    pub(crate) fn finish(mut self, now: Instant) {
        let sent = self.upload.as_ref().is_none_or(|upload| upload.state.get() == Upload::Complete);
        if let LeaseKind::Http1 { connection, .. } = &self.kind {
            connection.forget_response();
        }
        if let LeaseKind::Http1 { sender, connection } = &mut self.kind
            && sent
            && let Some(sender) = sender.take()
        {
            self.pool.put(sender, Rc::clone(connection), now);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.kind {
            LeaseKind::Http1 { sender: Some(_), connection } => connection.abort(),
            LeaseKind::Http1 { sender: None, .. } => {}
            LeaseKind::Http2 { connection } => self.pool.end_stream(connection),
        }
    }
}

/// Waits a moment for a connection whose last request may still be on its way out.
async fn becomes_ready(sender: &mut http1::SendRequest<RequestBody>) -> Result<(), Error> {
    let ready = timeout(READY_TIMEOUT, poll_fn(|cx| sender.poll_ready(cx))).await;
    ready.map_err(|_| Error::NoConnection)?.map_err(Error::Broken)
}

/// Returns the error, as `told`, and the request if none of its bytes were sent.
fn unsent(mut error: TrySendError<Request<RequestBody>>, told: impl FnOnce(hyper::Error) -> Error) -> Unsent {
    let request = error.take_message();
    Unsent { error: told(error.into_error()), request }
}

/// Waits for an HTTP/2 response's head: as long as the upload makes progress, and `first_byte` longer.
async fn within_first_byte(
    sent: impl Future<Output = Received>,
    options: &SendOptions,
) -> Result<Response<Incoming>, Unsent> {
    let first_byte = options.first_byte;
    let moved = || options.upload.as_ref().map_or(options.at, |upload| upload.progress.get());
    let starved = || options.upload.as_ref().is_some_and(|upload| upload.starved.get());
    let mut sent = std::pin::pin!(sent);
    let mut due = moved() + first_byte;
    loop {
        match timeout_at(due, sent.as_mut()).await {
            Ok(sent) => return sent.map_err(|error| unsent(error, |error| Error::of_answer(error, false))),
            Err(_) if starved() => due = Instant::now() + first_byte,
            Err(_) if moved() + first_byte > due => due = moved() + first_byte,
            Err(_) => return Err(Unsent { error: Error::FirstByte, request: None }),
        }
    }
}

/// Time in which a connection that was put back becomes ready.
const READY_TIMEOUT: Duration = Duration::from_millis(500);
