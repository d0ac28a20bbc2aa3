//! Keys of a browser: the point that messages are encrypted for, and the secret that shows who may send them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Keys of a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushKeys {
    /// Point on P-256, uncompressed.
    pub point: [u8; POINT],
    /// Secret that the browser shares with the sender.
    pub auth: [u8; AUTH],
}

impl PushKeys {
    /// Reads the keys as a browser gives them: `p256dh` and `auth` in base64url, with or without padding.
    pub fn of_browser(p256dh: &str, auth: &str) -> Option<Self> {
        let bytes = |text: &str| {
            let text = text.trim_end_matches('=');
            (text.len() <= MOST_TEXT).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()
        };
        let point: [u8; POINT] = bytes(p256dh)?.try_into().ok()?;
        let auth = bytes(auth)?.try_into().ok()?;
        // RFC 8291 section 3.1: the uncompressed form.
        (point[0] == UNCOMPRESSED).then_some(Self { point, auth })
    }

    /// Reads the keys as a store has them: `p256dh.auth`.
    pub fn parse(text: &str) -> Option<Self> {
        let (p256dh, auth) = text.split_once('.')?;
        Self::of_browser(p256dh, auth)
    }

    /// Returns the keys as a store has them.
    pub fn to_text(&self) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(self.point), URL_SAFE_NO_PAD.encode(self.auth))
    }
}

/// Bytes of an uncompressed point.
pub(super) const POINT: usize = 65;
const AUTH: usize = 16;
const UNCOMPRESSED: u8 = 4;
const MOST_TEXT: usize = 100;
