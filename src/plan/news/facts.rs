//! Facts: reads the incidents of an instant from the flag file and the routes.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::super::flags::{Flag, Mode, Step, Target, When, Window};
use super::super::snapshot::{Phase, Source};
use super::super::text::Text;
use super::sight::ClosingSight;
use super::{Facts, Kind, RouteSight, Sight, Stage, StepFacts, Trouble};

/// Incident that is seen at an instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sighting {
    /// Cause, by which the incident is known again.
    pub(super) cause: Cause,
    /// Facts.
    pub(super) facts: Facts,
}

/// Cause of an incident.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// Window that comes once, by its id.
    Once(String),
    /// Occurrence of a window, by its id and its planned start.
    Occurrence(String, Timestamp),
    /// Entry of `[routes]`, and when the route was lifted last.
    Flag(String, Option<Timestamp>),
}

/// Reads all incidents that are announced or active.
pub(super) fn sightings(sight: Sight<'_>) -> Vec<Sighting> {
    let down = Down::new(sight);
    let windows = sight.flags.every_window();
    let mut all: Vec<Sighting> =
        windows.flat_map(|window| of_window(sight, window, down.for_window(&window.id))).collect();
    let active = all.iter().filter(|one| one.facts.stage.is_active());
    let planned: BTreeSet<String> = active.flat_map(|one| one.facts.routes.iter().cloned()).collect();
    let flags: HashMap<&str, &Flag> = sight.flags.routes.iter().map(|flag| (flag.route.key(), flag)).collect();
    let mut unplanned: Vec<Sighting> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    // A flag within a window is part of it.
    for (route, closing) in down.flagged.iter().filter(|(route, _)| !planned.contains(&route.name)) {
        let flag = flag_of(&flags, &route.name, sight.now);
        let target = flag.map_or(route.name.as_str(), |flag| flag.route.key());
        let mut facts = of_flag(flag, route, closing, sight.now);
        if let Source::Switch(file) = &closing.source {
            facts.message = switch_message(sight, &route.name, file);
        }
        if let Some(one) = places.get(target).and_then(|place| unplanned.get_mut(*place)) {
            one.facts.join(facts);
            continue;
        }
        places.insert(target, unplanned.len());
        let lifted = sight.flags.lifted(target).map(|lift| lift.at);
        unplanned.push(Sighting { cause: Cause::Flag(target.to_owned(), lifted), facts });
    }
    of_flags_elsewhere(sight, &planned, &mut unplanned);
    all.extend(unplanned);
    all
}

/// Adds what the flag file says of routes of other proxies. Nothing is known of their checks: such a route is down while
/// its flag is set.
fn of_flags_elsewhere(sight: Sight<'_>, planned: &BTreeSet<String>, unplanned: &mut Vec<Sighting>) {
    let in_force = |flag: &&Flag| flag.acts(sight.now);
    let has_own = |route: &str| sight.flags.routes.iter().any(|flag| flag.route.key() == route);
    for flag in sight.flags.routes.iter().filter(in_force) {
        let target = flag.route.key();
        let is_meant = |route: &&String| match &flag.route {
            Target::Route(own) => own == *route,
            Target::Every => !has_own(route),
        };
        let routes = sight.elsewhere.iter().filter(is_meant).filter(|route| !planned.contains(*route));
        for route in routes {
            let facts = elsewhere_facts(flag, route, sight.now);
            let is_same = |one: &&mut Sighting| matches!(&one.cause, Cause::Flag(own, _) if own == target);
            match unplanned.iter_mut().find(is_same) {
                Some(one) => one.facts.join(facts),
                None => {
                    let lifted = sight.flags.lifted(target).map(|lift| lift.at);
                    unplanned.push(Sighting { cause: Cause::Flag(target.to_owned(), lifted), facts });
                }
            }
        }
    }
}

/// Returns the facts of a route of another proxy. Nobody knows since when it has been closed: since the first look.
fn elsewhere_facts(flag: &Flag, route: &str, now: Timestamp) -> Facts {
    Facts {
        kind: Kind::Unplanned,
        reference: None,
        title: None,
        summary: None,
        message: flag.message.clone(),
        impact: None,
        mode: flag.mode,
        routes: BTreeSet::from([route.to_owned()]),
        services: Vec::new(),
        regions: BTreeSet::new(),
        starts: seconds(now),
        ends: flag.end(now),
        steps: Vec::new(),
        stage: Stage::InProgress,
        trouble: Trouble::None,
    }
}

/// Route that is not open, with its maintenance.
type Closed<'s> = (&'s RouteSight, &'s ClosingSight);

/// Routes that are not open, by what closed them. A fleet's file may have thousands of windows and routes.
struct Down<'s> {
    by_window: HashMap<&'s str, Vec<Closed<'s>>>,
    flagged: Vec<Closed<'s>>,
}

impl<'s> Down<'s> {
    fn new(sight: Sight<'s>) -> Self {
        let mut all = Self { by_window: HashMap::new(), flagged: Vec::new() };
        for route in sight.routes {
            let Some(closing) = route.down() else { continue };
            match &closing.source {
                Source::Flag | Source::Switch(_) => all.flagged.push((route, closing)),
                Source::Window(id) => all.by_window.entry(id).or_default().push((route, closing)),
            }
        }
        all
    }

    fn for_window(&self, id: &str) -> &[Closed<'s>] {
        self.by_window.get(id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Reads the occurrence of a window that is active, and the one that is announced. `closings` are the routes that the
/// window closed.
fn of_window(sight: Sight<'_>, window: &Window, closings: &[Closed<'_>]) -> Vec<Sighting> {
    let in_force = window.in_force(sight.now);
    let of_closing = || {
        let planned = closings.iter().map(|(_, closing)| closing.planned).max()?;
        window.span_of(planned)
    };
    let mut found = Vec::new();
    if let Some((starts, ends)) = in_force.map(|span| (span.starts, span.ends)).or_else(of_closing) {
        let mut facts = window_facts(sight, window, (starts, ends));
        let found_trouble = closings.iter().any(|(_, closing)| closing.found);
        facts.stage = if in_force.is_some() { Stage::InProgress } else { stage(closings) };
        facts.ends = in_force.map_or(Some(ends), |span| span.until.or(Some(ends)));
        facts.trouble = match () {
            () if found_trouble => Trouble::Found,
            () if in_force.is_some() && ends <= sight.now => Trouble::Overrun,
            () => Trouble::None,
        };
        if let Some((_, closing)) = closings.iter().find(|(_, closing)| !closing.steps.is_empty()) {
            facts.steps.clone_from(&closing.steps);
        }
        found.push(Sighting { cause: cause(window, starts), facts });
    }
    if let Some(span) = window.announced(sight.now) {
        found.push(Sighting { cause: cause(window, span.0), facts: window_facts(sight, window, span) });
    }
    found
}

fn cause(window: &Window, starts: Timestamp) -> Cause {
    match window.when {
        When::Once { .. } => Cause::Once(window.id.clone()),
        When::Every(_) => Cause::Occurrence(window.id.clone(), starts),
    }
}

/// Returns the stage of a maintenance whose time is over: that of the route that is furthest from being open.
fn stage(closings: &[(&RouteSight, &ClosingSight)]) -> Stage {
    let stages = closings.iter().map(|(route, _)| stage_of(route.phase));
    stages.min().unwrap_or(Stage::Over)
}

fn stage_of(phase: Phase) -> Stage {
    match phase {
        Phase::Draining | Phase::Closed => Stage::InProgress,
        Phase::Verifying => Stage::Checking,
        Phase::Ramping => Stage::Returning,
        Phase::Open => Stage::Over,
    }
}

/// Returns the facts of an occurrence that is still to come.
fn window_facts(sight: Sight<'_>, window: &Window, (starts, ends): (Timestamp, Timestamp)) -> Facts {
    let own = |target: &Target| match target {
        Target::Route(name) => vec![name.clone()],
        Target::Every => every_route(sight),
    };
    let routes = window.routes.iter().flat_map(|(target, _)| own(target)).collect();
    let regions = window.regions.iter().chain(window.services.iter().flat_map(|service| &service.regions));
    Facts {
        kind: Kind::Planned,
        reference: Some(window.id.clone()),
        title: window.title.clone(),
        summary: window.summary.clone(),
        message: window.message.clone(),
        impact: window.impact.clone(),
        mode: window.routes.iter().map(|(_, mode)| *mode).max().unwrap_or(Mode::Offline),
        routes,
        services: window.services.iter().map(|service| service.name.clone()).collect(),
        regions: regions.cloned().collect(),
        starts,
        ends: Some(ends),
        steps: window.steps.iter().map(|step| StepFacts::from(&window.step_in(step, starts))).collect(),
        stage: Stage::Scheduled,
        trouble: Trouble::None,
    }
}

/// Returns the names of all routes, here and elsewhere.
fn every_route(sight: Sight<'_>) -> Vec<String> {
    sight.routes.iter().map(|route| &route.name).chain(sight.elsewhere).cloned().collect()
}

/// Returns the facts of a route that a flag closes, or that its guard or its checks keep closed.
fn of_flag(flag: Option<&Flag>, route: &RouteSight, closing: &ClosingSight, now: Timestamp) -> Facts {
    Facts {
        kind: Kind::Unplanned,
        reference: None,
        title: None,
        summary: None,
        message: flag.and_then(|flag| flag.message.clone()),
        impact: None,
        mode: flag.map_or(closing.mode, |flag| flag.mode),
        routes: BTreeSet::from([route.name.clone()]),
        services: Vec::new(),
        regions: BTreeSet::new(),
        starts: seconds(closing.started),
        ends: flag.and_then(|flag| flag.end(now)),
        steps: closing.steps.clone(),
        stage: stage_of(route.phase),
        trouble: if closing.found { Trouble::Found } else { Trouble::None },
    }
}

/// Returns the message of a switch that is on.
fn switch_message(sight: Sight<'_>, route: &str, file: &str) -> Option<Text> {
    let mut switched = sight.flags.switched.iter();
    switched.find(|switch| switch.route == route && switch.file == file)?.message.clone()
}

/// Returns the entry of `[routes]` that closes a route: its own, or that for all.
fn flag_of<'f>(flags: &HashMap<&str, &'f Flag>, route: &str, now: Timestamp) -> Option<&'f Flag> {
    let flag = flags.get(route).or_else(|| flags.get("*"))?;
    flag.acts(now).then_some(*flag)
}

/// Returns an instant in whole seconds, which is what feeds can say.
pub(super) fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

impl Facts {
    /// Adds another route of the same incident. The route that is furthest from being open counts.
    fn join(&mut self, other: Self) {
        self.routes.extend(other.routes);
        self.mode = self.mode.max(other.mode);
        self.starts = self.starts.min(other.starts);
        self.stage = self.stage.min(other.stage);
        if other.trouble != Trouble::None {
            self.trouble = other.trouble;
        }
    }
}

impl From<&Step> for StepFacts {
    fn from(step: &Step) -> Self {
        Self { title: step.title.clone(), state: step.state, progress: step.progress.clone() }
    }
}
