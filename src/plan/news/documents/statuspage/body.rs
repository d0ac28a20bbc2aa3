//! Bodies of the status API, each with every field that Statuspage sends.

use jiff::Timestamp;
use serde::Serialize;

use super::super::super::super::flags::Mode;
use super::super::super::{Key, Kind, News, Service, ServiceStatus, Stage};
use super::super::json_feed::{Step, steps};
use super::super::story::{Said, Story};
use super::Desk;

/// Page that the documents belong to.
#[derive(Serialize)]
pub(super) struct Page<'p> {
    id: Key,
    name: &'p str,
    url: &'p str,
    time_zone: &'static str,
}

/// Service.
#[derive(Serialize)]
pub(super) struct Component<'p> {
    id: &'p str,
    name: &'p str,
    status: &'static str,
    created_at: String,
    updated_at: String,
    position: usize,
    description: Option<&'p str>,
    showcase: bool,
    start_date: Option<String>,
    group_id: Option<&'p str>,
    page_id: &'p str,
    group: bool,
    only_show_if_degraded: bool,
    backsoon: OfComponent<'p>,
}

#[derive(Serialize)]
struct OfComponent<'p> {
    regions: &'p [String],
}

/// Incident, or maintenance.
#[derive(Serialize)]
pub(super) struct Incident<'p> {
    id: &'p str,
    name: &'p str,
    status: &'static str,
    created_at: String,
    updated_at: String,
    monitoring_at: Option<String>,
    resolved_at: Option<String>,
    impact: &'static str,
    shortlink: String,
    started_at: String,
    page_id: &'p str,
    incident_updates: Vec<Update<'p>>,
    components: Vec<Component<'p>>,
    #[serde(flatten)]
    scheduled: Option<Scheduled>,
    backsoon: OfIncident<'p>,
}

/// Fields that a maintenance has besides.
#[derive(Serialize)]
struct Scheduled {
    scheduled_for: String,
    scheduled_until: Option<String>,
}

#[derive(Serialize)]
struct OfIncident<'p> {
    window: Option<&'p str>,
    stage: Stage,
    mode: &'static str,
    customer_impact: Option<CustomerImpact<'p>>,
    services: Vec<&'p str>,
    regions: Vec<&'p str>,
    starts: Timestamp,
    ends: Option<Timestamp>,
    steps: Vec<Step<'p>>,
}

#[derive(Serialize)]
struct CustomerImpact<'p> {
    level: &'p str,
    note: Option<&'p str>,
}

/// Update of an incident.
#[derive(Serialize)]
struct Update<'p> {
    id: &'p str,
    status: &'static str,
    body: String,
    incident_id: &'p str,
    created_at: String,
    updated_at: String,
    display_at: String,
    affected_components: Vec<Affected<'p>>,
    deliver_notifications: bool,
    custom_tweet: Option<&'p str>,
    tweet_id: Option<&'p str>,
    backsoon: OfUpdate,
}

#[derive(Serialize)]
struct OfUpdate {
    sequence: u32,
    kind: &'static str,
}

#[derive(Serialize)]
struct Affected<'p> {
    code: &'p str,
    name: &'p str,
    old_status: &'static str,
    new_status: &'static str,
}

impl<'p> Page<'p> {
    /// Returns the id of the page. It stays the same as long as the URL does.
    pub(super) fn id(desk: &Desk<'_>) -> Key {
        Key::of(&["page", &desk.news.url])
    }

    pub(super) fn new(desk: &'p Desk<'_>) -> Self {
        let news = desk.news;
        Self { id: Self::id(desk), name: &news.title, url: &news.url, time_zone: "Etc/UTC" }
    }
}

impl<'p> Component<'p> {
    pub(super) fn new(news: &News<'_>, service: &'p Service, position: usize, page: &'p str) -> Self {
        Self {
            id: service.key.as_str(),
            name: &service.name,
            status: service.status.as_str(),
            created_at: instant(news.since),
            updated_at: instant(service.changed),
            position,
            description: service.detail.as_deref(),
            showcase: true,
            start_date: None,
            group_id: None,
            page_id: page,
            group: false,
            only_show_if_degraded: false,
            backsoon: OfComponent { regions: &service.regions },
        }
    }
}

impl<'p> Incident<'p> {
    pub(super) fn new(desk: &'p Desk<'_>, story: &'p Story, page: &'p str) -> Self {
        let (incident, facts) = (&story.incident, &story.incident.facts);
        // The numbers are those of this list: those of all services would tell how many others have.
        let affected: Vec<(usize, &Service)> = (1..).zip(desk.news.services_of(facts)).collect();
        let resolved = incident.over().or_else(|| facts.stage.is_final().then(|| incident.updated()));
        Self {
            id: incident.key.as_str(),
            name: &story.title,
            status: story.state().as_str(),
            created_at: instant(incident.created()),
            updated_at: instant(incident.updated()),
            monitoring_at: monitored(story).map(instant),
            resolved_at: resolved.map(instant),
            impact: impact(facts.kind, facts.mode),
            shortlink: desk.page_of(story),
            started_at: instant(incident.began().unwrap_or(facts.starts)),
            page_id: page,
            incident_updates: updates(story, &affected),
            components: affected
                .iter()
                .map(|(position, service)| Component::new(desk.news, service, *position, page))
                .collect(),
            scheduled: (facts.kind == Kind::Planned)
                .then(|| Scheduled { scheduled_for: instant(facts.starts), scheduled_until: facts.ends.map(instant) }),
            backsoon: OfIncident::new(desk, story),
        }
    }
}

impl<'p> OfIncident<'p> {
    fn new(desk: &'p Desk<'_>, story: &'p Story) -> Self {
        let facts = &story.incident.facts;
        Self {
            window: facts.reference.as_deref(),
            stage: facts.stage,
            mode: facts.mode.as_str(),
            customer_impact: facts.impact.as_ref().map(|impact| CustomerImpact {
                level: desk.words.text(&impact.level),
                note: impact.note.as_ref().map(|note| desk.words.text(note)),
            }),
            services: facts.services.iter().map(|name| desk.words.text(name)).collect(),
            regions: facts.regions.iter().map(String::as_str).collect(),
            starts: facts.starts,
            ends: facts.ends,
            steps: steps(story, desk.words),
        }
    }
}

/// Returns the updates, newest first, each with what it did to the services.
fn updates<'p>(story: &'p Story, services: &[(usize, &'p Service)]) -> Vec<Update<'p>> {
    let facts = &story.incident.facts;
    let at = |said: Option<&Said>, service: &Service| {
        let status = said.and_then(|said| service.status_in(facts, said.update.stage, said.trouble));
        status.unwrap_or(ServiceStatus::Operational).as_str()
    };
    let update = |(place, said): (usize, &'p Said)| {
        let before = story.said.get(place + 1);
        let affected = services.iter().map(|(_, service)| Affected {
            code: service.key.as_str(),
            name: &service.name,
            old_status: at(before, service),
            new_status: at(Some(said), service),
        });
        let told = instant(said.update.at);
        Update {
            id: said.update.key.as_str(),
            status: said.state.as_str(),
            body: said.text(),
            incident_id: story.incident.key.as_str(),
            created_at: told.clone(),
            updated_at: told.clone(),
            display_at: told,
            affected_components: affected.collect(),
            deliver_notifications: true,
            custom_tweet: None,
            tweet_id: None,
            backsoon: OfUpdate { sequence: said.update.sequence, kind: said.update.kind.as_str() },
        }
    };
    story.said.iter().enumerate().map(update).collect()
}

/// Returns the instant since which nothing is left but to watch: the first check after the work.
fn monitored(story: &Story) -> Option<Timestamp> {
    let is_after = |said: &&Said| matches!(said.update.stage, Stage::Checking | Stage::Returning | Stage::Over);
    let after = story.said.iter().take_while(is_after);
    let is_watch = |said: &&Said| said.update.stage != Stage::Over;
    after.filter(is_watch).last().map(|said| said.update.at)
}

fn impact(kind: Kind, mode: Mode) -> &'static str {
    match (kind, mode) {
        (Kind::Planned, _) => "maintenance",
        (Kind::Unplanned, Mode::ReadOnly | Mode::Hold) => "minor",
        (Kind::Unplanned, Mode::Offline) => "major",
    }
}

/// Formats an instant with milliseconds, as Statuspage does.
pub(super) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
