//! Public keys, which the site tells to those who receive messages.

/// Public keys of a proxy that tells subscribers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys {
    /// Keys that verify webhooks (`whpk_…`), newest first.
    pub webhooks: Vec<String>,
    /// Key that browsers subscribe for, a point of P-256 in base64url.
    pub push: Option<String>,
}
