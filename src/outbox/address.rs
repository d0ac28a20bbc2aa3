//! Addresses that a delivery may go to. Subscribers name them, so most networks are out of reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::endpoint::{Endpoint, Host, Scheme};

/// Reach of the outbox: public addresses by `https://`, and the networks that the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Networks that the operator vouches for. There any port and `http://` are fine, too.
    pub allow_private: Vec<IpNet>,
}

/// Reason against a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An address of the host is not public. The others do not matter: whoever names one such address means harm, or
    /// does not know the network.
    NotPublic(IpAddr),
    /// A public address, without TLS.
    NotHttps,
    /// A public address at a port other than 443 and 80.
    Port(u16),
    /// The host has no address.
    NoAddress,
}

impl Reach {
    /// Returns the reach of URLs that an operator wrote into the config: everywhere.
    pub fn everywhere() -> Self {
        Self { allow_private: vec![Ipv4Net::default().into(), Ipv6Net::default().into()] }
    }

    /// Returns the addresses to connect to, in the order of the resolver.
    ///
    /// # Errors
    /// If a single one of them is out of reach.
    pub fn judge(&self, endpoint: &Endpoint, addresses: &[IpAddr]) -> Result<Vec<SocketAddr>, Refusal> {
        if addresses.is_empty() {
            return Err(Refusal::NoAddress);
        }
        addresses.iter().map(|address| self.judge_one(endpoint, *address)).collect()
    }

    /// Returns true if the endpoint is at an address in a network that the operator allows.
    pub fn vouches_for(&self, endpoint: &Endpoint) -> bool {
        let Host::Address(address) = &endpoint.host else { return false };
        self.allow_private.iter().any(|net| net.contains(address))
    }

    fn judge_one(&self, endpoint: &Endpoint, address: IpAddr) -> Result<SocketAddr, Refusal> {
        let target = SocketAddr::new(address, endpoint.port);
        if self.allow_private.iter().any(|net| net.contains(&address)) {
            return Ok(target);
        }
        match endpoint.scheme {
            _ if !is_public(address) => Err(Refusal::NotPublic(address)),
            Scheme::Http => Err(Refusal::NotHttps),
            Scheme::Https if !PORTS.contains(&endpoint.port) => Err(Refusal::Port(endpoint.port)),
            Scheme::Https => Ok(target),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic(address) => write!(f, "{address} is not a public address"),
            Self::NotHttps => f.write_str("the URL is not https://"),
            Self::Port(port) => write!(f, "port {port} is neither 443 nor 80"),
            Self::NoAddress => f.write_str("the host has no address"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Returns true for an address of the public internet.
///
/// Forms of IPv6 that carry an IPv4 address (mapped, NAT64, 6to4, Teredo, ISATAP) are not public: behind them may stand
/// any address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address != WIRE_SERVER && !SPECIAL_V4.iter().any(|net| net.contains(&address)),
        // Nothing else of IPv6 is assigned to the public.
        IpAddr::V6(address) => {
            let is_special = SPECIAL_V6.iter().any(|net| net.contains(&address));
            GLOBAL_V6.contains(&address) && !is_special && !is_isatap(address)
        }
    }
}

/// Returns true if the lower half carries an IPv4 address (RFC 5214 section 6.1).
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, upper, marker, _, _] = address.segments();
    upper & !0x0200 == 0 && marker == 0x5efe
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Ports of public addresses.
const PORTS: [u16; 2] = [443, 80];

/// IANA's registry of special addresses: this network, private, shared (CGNAT), loopback, link-local, protocol
/// assignments, documentation, 6to4 relays, benchmarking, multicast, reserved.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// Address at which Azure answers its own machines: public by its number, and by nothing else.
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Global unicast (RFC 4291 section 2.4).
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);

/// Special addresses within it: protocol assignments with Teredo, documentation, 6to4.
const SPECIAL_V6: [Ipv6Net; 4] = [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn no_special_address_is_public() {
        let special = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.1.2.3 \
            169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 \
            192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 \
            255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 \
            64:ff9b::8.8.8.8 64:ff9b:1::a00:1 100::1 2001::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 \
            2002:7f00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 168.63.129.16 2a00:1450::5efe:a00:1 \
            2a00:1450::200:5efe:7f00:1 3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 4000::1";
        for address in addresses(special) {
            assert!(!is_public(address), "{address}");
        }
        let public = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
            172.15.255.255 172.32.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700:4700::1111 \
            2a00:1450::1 2001:4860:4860::8888 2003::1";
        for address in addresses(public) {
            assert!(is_public(address), "{address}");
        }
    }

    #[test]
    fn one_bad_address_of_a_host_refuses_all() {
        let (reach, endpoint) = (Reach::default(), Endpoint::parse("https://example.com/hook").unwrap());
        let judged = reach.judge(&endpoint, &addresses("8.8.8.8 10.0.0.1"));
        assert_eq!(judged, Err(Refusal::NotPublic("10.0.0.1".parse().unwrap())));
        assert_eq!(reach.judge(&endpoint, &[]), Err(Refusal::NoAddress));
        let targets = vec!["8.8.8.8:443".parse().unwrap(), "[2a00:1450::1]:443".parse().unwrap()];
        assert_eq!(reach.judge(&endpoint, &addresses("8.8.8.8 2a00:1450::1")), Ok(targets));
    }

    #[test]
    fn a_public_address_asks_for_tls_and_a_usual_port_and_an_allowed_one_does_not() {
        let judge = |url: &str, address: &str| {
            let reach = Reach { allow_private: vec!["10.0.0.0/8".parse().unwrap()] };
            reach.judge(&Endpoint::parse(url).unwrap(), &addresses(address)).map(drop)
        };
        assert_eq!(judge("http://example.com/", "8.8.8.8"), Err(Refusal::NotHttps));
        assert_eq!(judge("https://example.com:22/", "8.8.8.8"), Err(Refusal::Port(22)));
        assert_eq!(judge("https://example.com:80/", "8.8.8.8"), Ok(()));
        assert_eq!(judge("http://intern:9000/", "10.1.2.3"), Ok(()));
        assert_eq!(
            judge("https://intern/", "10.1.2.3 192.168.0.1"),
            Err(Refusal::NotPublic("192.168.0.1".parse().unwrap()))
        );
        // The mapped form of an allowed address is another address.
        assert!(judge("https://intern/", "::ffff:10.1.2.3").is_err());
    }
}
