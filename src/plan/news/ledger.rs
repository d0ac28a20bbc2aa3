//! Ledger of the incidents: what was told before, to which each look adds what has changed.

mod index;

use std::cmp::Reverse;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::flags::StepState;
use super::document::Tags;
use super::facts::{Cause, Sighting, seconds, sightings};
use super::fair::Fair;
use super::{Facts, Incident, Key, Kind, Sight, Stage, StepFacts, Trouble, Update, UpdateKind};

use index::Index;

/// Incidents, oldest first: those that are announced or active, and those of the past that are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Instant of its beginning. Nothing is known of the time before.
    since: Timestamp,
    /// Instant of the last change.
    changed: Timestamp,
    incidents: Vec<Incident>,
}

/// Update that a look has added, by the places of its incident and of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Index in [`Ledger::incidents`].
    pub incident: usize,
    /// Index in [`Incident::updates`].
    pub update: usize,
}

impl Ledger {
    /// Creates a ledger that begins at an instant.
    pub fn new(since: Timestamp) -> Self {
        let since = seconds(since);
        Self { since, changed: since, incidents: Vec::new() }
    }

    /// Returns the instant of its beginning. Nothing is known of the time before.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the instant of the last change: of an update, or of a fact that is told without one, such as progress.
    pub fn changed(&self) -> Timestamp {
        self.changed
    }

    /// Returns the incidents, oldest first.
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Finds an incident by its key, or by the id of its window. Of several with one id, the latest is meant.
    pub fn find(&self, name: &str) -> Option<&Incident> {
        let is =
            |incident: &&Incident| incident.key.as_str() == name || incident.facts.reference.as_deref() == Some(name);
        self.incidents.iter().rev().find(is)
    }

    /// Takes in what is seen at an instant. Returns the updates that it gave rise to, oldest first.
    pub fn observe(&mut self, sight: Sight<'_>) -> Vec<Told> {
        let mut told = Vec::new();
        let mut known = Index::new(&self.incidents);
        for sighting in sightings(sight) {
            let index = self.place(&sighting, sight, &mut known);
            known.see(index);
            self.update(index, sighting.facts, sight.now, &mut told);
        }
        for index in 0..self.incidents.len() {
            if !known.is_seen(index) && !self.incidents[index].facts.stage.is_final() {
                self.end(index, sight, &mut told);
            }
        }
        told
    }

    /// Forgets the incidents that were over before an instant by this much, and the oldest beyond a limit:
    /// first of those that have many. Returns true if there were any.
    pub fn forget(&mut self, now: Timestamp, keep: Duration) -> bool {
        let before = self.incidents.len();
        let oldest = SignedDuration::try_from(keep).ok().and_then(|keep| now.checked_sub(keep).ok());
        let oldest = oldest.unwrap_or(Timestamp::MIN);
        self.incidents.retain(|incident| !incident.facts.stage.is_final() || incident.updated() >= oldest);
        self.make_room();
        let forgotten = self.incidents.len() != before;
        if forgotten {
            self.changed = self.changed.max(seconds(now));
        }
        forgotten
    }

    fn make_room(&mut self) {
        let mut excess = self.incidents.len().saturating_sub(MOST_INCIDENTS);
        if excess == 0 {
            return;
        }
        let tags: Vec<Tags> = self.incidents.iter().map(|incident| tags(&incident.facts)).collect();
        let mut fair = Fair::new(FEW);
        let mut is_of_few: Vec<bool> = tags.iter().rev().map(|tags| fair.takes(tags)).collect();
        is_of_few.reverse();
        for only_of_many in [true, false] {
            let mut kept = is_of_few.iter().copied();
            let mut left = Vec::new();
            self.incidents.retain(|incident| {
                let is_of_few = kept.next().unwrap_or(true);
                let drop = excess > 0 && incident.facts.stage.is_final() && !(only_of_many && is_of_few);
                excess -= usize::from(drop);
                if !drop {
                    left.push(is_of_few);
                }
                !drop
            });
            is_of_few = left;
        }
    }

    /// Returns the index of the incident that is seen. A new one has no updates yet.
    fn place(&mut self, sighting: &Sighting, sight: Sight<'_>, known: &mut Index) -> usize {
        let facts = &sighting.facts;
        let index = match &sighting.cause {
            Cause::Once(id) | Cause::Occurrence(id, _) => self.window_place(sighting, sight, &known.of_window(id)),
            Cause::Flag(..) => {
                let all = known.of_routes(&facts.routes).into_iter().map(|Reverse(index)| index);
                all.into_iter().find(|index| is_same_closure(&self.incidents[*index], facts))
            }
        };
        index.unwrap_or_else(|| {
            let incident = Incident { key: key(&sighting.cause, known), facts: facts.clone(), updates: Vec::new() };
            known.add(self.incidents.len(), &incident);
            self.incidents.push(incident);
            self.incidents.len() - 1
        })
    }

    fn window_place(&self, sighting: &Sighting, sight: Sight<'_>, of_window: &[usize]) -> Option<usize> {
        let facts = |index: &usize| &self.incidents[*index].facts;
        let same = of_window.iter().copied().find(|index| facts(index).starts == sighting.facts.starts);
        if same.is_some() {
            return same;
        }
        let is_once = matches!(sighting.cause, Cause::Once(_));
        of_window.iter().copied().find(|index| {
            let facts = facts(index);
            // A window that comes once may be moved at any time; an occurrence whose time the rule no longer has, only
            // before it begins.
            is_once && !facts.stage.is_final()
                || facts.stage == Stage::Scheduled
                    && sighting.facts.stage == Stage::Scheduled
                    && sight.now < facts.starts
        })
    }

    /// Notes the facts of an incident, and the updates that follow from them.
    fn update(&mut self, index: usize, facts: Facts, now: Timestamp, told: &mut Vec<Told>) {
        let incident = &mut self.incidents[index];
        let facts = facts.after(&incident.facts);
        let is_new = incident.updates.is_empty();
        if is_new || incident.facts != facts {
            self.changed = self.changed.max(seconds(now));
        }
        let kinds = if is_new { first(&facts) } else { changes(&incident.facts, &facts) };
        incident.facts = facts;
        for kind in kinds {
            // What began while nobody looked has begun all the same at its time.
            let at = if is_new && kind == UpdateKind::Began { incident.facts.starts.min(now) } else { now };
            incident.tell(kind, at);
            told.push(Told { incident: index, update: incident.updates.len() - 1 });
        }
    }

    /// Ends an incident that is not seen any more.
    fn end(&mut self, index: usize, sight: Sight<'_>, told: &mut Vec<Told>) {
        let facts = self.incidents[index].facts.clone();
        let window = facts.reference.as_ref().and_then(|id| sight.flags.window(id));
        if sight.now < facts.starts && window.is_some_and(|window| window.begins_at(facts.starts)) {
            // The window stands where it was: the clock was set back, or it is announced later now.
            return;
        }
        let has_begun = facts.stage != Stage::Scheduled;
        // A window that began and ended while nobody looked.
        let was_missed = window.is_some() && facts.starts <= sight.now;
        let facts = if has_begun || was_missed { facts.over() } else { Facts { stage: Stage::Cancelled, ..facts } };
        self.update(index, facts, sight.now, told);
    }
}

/// Returns a key that is not taken.
fn key(cause: &Cause, known: &Index) -> Key {
    let (word, name, instant) = match cause {
        Cause::Once(id) => ("window", id, None),
        Cause::Occurrence(id, starts) => ("occurrence", id, Some(*starts)),
        Cause::Flag(target, lifted) => ("flag", target, *lifted),
    };
    let instant = instant.map(|instant| instant.to_string()).unwrap_or_default();
    let keys = (0_u32..).map(|number| Key::of(&[word, name, &instant, &number.to_string()]));
    let mut free = keys.filter(|key| !known.has_key(key));
    free.next().unwrap_or_else(|| Key::of(&[word, name, &instant]))
}

/// Returns the subjects that incidents are counted by.
fn tags(facts: &Facts) -> Tags {
    let services = facts.services.iter().map(|name| name.plain.clone()).collect();
    Tags { routes: facts.routes.clone(), services, regions: facts.regions.clone(), ..Tags::default() }
}

/// Returns true if an unplanned incident goes on in another look, or came back. A route that its guard closes again has
/// the start of the maintenance that it came back from.
fn is_same_closure(incident: &Incident, seen: &Facts) -> bool {
    let facts = &incident.facts;
    facts.kind == Kind::Unplanned
        && !facts.routes.is_disjoint(&seen.routes)
        && (!facts.stage.is_final() || facts.starts == seen.starts)
}

/// Returns the updates of an incident that was not known.
fn first(facts: &Facts) -> Vec<UpdateKind> {
    let announced = UpdateKind::Announced { starts: facts.starts, ends: facts.ends };
    let begins = if facts.stage == Stage::Scheduled { announced } else { UpdateKind::Began };
    let goes_on = match facts.stage {
        Stage::Checking => Some(UpdateKind::Checking),
        Stage::Returning => Some(UpdateKind::Returning),
        Stage::Scheduled | Stage::InProgress | Stage::Over | Stage::Cancelled => None,
    };
    std::iter::once(begins).chain(goes_on).collect()
}

/// Returns the updates between two looks at an incident, in the order in which they are told.
fn changes(before: &Facts, now: &Facts) -> Vec<UpdateKind> {
    let mut kinds = Vec::new();
    if before.stage == Stage::Scheduled && (now.stage.is_active() || now.stage == Stage::Over) {
        kinds.push(UpdateKind::Began);
    }
    if !now.stage.is_final() {
        kinds.extend(moved(before, now));
        kinds.extend(step_done(&before.steps, &now.steps));
    }
    match (before.stage, now.stage) {
        (old, new) if old == new => {
            if before.trouble != Trouble::Overrun && now.trouble == Trouble::Overrun {
                kinds.push(UpdateKind::Overrun);
            }
        }
        (Stage::Scheduled, Stage::InProgress) | (_, Stage::Scheduled) => {}
        (_, Stage::InProgress) => kinds.push(UpdateKind::ClosedAgain { trouble: now.trouble }),
        (_, Stage::Checking) => kinds.push(UpdateKind::Checking),
        (_, Stage::Returning) => kinds.push(UpdateKind::Returning),
        (_, Stage::Over) => kinds.push(UpdateKind::Over),
        (_, Stage::Cancelled) => kinds.push(UpdateKind::Cancelled),
    }
    let words = |facts: &Facts| (facts.title.clone(), facts.summary.clone(), facts.message.clone());
    if kinds.is_empty() && words(before) != words(now) {
        kinds.push(UpdateKind::Reworded);
    }
    kinds
}

/// Returns the update of a plan that has changed. Once the work is done, its end is no news.
fn moved(before: &Facts, now: &Facts) -> Option<UpdateKind> {
    if now.stage > Stage::InProgress {
        return None;
    }
    if before.starts != now.starts && now.kind == Kind::Planned {
        return Some(UpdateKind::Moved { starts: now.starts, ends: now.ends });
    }
    match (before.ends, now.ends) {
        (Some(old), Some(new)) if old < new => Some(UpdateKind::Extended { ends: Some(new) }),
        (Some(old), Some(new)) if new < old => Some(UpdateKind::Expected { ends: new }),
        (Some(_), None) => Some(UpdateKind::Extended { ends: None }),
        (None, Some(new)) => Some(UpdateKind::Expected { ends: new }),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Returns the update of the last step that has been done since. Several at once are told as one.
fn step_done(before: &[StepFacts], now: &[StepFacts]) -> Option<UpdateKind> {
    let was_done = |step: &StepFacts| before.iter().any(|old| old.title == step.title && old.state == StepState::Done);
    let newly = now.iter().rev().find(|step| step.state == StepState::Done && !was_done(step))?;
    let done = now.iter().filter(|step| step.state == StepState::Done).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(UpdateKind::StepDone { title: newly.title.clone(), done: count(done), total: count(now.len()) })
}

impl Facts {
    /// Keeps what cannot be taken back: that a window has begun, even if the clock is set back; since when a route has been
    /// closed; and what a flag told, once it is lifted.
    fn after(self, before: &Self) -> Self {
        let has_begun = before.stage.is_active() || before.stage == Stage::Over;
        match self.kind {
            Kind::Planned if self.stage == Stage::Scheduled && has_begun && self.starts == before.starts => {
                Self { stage: before.stage, ..self }
            }
            Kind::Planned => self,
            Kind::Unplanned => {
                let starts = before.starts.min(self.starts);
                if self.stage <= Stage::InProgress {
                    return Self { starts, ..self };
                }
                Self { message: before.message.clone(), ends: before.ends, starts, ..self }
            }
        }
    }

    /// Returns the facts once everything is open.
    fn over(self) -> Self {
        let mut steps = self.steps;
        for step in steps.iter_mut().filter(|step| step.state == StepState::Running) {
            (step.state, step.progress) = (StepState::Done, None);
        }
        Self { stage: Stage::Over, trouble: Trouble::None, steps, ..self }
    }
}

impl Incident {
    /// Adds an update. Beyond a limit the second is dropped: the first tells of the announcement.
    fn tell(&mut self, kind: UpdateKind, at: Timestamp) {
        if self.updates.len() >= MOST_UPDATES {
            self.updates.remove(1);
        }
        let last = self.updates.last();
        let sequence = last.map_or(0, |update| update.sequence).saturating_add(1);
        // Updates are in the order of time, even if the clock was set back.
        let at = last.map_or(at, |update| update.at.max(at));
        let told = last.map_or(0, |update| usize::try_from(update.sequence).unwrap_or(usize::MAX));
        let dropped = told.saturating_sub(self.updates.len());
        // Dropped updates count as well, or two that are alike would have one key.
        let same = self.updates.iter().filter(|update| update.kind == kind).count().saturating_add(dropped);
        let key = Key::of(&[self.key.as_str(), kind.as_str(), &kind.detail(), &same.to_string()]);
        let stage = stage_after(&kind, self.facts.stage);
        self.updates.push(Update { key, sequence, at: seconds(at), kind, stage, message: self.facts.message.clone() });
    }
}

/// Returns the stage after an update. Several updates of one look pass through several.
fn stage_after(kind: &UpdateKind, now: Stage) -> Stage {
    if *kind == UpdateKind::Began { Stage::InProgress } else { now }
}

/// Most incidents that are kept.
const MOST_INCIDENTS: usize = 1000;
/// Incidents of a route, a service or a region that give no room to those of others.
const FEW: usize = 100;
/// Most updates of an incident.
const MOST_UPDATES: usize = 200;

#[cfg(test)]
mod tests;
