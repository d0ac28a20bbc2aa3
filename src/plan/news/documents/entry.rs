//! Entries of Atom and RSS feeds: one for each incident, or one for each update. They are written once for each incident, and
//! kept as long as it does not change.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::document::{Item, Share};
use super::pieces::{Form, Forms, Pieces, UpdatePieces};
use super::story::{self, Said, Story};
use super::xml::Escaped;
use super::{Desk, atom, json_feed, rss};

/// Entry of a feed.
pub(super) struct Entry {
    /// Id, the same for ever.
    pub(super) id: String,
    pub(super) link: String,
    pub(super) title: String,
    /// Content as HTML.
    pub(super) html: String,
    pub(super) published: Timestamp,
    pub(super) updated: Timestamp,
    /// Words by which readers may sort.
    pub(super) categories: Vec<String>,
}

/// Writes the parts of feeds that tell of an incident.
pub(super) fn pieces(desk: &Desk<'_>, story: &Story) -> Pieces {
    let update = |said: &Said| UpdatePieces {
        forms: forms(&update(desk, story, said)),
        json: json_feed::item(desk, story, said),
    };
    Pieces { incident: forms(&incident(desk, story)), updates: story.said.iter().map(update).collect() }
}

fn forms(entry: &Entry) -> Forms {
    Forms { atom: atom::item(entry), rss: rss::item(entry) }
}

/// Returns an item for each incident, newest first.
pub(super) fn incidents(desk: &Desk<'_>, form: Form) -> Vec<Item> {
    let item = |story: &Arc<Story>| {
        let share = story.incident.facts.stage.is_final().then_some(PAST);
        Item { share, ..Item::new(&story.tags, story.pieces.incident.bytes(form)) }
    };
    desk.stories.iter().map(item).collect()
}

/// Returns an item for each update, newest first.
pub(super) fn updates(newest: &[(&Story, &UpdatePieces)], form: Form) -> Vec<Item> {
    newest.iter().map(|(story, piece)| Item::new(&story.tags, piece.forms.bytes(form)).within(UPDATES)).collect()
}

/// Returns an item of JSON for each update, newest first.
pub(super) fn json_updates(newest: &[(&Story, &UpdatePieces)]) -> Vec<Item> {
    newest.iter().map(|(story, piece)| Item::new(&story.tags, piece.json.clone()).within(UPDATES)).collect()
}

/// Returns the updates of all incidents, newest first. If there are very many, each incident has the same share.
pub(super) fn newest<'d>(desk: &'d Desk<'_>) -> Vec<(&'d Story, &'d UpdatePieces)> {
    let each = (MOST_IN_ALL / desk.stories.len().max(1)).max(1);
    let of_story = |story: &'d Arc<Story>| {
        let all = story.said.iter().zip(&story.pieces.updates).take(each);
        all.map(move |(said, piece)| ((said.update.at, story.tie(), said.update.sequence), (&**story, piece)))
    };
    let mut all: Vec<_> = desk.stories.iter().flat_map(of_story).collect();
    all.sort_by(|(a, _), (b, _)| b.cmp(a));
    all.into_iter().map(|(_, update)| update).collect()
}

/// Returns the entry of an incident. Its content has all updates, as Statuspage writes them.
fn incident(desk: &Desk<'_>, story: &Story) -> Entry {
    Entry {
        id: desk.tag(&format!("Incident/{}", story.incident.key)),
        link: desk.page_of(story),
        title: story.title.clone(),
        html: story.said.iter().map(paragraph).collect(),
        published: story.incident.created(),
        updated: story.incident.updated(),
        categories: categories(desk, story),
    }
}

/// Returns the title of an update, such as `[Maintenance · In progress] Upgrade`.
pub(super) fn title(story: &Story, said: &Said) -> String {
    format!("[{} · {}] {}", story::word(story.incident.facts.kind), said.state.label(), story.title)
}

/// Returns the link to an update: a place on the page of its incident.
pub(super) fn link(desk: &Desk<'_>, story: &Story, said: &Said) -> String {
    format!("{}#{}", desk.page_of(story), said.update.key)
}

fn update(desk: &Desk<'_>, story: &Story, said: &Said) -> Entry {
    Entry {
        id: desk.tag(&format!("Update/{}", said.update.key)),
        link: link(desk, story, said),
        title: title(story, said),
        html: paragraph(said),
        published: said.update.at,
        updated: said.update.at,
        categories: categories(desk, story),
    }
}

/// Writes an update as Statuspage does. Programs take the first `<strong>` of an entry for its state.
fn paragraph(said: &Said) -> String {
    let at = said.update.at;
    let (month, day, time) = (at.strftime("%b"), at.strftime("%d"), at.strftime("%H:%M"));
    let mut html = format!(
        "<p><small>{month} <var data-var='date'>{day}</var>, <var data-var='time'>{time}</var> UTC</small><br>\
         <strong>{}</strong> - ",
        said.state.label()
    );
    for (place, text) in said.paragraphs.iter().enumerate() {
        let space = if place > 0 { "<br>" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(html, "{space}{}", Escaped(text).to_string().replace('\n', "<br>"));
    }
    html.push_str("</p>");
    html
}

/// Returns the words by which readers may sort: kind, services and regions.
pub(super) fn categories(desk: &Desk<'_>, story: &Story) -> Vec<String> {
    let facts = &story.incident.facts;
    let mut all = vec![story::word(facts.kind).to_owned()];
    all.extend(services(desk, story));
    all.extend(facts.regions.iter().cloned());
    all
}

/// Returns the names of the services that an incident concerns, each once.
pub(super) fn services(desk: &Desk<'_>, story: &Story) -> Vec<String> {
    let facts = &story.incident.facts;
    let known = desk.news.services_of(facts).map(|service| service.name.clone());
    let mut all: Vec<String> = known.collect();
    for name in facts.services.iter().map(|name| desk.words.text(name)) {
        if !all.iter().any(|own| own == name) {
            all.push(name.to_owned());
        }
    }
    all
}

/// Updates of a feed.
const UPDATES: Share = Share { name: "updates", most: 200 };
/// Incidents of a feed that are over or cancelled.
const PAST: Share = Share { name: "past", most: 200 };
/// Updates that are kept for feeds, whatever a filter leaves. A thousand incidents have ten each.
const MOST_IN_ALL: usize = 10_000;
