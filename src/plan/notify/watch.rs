//! Watch: finds the events of each publication, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::super::compile::Memory;
use super::super::config::EventKind;
use super::super::flags::Flags;
use super::super::lifecycle::{Desired, Reason};
use super::super::news::{Incident, Ledger, RouteSight, Sight, Trouble, UpdateKind};
use super::super::snapshot::{Phase, Route, Snapshot, Source, Transition};
use super::super::words;
use super::event::WindowFacts;
use super::{OperatorEvent, transition};

/// Memory of what was told.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Windows and their steps; `None` before the first look.
    ledger: Option<Ledger>,
    /// Routes as they were told of.
    seen: BTreeMap<String, Seen>,
    /// Routes that an earlier process left draining.
    drained: BTreeSet<String>,
    /// Routes that an earlier process left closed or coming back; `None` if nothing is known.
    down: Option<BTreeSet<String>>,
}

/// Change between two processes, which no transition tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    /// The end of the earlier process ended the drain.
    Drain,
    /// The route was open then, and is closed now.
    Closure,
}

/// Troubles of a route that have been told, and that may last.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    long: bool,
    /// A flag overruns.
    overruns: bool,
    undone: bool,
    /// Start of the checks of which a failure was told.
    failed: Option<Timestamp>,
    /// Upstreams that fail, with their failures.
    unwell: BTreeMap<String, String>,
    /// All upstreams fail.
    all_unwell: bool,
}

impl Watch {
    /// Begins with what an earlier process remembers. What changed since is told at the first look.
    pub fn after(memory: &Memory) -> Self {
        let Memory::States(states) = memory else { return Self::default() };
        let draining = states.iter().filter(|(_, state)| state.phase() == Phase::Draining);
        let down = states.iter().filter(|(_, state)| state.phase() != Phase::Open);
        Self {
            drained: draining.map(|(name, _)| name.clone()).collect(),
            down: Some(down.map(|(name, _)| name.clone()).collect()),
            ..Self::default()
        }
    }

    /// Finds the events of a publication, in the order of their routes.
    pub fn look(&mut self, snapshot: &Snapshot, flags: &Flags) -> Vec<OperatorEvent> {
        let mut events = self.of_windows(snapshot, flags);
        let (drained, down) = (std::mem::take(&mut self.drained), self.down.take());
        for route in &snapshot.routes {
            let name = &route.config.name;
            let facts = About { route, flags, now: snapshot.compiled };
            let missed = match &down {
                Some(_) if drained.contains(name) => Some(Missed::Drain),
                Some(down) if !down.contains(name) => Some(Missed::Closure),
                Some(_) | None => None,
            };
            events.extend(missed.into_iter().flat_map(|missed| facts.since_the_end(missed)));
            events.extend(route.transitions.iter().filter_map(|transition| facts.of_transition(transition)));
            let before = self.seen.remove(name).unwrap_or_default();
            let now = facts.seen(snapshot, &before);
            events.extend(facts.of_troubles(&before, &now));
            self.seen.insert(name.clone(), now);
        }
        self.seen.retain(|name, _| snapshot.route(name).is_some());
        events
    }

    /// Finds what happened to windows. The first look only learns which there are.
    fn of_windows(&mut self, snapshot: &Snapshot, flags: &Flags) -> Vec<OperatorEvent> {
        let now = snapshot.compiled;
        let is_first = self.ledger.is_none();
        let ledger = self.ledger.get_or_insert_with(|| Ledger::new(now));
        // Operators are told by the proxy that has the route.
        let elsewhere = BTreeSet::new();
        let told = ledger.observe(Sight { flags, routes: &RouteSight::all(snapshot), elsewhere: &elsewhere, now });
        let mut events = Vec::new();
        for told in told {
            let Some(incident) = ledger.incidents().get(told.incident) else { continue };
            let (facts, update) = (&incident.facts, incident.updates.get(told.update));
            let Some((id, update)) = facts.reference.as_ref().zip(update) else { continue };
            let Some((kind, headline, what)) = words_of(&update.kind, id, now) else { continue };
            if is_first && kind != EventKind::Overrun {
                continue;
            }
            let window = Some(WindowFacts { id: id.clone(), title: facts.title.clone() });
            let (routes, mode, until) = (facts.routes.clone(), Some(facts.mode), facts.ends);
            events.push(OperatorEvent { kind, routes, window, mode, until, at: update.at, headline, what });
        }
        // An overrun at the first look is no update of the news.
        if is_first {
            events.extend(ledger.incidents().iter().filter_map(|incident| overrun(incident, now)));
        }
        // What is over is of no use here.
        ledger.forget(now, KEEP);
        events
    }
}

/// Returns the event of a window that overran before anybody looked.
fn overrun(incident: &Incident, now: Timestamp) -> Option<OperatorEvent> {
    let facts = &incident.facts;
    let id = facts.reference.as_ref().filter(|_| facts.trouble == Trouble::Overrun)?;
    let (kind, headline, what) = words_of(&UpdateKind::Overrun, id, now)?;
    let window = Some(WindowFacts { id: id.clone(), title: facts.title.clone() });
    let (routes, mode, until) = (facts.routes.clone(), Some(facts.mode), facts.ends);
    Some(OperatorEvent { kind, routes, window, mode, until, at: now, headline, what })
}

/// Returns the kind of an update of a window with its words; `None` for what the routes tell by themselves.
fn words_of(kind: &UpdateKind, id: &str, now: Timestamp) -> Option<(EventKind, String, String)> {
    let span = |starts: Timestamp, ends: Option<Timestamp>| match ends {
        Some(ends) => format!("from {} to {}", words::instant(starts, now), words::instant(ends, now)),
        None => format!("from {}, without a planned end", words::instant(starts, now)),
    };
    let ends = |ends: Option<Timestamp>| match ends {
        Some(ends) => format!("its end is expected at {}", words::instant(ends, now)),
        None => "its end is not known".to_owned(),
    };
    let (kind, headline, what) = match kind {
        UpdateKind::Announced { starts, ends } => (EventKind::Announced, "is announced", span(*starts, *ends)),
        UpdateKind::Moved { starts, ends } => (EventKind::Moved, "was moved", span(*starts, *ends)),
        UpdateKind::Extended { ends: later } => (EventKind::Moved, "takes longer", ends(*later)),
        UpdateKind::Expected { ends: sooner } => (EventKind::Moved, "ends at another time", ends(Some(*sooner))),
        UpdateKind::StepDone { title, done, total } => {
            (EventKind::StepDone, "has a step done", format!("{} ({done} of {total})", title.plain))
        }
        UpdateKind::Overrun => {
            (EventKind::Overrun, "overruns", "its planned end has passed, and its routes stay closed".to_owned())
        }
        UpdateKind::Cancelled => (EventKind::Cancelled, "was called off", "it will not begin".to_owned()),
        UpdateKind::Reworded
        | UpdateKind::Began
        | UpdateKind::Checking
        | UpdateKind::Returning
        | UpdateKind::ClosedAgain { .. }
        | UpdateKind::Over => return None,
    };
    Some((kind, format!("window {id} {headline}"), what))
}

/// Route of a snapshot, with what tells its events.
struct About<'s> {
    route: &'s Route,
    flags: &'s Flags,
    now: Timestamp,
}

impl About<'_> {
    fn name(&self) -> &str {
        &self.route.config.name
    }

    fn event(&self, kind: EventKind, at: Timestamp, headline: String, what: String) -> OperatorEvent {
        let closing = self.route.state.closing();
        let id = closing.and_then(|closing| match &closing.desired.source {
            Source::Flag | Source::Switch(_) => None,
            Source::Window(id) => Some(id),
        });
        let title = |id: &String| self.flags.windows.iter().find(|window| window.id == *id)?.title.clone();
        let window = id.map(|id| WindowFacts { id: id.clone(), title: title(id) });
        let closure = self.route.closure.as_ref();
        OperatorEvent {
            kind,
            routes: BTreeSet::from([self.name().to_owned()]),
            window,
            mode: closure.map(|closure| closure.mode),
            until: closure.and_then(|closure| closure.until),
            at,
            headline,
            what,
        }
    }

    fn of_transition(&self, transition: &Transition) -> Option<OperatorEvent> {
        let (kind, headline) = transition::kind(transition)?;
        Some(self.event(kind, transition.at, format!("{} {headline}", self.name()), transition.reason.to_string()))
    }

    /// Returns the events that happened between two processes, if the route is closed now.
    fn since_the_end(&self, missed: Missed) -> Vec<OperatorEvent> {
        let state = &self.route.state;
        let is_closed = state.phase() == Phase::Closed && self.route.transitions.is_empty() && !state.is_shut();
        if !is_closed {
            return Vec::new();
        }
        let restarted = Reason::Restarted.to_string();
        let closed = self.event(
            EventKind::Closed,
            state.since(),
            format!("{} is closed", self.name()),
            state.reason().to_string(),
        );
        let drained = self.event(EventKind::Drained, self.now, format!("{} is drained", self.name()), restarted);
        match missed {
            Missed::Drain => vec![drained],
            Missed::Closure => vec![closed, drained],
        }
    }

    /// Reads the troubles that may last. What was told of the checks is kept as long as they run.
    fn seen(&self, snapshot: &Snapshot, before: &Seen) -> Seen {
        let state = &self.route.state;
        let fails = matches!(state.reason(), Reason::CheckFailed { .. });
        let since = (state.phase() == Phase::Verifying).then(|| state.since());
        let failed = since.filter(|since| fails || before.failed == Some(*since));
        let name = |upstream: usize| snapshot.upstreams.get(upstream).map(ToString::to_string);
        let unwell = self.route.left_out.iter().filter_map(|out| Some((name(out.upstream)?, out.failure.clone())));
        Seen {
            long: self.route.long,
            overruns: self.flag_overruns().is_some(),
            undone: !self.route.undone.is_empty(),
            failed,
            unwell: unwell.collect(),
            all_unwell: !self.route.spared.is_empty(),
        }
    }

    /// Returns the demand of a flag whose end has passed.
    fn flag_overruns(&self) -> Option<&Desired> {
        let down = matches!(self.route.phase(), Phase::Draining | Phase::Closed);
        let desired = &self.route.state.closing().filter(|_| down)?.desired;
        (desired.overruns && desired.source == Source::Flag).then_some(desired)
    }

    fn of_troubles(&self, before: &Seen, now: &Seen) -> Vec<OperatorEvent> {
        let name = self.name();
        let mut events = Vec::new();
        let mut add = |kind, headline: String, what: String| events.push(self.event(kind, self.now, headline, what));
        if now.failed.is_some() && now.failed != before.failed {
            let reason = self.route.state.reason().to_string();
            add(EventKind::VerifyFailed, format!("{name} does not open: a check fails"), reason);
        }
        if now.long && !before.long {
            let what = format!("closed since {}: search engines begin to drop its pages", self.route.since());
            add(EventKind::Long, format!("{name} has been closed for a day"), what);
        }
        if let Some(desired) = self.flag_overruns().filter(|_| !before.overruns) {
            let what = match &desired.held_by {
                Some(holder) => format!("{holder} held it, and has not renewed that in time; it stays closed"),
                None => "the end of its flag has passed, and it stays closed".to_owned(),
            };
            add(EventKind::Overrun, format!("the flag of {name} overruns"), what);
        }
        if now.undone && !before.undone {
            let what = format!("not done: {}", self.route.undone.join(", "));
            add(EventKind::Undone, format!("{name} opens soon, although steps are not done"), what);
        }
        for (upstream, failure) in now.unwell.iter().filter(|(upstream, _)| !before.unwell.contains_key(*upstream)) {
            add(EventKind::Unwell, format!("{name} goes without {upstream}"), failure.clone());
        }
        for upstream in before.unwell.keys().filter(|upstream| !now.unwell.contains_key(*upstream)) {
            let what = "it passes its checks, or is not asked any more".to_owned();
            add(EventKind::Well, format!("{name} uses {upstream} again"), what);
        }
        match (before.all_unwell, now.all_unwell) {
            (false, true) => {
                let failure = self.route.spared.first().map(|out| out.failure.clone()).unwrap_or_default();
                add(EventKind::Unwell, format!("all upstreams of {name} fail, and are used all the same"), failure);
            }
            (true, false) => {
                let what = "an upstream passes its health checks".to_owned();
                add(EventKind::Well, format!("not all upstreams of {name} fail any more"), what);
            }
            (false, false) | (true, true) => {}
        }
        events
    }
}

/// Time for which windows that are over are known again, should they be seen once more.
const KEEP: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests;
