//! The body of a client's request on its way to an upstream: streamed, and within its limits.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::proxy::http::headers;

use super::client::Activity;
use super::gather::{Source, plus};
use super::upload::{Upload, UploadState};

/// A request's body as an upstream's connection reads it.
pub(crate) enum RequestBody {
    Empty,
    /// Boxed, because requests are moved often and most have no body.
    Client(Box<ClientBody>),
}

/// A client's body with its limits.
pub(crate) struct ClientBody {
    source: Source,
    state: Rc<UploadState>,
    left: u64,
    stall: Stall,
    /// The frame that came before the request was sent.
    first: Option<Box<Frame<Bytes>>>,
    /// Set if the request was sent before the first bytes of its body.
    ahead: Option<Ahead>,
}

impl ClientBody {
    pub(crate) fn new(source: Source, state: Rc<UploadState>, most: Option<u64>, timeout: Duration) -> Self {
        let stall = Stall::new(timeout, state.progress.get());
        Self { source, state, left: most.unwrap_or(u64::MAX), stall, first: None, ahead: None }
    }

    /// Lets the request be sent before the first bytes of its body.
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
        self.state.starve(polled.is_pending());
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
    /// Returns an error if the body ends early. Its [`UploadState`] has the reason.
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

/// Time-out for the lack of progress. It costs nothing until it is polled, and then one look at the clock, because the
/// timer is reset only when it has run out.
pub(crate) struct Stall {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// True if there was progress since the last poll.
    moved: bool,
    due: Instant,
}

impl Stall {
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, timer: None, moved: true, due: now }
    }

    /// Ready if there was no progress for too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.moved) {
            self.due = Instant::now() + self.timeout;
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

    /// Notes progress.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }
}

/// Error of a body that ended early. The reason is recorded elsewhere: hyper needs only the fact.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    /// The code with which an HTTP/2 stream is reset, if not an internal error.
    reason: Option<h2::Error>,
}

impl Broken {
    /// Returns the error of a body that the proxy ended on purpose.
    pub(crate) fn cancelled() -> Self {
        Self { reason: Some(h2::Reason::CANCEL.into()) }
    }
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

/// A request that was sent ahead of its body; dropped when the first bytes of the body have come.
pub(crate) struct Ahead {
    upstream: Rc<Cell<usize>>,
    client: Rc<Activity>,
}

impl Ahead {
    /// Counts such a request among those of its upstream and of its client's connection.
    pub(crate) fn new(upstream: &Rc<Cell<usize>>, client: &Rc<Activity>) -> Self {
        upstream.set(upstream.get() + 1);
        client.request.set_ahead(true);
        Self { upstream: Rc::clone(upstream), client: Rc::clone(client) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.upstream.set(self.upstream.get().saturating_sub(1));
        self.client.request.set_ahead(false);
    }
}
