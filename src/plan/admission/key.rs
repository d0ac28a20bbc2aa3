//! Secret of a route: it signs tokens and is compared with the secret that clients send.
//!
//! Links and cookies carry a token: `base64url(version, key id, issued, expires, turn, begins, length of the window's id,
//! window's id, name, tag)`. The tag is HMAC-SHA-256 over the purpose, the route's name with its length, and everything
//! before the tag. So a token is valid for one purpose, on one route.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctutils::CtEq;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

/// Secret with its derived keys. It is never printed.
#[derive(Clone)]
pub struct Key {
    /// HMAC state after the key. Two compressions are left for each tag.
    mac: Hmac<Sha256>,
    /// Id that tells a token of another key from a forged one.
    id: [u8; 4],
    /// Secret itself.
    secret: Box<[u8]>,
}

/// Purpose of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Link that gives a cookie.
    Link = 1,
    /// Cookie that lets its client pass.
    Pass = 2,
    /// Cookie that keeps a client's turn, on every route.
    Ramp = 3,
}

/// Binding of a token, which its tag covers besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'b> {
    /// Purpose of the token.
    pub purpose: Purpose,
    /// Name of the route; empty for a turn.
    pub route: &'b str,
}

/// Content of a link or a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token<'t> {
    /// Time of issue, in milliseconds since 1970.
    pub issued: u64,
    /// Time of expiry, in milliseconds since 1970.
    pub expires: u64,
    /// Turn of the client; 0 for other purposes.
    pub turn: u32,
    /// Instant within the maintenance that it is for, in milliseconds since 1970: its planned start, or the time of issue.
    pub begins: u64,
    /// Window that it is for, if that has not begun yet; else empty.
    pub window: &'t str,
    /// Name of the link; empty if it has none.
    pub name: &'t str,
}

/// Space for the content of a token while it is read.
pub type Space = [u8; LONGEST];

/// Fault of a token or a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// No token, or a wrong tag.
    Forged,
    /// Signed by another key: the secret was changed.
    OtherKey,
    /// Signed by a version that bound it to other things.
    OtherVersion,
    /// Issued for another maintenance.
    OtherWindow,
    /// Expired.
    Expired,
    /// Revoked.
    Revoked,
    /// Named, and its name has no such link in the flag file.
    Withdrawn,
}

impl InvalidToken {
    /// Returns true if somebody may be guessing. A credential that once was valid is no guess.
    pub fn is_guess(self) -> bool {
        match self {
            Self::Forged => true,
            Self::OtherKey
            | Self::OtherVersion
            | Self::OtherWindow
            | Self::Expired
            | Self::Revoked
            | Self::Withdrawn => false,
        }
    }

    /// Returns the fault in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "it is not one that was issued for this route",
            Self::OtherKey => "the secret has changed since it was issued",
            Self::OtherVersion => "another version of backsoon issued it",
            Self::OtherWindow => "it was issued for another maintenance",
            Self::Expired => "it has expired",
            Self::Revoked => "it was revoked",
            Self::Withdrawn => "it was revoked or replaced, or the flag file with it has not arrived yet",
        }
    }
}

impl Key {
    /// Makes a key of the content of a secret file, without blanks around it.
    ///
    /// # Errors
    /// Returns the number of bytes if there are fewer than [`SHORTEST`].
    pub fn new(content: &[u8]) -> Result<Self, usize> {
        let secret = content.trim_ascii();
        if secret.len() < SHORTEST { Err(secret.len()) } else { Ok(Self::of(secret)) }
    }

    fn of(secret: &[u8]) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        let mut key = Self { mac, id: [0; 4], secret: secret.into() };
        key.id = key.hash(HASH_ID, "", b"").finalize().into_bytes().first_chunk().copied().unwrap_or_default();
        key
    }

    /// Returns true if a client has sent the secret. The comparison takes the same time for every input.
    pub(in crate::plan) fn is(&self, sent: &[u8]) -> bool {
        self.secret.ct_eq(sent).into()
    }

    /// Returns true if the secrets are the same.
    pub(in crate::plan) fn is_same(&self, other: &Self) -> bool {
        self.secret == other.secret
    }

    /// Signs a token.
    pub fn sign(&self, binding: Binding<'_>, token: Token<'_>) -> String {
        let mut bytes = Vec::with_capacity(LONGEST);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&token.issued.to_be_bytes());
        bytes.extend_from_slice(&token.expires.to_be_bytes());
        bytes.extend_from_slice(&token.turn.to_be_bytes());
        bytes.extend_from_slice(&token.begins.to_be_bytes());
        // An id and a name have 64 bytes at most.
        bytes.push(u8::try_from(token.window.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(token.window.as_bytes());
        bytes.extend_from_slice(token.name.as_bytes());
        let tag = self.hash(binding.purpose as u8, binding.route, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Signs a token for a flag as 0.1 did.
    #[cfg(test)]
    pub(in crate::plan) fn sign_as_before(&self, binding: Binding<'_>, token: Token<'_>) -> String {
        let mut bytes = vec![VERSION_BEFORE];
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&token.issued.to_be_bytes());
        bytes.extend_from_slice(&token.expires.to_be_bytes());
        bytes.extend_from_slice(&token.turn.to_be_bytes());
        bytes.extend_from_slice(&self.hash(binding.purpose as u8, binding.route, &bytes).finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token. Its expiry is not checked.
    ///
    /// # Errors
    /// Returns the fault if it has no valid tag for this binding.
    pub(in crate::plan) fn read<'t>(
        &self,
        binding: Binding<'_>,
        text: &[u8],
        space: &'t mut Space,
    ) -> Result<Token<'t>, InvalidToken> {
        // A longer text would not fit, and is no token of this proxy.
        let text = Some(text).filter(|text| text.len() <= LONGEST_TEXT).ok_or(InvalidToken::Forged)?;
        let length = URL_SAFE_NO_PAD.decode_slice(text, space).map_err(|_| InvalidToken::Forged)?;
        let space: &'t [u8] = space;
        let (signed, tag) = space[..length].split_last_chunk::<TAG>().ok_or(InvalidToken::Forged)?;
        let (&[version], rest) = signed.split_first_chunk::<1>().ok_or(InvalidToken::Forged)?;
        let (id, rest) = rest.split_first_chunk::<4>().ok_or(InvalidToken::Forged)?;
        // Neither id is secret, so their comparison may take any time.
        if !matches!(version, VERSION | VERSION_BEFORE) || *id != self.id {
            return Err(if version == VERSION { InvalidToken::OtherKey } else { InvalidToken::Forged });
        }
        self.hash(binding.purpose as u8, binding.route, signed).verify_slice(tag).map_err(|_| InvalidToken::Forged)?;
        match version {
            VERSION => content(rest).ok_or(InvalidToken::Forged),
            _ => Err(InvalidToken::OtherVersion),
        }
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

/// Converts an instant into the unit of tokens.
pub fn millis(instant: Timestamp) -> u64 {
    u64::try_from(instant.as_millisecond()).unwrap_or(0)
}

/// Reads the content of a token between the key's id and the tag.
fn content(bytes: &[u8]) -> Option<Token<'_>> {
    let (issued, rest) = bytes.split_first_chunk::<8>()?;
    let (expires, rest) = rest.split_first_chunk::<8>()?;
    let (turn, rest) = rest.split_first_chunk::<4>()?;
    let (begins, rest) = rest.split_first_chunk::<8>()?;
    let (&[length], rest) = rest.split_first_chunk::<1>()?;
    let (window, name) = rest.split_at_checked(usize::from(length))?;
    Some(Token {
        issued: u64::from_be_bytes(*issued),
        expires: u64::from_be_bytes(*expires),
        turn: u32::from_be_bytes(*turn),
        begins: u64::from_be_bytes(*begins),
        window: std::str::from_utf8(window).ok()?,
        name: std::str::from_utf8(name).ok()?,
    })
}

/// First byte of the hash for a key's id. No [`Purpose`] has this number, so no tag has this hash.
const HASH_ID: u8 = 4;

/// Fewest bytes of a secret: 128 random bits cannot be guessed.
pub const SHORTEST: usize = 16;

const VERSION: u8 = 2;
/// Version of 0.1, which bound a token to the flag or the window.
const VERSION_BEFORE: u8 = 1;
/// Bytes of a tag.
const TAG: usize = 32;
/// Bytes of a token with the longest id of a window and the longest name.
pub(in crate::plan) const LONGEST: usize = 1 + 4 + 8 + 8 + 4 + 8 + 1 + 64 + 64 + TAG;
/// Bytes of the longest token in base64.
const LONGEST_TEXT: usize = LONGEST * 4 / 3 + 1;
