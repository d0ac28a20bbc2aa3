//! Signature of this proxy for push services (RFC 8292): a key, and a token for each of them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::super::endpoint::{Endpoint, Scheme};

/// Key of this proxy. Browsers subscribe for its public half, so that no other sender can reach them.
#[derive(Debug)]
pub struct Vapid {
    pair: EcdsaKeyPair,
}

impl Vapid {
    /// Reads the key of a file, in PEM. Makes one if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read or written, or has no key of P-256. It is left as it is: browsers know its public half.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::parse(&key_in(path)?, &path.display().to_string())
    }

    /// Reads the key of a text in PEM, which stands at a place.
    ///
    /// # Errors
    /// If the text has no key of P-256.
    pub fn parse(text: &str, place: &str) -> io::Result<Self> {
        let wrong = |what: String| {
            let text = format!("{place} has no private key of P-256 in PEM (PKCS#8): {what}");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der());
        pair.map(|pair| Self { pair }).map_err(|error| wrong(error.to_string()))
    }

    /// Returns the public key as browsers take it, in base64url.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    /// Returns the value of `Authorization` for a push service; `None` if this system cannot sign.
    ///
    /// `site` tells the service who sends, if it is a URL that can be opened.
    pub(super) fn authorization(&self, endpoint: &Endpoint, site: &str, now: Timestamp) -> Option<String> {
        let scheme = match endpoint.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let audience = format!("{scheme}://{}", endpoint.authority());
        let mut claims = json!({ "aud": audience, "exp": (now + LIFE).as_second() });
        if site.starts_with("https://") {
            claims["sub"] = json!(site);
        }
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ES256" })), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = URL_SAFE_NO_PAD.encode(signature.as_ref());
        Some(format!("vapid t={signed}.{signature}, k={}", self.public_key()))
    }
}

/// Returns the text of a file of the key. Makes a key if there is no file.
///
/// # Errors
/// If the file cannot be read or written.
pub fn key_in(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            fs::read_to_string(path)
        }
        read => read,
    }
}

/// Writes a new key to a new file, all at once: another process may do the same.
fn create(path: &Path) -> io::Result<()> {
    let none = |_| io::Error::other("no random numbers");
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(none)?;
    let body = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let draft = path.with_file_name(format!("{FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&draft)?;
    linked
}

/// Name of the file in the state directory.
pub const FILE: &str = ".push-key";

/// Life of a token: at most a day (RFC 8292 section 2), less for clocks that differ.
const LIFE: SignedDuration = SignedDuration::from_hours(12);
