//! Trials: one message to one subscriber, beside the outbox, which says that it is a test.

use jiff::Timestamp;

use crate::plan::news::Key;
use crate::plan::news::mail::{Direction, Letter, Thread};
use crate::plan::notify::{Notice, Tone};

use super::mail::mailer::MailDesk;
use super::meaning::Meaning;
use super::post::{Connector, Message};
use super::push::vapid::Vapid;
use super::push::{self, Words};
use super::sender::signed;
use super::signature::Signer;
use super::subscription::{Channel, Subscription};
use super::told::told;
use super::webhook;

/// Keys of this proxy.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'k> {
    /// Keys that sign webhooks.
    pub signer: &'k Signer,
    /// Key that browsers know.
    pub vapid: &'k Vapid,
}

/// Sends a test, once, and returns the answer in words.
///
/// # Errors
/// The reason why it was not taken.
pub async fn trial(
    connector: &Connector,
    keys: Keys<'_>,
    desk: &mut MailDesk,
    subscription: &Subscription,
    now: Timestamp,
) -> Result<String, String> {
    if subscription.order.channel == Channel::Mail {
        return mail(desk, subscription, now).await;
    }
    let message = message(keys, subscription, now)?;
    let endpoint = subscription.order.endpoint().map_err(|error| format!("the URL {error}"))?;
    let answer = connector.post(&endpoint, message).await.map_err(|error| told(&error))?;
    let status = format!("answered {}", answer.status);
    match subscription.order.channel.meaning(&answer) {
        Meaning::Taken => Ok(status),
        Meaning::Again(why, _) | Meaning::Gone(why) | Meaning::Refused(why) => Err(format!("answered {why}")),
    }
}

fn message(keys: Keys<'_>, subscription: &Subscription, now: Timestamp) -> Result<Message, String> {
    match (subscription.order.channel, subscription.order.channel.chat()) {
        (_, Some(chat)) => Ok(chat.form(&words(now))),
        (Channel::Mail, _) => Err("a mail is no message to an endpoint".to_owned()),
        (Channel::Push, _) => {
            let words = Words { notice: &words(now), topic: "test", site: "" };
            push::message(keys.vapid, subscription, words, now).map_err(|error| error.to_string())
        }
        (Channel::Webhook | Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy, None) => {
            let id = format!("msg_test_{}_{}", subscription.id, now.as_second());
            Ok(signed(keys.signer, &id, webhook::test_body(now), &subscription.secret, now))
        }
    }
}

async fn mail(desk: &mut MailDesk, to: &Subscription, now: Timestamp) -> Result<String, String> {
    let (incident, update) = (Key::of(&["test"]), Key::of(&["test", &now.to_string()]));
    let thread = Thread { incident: Some(&incident), update: &update, subscription: Some(to.id) };
    let mail = desk.address(&letter(), thread, &to.order.address, now).map_err(|error| told(&error))?;
    mail.send().await.map_err(|error| told(&error))?;
    Ok("taken by the mail server".to_owned())
}

/// Words the mail. An operator asks for it, so that it is in one language.
fn letter() -> Letter {
    let reason = "You get this mail because an operator tries out your subscription.";
    Letter {
        language: "en".to_owned(),
        direction: Direction::Ltr,
        site: "backsoon".to_owned(),
        subject: TITLE.to_owned(),
        stage: None,
        heading: TITLE.to_owned(),
        paragraphs: vec![TEXT.to_owned()],
        facts: Vec::new(),
        action: None,
        calendar: None,
        daily: None,
        reason: reason.to_owned(),
        manage: String::new(),
        unsubscribe: String::new(),
    }
}

fn words(now: Timestamp) -> Notice {
    Notice {
        title: TITLE.to_owned(),
        paragraphs: vec![TEXT.to_owned()],
        fields: Vec::new(),
        link: None,
        foot: None,
        at: now,
        tone: Tone::Good,
    }
}

const TITLE: &str = "This is a test";
const TEXT: &str = "Nothing has happened. News of maintenance will come here.";
