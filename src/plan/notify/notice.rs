//! Notice: what a message says, before it gets the form of a receiver.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::news::{Incident, Label, Stage, Trouble, Update, Words};

/// Content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Heading.
    pub title: String,
    /// Paragraphs.
    pub paragraphs: Vec<String>,
    /// Facts.
    pub fields: Vec<Field>,
    /// Page with more, by its words and its URL.
    pub link: Option<(String, String)>,
    /// Link below all else, by its words and its URL: what the reader may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foot: Option<(String, String)>,
    /// Instant of the event.
    pub at: Timestamp,
    /// Weight.
    pub tone: Tone,
}

/// Fact with its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Label.
    pub label: String,
    /// Value.
    pub value: Vec<Piece>,
}

/// Piece of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// Text.
    Text(String),
    /// Instant, which some chats show in the reader's time zone, and its words for the others.
    Instant(Timestamp, String),
}

/// Weight of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    /// Something is wrong.
    Trouble,
    /// Work is planned or under way.
    Work,
    /// All is well again.
    Good,
}

impl Notice {
    /// Tells the public of an update. `url` is the incident's page.
    pub fn of_update(incident: &Incident, update: &Update, words: Words<'_>, url: String) -> Self {
        let facts = &incident.facts;
        let instant = |at: Timestamp| Piece::Instant(at, words.instant(at));
        let text = |text: &str| Piece::Text(text.to_owned());
        let mut fields = Vec::new();
        let mut add = |label, value| fields.push(Field { label: words.label(label), value });
        if let Some(reference) = &facts.reference {
            add(Label::Reference, vec![text(reference)]);
        }
        let until = facts.ends.into_iter().flat_map(|ends| [text(" – "), instant(ends)]);
        add(Label::Window, std::iter::once(instant(facts.starts)).chain(until).collect());
        let services: Vec<&str> = facts.services.iter().map(|service| words.text(service)).collect();
        if !services.is_empty() {
            add(Label::Services, vec![Piece::Text(services.join(", "))]);
        }
        Self {
            title: format!("{}: {}", words.title(facts), words.stage(update.stage)),
            paragraphs: words.paragraphs(incident, update),
            fields,
            link: Some((words.label(Label::Status), url)),
            foot: None,
            at: update.at,
            tone: tone(update.stage, facts.trouble),
        }
    }
}

impl Field {
    /// Returns the value in words.
    pub fn words(&self) -> String {
        let word = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Instant(_, text) => text.clone(),
        };
        self.value.iter().map(word).collect()
    }
}

fn tone(stage: Stage, trouble: Trouble) -> Tone {
    match (stage, trouble) {
        (Stage::Over | Stage::Cancelled, _) => Tone::Good,
        (_, Trouble::Found) => Tone::Trouble,
        (
            Stage::Scheduled | Stage::InProgress | Stage::Checking | Stage::Returning,
            Trouble::None | Trouble::Overrun,
        ) => Tone::Work,
    }
}
