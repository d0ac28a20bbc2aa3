//! Compiles the inputs into a snapshot: which routes are closed, why, until when, and what they show.
//!
//! The core cannot fail: whatever could be wrong with the inputs was a [`super::problem::Problem`] before.

mod causes;
mod notices;
mod pages;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::config::{Config, RouteConfig, Upstream};
use super::flags::Flags;
use super::lifecycle::{Desired, Observed, Phase, RouteInputs, RouteState, Transition};
use super::page::Renderer;
use super::pass::{Admission, Key};
use super::snapshot::{LONG, Route, Snapshot, Source, Table};

use causes::{Cause, Causes, desired_of};
use pages::{Life, Pages};

/// Everything a snapshot is a function of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// The config.
    pub config: &'i Config,
    /// The flag file.
    pub flags: &'i Flags,
    /// What prints the pages.
    pub renderer: &'i Arc<Renderer>,
    /// What was remembered and observed of the routes.
    pub known: &'i Known,
    /// What was live before: routes go on from there, and a page that tells the same is kept.
    pub previous: Option<&'i Snapshot>,
    /// The instant to compile for.
    pub now: Timestamp,
    /// The number of this publication.
    pub generation: u64,
}

/// What is known of the routes besides what the files say, by name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What an earlier process remembered; where there is a previous snapshot, that counts.
    pub remembered: HashMap<String, RouteState>,
    /// What is observed.
    pub observed: HashMap<String, Observed>,
    /// The secrets of their bypasses.
    pub secrets: HashMap<String, Arc<Key>>,
}

/// Compiles. The result holds until [`Snapshot::next_change`] or until an input changes.
pub fn compile(inputs: Inputs<'_>) -> Snapshot {
    let Inputs { config, flags, now, .. } = inputs;
    let missed = MissedChanges::new(&inputs);
    let layout = Layout::of(config, inputs.previous);
    // How every route is must be known before a page is made: its table may tell it.
    let lives: Vec<Life<'_>> =
        config.routes.iter().enumerate().map(|(index, route)| life(&inputs, &missed, &layout, index, route)).collect();
    let mut pages = Pages::new(&inputs, &lives);
    let announced = notices::Announcements::new(flags, now);
    let routes = lives.iter().zip(&config.routes).zip(layout.upstreams_of).enumerate();
    let routes: Vec<Route> = routes
        .map(|(index, ((life, config), upstreams))| {
            let closure = pages.close(life);
            let announced = announced.of(&config.name);
            let started = closure.as_ref().map(|closure| closure.started);
            Route {
                index,
                config: Arc::clone(config),
                upstreams,
                state: Arc::clone(&life.state),
                transitions: life.transitions.clone(),
                next: life.next,
                epoch: life.epoch,
                admission: admission(&inputs, config),
                notice: notices::notice(closure.as_deref(), &announced),
                open: notices::open(&announced),
                announced,
                long: started.is_some_and(|started| now.duration_since(started) >= LONG),
                closure,
            }
        })
        .collect();
    Snapshot {
        generation: inputs.generation,
        compiled: now,
        next_change: next_change(&inputs, &lives, &routes, &pages),
        limits: Arc::new(config.limits.clone()),
        trusted_proxies: config.trusted_proxies.clone(),
        drain: config.drain,
        log: config.log.clone(),
        reserved: config.page.prefix.clone(),
        renderer: Arc::clone(inputs.renderer),
        pages: pages.made,
        table: layout.table,
        routes,
        upstreams: layout.upstreams,
    }
}

/// Whether something was observed, or has come of time, that changes how a route of a snapshot is that is in motion.
pub fn is_due(inputs: Inputs<'_>, live: &Snapshot) -> bool {
    let causes = Causes::new(inputs.flags, inputs.now);
    live.routes.iter().filter(|route| route.is_in_motion()).any(|route| {
        let desired = causes.of(&route.config.name).as_deref().map(desired_of);
        let over = over(&inputs, &route.state, inputs.now);
        let (state, transitions) = route.state.advance(route_inputs(&inputs, &route.config, desired.as_ref(), over));
        let tripped = state.breach().is_some() != route.state.breach().is_some();
        !transitions.is_empty() || tripped || state.reason() != route.state.reason()
    })
}

/// What the flag file says now, and what it said at each instant since the last look at which that has changed by itself:
/// what came and went meanwhile is made up for, so that a proxy that was late is where a punctual one is.
struct MissedChanges<'f> {
    missed: Vec<(Timestamp, Causes<'f>)>,
    now: Causes<'f>,
}

impl<'f> MissedChanges<'f> {
    fn new(inputs: &Inputs<'f>) -> Self {
        let (flags, now) = (inputs.flags, inputs.now);
        let next = |at: Timestamp| causes::next_change(flags, at).filter(|next| *next < now);
        let missed = std::iter::successors(last_look(inputs).and_then(next), |at| next(*at)).take(MOST_MISSED);
        Self { missed: missed.map(|at| (at, Causes::new(flags, at))).collect(), now: Causes::new(flags, now) }
    }

    /// What was demanded of a route when.
    fn desires(&self, route: &str) -> impl Iterator<Item = (Timestamp, Option<Desired>)> {
        self.missed.iter().map(move |(at, causes)| (*at, causes.of(route).as_deref().map(desired_of)))
    }
}

/// Until when nothing was missed.
///
/// What is live held until its next change. That the flag file tells of something before is an edit, and that counts from
/// now; but it took a moment until it was read, in one replica longer than in the other.
fn last_look(inputs: &Inputs<'_>) -> Option<Timestamp> {
    let Some(live) = inputs.previous else {
        return inputs.known.remembered.values().map(RouteState::seen).min();
    };
    let held = live.next_change.and_then(|next| next.checked_sub(SignedDuration::from_nanos(1)).ok());
    let read = inputs.now.checked_sub(READ_WITHIN).unwrap_or(Timestamp::MIN);
    Some(held.unwrap_or(read).min(read).max(live.compiled))
}

/// Where a route is now: on from where it was before.
fn life<'i>(
    inputs: &Inputs<'i>,
    missed: &MissedChanges<'i>,
    layout: &Layout<'i>,
    index: usize,
    config: &'i RouteConfig,
) -> Life<'i> {
    let before = match layout.unchanged {
        Some(previous) => previous.routes.get(index),
        None => inputs.previous.and_then(|previous| previous.route(&config.name)),
    };
    let causes = missed.now.of(&config.name);
    let desired = causes.as_deref().map(desired_of);
    let route_inputs = route_inputs(inputs, config, desired.as_ref(), None);
    let (state, transitions) = advance(inputs, missed, config, before, route_inputs);
    let next = state.next(route_inputs);
    let changes_at = state.next_change(route_inputs);
    // It is told only of what is why: what its guard found may be, all the same.
    let heeded = state.closing().is_some_and(|closing| Some(&closing.desired) == desired.as_ref());
    Life {
        epoch: epoch(before, &state, &transitions, inputs.generation),
        before: before.and_then(|before| before.closure.as_deref()),
        cause: causes.filter(|_| heeded).and_then(|causes| speaker(&causes)),
        name: &config.name,
        policy: &config.policy,
        state,
        transitions,
        next,
        changes_at,
    }
}

/// What a route's phase is worked out from.
fn route_inputs<'g>(
    inputs: &Inputs<'g>,
    config: &'g RouteConfig,
    desired: Option<&'g Desired>,
    over: Option<Timestamp>,
) -> RouteInputs<'g> {
    static NOTHING: Observed = Observed { remaining: None, verification: None, measured: None, lately: None };
    let seldom = !inputs.known.observed.is_empty();
    RouteInputs {
        policy: &config.policy,
        drain: config.policy.drain.unwrap_or(inputs.config.drain),
        desired,
        forced: inputs.flags.forced(&config.name),
        over,
        observed: seldom.then(|| inputs.known.observed.get(&config.name)).flatten().unwrap_or(&NOTHING),
        now: inputs.now,
    }
}

/// When the window that took a route down was over, if it was at an instant.
fn over(inputs: &Inputs<'_>, state: &RouteState, now: Timestamp) -> Option<Timestamp> {
    let closing = state.closing()?;
    let Source::Window(id) = &closing.desired.source else { return None };
    let window = inputs.flags.windows.iter().find(|window| window.id == *id)?;
    window.over(closing.planned()).filter(|over| *over <= now)
}

fn advance(
    inputs: &Inputs<'_>,
    missed: &MissedChanges<'_>,
    config: &RouteConfig,
    before: Option<&Route>,
    route_inputs: RouteInputs<'_>,
) -> (Arc<RouteState>, Vec<Transition>) {
    let name = &config.name;
    // Most routes are open and stay so: they cost nothing.
    if let Some(before) = before
        && before.state.is_plain()
        && route_inputs.desired.is_none()
        && before.state.since() <= route_inputs.now
        && missed.desires(name).all(|(_, desired)| desired.is_none())
    {
        return (Arc::clone(&before.state), Vec::new());
    }
    let remembered = match before {
        Some(before) => (*before.state).clone(),
        None => match inputs.known.remembered.get(name) {
            Some(remembered) => remembered.clone().restarted(),
            None => return (Arc::new(RouteState::first(route_inputs)), Vec::new()),
        },
    };
    // What is observed is so now, and was of where the route was at the last look.
    let unseen = Observed { lately: route_inputs.observed.lately, ..Observed::default() };
    let (from, mut state, mut transitions) = (remembered.seen(), remembered, Vec::new());
    for (at, desired) in missed.desires(name).filter(|(at, _)| *at > from) {
        let over = over(inputs, &state, at);
        let then = RouteInputs { desired: desired.as_ref(), over, observed: &unseen, now: at, ..route_inputs };
        let (next, made) = state.advance(then);
        state = next;
        transitions.extend(made);
    }
    let observed = if transitions.is_empty() { route_inputs.observed } else { &unseen };
    let over = over(inputs, &state, route_inputs.now);
    let (state, made) = state.advance(RouteInputs { over, observed, ..route_inputs });
    transitions.extend(made);
    (Arc::new(state), transitions)
}

/// Who may pass a route. It stays the previous one unless the secret or what is revoked has changed.
fn admission(inputs: &Inputs<'_>, config: &Arc<RouteConfig>) -> Option<Arc<Admission>> {
    if config.policy.bypass.is_none() && config.policy.ramp.is_none() {
        return None;
    }
    let key = inputs.known.secrets.get(&config.name);
    let revoked = inputs.flags.revoked(&config.name);
    let before = inputs.previous.and_then(|previous| previous.route(&config.name)?.admission.as_ref());
    match before.filter(|before| before.is_of(key, revoked)) {
        Some(before) => Some(Arc::clone(before)),
        None => Admission::new(config, key, revoked).map(Arc::new),
    }
}

/// The first generation of the closure: a new one where the route has just gone down.
fn epoch(before: Option<&Route>, state: &RouteState, transitions: &[Transition], generation: u64) -> u64 {
    let went_down = transitions.iter().any(|transition| transition.to == Phase::Draining);
    match before {
        Some(before) if state.phase() != Phase::Open && !went_down => before.epoch,
        Some(_) | None => generation,
    }
}

/// Whose words are told: the first that has any.
fn speaker<'f>(causes: &[Cause<'f>]) -> Option<Cause<'f>> {
    causes.iter().find(|cause| cause.has_words()).or(causes.first()).copied()
}

/// The next instant at which something changes by itself.
fn next_change(inputs: &Inputs<'_>, lives: &[Life<'_>], routes: &[Route], pages: &Pages<'_>) -> Option<Timestamp> {
    let now = inputs.now;
    let ticks = pages.made.values().filter_map(|page| page.model.next_change(now));
    let young = routes.iter().filter(|route| !route.long).filter_map(|route| route.closure.as_ref());
    let ages = young.filter_map(|closure| closure.started.checked_add(LONG).ok());
    let lives = lives.iter().filter_map(|life| life.changes_at);
    causes::next_change(inputs.flags, now).into_iter().chain(ticks).chain(ages).chain(lives).min()
}

/// What follows from the config's routes alone.
struct Layout<'i> {
    table: Arc<Table>,
    upstreams: Arc<[Upstream]>,
    /// By the index of the route: indexes into `upstreams`.
    upstreams_of: Vec<Arc<[usize]>>,
    /// The previous snapshot, if it has these very routes.
    unchanged: Option<&'i Snapshot>,
}

impl<'i> Layout<'i> {
    /// Shares the previous snapshot's if only the flag file or the time has changed: a flag among ten thousand routes must
    /// not cost what ten thousand routes cost.
    fn of(config: &Config, previous: Option<&'i Snapshot>) -> Self {
        match previous.filter(|previous| has_routes_of(previous, config)) {
            Some(previous) => Self {
                table: Arc::clone(&previous.table),
                upstreams: Arc::clone(&previous.upstreams),
                upstreams_of: previous.routes.iter().map(|route| Arc::clone(&route.upstreams)).collect(),
                unchanged: Some(previous),
            },
            None => Self::new(config),
        }
    }

    fn new(config: &Config) -> Self {
        let mut upstreams = Upstreams::default();
        let indexes = |route: &Arc<RouteConfig>| route.upstreams.iter().map(|one| upstreams.index_of(one)).collect();
        let upstreams_of = config.routes.iter().map(indexes).collect();
        Self {
            table: Arc::new(Table::new(&config.routes)),
            upstreams: upstreams.list.into(),
            upstreams_of,
            unchanged: None,
        }
    }
}

/// Whether a snapshot was compiled from the very routes of a config: not merely equal ones, which would take longer to see.
fn has_routes_of(snapshot: &Snapshot, config: &Config) -> bool {
    snapshot.routes.len() == config.routes.len()
        && snapshot.routes.iter().zip(&config.routes).all(|(route, config)| Arc::ptr_eq(&route.config, config))
}

/// Upstreams met so far, each once.
#[derive(Default)]
struct Upstreams {
    list: Vec<Upstream>,
    index: HashMap<Upstream, usize>,
}

impl Upstreams {
    fn index_of(&mut self, upstream: &Upstream) -> usize {
        *self.index.entry(upstream.clone()).or_insert_with(|| {
            self.list.push(upstream.clone());
            self.list.len() - 1
        })
    }
}

/// Instants that are made up for after a long sleep. A week of an hourly window has fewer; of what is longer ago nothing is
/// left but what is so now.
const MOST_MISSED: usize = 512;
/// An edit is read after so long, at the latest: a writer may pause, and events may be lost.
const READ_WITHIN: SignedDuration = SignedDuration::from_secs(10);
