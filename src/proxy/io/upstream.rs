//! An HTTP/1.1 upstream's stream, as hyper sees it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use super::request_body::RequestBody;
use super::socket::{Socket, write_parts};

/// An HTTP/1.1 upstream's stream as hyper sees it.
///
/// An upstream may answer and close while the body is still being sent to it (413, 401). Then writing fails, and hyper
/// would give up without reading the answer that has already arrived. So a write to a closed peer stays pending here,
/// until hyper has read the answer or the end of the stream.
#[derive(Debug)]
pub(crate) struct UpstreamIo {
    io: TokioIo<Socket>,
    /// True once a write has failed because the upstream has closed. Later writes stay pending.
    peer_closed: bool,
    sent: Rc<SentHead>,
}

/// The head of the request that was written last, and the size of what has come since.
///
/// An upstream may close a connection at any moment, for example when it restarts, while a request is on its way. A
/// request that may be sent twice is then parsed again from the bytes that were written. Without a failure, the cost is
/// a copy of some hundred bytes.
#[derive(Debug)]
pub(crate) struct SentHead {
    expected: Cell<bool>,
    head: RefCell<Vec<u8>>,
    came: Cell<usize>,
    /// Bytes that the head of an answer may have.
    most: usize,
    /// True once all that has come was read, in this turn of the task that drives the connection.
    drained: Cell<bool>,
}

impl SentHead {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            expected: Cell::new(false),
            head: RefCell::default(),
            came: Cell::new(0),
            most,
            drained: Cell::new(false),
        }
    }

    /// Returns true if as much has come since the head was written as the head of an answer may have.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.came.get() >= self.most
    }

    /// Notes that the task that drives the connection is polled. Something may have come since.
    pub(crate) fn begin_turn(&self) {
        self.drained.set(false);
    }

    /// Prepares for the next request. With `again`, its head is kept.
    pub(crate) fn expect(&self, again: bool) {
        self.expected.set(again);
        self.came.set(0);
        let mut head = self.head.borrow_mut();
        head.clear();
        head.shrink_to(USUAL_HEAD);
    }

    /// Keeps the written bytes if they begin an expected head. hyper writes a head without a body in one piece.
    fn note(&self, parts: &[IoSlice<'_>]) {
        if self.expected.replace(false) {
            let mut head = self.head.borrow_mut();
            parts.iter().for_each(|part| head.extend_from_slice(part));
        }
    }

    /// Returns the request, if its head was kept and written.
    pub(crate) fn read(&self) -> Option<Request<RequestBody>> {
        let head = self.head.borrow();
        // A head has more lines than fields.
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
        Self { io: TokioIo::new(socket), peer_closed: false, sent }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.io.into_inner()
    }

    fn wrote<T>(&mut self, cx: &Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match outcome {
            Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted) => {
                self.peer_closed = true;
                // The answer may have come after hyper last looked for it.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            outcome @ (Poll::Pending | Poll::Ready(_)) => outcome,
        }
    }
}

/// Socket whose bytes are counted as they come.
struct Counted<'s> {
    socket: &'s mut Socket,
    came: &'s Cell<usize>,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut *self.socket).poll_read(cx, buf);
        self.came.set(self.came.get() + buf.filled().len() - before);
        outcome
    }
}

impl hyper::rt::Read for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { io, sent, .. } = &mut *self;
        // hyper asks up to three times in a turn. The task is woken when something comes.
        if sent.drained.get() {
            return Poll::Pending;
        }
        let counted = Counted { socket: io.inner_mut(), came: &sent.came };
        let outcome = Pin::new(&mut TokioIo::new(counted)).poll_read(cx, buf);
        sent.drained.set(outcome.is_pending());
        outcome
    }
}

impl hyper::rt::Write for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.peer_closed {
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
        if self.peer_closed {
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
        if self.peer_closed {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
/// Room for a head that a connection keeps between requests.
const USUAL_HEAD: usize = 4096;
