//! The sockets: TCP or unix, clear text or TLS, in one type; and the client's side of it, which notices progress.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::{client, server};

/// A stream without TLS.
#[derive(Debug)]
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    /// Waits for the client's first byte, and leaves it where it is. A unix socket cannot be looked into: there it does
    /// not wait.
    pub(super) async fn begins(&self) -> io::Result<()> {
        match self {
            // Not `readable`, which may be true for no reason.
            Self::Tcp(stream) => stream.peek(&mut [0]).await.map(drop),
            Self::Unix(_) => Ok(()),
        }
    }
}

/// Any stream of ours.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(Plain),
    /// Boxed: a TLS session is large, and most streams of a sidecar have none.
    Server(Box<server::TlsStream<Plain>>),
    Client(Box<client::TlsStream<Plain>>),
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
pub(super) struct Activity {
    /// Bytes came since this was last cleared.
    pub heard: Cell<bool>,
    /// When the first of those bytes came.
    pub heard_at: Cell<Instant>,
    /// Since when the client has accepted nothing although there is something to write.
    pub write_blocked: Cell<Option<Instant>>,
    /// When the client last took what it had kept waiting.
    pub taken_at: Cell<Instant>,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: Cell::new(false),
            heard_at: Cell::new(now),
            write_blocked: Cell::new(None),
            taken_at: Cell::new(now),
        }
    }
}

/// A client's stream as hyper sees it.
#[derive(Debug)]
pub(super) struct ClientIo {
    io: TokioIo<Socket>,
    closer: Closer,
    /// Read already, to learn the protocol.
    prefix: Bytes,
    activity: Rc<Activity>,
}

/// Who closes a client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closer {
    /// hyper, when it is done (HTTP/2).
    Hyper,
    /// The driver (HTTP/1): an answer to a request whose body was not read must be followed by a lingering close.
    Driver,
}

impl ClientIo {
    pub(super) fn new(socket: Socket, prefix: Bytes, activity: Rc<Activity>, closer: Closer) -> Self {
        Self { io: TokioIo::new(socket), closer, prefix, activity }
    }

    pub(super) fn into_socket(self) -> Socket {
        self.io.into_inner()
    }

    /// Notes whether the client accepts what is written.
    fn wrote<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &outcome {
            Poll::Ready(_) => {
                if self.activity.write_blocked.take().is_some() {
                    self.activity.taken_at.set(Instant::now());
                }
            }
            Poll::Pending if self.activity.write_blocked.get().is_none() => {
                self.activity.write_blocked.set(Some(Instant::now()));
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
        if !self.activity.heard.replace(true) {
            self.activity.heard_at.set(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        hyper::rt::Write::is_write_vectored(&self.io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.closer {
            Closer::Hyper => Pin::new(&mut self.get_mut().io).poll_shutdown(cx),
            Closer::Driver => self.poll_flush(cx),
        }
    }
}

/// An HTTP/1.1 upstream's stream as hyper sees it.
///
/// An upstream may answer and close while it is still being sent the body (413, 401). Writing fails then, and hyper
/// would give up without reading the answer, which has arrived already. So a write that finds the other side gone
/// waits instead: reading goes on, to the answer or to the end of the stream, and that ends the wait.
#[derive(Debug)]
pub(super) struct UpstreamIo {
    io: TokioIo<Socket>,
    /// The upstream takes nothing any more.
    deaf: bool,
}

impl UpstreamIo {
    pub(super) fn new(socket: Socket) -> Self {
        Self { io: TokioIo::new(socket), deaf: false }
    }

    pub(super) fn into_socket(self) -> Socket {
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
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
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

/// Reads once, at most `limit` bytes; empty at the end of the stream.
pub(super) async fn read_some(socket: &mut Socket, limit: usize) -> io::Result<Bytes> {
    let mut space = vec![0; limit];
    let mut buf = ReadBuf::new(&mut space);
    poll_fn(|cx| Pin::new(&mut *socket).poll_read(cx, &mut buf)).await?;
    let filled = buf.filled().len();
    space.truncate(filled);
    Ok(space.into())
}

/// Reads once and throws it away; says how much it was, 0 at the end of the stream. Holds no memory while it waits.
pub(super) async fn skip_some(socket: &mut Socket) -> io::Result<usize> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|space| {
            space.resize(SCRATCH_SIZE, 0);
            let mut buf = ReadBuf::new(space);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(buf.filled().len()))
        })
    })
    .await
}

thread_local! {
    /// What is thrown away has no owner: one place for all connections of a worker.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const SCRATCH_SIZE: usize = 64 * 1024;
