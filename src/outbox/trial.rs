//! Trials: one message to one subscriber, beside the outbox, which says that it is a test.

use jiff::Timestamp;

use crate::plan::notify::{Notice, Tone};

use super::chat::Meaning;
use super::post::{Connector, Message};
use super::sender::{signed, told};
use super::signature::Signer;
use super::subscription::{Channel, Subscription};
use super::webhook;

/// Sends a test, once, and returns the answer in words.
///
/// # Errors
/// The reason why it was not taken.
pub async fn trial(
    connector: &Connector,
    signer: &Signer,
    subscription: &Subscription,
    now: Timestamp,
) -> Result<String, String> {
    let message = message(signer, subscription, now).ok_or("mails have no test: send one through your mail server")?;
    let endpoint = subscription.order.endpoint().map_err(|error| format!("the URL {error}"))?;
    let answer = connector.post(&endpoint, message).await.map_err(|error| told(&error))?;
    let status = format!("answered {}", answer.status);
    match subscription.order.channel.chat().map(|chat| chat.meaning(&answer)) {
        Some(Meaning::Taken) => Ok(status),
        Some(Meaning::Again(why, _) | Meaning::Gone(why) | Meaning::Refused(why)) => Err(format!("answered {why}")),
        None if answer.status.is_success() => Ok(status),
        None => Err(status),
    }
}

fn message(signer: &Signer, subscription: &Subscription, now: Timestamp) -> Option<Message> {
    match (subscription.order.channel, subscription.order.channel.chat()) {
        (_, Some(chat)) => Some(chat.form(&words(now))),
        (Channel::Mail, _) => None,
        (Channel::Webhook | Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy, None) => {
            let id = format!("msg_test_{}_{}", subscription.id, now.as_second());
            Some(signed(signer, &id, webhook::test_body(now), &subscription.secret, now))
        }
    }
}

fn words(now: Timestamp) -> Notice {
    Notice {
        title: "This is a test".to_owned(),
        paragraphs: vec!["Nothing has happened. News of maintenance will come here.".to_owned()],
        fields: Vec::new(),
        link: None,
        at: now,
        tone: Tone::Good,
    }
}
