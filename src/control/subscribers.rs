//! Hands the news to the outbox, while the config says that this proxy tells subscribers.

mod view;

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::outbox::address::Reach;
use crate::outbox::keys::public_keys;
use crate::outbox::lease::Lease;
use crate::outbox::mail::mailer::MailDesk;
use crate::outbox::notice::Notice;
use crate::outbox::run::{Outbox, Settings};
use crate::outbox::stationery::Stationery;
use crate::outbox::told::told;
use crate::plan::config::{Config, DigestTime, MailConfig, StoreConfig};
use crate::plan::news::forms::Choices;
use crate::plan::news::{Incident, Ledger, News, PublicKeys, Update, Words};
use crate::plan::page::Renderer;
use crate::plan::problem::Problem;

use super::certs;
use super::fleet::SenderLease;
use super::forms::Scene;
use super::state::StateDir;

pub(super) use view::OutboxView;

/// Outbox of a proxy that tells subscribers. Dropping it ends the outbox.
pub(super) struct Subscribers {
    outbox: Option<Outbox>,
    /// Keeper of the lease, which is given back after the end of the outbox.
    lease: Option<SenderLease>,
    /// Reach of the outbox, or of the last attempt to start one.
    reach: Reach,
    store: StoreConfig,
    mail: Option<MailConfig>,
    digest_at: DigestTime,
    /// Public keys, as far as they could be read at the start.
    keys: PublicKeys,
}

impl Subscribers {
    /// Starts the outbox if this proxy shall tell subscribers. If there is no thread for it, nobody is told.
    pub(super) fn start(state: &StateDir, config: &Config, replica: &str) -> Option<Self> {
        let (status, mail) = (&config.status, config.mail.clone());
        let reach = status.send.then(|| Reach { allow_private: status.allow_private.clone() })?;
        let (keeper, lease) = lease_of(config, replica);
        let settings = Settings {
            state_dir: state.path().to_owned(),
            store: status.store.clone(),
            reach: reach.clone(),
            tls: certs::public_client()?,
            mail: mail.clone(),
            digest_at: status.digest_at.clone(),
            lease,
        };
        // What is wrong with the files is told by the outbox, which tries again.
        let keys = match &status.store {
            StoreConfig::Local => public_keys(state.path()).unwrap_or_default(),
            StoreConfig::Postgres(_) => PublicKeys::default(),
        };
        let outbox = Outbox::start(settings);
        let outbox = outbox.inspect_err(|error| tracing::error!(%error, "subscribers are not told")).ok();
        let (store, digest_at) = (status.store.clone(), status.digest_at.clone());
        Some(Self { outbox, lease: keeper, reach, store, mail, digest_at, keys })
    }

    /// Returns the public keys.
    pub(super) fn public_keys(&self) -> PublicKeys {
        let now = self.outbox.as_ref().map(|outbox| outbox.status().public_keys);
        now.filter(|keys| !keys.is_empty()).unwrap_or_else(|| self.keys.clone())
    }

    /// Shows the outbox in a view.
    pub(super) fn show_in(&self, view: &OutboxView) {
        view.show(self.outbox.as_ref().map(Outbox::watch));
    }

    /// Returns true if a config asks for just this outbox.
    pub(super) fn is_for(&self, config: &Config) -> bool {
        let status = &config.status;
        let is_same = self.store == status.store && self.mail == config.mail && self.digest_at == status.digest_at;
        status.send && is_same && self.reach.allow_private == status.allow_private
    }

    /// Returns what answers to forms are made of, and writes mails that ask with the same words; `None` while there is no
    /// outbox.
    pub(super) fn scene(&self, news: &News<'_>, renderer: &Arc<Renderer>) -> Option<Scene> {
        let outbox = self.outbox.as_ref()?;
        outbox.write_with(Arc::new(Stationery::new(news, Words::all(renderer))));
        Some(Scene {
            title: news.title.clone(),
            choices: Choices::new(news, renderer),
            renderer: Arc::clone(renderer),
            reach: self.reach.clone(),
            clerk: outbox.clerk(),
            status: outbox.watch(),
        })
    }

    /// Hands over an update. The outbox tells a repeated one once.
    pub(super) fn tell(&self, news: &News<'_>, incident: &Incident, update: &Update, renderer: &Renderer) {
        let notice = || Notice::new(news, incident, update, Words::all(renderer));
        let is_told = self.outbox.as_ref().is_some_and(|outbox| outbox.tell(notice()).is_ok());
        if !is_told {
            let (incident, sequence) = (incident.key.as_str(), update.sequence);
            tracing::error!(incident, sequence, "subscribers are not told: too much waits in the outbox");
        }
    }

    /// Hands over the updates of the last day again, since a crash may have come between the ledger and the outbox.
    pub(super) fn repeat(&self, news: &News<'_>, ledger: &Ledger, renderer: &Renderer, now: Timestamp) {
        for incident in ledger.incidents() {
            for update in incident.updates.iter().filter(|update| now.duration_since(update.at) < REPEATED) {
                self.tell(news, incident, update, renderer);
            }
        }
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        if let Some(outbox) = self.outbox.take() {
            outbox.stop();
        }
        self.lease = None;
    }
}

/// Begins to try for the lease, if replicas with files of their own share an engine that has one. A shared database needs
/// none: each delivery is claimed there.
fn lease_of(config: &Config, replica: &str) -> (Option<SenderLease>, Option<Lease>) {
    let fleet = match (&config.status.store, &config.fleet) {
        (StoreConfig::Local, Some(fleet)) => fleet,
        (StoreConfig::Postgres(_), _) | (StoreConfig::Local, None) => return (None, None),
    };
    match SenderLease::start(fleet, replica.to_owned()) {
        Ok(started) => started.unzip(),
        Err(error) => {
            tracing::error!(%error, "subscribers are not told: the sender's lease cannot be kept");
            // One that nobody keeps, and so is never held.
            (None, Some(Lease::new().0))
        }
    }
}

/// Warns if mails cannot be made, since a key or a password is missing. Their first reader would be late to tell.
pub(super) fn unmailable(config_file: &Path, config: &Config) -> Option<Problem> {
    let error = MailDesk::fault(config.mail.as_ref()?)?;
    let help = "until that is mended, mails wait and are tried again; `backsoon subscribers test` sends one";
    Some(
        Problem::warning(&config_file.display().to_string(), format!("no mail can be sent: {}", told(&error)))
            .help(help),
    )
}

/// Age up to which updates are handed over again. The outbox takes none that is older.
const REPEATED: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::super::load;

    #[test]
    fn a_mail_server_whose_password_or_key_is_missing_is_told_before_the_first_mail() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backsoon.toml");
        let mail = "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n[mail]\n\
            server = \"smtp://127.0.0.1\"\nfrom = \"status@example.com\"\n";
        let login = "user = \"status\"\npassword_file = \"password\"\n";
        let dkim = "[mail.dkim]\ndomain = \"example.com\"\nselector = \"s1\"\nkey_file = \"key.pem\"\n";
        std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
        let cases = [
            (mail.to_owned(), None),
            (format!("{mail}{login}"), Some("password cannot be read: No such file")),
            (format!("{mail}{dkim}"), Some("key.pem has no key that signs")),
        ];
        for (text, expected) in cases {
            std::fs::write(&file, &text).unwrap();
            let loaded = load::once(&file).unwrap();
            let told = loaded.warnings.iter().find(|problem| problem.message.contains("no mail can be sent"));
            assert_eq!(told.is_some(), expected.is_some(), "{text}\n{told:?}");
            assert!(told.is_none_or(|told| told.message.contains(expected.unwrap())), "{told:?}");
        }
    }
}
