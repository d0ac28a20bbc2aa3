//! PROXY headers of trusted proxies: read before anything else of a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::net::proxy_protocol::{self, Introduction, is_telling, may_begin};
use crate::plan::client;
use crate::plan::config::ProxyHeaders;
use crate::proxy::http::headers::Peer;
use crate::proxy::io::socket::Plain;
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;

use super::driver::Accepted;

/// Finds whose a connection is: the peer's, or that of the client whom a trusted proxy names. Returns `None` if the
/// connection is to be closed, because the proxy says something else or nothing.
///
/// Nobody else is asked: a stranger's header is a malformed request.
pub(super) async fn peer(worker: &Worker, accepted: &mut Accepted, head_read: Duration) -> Option<Peer> {
    let scheme = if accepted.tls.is_some() { "https" } else { "http" };
    let (source, local) = accepted.addresses.unzip();
    let itself = Peer::new(source, local, scheme);
    if accepted.listen.proxy_protocol == ProxyHeaders::Off
        || !client::is_trusted(itself.origin(), &worker.generation().snapshot.trusted_proxies)
    {
        return Some(itself);
    }
    let optional = accepted.listen.proxy_protocol == ProxyHeaders::Optional;
    match timeout(head_read, introduction(&mut accepted.stream, optional)).await {
        Ok(Ok(Some(Introduction::Proxy))) => Some(itself),
        Ok(Ok(Some(Introduction::Hidden))) => Some(Peer::hidden(scheme)),
        Ok(Ok(Some(Introduction::Client { source, destination }))) => {
            Some(Peer::new(Some(source), Some(destination), scheme))
        }
        // The proxy only looked whether somebody listens.
        Ok(Ok(None)) => None,
        Ok(Err(error)) => {
            refused(worker, source, &error);
            None
        }
        Err(_) => {
            worker.cell().reached(Limit::HeadRead);
            None
        }
    }
}

/// Reads a header. One that is optional and does not come is that of the proxy's own connection.
async fn introduction(stream: &mut Plain, optional: bool) -> io::Result<Option<Introduction>> {
    if optional && !begins(stream).await? {
        return Ok(Some(Introduction::Proxy));
    }
    proxy_protocol::read(stream).await
}

/// Returns true if a header comes, or nothing at all. Nothing is read.
async fn begins(stream: &Plain) -> io::Result<bool> {
    let mut first = [0; 12];
    loop {
        let length = stream.peek(&mut first).await?;
        if length == 0 || is_telling(&first[..length]) {
            return Ok(may_begin(&first[..length]));
        }
        // The rest of the first bytes is on its way. There is no event for more bytes than were looked at.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Counts a connection whose header was malformed or missing. The first one is logged, and then ever fewer.
fn refused(worker: &Worker, proxy: Option<SocketAddr>, error: &io::Error) {
    let count = &worker.cell().proxy_headers_refused;
    count.increment();
    if count.get().is_power_of_two() {
        let proxy = proxy.map_or_else(|| "unix".to_owned(), |proxy| proxy.ip().to_string());
        let refused = count.get();
        tracing::warn!(proxy, %error, refused, "a trusted proxy sent no valid PROXY header, its connection was closed");
    }
}

/// Time between two looks at the first bytes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
