//! Documents of the news: feeds, a calendar and a status API, in the formats that programs already read.
//!
//! XML and calendars are written by hand, with one escaper each. A filter cuts finished bytes, and the same news must give the same bytes in
//! every version of every library; a crate for feeds promises neither. JSON is written by serde, in the order of the fields.
//! Nothing here knows the time: what is new is told by the news.

mod atom;
mod calendar;
mod discovery;
mod entry;
mod json_feed;
mod pieces;
mod publication;
mod rss;
mod state;
mod statuspage;
mod story;
mod worker;
mod xml;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::document::{Document, Fold, Item, Section, Tags};
use super::{Incident, News, Words};

use entry::Entry;
use pieces::Form;
pub(super) use publication::publication;
use state::State;
pub(super) use story::Stories;
use story::Story;

/// Makes all documents, each with its path below the site, and the stories that they tell. Stories of incidents that have not
/// changed are taken over from before, when the settings were the same.
pub(super) fn all(news: &News<'_>, words: Words<'_>, before: &Stories) -> (Vec<(&'static str, Document)>, Stories) {
    let desk = Desk::new(news, words, before);
    let newest = entry::newest(&desk);
    let incidents = |form| entry::incidents(&desk, form);
    let updates = |form| entry::updates(&newest, form);
    let mut all = vec![
        ("/history.atom", atom::feed(&desk, HISTORY, incidents(Form::Atom))),
        ("/history.rss", rss::feed(&desk, HISTORY, incidents(Form::Rss))),
        ("/feed.atom", atom::feed(&desk, FEED, updates(Form::Atom))),
        ("/feed.rss", rss::feed(&desk, FEED, updates(Form::Rss))),
        ("/feed.json", json_feed::feed(&desk, entry::json_updates(&newest))),
        ("/maintenance.ics", calendar::calendar(&desk)),
        ("/.well-known/backsoon.json", discovery::links(&desk)),
    ];
    all.extend(statuspage::all(&desk));
    all.extend(worker::script(news));
    let stories = desk.stories.into_iter().map(|story| (story.incident.key.clone(), story)).collect();
    (all, stories)
}

/// Returns the latest of the instants that a section of changes has.
fn latest(instants: &[&Bytes]) -> Timestamp {
    let parsed = instants.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
    parsed.max().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// News in the shape that all documents share.
struct Desk<'n> {
    news: &'n News<'n>,
    words: Words<'n>,
    /// Host of the site, for ids that are the same for ever.
    host: String,
    /// Incidents, newest first.
    stories: Vec<Arc<Story>>,
}

/// Kind of a feed.
#[derive(Clone, Copy)]
struct Kind {
    /// Path without its ending.
    path: &'static str,
    /// Words behind the name of the site.
    title: &'static str,
}

impl<'n> Desk<'n> {
    fn new(news: &'n News<'n>, words: Words<'n>, before: &Stories) -> Self {
        let mut desk = Self { news, words, host: host(&news.url), stories: Vec::new() };
        let make = |incident: &Incident| {
            let story = Story::new(&desk, incident);
            Arc::new(Story { pieces: entry::pieces(&desk, &story), ..story })
        };
        let story = |incident: &Incident| {
            let kept = before.get(&incident.key).filter(|story| story.incident == *incident);
            kept.map_or_else(|| make(incident), Arc::clone)
        };
        let mut stories: Vec<Arc<Story>> = news.incidents.iter().map(story).collect();
        stories.sort_by(|a, b| b.incident.created().cmp(&a.incident.created()).then(b.tie().cmp(a.tie())));
        desk.stories = stories;
        desk
    }

    /// Returns a section that says when something changed last among all that a filter leaves. `format` writes the instant.
    fn changed(&self, head: impl Into<Bytes>, fold: Fold) -> Section {
        let at = |tags: &Arc<Tags>, at: Timestamp| Item::new(tags, at.to_string());
        let always = Arc::new(Tags { always: true, ..Tags::default() });
        let since = at(&always, self.news.since);
        let stories = self.stories.iter().map(|story| at(&story.tags, story.incident.updated()));
        let items = std::iter::once(since).chain(stories).collect();
        Section { head: head.into(), items, separator: "", fold: Some(fold) }
    }

    /// Returns the permanent page of an incident.
    fn page_of(&self, story: &Story) -> String {
        self.news.link(&format!("/incidents/{}", story.incident.key))
    }

    /// Returns an id that is the same for ever (RFC 4151).
    fn tag(&self, what: &str) -> String {
        format!("tag:{},2026:{what}", self.host)
    }
}

/// Writes a value as JSON. Numbers, texts and lists of them always can be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Returns the host of a URL, without its port.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default().replace(':', "-"),
        None => host.split(':').next().unwrap_or_default().to_ascii_lowercase(),
    };
    if host.is_empty() { NO_HOST.to_owned() } else { host }
}

const HISTORY: Kind = Kind { path: "/history", title: "Incident History" };
const FEED: Kind = Kind { path: "/feed", title: "Updates" };
/// Host in ids while no URL is configured. The name is reserved, and nobody owns it (RFC 6761 section 6.4).
const NO_HOST: &str = "backsoon.invalid";

#[cfg(test)]
mod tests;
