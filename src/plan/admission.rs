//! Admission: the secrets, cohorts and cookies by which some clients pass a route that is not open.

pub(crate) mod cohorts;
pub mod key;

use std::sync::Arc;

use jiff::Timestamp;
use memchr::memmem::Finder;

use super::config::{Cookies, RouteConfig};
use super::flags::{Flags, Link};
use super::lifecycle::Source;

use key::{Binding, InvalidToken, Key, LONGEST, Purpose, Space, Token, millis};

/// Means to pass a route, prepared once for all requests.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Secret of the bypass, if there is one.
    pub key: Option<Arc<Key>>,
    /// Secret that signs the cookies of turns, the same for all routes; `None` if no route has one.
    pub(super) turns: Option<Arc<Key>>,
    /// Instant before which links and cookies are void.
    pub(super) revoked: Option<Timestamp>,
    /// Named links of the route.
    links: Vec<Link>,
    /// Transports over which cookies are kept.
    cookies: Cookies,
    /// Searchers for the cookies' names with `=`, by the transports that the route allows. A route's name has only characters of a cookie's name (RFC 6265
    /// section 4.1.1), including dots.
    pub(super) pass_cookies: Box<[Finder<'static>]>,
    pub(super) ramp_cookies: Box<[Finder<'static>]>,
}

/// Maintenance that a route is under, as far as a token can be for it.
#[derive(Clone, Copy, Debug)]
pub struct Maintenance<'m> {
    /// Flag or window that closes the route now.
    pub source: &'m Source,
    /// Instant at which the route was last open before.
    pub open_before: Timestamp,
    /// Present instant, in the unit of tokens.
    pub now: u64,
}

/// Transport of a client's request, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS.
    Https,
    /// Clear text.
    Http,
}

/// Link that was opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenedLink<'l> {
    /// Name of the route.
    pub route: &'l str,
    /// Transport for which the cookie is made.
    pub transport: Transport,
    /// Token of the link.
    pub token: &'l [u8],
}

/// Secrets that a route uses.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'k> {
    /// Secret of the route's own bypass.
    pub bypass: Option<&'k Arc<Key>>,
    /// Secret that signs the cookies of turns.
    pub turns: Option<&'k Arc<Key>>,
}

/// Cookie for a link that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed<'l> {
    /// `Set-Cookie` that lets the client pass.
    pub cookie: String,
    /// The link, if it has a name.
    pub link: Option<&'l Link>,
}

impl Admission {
    /// Prepares the means of a route; `None` if it has no bypass and never admits a share.
    pub fn new(route: &RouteConfig, keys: Keys<'_>, flags: &Flags) -> Option<Self> {
        if route.policy.bypass.is_none() && !route.policy.admits_shares() {
            return None;
        }
        Some(Self {
            key: keys.bypass.cloned(),
            turns: keys.turns.cloned(),
            revoked: flags.revoked(&route.name),
            links: links_of(flags, route).cloned().collect(),
            cookies: route.policy.cookies,
            pass_cookies: finders(route.policy.cookies, &pass_cookie(&route.name)),
            ramp_cookies: finders(route.policy.cookies, RAMP_COOKIE),
        })
    }

    /// Returns true if the admission was prepared from the same keys, revocations and transports.
    pub fn is_from(&self, route: &RouteConfig, keys: Keys<'_>, flags: &Flags) -> bool {
        let same = self.cookies == route.policy.cookies && self.revoked == flags.revoked(&route.name);
        same && self.links.iter().eq(links_of(flags, route))
            && is_same(self.key.as_ref(), keys.bypass)
            && is_same(self.turns.as_ref(), keys.turns)
    }

    /// Redeems a link's token for a cookie.
    ///
    /// # Errors
    /// Returns the fault of the token.
    pub fn redeem(&self, opened: OpenedLink<'_>, maintenance: Maintenance<'_>) -> Result<Redeemed<'_>, InvalidToken> {
        let OpenedLink { route, transport, token } = opened;
        let key = self.key.as_ref().ok_or(InvalidToken::Forged)?;
        let link = Binding { purpose: Purpose::Link, route };
        let mut space = [0; LONGEST];
        let token = self.verify(link, maintenance, token, &mut space)?;
        // The cookie has the link's time of issue, so that both are revoked together.
        let value = key.sign(Binding { purpose: Purpose::Pass, ..link }, token);
        let seconds = token.expires.saturating_sub(maintenance.now) / 1000;
        Ok(Redeemed { cookie: cookie(transport, &pass_cookie(route), &value, seconds), link: self.link(&token) })
    }

    /// Reads a token that lets its client pass, and checks that it is good for this maintenance now.
    pub(super) fn verify<'t>(
        &self,
        binding: Binding<'_>,
        maintenance: Maintenance<'_>,
        token: &[u8],
        space: &'t mut Space,
    ) -> Result<Token<'t>, InvalidToken> {
        let key = self.key.as_ref().ok_or(InvalidToken::Forged)?;
        let token = key.read(binding, token, space)?;
        if token.expires <= maintenance.now {
            return Err(InvalidToken::Expired);
        }
        if self.revoked.is_some_and(|revoked| token.issued < millis(revoked)) {
            return Err(InvalidToken::Revoked);
        }
        if !token.name.is_empty() && self.link(&token).is_none() {
            return Err(InvalidToken::Withdrawn);
        }
        if is_for(&token, maintenance) { Ok(token) } else { Err(InvalidToken::OtherWindow) }
    }

    /// Returns the named links of the route.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Returns the named link of a token.
    fn link(&self, token: &Token<'_>) -> Option<&Link> {
        self.links.iter().find(|link| link.name == token.name && millis(link.issued) == token.issued)
    }

    /// Reads a cookie that keeps a turn.
    pub(super) fn kept_turn(&self, token: &[u8], now: u64) -> Option<u32> {
        let mut space = [0; LONGEST];
        let token = self.turns.as_ref()?.read(TURN, token, &mut space).ok()?;
        (token.expires > now).then_some(token.turn)
    }
}

/// Binding of a turn, which is kept on all routes and from one maintenance to the next.
pub(super) const TURN: Binding<'static> = Binding { purpose: Purpose::Ramp, route: "" };

/// Returns true if a token was made for this maintenance, whatever closes the route now. The token was made after the
/// maintenance had begun, or ahead for a window that has begun since.
fn is_for(token: &Token<'_>, maintenance: Maintenance<'_>) -> bool {
    let has_begun = || token.window.is_empty() || token.begins <= maintenance.now;
    // A window that was moved keeps its id.
    let is_in_force = || matches!(maintenance.source, Source::Window(id) if id == token.window);
    token.begins >= millis(maintenance.open_before) && (has_begun() || is_in_force())
}

/// Returns true if two keys have the same secret, or if there are none.
fn is_same(key: Option<&Arc<Key>>, other: Option<&Arc<Key>>) -> bool {
    match (key, other) {
        (Some(key), Some(other)) => Arc::ptr_eq(key, other) || key.is_same(other),
        (key, other) => key.is_none() && other.is_none(),
    }
}

/// Returns the named links of a route.
fn links_of<'f>(flags: &'f Flags, route: &RouteConfig) -> impl Iterator<Item = &'f Link> {
    flags.links.iter().filter(|link| link.route == route.name)
}

/// Returns the searchers for a cookie's name, on each transport.
fn finders(cookies: Cookies, name: &str) -> Box<[Finder<'static>]> {
    let names = match cookies {
        Cookies::Https => vec![format!("{name}=")],
        Cookies::AlsoHttp => vec![format!("{name}="), format!("{}=", over_http(name))],
    };
    names.iter().map(|name| Finder::new(name).into_owned()).collect()
}

/// Returns a `Set-Cookie` for a transport.
pub(super) fn cookie(transport: Transport, name: &str, value: &str, seconds: u64) -> String {
    let (name, secure) = match transport {
        Transport::Https => (name, " Secure;"),
        Transport::Http => (over_http(name), ""),
    };
    format!("{name}={value};{secure} HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}")
}

/// Returns the name of a cookie over plain HTTP, where browsers take none that begins with `__Host-`.
fn over_http(name: &str) -> &str {
    name.strip_prefix("__Host-").unwrap_or(name)
}

/// Returns true if a `Cookie` pair is one of the proxy's cookies.
pub(super) fn is_own_cookie(pair: &[u8]) -> bool {
    let pair = pair.trim_ascii_start();
    let ramp = over_http(RAMP_COOKIE).as_bytes();
    pair.starts_with(COOKIES.as_bytes())
        || pair.starts_with(over_http(PASS_COOKIES).as_bytes())
        || pair.strip_prefix(ramp).is_some_and(|rest| rest.starts_with(b"="))
}

/// Returns the name of the cookie that lets a client pass.
pub fn pass_cookie(route: &str) -> String {
    format!("{PASS_COOKIES}{route}")
}

/// Prefix of the names of the proxy's cookies. A browser accepts a `__Host-` cookie only from this host, and over TLS.
pub const COOKIES: &str = "__Host-backsoon-";
const PASS_COOKIES: &str = "__Host-backsoon-bypass-";
/// Name of the cookie that keeps a client's turn. All routes share it, so that the API is asked with the cookie of the
/// page.
pub(super) const RAMP_COOKIE: &str = "__Host-backsoon-ramp";
