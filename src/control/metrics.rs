//! `/metrics`: the counters of all workers, summed at the scrape, in the exposition format of Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::live::Generation;
use crate::plan::snapshot::Phase;
use crate::status::FileStatus;
use crate::telemetry::{Counts, Limit, Meters, RouteCell, UpstreamCell, WorkerCell};

use super::report::Report;

/// Everything a scrape looks at.
pub(super) struct Scraped<'s> {
    pub live: &'s Generation,
    pub meters: &'s Meters,
    pub report: &'s Report,
    pub started: Timestamp,
}

/// The text of `/metrics`.
///
/// # Errors
/// Never, as far as this crate knows: text is written to memory.
pub(super) fn text(scraped: &Scraped<'_>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families(scraped))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One metric with its samples.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Histogram {
        sum: f64,
        count: u64,
        /// The upper bounds, and how many are in each above the one before; the last bound is infinite.
        buckets: Vec<(f64, u64)>,
    },
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    sample.encode(family.kind, &mut metric)?;
                } else {
                    sample.encode(family.kind, &mut metric.encode_family(&sample.labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Sample {
    fn encode(&self, kind: MetricType, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match (&self.value, kind) {
            (Value::Number(number), MetricType::Counter) => metric.encode_counter::<NoLabelSet, f64, f64>(number, None),
            (Value::Number(number), _) => metric.encode_gauge(number),
            (Value::Histogram { sum, count, buckets }, _) => {
                metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
        }
    }
}

fn families(scraped: &Scraped<'_>) -> Vec<Family> {
    let mut all = process(scraped);
    all.extend(files(scraped.report));
    all.extend(workers(scraped.meters));
    all.extend(routes(scraped));
    all.extend(holds(scraped.meters));
    all.extend(bypasses(scraped.meters));
    all.push(latency(scraped.meters));
    all.extend(upstreams(scraped.live));
    all
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, help, kind: MetricType::Gauge, samples }
}

/// The exposition adds `_total` to the name.
fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, help, kind: MetricType::Counter, samples }
}

fn sample(labels: &[(&'static str, &str)], number: f64) -> Sample {
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Sample { labels: labels.collect(), value: Value::Number(number) }
}

/// A histogram with the bounds of [`BOUNDS`]. A bucket of ours that a bound lies in counts above it.
fn histogram(counts: &Counts) -> Value {
    let mut below = 0;
    let mut buckets: Vec<_> = BOUNDS
        .iter()
        .map(|bound| {
            let within = counts.within(*bound);
            let count = within - below;
            below = within;
            (bound.as_secs_f64(), count)
        })
        .collect();
    let count = counts.count();
    buckets.push((f64::INFINITY, count - below));
    Value::Histogram { sum: number(counts.micros) / 1e6, count, buckets }
}

/// Counters are exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "a counter beyond 2^53 may lose its last digit")]
fn number(count: u64) -> f64 {
    count as f64
}

fn seconds(instant: Timestamp) -> f64 {
    instant.as_duration().as_secs_f64()
}

fn process(scraped: &Scraped<'_>) -> Vec<Family> {
    let snapshot = &scraped.live.snapshot;
    vec![
        gauge("backsoon_build_info", "The version.", vec![sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)]),
        gauge("backsoon_start_time_seconds", "When the process started.", vec![sample(&[], seconds(scraped.started))]),
        gauge("backsoon_generation", "Publications so far.", vec![sample(&[], number(snapshot.generation))]),
        gauge(
            "backsoon_workers",
            "Threads that serve requests.",
            vec![sample(&[], number(scraped.meters.workers.len() as u64))],
        ),
        counter(
            "backsoon_refused_inputs",
            "Times that a changed file was refused and the last good one stayed.",
            vec![sample(&[], number(scraped.report.refused))],
        ),
    ]
}

fn files(report: &Report) -> Vec<Family> {
    let labels = |file: &FileStatus, value: f64| sample(&[("file", &file.path), ("role", &file.role)], value);
    let loaded = report.files.iter().filter_map(|file| Some(labels(file, seconds(file.loaded?)))).collect();
    let good = report.files.iter().map(|file| labels(file, f64::from(u8::from(file.is_good())))).collect();
    let problems = report.files.iter().map(|file| labels(file, number(file.problems.len() as u64))).collect();
    vec![
        gauge("backsoon_file_loaded_seconds", "When the file was last read with a new content.", loaded),
        gauge("backsoon_file_good", "1 if the file as it stands is in force, 0 if an earlier one is.", good),
        gauge("backsoon_file_problems", "Problems of the file as it stands.", problems),
    ]
}

fn workers(meters: &Meters) -> Vec<Family> {
    let sum = |of: fn(&WorkerCell) -> u64| vec![sample(&[], number(meters.workers.iter().map(of).sum()))];
    let limits = Limit::ALL.iter().map(|&limit| {
        let count = meters.workers.iter().map(|worker| worker.limits[limit as usize].get()).sum();
        sample(&[("limit", limit.as_str())], number(count))
    });
    let by_worker = meters.workers.iter().enumerate();
    let accepted = by_worker.map(|(id, cell)| sample(&[("worker", &id.to_string())], number(cell.accepted.get())));
    vec![
        gauge("backsoon_client_connections", "Client connections open.", sum(|cell| cell.connections.get())),
        gauge(
            "backsoon_parked_connections",
            "Client connections that are idle and hold little memory.",
            sum(|cell| cell.parked.get()),
        ),
        gauge("backsoon_tunnels", "Tunnels open.", sum(|cell| cell.tunnels.get())),
        gauge("backsoon_watchers", "Streams of page events open.", sum(|cell| cell.watchers.get())),
        counter("backsoon_client_connections_accepted", "Client connections accepted.", accepted.collect()),
        counter(
            "backsoon_accept_failures",
            "Times that accepting failed and backed off.",
            sum(|cell| cell.accept_failures.get()),
        ),
        counter(
            "backsoon_tls_failures",
            "TLS handshakes with clients that failed.",
            sum(|cell| cell.tls_failures.get()),
        ),
        counter(
            "backsoon_requests_refused",
            "Requests that no route took, or that were malformed.",
            sum(|cell| cell.refused.get()),
        ),
        counter("backsoon_panics", "Connections that ended by a bug.", sum(|cell| cell.panics.get())),
        counter("backsoon_access_log_dropped", "Access log lines dropped.", sum(|cell| cell.log_dropped.get())),
        counter("backsoon_limit_reached", "Times that a limit was reached.", limits.collect()),
    ]
}

fn routes(scraped: &Scraped<'_>) -> Vec<Family> {
    let routes = &scraped.live.snapshot.routes;
    let closed = routes.iter().map(|route| {
        let mode = route.closure.as_ref().map_or("", |closure| closure.mode.as_str());
        let closed = f64::from(u8::from(route.closure.is_some()));
        sample(&[("route", &route.config.name), ("mode", mode)], closed)
    });
    let phases =
        routes.iter().map(|route| sample(&[("route", &route.config.name), ("phase", route.phase().as_str())], 1.0));
    let shares = routes.iter().map(|route| {
        let share = match route.phase() {
            Phase::Open => 1.0,
            Phase::Ramping => route.life.share,
            Phase::Draining | Phase::Closed | Phase::Verifying => 0.0,
        };
        sample(&[("route", &route.config.name)], share)
    });
    let breached = routes
        .iter()
        .map(|route| sample(&[("route", &route.config.name)], f64::from(u8::from(route.life.breach.is_some()))));
    let since = routes.iter().map(|route| sample(&[("route", &route.config.name)], seconds(route.since())));
    let long = routes.iter().map(|route| sample(&[("route", &route.config.name)], f64::from(u8::from(route.long))));
    let meters = scraped.meters.routes();
    let sum = |of: fn(&RouteCell) -> u64| {
        meters.iter().map(|meter| sample(&[("route", &meter.name)], number(meter.sum(of)))).collect::<Vec<_>>()
    };
    let responses = meters.iter().flat_map(|meter| {
        CLASSES.iter().enumerate().map(|(index, class)| {
            let count = meter.sum(|cell| cell.upstream[index + 1].get());
            sample(&[("route", &meter.name), ("class", class)], number(count))
        })
    });
    vec![
        gauge("backsoon_route_closed", "1 while the route is under maintenance.", closed.collect()),
        gauge("backsoon_route_phase", "1 for the phase that the route is in.", phases.collect()),
        gauge("backsoon_route_admitted_ratio", "The share of clients that is admitted.", shares.collect()),
        gauge("backsoon_route_guard_breached", "1 while the route's guard has found it wanting.", breached.collect()),
        gauge("backsoon_route_since_seconds", "Since when the route is in its phase.", since.collect()),
        gauge("backsoon_route_closed_long", "1 once the route is under maintenance for 24 hours.", long.collect()),
        gauge("backsoon_requests_in_flight", "Requests forwarded and not finished.", sum(|cell| cell.in_flight.get())),
        counter(
            "backsoon_upstream_responses",
            "Responses of upstreams, by the class of their status.",
            responses.collect(),
        ),
        counter(
            "backsoon_maintenance_responses",
            "Requests answered with the page because the route is under maintenance.",
            sum(|cell| cell.maintenance.get()),
        ),
        counter(
            "backsoon_proxy_errors",
            "Requests that the proxy answered with 502, 503 or 504, or cut, because the upstream failed.",
            sum(|cell| cell.failed.get()),
        ),
        counter(
            "backsoon_drain_cut",
            "Requests broken off because their route was down and the drain time over.",
            sum(|cell| cell.cut.get()),
        ),
        counter(
            "backsoon_drain_left",
            "Tunnels and event streams that were ended properly because their route was down.",
            sum(|cell| cell.left.get()),
        ),
        counter("backsoon_client_aborts", "Requests that the client gave up.", sum(|cell| cell.aborted.get())),
    ]
}

fn holds(meters: &Meters) -> Vec<Family> {
    let meters = meters.routes();
    let sum = |of: fn(&RouteCell) -> u64| {
        meters.iter().map(|meter| sample(&[("route", &meter.name)], number(meter.sum(of)))).collect::<Vec<_>>()
    };
    vec![
        gauge("backsoon_requests_held", "Requests that wait for the route.", sum(|cell| cell.held.get())),
        counter("backsoon_holds", "Requests that began to wait for the route.", sum(|cell| cell.held_total.get())),
        counter(
            "backsoon_hold_overflow",
            "Requests answered with the page because too many waited already.",
            sum(|cell| cell.hold_overflow.get()),
        ),
        counter(
            "backsoon_hold_timeout",
            "Requests answered with the page because they had waited for too long.",
            sum(|cell| cell.hold_timeout.get()),
        ),
        counter(
            "backsoon_hold_released",
            "Requests forwarded after they had waited.",
            sum(|cell| cell.hold_released.get()),
        ),
    ]
}

fn bypasses(meters: &Meters) -> [Family; 2] {
    let meters = meters.routes();
    let sum = |of: fn(&RouteCell) -> u64| {
        meters.iter().map(|meter| sample(&[("route", &meter.name)], number(meter.sum(of)))).collect::<Vec<_>>()
    };
    [
        counter(
            "backsoon_bypass",
            "Requests that passed a closed route by its bypass.",
            sum(|cell| cell.bypassed.get()),
        ),
        counter(
            "backsoon_bypass_refused",
            "Secrets, links and cookies of a bypass that were wrong.",
            sum(|cell| cell.bypass_refused.get()),
        ),
    ]
}

/// Only of routes that ever had a request, unlike the counters: it is as many lines again as all of theirs.
fn latency(meters: &Meters) -> Family {
    let mut samples = Vec::new();
    for meter in meters.routes().iter().filter(|meter| meter.micros() > 0) {
        let labels = vec![("route", meter.name.clone())];
        samples.push(Sample { labels, value: histogram(&meter.latency()) });
    }
    Family {
        name: "backsoon_request_duration_seconds",
        help: "From a forwarded request's head to the response's head, or to the upstream's failure. Bounds hold; up to \
               6 % below one may be counted above it.",
        kind: MetricType::Histogram,
        samples,
    }
}

fn upstreams(live: &Generation) -> Vec<Family> {
    let sum = |of: fn(&UpstreamCell) -> u64| {
        // One address can be configured in two ways (with other roots, say): to Prometheus it is one upstream.
        let mut sums = BTreeMap::<&str, u64>::new();
        for upstream in live.upstreams.iter() {
            *sums.entry(&upstream.meter.name).or_default() += upstream.meter.sum(of);
        }
        sums.into_iter().map(|(name, sum)| sample(&[("upstream", name)], number(sum))).collect()
    };
    vec![
        gauge(
            "backsoon_upstream_pending",
            "Requests sent and not answered to the end.",
            sum(|cell| cell.pending.get()),
        ),
        gauge("backsoon_upstream_connections", "Connections open.", sum(|cell| cell.connections.get())),
        gauge("backsoon_upstream_ejected", "Workers that avoid the upstream now.", sum(|cell| cell.ejected.get())),
        counter("backsoon_upstream_connects", "Connections opened.", sum(|cell| cell.connected.get())),
        counter(
            "backsoon_upstream_connect_failures",
            "Connections that failed to open.",
            sum(|cell| cell.connect_failures.get()),
        ),
        counter(
            "backsoon_upstream_failures",
            "Requests that failed before a response.",
            sum(|cell| cell.failures.get()),
        ),
        counter(
            "backsoon_upstream_evictions",
            "Requests broken off because their client had stalled while others waited for a connection.",
            sum(|cell| cell.evicted.get()),
        ),
        counter(
            "backsoon_upstream_ejections",
            "Times that a worker ejected the upstream.",
            sum(|cell| cell.ejections.get()),
        ),
    ]
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The upper bounds of the histograms, as a dashboard wants them.
const BOUNDS: [Duration; 15] = [
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
