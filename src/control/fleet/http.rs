//! Client for the engines that speak HTTP/1: one connection for each request, and limits on everything.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::response::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::control::certs;
use crate::net;
use crate::outbox::told::told;
use crate::plan::config::{HookScheme, HookUrl};

use super::FleetError;

/// Client of one server.
#[derive(Debug)]
pub(super) struct Client<'u> {
    url: &'u HookUrl,
    /// Roots of the server's certificate.
    ca: Option<&'u Path>,
    lookups: Arc<Semaphore>,
}

/// Answer whose body is still to be read.
pub(super) struct Answer {
    /// Head.
    pub head: Parts,
    body: Incoming,
    connection: Connection,
}

/// Task that drives a connection. It ends when this is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'u> Client<'u> {
    pub(super) fn new(url: &'u HookUrl, ca: Option<&'u Path>) -> Self {
        Self { url, ca, lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }

    /// Sends a request, and waits this long for the head of the answer. A redirect is an answer, too.
    pub(super) async fn send(&self, request: Request<Bytes>, within: Duration) -> Result<Answer, FleetError> {
        let sent = timeout(within, self.send_in_time(request)).await;
        sent.unwrap_or_else(|_| Err(FleetError::Wrong(format!("no answer within {} s", within.as_secs()))))
    }

    async fn send_in_time(&self, mut request: Request<Bytes>) -> Result<Answer, FleetError> {
        let fields = request.headers_mut();
        let host = HeaderValue::from_str(&self.url.authority()).map_err(|error| wrong(&error))?;
        fields.insert(HOST, host);
        fields.insert(USER_AGENT, AGENT);
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        let connecting = timeout(CONNECT_PATIENCE, net::tcp(&self.url.host, self.url.port, &self.lookups)).await;
        let stream = match connecting {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(FleetError::Unreached(format!("no connection: {}", told(&error)))),
            Err(_) => return Err(FleetError::Unreached("no connection in time".to_owned())),
        };
        match self.url.scheme {
            HookScheme::Clear => exchange(stream, request).await,
            HookScheme::Tls => {
                let name = ServerName::try_from(self.url.host.clone()).map_err(|error| wrong(&error))?;
                let tls = TlsConnector::from(self.tls()?).connect(name, stream).await;
                exchange(tls.map_err(|error| wrong(&error))?, request).await
            }
        }
    }

    /// Returns the client of TLS. The file of the roots is read each time, since it may have been replaced.
    fn tls(&self) -> Result<Arc<ClientConfig>, FleetError> {
        let client = certs::client_of(self.ca).map_err(|problem| FleetError::Wrong(problem.message))?;
        Ok(Arc::new(client))
    }
}

impl Answer {
    /// Reads the whole body, of at most this many bytes.
    pub(super) async fn whole(self, most: usize) -> Result<Bytes, FleetError> {
        let whole = timeout(WHOLE_PATIENCE, self.pieces(most)).await;
        whole.unwrap_or_else(|_| Err(FleetError::Wrong("the answer takes too long".to_owned())))
    }

    async fn pieces(mut self, most: usize) -> Result<Bytes, FleetError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(BODY_PATIENCE).await? {
            whole.extend_from_slice(&piece);
            if whole.len() > most {
                return Err(FleetError::Wrong(format!("the text has more than {most} bytes")));
            }
        }
        Ok(whole.into())
    }

    /// Reads the next piece of the body, and waits this long for it; `None` at its end.
    pub(super) async fn piece(&mut self, within: Duration) -> Result<Option<Bytes>, FleetError> {
        let _open = &self.connection;
        let frame = timeout(within, self.body.frame()).await;
        match frame.map_err(|_| FleetError::Wrong("the answer has stopped half-way".to_owned()))? {
            None => Ok(None),
            Some(Err(error)) => Err(wrong(&error)),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        }
    }
}

/// Returns the field of a token that stands in a file. Tokens are replaced, so it is read each time.
pub(super) fn bearer(file: &Path) -> Result<(http::HeaderName, HeaderValue), FleetError> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| FleetError::Wrong(format!("cannot read `{}`: {error}", file.display())))?;
    let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| FleetError::Wrong(format!("`{}` has more than a token", file.display())))?;
    value.set_sensitive(true);
    Ok((AUTHORIZATION, value))
}

/// Returns the error for something that the server did.
pub(super) fn wrong(error: &dyn std::error::Error) -> FleetError {
    FleetError::Wrong(told(error))
}

async fn exchange<S>(stream: S, request: Request<Bytes>) -> Result<Answer, FleetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut client = http1::Builder::new();
    client.max_buf_size(MOST_HEAD);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let response: Response<Incoming> =
        sender.send_request(request.map(Full::new)).await.map_err(|error| wrong(&error))?;
    let (head, body) = response.into_parts();
    Ok(Answer { head, body, connection })
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("backsoon/", env!("CARGO_PKG_VERSION")));
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Time for a whole body.
const WHOLE_PATIENCE: Duration = Duration::from_secs(30);
/// Time for each piece of a body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer's head, and of what is read ahead of its body.
const MOST_HEAD: usize = 64 << 10;
/// Look-ups at a time. Each takes a thread.
const MOST_LOOKUPS: usize = 4;
