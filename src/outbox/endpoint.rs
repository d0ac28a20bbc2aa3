//! URLs of endpoints, read strictly: a form that two programs could read differently is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use crate::plan::config::{HookScheme, HookUrl};
use crate::plan::news::forms::Wrong;

use super::address::{Reach, Refusal};

/// URL of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Scheme.
    pub scheme: Scheme,
    /// Host.
    pub host: Host,
    /// Port.
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// Scheme of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http://`, for networks that the operator allows.
    Http,
    /// `https://`.
    Https,
}

/// Host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Name, in lowercase.
    Name(String),
    /// Address in its usual form.
    Address(IpAddr),
}

/// Mistake in the URL of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// Longer than [`MOST_BYTES`].
    Long,
    /// No URL of printable ASCII.
    NoUrl,
    /// Neither `https://` nor `http://`.
    Scheme,
    /// A user or a password before the host.
    UserInfo,
    /// A fragment, which no server ever sees.
    Fragment,
    /// A host that is no name and no address in its usual form.
    Host,
}

impl Endpoint {
    /// Parses a URL.
    ///
    /// # Errors
    /// If it is not one that every program reads alike.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        if url.len() > MOST_BYTES {
            return Err(EndpointError::Long);
        }
        // A backslash is a slash to browsers, and none to the rest.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(EndpointError::NoUrl);
        }
        if url.contains('#') {
            return Err(EndpointError::Fragment);
        }
        let uri: Uri = url.parse().map_err(|_| EndpointError::NoUrl)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(EndpointError::Scheme),
        };
        let authority = uri.authority().ok_or(EndpointError::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let host = Host::parse(authority.host())?;
        let port = port(authority.as_str(), authority.host(), scheme)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host, port, path })
    }

    /// Returns the endpoint at a URL that an operator wrote.
    ///
    /// # Errors
    /// If it is not one that every program reads alike.
    pub fn of(url: &HookUrl) -> Result<Self, EndpointError> {
        let scheme = match url.scheme {
            HookScheme::Clear => "http",
            HookScheme::Tls => "https",
        };
        Self::parse(&format!("{scheme}://{}{}", url.authority(), url.target))
    }

    /// Returns the value of the `Host` field.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// Judges the URL that a stranger types, as far as that goes without a look-up: each attempt looks the host up. Returns
/// its usual form, so that an endpoint has one name.
///
/// # Errors
/// If it is no URL, or leads nowhere public.
pub fn judge(reach: &Reach, url: &str) -> Result<String, Wrong> {
    let endpoint = Endpoint::parse(url).map_err(|_| Wrong::NoUrl)?;
    let address = match &endpoint.host {
        Host::Address(address) => *address,
        // A name may lead into a network that the operator allows.
        Host::Name(_) if !reach.allow_private.is_empty() => return Ok(endpoint.to_string()),
        Host::Name(name) if is_local(name) => return Err(Wrong::NotPublic),
        Host::Name(_) => ANY_PUBLIC,
    };
    reach.judge(&endpoint, &[address]).map(|_| endpoint.to_string()).map_err(|refusal| match refusal {
        Refusal::NotHttps => Wrong::NoUrl,
        Refusal::NotPublic(_) | Refusal::Port(_) | Refusal::NoAddress => Wrong::NotPublic,
    })
}

/// Returns true for names that the public DNS does not have (RFC 6761, RFC 6762).
fn is_local(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    !name.contains('.') || matches!(last, "localhost" | "local" | "internal" | "test" | "invalid" | "example" | "onion")
}

impl Scheme {
    /// Returns the port that needs not be named.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Host {
    fn parse(host: &str) -> Result<Self, EndpointError> {
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = address.parse().map_err(|_| EndpointError::Host)?;
            return Ok(Self::Address(address.into()));
        }
        // Resolvers take `2130706433`, `0x7f.1` and `0177.0.0.1` for addresses. A name never ends like a number.
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_number =
            last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
        if is_number {
            let address: Ipv4Addr = host.parse().map_err(|_| EndpointError::Host)?;
            return Ok(Self::Address(address.into()));
        }
        let is_label = |label: &str| {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(is_fine)
        };
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(EndpointError::Host);
        }
        Ok(Self::Name(host.to_ascii_lowercase()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long => write!(f, "is longer than {MOST_BYTES} bytes"),
            Self::NoUrl => f.write_str("is no URL such as https://example.com/hook"),
            Self::Scheme => f.write_str("does not begin with https://"),
            Self::UserInfo => f.write_str("has a user or a password before the host"),
            Self::Fragment => f.write_str("has a fragment (#…), which no server sees"),
            Self::Host => f.write_str("has a host that is neither a name nor an address in its usual form"),
        }
    }
}

impl std::error::Error for EndpointError {}

/// Returns the port behind the host, or that of the scheme.
fn port(authority: &str, host: &str, scheme: Scheme) -> Result<u16, EndpointError> {
    match authority.strip_prefix(host) {
        Some("") => Ok(scheme.port()),
        Some(rest) => {
            let digits = rest.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port != 0);
            port.ok_or(EndpointError::NoUrl)
        }
        None => Err(EndpointError::NoUrl),
    }
}

/// Address that stands for that of a name, which is looked up at each attempt.
const ANY_PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));

/// Bytes that a URL may have.
pub const MOST_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(cases: &[(&str, EndpointError)]) {
        for (url, expected) in cases {
            let refused = Endpoint::parse(url);
            let is_as_expected = refused == Err(*expected) || refused == Err(EndpointError::NoUrl);
            assert!(is_as_expected, "{url}: {refused:?}, expected {expected:?}");
        }
    }

    #[test]
    fn only_a_host_that_all_programs_read_alike_is_taken() {
        refuses(&[
            ("https://2130706433/", EndpointError::Host),
            ("https://0x7f000001/", EndpointError::Host),
            ("https://0x7f.1/", EndpointError::Host),
            ("https://127.0.0.0x1/", EndpointError::Host),
            ("https://0177.0.0.1/", EndpointError::Host),
            ("https://127.1/", EndpointError::Host),
            ("https://127.0.0.1./", EndpointError::Host),
            ("https://example.com./", EndpointError::Host),
            ("https://exa%6dple.com/", EndpointError::Host),
            ("https://[fe80::1%25eth0]/", EndpointError::Host),
            ("https://[::1%25lo]/", EndpointError::Host),
            ("https://[::1%lo]/", EndpointError::Host),
            ("https://[127.0.0.1]/", EndpointError::Host),
            ("https://[v1.x]/", EndpointError::Host),
            ("https://127.0.0.1%00.example.com/", EndpointError::Host),
            ("https://0/", EndpointError::Host),
            ("https://0x0/", EndpointError::Host),
            ("https://017700000001/", EndpointError::Host),
            ("https://127.0.1/", EndpointError::Host),
            ("https://0300.0250.0.1/", EndpointError::Host),
            ("https://00000127.0.0.1/", EndpointError::Host),
            ("https://1.2.3.4.5/", EndpointError::Host),
            ("https://256.0.0.1/", EndpointError::Host),
            ("https://.example.com/", EndpointError::Host),
            ("https://example..com/", EndpointError::Host),
            ("https://./", EndpointError::Host),
            ("https://exam'ple.com/", EndpointError::Host),
            ("https://exam,ple.com/", EndpointError::Host),
            ("https://*.example.com/", EndpointError::Host),
            ("https://example.com;x/", EndpointError::Host),
            ("https://$(id).example.com/", EndpointError::Host),
        ]);
    }

    #[test]
    fn what_a_stranger_types_is_judged_at_once() {
        let mut reach = Reach::default();
        let cases = [
            ("https://hooks.example.com/a", Ok(())),
            ("https://hooks.example.com:80/a", Ok(())),
            ("https://1.1.1.1/", Ok(())),
            ("http://hooks.example.com/a", Err(Wrong::NoUrl)),
            ("ftp://hooks.example.com/a", Err(Wrong::NoUrl)),
            ("hooks.example.com", Err(Wrong::NoUrl)),
            ("https://user@hooks.example.com/", Err(Wrong::NoUrl)),
            ("https://0x7f.1/", Err(Wrong::NoUrl)),
            ("https://hooks.example.com:22/", Err(Wrong::NotPublic)),
            ("https://localhost/", Err(Wrong::NotPublic)),
            ("https://a.localhost/", Err(Wrong::NotPublic)),
            ("https://intern/", Err(Wrong::NotPublic)),
            ("https://db.internal/", Err(Wrong::NotPublic)),
            ("https://10.0.0.1/", Err(Wrong::NotPublic)),
            ("https://169.254.169.254/latest", Err(Wrong::NotPublic)),
            ("https://[::1]/", Err(Wrong::NotPublic)),
            ("https://[::ffff:10.0.0.1]/", Err(Wrong::NotPublic)),
        ];
        for (url, judged) in cases {
            assert_eq!(judge(&reach, url).map(drop), judged, "{url}");
        }
        reach.allow_private.push("10.0.0.0/8".parse().unwrap());
        for url in ["http://intern:9000/", "http://10.0.0.1:9000/"] {
            assert_eq!(judge(&reach, url).as_deref(), Ok(url), "{url}");
        }
        assert_eq!(judge(&reach, "https://192.168.0.1/"), Err(Wrong::NotPublic));
    }

    #[test]
    fn an_endpoint_has_one_name_however_it_is_typed() {
        let reach = Reach::default();
        for (typed, name) in [
            ("https://HOOKS.Example.com/A?b=C", "https://hooks.example.com/A?b=C"),
            ("HTTPS://hooks.example.com:443/A?b=C", "https://hooks.example.com/A?b=C"),
            ("https://hooks.example.com:0443/A?b=C", "https://hooks.example.com/A?b=C"),
            ("https://hooks.example.com", "https://hooks.example.com/"),
            ("https://hooks.example.com:443?b", "https://hooks.example.com/?b"),
            ("https://hooks.example.com:80/", "https://hooks.example.com:80/"),
            ("https://[2606:4700:0:0::1111]/", "https://[2606:4700::1111]/"),
        ] {
            assert_eq!(judge(&reach, typed).as_deref(), Ok(name), "{typed}");
        }
    }

    #[test]
    fn only_a_url_that_all_programs_read_alike_is_taken() {
        refuses(&[
            ("ftp://example.com/", EndpointError::Scheme),
            ("file:///etc/passwd", EndpointError::NoUrl),
            ("//example.com/", EndpointError::Scheme),
            ("https://user@example.com/", EndpointError::UserInfo),
            ("https://example.com:443@127.0.0.1/", EndpointError::UserInfo),
            ("https://example.com/#x", EndpointError::Fragment),
            ("https://example.com\\@127.0.0.1/", EndpointError::NoUrl),
            ("https://exa mple.com/", EndpointError::NoUrl),
            ("https://exämple.com/", EndpointError::NoUrl),
            ("https://example.com:0/", EndpointError::NoUrl),
            ("https://example.com:99999/", EndpointError::NoUrl),
            ("https://[::1]:443:80/", EndpointError::NoUrl),
            ("https://[::1]x/", EndpointError::NoUrl),
            ("https://127.0.0.1:443:80/", EndpointError::NoUrl),
            ("https://example.com:/", EndpointError::NoUrl),
            ("https://example.com:+443/", EndpointError::NoUrl),
            ("https://example.com:4 43/", EndpointError::NoUrl),
            ("https://example.com:0x1bb/", EndpointError::NoUrl),
            ("https:/example.com/", EndpointError::NoUrl),
            ("https:example.com/", EndpointError::NoUrl),
            ("https:///example.com/", EndpointError::NoUrl),
            ("https:\\\\example.com/", EndpointError::NoUrl),
            ("https:/\texample.com/", EndpointError::NoUrl),
            ("\thttps://example.com/", EndpointError::NoUrl),
            ("https://exam\nple.com/", EndpointError::NoUrl),
            ("https://example.com/\r\nx: y", EndpointError::NoUrl),
            ("https://example.com%2f@127.0.0.1/", EndpointError::UserInfo),
            ("https://@127.0.0.1/", EndpointError::UserInfo),
            ("https://:@127.0.0.1/", EndpointError::UserInfo),
            ("https://①②⑦.⓪.⓪.①/", EndpointError::NoUrl),
            ("https://127。0。0。1/", EndpointError::NoUrl),
            ("https://ｌocalhost/", EndpointError::NoUrl),
            ("https://exam\u{ad}ple.com/", EndpointError::NoUrl),
            ("javascript://example.com/", EndpointError::Scheme),
            ("gopher://127.0.0.1:6379/_x", EndpointError::Scheme),
            ("unix:///run/docker.sock", EndpointError::NoUrl),
            ("data:text/plain,x", EndpointError::NoUrl),
            ("*", EndpointError::Scheme),
            ("/hook", EndpointError::Scheme),
            ("", EndpointError::NoUrl),
        ]);
        let long = format!("https://example.com/{}", "x".repeat(MOST_BYTES));
        assert_eq!(Endpoint::parse(&long), Err(EndpointError::Long));
    }

    #[test]
    fn a_url_keeps_its_host_port_and_path() {
        let told = |url: &str| {
            let endpoint = Endpoint::parse(url).unwrap();
            format!("{} {} {}", endpoint.authority(), endpoint.port, endpoint.path)
        };
        assert_eq!(told("https://Example.com"), "example.com 443 /");
        assert_eq!(told("https://example.com:8443/a?b=c"), "example.com:8443 8443 /a?b=c");
        assert_eq!(told("https://example.com?b"), "example.com 443 /?b");
        assert_eq!(told("http://[::1]:80/x"), "[::1] 80 /x");
        assert_eq!(told("http://127.0.0.1:9/x"), "127.0.0.1:9 9 /x");
    }
}
