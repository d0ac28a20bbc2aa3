//! Compiles the inputs into a snapshot: which routes are closed, why, until when, and what they show.
//!
//! The core cannot fail: whatever could be wrong with the inputs was a [`super::problem::Problem`] before.

mod causes;
mod notices;
mod pages;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::config::{Config, RouteConfig, Upstream};
use super::flags::Flags;
use super::lifecycle::{Demand, Given, Memory, Observed, Phase, Transition};
use super::page::Press;
use super::pass::{Admission, Key};
use super::snapshot::{LONG, Route, Snapshot, Source, Table};

use causes::{Cause, Causes, demand_of};
use pages::{Life, Pages};

/// Everything a snapshot is a function of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// The config.
    pub config: &'i Config,
    /// The flag file.
    pub flags: &'i Flags,
    /// What prints the pages.
    pub press: &'i Arc<Press>,
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
    pub memories: HashMap<String, Memory>,
    /// What is observed.
    pub observed: HashMap<String, Observed>,
    /// The secrets of their bypasses.
    pub secrets: HashMap<String, Arc<Key>>,
}

/// Compiles. The result holds until [`Snapshot::next_change`] or until an input changes.
pub fn compile(inputs: Inputs<'_>) -> Snapshot {
    let Inputs { config, flags, now, .. } = inputs;
    let causes = Causes::new(flags, now);
    let layout = Layout::of(config, inputs.previous);
    // How every route is must be known before a page is made: its table may tell it.
    let lives: Vec<Life<'_>> =
        config.routes.iter().enumerate().map(|(index, route)| life(&inputs, &causes, &layout, index, route)).collect();
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
                life: Arc::clone(&life.memory),
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
        press: Arc::clone(inputs.press),
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
        let demand = causes.of(&route.config.name).as_deref().map(demand_of);
        let given = Given { over: over(&inputs, Some(&route.life)), ..given(&inputs, &route.config, demand.as_ref()) };
        let (memory, transitions) = route.life.advance(given);
        let tripped = memory.breach.is_some() != route.life.breach.is_some();
        !transitions.is_empty() || tripped || memory.why != route.life.why
    })
}

/// Where a route is now: on from where it was before.
fn life<'i>(
    inputs: &Inputs<'i>,
    causes: &Causes<'i>,
    layout: &Layout<'i>,
    index: usize,
    config: &'i RouteConfig,
) -> Life<'i> {
    let before = match layout.unchanged {
        Some(previous) => previous.routes.get(index),
        None => inputs.previous.and_then(|previous| previous.route(&config.name)),
    };
    let causes = causes.of(&config.name);
    let demand = causes.as_deref().map(demand_of);
    let remembered = before.map(|before| &*before.life).or_else(|| inputs.known.memories.get(&config.name));
    let given = Given { over: over(inputs, remembered), ..given(inputs, config, demand.as_ref()) };
    let (memory, transitions) = advance(inputs, &config.name, before, given);
    let next = if memory.phase == Phase::Open { None } else { memory.next(given) };
    let changes_at = memory.next_change(given);
    Life {
        epoch: epoch(before, &memory, &transitions, inputs.generation),
        before: before.and_then(|before| before.closure.as_deref()),
        cause: causes.and_then(|causes| speaker(&causes)),
        name: &config.name,
        policy: &config.policy,
        memory,
        transitions,
        next,
        changes_at,
    }
}

/// What a route's phase is worked out from.
fn given<'g>(inputs: &Inputs<'g>, config: &'g RouteConfig, demand: Option<&'g Demand>) -> Given<'g> {
    static NOTHING: Observed = Observed { remaining: None, verification: None, measured: None, lately: None };
    let seldom = !inputs.known.observed.is_empty();
    Given {
        policy: &config.policy,
        drain: config.policy.drain.unwrap_or(inputs.config.drain),
        demand,
        forced: inputs.flags.forced(&config.name),
        over: None,
        observed: seldom.then(|| inputs.known.observed.get(&config.name)).flatten().unwrap_or(&NOTHING),
        now: inputs.now,
    }
}

/// When the window that took a route down was over.
fn over(inputs: &Inputs<'_>, memory: Option<&Memory>) -> Option<Timestamp> {
    let closing = memory?.closure.as_ref()?;
    let Source::Window(id) = &closing.demand.source else { return None };
    let window = inputs.flags.windows.iter().find(|window| window.id == *id)?;
    window.over(closing.started).filter(|over| *over <= inputs.now)
}

fn advance(
    inputs: &Inputs<'_>,
    name: &str,
    before: Option<&Route>,
    given: Given<'_>,
) -> (Arc<Memory>, Vec<Transition>) {
    // Most routes are open and stay so: they cost nothing.
    if let Some(before) = before
        && before.life.is_plain()
        && given.demand.is_none()
        && before.life.since <= given.now
    {
        return (Arc::clone(&before.life), Vec::new());
    }
    let advanced = match before.map(|before| &*before.life) {
        Some(life) => life.advance(given),
        None => match inputs.known.memories.get(name) {
            Some(remembered) => remembered.clone().restarted().advance(given),
            None => (Memory::first(given), Vec::new()),
        },
    };
    (Arc::new(advanced.0), advanced.1)
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
fn epoch(before: Option<&Route>, memory: &Memory, transitions: &[Transition], generation: u64) -> u64 {
    let went_down = transitions.iter().any(|transition| transition.to == Phase::Draining);
    match before {
        Some(before) if memory.phase != Phase::Open && !went_down => before.epoch,
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
    let ticks = pages.made.values().filter_map(|page| page.facts.next_change(now));
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
