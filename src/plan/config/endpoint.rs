//! Endpoint: the address at which a command reaches an admin listener.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::{Address, authority};

/// Address of an admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A name or an address (without brackets), and a port.
    Host(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Returns the `Host` field of a request to the listener.
    pub fn authority(&self) -> String {
        match self {
            Self::Host(host, port) => authority(host, *port),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl From<&Address> for Endpoint {
    /// Returns the endpoint for a listening address. An unspecified address is reached over loopback.
    fn from(address: &Address) -> Self {
        match address {
            Address::Unix(path) => Self::Unix(path.clone()),
            Address::Ip(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
                    ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
                };
                Self::Host(ip.to_string(), address.port())
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.strip_prefix("http+unix:")) {
            // As a URL, it begins with two slashes more.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            return if path.is_empty() { Err(ENDPOINT_HELP) } else { Ok(Self::Unix(path.into())) };
        }
        // A name stands for all of its addresses, with and without the prefix that says so.
        let name = text.strip_prefix("dns:");
        let text = name.or_else(|| text.strip_prefix("http://")).unwrap_or(text).trim_end_matches('/');
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Host(address.ip().to_string(), address.port()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(ENDPOINT_HELP)?;
        let port = port.parse::<u16>().ok().filter(|&port| port != 0).ok_or(ENDPOINT_HELP)?;
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(named) {
            return Err(ENDPOINT_HELP);
        }
        Ok(Self::Host(host.to_owned(), port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(..) => f.write_str(&self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Most replicas of a config, of a command, and of a name.
pub const MOST_REPLICAS: usize = 64;

/// Correction of an endpoint that cannot be read.
pub const ENDPOINT_HELP: &str = "write it like `127.0.0.1:9901`, `replica-2:9901` or `unix:/run/backsoon/admin.sock`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_in_several_ways() {
        let host = |host: &str, port| Ok(Endpoint::Host(host.to_owned(), port));
        assert_eq!("127.0.0.1:9901".parse(), host("127.0.0.1", 9901));
        assert_eq!("http://replica-2:9901/".parse(), host("replica-2", 9901));
        assert_eq!("[::1]:9901".parse(), host("::1", 9901));
        for unix in ["unix:/run/a.sock", "unix:///run/a.sock", "http+unix:///run/a.sock"] {
            assert_eq!(unix.parse(), Ok(Endpoint::Unix("/run/a.sock".into())));
        }
        for wrong in ["", "9901", "localhost", "localhost:0", ":9901", "a b:1", "unix:", "https://x:1"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_on_every_interface_is_met_on_the_loopback() {
        let met = |address: &str| Endpoint::from(&Address::Ip(address.parse().unwrap())).to_string();
        assert_eq!(met("0.0.0.0:9901"), "127.0.0.1:9901");
        assert_eq!(met("[::]:9901"), "[::1]:9901");
        assert_eq!(met("192.0.2.7:9901"), "192.0.2.7:9901");
    }
}
