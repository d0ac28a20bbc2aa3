//! Links to all documents, and public keys, for programs that know the site alone.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::PublicKeys;
use super::super::document::{Document, Section};
use super::Desk;

/// Links of a site.
#[derive(Serialize)]
struct Discovery<'d> {
    name: &'d str,
    url: &'d str,
    language: &'d str,
    /// URLs by what they are.
    links: Map<String, Value>,
    /// Keys that verify what this proxy sends.
    #[serde(skip_serializing_if = "PublicKeys::is_empty")]
    keys: &'d PublicKeys,
}

/// Writes the document.
pub(super) fn links(desk: &Desk<'_>) -> Document {
    let news = desk.news;
    let link = |(name, path): &(&str, &str)| ((*name).to_owned(), Value::String(news.link(path)));
    let links = LINKS.iter().map(link).collect();
    let body = Discovery { name: &news.title, url: &news.url, language: desk.words.tag(), links, keys: &news.keys };
    let section = Section { head: super::json(&body).into(), ..Section::default() };
    Document::new("application/json; charset=utf-8", news.changed, vec![section], "\n")
}

const LINKS: [(&str, &str); 15] = [
    ("site", "/"),
    ("history_atom", "/history.atom"),
    ("history_rss", "/history.rss"),
    ("feed_atom", "/feed.atom"),
    ("feed_rss", "/feed.rss"),
    ("feed_json", "/feed.json"),
    ("calendar", "/maintenance.ics"),
    ("summary", "/api/v2/summary.json"),
    ("status", "/api/v2/status.json"),
    ("components", "/api/v2/components.json"),
    ("incidents", "/api/v2/incidents.json"),
    ("incidents_unresolved", "/api/v2/incidents/unresolved.json"),
    ("scheduled_maintenances", "/api/v2/scheduled-maintenances.json"),
    ("scheduled_maintenances_upcoming", "/api/v2/scheduled-maintenances/upcoming.json"),
    ("scheduled_maintenances_active", "/api/v2/scheduled-maintenances/active.json"),
];
