//! Relay: the operator's mail server, to which messages are given by SMTP.
//!
//! Connections serve one batch: they stay open while further messages wait, and end with the last one. Servers close idle
//! ones without a word.

use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io};

use lettre::address::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::plan::config::{MailServer, MailTls};

use super::compose::Ready;

/// Mail server. Its clones share their connections.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

/// Name and password for a server. Neither is ever shown.
#[derive(Clone)]
pub struct Login(Credentials);

/// Failure to give a message to a server.
#[derive(Debug)]
pub enum SmtpError {
    /// The encryption cannot be prepared.
    Tls(smtp::Error),
    /// There is no connection to be had, or the server takes no mails of this proxy.
    Connect(smtp::Error),
    /// There is no way to the server.
    Unreachable(io::Error),
    /// The server offers no encryption, and only encrypted mail is sent.
    NoStartTls,
    /// The server does not know the recipient, for ever.
    Recipient(smtp::Error),
    /// The server refused the message, for ever.
    Message(smtp::Error),
    /// The message was not taken this time.
    Later(smtp::Error),
    /// The server took too long.
    Slow,
}

struct Inner {
    server: MailServer,
    tls: Option<TlsParameters>,
    login: Option<Credentials>,
    hello: ClientId,
    free: Semaphore,
    waiting: AtomicUsize,
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

/// Count of a message that waits for its turn, until it is dropped.
struct Waiting<'r>(&'r AtomicUsize);

impl Login {
    /// Creates a login.
    pub fn new(user: String, password: String) -> Self {
        Self(Credentials::new(user, password))
    }
}

impl Relay {
    /// Creates a relay. Nothing is connected yet. `roots` are certificates in PEM, which take the place of the system's.
    ///
    /// # Errors
    /// If a certificate is none.
    pub fn new(server: MailServer, login: Option<Login>, roots: Option<&[u8]>) -> Result<Self, SmtpError> {
        let tls = match server.tls {
            MailTls::Off => None,
            MailTls::Implicit | MailTls::StartTls => Some(parameters(&server.host, roots).map_err(SmtpError::Tls)?),
        };
        Ok(Self(Arc::new(Inner {
            server,
            tls,
            login: login.map(|login| login.0),
            hello: ClientId::default(),
            free: Semaphore::new(MOST_CONNECTIONS),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
        })))
    }

    /// Gives a message to the server. A connection that has ended is tried once more with a new one.
    ///
    /// # Errors
    /// If the server does not take it. [`SmtpError::is_final`] says whether it ever will.
    pub async fn send(&self, message: &Ready) -> Result<(), SmtpError> {
        timeout(LONGEST, self.deliver(message)).await.unwrap_or(Err(SmtpError::Slow))
    }

    async fn deliver(&self, message: &Ready) -> Result<(), SmtpError> {
        let waiting = Waiting::new(&self.0.waiting);
        let permit = self.0.free.acquire().await;
        drop(waiting);
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut result = speak(&mut connection, message).await;
        if result.as_ref().is_err_and(is_ended) {
            close(connection).await;
            connection = self.connect().await?;
            result = speak(&mut connection, message).await;
        }
        // A refusal leaves a half-told message in the connection.
        if result.is_ok() && self.0.waiting.load(Ordering::Relaxed) > 0 {
            self.put(connection);
        } else {
            close(connection).await;
        }
        drop(permit);
        result
    }

    /// Opens a connection, encrypted if TLS comes first.
    async fn open(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let Inner { server, tls, hello, .. } = &*self.0;
        let address = (server.host.as_str(), server.port);
        if let Some(tls) = tls.clone().filter(|_| server.tls == MailTls::Implicit) {
            let opened = AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT), hello, Some(tls), None).await;
            return opened.map_err(SmtpError::Connect);
        }
        let stream = TcpStream::connect(address).await.map_err(SmtpError::Unreachable)?;
        // The end of a message is written by itself, and would wait for the acknowledgement of the message.
        stream.set_nodelay(true).map_err(SmtpError::Unreachable)?;
        let opened = AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello).await;
        opened.map_err(SmtpError::Connect)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let Inner { server, tls, login, hello, .. } = &*self.0;
        let mut connection = timeout(CONNECT, self.open()).await.map_err(|_| SmtpError::Slow)??;
        if let Some(tls) = tls.clone().filter(|_| server.tls == MailTls::StartTls) {
            if !connection.can_starttls() {
                close(connection).await;
                return Err(SmtpError::NoStartTls);
            }
            let upgraded = timeout(CONNECT, connection.starttls(tls, hello)).await;
            upgraded.map_err(|_| SmtpError::Slow)?.map_err(SmtpError::Connect)?;
        }
        if let Some(login) = login {
            let known = timeout(CONNECT, connection.auth(&MECHANISMS, login)).await;
            known.map_err(|_| SmtpError::Slow)?.map_err(SmtpError::Connect)?;
        }
        Ok(connection)
    }

    fn take(&self) -> Option<AsyncSmtpConnection> {
        self.0.idle.lock().ok()?.pop()
    }

    fn put(&self, connection: AsyncSmtpConnection) {
        if let Ok(mut idle) = self.0.idle.lock() {
            idle.push(connection);
        }
    }
}

/// Gives one message to a connection.
async fn speak(connection: &mut AsyncSmtpConnection, message: &Ready) -> Result<(), SmtpError> {
    let Ready { from, to, bytes } = message;
    // A refusal of the sender is about this proxy, which its operator can change.
    step(connection.command(Mail::new(Some(from.clone()), Vec::new()))).await?.map_err(SmtpError::Later)?;
    step(connection.command(Rcpt::new(Address::clone(to), Vec::new()))).await?.map_err(sorted(SmtpError::Recipient))?;
    step(connection.command(Data)).await?.map_err(sorted(SmtpError::Message))?;
    step(connection.message(bytes)).await?.map_err(sorted(SmtpError::Message))?;
    Ok(())
}

/// Waits for an answer of the server.
async fn step<T>(answer: impl Future<Output = Result<T, smtp::Error>>) -> Result<Result<T, smtp::Error>, SmtpError> {
    timeout(ANSWER, answer).await.map_err(|_| SmtpError::Slow)
}

/// Returns a function that tells refusals for ever (5xx) from failures of this time.
fn sorted(for_ever: fn(smtp::Error) -> SmtpError) -> impl Fn(smtp::Error) -> SmtpError {
    move |error| if error.is_permanent() { for_ever(error) } else { SmtpError::Later(error) }
}

/// Returns true if the connection has ended: by 421, or without a word.
fn is_ended(error: &SmtpError) -> bool {
    match error {
        SmtpError::Later(error) => error.status().is_none_or(|code| code.to_string() == "421"),
        SmtpError::Tls(_)
        | SmtpError::Connect(_)
        | SmtpError::Unreachable(_)
        | SmtpError::NoStartTls
        | SmtpError::Recipient(_)
        | SmtpError::Message(_)
        | SmtpError::Slow => false,
    }
}

/// Ends a connection. The server may know it already.
async fn close(mut connection: AsyncSmtpConnection) {
    let _ = timeout(CLOSE, connection.abort()).await;
}

fn parameters(host: &str, roots: Option<&[u8]>) -> Result<TlsParameters, smtp::Error> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(roots) = roots {
        builder = builder.certificate_store(CertificateStore::None);
        builder = builder.add_root_certificate(Certificate::from_pem(roots)?);
    }
    builder.build_rustls()
}

impl<'r> Waiting<'r> {
    fn new(count: &'r AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SmtpError {
    /// Returns true if the message will never be taken.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Recipient(_) | Self::Message(_) => true,
            Self::Tls(_) | Self::Connect(_) | Self::Unreachable(_) | Self::NoStartTls | Self::Later(_) | Self::Slow => {
                false
            }
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("server", &self.0.server).finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl fmt::Display for SmtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "the certificates cannot be read",
            Self::Connect(_) => "the mail server lets nobody in",
            Self::Unreachable(_) => "the mail server cannot be reached",
            Self::NoStartTls => "the mail server offers no STARTTLS",
            Self::Recipient(_) => "the mail server refuses the recipient",
            Self::Message(_) => "the mail server refuses the mail",
            Self::Later(_) => "the mail server does not take the mail now",
            Self::Slow => "the mail server takes too long",
        })
    }
}

impl Error for SmtpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tls(error)
            | Self::Connect(error)
            | Self::Recipient(error)
            | Self::Message(error)
            | Self::Later(error) => Some(error),
            Self::Unreachable(error) => Some(error),
            Self::NoStartTls | Self::Slow => None,
        }
    }
}

/// Ways to log in, the usual one first.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
/// Connections at a time. Servers count them.
const MOST_CONNECTIONS: usize = 4;
/// Time for a connection, and for each step until the server is ready for mails.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Time for a message in all, the turn and the second attempt included: less than the lease of a delivery.
const LONGEST: Duration = Duration::from_secs(100);
const CLOSE: Duration = Duration::from_secs(2);
