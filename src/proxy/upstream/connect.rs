//! Opens a worker's connections to upstreams. The caller's deadline bounds every step.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::net;
use crate::plan::config::{Upstream, UpstreamAddress};
use crate::proxy::error::Error;
use crate::proxy::io::socket::{Plain, Socket};

/// Connects to an upstream. `introduction` is the PROXY header of an upstream that wants one.
///
/// # Errors
/// [`Error::Connect`] or [`Error::Tls`].
pub(crate) async fn connect(
    upstream: &Upstream,
    tls: Option<Arc<ClientConfig>>,
    lookups: &Arc<Semaphore>,
    introduction: Option<&[u8]>,
) -> Result<Socket, Error> {
    let plain = match &upstream.address {
        UpstreamAddress::Unix(path) => UnixStream::connect(path).await.map(Plain::Unix),
        UpstreamAddress::Host(host, port) => net::tcp(host, *port, lookups).await.map(Plain::Tcp),
    };
    let mut plain = plain.map_err(Error::Connect)?;
    if let Some(introduction) = introduction {
        plain.write_all(introduction).await.map_err(Error::Connect)?;
    }
    match tls {
        None => Ok(Socket::Plain(plain)),
        Some(config) => {
            let stream = net::tls(upstream, config, plain).await.map_err(Error::Tls)?;
            Ok(Socket::Client(Box::new(stream)))
        }
    }
}
