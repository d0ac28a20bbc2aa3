//! Chats and webhooks that are told of events, by the client of the outbox.

use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::control::certs;
use crate::outbox::endpoint::Endpoint;
use crate::outbox::post::{Answer as Answered, Connector, Message};
use crate::outbox::told::told;
use crate::plan::config::{Channel, HookScheme, HookUrl, Notify};
use crate::plan::notify::{Answer, Body, OperatorEvent, answer, formats};
use crate::plan::words::harmless;

use super::outcome::{Failure, Next, Told};

/// Makes one attempt to tell a place of an event. Redirects are not followed.
///
/// # Errors
/// The reason why it was not told. The URL's path is not in it.
pub(super) async fn post(
    (channel, url): (Channel, &HookUrl),
    settings: &Notify,
    event: &OperatorEvent,
    replica: &str,
    connector: Option<&Connector>,
) -> Result<Told, Failure> {
    let Some(connector) = connector.filter(|_| url.scheme == HookScheme::Clear || certs::has_roots()) else {
        return Err(Failure { why: "this system has no root certificates".to_owned(), next: Next::Again(None) });
    };
    let never = |error| Failure { why: format!("the URL {error}"), next: Next::Never };
    let endpoint = Endpoint::of(url).map_err(never)?;
    let body = body(channel, event, replica, settings.language.as_deref());
    let message = Message { fields: fields(&body, event.id(replica).as_str()), body: body.bytes };
    let answered = connector.post_within(&endpoint, message, settings.timeout).await;
    judge(channel, &answered.map_err(|error| Failure { why: told(&error), next: Next::Again(None) })?)
}

/// Decides what an answer means.
fn judge(channel: Channel, answered: &Answered) -> Result<Told, Failure> {
    let status = answered.status.as_u16();
    let words = format!("answered {status}");
    let text: String = String::from_utf8_lossy(&answered.body).chars().take(MOST_TEXT).collect();
    let text = harmless(text.trim());
    let why = if text.is_empty() { words.clone() } else { format!("{words}: {text}") };
    match answer(channel, status, None) {
        Answer::Taken => Ok(Told(words)),
        Answer::Again(_) => {
            Err(Failure { why, next: Next::Again(answered.retry_after.filter(|asked| *asked <= LONGEST_ASKED)) })
        }
        Answer::Gone => Err(Failure { why: format!("{why}; the place is gone, or closed to us"), next: Next::Never }),
        Answer::Refused => Err(Failure { why, next: Next::Never }),
    }
}

fn fields(body: &Body, id: &str) -> HeaderMap {
    let mut fields: HeaderMap = body.fields.iter().cloned().collect();
    fields.insert(USER_AGENT, AGENT);
    // As Standard Webhooks have them: the id of the message, and the time of the attempt.
    if let Ok(id) = HeaderValue::try_from(id) {
        fields.insert(HeaderName::from_static("webhook-id"), id);
    }
    fields.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(Timestamp::now().as_second()));
    fields
}

/// Returns the body of an event in the form of a receiver.
fn body(channel: Channel, event: &OperatorEvent, replica: &str, language: Option<&str>) -> Body {
    let notice = || event.notice(replica, language);
    match channel {
        Channel::Slack => formats::slack(&notice()),
        Channel::Discord => formats::discord(&notice()),
        Channel::Teams => formats::teams(&notice()),
        Channel::Ntfy => formats::ntfy(&notice()),
        Channel::Webhook => Body::json(&event.json(replica, language)),
    }
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("backsoon/", env!("CARGO_PKG_VERSION"), " (notify)"));
/// Longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_hours(1);
/// Characters of an answer that are logged.
const MOST_TEXT: usize = 200;
