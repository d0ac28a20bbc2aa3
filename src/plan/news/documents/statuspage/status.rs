//! Status of the whole page: the worst of its services, and of incidents that concern none of them.

use bytes::Bytes;

use super::super::super::ServiceStatus;
use super::super::super::document::Item;
use super::super::super::site::status_of;
use super::Desk;

/// Returns a status for each service, and for each active incident that concerns none.
pub(super) fn words(desk: &Desk<'_>) -> Vec<Item> {
    let word = |status: ServiceStatus| Bytes::from_static(status.as_str().as_bytes());
    let services = desk.news.services.iter();
    let services = services.map(|service| Item::new(&service.tags(), word(service.status)));
    let alone = desk.stories.iter().filter(|story| {
        let facts = &story.incident.facts;
        facts.stage.is_active() && desk.news.services_of(facts).next().is_none()
    });
    let alone = alone.map(|story| {
        let facts = &story.incident.facts;
        let status = status_of(facts, facts.stage, facts.trouble, true);
        Item::new(&story.tags, word(status))
    });
    services.chain(alone).collect()
}

/// Returns the `status` of a page on which these words stand.
pub(super) fn worst(words: &[&Bytes]) -> Bytes {
    let has = |status: ServiceStatus| words.iter().any(|word| word.as_ref() == status.as_str().as_bytes());
    let is_all = |status: ServiceStatus| words.iter().all(|word| word.as_ref() == status.as_str().as_bytes());
    let text = if has(ServiceStatus::MajorOutage) {
        if is_all(ServiceStatus::MajorOutage) { CRITICAL } else { MAJOR }
    } else if has(ServiceStatus::PartialOutage) {
        MINOR
    } else if has(ServiceStatus::UnderMaintenance) {
        MAINTENANCE
    } else if has(ServiceStatus::Degraded) {
        DEGRADED
    } else {
        NONE
    };
    Bytes::from_static(text.as_bytes())
}

const CRITICAL: &str = r#"{"indicator":"critical","description":"Major System Outage"}"#;
const MAJOR: &str = r#"{"indicator":"major","description":"Partial System Outage"}"#;
const MINOR: &str = r#"{"indicator":"minor","description":"Minor Service Outage"}"#;
const MAINTENANCE: &str = r#"{"indicator":"maintenance","description":"Service Under Maintenance"}"#;
const DEGRADED: &str = r#"{"indicator":"minor","description":"Partially Degraded Service"}"#;
const NONE: &str = r#"{"indicator":"none","description":"All Systems Operational"}"#;
