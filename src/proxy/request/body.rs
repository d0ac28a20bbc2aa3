//! The body of a response on its way to a client.
//!
//! hyper asks for a frame when the client can take one. The frame is handed on unchanged.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::proxy::in_flight::{Interruption, Kind};
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::gather::Source;
use crate::proxy::io::request_body::Broken;
use crate::proxy::upstream::lease::Lease;

use super::events::Watch;
use super::record::RequestRecord;

/// Body of a response, as a client's connection reads it.
pub(crate) enum Body {
    Empty,
    /// Bytes from memory, handed on at once.
    Full(Bytes),
    /// Bytes from memory for an HTTP/2 client, handed on in slices.
    Sliced(Bytes),
    /// Events for a watcher.
    Watch(Box<Watch>),
    /// A body from an upstream. Boxed: it is large, and hyper keeps room for a body in every connection.
    Upstream(Box<UpstreamBody>),
}

/// Body from an upstream, with everything that must be settled when the body ends.
pub(crate) struct UpstreamBody {
    source: Source,
    /// The upstream connection. It goes back to the pool when the body ends; if dropped earlier, it is closed.
    lease: Option<Lease>,
    record: RequestRecord,
    /// Time for which the upstream may send nothing.
    timeout: Duration,
    /// The instant at which that is over. `None` if there was progress since the last look at the clock.
    due: Option<Instant>,
    /// HTTP/2: the timer. An HTTP/1 connection has one for all its responses.
    timer: Deadline,
    /// True for an HTTP/2 client: the body is handed on in slices, and the time since the client last took one is
    /// noted.
    sliced: bool,
    /// Bytes for an HTTP/2 client that were read and not handed on yet.
    rest: Bytes,
    /// The time of the response's head, which is also that of a body that ends at once. `None` once the body may end
    /// later.
    came: Option<Instant>,
    /// True if the body was ended early.
    interrupted: bool,
}

impl Body {
    /// Returns true if another task reads the body, which has to have a turn for that first.
    pub(crate) fn is_gathered(&self) -> bool {
        matches!(self, Self::Upstream(body) if matches!(body.source, Source::Gathered(_)))
    }

    /// Hands bytes from memory on in slices, so that the progress of an HTTP/2 client shows. To an HTTP/1 client it shows in
    /// what its socket takes.
    pub(crate) fn slice(&mut self) {
        if let Self::Full(bytes) = self {
            *self = Self::Sliced(std::mem::take(bytes));
        }
    }

    /// Waits until the part of the body that came with the head was read.
    pub(crate) async fn begins(&self) {
        if let Self::Upstream(body) = self {
            poll_fn(|cx| body.source.poll_begun(cx)).await;
        }
    }
}

impl UpstreamBody {
    pub(crate) fn new(source: Source, lease: Lease, record: RequestRecord, timeout: Duration, now: Instant) -> Self {
        let sliced = record.connection.http2.get();
        let mut body = Self {
            source,
            lease: Some(lease),
            record,
            timeout,
            due: None,
            timer: Deadline::default(),
            sliced,
            rest: Bytes::new(),
            came: Some(now),
            interrupted: false,
        };
        if body.source.is_end_stream() {
            body.complete();
        }
        body
    }

    /// Settles a complete response: its connection may serve another request.
    fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            let now = self.came.unwrap_or_else(Instant::now);
            lease.finish(now);
            self.record.complete(self.record.sent, now);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.sliced {
            self.record.in_flight.note_taken();
        }
        if self.record.sent > 0 || self.sliced {
            self.came = None;
        }
        if self.record.in_flight.interruption() != Interruption::None {
            return self.interrupt();
        }
        let most = self.slice();
        if let Some(slice) = slice(&mut self.rest, most) {
            return self.hand_on(Frame::data(slice));
        }
        match self.source.poll_frame(cx) {
            Poll::Pending => {
                self.came = None;
                std::task::ready!(self.poll_stalled(cx));
                self.record.stalled();
                Poll::Ready(Some(Err(Broken::default())))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.record.broken();
                Poll::Ready(Some(Err(Broken::default())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.due = None;
                self.hand_on(frame)
            }
        }
    }

    /// Ready if the upstream has sent nothing for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.timeout);
        if self.sliced {
            return self.timer.poll(cx, Some(due));
        }
        self.record.connection.upstream_read.borrow_mut().poll(cx, Some(due))
    }

    /// Ends the body early because its route is down, in the way that suits its kind.
    fn interrupt(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.rest.clear();
        // The rest of the body is not read: the upstream's connection is closed, or its stream reset.
        drop(self.lease.take());
        let evicted = self.record.in_flight.interruption() == Interruption::Evict;
        match self.record.in_flight.kind() {
            _ if evicted => {
                self.record.evicted();
                Poll::Ready(Some(Err(Broken::cancelled())))
            }
            Kind::Events => {
                self.record.count_left();
                self.record.complete(self.record.sent, Instant::now());
                self.interrupted = true;
                Poll::Ready(None)
            }
            Kind::Grpc if !self.interrupted => {
                self.record.drained();
                self.interrupted = true;
                Poll::Ready(Some(Ok(Frame::trailers(grpc_unavailable()))))
            }
            Kind::Grpc => Poll::Ready(None),
            Kind::Plain | Kind::Tunnel => {
                self.record.drained();
                Poll::Ready(Some(Err(Broken::cancelled())))
            }
        }
    }

    /// Returns how many bytes are handed on at a time. While others wait for the upstream these are few, so that a slow
    /// client shows progress.
    fn slice(&self) -> usize {
        if self.lease.as_ref().is_some_and(Lease::is_wanted) { SMALL_SLICE } else { SLICE }
    }

    /// Hands a frame on, in slices to an HTTP/2 client. hyper gives h2 a whole frame as soon as one byte of it fits the
    /// client's window. After that, the client's progress is not visible.
    fn hand_on(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match frame.into_data() {
            Ok(mut data) if self.sliced && data.len() > self.slice() => {
                let first = data.split_to(self.slice());
                self.rest = data;
                Frame::data(first)
            }
            Ok(data) => Frame::data(data),
            Err(other) => {
                if let Some(trailers) = other.trailers_ref() {
                    self.record.note_call_status(trailers);
                }
                other
            }
        };
        self.record.sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        if self.rest.is_empty() && self.source.is_end_stream() {
            self.complete();
        }
        if self.sliced {
            self.record.in_flight.offer();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// Takes the next slice of the bytes that are left.
fn slice(rest: &mut Bytes, most: usize) -> Option<Bytes> {
    (!rest.is_empty()).then(|| rest.split_to(rest.len().min(most)))
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(slice(bytes, usize::MAX).map(|all| Ok(Frame::data(all)))),
            Self::Sliced(bytes) => Poll::Ready(slice(bytes, SLICE).map(|slice| Ok(Frame::data(slice)))),
            Self::Watch(watch) => watch.poll(cx),
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) | Self::Sliced(bytes) => bytes.is_empty(),
            Self::Watch(watch) => watch.is_over(),
            Self::Upstream(body) => body.interrupted || body.rest.is_empty() && body.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) | Self::Sliced(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Watch(_) => SizeHint::default(),
            Self::Upstream(body) => body.source.size_hint(),
        }
    }
}

/// Returns the trailers of a gRPC response whose route went down: its client may try again.
fn grpc_unavailable() -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static("grpc-status"), HeaderValue::from_static("14")),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static("under maintenance")),
    ])
}

/// Bytes handed to a connection at a time. An HTTP/2 client must accept this many within `write`, or it counts as
/// stalled.
const SLICE: usize = 8 * 1024;

/// Bytes handed on at a time while others wait for the upstream.
const SMALL_SLICE: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Returns the lengths of all frames of a body.
    fn frames(mut body: Body) -> Vec<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut lengths = Vec::new();
        while !body.is_end_stream() {
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else { panic!("no frame") };
            lengths.push(frame.data_ref().unwrap().len());
        }
        lengths
    }

    #[test]
    fn bytes_from_memory_are_one_frame_and_slices_over_http2() {
        let bytes = || Body::Full(Bytes::from(vec![b'x'; 2 * SLICE + 1]));
        assert_eq!(frames(bytes()), [2 * SLICE + 1]);
        let mut sliced = bytes();
        sliced.slice();
        assert_eq!(sliced.size_hint().exact(), Some(2 * SLICE as u64 + 1));
        assert_eq!(frames(sliced), [SLICE, SLICE, 1]);
        assert!(frames(Body::Full(Bytes::new())).is_empty());
    }
}
