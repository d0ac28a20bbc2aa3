//! The secret of a route, ready to be used: it signs tickets and is compared with what clients send.
//!
//! A ticket is what a link or a cookie carries: `base64url(version, key id, issued, expires, cohort, window, tag)`. The tag
//! is HMAC-SHA-256 over the purpose, the route's name with its length, and all that stands before the tag; so a ticket is
//! good for one purpose, on one route, in one window.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctutils::CtEq;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::super::lifecycle::Source;
use super::cohorts::Cohorts;

/// A secret. It is never printed.
#[derive(Clone)]
pub struct Key {
    /// The state after the key itself: what is left to do for a tag are two compressions.
    mac: Hmac<Sha256>,
    /// Tells a ticket of another key from a forged one.
    id: [u8; 4],
    /// The secret itself.
    secret: Box<[u8]>,
}

/// What a tag is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A link that gives a cookie.
    Link = 1,
    /// A cookie that lets its client pass.
    Pass = 2,
    /// A cookie that keeps a client's cohort.
    Ramp = 3,
}

/// What a ticket is good for, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'b> {
    /// What it is used as.
    pub purpose: Purpose,
    /// The route, by its name.
    pub route: &'b str,
    /// What has closed the route. A cohort is of none: it is `Flag` there.
    pub source: &'b Source,
}

/// What a link or a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it was issued, in milliseconds since 1970.
    pub issued: u64,
    /// Until when it is good, in milliseconds since 1970.
    pub expires: u64,
    /// The cohort of its client; 0 where it is for something else.
    pub cohort: u32,
}

/// Why a ticket or a secret is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// It is none, or its tag is wrong.
    Forged,
    /// Another key has signed it: the secret was changed.
    OtherKey,
    /// It is for another window, or another flag.
    OtherWindow,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl InvalidToken {
    /// Whether somebody may be guessing: what was good once is no guess.
    pub fn is_guess(self) -> bool {
        match self {
            Self::Forged => true,
            Self::OtherKey | Self::OtherWindow | Self::Expired | Self::Revoked => false,
        }
    }

    /// What is wrong with it, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "it is not one that was issued for this route",
            Self::OtherKey => "the secret has changed since it was issued",
            Self::OtherWindow => "it was issued for another maintenance",
            Self::Expired => "it has expired",
            Self::Revoked => "it was revoked",
        }
    }
}

impl Key {
    /// A key of the content of a secret file; blanks around it do not count.
    ///
    /// # Errors
    /// When it has fewer than [`SHORTEST`] bytes: how many.
    pub fn new(content: &[u8]) -> Result<Self, usize> {
        let secret = content.trim_ascii();
        if secret.len() < SHORTEST { Err(secret.len()) } else { Ok(Self::of(secret)) }
    }

    /// What hashes addresses where there is no secret: the same in every replica, and no secret at all.
    pub(in crate::plan) fn public() -> Self {
        Self::of(b"backsoon ramp")
    }

    fn of(secret: &[u8]) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        let mut key = Self { mac, id: [0; 4], secret: secret.into() };
        key.id = key.hash(HASH_ID, "", b"").finalize().into_bytes().first_chunk().copied().unwrap_or_default();
        key
    }

    /// Whether a client has sent the secret. It takes the same time wherever and however what was sent differs.
    pub(in crate::plan) fn is(&self, sent: &[u8]) -> bool {
        self.secret.ct_eq(sent).into()
    }

    /// What hashes the addresses of a route's clients.
    pub(in crate::plan) fn cohorts(&self, route: &str) -> Cohorts {
        let tag = self.hash(HASH_COHORT, route, b"").finalize().into_bytes();
        Cohorts::new(tag.first_chunk().copied().unwrap_or_default())
    }

    /// Whether it is this very key.
    pub(in crate::plan) fn is_same(&self, other: &Self) -> bool {
        self.secret == other.secret
    }

    /// Signs a ticket.
    pub fn sign(&self, binding: Binding<'_>, ticket: Token) -> String {
        let mut bytes = Vec::with_capacity(LONGEST);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&ticket.issued.to_be_bytes());
        bytes.extend_from_slice(&ticket.expires.to_be_bytes());
        bytes.extend_from_slice(&ticket.cohort.to_be_bytes());
        bytes.extend_from_slice(window_of(binding.source).as_bytes());
        let tag = self.hash(binding.purpose as u8, binding.route, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// When it is not one with this binding; whether it is in time is not looked at.
    pub(in crate::plan) fn read(&self, binding: Binding<'_>, text: &[u8]) -> Result<Token, InvalidToken> {
        let mut buffer = [0; LONGEST];
        // A longer text would not fit, and is none of ours.
        let text = Some(text).filter(|text| text.len() <= LONGEST_TEXT).ok_or(InvalidToken::Forged)?;
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).map_err(|_| InvalidToken::Forged)?;
        let (signed, tag) = buffer[..length].split_last_chunk::<TAG>().ok_or(InvalidToken::Forged)?;
        let (&[VERSION], rest) = signed.split_first_chunk::<1>().ok_or(InvalidToken::Forged)? else {
            return Err(InvalidToken::Forged);
        };
        let (id, rest) = rest.split_first_chunk::<4>().ok_or(InvalidToken::Forged)?;
        let (issued, rest) = rest.split_first_chunk::<8>().ok_or(InvalidToken::Forged)?;
        let (expires, rest) = rest.split_first_chunk::<8>().ok_or(InvalidToken::Forged)?;
        let (cohort, window) = rest.split_first_chunk::<4>().ok_or(InvalidToken::Forged)?;
        // Neither is a secret.
        if *id != self.id {
            return Err(InvalidToken::OtherKey);
        }
        self.hash(binding.purpose as u8, binding.route, signed).verify_slice(tag).map_err(|_| InvalidToken::Forged)?;
        if window != window_of(binding.source).as_bytes() {
            return Err(InvalidToken::OtherWindow);
        }
        let (issued, expires) = (u64::from_be_bytes(*issued), u64::from_be_bytes(*expires));
        Ok(Token { issued, expires, cohort: u32::from_be_bytes(*cohort) })
    }

    fn hash(&self, purpose: u8, route: &str, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        // A name has 64 bytes at most.
        mac.update(&[purpose, u8::try_from(route.len()).unwrap_or(u8::MAX)]);
        mac.update(route.as_bytes());
        mac.update(bytes);
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// An instant as tickets have it.
pub fn millis(instant: Timestamp) -> u64 {
    u64::try_from(instant.as_millisecond()).unwrap_or(0)
}

/// A window's id is never empty, so a flag is told from every window.
fn window_of(source: &Source) -> &str {
    match source {
        Source::Flag => "",
        Source::Window(id) => id,
    }
}

/// What else is hashed with the key; no number is also a [`Purpose`].
const HASH_ID: u8 = 4;
const HASH_COHORT: u8 = 5;

/// Bytes that a secret has at least: nobody guesses 128 random bits.
pub const SHORTEST: usize = 16;

const VERSION: u8 = 1;
/// Bytes of a tag.
const TAG: usize = 32;
/// Bytes of a ticket with the longest id of a window.
const LONGEST: usize = 1 + 4 + 8 + 8 + 4 + 64 + TAG;
/// The same in base64.
const LONGEST_TEXT: usize = LONGEST * 4 / 3 + 1;
