//! Stories: incidents with all that documents say of them, made once for all documents.

use std::sync::Arc;

use super::super::document::Tags;
use super::super::{Incident, Kind, News, Trouble, Update, UpdateKind, Words};
use super::State;

/// Incident with its words.
pub(super) struct Story<'n> {
    pub(super) incident: &'n Incident,
    pub(super) title: String,
    pub(super) tags: Arc<Tags>,
    /// Updates, newest first; at least one.
    pub(super) said: Vec<Said<'n>>,
}

/// Update with its words.
pub(super) struct Said<'n> {
    pub(super) update: &'n Update,
    pub(super) state: State,
    /// Trouble of the incident after the update.
    pub(super) trouble: Trouble,
    pub(super) paragraphs: Vec<String>,
}

impl<'n> Story<'n> {
    pub(super) fn new(news: &News<'n>, words: Words<'_>, incident: &'n Incident) -> Self {
        let mut trouble = Trouble::None;
        let mut said: Vec<Said<'n>> = incident
            .updates
            .iter()
            .map(|update| {
                trouble = trouble_after(trouble, &update.kind);
                let state = State::after(incident.facts.kind, update);
                Said { update, state, trouble, paragraphs: words.paragraphs(incident, update) }
            })
            .collect();
        said.reverse();
        if let Some(last) = said.first_mut() {
            last.trouble = incident.facts.trouble;
        }
        said.truncate(MOST_SAID);
        Self { incident, title: words.title(&incident.facts), tags: news.tags(incident), said }
    }

    /// Returns the state that it has now.
    pub(super) fn state(&self) -> State {
        let begins = match self.incident.facts.kind {
            Kind::Planned => State::Scheduled,
            Kind::Unplanned => State::Investigating,
        };
        self.said.first().map_or(begins, |said| said.state)
    }

    /// Returns what orders stories of the same instant alike in every replica.
    pub(super) fn tie(&self) -> &str {
        self.incident.key.as_str()
    }
}

impl Said<'_> {
    /// Returns the words as one text.
    pub(super) fn text(&self) -> String {
        self.paragraphs.join("\n\n")
    }
}

/// Returns the word for people for a kind of incident.
pub(super) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Planned => "Maintenance",
        Kind::Unplanned => "Incident",
    }
}

fn trouble_after(before: Trouble, kind: &UpdateKind) -> Trouble {
    match kind {
        UpdateKind::ClosedAgain { trouble } => *trouble,
        UpdateKind::Overrun => Trouble::Overrun,
        UpdateKind::Over | UpdateKind::Cancelled => Trouble::None,
        UpdateKind::Announced { .. }
        | UpdateKind::Reworded
        | UpdateKind::Moved { .. }
        | UpdateKind::Extended { .. }
        | UpdateKind::Expected { .. }
        | UpdateKind::Began
        | UpdateKind::StepDone { .. }
        | UpdateKind::Checking
        | UpdateKind::Returning => before,
    }
}

/// Most updates of an incident in a document.
const MOST_SAID: usize = 50;
