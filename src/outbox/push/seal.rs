//! Encryption for a browser (RFC 8291), in one record of `aes128gcm` (RFC 8188).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;

use super::keys::{POINT, PushKeys};

/// Values that are used for one message alone.
#[derive(Debug)]
pub(super) struct Once {
    pub(super) private: PrivateKey,
    pub(super) salt: [u8; SALT],
}

/// Failure of the cryptography: no random numbers, or a point that is not on the curve.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealError;

impl Once {
    /// Draws new values.
    pub(super) fn new() -> Result<Self, SealError> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt)?;
        Ok(Self { private: PrivateKey::generate(&ECDH_P256)?, salt })
    }
}

/// Encrypts a payload for a browser.
pub(super) fn seal(keys: &PushKeys, payload: &[u8], once: &Once) -> Result<Vec<u8>, SealError> {
    let own = once.private.compute_public_key()?;
    let own: &[u8; POINT] = own.as_ref().try_into().map_err(|_| SealError)?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, keys.point);
    let material: [u8; MATERIAL] = agree(&once.private, peer, SealError, |shared| {
        let info: [&[u8]; 3] = [b"WebPush: info\0", &keys.point, own];
        derive(&Salt::new(HKDF_SHA256, &keys.auth).extract(shared), &info)
    })?;
    let secret = Salt::new(HKDF_SHA256, &once.salt).extract(&material);
    let key: [u8; KEY] = derive(&secret, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; NONCE] = derive(&secret, &[b"Content-Encoding: nonce\0"])?;
    let mut record = [payload, &[LAST_RECORD]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
    let length = [u8::try_from(POINT).unwrap_or(u8::MAX)];
    let header: [&[u8]; 4] = [&once.salt, &RECORD.to_be_bytes(), &length, own];
    Ok([&header.concat(), record.as_slice()].concat())
}

fn derive<const N: usize>(secret: &Prk, info: &[&[u8]]) -> Result<[u8; N], SealError> {
    let mut derived = [0; N];
    secret.expand(info, Length(N))?.fill(&mut derived)?;
    Ok(derived)
}

/// Length of what is derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

const SALT: usize = 16;
const MATERIAL: usize = 32;
const KEY: usize = 16;
const NONCE: usize = 12;
/// Size of a record, of which there is one.
const RECORD: u32 = 4096;
/// Delimiter of the last record (RFC 8188 section 2).
const LAST_RECORD: u8 = 2;
