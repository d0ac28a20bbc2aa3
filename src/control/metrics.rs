//! `/metrics`: the counters of all workers, summed at each scrape, in the format that the scraper accepts.
//!
//! There is no registry. The numbers live in cells of the workers, and a library's counters could only copy them.

mod accepted;
mod exposition;
mod fleet;
mod planned;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::flags::Mode;
use crate::plan::pass::millis;
use crate::plan::snapshot::{ClosedBy, Phase, Route};
use crate::status::FileStatus;
use crate::status::outbox::OutboxReport;
use crate::telemetry::{Counts, Limit, LinkCell, Meters, RouteCell, RouteMeter, UpstreamCell, WorkerCell};

pub(super) use accepted::MetricsFormat;
use exposition::{Exposition, Histogram, Metric};

use super::lookout::Lookout;
use super::report::{Report, overruns};

/// Everything that a scrape reads.
pub(super) struct Scraped<'s> {
    pub live: &'s Generation,
    pub meters: &'s Meters,
    pub report: &'s Report,
    pub lookout: &'s Lookout,
    pub outbox: Option<OutboxReport>,
    pub started: Timestamp,
}

/// A metric's name and help, and the function that reads its value from `C`.
type Row<C, V> = (&'static str, &'static str, fn(&C) -> V);

/// Returns the text of `/metrics`.
pub(super) fn text(scraped: &Scraped<'_>, format: MetricsFormat) -> String {
    let mut text = Exposition::new(format);
    process::process(&mut text, scraped.started);
    proxy(&mut text, scraped);
    files(&mut text, scraped.report);
    workers(&mut text, scraped.meters);
    phases(&mut text, &scraped.live.snapshot.routes);
    planned::planned(&mut text, &scraped.live.snapshot);
    let meters = scraped.meters.routes();
    requests(&mut text, &meters);
    holds(&mut text, &meters);
    bypasses(&mut text, &meters);
    links(&mut text, scraped.live);
    latency(&mut text, &meters);
    upstreams(&mut text, scraped.live);
    left_out(&mut text, scraped.live);
    withdrawn(&mut text, scraped.live);
    all_unwell(&mut text, scraped.live);
    outlooks(&mut text, scraped);
    outbox(&mut text, scraped.outbox.as_ref());
    fleet::fleet(&mut text, scraped.report.fleet.as_ref());
    text.finish()
}

/// Converts a count to a sample's value, which is exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "a counter beyond 2^53 may lose its last digit")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Returns 1 for yes and 0 for no.
fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn seconds(instant: Timestamp) -> f64 {
    instant.as_duration().as_secs_f64()
}

fn proxy(text: &mut Exposition, scraped: &Scraped<'_>) {
    let snapshot = &scraped.live.snapshot;
    text.gauge("backsoon_build_info", "The version.").sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let help = "Deprecated, see process_start_time_seconds.";
    text.gauge("backsoon_start_time_seconds", help).sample(&[], seconds(scraped.started));
    text.gauge("backsoon_generation", "Publications so far.").sample(&[], number(snapshot.generation));
    let workers = number(scraped.meters.workers.len() as u64);
    text.gauge("backsoon_workers", "Threads that serve requests.").sample(&[], workers);
    let help = "Times that a changed file was refused and the last good one stayed.";
    text.counter("backsoon_refused_inputs", help).sample(&[], number(scraped.report.refused));
    let help = "1 if the saved state could be read, and state and history are written; 0 if not.";
    text.gauge("backsoon_state_good", help).sample(&[], flag(scraped.report.state_good));
    let help = "Entries of the history that could not be written.";
    text.counter("backsoon_history_lost", help).sample(&[], number(scraped.report.history_lost));
}

fn files(text: &mut Exposition, report: &Report) {
    let help = "1 while changes of files are found by polling, because the system gives no events for them.";
    text.gauge("backsoon_files_polled", help).sample(&[], flag(report.watching.trouble.is_some()));
    let write = |mut metric: Metric<'_>, value: &dyn Fn(&FileStatus) -> Option<f64>| {
        for file in &report.files {
            if let Some(value) = value(file) {
                metric.sample(&[("file", &file.path), ("role", &file.role)], value);
            }
        }
    };
    let help = "When the file was last read with a new content.";
    write(text.gauge("backsoon_file_loaded_timestamp_seconds", help), &|file| file.loaded.map(seconds));
    let help = "Deprecated, see backsoon_file_loaded_timestamp_seconds.";
    write(text.gauge("backsoon_file_loaded_seconds", help), &|file| file.loaded.map(seconds));
    let good = text.gauge("backsoon_file_good", "1 if the file as it stands is in force, 0 if an earlier one is.");
    write(good, &|file| Some(flag(file.is_good())));
    let problems = text.gauge("backsoon_file_problems", "Problems of the file as it stands.");
    write(problems, &|file| Some(number(file.problems.len() as u64)));
    let pending = text.gauge("backsoon_file_pending", "1 while a newer content of the file is not believed yet.");
    write(pending, &|file| Some(flag(file.pending.is_some())));
    certificates(text, report);
}

fn certificates(text: &mut Exposition, report: &Report) {
    let help = "When the certificate in force ends. `name` is the first of its names.";
    let mut ends = text.gauge("backsoon_certificate_expiry_timestamp_seconds", help);
    for file in &report.files {
        let Some(certificate) = &file.certificate else { continue };
        let name = certificate.names.first().map_or("", String::as_str);
        if let Some(instant) = certificate.ends {
            ends.sample(&[("file", &file.path), ("name", name)], seconds(instant));
        }
    }
}

fn workers(text: &mut Exposition, meters: &Meters) {
    let sum = |of: fn(&WorkerCell) -> u64| number(meters.workers.iter().map(of).sum());
    let gauges: [Row<WorkerCell, u64>; 4] = [
        ("backsoon_client_connections", "Client connections open.", |cell| cell.connections.get()),
        ("backsoon_parked_connections", "Client connections that are idle and hold little memory.", |cell| {
            cell.parked.get()
        }),
        ("backsoon_tunnels", "Tunnels open.", |cell| cell.tunnels.get()),
        ("backsoon_watchers", "Streams of page events open.", |cell| cell.watchers.get()),
    ];
    for (name, help, of) in gauges {
        text.gauge(name, help).sample(&[], sum(of));
    }
    let mut accepted = text.counter("backsoon_client_connections_accepted", "Client connections accepted.");
    for (id, cell) in meters.workers.iter().enumerate() {
        accepted.sample(&[("worker", &id.to_string())], number(cell.accepted.get()));
    }
    let counters: [Row<WorkerCell, u64>; 6] = [
        ("backsoon_accept_failures", "Times that accepting failed and backed off.", |cell| cell.accept_failures.get()),
        ("backsoon_tls_failures", "TLS handshakes with clients that failed.", |cell| cell.tls_failures.get()),
        (
            "backsoon_proxy_headers_refused",
            "Connections of trusted proxies that were closed for want of a valid PROXY header.",
            |cell| cell.proxy_headers_refused.get(),
        ),
        ("backsoon_requests_refused", "Requests that no route took, or that were malformed.", |cell| {
            cell.refused.get()
        }),
        ("backsoon_panics", "Connections that ended by a bug.", |cell| cell.panics.get()),
        ("backsoon_access_log_dropped", "Access log lines dropped.", |cell| cell.log_dropped.get()),
    ];
    for (name, help, of) in counters {
        text.counter(name, help).sample(&[], sum(of));
    }
    let mut limits = text.counter("backsoon_limit_reached", "Times that a limit was reached.");
    for &limit in &Limit::ALL {
        let count = meters.workers.iter().map(|worker| worker.limits[limit as usize].get()).sum();
        limits.sample(&[("limit", limit.as_str())], number(count));
    }
}

fn phases(text: &mut Exposition, routes: &[Route]) {
    let help = "1 for the mode in which the route is under maintenance, if it is.";
    let mut closed = text.gauge("backsoon_route_closed", help);
    for route in routes {
        for mode in Mode::ALL {
            let is_closed = route.closure.as_ref().is_some_and(|closure| closure.mode == mode);
            closed.sample(&[("route", &route.config.name), ("mode", mode.as_str())], flag(is_closed));
        }
    }
    let help = "1 if the end of the route's flag has passed without a renewal, and the flag keeps the route closed.";
    let mut lost = text.gauge("backsoon_route_holder_lost", help);
    for route in routes {
        let is_lost = route.closed_by() == Some(ClosedBy::Flag) && overruns(route);
        lost.sample(&[("route", &route.config.name)], flag(is_lost));
    }
    let mut phase = text.gauge("backsoon_route_phase", "1 for the phase that the route is in.");
    for route in routes {
        for one in Phase::ALL {
            phase.sample(&[("route", &route.config.name), ("phase", one.as_str())], flag(route.phase() == one));
        }
    }
    let gauges: [Row<Route, f64>; 5] = [
        ("backsoon_route_admitted_ratio", "The share of clients that is admitted.", admitted),
        ("backsoon_route_guard_breached", "1 while the route's guard has found it wanting.", |route| {
            flag(route.state.breach().is_some())
        }),
        ("backsoon_route_since_timestamp_seconds", "Since when the route is in its phase.", |route| {
            seconds(route.since())
        }),
        ("backsoon_route_since_seconds", "Deprecated, see backsoon_route_since_timestamp_seconds.", |route| {
            seconds(route.since())
        }),
        ("backsoon_route_closed_long", "1 once the route is under maintenance for 24 hours.", |route| flag(route.long)),
    ];
    for (name, help, of) in gauges {
        let mut gauge = text.gauge(name, help);
        routes.iter().for_each(|route| gauge.sample(&[("route", &route.config.name)], of(route)));
    }
}

/// Returns the share of clients that a route admits.
fn admitted(route: &Route) -> f64 {
    match route.phase() {
        Phase::Open => 1.0,
        Phase::Ramping => route.state.share().unwrap_or_default(),
        Phase::Draining | Phase::Closed | Phase::Verifying => 0.0,
    }
}

fn requests(text: &mut Exposition, meters: &[Arc<RouteMeter>]) {
    let in_flight = text.gauge("backsoon_requests_in_flight", "Requests forwarded and not finished.");
    by_route(in_flight, meters, |cell| cell.in_flight.get());
    let help = "Responses of upstreams, by the class of their status.";
    let mut responses = text.counter("backsoon_upstream_responses", help);
    for meter in meters {
        for (index, class) in CLASSES.iter().enumerate() {
            let count = meter.sum(|cell| cell.upstream[index + 1].get());
            responses.sample(&[("route", &meter.name), ("class", class)], number(count));
        }
    }
    let counters: [Row<RouteCell, u64>; 7] = [
        (
            "backsoon_maintenance_responses",
            "Requests answered with the page because the route is under maintenance.",
            |cell| cell.maintenance.get(),
        ),
        ("backsoon_redirects", "Requests answered with a redirect.", |cell| cell.redirected.get()),
        (
            "backsoon_proxy_errors",
            "Requests that the proxy answered with 502, 503 or 504, or cut, because the upstream failed.",
            |cell| cell.failed.get(),
        ),
        (
            "backsoon_grpc_failures",
            "gRPC calls that the upstream answered with the status of a failure, or with none.",
            |cell| cell.calls_failed.get(),
        ),
        ("backsoon_drain_cut", "Requests broken off because their route was down and the drain time over.", |cell| {
            cell.cut.get()
        }),
        (
            "backsoon_drain_left",
            "Tunnels and event streams that were ended properly because their route was down.",
            |cell| cell.left.get(),
        ),
        ("backsoon_client_aborts", "Requests that the client gave up.", |cell| cell.aborted.get()),
    ];
    for (name, help, of) in counters {
        by_route(text.counter(name, help), meters, of);
    }
}

fn holds(text: &mut Exposition, meters: &[Arc<RouteMeter>]) {
    let held = text.gauge("backsoon_requests_held", "Requests that wait for the route.");
    by_route(held, meters, |cell| cell.held.get());
    let counters: [Row<RouteCell, u64>; 4] = [
        ("backsoon_holds", "Requests that began to wait for the route.", |cell| cell.held_total.get()),
        ("backsoon_hold_overflow", "Requests answered with the page because too many waited already.", |cell| {
            cell.hold_overflow.get()
        }),
        ("backsoon_hold_timeout", "Requests answered with the page because they had waited for too long.", |cell| {
            cell.hold_timeout.get()
        }),
        ("backsoon_hold_released", "Requests forwarded after they had waited.", |cell| cell.hold_released.get()),
    ];
    for (name, help, of) in counters {
        by_route(text.counter(name, help), meters, of);
    }
}

fn bypasses(text: &mut Exposition, meters: &[Arc<RouteMeter>]) {
    let passed = text.counter("backsoon_bypass", "Requests that passed a closed route by its bypass.");
    by_route(passed, meters, |cell| cell.bypassed.get());
    let refused = text.counter("backsoon_bypass_refused", "Secrets, links and cookies of a bypass that were wrong.");
    by_route(refused, meters, |cell| cell.bypass_refused.get());
}

/// Writes the uses of the named links that the flag file lists.
fn links(text: &mut Exposition, live: &Generation) {
    let mut opened = text.counter("backsoon_link_opened", "Times that a named link of testers was opened.");
    for (route, meter) in live.snapshot.routes.iter().zip(live.routes.iter()) {
        for link in route.admission.iter().flat_map(|admission| admission.links()) {
            let cells = meter.workers.iter().map(|cell| &cell.links);
            let used = LinkCell::sum(cells, &link.name, millis(link.issued));
            opened.sample(&[("route", &meter.name), ("link", &link.name)], number(used.count));
        }
    }
}

fn by_route(mut metric: Metric<'_>, meters: &[Arc<RouteMeter>], of: fn(&RouteCell) -> u64) {
    for meter in meters {
        metric.sample(&[("route", &meter.name)], number(meter.sum(of)));
    }
}

/// Writes the latency of routes that ever had a request. The others are left out, because a histogram takes as many
/// lines as all counters of a route together.
fn latency(text: &mut Exposition, meters: &[Arc<RouteMeter>]) {
    let help = "From a forwarded request's head to the response's head, or to the upstream's failure. Bounds hold; up to \
                6 % below one may be counted above it.";
    let mut metric = text.histogram("backsoon_request_duration_seconds", help);
    for meter in meters.iter().filter(|meter| meter.has_latency()) {
        metric.samples(&[("route", &meter.name)], &histogram(&meter.latency()));
    }
}

/// Counts the requests within each of [`BOUNDS`]. If a bound falls inside a bucket, that bucket counts for the next
/// bound.
fn histogram(counts: &Counts) -> Histogram {
    let count = counts.count();
    let mut buckets: Vec<_> = BOUNDS.iter().map(|bound| (bound.as_secs_f64(), counts.within(*bound))).collect();
    buckets.push((f64::INFINITY, count));
    Histogram { sum: number(counts.micros) / 1e6, count, buckets }
}

fn upstreams(text: &mut Exposition, live: &Generation) {
    let gauges: [Row<UpstreamCell, u64>; 3] = [
        ("backsoon_upstream_pending", "Requests sent and not answered to the end.", |cell| cell.pending.get()),
        ("backsoon_upstream_connections", "Connections open.", |cell| cell.connections.get()),
        ("backsoon_upstream_ejected", "Workers that avoid the upstream now.", |cell| cell.ejected.get()),
    ];
    for (name, help, of) in gauges {
        by_upstream(text.gauge(name, help), live, of);
    }
    let counters: [Row<UpstreamCell, u64>; 5] = [
        ("backsoon_upstream_connects", "Connections opened.", |cell| cell.connected.get()),
        ("backsoon_upstream_connect_failures", "Connections that failed to open.", |cell| cell.connect_failures.get()),
        ("backsoon_upstream_failures", "Requests that failed before a response.", |cell| cell.failures.get()),
        (
            "backsoon_upstream_evictions",
            "Requests broken off because their client had stalled while others waited for a connection.",
            |cell| cell.evicted.get(),
        ),
        ("backsoon_upstream_ejections", "Times that a worker ejected the upstream.", |cell| cell.ejections.get()),
    ];
    for (name, help, of) in counters {
        by_upstream(text.counter(name, help), live, of);
    }
}

/// Writes who is left out, for routes that have checks.
fn left_out(text: &mut Exposition, live: &Generation) {
    let help = "1 while the route leaves the upstream out, because it fails its checks.";
    let mut gauge = text.gauge("backsoon_upstream_left_out", help);
    for route in live.snapshot.routes.iter().filter(|route| route.config.policy.has_checks()) {
        for &index in route.upstreams.iter() {
            let Some(upstream) = live.upstreams.get(index) else { continue };
            let is_out = route.left_out.iter().any(|out| out.upstream == index);
            gauge.sample(&[("route", &route.config.name), ("upstream", &upstream.meter.name)], flag(is_out));
        }
    }
}

/// Writes who is taken out by the flag file, for routes of which some are.
fn withdrawn(text: &mut Exposition, live: &Generation) {
    let help = "1 while the flag file takes the upstream out of its routes, by `drain` or `down`.";
    let mut gauge = text.gauge("backsoon_upstream_withdrawn", help);
    for route in live.snapshot.routes.iter().filter(|route| !route.withdrawn.is_empty()) {
        for &index in route.upstreams.iter() {
            let Some(upstream) = live.upstreams.get(index) else { continue };
            let is_out = route.withdrawn.iter().any(|(out, _)| *out == index);
            gauge.sample(&[("route", &route.config.name), ("upstream", &upstream.meter.name)], flag(is_out));
        }
    }
}

/// Writes whether a route goes on although its upstreams fail, for routes that have health checks.
fn all_unwell(text: &mut Exposition, live: &Generation) {
    let help = "1 while the route uses upstreams that fail its health checks, because no other is left.";
    let mut gauge = text.gauge("backsoon_route_all_unwell", help);
    for route in live.snapshot.routes.iter().filter(|route| !route.config.policy.health.is_empty()) {
        gauge.sample(&[("route", &route.config.name)], flag(!route.spared.is_empty()));
    }
}

/// Writes the outlook of open routes whose checks were tried lately.
fn outlooks(text: &mut Exposition, scraped: &Scraped<'_>) {
    let help = "1 if the checks of the open route would fail now, so that it would not open if it were closed.";
    let mut gauge = text.gauge("backsoon_route_checks_would_fail", help);
    for route in &scraped.live.snapshot.routes {
        if let Some(outlook) = scraped.lookout.outlook(route, &scraped.live.snapshot) {
            gauge.sample(&[("route", &route.config.name)], flag(!outlook.opens));
        }
    }
}

/// Writes the outbox, if this proxy tells subscribers.
fn outbox(text: &mut Exposition, outbox: Option<&OutboxReport>) {
    let Some(outbox) = outbox else { return };
    let help = "1 if the outbox can read and write its files, 0 if not: then subscribers are not told.";
    text.gauge("backsoon_outbox_good", help).sample(&[], flag(outbox.error.is_none()));
    if let Some(sender) = &outbox.sender {
        let help = "1 if this replica holds the lease and tells subscribers, 0 if another does, or none.";
        text.gauge("backsoon_outbox_sender", help).sample(&[], flag(sender.own));
    }
    text.gauge("backsoon_outbox_due", "Deliveries that wait.").sample(&[], number(outbox.due));
    if let Some(oldest) = outbox.oldest {
        let help = "Instant of the oldest update that somebody is still to be told.";
        text.gauge("backsoon_outbox_oldest_timestamp_seconds", help).sample(&[], seconds(oldest));
        let help = "Deprecated, see backsoon_outbox_oldest_timestamp_seconds.";
        text.gauge("backsoon_outbox_oldest_seconds", help).sample(&[], seconds(oldest));
    }
    let help = "Endpoints that get nothing any more: they have failed for days, or want no messages.";
    text.gauge("backsoon_outbox_silenced", help).sample(&[], number(outbox.silenced));
    text.counter("backsoon_outbox_sent", "Deliveries that endpoints have taken.").sample(&[], number(outbox.sent));
    text.counter("backsoon_outbox_failures", "Attempts that have failed.").sample(&[], number(outbox.failures));
    let mut forms = text.counter("backsoon_forms", "Visits of the forms for subscribers, by how they ended.");
    for (end, count) in &outbox.forms {
        forms.sample(&[("end", end)], number(*count));
    }
}

/// Writes a sum for each upstream. An address that is configured twice, say with other roots, is one upstream here.
fn by_upstream(mut metric: Metric<'_>, live: &Generation, of: fn(&UpstreamCell) -> u64) {
    let mut sums = BTreeMap::<&str, u64>::new();
    for upstream in live.upstreams.iter() {
        *sums.entry(&upstream.meter.name).or_default() += upstream.meter.sum(of);
    }
    for (name, sum) in sums {
        metric.sample(&[("upstream", name)], number(sum));
    }
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Upper bounds of the histogram's buckets.
const BOUNDS: [Duration; 18] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_micros(1_000),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
