//! The sockets: TCP or unix, clear text or TLS, in one type.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A stream without TLS.
#[derive(Debug)]
pub(crate) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    /// Waits for the client's first byte without reading it. Does not wait on a unix socket, which cannot be peeked.
    pub(crate) async fn begins(&self) -> io::Result<()> {
        match self {
            // Not `readable`, which may be true for no reason.
            Self::Tcp(stream) => stream.peek(&mut [0]).await.map(drop),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Looks at the first bytes without reading them. A unix socket cannot be looked at.
    pub(crate) async fn peek(&self, first: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(first).await,
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the same stream over a second descriptor, with its own events.
    pub(super) fn duplicate(&self) -> io::Result<Self> {
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

    /// Waits until the other side has reset the connection. To be called on a [`Plain::duplicate`].
    pub(super) async fn refused(self) {
        let refused = match &self {
            Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Self::Unix(stream) => stream.ready(Interest::ERROR).await,
        };
        // Then a reset cannot be seen.
        if refused.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the other side has closed, without reading the bytes before that. To be called only on a
    /// [`Plain::duplicate`]: it clears the readiness of its descriptor.
    pub(super) async fn ended(self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        loop {
            let ready = match &self {
                Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
                Self::Unix(stream) => stream.ready(Interest::READABLE).await,
            };
            if ready.map_or(true, |ready| ready.is_read_closed()) {
                return;
            }
            // Clears the readiness, so that the next wait is for new events.
            let _ = match &self {
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
                Self::Unix(stream) => stream.try_io(Interest::READABLE, nothing),
            };
        }
    }
}

/// Any stream of the proxy.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(Plain),
    /// Boxed, because a TLS session is large, and most streams of a sidecar have none.
    Server(Box<server::TlsStream<Plain>>),
    Client(Box<client::TlsStream<Plain>>),
}

impl Socket {
    /// Returns true if the other side's end is visible without reading the bytes before it.
    pub(crate) fn tells_its_end(&self) -> bool {
        matches!(self, Self::Plain(Plain::Tcp(_)))
    }

    /// Returns the stream below TLS, or the stream itself.
    pub(super) fn plain(&self) -> &Plain {
        match self {
            Self::Plain(plain) => plain,
            Self::Server(stream) => stream.get_ref().0,
            Self::Client(stream) => stream.get_ref().0,
        }
    }
}

/// Delegates the four I/O calls to the stream of each variant.
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
/// Reads once; empty at the end of the stream. Holds no memory while it waits.
pub(crate) async fn read_some(socket: &mut Socket) -> io::Result<Bytes> {
    poll_fn(|cx| poll_read_some(socket, cx, Bytes::copy_from_slice)).await
}

/// Reads once and discards the bytes. Returns their number, 0 at the end of the stream. Holds no memory while it waits.
pub(crate) async fn skip_some(socket: &mut Socket) -> io::Result<usize> {
    poll_fn(|cx| poll_read_some(socket, cx, <[u8]>::len)).await
}

/// Reads once into the worker's shared buffer, if there is something to read.
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
/// Writes several parts at once. Small parts are joined first: one short copy costs less than a vectored write.
pub(super) fn write_parts(
    io: Pin<&mut TokioIo<Socket>>,
    cx: &mut Context<'_>,
    parts: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = parts {
        return hyper::rt::Write::poll_write(io, cx, only);
    }
    if parts.iter().map(|part| part.len()).sum::<usize>() > SMALL_WRITE {
        return hyper::rt::Write::poll_write_vectored(io, cx, parts);
    }
    JOINED.with_borrow_mut(|joined| {
        joined.clear();
        parts.iter().for_each(|part| joined.extend_from_slice(part));
        hyper::rt::Write::poll_write(io, cx, joined)
    })
}
thread_local! {
    /// One buffer for the reads of all connections of a worker.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };

    /// One buffer in which small parts are joined.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Parts of at most this many bytes in all are written as one.
const SMALL_WRITE: usize = 2048;

/// Bytes that are read at once.
const SCRATCH_SIZE: usize = 64 * 1024;
