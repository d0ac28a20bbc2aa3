//! Errands of subscribers: what they want, and the mails and messages that ask them.

use std::io;

use jiff::Timestamp;

use crate::plan::news::mail::{Letter, Links};

use super::super::chat;
use super::super::clerk::{Errand, Told};
use super::super::meaning::Meaning;
use super::super::post::Message;
use super::super::push::{self, Words};
use super::super::signature::new_secret;
use super::super::stationery::{Question, Stationery};
use super::super::store::{Leaving, StoreError, Whose};
use super::super::subscription::{Channel, Order, State, Subscription};
use super::super::token::{Purpose, TokenKey, Uid};
use super::super::told::told;
use super::{Landing, Sender};

impl Sender {
    /// Reads the key of tokens, and makes it if the store has none.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn unlock(&mut self) -> Result<&TokenKey, StoreError> {
        let key = match self.tokens.take() {
            Some(key) => key,
            None => {
                let offered = TokenKey::generate().map_err(|error| StoreError::Random(error.to_string()))?;
                self.store.token_key(&offered).await?
            }
        };
        Ok(self.tokens.insert(key))
    }

    /// Does an errand.
    ///
    /// # Errors
    /// If the store cannot be read or written. The errand can be done again.
    pub async fn serve(&mut self, errand: &Errand, now: Timestamp) -> Result<Told, StoreError> {
        let done = |is_done: bool| if is_done { Told::Done } else { Told::Gone };
        Ok(match errand {
            Errand::Subscribe(order) => {
                let secret = secret(order.channel)?;
                self.subscribe(order, &secret, now).await?
            }
            Errand::SubscribeBrowser(order, keys) => self.subscribe(order, &keys.to_text(), now).await?,
            Errand::LookToConfirm(token) => match self.found(token, Purpose::Confirm, now).await? {
                Some(found) => done(matches!(found.state, State::Unconfirmed | State::Quarantined)),
                None => Told::Gone,
            },
            Errand::Confirm(token) => match self.uid(token, Purpose::Confirm, now) {
                Some(uid) if self.store.confirm(uid, now).await? => {
                    let token = self.tokens.as_ref().map(|key| key.sign(Purpose::Manage, uid, now));
                    Told::Confirmed(token.unwrap_or_default())
                }
                Some(_) | None => Told::Gone,
            },
            Errand::Look(token) => match self.found(token, Purpose::Manage, now).await? {
                Some(found) => Told::Found(Box::new(found)),
                None => Told::Gone,
            },
            Errand::Change(token, order) => match self.found(token, Purpose::Manage, now).await? {
                Some(found) => self.change(found, order, now).await?,
                None => Told::Gone,
            },
            Errand::Erase(token) => match self.uid(token, Purpose::Manage, now) {
                Some(uid) => done(self.store.leave(uid, Leaving::Erased, now).await?),
                None => Told::Gone,
            },
            Errand::End(token) => match self.uid(token, Purpose::End, now) {
                Some(uid) => done(self.store.leave(uid, Leaving::Unsubscribed, now).await?),
                None => Told::Gone,
            },
        })
    }

    async fn subscribe(&mut self, order: &Order, secret: &str, now: Timestamp) -> Result<Told, StoreError> {
        match self.store.ask(order, secret, now).await {
            Ok(()) => {}
            // To try again would not help, and the visitor has gone.
            Err(error @ StoreError::Full(..)) => tracing::warn!(%error, "a subscription is dropped"),
            Err(error) => return Err(error),
        }
        // The address is asked soon, whatever is under way.
        self.peak = usize::MAX;
        Ok(Told::Done)
    }

    async fn change(&mut self, found: Subscription, order: &Order, now: Timestamp) -> Result<Told, StoreError> {
        let Subscription { uid, order: Order { channel, address, routes, .. }, .. } = found.clone();
        let order = Order { channel, address, routes, ..order.clone() };
        let is_done = self.store.change(uid, &order, now, self.digest_at.after(now)).await?;
        Ok(if is_done { Told::Found(Box::new(Subscription { order, ..found })) } else { Told::Gone })
    }

    fn uid(&self, token: &str, purpose: Purpose, now: Timestamp) -> Option<Uid> {
        self.tokens.as_ref()?.verify(token, purpose, now).ok()
    }

    async fn found(
        &mut self,
        token: &str,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Option<Subscription>, StoreError> {
        match self.uid(token, purpose, now) {
            Some(uid) => self.store.find_uid(uid).await,
            None => Ok(None),
        }
    }

    /// Returns the links by which a subscription is changed and ended; none if the site has no URL.
    pub(super) fn links(&self, site: &str, uid: Uid, now: Timestamp) -> Links {
        let link = |path: &str, purpose: Purpose| {
            let key = self.tokens.as_ref().filter(|_| site.contains("://"))?;
            Some(format!("{site}/{path}/{}", key.sign(purpose, uid, now)))
        };
        Links { manage: link("manage", Purpose::Manage), unsubscribe: link("u", Purpose::End), mailto: None }
    }

    /// Sends the mails and messages that ask readers, at most so many.
    pub(super) async fn ask_readers(
        &mut self,
        stationery: &Stationery,
        most: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if stationery.url.is_none() {
            return Ok(());
        }
        let whose = if self.mail.has_server() { Whose::All } else { Whose::NoMailbox };
        for reader in self.store.claim_letters(whose, now, most).await? {
            let Some(letter) = self.letter(stationery, &reader, now) else { continue };
            match reader.order.channel {
                Channel::Mail => self.ask_mailbox(stationery, &letter, &reader, now),
                Channel::Webhook
                | Channel::Slack
                | Channel::Discord
                | Channel::Teams
                | Channel::Ntfy
                | Channel::Push => {
                    let message = self.question(stationery, &letter, &reader, now);
                    self.ask_place(message, reader);
                }
            }
        }
        Ok(())
    }

    /// Words what a reader is asked, with the link that answers.
    fn letter(&self, stationery: &Stationery, reader: &Subscription, now: Timestamp) -> Option<Letter> {
        let key = self.tokens.as_ref()?;
        let (question, path) = match reader.state {
            State::Unconfirmed | State::Quarantined | State::Active if reader.order.channel == Channel::Push => {
                (Question::Greeting, "/subscribe".to_owned())
            }
            State::Unconfirmed | State::Quarantined => {
                let is_chat = reader.order.channel.chat().is_some();
                let question = if is_chat { Question::ConfirmChannel } else { Question::Confirm };
                (question, format!("/confirm/{}", key.sign(Purpose::Confirm, reader.uid, now)))
            }
            State::Active => (Question::Known, format!("/manage/{}", key.sign(Purpose::Manage, reader.uid, now))),
            State::Disabled => return None,
        };
        stationery.letter(question, &reader.order.language, &path)
    }

    fn ask_mailbox(&mut self, stationery: &Stationery, letter: &Letter, reader: &Subscription, now: Timestamp) {
        let url = stationery.url.as_deref().unwrap_or_default();
        let prepared = self.mail.question(letter, url, &reader.order.address, now);
        let subscription = reader.id;
        self.letters.spawn(async move {
            let result = match prepared {
                Ok(mail) => mail.send().await,
                Err(error) => Err(error),
            };
            Landing::Letter { subscription, result }
        });
    }

    /// Makes the first message to a chat or a browser.
    fn question(
        &self,
        stationery: &Stationery,
        letter: &Letter,
        reader: &Subscription,
        now: Timestamp,
    ) -> Result<Message, String> {
        if let Some(chat) = reader.order.channel.chat() {
            return Ok(chat.letter(letter, now));
        }
        let vapid = self.vapid.as_ref().ok_or("this proxy has no key for browsers")?;
        let notice = chat::spoken(letter, now);
        let words = Words { notice: &notice, topic: GREETING, site: stationery.url.as_deref().unwrap_or_default() };
        push::message(vapid, reader, words, now).map_err(|error| error.to_string())
    }

    fn ask_place(&mut self, message: Result<Message, String>, reader: Subscription) {
        let connector = self.connector.clone();
        self.letters.spawn(async move {
            let channel = reader.order.channel;
            let meaning = match (reader.order.endpoint(), message) {
                (Ok(endpoint), Ok(message)) => match connector.post(&endpoint, message).await {
                    Ok(answer) => channel.meaning(&answer),
                    Err(error) => Meaning::Again(told(&error), None),
                },
                (Err(error), _) => Meaning::Refused(error.to_string()),
                (_, Err(error)) => Meaning::Refused(error),
            };
            Landing::Question { subscription: reader.id, channel, meaning }
        });
    }
}

/// Returns a secret for a new subscription.
fn secret(channel: Channel) -> Result<String, StoreError> {
    match channel {
        Channel::Webhook => new_secret().map_err(|error: io::Error| StoreError::Random(error.to_string())),
        // They are known by their URL, or by what the browser has given.
        Channel::Mail | Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy | Channel::Push => {
            Ok(String::new())
        }
    }
}

/// Topic of the first message to a browser.
const GREETING: &str = "subscribed";
