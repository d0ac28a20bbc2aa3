//! Header fields: removes those that end at this hop, adds those for the next hop, and decides which senders to
//! believe.

use std::cell::{OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

pub(crate) use crate::plan::answer::X_REQUEST_ID;
use crate::plan::client::{self, Client, Origin, X_FORWARDED_FOR};
use crate::plan::config::TrustedProxies;
use crate::plan::pass;
use crate::plan::snapshot::Marks;

use super::fields::{Field, Fields};
use super::spoofable;

/// `X-Forwarded-Proto`.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Prefix`: the prefix that was taken from the path.
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// `X-Forwarded-Port`.
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// `X-Forwarded-Client-Cert`: the certificate that a client has shown.
pub(crate) const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// `X-Real-IP`.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// `X-Maintenance`: `bypass` in requests that pass a closed route by its bypass.
pub(crate) const X_MAINTENANCE: HeaderName = HeaderName::from_static("x-maintenance");

const PROXY: HeaderName = HeaderName::from_static("proxy");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// The other end of a client connection, prepared once for all its requests.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `None` on a unix socket, and of a hidden client.
    pub address: Option<IpAddr>,
    /// True if a trusted proxy does not name the client.
    hidden: bool,
    /// The address that the peer has connected to, as far as it is known.
    pub local: Option<SocketAddr>,
    /// The port at the peer's end; `None` on a unix socket.
    pub source_port: Option<u16>,
    /// For `X-Forwarded-For`.
    text: HeaderValue,
    /// For `X-Forwarded-Port`.
    port: HeaderValue,
    /// `for=…` of the `Forwarded` field.
    node: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// For `X-Forwarded-Client-Cert`: the certificate that it has shown in the handshake, if it has.
    pub certificate: OnceCell<HeaderValue>,
    /// Cache of the last request's host and its `Forwarded` element, since a client seldom changes hosts.
    cached_forwarded: RefCell<Option<(HeaderValue, HeaderValue)>>,
}

impl Peer {
    /// Creates a peer. `local` is where it has connected to; on a unix socket the port is the scheme's default.
    pub(crate) fn new(end: Option<SocketAddr>, local: Option<SocketAddr>, scheme: &'static str) -> Self {
        let port = local.map(|local| local.port());
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        let address = end.map(|end| end.ip().to_canonical());
        let source_port = end.map(|end| end.port());
        let text = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let node = if text.contains(':') { format!("\"[{text}]\"") } else { text.clone() };
        let text = HeaderValue::from_str(&text).unwrap_or(UNKNOWN);
        let port = HeaderValue::from(port.unwrap_or(if scheme == "https" { 443 } else { 80 }));
        Self {
            address,
            hidden: false,
            local,
            source_port,
            text,
            port,
            node,
            scheme,
            certificate: OnceCell::new(),
            cached_forwarded: RefCell::default(),
        }
    }

    /// Creates the peer of a connection whose client a trusted proxy does not name.
    pub(crate) fn hidden(scheme: &'static str) -> Self {
        Self { hidden: true, ..Self::new(None, None, scheme) }
    }

    /// Returns the origin of the connection.
    pub(crate) fn origin(&self) -> Origin {
        if self.hidden { Origin::Hidden } else { self.address.into() }
    }

    /// Returns its element of the `Forwarded` field in a request for `host`.
    fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let mut cached_forwarded = self.cached_forwarded.borrow_mut();
        if let Some((known, element)) = &*cached_forwarded
            && known == host
        {
            return element.clone();
        }
        let element = forwarded(self, host);
        if host.len() <= LONGEST_HOST {
            // The value is copied, because a slice would keep the read buffer alive.
            *cached_forwarded = HeaderValue::from_bytes(host.as_bytes()).ok().map(|host| (host, element.clone()));
        }
        element
    }

    /// Returns true if the peer's fields about other hops are believed.
    pub(crate) fn is_trusted(&self, trusted: &TrustedProxies) -> bool {
        client::is_trusted(self.origin(), trusted)
    }
}

/// The client's hop-by-hop requests, read before their fields are removed.
#[derive(Debug, Default)]
pub(crate) struct HopByHop {
    /// The protocol to switch to.
    pub upgrade: Option<HeaderValue>,
    /// True if the client takes trailers.
    pub trailers: bool,
}

/// Removes the fields of a request that end at this hop (RFC 9110 section 7.6.1), and returns what they asked for.
pub(crate) fn strip_request(headers: &mut HeaderMap, fields: Fields, version: Version) -> HopByHop {
    let asks_to_switch = version == Version::HTTP_11
        && fields.has(Field::Upgrade)
        && fields.has(Field::Connection)
        && has_token(headers, CONNECTION, b"upgrade");
    let upgrade = asks_to_switch
        .then(|| headers.get(UPGRADE).cloned())
        .flatten()
        // h2c is not passed on: requests on that connection would not be checked (h2c smuggling).
        .filter(|protocol| !protocol.as_bytes().split(|&byte| byte == b',').any(is_h2c));
    let trailers = fields.has(Field::Te) && has_token(headers, TE, b"trailers");
    strip(headers, fields);
    if fields.has(Field::Expect) {
        headers.remove(EXPECT);
    }
    if fields.has(Field::Http2Settings) {
        headers.remove(HTTP2_SETTINGS);
    }
    HopByHop { upgrade, trailers }
}

fn is_h2c(protocol: &[u8]) -> bool {
    protocol.trim_ascii().get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
}

/// Removes the fields of a response that end at this hop. `trailers` is true if the client accepts trailers.
pub(crate) fn strip_response(headers: &mut HeaderMap, fields: Fields, trailers: bool) {
    strip(headers, fields);
    if !trailers && fields.has(Field::Trailer) {
        headers.remove(TRAILER);
    }
}

/// The fields that end at this hop, except `Connection` and the fields that it names.
static HOP_BY_HOP: [(Field, HeaderName); 7] = [
    (Field::KeepAlive, KEEP_ALIVE),
    (Field::ProxyConnection, PROXY_CONNECTION),
    (Field::ProxyAuthenticate, PROXY_AUTHENTICATE),
    (Field::ProxyAuthorization, PROXY_AUTHORIZATION),
    (Field::Te, TE),
    (Field::TransferEncoding, TRANSFER_ENCODING),
    (Field::Upgrade, UPGRADE),
];

fn strip(headers: &mut HeaderMap, fields: Fields) {
    if fields.has(Field::Connection) {
        strip_named(headers, fields);
    }
    for (field, name) in &HOP_BY_HOP {
        if fields.has(*field) {
            headers.remove(name);
        }
    }
}

/// Removes `Connection` and every field that any of its lines names.
fn strip_named(headers: &mut HeaderMap, fields: Fields) {
    if !fields.repeats(Field::Connection)
        && let Some(only) = headers.remove(CONNECTION)
    {
        // The usual value.
        if !is_option(only.as_bytes()) {
            strip_listed(headers, &[only]);
        }
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    strip_listed(headers, &lines);
}

fn strip_listed(headers: &mut HeaderMap, lines: &[HeaderValue]) {
    for name in lines.iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        // A client must not remove these: they frame and route the message, or come from a trusted proxy.
        match HeaderName::from_bytes(name.trim_ascii()) {
            Ok(CONTENT_LENGTH | HOST) | Err(_) => {}
            Ok(name) if spoofable::is_spoofable(name.as_str()) => {}
            Ok(name) => drop(headers.remove(name)),
        }
    }
}

/// Returns true for the usual options of `Connection`, which name no field, or one that is removed anyway.
fn is_option(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close")
}

/// Returns true if a comma-separated field has this token.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// Removes disguised fields: an upstream that reads `_` and the like as `-` (CGI, WSGI) would take them for spoofable
/// fields, or for the message's length.
fn strip_disguised(headers: &mut HeaderMap) {
    remove_all(headers, |name| {
        spoofable::is_disguised(name.as_str()) && is_spoofable_cgi_form(&spoofable::cgi_form(name.as_str()))
    });
}

/// Removes disguised fields of a trusted proxy, since its client may have sent them. Fields that are odd by design
/// stay.
fn strip_disguised_by_client(headers: &mut HeaderMap) {
    remove_all(headers, |name| {
        let name = name.as_str();
        spoofable::is_disguised(name)
            && !spoofable::is_odd_by_design(name)
            && is_spoofable_cgi_form(&spoofable::cgi_form(name))
    });
}

/// Returns true if a name in its CGI form is that of a protected field.
fn is_spoofable_cgi_form(plain: &str) -> bool {
    spoofable::is_spoofable(plain) || spoofable::ALSO_PROTECTED.contains(&plain)
}

fn remove_all(headers: &mut HeaderMap, which: impl FnMut(&&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(which).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes the trailers that an upstream must not merge into the head (RFC 9110 section 6.5.1): all fields that this
/// proxy acts on. That holds for trusted proxies too, because such a trailer comes from their client.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip_disguised(trailers);
    remove_all(trailers, |name| !matches!(Field::of(name), None | Some(Field::Disguised)));
}

/// Merges repeated `Content-Length` fields into one, without leading zeros. `check` has verified that all values are
/// equal.
pub(crate) fn merge_content_length(headers: &mut HeaderMap, fields: Fields) {
    if !fields.has(Field::ContentLength) {
        return;
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else { return };
    let plain = plain_length(length.as_bytes());
    if (fields.repeats(Field::ContentLength) || plain.len() < length.len())
        && let Ok(plain) = HeaderValue::from_bytes(plain)
    {
        headers.insert(CONTENT_LENGTH, plain);
    }
}

/// Returns digits without leading zeros.
pub(crate) fn plain_length(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros.min(digits.len().saturating_sub(1))..]
}

/// Removes the proxy's own cookies: no upstream may see what is signed with a secret, whichever route it serves.
pub(crate) fn strip_own_cookies(headers: &mut HeaderMap, fields: Fields) {
    strip_cookies(headers, fields, pass::without_own);
}

/// Removes the cookie that marks an upstream: it tells the app nothing, and would be in its logs.
#[cold]
pub(crate) fn strip_marks(headers: &mut HeaderMap, fields: Fields, marks: &Marks) {
    strip_cookies(headers, fields, |line| pass::without(line, |pair| marks.is(pair)));
}

/// Removes cookies. `without` returns a line without them, and `None` if it has none.
fn strip_cookies(headers: &mut HeaderMap, fields: Fields, without: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let has_one = |line: &HeaderValue| without(line.as_bytes()).is_some();
    if !fields.has(Field::Cookie) || !headers.get_all(COOKIE).iter().any(has_one) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let left = match without(line.as_bytes()) {
            Some(left) if left.is_empty() => continue,
            Some(left) => HeaderValue::from_bytes(&left).ok(),
            None => Some(line),
        };
        if let Some(left) = left {
            headers.append(COOKIE, left);
        }
    }
}

/// Adds the fields that tell the next hop of the previous ones. `trusted` is given if the peer is a trusted proxy.
///
/// Forwarding fields of any other peer are not passed on: an upstream that believes this proxy would believe them.
pub(crate) fn add_forwarded(
    headers: &mut HeaderMap,
    fields: Fields,
    peer: &Peer,
    host: &HeaderValue,
    trusted: Option<&TrustedProxies>,
) {
    if fields.has(Field::Proxy) {
        headers.remove(PROXY);
    }
    if fields.has(Field::Maintenance) {
        headers.remove(X_MAINTENANCE);
    }
    if fields.has(Field::Disguised) {
        if trusted.is_some() { strip_disguised_by_client(headers) } else { strip_disguised(headers) }
    }
    match trusted {
        Some(trusted) => extend_forwarded(headers, fields, peer, host, trusted),
        None => replace_forwarded(headers, fields, peer, host),
    }
    // What a trusted proxy says of its client's certificate stays, unless it shows one of its own.
    if let Some(certificate) = peer.certificate.get() {
        headers.insert(X_FORWARDED_CLIENT_CERT, certificate.clone());
    }
}

/// Replaces the forwarding fields of an untrusted peer by what is known of it.
fn replace_forwarded(headers: &mut HeaderMap, fields: Fields, peer: &Peer, host: &HeaderValue) {
    if fields.has(Field::Spoofable) {
        remove_all(headers, |name| spoofable::is_spoofable(name.as_str()));
    }
    headers.insert(X_FORWARDED_FOR, peer.text.clone());
    if peer.address.is_some() {
        headers.insert(X_REAL_IP, peer.text.clone());
    }
    headers.insert(FORWARDED, peer.forwarded(host));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
    headers.insert(X_FORWARDED_PORT, peer.port.clone());
    if !host.is_empty() {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
}

/// Extends the forwarding fields of a trusted proxy, and adds those that are missing.
fn extend_forwarded(
    headers: &mut HeaderMap,
    fields: Fields,
    peer: &Peer,
    host: &HeaderValue,
    trusted: &TrustedProxies,
) {
    if fields.has(Field::Spoofable) {
        translate_forwarded(headers);
    } else {
        // The peer sent no spoofable field, so it is the client itself. For the client of a proxy, only that proxy
        // knows the port.
        headers.insert(X_FORWARDED_PORT, peer.port.clone());
    }
    if !headers.contains_key(X_REAL_IP)
        && let Client::Address(client) = client::of(peer.origin(), headers, trusted)
        && let Ok(client) = HeaderValue::try_from(client.to_string())
    {
        headers.insert(X_REAL_IP, client);
    }
    // A peer without an address would hide the client that it names.
    if peer.address.is_some() || !headers.contains_key(X_FORWARDED_FOR) {
        append(headers, X_FORWARDED_FOR, "unknown", &peer.text);
    }
    append(headers, FORWARDED, "for=unknown", &peer.forwarded(host));
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(peer.scheme));
    if !host.is_empty() {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
}

/// Copies the clients from `Forwarded` to `X-Forwarded-For`, or back, if only one of them is set (RFC 7239 section
/// 7.4). Otherwise an upstream that reads only the other field would take the trusted proxy for the client.
fn translate_forwarded(headers: &mut HeaderMap) {
    let translated = match (headers.contains_key(X_FORWARDED_FOR), headers.contains_key(FORWARDED)) {
        (true, false) => (FORWARDED, client::as_forwarded(headers)),
        (false, true) => (X_FORWARDED_FOR, client::as_x_forwarded_for(headers)),
        (true, true) | (false, false) => return,
    };
    let (name, text) = translated;
    headers.insert(name, HeaderValue::try_from(text).unwrap_or(UNKNOWN));
}

/// One element of the `Forwarded` field (RFC 7239).
fn forwarded(peer: &Peer, host: &HeaderValue) -> HeaderValue {
    let host = host.to_str().unwrap_or_default();
    let mut element = String::with_capacity(peer.node.len() + host.len() + 32);
    element.push_str("for=");
    element.push_str(&peer.node);
    if !host.is_empty() {
        let quote = if host.bytes().all(is_token) { "" } else { "\"" };
        element.extend([";host=", quote, host, quote]);
    }
    element.push_str(";proto=");
    element.push_str(peer.scheme);
    HeaderValue::try_from(element).unwrap_or(HeaderValue::from_static("for=unknown"))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends to a list field, on one line. If the line ends with an empty element, `nobody` fills it: an empty element
/// inside a list has no meaning.
fn append(headers: &mut HeaderMap, name: HeaderName, nobody: &str, value: &HeaderValue) {
    let mut joined = Vec::new();
    for line in headers.get_all(&name).iter().map(|line| line.as_bytes().trim_ascii_end()) {
        joined.extend_from_slice(line);
        if matches!(line.last(), None | Some(b',')) {
            joined.extend_from_slice(nobody.as_bytes());
        }
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(value.as_bytes());
    headers.insert(name, HeaderValue::from_bytes(&joined).unwrap_or_else(|_| value.clone()));
}

/// Sets the fields of an upgrade, which `strip` removed.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Sets the hop-by-hop fields for an HTTP/1.1 upstream, as the client asked. `Connection` names each of them (RFC 9110
/// sections 7.8 and 10.1.4), so that it ends at the next hop.
pub(crate) fn set_hop_by_hop(headers: &mut HeaderMap, hop: &HopByHop) {
    let connection = match (&hop.upgrade, hop.trailers) {
        (None, false) => return,
        (Some(_), false) => "upgrade",
        (None, true) => "te",
        (Some(_), true) => "upgrade, te",
    };
    headers.insert(CONNECTION, HeaderValue::from_static(connection));
    if let Some(protocol) = &hop.upgrade {
        headers.insert(UPGRADE, protocol.clone());
    }
    if hop.trailers {
        headers.insert(TE, TRAILERS);
    }
}

/// Tells an HTTP/2 upstream that the client accepts trailers. HTTP/2 has no `Connection`.
pub(crate) fn set_hop_by_hop_http2(headers: &mut HeaderMap, hop: &HopByHop) {
    // A request that was prepared for an HTTP/1.1 upstream has these fields.
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    if hop.trailers {
        headers.insert(TE, TRAILERS);
    }
}

/// Joins the cookies that an HTTP/2 client sent in several fields (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap, fields: Fields) {
    if !fields.repeats(Field::Cookie) {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Longest host that is cached: a name and a port are never longer.
const LONGEST_HOST: usize = 262;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn every_field_that_connection_names_ends_here() {
        let mut fields = headers(&[
            ("connection", "keep-alive, X-Hop"),
            ("connection", "x-other, content-length, host"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("x-kept", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("te", "trailers, deflate"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "secret"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
        ]);
        let seen = Fields::of(&fields);
        let hop = strip_request(&mut fields, seen, Version::HTTP_11);
        assert!(hop.trailers && hop.upgrade.is_none());
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-kept"]);
    }

    #[test]
    fn an_upgrade_is_wished_for_only_in_so_many_words() {
        let wish = |fields: &[(&'static str, &str)], version| {
            let mut fields = headers(fields);
            let seen = Fields::of(&fields);
            strip_request(&mut fields, seen, version).upgrade
        };
        let websocket = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(wish(&websocket, Version::HTTP_11).unwrap(), "websocket");
        assert_eq!(wish(&websocket, Version::HTTP_10), None);
        assert_eq!(wish(&websocket[1..], Version::HTTP_11), None);
        assert_eq!(wish(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], Version::HTTP_11), None);
    }

    #[test]
    fn what_lets_a_client_pass_ends_here_and_other_cookies_stay_byte_for_byte() {
        let cookies = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let mut fields = headers(&lines);
            let seen = Fields::of(&fields);
            strip_own_cookies(&mut fields, seen);
            fields.get_all(COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cookies(&["a=1;  b=\"2\";c"]), ["a=1;  b=\"2\";c"]);
        assert_eq!(cookies(&["a=1; __Host-backsoon-bypass-web=x; b=2"]), ["a=1; b=2"]);
        assert_eq!(cookies(&["__Host-backsoon-ramp=x; b=2", "c=3"]), ["b=2", "c=3"]);
        assert_eq!(cookies(&["__Host-backsoon-ramp=x;__Host-backsoon-bypass-web=y"]), [""; 0]);
        assert_eq!(
            cookies(&["backsoon-ramp=x; backsoon-bypass-web=y; backsoon-ramps=z; backsoon=0"]),
            ["backsoon-ramps=z; backsoon=0"]
        );
        assert_eq!(cookies(&["x=__Host-backsoon-ramp=x"]), ["x=__Host-backsoon-ramp=x"]);
    }

    #[test]
    fn what_a_stranger_says_of_others_is_not_passed_on() {
        let peer = Peer::new(
            Some("[2001:db8::1]:50000".parse().unwrap()),
            Some("[2001:db8::2]:8443".parse().unwrap()),
            "https",
        );
        let host = HeaderValue::from_static("a.example:8443");
        let sent = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "http"), ("forwarded", "for=1.1.1.1")];
        let mut fields = headers(&sent);
        for disguised in ["x_forwarded_for", "x-forwarded_for", "x_request-id", "other_field"] {
            fields.insert(disguised, HeaderValue::from_static("1"));
        }
        let seen = Fields::of(&fields);
        add_forwarded(&mut fields, seen, &peer, &host, None);
        let left: Vec<_> = fields.keys().map(HeaderName::as_str).filter(|name| name.contains('_')).collect();
        assert_eq!(left, ["other_field"]);
        assert_eq!(fields[X_FORWARDED_FOR], "2001:db8::1");
        assert_eq!(fields[X_FORWARDED_PROTO], "https");
        assert_eq!(fields[FORWARDED], "for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https");
        let mut fields = headers(&sent);
        let seen = Fields::of(&fields);
        let trusted = TrustedProxies { networks: vec!["2001:db8::/32".parse().unwrap()], unix: false };
        add_forwarded(&mut fields, seen, &peer, &host, Some(&trusted));
        assert_eq!(fields[X_FORWARDED_FOR], "1.1.1.1, 2001:db8::1");
        assert_eq!(fields[X_FORWARDED_PROTO], "http");
        assert_eq!(fields[X_FORWARDED_HOST], "a.example:8443");
    }
}
