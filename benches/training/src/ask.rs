//! The clients of the proxy, which send the requests of a step.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::load::{Ask, Expected, Head, Protocol, Route};
use crate::proxy::Proxy;
use crate::{Outcome, http1, http2};

/// The clients, which know where the proxy listens.
#[derive(Clone)]
pub(crate) struct Visitors {
    clear: SocketAddr,
    tls: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Visitors {
    /// # Errors
    /// If TLS cannot be set up.
    pub(crate) fn to(proxy: &Proxy) -> Outcome<Self> {
        let connector = |alpn: &[&[u8]]| connector(&proxy.certificate, alpn);
        Ok(Self { clear: proxy.clear, tls: proxy.tls, http1: connector(&[])?, http2: connector(&[b"h2"])? })
    }

    /// Sends the requests of a step over all its connections at once, with pauses between those of one connection.
    ///
    /// # Errors
    /// If an answer is not the expected one.
    pub(crate) async fn ask(&self, ask: &Ask, head: &Head, pause: Duration) -> Outcome<()> {
        let mut connections = JoinSet::new();
        for _ in 0..ask.connections {
            let (visitors, ask, head) = (self.clone(), ask.clone(), head.clone());
            connections.spawn(async move { visitors.connection(&ask, &head, pause).await });
        }
        while let Some(connection) = connections.join_next().await {
            connection??;
        }
        Ok(())
    }

    async fn connection(&self, ask: &Ask, head: &Head, pause: Duration) -> Outcome<()> {
        match ask.over {
            Protocol::Http1 => http1_requests(connect(self.clear).await?, ask, head, pause).await,
            Protocol::Tls => http1_requests(self.over_tls(&self.http1).await?, ask, head, pause).await,
            Protocol::H2 => http2::requests(connect(self.clear).await?, ask, head).await,
            Protocol::H2Tls => http2::requests(self.over_tls(&self.http2).await?, ask, head).await,
        }
    }

    async fn over_tls(&self, connector: &TlsConnector) -> Outcome<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        let name = ServerName::try_from(Route::Web.host())?;
        Ok(connector.connect(name, connect(self.tls).await?).await?)
    }

    /// Sends one request in clear text, and returns the head of the answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn first_head(&self, ask: &Ask, head: &Head) -> Outcome<String> {
        let mut stream = BufReader::new(connect(self.clear).await?);
        stream.write_all(head.http1(ask).as_bytes()).await?;
        http1::head(&mut stream).await?.ok_or_else(|| "the connection was closed".into())
    }

    /// Returns the metrics of the admin listener.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub(crate) async fn metrics(&self, admin: SocketAddr) -> Outcome<String> {
        let mut stream = connect(admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

async fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn http1_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ask: &Ask,
    head: &Head,
    pause: Duration,
) -> Outcome<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut request = head.http1(ask).into_bytes();
    request.resize(request.len() + ask.body.unwrap_or_default(), b'x');
    for _ in 0..ask.requests {
        stream.write_all(&request).await?;
        stream.flush().await?;
        let answer = http1::head(&mut stream).await?.ok_or("the connection was closed")?;
        ask.status.check(http1::status(&answer)?)?;
        http1::skip_body(&mut stream, &answer).await?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

impl Ask {
    /// Returns one request over one connection, whose answer is read by the caller.
    pub(crate) fn once(request: &str) -> Self {
        Self {
            request: request.to_owned(),
            route: Route::Web,
            path: None,
            without: Vec::new(),
            body: None,
            status: Expected::default(),
            over: Protocol::Http1,
            connections: 1,
            streams: 1,
            requests: 1,
        }
    }
}

/// Returns a connector that trusts one certificate.
fn connector(certificate: &CertificateDer<'static>, alpn: &[&[u8]]) -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
