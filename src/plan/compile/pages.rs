//! Closures of a snapshot and their pages. Routes with the same cause share a page, and so do causes with the same
//! content.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::config::{Policy, ProgramTemplate, RouteConfig};
use super::super::flags::{Mode, Service, ServiceStatus, Window};
use super::super::lifecycle::{self, Closing, Phase, RouteState, Transition};
use super::super::page::{Look, Page, PageContent, PageModel, Prerender, ServiceRow, Trouble};
use super::super::snapshot::{Announced, Closure, Source};
use super::super::wave::Wave;
use super::causes::Cause;
use super::{Inputs, steps};

/// Route while it is being compiled: its state and everything that follows from it.
pub(super) struct RouteDraft<'i> {
    pub(super) name: &'i str,
    pub(super) config: &'i RouteConfig,
    pub(super) policy: &'i Policy,
    pub(super) template: Option<&'i Arc<ProgramTemplate>>,
    pub(super) state: Arc<RouteState>,
    pub(super) transitions: Vec<Transition>,
    pub(super) next: Option<(Phase, Option<Timestamp>)>,
    pub(super) changes_at: Option<Timestamp>,
    pub(super) epoch: u64,
    /// Wave of watchers that come back.
    pub(super) wave: Option<Wave>,
    /// Closure in the previous snapshot.
    pub(super) before: Option<&'i Closure>,
    /// Flag or window whose texts the page shows.
    pub(super) cause: Option<Cause<'i>>,
}

impl RouteDraft<'_> {
    /// Returns the end that clients are told: that of the flag or window, or that of the ramp.
    fn until(&self) -> Option<Timestamp> {
        match self.state.phase() {
            Phase::Ramping => self.next.and_then(|(_, at)| at),
            Phase::Verifying => None,
            Phase::Draining | Phase::Closed if self.cause.is_none() => None,
            Phase::Open | Phase::Draining | Phase::Closed => {
                self.state.closing().and_then(|closing| closing.desired.until)
            }
        }
    }

    /// Returns the status of a service that follows this route, and its expected return.
    fn status(&self) -> (ServiceStatus, Option<Timestamp>) {
        let mode = self.state.closing().map_or(Mode::Offline, |closing| closing.desired.mode);
        let status = match (self.state.phase(), mode) {
            (Phase::Open, _) => return (ServiceStatus::Operational, None),
            (_, Mode::ReadOnly) => ServiceStatus::Degraded,
            (Phase::Verifying | Phase::Ramping, _) => ServiceStatus::Restarting,
            (Phase::Draining | Phase::Closed, Mode::Offline) => ServiceStatus::Offline,
            (Phase::Draining | Phase::Closed, Mode::Hold) => ServiceStatus::Queued,
        };
        (status, self.until())
    }
}

/// Key of a page without its content: look, cause, mode, end, phase and trouble.
type Key = (Look, usize, Mode, Option<Timestamp>, Phase, Trouble);

/// Pages by their look and their content.
type Made = HashMap<(Look, Arc<PageModel>), Arc<Page>>;

/// Pages of a snapshot.
pub(super) struct Pages<'i> {
    inputs: &'i Inputs<'i>,
    drafts: &'i [RouteDraft<'i>],
    /// Pages of the previous snapshot.
    kept: Option<&'i Made>,
    pub(super) made: Made,
    by_cause: HashMap<Key, Arc<Page>>,
    /// Number of pages of open routes.
    running: usize,
}

impl<'i> Pages<'i> {
    pub(super) fn new(inputs: &'i Inputs<'i>, drafts: &'i [RouteDraft<'i>]) -> Self {
        Self {
            inputs,
            drafts,
            kept: inputs.previous.map(|previous| &previous.pages),
            made: HashMap::new(),
            by_cause: HashMap::new(),
            running: 0,
        }
    }

    /// Builds the closure of a route that is not open.
    pub(super) fn close(&mut self, draft: &RouteDraft<'i>) -> Option<Arc<Closure>> {
        let closing = draft.state.closing().filter(|_| draft.state.phase() != Phase::Open)?;
        let until = draft.until();
        let left = until.map(|until| until.duration_since(self.inputs.now).as_secs().try_into().unwrap_or(0));
        let suspended = draft.state.suspended(draft.policy);
        let ramped = suspended.map_or(closing, |(before, _)| before);
        Some(Arc::new(Closure {
            mode: closing.desired.mode,
            started: closing.started,
            until,
            seconds_left: left,
            longest_retry: draft.policy.retry_after_max.map(|most| most.as_secs()),
            source: closing.desired.source.clone(),
            open_before: draft.state.open_before(),
            eases: draft.state.eases_into().or(suspended.map(|_| closing.desired.mode)),
            admits: draft.state.admitted(draft.policy).map_or(0, lifecycle::cohorts),
            ramped: ramped.desired.source.clone(),
            template: draft.template.cloned(),
            page: self.page_of(draft, closing, until),
        }))
    }

    /// Returns the page of an open route, for people who ask for its status. Routes that look alike and announce the same
    /// share one; it shows no host, for which each route would have a page of its own. `None` if there are too many.
    pub(super) fn running(&mut self, config: &RouteConfig, announced: Option<&Announced>) -> Option<Arc<Page>> {
        let look = Look::from(self.inputs.renderers.of(config));
        let content = announced.map_or_else(PageContent::running, |next| {
            let title = self.inputs.flags.window(&next.id).and_then(|window| window.title.clone());
            PageContent::announced(&next.id, title, next.mode, (next.starts, next.ends))
        });
        let key = (look, Arc::new(PageModel::new(content, self.inputs.now)));
        if !self.made.contains_key(&key) {
            if self.running >= MOST_RUNNING {
                return None;
            }
            self.running += 1;
        }
        Some(self.made_of(key))
    }

    fn page_of(&mut self, draft: &RouteDraft<'i>, closing: &Closing, until: Option<Timestamp>) -> Arc<Page> {
        let look = Look::of(self.inputs.renderers.of(draft.config), draft.config);
        let (phase, trouble) = (shown_phase(draft.state.phase()), trouble(&draft.state, self.inputs.now));
        // Clients whom a suspended ramp has not admitted may not read either: they see the page as before.
        let shown = draft.state.suspended(draft.policy).map(|(before, _)| before.desired.mode);
        if trouble == Trouble::Found {
            let content = self.remembered(draft, closing).after_a_problem();
            return self.page(&look, PageModel::new(PageContent { phase, ..content }, self.inputs.now));
        }
        let Some(cause) = draft.cause else {
            let content = self.remembered(draft, closing);
            let mode = shown.unwrap_or(content.mode);
            let content = PageContent { mode, phase, trouble, until, ..content };
            return self.page(&look, PageModel::new(content, self.inputs.now));
        };
        let key = (look.clone(), cause.address(), shown.unwrap_or(closing.desired.mode), until, phase, trouble);
        if let Some(page) = self.by_cause.get(&key) {
            return Arc::clone(page);
        }
        let content = match cause {
            Cause::Flag(flag, _) => PageContent::of_flag(flag.mode, flag.message.as_ref(), until),
            Cause::Switch(switch) => PageContent::of_flag(switch.mode, switch.message.as_ref(), until),
            Cause::Window(window, mode, span) => {
                // Windows that touch are one closure: the plan that is shown ends with the last of them.
                let goes_on = until.filter(|until| span.until.is_some_and(|own| own < *until));
                let planned = (span.starts, goes_on.map_or(span.ends, |until| until.max(span.ends)));
                self.of_window(window, mode, planned, until)
            }
        };
        let mode = shown.unwrap_or(content.mode);
        let content = PageContent { mode, phase, trouble, ..content };
        let page = self.page(&look, PageModel::new(content, self.inputs.now));
        self.by_cause.insert(key, Arc::clone(&page));
        page
    }

    fn of_window(
        &self,
        window: &Window,
        mode: Mode,
        planned: (Timestamp, Timestamp),
        until: Option<Timestamp>,
    ) -> PageContent {
        let steps = steps::steps(window, planned.0, self.inputs, self.drafts);
        PageContent { steps, ..PageContent::of_window(window, mode, planned, until, |service| self.row(service)) }
    }

    /// Returns the content for a closure that the flag file no longer demands: from its window if that still exists,
    /// else from the previous page.
    fn remembered(&self, draft: &RouteDraft<'i>, closing: &Closing) -> PageContent {
        let mode = closing.desired.mode;
        if let Source::Window(id) = &closing.desired.source
            && let Some(window) = self.inputs.flags.window(id)
        {
            let ends = closing.desired.until.unwrap_or(closing.started);
            let planned = window.span_of(closing.planned()).unwrap_or((closing.started, ends));
            return self.of_window(window, mode, planned, None);
        }
        match draft.before {
            Some(before) => before.page.model.content.clone(),
            None => PageContent::bare(mode, None),
        }
    }

    fn page(&mut self, look: &Look, model: PageModel) -> Arc<Page> {
        let mode = model.content.mode;
        let mut key = (look.clone(), Arc::new(model));
        if self.made.len() >= MOST_WITH_HOST && !self.made.contains_key(&key) {
            key.0 = look.without_optional_host();
        }
        if self.made.len() >= MOST_PAGES && !self.made.contains_key(&key) {
            let bare = PageModel::new(PageContent::bare(mode, None), self.inputs.now);
            key = (Look::from(&look.renderer), Arc::new(bare));
        }
        self.made_of(key)
    }

    fn made_of(&mut self, key: (Look, Arc<PageModel>)) -> Arc<Page> {
        if let Some(page) = self.made.get(&key).or_else(|| self.kept?.get(&key)) {
            let page = Arc::clone(page);
            self.made.insert((key.0, Arc::clone(&page.model)), Arc::clone(&page));
            return page;
        }
        let (look, model) = key.clone();
        let rendered = self.made.len() * look.renderer.tags.len();
        let prerender = if rendered < MOST_PRERENDERED { Prerender::EveryLanguage } else { Prerender::DefaultLanguage };
        let page = Arc::new(Page::new(model, self.inputs.now, look, prerender));
        self.made.insert(key, Arc::clone(&page));
        page
    }

    /// Builds a row of the table. A row that follows a route of this proxy shows its actual state.
    fn row(&self, service: &Service) -> ServiceRow {
        let routes = &self.inputs.config.routes;
        let bound = service.route.as_ref().and_then(|name| routes.binary_search_by(|route| route.name.cmp(name)).ok());
        let real = bound.and_then(|index| self.drafts.get(index)).map(RouteDraft::status);
        ServiceRow::new(service, real)
    }
}

/// Returns the trouble that clients are told.
fn trouble(state: &RouteState, now: Timestamp) -> Trouble {
    if state.is_shut() {
        Trouble::Found
    } else if state.is_checked_for_long(now) {
        Trouble::Slow
    } else {
        Trouble::None
    }
}

/// Returns the phase that clients are told. Requests in flight do not concern them.
fn shown_phase(phase: Phase) -> Phase {
    match phase {
        Phase::Draining => Phase::Closed,
        Phase::Open | Phase::Closed | Phase::Verifying | Phase::Ramping => phase,
    }
}

/// Most pages of one snapshot that differ in the host that the built-in page shows for lack of a brand. With more, its
/// script shows the host, so that a switch for a thousand hosts costs no more than one for one.
const MOST_WITH_HOST: usize = 8;

/// Most pages of one snapshot, because each takes time to render and memory. Further causes share a page without their
/// texts, with the right `Retry-After`.
const MOST_PAGES: usize = 512;

/// Most pages of open routes of one snapshot: few, unless many routes have a look of their own. Pages of closed routes
/// must not wait for them to be finished.
const MOST_RUNNING: usize = 32;

/// Pages of one snapshot, times the languages, from which on they are rendered in the default language alone at first.
/// With twelve languages, four pages are made in all of them. In six languages, a bare flag takes 0.3 ms and a full window
/// 2.6 ms.
const MOST_PRERENDERED: usize = 48;

#[cfg(test)]
mod tests {
    use super::super::super::config;
    use super::super::super::rehearsal::Rehearsal;
    use super::MOST_RUNNING;

    #[test]
    fn open_routes_share_a_page_and_no_more_of_them_are_made_than_may_be() {
        let window = |n: usize| {
            format!(
                "[[windows]]\nid = \"w{n}\"\nroutes = {{ r{n} = \"offline\" }}\nstarts = 2026-05-20T14:00:00Z\n\
                 ends = 2026-05-20T15:00:00Z\nannounce = \"48h\"\n"
            )
        };
        let route = |n: usize| format!("[routes.r{n}]\nhost = \"h{n}\"\nupstream = \"http://a\"\n");
        let routes: String = (0..50).map(route).collect();
        let listen = "[[listen]]\naddress = \"127.0.0.1:80\"\n";
        let (config, problems) = config::parse("backsoon.toml", &format!("{listen}{routes}"));
        let mut proxy = Rehearsal::new(config.unwrap_or_else(|| panic!("{problems:?}")));
        let now = "2026-05-19T14:00:00Z".parse().unwrap();
        assert_eq!(proxy.compile(now).pages.len(), 1, "nothing is announced");
        let windows: String = (0..50).map(window).collect();
        let live = proxy.flag(&windows).compile(now);
        assert_eq!(live.pages.len(), MOST_RUNNING);
        assert_eq!(live.routes.iter().filter(|route| route.running.is_some()).count(), MOST_RUNNING);
    }
}
