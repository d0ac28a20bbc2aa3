//! Compiles the inputs into a snapshot: closed routes with their reasons, their ends and their pages.
//!
//! Compiling cannot fail. Everything that could be wrong with the inputs was a [`super::problem::Problem`] before.

mod ahead;
mod anew;
mod banners;
mod causes;
mod fresh;
mod in_use;
mod memory;
mod notices;
mod pages;
mod plans;
mod steps;
mod undone;
mod waves;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::config::{Config, RouteConfig, Upstream};
use super::flags::Flags;
use super::lifecycle::{Desired, Learned, Observed, Phase, Reason, RouteInputs, RouteState, Transition};
use super::page::Renderers;
use super::pass::{Admission, Key, Keys};
use super::snapshot::{LONG, Route, Snapshot, Source, Table};

use causes::{Cause, Causes};
pub use memory::Memory;
use pages::{Pages, RouteDraft};

/// Inputs that fully determine a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// The config.
    pub config: &'i Config,
    /// The flag file.
    pub flags: &'i Flags,
    /// Renderers of the pages.
    pub renderers: &'i Renderers,
    /// Remembered and observed facts about the routes.
    pub known: &'i Known,
    /// Snapshot that was live before. Routes continue from their states there, and pages with the same content are
    /// kept.
    pub previous: Option<&'i Snapshot>,
    /// Instant to compile for.
    pub now: Timestamp,
    /// Number of this publication.
    pub generation: u64,
}

/// Facts about the routes besides the files, by name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Memory of an earlier process. A previous snapshot comes before it.
    pub memory: Memory,
    /// States of the routes at other replicas, for a process without memory.
    pub learned: HashMap<String, Learned>,
    /// Observations.
    pub observed: HashMap<String, Observed>,
    /// Secrets of the bypasses.
    pub secrets: HashMap<String, Arc<Key>>,
    /// Numbers of clients that watch a closed route.
    pub watchers: HashMap<String, u64>,
}

/// Compiles a snapshot. The result is valid until [`Snapshot::next_change`] or until an input changes.
pub fn compile(inputs: Inputs<'_>) -> Snapshot {
    let Inputs { config, flags, now, .. } = inputs;
    let missed = MissedChanges::new(&inputs);
    let layout = Layout::of(config, inputs.previous);
    // Every route's state comes before the pages, because a page may list services that follow it.
    let drafts: Vec<RouteDraft<'_>> = config
        .routes
        .iter()
        .enumerate()
        .map(|(index, route)| draft_route(&inputs, &missed, &layout, index, route))
        .collect();
    let mut pages = Pages::new(&inputs, &drafts);
    let announced = notices::Announcements::new(flags, now);
    let mut banners = banners::Banners::new(&inputs);
    let plans = plans::Plans::new(flags, now);
    let turns = turns_key(&inputs);
    // The pages of closed routes come first: those of open ones can wait to be finished.
    let closures: Vec<_> = drafts.iter().map(|draft| pages.close(draft)).collect();
    let routes = drafts.iter().zip(&config.routes).zip(layout.upstreams_of).zip(closures).enumerate();
    let routes: Vec<Route> = routes
        .map(|(index, (((draft, config), upstreams), closure))| {
            let announced = announced.of(&config.name);
            let started = closure.as_ref().map(|closure| closure.started);
            let choice = in_use::choice(&inputs, config, &upstreams, &layout.upstreams);
            Route {
                index,
                config: Arc::clone(config),
                renderer: Arc::clone(inputs.renderers.of(config)),
                portions: choice.portions,
                in_use: choice.in_use,
                withdrawn: choice.withdrawn,
                left_out: choice.outs.left_out,
                spared: choice.outs.spared,
                upstreams,
                state: Arc::clone(&draft.state),
                transitions: draft.transitions.clone(),
                next: draft.next,
                epoch: draft.epoch,
                admission: admission(&inputs, turns, config),
                notice: notices::notice(closure.as_deref(), &announced),
                banner: banners.of(config, &announced),
                running: pages.running(config, announced.first()),
                open: notices::open(&announced, draft.wave.as_ref()),
                wave: draft.wave.clone(),
                announced,
                planned: plans.of(&config.name),
                undone: undone::undone(draft, now).titles,
                long: started.is_some_and(|started| now.duration_since(started) >= LONG),
                closure,
            }
        })
        .collect();
    Snapshot {
        generation: inputs.generation,
        compiled: now,
        next_change: next_change(&inputs, &drafts, &routes, &pages),
        limits: Arc::new(config.limits.clone()),
        trusted_proxies: config.trusted_proxies.clone(),
        drain: config.drain,
        trace: config.trace,
        response: config.response.clone(),
        log: config.log.clone(),
        reserved: config.page.prefix.clone(),
        sets_cookies: turns.is_some(),
        renderer: Arc::clone(&inputs.renderers.general),
        pages: pages.made,
        banners: banners.made,
        table: layout.table,
        routes,
        upstreams: layout.upstreams,
        ahead: ahead::starts(flags, now),
    }
}

/// Returns true if time or an observation would change the state of a route in transition.
pub fn is_due(inputs: Inputs<'_>, live: &Snapshot) -> bool {
    let causes = Causes::new(inputs.flags, inputs.now);
    let moves = live.routes.iter().filter(|route| route.is_in_motion()).any(|route| {
        let desired = causes.desired(&route.config.name);
        let over = over(&inputs, &route.state, inputs.now);
        let (state, transitions) = route.state.advance(route_inputs(&inputs, &route.config, desired.as_ref(), over));
        let tripped = state.breach().is_some() != route.state.breach().is_some();
        !transitions.is_empty() || tripped || state.reason() != route.state.reason()
    });
    moves || in_use::is_due(&inputs, live)
}

/// Causes in force now, and at each instant since the last evaluation at which they changed by themselves.
/// Those instants are replayed, so that a proxy that was late arrives at the same state as a punctual one.
struct MissedChanges<'f> {
    missed: Vec<(Timestamp, Causes<'f>)>,
    now: Causes<'f>,
}

impl<'f> MissedChanges<'f> {
    fn new(inputs: &Inputs<'f>) -> Self {
        Self::since(inputs.flags, last_evaluation(inputs), inputs.now)
    }

    fn since(flags: &'f Flags, last: Option<Timestamp>, now: Timestamp) -> Self {
        let next = |at: Timestamp| causes::next_change(flags, at).filter(|next| *next < now);
        let missed = std::iter::successors(last.and_then(next), |at| next(*at)).take(MOST_MISSED);
        Self { missed: missed.map(|at| (at, Causes::new(flags, at))).collect(), now: Causes::new(flags, now) }
    }

    /// Returns the demands for a route, with their instants.
    fn desires(&self, route: &str) -> impl Iterator<Item = (Timestamp, Option<Desired>)> {
        self.missed.iter().map(move |(at, causes)| (*at, causes.desired(route)))
    }
}

/// Returns the instant up to which nothing was missed.
///
/// The live snapshot was valid until its next change. If the flag file now names an earlier instant, the file was
/// edited, and an edit counts from now. Reading it took a moment, which differs between replicas.
fn last_evaluation(inputs: &Inputs<'_>) -> Option<Timestamp> {
    let Some(live) = inputs.previous else {
        return match &inputs.known.memory {
            Memory::Fresh => fresh::horizon(inputs.config, inputs.now),
            memory @ (Memory::States(_) | Memory::Lost) => memory.seen(),
        };
    };
    let held = live.next_change.and_then(|next| next.checked_sub(SignedDuration::from_nanos(1)).ok());
    let read = inputs.now.checked_sub(READ_WITHIN).unwrap_or(Timestamp::MIN);
    Some(held.unwrap_or(read).min(read).max(live.compiled))
}

/// Advances a route from its last state.
fn draft_route<'i>(
    inputs: &Inputs<'i>,
    missed: &MissedChanges<'i>,
    layout: &Layout<'i>,
    index: usize,
    config: &'i RouteConfig,
) -> RouteDraft<'i> {
    let before = match layout.unchanged {
        Some(previous) => previous.routes.get(index),
        None => inputs.previous.and_then(|previous| previous.route(&config.name)),
    };
    let causes = missed.now.of(&config.name);
    let desired = missed.now.desired(&config.name);
    let route_inputs = route_inputs(inputs, config, desired.as_ref(), None);
    let is_reloaded = layout.unchanged.is_none();
    let added = (is_reloaded && desired.is_none()).then(|| anew::added(inputs, config)).flatten();
    let (mut state, mut transitions) = added.unwrap_or_else(|| advance(inputs, missed, config, before, route_inputs));
    let moved = before.filter(|_| is_reloaded).and_then(|before| anew::moved(&state, config, before, route_inputs));
    if let Some((moved, transition)) = moved {
        state = moved;
        transitions.push(transition);
    }
    let next = state.next(route_inputs);
    let changes_at = state.next_change(route_inputs);
    // A cause is shown only if it is the reason for the closure; the guard may be the reason instead.
    let is_shown = state.closing().is_some_and(|closing| {
        Some(&closing.desired) == desired.as_ref() || closing.eases.is_some() && closing.eases == desired
    });
    RouteDraft {
        epoch: epoch(before, &state, &transitions, inputs.generation),
        before: before.and_then(|before| before.closure.as_deref()),
        wave: waves::wave(inputs, config, before, &state, changes_at),
        cause: causes.filter(|_| is_shown).and_then(|causes| primary(&causes)),
        name: &config.name,
        config,
        policy: &config.policy,
        template: config.template.as_ref(),
        state,
        transitions,
        next,
        changes_at,
    }
}

/// Collects the inputs of a route's state.
fn route_inputs<'g>(
    inputs: &Inputs<'g>,
    config: &'g RouteConfig,
    desired: Option<&'g Desired>,
    over: Option<Timestamp>,
) -> RouteInputs<'g> {
    static NOTHING: Observed =
        Observed { remaining: None, verification: None, unwell: Vec::new(), measured: None, lately: None, whole: None };
    let seldom = !inputs.known.observed.is_empty();
    RouteInputs {
        policy: &config.policy,
        drain: config.policy.drain.unwrap_or(inputs.config.drain),
        desired,
        forced: inputs.flags.forced(&config.name),
        over,
        lifted: inputs.flags.lifted(&config.name),
        observed: seldom.then(|| inputs.known.observed.get(&config.name)).flatten().unwrap_or(&NOTHING),
        now: inputs.now,
    }
}

/// Returns the end of the window that took a route down, if it has passed.
fn over(inputs: &Inputs<'_>, state: &RouteState, now: Timestamp) -> Option<Timestamp> {
    let closing = state.closing()?;
    let Source::Window(id) = &closing.desired.source else { return None };
    let window = inputs.flags.window(id)?;
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
    // Most routes are open and stay so. They cost nothing.
    if let Some(before) = before
        && before.state.is_plain()
        && route_inputs.desired.is_none()
        && before.state.since() <= route_inputs.now
        && missed.desires(name).all(|(_, desired)| desired.is_none())
    {
        return (Arc::clone(&before.state), Vec::new());
    }
    let mut transitions = Vec::new();
    let remembered = match (before, inputs.known.memory.of(name)) {
        (Some(before), _) => (*before.state).clone(),
        (None, Some(remembered)) => remembered.clone().restarted(),
        (None, None) => {
            let Some(learned) = inputs.known.learned.get(name) else {
                return first(inputs, missed, config, route_inputs);
            };
            let (joined, told) = learned.joined(route_inputs);
            transitions.extend(told);
            joined
        }
    };
    // Observations describe the present; they must not be applied to instants that are replayed.
    let unseen = Observed { lately: route_inputs.observed.lately, ..Observed::default() };
    let (from, mut state) = (remembered.seen(), remembered);
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

/// Returns the state of a route that nothing is known of. If the memory was lost, its checks come before it opens.
fn first(
    inputs: &Inputs<'_>,
    missed: &MissedChanges<'_>,
    config: &RouteConfig,
    route_inputs: RouteInputs<'_>,
) -> (Arc<RouteState>, Vec<Transition>) {
    match &inputs.known.memory {
        Memory::Lost if route_inputs.desired.is_none() && !route_inputs.policy.verify.is_empty() => {
            let (state, transition) = RouteState::unproven(route_inputs.now);
            (Arc::new(state), vec![transition])
        }
        Memory::Fresh if route_inputs.desired.is_none() => {
            let (state, transitions) = fresh::first(inputs, missed, config, route_inputs);
            (Arc::new(state), transitions)
        }
        Memory::Fresh => {
            let (state, transitions) = fresh::flagged(inputs, config, route_inputs);
            (Arc::new(state), transitions)
        }
        Memory::Lost | Memory::States(_) => (Arc::new(RouteState::first(route_inputs)), Vec::new()),
    }
}

/// Returns the secret that signs the cookies of turns: that of the first route that has one. All routes use it, because
/// a client shows one cookie to all of them.
fn turns_key<'i>(inputs: &Inputs<'i>) -> Option<&'i Arc<Key>> {
    let first = inputs.known.secrets.iter().min_by_key(|(route, _)| route.as_str());
    first.map(|(_, key)| key)
}

/// Returns the means to pass a route. They are the previous ones unless the secret or the revocation has changed.
fn admission(inputs: &Inputs<'_>, turns: Option<&Arc<Key>>, config: &Arc<RouteConfig>) -> Option<Arc<Admission>> {
    if config.policy.bypass.is_none() && !config.policy.admits_shares() {
        return None;
    }
    let keys = Keys { bypass: inputs.known.secrets.get(&config.name), turns };
    let before = inputs.previous.and_then(|previous| previous.route(&config.name)?.admission.as_ref());
    match before.filter(|before| before.is_from(config, keys, inputs.flags)) {
        Some(before) => Some(Arc::clone(before)),
        None => Admission::new(config, keys, inputs.flags).map(Arc::new),
    }
}

/// Returns the first generation of the closure: this one if the route has just gone down.
fn epoch(before: Option<&Route>, state: &RouteState, transitions: &[Transition], generation: u64) -> u64 {
    // A route that is lifted while it drains, or moved, lets the older requests go on. The first generation is older
    // than none.
    let mut marks = transitions.iter().filter_map(|transition| match (transition.from, transition.to) {
        _ if transition.reason == Reason::Moved => Some(0),
        (_, Phase::Draining) => Some(generation),
        (Phase::Draining, Phase::Verifying | Phase::Ramping) => Some(0),
        (_, Phase::Open | Phase::Closed | Phase::Verifying | Phase::Ramping) => None,
    });
    match (marks.next_back(), before) {
        (Some(mark), _) => mark,
        (None, Some(before)) if state.phase() != Phase::Open => before.epoch,
        (None, Some(_) | None) => generation,
    }
}

/// Returns the cause whose texts are shown: the first that has any.
fn primary<'f>(causes: &[Cause<'f>]) -> Option<Cause<'f>> {
    causes.iter().find(|cause| cause.has_words()).or(causes.first()).copied()
}

/// Returns the next instant at which something changes by itself.
fn next_change(
    inputs: &Inputs<'_>,
    drafts: &[RouteDraft<'_>],
    routes: &[Route],
    pages: &Pages<'_>,
) -> Option<Timestamp> {
    let now = inputs.now;
    let ticks = pages.made.values().filter_map(|page| page.model.next_change(now));
    let young = routes.iter().filter(|route| !route.long).filter_map(|route| route.closure.as_ref());
    let ages = young.filter_map(|closure| closure.started.checked_add(LONG).ok());
    let undone = drafts.iter().filter_map(|draft| undone::undone(draft, now).told_from);
    let waves = drafts.iter().filter_map(|draft| Some(draft.wave.as_ref()?.over));
    let drafts = drafts.iter().filter_map(|draft| draft.changes_at);
    causes::next_change(inputs.flags, now)
        .into_iter()
        .chain(ticks)
        .chain(ages)
        .chain(undone)
        .chain(waves)
        .chain(drafts)
        .min()
}

/// Parts of a snapshot that follow from the config's routes alone.
struct Layout<'i> {
    table: Arc<Table>,
    upstreams: Arc<[Upstream]>,
    /// Indexes into `upstreams`, by the index of the route.
    upstreams_of: Vec<Arc<[usize]>>,
    /// Previous snapshot, if it has the same routes.
    unchanged: Option<&'i Snapshot>,
}

impl<'i> Layout<'i> {
    /// Shares the previous layout if only the flag file or the time has changed. The cost of one flag must not grow
    /// with the number of routes.
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
            table: Arc::new(Table::new(&config.routes, config.status.place())),
            upstreams: upstreams.list.into(),
            upstreams_of,
            unchanged: None,
        }
    }
}

/// Returns true if a snapshot was compiled from the same routes by identity. Comparing their values would take longer.
fn has_routes_of(snapshot: &Snapshot, config: &Config) -> bool {
    snapshot.routes.len() == config.routes.len()
        && *snapshot.table.site() == config.status.place()
        && snapshot.routes.iter().zip(&config.routes).all(|(route, config)| Arc::ptr_eq(&route.config, config))
}

/// Collector of upstreams, each once.
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

/// Most instants that are replayed after a long sleep. A week of an hourly window has fewer; older ones leave no trace.
const MOST_MISSED: usize = 512;
/// Longest time until an edit is read: a writer may pause, and events may be lost.
const READ_WITHIN: SignedDuration = SignedDuration::from_secs(10);
