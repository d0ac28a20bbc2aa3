//! What control tells about itself: the body of `/status`, and the detail of `/readyz`.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::live::Generation;
use crate::plan::lifecycle::Breach;
use crate::plan::problem::Problem;
use crate::plan::snapshot::{Announced, Phase, Route, Source};
use crate::telemetry::{RouteCell, Summary};

use super::observe::Traffic;

/// What the loop knows and the admin listener tells. Remade whenever something happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub files: Vec<FileReport>,
    /// How often a file was refused.
    pub refused: u64,
}

/// One watched file.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FileReport {
    pub path: String,
    pub role: &'static str,
    /// Of the content read last, whether or not it was accepted: SHA-256, as `sha256sum` prints it.
    pub hash: Option<String>,
    pub loaded: Option<Timestamp>,
    pub problems: Vec<Problem>,
    pub trouble: Option<String>,
    pub caveat: Option<String>,
}

impl FileReport {
    /// Whether its content is in force as it stands.
    pub(super) fn is_good(&self) -> bool {
        self.trouble.is_none() && self.problems.iter().all(|problem| !problem.is_error())
    }
}

/// The body of `/status`.
#[derive(Debug, Serialize)]
pub(super) struct Status<'s> {
    pub version: &'static str,
    pub pid: u32,
    pub started: Timestamp,
    pub generation: u64,
    pub published: Timestamp,
    pub stage: &'static str,
    pub workers: usize,
    pub files: &'s [FileReport],
    pub routes: Vec<RouteStatus<'s>>,
}

/// A route in `/status`.
#[derive(Debug, Serialize)]
pub(super) struct RouteStatus<'s> {
    name: &'s str,
    phase: &'static str,
    mode: Option<&'static str>,
    since: Timestamp,
    /// Why it is in its phase, in words.
    why: &'s str,
    /// What comes next, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextStatus>,
    /// When the maintenance began.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    until: Option<Timestamp>,
    source: Option<String>,
    /// The share of clients that is admitted, while it ramps.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// Until when its guard watches it, while it is open again.
    #[serde(skip_serializing_if = "Option::is_none")]
    watched_until: Option<Timestamp>,
    /// What its guard found.
    #[serde(skip_serializing_if = "Option::is_none")]
    breach: Option<&'s Breach>,
    /// Windows to come that are announced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    announced: Vec<AnnouncedStatus<'s>>,
    /// It is under maintenance for 24 hours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    long: bool,
    in_flight: u64,
    /// Of those, what began before the route went down; while it is draining, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u64>,
    held: u64,
    requests: Requests,
    /// Over the last minute, or the time since the start.
    requests_per_second: f64,
    /// Of the last minute; absent if there was no request.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
    upstreams: Vec<UpstreamStatus<'s>>,
}

/// What comes next.
#[derive(Debug, Serialize)]
struct NextStatus {
    phase: &'static str,
    /// When, if that is known.
    at: Option<Timestamp>,
}

/// A window to come.
#[derive(Debug, Serialize)]
struct AnnouncedStatus<'s> {
    window: &'s str,
    mode: &'static str,
    starts: Timestamp,
    ends: Timestamp,
}

/// What became of a route's requests since the process started.
#[derive(Debug, Serialize)]
struct Requests {
    forwarded: u64,
    maintenance: u64,
    failed: u64,
    aborted: u64,
}

/// From a request's head to its response's head: what so many in a hundred did not exceed, in milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// An upstream in `/status`.
#[derive(Debug, Serialize)]
struct UpstreamStatus<'s> {
    name: &'s str,
    pending: u64,
    connections: u64,
    connect_failures: u64,
    failures: u64,
    /// How many workers avoid it now.
    ejected: u64,
}

impl<'s> RouteStatus<'s> {
    pub(super) fn new(route: &'s Route, live: &'s Generation, traffic: Option<Traffic>) -> Self {
        let meter = &live.routes[route.index];
        let sum = |of: fn(&RouteCell) -> u64| meter.sum(of);
        Self {
            name: &route.config.name,
            phase: route.phase().as_str(),
            mode: route.closure.as_ref().map(|closure| closure.mode.as_str()),
            since: route.since(),
            why: &route.life.why,
            next: next(route),
            started: route.closure.as_ref().map(|closure| closure.started),
            until: route.closure.as_ref().and_then(|closure| closure.until),
            source: route.closure.as_ref().map(|closure| source(&closure.source)),
            share: (route.phase() == Phase::Ramping).then_some(route.life.share),
            watched_until: route.watched_until(),
            breach: route.life.breach.as_ref(),
            announced: route.announced.iter().map(AnnouncedStatus::new).collect(),
            long: route.long,
            in_flight: sum(|cell| cell.in_flight.get()),
            remaining: (route.phase() == Phase::Draining).then(|| meter.remaining(route.epoch)).flatten(),
            held: sum(|cell| cell.held.get()),
            requests: Requests {
                forwarded: sum(|cell| cell.upstream.iter().map(crate::telemetry::Cell::get).sum()),
                maintenance: sum(|cell| cell.maintenance.get()),
                failed: sum(|cell| cell.failed.get()),
                aborted: sum(|cell| cell.aborted.get()),
            },
            requests_per_second: traffic.map_or(0.0, per_second),
            latency: traffic.map(|traffic| Latency::new(&traffic.summary)),
            upstreams: route.upstreams.iter().map(|&index| UpstreamStatus::new(live, index)).collect(),
        }
    }
}

/// What comes next: also of an open route, where that is announced.
fn next(route: &Route) -> Option<NextStatus> {
    let announced = || route.announced.first().map(|next| (Phase::Closed, Some(next.starts)));
    let (phase, at) = route.next.or_else(announced)?;
    Some(NextStatus { phase: phase.as_str(), at })
}

impl<'s> AnnouncedStatus<'s> {
    fn new(announced: &'s Announced) -> Self {
        let Announced { id, mode, starts, ends } = announced;
        Self { window: id, mode: mode.as_str(), starts: *starts, ends: *ends }
    }
}

impl Latency {
    fn new(summary: &Summary) -> Self {
        Self { p50: millis(summary.p50), p90: millis(summary.p90), p99: millis(summary.p99) }
    }
}

/// With its microseconds, and no digit behind them.
#[allow(clippy::cast_precision_loss, reason = "what is measured in minutes has no 2^53 microseconds")]
fn millis(latency: Duration) -> f64 {
    latency.as_micros() as f64 / 1000.0
}

/// To the hundredth.
#[allow(clippy::cast_precision_loss, reason = "nobody counts to 2^53 in a minute")]
fn per_second(traffic: Traffic) -> f64 {
    let rate = traffic.summary.count as f64 / traffic.span.as_secs_f64();
    (rate * 100.0).round() / 100.0
}

impl<'s> UpstreamStatus<'s> {
    fn new(live: &'s Generation, index: usize) -> Self {
        let meter = &live.upstreams[index].meter;
        Self {
            name: &meter.name,
            pending: meter.sum(|cell| cell.pending.get()),
            connections: meter.sum(|cell| cell.connections.get()),
            connect_failures: meter.sum(|cell| cell.connect_failures.get()),
            failures: meter.sum(|cell| cell.failures.get()),
            ejected: meter.sum(|cell| cell.ejected.get()),
        }
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::Flag => "flag".to_owned(),
        Source::Window(id) => format!("window {id}"),
    }
}
