//! The page: what a closed route's clients are shown, finished, in each dialect, language and coding.
//!
//! It is made when a snapshot is compiled and never while a request waits, and it needs nothing at view time: no file, no
//! upstream, no sub-resource. What every client can read is there when the snapshot is published: the default language,
//! uncompressed; of the first pages of a snapshot also the other languages. The rest follows within the second
//! ([`Page::finish`]), because it takes longer than an operator's switch may.

mod context;
mod filters;
mod language;
mod markup;
mod model;
mod programs;
mod rendered;
mod renderer;
pub mod samples;
mod sources;
mod templates;
mod validate;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;

use super::accept::Coding;
use super::dialect::Dialect;
use super::flags::Mode;
use super::lifecycle::Phase;

use language::Language;
pub use model::{LONGEST_RETRY, PageContent, PageModel, RETRY_WITHOUT_END, ServiceRow};
use rendered::Encodings;
pub use rendered::Rendered;
pub use renderer::Renderer;
pub use sources::{Source, Sources};
pub use templates::{MESSAGES, STACK_FOR_TEMPLATES, TEMPLATES};

/// A finished page.
#[derive(Debug)]
pub struct Page {
    /// What it tells.
    pub model: Arc<PageModel>,
    /// Changes when what it tells does, apart from the passing of time.
    pub version: u64,
    /// What those who watch it are told of it (an event of a stream).
    event: Bytes,
    /// When it was made.
    now: Timestamp,
    /// Uncompressed: every language in the order of the press, or only the first, which is the default.
    first: Vec<LocalizedPage>,
    /// Every language in the order of the press, with the compressed forms. Filled in once, behind the publication.
    rest: OnceLock<Box<[LocalizedPage]>>,
}

/// A page in one language.
#[derive(Debug)]
struct LocalizedPage {
    /// By [`Dialect`].
    encodings: Vec<Arc<Encodings>>,
}

impl LocalizedPage {
    fn compressed(&self) -> Self {
        Self { encodings: self.encodings.iter().map(|rendered| Arc::new(rendered.compressed())).collect() }
    }
}

/// Which of a page's answers a client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its form.
    pub dialect: Dialect,
    /// The index of its language in the press; 0 is the default.
    pub language: usize,
    /// The coding of its bytes.
    pub coding: Coding,
}

/// Which languages of a page are made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Every one.
    All,
    /// The default one: there are many pages to make.
    Default,
}

impl Page {
    /// Makes what must be there at once.
    pub fn new(model: Arc<PageModel>, now: Timestamp, renderer: &Renderer, breadth: Breadth) -> Self {
        let version = model.version(renderer.fingerprint);
        let mut first = vec![renderer.localized(&model, version, now, &renderer.languages[0], None)];
        if breadth == Breadth::All {
            for language in &renderer.languages[1..] {
                first.push(renderer.localized(&model, version, now, language, first.first()));
            }
        }
        let event = format!("event: page\ndata: {{\"version\":\"{version:016x}\"}}\n\n").into();
        Self { model, version, event, now, first, rest: OnceLock::new() }
    }

    /// Makes the rest: takes some tens of milliseconds. `press` must be the one that the page was made with.
    pub fn finish(&self, renderer: &Renderer) {
        if self.is_finished() {
            return;
        }
        let localized = |(index, language): (usize, &Language)| match self.first.get(index) {
            Some(localized) => localized.compressed(),
            None => renderer.localized(&self.model, self.version, self.now, language, self.first.first()).compressed(),
        };
        // Somebody may have been faster; then it is the same.
        let _ = self.rest.set(renderer.languages.iter().enumerate().map(localized).collect());
    }

    /// The event that tells of it.
    pub fn event(&self) -> Bytes {
        self.event.clone()
    }

    /// Whether all of it is there.
    pub fn is_finished(&self) -> bool {
        self.rest.get().is_some()
    }

    /// The answer for a client, or what comes nearest to it as long as the page is not finished.
    pub fn rendered(&self, want: Variant) -> &Rendered {
        let localized = self.rest.get().map_or(self.first.as_slice(), |rest| rest);
        let localized = localized.get(want.language).unwrap_or(&self.first[0]);
        localized.encodings[want.dialect as usize].coded(want.coding)
    }
}

/// The heading of a page that was given none.
fn default_title(content: &PageContent, language: &Language) -> String {
    language.own(
        match (content.phase, content.mode) {
            (Phase::Verifying | Phase::Ramping, _) => "coming-back",
            (Phase::Open | Phase::Draining | Phase::Closed, Mode::ReadOnly) => "default-title-read-only",
            (Phase::Open | Phase::Draining | Phase::Closed, Mode::Hold | Mode::Offline) => "default-title",
        },
        &[],
    )
}

/// The paragraph of a page that was given none.
fn default_message(content: &PageContent, language: &Language) -> String {
    language.own(
        match (content.phase, content.mode) {
            (Phase::Verifying, _) => "coming-back-verifying",
            (Phase::Ramping, _) => "coming-back-ramping",
            (Phase::Open | Phase::Draining | Phase::Closed, Mode::ReadOnly) => "default-message-read-only",
            (Phase::Open | Phase::Draining | Phase::Closed, Mode::Hold) => "default-message-hold",
            (Phase::Open | Phase::Draining | Phase::Closed, Mode::Offline) => "default-message",
        },
        &[],
    )
}

#[cfg(test)]
mod tests;
