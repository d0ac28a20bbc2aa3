//! The keys, cohorts and cookies of a route that some clients may pass while it is not open.

pub(crate) mod cohorts;
pub mod key;

use std::sync::Arc;

use jiff::Timestamp;
use memchr::memmem::Finder;

use super::config::{Policy, RouteConfig};
use super::lifecycle::Source;

use cohorts::Cohorts;
use key::{Binding, InvalidToken, Key, Purpose, Token, millis};

/// The keys, cohorts and cookie names by which clients pass a route, prepared once for all requests.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The secret, if there is one.
    pub key: Option<Arc<Key>>,
    /// The key that cohorts are hashed with.
    pub(super) cohorts: Cohorts,
    /// Before when links and cookies are invalid.
    pub(super) revoked: Option<Timestamp>,
    /// The names of the cookies, with `=` behind them. A route's name is made of what a cookie's name may have (RFC 6265 section 4.1.1), dots
    /// included.
    pub(super) pass_cookie: Finder<'static>,
    pub(super) ramp_cookie: Finder<'static>,
}

impl Admission {
    /// Prepares what a route needs; `None` if nobody passes it but by its mode.
    pub fn new(route: &RouteConfig, key: Option<&Arc<Key>>, revoked: Option<Timestamp>) -> Option<Self> {
        let Policy { bypass, ramp, .. } = &route.policy;
        if bypass.is_none() && ramp.is_none() {
            return None;
        }
        Some(Self {
            key: key.cloned(),
            cohorts: key.map_or_else(|| Key::public().cohorts(&route.name), |key| key.cohorts(&route.name)),
            revoked,
            pass_cookie: Finder::new(&format!("{}=", pass_cookie(&route.name))).into_owned(),
            ramp_cookie: Finder::new(&format!("{}=", ramp_cookie(&route.name))).into_owned(),
        })
    }

    /// Returns true if the admission was prepared from these.
    pub fn is_from(&self, key: Option<&Arc<Key>>, revoked: Option<Timestamp>) -> bool {
        let same = match (&self.key, key) {
            (Some(own), Some(key)) => Arc::ptr_eq(own, key) || own.is_same(key),
            (own, key) => own.is_none() && key.is_none(),
        };
        same && self.revoked == revoked
    }

    /// The cookie that a link gives, as `Set-Cookie` has it.
    ///
    /// # Errors
    /// When the link's token is not good.
    pub fn redeem(&self, route: &str, source: &Source, token: &[u8], now: Timestamp) -> Result<String, InvalidToken> {
        let key = self.key.as_ref().ok_or(InvalidToken::Forged)?;
        let link = Binding { purpose: Purpose::Link, route, source };
        let token = self.verify(key, link, token, millis(now))?;
        // Issued when the link was, so that what revokes the link revokes the cookie.
        let value = key.sign(Binding { purpose: Purpose::Pass, ..link }, token);
        Ok(cookie(&pass_cookie(route), &value, token.expires.saturating_sub(millis(now)) / 1000))
    }

    /// Reads a token, and looks whether its time is over.
    pub(super) fn verify(&self, key: &Key, binding: Binding<'_>, token: &[u8], now: u64) -> Result<Token, InvalidToken> {
        let token = key.read(binding, token)?;
        if token.expires <= now {
            return Err(InvalidToken::Expired);
        }
        match self.revoked {
            Some(revoked) if token.issued < millis(revoked) && binding.purpose != Purpose::Ramp => {
                Err(InvalidToken::Revoked)
            }
            Some(_) | None => Ok(token),
        }
    }
}

pub(super) fn cookie(name: &str, value: &str, seconds: u64) -> String {
    format!("{name}={value}; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}")
}

/// The name of the cookie that lets a client pass.
pub fn pass_cookie(route: &str) -> String {
    format!("{COOKIES}bypass-{route}")
}

pub(super) fn ramp_cookie(route: &str) -> String {
    format!("{COOKIES}ramp-{route}")
}

/// The beginning of the names of our cookies. A browser takes a `__Host-` cookie from this very host alone, and over TLS.
pub const COOKIES: &str = "__Host-backsoon-";
