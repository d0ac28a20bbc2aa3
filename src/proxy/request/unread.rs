//! Unread request bodies: they are never parsed as the next request.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::proxy::http::check;
use crate::telemetry::Limit;

use super::exchange::Exchange;

impl Exchange {
    /// Deals with an unread body before an answer of our own. On an HTTP/1 connection the next bytes belong to that
    /// body, and must never be parsed as a request. A body that has already arrived is discarded; otherwise the
    /// connection ends with the answer. HTTP/2 frames separate requests, so only the stream is reset after the answer.
    pub(crate) async fn settle(&self, request: Request<Incoming>) {
        if request.body().is_end_stream() {
            return;
        }
        if request.version() == Version::HTTP_2 {
            let limits = &self.generation.snapshot.limits;
            let (worker, linger, size) = (Rc::clone(&self.record.worker), limits.linger, limits.linger_size);
            let body = request.into_body();
            tokio::task::spawn_local(async move {
                if !discard(body, linger, size).await {
                    worker.cell().reached(Limit::Linger);
                }
            });
            return;
        }
        // Reading the body would send `100 Continue`.
        let arrived = !check::expects_continue(self.fields) && has_arrived(request.into_body()).await;
        if !arrived {
            self.record.connection.close_after_answer();
        }
    }
}

/// Reads and discards a body, within bounds; returns false if a bound was reached. Dropping the body resets the stream.
/// The client must not treat that as an error, since the whole answer has come before (RFC 9113 section 8.1). Yet curl
/// before version 8 and httpx lose the answer then.
async fn discard(mut body: Incoming, linger: Duration, mut left: u64) -> bool {
    let deadline = Instant::now() + linger;
    loop {
        let due = deadline.min(Instant::now() + LINGER_QUIET);
        match timeout_at(due, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            Ok(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                match left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            // The client has sent everything, or has given up.
            Ok(Some(Err(_)) | None) => return true,
            Err(_) => return false,
        }
    }
}

/// Discards the bytes of a body that have already arrived, without waiting. Returns true if that was the whole body.
async fn has_arrived(mut body: Incoming) -> bool {
    let mut left = SMALL_BODY;
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(frame))) => {
                    left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
                    if left == 0 {
                        return Poll::Ready(false);
                    }
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Most bytes of a body that are discarded to keep the connection.
const SMALL_BODY: usize = 64 * 1024;

/// Silence after which a client is taken to have finished sending.
pub(crate) const LINGER_QUIET: Duration = Duration::from_secs(5);
