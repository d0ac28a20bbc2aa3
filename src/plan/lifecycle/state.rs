//! What has to be remembered of a route, and how it goes on from phase to phase.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::config::{Check, OnBreach, Policy};
use super::super::flags::Mode;
use super::ramp::{next_tick, share};
use super::{Breach, Counted, Demand, Observed, Phase, Source, after, judge};

/// What has to be remembered of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: Cow<'static, str>,
    /// What took it down: from then until it is open again.
    pub closure: Option<Closing>,
    /// From when the phase counts: the drain time, the ramp, the watch. It is moved where a clock is not to be believed
    /// and where a ramp is held.
    pub began: Timestamp,
    /// The share of clients that was admitted already: it never falls while the route ramps.
    #[serde(default)]
    pub share: f64,
    /// Open, and still watched by its guard.
    #[serde(default)]
    pub watched: bool,
    /// How it did before it went down.
    #[serde(default)]
    pub baseline: Option<Counted>,
    /// What its guard found: it keeps the route closed, or the ramp where it is.
    #[serde(default)]
    pub breach: Option<Breach>,
    /// The instant of the last look.
    pub seen: Timestamp,
}

/// What took a route down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// When it began.
    pub started: Timestamp,
    /// What was demanded last.
    pub demand: Demand,
}

/// A route's way from one phase into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where it was.
    pub from: Phase,
    /// Where it is then.
    pub to: Phase,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// What a route's phase is worked out from.
#[derive(Clone, Copy, Debug)]
pub struct Given<'g> {
    /// The route's policy.
    pub policy: &'g Policy,
    /// How long requests in flight may go on.
    pub drain: Duration,
    /// What the flag file says of it now.
    pub demand: Option<&'g Demand>,
    /// When an operator last opened it whatever was found.
    pub forced: Option<Timestamp>,
    /// When the window that took it down was over, as the flag file has it now.
    pub over: Option<Timestamp>,
    /// What was observed.
    pub observed: &'g Observed,
    /// The time.
    pub now: Timestamp,
}

impl Closing {
    /// When what was demanded last began by the flag file: it may have been in force for other reasons before.
    pub fn planned(&self) -> Timestamp {
        self.demand.started.unwrap_or(self.started)
    }

    /// That of a route of which it is not known any more what took it down.
    fn bare(now: Timestamp) -> Self {
        let (mode, source) = (Mode::Offline, Source::Flag);
        let demand = Demand { mode, source, until: None, started: None, overruns: false, by_hand: false };
        Self { started: now, demand }
    }
}

impl Memory {
    /// Of a route that nothing is known of: nothing of it is in flight here.
    pub fn first(given: Given<'_>) -> Self {
        let now = given.now;
        let open = Self {
            phase: Phase::Open,
            since: now,
            why: Cow::Borrowed("nothing flags it"),
            closure: None,
            began: now,
            share: 0.0,
            watched: false,
            baseline: None,
            breach: None,
            seen: now,
        };
        let Some(demand) = given.demand else { return open };
        let started = demand.started.unwrap_or(now).min(now);
        Self {
            phase: Phase::Closed,
            since: started,
            why: flagged(demand).into(),
            closure: Some(Closing { started, demand: demand.clone() }),
            began: started,
            ..open
        }
    }

    /// Goes on from here: through as many phases as the time and the observations allow, in order.
    pub fn advance(&self, given: Given<'_>) -> (Self, Vec<Transition>) {
        let mut memory = self.clone();
        memory.follow_clock(given.now);
        let mut transitions = Vec::new();
        // Each phase is left once at most, but for a route that is flagged while it comes back.
        for _ in 0..MOST_TRANSITIONS {
            // That nothing is in flight was observed before what is decided here takes effect.
            let drained = transitions.is_empty() && given.observed.remaining == Some(0);
            let from = memory.phase;
            let Some(next) = memory.step(given, drained) else { break };
            transitions.push(Transition { from, to: next.phase, at: next.since, why: next.why.clone().into_owned() });
            memory = next;
        }
        memory.seen = given.now;
        (memory, transitions)
    }

    /// The state of a route whose process ended: what was in flight ended with it.
    pub fn restarted(mut self) -> Self {
        if self.phase == Phase::Draining {
            self.phase = Phase::Closed;
            if self.breach.is_none() {
                self.why = Cow::Borrowed("the proxy was restarted: nothing is in flight");
            }
        }
        self
    }

    /// A clock that was set back: nothing began later than now.
    fn follow_clock(&mut self, now: Timestamp) {
        if now >= self.seen {
            return;
        }
        for instant in [&mut self.since, &mut self.began, &mut self.seen] {
            *instant = now.min(*instant);
        }
        // Else an operator's word of now would be older than what it is to overrule.
        if let Some(closure) = &mut self.closure {
            closure.started = closure.started.min(now);
        }
        if let Some(breach) = &mut self.breach {
            breach.at = breach.at.min(now);
        }
    }

    /// The next phase, or the changes within this one as `self`.
    fn step(&mut self, given: Given<'_>, drained: bool) -> Option<Self> {
        match self.phase {
            Phase::Open => self.open(given),
            Phase::Draining => self.draining(given, drained),
            Phase::Closed => self.closed(given),
            Phase::Verifying => self.verifying(given),
            Phase::Ramping => self.ramping(given),
        }
    }

    fn open(&mut self, given: Given<'_>) -> Option<Self> {
        if let Some(demand) = given.demand {
            return Some(self.down(given, demand));
        }
        let guard = given.policy.guard.filter(|_| self.watched);
        let Some(guard) = guard else {
            (self.watched, self.breach) = (false, None);
            return None;
        };
        if given.now >= after(self.began, guard.watch) {
            (self.watched, self.breach, self.closure) = (false, None, None);
            return None;
        }
        match (self.breached(given), guard.on_breach) {
            (Some(breach), OnBreach::Close) => Some(self.shut(given, breach)),
            (breach, OnBreach::Close | OnBreach::HoldRamp | OnBreach::Warn) => {
                self.breach = breach;
                None
            }
        }
    }

    fn draining(&mut self, given: Given<'_>, drained: bool) -> Option<Self> {
        let ends = after(self.began, given.drain).max(self.seen);
        let (at, why) = match drained {
            true => (given.now, "nothing is in flight any more"),
            false => (ends, "the drain time is over"),
        };
        // What is said now was not said before it was closed.
        if ends < given.now {
            return Some(self.close(ends, "the drain time is over"));
        }
        match given.demand {
            // It never was down: whoever asks now is served as before.
            None if self.breach.is_none() => {
                return Some(self.reopen(given, given.now, "lifted before it was drained"));
            }
            None if self.is_forced(given) => return Some(self.back(given)),
            None => {}
            Some(demand) => {
                if let Some(stricter) = self.demanded(given, demand) {
                    return Some(stricter);
                }
            }
        }
        (at <= given.now).then(|| self.close(at, why))
    }

    fn close(&self, at: Timestamp, why: &'static str) -> Self {
        let why = match &self.breach {
            Some(breach) => breach.to_string().into(),
            None => Cow::Borrowed(why),
        };
        Self { phase: Phase::Closed, since: at, why, ..self.clone() }
    }

    fn closed(&mut self, given: Given<'_>) -> Option<Self> {
        match given.demand {
            Some(demand) => self.demanded(given, demand),
            None => match &self.breach {
                Some(breach) if !self.is_forced(given) => {
                    // A window may have said something else meanwhile.
                    self.why = breach.to_string().into();
                    None
                }
                Some(_) | None => Some(self.back(given)),
            },
        }
    }

    fn verifying(&mut self, given: Given<'_>) -> Option<Self> {
        if let Some(demand) = given.demand {
            if let Some(stricter) = self.stricter(given, demand) {
                return Some(stricter);
            }
            let closing = Closing { started: self.started(given.now), demand: demand.clone() };
            let why = flagged(demand).into();
            return Some(Self { phase: Phase::Closed, since: given.now, why, closure: Some(closing), ..self.clone() });
        }
        if self.is_forced(given) {
            return Some(self.opens(given, given.now, "an operator opened it without the checks"));
        }
        let checks = &given.policy.verify;
        if checks.is_empty() {
            return Some(self.opens(given, given.now, "no checks are configured any more"));
        }
        let results = given.observed.checked(self.began);
        let passed = checks.iter().zip(results).filter(|(check, result)| result.passed >= check.times);
        let (count, at) = passed.fold((0, self.began), |(count, at), (_, result)| {
            (count + 1, result.at.map_or(at, |passed| passed.max(at)))
        });
        if count == checks.len() {
            return Some(self.opens(given, at.min(given.now), "every check has passed"));
        }
        let failure = checks.iter().zip(results).find_map(|(check, result)| Some((check, result.failure.as_deref()?)));
        self.why = match failure {
            Some((Check { region: Some(region), .. }, failure)) => {
                format!("a check fails in {region}: {failure}").into()
            }
            Some((_, failure)) => format!("a check fails: {failure}").into(),
            None => format!("{count} of {} checks have passed", checks.len()).into(),
        };
        None
    }

    fn ramping(&mut self, given: Given<'_>) -> Option<Self> {
        let Some(ramp) = given.policy.ramp.as_ref() else {
            return Some(match given.demand {
                Some(demand) => self.down(given, demand),
                None => self.reopen(given, given.now, "no ramp is configured any more"),
            });
        };
        let (breach, on_breach) = (self.breached(given), given.policy.guard.map(|guard| guard.on_breach));
        if breach.is_some() && on_breach == Some(OnBreach::HoldRamp) {
            // The time since the last look does not count.
            self.began = self.began.checked_add(given.now.duration_since(self.seen)).unwrap_or(given.now);
            self.began = self.began.min(given.now);
        }
        // One that is shorter now than it was at the last look did not end before that.
        let over = after(self.began, ramp.length()).max(self.seen);
        match (given.demand, breach) {
            // What is so now was not so before everybody was in.
            _ if over < given.now => return Some(self.reopen(given, over, "everybody is admitted")),
            (Some(demand), _) => return Some(self.down(given, demand)),
            (None, Some(breach)) if on_breach == Some(OnBreach::Close) => return Some(self.shut(given, breach)),
            (None, _) if over == given.now => return Some(self.reopen(given, over, "everybody is admitted")),
            (None, breach) => self.breach = breach,
        }
        let elapsed = Duration::try_from(given.now.duration_since(self.began)).unwrap_or_default();
        self.share = self.share.max(share(ramp, elapsed));
        None
    }

    /// Down: because it is flagged.
    fn down(&self, given: Given<'_>, demand: &Demand) -> Self {
        // What was written into the file only now did not begin to drain before, whatever it says.
        let started = demand.started.unwrap_or(given.now).min(given.now);
        Self {
            phase: Phase::Draining,
            since: given.now,
            why: flagged(demand).into(),
            closure: Some(Closing { started, demand: demand.clone() }),
            began: given.now,
            share: 0.0,
            watched: false,
            baseline: given.observed.lately.or(self.baseline),
            breach: None,
            seen: self.seen,
        }
    }

    /// Down again: because its guard says so.
    fn shut(&self, given: Given<'_>, breach: Breach) -> Self {
        let closing = self.closure.clone().unwrap_or_else(|| Closing::bare(given.now));
        Self {
            phase: Phase::Draining,
            since: given.now,
            why: breach.to_string().into(),
            closure: Some(closing),
            began: given.now,
            share: 0.0,
            watched: false,
            breach: Some(breach),
            ..self.clone()
        }
    }

    /// A stricter mode: what the one before let through is to end, too.
    fn stricter(&self, given: Given<'_>, demand: &Demand) -> Option<Self> {
        let before = self.closure.as_ref()?;
        (demand.mode > before.demand.mode).then(|| {
            let closing = Closing { started: before.started, demand: demand.clone() };
            let (baseline, breach) = (self.baseline, self.breach.clone());
            Self { closure: Some(closing), baseline, breach, ..self.down(given, demand) }
        })
    }

    /// What is demanded of a route that is down: that it goes down again, or perhaps the same in other words.
    fn demanded(&mut self, given: Given<'_>, demand: &Demand) -> Option<Self> {
        // A window that begins by itself, and ends so, says nothing of what the guard found.
        if self.breach.is_some() && (demand.by_hand || self.is_forced(given)) {
            self.breach = None;
            self.why = flagged(demand).into();
            // An operator's word from before is not for this one.
            if let Some(closure) = self.closure.as_mut().filter(|_| demand.by_hand) {
                closure.started = given.now;
            }
        }
        if let Some(stricter) = self.stricter(given, demand) {
            return Some(stricter);
        }
        match &mut self.closure {
            Some(_) if self.breach.is_some() => {}
            Some(closure) if closure.demand == *demand => {}
            Some(closure) => {
                let told = |demand: &Demand| (demand.mode, demand.source.clone(), demand.overruns);
                if told(&closure.demand) != told(demand) {
                    self.why = flagged(demand).into();
                }
                closure.demand = demand.clone();
            }
            none => *none = Some(Closing { started: self.since, demand: demand.clone() }),
        }
        None
    }

    /// The maintenance is over: checks first, where there are any.
    fn back(&self, given: Given<'_>) -> Self {
        let until = self.closure.as_ref().and_then(|closure| closure.demand.until);
        let past = |instant: &Timestamp| *instant <= given.now && *instant >= self.since;
        let why = match given.over.filter(past).or(until.filter(past)) {
            _ if self.breach.is_some() => "an operator opened it",
            Some(_) => "its time is over",
            None => "the flag was lifted",
        };
        let at = given.now;
        if given.policy.verify.is_empty() || self.is_forced(given) {
            return self.opens(given, at, why);
        }
        Self { phase: Phase::Verifying, since: at, why: Cow::Borrowed(why), began: at, breach: None, ..self.clone() }
    }

    /// It may open: by a ramp, where there is one.
    fn opens(&self, given: Given<'_>, at: Timestamp, why: &'static str) -> Self {
        let held = self.closure.as_ref().is_some_and(|closure| closure.demand.mode == Mode::Hold);
        match &given.policy.ramp {
            Some(_) if !held => Self {
                phase: Phase::Ramping,
                since: at,
                why: Cow::Borrowed(why),
                began: at,
                share: 0.0,
                breach: None,
                ..self.clone()
            },
            Some(_) | None => self.reopen(given, at, why),
        }
    }

    fn reopen(&self, given: Given<'_>, at: Timestamp, why: &'static str) -> Self {
        let was_down = self.phase != Phase::Draining;
        let watched = was_down && given.policy.guard.is_some();
        Self {
            phase: Phase::Open,
            since: at,
            why: Cow::Borrowed(why),
            closure: self.closure.clone().filter(|_| watched),
            began: at,
            share: 0.0,
            watched,
            breach: None,
            ..self.clone()
        }
    }

    fn breached(&self, given: Given<'_>) -> Option<Breach> {
        let guard = given.policy.guard.as_ref()?;
        match &given.observed.measured {
            Some(measured) => judge(guard, measured, self.baseline.as_ref(), given.now),
            // Nothing is known yet, after a restart: it is as it was.
            None => self.breach.clone(),
        }
    }

    /// Whether an operator has overruled what was found: by a word that is younger than the closure, and than the breach.
    fn is_forced(&self, given: Given<'_>) -> bool {
        // One that is still to come was written by a clock that is ahead: it counts when it is time.
        let Some(forced) = given.forced.filter(|forced| *forced <= given.now) else { return false };
        match (&self.breach, &self.closure) {
            (Some(breach), _) => forced > breach.at,
            (None, Some(closure)) => forced >= closure.started,
            (None, None) => false,
        }
    }

    fn started(&self, now: Timestamp) -> Timestamp {
        self.closure.as_ref().map_or(now, |closure| closure.started)
    }

    /// The next instant at which something changes by itself, if nothing else does before.
    pub fn next_change(&self, given: Given<'_>) -> Option<Timestamp> {
        let instant = match self.phase {
            Phase::Open => given.policy.guard.filter(|_| self.watched).map(|guard| after(self.began, guard.watch)),
            Phase::Draining => Some(after(self.began, given.drain)),
            Phase::Closed | Phase::Verifying => None,
            Phase::Ramping => given.policy.ramp.as_ref().map(|ramp| next_tick(ramp, self.began, given.now)),
        };
        instant.filter(|instant| *instant > given.now)
    }

    /// What comes next, and when, as far as that is known.
    pub fn next(&self, given: Given<'_>) -> Option<(Phase, Option<Timestamp>)> {
        let Policy { ramp, verify, .. } = given.policy;
        let held = self.closure.as_ref().is_some_and(|closure| closure.demand.mode == Mode::Hold);
        let opening = if ramp.is_some() && !held { Phase::Ramping } else { Phase::Open };
        match self.phase {
            Phase::Open => None,
            Phase::Draining => Some((Phase::Closed, Some(after(self.began, given.drain)))),
            // It waits for an operator.
            Phase::Closed if self.breach.is_some() => None,
            Phase::Closed => {
                let next = if verify.is_empty() { opening } else { Phase::Verifying };
                Some((next, given.demand.and_then(|demand| demand.until)))
            }
            Phase::Verifying => Some((opening, None)),
            Phase::Ramping => Some((Phase::Open, ramp.as_ref().map(|ramp| after(self.began, ramp.length())))),
        }
    }

    /// Whether it is worth to be remembered over a restart.
    pub fn is_plain(&self) -> bool {
        self.phase == Phase::Open && !self.watched
    }
}

fn flagged(demand: &Demand) -> String {
    let mode = demand.mode.as_str();
    match &demand.source {
        Source::Flag => format!("flagged {mode}"),
        Source::Window(id) if demand.overruns => format!("{mode} by window {id}, which is overrunning"),
        Source::Window(id) => format!("{mode} by window {id}"),
    }
}

/// Phases that one look may lead through.
pub(super) const MOST_TRANSITIONS: usize = 8;
