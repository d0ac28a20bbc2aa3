//! Keys that sign what is sent. Proxies that share a store share its keys.

use std::io;
use std::path::Path;

use crate::plan::config::StoreConfig;
use crate::plan::news::PublicKeys;

use super::push::vapid::{self, Vapid};
use super::signature::{self, Signer};
use super::store::Store;
use super::told::told;

/// Keys of webhooks and of pushes.
#[derive(Debug)]
pub struct SenderKeys {
    /// Keys of webhooks.
    pub signer: Signer,
    /// Key that browsers know.
    pub vapid: Vapid,
}

impl SenderKeys {
    /// Reads the keys of a store. If there are none yet, makes those of the state directory its own.
    ///
    /// # Errors
    /// Says which keys cannot be read or written, and why.
    pub async fn open(store: &mut Store, config: &StoreConfig, state_dir: &Path) -> Result<Self, String> {
        let place = |file: &Path, name: &str| match config {
            StoreConfig::Local => file.display().to_string(),
            StoreConfig::Postgres(place) => format!("`{name}` in `secrets` of {place}"),
        };
        let wrong = |error: io::Error| format!("the keys of webhooks cannot be read: {error}");
        let file = state_dir.join(signature::FILE);
        let own = signature::keys_in(&file).map_err(wrong)?;
        let keys = store.shared_keys(WEBHOOKS, own).await.map_err(|error| told(&error))?;
        let signer = Signer::parse(&keys, &place(&file, WEBHOOKS)).map_err(wrong)?;
        let wrong = |error: io::Error| format!("the key for browsers cannot be read: {error}");
        let file = state_dir.join(vapid::FILE);
        let own = vapid::key_in(&file).map_err(wrong)?;
        let key = store.shared_keys(PUSHES, own).await.map_err(|error| told(&error))?;
        let vapid = Vapid::parse(&key, &place(&file, PUSHES)).map_err(wrong)?;
        Ok(Self { signer, vapid })
    }
}

/// Returns the public halves of the keys in a state directory, and makes those that are missing.
///
/// # Errors
/// If a file cannot be read or written, or has no key.
pub fn public_keys(state_dir: &Path) -> io::Result<PublicKeys> {
    let signer = Signer::open(&state_dir.join(signature::FILE))?;
    let vapid = Vapid::open(&state_dir.join(vapid::FILE))?;
    Ok(PublicKeys { webhooks: signer.public_keys(), push: Some(vapid.public_key()) })
}

const WEBHOOKS: &str = "webhook-keys";
const PUSHES: &str = "push-key";
