//! Signatures of Standard Webhooks 1.0.0: symmetric `v1` and ed25519 `v1a`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Keys of this proxy, newest first. While one follows another, messages carry the signatures of both.
#[derive(Debug)]
pub struct Signer {
    keys: Vec<Ed25519KeyPair>,
}

/// Fields of a signed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`, the same in every attempt.
    pub id: String,
    /// `webhook-timestamp`: the second of the attempt.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
}

impl Signer {
    /// Reads the keys of a file: one `whsk_…` a line, the newest first. Makes a key if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a line is no key. A file with a mistake is left as it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::parse(&keys_in(path)?, &path.display().to_string())
    }

    /// Reads keys of a text, which stands at a place.
    ///
    /// # Errors
    /// If a line is no key, or there is none.
    pub fn parse(text: &str, place: &str) -> io::Result<Self> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).take(MOST_KEYS);
        let keys: io::Result<Vec<_>> = lines.map(|(at, line)| key(line.trim(), place, at + 1)).collect();
        let keys = keys?;
        if keys.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{place} has no key")));
        }
        Ok(Self { keys })
    }

    /// Returns the public keys, `whpk_…`, newest first.
    pub fn public_keys(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("whpk_{}", STANDARD.encode(key.public_key().as_ref()))).collect()
    }

    /// Signs a message with the secrets of its endpoint, `whsec_…`, and with the keys of this proxy. A secret that is
    /// none is left out.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8], secrets: &[&str]) -> Signed {
        let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let symmetric = secrets.iter().filter_map(|secret| symmetric(secret, &message));
        let public = self.keys.iter().map(|key| format!("v1a,{}", STANDARD.encode(key.sign(&message).as_ref())));
        let signature = symmetric.chain(public).collect::<Vec<_>>().join(" ");
        Signed { id: id.to_owned(), timestamp, signature }
    }
}

/// Returns the text of a file of keys. Makes a key if there is no file.
///
/// # Errors
/// If the file cannot be read or written.
pub fn keys_in(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        read => read,
    }
}

/// Makes the secret of an endpoint, `whsec_…`.
///
/// # Errors
/// If the system has no random numbers.
pub fn new_secret() -> io::Result<String> {
    Ok(format!("whsec_{}", STANDARD.encode(random::<SECRET_BYTES>()?)))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(bytes)
}

fn symmetric(secret: &str, message: &[u8]) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(message);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// Writes a new key to a new file.
fn create(path: &Path) -> io::Result<String> {
    let seed = random::<SEED_BYTES>()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(io::Error::other)?;
    // As in libsodium, which Standard Webhooks follows: the seed, and behind it the public key.
    let secret = [&seed[..], pair.public_key().as_ref()].concat();
    let text = format!("whsk_{}\n", STANDARD.encode(secret));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(text)
}

fn key(line: &str, place: &str, number: usize) -> io::Result<Ed25519KeyPair> {
    let pair = line.strip_prefix("whsk_").and_then(|text| STANDARD.decode(text).ok()).and_then(|bytes| {
        let (seed, public) = bytes.split_at_checked(SEED_BYTES)?;
        let is_whole = public.len() == ED25519_PUBLIC_KEY_LEN;
        is_whole.then(|| Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()).flatten()
    });
    let found = || format!("{place}:{number} is no key, which is whsk_ and 64 bytes in base64");
    pair.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, found()))
}

/// Name of the file in the state directory.
pub const FILE: &str = ".webhook-keys";

const SECRET_BYTES: usize = 32;
const SEED_BYTES: usize = 32;
/// Keys that sign each message.
const MOST_KEYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_symmetric_signature_is_that_of_the_reference() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::open(&folder.path().join(FILE)).unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#, &[secret]);
        let v1 = signed.signature.split(' ').next().unwrap();
        assert_eq!(v1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_stays_and_a_second_line_signs_as_well() {
        use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join(FILE), folder.path().join("other"));
        let first = Signer::open(&path).unwrap().public_keys();
        assert_eq!(first, Signer::open(&path).unwrap().public_keys());
        drop(Signer::open(&other).unwrap());
        let both = [std::fs::read_to_string(&other).unwrap(), std::fs::read_to_string(&path).unwrap()].concat();
        std::fs::write(&path, both).unwrap();
        let signer = Signer::open(&path).unwrap();
        let signed = signer.sign("msg_1", 7, b"{}", &["whsec_AAAA", "whsec_BBBB", "nonsense"]);
        let signatures: Vec<&str> = signed.signature.split(' ').collect();
        assert_eq!(
            signatures.iter().map(|one| one.split(',').next().unwrap()).collect::<Vec<_>>(),
            ["v1", "v1", "v1a", "v1a"]
        );
        let old = STANDARD.decode(first[0].strip_prefix("whpk_").unwrap()).unwrap();
        let bytes = STANDARD.decode(signatures[3].strip_prefix("v1a,").unwrap()).unwrap();
        UnparsedPublicKey::new(&ED25519, old).verify(b"msg_1.7.{}", &bytes).unwrap();
    }

    #[test]
    fn a_file_with_a_mistake_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "whsk_AAAA\n").unwrap();
        let error = Signer::open(&path).unwrap_err().to_string();
        assert!(error.ends_with(".webhook-keys:1 is no key, which is whsk_ and 64 bytes in base64"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whsk_AAAA\n");
    }
}
