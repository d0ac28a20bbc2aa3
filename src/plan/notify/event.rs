//! Event that operators are told of. Measurements and addresses may be in it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::config::{EventKind, Notify};
use super::super::flags::Mode;
use super::super::news::Key;
use super::super::text::Text;
use super::super::words;
use super::{Field, Notice, Piece, Tone};

/// Event that operators are told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorEvent {
    /// Kind.
    pub kind: EventKind,
    /// Routes that it concerns; empty for the whole proxy.
    pub routes: BTreeSet<String>,
    /// Window that it belongs to.
    pub window: Option<WindowFacts>,
    /// Mode of the route.
    pub mode: Option<Mode>,
    /// End that is expected.
    pub until: Option<Timestamp>,
    /// Instant of the change.
    pub at: Timestamp,
    /// Event in a few words.
    pub headline: String,
    /// Reason, with measurements.
    pub what: String,
}

/// Window of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowFacts {
    /// Id.
    pub id: String,
    /// Title, in the operator's words.
    pub title: Option<Text>,
}

impl OperatorEvent {
    /// Creates an event of the whole proxy.
    pub fn of_proxy(kind: EventKind, at: Timestamp, headline: &str, what: String) -> Self {
        let headline = headline.to_owned();
        Self { kind, routes: BTreeSet::new(), window: None, mode: None, until: None, at, headline, what }
    }

    /// Returns true if a place is told of the event.
    pub fn concerns(&self, notify: &Notify) -> bool {
        let about = notify.routes.is_empty() || self.routes.is_empty() || !notify.routes.is_disjoint(&self.routes);
        about && (self.kind == EventKind::Test || notify.on.contains(&self.kind))
    }

    /// Returns the id of the event as this replica tells it, the same for each attempt.
    pub fn id(&self, replica: &str) -> Key {
        let routes = self.routes();
        let (window, at) = (self.window_id().unwrap_or_default(), self.at.to_string());
        Key::of(&["event", replica, self.kind.as_str(), &routes, window, &at, &self.what])
    }

    /// Returns the key of what mails about the event have in common: a window, or the routes, whichever replica tells.
    pub fn thread(&self) -> Key {
        match self.window_id() {
            Some(window) => Key::of(&["thread", "window", window]),
            None => Key::of(&["thread", "routes", &self.routes()]),
        }
    }

    /// Returns the names of the routes, separated by commas.
    pub fn routes(&self) -> String {
        self.routes.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// Returns the id of the window.
    pub fn window_id(&self) -> Option<&str> {
        self.window.as_ref().map(|window| window.id.as_str())
    }

    /// Returns the JSON for programs.
    pub fn json(&self, replica: &str, language: Option<&str>) -> Value {
        json!({
            "type": format!("operator.{}", self.kind.as_str().replace('-', "_")),
            // Parsers of dates often know no nanoseconds.
            "timestamp": self.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            "id": self.id(replica).as_str(),
            "event": self.kind.as_str(),
            "replica": replica,
            "routes": self.routes,
            "window": self.window_id(),
            "mode": self.mode.map(Mode::as_str),
            "until": self.until.map(|until| until.to_string()),
            "title": self.title(language),
            "headline": self.headline,
            "what": self.what,
        })
    }

    /// Returns the notice for people.
    pub fn notice(&self, replica: &str, language: Option<&str>) -> Notice {
        let text =
            |label: &str, text: &str| Field { label: label.to_owned(), value: vec![Piece::Text(text.to_owned())] };
        let instant = |at: Timestamp| Piece::Instant(at, format!("{} UTC", at.strftime("%Y-%m-%d %H:%M:%S")));
        let window = self.window.as_ref().map(|window| match self.title(language) {
            Some(title) => text("Window", &format!("{} ({title})", window.id)),
            None => text("Window", &window.id),
        });
        let at = Field { label: "At".to_owned(), value: vec![instant(self.at)] };
        let until = self.until.map(|until| Field { label: "Until".to_owned(), value: vec![instant(until)] });
        Notice {
            title: words::harmless(&self.headline),
            paragraphs: vec![self.what.clone()],
            fields: window.into_iter().chain([at]).chain(until).chain([text("Replica", replica)]).collect(),
            link: None,
            foot: None,
            at: self.at,
            tone: tone(self.kind),
        }
    }

    fn title(&self, language: Option<&str>) -> Option<&str> {
        let title = self.window.as_ref()?.title.as_ref()?;
        Some(language.map_or(title.plain.as_str(), |language| title.in_language(language)))
    }
}

fn tone(kind: EventKind) -> Tone {
    match kind {
        EventKind::Undone
        | EventKind::Overrun
        | EventKind::Long
        | EventKind::VerifyFailed
        | EventKind::Breach
        | EventKind::Unwell
        | EventKind::RefusedEdit
        | EventKind::Unsaved => Tone::Trouble,
        EventKind::Announced
        | EventKind::Moved
        | EventKind::Closed
        | EventKind::Drained
        | EventKind::StepDone
        | EventKind::Verifying
        | EventKind::Ramping
        | EventKind::Test => Tone::Work,
        EventKind::Cancelled | EventKind::Opened | EventKind::BreachOver | EventKind::Well => Tone::Good,
    }
}
