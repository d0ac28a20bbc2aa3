//! Snapshot: everything that the decision on a request needs, compiled and immutable.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};

use super::admission::{Admission, Maintenance};
use super::banner::{Banner, BannerModel};
use super::config::{
    FieldChanges, Guard, Log, Measurement, ProgramTemplate, Readiness, RouteConfig, Trace, TrustedProxies, Upstream,
};
use super::dialect::Dialect;
use super::flags::{Mode, Target, Withdrawn};
use super::lifecycle::{Baseline, RouteState};
pub use super::lifecycle::{Phase, Source, Transition};
use super::limits::Limits;
pub use super::marks::Marks;
use super::page::{Look, Page, PageModel, Renderer, Stored, Variant};
use super::path::Prefix;
pub use super::portion::{Keeping, Portion, Portions};
pub use super::table::Table;
pub use super::wave::Wave;

/// State of the proxy at one instant: routes with their phases, and finished pages.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of this publication in its process, from 1.
    pub generation: u64,
    /// Instant that it was compiled for.
    pub compiled: Timestamp,
    /// Next instant at which something changes by itself. The controller compiles again then.
    pub next_change: Option<Timestamp>,
    /// Limits and time-outs of the whole proxy, and of routes without their own. A connection shares those that it began with, without holding the snapshot.
    pub limits: Arc<Limits>,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: TrustedProxies,
    /// Time that requests in flight may still take when the process ends. Routes may ask for longer.
    pub drain: Duration,
    /// Handling of traces.
    pub trace: Trace,
    /// Changes to the fields of the proxy's own answers on no route.
    pub response: Option<Arc<FieldChanges>>,
    /// Settings of the logs.
    pub log: Log,
    /// Prefix of the proxy's own paths.
    pub reserved: Prefix,
    /// Renderer of the status site, and of the pages of routes without one of their own.
    pub renderer: Arc<Renderer>,
    /// True if some route has a secret, so that clients may have cookies of this proxy.
    pub sets_cookies: bool,
    /// Pages of all closed routes.
    pub pages: HashMap<(Look, Arc<PageModel>), Arc<Page>>,
    /// Banners of all routes that have one.
    pub banners: HashMap<Arc<BannerModel>, Arc<Banner>>,
    /// Routes, sorted by name. A route's index here is its handle within this snapshot.
    pub routes: Vec<Route>,
    /// Upstreams, each once. Routes refer to them by index.
    pub upstreams: Arc<[Upstream]>,
    /// Look-up of a request's route.
    pub table: Arc<Table>,
    /// Next start of each window to come, soonest first, with the routes that it closes.
    pub ahead: Vec<(Timestamp, Vec<Target>)>,
}

impl Snapshot {
    /// Finds a route by its name.
    pub fn route(&self, name: &str) -> Option<&Route> {
        let index = self.routes.binary_search_by(|route| route.config.name.as_str().cmp(name)).ok()?;
        self.routes.get(index)
    }

    /// Returns the next start of a window that closes a route, announced or not.
    pub fn closes(&self, route: &str) -> Option<Timestamp> {
        let next = self.ahead.iter().find(|(_, targets)| targets.iter().any(|target| target.is(route)));
        next.map(|(starts, _)| *starts)
    }
}

/// Route with its state.
#[derive(Debug)]
pub struct Route {
    /// Index in [`Snapshot::routes`].
    pub index: usize,
    /// Settings of the route.
    pub config: Arc<RouteConfig>,
    /// Renderer of the route's page, which knows its languages.
    pub renderer: Arc<Renderer>,
    /// Indexes into [`Snapshot::upstreams`]; at least one.
    pub upstreams: Arc<[usize]>,
    /// Upstreams among them that requests are sent to. None is left if the flag file takes all of them out.
    pub in_use: Arc<[usize]>,
    /// Portions of those in use; `None` if they are alike.
    pub portions: Option<Portions>,
    /// Upstreams that the flag file takes out.
    pub withdrawn: Vec<(usize, Withdrawn)>,
    /// Upstreams that are left out, because they fail their checks.
    pub left_out: Vec<LeftOut>,
    /// Upstreams that fail their health checks and are used all the same, because no other is left.
    pub spared: Vec<LeftOut>,
    /// State of the route.
    pub state: Arc<RouteState>,
    /// Transitions that this snapshot made.
    pub transitions: Vec<Transition>,
    /// Next phase and its instant, as far as they are known.
    pub next: Option<(Phase, Option<Timestamp>)>,
    /// First generation that decided by this closure. Requests that an earlier one forwarded must end within the drain
    /// time.
    pub epoch: u64,
    /// Announced windows, soonest first.
    pub announced: Vec<Announced>,
    /// Next occurrence of each window to come, announced or not, soonest first.
    pub planned: Vec<Planned>,
    /// Ways past a closed route besides those of its mode, such as bypass links and the ramp; `None` if there are none.
    pub admission: Option<Arc<Admission>>,
    /// `Maintenance` field of responses, while the route is open or read-only.
    pub notice: Option<HeaderValue>,
    /// Banner for the visitors of the open app; `None` if the route has none.
    pub banner: Option<Arc<Banner>>,
    /// Body of the status resource while the route is open.
    pub open: Bytes,
    /// Page that tells people that the route is open, and what is announced; `None` if there are too many.
    pub running: Option<Arc<Page>>,
    /// Wave of watchers that come back now.
    pub wave: Option<Wave>,
    /// Closure and page; `None` while the route is open.
    pub closure: Option<Arc<Closure>>,
    /// True if the route has been closed for longer than [`LONG`]: the flag may have been forgotten, and crawlers drop
    /// the route's pages.
    pub long: bool,
    /// Titles of the steps that are not done although the window that closes the route opens it soon.
    pub undone: Vec<String>,
}

/// Upstream that is left out of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Index into [`Snapshot::upstreams`].
    pub upstream: usize,
    /// Failure of its checks, in words.
    pub failure: String,
}

/// Time under maintenance after which the operator is reminded.
pub const LONG: SignedDuration = SignedDuration::from_hours(24);

impl Route {
    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Returns the start of the phase.
    pub fn since(&self) -> Timestamp {
        self.state.since()
    }

    /// Returns what keeps the route from being open; `None` if it is open.
    pub fn closed_by(&self) -> Option<ClosedBy<'_>> {
        let closure = self.closure.as_ref()?;
        if self.state.is_shut() || self.state.is_tried() {
            return Some(ClosedBy::Guard);
        }
        if self.state.closing().is_some_and(|closing| closing.reloaded) {
            return Some(ClosedBy::Reload);
        }
        if self.state.closing().is_some_and(|closing| closing.untold) {
            return Some(ClosedBy::Start);
        }
        if self.state.closing().is_some_and(|closing| closing.lost) {
            return Some(ClosedBy::LostState);
        }
        Some(match &closure.source {
            Source::Flag => ClosedBy::Flag,
            Source::Window(id) => ClosedBy::Window(id),
            Source::Switch(file) => ClosedBy::Switch(file),
        })
    }

    /// Returns the page of the open route if a person asks for its status. Programs get [`Route::open`].
    pub(crate) fn running_page(&self, asked: Variant) -> Option<&Stored> {
        let page = self.running.as_ref().filter(|_| asked.dialect == Dialect::Html)?;
        Some(page.rendered(asked))
    }

    /// Returns the event that tells watchers that the route is open for them.
    pub(crate) fn open_event(&self) -> Bytes {
        self.wave.as_ref().map_or_else(Wave::calm, |wave| wave.event.clone())
    }

    /// Returns the guard if it watches the route now: while it ramps, and for a time after it opened.
    pub fn guard(&self) -> Option<&Guard> {
        let guard = self.config.policy.guard.as_ref()?;
        let watched = match self.state.phase() {
            Phase::Ramping => true,
            Phase::Open | Phase::Closed => self.state.is_watched(),
            Phase::Draining | Phase::Verifying => false,
        };
        watched.then_some(guard)
    }

    /// Returns the measurements that the guard of a route that is down or watched cannot judge, because nothing is known
    /// of the time before.
    pub fn unjudged(&self) -> Vec<Measurement> {
        self.unjudged_by(self.state.baseline())
    }

    /// Returns the measurements that the guard cannot judge by a baseline.
    pub fn unjudged_by(&self, baseline: Option<&Baseline>) -> Vec<Measurement> {
        let guard = self.config.policy.guard.as_ref().filter(|_| !self.state.is_plain());
        let Some(guard) = guard else { return Vec::new() };
        let is_known = |measurement| baseline.is_some_and(|baseline| baseline.has(measurement, guard));
        guard.relative().filter(|measurement| !is_known(*measurement)).collect()
    }

    /// Returns the end of the guard's watch, while the route is open again.
    pub fn watched_until(&self) -> Option<Timestamp> {
        let guard = self.config.policy.guard.filter(|_| self.state.is_watched())?;
        Some(super::lifecycle::after(self.state.began(), guard.watch))
    }

    /// Returns true if the guard keeps the route closed, and is configured to take the proxy from its balancer then.
    pub fn ends_readiness(&self) -> bool {
        self.state.is_shut() && self.config.policy.guard.is_some_and(|guard| guard.readiness == Readiness::Ends)
    }

    /// Returns true if observations, and not only files and the clock, can change the route's state.
    pub fn is_in_motion(&self) -> bool {
        matches!(self.state.phase(), Phase::Draining | Phase::Verifying | Phase::Ramping) || self.state.is_watched()
    }
}

/// Reason why a route is not open, as operators are told. Its clients are told the source of the maintenance instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy<'r> {
    /// An entry of `[routes]`.
    Flag,
    /// A window, by its id.
    Window(&'r str),
    /// A switch of the route, by its file.
    Switch(&'r str),
    /// A finding of the guard, which no flag lifts.
    Guard,
    /// A saved state that was lost: the checks come before the opening.
    LostState,
    /// A start without a saved state: each check has to pass once.
    Start,
    /// A reload of the config, which added or moved the route: each check has to pass once.
    Reload,
}

impl fmt::Display for ClosedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Window(id) => write!(f, "window {id}"),
            Self::Switch(file) => write!(f, "switch {file}"),
            Self::Guard => f.write_str("guard"),
            Self::LostState => f.write_str("lost state"),
            Self::Start => f.write_str("start"),
            Self::Reload => f.write_str("reload"),
        }
    }
}

/// Next occurrence of a window of a route. Clients are not told of it before it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Id of the window.
    pub id: String,
    /// Mode to come.
    pub mode: Mode,
    /// Start.
    pub starts: Timestamp,
    /// End.
    pub ends: Timestamp,
    /// Rule of a window that comes again.
    pub every: Option<String>,
}

/// Window that is announced for a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Id of the window.
    pub id: String,
    /// Mode to come.
    pub mode: Mode,
    /// Planned start.
    pub starts: Timestamp,
    /// Planned end.
    pub ends: Timestamp,
}

/// Closure of a route, and its page.
#[derive(Debug)]
pub struct Closure {
    /// Strictest mode that is flagged for the route.
    pub mode: Mode,
    /// Mode that admitted clients get: a milder one while the route ramps, or `read-only` while that suspends a ramp.
    /// `None` if they get everything.
    pub eases: Option<Mode>,
    /// Start of the maintenance.
    pub started: Timestamp,
    /// End, if it is known.
    pub until: Option<Timestamp>,
    /// Flag or window that closes the route.
    pub source: Source,
    /// Instant at which the route was last open before. Links and cookies of testers from before are void.
    pub open_before: Timestamp,
    /// Seconds from the compilation to `until`.
    pub seconds_left: Option<u64>,
    /// Most seconds that clients are told to wait, if the operator sets them.
    pub longest_retry: Option<u64>,
    /// Clients with a cohort below this number are admitted while the route ramps; 0 admits nobody.
    pub admits: u32,
    /// Flag or window whose ramp that is. It chooses the clients.
    pub ramped: Source,
    /// Template of the route's answers to programs.
    pub template: Option<Arc<ProgramTemplate>>,
    /// Finished page.
    pub page: Arc<Page>,
}

impl Closure {
    /// Returns the chosen answer of the page, by the route's template if that takes the place of the dialect.
    pub fn rendered(&self, variant: Variant) -> &Stored {
        let template = self.template.as_ref().filter(|template| template.format.replaces(variant.dialect));
        template.map_or_else(|| self.page.rendered(variant), |template| self.page.program(template.index, variant))
    }

    /// Returns the maintenance at an instant in the unit of tokens, for the tokens that are made for it.
    pub fn maintenance(&self, now: u64) -> Maintenance<'_> {
        Maintenance { source: &self.source, open_before: self.open_before, now }
    }
}
