//! Chats: their forms of a notice, and what their answers mean. Operators' chats have the same forms.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use crate::plan::config;
use crate::plan::news::mail::Letter;
use crate::plan::notify::{self, Body, formats};

use super::meaning::Meaning;
use super::notice::{Notice, Telling};
use super::post::{Answer, Message};

/// Service whose channels are told by POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chat {
    /// Slack, and what takes its form.
    Slack,
    /// Discord.
    Discord,
    /// Microsoft Teams.
    Teams,
    /// ntfy.
    Ntfy,
}

/// Answer of Discord to too many messages.
#[derive(Deserialize)]
struct Slower {
    retry_after: f64,
}

impl Chat {
    /// Returns the message about a notice, in a language. `manage` leads to the preferences, and ends the message.
    pub fn message(self, notice: &Notice, language: &str, manage: Option<String>) -> Message {
        let letter = notice.in_language(language).and_then(|telling| telling.letter.as_ref());
        let foot = letter.map(|letter| letter.manage.clone()).zip(manage);
        self.form(&notify::Notice { foot, ..words(notice, language) })
    }

    /// Returns a message that asks, or tells of the subscription itself.
    pub fn letter(self, letter: &Letter, now: Timestamp) -> Message {
        let words = spoken(letter, now);
        let paragraphs = words.paragraphs.into_iter().chain([letter.reason.clone()]).collect();
        self.form(&notify::Notice { paragraphs, foot: words.link, link: None, ..words })
    }

    /// Returns a message in the form of the service.
    pub fn form(self, words: &notify::Notice) -> Message {
        let Body { fields, bytes } = match self {
            Self::Slack => formats::slack(words),
            Self::Discord => formats::discord(words),
            Self::Teams => formats::teams(words),
            Self::Ntfy => formats::ntfy(words),
        };
        Message { fields: fields.into_iter().collect::<HeaderMap>(), body: bytes }
    }

    /// Reads an answer.
    pub fn meaning(self, answer: &Answer) -> Meaning {
        let status = self.status(answer);
        let told = told(status, &answer.body);
        match notify::answer(self.service(), status.as_u16(), None) {
            notify::Answer::Taken => Meaning::Taken,
            notify::Answer::Again(_) => Meaning::Again(told, self.asked(answer)),
            notify::Answer::Gone => Meaning::Gone(told),
            notify::Answer::Refused => Meaning::Refused(told),
        }
    }

    fn service(self) -> config::Channel {
        match self {
            Self::Slack => config::Channel::Slack,
            Self::Discord => config::Channel::Discord,
            Self::Teams => config::Channel::Teams,
            Self::Ntfy => config::Channel::Ntfy,
        }
    }

    /// Returns the status that counts. Connectors of Teams answer 200 whatever happens, and name the real status in words.
    fn status(self, answer: &Answer) -> StatusCode {
        match self {
            Self::Teams if answer.status == StatusCode::OK => {
                let text = String::from_utf8_lossy(&answer.body);
                let named = text.split_once("endpoint returned HTTP error ").and_then(|(_, rest)| rest.get(..3));
                named.and_then(|named| named.parse().ok()).unwrap_or(answer.status)
            }
            Self::Slack | Self::Discord | Self::Teams | Self::Ntfy => answer.status,
        }
    }

    /// Returns the time that the service asks for. Discord names it in its body, too, to the millisecond.
    fn asked(self, answer: &Answer) -> Option<Duration> {
        let named = match self {
            Self::Discord => serde_json::from_slice(&answer.body).ok(),
            Self::Slack | Self::Teams | Self::Ntfy => None,
        };
        let named = named.and_then(|Slower { retry_after }| Duration::try_from_secs_f64(retry_after).ok());
        named.max(answer.retry_after)
    }
}

/// Returns a letter as a message, without its reason.
pub(super) fn spoken(letter: &Letter, now: Timestamp) -> notify::Notice {
    notify::Notice {
        title: letter.heading.clone(),
        paragraphs: letter.paragraphs.clone(),
        fields: Vec::new(),
        link: letter.action.as_ref().map(|action| (action.label.clone(), action.url.clone())),
        foot: None,
        at: now,
        tone: notify::Tone::Work,
    }
}

/// Returns the words for chats. An older backsoon recorded none, so they are made of what there is.
pub(super) fn words(notice: &Notice, language: &str) -> notify::Notice {
    let telling = notice.in_language(language);
    if let Some(chat) = telling.and_then(|telling| telling.chat.clone()) {
        return chat;
    }
    let title = |telling: &Telling| format!("{}: {}", telling.title, telling.stage);
    notify::Notice {
        title: telling.map_or_else(|| notice.title.clone(), title),
        paragraphs: telling.map(|telling| telling.paragraphs.clone()).unwrap_or_default(),
        fields: Vec::new(),
        link: Some((notice.title.clone(), format!("{}/incidents/{}", notice.url, notice.incident.key))),
        foot: None,
        at: notice.update.at,
        tone: notify::Tone::Work,
    }
}

/// Returns a status in words, with the code that Slack gives as its whole body. No other text of an answer is shown: who
/// chose the URL must not learn what stands behind it.
pub(super) fn told(status: StatusCode, body: &[u8]) -> String {
    let body = body.trim_ascii();
    let is_code = !body.is_empty()
        && body.len() <= MOST_CODE
        && body.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    if is_code { format!("{status} ({})", String::from_utf8_lossy(body)) } else { status.to_string() }
}

const MOST_CODE: usize = 40;

#[cfg(test)]
mod tests {
    use super::super::tests::notice;
    use super::*;

    #[test]
    fn an_answer_means_what_the_service_means_by_it() {
        use Meaning::{Again, Gone, Refused, Taken};
        let second = |seconds: f64| Some(Duration::from_secs_f64(seconds));
        let teams_429 = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 \
                         with ContextId tcid=0";
        let cases = [
            (Chat::Slack, 200, None, "ok", Taken),
            (Chat::Slack, 404, None, "no_service", Gone("404 Not Found (no_service)".into())),
            (Chat::Slack, 404, None, "channel_not_found\n", Gone("404 Not Found (channel_not_found)".into())),
            (Chat::Slack, 410, None, "channel_is_archived", Gone("410 Gone (channel_is_archived)".into())),
            (Chat::Slack, 403, None, "action_prohibited", Gone("403 Forbidden (action_prohibited)".into())),
            (Chat::Slack, 400, None, "invalid_blocks", Refused("400 Bad Request (invalid_blocks)".into())),
            (Chat::Slack, 429, Some(30), "", Again("429 Too Many Requests".into(), second(30.0))),
            (Chat::Slack, 500, None, "<h1>Secret 7</h1>", Again("500 Internal Server Error".into(), None)),
            (Chat::Slack, 302, None, "", Refused("302 Found".into())),
            (Chat::Discord, 204, None, "", Taken),
            (
                Chat::Discord,
                429,
                None,
                r#"{"message":"You are being rate limited.","retry_after":64.57,"global":false}"#,
                Again("429 Too Many Requests".into(), second(64.57)),
            ),
            (
                Chat::Discord,
                429,
                Some(65),
                r#"{"retry_after":64.57}"#,
                Again("429 Too Many Requests".into(), second(65.0)),
            ),
            (
                Chat::Discord,
                429,
                Some(7200),
                r#"{"retry_after":-1e300}"#,
                Again("429 Too Many Requests".into(), second(7200.0)),
            ),
            (Chat::Discord, 404, None, r#"{"code":10015}"#, Gone("404 Not Found".into())),
            (Chat::Teams, 202, None, "", Taken),
            (Chat::Teams, 200, None, "1", Taken),
            (Chat::Teams, 200, None, teams_429, Again("429 Too Many Requests".into(), None)),
            (Chat::Teams, 200, None, "endpoint returned HTTP error 9", Taken),
            (Chat::Teams, 401, None, "", Gone("401 Unauthorized".into())),
            (Chat::Ntfy, 403, None, "", Gone("403 Forbidden".into())),
            (Chat::Ntfy, 429, None, r#"{"code":42901}"#, Again("429 Too Many Requests".into(), None)),
            (Chat::Ntfy, 413, None, "", Refused("413 Payload Too Large".into())),
        ];
        for (chat, status, retry_after, body, meaning) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer { status, retry_after: retry_after.map(Duration::from_secs), body: body.into() };
            assert_eq!(chat.meaning(&answer), meaning, "{chat:?} {status} {body}");
        }
    }

    #[test]
    fn a_notice_of_an_older_backsoon_has_words_too() {
        let notice = notice(1);
        let text = |chat: Chat| String::from_utf8(chat.message(&notice, "de", None).body.to_vec()).unwrap();
        for chat in [Chat::Slack, Chat::Discord, Chat::Teams] {
            let text = text(chat);
            assert!(text.contains("Datenbank: in progress") || text.contains("Datenbank\\\\: in progress"), "{text}");
            assert!(text.contains("https://status.example.com/incidents/"), "{text}");
        }
        let ntfy = Chat::Ntfy.message(&notice, "de", None);
        assert_eq!(ntfy.fields["title"], "Datenbank: in progress");
        assert_eq!(ntfy.fields["content-type"], "text/plain; charset=utf-8");
    }
}
