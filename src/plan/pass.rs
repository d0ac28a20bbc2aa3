//! Means to pass a closed route: for testers, deploy scripts, and clients that a ramp admits.
//!
//! - The networks of `bypass`, by the client's address.
//! - The secret of `bypass`, in the field that it names.
//! - A cookie from a signed link, bound to the route and to the window that closes it.
//! - While the route ramps: a cohort below the admitted number. A cohort is a hash of the address, the same in every
//!   replica and on all routes of a window. A signed cookie keeps the address's part, so that a client whose address
//!   changes does not flip.
//!
//! An unknown client is in no network, and in the last cohort. A client that a trusted proxy names without an address is in
//! a cohort by that name.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, Method};
use memchr::memchr;
use memchr::memmem::Finder;

use super::client::{self, Client};
use super::config::Cookies;
use super::head::Head;
use super::path::Prefix;
use super::snapshot::{Closure, Route, Snapshot, Source};

pub(crate) use super::admission::cohorts::{Group, Turn};
use super::admission::key::LONGEST;
pub use super::admission::{Admission, COOKIES, Keys, OpenedLink, Transport, key, pass_cookie};
use super::admission::{RAMP_COOKIE, TURN, cookie, is_own_cookie};
pub use key::{Binding, InvalidToken, Key, Purpose, SHORTEST, Token, millis};

/// Reason for forwarding a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The route is open.
    Open,
    /// The path is an exception of the closed route.
    Excepted,
    /// The route is read-only, and the request is allowed.
    ReadOnly,
    /// The route ramps, and the client is admitted.
    Admitted,
    /// The client may bypass the closure.
    Bypassed,
}

/// Reason for which a client passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// The client's address is in a network of the bypass.
    Network,
    /// The client has sent the secret.
    Secret,
    /// The client has the cookie of a link.
    Cookie,
    /// The client's cohort is admitted.
    Cohort,
}

impl PassReason {
    /// Returns the meaning for the request.
    pub fn pass(self) -> Pass {
        match self {
            Self::Network | Self::Secret | Self::Cookie => Pass::Bypassed,
            Self::Cohort => Pass::Admitted,
        }
    }
}

/// Finds the reason for which a client passes a closed route.
///
/// # Errors
/// Returns an error if it does not pass, with the fault of the credential that it sent, if any.
pub fn check(
    snapshot: &Snapshot,
    route: &Route,
    closure: &Closure,
    head: &Head<'_>,
) -> Result<PassReason, Option<InvalidToken>> {
    route.admission.as_deref().ok_or(None)?;
    let trusted = &snapshot.trusted_proxies;
    let mut invalid = None;
    if let Some(bypass) = &route.config.policy.bypass {
        let is_in = |address: IpAddr| bypass.networks.iter().any(|network| network.contains(&address));
        if !bypass.networks.is_empty() && client::of(head.peer, head.headers, trusted).address().is_some_and(is_in) {
            return Ok(PassReason::Network);
        }
        match check_credential(snapshot, route, closure, head) {
            Ok(reason) => return Ok(reason),
            Err(found) => invalid = found,
        }
    }
    if closure.admits > 0 && is_admitted(route, closure, turn(snapshot, route, head).0) {
        return Ok(PassReason::Cohort);
    }
    Err(invalid)
}

/// Checks the credentials of a client: the secret, or the cookie of a link.
///
/// # Errors
/// Returns an error if it sent none, or the fault of the one that it sent.
pub fn check_credential(
    snapshot: &Snapshot,
    route: &Route,
    closure: &Closure,
    head: &Head<'_>,
) -> Result<PassReason, Option<InvalidToken>> {
    let admission = route.admission.as_deref().ok_or(None)?;
    let key = admission.key.as_deref().ok_or(None)?;
    let header = route.config.policy.bypass.as_ref().and_then(|bypass| bypass.header.as_ref());
    let mut invalid = None;
    for sent in header.into_iter().flat_map(|name| head.headers.get_all(name)).take(MOST_TRIED) {
        if key.is(sent.as_bytes()) {
            return Ok(PassReason::Secret);
        }
        invalid = Some(InvalidToken::Forged);
    }
    let binding = Binding { purpose: Purpose::Pass, route: &route.config.name };
    let maintenance = closure.maintenance(instant(snapshot, head));
    for token in cookies(head.headers, &admission.pass_cookies).take(MOST_TRIED) {
        match admission.verify(binding, maintenance, token, &mut [0; LONGEST]) {
            Ok(_) => return Ok(PassReason::Cookie),
            Err(found) => invalid = invalid.or(Some(found)),
        }
    }
    Err(invalid)
}

/// Returns the cohort of a client in the ramp of a closed route.
pub fn cohort(snapshot: &Snapshot, route: &Route, closure: &Closure, head: &Head<'_>) -> u32 {
    turn(snapshot, route, head).0.cohort(group(route, closure))
}

/// Returns true if a ramp admits the clients of a turn.
pub(crate) fn is_admitted(route: &Route, closure: &Closure, turn: Turn) -> bool {
    closure.admits > 0 && turn.cohort(group(route, closure)) < closure.admits
}

/// Returns the group of a route's ramp: the routes beside which a client comes back.
fn group<'g>(route: &'g Route, closure: &'g Closure) -> Group<'g> {
    match (&route.config.policy.ramp_group, &closure.ramped) {
        (Some(name), _) => Group::Named(name),
        (None, Source::Window(id)) => Group::Window(id),
        (None, Source::Flag | Source::Switch(_)) => Group::Flags,
    }
}

/// Returns a client's turn, and true if its cookie names it.
pub(crate) fn turn(snapshot: &Snapshot, route: &Route, head: &Head<'_>) -> (Turn, bool) {
    if let Some(admission) = &route.admission {
        let now = instant(snapshot, head);
        let kept = |token| admission.kept_turn(token, now);
        if let Some(turn) = cookies(head.headers, &admission.ramp_cookies).take(MOST_TRIED).find_map(kept) {
            return (Turn::Hash(turn), true);
        }
    }
    let turn = match client::of(head.peer, head.headers, &snapshot.trusted_proxies) {
        Client::Address(IpAddr::V4(address)) => Turn::of(&address.octets()),
        // A client has all addresses of its /64, and changes them daily (RFC 8981).
        Client::Address(IpAddr::V6(address)) => Turn::of(&address.octets()[..8]),
        Client::Named(name) => Turn::of(name),
        Client::Unknown => Turn::Last,
        // All clients of a unix socket are one.
        Client::Unix => Turn::of(&[]),
    };
    (turn, false)
}

/// Returns a `Set-Cookie` that keeps the turn of a client without a cookie. Only documents and what scripts fetch get
/// one: caches may share other responses, and their client has the cookie already.
pub fn keep_turn(
    snapshot: &Snapshot,
    route: &Route,
    closure: &Closure,
    head: &Head<'_>,
    transport: Transport,
) -> Option<String> {
    let admission = route.admission.as_deref()?;
    let key = admission.turns.as_ref()?;
    if transport == Transport::Http && route.config.policy.cookies == Cookies::Https {
        return None;
    }
    if closure.admits == 0 || !is_document(head.method, head.headers) && !is_fetched(head.headers) {
        return None;
    }
    // An unknown client must not stay the last one.
    let (Turn::Hash(turn), false) = turn(snapshot, route, head) else { return None };
    let lasts = route.config.policy.ramp.as_ref().map_or(0, |ramp| ramp.length().as_secs()) + KEPT;
    let issued = instant(snapshot, head);
    let token = Token { issued, expires: issued + lasts * 1000, turn, ..Token::default() };
    Some(cookie(transport, RAMP_COOKIE, &key.sign(TURN, token), lasts))
}

/// Returns true if a script of the same site fetches data. Its page may come from another host, which set no cookie
/// for this one.
fn is_fetched(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_DEST).is_some_and(|dest| dest == "empty")
        && headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-site" || site == "same-origin")
}

/// Returns true if a browser navigates to a document.
fn is_document(method: &Method, headers: &HeaderMap) -> bool {
    let accepts_html = || {
        let lines = headers.get_all(http::header::ACCEPT).iter();
        lines.map(http::HeaderValue::as_bytes).any(|line| line.windows(HTML.len()).any(|part| part == HTML))
    };
    *method == Method::GET && headers.get(SEC_FETCH_MODE).map_or_else(accepts_html, |mode| mode == "navigate")
}

/// Returns the present instant in the unit of tokens.
pub(crate) fn instant(snapshot: &Snapshot, head: &Head<'_>) -> u64 {
    millis(snapshot.compiled).saturating_add(u64::try_from(head.elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the values of a cookie, by each of its names.
fn cookies<'h>(headers: &'h HeaderMap, names: &'h [Finder<'static>]) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(COOKIE).iter().map(http::HeaderValue::as_bytes);
    lines.flat_map(move |line| names.iter().map(move |name| (line, name))).flat_map(|(line, name)| {
        name.find_iter(line).filter_map(move |at| {
            let begins = matches!(line[..at].trim_ascii_end().last(), None | Some(b';'));
            let value = &line[at + name.needle().len()..];
            let value = &value[..memchr(b';', value).unwrap_or(value.len())];
            begins.then(|| value.trim_ascii())
        })
    })
}

/// Returns the target of a link on the same host: the path after the reserved prefix and `/bypass`, unchanged, and the
/// query without the token.
pub fn destination(reserved: &Prefix, path: &str, query: Option<&str>) -> String {
    let rest = path.strip_prefix(reserved.as_str()).and_then(|path| path.strip_prefix("/bypass"));
    // A browser takes `//host` and `/\host` for other hosts. Links that this proxy did not make lead to the root.
    let is_plain = |rest: &&str| rest.starts_with('/') && !rest[1..].starts_with(['/', '\\']);
    let mut target = rest.filter(is_plain).unwrap_or("/").to_owned();
    let others = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with(TOKEN));
    for (index, pair) in others.enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(pair);
    }
    target
}

/// Returns the token in a link's query.
pub fn token(query: Option<&str>) -> &str {
    query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix(TOKEN)).unwrap_or_default()
}

/// Returns a `Cookie` field without the proxy's own cookies; `None` if it has none of them.
pub fn without_own(line: &[u8]) -> Option<Vec<u8>> {
    without(line, is_own_cookie)
}

/// Returns a `Cookie` field without some of its pairs; `None` if it has none of them.
pub(crate) fn without(line: &[u8], is_out: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let pairs = || line.split(|&byte| byte == b';');
    pairs().any(&is_out).then(|| {
        let left: Vec<&[u8]> = pairs().filter(|pair| !is_out(pair)).collect();
        left.join(&b';').trim_ascii_start().to_vec()
    })
}

const TOKEN: &str = "token=";
const HTML: &[u8] = b"text/html";
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Secrets, or cookies of one name, that are tried. A client sends one, and others may add to it.
const MOST_TRIED: usize = 8;
/// Seconds for which a turn is kept after the end of a ramp that nothing holds.
const KEPT: u64 = 24 * 3600;
