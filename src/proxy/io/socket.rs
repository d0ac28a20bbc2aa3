//! The sockets: TCP or unix, clear text or TLS, in one type; and the client's side of it, which notices progress.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::{client, server};

use crate::proxy::request::body::{RequestBody, Upload, UploadState};

/// A stream without TLS.
#[derive(Debug)]
pub(crate) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    /// Waits for the client's first byte, and leaves it where it is. A unix socket cannot be looked into: there it does
    /// not wait.
    pub(crate) async fn begins(&self) -> io::Result<()> {
        match self {
            // Not `readable`, which may be true for no reason.
            Self::Tcp(stream) => stream.peek(&mut [0]).await.map(drop),
            Self::Unix(_) => Ok(()),
        }
    }

    /// The same stream over another descriptor, which is told anew of all that happens to it.
    fn duplicate(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => {
                let stream = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
                TcpStream::from_std(stream).map(Self::Tcp)
            }
            Self::Unix(stream) => {
                let stream = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
                UnixStream::from_std(stream).map(Self::Unix)
            }
        }
    }

    /// Waits until the other side has refused something that was sent to it. Of a [`Plain::duplicate`].
    async fn refused(self) {
        let refused = match &self {
            Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Self::Unix(stream) => stream.ready(Interest::ERROR).await,
        };
        // It cannot be seen then.
        if refused.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the other side has closed, whatever lies unread before that, and reads nothing. Of a [`Plain::duplicate`]
    /// alone: the stream takes what is there for read.
    async fn ended(self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        loop {
            let ready = match &self {
                Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
                Self::Unix(stream) => stream.ready(Interest::READABLE).await,
            };
            if ready.map_or(true, |ready| ready.is_read_closed()) {
                return;
            }
            // It waits for more then.
            let _ = match &self {
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
                Self::Unix(stream) => stream.try_io(Interest::READABLE, nothing),
            };
        }
    }
}

/// Any stream of ours.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(Plain),
    /// Boxed: a TLS session is large, and most streams of a sidecar have none.
    Server(Box<server::TlsStream<Plain>>),
    Client(Box<client::TlsStream<Plain>>),
}

impl Socket {
    /// Whether it can be seen that the other side has closed it without reading what came before.
    pub(crate) fn tells_its_end(&self) -> bool {
        matches!(self, Self::Plain(Plain::Tcp(_)))
    }

    /// The stream below TLS, if there is some.
    fn plain(&self) -> &Plain {
        match self {
            Self::Plain(plain) => plain,
            Self::Server(stream) => stream.get_ref().0,
            Self::Client(stream) => stream.get_ref().0,
        }
    }
}

/// Delegates the four I/O calls to whichever stream it is.
macro_rules! delegate_io {
    ($type:ty, $($variant:path),+) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_read(cx, buf),)+ }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_write(cx, buf),)+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_write_vectored(cx, bufs),)+ }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $($variant(io) => io.is_write_vectored(),)+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_flush(cx),)+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_shutdown(cx),)+ }
            }
        }
    };
}

delegate_io!(Plain, Plain::Tcp, Plain::Unix);
delegate_io!(Socket, Socket::Plain, Socket::Server, Socket::Client);

/// What the connection's deadline looks at. Shared between the stream, the requests and the driver of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Bytes came since this was last cleared.
    pub heard: Cell<bool>,
    /// When the first of those bytes came.
    pub heard_at: Cell<Instant>,
    /// When the last bytes came.
    pub read_at: Cell<Instant>,
    /// Since when the client has accepted nothing although there is something to write.
    pub write_blocked: Cell<Option<Instant>>,
    /// When the client last took what it had kept waiting.
    pub taken_at: Cell<Instant>,
    /// Bytes went either way since this was last cleared.
    pub moved: Cell<bool>,
    /// Nothing is due, so that nobody looks for it until this is cleared.
    pub asleep: Cell<bool>,
    /// What is due may have come nearer.
    pub changed: Cell<bool>,
    /// A request is under way.
    pub serving: Cell<bool>,
    /// Something was seen behind it, that was not read.
    pub ahead: Cell<bool>,
    /// HTTP/1: it was forwarded.
    pub forwarded: Cell<bool>,
    /// HTTP/1: something of its response was written.
    pub responds: Cell<bool>,
    /// HTTP/1: the client sends no more, and waits for the rest of the response: since it took something of that.
    pub half_closed: Cell<Option<Instant>>,
    /// HTTP/1: it is held, and nobody reads its body.
    pub held: Cell<bool>,
    /// HTTP/1: how its body is doing, if it has one and is forwarded.
    pub upload: RefCell<Option<Rc<UploadState>>>,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            heard: Cell::new(false),
            heard_at: Cell::new(now),
            read_at: Cell::new(now),
            write_blocked: Cell::new(None),
            taken_at: Cell::new(now),
            moved: Cell::new(false),
            asleep: Cell::new(false),
            changed: Cell::new(false),
            serving: Cell::new(false),
            ahead: Cell::new(false),
            forwarded: Cell::new(false),
            responds: Cell::new(false),
            half_closed: Cell::new(None),
            held: Cell::new(false),
            upload: RefCell::default(),
        }
    }
}

impl Activity {
    /// Something begins that may become due.
    pub(crate) fn stirs(&self) {
        if self.asleep.take() {
            self.changed.set(true);
        }
    }

    /// Whether the request's body is not at its end.
    fn uploads(&self) -> bool {
        self.upload.borrow().as_ref().is_some_and(|upload| upload.state.get() != Upload::Complete)
    }

    /// Bytes came.
    pub(crate) fn hears(&self) {
        self.moved.set(true);
        self.ahead.set(false);
        let now = Instant::now();
        self.read_at.set(now);
        if !self.heard.replace(true) {
            self.heard_at.set(now);
        }
    }
}

/// A client's stream as hyper sees it.
pub(crate) struct ClientIo {
    io: TokioIo<Socket>,
    closer: Closer,
    /// Read already, to learn the protocol.
    prefix: Bytes,
    activity: Rc<Activity>,
    /// Tells of the end of the stream although there is something to read before it. Only while a request is held.
    end: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The client sends no more.
    half_closed: Option<HalfClosed>,
}

/// A client that sends no more: it may wait for its answer, or have gone. Both look alike (RFC 9293 section 3.6) until
/// something is sent, which a client that has gone refuses by a reset.
struct HalfClosed {
    /// Ready when the client refuses something.
    refused: Pin<Box<dyn Future<Output = ()>>>,
    /// The first byte of the answer was sent ahead of the others, to see whether it is refused: all answers begin with
    /// [`FIRST_BYTE`].
    ahead: bool,
}

/// Who closes a client's stream.
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

    /// The stream, and what was read of it and not handed on.
    pub(crate) fn into_parts(self) -> (Socket, Bytes) {
        (self.io.into_inner(), self.prefix)
    }

    /// Looks whether the client has gone, while hyper does not read.
    ///
    /// hyper would find out by reading, for which it takes a new buffer, as the request that it read last still lies in
    /// the one it has: 8 KiB for every request. To look without reading costs nothing unless there is something.
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let activity = &self.activity;
        let looks = activity.serving.get() && !activity.ahead.get() && self.prefix.is_empty();
        // As long as there is more to come of a body hyper reads, and finds the end itself.
        if !looks || self.closer != Closer::Driver || activity.uploads() {
            return Ok(());
        }
        if let Some(half_closed) = &mut self.half_closed {
            return match half_closed.refused.as_mut().poll(cx) {
                Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
                Poll::Pending => Ok(()),
            };
        }
        let Socket::Plain(Plain::Tcp(stream)) = self.io.inner_mut() else {
            return Ok(());
        };
        match stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(0)) => self.half_close(cx),
            // The next request, or more of this one's body. hyper reads it in its time.
            Poll::Ready(Ok(_)) => {
                self.activity.ahead.set(true);
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// The client sends no more: finds out whether it still waits for its answer. A held request has waited long enough
    /// for its client to be taken to have gone.
    fn half_close(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        if self.activity.held.get() {
            return Err(gone());
        }
        let other = self.io.inner().plain().duplicate().map_err(|_| gone())?;
        let mut half_closed = HalfClosed { refused: Box::pin(other.refused()), ahead: false };
        if self.activity.forwarded.get() && !self.activity.responds.get() {
            // It fits: nothing else is on its way.
            match Pin::new(self.io.inner_mut()).poll_write(cx, FIRST_BYTE) {
                Poll::Ready(Ok(1)) => half_closed.ahead = true,
                Poll::Ready(_) => return Err(gone()),
                Poll::Pending => {}
            }
        } else {
            self.activity.half_closed.set(Some(Instant::now()));
            self.activity.stirs();
        }
        let refused = half_closed.refused.as_mut().poll(cx).is_ready();
        self.half_closed = Some(half_closed);
        if refused { Err(gone()) } else { Ok(()) }
    }

    /// Writes what is left of an answer whose first byte was sent ahead.
    fn write_behind(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> Option<Poll<io::Result<usize>>> {
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

    /// Looks whether the client of a held request has gone, where what it sent lies unread in front of that: its body, the
    /// next request, the last words of TLS. The kernel tells (`EPOLLRDHUP`), but it also tells of all that comes before, of
    /// which the stream itself must hear when hyper reads on: so this listens on a descriptor of its own. A request that
    /// is held needs none for an upstream.
    fn look_behind(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.activity.held.get() {
            if self.end.is_some() {
                self.end = None;
            }
            return Ok(());
        }
        let plain = matches!(self.io.inner(), Socket::Plain(Plain::Tcp(_)));
        if plain && !self.activity.ahead.get() && self.prefix.is_empty() {
            return Ok(());
        }
        if self.end.is_none() {
            // Without a descriptor it is not seen that the client leaves: the longest wait ends then, too.
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
    fn wrote<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &outcome {
            Poll::Ready(_) => {
                self.activity.moved.set(true);
                self.activity.responds.set(true);
                if self.activity.half_closed.get().is_some() {
                    self.activity.half_closed.set(Some(Instant::now()));
                }
                if self.activity.write_blocked.take().is_some() {
                    self.activity.taken_at.set(Instant::now());
                }
            }
            Poll::Pending if self.activity.write_blocked.get().is_none() => {
                self.activity.write_blocked.set(Some(Instant::now()));
                self.activity.stirs();
            }
            Poll::Pending => {}
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
        self.activity.hears();
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = match self.write_behind(cx, buf) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.io).poll_write(cx, buf),
        };
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|part| !part.is_empty());
        let outcome = match first.and_then(|first| self.write_behind(cx, first)) {
            Some(outcome) => outcome,
            None => write_parts(Pin::new(&mut self.io), cx, bufs),
        };
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        hyper::rt::Write::is_write_vectored(&self.io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_for_end(cx)?;
        self.look_behind(cx)?;
        match Pin::new(&mut self.io).poll_flush(cx) {
            // It is flushed all the time, mostly for nothing.
            Poll::Ready(Ok(())) if self.activity.write_blocked.get().is_none() => Poll::Ready(Ok(())),
            outcome => self.wrote(outcome),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.closer {
            Closer::Hyper => Pin::new(&mut self.get_mut().io).poll_shutdown(cx),
            Closer::Driver => self.poll_flush(cx),
        }
    }
}

/// Writes several parts at once. Small ones are put together first: one short copy costs less than the kernel's look
/// through a list of parts.
fn write_parts(io: Pin<&mut TokioIo<Socket>>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    if let [only] = parts {
        return hyper::rt::Write::poll_write(io, cx, only);
    }
    if parts.iter().map(|part| part.len()).sum::<usize>() > SMALL_WRITE {
        return hyper::rt::Write::poll_write_vectored(io, cx, parts);
    }
    TOGETHER.with_borrow_mut(|together| {
        together.clear();
        parts.iter().for_each(|part| together.extend_from_slice(part));
        hyper::rt::Write::poll_write(io, cx, together)
    })
}

/// An HTTP/1.1 upstream's stream as hyper sees it.
///
/// An upstream may answer and close while it is still being sent the body (413, 401). Writing fails then, and hyper
/// would give up without reading the answer, which has arrived already. So a write that finds the other side gone
/// waits instead: reading goes on, to the answer or to the end of the stream, and that ends the wait.
#[derive(Debug)]
pub(crate) struct UpstreamIo {
    io: TokioIo<Socket>,
    /// The upstream takes nothing any more.
    deaf: bool,
    sent: Rc<SentHead>,
}

/// The head of the request that was written last.
///
/// An upstream may close a connection at any moment, when it restarts for example, with a request on its way. One that
/// can be sent twice is then read back from here: what was written is what is sent again, and as long as all goes well
/// it costs no more than a copy of some hundred bytes.
#[derive(Debug, Default)]
pub(crate) struct SentHead {
    expected: Cell<bool>,
    head: RefCell<Vec<u8>>,
}

impl SentHead {
    /// A request is written next; `again`: keep its head.
    pub(crate) fn expect(&self, again: bool) {
        self.expected.set(again);
        let mut head = self.head.borrow_mut();
        head.clear();
        head.shrink_to(USUAL_HEAD);
    }

    /// Keeps what is written, if it is the beginning of an expected head. hyper hands over a head without a body whole.
    fn note(&self, parts: &[IoSlice<'_>]) {
        if self.expected.replace(false) {
            let mut head = self.head.borrow_mut();
            parts.iter().for_each(|part| head.extend_from_slice(part));
        }
    }

    /// The request, unless it was not kept or not written.
    pub(crate) fn read(&self) -> Option<Request<RequestBody>> {
        let head = self.head.borrow();
        // As many lines as it has are more than it has fields.
        let lines = head.iter().filter(|&&byte| byte == b'\n').count();
        let mut fields = vec![httparse::EMPTY_HEADER; lines];
        let mut parsed = httparse::Request::new(&mut fields);
        let whole = httparse::Status::Complete(head.len());
        parsed.parse(&head).ok().filter(|status| *status == whole)?;
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = parsed.method?.parse().ok()?;
        *request.uri_mut() = parsed.path?.parse().ok()?;
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            request.headers_mut().try_append(name, HeaderValue::from_bytes(field.value).ok()?).ok()?;
        }
        Some(request)
    }
}

impl UpstreamIo {
    pub(crate) fn new(socket: Socket, sent: Rc<SentHead>) -> Self {
        Self { io: TokioIo::new(socket), deaf: false, sent }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.io.into_inner()
    }

    fn wrote<T>(&mut self, cx: &Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match outcome {
            Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted) => {
                self.deaf = true;
                // What there is to read may have been looked for before it came.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            outcome => outcome,
        }
    }
}

impl hyper::rt::Read for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        self.sent.note(&[IoSlice::new(buf)]);
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        self.sent.note(bufs);
        let outcome = write_parts(Pin::new(&mut self.io), cx, bufs);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        hyper::rt::Write::is_write_vectored(&self.io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Reads once; empty at the end of the stream. Holds no memory while it waits.
pub(crate) async fn read_some(socket: &mut Socket) -> io::Result<Bytes> {
    poll_fn(|cx| poll_read_some(socket, cx, Bytes::copy_from_slice)).await
}

/// Reads once and throws it away; says how much it was, 0 at the end of the stream. Holds no memory while it waits.
pub(crate) async fn skip_some(socket: &mut Socket) -> io::Result<usize> {
    poll_fn(|cx| poll_read_some(socket, cx, <[u8]>::len)).await
}

/// Reads once, if there is something to read, into a space that belongs to nobody.
pub(crate) fn poll_read_some<T>(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    SCRATCH.with_borrow_mut(|space| {
        space.resize(SCRATCH_SIZE, 0);
        let mut buf = ReadBuf::new(space);
        ready!(Pin::new(socket).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(take(buf.filled())))
    })
}

thread_local! {
    /// One place for all connections of a worker.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };

    /// Where small parts are put together.
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The first byte of every HTTP/1 answer.
const FIRST_BYTE: &[u8] = b"H";

/// Parts of at most this many bytes in all are written as one.
const SMALL_WRITE: usize = 2048;

/// Room for a head that a connection keeps between requests.
const USUAL_HEAD: usize = 4096;

const SCRATCH_SIZE: usize = 64 * 1024;
