//! Context of the templates: the page's model in one language.

use jiff::Timestamp;
use minijinja::context;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::super::flags::Step;
use super::super::text::Text;
use super::brand::Brand;
use super::language::Language;
use super::model::{Counts, Eta, PageContent, ServiceRow, VersionedModel};

/// Part of the contexts that all pages have.
///
/// They are fields of one struct: the engine looks for each name in one list, and in vain for that of a function.
#[derive(Debug)]
pub(super) struct CommonContext {
    brand: Value,
    accent: Value,
    events: Value,
    status: Value,
}

impl CommonContext {
    pub(super) fn new(brand: &Brand, prefix: &str) -> Self {
        let [light, dark] = &brand.accent;
        Self {
            brand: Value::from(Serde(brand)),
            accent: context! { light, dark },
            events: format!("{prefix}/events").into(),
            status: format!("{prefix}/status").into(),
        }
    }
}

/// Context of one page. Every field is always present; an unknown one is none.
#[derive(Debug, Serialize)]
pub(super) struct TemplateContext<'f> {
    lang: &'f str,
    dir: &'static str,
    /// Name of the route. Set if a template shows it, as the next one.
    pub route: Option<&'f str>,
    /// Host of the route, if it has one alone.
    pub host: Option<&'f str>,
    version: String,
    pub title: String,
    pub summary: Option<&'f str>,
    /// Languages of the operator's texts where they differ from that of the page.
    foreign: Foreign<'f>,
    /// Paragraphs; at least one.
    pub message: Vec<String>,
    id: Option<&'f str>,
    label: Option<&'f str>,
    mode: &'static str,
    phase: &'static str,
    stage: &'static str,
    answer: &'static str,
    tone: &'static str,
    bare: bool,
    missed: Option<Instant>,
    retry_after: u64,
    started: Option<Instant>,
    starts: Option<Instant>,
    ends: Option<Instant>,
    until: Option<Instant>,
    now: Instant,
    regions: &'f [String],
    length: Option<Span>,
    elapsed: Option<Span>,
    left: Option<Span>,
    schedule: Option<&'static str>,
    counts: Option<Counts>,
    services: Vec<ServiceView<'f>>,
    steps: Vec<StepView<'f>>,
    step: Option<usize>,
    steps_done: usize,
    impact: Option<ImpactView<'f>>,
    r#type: &'static str,
    brand: &'f Value,
    accent: &'f Value,
    events: &'f Value,
    status: &'f Value,
}

#[derive(Debug, Serialize)]
struct Foreign<'f> {
    title: Option<&'f str>,
    summary: Option<&'f str>,
    message: Option<&'f str>,
    services: Option<&'f str>,
    steps: Option<&'f str>,
}

#[derive(Debug, Serialize)]
struct Instant {
    iso: String,
    clock: String,
    date: String,
    full: String,
}

#[derive(Debug, Serialize)]
struct Span {
    seconds: u64,
    words: String,
}

#[derive(Debug, Serialize)]
struct ServiceView<'f> {
    name: &'f str,
    detail: Option<&'f str>,
    status: &'static str,
    eta: Option<Instant>,
    eta_in: Option<Span>,
    overdue: bool,
    regions: &'f [String],
}

#[derive(Debug, Serialize)]
struct StepView<'f> {
    title: &'f str,
    detail: Option<&'f str>,
    state: &'static str,
    progress: Option<ProgressView<'f>>,
}

#[derive(Debug, Serialize)]
struct ProgressView<'f> {
    done: u64,
    total: u64,
    unit: Option<&'f str>,
    percent: u64,
}

#[derive(Debug, Serialize)]
struct ImpactView<'f> {
    level: &'f str,
    note: Option<&'f str>,
}

impl<'f> TemplateContext<'f> {
    /// `plain` is the language of texts that name none.
    pub(super) fn new(
        page: VersionedModel<'f>,
        language: &'f Language,
        plain: &'f str,
        common: &'f CommonContext,
    ) -> Self {
        let VersionedModel { model, route, host, version, now } = page;
        let content = &model.content;
        let tag = language.tag.as_str();
        let own = |text: &'f Option<Text>| text.as_ref().map(|text| text.in_language(tag));
        let instant = |instant: Timestamp| Instant::new(instant, language);
        let span = |seconds: u64| Span { seconds, words: language.span(seconds) };
        let steps = content.steps.iter();
        Self {
            lang: tag,
            dir: if language.right_to_left { "rtl" } else { "ltr" },
            route,
            host,
            version: format!("{version:016x}"),
            title: own(&content.title).map_or_else(|| super::default_title(content, language), str::to_owned),
            summary: own(&content.summary),
            foreign: Foreign::new(content, tag, plain),
            message: match own(&content.message) {
                Some(message) => paragraphs(message),
                None => vec![super::default_message(content, language)],
            },
            id: content.id.as_deref(),
            label: own(&content.label),
            mode: content.mode.as_str(),
            phase: content.phase.as_str(),
            stage: content.stage(),
            answer: model.answer().as_str(),
            tone: model.tone().as_str(),
            bare: model.is_bare(),
            missed: model.clock.missed.map(instant),
            retry_after: model.retry_after(),
            started: content.started.map(instant),
            starts: content.planned.map(|(starts, _)| instant(starts)),
            ends: content.planned.map(|(_, ends)| instant(ends)),
            until: content.until.map(instant),
            now: instant(whole_seconds(now)),
            regions: &content.regions,
            length: model.length().map(span),
            elapsed: model.clock.elapsed.map(span),
            left: model.clock.left.map(span),
            schedule: model.clock.schedule.map(super::model::Schedule::as_str),
            counts: model.counts(),
            services: content
                .services
                .iter()
                .zip(&model.clock.etas)
                .map(|(service, eta)| ServiceView::new(service, *eta, language))
                .collect(),
            steps: steps.clone().map(|step| StepView::new(step, tag)).collect(),
            step: model.current_step(),
            steps_done: steps.filter(|step| step.state == super::super::flags::StepState::Done).count(),
            impact: content
                .impact
                .as_ref()
                .map(|impact| ImpactView { level: impact.level.in_language(tag), note: own(&impact.note) }),
            r#type: super::programs::PROBLEM_TYPE,
            brand: &common.brand,
            accent: &common.accent,
            events: &common.events,
            status: &common.status,
        }
    }
}

impl<'f> Foreign<'f> {
    /// Compares the languages of texts with that of the page. A list has that of its first item.
    fn new(content: &'f PageContent, tag: &'f str, plain: &'f str) -> Self {
        let other = |text: &'f Text| Some(text.language_for(tag, plain)).filter(|own| !tag.starts_with(own));
        Self {
            title: content.title.as_ref().and_then(other),
            summary: content.summary.as_ref().and_then(other),
            message: content.message.as_ref().and_then(other),
            services: content.services.first().and_then(|service| other(&service.name)),
            steps: content.steps.first().and_then(|step| other(&step.title)),
        }
    }
}

impl Instant {
    fn new(instant: Timestamp, language: &Language) -> Self {
        Self {
            iso: instant.to_string(),
            clock: language.clock(instant),
            date: language.date(instant),
            full: language.date_time(instant),
        }
    }
}

impl<'f> ServiceView<'f> {
    fn new(service: &'f ServiceRow, eta: Option<Eta>, language: &'f Language) -> Self {
        Self {
            name: service.name.in_language(&language.tag),
            detail: service.detail.as_ref().map(|detail| detail.in_language(&language.tag)),
            status: service.status.as_str(),
            eta: service.eta.map(|eta| Instant::new(eta, language)),
            eta_in: match eta {
                Some(Eta::In(seconds)) => Some(Span { seconds, words: language.span(seconds) }),
                Some(Eta::Overdue) | None => None,
            },
            overdue: eta == Some(Eta::Overdue),
            regions: &service.regions,
        }
    }
}

impl<'f> StepView<'f> {
    fn new(step: &'f Step, tag: &str) -> Self {
        Self {
            title: step.title.in_language(tag),
            detail: step.detail.as_ref().map(|detail| detail.in_language(tag)),
            state: step.state.as_str(),
            progress: step.progress.as_ref().map(|progress| ProgressView {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.as_ref().map(|unit| unit.in_language(tag)),
                percent: u64::try_from(u128::from(progress.done) * 100 / u128::from(progress.total.max(1)))
                    .unwrap_or(100),
            }),
        }
    }
}

/// Splits a text into paragraphs at blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let whole = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    whole.map(str::to_owned).collect()
}

/// Drops fractions of a second, which nobody reads.
fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
