//! Answers of upstreams in whose place browsers get the proxy's own page, if the operator wants that.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::plan::answer::PROXY_STATUS;
use crate::plan::config::ErrorStatus;
use crate::plan::dialect::Dialect;
use crate::plan::page::{Fate, Stored};
use crate::plan::snapshot::Route;
use crate::plan::verdict::Pass;
use crate::proxy::io::gather::Source;
use crate::proxy::upstream::lease::Lease;

use super::body::Body;
use super::record::RequestRecord;
use super::response_context::ResponseContext;

/// Returns the page that takes the place of an upstream's answer; `None` if the answer stays.
///
/// Only a browser that opens a document gets the page. An app's error is a message to all other clients, and testers
/// shall see it.
pub(super) fn page<'r>(
    status: StatusCode,
    route: &'r Route,
    pass: Pass,
    context: &ResponseContext,
) -> Option<&'r Stored> {
    if route.config.errors.upstream.is_empty() {
        return None;
    }
    let error = ErrorStatus::of(status).filter(|error| route.config.errors.upstream.contains(error))?;
    if pass == Pass::Bypassed || !context.navigates() {
        return None;
    }
    let variant = context.variant(&route.renderer, route.config.dialect);
    let page = (variant.dialect == Dialect::Html).then(|| route.renderer.error(error, Fate::Nothing, variant));
    page.flatten()
}

/// Puts a page in the place of an upstream's answer, and ends its record. The answer's fields stay, but for those of its
/// content.
pub(super) fn with(
    page: &Stored,
    response: Response<Incoming>,
    head_only: bool,
    (lease, record): (Lease, RequestRecord),
) -> Response<Body> {
    let (mut head, incoming) = response.into_parts();
    let of_content = |name: &&HeaderName| name.as_str().starts_with("content-") || OF_CONTENT.contains(&name.as_str());
    let removed: Vec<HeaderName> = head.headers.keys().filter(of_content).cloned().collect();
    for name in removed {
        head.headers.remove(name);
    }
    page.add_fields(&mut head.headers);
    if let Ok(value) = HeaderValue::try_from(format!("backsoon; received-status={}", head.status.as_u16())) {
        head.headers.append(PROXY_STATUS, value);
    }
    discard(incoming, lease);
    let body = if head_only { Body::Empty } else { Body::Full(page.body.clone()) };
    record.replaced(Response::from_parts(head, body))
}

/// Reads the rest of an upstream's answer and discards it, so that its connection can serve another request. A long or
/// slow one ends its connection.
fn discard(incoming: Incoming, lease: Lease) {
    let mut source = lease.read(incoming);
    if source.is_end_stream() {
        return lease.finish(Instant::now());
    }
    tokio::task::spawn_local(async move {
        let whole = timeout(DISCARD_TIME, reads_to_end(&mut source)).await;
        if whole == Ok(true) {
            lease.finish(Instant::now());
        }
    });
}

/// Returns true at the end of a body, and false if it is too long or broken.
async fn reads_to_end(source: &mut Source) -> bool {
    let mut left = MOST_DISCARDED;
    poll_fn(|cx| {
        loop {
            match std::task::ready!(source.poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => {
                    left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
                    if left == 0 {
                        return Poll::Ready(false);
                    }
                }
            }
        }
    })
    .await
}

/// Fields that are about the upstream's content, or would rule over the page, besides those that begin with `content-`.
const OF_CONTENT: [&str; 17] = [
    "accept-ranges",
    "age",
    "cdn-cache-control",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "link",
    "pragma",
    "refresh",
    "repr-digest",
    "signature",
    "signature-input",
    "sourcemap",
    "speculation-rules",
    "surrogate-control",
    "trailer",
];

/// Most bytes of an answer that are discarded to keep the connection.
const MOST_DISCARDED: usize = 64 * 1024;

/// Longest time for that.
const DISCARD_TIME: Duration = Duration::from_secs(5);
