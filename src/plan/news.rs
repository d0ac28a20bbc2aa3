//! News: incidents and their updates, as the public is told of them.
//!
//! The news are made of the flag file, of the phases of the routes, and of the news before. Nothing in them is for
//! operators only: no address, no hash, no measurement, no reason of a guard.

mod days;
pub mod document;
pub mod documents;
mod facts;
mod fair;
mod finished;
pub mod forms;
mod key;
mod keys;
mod ledger;
pub mod mail;
mod mark;
pub mod notes;
mod pages;
mod sight;
mod site;
mod update;
mod words;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::flags::{Impact, Mode, Progress, StepState};
use super::text::Text;

pub use finished::{LocalizedSitePage, Site, SitePage, SiteResource};
pub use key::Key;
pub use keys::PublicKeys;
pub use ledger::{Ledger, Told};
pub use sight::{RouteSight, Sight, elsewhere};
pub use site::{News, Service, ServiceStatus};
pub use update::{Update, UpdateKind};
pub use words::{Label, Words};

/// Maintenance or interruption, from its announcement until it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Key, the same for ever.
    pub key: Key,
    /// Facts as they are now.
    #[serde(flatten)]
    pub facts: Facts,
    /// Updates, oldest first; at least one.
    pub updates: Vec<Update>,
}

/// Facts of an incident at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Kind of the incident.
    pub kind: Kind,
    /// Id of the window, which people quote; `None` for an unplanned incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Heading, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Text>,
    /// Line below the heading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Text>,
    /// Paragraph of explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
    /// Impact on customers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Impact>,
    /// Strictest mode of its routes.
    pub mode: Mode,
    /// Routes that it concerns, by name, here and elsewhere. They filter the news, and are never shown.
    pub routes: BTreeSet<String>,
    /// Names of the services in the window's table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Text>,
    /// Affected regions.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<String>,
    /// Planned start, or the actual one of an unplanned incident.
    pub starts: Timestamp,
    /// End that is expected now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// Steps of the timeline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepFacts>,
    /// Stage that it has reached.
    pub stage: Stage,
    /// Problem that keeps it from being over.
    #[serde(default)]
    pub trouble: Trouble,
}

/// Kind of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Window.
    Planned,
    /// Closure without a window.
    Unplanned,
}

/// Stage of an incident. Stages are ordered as they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Announced.
    Scheduled,
    /// Under way.
    InProgress,
    /// The work is done, and the service is checked.
    Checking,
    /// Clients come back step by step.
    Returning,
    /// Over: everything is open.
    Over,
    /// Called off before it began.
    Cancelled,
}

impl Stage {
    /// Returns true if nothing more is to come.
    pub fn is_final(self) -> bool {
        self >= Self::Over
    }

    /// Returns true if it has begun and is not over.
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Over | Self::Cancelled)
    }
}

/// Problem of an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// None.
    #[default]
    None,
    /// The planned end has passed, and the work goes on.
    Overrun,
    /// A problem was found after the work.
    Found,
}

/// Step of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFacts {
    /// Name.
    pub title: Text,
    /// State.
    pub state: StepState,
    /// Progress, such as 3 of 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl Incident {
    /// Returns the instant of the first update.
    pub fn created(&self) -> Timestamp {
        self.updates.first().map_or(self.facts.starts, |update| update.at)
    }

    /// Returns the instant of the newest update.
    pub fn updated(&self) -> Timestamp {
        self.updates.last().map_or(self.facts.starts, |update| update.at)
    }

    /// Returns the instant at which it began.
    pub fn began(&self) -> Option<Timestamp> {
        self.updates.iter().find(|update| update.kind == UpdateKind::Began).map(|update| update.at)
    }

    /// Returns the instant at which it was over; `None` if it is not, or was cancelled.
    pub fn over(&self) -> Option<Timestamp> {
        let over = self.updates.iter().rev().find(|update| update.kind == UpdateKind::Over);
        over.filter(|_| self.facts.stage == Stage::Over).map(|update| update.at)
    }
}
