//! Documents: finished bytes of feeds and status APIs, which a filter cuts without rendering anything.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::super::etag::etag;

/// Finished document. Its bytes are the same until the news change.
#[derive(Clone, Debug)]
pub struct Document {
    /// Media type.
    pub content_type: HeaderValue,
    /// Strong entity tag of the whole document.
    pub etag: HeaderValue,
    /// `Last-Modified`: instant of the last change.
    pub modified: HeaderValue,
    /// Further fields of its answer.
    pub fields: HeaderMap,
    /// Whole document.
    pub whole: Bytes,
    sections: Vec<Section>,
    tail: Bytes,
}

/// Part of a document: a head, and items that a filter may leave out.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Bytes before the items.
    pub head: Bytes,
    /// Items.
    pub items: Vec<Item>,
    /// Bytes between two items.
    pub separator: &'static str,
    /// Summary that stands in the place of the items; `None` if they stand for themselves.
    pub fold: Option<Fold>,
}

/// Summary of the items that a filter leaves, such as the worst status. It sees their bytes.
pub type Fold = fn(&[&Bytes]) -> Bytes;

/// Item of a document.
#[derive(Clone, Debug)]
pub struct Item {
    /// Subjects of the item.
    pub tags: Arc<Tags>,
    /// Bytes.
    pub bytes: Bytes,
    /// Share that limits how many items of its kind are left; `None` for an item that always has room.
    pub share: Option<Share>,
}

/// Share of a document: of the items that a filter leaves, as many stand in it, from the first on. Only after the filter
/// are they counted, so that no noise of one tenant hides what another is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name, which tells shares of one document apart.
    pub name: &'static str,
    /// Most items.
    pub most: usize,
}

/// Subjects of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Routes.
    pub routes: BTreeSet<String>,
    /// Names and keys of services.
    pub services: BTreeSet<String>,
    /// Regions; none means all.
    pub regions: BTreeSet<String>,
    /// Ids of windows, and keys of incidents; none means all.
    pub windows: BTreeSet<String>,
    /// True for an item that no filter leaves out.
    pub always: bool,
    /// Items in whose place this one stands. It is left out if one of them is not.
    pub instead_of: Vec<Arc<Self>>,
}

/// Mark of an item in a marked text.
#[derive(Clone, Debug)]
pub struct Marked {
    /// Subjects of the item.
    pub tags: Arc<Tags>,
    /// Share that the item is of.
    pub share: Option<Share>,
}

/// Choice of items by a request: `?service=…&region=…&window=…`, and the routes of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter<'q> {
    /// Service, by its name or its key.
    pub service: Option<Cow<'q, str>>,
    /// Region.
    pub region: Option<Cow<'q, str>>,
    /// Window by its id, or incident by its key.
    pub window: Option<Cow<'q, str>>,
    /// Routes that the client may learn of; `None` for all.
    pub routes: Option<BTreeSet<&'q str>>,
}

/// Bytes that a filter leaves of a document.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Bytes.
    pub bytes: Bytes,
    /// Strong entity tag of the bytes.
    pub etag: HeaderValue,
    /// `Last-Modified`; `None` for a part.
    pub modified: Option<HeaderValue>,
}

impl Item {
    /// Creates an item that always has room.
    pub fn new(tags: &Arc<Tags>, bytes: impl Into<Bytes>) -> Self {
        Self { tags: Arc::clone(tags), bytes: bytes.into(), share: None }
    }

    /// Returns the item as one of a share.
    pub fn within(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }
}

impl Filter<'_> {
    /// Returns true if an item is chosen.
    pub fn has(&self, tags: &Tags) -> bool {
        let is = |wanted: &Option<Cow<'_, str>>, own: &BTreeSet<String>, none_is_all: bool| match wanted {
            Some(wanted) => none_is_all && own.is_empty() || own.contains(wanted.as_ref()),
            None => true,
        };
        let routes = |known: &BTreeSet<&str>| tags.routes.iter().any(|route| known.contains(route.as_str()));
        let chosen = is(&self.service, &tags.services, false)
            && is(&self.region, &tags.regions, true)
            && is(&self.window, &tags.windows, true)
            && self.routes.as_ref().is_none_or(routes);
        (tags.always || chosen) && !tags.instead_of.iter().any(|other| self.has(other))
    }

    fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

impl Document {
    /// Creates a document of sections and a tail.
    pub fn new(
        content_type: &'static str,
        modified: Timestamp,
        sections: Vec<Section>,
        tail: impl Into<Bytes>,
    ) -> Self {
        let tail = tail.into();
        let chosen = |item: &Item| Filter::default().has(&item.tags);
        // What was joined has room to grow.
        let whole = Bytes::copy_from_slice(&joined(&sections, &tail, chosen));
        let (sections, tail) = shared(sections, &tail, &whole, chosen);
        Self {
            content_type: HeaderValue::from_static(content_type),
            etag: etag(&whole),
            modified: http_date(modified),
            fields: HeaderMap::new(),
            whole,
            sections,
            tail,
        }
    }

    /// Creates a document of a text in which items are marked: [`OPEN`], the index of its mark, [`BEGIN`], the item,
    /// [`END`]. Nothing else in a text may have these characters. A line break behind an item goes with it: an empty line
    /// would tell that there was one.
    pub fn marked(content_type: &'static str, modified: Timestamp, text: &str, marks: &[Marked]) -> Self {
        let mut parts = text.split(OPEN);
        let mut head = parts.next().unwrap_or_default().to_owned();
        let mut sections = Vec::new();
        for part in parts {
            let item = part.split_once(BEGIN).and_then(|(index, rest)| Some((index.parse::<usize>().ok()?, rest)));
            let item = item.and_then(|(index, rest)| Some((marks.get(index)?, rest.split_once(END)?)));
            let Some((mark, (text, rest))) = item else {
                head.push_str(part);
                continue;
            };
            let (line, rest) = rest.strip_prefix('\n').map_or(("", rest), |rest| ("\n", rest));
            let item = Item { share: mark.share, ..Item::new(&mark.tags, format!("{text}{line}")) };
            sections.push(Section { head: head.into(), items: vec![item], ..Section::default() });
            head = rest.to_owned();
        }
        Self::new(content_type, modified, sections, head)
    }

    /// Returns the bytes that a filter leaves, and their entity tag. A part has no instant of its own, and that of the
    /// whole would tell of what the filter leaves out.
    pub fn select(&self, filter: &Filter<'_>) -> Selected {
        let is_same = |item: &Item| filter.has(&item.tags) == Filter::default().has(&item.tags);
        let all_same = || self.sections.iter().flat_map(|section| &section.items).all(is_same);
        if filter.is_empty() || all_same() {
            let modified = Some(self.modified.clone());
            return Selected { bytes: self.whole.clone(), etag: self.etag.clone(), modified };
        }
        let bytes = joined(&self.sections, &self.tail, |item| filter.has(&item.tags));
        Selected { etag: etag(&bytes), bytes, modified: None }
    }
}

/// Begins an item in a marked text; see [`Document::marked`].
pub const OPEN: char = '\u{1}';
/// Ends the index of an item's tags.
pub const BEGIN: char = '\u{2}';
/// Ends an item.
pub const END: char = '\u{3}';

fn joined(sections: &[Section], tail: &Bytes, keep: impl Fn(&Item) -> bool) -> Bytes {
    let mut all = BytesMut::new();
    let mut room = Room::default();
    for section in sections {
        all.extend_from_slice(&section.head);
        let kept = section.items.iter().filter(|item| keep(item) && room.takes(item.share)).map(|item| &item.bytes);
        if let Some(fold) = section.fold {
            all.extend_from_slice(&fold(&kept.collect::<Vec<_>>()));
            continue;
        }
        for (place, bytes) in kept.enumerate() {
            if place > 0 {
                all.extend_from_slice(section.separator.as_bytes());
            }
            all.extend_from_slice(bytes);
        }
    }
    all.extend_from_slice(tail);
    all.freeze()
}

/// Returns the sections and the tail of a document as parts of its whole bytes, so that they are kept once. What `keep`
/// leaves out, and what a summary is made of, stays as it is.
fn shared(
    mut sections: Vec<Section>,
    tail: &Bytes,
    whole: &Bytes,
    keep: impl Fn(&Item) -> bool,
) -> (Vec<Section>, Bytes) {
    let mut room = Room::default();
    let mut at = 0;
    let mut part = |bytes: &Bytes| {
        let same = whole.get(at..at + bytes.len()).filter(|same| same == bytes).map(|same| whole.slice_ref(same));
        at += bytes.len();
        same.unwrap_or_else(|| Bytes::copy_from_slice(bytes))
    };
    for section in &mut sections {
        section.head = part(&section.head);
        if let Some(fold) = section.fold {
            let kept = section.items.iter().filter(|item| keep(item) && room.takes(item.share)).map(|item| &item.bytes);
            part(&fold(&kept.collect::<Vec<_>>()));
            continue;
        }
        let kept = section.items.iter_mut().filter(|item| keep(item) && room.takes(item.share));
        for (place, item) in kept.enumerate() {
            if place > 0 {
                part(&Bytes::from_static(section.separator.as_bytes()));
            }
            item.bytes = part(&item.bytes);
        }
    }
    let tail = part(tail);
    sections.shrink_to_fit();
    (sections, tail)
}

/// Items that have been taken of each share.
#[derive(Default)]
struct Room(Vec<(&'static str, usize)>);

impl Room {
    /// Returns true if the share has room for one more item, which is taken then.
    fn takes(&mut self, share: Option<Share>) -> bool {
        let Some(Share { name, most }) = share else { return true };
        let place = self.0.iter().position(|(own, _)| *own == name).unwrap_or_else(|| {
            self.0.push((name, 0));
            self.0.len() - 1
        });
        let taken = &mut self.0[place].1;
        *taken += usize::from(*taken <= most);
        *taken <= most
    }
}

/// Formats an instant for an HTTP field.
fn http_date(instant: Timestamp) -> HeaderValue {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&instant);
    text.ok()
        .and_then(|text| text.try_into().ok())
        .unwrap_or_else(|| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(route: &str, region: Option<&str>, text: &'static str) -> Item {
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        let tags = Tags {
            routes: set(route),
            services: set(text),
            regions: region.map(set).unwrap_or_default(),
            windows: set(&format!("MNT-{text}")),
            ..Tags::default()
        };
        Item::new(&Arc::new(tags), text)
    }

    #[test]
    fn a_marked_text_is_cut_at_its_marks() {
        let tags = [item("web", None, "a"), item("api", None, "b")].map(|item| Marked { tags: item.tags, share: None });
        let text = "head \u{1}0\u{2}<a>\u{3} between \u{1}1\u{2}<b>\u{3} tail";
        let document = Document::marked("text/plain", Timestamp::UNIX_EPOCH, text, &tags);
        assert_eq!(document.whole, "head <a> between <b> tail");
        let filter = Filter { routes: Some(BTreeSet::from(["api"])), ..Filter::default() };
        assert_eq!(document.select(&filter).bytes, "head  between <b> tail");
        let lines =
            Document::marked("text/plain", Timestamp::UNIX_EPOCH, &text.replace(" between", "\nbetween"), &tags);
        assert_eq!(lines.select(&filter).bytes, "head between <b> tail");
    }

    #[test]
    fn a_filter_chooses_items_and_separates_what_is_left() {
        let items = vec![item("web", Some("eu"), "a"), item("web", None, "b"), item("api", Some("us"), "c")];
        let section = Section { head: Bytes::from_static(b"["), items, separator: ",", fold: None };
        let document = Document::new("application/json", Timestamp::UNIX_EPOCH, vec![section.clone()], "]");
        let select = |filter: Filter<'_>| String::from_utf8(document.select(&filter).bytes.to_vec()).unwrap();
        assert_eq!(select(Filter::default()), "[a,b,c]");
        assert_eq!(select(Filter { region: Some("eu".into()), ..Filter::default() }), "[a,b]");
        assert_eq!(select(Filter { service: Some("c".into()), ..Filter::default() }), "[c]");
        assert_eq!(select(Filter { window: Some("MNT-b".into()), ..Filter::default() }), "[b]");
        assert_eq!(select(Filter { service: Some("?".into()), ..Filter::default() }), "[]");
        assert_eq!(select(Filter { routes: Some(BTreeSet::from(["api"])), ..Filter::default() }), "[c]");
        let whole = document.select(&Filter { routes: Some(BTreeSet::from(["api", "web"])), ..Filter::default() });
        let (bytes, tag) = (whole.bytes.as_ptr(), whole.etag);
        assert_eq!((bytes, tag), (document.whole.as_ptr(), document.etag.clone()), "nothing is copied");
        let part = document.select(&Filter { service: Some("a".into()), ..Filter::default() });
        assert!(part.etag != document.etag && part.modified.is_none());
        let count = Section { fold: Some(|kept| Bytes::from(kept.len().to_string())), ..section };
        let counted = Document::new("application/json", Timestamp::UNIX_EPOCH, vec![count], "]");
        assert_eq!(counted.whole, "[3]");
        assert_eq!(counted.select(&Filter { region: Some("eu".into()), ..Filter::default() }).bytes, "[2]");
        assert_eq!(document.modified, "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn a_document_keeps_its_bytes_once() {
        let of = |parent: &Bytes, part: &Bytes| parent.as_ptr_range().contains(&part.as_ptr());
        let hidden =
            Item::new(&Arc::new(Tags { instead_of: vec![item("web", None, "a").tags], ..Tags::default() }), "no");
        let items = vec![item("web", None, "a"), hidden, item("api", None, "b")];
        let list = Section { head: "[".into(), items, separator: ",", fold: None };
        let folded = Section { head: "] ".into(), fold: Some(|kept| kept.len().to_string().into()), ..list.clone() };
        let document = Document::new("text/plain", Timestamp::UNIX_EPOCH, vec![list, folded], "; end");
        assert_eq!(document.whole, "[a,b] 2; end");
        let [list, folded] = document.sections.as_slice() else { panic!("{document:?}") };
        let parts = [&list.head, &list.items[0].bytes, &list.items[2].bytes, &folded.head, &document.tail];
        assert!(parts.iter().all(|part| of(&document.whole, part)));
        assert_eq!((&*list.items[1].bytes, &*document.tail), (&b"no"[..], &b"; end"[..]));
        let filter = Filter { routes: Some(BTreeSet::from(["api"])), ..Filter::default() };
        assert_eq!(document.select(&filter).bytes, "[b] 1; end");
    }
}
