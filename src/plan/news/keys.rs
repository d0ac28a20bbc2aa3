//! Public keys, which the site tells to those who receive messages.

use serde::Serialize;

/// Public keys of a proxy that tells subscribers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublicKeys {
    /// Keys that verify webhooks (`whpk_…`), newest first.
    pub webhooks: Vec<String>,
    /// Key that browsers subscribe for, a point of P-256 in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
}

impl PublicKeys {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.webhooks.is_empty() && self.push.is_none()
    }
}
