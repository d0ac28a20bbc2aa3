//! RSS 2.0.

use bytes::Bytes;
use jiff::Timestamp;

use super::super::document::{Document, Item, Section};
use super::xml::Escaped;
use super::{Desk, Entry, Kind, latest};

/// Writes a feed.
pub(super) fn feed(desk: &Desk<'_>, kind: Kind, items: Vec<Item>) -> Document {
    let (begin, end) = head(desk, kind);
    let changed = desk.changed(begin, |instants| instant(latest(instants)).into());
    let sections = vec![changed, Section { head: end.into(), items, ..Section::default() }];
    Document::new("application/rss+xml; charset=utf-8", desk.news.changed, sections, "</channel>\n</rss>\n")
}

/// Writes the head up to the instant of the last change, and what follows it.
fn head(desk: &Desk<'_>, Kind { path, title }: Kind) -> (String, String) {
    let news = desk.news;
    let begin = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <rss version=\"2.0\" xmlns:atom=\"http://www.w3.org/2005/Atom\">\n<channel>\n\
         <title>{name} - {title}</title>\n\
         <link>{site}</link>\n\
         <description>Maintenance and incidents of {name}</description>\n\
         <language>{lang}</language>\n\
         <lastBuildDate>",
        name = Escaped(&news.title),
        site = Escaped(&news.link("/")),
        lang = Escaped(desk.words.tag()),
    );
    let end = format!(
        "</lastBuildDate>\n<generator>backsoon</generator>\n\
         <atom:link rel=\"self\" type=\"application/rss+xml\" href=\"{own}\"/>\n",
        own = Escaped(&news.link(&format!("{path}.rss"))),
    );
    (begin, end)
}

/// Writes an item. Its date is that of its publication, never the start of a window to come.
pub(super) fn item(entry: &Entry) -> Bytes {
    let categories: String =
        entry.categories.iter().map(|word| format!("<category>{}</category>\n", Escaped(word))).collect();
    let text = format!(
        "<item>\n<title>{title}</title>\n<link>{link}</link>\n<guid isPermaLink=\"false\">{id}</guid>\n\
         <pubDate>{published}</pubDate>\n{categories}<description>{html}</description>\n</item>\n",
        title = Escaped(&entry.title),
        link = Escaped(&entry.link),
        id = Escaped(&entry.id),
        published = instant(entry.published),
        html = Escaped(&entry.html),
    );
    text.into()
}

/// Formats an instant (RFC 822, with four digits of the year).
fn instant(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
