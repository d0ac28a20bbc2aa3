//! One request of a check to one upstream, on a connection of its own.
//!
//! The proxy's connections belong to its workers. Besides, a check must show that a new connection can be made.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::net;
use crate::plan::config::{Check, Upstream, UpstreamAddress};

/// The upstream that is checked.
#[derive(Debug)]
pub(crate) struct Target {
    pub upstream: Upstream,
    /// The TLS client; `None` for clear text.
    pub tls: Option<Arc<ClientConfig>>,
    /// The authority to ask for.
    pub host: String,
}

/// The reason why an upstream did not pass. The words end a sentence that begins with the upstream.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection, or no TLS over it.
    Connection(io::Error),
    /// The answer did not come in time.
    Late(Duration),
    /// The answer has another status than expected.
    Answered { status: u16, expected: u16 },
    /// The HTTP/1 connection ended before the answer did.
    Broken(hyper::Error),
    /// The HTTP/2 stream ended before the answer did.
    Reset(h2::Error),
    /// The request cannot be built.
    Request(http::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => {
                // Leave out the error number of the system, which adds nothing.
                let words = error.to_string();
                let words = words.split_once(" (os error ").map_or(words.as_str(), |(words, _)| words);
                write!(f, "got no connection: {words}")
            }
            Self::Late(within) if within.subsec_millis() == 0 => {
                write!(f, "did not answer within {} s", within.as_secs())
            }
            Self::Late(within) => write!(f, "did not answer within {} ms", within.as_millis()),
            Self::Answered { status, expected } => write!(f, "answered {status}, expected {expected}"),
            Self::Broken(error) => write!(f, "broke off: {error}"),
            Self::Reset(error) => write!(f, "broke off: {error}"),
            Self::Request(error) => write!(f, "cannot be asked for: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Late(_) | Self::Answered { .. } => None,
            Self::Broken(error) => Some(error),
            Self::Reset(error) => Some(error),
            Self::Request(error) => Some(error),
        }
    }
}

/// Permits that bound the checks of all routes together.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    connections: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
}

impl Default for Permits {
    fn default() -> Self {
        Self {
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)),
        }
    }
}

/// Makes one attempt. Returns the failure in words, or `None` if the upstream passed.
pub(crate) async fn failure(target: &Target, check: &Check, permits: &Permits) -> Option<String> {
    let failure = send(target, check, permits).await.err()?;
    Some(format!("GET {} on {} {failure}", check.get, target.upstream))
}

/// Sends one request. The time spent waiting for a permit does not count as the upstream's.
///
/// The head and the beginning of the body must arrive in time and unbroken. A page that stops in the middle does not
/// pass.
///
/// # Errors
/// The reason why the upstream did not pass.
async fn send(target: &Target, check: &Check, permits: &Permits) -> Result<(), Failure> {
    // Nobody closes the semaphore. If it were closed, there would be nothing to wait for.
    let _place = permits.connections.acquire().await.ok();
    let asked = Box::pin(async {
        let stream = connect(target, permits).await.map_err(Failure::Connection)?;
        if target.upstream.http2 {
            get_http2(stream, target, check).await
        } else {
            get_http1(stream, target, check).await
        }
    });
    let status = timeout(check.within, asked).await.map_err(|_| Failure::Late(check.within))??;
    if status == check.expect { Ok(()) } else { Err(Failure::Answered { status, expected: check.expect }) }
}

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn connect(target: &Target, permits: &Permits) -> io::Result<Box<dyn Stream>> {
    match &target.upstream.address {
        UpstreamAddress::Unix(path) => secure(UnixStream::connect(path).await?, target).await,
        UpstreamAddress::Host(host, port) => secure(net::tcp(host, *port, &permits.lookups).await?, target).await,
    }
}

async fn secure(plain: impl Stream + 'static, target: &Target) -> io::Result<Box<dyn Stream>> {
    match &target.tls {
        None => Ok(Box::new(plain)),
        Some(config) => Ok(Box::new(net::tls(&target.upstream, Arc::clone(config), plain).await?)),
    }
}

async fn get_http1(stream: Box<dyn Stream>, target: &Target, check: &Check) -> Result<u16, Failure> {
    let request = Request::get(&check.get).header(HOST, &target.host).header(CONNECTION, "close");
    let request = request.header(USER_AGENT, AGENT).header(ACCEPT, "*/*").body(Empty::<Bytes>::new());
    let request = request.map_err(Failure::Request)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        let (head, mut body) = response.into_parts();
        let mut size = 0;
        while size < MOST_BODY
            && let Some(frame) = body.frame().await
        {
            size += frame.map_err(Failure::Broken)?.data_ref().map_or(0, Bytes::len);
        }
        Ok(head.status.as_u16())
    };
    drive(connection, answer).await
}

async fn get_http2(stream: Box<dyn Stream>, target: &Target, check: &Check) -> Result<u16, Failure> {
    let request = Request::get(absolute(target, check)?).version(Version::HTTP_2);
    let request = request.header(USER_AGENT, AGENT).header(ACCEPT, "*/*").body(()).map_err(Failure::Request)?;
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MOST_HEAD_FIELDS);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(Failure::Reset)?;
    let answer = async {
        let mut sender = sender.ready().await.map_err(Failure::Reset)?;
        let (response, _) = sender.send_request(request, true).map_err(Failure::Reset)?;
        let (head, mut body) = response.await.map_err(Failure::Reset)?.into_parts();
        let mut size = 0;
        while size < MOST_BODY
            && let Some(data) = body.data().await
        {
            let read = data.map_err(Failure::Reset)?.len();
            size += read;
            body.flow_control().release_capacity(read).map_err(Failure::Reset)?;
        }
        Ok(head.status.as_u16())
    };
    drive(connection, answer).await
}

/// Drives a connection until the answer has arrived. If the connection ends first, the answer may already be there.
async fn drive<T>(connection: impl Future, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        _ = connection => {}
    }
    answer.await
}

/// Returns the absolute form of the target, which HTTP/2 needs.
fn absolute(target: &Target, check: &Check) -> Result<Uri, Failure> {
    let authority = Authority::try_from(target.host.as_str()).map_err(|error| Failure::Request(error.into()))?;
    let path = PathAndQuery::try_from(check.get.as_str()).map_err(|error| Failure::Request(error.into()))?;
    net::absolute(&target.upstream, authority, path).map_err(Failure::Request)
}

/// The `User-Agent` of checks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("backsoon/", env!("CARGO_PKG_VERSION"), " (verify)"));

/// Connections of all checks at a time.
const MOST_CONNECTIONS: usize = 64;
/// Look-ups at a time.
const MOST_LOOKUPS: usize = 8;
/// Bytes of a response head.
const MOST_HEAD: usize = 64 * 1024;
/// Bytes of a response head over HTTP/2, as HTTP/2 counts them (RFC 9113 section 6.5.2).
const MOST_HEAD_FIELDS: u32 = 64 * 1024;
/// Bytes of a response body that are read.
const MOST_BODY: usize = 64 * 1024;
