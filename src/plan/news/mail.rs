//! Mails: what subscribers are told of an update, as header fields, a plain text and an HTML text.
//!
//! A mail is made in two steps. A [`Letter`] has all words, in one language; a [`Mail`] is one subscriber's, with the
//! links and the fields that are theirs alone. Neither knows an address.

mod digest;
mod fields;
mod html;
mod plain;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::documents::publication;
use super::{Incident, News, Update, Words};

pub use digest::{Digest, Entry, Section};
pub use fields::{Envelope, Links, Thread};

/// Words of a mail, in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Tag of the language (BCP 47).
    pub language: String,
    /// Direction in which it is written.
    pub direction: Direction,
    /// Name of the site.
    pub site: String,
    /// Subject. It is the same for all updates of an incident, so that these are one thread in every mail program.
    pub subject: String,
    /// Word for the stage of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Heading.
    pub heading: String,
    /// Paragraphs.
    pub paragraphs: Vec<String>,
    /// Facts with their labels.
    pub facts: Vec<(String, String)>,
    /// Link that the reader is meant to follow; `None` while the site has no URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Calendar of the window, if the update changes when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// Words of the update in a digest; `None` in a letter that an older backsoon recorded, or that goes into none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<Daily>,
    /// Reason why the reader gets the mail.
    pub reason: String,
    /// Word for the link to the preferences.
    pub manage: String,
    /// Word for the link that ends the subscription.
    pub unsubscribe: String,
}

/// Direction of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Left to right.
    Ltr,
    /// Right to left.
    Rtl,
}

/// Link with its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Words.
    pub label: String,
    /// URL.
    pub url: String,
}

/// Words of an update that a digest has and a mail about it alone does not need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daily {
    /// Heading of a digest whose newest update it is.
    pub heading: String,
    /// Instant of the update.
    pub when: String,
    /// Sentence for what has no room in a digest.
    pub more: String,
}

/// Finished mail, without its sender and its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Subject, one line without control characters.
    pub subject: String,
    /// Further header fields. Their values are one line each.
    pub fields: Vec<(&'static str, String)>,
    /// Plain text.
    pub text: String,
    /// HTML text, below the length at which mail programs cut.
    pub html: String,
    /// Calendar that is attached.
    pub calendar: Option<String>,
}

impl Letter {
    /// Words a letter about an update.
    pub fn of_update(words: Words<'_>, news: &News<'_>, incident: &Incident, update: &Update) -> Self {
        let heading = words.title(&incident.facts);
        let reference = incident.facts.reference.as_ref();
        let quoted = reference.map(|reference| format!(" ({reference})")).unwrap_or_default();
        Self {
            subject: format!("[{}] {heading}{quoted}", news.title),
            stage: Some(words.stage(update.stage)),
            heading,
            paragraphs: words.paragraphs(incident, update),
            facts: facts(words, news, incident),
            calendar: publication(news, words, incident, update).filter(|text| text.len() <= MOST_CALENDAR),
            daily: Some(Daily {
                heading: words.with("mail-digest", &[("date", words.date(update.at))]),
                when: words.instant(update.at),
                more: words.own("mail-digest-more"),
            }),
            // Without a URL of the site, the link is a path, which leads nowhere from a mail.
            action: news.url.contains("://").then(|| Action {
                label: words.own("mail-view"),
                url: news.link(&format!("/incidents/{}", incident.key)),
            }),
            ..Self::blank(words, &news.title)
        }
    }

    /// Words a letter that asks a new subscriber whether the subscription is theirs.
    pub fn of_confirmation(words: Words<'_>, site: &str, url: String) -> Self {
        let about = [("site", site.to_owned())];
        let subject = words.with("mail-confirm-subject", &about);
        Self {
            heading: subject.clone(),
            subject,
            paragraphs: vec![words.with("mail-confirm-text", &about)],
            action: Some(Action { label: words.own("mail-confirm-button"), url }),
            reason: words.own("mail-confirm-end"),
            ..Self::blank(words, site)
        }
    }

    /// Words a message that asks a channel of a chat whether it wants to be told.
    pub fn of_channel(words: Words<'_>, site: &str, url: String) -> Self {
        let text = words.with("chat-confirm-text", &[("site", site.to_owned())]);
        Self { paragraphs: vec![text], ..Self::of_confirmation(words, site, url) }
    }

    /// Words the first message to a browser, which has agreed already.
    pub fn of_browser(words: Words<'_>, site: &str, url: String) -> Self {
        let text = words.with("form-done-text", &[("site", site.to_owned())]);
        let action = Some(Action { label: words.own("subscribe"), url });
        Self { heading: words.own("form-done-title"), paragraphs: vec![text], action, ..Self::blank(words, site) }
    }

    /// Words a letter that tells a subscriber that the subscription was asked for once more, and is as it was.
    pub fn of_known(words: Words<'_>, site: &str, url: String) -> Self {
        let about = [("site", site.to_owned())];
        let subject = words.with("mail-known-subject", &about);
        Self {
            heading: subject.clone(),
            subject,
            paragraphs: vec![words.with("mail-known-text", &about)],
            action: Some(Action { label: words.own("mail-manage"), url }),
            reason: words.own("mail-known-end"),
            ..Self::blank(words, site)
        }
    }

    fn blank(words: Words<'_>, site: &str) -> Self {
        let site = site.to_owned();
        Self {
            language: words.tag().to_owned(),
            direction: if words.is_right_to_left() { Direction::Rtl } else { Direction::Ltr },
            subject: String::new(),
            stage: None,
            heading: String::new(),
            paragraphs: Vec::new(),
            facts: Vec::new(),
            action: None,
            calendar: None,
            daily: None,
            reason: words.with("mail-reason", &[("site", site.clone())]),
            manage: words.own("mail-manage"),
            unsubscribe: words.own("mail-unsubscribe"),
            site,
        }
    }

    /// Cuts all texts to lengths that keep the mail small, whatever an operator has written.
    fn bounded(&self) -> Self {
        let mut left = MOST_TEXT;
        let mut paragraphs = Vec::new();
        for paragraph in &self.paragraphs {
            let shown = cut(paragraph, left);
            left = left.saturating_sub(shown.len());
            paragraphs.push(shown);
            if left == 0 {
                break;
            }
        }
        let facts = self.facts.iter().map(|(label, value)| (line(label), line(value)));
        Self {
            site: line(&self.site),
            subject: line(&self.subject),
            stage: self.stage.as_deref().map(line),
            heading: line(&self.heading),
            paragraphs,
            facts: facts.take(MOST_FACTS).collect(),
            reason: line(&self.reason),
            ..self.clone()
        }
    }
}

impl Mail {
    /// Makes the mail of one subscriber.
    pub fn new(letter: &Letter, envelope: &Envelope<'_>) -> Self {
        let letter = letter.bounded();
        Self {
            fields: fields::fields(envelope),
            text: plain::text(&letter, &envelope.links),
            html: html::html(&letter, &envelope.links),
            calendar: letter.calendar,
            subject: letter.subject,
        }
    }

    /// Makes the digest of one subscriber. Incidents for which a mail program has no room are left out, and it says so.
    pub fn of_digest(digest: &Digest, envelope: &Envelope<'_>) -> Self {
        let mut length = 0;
        let mut parts = Vec::new();
        for section in &digest.sections {
            let part = html::section(section, &digest.frame);
            length += part.len();
            if length > MOST_HTML && !parts.is_empty() {
                break;
            }
            parts.push(part);
        }
        let shown = &digest.sections[..parts.len()];
        let is_cut = shown.len() < digest.sections.len() || shown.iter().any(|section| section.is_cut);
        let more = is_cut.then_some(digest.more.as_str());
        Self {
            subject: digest.frame.subject.clone(),
            fields: fields::fields(envelope),
            text: plain::digest(&digest.frame, shown, more, &envelope.links),
            html: html::digest(&digest.frame, &parts, more, &envelope.links),
            calendar: None,
        }
    }
}

/// Returns the facts that a mail shows, with their labels.
fn facts(words: Words<'_>, news: &News<'_>, incident: &Incident) -> Vec<(String, String)> {
    let facts = &incident.facts;
    let own: Vec<String> = facts.services.iter().map(|name| words.text(name).to_owned()).collect();
    let known = || news.services_of(facts).map(|service| service.name.clone()).collect();
    let services: Vec<String> = if own.is_empty() { known() } else { own };
    let regions: Vec<String> = facts.regions.iter().cloned().collect();
    let list = |items: &[String]| (!items.is_empty()).then(|| words.list(items));
    let all = [
        ("mail-starts", Some(words.instant(facts.starts))),
        ("mail-ends", facts.ends.filter(|_| !facts.stage.is_final()).map(|ends| words.instant(ends))),
        ("mail-services", list(&services)),
        ("mail-regions", list(&regions)),
        ("reference", facts.reference.clone()),
    ];
    all.into_iter().filter_map(|(key, value)| Some((words.own(key), value?))).collect()
}

/// Returns a text as one line of bounded length, without characters that could end a header field or turn the direction
/// of what follows.
fn line(text: &str) -> String {
    let words: Vec<&str> = text.split(|character: char| character.is_whitespace() || is_unseen(character)).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    cut(&words.join(" "), MOST_LINE)
}

/// Returns true for characters that have no place in one line of a mail.
fn is_unseen(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Cuts a text between two characters, and says so.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

/// Bytes of all paragraphs. An escaped byte takes up to five, and the whole stays below 100 kB.
const MOST_TEXT: usize = 8000;
/// Bytes of a heading, a label or a fact.
const MOST_LINE: usize = 400;
const MOST_FACTS: usize = 8;
/// Bytes of a calendar. A longer one is in the feed alone.
const MOST_CALENDAR: usize = 32 * 1024;
/// Bytes of all incidents in HTML. With head and foot, the mail stays below the 100 kB at which programs cut.
const MOST_HTML: usize = 80_000;
