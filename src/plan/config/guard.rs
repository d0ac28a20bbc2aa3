//! Guard of a route: the limits that close it again after it has come back.

use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

use super::super::keys;
use super::super::path::PathPattern;
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, in_order, no_hint};
use super::values::{self, percent};
use super::{PerStatus, Statuses};

/// Limits for a route that has come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Share of requests that may fail.
    pub error_rate: Option<Bound<f64>>,
    /// Limit for the 99th percentile of the latency.
    pub p99: Option<Latency>,
    /// Requests that may hang, which means [`HANGS`] without a response.
    pub zombies: Option<Bound<u64>>,
    /// Shares of requests that may be answered with some statuses.
    pub statuses: PerStatus<Bound<f64>>,
    /// Share by which the requests may be fewer than before, once the route is fully open.
    pub traffic: Option<f64>,
    /// Time of watching after the route is fully open.
    pub watch: Duration,
    /// Requests that are needed before anything is judged.
    pub min_requests: u64,
    /// Consequence of a breach.
    pub on_breach: OnBreach,
    /// Consequence of a drop in traffic: the route closes, or it is only reported.
    pub on_drop: OnBreach,
    /// Time after which a guard that closed the route tries again by itself. It doubles with each try in vain.
    pub retry_after: Option<Duration>,
    /// Readiness of the proxy while its guard keeps the route closed.
    pub readiness: Readiness,
}

/// Time without a response's head after which a request hangs.
pub const HANGS: Duration = Duration::from_secs(10);

/// Bound of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<T> {
    /// Fixed bound.
    AtMost(T),
    /// Bound above the baseline, which is the measurement from before the maintenance.
    AboveBaseline(T),
    /// Bound above the baseline that has a fixed bound itself: the baseline may be that of an incident.
    Both {
        /// Excess over the baseline that is allowed.
        above: T,
        /// Fixed bound.
        most: T,
    },
}

impl<T: Copy> Bound<T> {
    /// Returns what may be added to the baseline, if the baseline matters.
    pub fn above(self) -> Option<T> {
        match self {
            Self::AtMost(_) => None,
            Self::AboveBaseline(above) | Self::Both { above, .. } => Some(above),
        }
    }

    /// Returns the fixed bound, if there is one.
    pub fn most(self) -> Option<T> {
        match self {
            Self::AboveBaseline(_) => None,
            Self::AtMost(most) | Self::Both { most, .. } => Some(most),
        }
    }
}

/// Bound of the 99th percentile of the latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Fixed bound.
    AtMost(Duration),
    /// Multiple of the baseline's.
    Times(f64),
    /// Multiple of the baseline's, with a fixed bound.
    Both {
        /// Factor, above 1.
        times: f64,
        /// Fixed bound.
        most: Duration,
    },
}

impl Latency {
    /// Returns the bound for this baseline; `None` if there is none.
    pub fn bound(self, baseline: Option<Duration>) -> Option<Duration> {
        match self {
            Self::AtMost(most) => Some(most),
            Self::Times(times) => Some(multiple(baseline?, times)),
            Self::Both { times, most } => Some(baseline.map_or(most, |p99| multiple(p99, times).min(most))),
        }
    }
}

/// Returns a multiple of a latency, as far as there are such latencies.
fn multiple(latency: Duration, times: f64) -> Duration {
    Duration::try_from_secs_f64(latency.as_secs_f64() * times).unwrap_or(Duration::MAX)
}

/// Measurement of a guard, by the key of its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// `error_rate`.
    ErrorRate,
    /// `p99`.
    P99,
    /// `zombies`.
    Zombies,
    /// One of `statuses`.
    Status(Statuses),
    /// `traffic`.
    Traffic,
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate => f.write_str("error_rate"),
            Self::P99 => f.write_str("p99"),
            Self::Zombies => f.write_str("zombies"),
            Self::Status(status) => write!(f, "statuses.{status}"),
            Self::Traffic => f.write_str("traffic"),
        }
    }
}

impl Guard {
    /// Returns true if a finding may close the route.
    pub fn closes(&self) -> bool {
        self.on_breach == OnBreach::Close || self.on_drop == OnBreach::Close
    }

    /// Returns the measurements that are compared with the baseline alone, and so are not judged without one.
    pub fn relative(&self) -> impl Iterator<Item = Measurement> + use<> {
        let errors = matches!(self.error_rate, Some(Bound::AboveBaseline(_))).then_some(Measurement::ErrorRate);
        let latency = matches!(self.p99, Some(Latency::Times(_))).then_some(Measurement::P99);
        let zombies = matches!(self.zombies, Some(Bound::AboveBaseline(_))).then_some(Measurement::Zombies);
        let statuses = self.statuses.iter().filter(|(_, bound)| matches!(bound, Bound::AboveBaseline(_)));
        let statuses: Vec<_> = statuses.map(|(status, _)| Measurement::Status(status)).collect();
        let traffic = self.traffic.map(|_| Measurement::Traffic);
        errors.into_iter().chain(latency).chain(zombies).chain(statuses).chain(traffic)
    }
}

/// Consequence of a breach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBreach {
    /// The route closes again, until an operator acts.
    #[default]
    Close,
    /// The ramp stays where it is as long as the breach lasts.
    HoldRamp,
    /// The breach is only reported.
    Warn,
}

/// Readiness of a proxy whose guard has closed a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// The proxy stays ready, and answers with the page.
    #[default]
    Stays,
    /// The proxy is not ready, so that a balancer asks other replicas.
    Ends,
}

/// Reads `guard = { … }`: the guard, and the paths that it leaves out.
pub(super) fn guard(value: &Value<'_>, report: &mut Report<'_>) -> Option<(Guard, Vec<PathPattern>)> {
    let table = value.table("guard = { error_rate = \"baseline + 1%\", watch = \"10m\" }", report)?;
    let mut section = Section::new(&keys::GUARD, "`guard`", value.span.clone(), table);
    let error_rate = section.take("error_rate").and_then(|value| error_rate(&value, report));
    let p99 = section.take("p99").and_then(|value| latency(&value, report));
    let zombies = section.take("zombies").and_then(|value| zombies(&value, report));
    let statuses = section.take("statuses").map(|value| statuses(&value, report)).unwrap_or_default();
    let traffic = section.take("traffic").and_then(|value| traffic(&value, report));
    let ignored = section.take("ignore").map(|value| ignored(&value, report)).unwrap_or_default();
    let watch = section.take("watch").and_then(|value| values::duration(&value, report));
    let min_requests = section.take("min_requests").and_then(|value| value.count(1, MOST_COUNT, report));
    let on_breach = section.take("on_breach").and_then(|value| value.choice(&ON_BREACH, report));
    let on_drop = section.take("on_drop").and_then(|value| value.choice(&ON_DROP, report)).unwrap_or(OnBreach::Warn);
    let retry = section.take("retry_after");
    let closes = matches!(on_breach, None | Some(OnBreach::Close)) || on_drop == OnBreach::Close;
    if let Some(value) = retry.as_ref().filter(|_| !closes) {
        let help = "leave it out, or write `on_breach = \"close\"`";
        report.wrong(value.key_span.clone(), "`retry_after` needs a guard that closes the route", help);
    }
    let retry_after = retry.and_then(|value| value.duration(LEAST_RETRY, LONGEST_RETRY, report));
    let ready = section.take("ready").and_then(|value| value.boolean(report));
    section.finish(report, no_hint);
    let measures = [error_rate.is_some(), p99.is_some(), zombies.is_some(), !statuses.is_empty(), traffic.is_some()];
    if !measures.contains(&true) {
        let help = "say what is measured: `error_rate = \"baseline + 1%\"`, `p99 = \"800ms\"`, `zombies = 10`";
        report.warn(value.span.clone(), "this guard guards against nothing", help);
    }
    let guard = Guard {
        error_rate,
        p99,
        zombies,
        statuses,
        traffic,
        watch: watch.unwrap_or(DEFAULT_WATCH),
        min_requests: min_requests.unwrap_or(DEFAULT_MIN_REQUESTS),
        on_breach: on_breach.unwrap_or_default(),
        on_drop,
        retry_after,
        readiness: if ready == Some(false) { Readiness::Ends } else { Readiness::Stays },
    };
    Some((guard, ignored))
}

/// Reads `ignore = ["/reports/*", "/events"]`.
fn ignored(value: &Value<'_>, report: &mut Report<'_>) -> Vec<PathPattern> {
    let items = value.any_number();
    report.at_most(MOST_IGNORED, items.len(), "paths", value.key_span.clone());
    let pattern = |item: &Value<'_>, report: &mut Report<'_>| {
        let text = item.string("/reports/*", report)?.trim();
        let pattern = values::pattern_of(item, text, report)?;
        if pattern.covers("/") {
            let help = "leave `guard` out, or name the paths that say nothing of the service";
            report.warn(item.span.clone(), format!("{} leaves out every request", quoted(text)), help);
        }
        Some(pattern)
    };
    items.iter().take(MOST_IGNORED).filter_map(|item| pattern(item, report)).collect()
}

/// Reads `1%`, `baseline + 1%`, or `baseline + 1%, at most 5%`.
fn error_rate(value: &Value<'_>, report: &mut Report<'_>) -> Option<Bound<f64>> {
    let text = value.string("baseline + 1%", report)?;
    let rate = bound(text, percent);
    if rate.is_none() {
        let help = "write it as `1%`, `baseline + 1%` or `baseline + 1%, at most 5%`";
        report.wrong(value.span.clone(), format!("{} is not a rate of errors", quoted(text)), help);
    }
    rate
}

/// Reads `statuses = { "4xx" = "baseline + 20%", 401 = "baseline + 5%, at most 10%" }`.
fn statuses(value: &Value<'_>, report: &mut Report<'_>) -> PerStatus<Bound<f64>> {
    let Some(table) = value.table("statuses = { \"4xx\" = \"baseline + 20%\" }", report) else {
        return PerStatus::default();
    };
    let most = PerStatus::<Bound<f64>>::MOST;
    report.at_most(most, table.len(), "statuses", value.key_span.clone());
    let mut named = Vec::new();
    for (key, share) in in_order(table).into_iter().take(most) {
        let share = Value::new(key.get_ref(), key, share);
        let Some(status) = Statuses::parse(share.key) else {
            let help = "name a status, `401`, or a class of them, `4xx`";
            report.wrong(share.key_span.clone(), format!("{} is not a status", quoted(share.key)), help);
            continue;
        };
        if named.iter().any(|(other, _)| *other == status) {
            report.wrong(share.key_span.clone(), format!("`{status}` is named twice"), "remove one of them");
            continue;
        }
        named.push((status, share_of_status(&share, report)));
    }
    named.into_iter().filter_map(|(status, bound)| Some((status, bound?))).collect()
}

fn share_of_status(value: &Value<'_>, report: &mut Report<'_>) -> Option<Bound<f64>> {
    let text = value.string("baseline + 5%", report)?;
    let share = bound(text, percent);
    if share.is_none() {
        let help = "write it as `10%`, `baseline + 5%` or `baseline + 5%, at most 10%`";
        report.wrong(value.span.clone(), format!("{} is not a share of requests", quoted(text)), help);
    }
    share
}

/// Reads `baseline - 80%`.
fn traffic(value: &Value<'_>, report: &mut Report<'_>) -> Option<f64> {
    let text = value.string("baseline - 80%", report)?;
    let share = text.trim().strip_prefix(BASELINE).and_then(|rest| percent(rest.trim().strip_prefix('-')?));
    let share = share.filter(|share| *share < 1.0);
    if share.is_none() {
        let help = "write it as `baseline - 80%`: less than a fifth of the requests before; the share is below 100%";
        report.wrong(value.span.clone(), format!("{} is not a drop in traffic", quoted(text)), help);
    }
    share
}

/// Reads `10`, `"baseline + 10"`, or `"baseline + 10, at most 50"`. A bare number counts from the baseline: what hung
/// before may hang again.
fn zombies(value: &Value<'_>, report: &mut Report<'_>) -> Option<Bound<u64>> {
    if !matches!(value.inner, DeValue::String(_)) {
        return value.count(1, MOST_COUNT, report).map(Bound::AboveBaseline);
    }
    let text = value.string("baseline + 10", report)?;
    let number = |text: &str| text.trim().parse().ok().filter(|number| (1..=MOST_COUNT).contains(number));
    let zombies = bound(text, number);
    if zombies.is_none() {
        let help = "write it as `10`, `\"baseline + 10, at most 50\"` or `\"at most 50\"`";
        report.wrong(value.span.clone(), format!("{} is not a number of requests", quoted(text)), help);
    }
    zombies
}

/// Reads `800ms`, `baseline * 1.5`, or `baseline * 1.5, at most 2s`.
fn latency(value: &Value<'_>, report: &mut Report<'_>) -> Option<Latency> {
    let text = if let DeValue::String(text) = value.inner { text.trim() } else { "" };
    if !text.starts_with(BASELINE) {
        return value.duration(LEAST_P99, LONGEST_P99, report).map(Latency::AtMost);
    }
    let (times, most) = parts(text);
    let times = times.and_then(|times| times.strip_prefix('*')?.trim().parse::<f64>().ok());
    let times = times.filter(|times| *times > 1.0 && *times <= MOST_TIMES);
    let most = most.map(|most| Value::duration_of(most).ok().filter(|most| (LEAST_P99..=LONGEST_P99).contains(most)));
    let latency = match (times, most) {
        (Some(times), None) => Some(Latency::Times(times)),
        (Some(times), Some(Some(most))) => Some(Latency::Both { times, most }),
        (None, _) | (Some(_), Some(None)) => None,
    };
    if latency.is_none() {
        let help = "write it as `800ms`, `baseline * 1.5` or `baseline * 1.5, at most 2s`; the factor is above 1";
        report.wrong(value.span.clone(), format!("{} is not a bound of the latency", quoted(text)), help);
    }
    latency
}

/// Reads a bound whose numbers are read by `number`.
fn bound<T>(text: &str, number: impl Fn(&str) -> Option<T>) -> Option<Bound<T>> {
    let text = text.trim();
    if !text.starts_with(BASELINE) {
        return number(text.strip_prefix(AT_MOST).unwrap_or(text)).map(Bound::AtMost);
    }
    let (above, most) = parts(text);
    let above = number(above?.strip_prefix('+')?)?;
    Some(match most {
        None => Bound::AboveBaseline(above),
        Some(most) => Bound::Both { above, most: number(most)? },
    })
}

/// Returns the text after `baseline` up to a comma, and the text after `at most`.
fn parts(text: &str) -> (Option<&str>, Option<&str>) {
    let (first, most) = text.split_once(',').map_or((text, None), |(first, most)| (first, Some(most.trim())));
    let most = most.map(|most| most.strip_prefix(AT_MOST).unwrap_or_default().trim());
    (first.strip_prefix(BASELINE).map(str::trim), most)
}

const BASELINE: &str = "baseline";
const AT_MOST: &str = "at most";

const ON_BREACH: [(&str, OnBreach); 3] =
    [("close", OnBreach::Close), ("hold-ramp", OnBreach::HoldRamp), ("warn", OnBreach::Warn)];

const ON_DROP: [(&str, OnBreach); 2] = [("warn", OnBreach::Warn), ("close", OnBreach::Close)];

const DEFAULT_WATCH: Duration = Duration::from_secs(600);
/// A share of fewer requests says little. Whether it is too high is asked of chance as well.
const DEFAULT_MIN_REQUESTS: u64 = 20;
const LEAST_P99: Duration = Duration::from_millis(1);
/// Shorter tries would let visitors in and out again.
const LEAST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 3600);
const LONGEST_P99: Duration = Duration::from_secs(600);
const MOST_IGNORED: usize = 64;
const MOST_COUNT: u64 = 1_000_000;
const MOST_TIMES: f64 = 100.0;
