//! POST of a notification, on a connection of its own. Redirects are not followed, and proxies of the environment are not
//! used.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::control::certs;
use crate::net;
use crate::plan::config::{HookScheme, HookUrl, Trust, Upstream, UpstreamAddress};
use crate::plan::notify::Body;
use crate::plan::words::harmless;

/// POST to make.
pub(super) struct Post<'p> {
    pub(super) url: &'p HookUrl,
    pub(super) body: Body,
    /// Id of the message, the same for each attempt.
    pub(super) id: &'p str,
}

/// Answer to a POST.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// Beginning of the body, fit for a log.
    pub(super) text: String,
}

/// Posts within a time.
///
/// # Errors
/// The reason why there is no answer. The URL's path is not in it.
pub(super) async fn post(post: Post<'_>, within: Duration, lookups: &Arc<Semaphore>) -> Result<Answered, String> {
    let late = |_| format!("no answer within {within:?}");
    timeout(within, exchange(post, lookups)).await.map_err(late)?
}

async fn exchange(post: Post<'_>, lookups: &Arc<Semaphore>) -> Result<Answered, String> {
    let HookUrl { scheme, host, port, .. } = post.url;
    let request = request(&post)?;
    let tcp = net::tcp(host, *port, lookups).await.map_err(|error| format!("no connection: {error}"))?;
    match scheme {
        HookScheme::Clear => over(tcp, request).await,
        HookScheme::Tls => {
            let config = certs::system_client().ok_or("this system has no root certificates")?;
            let address = UpstreamAddress::Host(host.clone(), *port);
            let upstream = Upstream { tls: Some(Trust::System), address, http2: false };
            let tls = net::tls(&upstream, config, tcp).await.map_err(|error| format!("no TLS: {error}"))?;
            over(tls, request).await
        }
    }
}

fn request(post: &Post<'_>) -> Result<Request<Full<Bytes>>, String> {
    let broken = |error: http::Error| format!("no request: {error}");
    let builder = Request::builder().method(Method::POST).uri(post.url.target.as_str());
    let mut request = builder.body(Full::new(post.body.bytes.clone())).map_err(broken)?;
    let fields = request.headers_mut();
    let host = HeaderValue::try_from(post.url.authority()).map_err(|error| broken(error.into()))?;
    fields.extend(post.body.fields.iter().cloned());
    fields.insert(HOST, host);
    fields.insert(USER_AGENT, AGENT);
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    // As Standard Webhooks have them: the id of the message, and the time of the attempt.
    if let Ok(id) = HeaderValue::try_from(post.id) {
        fields.insert(HeaderName::from_static("webhook-id"), id);
    }
    fields.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(Timestamp::now().as_second()));
    Ok(request)
}

async fn over(stream: impl AsyncRead + AsyncWrite + Unpin, request: Request<Full<Bytes>>) -> Result<Answered, String> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let broken = |error: hyper::Error| {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{source}")
    };
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answered = async {
        let (head, mut body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let mut read = Vec::new();
        // The status is the answer. A body that breaks off changes nothing.
        while read.len() < MOST_BODY
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = String::from_utf8_lossy(&read).chars().take(MOST_TEXT).collect::<String>();
        Ok(Answered { status: head.status.as_u16(), retry_after, text: harmless(text.trim()) })
    };
    net::drive(connection, answered).await
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("backsoon/", env!("CARGO_PKG_VERSION"), " (notify)"));
/// Bytes of a response's head.
const MOST_HEAD: usize = 16 * 1024;
/// Bytes of a response's body that are read.
const MOST_BODY: usize = 4 * 1024;
/// Characters of it that are logged.
const MOST_TEXT: usize = 200;
