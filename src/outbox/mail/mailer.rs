//! Mailer: makes the mail of a delivery, and sends it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::plan::config::{DkimConfig, MailConfig, MailLogin};
use crate::plan::news::mail::{Digest, Entry, Envelope, Letter, Links, Mail, Thread};

use super::super::notice::Notice;
use super::super::subscription::Subscription;
use super::compose::{ComposeError, Sender};
use super::dkim::{Dkim, DkimError};
use super::smtp::{Login, Relay, SmtpError};

/// Place where mails are made. It reads the password and the key when they are needed, and again after failures.
#[derive(Debug, Default)]
pub struct MailDesk {
    config: Option<MailConfig>,
    open: Option<(Arc<Mailer>, Instant)>,
}

/// Mailer with all that it needs.
#[derive(Debug)]
pub struct Mailer {
    sender: Sender,
    relay: Relay,
    /// Mailbox for those who do not want to be told any more.
    unsubscribe: String,
    domain: String,
}

/// Mail that waits to be sent.
#[derive(Debug)]
pub struct Outgoing {
    mailer: Arc<Mailer>,
    mail: Mail,
    to: String,
}

/// Failure to send a mail.
#[derive(Debug)]
pub enum MailError {
    /// The config has no mail server.
    NoServer,
    /// The notice has no words for mails: an older backsoon recorded it.
    NoWords,
    /// A file cannot be read.
    File(PathBuf, io::Error),
    /// The key cannot sign.
    Key(PathBuf, DkimError),
    /// The mail cannot be put together.
    Compose(ComposeError),
    /// The server does not take it.
    Smtp(SmtpError),
}

impl MailDesk {
    /// Creates a desk. Without a config, no mail is sent.
    pub fn new(config: Option<MailConfig>) -> Self {
        Self { config, open: None }
    }

    /// Makes the mail of a delivery.
    ///
    /// # Errors
    /// If there is no server, or one of its files cannot be read.
    pub fn prepare(
        &mut self,
        notice: &Notice,
        to: &Subscription,
        links: Links,
        now: Timestamp,
    ) -> Result<Outgoing, MailError> {
        let mailer = self.mailer()?;
        let telling = notice.in_language(&to.order.language);
        let letter = telling.and_then(|telling| telling.letter.as_ref()).ok_or(MailError::NoWords)?;
        let (incident, update) = (Some(&notice.incident.key), &notice.update.key);
        let thread = Thread { incident, update, subscription: Some(to.id) };
        let mail = Mail::new(letter, &mailer.envelope(thread, &notice.url, links, now));
        Ok(Outgoing { mailer, mail, to: to.order.address.clone() })
    }

    /// Makes the digest of a subscriber.
    ///
    /// # Errors
    /// If there is no server, or one of its files cannot be read.
    pub fn digest(
        &mut self,
        notices: &[&Notice],
        to: &Subscription,
        links: Links,
        now: Timestamp,
    ) -> Result<Outgoing, MailError> {
        let mailer = self.mailer()?;
        let entries = notices.iter().filter_map(|notice| entry(notice, &to.order.language));
        let digest = Digest::new(entries.collect()).ok_or(MailError::NoWords)?;
        let site = notices.iter().max_by_key(|notice| notice.update.at).map_or("", |notice| notice.url.as_str());
        let thread = Thread { incident: None, update: &digest.key, subscription: Some(to.id) };
        let mail = Mail::of_digest(&digest, &mailer.envelope(thread, site, links, now));
        Ok(Outgoing { mailer, mail, to: to.order.address.clone() })
    }

    /// Makes a mail for an operator.
    ///
    /// # Errors
    /// If there is no server, or one of its files cannot be read.
    pub fn address(
        &mut self,
        letter: &Letter,
        thread: Thread<'_>,
        to: &str,
        now: Timestamp,
    ) -> Result<Outgoing, MailError> {
        let mailer = self.mailer()?;
        let links = Links::default();
        let envelope = Envelope { host: &mailer.domain, thread: Some(thread), links, at: now };
        let mail = Mail::new(letter, &envelope);
        Ok(Outgoing { mailer, mail, to: to.to_owned() })
    }

    /// Takes a config. What is open stays open if it is the same.
    pub fn set(&mut self, config: Option<&MailConfig>) {
        if self.config.as_ref() != config {
            *self = Self::new(config.cloned());
        }
    }

    /// Makes a mail that asks a mailbox. It stands alone, and nobody has subscribed to it.
    ///
    /// # Errors
    /// If there is no server, or one of its files cannot be read.
    pub fn question(&mut self, letter: &Letter, site: &str, to: &str, now: Timestamp) -> Result<Outgoing, MailError> {
        let mailer = self.mailer()?;
        let host = host_of(site).unwrap_or(&mailer.domain);
        let mail = Mail::new(letter, &Envelope { host, thread: None, links: Links::default(), at: now });
        Ok(Outgoing { mailer, mail, to: to.to_owned() })
    }

    /// Returns the reason why no mail can be made; `None` if all files are there.
    pub fn fault(config: &MailConfig) -> Option<MailError> {
        Mailer::open(config).err()
    }

    /// Returns true if the config names a server.
    pub fn has_server(&self) -> bool {
        self.config.is_some()
    }

    /// Notes that the server let nobody in: the password may have changed.
    pub fn failed(&mut self) {
        self.open = self.open.take().filter(|(_, opened)| opened.elapsed() < READ_AGAIN);
    }

    fn mailer(&mut self) -> Result<Arc<Mailer>, MailError> {
        if let Some((mailer, _)) = &self.open {
            return Ok(Arc::clone(mailer));
        }
        let config = self.config.as_ref().ok_or(MailError::NoServer)?;
        let mailer = Arc::new(Mailer::open(config)?);
        self.open = Some((Arc::clone(&mailer), Instant::now()));
        Ok(mailer)
    }
}

impl Mailer {
    fn open(config: &MailConfig) -> Result<Self, MailError> {
        let login = config.login.as_ref().map(login).transpose()?;
        let dkim = config.dkim.as_ref().map(dkim).transpose()?;
        let roots = config.ca.as_deref().map(read).transpose()?;
        let relay = Relay::new(config.server.clone(), login, roots.as_deref()).map_err(MailError::Smtp)?;
        let sender = Sender::new(&config.from, config.reply_to.as_ref(), dkim).map_err(MailError::Compose)?;
        let unsubscribe = config.reply_to.as_ref().unwrap_or(&config.from).address.replace('%', "%25");
        Ok(Self { sender, relay, unsubscribe, domain: config.from.domain().to_owned() })
    }
}

impl Mailer {
    /// Makes the envelope of a subscriber's mail. The thread is the key of its incident, and its own.
    fn envelope<'e>(&'e self, thread: Thread<'e>, site: &'e str, links: Links, at: Timestamp) -> Envelope<'e> {
        let subscription = thread.subscription.unwrap_or_default();
        let mailto = format!("mailto:{}?subject=unsubscribe%20{subscription}", self.unsubscribe);
        Envelope {
            host: host_of(site).unwrap_or(&self.domain),
            thread: Some(thread),
            links: Links { mailto: Some(mailto), ..links },
            at,
        }
    }
}

impl Outgoing {
    /// Sends the mail.
    ///
    /// # Errors
    /// If the server does not take it. [`MailError::is_final`] says whether it ever will.
    pub async fn send(self) -> Result<(), MailError> {
        let message = self.mailer.sender.compose(&self.mail, &self.to).map_err(MailError::Compose)?;
        self.mailer.relay.send(&message).await.map_err(MailError::Smtp)
    }
}

/// Returns what a digest says of a notice in a language; `None` if an older backsoon recorded it without words.
fn entry<'n>(notice: &'n Notice, language: &str) -> Option<Entry<'n>> {
    let letter = notice.in_language(language)?.letter.as_ref()?;
    let (incident, update) = (&notice.incident.key, &notice.update);
    Some(Entry { incident, update: &update.key, sequence: update.sequence, at: update.at, letter })
}

fn login(login: &MailLogin) -> Result<Login, MailError> {
    let text = read(&login.password_file)?;
    let text = String::from_utf8(text);
    let text = text.map_err(|error| MailError::File(login.password_file.clone(), io::Error::other(error)))?;
    Ok(Login::new(login.user.clone(), text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn dkim(dkim: &DkimConfig) -> Result<Dkim, MailError> {
    let pem = read(&dkim.key_file)?;
    Dkim::new(&dkim.domain, &dkim.selector, &pem).map_err(|error| MailError::Key(dkim.key_file.clone(), error))
}

fn read(path: &Path) -> Result<Vec<u8>, MailError> {
    std::fs::read(path).map_err(|error| MailError::File(path.to_owned(), error))
}

/// Returns the host of a URL; `None` if it is a path.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = if authority.starts_with('[') { None } else { authority.split(':').next() };
    host.filter(|host| !host.is_empty() && host.is_ascii())
}

impl MailError {
    /// Returns true if the mail will never be taken.
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoWords | Self::Compose(ComposeError::Address(_) | ComposeError::Message(_)) => true,
            Self::Smtp(error) => error.is_final(),
            Self::NoServer | Self::File(..) | Self::Key(..) | Self::Compose(ComposeError::Sign(_)) => false,
        }
    }

    /// Returns true if the mailbox itself was refused.
    pub fn is_of_mailbox(&self) -> bool {
        matches!(self, Self::Smtp(SmtpError::Recipient(_)) | Self::Compose(ComposeError::Address(_)))
    }
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer => f.write_str("the config has no `[mail]`"),
            Self::NoWords => f.write_str("the update has no words for mails: an older backsoon recorded it"),
            Self::File(path, _) => write!(f, "{} cannot be read", path.display()),
            Self::Key(path, _) => write!(f, "{} has no key that signs", path.display()),
            Self::Compose(error) => error.fmt(f),
            Self::Smtp(error) => error.fmt(f),
        }
    }
}

impl Error for MailError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoServer | Self::NoWords => None,
            Self::File(_, error) => Some(error),
            Self::Key(_, error) => Some(error),
            Self::Compose(error) => error.source(),
            Self::Smtp(error) => error.source(),
        }
    }
}

/// Time after which files are read again, if the server lets nobody in.
const READ_AGAIN: Duration = Duration::from_secs(30);
