//! The part of a request's body that nobody has read.

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
    /// Before an answer of our own to a request whose body was not read: what follows on an HTTP/1 connection are bytes
    /// of that body, and must never be taken for a request. A body that has arrived already is thrown away; else the
    /// connection ends with the answer. HTTP/2 has frames for this: the stream alone is reset, behind the answer.
    pub(crate) async fn settle(&self, request: Request<Incoming>) {
        if request.body().is_end_stream() {
            return;
        }
        if request.version() == Version::HTTP_2 {
            let limits = &self.generation.snapshot.limits;
            let (worker, linger, size) = (Rc::clone(&self.record.worker), limits.linger, limits.linger_size);
            let body = request.into_body();
            tokio::task::spawn_local(async move {
                if !throw_away(body, linger, size).await {
                    worker.cell().reached(Limit::Linger);
                }
            });
            return;
        }
        // To ask for the body would be to send `100 Continue`.
        let arrived = !check::expects_continue(self.fields) && has_arrived(request.into_body()).await;
        if !arrived {
            self.record.connection.close_after_answer();
        }
    }
}

/// Reads a body and throws it away, within bounds; false if they were reached. Dropping it resets the stream, which
/// the client is to take for no error, as the whole answer has come before (RFC 9113 section 8.1). Yet curl before
/// version 8 and httpx lose the answer then.
async fn throw_away(mut body: Incoming, linger: Duration, mut left: u64) -> bool {
    let deadline = Instant::now() + linger;
    loop {
        let patience = deadline.min(Instant::now() + LINGER_QUIET);
        match timeout_at(patience, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            Ok(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                match left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            // The client has sent all, or has given up.
            Ok(Some(Err(_)) | None) => return true,
            Err(_) => return false,
        }
    }
}

/// Throws away what is there of a body, without waiting; true if that was all of it.
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

/// Bytes of a body that are thrown away for the sake of keeping the connection.
const SMALL_BODY: usize = 64 * 1024;

/// A client that sends nothing for this long is done sending.
pub(crate) const LINGER_QUIET: Duration = Duration::from_secs(5);
