//! Stories: incidents with all that documents say of them, made once for all documents and kept until they change.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::document::Tags;
use super::super::{Incident, Key, Kind, Trouble, Update, UpdateKind};
use super::pieces::Pieces;
use super::{Desk, State};

/// Stories by the keys of their incidents.
pub(in super::super) type Stories = HashMap<Key, Arc<Story>>;

/// Incident with its words.
#[derive(Debug)]
pub(in super::super) struct Story {
    pub(super) incident: Incident,
    pub(super) title: String,
    pub(super) tags: Arc<Tags>,
    /// Updates, newest first; at least one.
    pub(super) said: Vec<Said>,
    /// Parts of feeds.
    pub(super) pieces: Pieces,
}

/// Update with its words.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) update: Update,
    pub(super) state: State,
    /// Trouble of the incident after the update.
    pub(super) trouble: Trouble,
    pub(super) paragraphs: Vec<String>,
}

impl Story {
    /// Makes the story of an incident, without its pieces. The stories of the desk are not asked.
    pub(super) fn new(desk: &Desk<'_>, incident: &Incident) -> Self {
        let mut trouble = Trouble::None;
        let mut said: Vec<Said> = incident
            .updates
            .iter()
            .map(|update| {
                trouble = trouble_after(trouble, &update.kind);
                let state = State::after(incident.facts.kind, update);
                let paragraphs = desk.words.paragraphs(incident, update);
                Said { update: update.clone(), state, trouble, paragraphs }
            })
            .collect();
        said.reverse();
        if let Some(last) = said.first_mut() {
            last.trouble = incident.facts.trouble;
        }
        said.truncate(MOST_SAID);
        let (title, tags) = (desk.words.title(&incident.facts), desk.news.tags(incident));
        Self { incident: incident.clone(), title, tags, said, pieces: Pieces::default() }
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

impl Said {
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
