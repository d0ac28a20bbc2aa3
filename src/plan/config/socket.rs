//! Sockets: which addresses meet, and who may use the file of a unix socket.

use std::net::{IpAddr, SocketAddr};

use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, did_you_mean_text, list};
use super::{Address, Listen};

/// Access to the file of a unix socket. What is not given is as the process makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFile {
    /// Bits of the file's mode.
    pub mode: Option<u32>,
    /// User that owns the file.
    pub owner: Option<Account>,
    /// Group of the file.
    pub group: Option<Account>,
}

/// User or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Number.
    Id(u32),
    /// Name, which the system knows or does not know.
    Name(String),
}

/// Relation of two addresses of which only one can be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Both are the same.
    Same,
    /// The first takes the connections of the second as well.
    Covers,
    /// The second takes the connections of the first as well.
    IsCovered,
}

/// Reads `mode`, `owner` and `group` of a listener. `address` is `None` if it is wrong.
pub(super) fn file(section: &mut Section<'_>, address: Option<&Address>, report: &mut Report<'_>) -> SocketFile {
    for key in ["mode", "owner", "group"] {
        if let (Some(Address::Ip(_)), Some(span)) = (address, section.span_of(key)) {
            let help = "remove it, or listen on one: `unix:/run/backsoon/http.sock`";
            report.wrong(span, format!("`{key}` is that of a unix socket, and this is none"), help);
        }
    }
    let mode = section.take("mode").and_then(|value| mode(&value, report));
    let owner = section.take("owner").and_then(|value| account(&value, "user", report));
    let group = section.take("group").and_then(|value| account(&value, "group", report));
    SocketFile { mode, owner, group }
}

/// Reads a mode in octal digits, as `chmod` takes it.
fn mode(value: &Value<'_>, report: &mut Report<'_>) -> Option<u32> {
    let text = value.string("0660", report)?;
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    let Some(mode) = mode else {
        let help = "write three octal digits, as for `chmod`: `\"0660\"` lets owner and group connect";
        report.wrong(value.span.clone(), format!("{} is not the mode of a file", quoted(text)), help);
        return None;
    };
    if mode & 0o222 == 0 {
        let help = "whoever connects needs to write: `\"0660\"` lets owner and group connect";
        report.warn(value.span.clone(), "with this mode only root can connect", help);
    }
    Some(mode)
}

/// Reads the name or the number of a user or a group.
pub(super) fn account(value: &Value<'_>, what: &str, report: &mut Report<'_>) -> Option<Account> {
    let text = value.string("www-data", report)?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // The largest number stands for no change (chown(2)).
        if let Some(id) = text.parse().ok().filter(|id| *id < u32::MAX) {
            return Some(Account::Id(id));
        }
    } else if !text.is_empty()
        && text.len() <= LONGEST_NAME
        && text.chars().all(belongs_in_name)
        && !text.starts_with('-')
    {
        return Some(Account::Name(text.to_owned()));
    }
    let help = format!("write a name as `www-data`, or the number of the {what} as `\"33\"`");
    report.wrong(value.span.clone(), format!("{} is not a {what}", quoted(text)), help);
    None
}

/// Reads the name of one of the listeners.
pub(super) fn named(value: &Value<'_>, known: &[String], report: &mut Report<'_>) -> Option<String> {
    let name = value.string("internal", report)?;
    if known.iter().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let help = match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => did_you_mean_text(near),
        None if known.is_empty() => format!("name one: `name = {name:?}` under its `[[listen]]` line"),
        None => format!(
            "the listeners with a name are {}",
            list(&known.iter().map(String::as_str).collect::<Vec<_>>(), "and")
        ),
    };
    report.wrong(value.span.clone(), format!("no listener has the name {}", quoted(name)), help);
    None
}

/// Returns true for the characters that names of users have (useradd(8)), and for those of directories (`user@example`).
fn belongs_in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '$' | '\\')
}

/// Returns how two addresses meet. Port 0 is a different port for each.
///
/// `0.0.0.0` and `[::]` do not meet: where both are listened on, the second takes IPv6 alone.
pub(super) fn meeting(one: &Address, other: &Address) -> Option<Meeting> {
    let (Address::Ip(one), Address::Ip(other)) = (one, other) else {
        return (one == other).then_some(Meeting::Same);
    };
    if one.port() != other.port() || one.port() == 0 {
        None
    } else if one == other {
        Some(Meeting::Same)
    } else if covers(one, other) {
        Some(Meeting::Covers)
    } else {
        covers(other, one).then_some(Meeting::IsCovered)
    }
}

/// Returns true if a socket on one address gets the connections of another on the same port.
fn covers(one: &SocketAddr, other: &SocketAddr) -> bool {
    match (one.ip(), other.ip()) {
        (IpAddr::V4(one), IpAddr::V4(_)) => one.is_unspecified(),
        (IpAddr::V6(one), IpAddr::V6(_)) => one.is_unspecified(),
        (IpAddr::V6(one), IpAddr::V4(other)) => one.is_unspecified() && !other.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}

/// Returns the message and the correction for a listener that meets another one.
pub(super) fn told(meeting: Meeting, (listen, other): (&Listen, &Listen), first: &str) -> (String, String) {
    let (wide, narrow) = match meeting {
        Meeting::Same => {
            return (
                "two listeners have this address".to_owned(),
                format!("the first is at {first}: keep one of them"),
            );
        }
        Meeting::Covers => (&listen.address, &other.address),
        Meeting::IsCovered => (&other.address, &listen.address),
    };
    let message = format!("`{wide}` takes the connections of `{narrow}` as well, so both cannot be listened on");
    let help = format!("the other is at {first}: keep `{wide}` alone, or name single addresses");
    (message, help)
}

const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_meet_where_only_one_can_be_bound() {
        let meets = |one: &str, other: &str| {
            let address = |text: &str| match text.strip_prefix("unix:") {
                Some(path) => Address::Unix(path.into()),
                None => Address::Ip(text.parse().unwrap()),
            };
            meeting(&address(one), &address(other))
        };
        for (one, other, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80", Some(Meeting::Same)),
            ("0.0.0.0:80", "[::]:80", None),
            ("[::]:80", "0.0.0.0:80", None),
            ("0.0.0.0:80", "127.0.0.1:80", Some(Meeting::Covers)),
            ("127.0.0.1:80", "0.0.0.0:80", Some(Meeting::IsCovered)),
            ("[::]:80", "127.0.0.1:80", Some(Meeting::Covers)),
            ("[::]:80", "[::1]:80", Some(Meeting::Covers)),
            ("0.0.0.0:80", "[::1]:80", None),
            ("127.0.0.1:80", "127.0.0.2:80", None),
            ("0.0.0.0:80", "127.0.0.1:81", None),
            ("0.0.0.0:0", "0.0.0.0:0", None),
            ("unix:/a", "unix:/a", Some(Meeting::Same)),
            ("unix:/a", "unix:/b", None),
            ("unix:/a", "0.0.0.0:80", None),
        ] {
            assert_eq!(meets(one, other), expected, "{one} {other}");
        }
    }
}
