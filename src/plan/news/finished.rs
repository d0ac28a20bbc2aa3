//! Finished site: everything that is served of the news, made ahead.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::super::dialect::Dialect;
use super::super::page::Renderer;
use super::document::Document;
use super::{News, Words, documents};

/// Finished site. By default it is empty.
#[derive(Debug, Default)]
pub struct Site {
    /// Number of the rendering in its process.
    pub version: u64,
    documents: HashMap<&'static str, Document>,
    pages: HashMap<String, SitePage>,
    event: Bytes,
}

/// Page of the site, in each language.
#[derive(Debug)]
pub struct SitePage {
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
    /// Renders everything.
    pub fn render(version: u64, news: &News<'_>, renderer: &Renderer) -> Self {
        let documents = Words::all(renderer).next().map(|words| documents::all(news, words)).unwrap_or_default();
        Self::new(version, news, documents, Vec::new())
    }

    /// Puts a finished site together.
    fn new(
        version: u64,
        news: &News<'_>,
        documents: Vec<(&'static str, Document)>,
        pages: Vec<(String, SitePage)>,
    ) -> Self {
        Self {
            version,
            documents: documents.into_iter().collect(),
            pages: pages.into_iter().collect(),
            event: event(version, news.changed),
        }
    }

    /// Finds a resource by its path below the site, which begins with `/`.
    pub fn find(&self, path: &str) -> Option<SiteResource<'_>> {
        let document = || self.documents.get(path).map(SiteResource::Document);
        document().or_else(|| self.pages.get(path).map(SiteResource::Page))
    }

    /// Returns the API document that a program gets which asks for a page in JSON.
    pub fn summary(&self) -> Option<&Document> {
        self.documents.get("/api/v2/summary.json")
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
