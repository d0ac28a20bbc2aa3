//! Finished site: everything that is served of the news, made ahead.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::super::dialect::Dialect;
use super::super::page::Renderer;
use super::document::{Document, Filter, Tags};
use super::documents::Stories;
use super::pages::RowWords;
use super::{Incident, Key, News, Words, documents, pages};

/// Finished site. By default it is empty.
#[derive(Debug, Default)]
pub struct Site {
    /// Number of the rendering in its process.
    pub version: u64,
    /// True if visitors may subscribe, so that there are forms.
    pub has_forms: bool,
    documents: HashMap<&'static str, Document>,
    pages: MadePages,
    stories: Stories,
    /// Incidents by the paths that have the id of their window.
    names: HashMap<String, Key>,
    event: Bytes,
}

/// Pages by their path.
pub(super) type MadePages = HashMap<String, Arc<SitePage>>;

/// Incident that a page is about, as the page has it.
#[derive(Debug)]
pub struct About {
    /// The incident.
    pub incident: Incident,
    /// Subjects of the page. A client that may not learn of them finds no page.
    pub tags: Arc<Tags>,
    /// Words for lists, in each language.
    pub(super) words: Vec<Arc<RowWords>>,
}

/// Page of the site, in each language.
#[derive(Debug)]
pub struct SitePage {
    /// Incident that the page is about, if it is about one.
    pub about: Option<About>,
    /// Languages in the renderer's order.
    pub languages: Vec<LocalizedSitePage>,
}

/// Page of the site in one language.
#[derive(Debug)]
pub struct LocalizedSitePage {
    /// For browsers.
    pub html: Document,
    /// For terminals.
    pub text: Document,
    /// Markdown.
    pub markdown: Document,
}

/// Resource of the site.
#[derive(Clone, Copy, Debug)]
pub enum SiteResource<'s> {
    /// Feed or API.
    Document(&'s Document),
    /// Page, whose form and language the client chooses.
    Page(&'s SitePage),
}

impl Site {
    /// Renders what has changed. `before` was made with the same settings and the same renderer; the default has nothing.
    pub fn render(version: u64, news: &News<'_>, renderer: &Renderer, before: &Self) -> Self {
        let default = Words::all(renderer).next();
        let (documents, stories) =
            default.map(|words| documents::all(news, words, &before.stories)).unwrap_or_default();
        let named = news.incidents.iter().filter_map(|incident| {
            let id = incident.facts.reference.as_ref()?;
            Some((format!("/incidents/{id}"), incident.key.clone()))
        });
        Self {
            version,
            has_forms: !news.ways.is_empty(),
            documents: documents.into_iter().collect(),
            pages: pages::all(news, renderer, &before.pages),
            stories,
            // The newest incident of a window is found by the window's id.
            names: named.collect(),
            event: event(version, news.changed),
        }
    }

    /// Finds a resource by its path below the site, which begins with `/`.
    pub fn find(&self, path: &str) -> Option<SiteResource<'_>> {
        let document = || self.documents.get(path).map(SiteResource::Document);
        let page = |path: &str| self.pages.get(path).map(|page| SiteResource::Page(page));
        let named = || page(&format!("/incidents/{}", self.names.get(path)?));
        document().or_else(|| page(path)).or_else(named)
    }

    /// Returns the API document that a program gets which asks for a page in JSON.
    pub fn summary(&self) -> Option<&Document> {
        self.documents.get("/api/v2/summary.json")
    }

    /// Returns a number that changes if what is told of some routes changes.
    pub fn fingerprint_of(&self, routes: &BTreeSet<String>) -> u64 {
        let routes = Some(routes.iter().map(String::as_str).collect());
        let filter = Filter { routes, ..Filter::default() };
        let mut hasher = DefaultHasher::new();
        for path in ["/api/v2/summary.json", "/feed.json"] {
            let selected = self.documents.get(path).map(|document| document.select(&filter).etag);
            selected.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Returns the event that tells watchers of this rendering.
    pub fn event(&self) -> Bytes {
        self.event.clone()
    }
}

impl SitePage {
    /// Returns the form for a dialect and a language of the renderer.
    pub fn choose(&self, dialect: Dialect, language: usize) -> Option<&Document> {
        let page = self.languages.get(language).or_else(|| self.languages.first())?;
        Some(match dialect {
            Dialect::Text | Dialect::Short => &page.text,
            Dialect::Markdown => &page.markdown,
            Dialect::Html
            | Dialect::Problem
            | Dialect::Json
            | Dialect::Xml
            | Dialect::Soap
            | Dialect::Soap12
            | Dialect::Grpc
            | Dialect::GrpcWeb
            | Dialect::GrpcWebText
            | Dialect::Connect
            | Dialect::ConnectStreamJson
            | Dialect::ConnectStreamProto
            | Dialect::Events
            | Dialect::Preflight => &page.html,
        })
    }
}

fn event(version: u64, changed: Timestamp) -> Bytes {
    format!("id: {version}\nevent: news\ndata: {{\"changed\":\"{changed}\"}}\n\n").into()
}
