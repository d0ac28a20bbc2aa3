//! Renderer: templates, languages and the operator's brand, checked and ready to render pages.
//!
//! The operator's templates are tried before they are used. Each is rendered with the shortest, a complete and the
//! worst content, in every language. A failure is a [`Problem`] with its place. If one fails later nevertheless, the
//! built-in template takes its place, so that a page is never missing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, LINK};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, context};
use serde::Serialize;

use super::super::config::{ErrorStatus, PageConfig, ProgramFormat};
use super::super::dialect::Dialect;
use super::super::problem::Problem;
use super::brand::{Brand, data_url, link};
use super::context::{CommonContext, TemplateContext};
use super::errors::{Case, ErrorPages, ErrorView, Fate};
use super::forms::{self, PROGRAMS};
use super::language::Language;
use super::markup::Markup;
use super::model::VersionedModel;
use super::programs::{self, Wording};
use super::rendered::{Encodings, Heads, Rendered, Stored, machine_answer, short};
use super::sources::{Source, Sources};
use super::templates::{
    ERROR_HTML, ERROR_MARKDOWN, ERROR_TEXT, ERROR_XML, MESSAGES, SITE_HTML, ShownNames, environment, is_finished,
    languages, render, shown_names,
};
use super::{LocalizedPage, PageModel, Variant, policy, validate};

/// Renderer of pages.
pub struct Renderer {
    /// Languages; the default one comes first.
    pub(super) languages: Arc<[Language]>,
    /// Language tags, by the index of the language.
    pub tags: Vec<String>,
    /// Fingerprint. It differs between renderers whose pages differ.
    pub fingerprint: u64,
    /// Settings of the page.
    pub config: PageConfig,
    /// File of the page that is served as it stands, if the operator's `page.html` is no template.
    pub finished: Option<String>,
    /// Names of a route that the pages show.
    pub(in crate::plan) names: ShownNames,
    /// Warnings about the operator's files.
    pub remarks: Vec<Problem>,
    templates: Environment<'static>,
    /// Built-in templates for the case that an own one fails. `None` if all are built in.
    fallback: Option<Environment<'static>>,
    brand: Brand,
    /// Part of the context that all pages have.
    common: CommonContext,
    /// Field `Link: …; rel="status"`.
    link: Option<HeaderValue>,
    /// Badges: of an open route, and of one under maintenance.
    badges: [Stored; 2],
    /// Pages for errors; `None` if they are switched off.
    errors: Option<ErrorPages>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer")
            .field("fingerprint", &self.fingerprint)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

impl Renderer {
    /// Creates a renderer without any of the operator's files.
    ///
    /// # Panics
    /// Never: the tests of this crate try the built-in templates.
    pub fn built_in() -> Self {
        let (renderer, problems) = Self::new(&PageConfig::default(), &Sources::default(), "backsoon.toml");
        renderer.unwrap_or_else(|| panic!("the built-in templates are whole: {problems:?}"))
    }

    /// Checks and tries everything. `config_file` is the name that problems give to the config.
    ///
    /// Every problem is collected. A renderer is returned if none of them is an error.
    pub fn new(config: &PageConfig, sources: &Sources, config_file: &str) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let languages = languages(config, sources, config_file, &mut problems);
        let logo = sources.logo.as_ref().and_then(|(path, bytes)| data_url(path, bytes, &mut problems));
        let brand = Brand::new(config, logo);
        let own: Vec<&Source> = sources.files.iter().filter(|source| !source.name.starts_with(MESSAGES)).collect();
        let languages: Arc<[Language]> = languages.into();
        problems.extend(forms::missing(&config.programs, &own, config_file));
        let own_templates = (!own.is_empty()).then(|| environment(&languages, &own, &mut problems));
        if problems.iter().any(Problem::is_error) || languages.is_empty() {
            return (None, problems);
        }
        let heads = Heads::default();
        let mut renderer = Self {
            tags: languages.iter().map(|language| language.tag.clone()).collect(),
            templates: environment(&languages, &[], &mut problems),
            fallback: None,
            fingerprint: Self::fingerprint_of(config, sources),
            names: ShownNames::default(),
            remarks: Vec::new(),
            config: config.clone(),
            finished: own.iter().find(|source| is_finished(source)).map(|source| source.path.clone()),
            languages,
            common: CommonContext::new(&brand, config.prefix.as_str()),
            brand,
            link: link(config),
            badges: [false, true].map(|_| heads.store(Rendered::new(SVG, Bytes::new()))),
            errors: None,
        };
        if let Some(environment) = own_templates {
            renderer.fallback = Some(std::mem::replace(&mut renderer.templates, environment));
            validate::own(&renderer, &own, &mut problems);
        }
        renderer.names = shown_names(&renderer.templates, &own, renderer.brand.name.is_some());
        renderer.badges = [false, true].map(|maintenance| renderer.make_badge(maintenance));
        renderer.errors = config
            .errors
            .then(|| ErrorPages::new(|case| renderer.localized_error(case, &renderer.languages[0], None, &heads)));
        renderer.remarks.clone_from(&problems);
        let whole = !problems.iter().any(Problem::is_error);
        (whole.then_some(renderer), problems)
    }

    /// Returns the fingerprint of the renderer that these settings and files make.
    pub fn fingerprint_of(config: &PageConfig, sources: &Sources) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{config:?}").hash(&mut hasher);
        for source in &sources.files {
            (&source.name, &source.path, &source.text).hash(&mut hasher);
        }
        sources.logo.hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        hasher.finish()
    }

    /// Returns the languages that are offered, the default one first.
    pub(in crate::plan) fn languages(&self) -> &[Language] {
        &self.languages
    }

    /// Returns the badge of a route.
    pub fn badge(&self, maintenance: bool) -> &Stored {
        &self.badges[usize::from(maintenance)]
    }

    /// Returns the page for an error; `None` if there are no pages for errors. As long as they are not finished, it is the
    /// nearest one.
    pub fn error(&self, error: ErrorStatus, fate: Fate, variant: Variant) -> Option<&Stored> {
        self.errors.as_ref()?.rendered((error, fate), variant)
    }

    /// Renders the other languages and the compressed forms of the pages for errors, which takes some tens of milliseconds.
    pub fn finish(&self) {
        if let Some(errors) = &self.errors {
            let (languages, heads) = (self.languages.get(1..).unwrap_or_default(), Heads::default());
            errors.finish(languages, |case, language, first| self.localized_error(case, language, Some(first), &heads));
        }
    }

    /// Returns true if all languages and compressed forms of the pages for errors are rendered.
    pub fn is_finished(&self) -> bool {
        self.errors.as_ref().is_none_or(ErrorPages::is_finished)
    }

    /// Renders a page in one language. Answers that are the same in every language come from `first`, if there is one.
    pub(super) fn localized(
        &self,
        page: VersionedModel<'_>,
        language: &Language,
        first: Option<&LocalizedPage>,
        heads: &Heads,
    ) -> LocalizedPage {
        let VersionedModel { model, version, .. } = page;
        let context = TemplateContext::new(page, language, &self.tags[0], &self.common);
        let title = context.title.clone();
        let detail = context.message.join("\n\n");
        let words = Wording { tag: &language.tag, title: &title, detail: &detail };
        let context = Value::from(Serde(context));
        let template = |name| self.render(name, &context).unwrap_or_else(|| format!("{title}\n\n{detail}\n"));
        // The answer to a remote call has no language, and neither has a page that is served as it stands.
        let shared = |dialect: Dialect| first.map(|first| Arc::clone(&first.encodings[dialect as usize]));
        let rendered = |dialect: Dialect| {
            if dialect == Dialect::Html
                && self.finished.is_some()
                && let Some(rendered) = shared(dialect)
            {
                return rendered;
            }
            let rendered = match dialect {
                Dialect::Html => match self.render("page.html", &context) {
                    Some(html) => self.page(html, language, heads),
                    None => self.readable(TEXT, format!("{title}\n\n{detail}\n"), language),
                },
                Dialect::Text => self.readable(TEXT, trimmed(&template("page.txt")), language),
                Dialect::Markdown => self.readable(MARKDOWN, template("page.md"), language),
                Dialect::Xml => self.readable(PROBLEM_XML, template("page.xml"), language),
                Dialect::Problem => self.readable(PROBLEM_JSON, programs::problem(model, version, words), language),
                Dialect::Json => self.readable(JSON, programs::problem(model, version, words), language),
                Dialect::Short => self.readable(TEXT, short(model, language), language),
                Dialect::Soap => self.readable(SOAP, programs::soap(model, words), language),
                Dialect::Soap12 => self.readable(SOAP_12, programs::soap_12(model, words), language),
                Dialect::Grpc
                | Dialect::GrpcWeb
                | Dialect::GrpcWebText
                | Dialect::Connect
                | Dialect::ConnectStreamJson
                | Dialect::ConnectStreamProto
                | Dialect::Events
                | Dialect::Preflight => match shared(dialect) {
                    Some(rendered) => return rendered,
                    None => machine_answer(dialect, model, version, words),
                },
            };
            Arc::new(Encodings::plain(heads.store_page(rendered, dialect)))
        };
        let encodings: Vec<Arc<Encodings>> = Dialect::ALL.map(rendered).into();
        let programs = self.config.programs.iter().map(|name| {
            let dialect = ProgramFormat::of(name).map_or(Dialect::Json, ProgramFormat::dialect);
            match self.program(name, &context, language) {
                Some(rendered) => Arc::new(Encodings::plain(heads.store_page(rendered, dialect))),
                None => Arc::clone(&encodings[dialect as usize]),
            }
        });
        LocalizedPage { programs: programs.collect(), encodings }
    }

    /// Renders a route's template for programs; `None` if no program could read the outcome.
    fn program(&self, name: &str, context: &Value, language: &Language) -> Option<Rendered> {
        let format = ProgramFormat::of(name)?;
        let text = self.render(&format!("{PROGRAMS}{name}"), context)?;
        let content_type = match format {
            ProgramFormat::Json => JSON,
            ProgramFormat::Xml => XML,
        };
        forms::fault(format, &text).is_none().then(|| self.readable(content_type, text, language))
    }

    /// Renders a page for an error in one language. Answers that are the same in every language come from `first`, if there
    /// is one.
    fn localized_error(
        &self,
        case: Case,
        language: &Language,
        first: Option<&LocalizedPage>,
        heads: &Heads,
    ) -> LocalizedPage {
        let view = ErrorView::new(case, language);
        let context = self.error_context(&view, language);
        let template = |name| self.render(name, &context).unwrap_or_else(|| view.line());
        let rendered = |dialect: Dialect| {
            let mut rendered = match dialect {
                Dialect::Html => match self.render(ERROR_HTML, &context) {
                    Some(html) => self.html(html, language, heads),
                    None => self.readable(TEXT, view.line(), language),
                },
                Dialect::Text => self.readable(TEXT, template(ERROR_TEXT), language),
                Dialect::Markdown => self.readable(MARKDOWN, template(ERROR_MARKDOWN), language),
                Dialect::Xml => self.readable(PROBLEM_XML, template(ERROR_XML), language),
                Dialect::Problem => self.readable(PROBLEM_JSON, view.problem(), language),
                Dialect::Json => self.readable(JSON, view.problem(), language),
                Dialect::Soap => self.readable(SOAP, programs::fault(view.line().trim_end(), &view.detail()), language),
                Dialect::Soap12 => {
                    let fault = programs::fault_12(view.line().trim_end(), &language.tag, &view.detail());
                    self.readable(SOAP_12, fault, language)
                }
                Dialect::Short | Dialect::Events | Dialect::Preflight => self.readable(TEXT, view.line(), language),
                Dialect::Grpc
                | Dialect::GrpcWeb
                | Dialect::GrpcWebText
                | Dialect::Connect
                | Dialect::ConnectStreamJson
                | Dialect::ConnectStreamProto => match first {
                    Some(first) => return Arc::clone(&first.encodings[dialect as usize]),
                    None => view.call(dialect),
                },
            };
            // gRPC has its status elsewhere.
            if rendered.status != StatusCode::OK {
                rendered.status = case.0.status();
            }
            Arc::new(Encodings::plain(heads.store(rendered)))
        };
        LocalizedPage { encodings: Dialect::ALL.map(rendered).into(), programs: Vec::new() }
    }

    fn error_context(&self, view: &ErrorView, language: &Language) -> Value {
        context! { bare => true, ..self.branded(&language.tag, view) }
    }

    /// Renders a template for an error in the language of this index, without the built-in one as a fallback.
    pub(super) fn try_error(&self, name: &str, case: Case, language: usize) -> Result<String, Error> {
        let language = &self.languages[language];
        render(&self.templates, name, &self.error_context(&ErrorView::new(case, language), language))
    }

    /// Renders a page of the status site, with its policy if it is HTML. It is empty if even the built-in template fails.
    pub(in crate::plan) fn site_page(
        &self,
        template: &str,
        (tag, site): (&str, &str),
        view: &impl Serialize,
    ) -> (String, Option<HeaderValue>) {
        let context = self.site_context((tag, site), view);
        let text = self.render(template, &context).unwrap_or_default();
        let policy = (template == SITE_HTML).then(|| policy::of_site(&Markup::of(&text)));
        (text, policy)
    }

    fn site_context(&self, (tag, site): (&str, &str), view: &impl Serialize) -> Value {
        context! { site, bare => false, ..self.branded(tag, view) }
    }

    /// Returns a context of this view, the language and the brand.
    fn branded(&self, tag: &str, view: &impl Serialize) -> Value {
        let language = self.languages.iter().find(|language| language.tag == tag);
        let right_to_left = language.is_some_and(|language| language.right_to_left);
        let [light, dark] = &self.brand.accent;
        let own = context! {
            lang => tag,
            dir => if right_to_left { "rtl" } else { "ltr" },
            brand => Serde(&self.brand),
            accent => context! { light, dark },
            until => (),
        };
        context! { ..Value::from(Serde(view)), ..own }
    }

    /// Renders a page of the status site in the language of this index, without the built-in one as a fallback.
    pub(super) fn try_site(&self, name: &str, view: &impl Serialize, language: usize) -> Result<String, Error> {
        let context = self.site_context((&self.languages[language].tag, "Sample"), view);
        render(&self.templates, name, &context)
    }

    /// Renders a template in the language of this index, without the built-in one as a fallback.
    pub(super) fn try_template(&self, name: &str, model: &PageModel, language: usize) -> Result<String, Error> {
        let named = model.content.message.is_some();
        let (route, host) = (named.then_some("sample"), named.then_some("sample.example.com"));
        let page = VersionedModel { model, route, host, version: 0, now: Timestamp::UNIX_EPOCH };
        let context = TemplateContext::new(page, &self.languages[language], &self.tags[0], &self.common);
        render(&self.templates, name, &Value::from(Serde(context)))
    }

    /// Renders the badge without the built-in one as a fallback.
    pub(super) fn try_badge(&self, maintenance: bool) -> Result<String, Error> {
        render(&self.templates, "badge.svg", &self.badge_context(maintenance))
    }

    fn badge_context(&self, maintenance: bool) -> Value {
        context! { lang => self.tags[0].as_str(), maintenance }
    }

    /// Renders a template, or the built-in one if that fails; `None` if both fail.
    fn render(&self, name: &str, context: &Value) -> Option<String> {
        let sets = std::iter::once(&self.templates).chain(&self.fallback);
        sets.filter_map(|set| render(set, name, context).ok()).next()
    }

    /// Builds an answer that people may read.
    fn readable(&self, content_type: HeaderValue, body: String, language: &Language) -> Rendered {
        let mut rendered = Rendered::new(content_type, body.into());
        if let Ok(tag) = HeaderValue::from_str(&language.tag) {
            rendered.head.insert(CONTENT_LANGUAGE, tag);
        }
        if let Some(link) = &self.link {
            rendered.head.insert(LINK, link.clone());
        }
        rendered
    }

    /// Builds a document with the policy for its own inline parts.
    fn html(&self, body: String, language: &Language, heads: &Heads) -> Rendered {
        let policy = heads.policy(&Markup::of(&body), &self.config.framing);
        let mut rendered = self.readable(HTML, body, language);
        rendered.head.insert(CONTENT_SECURITY_POLICY, policy);
        rendered
    }

    /// Builds the page, which may be one that is served as it stands. Such a one has no language that is known.
    fn page(&self, body: String, language: &Language, heads: &Heads) -> Rendered {
        if self.finished.is_none() {
            return self.html(body, language, heads);
        }
        let policy = policy::of_finished(&Markup::of(&body), &self.config.framing);
        let mut rendered = self.readable(HTML, body, language);
        rendered.head.insert(CONTENT_SECURITY_POLICY, policy);
        rendered.head.remove(CONTENT_LANGUAGE);
        rendered
    }

    fn make_badge(&self, maintenance: bool) -> Stored {
        let svg = self.render("badge.svg", &self.badge_context(maintenance)).unwrap_or_default();
        let mut badge = Rendered::new(SVG, svg.into());
        badge.status = StatusCode::OK;
        Heads::default().store(badge)
    }
}

/// Removes blanks at the ends of lines, which come from columns.
fn trimmed(text: &str) -> String {
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const MARKDOWN: HeaderValue = HeaderValue::from_static("text/markdown; charset=utf-8");
const PROBLEM_XML: HeaderValue = HeaderValue::from_static("application/problem+xml; charset=utf-8");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const SOAP: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");
const SOAP_12: HeaderValue = HeaderValue::from_static("application/soap+xml; charset=utf-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");
