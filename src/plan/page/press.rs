//! The press: templates, languages and the operator's brand, checked, ready to print pages.
//!
//! What the operator brings is tried before it is taken: each template is rendered with the shortest story, with a whole
//! one and with the worst, in every language. One that fails is a [`Problem`] with its place. Should one fail in earnest all
//! the same, the built-in one takes its place: a page is never missing.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, LINK, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::super::accept::{self, Coding};
use super::super::color::Color;
use super::super::config::{LANGUAGES, Links, PageConfig};
use super::super::dialect::Dialect;
use super::super::flags::{Flags, Mode};
use super::super::problem::{Place, Problem, did_you_mean, quoted};
use super::language::{Language, Messages};
use super::markup::Markup;
use super::programs::{self, Spoken};
use super::view::View;
use super::{Edition, Facts, Print, Rendered, ServiceRow, Story, Want, filters, samples};

/// Ready to print.
pub struct Press {
    /// The default one first.
    pub(super) languages: Arc<[Language]>,
    /// By the index of the language.
    pub tags: Vec<String>,
    /// Tells two presses apart that print differently.
    pub fingerprint: u64,
    /// How it was configured.
    pub config: PageConfig,
    templates: Environment<'static>,
    /// What is taken where an own template fails. `None` if all are built in.
    fallback: Option<Environment<'static>>,
    brand: Brand,
    policy: HeaderValue,
    /// `Link: …; rel="status"`.
    link: Option<HeaderValue>,
    /// The badge of an open route, and of one under maintenance.
    badges: [Rendered; 2],
}

/// What the operator brings in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Those of [`TEMPLATES`] and message files (`messages/de.toml`) that are there.
    pub files: Vec<Source>,
    /// The logo.
    pub logo: Option<(String, Bytes)>,
}

/// One of the operator's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name below the directory: `page.html`.
    pub name: String,
    /// As problems name it.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Whose page it is, as templates see it.
#[derive(Debug, Serialize)]
struct Brand {
    name: Option<String>,
    logo: Option<String>,
    links: LinksView,
    channels: Vec<String>,
    #[serde(skip)]
    accent: [String; 2],
}

#[derive(Debug, Serialize)]
struct LinksView {
    home: Option<String>,
    status: Option<String>,
    feed: Option<String>,
    subscribe: Option<String>,
    help: Option<String>,
}

impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Press")
            .field("fingerprint", &self.fingerprint)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

impl Press {
    /// The press without anything of an operator's.
    ///
    /// # Panics
    /// Never: the built-in templates are tried by this crate's tests.
    pub fn built_in() -> Self {
        let (press, problems) = Self::new(&PageConfig::default(), &Sources::default(), "backsoon.toml");
        press.unwrap_or_else(|| panic!("the built-in templates are whole: {problems:?}"))
    }

    /// Checks and tries everything. `config_file` is the name that problems give to the config.
    ///
    /// Every problem is collected. There is a press if none of them is an error.
    pub fn new(config: &PageConfig, sources: &Sources, config_file: &str) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let languages = languages(config, sources, config_file, &mut problems);
        let logo = sources.logo.as_ref().and_then(|(path, bytes)| data_url(path, bytes, &mut problems));
        let brand = Brand::new(config, logo);
        let own: Vec<&Source> = sources.files.iter().filter(|source| !source.name.starts_with(MESSAGES)).collect();
        let languages: Arc<[Language]> = languages.into();
        let templates = environment(&languages, &own, &mut problems);
        if problems.iter().any(Problem::is_error) || languages.is_empty() {
            return (None, problems);
        }
        let mut press = Self {
            tags: languages.iter().map(|language| language.tag.clone()).collect(),
            fallback: (!own.is_empty()).then(|| environment(&languages, &[], &mut Vec::new())),
            fingerprint: fingerprint(config, sources),
            config: config.clone(),
            languages,
            templates,
            brand,
            policy: HeaderValue::from_static("default-src 'none'"),
            link: config.links.status.as_ref().and_then(|url| format!("<{url}>; rel=\"status\"").parse().ok()),
            badges: [false, true].map(|_| Rendered::new(SVG, Bytes::new())),
        };
        press.badges = [false, true].map(|maintenance| press.make_badge(maintenance));
        if own.is_empty() {
            press.allow_own_parts();
        } else {
            press.try_out(&own, &mut problems);
        }
        let whole = !problems.iter().any(Problem::is_error);
        (whole.then_some(press), problems)
    }

    /// Which of a page's answers a request is to be given. `fixed` is the form that the route's operator wants, where the
    /// client's `Accept` would choose.
    pub fn want(&self, fixed: Option<Dialect>, method: &Method, query: Option<&str>, headers: &HeaderMap) -> Want {
        let mut dialect = Dialect::choose(method, query, headers);
        if let Some(fixed) = fixed
            && dialect.is_negotiated()
        {
            dialect = fixed;
        }
        if dialect == Dialect::Events && !self.config.event_stream {
            dialect = Dialect::Problem;
        }
        let fields = |name: HeaderName| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let (language, coding) = match dialect.is_for_reading() {
            true => {
                let language = accept::language(fields(ACCEPT_LANGUAGE), &self.tags);
                (language.unwrap_or(0), accept::coding(fields(ACCEPT_ENCODING)))
            }
            false => (0, Coding::Identity),
        };
        Want { dialect, language, coding }
    }

    /// The badge of a route.
    pub fn badge(&self, maintenance: bool) -> &Rendered {
        &self.badges[usize::from(maintenance)]
    }

    /// A page in one language. What is the same in every language comes from `first`, if there is one.
    pub(super) fn edition(
        &self,
        facts: &Facts,
        version: u64,
        now: Timestamp,
        language: &Language,
        first: Option<&Edition>,
    ) -> Edition {
        let view = View::new(facts, version, now, language);
        let title = view.title.clone();
        let detail = view.message.join("\n\n");
        let words = Spoken { tag: &language.tag, title: &title, detail: &detail };
        let context = self.context(view);
        let template = |name| self.render(name, &context).unwrap_or_else(|| format!("{title}\n\n{detail}\n"));
        let is_default = self.languages.first().is_some_and(|first| first.tag == language.tag);
        let shared =
            |dialect: Dialect| first.filter(|_| !is_default).map(|first| Arc::clone(&first.prints[dialect as usize]));
        let finished =
            |dialect: Dialect| first.filter(|_| is_default).map(|first| Arc::clone(&first.prints[dialect as usize]));
        let print = |dialect: Dialect| {
            if let Some(print) = finished(dialect) {
                return print;
            }
            let rendered = match dialect {
                Dialect::Html => match self.render("page.html", &context) {
                    Some(html) => self.html(html, language),
                    None => self.spoken(TEXT, format!("{title}\n\n{detail}\n"), language),
                },
                Dialect::Text => self.spoken(TEXT, template("page.txt"), language),
                Dialect::Markdown => self.spoken(MARKDOWN, template("page.md"), language),
                Dialect::Xml => self.spoken(PROBLEM_XML, template("page.xml"), language),
                Dialect::Problem => self.spoken(PROBLEM_JSON, programs::problem(facts, version, words), language),
                Dialect::Json => self.spoken(JSON, programs::problem(facts, version, words), language),
                Dialect::Short => self.spoken(TEXT, short(facts, language), language),
                Dialect::Grpc
                | Dialect::GrpcWeb
                | Dialect::GrpcWebText
                | Dialect::Connect
                | Dialect::ConnectStreamJson
                | Dialect::ConnectStreamProto
                | Dialect::Events
                | Dialect::Preflight => match shared(dialect) {
                    Some(print) => return print,
                    None => called(dialect, facts, version, words),
                },
            };
            Arc::new(Print { plain: rendered, gzip: None, brotli: None })
        };
        // A problem document is the same with either name.
        Edition { prints: Dialect::ALL.map(print).into() }
    }

    /// An edition with its compressed forms.
    #[allow(clippy::unused_self, reason = "compressing is the press's work")]
    pub(super) fn compressed(&self, edition: Edition) -> Edition {
        let compress = |print: Arc<Print>| {
            let size = print.plain.body.len();
            if size < LEAST_COMPRESSED || !is_text(&print.plain) {
                return print;
            }
            let coded = |coding: &'static str, body: Vec<u8>| {
                (body.len() < size).then(|| print.plain.coded(HeaderValue::from_static(coding), body.into()))
            };
            let gzip = coded("gzip", gzip(&print.plain.body));
            let brotli = coded("br", brotli(&print.plain.body));
            Arc::new(Print { plain: print.plain.clone(), gzip, brotli })
        };
        Edition { prints: edition.prints.into_iter().map(compress).collect() }
    }

    fn context(&self, view: View<'_>) -> Value {
        let prefix = self.config.prefix.as_str();
        let [light, dark] = &self.brand.accent;
        let page = Value::from(Serde(view));
        let shared = context! {
            brand => Serde(&self.brand),
            accent => context! { light, dark },
            events => format!("{prefix}/events"),
            status => format!("{prefix}/status"),
        };
        context! { ..page, ..shared }
    }

    /// A template's text, from the built-in template if the own one fails; `None` if that fails, too.
    fn render(&self, name: &str, context: &Value) -> Option<String> {
        let own = render(&self.templates, name, context).ok();
        own.or_else(|| render(self.fallback.as_ref()?, name, context).ok())
    }

    /// An answer that people may read.
    fn spoken(&self, content_type: HeaderValue, body: String, language: &Language) -> Rendered {
        let mut rendered = Rendered::new(content_type, body.into());
        if let Ok(tag) = HeaderValue::from_str(&language.tag) {
            rendered.head.insert(CONTENT_LANGUAGE, tag);
        }
        if let Some(link) = &self.link {
            rendered.head.insert(LINK, link.clone());
        }
        rendered
    }

    fn html(&self, body: String, language: &Language) -> Rendered {
        let mut rendered = self.spoken(HTML, body, language);
        rendered.head.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        rendered
    }

    fn make_badge(&self, maintenance: bool) -> Rendered {
        let context = context! { lang => self.tags[0].as_str(), maintenance };
        let svg = self.render("badge.svg", &context).unwrap_or_default();
        let mut badge = Rendered::new(SVG, svg.into());
        badge.status = StatusCode::OK;
        badge
    }

    /// Names in the policy what the built-in page has inline.
    fn allow_own_parts(&mut self) {
        let now = Timestamp::UNIX_EPOCH;
        let context =
            self.context(View::new(&sample(&samples::bare(), Mode::Offline, now), 0, now, &self.languages[0]));
        let html = self.render("page.html", &context).unwrap_or_default();
        self.policy = policy(&Markup::of(&html));
    }

    /// Renders everything with the operator's own templates, and looks at what comes out.
    fn try_out(&mut self, own: &[&Source], problems: &mut Vec<Problem>) {
        let now = Timestamp::UNIX_EPOCH;
        let mut parts: Option<Markup> = None;
        let mut found: BTreeMap<(String, usize), Problem> = BTreeMap::new();
        for (flags, mode) in [
            (samples::bare(), Mode::Offline),
            (samples::bare(), Mode::ReadOnly),
            (samples::brief(now), Mode::Hold),
            (samples::full(now), Mode::Offline),
            (samples::worst(now), Mode::Offline),
        ] {
            let facts = sample(&flags, mode, now);
            for language in self.languages.iter() {
                let context = self.context(View::new(&facts, 0, now, language));
                for name in ["page.html", "page.txt", "page.md", "page.xml"] {
                    match render(&self.templates, name, &context) {
                        Err(error) => {
                            let problem = failed(&error, own);
                            let line = problem.place.as_ref().map_or(0, |place| place.line);
                            found.entry((problem.file.clone(), line)).or_insert(problem);
                        }
                        Ok(html) if name == "page.html" => {
                            let markup = Markup::of(&html);
                            let path = page_of(own);
                            found.extend(remarks(&markup, &path));
                            match &parts {
                                None => parts = Some(markup),
                                Some(parts) if same_parts(parts, &markup) => {}
                                Some(_) => drop(found.entry((path.clone(), 0)).or_insert_with(|| changing(&path))),
                            }
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
        for maintenance in [false, true] {
            let context = context! { lang => self.tags[0].as_str(), maintenance };
            if let Err(error) = render(&self.templates, "badge.svg", &context) {
                let problem = failed(&error, own);
                found.entry((problem.file.clone(), 0)).or_insert(problem);
            }
        }
        problems.extend(found.into_values());
        self.policy = policy(&parts.unwrap_or_default());
    }
}

impl Brand {
    fn new(config: &PageConfig, logo: Option<String>) -> Self {
        let Links { home, status, feed, subscribe, help, channels } = config.links.clone();
        Self {
            name: config.brand.clone(),
            logo,
            links: LinksView { home, status, feed, subscribe, help },
            channels,
            accent: Color::GROUNDS.map(|ground| config.accent.readable_on(ground).to_string()),
        }
    }
}

impl Rendered {
    /// An answer of our own: it is for this client, and for now.
    pub fn new(content_type: HeaderValue, body: Bytes) -> Self {
        let mut head = HeaderMap::with_capacity(USUAL_FIELDS);
        head.insert(CONTENT_TYPE, content_type);
        head.insert(CONTENT_LENGTH, body.len().into());
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        head.insert(VARY, HeaderValue::from_static("accept, accept-encoding, accept-language, origin"));
        head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self { status: StatusCode::SERVICE_UNAVAILABLE, head, body }
    }

    fn coded(&self, coding: HeaderValue, body: Bytes) -> Self {
        let mut head = self.head.clone();
        head.insert(CONTENT_ENCODING, coding);
        head.insert(CONTENT_LENGTH, body.len().into());
        Self { status: self.status, head, body }
    }
}

/// What a sample tells.
pub(super) fn sample(flags: &Flags, mode: Mode, now: Timestamp) -> Facts {
    let window = flags
        .windows
        .first()
        .map(|window| Story::of_window(window, mode, Some(window.ends), |service| ServiceRow::new(service, None)));
    let flag = || flags.routes.first().map(|flag| Story { mode, ..Story::of_flag(flag, flag.until) });
    Facts::new(window.or_else(flag).expect("a sample flags something"), now)
}

/// The answer to a remote call, or to whatever else has a form of its own.
fn called(dialect: Dialect, facts: &Facts, version: u64, words: Spoken<'_>) -> Rendered {
    let message = programs::message(facts, words);
    let after = facts.retry_after();
    let with = |status, content_type: &'static str, body: Vec<u8>| {
        let rendered = Rendered::new(HeaderValue::from_static(content_type), body.into());
        Rendered { status, ..rendered }
    };
    match dialect {
        Dialect::Grpc => {
            let mut rendered = with(StatusCode::OK, "application/grpc", Vec::new());
            rendered.head.remove(CONTENT_LENGTH);
            rendered.head.insert(GRPC_STATUS, programs::UNAVAILABLE.into());
            for (name, value) in [
                (GRPC_MESSAGE, programs::percent_encoded(&message)),
                (GRPC_STATUS_DETAILS, programs::status_details(&message, after)),
            ] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    rendered.head.insert(name, value);
                }
            }
            rendered
        }
        Dialect::GrpcWeb => with(StatusCode::OK, "application/grpc-web+proto", programs::web_trailers(&message, after)),
        Dialect::GrpcWebText => {
            with(StatusCode::OK, "application/grpc-web-text+proto", programs::web_trailers_text(&message, after))
        }
        Dialect::ConnectStreamJson => {
            with(StatusCode::OK, "application/connect+json", programs::connect_end(&message, after))
        }
        Dialect::ConnectStreamProto => {
            with(StatusCode::OK, "application/connect+proto", programs::connect_end(&message, after))
        }
        Dialect::Events => {
            with(StatusCode::OK, "text/event-stream", programs::events(facts, version, words).into_bytes())
        }
        Dialect::Preflight => {
            let mut rendered = with(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", Vec::new());
            rendered.head.remove(CONTENT_TYPE);
            rendered.head.remove(CONTENT_LENGTH);
            rendered
        }
        Dialect::Connect
        | Dialect::Html
        | Dialect::Text
        | Dialect::Markdown
        | Dialect::Problem
        | Dialect::Json
        | Dialect::Xml
        | Dialect::Short => {
            let json = programs::connect(&message, after).into_bytes();
            with(StatusCode::SERVICE_UNAVAILABLE, "application/json", json)
        }
    }
}

/// One line for what no person reads.
fn short(facts: &Facts, language: &Language) -> String {
    let line = match facts.story.until {
        Some(until) => language.own("short", &[("full", language.date_time(until))]),
        None => language.own("short-open-ended", &[]),
    };
    line + "\n"
}

/// The languages that are offered, of the built-in messages and the operator's.
fn languages(config: &PageConfig, sources: &Sources, config_file: &str, problems: &mut Vec<Problem>) -> Vec<Language> {
    let built_in: Vec<(&str, Messages)> =
        MESSAGE_FILES.iter().filter_map(|(tag, text)| Some((*tag, Messages::parse(tag, text, None).0?))).collect();
    let Some((_, english)) = built_in.first() else { return Vec::new() };
    let mut languages = Vec::new();
    for tag in &config.languages {
        let own = sources.files.iter().find(|source| source.name == format!("{MESSAGES}{tag}.toml"));
        let below = built_in.iter().find(|(known, _)| known == tag).map(|(_, messages)| messages);
        let messages = match (own, below) {
            (None, None) => {
                let known = LANGUAGES.map(quoted).join(", ");
                let message = format!("the language {} has no messages", quoted(tag));
                let help = format!("the built-in ones are {known}; for another, write {MESSAGES}{tag}.toml in `pages`");
                problems.push(Problem::error(config_file, message).help(help));
                continue;
            }
            (None, Some(below)) => below.clone(),
            (Some(own), below) => {
                let (messages, found) = Messages::parse(&own.path, &own.text, Some(english));
                problems.extend(found);
                let Some(messages) = messages else { continue };
                let missing = messages.missing(english);
                if below.is_none() && !missing.is_empty() {
                    let some: Vec<String> = missing.iter().take(8).map(|key| quoted(key)).collect();
                    let message = format!("{} of the messages are missing: {}", missing.len(), some.join(", "));
                    problems.push(Problem::warning(&own.path, message).help("they are shown in English"));
                }
                messages.over(below.unwrap_or(english))
            }
        };
        match Language::new(tag, messages) {
            Ok(language) => languages.push(language),
            Err(why) => {
                let file = own.map_or(config_file, |own| own.path.as_str());
                problems.push(Problem::error(file, why));
            }
        }
    }
    languages
}

/// The templates, the operator's before the built-in ones, bounded in what they may do.
fn environment(languages: &Arc<[Language]>, own: &[&Source], problems: &mut Vec<Problem>) -> Environment<'static> {
    let mut environment = Environment::new();
    // So that an error knows its place.
    environment.set_debug(true);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_syntax(syntax());
    // By name, and what is not known is escaped: the engine's default is the other way round.
    environment.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("txt" | "md" | "css" | "js") => AutoEscape::None,
        _ => AutoEscape::Html,
    });
    let spoken = Arc::clone(languages);
    environment.add_function("t", move |state: &State<'_, '_>, key: &str, arguments: Kwargs| {
        translate(language_of(state, &spoken)?, key, &arguments)
    });
    let spoken = Arc::clone(languages);
    environment.add_function("number", move |state: &State<'_, '_>, number: u64| -> Result<String, Error> {
        Ok(language_of(state, &spoken)?.number(number))
    });
    let spoken = Arc::clone(languages);
    environment.add_function("list", move |state: &State<'_, '_>, items: Vec<String>| -> Result<String, Error> {
        Ok(language_of(state, &spoken)?.list(&items))
    });
    environment
        .add_filter("wrap", |text: &str, width: usize, indent: Option<usize>| filters::wrap(text, width, indent));
    environment.add_filter("pad", |text: &str, width: usize| filters::pad(text, width));
    environment.add_filter("rule", |text: &str, character: &str| filters::rule(text, character));
    for (name, built_in) in TEMPLATES {
        let source = own.iter().find(|source| source.name == name);
        let text = source.map_or_else(|| built_in.to_owned(), |source| source.text.clone());
        if let Err(error) = environment.add_template_owned(name, text) {
            problems.push(failed(&error, own));
        }
    }
    for source in own.iter().filter(|source| !TEMPLATES.iter().any(|(name, _)| *name == source.name)) {
        let near = did_you_mean(&source.name, TEMPLATES.iter().map(|(name, _)| *name));
        let help =
            near.map_or_else(|| "no page includes it".to_owned(), |near| format!("did you mean {}?", quoted(near)));
        problems.push(
            Problem::warning(&source.path, format!("{} is not the name of a template", quoted(&source.name)))
                .help(help),
        );
    }
    environment
}

/// Lines that hold nothing but a tag leave nothing behind.
fn syntax() -> minijinja::syntax::SyntaxConfig {
    minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default()
}

fn language_of<'l>(state: &State<'_, '_>, languages: &'l [Language]) -> Result<&'l Language, Error> {
    let tag = state.lookup("lang");
    let tag = tag.as_ref().and_then(Value::as_str);
    let language = tag.and_then(|tag| languages.iter().find(|language| language.tag == tag)).or(languages.first());
    language.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "there is no language"))
}

fn translate(language: &Language, key: &str, arguments: &Kwargs) -> Result<String, Error> {
    let mut n = None;
    let mut given = Vec::new();
    for name in arguments.args() {
        let value: Value = arguments.get(name)?;
        let number = u64::try_from(value.clone()).ok().filter(|_| value.is_number());
        if name == "n" {
            n = number;
        }
        given.push((name, number.map_or_else(|| value.to_string(), |number| language.number(number))));
    }
    let unknown = || Error::new(ErrorKind::InvalidOperation, format!("there is no message {}", quoted(key)));
    language.message(key, n, &given).ok_or_else(unknown)
}

fn render(environment: &Environment<'_>, name: &str, context: &Value) -> Result<String, Error> {
    let rendered = environment.get_template(name)?.render(context)?;
    // The engine drops a template's last line end.
    Ok(rendered + "\n")
}

/// A template's failure, at the place in the operator's file that it comes from.
fn failed(error: &Error, own: &[&Source]) -> Problem {
    // The innermost error knows the template that an `include` led to.
    let mut inner = error;
    while let Some(next) = inner.source().and_then(|source| source.downcast_ref::<Error>()) {
        inner = next;
    }
    let name = inner.name().unwrap_or("page.html");
    let source = own.iter().find(|source| source.name == name);
    let message =
        inner.detail().map_or_else(|| inner.kind().to_string(), |detail| format!("{}: {detail}", inner.kind()));
    let Some(source) = source.or(own.first()) else { return Problem::error(name, message) };
    let problem = match inner.range().filter(|_| source.name == name) {
        Some(range) => Problem::error(&source.path, message).at(Place::of(&source.text, range)),
        None => Problem::error(&source.path, format!("{message} (in {name})")),
    };
    problem.help(help_for(inner))
}

fn help_for(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::UndefinedError => {
            "the fields are listed in pages/README.md; what is not known is none, and has no fields: ask first, `{% if impact %}`"
        }
        ErrorKind::OutOfFuel => "the template does too much: it must be done with a hundred services and forty steps",
        ErrorKind::TemplateNotFound => "a template can include those of pages/README.md and no other",
        ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest => {
            "the functions and filters that there are stand in pages/README.md"
        }
        _ => "the built-in template of this name shows how it is written",
    }
}

fn page_of(own: &[&Source]) -> String {
    let page = own.iter().find(|source| source.name == "page.html").or(own.first());
    page.map_or_else(String::new, |source| source.path.clone())
}

/// What of a document would not work, as warnings.
fn remarks(markup: &Markup, path: &str) -> Vec<((String, usize), Problem)> {
    let help = "a page under maintenance cannot fetch anything: inline it, as a data: URL if it is a picture";
    let remark = |(index, refused): (usize, &String)| {
        ((path.to_owned(), 1_000_000 + index), Problem::warning(path, refused.clone()).help(help))
    };
    markup.refused.iter().take(MOST_REMARKS).enumerate().map(remark).collect()
}

fn changing(path: &str) -> Problem {
    Problem::error(path, "the inline style or script is not the same on every page")
        .help("the policy names each by its hash: move what changes into attributes (data-…) or into the text")
}

fn same_parts(one: &Markup, other: &Markup) -> bool {
    one.styles == other.styles && one.scripts == other.scripts
}

/// Nothing but what is inline, by its hash, and the page's own events.
fn policy(markup: &Markup) -> HeaderValue {
    let hashes = |parts: &[String]| match parts {
        [] => "'none'".to_owned(),
        parts => {
            let mut hashes: Vec<String> = parts
                .iter()
                .map(|part| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(part.as_bytes()))))
                .collect();
            hashes.dedup();
            hashes.join(" ")
        }
    };
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; connect-src 'self'; form-action 'self'; base-uri \
         'none'; frame-ancestors 'none'",
        hashes(&markup.styles),
        hashes(&markup.scripts)
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// A picture as part of the page.
fn data_url(path: &str, bytes: &Bytes, problems: &mut Vec<Problem>) -> Option<String> {
    let extension = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let Some((_, kind)) = PICTURES.iter().find(|(known, _)| *known == extension) else {
        let help = "a logo is an svg, png, jpg, webp, avif or gif file";
        problems.push(Problem::error(path, "the logo is no picture that browsers show").help(help));
        return None;
    };
    if bytes.len() > LARGEST_LOGO {
        let message = format!("the logo has {} bytes, and at most {LARGEST_LOGO} are allowed", bytes.len());
        problems.push(Problem::error(path, message).help("it is a part of every page: make it smaller"));
        return None;
    }
    if bytes.len() > LARGE_LOGO {
        let message = format!("the logo has {} bytes, which is more than the page itself", bytes.len());
        problems.push(Problem::warning(path, message).help("it is a part of every page: a small SVG is best"));
    }
    Some(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}

fn fingerprint(config: &PageConfig, sources: &Sources) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{config:?}").hash(&mut hasher);
    for source in &sources.files {
        (&source.name, &source.text).hash(&mut hasher);
    }
    sources.logo.hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    hasher.finish()
}

fn is_text(rendered: &Rendered) -> bool {
    let content_type = rendered.head.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let calls = [&b"application/grpc"[..], b"application/connect", b"text/event-stream"];
    !calls.iter().any(|call| content_type.starts_with(call))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), flate2::Compression::best());
    // Writing to memory does not fail; an empty answer would not be smaller, and is not taken.
    match encoder.write_all(bytes) {
        Ok(()) => encoder.finish().unwrap_or_else(|_| bytes.to_vec()),
        Err(_) => bytes.to_vec(),
    }
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(bytes.len() / 2);
    let parameters = ::brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: 18,
        mode: ::brotli::enc::backward_references::BrotliEncoderMode::BROTLI_MODE_TEXT,
        size_hint: bytes.len(),
        ..Default::default()
    };
    match ::brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters) {
        Ok(_) => compressed,
        Err(_) => bytes.to_vec(),
    }
}

/// Every template, by the name under which an operator replaces it.
pub const TEMPLATES: [(&str, &str); 12] = [
    ("page.html", include_str!("../../../pages/page.html")),
    ("style.css", include_str!("../../../pages/style.css")),
    ("script.js", include_str!("../../../pages/script.js")),
    ("facts.html", include_str!("../../../pages/facts.html")),
    ("figures.html", include_str!("../../../pages/figures.html")),
    ("services.html", include_str!("../../../pages/services.html")),
    ("timeline.html", include_str!("../../../pages/timeline.html")),
    ("actions.html", include_str!("../../../pages/actions.html")),
    ("page.txt", include_str!("../../../pages/page.txt")),
    ("page.md", include_str!("../../../pages/page.md")),
    ("page.xml", include_str!("../../../pages/page.xml")),
    ("badge.svg", include_str!("../../../pages/badge.svg")),
];

/// The folder of the message files, below that of the templates.
pub const MESSAGES: &str = "messages/";

/// By the language's tag, in the order of [`LANGUAGES`].
const MESSAGE_FILES: [(&str, &str); 6] = [
    ("en", include_str!("../../../pages/messages/en.toml")),
    ("de", include_str!("../../../pages/messages/de.toml")),
    ("fr", include_str!("../../../pages/messages/fr.toml")),
    ("es", include_str!("../../../pages/messages/es.toml")),
    ("ja", include_str!("../../../pages/messages/ja.toml")),
    ("ar", include_str!("../../../pages/messages/ar.toml")),
];

/// The pictures that browsers show, by extension.
const PICTURES: [(&str, &str); 7] = [
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("gif", "image/gif"),
];

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const MARKDOWN: HeaderValue = HeaderValue::from_static("text/markdown; charset=utf-8");
const PROBLEM_XML: HeaderValue = HeaderValue::from_static("application/problem+xml; charset=utf-8");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Room for the fields of an answer, those that each request adds among them.
const USUAL_FIELDS: usize = 16;
/// Steps that a template may take: the built-in page needs a tenth of it for the worst story.
const TEMPLATE_FUEL: u64 = 1_000_000;
/// Bytes below which compressing saves nothing that matters.
const LEAST_COMPRESSED: usize = 512;
/// Bytes of a logo; a page should stay below 14 kB.
const LARGEST_LOGO: usize = 64 * 1024;
const LARGE_LOGO: usize = 6 * 1024;
/// Remarks upon one document.
const MOST_REMARKS: usize = 8;
/// Of 11.
const BROTLI_QUALITY: i32 = 9;
