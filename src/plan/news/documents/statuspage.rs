//! Status API in the shape of Statuspage's version 2, which programs already read. No word is sent that they do not know;
//! what they do not have a place for stands under `backsoon`.

mod body;
mod status;

use bytes::Bytes;
use serde::Serialize;

use super::super::document::{Document, Item, Section, Share};
use super::super::fair::Fair;
use super::super::{Kind, Service, Stage};
use super::{Desk, Story};

use body::{Component, Incident, Page};

/// Writes the documents of all eight URLs.
pub(super) fn all(desk: &Desk<'_>) -> Vec<(&'static str, Document)> {
    let api = Api::new(desk);
    let (unresolved, ahead) = (api.incidents(is_current), api.maintenances(is_current));
    vec![
        ("/api/v2/summary.json", api.summary(&unresolved, &ahead)),
        ("/api/v2/status.json", api.document(vec![api.status()], "")),
        ("/api/v2/components.json", api.document(vec![api.components()], "]")),
        ("/api/v2/incidents.json", api.list("incidents", api.incidents(|_| true))),
        ("/api/v2/incidents/unresolved.json", api.list("incidents", unresolved)),
        ("/api/v2/scheduled-maintenances.json", api.list(MAINTENANCES, api.maintenances(|_| true))),
        ("/api/v2/scheduled-maintenances/upcoming.json", api.list(MAINTENANCES, api.maintenances(is_upcoming))),
        ("/api/v2/scheduled-maintenances/active.json", api.list(MAINTENANCES, api.maintenances(Stage::is_active))),
    ]
}

/// Parts of the documents.
struct Api<'d, 'n> {
    desk: &'d Desk<'n>,
    /// Incidents, newest first, with their bodies.
    incidents: Vec<(&'d Story, Item)>,
}

impl<'d, 'n> Api<'d, 'n> {
    fn new(desk: &'d Desk<'n>) -> Self {
        let page = Page::id(desk);
        let item = |story: &Story| bytes(&Incident::new(desk, story, page.as_str()));
        let (mut planned, mut unplanned) = (Fair::new(MOST), Fair::new(MOST));
        let listed = desk.stories.iter().filter(|story| match story.incident.facts.kind {
            Kind::Planned => planned.takes(&story.tags) || is_current(story.incident.facts.stage),
            Kind::Unplanned => unplanned.takes(&story.tags) || is_current(story.incident.facts.stage),
        });
        let incidents = listed.map(|story| (&**story, Item::new(&story.tags, item(story)))).collect();
        Self { desk, incidents }
    }

    fn incidents(&self, is_chosen: impl Fn(Stage) -> bool) -> Vec<Item> {
        self.of(Kind::Unplanned, is_chosen)
    }

    fn maintenances(&self, is_chosen: impl Fn(Stage) -> bool) -> Vec<Item> {
        self.of(Kind::Planned, is_chosen)
    }

    fn of(&self, kind: Kind, is_chosen: impl Fn(Stage) -> bool) -> Vec<Item> {
        let of_kind = self.incidents.iter().filter(|(story, _)| story.incident.facts.kind == kind);
        let chosen = of_kind.filter(|(story, _)| is_chosen(story.incident.facts.stage));
        let share = match kind {
            Kind::Planned => Share { name: "planned", most: MOST },
            Kind::Unplanned => Share { name: "unplanned", most: MOST },
        };
        chosen.map(|(_, item)| item.clone().within(share)).collect()
    }

    /// Writes a document that begins with the page.
    fn document(&self, mut sections: Vec<Section>, end: &str) -> Document {
        let page = super::json(&Page::new(self.desk));
        let head = format!("{{\"page\":{},\"updated_at\":\"", page.trim_end_matches('}'));
        if let Some(first) = sections.first_mut() {
            first.head = [b"\"}", &*first.head].concat().into();
        }
        sections.insert(0, self.desk.changed(head, |instants| body::instant(super::latest(instants)).into()));
        Document::new("application/json; charset=utf-8", self.desk.news.changed, sections, format!("{end}}}\n"))
    }

    fn list(&self, name: &str, items: Vec<Item>) -> Document {
        self.document(vec![array(format!(",\"{name}\":["), items)], "]")
    }

    fn summary(&self, unresolved: &[Item], ahead: &[Item]) -> Document {
        let incidents = array("],\"incidents\":[".to_owned(), unresolved.to_vec());
        let maintenances = array(format!("],\"{MAINTENANCES}\":["), ahead.to_vec());
        self.document(vec![self.status(), self.components(), incidents, maintenances], "]")
    }

    /// Returns the status of all that a client may see: one word for each service, and for each incident without one.
    fn status(&self) -> Section {
        let items = status::words(self.desk);
        Section { head: Bytes::from_static(b",\"status\":"), items, separator: "", fold: Some(status::worst) }
    }

    fn components(&self) -> Section {
        let page = Page::id(self.desk);
        let item = |service: &Service| bytes(&Component::new(self.desk.news, service, 0, page.as_str()));
        let items = self.desk.news.services.iter().map(|service| Item::new(&service.tags(), item(service))).collect();
        let head = Bytes::from_static(b",\"components\":[");
        Section { head, items, separator: ",", fold: Some(numbered) }
    }
}

/// Joins services, and numbers those that a filter leaves: a gap would tell of the others.
fn numbered(services: &[&Bytes]) -> Bytes {
    let mut all = Vec::new();
    for (position, bytes) in (1..).zip(services) {
        if position > 1 {
            all.push(b',');
        }
        let place = bytes.windows(UNNUMBERED.len()).position(|part| part == UNNUMBERED).unwrap_or(bytes.len());
        let (before, after) = bytes.split_at(place);
        all.extend_from_slice(before);
        all.extend_from_slice(format!("\"position\":{position}").as_bytes());
        all.extend_from_slice(after.get(UNNUMBERED.len()..).unwrap_or_default());
    }
    all.into()
}

fn array(head: String, items: Vec<Item>) -> Section {
    Section { head: head.into(), items, separator: ",", fold: None }
}

fn bytes(body: &impl Serialize) -> Bytes {
    super::json(body).into()
}

fn is_current(stage: Stage) -> bool {
    !stage.is_final()
}

fn is_upcoming(stage: Stage) -> bool {
    stage == Stage::Scheduled
}

/// Position of a service that has no number yet. No text in JSON has such quotes.
const UNNUMBERED: &[u8] = b"\"position\":0";
const MAINTENANCES: &str = "scheduled_maintenances";
/// Most incidents of a list, as at Statuspage.
const MOST: usize = 50;
