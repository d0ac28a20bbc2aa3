//! Explanation of one verdict: the decision, the pattern that matched, and the flag behind it.

use std::sync::Arc;

use anstyle::Style;
use jiff::Timestamp;
use serde::Serialize;

use crate::control::load::Loaded;
use crate::plan::config::{Lasts, Listen, RouteConfig, Serves};
use crate::plan::flags::{Mode, Target};
use crate::plan::methods::is_safe;
use crate::plan::page::{Renderer, Variant};
use crate::plan::pass::{self, PassReason};
use crate::plan::path::normalize;
use crate::plan::problem::quoted;
use crate::plan::redirect::decide_before_https;
use crate::plan::snapshot::{ClosedBy, Closure, Phase, Route, Snapshot};
use crate::plan::verdict::{
    Head, Mount, Pass, Refusal, Resource, Verdict, decide, decide_at_site, exception, normal_host,
};

use super::super::streams::{DIM, ERROR, GOOD, WARNING, styled};
use super::super::words;
use super::ExplainedRequest;
use super::fields::{self, Change};
use super::matched::{Matched, describe_route, host_of, matched};

/// Explanation of a verdict. Absent fields do not apply to it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    method: String,
    host: String,
    path: String,
    /// Normal form of the path, which is matched, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    normal_path: Option<String>,
    at: Timestamp,
    /// `forward`, `show`, `hold` or `refuse`.
    verdict: &'static str,
    /// Listener that the request comes to, if it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<String>,
    /// Status of the proxy's own answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    why: String,
    /// URL that the client is sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<Matched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closure: Option<ClosureReport>,
    /// Form of the page for this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    /// Sign in the request that decided the form, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect_by: Option<&'static str>,
    /// Route whose page it is, if it is not the general one.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    /// Template of the route that takes the place of the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    /// Language of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<String>,
    /// Changes of the request's fields, the general ones included, if it is forwarded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request: Vec<Change>,
    /// Changes of the answer's fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response: Vec<Change>,
    /// Next window of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextWindow>,
    /// Routes that exist, with their hosts and paths, if none matched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<String>,
}

/// Flag or window that closes the route.
#[derive(Debug, Serialize)]
struct ClosureReport {
    mode: &'static str,
    /// `flag`, `window` with its id, or `guard`.
    source: String,
    /// Flag, window or guard, in words.
    by: String,
    until: Option<Timestamp>,
    /// Finding of the guard that keeps the route closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    breach: Option<String>,
}

/// Next window of a route.
#[derive(Debug, Serialize)]
struct NextWindow {
    window: String,
    mode: &'static str,
    starts: Timestamp,
}

/// Decides a request and explains the verdict.
pub(super) fn explain(
    loaded: &Loaded,
    snapshot: &Snapshot,
    (request, listen): (&ExplainedRequest, Option<&Listen>),
    at: Timestamp,
) -> Report {
    let head = Head { listener: listen.and_then(|listen| listen.name.as_deref()), ..head(request) };
    let verdict = match listen.map(|listen| (listen.serves, listen.redirect)) {
        Some((Serves::Site, _)) => decide_at_site(head),
        Some((Serves::Routes, Some(to))) => decide_before_https(snapshot, head, to),
        Some((Serves::Routes, None)) | None => decide(snapshot, head),
    };
    let normal = normalize(&request.path).ok();
    let mut report = Report::of(request, normal.as_deref(), at, verdict.as_str());
    report.listener = listen.and_then(|listen| listen.name.clone());
    let path = normal.unwrap_or_default();
    match verdict {
        Verdict::Forward(route, pass) => {
            report.on_route(route, loaded, &path);
            report.request = fields::changes(route.config.request.as_deref());
            report.why = forward_reason(route, pass, request, &path);
            if let (Pass::Admitted | Pass::Bypassed, Some(closure)) = (pass, &route.closure) {
                report.why = passing(snapshot, route, closure, &head);
            }
        }
        Verdict::Show(route, closure) | Verdict::Hold(route, closure) => {
            report.shows(route, closure, request);
            report.on_route(route, loaded, &path);
            let whys = [mode_reason(closure, request), not_passing(snapshot, route, closure, &head)];
            report.why = whys.into_iter().filter(|why| !why.is_empty()).collect::<Vec<_>>().join("; ");
        }
        Verdict::Answer(route, fixed) => {
            report.status = Some(fixed.status);
            report.on_route(route, loaded, &path);
            let exception = exception(&route.config, &path).map_or("/", |exception| exception.path.as_str());
            report.why = format!("`always_open` answers {}", quoted(exception));
        }
        Verdict::Own(resource, route) => {
            report.on_route(route, loaded, &path);
            let (status, what) = own(resource, route);
            report.status = Some(status);
            report.why = format!("{} is the proxy's own: {what}", quoted(snapshot.reserved.as_str()));
        }
        Verdict::Site(mount) => {
            report.status = Some(200);
            report.why = match mount {
                Mount::Own | Mount::Alone => "the status site answers".to_owned(),
                Mount::Reserved => {
                    format!("{} is the proxy's own: the news of this host", quoted(snapshot.reserved.as_str()))
                }
            };
        }
        Verdict::Redirect(route, redirect) => {
            report.on_route(route, loaded, &path);
            report.leads(redirect.lasts, redirect.location(&request.target()));
            report.why = "`redirect` of the route".to_owned();
        }
        Verdict::Secure(route, to) => {
            if let Some(route) = route {
                report.on_route(route, loaded, &path);
            }
            report.leads(to.lasts, to.location(&request.host, &request.target()));
            report.why = "`redirect` of the listener; what is served is told over https".to_owned();
        }
        Verdict::Refuse(refusal) => report.refused(refusal, loaded),
    }
    report
}

/// Returns the status of one of the proxy's own resources, and what it is.
fn own(resource: Resource, route: &Route) -> (u16, &'static str) {
    let what = match resource {
        Resource::Events => "the events of the route's page",
        Resource::Status => "the status of the route",
        Resource::Badge => "the badge of the route",
        Resource::BannerScript | Resource::BannerData if route.banner.is_none() => {
            return (404, "a banner, which `announce_banner` has off");
        }
        Resource::BannerScript => "the script of the route's banner",
        Resource::BannerData => "the banner of the route for programs",
        Resource::Bypass => "a link that lets its client pass the closed route, if it is good",
    };
    (200, what)
}

impl Report {
    /// Begins a report with what is known of the request alone.
    fn of(request: &ExplainedRequest, normal: Option<&str>, at: Timestamp, verdict: &'static str) -> Self {
        Self {
            method: request.method.to_string(),
            host: normal_host(&request.host).into_owned(),
            path: request.path.clone(),
            normal_path: normal.filter(|normal| *normal != request.path).map(str::to_owned),
            at,
            verdict,
            listener: None,
            status: None,
            why: String::new(),
            location: None,
            route: None,
            matched: None,
            closure: None,
            dialect: None,
            dialect_by: None,
            page: None,
            template: None,
            language: None,
            upstreams: Vec::new(),
            request: Vec::new(),
            response: Vec::new(),
            next: None,
            routes: Vec::new(),
        }
    }

    /// Tells which page of a closed route is shown.
    fn shows(&mut self, route: &Route, closure: &Closure, request: &ExplainedRequest) {
        let renderer = &route.renderer;
        let (want, sign) =
            renderer.choose_for(&route.config, &request.method, request.query.as_deref(), &request.headers);
        self.status = Some(closure.rendered(want).status.as_u16());
        self.dialect_by = Some(sign.as_str());
        self.on_page(renderer, want);
        let template = closure.template.as_ref().filter(|template| template.format.replaces(want.dialect));
        self.template = template.map(|template| template.name.clone());
    }

    fn leads(&mut self, lasts: Lasts, location: String) {
        self.status = Some(lasts.status());
        self.location = Some(location);
    }

    fn on_page(&mut self, renderer: &Renderer, want: Variant) {
        self.dialect = Some(want.dialect.as_str());
        self.page.clone_from(&renderer.config.route);
        self.language = want.dialect.is_for_reading().then(|| renderer.tags[want.language].clone());
    }

    fn on_route(&mut self, route: &Route, loaded: &Loaded, path: &str) {
        let config = &route.config;
        self.route = Some(config.name.clone());
        self.matched = Some(matched(config, &self.host, path));
        self.upstreams = config.upstreams.iter().map(ToString::to_string).collect();
        self.response = fields::changes(config.response.as_deref());
        // A route that is coming back is no longer flagged.
        let flagged = route.closure.as_deref().filter(|_| matches!(route.phase(), Phase::Draining | Phase::Closed));
        self.closure = flagged.and_then(|closure| closure_report(closure, route, loaded, self.at));
        self.next = next_window(loaded, &config.name, self.at);
    }

    fn refused(&mut self, refusal: Refusal, loaded: &Loaded) {
        let routes = || loaded.config.routes.iter().map(Arc::as_ref);
        (self.status, self.why) = match refusal {
            Refusal::NoHost => {
                (Some(400), "the listener redirects to https, and there is no host to redirect to".to_owned())
            }
            Refusal::Method => (Some(405), format!("{} is not for a reverse proxy", self.method)),
            Refusal::BadPath => {
                (Some(400), "the path has no normal form: it leads above the root, or has a bad `%` escape".to_owned())
            }
            Refusal::NoRoute => {
                let is_here = |route: &&RouteConfig| {
                    let listens =
                        route.listen.is_empty() || self.listener.as_ref().is_some_and(|own| route.listen.contains(own));
                    listens && host_of(route, &self.host).is_some()
                };
                let here: Vec<&RouteConfig> = routes().filter(is_here).collect();
                let path = self.normal_path.as_ref().unwrap_or(&self.path);
                let elsewhere = routes().any(|route| !route.listen.is_empty() && host_of(route, &self.host).is_some());
                let why = if here.is_empty() && elsewhere {
                    match &self.listener {
                        Some(name) => format!("the routes of this host are for other listeners than {}", quoted(name)),
                        None => {
                            "the routes of this host are for single listeners: `--listener` says which one is meant"
                                .to_owned()
                        }
                    }
                } else if here.is_empty() && self.host.is_empty() {
                    "no host is given (as a URL, or by -H 'Host: …'), and no route is for any host".to_owned()
                } else if here.is_empty() {
                    format!("no route is for the host {}", quoted(&self.host))
                } else {
                    format!("no route of the host {} has a path that covers {}", quoted(&self.host), quoted(path))
                };
                let there: Vec<&RouteConfig> = if here.is_empty() { routes().collect() } else { here };
                self.routes = there.into_iter().map(describe_route).collect();
                (Some(404), why)
            }
        };
    }

    /// Formats the report for people.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut lines: Vec<(&str, String)> = Vec::new();
        if let (Some(route), Some(matched)) = (&self.route, &self.matched) {
            let host = matched.host.as_deref().map_or("any host".to_owned(), |host| format!("host {}", quoted(host)));
            let what = if matched.path.contains('*') { "pattern" } else { "path" };
            lines.push(("route", format!("{route} ({host}, {what} {})", quoted(&matched.path))));
        }
        if let Some(normal) = &self.normal_path {
            lines.push(("path", format!("{} is matched as {}", quoted(&self.path), quoted(normal))));
        }
        lines.push(("verdict", styled(self.style(), self.verdict_in_words())));
        lines.push(("why", self.why_in_full(now)));
        if let (Some(dialect), Some(by)) = (self.dialect, self.dialect_by) {
            let template = self.template.as_ref().map(|name| format!(" by the template {}", quoted(name)));
            lines.push(("form", format!("{dialect}{}, because {by}", template.unwrap_or_default())));
        }
        if !self.upstreams.is_empty() {
            let nothing = if self.verdict == "forward" { "" } else { " (sees nothing of it)" };
            lines.push(("upstream", format!("{}{nothing}", self.upstreams.join(", "))));
        }
        lines.extend(fields::lines("request", &self.request));
        lines.extend(fields::lines("response", &self.response));
        if let Some(next) = &self.next {
            let from = words::instant(next.starts, now);
            lines.push(("next", format!("window {} makes it {} from {from}", quoted(&next.window), next.mode)));
        }
        let there_is = if self.routes.len() > MOST_ROUTES { &self.routes[..MOST_ROUTES] } else { &self.routes };
        lines.extend(there_is.iter().map(|route| ("there is", route.clone())));
        if let Some(more) = self.routes.len().checked_sub(MOST_ROUTES).filter(|&more| more > 0) {
            lines.push(("", format!("and {}", words::count(more, "other route"))));
        }
        let line = |(label, text): (&str, String)| format!("{} {text}\n", styled(DIM, format!("{label:<9}")));
        lines.into_iter().map(line).collect()
    }

    fn style(&self) -> Style {
        match self.verdict {
            "forward" => GOOD,
            "refuse" => ERROR,
            _ => WARNING,
        }
    }

    fn verdict_in_words(&self) -> String {
        let dialect = self.dialect.unwrap_or("text");
        let language = self.language.as_deref().filter(|tag| *tag != "en");
        let language = language.map(|tag| format!(" in {tag}")).unwrap_or_default();
        let page = self.page.as_ref().map_or_else(|| "page".to_owned(), |of| format!("page of route {}", quoted(of)));
        match (self.verdict, self.status) {
            ("show", Some(status)) => {
                format!("show: answered {status} with the maintenance {page}, as {dialect}{language}")
            }
            ("hold", Some(status)) => {
                format!(
                    "hold: waits for the route; in vain, it is answered {status} with the {page}, as {dialect}{language}"
                )
            }
            ("redirect", Some(status)) => {
                format!("redirect: answered {status}, to {}", self.location.as_deref().unwrap_or_default())
            }
            (verdict, Some(status)) => format!("{verdict}: answered {status}"),
            (verdict, None) => verdict.to_owned(),
        }
    }

    fn why_in_full(&self, now: Timestamp) -> String {
        let Some(closure) = &self.closure else { return self.why.clone() };
        if let Some(breach) = &closure.breach {
            let opens = format!("`backsoon off {} --force` opens it", self.route.as_deref().unwrap_or_default());
            return format!("{} keeps it {}: {breach}; {opens}", closure.by, closure.mode);
        }
        let until = closure.until.map_or_else(
            || "until lifted".to_owned(),
            |until| format!("until {} ({})", words::instant(until, now), words::span(now, until)),
        );
        let flagged = format!("{} says {}, {until}", closure.by, closure.mode);
        if self.why.is_empty() { flagged } else { format!("{flagged}; {}", self.why) }
    }
}

fn head(request: &ExplainedRequest) -> Head<'_> {
    let ExplainedRequest { method, host, path, query, headers, from } = request;
    Head { method, host, path, query: query.as_deref(), peer: (*from).into(), ..Head::unknown(headers) }
}

/// Explains why a request is forwarded, for reasons that are the same for every client.
fn forward_reason(route: &Route, pass: Pass, request: &ExplainedRequest, path: &str) -> String {
    match pass {
        Pass::Open => format!("nothing is flagged for {}", quoted(&route.config.name)),
        Pass::Excepted => match exception(&route.config, path) {
            Some(exception) => format!("`always_open` has {}", quoted(exception.path.as_str())),
            None => "crawlers and certificates need it (`well_known`)".to_owned(),
        },
        Pass::ReadOnly if is_safe(&request.method) => {
            format!("the route is read-only, and {} changes nothing", request.method)
        }
        Pass::ReadOnly => "the route is read-only, and `read_only` allows this".to_owned(),
        Pass::Admitted | Pass::Bypassed => String::new(),
    }
}

/// Explains why a client passes a route that is not open.
fn passing(snapshot: &Snapshot, route: &Route, closure: &Closure, head: &Head<'_>) -> String {
    match pass::check(snapshot, route, closure, head) {
        Ok(PassReason::Network) => "the client's address is in a network of `bypass`".to_owned(),
        Ok(PassReason::Secret) => "the client has sent the secret of `bypass`".to_owned(),
        Ok(PassReason::Cookie) => "the client has the cookie of a link that `backsoon bypass` made".to_owned(),
        Ok(PassReason::Cohort) => format!("{} this client is", ramp(snapshot, route, head)),
        Err(_) => String::new(),
    }
}

/// Explains why a client does not pass, if a bypass or a ramp might have let it.
fn not_passing(snapshot: &Snapshot, route: &Route, closure: &Closure, head: &Head<'_>) -> String {
    let void = pass::check(snapshot, route, closure, head).err().flatten();
    let void = void.map(|void| format!("what the client shows does not let it pass: {}", void.as_str()));
    let is_suspended = route.state.suspended(&route.config.policy).is_some();
    let phase = match route.phase() {
        Phase::Ramping if route.admission.is_some() => {
            Some(format!("{} this client is not yet", ramp(snapshot, route, head)))
        }
        Phase::Open | Phase::Draining | Phase::Closed | Phase::Verifying if is_suspended => {
            let is_in = pass::cohort(snapshot, route, closure, head) < closure.admits;
            Some(format!("{} this client is{}", ramp(snapshot, route, head), if is_in { "" } else { " not yet" }))
        }
        Phase::Verifying | Phase::Ramping => Some(route.state.reason().to_string()),
        Phase::Open | Phase::Draining | Phase::Closed => None,
    };
    phase.into_iter().chain(void).collect::<Vec<_>>().join("; ")
}

/// Tells how far a ramp is, and at which share a client is admitted.
fn ramp(snapshot: &Snapshot, route: &Route, head: &Head<'_>) -> String {
    let cohort = route.closure.as_ref().map_or(0, |closure| pass::cohort(snapshot, route, closure, head));
    let turn = f64::from(cohort) / f64::from(u32::MAX) * 100.0;
    let from = if head.peer == None.into() { " (--from says which client)" } else { "" };
    let share = route.state.admitted(&route.config.policy).unwrap_or_default() * 100.0;
    match route.phase() {
        Phase::Ramping => {
            format!("the route comes back: {share:.1} % of the clients are admitted, from {turn:.1} % on{from}")
        }
        Phase::Open | Phase::Draining | Phase::Closed | Phase::Verifying => {
            format!("its ramp is suspended: {share:.1} % of the clients may read, from {turn:.1} % on{from}")
        }
    }
}

/// Explains why this request gets the page, if the mode alone does not tell.
fn mode_reason(closure: &Closure, request: &ExplainedRequest) -> String {
    match closure.mode {
        Mode::ReadOnly if closure.eases.is_some() && is_safe(&request.method) => String::new(),
        Mode::ReadOnly => format!("{} may change something", request.method),
        Mode::Offline | Mode::Hold => String::new(),
    }
}

/// Tells what closes a route that is down.
fn closure_report(closure: &Closure, route: &Route, loaded: &Loaded, at: Timestamp) -> Option<ClosureReport> {
    let source = route.closed_by()?;
    let route_name = route.config.name.as_str();
    let by = match source {
        ClosedBy::Guard => "the guard".to_owned(),
        ClosedBy::Start => "the start without a saved state".to_owned(),
        ClosedBy::Reload => "the reload of the config, which added or moved it".to_owned(),
        ClosedBy::LostState => "the saved state that was lost".to_owned(),
        ClosedBy::Window(id) => format!("window {}", quoted(id)),
        ClosedBy::Switch(file) => format!("the switch {}", quoted(file)),
        ClosedBy::Flag => {
            let named = |target: &Target| matches!(target, Target::Route(name) if name == route_name);
            let own =
                loaded.flags.routes.iter().any(|flag| named(&flag.route) && flag.mode == closure.mode && flag.acts(at));
            let holder = route.state.closing().and_then(|closing| closing.desired.held_by.as_ref());
            let held = holder.map(|holder| format!(", held by {}", words::harmless(holder))).unwrap_or_default();
            format!("the flag for {}{held}", if own { quoted(route_name) } else { "`\"*\"`".to_owned() })
        }
    };
    let breach = route.state.breach().filter(|_| source == ClosedBy::Guard).map(|breach| breach.what.clone());
    Some(ClosureReport { mode: closure.mode.as_str(), source: source.to_string(), by, until: closure.until, breach })
}

/// Returns the first window that names the route and begins later.
fn next_window(loaded: &Loaded, route: &str, at: Timestamp) -> Option<NextWindow> {
    let names = |target: &Target| match target {
        Target::Every => true,
        Target::Route(name) => name == route,
    };
    let windows = loaded.flags.acting(at).filter_map(|window| Some((window, window.next_start(at)?)));
    let mut planned = windows.filter_map(|(window, starts)| {
        let mode = window.routes.iter().filter(|(target, _)| names(target)).map(|(_, mode)| *mode).max()?;
        Some(NextWindow { window: window.id.clone(), mode: words::being(mode), starts })
    });
    let first = planned.next()?;
    Some(planned.fold(first, |first, other| if other.starts < first.starts { other } else { first }))
}

/// Most routes that the explanation of a 404 lists.
const MOST_ROUTES: usize = 12;
