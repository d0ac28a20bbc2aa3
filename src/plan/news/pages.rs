//! Pages of the status site, rendered ahead in every language.
//!
//! Links are relative, since the site may be at a host of its own, below a prefix, or below the reserved prefix. Times
//! are absolute, so that a page stays true until the news change.

use std::sync::Arc;

use http::HeaderValue;
use http::header::{CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::super::page::{Renderer, SITE_HTML, SITE_MARKDOWN, SITE_TEXT};
use super::days::{Day, Days};
use super::document::{Document, Marked, Share, Tags};
use super::fair::Fair;
use super::finished::{About, MadePages};
use super::forms::view::NoteView;
use super::forms::view::{ChoiceTags, FormView};
use super::forms::{Choices, Way};
use super::mark::Mark;
use super::{Incident, LocalizedSitePage, News, Service, ServiceStatus, SitePage, Stage, Update, Words};

/// Renders all pages, each with its path below the site.
///
/// Pages of incidents that have not changed are taken over from before.
pub(super) fn all(news: &News<'_>, renderer: &Renderer, before: &MadePages) -> MadePages {
    let languages: Vec<Words<'_>> = Words::all(renderer).collect();
    let choices = Choices::new(news, renderer);
    let marks = Marks::new(news, &choices);
    let about = |(incident, mark): (&Incident, &Marked)| {
        let path = format!("/incidents/{}", incident.key);
        let is_same = |page: &&Arc<SitePage>| page.about.as_ref().is_some_and(|about| about.incident == *incident);
        let kept = before.get(&path).filter(is_same).cloned();
        let make = || {
            let words = languages.iter().map(|words| Arc::new(RowWords::new(*words, incident))).collect();
            let about = Some(About { incident: incident.clone(), tags: Arc::clone(&mark.tags), words });
            let desks = languages.iter().map(|words| Desk { news, words: *words, marks: &marks, rows: Vec::new() });
            let languages = desks.map(|desk| localized(&desk, renderer, &about_incident(&desk, incident))).collect();
            Arc::new(SitePage { about, languages })
        };
        (path, kept.unwrap_or_else(make))
    };
    let incidents: Vec<(String, Arc<SitePage>)> = news.incidents.iter().zip(&marks.all).map(about).collect();
    let rows = |language: usize| {
        let abouts = incidents.iter().filter_map(|(_, page)| page.about.as_ref());
        abouts.filter_map(|about| about.words.get(language)).map(Arc::clone).collect()
    };
    let desks = languages.iter().enumerate();
    let desks: Vec<Desk<'_>> =
        desks.map(|(place, words)| Desk { news, words: *words, marks: &marks, rows: rows(place) }).collect();
    let page = |path: &str, view: &dyn Fn(&Desk<'_>) -> View| {
        let languages = desks.iter().map(|desk| localized(desk, renderer, &view(desk))).collect();
        (path.to_owned(), Arc::new(SitePage { about: None, languages }))
    };
    let fixed = [
        page("/", &front),
        page("/history", &history),
        page("/subscribe", &|desk| subscribe(desk, &choices, renderer)),
    ];
    fixed.into_iter().chain(incidents).collect()
}

/// News in one language, with the marks of their items.
struct Desk<'d> {
    news: &'d News<'d>,
    words: Words<'d>,
    marks: &'d Marks,
    /// Words of the incidents for lists, in the order of the news.
    rows: Vec<Arc<RowWords>>,
}

/// Marks of incidents, of the same ones as those of the past on the front page, of services, and of what stands in the
/// place of an empty list. By them a filter leaves items out.
struct Marks {
    all: Vec<Marked>,
    incidents: usize,
    voids: Voids,
    choices: ChoiceTags,
    days: Days,
    /// Marks of the heading of the first day; those of the others follow, and then those of the words for a quiet day.
    first_day: usize,
}

/// Marks around the words that stand in the place of an empty list. A list is empty if a filter leaves nothing of it.
#[derive(Clone, Serialize)]
struct Voids {
    active: Mark,
    coming: Mark,
    past: Mark,
}

impl Marks {
    fn new(news: &News<'_>, choices: &Choices) -> Self {
        let tags: Vec<Arc<Tags>> = news.incidents.iter().map(|incident| news.tags(incident)).collect();
        let void = |wanted: &dyn Fn(Stage) -> bool| {
            let incidents = news.incidents.iter().zip(&tags);
            let listed = incidents.filter(|(incident, _)| wanted(incident.facts.stage));
            let instead_of = listed.map(|(_, tags)| Arc::clone(tags)).collect();
            Arc::new(Tags { always: true, instead_of, ..Tags::default() })
        };
        let voids = [void(&Stage::is_active), void(&|stage| stage == Stage::Scheduled), void(&Stage::is_final)];
        let days = Days::new(news, &tags);
        let free = |tags| Marked { tags, share: None };
        let mut all: Vec<Marked> = tags.iter().map(|tags| free(Arc::clone(tags))).collect();
        all.extend(tags.into_iter().map(|tags| Marked { tags, share: Some(PAST) }));
        all.extend(news.services.iter().map(|service| free(service.tags())));
        let [active, coming, past] = [0, 1, 2].map(|place| Mark::new(all.len() + place));
        all.extend(voids.map(free));
        let choices = ChoiceTags::add(&mut all, choices);
        let first_day = all.len();
        all.extend(days.days.iter().map(|day| free(Arc::clone(&day.head))));
        all.extend(days.days.iter().map(|day| free(Arc::clone(&day.void))));
        let voids = Voids { active, coming, past };
        Self { choices, all, incidents: news.incidents.len(), voids, days, first_day }
    }

    fn past(&self, index: usize) -> Mark {
        Mark::new(self.incidents + index)
    }

    /// Returns the marks around the heading of a day, and around the words for a day without incidents.
    fn day(&self, index: usize) -> (Mark, Mark) {
        let head = self.first_day + index;
        (Mark::new(head), Mark::new(head + self.days.days.len()))
    }

    fn service(&self, index: usize) -> Mark {
        Mark::new(2 * self.incidents + index)
    }
}

/// Content of a page. Templates choose by `view`.
#[derive(Serialize)]
pub(super) struct View {
    view: &'static str,
    title: String,
    /// Way from the page to the front page.
    root: &'static str,
    links: Vec<LinkView>,
    /// Since when incidents are known.
    known: String,
    services: Vec<ServiceView>,
    active: Vec<Row>,
    coming: Vec<Row>,
    past: Vec<Row>,
    /// Days of the history, newest first.
    days: Vec<DayView>,
    /// Marks around the words for an empty list of the front page.
    voids: Option<Voids>,
    incident: Option<IncidentView>,
    forms: Vec<FormView>,
    note: Option<NoteView>,
}

/// Day of the history.
#[derive(Serialize)]
struct DayView {
    iso: String,
    words: String,
    rows: Vec<Row>,
    /// Marks around the heading.
    head: Mark,
    /// Marks around what stands there if there were no incidents: a heading of its own, and the words.
    void: Mark,
}

#[derive(Serialize)]
struct LinkView {
    href: &'static str,
    words: String,
    current: bool,
}

#[derive(Serialize)]
struct ServiceView {
    mark: Mark,
    name: String,
    detail: Option<String>,
    class: &'static str,
    status: String,
    regions: String,
}

/// Incident in a list.
#[derive(Serialize)]
struct Row {
    mark: Mark,
    #[serde(flatten)]
    words: SharedWords,
}

/// Words for an incident in a list, made once in each language for as long as the incident does not change.
#[derive(Debug, Serialize)]
pub(super) struct RowWords {
    href: String,
    title: String,
    stage: String,
    span: String,
    length: Option<String>,
    latest: Vec<String>,
    iso: String,
    at: String,
}

struct SharedWords(Arc<RowWords>);

impl Serialize for SharedWords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Serialize)]
struct IncidentView {
    stage: String,
    reference: Option<String>,
    summary: Option<String>,
    facts: Vec<FactView>,
    updates: Vec<UpdateView>,
}

#[derive(Serialize)]
struct FactView {
    name: String,
    words: String,
    iso: Option<String>,
}

#[derive(Serialize)]
struct UpdateView {
    stage: String,
    at: String,
    iso: String,
    paragraphs: Vec<String>,
}

fn localized(desk: &Desk<'_>, renderer: &Renderer, view: &View) -> LocalizedSitePage {
    let Desk { news, words, marks, .. } = desk;
    let document = |template: &str, content_type: &'static str| {
        let (body, policy) = renderer.site_page(template, (words.tag(), &news.title), view);
        let mut document = Document::marked(content_type, news.changed, &body, &marks.all);
        if let Ok(tag) = HeaderValue::from_str(words.tag()) {
            document.fields.insert(CONTENT_LANGUAGE, tag);
        }
        if let Some(policy) = policy {
            document.fields.insert(CONTENT_SECURITY_POLICY, policy);
        }
        document
    };
    LocalizedSitePage {
        html: document(SITE_HTML, "text/html; charset=utf-8"),
        text: document(SITE_TEXT, "text/plain; charset=utf-8"),
        markdown: document(SITE_MARKDOWN, "text/markdown; charset=utf-8"),
    }
}

impl View {
    /// Creates a page with nothing but its links.
    pub(super) fn new(view: &'static str, title: String, words: Words<'_>) -> Self {
        let root = if matches!(view, "incident" | "note" | "manage") { "../" } else { "" };
        let link = |href, key: &str, own: &str| LinkView { href, words: words.own(key), current: view == own };
        let links = match root {
            "../" => [
                ("../", "site-all", "front"),
                ("../history", "site-history", "history"),
                ("../subscribe", "subscribe", "subscribe"),
            ],
            _ => [
                ("./", "site-all", "front"),
                ("history", "site-history", "history"),
                ("subscribe", "subscribe", "subscribe"),
            ],
        };
        Self {
            view,
            title,
            root,
            links: links.map(|(href, key, own)| link(href, key, own)).into(),
            known: String::new(),
            services: Vec::new(),
            active: Vec::new(),
            coming: Vec::new(),
            past: Vec::new(),
            days: Vec::new(),
            voids: None,
            incident: None,
            forms: Vec::new(),
            note: None,
        }
    }

    /// Adds what answers somebody.
    pub(super) fn answering(self, note: NoteView, forms: Vec<FormView>) -> Self {
        Self { note: Some(note), forms, ..self }
    }
}

fn front(desk: &Desk<'_>) -> View {
    let Desk { news, words, marks, .. } = desk;
    let active = rows(desk, &Stage::is_active);
    let mut coming: Vec<(usize, &Incident)> = news.incidents.iter().enumerate().collect();
    coming.retain(|(_, incident)| incident.facts.stage == Stage::Scheduled);
    coming.sort_by_key(|(_, incident)| incident.facts.starts);
    let past = latest(desk);
    let services = news.services.iter().enumerate();
    View {
        known: words.with("site-quiet", &[("date", words.date(news.since))]),
        services: services.map(|(index, service)| service_view(service, marks.service(index), *words)).collect(),
        active,
        coming: coming.into_iter().filter_map(|(index, _)| row(desk, index, Mark::new(index))).collect(),
        past,
        voids: Some(marks.voids.clone()),
        ..View::new("front", news.title.clone(), *words)
    }
}

/// Returns the latest incidents of each subject, newest first: the visitors of each host see as many.
fn latest(desk: &Desk<'_>) -> Vec<Row> {
    let mut fair = Fair::new(PAST.most);
    let incidents = desk.news.incidents.iter().zip(&desk.marks.all).enumerate().rev();
    let over = incidents.filter(|(_, (incident, _))| incident.facts.stage.is_final());
    let shown = over.filter(|(_, (_, mark))| fair.takes(&mark.tags));
    shown.filter_map(|(index, _)| row(desk, index, desk.marks.past(index))).collect()
}

fn history(desk: &Desk<'_>) -> View {
    let Desk { news, words, marks, .. } = desk;
    let rows = |places: &[usize]| places.iter().filter_map(|index| row(desk, *index, Mark::new(*index))).collect();
    let day = |(index, day): (usize, &Day)| {
        let (head, void) = marks.day(index);
        let iso = day.begins.strftime("%Y-%m-%d").to_string();
        DayView { iso, words: words.date(day.begins), rows: rows(&day.rows), head, void }
    };
    View {
        known: words.with("site-since", &[("date", words.date(news.since))]),
        days: marks.days.days.iter().enumerate().map(day).collect(),
        past: rows(&marks.days.earlier),
        ..View::new("history", words.own("site-history"), *words)
    }
}

fn subscribe(desk: &Desk<'_>, choices: &Choices, renderer: &Renderer) -> View {
    let form = |way: &Way| {
        let form = FormView::new(*way, choices, desk.marks.choices, desk.words, None);
        form.with_languages(Words::all(renderer), desk.words.tag())
    };
    let note = NoteView::new(vec![desk.words.own("site-intro")]);
    let view = View::new("subscribe", desk.words.own("site-stay"), desk.words);
    view.answering(note, choices.ways.iter().map(form).collect())
}

/// Returns the incidents at some stages, newest first.
fn rows(desk: &Desk<'_>, wanted: &dyn Fn(Stage) -> bool) -> Vec<Row> {
    let incidents = desk.news.incidents.iter().enumerate().rev();
    let wanted = incidents.filter(|(_, incident)| wanted(incident.facts.stage));
    wanted.filter_map(|(index, _)| row(desk, index, Mark::new(index))).collect()
}

fn about_incident(desk: &Desk<'_>, incident: &Incident) -> View {
    let (news, words) = (desk.news, desk.words);
    let facts = &incident.facts;
    let instant =
        |key: &str, at: Timestamp| FactView { name: words.own(key), words: words.instant(at), iso: Some(iso(at)) };
    let plain = |key: &str, text: String| FactView { name: words.own(key), words: text, iso: None };
    let services: Vec<String> = news.services_of(facts).map(|service| service.name.clone()).collect();
    let started = incident.began().unwrap_or(facts.starts);
    let mut list = vec![plain("site-now", words.list(&services))];
    if !facts.regions.is_empty() {
        list.push(plain("region", words.list(&facts.regions.iter().cloned().collect::<Vec<_>>())));
    }
    let begins = if facts.stage == Stage::Scheduled { "site-coming" } else { "started" };
    list.push(instant(begins, started));
    match (incident.over(), facts.ends) {
        (Some(over), _) => {
            list.push(instant("site-ended", over));
            list.push(plain("site-length", words.span(seconds(started, over))));
        }
        (None, Some(ends)) if facts.stage != Stage::Cancelled => list.push(instant("site-expected", ends)),
        (None, _) => {}
    }
    if let Some(impact) = &facts.impact {
        let note = impact.note.as_ref().map(|note| format!(" · {}", words.text(note))).unwrap_or_default();
        list.push(plain("impact", format!("{}{note}", words.text(&impact.level))));
    }
    list.retain(|fact| !fact.words.is_empty());
    let view = IncidentView {
        stage: words.stage(facts.stage),
        reference: facts.reference.clone(),
        summary: facts.summary.as_ref().map(|summary| words.text(summary).to_owned()),
        facts: list,
        updates: incident.updates.iter().rev().map(|update| update_view(incident, update, words)).collect(),
    };
    View { incident: Some(view), ..View::new("incident", words.title(facts), words) }
}

fn update_view(incident: &Incident, update: &Update, words: Words<'_>) -> UpdateView {
    let (at, iso) = (words.instant(update.at), iso(update.at));
    UpdateView { stage: words.stage(update.stage), at, iso, paragraphs: words.paragraphs(incident, update) }
}

fn row(desk: &Desk<'_>, index: usize, mark: Mark) -> Option<Row> {
    Some(Row { mark, words: SharedWords(Arc::clone(desk.rows.get(index)?)) })
}

impl RowWords {
    fn new(words: Words<'_>, incident: &Incident) -> Self {
        let facts = &incident.facts;
        let at = if facts.stage.is_final() { incident.updated() } else { incident.began().unwrap_or(facts.starts) };
        let ends = facts.ends.map(|ends| format!(" – {}", words.instant(ends))).unwrap_or_default();
        let latest = incident.updates.last().map(|update| words.paragraphs(incident, update)).unwrap_or_default();
        let length = incident.began().zip(incident.over()).map(|(began, over)| words.span(seconds(began, over)));
        Self {
            href: format!("incidents/{}", incident.key),
            title: words.title(facts),
            stage: words.stage(facts.stage),
            span: format!("{}{ends}", words.instant(facts.starts)),
            length,
            latest,
            iso: iso(at),
            at: words.instant(at),
        }
    }
}

fn service_view(service: &Service, mark: Mark, words: Words<'_>) -> ServiceView {
    let (class, status) = status(service.status, words);
    ServiceView {
        mark,
        name: service.name.clone(),
        detail: service.detail.clone(),
        class,
        status,
        regions: words.list(&service.regions),
    }
}

/// Returns the class and the word for a status.
fn status(status: ServiceStatus, words: Words<'_>) -> (&'static str, String) {
    let (class, key) = match status {
        ServiceStatus::Operational => ("operational", "is-operational"),
        ServiceStatus::Degraded => ("degraded", "is-degraded"),
        ServiceStatus::UnderMaintenance => ("maintenance", "site-maintenance"),
        ServiceStatus::PartialOutage => ("partial", "site-partial"),
        ServiceStatus::MajorOutage => ("down", "site-down"),
    };
    (class, words.own(key))
}

fn iso(instant: Timestamp) -> String {
    instant.to_string()
}

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    to.duration_since(from).as_secs().try_into().unwrap_or(0)
}

/// Incidents of the past on the front page.
const PAST: Share = Share { name: "past", most: 10 };
