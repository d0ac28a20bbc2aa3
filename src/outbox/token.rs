//! Tokens of links: who has one may confirm, change or end one subscription, until it expires.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctutils::CtEq as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Name of a subscription in links. It stays the same through export and import, and is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid([u8; UID_BYTES]);

/// Key that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; KEY_BYTES]);

/// Purpose of a token. A token for one serves no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Confirms that the subscriber wants to be told.
    Confirm,
    /// Shows and changes the subscription.
    Manage,
    /// Ends the subscription.
    End,
}

/// Reason against a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No token of this proxy for this purpose.
    Unknown,
    /// A token whose time is over.
    Expired,
}

impl Uid {
    /// Makes a new one.
    pub fn new() -> Self {
        Self(aws_random().unwrap_or_else(|| fastrand::u128(..).to_be_bytes()))
    }

    /// Reads one of 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 2 * UID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        Some(Self(number.to_be_bytes()))
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Uid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a uid has 32 hexadecimal digits")
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.to_string()
    }
}

impl Purpose {
    /// Returns the time for which a token serves.
    fn life(self) -> SignedDuration {
        match self {
            Self::Confirm => CONFIRM_LIFE,
            Self::Manage => MANAGE_LIFE,
            Self::End => END_LIFE,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Confirm => b'c',
            Self::Manage => b'm',
            Self::End => b'u',
        }
    }
}

impl TokenKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> std::io::Result<Self> {
        aws_random().map(Self).ok_or_else(|| std::io::Error::other("no random numbers"))
    }

    /// Reads a key as [`TokenKey::to_text`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    /// Writes the key for the store.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Makes a token that serves from now on.
    pub fn sign(&self, purpose: Purpose, uid: Uid, now: Timestamp) -> String {
        let expires = now.as_second().saturating_add(purpose.life().as_secs());
        let mut bytes = vec![purpose.byte()];
        bytes.extend(uid.0);
        bytes.extend(expires.to_be_bytes());
        bytes.extend(self.mac(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Checks a token, and returns the subscription that it is about.
    ///
    /// # Errors
    /// If the token is forged, for another purpose, or expired.
    pub fn verify(&self, token: &str, purpose: Purpose, now: Timestamp) -> Result<Uid, Unusable> {
        if token.len() != TOKEN_LENGTH {
            return Err(Unusable::Unknown);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Unusable::Unknown)?;
        let (signed, mac) = bytes.split_at_checked(SIGNED_BYTES).ok_or(Unusable::Unknown)?;
        let is_ours: bool = self.mac(signed).as_slice().ct_eq(mac).into();
        if !is_ours || signed.first() != Some(&purpose.byte()) {
            return Err(Unusable::Unknown);
        }
        let rest = signed.get(1..).and_then(|rest| rest.split_first_chunk::<UID_BYTES>());
        let (uid, expires) = rest.ok_or(Unusable::Unknown)?;
        let expires = expires.try_into().map(i64::from_be_bytes).map_err(|_| Unusable::Unknown)?;
        if expires <= now.as_second() { Err(Unusable::Expired) } else { Ok(Uid(*uid)) }
    }

    fn mac(&self, signed: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"backsoon subscription token\0");
        mac.update(signed);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

fn aws_random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

const UID_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
/// Purpose, uid and expiry.
const SIGNED_BYTES: usize = 1 + UID_BYTES + 8;
/// Letters of a token.
pub const TOKEN_LENGTH: usize = (SIGNED_BYTES + MAC_BYTES) / 3 * 4;

const CONFIRM_LIFE: SignedDuration = SignedDuration::from_hours(24);
const MANAGE_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// RFC 8058 names no time. Somebody may find an old mail.
const END_LIFE: SignedDuration = SignedDuration::from_hours(3 * 366 * 24);

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn a_token_serves_its_purpose_alone_and_until_it_expires() {
        let (key, uid, now) = (TokenKey::generate().unwrap(), Uid::new(), at("14:00:00"));
        let later = |hours: i64| now.checked_add(SignedDuration::from_hours(hours)).unwrap();
        let all = [(Purpose::Confirm, 24), (Purpose::Manage, 90 * 24), (Purpose::End, 3 * 366 * 24)];
        for (purpose, hours) in all {
            let token = key.sign(purpose, uid, now);
            assert_eq!(token.len(), TOKEN_LENGTH);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
            assert_eq!(key.verify(&token, purpose, now), Ok(uid));
            assert_eq!(key.verify(&token, purpose, later(hours - 1)), Ok(uid));
            assert_eq!(key.verify(&token, purpose, later(hours)), Err(Unusable::Expired));
            for (other, _) in all.iter().filter(|(other, _)| *other != purpose) {
                assert_eq!(key.verify(&token, *other, now), Err(Unusable::Unknown));
            }
            let foreign = TokenKey::generate().unwrap();
            assert_eq!(foreign.verify(&token, purpose, now), Err(Unusable::Unknown));
        }
    }

    #[test]
    fn no_changed_letter_of_a_token_passes() {
        let (key, now) = (TokenKey::generate().unwrap(), at("14:00:00"));
        let token = key.sign(Purpose::Manage, Uid::new(), now);
        for at in 0..token.len() {
            let mut letters = token.clone().into_bytes();
            letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(letters).unwrap();
            assert_eq!(key.verify(&changed, Purpose::Manage, now), Err(Unusable::Unknown), "{at}");
        }
        for wrong in ["", "x", &token[1..], &format!("{token}A"), &"é".repeat(TOKEN_LENGTH / 2)] {
            assert_eq!(key.verify(wrong, Purpose::Manage, now), Err(Unusable::Unknown), "{wrong}");
        }
    }

    #[test]
    fn keys_and_uids_are_read_as_they_are_written() {
        let (key, uid) = (TokenKey::generate().unwrap(), Uid::new());
        assert_eq!(TokenKey::parse(&key.to_text()), Some(key));
        assert_eq!(Uid::parse(&uid.to_string()), Some(uid));
        for wrong in ["", "12", "+0000000000000000000000000000000", "g0000000000000000000000000000000"] {
            assert_eq!(Uid::parse(wrong), None, "{wrong}");
        }
        assert_eq!(TokenKey::parse("AAAA"), None);
    }
}
