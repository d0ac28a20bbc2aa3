//! Requests to endpoints: one connection each, to an address that was judged, without redirects and proxies.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::net;

use super::address::{Reach, Refusal};
use super::bounded::Bounded;
use super::endpoint::{Endpoint, Host, Scheme};

/// Connector to endpoints.
#[derive(Clone, Debug)]
pub struct Connector {
    reach: Reach,
    tls: Arc<ClientConfig>,
    lookups: Arc<Semaphore>,
    /// Time for one attempt, from the look-up to the last byte.
    patience: Duration,
}

/// Request to an endpoint.
#[derive(Clone, Debug)]
pub struct Message {
    /// Fields beside those that every request has.
    pub fields: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// First 4 KiB of the body.
    pub body: Vec<u8>,
}

/// Failure to get an answer.
#[derive(Debug)]
pub enum PostError {
    /// The host leads out of reach.
    Refused(Refusal),
    /// The look-up of the host has failed.
    LookUp(io::Error),
    /// No address accepts a connection.
    Connect(io::Error),
    /// The handshake of TLS has failed.
    Tls(io::Error),
    /// The request cannot be written.
    Request(http::Error),
    /// No answer that HTTP knows.
    Http(hyper::Error),
    /// The endpoint was slower than this.
    TimedOut(Duration),
}

impl Connector {
    /// Creates a connector. `tls` holds the roots that endpoints are verified by.
    pub fn new(reach: Reach, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let lookups = Arc::new(Semaphore::new(MOST_LOOKUPS));
        Self { reach, tls: Arc::new(tls), lookups, patience: PATIENCE }
    }

    /// Posts a message, and returns the answer: a redirect is an answer, too.
    ///
    /// # Errors
    /// If the host leads out of reach, or does not answer in time.
    pub async fn post(&self, endpoint: &Endpoint, message: Message) -> Result<Answer, PostError> {
        self.post_within(endpoint, message, self.patience).await
    }

    /// Posts a message, and waits this long for the answer.
    ///
    /// # Errors
    /// If the host leads out of reach, or does not answer in time.
    pub async fn post_within(
        &self,
        endpoint: &Endpoint,
        message: Message,
        within: Duration,
    ) -> Result<Answer, PostError> {
        let answer = timeout(within, self.post_in_time(endpoint, message)).await;
        answer.unwrap_or(Err(PostError::TimedOut(within)))
    }

    async fn post_in_time(&self, endpoint: &Endpoint, message: Message) -> Result<Answer, PostError> {
        let request = request(endpoint, message).map_err(PostError::Request)?;
        let addresses = self.look_up(endpoint).await.map_err(PostError::LookUp)?;
        // The connection goes to an address that was judged, so a second look-up cannot lead elsewhere.
        let targets = self.reach.judge(endpoint, &addresses).map_err(PostError::Refused)?;
        let plain = connect(&targets).await.map_err(PostError::Connect)?;
        let plain = Bounded::new(plain, MOST_READ);
        match endpoint.scheme {
            Scheme::Http => exchange(plain, request).await,
            Scheme::Https => {
                let name = server_name(&endpoint.host).map_err(PostError::Tls)?;
                let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, plain);
                exchange(tls.await.map_err(PostError::Tls)?, request).await
            }
        }
    }

    async fn look_up(&self, endpoint: &Endpoint) -> io::Result<Vec<IpAddr>> {
        match &endpoint.host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name) => {
                let found = net::look_up(name, endpoint.port, &self.lookups).await?;
                Ok(found.iter().map(SocketAddr::ip).collect())
            }
        }
    }
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(_) => f.write_str("the address is refused"),
            Self::LookUp(_) => f.write_str("the host cannot be looked up"),
            Self::Connect(_) => f.write_str("the host accepts no connection"),
            Self::Tls(_) => f.write_str("the host cannot be trusted (TLS)"),
            Self::Request(_) => f.write_str("the request cannot be written"),
            Self::Http(_) => f.write_str("the answer is not HTTP, or is cut off"),
            Self::TimedOut(within) => write!(f, "no answer within {} s", within.as_secs()),
        }
    }
}

impl std::error::Error for PostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            Self::LookUp(error) | Self::Connect(error) | Self::Tls(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::TimedOut(_) => None,
        }
    }
}

fn request(endpoint: &Endpoint, message: Message) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&endpoint.path)
        .header(HOST, endpoint.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("backsoon/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Full::new(message.body))?;
    // Fields of the message come last: a channel may have a type of its own.
    request.headers_mut().extend(message.fields);
    Ok(request)
}

/// Connects to the first address that accepts.
async fn connect(targets: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in targets.iter().take(MOST_TARGETS) {
        match timeout(CONNECT_PATIENCE, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut client = http1::Builder::new();
    client.max_buf_size(MOST_HEAD);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(PostError::Http)?;
    let answer = async { Ok(read(sender.send_request(request).await?).await) };
    net::drive(connection, answer).await.map_err(PostError::Http)
}

/// Reads an answer. The status is the answer: a body that drips or breaks off changes nothing.
async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < MOST_ANSWER
            && let Some(Ok(frame)) = body.frame().await
        {
            let data = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
            bytes.extend_from_slice(&data[..data.len().min(MOST_ANSWER - bytes.len())]);
        }
    };
    // A body that takes too long is what has come of it.
    let _ = timeout(BODY_PATIENCE, reading).await;
    Answer { status: head.status, retry_after: retry_after(head.headers.get(RETRY_AFTER)), body: bytes }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(field: Option<&HeaderValue>) -> Option<Duration> {
    let text = field?.to_str().ok()?.trim();
    // Some chats ask for fractions of a second.
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    date.duration_since(Timestamp::now()).try_into().ok()
}

const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses that are tried.
const MOST_TARGETS: usize = 3;
/// Time for the body of an answer, behind its head.
const BODY_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer's body that are kept.
const MOST_ANSWER: usize = 4096;
/// Bytes of an answer's head.
const MOST_HEAD: usize = 16 << 10;
/// Bytes of a connection, with those of TLS, with interim responses and all.
const MOST_READ: usize = 256 << 10;
/// Look-ups at a time. Each takes a thread.
const MOST_LOOKUPS: usize = 32;
