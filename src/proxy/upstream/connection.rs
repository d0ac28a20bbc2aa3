//! An HTTP/1.1 connection to an upstream, and the task that drives it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::client::conn::http1;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use crate::plan::limits::Limits;
use crate::proxy::http::HYPER_HEAD_FIELDS;
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::gather::{Gather, note};
use crate::proxy::io::request_body::RequestBody;
use crate::proxy::io::socket::Socket;
use crate::proxy::io::upload::UploadState;
use crate::proxy::io::upstream::{SentHead, UpstreamIo};
use crate::proxy::io::wake::{DriverWaker, poll_pumped};

/// State shared by a request and the task that drives its connection.
pub(crate) struct UpstreamConnection {
    abort: RefCell<Option<AbortHandle>>,
    pending: RefCell<Option<PendingResponse>>,
    timed_out: Cell<bool>,
    /// Fields that it allows an answer.
    pub(super) fields: usize,
    /// The task that drives the connection has ended.
    ended: Cell<bool>,
    /// The head that was sent, if it may have to be sent again.
    pub(super) sent: Rc<SentHead>,
    /// The receiver of the stream when the upstream switches protocols.
    tunnel: RefCell<Option<oneshot::Sender<Switched>>>,
    /// The chunked body of the response that comes.
    response: RefCell<Option<Rc<Gather>>>,
    /// Wakes the task that drives the connection.
    driver: RefCell<Option<Waker>>,
    /// The address that the connection was opened to, if that was looked up.
    pub(super) found: Option<SocketAddr>,
}

/// A response head that is waited for.
pub(super) struct PendingResponse {
    /// The instant when the request was sent.
    pub since: Instant,
    pub first_byte: Duration,
    /// The state of the request's body, if there is one. The time counts from its last move.
    pub upload: Option<Rc<UploadState>>,
}

/// An upstream's stream after the end of HTTP.
pub(crate) struct Switched {
    pub socket: Socket,
    /// Bytes that the upstream sent after its response.
    pub read_ahead: Bytes,
    /// The connection's slot in its pool, kept until this is dropped: a tunnel is a connection like any other.
    pub slot: Box<dyn Any>,
}

impl UpstreamConnection {
    pub(super) fn new(sent: Rc<SentHead>, fields: usize, found: Option<SocketAddr>) -> Self {
        Self {
            abort: RefCell::default(),
            pending: RefCell::default(),
            timed_out: Cell::new(false),
            fields,
            ended: Cell::new(false),
            sent,
            tunnel: RefCell::default(),
            response: RefCell::default(),
            driver: RefCell::default(),
            found,
        }
    }

    /// Notes the request that is sent next. With `again`, its head is kept, so that it can be sent again.
    pub(super) fn expect(&self, pending: PendingResponse, again: bool) {
        self.pending.replace(Some(pending));
        self.sent.expect(again);
    }

    /// Notes that the response head has come, or never will. Returns true if it was late.
    pub(super) fn received(&self) -> bool {
        self.pending.replace(None);
        self.timed_out.get()
    }

    /// Returns the receiver of the stream, for the case that the upstream switches protocols.
    pub(super) fn expect_switch(&self) -> oneshot::Receiver<Switched> {
        let (send, receive) = oneshot::channel();
        self.tunnel.replace(Some(send));
        receive
    }

    /// Returns true if more has come since the request was sent than the head of an answer may have.
    pub(super) fn is_exceeded(&self) -> bool {
        self.sent.is_exceeded()
    }

    /// Returns the request that was sent last, if its head was kept.
    pub(super) fn sent_head(&self) -> Option<Request<RequestBody>> {
        self.sent.read()
    }

    /// Gathers the chunked body of the response. If its end came with its head, the driver has already ended, and the
    /// rest is read at once.
    pub(super) fn gather(&self, response: &Rc<Gather>) {
        if self.ended.get() {
            return response.finish();
        }
        self.response.replace(Some(Rc::clone(response)));
    }

    /// Notes that the response was read to its end.
    pub(super) fn forget_response(&self) {
        self.response.replace(None);
    }

    /// Returns the waker of the task that drives the connection.
    pub(super) fn driver(&self) -> Option<Waker> {
        self.driver.borrow().clone()
    }

    /// Notes the task that drives the connection.
    pub(super) fn driven_by(&self, task: &JoinHandle<()>) {
        self.abort.replace(Some(task.abort_handle()));
    }

    /// Reads the part of a chunked body that has arrived. Returns true if there may be more right now.
    fn pump(&self, cx: &Context<'_>) -> bool {
        self.response.borrow().as_ref().is_some_and(|gather| gather.pump(cx))
    }

    /// Ends the task that drives the connection.
    pub(super) fn abort(&self) {
        if let Some(abort) = self.abort.borrow().as_ref() {
            abort.abort();
        }
    }

    /// Reads the last part of a chunked body.
    fn finish(&self) {
        self.ended.set(true);
        if let Some(gather) = self.response.take() {
            gather.finish();
        }
    }

    /// Returns when the response head is due, unless the proxy waits for the client.
    fn due(&self) -> Option<Instant> {
        let pending = self.pending.borrow();
        let PendingResponse { since, first_byte, upload } = pending.as_ref()?;
        match upload {
            Some(upload) if upload.starved.get() => None,
            Some(upload) => Some(upload.progress.get() + *first_byte),
            None => Some(*since + *first_byte),
        }
    }
}

/// Returns the settings of a connection, with the limits on the heads of answers.
pub(super) fn builder(limits: &Limits, fields: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(limits.upstream_head_size).max_buf_size(limits.upstream_head_size + READ_AHEAD);
    if fields != HYPER_HEAD_FIELDS {
        builder.max_headers(fields);
    }
    builder
}

/// Drives an HTTP/1.1 connection to its end, and hands its stream on if it became a tunnel.
pub(super) async fn drive(
    mut driven: http1::Connection<UpstreamIo, RequestBody>,
    connection: Rc<UpstreamConnection>,
    slot: impl Any,
) {
    let (mut deadline, mut waker) = (Deadline::default(), DriverWaker::default());
    let ended = poll_fn(|cx| {
        note(&connection.driver, cx);
        connection.sent.begin_turn();
        let mut inner = Context::from_waker(waker.of(cx));
        // Without shutdown: the stream of a tunnel lives on.
        let polled = poll_pumped(cx, || driven.poll_without_shutdown(&mut inner), || connection.pump(cx));
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(ended.is_ok());
        }
        if deadline.poll(cx, connection.due()).is_ready() {
            connection.timed_out.set(true);
            return Poll::Ready(false);
        }
        Poll::Pending
    });
    let tunnel = if ended.await { connection.tunnel.take() } else { None };
    let Some(tunnel) = tunnel else {
        // hyper reports the outcome to a body only when the connection is dropped.
        drop(driven);
        return connection.finish();
    };
    let parts = driven.into_parts();
    // Nobody waits any more if the upstream did not switch, or if the client went away meanwhile.
    let _ = tunnel.send(Switched { socket: parts.io.into_socket(), read_ahead: parts.read_buf, slot: Box::new(slot) });
}

/// Bytes behind a head that may be read together with it.
const READ_AHEAD: usize = 64 * 1024;
