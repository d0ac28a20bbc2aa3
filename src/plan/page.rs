//! Page that clients of a closed route are shown: finished, in each dialect, language and coding.
//!
//! A page is rendered when a snapshot is compiled, never while a request waits. A client needs nothing else to show it:
//! no file, no upstream, no sub-resource.
//!
//! A published snapshot has the default language of every page, uncompressed, which all clients can read. Its first
//! pages also have the other languages. The rest follows within a second ([`Page::finish`]), so that an operator's edit
//! does not wait for it.

mod answer;
mod brand;
mod choice;
mod context;
mod errors;
mod filters;
mod finished;
mod forms;
mod language;
mod look;
mod markup;
mod model;
mod places;
mod policy;
mod programs;
mod rendered;
mod renderer;
pub mod samples;
mod sources;
mod templates;
mod validate;
mod xml;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;

use super::accept::Coding;
use super::dialect::Dialect;
use super::flags::Mode;
use super::lifecycle::Phase;

pub use answer::{Answer, Tone};
pub use errors::Fate;
pub use forms::PROGRAMS;
pub(in crate::plan) use language::Language;
pub use look::{Look, Renderers};
pub use model::{LONGEST_RETRY, PageContent, PageModel, RETRY_WITHOUT_END, ServiceRow, Trouble};
pub(crate) use places::{PROXY_STATUS, SHOULD_RETRY, TRUE, X_REQUEST_ID};
pub(in crate::plan) use programs::pushback;
use rendered::{Encodings, Heads};
pub use rendered::{Rendered, Stored};
pub use renderer::Renderer;
pub use sources::{Source, Sources};
pub use templates::{MESSAGES, SITE_HTML, SITE_MARKDOWN, SITE_TEXT, STACK_FOR_TEMPLATES, TEMPLATES};

/// Finished page.
#[derive(Debug)]
pub struct Page {
    /// Content of the page.
    pub model: Arc<PageModel>,
    /// Look of the page.
    pub look: Look,
    /// Version. It changes with the content, but not as time passes.
    pub version: u64,
    /// Event that announces this page to event streams.
    event: Bytes,
    /// Instant for which the page was made.
    now: Timestamp,
    /// Uncompressed pages: every language in the renderer's order, or only the default one.
    first: Vec<LocalizedPage>,
    /// All languages in the renderer's order, with the compressed forms. Filled in once, after the publication.
    rest: OnceLock<Box<[LocalizedPage]>>,
}

/// Page in one language.
#[derive(Debug)]
struct LocalizedPage {
    /// Answers, indexed by [`Dialect`].
    encodings: Vec<Arc<Encodings>>,
    /// Answers by the templates for programs, in the order of [`super::config::PageConfig::programs`].
    programs: Vec<Arc<Encodings>>,
}

/// Page in the default language, before and after its compressed forms were added.
#[derive(Clone, Copy)]
struct Model<'p> {
    plain: &'p LocalizedPage,
    compressed: &'p LocalizedPage,
}

impl LocalizedPage {
    /// Adds the compressed forms. Those of answers that every language has are taken from the model.
    fn compressed(&self, model: Option<Model<'_>>) -> Self {
        let known = |place: usize, plain: &Arc<Encodings>| {
            let Model { plain: first, compressed } = model?;
            let is_same = Arc::ptr_eq(first.encodings.get(place)?, plain);
            compressed.encodings.get(place).filter(|_| is_same).map(Arc::clone)
        };
        let encodings = self.encodings.iter().enumerate();
        let encodings = encodings.map(|(place, plain)| known(place, plain).unwrap_or_else(|| plain.compressed()));
        // The answers to programs have a time of each request, and are never compressed.
        Self { encodings: encodings.collect(), programs: self.programs.clone() }
    }
}

/// Choice among the answers of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Form of the answer.
    pub dialect: Dialect,
    /// Index of the language in the renderer; 0 is the default.
    pub language: usize,
    /// Coding of the bytes.
    pub coding: Coding,
}

/// Languages that are rendered before the publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prerender {
    /// Every language.
    EveryLanguage,
    /// Only the default one, because there are many pages.
    DefaultLanguage,
}

impl Page {
    /// Renders the languages that the publication needs.
    pub fn new(model: Arc<PageModel>, now: Timestamp, look: Look, prerender: Prerender) -> Self {
        let renderer = &look.renderer;
        let version = model.version(look.fingerprint());
        let versioned = look.versioned(&model, version, now);
        let heads = Heads::default();
        let mut first = vec![renderer.localized(versioned, &renderer.languages[0], None, &heads)];
        if prerender == Prerender::EveryLanguage {
            for language in &renderer.languages[1..] {
                first.push(renderer.localized(versioned, language, first.first(), &heads));
            }
        }
        let event = format!("event: page\ndata: {{\"version\":\"{version:016x}\"}}\n\n").into();
        Self { model, look, version, event, now, first, rest: OnceLock::new() }
    }

    /// Renders the rest, which takes some tens of milliseconds.
    pub fn finish(&self) {
        if self.is_finished() {
            return;
        }
        let renderer = &self.look.renderer;
        let versioned = self.look.versioned(&self.model, self.version, self.now);
        let Some(plain) = self.first.first() else { return };
        let compressed = plain.compressed(None);
        let (model, heads) = (Some(Model { plain, compressed: &compressed }), Heads::default());
        let localized = |(index, language): (usize, &Language)| match self.first.get(index) {
            Some(localized) => localized.compressed(model),
            None => renderer.localized(versioned, language, Some(plain), &heads).compressed(model),
        };
        let others: Vec<LocalizedPage> = renderer.languages.iter().enumerate().skip(1).map(localized).collect();
        // Another thread may have finished first, with the same result.
        let _ = self.rest.set([compressed].into_iter().chain(others).collect());
    }

    /// Returns the event that announces this page to event streams.
    pub fn event(&self) -> Bytes {
        self.event.clone()
    }

    /// Returns true if all languages and compressed forms are rendered.
    pub fn is_finished(&self) -> bool {
        self.rest.get().is_some()
    }

    /// Returns the chosen answer, or the nearest one as long as the page is not finished.
    pub fn rendered(&self, variant: Variant) -> &Stored {
        self.localized(variant).encodings[variant.dialect as usize].coded(variant.coding)
    }

    /// Returns the answer to a program by the template with this index, or the chosen one if there is none.
    pub fn program(&self, template: usize, variant: Variant) -> &Stored {
        match self.localized(variant).programs.get(template) {
            Some(rendered) => rendered.coded(Coding::Identity),
            None => self.rendered(variant),
        }
    }

    fn localized(&self, variant: Variant) -> &LocalizedPage {
        let localized = self.rest.get().map_or(self.first.as_slice(), |rest| rest);
        localized.get(variant.language).unwrap_or(&self.first[0])
    }
}

/// Returns the heading for a page without one.
fn default_title(content: &PageContent, language: &Language) -> String {
    language.own(
        match (content.trouble, content.phase, content.mode) {
            (Trouble::Found, ..) => "problem-title",
            (_, Phase::Verifying | Phase::Ramping, _) => "coming-back",
            (_, Phase::Open, _) if content.planned.is_some() => "announced-title",
            (_, Phase::Open, _) => "open-title",
            (_, Phase::Draining | Phase::Closed, Mode::ReadOnly) => "default-title-read-only",
            (_, Phase::Draining | Phase::Closed, Mode::Hold | Mode::Offline) => "default-title",
        },
        &[],
    )
}

/// Returns the paragraph for a page without one.
fn default_message(content: &PageContent, language: &Language) -> String {
    language.own(
        match (content.trouble, content.phase, content.mode) {
            (Trouble::Found, ..) => "coming-back-problem",
            (Trouble::Slow, Phase::Verifying, _) => "coming-back-verifying-long",
            (_, Phase::Verifying, _) => "coming-back-verifying",
            (_, Phase::Ramping, _) => "coming-back-ramping",
            (_, Phase::Open, _) if content.planned.is_some() => "announced-message",
            (_, Phase::Open, _) => "open-message",
            (_, Phase::Draining | Phase::Closed, Mode::ReadOnly) => "default-message-read-only",
            (_, Phase::Draining | Phase::Closed, Mode::Hold) => "default-message-hold",
            (_, Phase::Draining | Phase::Closed, Mode::Offline) => "default-message",
        },
        &[],
    )
}

#[cfg(test)]
mod tests;
