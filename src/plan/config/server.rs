//! Servers that are named by a URL without a path.

use std::net::Ipv6Addr;

/// Splits what is behind the scheme of a URL into host and port: `host`, `host:1`, `[::1]:1`, perhaps with a slash behind
/// it. Without a port it is `usual`. Whether the host is one, the caller decides.
pub(super) fn host_and_port(rest: &str, usual: u16) -> Option<(&str, u16)> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let is_number = |port: &str| port.bytes().all(|one| one.is_ascii_digit());
    match port {
        Some(port) => Some((host, port.parse().ok().filter(|number| is_number(port) && *number > 0)?)),
        None => Some((host, usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_the_usual_one() {
        for (rest, wanted) in [
            ("a.test", Some(("a.test", 7))),
            ("a.test/", Some(("a.test", 7))),
            ("a.test:1", Some(("a.test", 1))),
            ("[::1]", Some(("::1", 7))),
            ("[::1]:65535", Some(("::1", 65535))),
            ("a.test:", None),
            ("a.test:0", None),
            ("a.test:+1", None),
            ("a.test:65536", None),
            ("a.test:1/x", None),
            ("[a]:1", None),
            ("[::1]1", None),
            ("[::1", None),
        ] {
            assert_eq!(host_and_port(rest, 7), wanted, "{rest}");
        }
    }
}
