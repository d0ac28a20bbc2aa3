//! Atom (RFC 4287), in the grammar of Statuspage, which programs parse.

use bytes::Bytes;
use jiff::Timestamp;

use super::super::document::{Document, Item, Section};
use super::xml::Escaped;
use super::{Desk, Entry, Kind, latest};

/// Writes a feed.
pub(super) fn feed(desk: &Desk<'_>, kind: Kind, items: Vec<Item>) -> Document {
    let (begin, end) = head(desk, kind);
    let changed = desk.changed(begin, |instants| instant(latest(instants)).into());
    let entries = Section { head: end.into(), items, ..Section::default() };
    Document::new("application/atom+xml; charset=utf-8", desk.news.changed, vec![changed, entries], "</feed>\n")
}

/// Writes the head up to the instant of the last change, and what follows it.
fn head(desk: &Desk<'_>, Kind { path, title }: Kind) -> (String, String) {
    let news = desk.news;
    let begin = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"{lang}\">\n\
         <id>{id}</id>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{site}\"/>\n\
         <link rel=\"self\" type=\"application/atom+xml\" href=\"{own}\"/>\n\
         <title>{name} - {title}</title>\n\
         <updated>",
        lang = Escaped(desk.words.tag()),
        id = Escaped(&desk.tag(path)),
        site = Escaped(&news.link("/")),
        own = Escaped(&news.link(&format!("{path}.atom"))),
        name = Escaped(&news.title),
    );
    let author = Escaped(&news.title);
    let end = format!("</updated>\n<author><name>{author}</name></author>\n<generator>backsoon</generator>\n");
    (begin, end)
}

/// Writes an entry.
pub(super) fn item(entry: &Entry) -> Bytes {
    let categories: String =
        entry.categories.iter().map(|word| format!("<category term=\"{}\"/>\n", Escaped(word))).collect();
    let text = format!(
        "<entry>\n<id>{id}</id>\n<published>{published}</published>\n<updated>{updated}</updated>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{link}\"/>\n<title>{title}</title>\n{categories}\
         <content type=\"html\">{html}</content>\n</entry>\n",
        id = Escaped(&entry.id),
        published = instant(entry.published),
        updated = instant(entry.updated),
        link = Escaped(&entry.link),
        title = Escaped(&entry.title),
        html = Escaped(&entry.html),
    );
    text.into()
}

/// Formats an instant (RFC 3339).
fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
