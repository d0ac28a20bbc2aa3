//! Load: HTTP/2 clients on a runtime of their own, and the outcome of each request as the client sees it.

use std::future::Future;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::PATIENCE;

/// Runs clients on the calling thread.
pub fn block_on<T>(clients: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(clients)
}

/// Runs futures side by side to their end.
pub async fn for_all<F: Future<Output = ()>>(futures: Vec<F>) {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        for future in &mut futures {
            if future.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *future = None;
            }
        }
        if futures.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// HTTP/2 connection with prior knowledge.
pub struct Http2 {
    /// Sender of requests; clones share the connection.
    pub sender: h2::client::SendRequest<Bytes>,
    /// End of the connection.
    pub ended: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("cannot connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
        Ok(Self { sender, ended: tokio::spawn(connection) })
    }
}

/// Reason why a request on an HTTP/2 connection got no answer.
#[derive(Debug)]
pub enum Failure {
    /// The server had announced in time that this connection takes no more requests. The request was not sent, and goes
    /// elsewhere.
    GoneAway,
    /// The server did not process the request (RFC 9113 section 6.8), which is sent again elsewhere. h2's client causes
    /// this when it answers the last ping before it writes the requests that it has already accepted.
    Refused,
    /// The request is lost.
    Lost(String),
}

impl Failure {
    fn unsent(error: h2::Error) -> Self {
        match Self::from(error) {
            Self::Refused => Self::GoneAway,
            failure @ (Self::GoneAway | Self::Lost(_)) => failure,
        }
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        let told = error.is_remote() && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        if told { Self::Refused } else { Self::Lost(format!("{error:?}")) }
    }
}

/// Sends a request and reads its answer to the end.
pub async fn exchange(
    sender: &h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<Response<Vec<u8>>, Failure> {
    let answer = async {
        // From the first GOAWAY on, h2 accepts no more requests. One that it accepted must never be refused.
        let mut sender = sender.clone().ready().await.map_err(Failure::unsent)?;
        let (response, mut upload) = sender.send_request(request, body.is_none()).map_err(Failure::unsent)?;
        if let Some(body) = body {
            // An answer may arrive before the body was read, and the server may then decline the body.
            let _ = upload.send_data(body, true);
        }
        let (head, mut incoming) = response.await?.into_parts();
        let mut read = Vec::new();
        while let Some(data) = incoming.data().await {
            let data = data?;
            incoming.flow_control().release_capacity(data.len())?;
            read.extend_from_slice(&data);
        }
        Ok(Response::from_parts(head, read))
    };
    within(PATIENCE, answer).await
}

async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(patience, answer)
        .await
        .unwrap_or_else(|_| Err(Failure::Lost(format!("no answer in {patience:?}"))))
}
