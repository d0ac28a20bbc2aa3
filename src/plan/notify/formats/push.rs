//! Notices for browsers (Web Push), as this proxy's own service worker shows them.

use serde_json::json;

use super::super::fit::{self, Room};
use super::{Body, Notice};

/// Returns a notice as JSON, below 3000 bytes whatever it says. Push services take 3993. `tag` names what it is about: a newer
/// notification with it replaces an older one.
pub fn push(notice: &Notice, tag: &str, language: &str) -> Body {
    let facts = notice.fields.iter().map(|field| format!("{}: {}", field.label, field.words()));
    let texts: Vec<String> = notice.paragraphs.iter().cloned().chain(facts).collect();
    let url = notice.link.as_ref().and_then(|(_, url)| fit::url(url, MOST_URL));
    Body::json(&json!({
        "title": Room::line(MOST_TITLE).bytes().plain(&notice.title),
        "body": Room::lines(MOST_TEXT).bytes().plain(&texts.join("\n")),
        "url": url,
        "tag": tag,
        "lang": Room::line(MOST_LANGUAGE).bytes().plain(language),
        "at": notice.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }))
}

/// Bytes before they are escaped. That doubles a text at most, whose control characters are gone, and makes three of one in
/// a URL.
const MOST_TITLE: usize = 150;
const MOST_TEXT: usize = 700;
const MOST_URL: usize = 300;
const MOST_LANGUAGE: usize = 35;
