//! Connection to a NATS server. Whoever uses it also reads it: there is no task behind it.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::control::certs;
use crate::net;
use crate::outbox::told::told;
use crate::plan::config::{FleetNats, NatsServer};

use super::super::FleetError;
use super::login::{Login, login};
use super::protocol::{Message, Operation, Parsed, parse, publish};

/// Connection to a server.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// Bytes that were read.
    ahead: Vec<u8>,
    /// Number of those that are parsed.
    parsed: usize,
    /// Messages that nobody has asked for yet.
    waiting: VecDeque<Message>,
    /// Beginning of the subjects at which this connection is reached.
    inbox: String,
    requests: u64,
}

/// Stream of bytes, in clear text or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connection {
    /// Connects to one of the servers, in any order: the load of many replicas is spread.
    pub(super) async fn open(config: &FleetNats, ca: Option<&Path>) -> Result<Self, FleetError> {
        let mut servers: Vec<&NatsServer> = config.servers.iter().collect();
        fastrand::shuffle(&mut servers);
        let mut last = FleetError::Unreached("there is no server".to_owned());
        for server in servers {
            let opened = timeout(OPEN_PATIENCE, Self::open_one(server, config, ca)).await;
            match opened.unwrap_or_else(|_| Err(FleetError::Unreached("no connection in time".to_owned()))) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = named(error, server),
            }
        }
        Err(last)
    }

    async fn open_one(server: &NatsServer, config: &FleetNats, ca: Option<&Path>) -> Result<Self, FleetError> {
        let lookups = Arc::new(Semaphore::new(1));
        let unreached = |error: io::Error| FleetError::Unreached(format!("no connection: {}", told(&error)));
        let mut plain = net::tcp(&server.host, server.port, &lookups).await.map_err(unreached)?;
        let info = info(&mut plain).await?;
        let encrypts = server.tls || info["tls_required"] == true;
        let stream: Box<dyn Stream> = if encrypts {
            let client = certs::client_of(ca).map_err(|problem| FleetError::Wrong(problem.message))?;
            let name = ServerName::try_from(server.host.clone());
            let name = name.map_err(|error| FleetError::Wrong(told(&error)))?;
            let tls = TlsConnector::from(Arc::new(client)).connect(name, plain).await;
            Box::new(tls.map_err(|error| FleetError::Wrong(format!("TLS: {}", told(&error))))?)
        } else {
            Box::new(plain)
        };
        let inbox = format!("_INBOX.{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let mut connection =
            Self { stream, ahead: Vec::new(), parsed: 0, waiting: VecDeque::new(), inbox, requests: 0 };
        let login = match &config.credentials {
            Some(file) => login(file, info["nonce"].as_str())?,
            None => Login::new(),
        };
        connection.greet(login, encrypts).await?;
        Ok(connection)
    }

    /// Logs in, and subscribes to answers and to the watch.
    async fn greet(&mut self, login: Login, encrypts: bool) -> Result<(), FleetError> {
        let mut connect = json!({
            "verbose": false, "pedantic": false, "tls_required": encrypts, "name": "backsoon", "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true, "echo": true,
        });
        if let Some(fields) = connect.as_object_mut() {
            fields.extend(login);
        }
        let greeting = format!(
            "CONNECT {connect}\r\nSUB {} {ANSWERS}\r\nSUB {} {WATCH}\r\nPING\r\n",
            self.inbox("answer.*"),
            self.watch()
        );
        self.write(greeting.as_bytes()).await?;
        // The answer to the ping: all before it was taken.
        loop {
            match self.operation().await? {
                Operation::Fine => return Ok(()),
                Operation::Message(message) => self.keep(message)?,
                Operation::Info(_) | Operation::Ping | Operation::Error(_) => {}
            }
        }
    }

    /// Returns the subject to which a watch delivers.
    pub(super) fn watch(&self) -> String {
        self.inbox("watch")
    }

    fn inbox(&self, name: &str) -> String {
        format!("{}.{name}", self.inbox)
    }

    /// Sends a request, and returns its answer.
    pub(super) async fn request(
        &mut self,
        subject: &str,
        fields: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<Message, FleetError> {
        self.requests += 1;
        let reply = self.inbox(&format!("answer.{}", self.requests));
        let asked = timeout(REQUEST_PATIENCE, async {
            self.write(&publish(subject, &reply, fields, payload)).await?;
            loop {
                match self.message().await? {
                    message if message.subject == reply => return Ok(message),
                    message => self.keep(message)?,
                }
            }
        });
        // Nobody is hurried by another attempt soon: this one has taken its time.
        let late = || FleetError::Unreached(format!("no answer within {} s", REQUEST_PATIENCE.as_secs()));
        let answer = asked.await.unwrap_or_else(|_| Err(late()))?;
        match answer.status {
            // As it is for a moment after the start of a server.
            Some(503) => Err(FleetError::Unreached(format!("nobody answers `{subject}`: is JetStream enabled there?"))),
            Some(_) | None => Ok(answer),
        }
    }

    /// Subscribes to a subject, in addition to those of its own. The server answers only if it refuses that.
    pub(super) async fn subscribe(&mut self, subject: &str, subscription: &str) -> Result<(), FleetError> {
        self.write(format!("SUB {subject} {subscription}\r\n").as_bytes()).await
    }

    /// Ends a subscription.
    pub(super) async fn unsubscribe(&mut self, subscription: &str) -> Result<(), FleetError> {
        self.write(format!("UNSUB {subscription}\r\n").as_bytes()).await
    }

    /// Publishes a message, perhaps with the subject of an answer, and waits for nothing.
    pub(super) async fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) -> Result<(), FleetError> {
        self.write(&publish(subject, reply, &[], payload)).await
    }

    /// Asks the server for a sign of life, which any word of it is.
    pub(super) async fn ping(&mut self) -> Result<(), FleetError> {
        self.write(b"PING\r\n").await
    }

    /// Returns the next operation; `None` if there is none until an instant, or until something else is ready.
    pub(super) async fn heard(
        &mut self,
        until: Instant,
        else_ready: impl Future<Output = ()>,
    ) -> Result<Option<Operation>, FleetError> {
        tokio::pin!(else_ready);
        loop {
            if let Some(operation) = self.parsed().await? {
                return Ok(Some(operation));
            }
            tokio::select! {
                read = self.read() => read?,
                () = &mut else_ready => return Ok(None),
                () = tokio::time::sleep_until(until) => return Ok(None),
            }
        }
    }

    /// Sends a message without waiting for anything.
    pub(super) async fn send(&mut self, subject: &str) -> Result<(), FleetError> {
        self.write(&publish(subject, "", &[], b"")).await
    }

    /// Returns the next message of the watch; `None` if there is none until an instant.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Message>, FleetError> {
        loop {
            while let Some(message) = self.waiting.pop_front() {
                if message.subscription == WATCH {
                    return Ok(Some(message));
                }
            }
            match timeout_at(until, self.message()).await {
                Err(_) => return Ok(None),
                Ok(message) => {
                    let message = message?;
                    self.keep(message)?;
                }
            }
        }
    }

    /// Keeps a message for the one who will ask for it.
    fn keep(&mut self, message: Message) -> Result<(), FleetError> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(FleetError::Wrong("more messages than anybody asked for".to_owned()));
        }
        self.waiting.push_back(message);
        Ok(())
    }

    /// Returns the next message. Cancel safe.
    async fn message(&mut self) -> Result<Message, FleetError> {
        loop {
            match self.operation().await? {
                Operation::Message(message) => return Ok(message),
                Operation::Info(_) | Operation::Ping | Operation::Fine | Operation::Error(_) => {}
            }
        }
    }

    /// Reads the next operation, and answers pings. Cancel safe, but for the answer, which is short.
    async fn operation(&mut self) -> Result<Operation, FleetError> {
        loop {
            match self.parsed().await? {
                Some(operation) => return Ok(operation),
                None => self.read().await?,
            }
        }
    }

    /// Returns the next operation of those that were read, and answers pings.
    async fn parsed(&mut self) -> Result<Option<Operation>, FleetError> {
        loop {
            match parse(self.ahead.get(self.parsed..).unwrap_or_default()) {
                Parsed::Whole(operation, size) => {
                    self.parsed += size;
                    match operation {
                        Operation::Ping => self.write(b"PONG\r\n").await?,
                        Operation::Error(why) => return Err(refused(&why)),
                        Operation::Info(_) | Operation::Message(_) | Operation::Fine => return Ok(Some(operation)),
                    }
                }
                Parsed::Bad => return Err(FleetError::Wrong("it does not speak NATS".to_owned())),
                Parsed::Partial => {
                    // Only here, since thousands of answers may have come at once.
                    self.ahead.drain(..std::mem::take(&mut self.parsed));
                    return Ok(None);
                }
            }
        }
    }

    /// Reads some bytes. Cancel safe.
    async fn read(&mut self) -> Result<(), FleetError> {
        let read = self.stream.read_buf(&mut self.ahead).await;
        match read.map_err(|error| FleetError::Unreached(told(&error)))? {
            0 => Err(FleetError::Unreached("the connection was closed".to_owned())),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), FleetError> {
        let written = timeout(WRITE_PATIENCE, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        let written = written.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        written.map_err(|error| FleetError::Unreached(told(&error)))
    }
}

/// Reads `INFO`, byte by byte: what follows may be TLS.
async fn info(stream: &mut TcpStream) -> Result<Value, FleetError> {
    let mut line = Vec::new();
    loop {
        match parse(&line) {
            Parsed::Whole(Operation::Info(info), _) => {
                return serde_json::from_str(&info).map_err(|error| FleetError::Wrong(told(&error)));
            }
            Parsed::Whole(..) | Parsed::Bad => return Err(FleetError::Wrong("it does not speak NATS".to_owned())),
            Parsed::Partial => {}
        }
        let byte = stream.read_u8().await;
        line.push(byte.map_err(|error| FleetError::Unreached(told(&error)))?);
    }
}

/// Returns the error for the words of a server.
fn refused(why: &str) -> FleetError {
    let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
    FleetError::Wrong(format!("the server says: {why}"))
}

fn named(error: FleetError, server: &NatsServer) -> FleetError {
    let name = |why: String| format!("{server}: {why}");
    match error {
        FleetError::Unreached(why) => FleetError::Unreached(name(why)),
        FleetError::Wrong(why) => FleetError::Wrong(name(why)),
        FleetError::ReadOnly(why) => FleetError::ReadOnly(name(why)),
    }
}

/// Subscriptions.
const ANSWERS: &str = "1";
const WATCH: &str = "2";
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Messages that may wait. A watch of one key has a few.
const MOST_WAITING: usize = 1024;
