//! `Forwarded` field (RFC 7239): its elements, and the conversion from and to `X-Forwarded-For`.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use super::{Client, MOST_HOPS, X_FORWARDED_FOR, read};

/// Clients that the elements of one line name. `None` stands for a malformed rest. No part of the rest can be believed,
/// because a client may have opened a quotation that swallows the proxy's element.
pub(super) struct Elements<'h> {
    rest: &'h [u8],
    state: State,
}

/// Position in a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// An element may come.
    Before,
    /// An element was read.
    Behind,
    Malformed,
}

impl<'h> Elements<'h> {
    pub(super) fn of(line: &'h [u8]) -> Self {
        Self { rest: line, state: State::Before }
    }

    /// Returns true if nothing follows the last comma. Valid after all elements were read.
    pub(super) fn ends_empty(&self) -> bool {
        self.state == State::Before
    }

    /// Reads the node of the next element as it is written; empty if the element has none.
    fn node(&mut self) -> Option<Option<&'h [u8]>> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match (self.state, self.rest) {
                (State::Malformed, _) | (_, []) => return None,
                (_, [b',', rest @ ..]) => (self.rest, self.state) = (rest, State::Before),
                (State::Before, _) => break,
                (State::Behind, _) => return self.malformed(),
            }
        }
        let mut node = None;
        loop {
            let Some((name, value, rest)) = pair(self.rest) else { return self.malformed() };
            if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
                return self.malformed();
            }
            self.rest = rest.trim_ascii_start();
            match self.rest {
                [b';', rest @ ..] => self.rest = rest.trim_ascii_start(),
                _ => break,
            }
        }
        self.state = State::Behind;
        Some(Some(node.unwrap_or_default()))
    }

    fn malformed<T>(&mut self) -> Option<Option<T>> {
        self.state = State::Malformed;
        Some(None)
    }
}

impl<'h> Iterator for Elements<'h> {
    type Item = Option<Client<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.node().map(|node| node.map(client))
    }
}

/// Reads a pair `name=value` at the beginning, and returns the rest. Many proxies quote no value, although the RFC asks
/// for it.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let equals = text.iter().position(|&byte| !is_token(byte)).filter(|&at| at > 0 && text[at] == b'=')?;
    let (name, text) = (&text[..equals], &text[equals + 1..]);
    let end = match text {
        [b'"', quoted @ ..] => quotation(quoted)? + 2,
        _ => text.iter().position(|byte| b",; \t".contains(byte)).unwrap_or(text.len()),
    };
    let (value, rest) = text.split_at(end);
    let quoted = value.first() == Some(&b'"');
    (!value.is_empty() && (quoted || !value.contains(&b'"'))).then_some((name, value, rest))
}

/// Returns the length of a quotation, up to the mark that closes it.
fn quotation(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Reads the client of a node. A name that is no identifier (RFC 7239 section 6.3) is unknown.
fn client(node: &[u8]) -> Client<'_> {
    let mut unescaped = [0; LONGEST_NODE];
    let client = match node.contains(&b'\\').then(|| unescape(node, &mut unescaped)) {
        None => read(node),
        Some(plain) => match plain.map(read) {
            Some(Client::Address(address)) => Client::Address(address),
            Some(Client::Named(_) | Client::Unknown | Client::Unix) | None => Client::Unknown,
        },
    };
    match client {
        Client::Named(name) if !name.starts_with(b"_") => Client::Unknown,
        Client::Address(_) | Client::Named(_) | Client::Unknown | Client::Unix => client,
    }
}

/// Removes the escapes of a node; `None` if it is longer than any address.
fn unescape<'b>(node: &[u8], plain: &'b mut [u8; LONGEST_NODE]) -> Option<&'b [u8]> {
    let (mut length, mut bytes) = (0, node.iter());
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'\\' { *bytes.next()? } else { byte };
        *plain.get_mut(length)? = byte;
        length += 1;
    }
    plain.get(..length)
}

/// Converts the clients of `Forwarded` into `X-Forwarded-For`.
pub(crate) fn as_x_forwarded_for(headers: &HeaderMap) -> String {
    let mut clients = Vec::new();
    for line in headers.get_all(FORWARDED) {
        let mut elements = Elements::of(line.as_bytes());
        clients.extend((&mut elements).map(|element| element.unwrap_or(Client::Unknown)));
        clients.extend(elements.ends_empty().then_some(Client::Unknown));
    }
    joined(&clients, |client| match client {
        Client::Address(address) => address.to_string(),
        Client::Named(_) | Client::Unknown | Client::Unix => identifier(client).to_owned(),
    })
}

/// Converts the clients of `X-Forwarded-For` into `Forwarded`.
pub(crate) fn as_forwarded(headers: &HeaderMap) -> String {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let clients: Vec<Client<'_>> = lines.flat_map(names).map(read).collect();
    joined(&clients, |client| match client {
        Client::Address(IpAddr::V4(address)) => format!("for={address}"),
        Client::Address(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        Client::Named(_) | Client::Unknown | Client::Unix => format!("for={}", identifier(client)),
    })
}

/// Returns the names in a line of `X-Forwarded-For`, without empty ones except for the last.
fn names(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = line.iter().rposition(|&byte| byte == b',').map_or(0, |comma| comma + 1);
    let (before, last) = line.split_at(end);
    let before = before.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
    before.chain([last.trim_ascii()])
}

/// Returns the name of a client without an address (RFC 7239 section 6): its identifier, if that has the right form.
fn identifier(client: Client<'_>) -> &str {
    match client {
        Client::Named(name) if name.starts_with(b"_") && name.iter().all(|&byte| is_token(byte)) => {
            std::str::from_utf8(name).unwrap_or("unknown")
        }
        Client::Address(_) | Client::Named(_) | Client::Unknown | Client::Unix => "unknown",
    }
}

/// Joins the last clients into a line.
fn joined(clients: &[Client<'_>], written: impl Fn(Client<'_>) -> String) -> String {
    let last = clients.get(clients.len().saturating_sub(MOST_HOPS)..).unwrap_or_default();
    last.iter().map(|&client| written(client)).collect::<Vec<_>>().join(", ")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes of the longest address with zone, port and quotes, and some more.
const LONGEST_NODE: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_says_what_the_other_does() {
        let written = |name: http::HeaderName, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&name, HeaderValue::from_str(line).unwrap());
            }
            if name == FORWARDED { as_x_forwarded_for(&headers) } else { as_forwarded(&headers) }
        };
        let forwarded = |lines: &[&str]| written(FORWARDED, lines);
        assert_eq!(forwarded(&["for=1.1.1.1:80;by=x, for=\"[2001:db8::1]:80\""]), "1.1.1.1, 2001:db8::1");
        assert_eq!(
            forwarded(&["by=x, , for=_a", "for=odd", "for=1.1.1.1,", "for=\""]),
            "unknown, _a, unknown, 1.1.1.1, unknown, unknown"
        );
        let x_forwarded_for = |lines: &[&str]| written(X_FORWARDED_FOR, lines);
        assert_eq!(
            x_forwarded_for(&["1.1.1.1:80,2001:db8::1", "[::1]:80"]),
            "for=1.1.1.1, for=\"[2001:db8::1]\", for=\"[::1]\""
        );
        assert_eq!(x_forwarded_for(&["_a:1, , odd one, _a/b", ""]), "for=_a, for=unknown, for=unknown, for=unknown");
        assert_eq!(x_forwarded_for(&[&"x,".repeat(1000)]).matches("for=").count(), MOST_HOPS);
    }
}
