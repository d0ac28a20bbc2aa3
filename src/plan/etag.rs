//! Entity tags (RFC 9110 section 8.8.3).

use http::HeaderValue;
use sha2::{Digest, Sha256};

/// Returns the strong entity tag of some bytes, alike in every replica.
pub(crate) fn etag(bytes: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
