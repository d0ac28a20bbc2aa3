//! Addresses, networks and hosts as an operator writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::super::problem::quoted;
use super::super::read::{Report, Value, did_you_mean_text};
use super::super::rewrite::BasePath;
use super::{Address, HostPattern, UpstreamAddress};

/// Reads an address to listen on: `0.0.0.0:8080`, `[::]:8080`, `unix:/run/backsoon/http.sock`.
pub(super) fn listen(value: &Value<'_>, report: &mut Report<'_>) -> Option<Address> {
    let text = value.string("0.0.0.0:8080", report)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(value, path, report).map(Address::Unix);
    }
    match text.parse() {
        Ok(address) => Some(Address::Ip(address)),
        Err(_) => {
            report.wrong(
                value.span.clone(),
                format!("{} is not an address to listen on", quoted(text)),
                listen_help(text),
            );
            None
        }
    }
}

/// Returns a correction for an address that cannot be read.
fn listen_help(text: &str) -> String {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim().trim_end_matches('/');
    if let Ok(address) = bare.parse::<SocketAddr>() {
        return did_you_mean_text(&address.to_string());
    }
    let (host, port) = bare.rsplit_once(':').unwrap_or(("", bare));
    let ip = match host.trim_matches(['[', ']']) {
        "" | "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ip => ip.parse().ok(),
    };
    match (ip, port.parse::<u16>()) {
        (Some(ip), Ok(port)) => return did_you_mean_text(&SocketAddr::new(ip, port).to_string()),
        (Some(ip), Err(_)) if port.is_empty() && !host.is_empty() => return add_port(ip),
        (Some(_), Err(_)) if !host.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) => {
            return "a port is a number from 1 to 65535".to_owned();
        }
        (Some(_) | None, _) => {}
    }
    match bare.trim_matches(['[', ']']) {
        "localhost" => add_port(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "*" => add_port(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ip if ip.parse::<IpAddr>().is_ok() => ip.parse().map(add_port).unwrap_or_default(),
        _ if text.starts_with('/') => did_you_mean_text(&format!("unix:{text}")),
        _ if is_name(without_port(bare)) && bare.contains('.') => {
            "a name is not looked up: write an IP address of this machine, or `0.0.0.0:8080` for all".to_owned()
        }
        _ => "write an IP address and a port, like `0.0.0.0:8080` or `[::]:8080`, or `unix:/run/backsoon/http.sock`"
            .to_owned(),
    }
}

fn add_port(ip: IpAddr) -> String {
    format!("add the port: `{}`", SocketAddr::new(ip, 8080))
}

/// Reads the path after `unix:`.
pub(super) fn socket_path(value: &Value<'_>, path: &str, report: &mut Report<'_>) -> Option<PathBuf> {
    // A URL would be written `unix:///run/app.sock`.
    let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
    if !path.starts_with('/') || path.contains('\0') {
        let message = format!("{} is not the path of a socket", quoted(path));
        report.wrong(value.span.clone(), message, "write it whole, like `unix:/run/backsoon/http.sock`");
        return None;
    }
    if path.len() > LONGEST_SOCKET_PATH {
        let message = format!("the path of the socket is too long: {} bytes", path.len());
        report.wrong(value.span.clone(), message, format!("the system takes at most {LONGEST_SOCKET_PATH} bytes"));
        return None;
    }
    Some(PathBuf::from(path))
}

/// Reads a network or a single address: `10.0.0.0/8`, `192.0.2.7`.
pub(super) fn network(value: &Value<'_>, text: &str, report: &mut Report<'_>) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    let Some(network) = network else {
        report.wrong(value.span.clone(), format!("{} is not a network", quoted(text)), network_help(text));
        return None;
    };
    if network.prefix_len() == 0 {
        let message = format!("{} is every address there is", quoted(text));
        let help = match value.key {
            "trusted_proxies" => "any client can then say that it is somebody else: name the proxies in front only",
            _ => "name the networks that are meant only",
        };
        report.warn(value.span.clone(), message, help);
    }
    Some(network.trunc())
}

fn network_help(text: &str) -> String {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "the number behind the `/` is from 0 to 32".to_owned(),
        Ok(IpAddr::V6(_)) => "the number behind the `/` is from 0 to 128".to_owned(),
        Err(_) if address.parse::<SocketAddr>().is_ok() => "leave out the port".to_owned(),
        Err(_) => format!("write a network like `10.0.0.0/8`, or an address like `192.0.2.7`{}", unix_hint(text)),
    }
}

fn unix_hint(text: &str) -> &'static str {
    if text.starts_with("unix") { "; `unix:` stands for every unix socket" } else { "" }
}

/// Reads a host of a route: `www.example.com`, `*.example.com`. Any case is accepted, and a trailing dot.
pub(super) fn host(value: &Value<'_>, report: &mut Report<'_>) -> Option<HostPattern> {
    let text = value.string("www.example.com", report)?;
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let pattern = match host.strip_prefix("*.") {
        Some(parent) if is_name(parent) && parent.parse::<Ipv4Addr>().is_err() => {
            Some(HostPattern::Below(parent.to_owned()))
        }
        Some(_) => None,
        None if is_name(&host) || is_bracketed(&host) => Some(HostPattern::Exact(host.clone())),
        None => None,
    };
    if pattern.is_none() {
        report.wrong(value.span.clone(), format!("{} is not a host", quoted(text)), host_help(&host));
    }
    pattern
}

/// Returns a correction for a host that cannot be read.
fn host_help(host: &str) -> String {
    if host == "*" {
        return "for any host, leave `host` out".to_owned();
    }
    if let Some((_, rest)) = host.split_once("://") {
        let name = rest.split('/').next().unwrap_or_default();
        return format!("write the name alone: {}", quoted(without_port(name)));
    }
    if let Some((name, path)) = host.split_once('/') {
        let path = format!("path = \"/{path}\"");
        return format!(
            "write the name alone, {}, and the path below it: {}",
            quoted(without_port(name)),
            quoted(&path)
        );
    }
    if is_name(without_port(host)) {
        return format!("leave out the port: {}; `listen` names the listener of a route", quoted(without_port(host)));
    }
    if host.contains('*') {
        return "a `*` can only stand for everything before a dot, at the start: `*.example.com`".to_owned();
    }
    if !host.is_ascii() {
        return "write it the way clients send it: in punycode, `xn--…`".to_owned();
    }
    "write a name like `www.example.com` or `*.example.com`".to_owned()
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Reads what follows the scheme of an upstream: `host`, `host:port`, or either with the path of the app.
pub(super) fn upstream(text: &str, default_port: u16) -> Option<(UpstreamAddress, BasePath)> {
    match text.find('/') {
        None => Some((authority(text, default_port)?, BasePath::default())),
        Some(slash) => Some((authority(&text[..slash], default_port)?, BasePath::new(&text[slash..])?)),
    }
}

/// Reads an upstream's `host:port` or `host`.
pub(super) fn authority(text: &str, default_port: u16) -> Option<UpstreamAddress> {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], text[colon + 1..].parse().ok()?),
        _ => (text, default_port),
    };
    let host = host.to_ascii_lowercase();
    let host = if is_bracketed(&host) { host.trim_matches(['[', ']']).to_owned() } else { host };
    let valid = port != 0 && (is_name(&host) || host.parse::<Ipv6Addr>().is_ok());
    valid.then_some(UpstreamAddress::Host(host, port))
}

fn is_bracketed(host: &str) -> bool {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

/// Returns true for a host name (RFC 1123 section 2.1, and underscores, which are in use) or an IPv4 address. A name
/// that ends in a number must be an address.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        inside && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= LONGEST_NAME && host.split('.').all(label) && (!number(last) || host.parse::<Ipv4Addr>().is_ok())
}

/// Bytes of a name without the dots at its ends (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;
/// Bytes of `sun_path` without the closing zero (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
