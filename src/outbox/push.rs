//! Web Push (RFC 8030): messages to browsers, encrypted for each, and signed by this proxy.

pub mod keys;
mod seal;
pub mod vapid;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::plan::notify::{Notice, Tone, formats};

use super::endpoint::EndpointError;
use super::meaning::Meaning;
use super::post::{Answer, Message};
use super::subscription::Subscription;

use keys::PushKeys;
use seal::{Once, SealError};
use vapid::Vapid;

/// Words for a browser.
#[derive(Clone, Copy, Debug)]
pub struct Words<'w> {
    /// Notice.
    pub notice: &'w Notice,
    /// Name of what they are about: a newer message about it replaces one that was not shown yet.
    pub topic: &'w str,
    /// URL of the site.
    pub site: &'w str,
}

/// Failure to make a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The address of the browser is no URL.
    Url(EndpointError),
    /// The keys of the browser are none.
    Keys,
    /// This system cannot encrypt, or the point of the browser is not on the curve.
    Seal,
    /// This system cannot sign.
    Sign,
}

/// Makes the message of one attempt.
///
/// # Errors
/// If the keys of the browser are none, or nothing can be encrypted.
pub fn message(
    vapid: &Vapid,
    subscription: &Subscription,
    words: Words<'_>,
    now: Timestamp,
) -> Result<Message, PushError> {
    let endpoint = subscription.order.endpoint().map_err(PushError::Url)?;
    let keys = PushKeys::parse(&subscription.secret).ok_or(PushError::Keys)?;
    let payload = formats::push(words.notice, words.topic, &subscription.order.language).bytes;
    let once = Once::new().map_err(|SealError| PushError::Seal)?;
    let body = seal::seal(&keys, &payload, &once).map_err(|SealError| PushError::Seal)?;
    let signature = vapid.authorization(&endpoint, words.site, now).ok_or(PushError::Sign)?;
    let urgency = match words.notice.tone {
        Tone::Trouble => "high",
        Tone::Work | Tone::Good => "normal",
    };
    let mut fields = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_ENCODING, HeaderValue::from_static("aes128gcm")),
        (TTL, HeaderValue::from(LIFE.as_secs())),
        (URGENCY, HeaderValue::from_static(urgency)),
    ]);
    if let Ok(topic) = HeaderValue::try_from(words.topic) {
        fields.insert(TOPIC, topic);
    }
    fields.insert(AUTHORIZATION, HeaderValue::try_from(signature).map_err(|_| PushError::Sign)?);
    Ok(Message { fields, body: body.into() })
}

/// Reads the answer of a push service.
pub fn meaning(answer: &Answer) -> Meaning {
    let told = answer.status.to_string();
    match answer.status.as_u16() {
        200..=299 => Meaning::Taken,
        // The browser has left, or its owner has.
        404 | 410 => Meaning::Gone(told),
        // The message is not what RFC 8030 asks for, or too large.
        400 | 413 => Meaning::Refused(told),
        // Among them 401 and 403: a clock that is wrong makes signatures too old, and that is mended.
        _ => Meaning::Again(told, answer.retry_after),
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Url(error) => return write!(f, "the URL {error}"),
            Self::Keys => "the keys of the browser are none",
            Self::Seal => "the message cannot be encrypted for the browser",
            Self::Sign => "the message cannot be signed",
        };
        f.write_str(text)
    }
}

impl Error for PushError {}

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");
/// Time for which a push service keeps a message for a browser that is away. Nobody wants to hear of it after a day.
const LIFE: Duration = Duration::from_hours(24);
