//! JSON Feed 1.1: one item for each update, with the facts for programs under `_backsoon`.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::super::document::{Document, Item, Section};
use super::super::{UpdateKind, Words};
use super::story::{Said, Story};
use super::{Desk, FEED, entry};

/// Writes the feed.
pub(super) fn feed(desk: &Desk<'_>, items: Vec<Item>) -> Document {
    let section = Section { head: head(desk), items, separator: ",\n", fold: None };
    Document::new("application/feed+json; charset=utf-8", desk.news.changed, vec![section], "]}\n")
}

#[derive(Serialize)]
struct Head<'f> {
    version: &'static str,
    title: String,
    home_page_url: String,
    feed_url: String,
    language: &'f str,
    authors: [Author<'f>; 1],
}

#[derive(Serialize)]
struct Author<'f> {
    name: &'f str,
}

#[derive(Serialize)]
struct Entry<'f> {
    id: String,
    url: String,
    title: String,
    content_text: String,
    date_published: Timestamp,
    tags: Vec<String>,
    _backsoon: Extension<'f>,
}

/// Facts for programs. Those that change stand at the newest update of an incident alone, so that older items stay as they
/// are.
#[derive(Serialize)]
struct Extension<'f> {
    incident: &'f str,
    sequence: u32,
    kind: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'f str>,
    services: Vec<String>,
    regions: Vec<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step<'f>>,
}

/// Step of the timeline.
#[derive(Serialize)]
pub(super) struct Step<'f> {
    title: &'f str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress<'f>>,
}

#[derive(Serialize)]
struct Progress<'f> {
    done: u64,
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'f str>,
}

fn head(desk: &Desk<'_>) -> Bytes {
    let news = desk.news;
    let head = Head {
        version: "https://jsonfeed.org/version/1.1",
        title: format!("{} - {}", news.title, FEED.title),
        home_page_url: news.link("/"),
        feed_url: news.link("/feed.json"),
        language: desk.words.tag(),
        authors: [Author { name: &news.title }],
    };
    let head = super::json(&head);
    format!("{},\"items\":[", head.trim_end_matches('}')).into()
}

/// Writes the item of an update.
pub(super) fn item(desk: &Desk<'_>, story: &Story, said: &Said) -> Bytes {
    let facts = &story.incident.facts;
    let is_newest = story.said.first().is_some_and(|first| first.update.key == said.update.key);
    let (starts, ends) = match &said.update.kind {
        UpdateKind::Announced { starts, ends } | UpdateKind::Moved { starts, ends } => (Some(*starts), *ends),
        UpdateKind::Extended { ends } => (None, *ends),
        UpdateKind::Expected { ends } => (None, Some(*ends)),
        UpdateKind::Reworded
        | UpdateKind::Began
        | UpdateKind::StepDone { .. }
        | UpdateKind::Overrun
        | UpdateKind::Checking
        | UpdateKind::Returning
        | UpdateKind::ClosedAgain { .. }
        | UpdateKind::Over
        | UpdateKind::Cancelled => (None, None),
    };
    let item = Entry {
        id: desk.tag(&format!("Update/{}", said.update.key)),
        url: entry::link(desk, story, said),
        title: entry::title(story, said),
        content_text: said.text(),
        date_published: said.update.at,
        tags: entry::categories(desk, story),
        _backsoon: Extension {
            incident: story.incident.key.as_str(),
            sequence: said.update.sequence,
            kind: said.update.kind.as_str(),
            status: said.state.as_str(),
            window: facts.reference.as_deref(),
            services: entry::services(desk, story),
            regions: facts.regions.iter().map(String::as_str).collect(),
            starts: starts.or(is_newest.then_some(facts.starts)),
            ends: ends.or(facts.ends.filter(|_| is_newest)),
            steps: if is_newest { steps(story, desk.words) } else { Vec::new() },
        },
    };
    super::json(&item).into()
}

/// Returns the steps of an incident as they are now.
pub(super) fn steps<'f>(story: &'f Story, words: Words<'f>) -> Vec<Step<'f>> {
    let steps = story.incident.facts.steps.iter();
    steps
        .map(|step| Step {
            title: words.text(&step.title),
            state: step.state.as_str(),
            progress: step.progress.as_ref().map(|progress| Progress {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.as_ref().map(|unit| words.text(unit)),
            }),
        })
        .collect()
}
