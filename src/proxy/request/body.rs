//! The bodies: a client's on its way to an upstream, and a response's on its way to a client.
//!
//! Both stream: a frame is asked for when the other side can take one, and handed on as it is. A timer exists only
//! while a body is really waited for.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::events::Watch;
use super::record::Flight;
use crate::proxy::http::headers;
use crate::proxy::in_flight::{Fate, Kind};
use crate::proxy::io::gather::{Source, plus};
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::Ahead;

/// How a client's body is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
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
pub(crate) struct UploadState {
    pub state: Cell<Upload>,
    /// When it last moved; before that, when the request was sent.
    pub progress: Cell<Instant>,
    /// When it last moved by more than a trickle, and how many bytes came since.
    flow: Cell<(Instant, usize)>,
    /// The upstream would take more, and the client has not sent it: the upstream cannot be expected to answer.
    pub starved: Cell<bool>,
    /// The upstream has begun to answer: from then on the two may talk as they like, and a client that is silent (a
    /// gRPC stream that only listens) is none that is late.
    pub answered: Cell<bool>,
}

impl UploadState {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Cell::new(Upload::Open),
            progress: Cell::new(now),
            flow: Cell::new((now, 0)),
            starved: Cell::new(false),
            answered: Cell::new(false),
        }
    }

    /// Notes that this much came.
    fn moved(&self, bytes: usize) {
        let now = Instant::now();
        self.progress.set(now);
        let (since, before) = self.flow.get();
        let bytes = before.saturating_add(bytes);
        self.flow.set(if bytes >= TRICKLE { (now, 0) } else { (since, bytes) });
    }

    /// Returns since when the upstream has waited for the client to send more than a trickle, if it does.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        let waited_for = self.state.get() == Upload::Open && self.starved.get() && !self.answered.get();
        waited_for.then(|| self.flow.get().0)
    }
}

/// A request's body as an upstream's connection reads it.
pub(crate) enum RequestBody {
    Empty,
    /// Boxed: a request is moved about much, and most have no body.
    Client(Box<ClientBody>),
}

/// A client's body with its limits.
pub(crate) struct ClientBody {
    source: Source,
    state: Rc<UploadState>,
    left: u64,
    stall: Stall,
    /// What came before the request was sent.
    first: Option<Box<Frame<Bytes>>>,
    /// The request was sent before anything of its body had come.
    ahead: Option<Ahead>,
}

impl ClientBody {
    pub(crate) fn new(source: Source, state: Rc<UploadState>, most: Option<u64>, patience: Duration) -> Self {
        let stall = Stall::new(patience, state.progress.get());
        Self { source, state, left: most.unwrap_or(u64::MAX), stall, first: None, ahead: None }
    }

    /// Lets the request be sent before anything of the body has come.
    pub(crate) fn go_ahead(&mut self, ahead: Option<Ahead>) {
        self.ahead = ahead;
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|first| first.data_ref()).map_or(0, Bytes::len);
        plus(self.source.size_hint(), first as u64)
    }

    fn end(&self, state: Upload) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.state.state.set(state);
        Poll::Ready((state != Upload::Complete).then(|| Err(Broken::default())))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(*first)));
        }
        let polled = self.source.poll_frame(cx);
        if polled.is_ready() {
            self.ahead = None;
        }
        self.state.starved.set(polled.is_pending());
        match polled {
            Poll::Pending if !self.state.answered.get() && self.stall.poll(cx).is_ready() => self.end(Upload::TimedOut),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => self.end(Upload::Complete),
            Poll::Ready(Some(Err(_))) => self.end(Upload::Broken),
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::strip_trailers(trailers);
                    if trailers.is_empty() {
                        return self.end(Upload::Complete);
                    }
                }
                let length = frame.data_ref().map_or(0, Buf::remaining);
                let Some(left) = self.left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) else {
                    return self.end(Upload::TooLarge);
                };
                self.left = left;
                self.stall.moved();
                self.state.moved(length);
                if self.source.is_end_stream() {
                    self.state.state.set(Upload::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl RequestBody {
    /// Waits for the first bytes of a body, and keeps them.
    ///
    /// # Errors
    /// When the body ends before its time. Why is said by its [`UploadState`].
    pub(crate) async fn begins(&mut self) -> Result<(), Broken> {
        let Self::Client(body) = self else { return Ok(()) };
        let first = poll_fn(|cx| body.poll(cx)).await;
        body.first = first.transpose()?.map(Box::new);
        Ok(())
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
            Self::Client(body) => body.first.is_none() && body.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
        }
    }
}

/// A response's body as a client's connection reads it.
pub(crate) enum Body {
    Empty,
    /// From memory.
    Full(Bytes),
    /// What a watcher is told.
    Watch(Box<Watch>),
    /// From an upstream. Boxed: it is large, and hyper keeps room for a body in every connection.
    Upstream(Box<UpstreamBody>),
}

/// An upstream's body, with all that must be settled when it ends.
pub(crate) struct UpstreamBody {
    source: Source,
    /// Goes back to the pool at the end; dropped before, it ends the connection.
    lease: Option<Lease>,
    flight: Flight,
    stall: Stall,
    /// For an HTTP/2 client: it is handed on in slices, and what the client does not take is noted.
    sliced: bool,
    /// For an HTTP/2 client: what was read and not handed on yet.
    rest: Bytes,
    /// Bytes handed on.
    sent: u64,
    /// When the response came; `None` once it may be over for longer than that.
    came: Option<Instant>,
    /// It was ended before its time.
    parted: bool,
}

impl UpstreamBody {
    pub(crate) fn new(source: Source, lease: Lease, flight: Flight, patience: Duration, now: Instant) -> Self {
        let (stall, rest) = (Stall::new(patience, now), Bytes::new());
        let sliced = flight.connection.http2.get();
        let mut body =
            Self { source, lease: Some(lease), flight, stall, sliced, rest, sent: 0, came: Some(now), parted: false };
        if body.source.is_end_stream() {
            body.complete();
        }
        body
    }

    /// The response is whole: the connection may serve another request.
    fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            let now = self.came.unwrap_or_else(Instant::now);
            lease.finish(now);
            self.flight.complete(self.sent, now);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.sliced {
            self.flight.standing.is_taken();
        }
        if self.sent > 0 || self.sliced {
            self.came = None;
        }
        if self.flight.standing.fate() != Fate::Stay {
            return self.part();
        }
        if let Some(slice) = slice(&mut self.rest) {
            return self.hand_on(Frame::data(slice));
        }
        match self.source.poll_frame(cx) {
            Poll::Pending => {
                self.came = None;
                std::task::ready!(self.stall.poll(cx));
                self.flight.stalled();
                Poll::Ready(Some(Err(Broken::default())))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.flight.broken();
                Poll::Ready(Some(Err(Broken::default())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.moved();
                self.hand_on(frame)
            }
        }
    }

    /// Ends it before its time, since its route is down: in the way that is proper for it.
    fn part(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.rest.clear();
        // The upstream is not heard to its end: its connection ends, or its stream is reset.
        drop(self.lease.take());
        let evicted = self.flight.standing.fate() == Fate::Evict;
        match self.flight.standing.kind() {
            _ if evicted => {
                self.flight.evicted();
                Poll::Ready(Some(Err(Broken::cancelled())))
            }
            Kind::Events => {
                self.flight.leaves();
                self.flight.complete(self.sent, Instant::now());
                self.parted = true;
                Poll::Ready(None)
            }
            Kind::Grpc if !self.parted => {
                self.flight.drained();
                self.parted = true;
                Poll::Ready(Some(Ok(Frame::trailers(grpc_unavailable()))))
            }
            Kind::Grpc => Poll::Ready(None),
            Kind::Plain | Kind::Tunnel => {
                self.flight.drained();
                Poll::Ready(Some(Err(Broken::cancelled())))
            }
        }
    }

    /// Hands a frame on. To an HTTP/2 client in slices: hyper gives h2 a frame whole as soon as one byte of it fits the
    /// client's window, and from then on nobody can tell whether the client still takes anything.
    fn hand_on(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match frame.into_data() {
            Ok(mut data) if self.sliced && data.len() > SLICE => {
                let first = data.split_to(SLICE);
                self.rest = data;
                Frame::data(first)
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        };
        self.sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        if self.rest.is_empty() && self.source.is_end_stream() {
            self.complete();
        }
        if self.sliced {
            self.flight.standing.offers();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// The next part of what is to be handed on.
fn slice(rest: &mut Bytes) -> Option<Bytes> {
    (!rest.is_empty()).then(|| rest.split_to(rest.len().min(SLICE)))
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(slice(bytes).map(|slice| Ok(Frame::data(slice)))),
            Self::Watch(watch) => watch.poll(cx),
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Watch(watch) => watch.is_over(),
            Self::Upstream(body) => body.parted || body.rest.is_empty() && body.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Watch(_) => SizeHint::default(),
            Self::Upstream(body) => body.source.size_hint(),
        }
    }
}

/// The time-out of something that is expected to move. It costs nothing until it is waited for, and then a look at the
/// clock: the timer is set again only when it has run out.
struct Stall {
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something has moved since it was last waited for.
    moved: bool,
    due: Instant,
}

impl Stall {
    fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, timer: None, moved: true, due: now }
    }

    /// Ready when nothing has moved for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.moved) {
            self.due = Instant::now() + self.patience;
        }
        let due = self.due;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            std::task::ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }

    /// Something moved.
    fn moved(&mut self) {
        self.moved = true;
    }
}

/// A body that ended before its time. What happened is told elsewhere; hyper only needs to know that it did.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    /// What an HTTP/2 stream is reset with, if not with an internal error.
    reason: Option<h2::Error>,
}

impl Broken {
    /// Nobody is to blame: it was ended.
    fn cancelled() -> Self {
        Self { reason: Some(h2::Reason::CANCEL.into()) }
    }
}

/// The trailers of a gRPC response whose route went down: its client may try again.
fn grpc_unavailable() -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static("grpc-status"), HeaderValue::from_static("14")),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static("under maintenance")),
    ])
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body ended before its time")
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.as_ref().map(|reason| reason as &(dyn std::error::Error + 'static))
    }
}

/// A client that has sent fewer bytes than this in some time has sent a trickle.
const TRICKLE: usize = 1024;

/// Bytes that are handed to a connection at a time: what an HTTP/2 client must take within `write` to be moving.
const SLICE: usize = 16 * 1024;
