//! Client of an admin listener: a request with its answer, or with a stream of events, and limits on time and size.

mod clock;
mod events;
mod resolve;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::status::Status;
use crate::status::verified::Verified;

pub(super) use crate::plan::config::Endpoint;
pub(super) use clock::Offset;
pub(super) use events::follow;
pub(super) use resolve::{WrongNumber, expect, resolved};

/// Error of a request to an admin listener.
#[derive(Debug)]
pub(super) enum Error {
    /// The listener cannot be reached.
    Connect(io::Error),
    /// The answer took too long.
    Timeout(Duration),
    /// The replica does not answer through the engine, and has not said farewell; the time since another one has heard
    /// of it.
    Missing(Option<Duration>),
    /// The connection broke, or does not speak HTTP.
    Http(hyper::Error),
    /// The server is no admin listener, or not one of this version.
    Status(StatusCode),
    /// The answer is larger than any status.
    TooLarge,
    /// The answer is not a status.
    Json(serde_json::Error),
    /// The answer is an object in JSON, but of another program.
    Foreign,
}

/// Answer of an admin listener to a request for its status.
pub(super) struct Answer {
    /// The status.
    pub(super) status: Status,
    /// The listener's clock, in whole seconds, if it told it.
    pub(super) clock: Option<Timestamp>,
}

/// Fetches the status of an admin listener, parsed and as raw JSON, and the offset of its clock if it tells the time.
///
/// # Errors
/// See [`Error`].
pub(super) async fn status(endpoint: &Endpoint, within: Duration) -> Result<((Status, Value), Option<Offset>), Error> {
    let sent = Timestamp::now();
    let asked = request(endpoint, "/status", within, |response| whole(response.into_body()));
    let body = tokio::time::timeout(within, asked).await.map_err(|_| Error::Timeout(within))??;
    let received = Timestamp::now();
    let value: Value = serde_json::from_slice(&body).map_err(Error::Json)?;
    let status = parsed(&value)?;
    let offset = status.now.map(|theirs| Offset::between(sent, theirs, received));
    Ok(((status, value), offset))
}

/// Has a proxy try the checks of routes now: of all that have some, if none is named.
///
/// # Errors
/// See [`Error`].
pub(super) async fn verify(endpoint: &Endpoint, routes: &[String], within: Duration) -> Result<Verified, Error> {
    let query: Vec<String> = routes.iter().map(|route| format!("route={route}")).collect();
    let mut head = head(endpoint, &format!("/verify?{}", query.join("&")));
    *head.method_mut() = http::Method::POST;
    let asked = send(endpoint, head, within, |response| whole(response.into_body()));
    let body = tokio::time::timeout(within, asked).await.map_err(|_| Error::Timeout(within))??;
    serde_json::from_slice(&body).map_err(Error::Json)
}

/// Parses a status. Every field may be left out, so that versions understand each other. Any object would be a status then,
/// and one in which nothing is wrong. But a proxy has a generation, and routes.
///
/// # Errors
/// [`Error::Json`] and [`Error::Foreign`].
pub(super) fn parsed(value: &Value) -> Result<Status, Error> {
    let status = Status::deserialize(value).map_err(Error::Json)?;
    if status.routes.is_empty() && status.files.is_empty() && status.generation == 0 {
        return Err(Error::Foreign);
    }
    Ok(status)
}

/// Fetches the status of an admin listener, with the time on its clock.
///
/// # Errors
/// See [`Error`].
pub(super) async fn ask(endpoint: &Endpoint, within: Duration) -> Result<Answer, Error> {
    let dated = async |response: Response<Incoming>| {
        let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        let clock = date.and_then(|date| Some(rfc2822::parse(date).ok()?.timestamp()));
        Ok((whole(response.into_body()).await?, clock))
    };
    let asked = request(endpoint, "/status", within, dated);
    let (body, clock) = tokio::time::timeout(within, asked).await.map_err(|_| Error::Timeout(within))??;
    let value = serde_json::from_slice(&body).map_err(Error::Json)?;
    Ok(Answer { status: parsed(&value)?, clock })
}

/// Asks once, for a second at most, outside any runtime.
///
/// # Errors
/// See [`Error`].
pub(super) fn ask_at_once(endpoint: &Endpoint) -> Result<Status, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Connect)?;
    runtime.block_on(ask(endpoint, MOMENT)).map(|answer| answer.status)
}

/// Asks for a path, waits for the head of the answer, and reads the body.
async fn request<T, F: Future<Output = Result<T, Error>>>(
    endpoint: &Endpoint,
    path: &str,
    within: Duration,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, Error> {
    send(endpoint, head(endpoint, path), within, read).await
}

/// Sends a request, waits for the head of the answer, and reads the body.
async fn send<T, F: Future<Output = Result<T, Error>>>(
    endpoint: &Endpoint,
    request: Request<String>,
    within: Duration,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, Error> {
    let late = |_| Error::Timeout(within);
    match endpoint {
        Endpoint::Host(host, port) => {
            let connected = TcpStream::connect((host.as_str(), *port));
            let stream = tokio::time::timeout(within, connected).await.map_err(late)?.map_err(Error::Connect)?;
            exchange(stream, request, within, read).await
        }
        Endpoint::Unix(socket) => {
            let connected = UnixStream::connect(socket);
            let stream = tokio::time::timeout(within, connected).await.map_err(late)?.map_err(Error::Connect)?;
            exchange(stream, request, within, read).await
        }
    }
}

fn head(endpoint: &Endpoint, path: &str) -> Request<String> {
    let mut request = Request::new(String::new());
    *request.uri_mut() = http::Uri::try_from(path).unwrap_or_default();
    if let Ok(host) = http::HeaderValue::try_from(endpoint.authority()) {
        request.headers_mut().insert(http::header::HOST, host);
    }
    request
}

async fn exchange<T, F: Future<Output = Result<T, Error>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
    within: Duration,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
    let answer = async {
        let sent = tokio::time::timeout(within, sender.send_request(request)).await;
        let response = sent.map_err(|_| Error::Timeout(within))?.map_err(Error::Http)?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status(response.status()));
        }
        read(response).await
    };
    // The connection is driven only until the answer is read, because it serves one request.
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(Error::Http(error)),
        },
    }
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(data) = frame(&mut body).await? {
        if bytes.len() + data.len() > LARGEST_ANSWER {
            return Err(Error::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Returns the next data of a body; `None` at its end.
async fn frame(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(Error::Http)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => f.write_str("no connection"),
            Self::Timeout(within) => write!(f, "no answer within {} s", within.as_secs()),
            Self::Missing(Some(ago)) => write!(f, "no answer; another replica heard of it {} s ago", ago.as_secs()),
            Self::Missing(None) => f.write_str("no answer any more, and no farewell"),
            Self::Http(_) => f.write_str("the connection failed"),
            Self::Status(status) => write!(f, "it answered {status}, not like an admin listener"),
            Self::TooLarge => write!(f, "it answered with more than {LARGEST_ANSWER} bytes"),
            Self::Json(_) | Self::Foreign => f.write_str("it answered, but not with a status"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Timeout(_) | Self::Missing(_) | Self::Status(_) | Self::TooLarge | Self::Foreign => None,
        }
    }
}

/// Time for a stream of events to begin.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for an answer that only tells where the files are.
const MOMENT: Duration = Duration::from_secs(1);

/// Largest accepted answer. A status of thousands of routes has some megabytes.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
