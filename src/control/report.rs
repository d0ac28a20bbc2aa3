//! The report about files and routes, for `/status` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::config::Config;
use crate::plan::flags::Link;
use crate::plan::lifecycle::Reason;
use crate::plan::pass;
use crate::plan::snapshot::{Announced, Phase, Planned, Route};
use crate::status::{
    AnnouncedStatus, BreachStatus, FileStatus, LatencyStatus, LinkStatus, NextStatus, PlannedStatus, ProblemStatus,
    RequestsStatus, RouteStatus, UpstreamStatus, WatchingStatus,
};
use crate::telemetry::{Cell, LinkCell, RouteCell, RouteMeter, Summary};

use super::fleet::FleetReport;
use super::observe::Traffic;

/// State of the files. The loop makes it anew after each event, and the admin listener reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub files: Vec<FileStatus>,
    /// The way in which changes of files are noticed.
    pub watching: WatchingStatus,
    /// The engine of the flags, if they do not come from a file.
    pub fleet: Option<FleetReport>,
    /// Problems that belong to no watched file.
    pub problems: Vec<ProblemStatus>,
    /// True if the saved state could be read, and state and history are written.
    pub state_good: bool,
    /// Entries of the history that could not be written.
    pub history_lost: u64,
    /// The config in force.
    pub config: Option<Arc<Config>>,
    /// The address of the admin listener.
    pub admin: Option<String>,
    /// Number of times that a file was refused.
    pub refused: u64,
}

/// Describes a route as it is now. `traffic` covers the last minute, if there was any.
pub(super) fn route(route: &Route, live: &Generation, traffic: Option<Traffic>) -> RouteStatus {
    let meter = &live.routes[route.index];
    let sum = |of: fn(&RouteCell) -> u64| meter.sum(of);
    RouteStatus {
        name: route.config.name.clone(),
        phase: route.phase().as_str().to_owned(),
        mode: route.closure.as_ref().map(|closure| closure.mode.as_str().to_owned()),
        since: Some(route.since()),
        why: route.state.reason().to_string(),
        next: next(route),
        started: route.closure.as_ref().map(|closure| closure.started),
        until: route.closure.as_ref().and_then(|closure| closure.until),
        source: route.closed_by().map(|by| by.to_string()),
        share: route.state.admitted(&route.config.policy),
        watched_until: route.watched_until(),
        unjudged: route.unjudged().iter().map(ToString::to_string).collect(),
        judged: None,
        breach: breach(route),
        failing: failing(route),
        held_by: held_by(route),
        overruns: overruns(route),
        announced: route.announced.iter().map(announced).collect(),
        planned: route.planned.iter().map(|plan| planned(plan, route)).collect(),
        long: route.long,
        tried: route.state.is_tried(),
        undone: route.undone.clone(),
        links: links(route, meter),
        in_flight: sum(|cell| cell.in_flight.get()),
        remaining: (route.phase() == Phase::Draining).then(|| meter.remaining(route.epoch)).flatten(),
        held: sum(|cell| cell.held.get()),
        requests: RequestsStatus {
            forwarded: sum(|cell| cell.upstream.iter().map(Cell::get).sum()),
            maintenance: sum(|cell| cell.maintenance.get()),
            failed: sum(|cell| cell.failed.get()),
            aborted: sum(|cell| cell.aborted.get()),
        },
        requests_per_second: traffic.map_or(0.0, per_second),
        latency: traffic.map(|traffic| latency(&traffic.summary)),
        outlook: None,
        upstreams: route.upstreams.iter().map(|&index| upstream(route, live, index)).collect(),
    }
}

/// Describes the named links of a route.
fn links(route: &Route, meter: &RouteMeter) -> Vec<LinkStatus> {
    let links = route.admission.iter().flat_map(|admission| admission.links());
    let status = |link: &Link| {
        let cells = meter.workers.iter().map(|cell| &cell.links);
        let used = LinkCell::sum(cells, &link.name, pass::millis(link.issued));
        let last = i64::try_from(used.last).ok().and_then(|last| Timestamp::from_millisecond(last).ok());
        LinkStatus { name: link.name.clone(), uses: used.count, last: last.filter(|_| used.count > 0) }
    };
    links.map(status).collect()
}

/// Returns the next phase. For an open route, that is the first announced one.
fn next(route: &Route) -> Option<NextStatus> {
    let announced = || route.announced.first().map(|next| (Phase::Closed, Some(next.starts)));
    let (phase, at) = route.next.or_else(announced)?;
    Some(NextStatus { phase: phase.as_str().to_owned(), at })
}

fn breach(route: &Route) -> Option<BreachStatus> {
    let breach = route.state.breach()?;
    Some(BreachStatus { at: Some(breach.at), what: breach.what.clone() })
}

/// Returns the reason of a route whose check failed when it ran last.
fn failing(route: &Route) -> Option<String> {
    let reason = route.state.reason();
    matches!(reason, Reason::CheckFailed { .. }).then(|| reason.to_string())
}

/// Returns the holder of the flag that keeps the route closed.
fn held_by(route: &Route) -> Option<String> {
    let down = matches!(route.phase(), Phase::Draining | Phase::Closed);
    route.state.closing().filter(|_| down)?.desired.held_by.clone()
}

/// Returns true if a window or a flag keeps the route closed after its planned end.
pub(super) fn overruns(route: &Route) -> bool {
    let down = matches!(route.phase(), Phase::Draining | Phase::Closed);
    down && route.state.closing().is_some_and(|closing| closing.desired.overruns)
}

fn announced(announced: &Announced) -> AnnouncedStatus {
    let Announced { id, mode, starts, ends } = announced;
    AnnouncedStatus { window: id.clone(), mode: mode.as_str().to_owned(), starts: Some(*starts), ends: Some(*ends) }
}

fn planned(plan: &Planned, route: &Route) -> PlannedStatus {
    let Planned { id, mode, starts, ends, every } = plan;
    PlannedStatus {
        window: id.clone(),
        mode: mode.as_str().to_owned(),
        starts: Some(*starts),
        ends: Some(*ends),
        announced: route.announced.iter().any(|announced| announced.id == *id && announced.starts == *starts),
        every: every.clone(),
    }
}

fn latency(summary: &Summary) -> LatencyStatus {
    LatencyStatus { p50: millis(summary.p50), p90: millis(summary.p90), p99: millis(summary.p99) }
}

/// Converts to milliseconds with three decimals.
#[allow(clippy::cast_precision_loss, reason = "what is measured in minutes has no 2^53 microseconds")]
fn millis(latency: Duration) -> f64 {
    latency.as_micros() as f64 / 1000.0
}

/// Returns the rate, rounded to hundredths.
#[allow(clippy::cast_precision_loss, reason = "nobody counts to 2^53 in a minute")]
fn per_second(traffic: Traffic) -> f64 {
    let rate = traffic.summary.count as f64 / traffic.span.as_secs_f64();
    (rate * 100.0).round() / 100.0
}

fn upstream(route: &Route, live: &Generation, index: usize) -> UpstreamStatus {
    let left_out = route.left_out.iter().find(|out| out.upstream == index);
    let spared = route.spared.iter().find(|out| out.upstream == index);
    let withdrawn = route.withdrawn.iter().find(|(out, _)| *out == index);
    let meter = &live.upstreams[index].meter;
    UpstreamStatus {
        name: meter.name.clone(),
        pending: meter.sum(|cell| cell.pending.get()),
        connections: meter.sum(|cell| cell.connections.get()),
        connect_failures: meter.sum(|cell| cell.connect_failures.get()),
        failures: meter.sum(|cell| cell.failures.get()),
        ejected: meter.sum(|cell| cell.ejected.get()),
        left_out: left_out.map(|out| out.failure.clone()),
        unwell: spared.map(|out| out.failure.clone()),
        withdrawn: withdrawn.map(|(_, how)| how.as_str().to_owned()),
    }
}
