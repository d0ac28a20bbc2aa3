//! Keys: short names that stay the same for ever, of incidents, updates and services.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of twelve letters and digits. Programs that read feeds and status APIs take no other characters for granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// Derives a key from parts, alike in every replica.
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // The length keeps parts apart: `ab`, `c` is not `a`, `bc`.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
        Self(hash.finalize().iter().take(LENGTH).map(letter).collect())
    }

    /// Returns the key as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Five bits each.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const LENGTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_letters_and_digits_and_tells_parts_apart() {
        let key = Key::of(&["window", "MNT-2026-0519-a"]);
        assert!(key.as_str().len() == LENGTH && key.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        assert_eq!(key, Key::of(&["window", "MNT-2026-0519-a"]));
        assert_ne!(Key::of(&["ab", "c"]), Key::of(&["a", "bc"]));
    }
}
