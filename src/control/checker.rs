//! One attempt of a check on one upstream, on a connection of its own.
//!
//! The proxy's connections belong to its workers. Besides, a check must show that a new connection can be made.

mod failure;
mod grpc;
mod http;
mod round;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::uri::{Authority, PathAndQuery};
use ::http::{HeaderValue, Uri};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::net;
use crate::net::proxy_protocol::{self, Introduction};
use crate::plan::config::{Check, Probe, Upstream, UpstreamAddress};

use failure::Failure;

pub(crate) use round::{LONGEST_ROUND, Subject, host, round, targets};

/// The upstream that is checked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub upstream: Upstream,
    /// The TLS client; `None` for clear text.
    pub tls: Option<Arc<ClientConfig>>,
    /// The authority to ask for.
    pub host: String,
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

/// Outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Time that it took, without the wait for a permit.
    pub took: Duration,
    /// Failure in words; `None` if the upstream passed.
    pub failure: Option<String>,
}

/// Makes one attempt. The time spent waiting for a permit does not count as the upstream's.
pub(crate) async fn attempt(target: &Target, check: &Check, permits: &Permits) -> Attempt {
    // Nobody closes the semaphore. If it were closed, there would be nothing to wait for.
    let _place = permits.connections.acquire().await.ok();
    let began = Instant::now();
    let asked = Box::pin(ask(target, &check.probe, permits));
    let answered = timeout(check.within, asked).await.unwrap_or(Err(Failure::Late(check.within)));
    let took = began.elapsed();
    let too_slow = check.faster_than.filter(|most| took >= *most);
    let judged = match (answered, too_slow) {
        (Ok(()), Some(most)) => Err(Failure::Slow { took, most }),
        (answered, _) => answered,
    };
    let failure = judged.err().map(|failure| format!("{} on {} {failure}", check.probe, target.upstream));
    Attempt { took, failure }
}

async fn ask(target: &Target, probe: &Probe, permits: &Permits) -> Result<(), Failure> {
    match probe {
        Probe::Http(probe) => http::ask(target, probe, permits).await,
        Probe::Connect => connect(target, permits).await.map(drop).map_err(Failure::Connection),
        Probe::Grpc(probe) => grpc::ask(target, probe, permits).await,
    }
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

async fn secure(mut plain: impl Stream + 'static, target: &Target) -> io::Result<Box<dyn Stream>> {
    if let Some(version) = target.upstream.proxy_protocol {
        plain.write_all(&proxy_protocol::written(version, Introduction::Proxy)).await?;
    }
    match &target.tls {
        None => Ok(Box::new(plain)),
        Some(config) => Ok(Box::new(net::tls(&target.upstream, Arc::clone(config), plain).await?)),
    }
}

/// Returns the absolute form of a request's target, which HTTP/2 needs.
fn absolute(target: &Target, host: &str, path: &str) -> Result<Uri, Failure> {
    let authority = Authority::try_from(host).map_err(|error| Failure::Request(error.into()))?;
    let path = PathAndQuery::try_from(path).map_err(|error| Failure::Request(error.into()))?;
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
