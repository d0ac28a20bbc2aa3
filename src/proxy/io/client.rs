//! A client's stream as hyper sees it, and the activity on it that its connection observes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::deadline::DeadlineHint;
use super::socket::{Plain, Socket, write_parts};
use super::upload::{Upload, UploadState};

/// State of a client's stream, shared by the stream, its requests and the driver of its connection.
///
/// Each part has one owner that changes it; the others only read.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Changed by reading.
    pub reads: Reads,
    /// Changed by writing.
    pub writes: Writes,
    /// Changed by the request that is under way.
    pub request: Requested,
    /// Changed by every event that sets a deadline; read by the driver.
    pub hint: DeadlineHint,
    /// True if bytes went either way since the driver's last check.
    moved: Cell<bool>,
}

/// The reads of a client's stream.
#[derive(Debug)]
pub(crate) struct Reads {
    /// True if bytes came that belong to no request yet.
    heard: Cell<bool>,
    /// The arrival of the first of these bytes.
    heard_at: Cell<Instant>,
    /// The arrival of the last bytes.
    last: Cell<Instant>,
    /// True if unread bytes wait behind the current request.
    pipelined: Cell<bool>,
}

/// The writes of a client's stream, as the client accepts them.
#[derive(Debug)]
pub(crate) struct Writes {
    /// The instant from which the client has accepted nothing although bytes wait for it.
    blocked: Cell<Option<Instant>>,
    /// The instant when the client last accepted bytes that had waited for it.
    accepted: Cell<Instant>,
    /// HTTP/1: a part of the response to the request that is under way was written.
    responds: Cell<bool>,
}

/// The facts about the current request that its client's stream needs.
#[derive(Debug)]
pub(crate) struct Requested {
    /// A request is under way.
    serving: Cell<bool>,
    /// HTTP/1: the request was forwarded.
    forwarded: Cell<bool>,
    /// HTTP/1: the request is held, and nobody reads its body.
    held: Cell<bool>,
    /// HTTP/1: the state of the request's body, if there is one and the request is forwarded.
    upload: RefCell<Option<Rc<UploadState>>>,
    /// HTTP/1: the instant from which a half-closed client has accepted nothing while a response is due.
    half_closed: Cell<Option<Instant>>,
    /// HTTP/2: a request of the connection was sent ahead of its body.
    ahead: Cell<bool>,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            reads: Reads {
                heard: Cell::new(false),
                heard_at: Cell::new(now),
                last: Cell::new(now),
                pipelined: Cell::new(false),
            },
            writes: Writes { blocked: Cell::new(None), accepted: Cell::new(now), responds: Cell::new(false) },
            request: Requested {
                serving: Cell::new(false),
                forwarded: Cell::new(false),
                held: Cell::new(false),
                upload: RefCell::default(),
                half_closed: Cell::new(None),
                ahead: Cell::new(false),
            },
            hint: DeadlineHint::default(),
            moved: Cell::new(false),
        }
    }

    /// Notes that a request begins.
    pub(crate) fn begin_request(&self) {
        self.request.serving.set(true);
        self.request.forwarded.set(false);
        self.reads.pipelined.set(false);
        self.writes.responds.set(false);
    }

    /// Notes that a request has ended; `others` are still under way.
    pub(crate) fn end_request(&self, others: usize) {
        self.request.upload.replace(None);
        self.request.serving.set(others > 0);
        self.reads.heard.set(false);
        self.hint.stir();
    }

    /// Notes that bytes came.
    pub(crate) fn read(&self) {
        self.moved.set(true);
        self.reads.pipelined.set(false);
        let now = Instant::now();
        self.reads.last.set(now);
        if !self.reads.heard.replace(true) {
            self.reads.heard_at.set(now);
        }
    }

    /// Notes that the client accepted bytes: of its answer, or of an interim one.
    fn accept(&self, written: Written) {
        self.moved.set(true);
        if written == Written::Answer {
            self.writes.responds.set(true);
        }
        if self.request.half_closed.get().is_some() {
            self.request.half_closed.set(Some(Instant::now()));
        }
        if self.writes.blocked.take().is_some() {
            self.writes.accepted.set(Instant::now());
        }
    }

    /// Notes that bytes wait which the client does not accept.
    fn block(&self) {
        if self.writes.blocked.get().is_none() {
            self.writes.blocked.set(Some(Instant::now()));
            self.hint.stir();
        }
    }

    /// Begins to watch for bytes that go either way.
    pub(crate) fn watch_for_bytes(&self) {
        self.moved.set(false);
    }

    /// Returns true if bytes went either way since [`Activity::watch_for_bytes`].
    pub(crate) fn has_moved(&self) -> bool {
        self.moved.get()
    }
}

impl Reads {
    /// Returns true if bytes came that belong to no request yet.
    pub(crate) fn heard(&self) -> bool {
        self.heard.get()
    }

    /// Returns when the first of these bytes came.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at.get()
    }

    /// Returns when the last bytes came.
    pub(crate) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Notes whether a handshake or the beginning of a protocol is under way, which is not idle.
    pub(crate) fn set_heard(&self, heard: bool) {
        self.heard.set(heard);
    }
}

impl Writes {
    /// Returns the instant from which the client has accepted nothing although bytes wait for it.
    pub(crate) fn blocked(&self) -> Option<Instant> {
        self.blocked.get()
    }

    /// Returns when the client last accepted bytes that had waited for it.
    pub(crate) fn accepted(&self) -> Instant {
        self.accepted.get()
    }
}

impl Requested {
    /// Notes that the request is forwarded.
    pub(crate) fn forward(&self) {
        self.forwarded.set(true);
    }

    /// Notes whether the request is held.
    pub(crate) fn hold(&self, held: bool) {
        self.held.set(held);
    }

    /// Notes the state of the body that is forwarded.
    pub(crate) fn upload(&self, upload: Option<Rc<UploadState>>) {
        self.upload.replace(upload);
    }

    /// Returns the instant from which a half-closed client has accepted nothing.
    pub(crate) fn half_closed(&self) -> Option<Instant> {
        self.half_closed.get()
    }

    /// Returns true if a request of the connection was sent ahead of its body.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead.get()
    }

    /// Notes whether a request of the connection was sent ahead of its body.
    pub(super) fn set_ahead(&self, ahead: bool) {
        self.ahead.set(ahead);
    }

    /// Returns true while a forwarded body has not ended.
    fn uploads(&self) -> bool {
        self.upload.borrow().as_ref().is_some_and(|upload| upload.state.get() != Upload::Complete)
    }
}

/// A client's stream as hyper sees it.
pub(crate) struct ClientIo {
    io: TokioIo<Socket>,
    closer: Closer,
    /// Bytes that were read to detect the protocol.
    prefix: Bytes,
    activity: Rc<Activity>,
    /// Ready at the end of the stream, even if there are unread bytes before it. Set only while a request is held.
    end: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The client sends no more.
    half_closed: Option<HalfClosed>,
}

/// Bytes that are written to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Answer,
    /// `100 Continue`, or nothing.
    Interim,
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(CONTINUE) { Self::Interim } else { Self::Answer }
    }
}

/// A half-closed client: it may wait for its answer, or have gone. Both look alike (RFC 9293 section 3.6) until the
/// proxy sends something. A client that has gone then answers with a reset.
struct HalfClosed {
    /// Ready when the client resets the connection. `None` if too many clients are watched like this: the client then
    /// counts as present until a write fails.
    refused: Option<Watched>,
    /// True if the first byte of the answer was sent early, to provoke a reset: all answers begin with [`FIRST_BYTE`].
    ahead: bool,
}

impl HalfClosed {
    fn is_refused(&mut self, cx: &mut Context<'_>) -> bool {
        self.refused.as_mut().is_some_and(|watched| watched.refused.as_mut().poll(cx).is_ready())
    }
}

/// A second descriptor of a client's stream, which is needed to see a reset. Their number is small, because no limit on
/// connections counts them.
struct Watched {
    refused: Pin<Box<dyn Future<Output = ()>>>,
    _place: WatchPermit,
}

impl Watched {
    fn new(stream: &Plain) -> Option<Self> {
        let place = WatchPermit::take()?;
        let other = stream.duplicate().ok()?;
        Some(Self { refused: Box::pin(other.refused()), _place: place })
    }
}

/// Permit to watch a client for a reset. It is given back when dropped.
struct WatchPermit;

impl WatchPermit {
    fn take() -> Option<Self> {
        let one_more = |watched| (watched < MOST_WATCHED).then_some(watched + 1);
        WATCHED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        WATCHED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of clients that all workers watch for a reset. Changed only for half-closed clients.
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// Clients that may be watched for a reset: half of the reserved descriptors.
const MOST_WATCHED: usize = 32;

/// The closer of a client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closer {
    /// hyper, when it is done (HTTP/2).
    Hyper,
    /// The driver (HTTP/1): an answer to a request whose body was not read must be followed by a lingering close.
    Driver,
}

impl ClientIo {
    pub(crate) fn new(socket: Socket, prefix: Bytes, activity: Rc<Activity>, closer: Closer) -> Self {
        Self { io: TokioIo::new(socket), closer, prefix, activity, end: None, half_closed: None }
    }

    /// Returns the stream, and the bytes that were read and not handed on.
    pub(crate) fn into_parts(self) -> (Socket, Bytes) {
        (self.io.into_inner(), self.prefix)
    }

    /// Checks whether the client has gone, while hyper does not read.
    ///
    /// hyper would find out by reading. For that it needs a new buffer of 8 KiB for every request, because the last
    /// request still occupies the old one. A check without reading costs nothing unless bytes have come.
    fn check_closed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let activity = &self.activity;
        let looks = activity.request.serving.get() && !activity.reads.pipelined.get() && self.prefix.is_empty();
        // While a body is not complete, hyper reads and finds the end itself.
        if !looks || self.closer != Closer::Driver || activity.request.uploads() {
            return Ok(());
        }
        if let Some(half_closed) = &mut self.half_closed {
            return if half_closed.is_refused(cx) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) };
        }
        let Socket::Plain(Plain::Tcp(stream)) = self.io.inner_mut() else {
            return Ok(());
        };
        match stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(0)) => self.half_close(cx),
            // These bytes belong to the next request, or to this one's body. hyper reads them later.
            Poll::Ready(Ok(_)) => {
                self.activity.reads.pipelined.set(true);
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Finds out whether a half-closed client still waits for its answer. The client of a held request is taken to have
    /// gone.
    fn half_close(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        if self.activity.request.held.get() {
            return Err(gone());
        }
        let mut half_closed = HalfClosed { refused: Watched::new(self.io.inner().plain()), ahead: false };
        if self.activity.request.forwarded.get() && !self.activity.writes.responds.get() {
            // The byte fits the socket's buffer, since nothing else is on its way.
            match Pin::new(self.io.inner_mut()).poll_write(cx, FIRST_BYTE) {
                Poll::Ready(Ok(1)) => half_closed.ahead = true,
                Poll::Ready(_) => return Err(gone()),
                Poll::Pending => {}
            }
        } else {
            self.activity.request.half_closed.set(Some(Instant::now()));
            self.activity.hint.stir();
        }
        let refused = half_closed.is_refused(cx);
        self.half_closed = Some(half_closed);
        if refused { Err(gone()) } else { Ok(()) }
    }

    /// Writes the rest of an answer whose first byte was sent early.
    fn write_rest(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> Option<Poll<io::Result<usize>>> {
        let half_closed = self.half_closed.as_mut().filter(|half_closed| half_closed.ahead)?;
        let rest = answer.strip_prefix(FIRST_BYTE)?;
        if rest.is_empty() {
            half_closed.ahead = false;
            return Some(Poll::Ready(Ok(FIRST_BYTE.len())));
        }
        let outcome = hyper::rt::Write::poll_write(Pin::new(&mut self.io), cx, rest);
        half_closed.ahead = !matches!(outcome, Poll::Ready(Ok(_)));
        Some(outcome.map_ok(|written| written + FIRST_BYTE.len()))
    }

    /// Checks whether the client of a held request has gone, even behind unread bytes: its body, the next request, or
    /// the close_notify of TLS. The kernel reports that by `EPOLLRDHUP`, together with events that hyper needs when it
    /// reads on. So this check has its own descriptor, which a held request does not need for an upstream.
    fn check_closed_behind_unread(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.activity.request.held.get() {
            if self.end.is_some() {
                self.end = None;
            }
            return Ok(());
        }
        let plain = matches!(self.io.inner(), Socket::Plain(Plain::Tcp(_)));
        if plain && !self.activity.reads.pipelined.get() && self.prefix.is_empty() {
            return Ok(());
        }
        if self.end.is_none() {
            // Without a descriptor the client's end is not seen. Then the longest wait ends the hold.
            self.end = self.io.inner().plain().duplicate().ok().map(|stream| Box::pin(stream.ended()) as _);
        }
        match self.end.as_mut().map(|end| end.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => {
                self.end = None;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Some(Poll::Pending) | None => Ok(()),
        }
    }

    /// Notes whether the client accepts what is written.
    fn wrote<T>(&self, written: Written, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(_) => self.activity.accept(written),
            Poll::Pending => self.activity.block(),
        }
        outcome
    }
}

impl hyper::rt::Read for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(count));
        }
        self.activity.read();
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = match self.write_rest(cx, buf) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.io).poll_write(cx, buf),
        };
        self.wrote(Written::of(buf), outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|part| !part.is_empty());
        let outcome = match first.and_then(|first| self.write_rest(cx, first)) {
            Some(outcome) => outcome,
            None => write_parts(Pin::new(&mut self.io), cx, bufs),
        };
        self.wrote(first.map_or(Written::Answer, |first| Written::of(first)), outcome)
    }

    fn is_write_vectored(&self) -> bool {
        hyper::rt::Write::is_write_vectored(&self.io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_closed(cx)?;
        self.check_closed_behind_unread(cx)?;
        match Pin::new(&mut self.io).poll_flush(cx) {
            // hyper flushes often, mostly without bytes to flush.
            Poll::Ready(Ok(())) if self.activity.writes.blocked.get().is_none() => Poll::Ready(Ok(())),
            outcome @ (Poll::Pending | Poll::Ready(_)) => self.wrote(Written::Interim, outcome),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.closer {
            Closer::Hyper => Pin::new(&mut self.get_mut().io).poll_shutdown(cx),
            Closer::Driver => self.poll_flush(cx),
        }
    }
}

/// The beginning of the only interim answer that hyper gives.
const CONTINUE: &[u8] = b"HTTP/1.1 100 ";

/// The first byte of every HTTP/1 answer.
const FIRST_BYTE: &[u8] = b"H";
