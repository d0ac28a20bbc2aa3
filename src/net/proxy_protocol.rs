//! PROXY protocol, versions 1 and 2: the lines before a connection by which a proxy says whose it is. Read from proxies in
//! front, and written to upstreams.
//!
//! The parser takes what the specification allows and nothing else. It reads no byte behind the header, and skips what
//! the header says besides the addresses.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::plan::config::ProxyVersion;

/// Content of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Introduction {
    /// The proxy itself has opened the connection, to look whether we live.
    Proxy,
    /// The connection is somebody's whom the proxy does not name.
    Hidden,
    /// The connection is a client's.
    Client {
        /// Address of the client.
        source: SocketAddr,
        /// Address that the client connected to.
        destination: SocketAddr,
    },
}

/// Reads a header. Returns `None` if the connection ends before its first byte.
///
/// # Errors
/// `InvalidData` if the bytes are no such header, otherwise an error of the stream.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Introduction>> {
    let (mut start, mut length) = ([0; START], 0);
    while length < START {
        match stream.read(&mut start[length..]).await? {
            0 if length == 0 => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
        if !may_begin(&start[..length]) {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    let read = if start == SIGNATURE { read_v2(stream).await? } else { read_v1(stream, &start).await? };
    read.map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// Returns true if a header may begin with these bytes.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    let agrees = |other: &[u8]| bytes.iter().zip(other).all(|(byte, other)| byte == other);
    agrees(&SIGNATURE) || agrees(b"PROXY ")
}

/// Returns true if the bytes suffice to tell a header from anything else.
pub(crate) fn is_telling(bytes: &[u8]) -> bool {
    bytes.len() >= START || !may_begin(bytes)
}

/// Reads the rest of a line, never more than must be left of it.
async fn read_v1<S: AsyncRead + Unpin>(stream: &mut S, start: &[u8]) -> io::Result<Option<Introduction>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        let length = line.len();
        let least = if line.ends_with(b"\r") { 1 } else { 2 };
        if length + least > LONGEST_LINE {
            return Ok(None);
        }
        line.resize(length + least, 0);
        stream.read_exact(&mut line[length..]).await?;
    }
    line.truncate(line.len() - 2);
    Ok(v1(&line))
}

async fn read_v2<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Introduction>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST {
        return Ok(None);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    Ok(v2(command, family, &rest))
}

/// Parses a line of version 1, without its end.
fn v1(line: &[u8]) -> Option<Introduction> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Introduction::Hidden);
    }
    let mut words = line.split(' ');
    let family = words.next()?;
    let mut address = || {
        let address = words.next()?;
        match family {
            "TCP4" => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<u16>().ok();
    let (source, destination) = (SocketAddr::new(source, port()?), SocketAddr::new(destination, port()?));
    words.next().is_none().then_some(Introduction::Client { source, destination })
}

/// Parses a header of version 2: the bytes after the signature and the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Option<Introduction> {
    match (command, family) {
        (LOCAL, _) => Some(Introduction::Proxy),
        (PROXY, TCP4) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = rest else { return None };
            client([*a, *b, *c, *d].into(), [*e, *f, *g, *h].into(), rest)
        }
        (PROXY, TCP6) => {
            let (source, rest) = rest.split_first_chunk::<16>()?;
            let (destination, rest) = rest.split_first_chunk::<16>()?;
            client((*source).into(), (*destination).into(), rest)
        }
        (PROXY, UNSPECIFIED | UNIX | UNIX_DATAGRAM) => Some(Introduction::Hidden),
        _ => None,
    }
}

/// Adds the ports to a client's addresses. What follows them is skipped.
fn client(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Introduction> {
    let (ports, _) = ports.split_first_chunk::<4>()?;
    let [a, b, c, d] = *ports;
    let source = SocketAddr::new(source, u16::from_be_bytes([a, b]));
    let destination = SocketAddr::new(destination, u16::from_be_bytes([c, d]));
    Some(Introduction::Client { source, destination })
}

/// Writes a header.
pub(crate) fn written(version: ProxyVersion, introduction: Introduction) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => written_v1(introduction).into_bytes(),
        ProxyVersion::V2 => written_v2(introduction),
    }
}

fn written_v1(introduction: Introduction) -> String {
    let Introduction::Client { source, destination } = introduction else { return "PROXY UNKNOWN\r\n".to_owned() };
    let (from, to) = alike(source.ip(), destination.ip());
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

fn written_v2(introduction: Introduction) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let (source, destination) = match introduction {
        Introduction::Proxy => {
            header.extend([LOCAL, UNSPECIFIED, 0, 0]);
            return header;
        }
        Introduction::Hidden => {
            header.extend([PROXY, UNSPECIFIED, 0, 0]);
            return header;
        }
        Introduction::Client { source, destination } => (source, destination),
    };
    match alike(source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([PROXY, TCP4, 0, 12]);
            header.extend(from.octets().into_iter().chain(to.octets()));
        }
        (from, to) => {
            header.extend([PROXY, TCP6, 0, 36]);
            header.extend([from, to].into_iter().flat_map(|address| mapped(address).octets()));
        }
    }
    header.extend(source.port().to_be_bytes().into_iter().chain(destination.port().to_be_bytes()));
    header
}

/// Gives two addresses the same family.
fn alike(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    if one.is_ipv4() == other.is_ipv4() { (one, other) } else { (mapped(one).into(), mapped(other).into()) }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

const SIGNATURE: [u8; START] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes that tell the versions apart. No line of version 1 is shorter.
const START: usize = 12;
/// Bytes of the longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// Bytes of a header of version 2 behind its length, of which the addresses take 36.
const LONGEST_REST: usize = 4096;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Reads a header, and what is left of the bytes.
    fn read(mut bytes: &[u8]) -> (io::Result<Option<Introduction>>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(super::read(&mut bytes));
        (read, bytes.len())
    }

    fn client(source: &str, destination: &str) -> Introduction {
        Introduction::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn a_header_is_read_and_no_byte_behind_it() {
        let v4 = client("192.0.2.1:56324", "198.51.100.2:443");
        let v6 = client("[2001:db8::1]:1", "[2001:db8::2]:65535");
        let with_more = [written(ProxyVersion::V2, v4), vec![0xff; 5]].concat();
        let with_more = [&with_more[..15], &[17], &with_more[16..]].concat();
        for (bytes, introduction) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(), v4),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(), v6),
            (b"PROXY UNKNOWN\r\n".to_vec(), Introduction::Hidden),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), Introduction::Hidden),
            (written(ProxyVersion::V2, v6), v6),
            (with_more, v4),
            (written(ProxyVersion::V2, Introduction::Proxy), Introduction::Proxy),
            (written(ProxyVersion::V2, Introduction::Hidden), Introduction::Hidden),
        ] {
            let (read, left) = read(&[&bytes[..], b"GET /"].concat());
            assert_eq!((read.unwrap(), left), (Some(introduction), 5), "{}", String::from_utf8_lossy(&bytes));
        }
        assert_eq!(read(b"").0.unwrap(), None);
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"P",
            b"PROXY ",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 +2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c0123456789ab",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b0123456789a",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            b"\x16\x03\x01",
        ] {
            assert!(read(bytes).0.is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let (long, left) = read(&[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat());
        assert!(long.is_err() && left > 100, "it stops at the longest line");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(source: (bool, u128, u16), destination: (bool, u128, u16), v1: bool) {
            let address = |(v4, bits, port): (bool, u128, u16)| {
                let ip = if v4 { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) } else { Ipv6Addr::from_bits(bits).into() };
                SocketAddr::new(ip, port)
            };
            let (source, destination) = (address(source), address(destination));
            let version = if v1 { ProxyVersion::V1 } else { ProxyVersion::V2 };
            let bytes = written(version, Introduction::Client { source, destination });
            prop_assert!(!v1 || bytes.len() <= LONGEST_LINE);
            let Some(Introduction::Client { source: from, destination: to }) = read(&bytes).0.unwrap() else { panic!() };
            prop_assert_eq!((from.ip().to_canonical(), from.port()), (source.ip().to_canonical(), source.port()));
            prop_assert_eq!((to.ip().to_canonical(), to.port()), (destination.ip().to_canonical(), destination.port()));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(start in 0..3usize, rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let start = [&b""[..], b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n"][start];
            let _ = read(&[start, &rest].concat());
        }
    }
}
