//! Compiles the inputs into a snapshot: which routes are closed, why, until when, and what they show.
//!
//! The core cannot fail: whatever could be wrong with the inputs was a [`super::problem::Problem`] before.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::config::{Config, RouteConfig, Upstream};
use super::flags::{Flag, Flags, Mode, Service, ServiceStatus, Target, Window};
use super::page::{Breadth, Facts, Page, Press, ServiceRow, Story};
use super::snapshot::{Closure, LONG, Phase, Route, Snapshot, Source, Table};

/// Everything a snapshot is a function of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// The config.
    pub config: &'i Config,
    /// The flag file.
    pub flags: &'i Flags,
    /// What prints the pages.
    pub press: &'i Arc<Press>,
    /// What was live before: a route that stays as it was keeps its `since`, and a page that tells the same is kept.
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
    // How every route is must be known before a page is made: its table may tell it.
    let closings: Vec<Option<Closing<'_>>> =
        config.routes.iter().map(|route| causes.of(&route.name).map(|causes| Closing::of(causes, now))).collect();
    let mut pages = Pages::new(&inputs, &closings);
    let routes = config.routes.iter().zip(layout.upstreams_of).enumerate().map(|(index, (config, upstreams))| {
        let closing = closings[index].as_ref();
        let closure = closing.map(|closing| pages.close(closing));
        let before = match layout.unchanged {
            Some(previous) => previous.routes.get(index),
            None => inputs.previous.and_then(|previous| previous.route(&config.name)),
        };
        let since = since(before, closing, now);
        let phase = if closure.is_some() { Phase::Closed } else { Phase::Open };
        let long = closure.is_some() && now.duration_since(since) >= LONG;
        Route { index, config: Arc::clone(config), upstreams, phase, since, closure, long }
    });
    let routes: Vec<Route> = routes.collect();
    let ticks = pages.made.values().filter_map(|page| page.facts.next_change(now));
    let young = routes.iter().filter(|route| route.closure.is_some() && !route.long);
    let ages = young.filter_map(|route| route.since.checked_add(LONG).ok());
    Snapshot {
        generation: inputs.generation,
        compiled: now,
        next_change: next_change(inputs.flags, now).into_iter().chain(ticks).chain(ages).min(),
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

    fn story(self, closing: &Closing<'_>, row: impl FnMut(&Service) -> ServiceRow) -> Story {
        match self {
            Self::Flag(flag) => Story::of_flag(flag, closing.until),
            Self::Window(window, mode) => Story::of_window(window, mode, closing.until, row),
        }
    }

    /// Tells the causes of one flag file apart.
    fn address(self) -> usize {
        match self {
            Self::Flag(flag) => std::ptr::from_ref(flag).addr(),
            Self::Window(window, _) => std::ptr::from_ref(window).addr(),
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

/// Several causes of one mode as one: it lasts as long as the longest, in the words of the first that has any.
struct Closing<'f> {
    mode: Mode,
    until: Option<Timestamp>,
    seconds_left: Option<u64>,
    speaker: Cause<'f>,
    /// Since when, as far as the causes know.
    started: Option<Timestamp>,
}

impl<'f> Closing<'f> {
    fn of(causes: Vec<Cause<'f>>, now: Timestamp) -> Self {
        let speaker = *causes.iter().find(|cause| cause.has_words()).unwrap_or(&causes[0]);
        let until = causes.iter().map(|cause| cause.until()).reduce(|a, b| Some(a?.max(b?))).flatten();
        Self {
            mode: speaker.mode(),
            until,
            seconds_left: until.map(|until| until.duration_since(now).as_secs().try_into().unwrap_or(0)),
            speaker,
            started: causes.into_iter().filter_map(Cause::since).min(),
        }
    }
}

/// Since when a route is as it is. A window knows its start; for a flag it is when it was first seen.
fn since(before: Option<&Route>, closing: Option<&Closing<'_>>, now: Timestamp) -> Timestamp {
    let mode = closing.map(|closing| closing.mode);
    let same = before.filter(|before| before.closure.as_ref().map(|closure| closure.mode) == mode);
    let started = closing.and_then(|closing| closing.started);
    same.map(|before| before.since).or(started).unwrap_or(now).min(now)
}

/// The next instant at which a flag or a window begins or ends.
fn next_change(flags: &Flags, now: Timestamp) -> Option<Timestamp> {
    let untils = flags.routes.iter().filter_map(|flag| flag.until);
    let windows = flags.windows.iter().flat_map(|window| [window.starts, window.ends]);
    untils.chain(windows).filter(|&instant| instant > now).min()
}

/// The pages of a snapshot: routes that are closed by one cause share one, and so do causes that tell the same.
struct Pages<'i> {
    inputs: &'i Inputs<'i>,
    closings: &'i [Option<Closing<'i>>],
    /// What the previous snapshot had, if it was printed by the same press.
    kept: Option<&'i HashMap<Arc<Facts>, Arc<Page>>>,
    made: HashMap<Arc<Facts>, Arc<Page>>,
    /// By cause, mode and end.
    closures: HashMap<(usize, Mode, Option<Timestamp>), Arc<Closure>>,
}

impl<'i> Pages<'i> {
    fn new(inputs: &'i Inputs<'i>, closings: &'i [Option<Closing<'i>>]) -> Self {
        let previous = inputs.previous.filter(|previous| Arc::ptr_eq(&previous.press, inputs.press));
        Self {
            inputs,
            closings,
            kept: previous.map(|previous| &previous.pages),
            made: HashMap::new(),
            closures: HashMap::new(),
        }
    }

    fn close(&mut self, closing: &Closing<'_>) -> Arc<Closure> {
        let key = (closing.speaker.address(), closing.mode, closing.until);
        if let Some(closure) = self.closures.get(&key) {
            return Arc::clone(closure);
        }
        let story = closing.speaker.story(closing, |service| self.row(service));
        let closure = Arc::new(Closure {
            mode: closing.mode,
            until: closing.until,
            seconds_left: closing.seconds_left,
            source: closing.speaker.source(),
            page: self.page(Facts::new(story, self.inputs.now)),
        });
        self.closures.insert(key, Arc::clone(&closure));
        closure
    }

    fn page(&mut self, mut facts: Facts) -> Arc<Page> {
        if self.made.len() >= MOST_PAGES && !self.made.contains_key(&facts) {
            facts = Facts::new(Story::bare(facts.story.mode, None), self.inputs.now);
        }
        if let Some(page) = self.made.get(&facts).or_else(|| self.kept?.get(&facts)) {
            let page = Arc::clone(page);
            self.made.insert(Arc::clone(&page.facts), Arc::clone(&page));
            return page;
        }
        let facts = Arc::new(facts);
        let breadth = if self.made.len() < MOST_BROAD { Breadth::All } else { Breadth::Default };
        let page = Arc::new(Page::new(Arc::clone(&facts), self.inputs.now, self.inputs.press, breadth));
        self.made.insert(facts, Arc::clone(&page));
        page
    }

    /// A row of the table. One that is bound to a route of this proxy tells how that is in truth.
    fn row(&self, service: &Service) -> ServiceRow {
        let routes = &self.inputs.config.routes;
        let bound = service.route.as_ref().and_then(|name| routes.binary_search_by(|route| route.name.cmp(name)).ok());
        let real = bound.map(|index| match &self.closings[index] {
            None => (ServiceStatus::Operational, None),
            Some(closing) => (status_of(closing.mode), closing.until),
        });
        ServiceRow::new(service, real)
    }
}

/// How a service is whose route is closed in a mode.
fn status_of(mode: Mode) -> ServiceStatus {
    match mode {
        Mode::Offline => ServiceStatus::Offline,
        Mode::Hold => ServiceStatus::Queued,
        Mode::ReadOnly => ServiceStatus::Degraded,
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

/// Pages of one snapshot that tell different things, since each takes time to print and memory. What is flagged beyond them
/// is shown without its own words; its `Retry-After` is right all the same.
const MOST_PAGES: usize = 512;

/// Pages of one snapshot that are there in every language at once: it takes 0.3 ms for a bare switch, 2.6 ms for a
/// window with everything.
const MOST_BROAD: usize = 8;
