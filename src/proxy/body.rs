//! The bodies: a client's on its way to an upstream, and a response's on its way to a client.
//!
//! Both stream: a frame is asked for when the other side can take one, and handed on as it is. A timer exists only
//! while a body is really waited for.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::flight::Flight;
use super::pool::Lease;

/// How a client's body is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// Not at its end.
    Open,
    /// Read to its end.
    Complete,
    /// Larger than allowed.
    TooLarge,
    /// The client sent nothing for too long.
    TimedOut,
    /// Broken off, or malformed.
    Broken,
}

/// What the rest of the exchange may know of a client's body while an upstream reads it.
#[derive(Debug)]
pub(super) struct UploadState {
    pub state: Cell<Upload>,
    /// When it last moved; before that, when the request was sent.
    pub progress: Cell<Instant>,
    /// The upstream would take more, and the client has not sent it: the upstream cannot be expected to answer.
    pub starved: Cell<bool>,
}

impl UploadState {
    pub(super) fn new(state: Upload) -> Self {
        Self { state: Cell::new(state), progress: Cell::new(Instant::now()), starved: Cell::new(false) }
    }
}

/// A request's body as an upstream's connection reads it.
pub(super) enum RequestBody {
    Empty,
    Client(ClientBody),
}

/// A client's body with its limits.
pub(super) struct ClientBody {
    incoming: Incoming,
    state: Rc<UploadState>,
    left: u64,
    stall: Stall,
}

impl ClientBody {
    pub(super) fn new(incoming: Incoming, state: Rc<UploadState>, most: Option<u64>, patience: Duration) -> Self {
        Self { incoming, state, left: most.unwrap_or(u64::MAX), stall: Stall::new(patience) }
    }

    fn end(&self, state: Upload) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.state.state.set(state);
        Poll::Ready((state != Upload::Complete).then_some(Err(Broken)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.state.starved.set(polled.is_pending());
        match polled {
            Poll::Pending if self.stall.poll(cx).is_ready() => self.end(Upload::TimedOut),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => self.end(Upload::Complete),
            Poll::Ready(Some(Err(_))) => self.end(Upload::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Buf::remaining);
                let Some(left) = self.left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) else {
                    return self.end(Upload::TooLarge);
                };
                self.left = left;
                self.stall.moved();
                self.state.progress.set(Instant::now());
                if self.incoming.is_end_stream() {
                    self.state.state.set(Upload::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.incoming.size_hint(),
        }
    }
}

/// A response's body as a client's connection reads it.
pub(super) enum Body {
    Empty,
    /// From memory.
    Full(Option<Bytes>),
    /// From an upstream. Boxed: it is large, and hyper keeps room for a body in every connection.
    Upstream(Box<UpstreamBody>),
}

/// An upstream's body, with all that must be settled when it ends.
pub(super) struct UpstreamBody {
    incoming: Incoming,
    /// Goes back to the pool at the end; dropped before, it ends the connection.
    lease: Option<Lease>,
    flight: Flight,
    stall: Stall,
    /// For an HTTP/2 client: whether it is the client that is waited for.
    progress: Option<Rc<Progress>>,
    /// Bytes handed on.
    sent: u64,
}

/// Whether a stream waits for its client, and since when. One for each HTTP/2 stream.
#[derive(Debug)]
pub(super) struct Progress {
    pub waiting: Cell<bool>,
    pub since: Cell<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { waiting: Cell::new(false), since: Cell::new(Instant::now()) }
    }

    /// The client is to take something from now on.
    pub(super) fn wait(&self) {
        self.waiting.set(true);
        self.since.set(Instant::now());
    }
}

impl UpstreamBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease,
        flight: Flight,
        patience: Duration,
        progress: Option<Rc<Progress>>,
    ) -> Self {
        let mut body = Self { incoming, lease: Some(lease), flight, stall: Stall::new(patience), progress, sent: 0 };
        if body.incoming.is_end_stream() {
            body.complete();
        }
        body
    }

    /// The response is whole: the connection may serve another request.
    fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
            self.flight.complete(self.sent);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(progress) = &self.progress {
            progress.waiting.set(false);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending if self.stall.poll(cx).is_ready() => {
                self.flight.stalled();
                Poll::Ready(Some(Err(Broken)))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.flight.broken();
                Poll::Ready(Some(Err(Broken)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.moved();
                self.sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                if self.incoming.is_end_stream() {
                    self.complete();
                }
                if let Some(progress) = &self.progress {
                    progress.wait();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

/// The time-out of something that is expected to move. It costs nothing until it is waited for.
struct Stall {
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer runs, but something has moved since it was set.
    stale: bool,
}

impl Stall {
    fn new(patience: Duration) -> Self {
        Self { patience, timer: None, stale: false }
    }

    /// Ready when nothing has moved for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if self.stale {
            self.stale = false;
            timer.as_mut().reset(Instant::now() + patience);
        }
        timer.as_mut().poll(cx)
    }

    /// Something moved.
    fn moved(&mut self) {
        self.stale = true;
    }
}

/// A body that ended before its time. What happened is told elsewhere; hyper only needs to know that it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body ended before its time")
    }
}

impl std::error::Error for Broken {}
