//! `[mail]`: server that takes mails, sender, and signature.

use std::path::PathBuf;

/// Settings of mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    /// Server that takes mails.
    pub server: MailServer,
    /// Name and password; `None` if the server asks for none.
    pub login: Option<MailLogin>,
    /// Sender.
    pub from: Mailbox,
    /// Mailbox that answers go to.
    pub reply_to: Option<Mailbox>,
    /// Signature; `None` if the server signs.
    pub dkim: Option<DkimConfig>,
}

/// Server that takes mails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MailServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Encryption.
    pub tls: MailTls,
}

/// Encryption of the connection to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailTls {
    /// From the first byte: `smtps://`.
    Implicit,
    /// By STARTTLS. A server without it gets no mail.
    StartTls,
    /// None.
    Off,
}

/// Name and password for a mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailLogin {
    /// Name.
    pub user: String,
    /// File that has the password.
    pub password_file: PathBuf,
}

/// Address of a mailbox, with the name of whom it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Name.
    pub name: Option<String>,
    /// Address, such as `status@example.com`.
    pub address: String,
}

/// Signature of mails (RFC 6376).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimConfig {
    /// Domain that signs, `d=`.
    pub domain: String,
    /// Name of the key below `_domainkey.`, `s=`.
    pub selector: String,
    /// File of the private key, in PEM.
    pub key_file: PathBuf,
}
