//! Idle connections: opened, used once each, and then left alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::nursery::Nursery;
use crate::{proc, wire};

/// Protocol on the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Protocol {
    /// HTTP/1.1 in clear text.
    #[serde(rename = "h1")]
    Plain,
    /// HTTP/1.1 over TLS.
    #[serde(rename = "h1 tls")]
    Tls,
    /// HTTP/2 over TLS.
    #[serde(rename = "h2 tls")]
    Http2,
}

impl Protocol {
    /// Returns the name for the tables, of a run with nothing else going on.
    pub(crate) fn at_rest(self) -> &'static str {
        match self {
            Self::Plain => "h1, all at rest",
            Self::Tls => "h1 tls, all at rest",
            Self::Http2 => "h2 tls, all at rest",
        }
    }

    /// Returns the name for the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "h1",
            Self::Tls => "h1 tls",
            Self::Http2 => "h2 tls",
        }
    }
}

/// Connections to open and to leave alone.
#[derive(Clone, Debug)]
pub(crate) struct IdleClients {
    /// Protocol on the connections.
    pub(crate) protocol: Protocol,
    /// Address of the server.
    pub(crate) address: SocketAddr,
    /// Number of connections.
    pub(crate) connections: u32,
    /// The process whose memory counts.
    pub(crate) pid: u32,
    /// Path of the requests.
    pub(crate) path: String,
    /// Host of the requests.
    pub(crate) host: String,
}

impl IdleClients {
    /// Measures the bytes that each connection adds to the process.
    ///
    /// # Errors
    /// If a connection fails.
    pub(crate) fn measure(&self, nursery: &Nursery) -> io::Result<PerConnection> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connector = connector(nursery, self.protocol)?;
        runtime.block_on(async {
            // Leave out costs that arise once, such as upstream connections.
            drop(self.open(&connector, AT_ONCE, 1).await?);
            let before = self.settled().await?;
            let held = self.open(&connector, self.connections, 1).await?;
            let at_rest = self.settled().await?;
            // Allocators return memory while they are used, and a proxy seldom has idle clients alone.
            drop(self.open(&connector, OTHERS, THEIR_REQUESTS).await?);
            let serving = self.settled().await?;
            drop(held);
            let each = |after: f64| (after - before) / f64::from(self.connections);
            Ok(PerConnection { at_rest: each(at_rest), serving: each(serving) })
        })
    }

    async fn open(&self, connector: &TlsConnector, count: u32, requests: u32) -> io::Result<Vec<Held>> {
        let mut opening: JoinSet<io::Result<Held>> = JoinSet::new();
        let mut held = Vec::new();
        for number in 0..count {
            if number >= AT_ONCE {
                held.extend(opening.join_next().await.map(flatten).transpose()?);
            }
            let (connector, clients) = (connector.clone(), self.clone());
            opening.spawn(async move {
                let one = one(&connector, &clients, requests);
                tokio::time::timeout(PATIENCE, one).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            });
        }
        while let Some(one) = opening.join_next().await {
            held.push(flatten(one)?);
        }
        Ok(held)
    }

    /// Returns the bytes in memory, once they have not changed for a while.
    async fn settled(&self) -> io::Result<f64> {
        let (mut last, mut quiet) = (proc::resident(self.pid)?, 0);
        for _ in 0..MOST_POLLS {
            tokio::time::sleep(POLL).await;
            let now = proc::resident(self.pid)?;
            quiet = if now.abs_diff(last) * 100 <= last { quiet + 1 } else { 0 };
            last = now;
            if quiet >= QUIET_POLLS {
                break;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "no process has 2^53 bytes")]
        Ok(last as f64)
    }
}

/// Bytes for each connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerConnection {
    /// Bytes while nothing else happens.
    pub(crate) at_rest: f64,
    /// Bytes after other clients were served.
    pub(crate) serving: f64,
}

#[expect(dead_code, reason = "held so that the connections stay open")]
enum Held {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Http2(SendRequest<Empty<Bytes>>),
}

fn flatten(joined: Result<io::Result<Held>, tokio::task::JoinError>) -> io::Result<Held> {
    joined.map_err(io::Error::other)?
}

/// Opens one connection, and sends some requests on it.
async fn one(tls: &TlsConnector, clients: &IdleClients, requests: u32) -> io::Result<Held> {
    let IdleClients { protocol, address, path, host, .. } = clients;
    let mut socket = TcpStream::connect(address).await?;
    if *protocol == Protocol::Plain {
        for _ in 0..requests {
            ask(&mut socket, path, host).await?;
        }
        return Ok(Held::Plain(socket));
    }
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut stream = tls.connect(name, socket).await?;
    if *protocol == Protocol::Tls {
        for _ in 0..requests {
            ask(&mut stream, path, host).await?;
        }
        return Ok(Held::Tls(Box::new(stream)));
    }
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The task ends when the sender is dropped.
    tokio::spawn(connection);
    for _ in 0..requests {
        let request = http::Request::get(format!("https://{host}{path}")).body(Empty::new());
        let response = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
        response.into_body().collect().await.map_err(io::Error::other)?;
    }
    Ok(Held::Http2(sender))
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, host: &str) -> io::Result<()> {
    stream.write_all(wire::get(path, host, "").as_bytes()).await?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while wire::length(&bytes)?.is_none_or(|length| bytes.len() < length) {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(())
}

fn connector(nursery: &Nursery, protocol: Protocol) -> io::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(nursery.path("cert.der"))?)).map_err(io::Error::other)?;
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connections that are being opened at the same time.
const AT_ONCE: u32 = 64;
/// Other clients that are served.
const OTHERS: u32 = 8;
/// Requests of each of them.
const THEIR_REQUESTS: u32 = 5000;
/// Time in which one connection must be opened and used.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(250);
/// Polls without a change (of a hundredth) after which memory has settled: four seconds. backsoon parks connections after
/// one second, and gives their memory back within three.
const QUIET_POLLS: u32 = 16;
const MOST_POLLS: u32 = 60;
