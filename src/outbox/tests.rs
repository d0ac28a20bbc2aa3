//! Samples for the tests of the outbox.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::plan::flags::Mode;
use crate::plan::news::{Facts, Incident, Key, Kind, Stage, Trouble, Update, UpdateKind};

use super::notice::{Notice, Telling};
use super::subscription::{Channel, Order};

pub(super) fn at(text: &str) -> Timestamp {
    format!("2026-05-19T{text}Z").parse().unwrap()
}

/// Returns the update with a number of one incident.
pub(super) fn notice(sequence: u32) -> Notice {
    let update = Update {
        key: Key::of(&["update", &sequence.to_string()]),
        sequence,
        at: at("14:00:00"),
        kind: UpdateKind::Began,
        stage: Stage::InProgress,
        message: None,
    };
    let facts = Facts {
        kind: Kind::Planned,
        reference: Some("MNT-2026-0519-a".to_owned()),
        title: Some("Database".into()),
        summary: None,
        message: None,
        impact: None,
        mode: Mode::Offline,
        routes: BTreeSet::from(["secret-route".to_owned()]),
        services: Vec::new(),
        regions: BTreeSet::from(["eu-west".to_owned()]),
        starts: at("14:00:00"),
        ends: Some(at("15:00:00")),
        steps: Vec::new(),
        stage: Stage::InProgress,
        trouble: Trouble::None,
    };
    let telling = |language: &str, title: &str| Telling {
        language: language.to_owned(),
        title: title.to_owned(),
        stage: "in progress".to_owned(),
        paragraphs: vec!["Maintenance has begun.".to_owned()],
    };
    Notice {
        title: "Status".to_owned(),
        url: "https://status.example.com".to_owned(),
        incident: Incident { key: Key::of(&["incident"]), facts, updates: vec![update.clone()] },
        update,
        services: BTreeSet::from(["shop".to_owned()]),
        tellings: vec![telling("en", "Database"), telling("de", "Datenbank")],
    }
}

pub(super) fn order(address: &str) -> Order {
    Order {
        channel: Channel::Webhook,
        address: address.to_owned(),
        language: "en".to_owned(),
        services: BTreeSet::new(),
        regions: BTreeSet::new(),
        kinds: BTreeSet::new(),
    }
}
