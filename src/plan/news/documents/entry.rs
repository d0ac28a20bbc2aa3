//! Entries of Atom and RSS feeds: one for each incident, or one for each update.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::document::{Share, Tags};
use super::Desk;
use super::story::{self, Said, Story};
use super::xml::Escaped;

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
    pub(super) tags: Arc<Tags>,
    pub(super) share: Option<Share>,
}

/// Returns an entry for each incident, newest first. Its content has all updates, as Statuspage writes them.
pub(super) fn incidents(desk: &Desk<'_>) -> Vec<Entry> {
    let entry = |story: &Story<'_>| Entry {
        id: desk.tag(&format!("Incident/{}", story.incident.key)),
        link: desk.page_of(story),
        title: story.title.clone(),
        html: story.said.iter().map(paragraph).collect(),
        published: story.incident.created(),
        updated: story.incident.updated(),
        categories: categories(desk, story),
        tags: Arc::clone(&story.tags),
        share: story.incident.facts.stage.is_final().then_some(PAST),
    };
    desk.stories.iter().map(entry).collect()
}

/// Returns an entry for each update, newest first.
pub(super) fn updates(desk: &Desk<'_>) -> Vec<Entry> {
    newest(desk).into_iter().map(|(story, said)| update(desk, story, said)).collect()
}

/// Returns the updates of all incidents, newest first. If there are very many, each incident has the same share.
pub(super) fn newest<'d, 'n>(desk: &'d Desk<'n>) -> Vec<(&'d Story<'n>, &'d Said<'n>)> {
    let each = (MOST_IN_ALL / desk.stories.len().max(1)).max(1);
    let of_story = |story: &'d Story<'n>| story.said.iter().take(each).map(move |said| (story, said));
    let mut all: Vec<_> = desk.stories.iter().flat_map(of_story).collect();
    let rank = |(story, said): &(&'d Story<'n>, &'d Said<'n>)| (said.update.at, story.tie(), said.update.sequence);
    all.sort_by(|a, b| rank(b).cmp(&rank(a)));
    all
}

/// Returns the title of an update, such as `[Maintenance · In progress] Upgrade`.
pub(super) fn title(story: &Story<'_>, said: &Said<'_>) -> String {
    format!("[{} · {}] {}", story::word(story.incident.facts.kind), said.state.label(), story.title)
}

/// Returns the link to an update: a place on the page of its incident.
pub(super) fn link(desk: &Desk<'_>, story: &Story<'_>, said: &Said<'_>) -> String {
    format!("{}#{}", desk.page_of(story), said.update.key)
}

fn update(desk: &Desk<'_>, story: &Story<'_>, said: &Said<'_>) -> Entry {
    Entry {
        id: desk.tag(&format!("Update/{}", said.update.key)),
        link: link(desk, story, said),
        title: title(story, said),
        html: paragraph(said),
        published: said.update.at,
        updated: said.update.at,
        categories: categories(desk, story),
        tags: Arc::clone(&story.tags),
        share: Some(UPDATES),
    }
}

/// Writes an update as Statuspage does. Programs take the first `<strong>` of an entry for its state.
fn paragraph(said: &Said<'_>) -> String {
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
pub(super) fn categories(desk: &Desk<'_>, story: &Story<'_>) -> Vec<String> {
    let facts = &story.incident.facts;
    let mut all = vec![story::word(facts.kind).to_owned()];
    all.extend(services(desk, story));
    all.extend(facts.regions.iter().cloned());
    all
}

/// Returns the names of the services that an incident concerns, each once.
pub(super) fn services(desk: &Desk<'_>, story: &Story<'_>) -> Vec<String> {
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
pub(super) const UPDATES: Share = Share { name: "updates", most: 200 };
/// Incidents of a feed that are over or cancelled.
const PAST: Share = Share { name: "past", most: 200 };
/// Updates that are kept for feeds, whatever a filter leaves. A thousand incidents have ten each.
const MOST_IN_ALL: usize = 10_000;
