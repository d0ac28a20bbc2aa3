//! Connections to upstreams: name look-up, TCP and TLS. Used by the proxy and by the checks of control.
//!
//! No step has a time-out of its own. Callers put one around all steps.

pub(crate) mod accounts;
pub(crate) mod proxy_protocol;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::plan::config::{Upstream, UpstreamAddress};

/// Connects to a host by TCP. `lookups` bounds the look-ups that run at once.
///
/// # Errors
/// If the look-up fails, or none of the addresses accepts.
pub(crate) async fn tcp(host: &str, port: u16, lookups: &Arc<Semaphore>) -> io::Result<TcpStream> {
    // Skip the resolver for an address: each look-up takes a thread.
    match host.parse::<IpAddr>() {
        Ok(address) => tcp_to(&[SocketAddr::new(address, port)]).await,
        Err(_) => tcp_to(&look_up(host, port, lookups).await?).await,
    }
}

/// Connects by TCP to the first of several addresses that accepts.
///
/// # Errors
/// If none accepts.
pub(crate) async fn tcp_to(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Looks up a name.
///
/// The resolver's thread goes on after the caller has given up. The permit stays with the thread, so that slow look-ups
/// do not pile up threads.
///
/// # Errors
/// If the look-up fails.
pub(crate) async fn look_up(host: &str, port: u16, lookups: &Arc<Semaphore>) -> io::Result<Vec<SocketAddr>> {
    let permit = Arc::clone(lookups).acquire_owned().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let lookup = tokio::task::spawn_blocking(move || {
        let found = (host, port).to_socket_addrs().map(|found| found.take(MOST_ADDRESSES).collect());
        drop(permit);
        found
    });
    lookup.await.map_err(io::Error::other)?
}

/// Drives a connection until the answer has arrived. If the connection ends first, the answer may already be there.
pub(crate) async fn drive<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        _ = connection => {}
    }
    answer.await
}

/// Starts TLS on a connection to an upstream.
///
/// # Errors
/// If the handshake fails, or an upstream that should speak HTTP/2 does not.
pub(crate) async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    upstream: &Upstream,
    config: Arc<ClientConfig>,
    plain: S,
) -> io::Result<TlsStream<S>> {
    let host = match &upstream.address {
        UpstreamAddress::Host(host, _) => host.clone(),
        UpstreamAddress::Unix(_) => "localhost".to_owned(),
    };
    let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(config).connect(name, plain).await?;
    if upstream.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the upstream does not speak HTTP/2 (no h2 by ALPN)"));
    }
    Ok(stream)
}

/// Builds the absolute form of a request's URI.
///
/// # Errors
/// If the parts do not form a URI.
pub(crate) fn absolute(upstream: &Upstream, authority: Authority, path: PathAndQuery) -> Result<Uri, http::Error> {
    let scheme = if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let mut parts = Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Ok(Uri::from_parts(parts)?)
}

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;
