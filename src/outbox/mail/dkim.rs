//! Signatures of mails: DKIM (RFC 6376) with RSA or ed25519 (RFC 8463), relaxed for header and body.
//!
//! Mail providers take one-click unsubscribing for granted only if a signature covers its fields (RFC 8058 section 4).

use std::error::Error;
use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

/// Key that signs, with the names under which its public half is found.
#[derive(Debug)]
pub struct Dkim {
    domain: String,
    selector: String,
    key: SigningKey,
}

/// Failure of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimError {
    /// The file is no private key in PEM.
    NoPem,
    /// The key is neither RSA of 2048 bits or more nor ed25519.
    NoKey,
    /// The message has no header.
    NoMessage,
    /// The key refused to sign.
    Unsigned,
}

#[derive(Debug)]
enum SigningKey {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Dkim {
    /// Reads a key.
    ///
    /// # Errors
    /// If the text is no key that can sign.
    pub fn new(domain: &str, selector: &str, pem: &[u8]) -> Result<Self, DkimError> {
        let key = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| DkimError::NoPem)? {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).ok().map(SigningKey::Rsa),
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                let rsa = RsaKeyPair::from_pkcs8(der).ok().map(SigningKey::Rsa);
                rsa.or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(SigningKey::Ed25519))
            }
            // SEC 1 is for curves that DKIM does not know; further forms may come with rustls.
            PrivateKeyDer::Sec1(_) | _ => None,
        };
        let key = key.ok_or(DkimError::NoKey)?;
        Ok(Self { domain: domain.to_owned(), selector: selector.to_owned(), key })
    }

    /// Returns the field that stands above a signed message.
    ///
    /// # Errors
    /// If the message has no header, or the key does not sign.
    pub fn field(&self, message: &[u8]) -> Result<String, DkimError> {
        self.field_at(message, Timestamp::now())
    }

    fn field_at(&self, message: &[u8], at: Timestamp) -> Result<String, DkimError> {
        let end = message.windows(4).position(|four| four == b"\r\n\r\n").ok_or(DkimError::NoMessage)?;
        let header = std::str::from_utf8(&message[..end + 2]).map_err(|_| DkimError::NoMessage)?;
        let fields = fields(header);
        let body_hash = STANDARD.encode(Sha256::digest(relaxed_body(&message[end + 4..])));
        let mut names = Vec::new();
        let mut signed = String::new();
        for name in SIGNED {
            if let Some(field) = fields.iter().rev().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
                names.push(name);
                signed.push_str(&relaxed_field(field.0, field.1));
            }
        }
        // Named once more, so that no second one can be put above (RFC 6376 section 8.15).
        names.extend(["from", "subject"]);
        let unsigned = format!(
            "v=1; a={}; c=relaxed/relaxed; d={}; s={};\r\n t={}; h={};\r\n bh={body_hash};\r\n b=",
            self.algorithm(),
            self.domain,
            self.selector,
            at.as_second(),
            names.join(":\r\n  "),
        );
        let own = relaxed_field("DKIM-Signature", &unsigned);
        signed.push_str(own.trim_end_matches("\r\n"));
        let signature = STANDARD.encode(self.sign(signed.as_bytes())?);
        let lines: Vec<&str> = (0..signature.len()).step_by(WIDTH).filter_map(|at| signature.get(at..)).collect();
        let lines: Vec<&str> = lines.into_iter().map(|rest| &rest[..rest.len().min(WIDTH)]).collect();
        Ok(format!("DKIM-Signature: {unsigned}{}\r\n", lines.join("\r\n  ")))
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            SigningKey::Rsa(_) => "rsa-sha256",
            SigningKey::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, DkimError> {
        match &self.key {
            SigningKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let done = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature);
                done.map(|()| signature).map_err(|_| DkimError::Unsigned)
            }
            // RFC 8463 section 3: the hash is what is signed.
            SigningKey::Ed25519(key) => Ok(key.sign(&Sha256::digest(text)).as_ref().to_vec()),
        }
    }
}

/// Splits a header into names and values, which may go over several lines.
fn fields(header: &str) -> Vec<(&str, &str)> {
    let mut fields = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let mut end = 0;
        loop {
            end += rest[end..].find("\r\n").map_or(rest.len() - end, |at| at + 2);
            if !rest[end..].starts_with([' ', '\t']) {
                break;
            }
        }
        fields.extend(rest[..end].split_once(':'));
        rest = &rest[end..];
    }
    fields
}

/// Returns a field in relaxed form (RFC 6376 section 3.4.2).
fn relaxed_field(name: &str, value: &str) -> String {
    let words: Vec<&str> = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}\r\n", name.trim().to_ascii_lowercase(), words.join(" "))
}

/// Returns a body in relaxed form (RFC 6376 section 3.4.4).
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(body.len() + 2);
    // Ends of lines that may be the last ones.
    let mut ends = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut spaces = false;
        for byte in line {
            if matches!(byte, b' ' | b'\t') {
                spaces = true;
                continue;
            }
            for _ in 0..std::mem::take(&mut ends) {
                relaxed.extend_from_slice(b"\r\n");
            }
            if std::mem::take(&mut spaces) {
                relaxed.push(b' ');
            }
            relaxed.push(*byte);
        }
        ends += 1;
    }
    if !relaxed.is_empty() {
        relaxed.extend_from_slice(b"\r\n");
    }
    relaxed
}

impl fmt::Display for DkimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPem => "the file has no private key in PEM",
            Self::NoKey => "the key is neither RSA of 2048 bits or more nor ed25519",
            Self::NoMessage => "the message has no header in ASCII",
            Self::Unsigned => "the key does not sign",
        })
    }
}

impl Error for DkimError {}

/// Fields that are signed, if they are there.
const SIGNED: [&str; 14] = [
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "auto-submitted",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
];
/// Characters of a signature in one line.
const WIDTH: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_relaxed_as_the_standard_shows() {
        for (body, relaxed) in [
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            ("", ""),
            ("\r\n \r\n", ""),
            ("a", "a\r\n"),
            ("a\r\n\r\n b", "a\r\n\r\n b\r\n"),
        ] {
            assert_eq!(String::from_utf8(relaxed_body(body.as_bytes())).unwrap(), relaxed, "{body:?}");
        }
        let header = "A: X\r\nB : Y\t\r\n\tZ  \r\n";
        let relaxed: String = fields(header).iter().map(|(name, value)| relaxed_field(name, value)).collect();
        assert_eq!(relaxed, "a:X\r\nb:Y Z\r\n");
    }

    #[test]
    fn a_text_that_is_no_key_is_refused() {
        let wrong = |pem: &str| Dkim::new("example.com", "s1", pem.as_bytes()).err();
        assert_eq!(wrong("no key"), Some(DkimError::NoPem));
        let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(wrong(empty), Some(DkimError::NoKey));
    }
}
