//! Opens a worker's connections to upstreams. The caller's deadline bounds every step.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use crate::net;
use crate::plan::config::{Upstream, UpstreamAddress};
use crate::proxy::error::Error;
use crate::proxy::io::socket::{Plain, Socket};

use super::name::{Attempt, Name};

/// Connects to an upstream, and returns the address if that was found by its `name`. `introduction` is the PROXY header of
/// an upstream that wants one.
///
/// # Errors
/// [`Error::Connect`] or [`Error::Tls`].
pub(super) async fn connect(
    upstream: &Upstream,
    tls: Option<Arc<ClientConfig>>,
    (name, ttl): (Option<&Rc<Name>>, Duration),
    introduction: Option<&[u8]>,
) -> Result<(Socket, Option<SocketAddr>), Error> {
    let mut found = None;
    let plain = match (&upstream.address, name) {
        (UpstreamAddress::Unix(path), _) => UnixStream::connect(path).await.map(Plain::Unix),
        (UpstreamAddress::Host(_, _), Some(name)) => by_name(name, ttl).await.map(|stream| {
            found = stream.peer_addr().ok();
            Plain::Tcp(stream)
        }),
        (UpstreamAddress::Host(host, port), None) => by_address(host, *port).await.map(Plain::Tcp),
    };
    let mut plain = plain.map_err(Error::Connect)?;
    if let Some(introduction) = introduction {
        plain.write_all(introduction).await.map_err(Error::Connect)?;
    }
    match tls {
        None => Ok((Socket::Plain(plain), found)),
        Some(config) => {
            let stream = net::tls(upstream, config, plain).await.map_err(Error::Tls)?;
            Ok((Socket::Client(Box::new(stream)), found))
        }
    }
}

async fn by_address(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let address: IpAddr = host.parse().map_err(std::io::Error::other)?;
    net::tcp_to(&[SocketAddr::new(address, port)]).await
}

/// Connects to an address of a name. If none accepts, the upstream may be back at others.
async fn by_name(name: &Rc<Name>, ttl: Duration) -> std::io::Result<TcpStream> {
    let addresses = name.addresses(ttl).await?;
    let attempt = Attempt::new(name);
    let stream = match net::tcp_to(&name.in_turn(&addresses)).await {
        Ok(stream) => stream,
        Err(error) => match name.others(&addresses).await {
            Some(others) => net::tcp_to(&name.in_turn(&others)).await?,
            None => return Err(error),
        },
    };
    attempt.succeeded();
    Ok(stream)
}
