//! `[mail]`: server that takes mails, sender, and signature.

use std::net::IpAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text, no_hint};
use super::server;

/// Settings of mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    /// Server that takes mails.
    pub server: MailServer,
    /// File of the roots that the server's certificate is checked against; `None` for those of the system.
    pub ca: Option<PathBuf>,
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

impl Mailbox {
    /// Reads `Name <name@example.com>`, or the address alone.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>') {
            Some(rest) => rest.rsplit_once('<')?,
            None => ("", text),
        };
        let name = name.trim().trim_matches('"').trim();
        let is_name = !name.contains(|one: char| one.is_control() || matches!(one, '<' | '>' | '"'));
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        (is_name && is_address(address)).then(|| Self { name, address: address.to_owned() })
    }

    /// Returns the part of the address behind the `@`.
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Returns true if a text is the address of a mailbox that every server takes: in ASCII, without quotes.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_atom = |one: u8| one.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&one);
    let is_local = local.len() <= 64 && local.split('.').all(|part| !part.is_empty() && part.bytes().all(is_atom));
    is_local && text.len() <= LONGEST_ADDRESS && is_domain(domain)
}

/// Returns true if a text is the name of a host with at least two labels.
pub(super) fn is_domain(text: &str) -> bool {
    text.contains('.') && text.len() <= 253 && text.split('.').all(is_label)
}

pub(super) fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|one| one.is_ascii_alphanumeric() || matches!(one, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Reads `[mail]`.
pub(super) fn mail(value: &Value<'_>, report: &mut Report<'_>) -> Option<MailConfig> {
    let table = value.table("[mail]", report)?;
    let mut section = Section::new(&keys::MAIL, "`[mail]`", value.span.clone(), table);
    let server = section.need("server", "name your mail server: `server = \"smtp://mail.example.com:587\"`");
    let encryption = section.take("tls").and_then(|value| value.choice(&ENCRYPTION, report));
    let server = server.and_then(|value| server_of(&value, encryption, report));
    let ca = section.take("ca").and_then(|value| ca(&value, server.as_ref(), report));
    let user = section.take("user");
    let password_file = section.take("password_file");
    let login = login(user.as_ref(), password_file.as_ref(), report);
    let from = section.need("from", "say whom mails are from: `from = \"Example status <status@example.com>\"`");
    let from = from.and_then(|value| mailbox(&value, report));
    let reply_to = section.take("reply_to").and_then(|value| mailbox(&value, report));
    let dkim = section.take("dkim").and_then(|value| dkim(&value, from.as_ref(), report));
    section.finish(report, hint);
    Some(MailConfig { server: server?, ca, login, from: from?, reply_to, dkim })
}

/// Reads `ca`. Without encryption, it would only look like a check.
fn ca(value: &Value<'_>, server: Option<&MailServer>, report: &mut Report<'_>) -> Option<PathBuf> {
    if server.is_some_and(|server| server.tls == MailTls::Off) {
        let help = "remove it, or encrypt: `tls = \"on\"`, or `smtps://` in `server`";
        report.wrong(value.key_span.clone(), "`ca` is only for mail servers with encryption", help);
    }
    value.path("tls/ca.pem", report)
}

fn hint(key: &str, _: &DeValue<'_>) -> Option<String> {
    match key {
        "host" | "port" | "relay" | "smtp" | "url" => {
            Some("write it in `server`: `smtp://mail.example.com:587`".to_owned())
        }
        "password" => Some("write it into a file, and name that: `password_file = \"/run/secrets/mail\"`".to_owned()),
        "username" | "login" => Some(did_you_mean_text("user")),
        "sender" => Some(did_you_mean_text("from")),
        _ => None,
    }
}

/// Reads the URL of the server.
fn server_of(value: &Value<'_>, encryption: Option<Encryption>, report: &mut Report<'_>) -> Option<MailServer> {
    let text = value.string("smtp://mail.example.com:587", report)?;
    let Some((is_implicit, host, port)) = host_and_port(text) else {
        // A text with `@` may hold a password: it is not repeated.
        let shown = if text.contains('@') { "the text".to_owned() } else { quoted(text) };
        let help = "write `smtp://mail.example.com:587`, or `smtps://mail.example.com:465`; a password belongs into \
                    `password_file`";
        report.wrong(value.span.clone(), format!("{shown} is not the URL of a mail server"), help);
        return None;
    };
    let tls = match (is_implicit, encryption) {
        (true, Some(Encryption::Off)) => {
            let help = "remove `tls`, or write `smtp://`";
            report.wrong(value.span.clone(), "`smtps://` is encrypted, and `tls = \"off\"` says that it is not", help);
            return None;
        }
        (true, Some(Encryption::On) | None) => MailTls::Implicit,
        (false, Some(Encryption::On)) => MailTls::StartTls,
        (false, Some(Encryption::Off)) => MailTls::Off,
        // Nobody listens between, and hardly any server has a certificate for these names.
        (false, None) if is_loopback(&host) => MailTls::Off,
        (false, None) => MailTls::StartTls,
    };
    if tls == MailTls::Off && !is_loopback(&host) {
        let help = "remove `tls = \"off\"`, unless the network to the server is your own";
        report.warn(value.span.clone(), "mails and their recipients go to the server in clear text", help);
    }
    Some(MailServer { host, port, tls })
}

/// Splits the URL of a server. True stands for `smtps`.
fn host_and_port(text: &str) -> Option<(bool, String, u16)> {
    let (scheme, rest) = text.split_once("://")?;
    let (is_implicit, usual) = match scheme.to_ascii_lowercase().as_str() {
        "smtp" => (false, 587),
        "smtps" => (true, 465),
        _ => return None,
    };
    let (host, port) = server::host_and_port(rest, usual)?;
    let is_name = host.parse::<IpAddr>().is_ok() || host == "localhost" || is_domain(host) || is_label(host);
    is_name.then(|| (is_implicit, host.to_ascii_lowercase(), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads name and password, which only go together.
fn login(user: Option<&Value<'_>>, password_file: Option<&Value<'_>>, report: &mut Report<'_>) -> Option<MailLogin> {
    match (user, password_file) {
        (Some(user), Some(file)) => {
            let name = user.words(LONGEST_NAME, Lines::One, report);
            let password_file = file.path("/run/secrets/mail", report);
            Some(MailLogin { user: name?, password_file: password_file? })
        }
        (Some(user), None) => {
            let help = "name the file of the password: `password_file = \"/run/secrets/mail\"`";
            report.wrong(user.key_span.clone(), "`user` has no password", help);
            None
        }
        (None, Some(file)) => {
            report.wrong(
                file.key_span.clone(),
                "the password has no `user`",
                "name whom it belongs to: `user = \"…\"`",
            );
            None
        }
        (None, None) => None,
    }
}

fn mailbox(value: &Value<'_>, report: &mut Report<'_>) -> Option<Mailbox> {
    let text = value.words(LONGEST_MAILBOX, Lines::One, report)?;
    let mailbox = Mailbox::parse(&text);
    if mailbox.is_none() {
        let help = "write `Example status <status@example.com>`, or the address alone, in ASCII";
        report.wrong(value.span.clone(), format!("{} is not the address of a mailbox", quoted(&text)), help);
    }
    mailbox
}

fn dkim(value: &Value<'_>, from: Option<&Mailbox>, report: &mut Report<'_>) -> Option<DkimConfig> {
    let example = "dkim = { domain = \"example.com\", selector = \"s1\", key_file = \"/etc/backsoon/dkim.pem\" }";
    let table = value.table(example, report)?;
    let mut section = Section::new(&keys::DKIM, "`dkim`", value.span.clone(), table);
    let domain = section.need("domain", "name the domain that signs: `domain = \"example.com\"`");
    let domain = domain.and_then(|value| name(&value, "example.com", is_domain, report));
    let selector = section.need("selector", "name the key as in the DNS: `selector = \"s1\"`");
    let is_selector = |text: &str| text.len() <= 253 && text.split('.').all(is_label);
    let selector = selector.and_then(|value| name(&value, "s1", is_selector, report));
    let key_file = section.need("key_file", "name the private key: `key_file = \"/etc/backsoon/dkim.pem\"`");
    let key_file = key_file.and_then(|value| value.path("/etc/backsoon/dkim.pem", report));
    section.finish(report, no_hint);
    let dkim = DkimConfig { domain: domain?, selector: selector?, key_file: key_file? };
    let sender = from.map_or("", Mailbox::domain).to_ascii_lowercase();
    let is_aligned = sender == dkim.domain || sender.ends_with(&format!(".{}", dkim.domain));
    if from.is_some() && !is_aligned {
        let message = format!("{} signs mails that are from {}", quoted(&dkim.domain), quoted(&sender));
        report.warn(value.span.clone(), message, "sign with the domain of `from`: providers compare them (DMARC)");
    }
    Some(dkim)
}

fn name(value: &Value<'_>, example: &str, is_name: impl Fn(&str) -> bool, report: &mut Report<'_>) -> Option<String> {
    let text = value.string(example, report)?;
    if is_name(text) {
        return Some(text.to_ascii_lowercase());
    }
    let message = format!("{} is not a name of the DNS", quoted(text));
    report.wrong(value.span.clone(), message, format!("write it like `{example}`"));
    None
}

/// Encryption, as the config says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    On,
    Off,
}

const ENCRYPTION: [(&str, Encryption); 2] = [("on", Encryption::On), ("off", Encryption::Off)];
const LONGEST_NAME: usize = 256;
const LONGEST_MAILBOX: usize = 512;
/// RFC 5321 section 4.5.3.1.3, without the brackets.
const LONGEST_ADDRESS: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_every_server_takes() {
        for good in ["a@example.com", "first.last+tag@sub.example.co", "o'hara@example.com"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@localhost",
            "a b@example.com",
            "a@exa mple.com",
            "a@b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@-example.com",
            "a@example..com",
            "a@example.com\r\nBcc: b@c.de",
            "\"a b\"@example.com",
            "ä@example.com",
            "a@exämple.com",
            "<a@example.com>",
            "a@[127.0.0.1]",
            long.as_str(),
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_mailbox_may_have_a_name() {
        let parsed =
            |text: &str| Mailbox::parse(text).map(|mailbox| (mailbox.name.unwrap_or_default(), mailbox.address));
        let is = |name: &str| Some((name.to_owned(), "a@example.com".to_owned()));
        assert_eq!(parsed(" a@example.com "), is(""));
        assert_eq!(parsed("<a@example.com>"), is(""));
        assert_eq!(parsed("Störungen, Beispiel <a@example.com>"), is("Störungen, Beispiel"));
        assert_eq!(parsed("\"Status\" <a@example.com>"), is("Status"));
        assert_eq!(parsed("x\r\nBcc: y <a@example.com>"), None);
        assert_eq!(parsed("a@example.com, b@example.com"), None);
        assert_eq!(parsed("x <<a@example.com>"), None);
    }

    #[test]
    fn a_server_is_a_url_without_more() {
        let is = |implicit, host: &str, port| Some((implicit, host.to_owned(), port));
        assert_eq!(host_and_port("smtp://Mail.example.com"), is(false, "mail.example.com", 587));
        assert_eq!(host_and_port("smtps://mail.example.com/"), is(true, "mail.example.com", 465));
        assert_eq!(host_and_port("smtp://[::1]:25"), is(false, "::1", 25));
        assert_eq!(host_and_port("smtp://10.0.0.1:25"), is(false, "10.0.0.1", 25));
        assert_eq!(host_and_port("smtp://postfix:25"), is(false, "postfix", 25));
        for bad in [
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://u:p@mail.example.com",
            "smtp://a:0",
            "smtp://a:+25",
            "smtp://a:",
            "smtp://[::1",
            "smtp://[::1]25",
            "smtp://[x]:25",
            "smtp://a/b",
            "smtp://a b",
            "smtp://a:99999",
            "smtp://::1:25",
        ] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }
}
