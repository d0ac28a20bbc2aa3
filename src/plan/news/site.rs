//! News as all documents are made of them: the name and the URL of the site, services, incidents and windows.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::config::Config;
use super::super::flags::{Mode, Window};
use super::document::Tags;
use super::forms::Way;
use super::{Facts, Incident, Key, Kind, Ledger, PublicKeys, Stage, Trouble, elsewhere};

/// News that documents are made of.
#[derive(Clone, Debug)]
pub struct News<'n> {
    /// Name of the site.
    pub title: String,
    /// URL of the site without a slash at its end: absolute, or a path if no URL is configured.
    pub url: String,
    /// Ways in which somebody may subscribe; none if this proxy tells no subscribers.
    pub ways: Vec<Way>,
    /// Services, in the order of the config.
    pub services: Vec<Service>,
    /// Routes of this proxy, and those that services consist of.
    pub routes: BTreeSet<String>,
    /// Incidents, oldest first.
    pub incidents: &'n [Incident],
    /// Windows of the flag file, for calendars.
    pub windows: &'n [Window],
    /// Instant of the last change.
    pub changed: Timestamp,
    /// Instant from which incidents are known.
    pub since: Timestamp,
    /// Public keys; none if this proxy tells no subscribers.
    pub keys: PublicKeys,
}

/// Service with its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Key, the same for ever.
    pub key: Key,
    /// Name.
    pub name: String,
    /// Second line.
    pub detail: Option<String>,
    /// Routes that it consists of.
    pub routes: BTreeSet<String>,
    /// Regions that it is in.
    pub regions: Vec<String>,
    /// Status.
    pub status: ServiceStatus,
    /// Instant of the last change of its status.
    pub changed: Timestamp,
}

/// Status of a service. The variants are those of Statuspage's API, and are ordered by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceStatus {
    /// Works.
    #[default]
    Operational,
    /// Works in part, such as reading alone.
    Degraded,
    /// Down for a planned maintenance.
    UnderMaintenance,
    /// Some of its routes are down.
    PartialOutage,
    /// Down.
    MajorOutage,
}

impl ServiceStatus {
    /// Returns the word for the status in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded_performance",
            Self::UnderMaintenance => "under_maintenance",
            Self::PartialOutage => "partial_outage",
            Self::MajorOutage => "major_outage",
        }
    }
}

impl<'n> News<'n> {
    /// Puts the news together. Without a URL, the site is below the reserved prefix.
    pub fn new(config: &Config, ledger: &'n Ledger, windows: &'n [Window]) -> Self {
        let (status, page, incidents) = (&config.status, &config.page, ledger.incidents());
        Self {
            title: status.title.as_ref().or(page.brand.as_ref()).map_or("Status", String::as_str).to_owned(),
            url: status.base(&page.prefix),
            ways: ways(config),
            services: services(config, incidents, ledger.since()),
            routes: config.routes.iter().map(|route| route.name.clone()).chain(elsewhere(config)).collect(),
            incidents,
            windows,
            changed: ledger.changed(),
            since: ledger.since(),
            keys: PublicKeys::default(),
        }
    }

    /// Tells public keys as well.
    #[must_use]
    pub fn with_keys(self, keys: PublicKeys) -> Self {
        let mut ways = self.ways;
        // A browser asks for messages by the key. The ways are none if nobody is told.
        if keys.push.is_some() && !ways.is_empty() && self.url.contains("://") {
            ways.push(Way::Push);
        }
        Self { keys, ways, ..self }
    }

    /// Returns the URL of a path of the site, such as `/history.atom`.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns the services that an incident concerns.
    pub fn services_of(&self, facts: &Facts) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| concerns(facts, service))
    }

    /// Returns what an incident is about.
    pub fn tags(&self, incident: &Incident) -> Arc<Tags> {
        let facts = &incident.facts;
        let named = facts.services.iter().map(|name| name.plain.clone());
        let known = self.services_of(facts).flat_map(|service| [service.name.clone(), service.key.to_string()]);
        Arc::new(Tags {
            routes: facts.routes.clone(),
            services: named.chain(known).collect(),
            regions: facts.regions.clone(),
            windows: facts.reference.iter().cloned().chain([incident.key.to_string()]).collect(),
            ..Tags::default()
        })
    }

    /// Returns the incidents that are announced or active.
    pub fn current(&self) -> impl Iterator<Item = &'n Incident> + use<'n> {
        self.incidents.iter().filter(|incident| !incident.facts.stage.is_final())
    }
}

impl Service {
    /// Returns what the service is about, for filters.
    pub fn tags(&self) -> Arc<Tags> {
        Arc::new(Tags {
            routes: self.routes.clone(),
            services: BTreeSet::from([self.name.clone(), self.key.to_string()]),
            regions: self.regions.iter().cloned().collect(),
            windows: BTreeSet::new(),
            ..Tags::default()
        })
    }
}

/// Returns the ways in which somebody may subscribe. Mails and messages to chats have to say where they are confirmed.
fn ways(config: &Config) -> Vec<Way> {
    let status = &config.status;
    if !status.send {
        return Vec::new();
    }
    let mail = (config.mail.is_some() && status.url.is_some()).then_some(Way::Mail);
    let chats = status.url.is_some().then_some(Way::CHATS);
    mail.into_iter().chain([Way::Webhook]).chain(chats.into_iter().flatten()).collect()
}

/// Returns true if an incident concerns a service: by one of its routes, or by its name.
fn concerns(facts: &Facts, service: &Service) -> bool {
    !facts.routes.is_disjoint(&service.routes) || facts.services.iter().any(|name| name.plain == service.name)
}

fn services(config: &Config, incidents: &[Incident], since: Timestamp) -> Vec<Service> {
    let own = |name: &str, detail: Option<String>, routes: BTreeSet<String>, regions: &[String]| Service {
        key: Key::of(&["service", name]),
        name: name.to_owned(),
        detail,
        routes,
        regions: regions.to_vec(),
        status: ServiceStatus::Operational,
        changed: since,
    };
    let mut services: Vec<Service> = if config.status.services.is_empty() {
        config.routes.iter().map(|route| own(&route.name, None, BTreeSet::from([route.name.clone()]), &[])).collect()
    } else {
        let configured = config.status.services.iter();
        configured
            .map(|one| own(&one.name, one.detail.clone(), one.routes.iter().cloned().collect(), &one.regions))
            .collect()
    };
    for service in &mut services {
        let about = || incidents.iter().filter(|incident| concerns(&incident.facts, service));
        let now =
            |incident: &Incident| service.status_in(&incident.facts, incident.facts.stage, incident.facts.trouble);
        let status = about().filter_map(now).max().unwrap_or_default();
        let changed = about().filter(|incident| incident.began().is_some()).map(Incident::updated).max();
        (service.status, service.changed) = (status, changed.unwrap_or(since));
    }
    services
}

impl Service {
    /// Returns the status that an incident gives to the service at a stage; `None` if it gives none.
    pub(super) fn status_in(&self, facts: &Facts, stage: Stage, trouble: Trouble) -> Option<ServiceStatus> {
        let is_whole = self.routes.is_subset(&facts.routes);
        stage.is_active().then(|| status_of(facts, stage, trouble, is_whole))
    }
}

/// Returns the status of what an active incident concerns as a whole, or in part.
pub(super) fn status_of(facts: &Facts, stage: Stage, trouble: Trouble, is_whole: bool) -> ServiceStatus {
    match (facts.mode, facts.kind, trouble) {
        (Mode::ReadOnly, _, _) => ServiceStatus::Degraded,
        (_, Kind::Planned, Trouble::None | Trouble::Overrun) => ServiceStatus::UnderMaintenance,
        (Mode::Hold, _, _) => ServiceStatus::PartialOutage,
        (Mode::Offline, _, _) if stage == Stage::Returning || !is_whole => ServiceStatus::PartialOutage,
        (Mode::Offline, _, _) => ServiceStatus::MajorOutage,
    }
}
