//! Opens connections to upstreams: resolves, connects, speaks TLS. Every step is bounded by the caller's deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::plan::config::{Upstream, UpstreamAddress};
use crate::proxy::error::Error;
use crate::proxy::io::socket::{Plain, Socket};

/// Connects to an upstream.
///
/// # Errors
/// [`Error::Connect`] or [`Error::Tls`].
pub(crate) async fn connect(
    upstream: &Upstream,
    tls: Option<Arc<ClientConfig>>,
    lookups: &Arc<Semaphore>,
) -> Result<Socket, Error> {
    let plain = match &upstream.address {
        UpstreamAddress::Unix(path) => unix(path).await,
        UpstreamAddress::Host(host, port) => tcp(host, *port, lookups).await,
    };
    let plain = plain.map_err(Error::Connect)?;
    match tls {
        None => Ok(Socket::Plain(plain)),
        Some(config) => secure(upstream, config, plain).await.map_err(Error::Tls),
    }
}

async fn unix(path: &Path) -> io::Result<Plain> {
    UnixStream::connect(path).await.map(Plain::Unix)
}

async fn tcp(host: &str, port: u16, lookups: &Arc<Semaphore>) -> io::Result<Plain> {
    // An address needs no resolver, which would be a thread.
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, port)).await?,
        Err(_) => TcpStream::connect(lookup(host, port, lookups).await?.as_slice()).await?,
    };
    stream.set_nodelay(true)?;
    Ok(Plain::Tcp(stream))
}

/// Looks a name up. The resolver is a thread that goes on after nobody waits for it any more, so the look-up keeps its
/// place until it is really over.
async fn lookup(host: &str, port: u16, lookups: &Arc<Semaphore>) -> io::Result<Vec<SocketAddr>> {
    let place = Arc::clone(lookups).acquire_owned().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let looking = tokio::task::spawn_local(async move {
        let found = lookup_host((host, port)).await.map(|found| found.take(MOST_ADDRESSES).collect());
        drop(place);
        found
    });
    looking.await.map_err(io::Error::other)?
}

async fn secure(upstream: &Upstream, config: Arc<ClientConfig>, plain: Plain) -> io::Result<Socket> {
    let host = match &upstream.address {
        UpstreamAddress::Host(host, _) => host.clone(),
        UpstreamAddress::Unix(_) => "localhost".to_owned(),
    };
    let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(config).connect(name, plain).await?;
    if upstream.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the upstream does not speak HTTP/2 (no h2 by ALPN)"));
    }
    Ok(Socket::Client(Box::new(stream)))
}

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;
