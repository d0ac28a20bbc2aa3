//! Compiles the inputs into a snapshot: which routes are closed, why, until when, and what they show.
//!
//! The core cannot fail: whatever could be wrong with the inputs was a [`super::problem::Problem`] before.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::config::{Config, RouteConfig, Upstream};
use super::flags::{Flag, Flags, Mode, Target, Window};
use super::page::{Page, Words};
use super::snapshot::{Closure, Phase, Route, Snapshot, Source, Table};

/// Everything a snapshot is a function of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// The config.
    pub config: &'i Config,
    /// The flag file.
    pub flags: &'i Flags,
    /// What was live before; a route that stays as it was keeps its `since`.
    pub previous: Option<&'i Snapshot>,
    /// The instant to compile for.
    pub now: Timestamp,
    /// The number of this publication.
    pub generation: u64,
}

/// Compiles. The result holds until [`Snapshot::next_change`] or until an input changes.
pub fn compile(inputs: Inputs<'_>) -> Snapshot {
    let Inputs { config, now, .. } = inputs;
    let causes = Causes::new(inputs.flags, now);
    let layout = Layout::of(config, inputs.previous);
    let mut pages = Pages::default();
    let routes = config.routes.iter().zip(layout.upstreams_of).enumerate().map(|(index, (config, upstreams))| {
        let found = causes.of(&config.name);
        let closure = found.as_deref().map(|found| close(found, now, &mut pages));
        let before = match layout.unchanged {
            Some(previous) => previous.routes.get(index),
            None => inputs.previous.and_then(|previous| previous.route(&config.name)),
        };
        let since = since(before, closure.as_deref(), found.as_deref(), now);
        let phase = if closure.is_some() { Phase::Closed } else { Phase::Open };
        Route { index, config: Arc::clone(config), upstreams, phase, since, closure }
    });
    let routes: Vec<Route> = routes.collect();
    Snapshot {
        generation: inputs.generation,
        compiled: now,
        next_change: next_change(inputs.flags, now),
        limits: Arc::new(config.limits.clone()),
        trusted_proxies: config.trusted_proxies.clone(),
        drain: config.drain,
        log: config.log.clone(),
        table: layout.table,
        routes,
        upstreams: layout.upstreams,
    }
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

/// Something in the flag file that is in force now.
#[derive(Clone, Copy)]
enum Cause<'f> {
    Flag(&'f Flag),
    Window(&'f Window, Mode),
}

impl<'f> Cause<'f> {
    fn mode(self) -> Mode {
        match self {
            Self::Flag(flag) => flag.mode,
            Self::Window(_, mode) => mode,
        }
    }

    fn until(self) -> Option<Timestamp> {
        match self {
            Self::Flag(flag) => flag.until,
            Self::Window(window, _) => Some(window.ends),
        }
    }

    fn since(self) -> Option<Timestamp> {
        match self {
            Self::Flag(_) => None,
            Self::Window(window, _) => Some(window.started.unwrap_or(window.starts)),
        }
    }

    fn has_words(self) -> bool {
        match self {
            Self::Flag(flag) => flag.message.is_some(),
            Self::Window(..) => true,
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Flag(_) => Source::Flag,
            Self::Window(window, _) => Source::Window(window.id.clone()),
        }
    }

    fn words(self, until: Option<Timestamp>) -> Words<'f> {
        match self {
            Self::Flag(flag) => Words { title: None, summary: None, message: flag.message.as_deref(), id: None, until },
            Self::Window(window, _) => Words {
                title: window.title.as_deref(),
                summary: window.summary.as_deref(),
                message: window.message.as_deref(),
                id: Some(&window.id),
                until,
            },
        }
    }
}

/// What is in force now, by route.
struct Causes<'f> {
    every: Vec<Cause<'f>>,
    by_route: HashMap<&'f str, Vec<Cause<'f>>>,
}

impl<'f> Causes<'f> {
    fn new(flags: &'f Flags, now: Timestamp) -> Self {
        let mut causes = Self { every: Vec::new(), by_route: HashMap::new() };
        for window in flags.windows.iter().filter(|window| window.starts <= now && now < window.ends) {
            for (target, mode) in &window.routes {
                causes.add(target, Cause::Window(window, *mode));
            }
        }
        for flag in flags.routes.iter().filter(|flag| flag.until.is_none_or(|until| now < until)) {
            causes.add(&flag.route, Cause::Flag(flag));
        }
        causes
    }

    fn add(&mut self, target: &'f Target, cause: Cause<'f>) {
        match target {
            Target::Every => self.every.push(cause),
            Target::Route(name) => self.by_route.entry(name).or_default().push(cause),
        }
    }

    /// The strictest causes for a route, its own before those for every route; `None` where there are none.
    fn of(&self, route: &str) -> Option<Vec<Cause<'f>>> {
        let own = self.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
        let all = || own.iter().chain(&self.every).copied();
        let strictest = all().map(Cause::mode).max()?;
        Some(all().filter(|cause| cause.mode() == strictest).collect())
    }
}

/// Makes the closure of several causes of one mode: it lasts as long as the longest, in the words of the first that has any.
fn close<'w>(causes: &[Cause<'w>], now: Timestamp, pages: &mut Pages<'w>) -> Arc<Closure> {
    let speaker = causes.iter().find(|cause| cause.has_words()).unwrap_or(&causes[0]);
    let until = causes.iter().map(|cause| cause.until()).reduce(|a, b| Some(a?.max(b?))).flatten();
    let left = until.map(|until| until.duration_since(now).as_secs().try_into().unwrap_or(0));
    let page = pages.page(speaker.words(until));
    Arc::new(Closure { mode: speaker.mode(), until, seconds_left: left, source: speaker.source(), page })
}

/// Since when a route is as it is. A window knows its start; for a flag it is when it was first seen.
fn since(before: Option<&Route>, closure: Option<&Closure>, causes: Option<&[Cause<'_>]>, now: Timestamp) -> Timestamp {
    let mode = closure.map(|closure| closure.mode);
    let same = before.filter(|before| before.closure.as_ref().map(|closure| closure.mode) == mode);
    let started = causes.into_iter().flatten().copied().filter_map(Cause::since).min();
    same.map(|before| before.since).or(started).unwrap_or(now).min(now)
}

/// The next instant at which a flag or a window begins or ends.
fn next_change(flags: &Flags, now: Timestamp) -> Option<Timestamp> {
    let untils = flags.routes.iter().filter_map(|flag| flag.until);
    let windows = flags.windows.iter().flat_map(|window| [window.starts, window.ends]);
    untils.chain(windows).filter(|&instant| instant > now).min()
}

/// Pages made so far: many routes closed by one cause share one.
#[derive(Default)]
struct Pages<'w> {
    made: HashMap<Words<'w>, Arc<Page>>,
}

impl<'w> Pages<'w> {
    fn page(&mut self, words: Words<'w>) -> Arc<Page> {
        Arc::clone(self.made.entry(words).or_insert_with_key(|words| Arc::new(Page::render(words))))
    }
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
