//! Sight: what is to be seen of the maintenance at one instant.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::config::Config;
use super::super::flags::{Flags, Mode};
use super::super::snapshot::{Phase, Route, Snapshot, Source};
use super::StepFacts;

/// Flag file and routes at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'s> {
    /// Flag file in force.
    pub flags: &'s Flags,
    /// Routes of this proxy.
    pub routes: &'s [RouteSight],
    /// Routes of other proxies that services consist of. What the flag file says of them is told as it stands there.
    pub elsewhere: &'s BTreeSet<String>,
    /// The instant.
    pub now: Timestamp,
}

/// Route at one instant, as far as the public is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSight {
    /// Name.
    pub name: String,
    /// Phase.
    pub phase: Phase,
    /// Maintenance that the route is down for or comes back from; `None` if it is plainly open.
    pub closing: Option<ClosingSight>,
}

/// Maintenance of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosingSight {
    /// Flag or window.
    pub source: Source,
    /// Beginning of the maintenance.
    pub started: Timestamp,
    /// Planned start of the latest demand.
    pub planned: Timestamp,
    /// Mode.
    pub mode: Mode,
    /// A problem was found after the work.
    pub found: bool,
    /// Steps as the page shows them; empty while there is no page.
    pub steps: Vec<StepFacts>,
}

/// Returns the routes that services consist of and this proxy lacks.
pub fn elsewhere(config: &Config) -> BTreeSet<String> {
    let is_own = |name: &String| config.routes.iter().any(|route| route.name == *name);
    let named = config.status.services.iter().flat_map(|service| &service.routes);
    named.filter(|name| !is_own(name)).cloned().collect()
}

impl RouteSight {
    /// Looks at all routes of a snapshot.
    pub fn all(snapshot: &Snapshot) -> Vec<Self> {
        snapshot.routes.iter().map(Self::of).collect()
    }

    fn of(route: &Route) -> Self {
        let state = &route.state;
        let closing = state.closing().map(|closing| ClosingSight {
            source: closing.desired.source.clone(),
            started: closing.started,
            planned: closing.planned(),
            mode: closing.desired.mode,
            found: state.is_shut() || state.is_tried(),
            steps: steps(route),
        });
        Self { name: route.config.name.clone(), phase: route.phase(), closing }
    }

    /// Returns the maintenance, while the route is not open.
    pub fn down(&self) -> Option<&ClosingSight> {
        self.closing.as_ref().filter(|_| self.phase != Phase::Open)
    }
}

fn steps(route: &Route) -> Vec<StepFacts> {
    let steps = route.closure.iter().flat_map(|closure| &closure.page.model.content.steps);
    steps.map(StepFacts::from).collect()
}
