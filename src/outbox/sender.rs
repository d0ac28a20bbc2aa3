//! Sender: claims what is due, sends it, and notes the result.

mod readers;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;

use crate::plan::config::DigestTime;
use crate::plan::news::PublicKeys;

use super::chat;
use super::lease::MayTell;
use super::mail::mailer::{MailDesk, MailError};
use super::meaning::Meaning;
use super::notice::Notice;
use super::post::{Answer, Connector, Message};
use super::push::vapid::Vapid;
use super::push::{self, Words};
use super::schedule;
use super::signature::{Signer, new_secret};
use super::stationery::Stationery;
use super::store::{Claim, Outcome, Recorded, Refusal, Store, StoreError};
use super::subscription::{Channel, Subscription};
use super::token::TokenKey;
use super::told::told;
use super::webhook;

/// Sender with its store.
#[derive(Debug)]
pub struct Sender {
    store: Store,
    connector: Connector,
    signer: Signer,
    vapid: Option<Vapid>,
    mail: MailDesk,
    digest_at: DigestTime,
    /// Key of the links for subscribers; `None` until the store was read.
    tokens: Option<TokenKey>,
    flights: JoinSet<Landing>,
    /// Proofs that are asked for. Strangers cause them, so they never take the room of deliveries.
    proofs: JoinSet<Landing>,
    /// Mails that ask for a confirmation, with room of their own for the same reason.
    letters: JoinSet<Landing>,
    /// Ends that the store has not noted yet.
    ended: VecDeque<Ended>,
    /// Flights after the last look at the store.
    peak: usize,
    counts: Counts,
}

/// Attempts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries that an endpoint has taken.
    pub sent: u64,
    /// Attempts that have failed.
    pub failures: u64,
}

/// End of an attempt.
#[derive(Debug)]
enum Landing {
    Delivery(Box<Claim>, Result<Answer, String>),
    Mail(Box<Claim>, Result<(), MailError>),
    Letter { subscription: i64, result: Result<(), MailError> },
    Question { subscription: i64, channel: Channel, meaning: Meaning },
    Proof { subscription: i64, is_proved: bool },
}

/// End of an attempt, as the store shall note it.
#[derive(Debug)]
enum Ended {
    Delivery(Box<Claim>, Outcome),
    Proved { subscription: i64 },
    Letter { subscription: i64 },
}

impl Sender {
    /// Creates a sender.
    pub fn new(store: Store, connector: Connector, signer: Signer) -> Self {
        let (mail, vapid, tokens) = (MailDesk::default(), None, None);
        let (flights, proofs, letters) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let (ended, counts, digest_at) = (VecDeque::new(), Counts::default(), DigestTime::default());
        Self {
            store,
            connector,
            signer,
            vapid,
            mail,
            digest_at,
            tokens,
            flights,
            proofs,
            letters,
            ended,
            peak: 0,
            counts,
        }
    }

    /// Sends mails from a desk.
    #[must_use]
    pub fn with_mail(self, mail: MailDesk) -> Self {
        Self { mail, ..self }
    }

    /// Sends digests at a time of day.
    #[must_use]
    pub fn with_digests(self, digest_at: DigestTime) -> Self {
        Self { digest_at, ..self }
    }

    /// Tells browsers, by the key that they know.
    #[must_use]
    pub fn with_push(self, vapid: Vapid) -> Self {
        Self { vapid: Some(vapid), ..self }
    }

    /// Returns the store.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Returns how many attempts there were.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the public halves of its keys.
    pub fn public_keys(&self) -> PublicKeys {
        let push = self.vapid.as_ref().map(Vapid::public_key);
        PublicKeys { webhooks: self.signer.public_keys(), push }
    }

    /// Returns true if attempts are under way.
    pub fn is_busy(&self) -> bool {
        [&self.flights, &self.proofs, &self.letters].into_iter().any(|flights| !flights.is_empty())
    }

    /// Records an update for all who want it.
    ///
    /// # Errors
    /// If the store cannot be written. Then nobody is told, and the update can be recorded again.
    pub async fn record(&mut self, notice: &Notice, now: Timestamp) -> Result<Recorded, StoreError> {
        // A new update is looked at soon, whatever is under way.
        self.peak = usize::MAX;
        self.store.record(notice, now, self.digest_at.after(now)).await
    }

    /// Starts attempts that are due, as many as may run at a time. Whoever may not tell asks those who subscribe here all
    /// the same.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn start(&mut self, stationery: &Stationery, may: MayTell, now: Timestamp) -> Result<(), StoreError> {
        if self.is_full() {
            return Ok(());
        }
        let free = MOST_AT_ONCE.saturating_sub(self.flights.len());
        let room = MOST_PROOFS.saturating_sub(self.proofs.len());
        for subscription in self.store.claim_proofs(now, room).await? {
            self.ask_for_proof(stationery, subscription, now);
        }
        let room = MOST_LETTERS.saturating_sub(self.letters.len());
        self.ask_readers(stationery, room, now).await?;
        if may == MayTell::Yes {
            for claim in self.store.claim(now, LEASE, free, MOST_PER_HOST).await? {
                self.send(claim, now);
            }
        }
        self.peak = self.flights.len();
        Ok(())
    }

    /// Ends deliveries that are under way. What became of them is not known, so they are repeated by whoever tells then.
    pub fn stand_down(&mut self) {
        self.flights = JoinSet::new();
        self.peak = usize::MAX;
    }

    /// Waits for the end of an attempt; for ever if none is under way. [`Sender::settle`] notes it. Cancel safe.
    pub async fn land(&mut self, clock: impl Fn() -> Timestamp) {
        let mut next = tokio::select! {
            Some(landed) = self.flights.join_next() => Some(landed),
            Some(landed) = self.proofs.join_next() => Some(landed),
            Some(landed) = self.letters.join_next() => Some(landed),
            else => return pending().await,
        };
        while let Some(landed) = next {
            match landed {
                Ok(landing) => self.end(landing, clock()),
                // A task that has panicked: its lease ends.
                Err(_) => self.counts.failures += 1,
            }
            let all = [&mut self.flights, &mut self.proofs, &mut self.letters];
            next = all.into_iter().find_map(JoinSet::try_join_next);
        }
    }

    /// Notes the results of attempts that have ended. What could not be written stays for the next call.
    ///
    /// # Errors
    /// If the store cannot be written. If it is never written, the delivery is sent again, with the same id.
    pub async fn settle(&mut self, now: Timestamp) -> Result<(), StoreError> {
        while let Some(ended) = self.ended.front() {
            match ended {
                Ended::Delivery(claim, outcome) => {
                    self.store.finish(claim, outcome, now).await?;
                    match outcome {
                        Outcome::Done => self.counts.sent += 1,
                        Outcome::Retry { .. }
                        | Outcome::Failed { .. }
                        | Outcome::Refused { .. }
                        | Outcome::Gone { .. } => {
                            self.counts.failures += 1;
                        }
                    }
                }
                Ended::Proved { subscription } => {
                    self.store.activate(*subscription, now).await?;
                }
                Ended::Letter { subscription } => self.store.drop_letter(*subscription).await?,
            }
            self.ended.pop_front();
        }
        Ok(())
    }

    /// Returns how long to wait for the next attempt, if nothing else happens.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn rest(&mut self, now: Timestamp) -> Result<Duration, StoreError> {
        // Nothing would be started before an attempt has ended, and its end wakes us.
        if self.is_full() {
            return Ok(LONGEST_REST);
        }
        let next = self.store.next_due().await?.map(|next| next.duration_since(now));
        let rest = next.and_then(|rest| Duration::try_from(rest.max(SignedDuration::ZERO)).ok());
        Ok(rest.unwrap_or(LONGEST_REST).clamp(SHORTEST_REST, LONGEST_REST))
    }

    /// Returns true if so many attempts are under way that none is started. Each look at the store costs time, and some
    /// results later it finds more.
    fn is_full(&self) -> bool {
        self.flights.len() > self.peak / 2
    }

    /// Decides what becomes of an attempt.
    fn end(&mut self, landing: Landing, now: Timestamp) {
        match landing {
            Landing::Delivery(claim, answer) => {
                let meaning = answer.map(|answer| claim.subscription.order.channel.meaning(&answer));
                let outcome = outcome(claim.attempt, meaning, now, fastrand::f64());
                self.ended.push_back(Ended::Delivery(claim, outcome));
            }
            Landing::Mail(claim, result) => {
                if result.as_ref().is_err_and(|error| !error.is_final()) {
                    self.mail.failed();
                }
                let outcome = mail_outcome(claim.attempts(), result, now, fastrand::f64());
                self.ended.push_back(Ended::Delivery(claim, outcome));
            }
            Landing::Letter { subscription, result } => match result {
                Err(error) if !error.is_final() => {
                    self.counts.failures += 1;
                    self.mail.failed();
                }
                // A mailbox that does not exist is forgotten with the subscription that nobody confirms.
                Ok(()) | Err(_) => self.ended.push_back(Ended::Letter { subscription }),
            },
            Landing::Question { subscription, channel, meaning } => match meaning {
                Meaning::Again(..) => self.counts.failures += 1,
                // The browser has agreed, and its push service knows it.
                Meaning::Taken if channel == Channel::Push => {
                    self.ended.push_back(Ended::Proved { subscription });
                    self.ended.push_back(Ended::Letter { subscription });
                }
                // A place that does not exist is forgotten with the subscription that nobody confirms.
                Meaning::Taken | Meaning::Gone(_) | Meaning::Refused(_) => {
                    self.ended.push_back(Ended::Letter { subscription });
                }
            },
            Landing::Proof { subscription, is_proved: true } => self.ended.push_back(Ended::Proved { subscription }),
            Landing::Proof { .. } => self.counts.failures += 1,
        }
    }

    fn send(&mut self, claim: Claim, now: Timestamp) {
        match claim.subscription.order.channel {
            Channel::Mail => self.mail(claim, now),
            Channel::Webhook | Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy | Channel::Push => {
                self.post(claim, now)
            }
        }
    }

    fn mail(&mut self, claim: Claim, now: Timestamp) {
        let links = self.links(&claim.notice.url, claim.subscription.uid, now);
        let prepared = match &claim.digest {
            None => self.mail.prepare(&claim.notice, &claim.subscription, links, now),
            Some(_) => self.mail.digest(&claim.notices().collect::<Vec<_>>(), &claim.subscription, links, now),
        };
        self.flights.spawn(async move {
            let result = match prepared {
                Ok(mail) => mail.send().await,
                Err(error) => Err(error),
            };
            Landing::Mail(Box::new(claim), result)
        });
    }

    fn post(&mut self, claim: Claim, now: Timestamp) {
        let message = self.message(&claim, now);
        let connector = self.connector.clone();
        self.flights.spawn(async move {
            let answer = match (claim.subscription.order.endpoint(), message) {
                (Ok(endpoint), Ok(message)) => connector.post(&endpoint, message).await.map_err(|error| told(&error)),
                (Err(error), _) => Err(format!("the URL {error}")),
                (_, Err(error)) => Err(error),
            };
            Landing::Delivery(Box::new(claim), answer)
        });
    }

    /// Makes the message of a delivery. The time in it is that of the attempt: an old one looks like a replay.
    fn message(&self, claim: &Claim, now: Timestamp) -> Result<Message, String> {
        let (notice, subscription) = (&claim.notice, &claim.subscription);
        let language = &subscription.order.language;
        if let Some(chat) = subscription.order.channel.chat() {
            let manage = self.links(&notice.url, subscription.uid, now).manage;
            return Ok(chat.message(notice, language, manage));
        }
        if subscription.order.channel == Channel::Push {
            let vapid = self.vapid.as_ref().ok_or("this proxy has no key for browsers")?;
            let (words, topic) = (chat::words(notice, language), notice.incident.key.as_str());
            let words = Words { notice: &words, topic, site: &notice.url };
            return push::message(vapid, subscription, words, now).map_err(|error| error.to_string());
        }
        let (id, body) = (webhook::id(notice, subscription.id), webhook::body(notice, language, now));
        Ok(signed(&self.signer, &id, body, &subscription.secret, now))
    }

    /// Sends a challenge, which the endpoint has to answer with.
    fn ask_for_proof(&mut self, stationery: &Stationery, subscription: Subscription, now: Timestamp) {
        let Some(challenge) = new_secret().ok().map(|secret| secret.replace("whsec_", "challenge_")) else {
            return;
        };
        let id = format!("msg_proof_{}_{}", subscription.id, now.as_second());
        let links = self.links(stationery.url.as_deref().unwrap_or_default(), subscription.uid, now);
        let body = webhook::challenge_body(&challenge, &subscription.secret, &links, now);
        let message = signed(&self.signer, &id, body, &subscription.secret, now);
        let connector = self.connector.clone();
        self.proofs.spawn(async move {
            let answer = match subscription.order.endpoint() {
                Ok(endpoint) => connector.post(&endpoint, message).await.ok(),
                Err(_) => None,
            };
            let is_proved = answer.is_some_and(|answer| proves(&answer, &challenge));
            Landing::Proof { subscription: subscription.id, is_proved }
        });
    }
}

/// Makes a signed message. `secrets` are those of the endpoint, separated by spaces.
pub(super) fn signed(signer: &Signer, id: &str, body: Vec<u8>, secrets: &str, now: Timestamp) -> Message {
    // While a secret follows another, both stand there, the newest first.
    let secrets: Vec<&str> = secrets.split_whitespace().collect();
    let signed = signer.sign(id, now.as_second(), &body, &secrets);
    let mut fields = HeaderMap::new();
    let timestamp = signed.timestamp.to_string();
    let all = [(ID, signed.id), (TIMESTAMP, timestamp), (SIGNATURE, signed.signature)];
    fields.extend(all.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))));
    Message { fields, body: body.into() }
}

/// Decides what becomes of a delivery.
fn outcome(attempt: u32, meaning: Result<Meaning, String>, now: Timestamp, jitter: f64) -> Outcome {
    match meaning {
        Ok(Meaning::Taken) => Outcome::Done,
        Ok(Meaning::Gone(error)) => Outcome::Gone { error },
        Ok(Meaning::Refused(error)) => Outcome::Refused { error, cause: Refusal::Message },
        Ok(Meaning::Again(error, asked)) => again(attempt, error, asked, now, jitter),
        Err(error) => again(attempt, error, None, now, jitter),
    }
}

/// Decides on the next attempt.
fn again(attempt: u32, error: String, asked: Option<Duration>, now: Timestamp, jitter: f64) -> Outcome {
    match schedule::after(attempt, asked, jitter).and_then(|wait| now.checked_add(wait).ok()) {
        Some(at) => Outcome::Retry { at, error },
        None => Outcome::Failed { error },
    }
}

/// Decides what becomes of a mail.
fn mail_outcome(attempt: u32, result: Result<(), MailError>, now: Timestamp, jitter: f64) -> Outcome {
    let Err(error) = result else { return Outcome::Done };
    let text = told(&error);
    if error.is_final() {
        let cause = if error.is_of_mailbox() { Refusal::Address } else { Refusal::Message };
        return Outcome::Refused { error: text, cause };
    }
    again(attempt, text, None, now, jitter)
}

/// Returns true if an answer is the challenge, as a text or as `{"challenge": "…"}`. One that only repeats the request
/// proves nothing.
fn proves(answer: &Answer, challenge: &str) -> bool {
    let is_text = answer.body.trim_ascii() == challenge.as_bytes();
    let is_json = || {
        serde_json::from_slice(&answer.body)
            .is_ok_and(|body: serde_json::Value| body == json!({ "challenge": challenge }))
    };
    answer.status.is_success() && (is_text || is_json())
}

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Deliveries at a time.
const MOST_AT_ONCE: usize = 64;
/// Deliveries at a time to one host.
const MOST_PER_HOST: usize = 16;
/// Proofs at a time.
const MOST_PROOFS: usize = 8;
/// Mailboxes that are asked at a time.
const MOST_LETTERS: usize = 8;
/// Time for which a delivery belongs to its sender: longer than any attempt takes.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
