//! Bodies of webhooks: Statuspage's envelope, squashed below the type and the time of Standard Webhooks.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::plan::flags::StepState;
use crate::plan::news::mail::Links;
use crate::plan::news::{Facts, Kind, Stage, UpdateKind};

use super::notice::Notice;

/// Returns the type of a message about an update.
pub fn kind(kind: &UpdateKind) -> &'static str {
    match kind {
        UpdateKind::Announced { .. } => "maintenance.scheduled",
        UpdateKind::Began => "maintenance.started",
        UpdateKind::Extended { .. } | UpdateKind::Overrun => "maintenance.extended",
        UpdateKind::Over => "maintenance.completed",
        UpdateKind::Cancelled => "maintenance.cancelled",
        UpdateKind::Reworded
        | UpdateKind::Moved { .. }
        | UpdateKind::Expected { .. }
        | UpdateKind::StepDone { .. }
        | UpdateKind::Checking
        | UpdateKind::Returning
        | UpdateKind::ClosedAgain { .. } => "maintenance.updated",
    }
}

/// Returns the id of a message: the same in every attempt, and for a subscription in every replica. Neither part has a
/// dot, which would blur what is signed.
pub fn id(notice: &Notice, subscription: i64) -> String {
    format!("msg_{}_{subscription}", notice.update.key)
}

/// Returns the body about a notice, in a language.
pub fn body(notice: &Notice, language: &str, now: Timestamp) -> Vec<u8> {
    let (facts, update) = (&notice.incident.facts, &notice.update);
    let telling = notice.in_language(language);
    let title = telling.map_or("", |telling| &telling.title);
    let text = telling.map(|telling| telling.paragraphs.join("\n\n")).unwrap_or_default();
    let key = &notice.incident.key;
    let told = json!({
        "id": update.key, "incident_id": key, "status": status(facts.kind, update.stage), "body": cut(&text, MOST_TEXT),
        "display_at": update.at, "created_at": update.at, "updated_at": update.at, "affected_components": [],
    });
    let is_down = update.stage.is_active();
    bytes(&json!({
        "type": kind(&update.kind),
        "timestamp": update.at,
        "meta": { "documentation": DOCUMENTATION, "generated_at": seconds(now) },
        "page": {
            "id": page_id(&notice.url),
            "status_indicator": if is_down { "maintenance" } else { "none" },
            "status_description": if is_down { "Service Under Maintenance" } else { "All Systems Operational" },
        },
        "incident": {
            "id": key, "name": cut(title, MOST_TITLE), "status": status(facts.kind, update.stage),
            "impact": if facts.kind == Kind::Planned { "maintenance" } else { "major" },
            "scheduled_for": facts.starts, "scheduled_until": facts.ends, "updated_at": update.at,
            "shortlink": format!("{}/incidents/{key}", notice.url), "incident_updates": [told],
        },
        "backsoon": own(notice, language),
    }))
}

/// Returns the body that asks an endpoint for its proof: to answer with the challenge.
///
/// The secret comes with it: whoever typed the URL into a form learns nothing of it, and whoever has the endpoint does.
pub fn challenge_body(challenge: &str, secret: &str, links: &Links, now: Timestamp) -> Vec<u8> {
    bytes(&json!({
        "type": "endpoint.verification", "timestamp": seconds(now), "challenge": challenge, "secret": secret,
        "meta": { "documentation": DOCUMENTATION, "manage": links.manage, "unsubscribe": links.unsubscribe },
    }))
}

/// Returns the body of a test.
pub fn test_body(now: Timestamp) -> Vec<u8> {
    bytes(&json!({ "type": "endpoint.test", "timestamp": seconds(now) }))
}

/// Returns the part that Statuspage has no place for.
fn own(notice: &Notice, language: &str) -> Value {
    let (facts, update) = (&notice.incident.facts, &notice.update);
    json!({
        "reference": facts.reference, "sequence": update.sequence, "kind": update.kind.as_str(), "stage": update.stage,
        "mode": facts.mode, "step": step(facts, language), "eta": facts.ends,
        "regions": facts.regions.iter().take(MOST_NAMES).collect::<Vec<_>>(),
        "services": notice.services.iter().take(MOST_NAMES).map(|name| cut(name, MOST_TITLE)).collect::<Vec<_>>(),
    })
}

/// Returns the step that is under way.
fn step(facts: &Facts, language: &str) -> Option<Value> {
    let at = facts.steps.iter().position(|step| step.state == StepState::Running)?;
    let step = &facts.steps[at];
    let name = cut(step.title.in_language(language), MOST_TITLE);
    Some(json!({ "n": at + 1, "of": facts.steps.len(), "name": name, "progress": step.progress }))
}

/// Returns Statuspage's word for a stage.
fn status(kind: Kind, stage: Stage) -> &'static str {
    match (kind, stage) {
        (_, Stage::Scheduled) => "scheduled",
        (Kind::Planned, Stage::InProgress) => "in_progress",
        (Kind::Planned, Stage::Checking | Stage::Returning) => "verifying",
        (Kind::Planned, Stage::Over | Stage::Cancelled) => "completed",
        (Kind::Unplanned, Stage::InProgress) => "investigating",
        (Kind::Unplanned, Stage::Checking | Stage::Returning) => "monitoring",
        (Kind::Unplanned, Stage::Over | Stage::Cancelled) => "resolved",
    }
}

fn page_id(url: &str) -> String {
    crate::plan::news::Key::of(&["page", url]).to_string()
}

/// Cuts a text between two characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

const DOCUMENTATION: &str = "https://www.standardwebhooks.com/";
/// Limits that keep a body below 20 kB, which Standard Webhooks recommends.
const MOST_TEXT: usize = 4000;
const MOST_TITLE: usize = 200;
const MOST_NAMES: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::tests::{at, notice};
    use super::*;

    #[test]
    fn a_body_is_small_whatever_the_operator_writes_and_names_no_route() {
        let mut notice = notice(1);
        let long = "ä".repeat(100_000);
        notice.tellings[0].paragraphs = vec![long.clone(); 3];
        notice.tellings[0].title = long.clone();
        notice.services.extend((0..1000).map(|number| format!("{number} {long}")));
        notice.incident.facts.regions.extend((0..1000).map(|number| format!("region-{number}")));
        let body = body(&notice, "en", at("14:00:00"));
        assert!(body.len() < 20_000, "{} bytes", body.len());
        let text = String::from_utf8(body).unwrap();
        assert!(!text.contains("secret-route"), "{text}");
    }

    #[test]
    fn a_body_has_the_shape_of_both_worlds() {
        let text = String::from_utf8(body(&notice(5), "de-AT", at("14:00:01"))).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["type"], "maintenance.started");
        assert_eq!(body["timestamp"], "2026-05-19T14:00:00Z");
        assert_eq!(body["incident"]["name"], "Datenbank");
        assert_eq!(body["incident"]["status"], "in_progress");
        assert_eq!(body["incident"]["incident_updates"][0]["body"], "Maintenance has begun.");
        assert_eq!(body["backsoon"]["sequence"], 5);
        assert_eq!(body["backsoon"]["regions"][0], "eu-west");
    }
}
