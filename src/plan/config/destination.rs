//! Destinations of messages: chats, webhooks and programs, as a text names them.

use std::fmt;
use std::path::PathBuf;

use http::uri::PathAndQuery;

use super::{authority, is_address};

/// Place that a message is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// `slack:https://…` and its kin: a POST to a URL.
    Hook(Channel, HookUrl),
    /// `mail:ops@example.com`: a mailbox, told by the server of `[mail]`.
    Mail(String),
    /// `exec:/usr/local/bin/on-drained`: a program, by its absolute path.
    Exec(PathBuf),
}

/// Kind of a receiver that is told by POST, which decides on the form of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Incoming webhook of Slack, and of Mattermost and others that take its form.
    Slack,
    /// Webhook of Discord.
    Discord,
    /// Workflow of Microsoft Teams.
    Teams,
    /// Topic of an ntfy server.
    Ntfy,
    /// JSON for a program.
    Webhook,
}

/// URL that is posted to. Path and query are secret, because who knows them may post.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HookUrl {
    /// Security of the connection.
    pub scheme: HookScheme,
    /// Name or IP address, without brackets, in lowercase.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub target: PathAndQuery,
}

/// Scheme of a URL that is posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookScheme {
    /// `http`.
    Clear,
    /// `https`.
    Tls,
}

/// Mistake in the text of a destination. Neither part repeats the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadDestination {
    /// Finding.
    pub what: &'static str,
    /// Correction.
    pub help: &'static str,
}

impl Channel {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Slack, Self::Discord, Self::Teams, Self::Ntfy, Self::Webhook];

    /// Returns the word for the kind in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::Ntfy => "ntfy",
            Self::Webhook => "webhook",
        }
    }
}

impl Destination {
    /// Reads `slack:https://…`, `exec:/…` and the others.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(text: &str) -> Result<Self, BadDestination> {
        let wrong = |what, help| Err(BadDestination { what, help });
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            return wrong("the place to notify has no kind", KINDS);
        };
        if let Some(channel) = Channel::ALL.into_iter().find(|channel| channel.as_str() == scheme) {
            return HookUrl::parse(rest).map(|url| Self::Hook(channel, url));
        }
        match scheme {
            "exec" if rest.contains('\0') => wrong("the program's path has a NUL character", EXEC),
            "exec" if rest.starts_with('/') && rest.contains(char::is_whitespace) => {
                wrong("the program's path has a space: no arguments are passed", EXEC)
            }
            "exec" if rest.starts_with('/') && !rest.ends_with('/') => Ok(Self::Exec(rest.into())),
            "exec" => wrong("the program is not named by its absolute path", EXEC),
            "http" | "https" => wrong("the place to notify has no kind before its URL", KINDS),
            "mail" if is_address(rest) => Ok(Self::Mail(rest.to_owned())),
            "mail" => wrong("the address of the mailbox is none", MAIL),
            "mailto" => wrong("the kind of the place to notify is `mail`", MAIL),
            _ => wrong("the kind of the place to notify is unknown", KINDS),
        }
    }

    /// Returns advice on a destination that can be improved.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Hook(_, url) if url.scheme == HookScheme::Clear && !url.is_here() => {
                Some("use `https://`: who reads the URL on its way may post as well")
            }
            Self::Hook(..) | Self::Mail(_) | Self::Exec(_) => None,
        }
    }

    /// Returns the word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hook(channel, _) => channel.as_str(),
            Self::Mail(_) => "mail",
            Self::Exec(_) => "exec",
        }
    }
}

impl HookUrl {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(text: &str) -> Result<Self, BadDestination> {
        let wrong = |what, help| Err(BadDestination { what, help });
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (HookScheme::Tls, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (HookScheme::Clear, rest),
            Some(_) | None => return wrong("the URL does not begin with `https://`", URL),
        };
        if !rest.is_ascii() || rest.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return wrong(
                "the URL has a character that URLs do not have",
                "write it in its encoded form, such as `%20`",
            );
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (place, target) = rest.split_at(end);
        if place.contains('@') {
            return wrong("the URL has a user name before its host", "leave out what stands before `@`");
        }
        if target.contains('#') {
            return wrong("the URL has a fragment", "leave out `#` and what follows it");
        }
        let Some((host, port)) = host_and_port(place, scheme) else {
            return wrong("the URL has no valid host", URL);
        };
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let Ok(target) = PathAndQuery::try_from(target) else { return wrong("the URL has no valid path", URL) };
        Ok(Self { scheme, host, port, target })
    }

    /// Returns host and port as they are written in a URL; the port unless it is the scheme's.
    pub fn authority(&self) -> String {
        let usual = if self.scheme == HookScheme::Tls { TLS_PORT } else { CLEAR_PORT };
        let whole = authority(&self.host, self.port);
        match whole.strip_suffix(&format!(":{usual}")) {
            Some(host) if self.port == usual => host.to_owned(),
            Some(_) | None => whole,
        }
    }

    /// Returns true if the host is this machine.
    pub(super) fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Splits `host:port` and `[v6]:port`.
fn host_and_port(place: &str, scheme: HookScheme) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                after
                    .strip_prefix(':')
                    .or(after.is_empty().then_some(""))
                    .map(|port| (!port.is_empty()).then_some(port))?,
            )
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match (port, scheme) {
        (Some(port), _) => port.parse::<u16>().ok().filter(|port| *port != 0)?,
        (None, HookScheme::Tls) => TLS_PORT,
        (None, HookScheme::Clear) => CLEAR_PORT,
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty() && host.chars().all(named)).then(|| (host.to_ascii_lowercase(), port))
}

impl fmt::Display for Destination {
    /// Writes the kind and the host, or the program. What follows the host is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(channel, url) => write!(f, "{} {}", channel.as_str(), url.authority()),
            Self::Mail(address) => write!(f, "mail {address}"),
            Self::Exec(path) => write!(f, "exec {}", path.display()),
        }
    }
}

impl fmt::Debug for HookUrl {
    /// Hides path and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme == HookScheme::Tls { "https" } else { "http" };
        write!(f, "{scheme}://{}/…", self.authority())
    }
}

const KINDS: &str = "write `slack:`, `discord:`, `teams:`, `ntfy:` or `webhook:` and a URL, `mail:` and an address, or \
                     `exec:` and a program";
const MAIL: &str = "write one address, as in `mail:ops@example.com`";
const EXEC: &str = "write the path alone, as in `exec:/usr/local/bin/on-drained`";
const URL: &str = "write it as it was given to you, as in `slack:https://hooks.slack.com/services/…`";
const TLS_PORT: u16 = 443;
const CLEAR_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_and_shown_without_its_secret() {
        for (text, shown) in [
            ("slack:https://hooks.slack.com/services/T0/B0/secret", "slack hooks.slack.com"),
            ("discord:https://discord.com/api/webhooks/1/secret", "discord discord.com"),
            ("teams:https://x.logic.azure.com:443/workflows/a?sig=secret", "teams x.logic.azure.com"),
            ("ntfy:https://ntfy.example.com/topic", "ntfy ntfy.example.com"),
            ("ntfy:http://[::1]:8080/topic?auth=secret", "ntfy [::1]:8080"),
            ("webhook:HTTPS://Hooks.Example.com.:8443?secret", "webhook hooks.example.com:8443"),
            ("mail:ops@example.com", "mail ops@example.com"),
            ("exec:/usr/local/bin/on-drained", "exec /usr/local/bin/on-drained"),
        ] {
            let destination = Destination::parse(text).unwrap();
            assert_eq!(destination.to_string(), shown);
            assert!(!format!("{destination:?}").contains("secret"), "{destination:?}");
        }
    }

    #[test]
    fn a_bad_destination_is_refused_with_what_is_wrong() {
        for (text, what) in [
            ("https://hooks.slack.com/services/a", "no kind before its URL"),
            ("/usr/local/bin/x", "no kind"),
            ("slak:https://hooks.slack.com/a", "unknown"),
            ("slack:hooks.slack.com/a", "does not begin with"),
            ("slack:ftp://hooks.slack.com/a", "does not begin with"),
            ("slack:https://user:secret@hooks.slack.com/a", "user name"),
            ("slack:https://", "no valid host"),
            ("slack:https://a:0/", "no valid host"),
            ("slack:https://a:99999/", "no valid host"),
            ("slack:https://[::1/x", "no valid host"),
            ("slack:https://a/b c", "character"),
            ("slack:https://a/b\r\nx: y", "character"),
            ("slack:https://a/b#c", "fragment"),
            ("exec:on-drained", "absolute path"),
            ("exec:./on-drained", "absolute path"),
            ("exec:/usr/bin/", "absolute path"),
            ("exec:/usr/bin/x --flag", "no arguments"),
            ("mail:ops", "mailbox"),
            ("mail:a@example.com, b@example.com", "mailbox"),
            ("mail:a@example.com\r\nBcc: b@example.com", "mailbox"),
            ("mailto:ops@example.com", "`mail`"),
        ] {
            let wrong = Destination::parse(text).unwrap_err();
            assert!(wrong.what.contains(what), "{text}: {}", wrong.what);
        }
    }
}
