//! An upstream connection, for one request: sent on it, kept afterwards or ended.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::proxy::error::Error;
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::gather::{Gather, MOST_PUMPED, Source, note};
use crate::proxy::io::request_body::RequestBody;
use crate::proxy::io::socket::Socket;
use crate::proxy::io::upload::{Upload, UploadState};
use crate::proxy::io::upstream::{SentHead, UpstreamIo};

use super::pool::{Multiplexed, Place, Pool};

/// A connection for one request. Dropped before [`Lease::finish`], it ends an HTTP/1.1 connection and resets an
/// HTTP/2 stream.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    kind: LeaseKind,
    upload: Option<Rc<UploadState>>,
    /// Where the stream comes out if the upstream switches protocols.
    tunnel: Option<oneshot::Receiver<Switched>>,
    /// The connection was open before: the upstream may be closing it right now.
    pub(crate) reused: bool,
}

/// The connection, by protocol.
pub(crate) enum LeaseKind {
    Http1 { sender: Option<http1::SendRequest<RequestBody>>, connection: Rc<UpstreamConnection> },
    Http2 { connection: Rc<Multiplexed> },
}

/// How a request is sent.
pub(crate) struct SendOptions {
    /// When.
    pub at: Instant,
    /// How long its response head may take.
    pub first_byte: Duration,
    /// How its body is doing, if it has one.
    pub upload: Option<Rc<UploadState>>,
    /// It may be sent twice: a safe method, and no body.
    pub repeatable: bool,
    /// It asks for another protocol.
    pub upgrades: bool,
}

impl SendOptions {
    /// It is sent now, and not when the request came: what it waited for is not the upstream's time.
    pub(crate) fn now(&mut self) {
        self.at = Instant::now();
        if let Some(upload) = &self.upload {
            upload.progress.set(self.at);
        }
    }
}

/// What hyper's client makes of a request.
pub(crate) type Received = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Why a request got no response head.
pub(crate) struct Unsent {
    pub error: Error,
    /// The request, if none of it left.
    pub request: Option<Request<RequestBody>>,
}

/// What a request shares with the task that drives its connection.
pub(crate) struct UpstreamConnection {
    pub(crate) abort: RefCell<Option<AbortHandle>>,
    waiting: RefCell<Option<Waiting>>,
    timed_out: Cell<bool>,
    /// The head that was sent, if it may have to be sent again.
    sent: Rc<SentHead>,
    /// Where the stream goes when the upstream switches protocols.
    tunnel: RefCell<Option<oneshot::Sender<Switched>>>,
    /// The chunked body of the response that comes.
    response: RefCell<Option<Rc<Gather>>>,
    /// Wakes the task that drives the connection.
    driver: RefCell<Option<Waker>>,
}

/// When a response head is due.
struct Waiting {
    /// When the request was sent.
    since: Instant,
    patience: Duration,
    /// Its body, if it has one: the patience is counted from its last move.
    upload: Option<Rc<UploadState>>,
}

/// An upstream's stream after HTTP.
pub(crate) struct Switched {
    pub socket: Socket,
    /// What the upstream sent behind its response.
    pub read_ahead: Bytes,
    /// A tunnel is a connection like any other.
    pub place: Place,
}

impl Lease {
    /// Of a connection that was just opened.
    pub(crate) fn opened(pool: &Rc<Pool>, kind: LeaseKind) -> Self {
        Self { pool: Rc::clone(pool), kind, upload: None, tunnel: None, reused: false }
    }

    /// Of a connection that has served before.
    pub(crate) fn reusing(pool: &Rc<Pool>, kind: LeaseKind) -> Self {
        Self { pool: Rc::clone(pool), kind, upload: None, tunnel: None, reused: true }
    }

    /// Sends a request, if that needs no waiting: over HTTP/1.1, on a connection that is ready. (A connection is put
    /// back when its response has ended, which may be a moment before it is ready.) What comes of it is for
    /// [`Lease::received`].
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
            // Before it is sent: with the answer the driver is done, and has to know whose the stream is.
            let (send, receive) = oneshot::channel();
            connection.tunnel.replace(Some(send));
            self.tunnel = Some(receive);
        }
        let (since, patience) = (options.at, options.first_byte);
        connection.waiting.replace(Some(Waiting { since, patience, upload: options.upload.clone() }));
        connection.sent.expect(options.repeatable && self.reused);
        Ok(sender.try_send_request(request))
    }

    /// What came of a request that was started.
    pub(crate) fn received(&self, received: Received) -> Result<Response<Incoming>, Unsent> {
        let timed_out = match &self.kind {
            LeaseKind::Http1 { connection, .. } => {
                connection.waiting.replace(None);
                connection.timed_out.get()
            }
            LeaseKind::Http2 { .. } => false,
        };
        received.map_err(|error| unsent(error, timed_out))
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

    /// The request that was sent last, if it may be sent again and did not find its connection closed at once.
    pub(crate) fn sent_head(&self) -> Option<Request<RequestBody>> {
        match &self.kind {
            LeaseKind::Http1 { connection, .. } => connection.sent.read(),
            LeaseKind::Http2 { .. } => None,
        }
    }

    /// The stream, once the upstream has switched protocols and the response's head was read.
    pub(crate) fn tunnel(&mut self) -> Option<oneshot::Receiver<Switched>> {
        let LeaseKind::Http1 { sender, .. } = &mut self.kind else {
            return None;
        };
        // The driver ends the HTTP part by itself; nothing may be sent on it any more.
        sender.take();
        self.tunnel.take()
    }

    /// Chooses how the response's body is read.
    pub(crate) fn read(&self, incoming: Incoming) -> Source {
        match &self.kind {
            LeaseKind::Http2 { .. } => Source::Ready(incoming, None),
            LeaseKind::Http1 { .. } if incoming.is_end_stream() || incoming.size_hint().exact().is_some() => {
                Source::Frames(incoming)
            }
            LeaseKind::Http1 { connection, .. } => {
                let gather = Gather::new(incoming, connection.driver.borrow().clone());
                connection.response.replace(Some(Rc::clone(&gather)));
                Source::Gathered(gather)
            }
        }
    }

    /// The response was read to its end. The connection is kept if the request was sent to its end as well; else
    /// hyper would keep it for ever (hyper#4176), so it is ended.
    pub(crate) fn finish(mut self, now: Instant) {
        let sent = self.upload.as_ref().is_none_or(|upload| upload.state.get() == Upload::Complete);
        if let LeaseKind::Http1 { connection, .. } = &self.kind {
            connection.response.replace(None);
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

impl UpstreamConnection {
    pub(crate) fn new(sent: Rc<SentHead>) -> Self {
        Self {
            abort: RefCell::default(),
            waiting: RefCell::default(),
            timed_out: Cell::new(false),
            sent,
            tunnel: RefCell::default(),
            response: RefCell::default(),
            driver: RefCell::default(),
        }
    }

    /// Takes what has come of a chunked body. Returns whether there may be more right now.
    fn pump(&self, cx: &mut Context<'_>) -> bool {
        self.response.borrow().as_ref().is_some_and(|gather| gather.pump(cx))
    }

    /// Ends the task that drives it.
    pub(crate) fn abort(&self) {
        if let Some(abort) = self.abort.borrow().as_ref() {
            abort.abort();
        }
    }

    /// Takes what came last of a chunked body.
    fn finish(&self) {
        if let Some(gather) = self.response.take() {
            gather.finish();
        }
    }

    /// When the response head is due, if one is waited for and it is the upstream that is waited for.
    fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        let Waiting { since, patience, upload } = waiting.as_ref()?;
        match upload {
            Some(upload) if upload.starved.get() => None,
            Some(upload) => Some(upload.progress.get() + *patience),
            None => Some(*since + *patience),
        }
    }
}

/// Waits a moment for a connection whose last request may still be on its way out.
async fn becomes_ready(sender: &mut http1::SendRequest<RequestBody>) -> Result<(), Error> {
    let ready = timeout(READY_PATIENCE, poll_fn(|cx| sender.poll_ready(cx))).await;
    ready.map_err(|_| Error::NoConnection)?.map_err(Error::Broken)
}

/// What became of a request that got no response head.
fn unsent(mut error: TrySendError<Request<RequestBody>>, timed_out: bool) -> Unsent {
    let request = error.take_message();
    let error = if timed_out { Error::FirstByte } else { Error::Broken(error.into_error()) };
    Unsent { error, request }
}

/// Waits for an HTTP/2 response's head as long as the upload moves and `first_byte` after.
async fn within_first_byte(
    sent: impl Future<Output = Received>,
    options: &SendOptions,
) -> Result<Response<Incoming>, Unsent> {
    let patience = options.first_byte;
    let moved = || options.upload.as_ref().map_or(options.at, |upload| upload.progress.get());
    let starved = || options.upload.as_ref().is_some_and(|upload| upload.starved.get());
    let mut sent = std::pin::pin!(sent);
    let mut due = moved() + patience;
    loop {
        match timeout_at(due, sent.as_mut()).await {
            Ok(sent) => return sent.map_err(|error| unsent(error, false)),
            Err(_) if starved() => due = Instant::now() + patience,
            Err(_) if moved() + patience > due => due = moved() + patience,
            Err(_) => return Err(Unsent { error: Error::FirstByte, request: None }),
        }
    }
}

/// Drives an HTTP/1.1 connection to its end, and hands its stream on if it became a tunnel.
pub(crate) async fn drive(
    mut driven: http1::Connection<UpstreamIo, RequestBody>,
    connection: Rc<UpstreamConnection>,
    place: Place,
) {
    let mut deadline = Deadline::default();
    let ended = poll_fn(|cx| {
        note(&connection.driver, cx);
        for _ in 0..MOST_PUMPED {
            // Without shutdown: the stream of a tunnel lives on.
            if let Poll::Ready(ended) = driven.poll_without_shutdown(cx) {
                return Poll::Ready(ended.is_ok());
            }
            if !connection.pump(cx) {
                break;
            }
        }
        if deadline.poll(cx, connection.due()).is_ready() {
            connection.timed_out.set(true);
            return Poll::Ready(false);
        }
        Poll::Pending
    });
    let tunnel = if ended.await { connection.tunnel.take() } else { None };
    let Some(tunnel) = tunnel else {
        // What its end means for a body is known behind it.
        drop(driven);
        return connection.finish();
    };
    let parts = driven.into_parts();
    // Nobody waits any more if the upstream did not switch, or if the client went away meanwhile.
    let _ = tunnel.send(Switched { socket: parts.io.into_socket(), read_ahead: parts.read_buf, place });
}

/// How long a connection that was put back may take to be ready.
const READY_PATIENCE: Duration = Duration::from_millis(500);
