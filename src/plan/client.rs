//! Who the client is: the peer, or whom trusted proxies name.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

use super::config::TrustedProxies;

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether what a peer says of others is believed; `None` is one on a unix socket.
pub fn is_trusted(peer: Option<IpAddr>, trusted: &TrustedProxies) -> bool {
    match peer {
        None => trusted.unix,
        Some(address) => trusted.networks.iter().any(|network| network.contains(&address)),
    }
}

/// The client's address: the peer's, or what trusted peers say of it, read from right to left up to the first that is not
/// trusted.
pub fn address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Option<IpAddr> {
    let peer = peer.map(|address| address.to_canonical());
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut client = peer;
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    for hop in lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b',')).take(MOST_HOPS) {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|text| text.trim().parse::<IpAddr>().ok()) else {
            break;
        };
        client = Some(address.to_canonical());
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// More hops than anybody has: what a client wrote beyond them is not read.
const MOST_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_found_from_right_to_left() {
        let trusted = TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: false };
        let client = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, http::HeaderValue::from_static(line));
            }
            address(Some(peer.parse().unwrap()), &headers, &trusted).unwrap().to_string()
        };
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2"]), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "2.2.2.2", "10.0.0.2,10.0.0.3"]), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["::ffff:9.9.9.9"]), "9.9.9.9");
        assert_eq!(client("::ffff:10.0.0.1", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(client("8.8.8.8", &["1.1.1.1"]), "8.8.8.8", "a stranger is not believed");
    }
}
