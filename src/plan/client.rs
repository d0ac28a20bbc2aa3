//! Client of a request: the peer, or the client that trusted proxies name. A name that cannot be read makes the client
//! unknown: the proxy that sent it is never taken for the client.

mod forwarded;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use super::config::TrustedProxies;

use forwarded::Elements;
pub(crate) use forwarded::{as_forwarded, as_x_forwarded_for};

/// Field `X-Forwarded-For`.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Client, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client<'h> {
    /// Address. An IPv4 address that is mapped to IPv6 is held as IPv4.
    Address(IpAddr),
    /// Name that a trusted proxy gives instead of an address: an identifier (RFC 7239 section 6.3), or something odd.
    Named(&'h [u8]),
    /// Unknown: a trusted proxy does not name it.
    Unknown,
    /// Peer on a unix socket.
    Unix,
}

impl Client<'_> {
    /// Returns the address, if it is known.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Named(_) | Self::Unknown | Self::Unix => None,
        }
    }
}

/// Writes the client for the access log. Names are not logged, because a proxy may have hidden the client on purpose.
impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Named(_) | Self::Unknown => f.write_str("unknown"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Origin of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Peer at an address, or the client of a PROXY header.
    Address(IpAddr),
    /// Peer on a unix socket.
    Unix,
    /// Client that a PROXY header does not name. It is never taken for the proxy that sent the header.
    Hidden,
}

impl From<Option<IpAddr>> for Origin {
    /// Takes a peer without an address for one on a unix socket.
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unix, Self::Address)
    }
}

/// Returns true if a peer's forwarding fields are believed.
pub(crate) fn is_trusted(peer: Origin, trusted: &TrustedProxies) -> bool {
    match peer {
        Origin::Hidden => false,
        Origin::Unix => trusted.unix,
        Origin::Address(address) => trusted.networks.iter().any(|network| network.contains(&address)),
    }
}

/// Finds the client: the peer, or the one that trusted peers name. Names are read from right to left, up to the first
/// that is not trusted. They come from `X-Forwarded-For`, or from `Forwarded` if that is absent.
pub(crate) fn of<'h>(peer: Origin, headers: &'h HeaderMap, trusted: &TrustedProxies) -> Client<'h> {
    let (peer, client) = match peer {
        Origin::Address(address) => {
            let address = address.to_canonical();
            (Origin::Address(address), Client::Address(address))
        }
        Origin::Unix => (peer, Client::Unix),
        Origin::Hidden => (peer, Client::Unknown),
    };
    let mut walk = Walk { trusted, client, hops: 0 };
    if !is_trusted(peer, trusted) {
        return walk.client;
    }
    let mut lines = headers.get_all(X_FORWARDED_FOR).iter().rev().peekable();
    if lines.peek().is_some() {
        lines.all(|line| walk.follow_x_forwarded_for(line.as_bytes()));
    } else {
        headers.get_all(FORWARDED).iter().rev().all(|line| walk.follow_forwarded(line.as_bytes()));
    }
    walk.client
}

/// Walk from the proxy to the client, hop by hop.
struct Walk<'h, 't> {
    trusted: &'t TrustedProxies,
    /// Farthest hop so far.
    client: Client<'h>,
    hops: usize,
}

impl<'h> Walk<'h, '_> {
    /// Follows a line of `X-Forwarded-For`. Returns false at the client.
    fn follow_x_forwarded_for(&mut self, line: &'h [u8]) -> bool {
        let mut names = line.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let last = names.next().unwrap_or_default();
        // An empty last name is a proxy that named nobody. The names before it came from the client and are not
        // believed.
        self.follow(read(last)) && names.filter(|name| !name.is_empty()).all(|name| self.follow(read(name)))
    }

    /// Follows a line of `Forwarded`. Returns false at the client.
    fn follow_forwarded(&mut self, line: &'h [u8]) -> bool {
        // A quotation can be read only from its beginning, so the line is read forwards and the last hops are kept.
        let (mut last, mut count) = ([Client::Unknown; MOST_HOPS + 1], 0);
        let mut elements = Elements::of(line);
        for element in &mut elements {
            let Some(client) = element else { return self.follow(Client::Unknown) };
            last[count % last.len()] = client;
            count += 1;
        }
        if elements.ends_empty() {
            return self.follow(Client::Unknown);
        }
        let kept = count.min(last.len());
        (1..=kept).all(|back| self.follow(last[(count - back) % last.len()]))
    }

    /// Takes the next hop. Returns false if it is the client.
    fn follow(&mut self, next: Client<'h>) -> bool {
        self.hops += 1;
        self.client = if self.hops > MOST_HOPS { Client::Unknown } else { next };
        self.client.address().is_some_and(|address| is_trusted(Origin::Address(address), self.trusted))
    }
}

/// Reads a proxy's name for a client: an address or an identifier, with or without port and quotes.
fn read(name: &[u8]) -> Client<'_> {
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    if let Some(address) = std::str::from_utf8(name).ok().and_then(address) {
        return Client::Address(address.to_canonical());
    }
    let without_port = || name.split(|&byte| byte == b':').next().unwrap_or_default();
    match name {
        b"" => Client::Unknown,
        [b'_', ..] => Client::Named(without_port()),
        _ if without_port().eq_ignore_ascii_case(b"unknown") => Client::Unknown,
        name => Client::Named(name),
    }
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, and IPv6 addresses with a
/// zone.
fn address(text: &str) -> Option<IpAddr> {
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return ipv6_address(address).filter(|_| port).map(IpAddr::V6);
    }
    if let Some(address) = ipv6_address(text) {
        return Some(address.into());
    }
    let (address, port) = text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port)));
    address.parse().ok().filter(|_| port.is_none_or(is_port)).map(IpAddr::V4)
}

/// Reads an IPv6 address and drops its zone, which has a meaning only on the proxy's machine.
fn ipv6_address(text: &str) -> Option<Ipv6Addr> {
    match text.split_once('%') {
        Some((_, "")) => None,
        Some((address, _)) => address.parse().ok(),
        None => text.parse().ok(),
    }
}

/// Returns true for a port, or an identifier in its place (RFC 7239 section 6).
fn is_port(text: &str) -> bool {
    let identifier = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(rest) => !rest.is_empty() && rest.bytes().all(identifier),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

/// Returns the network by which a client is counted: over IPv6 its /64, since a client has all addresses of that.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Most hops that are followed. A client beyond them is unknown.
const MOST_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderValue;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn named(field: &HeaderName, peer: &str, lines: &[&str]) -> String {
        let trusted = TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: true };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(field, HeaderValue::from_str(line).unwrap());
        }
        let client = of(peer.parse().ok().into(), &headers, &trusted);
        match client {
            Client::Named(name) => format!("named {}", String::from_utf8_lossy(name)),
            Client::Address(_) | Client::Unknown | Client::Unix => client.to_string(),
        }
    }

    #[test]
    fn the_client_is_found_from_right_to_left() {
        let client = |peer: &str, lines: &[&str]| named(&X_FORWARDED_FOR, peer, lines);
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2"]), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "2.2.2.2", "10.0.0.2,10.0.0.3"]), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &["::ffff:9.9.9.9"]), "9.9.9.9");
        assert_eq!(client("::ffff:10.0.0.1", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(client("8.8.8.8", &["1.1.1.1"]), "8.8.8.8", "a stranger is not believed");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1", "nobody is named");
        assert_eq!(client("unix", &[]), "unix");
        assert_eq!(client("unix", &["9.9.9.9, 10.0.0.2"]), "9.9.9.9");
    }

    #[test]
    fn who_cannot_be_read_is_unknown_and_never_the_proxy() {
        for (line, client) in [
            ("1.1.1.1, nonsense", "named nonsense"),
            ("1.1.1.1, ", "unknown"),
            ("", "unknown"),
            ("1.1.1.1, , 10.0.0.2", "1.1.1.1"),
            ("UNKNOWN", "unknown"),
            ("unknown:80", "unknown"),
            ("_hidden1", "named _hidden1"),
            ("_hidden1:4711", "named _hidden1"),
            ("_hidden1:_port", "named _hidden1"),
            ("\"\"", "unknown"),
            ("9.9.9.9:80", "9.9.9.9"),
            ("9.9.9.9:_x", "9.9.9.9"),
            ("9.9.9.9:", "named 9.9.9.9:"),
            ("9.9.9.9:65536", "named 9.9.9.9:65536"),
            ("9.9.9.9:80:80", "named 9.9.9.9:80:80"),
            ("9.9.9.9%eth0", "named 9.9.9.9%eth0"),
            ("010.0.0.1", "named 010.0.0.1"),
            ("[9.9.9.9]", "named [9.9.9.9]"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]80", "named [2001:db8::1]80"),
            ("[2001:db8::1", "named [2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("fe80::1%", "named fe80::1%"),
            ("[::ffff:9.9.9.9]:80", "9.9.9.9"),
            ("\"9.9.9.9\"", "9.9.9.9"),
            ("\"9.9.9.9", "named \"9.9.9.9"),
        ] {
            assert_eq!(named(&X_FORWARDED_FOR, "10.0.0.1", &[line]), client, "{line}");
        }
        let hops = |count: usize| vec!["10.0.0.2"; count].join(",");
        assert_eq!(named(&X_FORWARDED_FOR, "10.0.0.1", &[&hops(MOST_HOPS)]), "10.0.0.2");
        assert_eq!(named(&X_FORWARDED_FOR, "10.0.0.1", &[&hops(MOST_HOPS + 1)]), "unknown");
    }

    #[test]
    fn forwarded_is_read_where_there_is_no_other_field() {
        let client = |lines: &[&str]| named(&FORWARDED, "10.0.0.1", lines);
        assert_eq!(client(&["for=1.1.1.1, for=2.2.2.2, for=10.0.0.2"]), "2.2.2.2");
        assert_eq!(client(&["for=2.2.2.2", "for=10.0.0.3", "for=10.0.0.2;proto=http"]), "2.2.2.2");
        assert_eq!(client(&["For=\"[2001:db8::1]:80\";Proto=https ; by=_x"]), "2001:db8::1");
        assert_eq!(client(&["for=[2001:db8::1]:80"]), "2001:db8::1", "as some write it");
        assert_eq!(client(&["for=2.2.2.2;x=\"a, for=3.3.3.3\", for=10.0.0.2"]), "2.2.2.2", "not what is quoted");
        assert_eq!(client(&["for=2.2.2.2, , for=10.0.0.2"]), "2.2.2.2");
        assert_eq!(client(&["for=\"_a\\b\""]), "unknown", "no identifier has such a byte");
        assert_eq!(client(&["for=_a"]), "named _a");
        let hops = |count: usize| vec!["for=10.0.0.2"; count].join(", ");
        assert_eq!(client(&[&hops(MOST_HOPS)]), "10.0.0.2");
        assert_eq!(client(&[&hops(MOST_HOPS + 1)]), "unknown");
        assert_eq!(client(&[&format!("for=2.2.2.2, {}", hops(200))]), "unknown");
        for unknown in [
            "",
            ",",
            "for=2.2.2.2,",
            "for",
            "for=",
            "for=\"2.2.2.2",
            "for=2.2.2.2\"",
            "proto=https",
            "for=1.1.1.1;for=2.2.2.2",
        ] {
            assert_eq!(client(&[unknown]), "unknown", "{unknown}");
        }
        // A client that opens a quotation does not choose its name.
        assert_eq!(client(&["for=3.3.3.3;x=\", for=2.2.2.2"]), "unknown");
        assert_eq!(client(&["for=3.3.3.3;x=\", for=\"[2001:db8::1]:80\""]), "unknown");
        assert_eq!(client(&["for=3.3.3.3;x=\"\\", "for=2.2.2.2"]), "2.2.2.2", "a line of its own");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_read_or_not_and_can_be_said_again(lines in vec("[ -~]{0,60}|(for=|\"|,|;|\\\\|1[.]1[.]1[.]1|[.a:]| ){0,20}", 0..4)) {
            let trusted = TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: false };
            for (field, other) in [(FORWARDED, X_FORWARDED_FOR), (X_FORWARDED_FOR, FORWARDED)] {
                let mut headers = HeaderMap::new();
                for line in &lines {
                    headers.append(&field, HeaderValue::from_str(line).unwrap());
                }
                let client = of(Origin::Address([10, 0, 0, 1].into()), &headers, &trusted);
                prop_assert!(lines.is_empty() || client.address() != Some([10, 0, 0, 1].into()), "not the proxy");
                // The other field names the same client.
                let text = if field == FORWARDED { as_x_forwarded_for(&headers) } else { as_forwarded(&headers) };
                let translated = HeaderMap::from_iter([(other, HeaderValue::try_from(text).unwrap())]);
                if !lines.is_empty() {
                    let again = of(Origin::Address([10, 0, 0, 1].into()), &translated, &trusted);
                    prop_assert_eq!(again.address(), client.address());
                }
            }
        }
    }

    #[test]
    fn a_client_has_all_addresses_of_a_64() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
        assert_eq!(network("2001:db8:0:2::5"), "2001:db8:0:2::");
        assert_eq!(network("192.0.2.9"), "192.0.2.9");
    }
}
