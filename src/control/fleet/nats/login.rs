//! Login at a NATS server: a credentials file (JWT and seed), a seed alone, or a name and a password.

use std::fs;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::super::FleetError;

/// Login, as `CONNECT` has it.
pub(super) type Login = Map<String, Value>;

/// Reads a file of credentials, and answers the server's challenge. The file is read each time: it may be replaced.
pub(super) fn login(file: &Path, nonce: Option<&str>) -> Result<Login, FleetError> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| FleetError::Wrong(format!("cannot read `{}`: {error}", file.display())))?;
    login_of(&text, nonce).map_err(|why| FleetError::Wrong(format!("`{}` {why}", file.display())))
}

/// Returns the problem of a text that no login can be made of.
pub(in super::super) fn problem(text: &str) -> Option<&'static str> {
    login_of(text, Some("")).err()
}

fn login_of(text: &str, nonce: Option<&str>) -> Result<Login, &'static str> {
    let mut login = Login::new();
    let seed = block(text, "USER NKEY SEED").or_else(|| lone_seed(text));
    let Some(seed) = seed else {
        let (user, password) = text.trim().split_once(':').ok_or(FORMS)?;
        let is_line = !user.is_empty() && !text.trim().contains(char::is_whitespace);
        if !is_line {
            return Err(FORMS);
        }
        login.insert("user".to_owned(), user.into());
        login.insert("pass".to_owned(), password.into());
        return Ok(login);
    };
    let key = key(&seed).ok_or("has a seed that is none: it begins with `SU`, and a mistyped one is noticed")?;
    let nonce = nonce.ok_or("has a key, and the server asks for none")?;
    match block(text, "NATS USER JWT") {
        Some(jwt) => login.insert("jwt".to_owned(), jwt.into()),
        None => login.insert("nkey".to_owned(), public(&key).into()),
    };
    login.insert("sig".to_owned(), URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes())).into());
    Ok(login)
}

/// Returns what stands between the lines that begin and end a block.
fn block(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("-----BEGIN") && line.contains(name))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-')).map(str::to_owned)
}

fn lone_seed(text: &str) -> Option<String> {
    let text = text.trim();
    (text.starts_with("SU") && text.len() == SEED_LENGTH).then(|| text.to_owned())
}

/// Returns the key of a seed: two bytes of kind, 32 of the seed, two of a checksum, in base 32.
fn key(seed: &str) -> Option<Ed25519KeyPair> {
    let bytes = base32_decoded(seed)?;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(2)?)?;
    let is_whole = sum == checksum(body).to_le_bytes() && body.len() == 34;
    is_whole.then(|| Ed25519KeyPair::from_seed_unchecked(&body[2..]).ok()).flatten()
}

/// Returns the public key as the server's config has it.
fn public(key: &Ed25519KeyPair) -> String {
    let mut bytes = vec![USER];
    bytes.extend_from_slice(key.public_key().as_ref());
    let sum = checksum(&bytes);
    bytes.extend(sum.to_le_bytes());
    base32(&bytes)
}

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut held) = (String::new(), 0u32, 0u32);
    for &byte in bytes {
        held = (held << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits) as usize & 31]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits)) as usize & 31]));
    }
    text
}

fn base32_decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for letter in text.bytes() {
        let place = ALPHABET.iter().position(|&own| own == letter)?;
        held = (held << 5) | u32::try_from(place).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// Returns the CRC-16 of XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, &byte| {
        (0..8).fold(
            sum ^ (u16::from(byte) << 8),
            |sum: u16, _| {
                if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
            },
        )
    })
}

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Kind of a user's key: the letter `U`.
const USER: u8 = 20 << 3;
const SEED_LENGTH: usize = 58;
const FORMS: &str = "is neither a credentials file, nor a seed (`SU…`), nor `user:password`";

#[cfg(test)]
mod tests {
    use super::*;

    /// Pair of the documentation of nkeys' own tests.
    const SEED: &str = "SUAKYRHVIOREXV7EUZTBHUHL7NUMHPMAS7QMDU3GTIUWEI5LDNOXD43IZY";

    #[test]
    fn a_checksum_is_that_of_xmodem() {
        assert_eq!(checksum(b"123456789"), 0x31c3);
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
        assert_eq!(base32_decoded("MZXW6YTBOI").as_deref(), Some(&b"foobar"[..]));
    }

    #[test]
    fn each_form_of_credentials_gives_a_login() {
        let user = login_of("anna:a:b\n", None).unwrap();
        assert_eq!((user["user"].as_str(), user["pass"].as_str()), (Some("anna"), Some("a:b")));
        let seed = login_of(SEED, Some("nonce")).unwrap();
        assert!(seed["nkey"].as_str().unwrap().starts_with('U') && seed["sig"].is_string(), "{seed:?}");
        let file = format!(
            "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
        );
        let login = login_of(&file, Some("nonce")).unwrap();
        assert_eq!(login["jwt"], "abc.def");
        assert_eq!(login["sig"], seed["sig"]);
        let mistyped = SEED.replace("AKY", "AKX");
        for bad in ["", "secret", "a b:c", ":c", &mistyped] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
