//! Guard of a route: the limits that close it again after it has come back.

use std::time::Duration;

use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, no_hint};
use super::values::{self, percent};

/// Limits for a route that has come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Share of requests that may fail.
    pub error_rate: Option<ErrorRate>,
    /// Limit for the 99th percentile of the latency.
    pub p99: Option<Duration>,
    /// Requests that may hang, which means [`HANGS`] without a response.
    pub zombies: Option<u64>,
    /// Time of watching after the route is fully open.
    pub watch: Duration,
    /// Requests that are needed before shares and percentiles mean anything.
    pub min_requests: u64,
    /// Consequence of a breach.
    pub on_breach: OnBreach,
    /// Time after which a guard that closed the route tries again by itself. It doubles with each try in vain.
    pub retry_after: Option<Duration>,
    /// Readiness of the proxy while its guard keeps the route closed.
    pub readiness: Readiness,
}

/// Time without a response's head after which a request hangs.
pub const HANGS: Duration = Duration::from_secs(10);

/// Share of requests that may fail: above 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorRate {
    /// Fixed share.
    Absolute(f64),
    /// Share above the baseline, which is the share from before the maintenance.
    AboveBaseline(f64),
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

/// Reads `guard = { … }`.
pub(super) fn guard(value: &Value<'_>, report: &mut Report<'_>) -> Option<Guard> {
    let table = value.table("guard = { error_rate = \"baseline + 1%\", watch = \"10m\" }", report)?;
    let mut section = Section::new(&keys::GUARD, "`guard`", value.span.clone(), table);
    let error_rate = section.take("error_rate").and_then(|value| error_rate(&value, report));
    let p99 = section.take("p99");
    let p99 = p99.and_then(|value| value.duration(Duration::from_millis(1), LONGEST_P99, report));
    let zombies = section.take("zombies").and_then(|value| value.count(1, MOST_COUNT, report));
    let watch = section.take("watch").and_then(|value| values::duration(&value, report));
    let min_requests = section.take("min_requests").and_then(|value| value.count(1, MOST_COUNT, report));
    let on_breach = section.take("on_breach").and_then(|value| value.choice(&ON_BREACH, report));
    let retry = section.take("retry_after");
    if let Some(value) = retry.as_ref().filter(|_| !matches!(on_breach, None | Some(OnBreach::Close))) {
        let help = "leave it out, or write `on_breach = \"close\"`";
        report.wrong(value.key_span.clone(), "`retry_after` needs a guard that closes the route", help);
    }
    let retry_after = retry.and_then(|value| value.duration(LEAST_RETRY, LONGEST_RETRY, report));
    let ready = section.take("ready").and_then(|value| value.boolean(report));
    section.finish(report, no_hint);
    if error_rate.is_none() && p99.is_none() && zombies.is_none() {
        let help = "say what is measured: `error_rate = \"baseline + 1%\"`, `p99 = \"800ms\"`, `zombies = 10`";
        report.warn(value.span.clone(), "this guard guards against nothing", help);
    }
    Some(Guard {
        error_rate,
        p99,
        zombies,
        watch: watch.unwrap_or(DEFAULT_WATCH),
        min_requests: min_requests.unwrap_or(DEFAULT_MIN_REQUESTS),
        on_breach: on_breach.unwrap_or_default(),
        retry_after,
        readiness: if ready == Some(false) { Readiness::Ends } else { Readiness::Stays },
    })
}

/// Reads `1%` or `baseline + 1%`.
fn error_rate(value: &Value<'_>, report: &mut Report<'_>) -> Option<ErrorRate> {
    let text = value.string("baseline + 1%", report)?;
    let rate = match text.trim().strip_prefix("baseline") {
        None => percent(text).map(ErrorRate::Absolute),
        Some(rest) => rest.trim_start().strip_prefix('+').and_then(percent).map(ErrorRate::AboveBaseline),
    };
    if rate.is_none() {
        let help = "write it as `1%` or `baseline + 1%`";
        report.wrong(value.span.clone(), format!("{} is not a rate of errors", quoted(text)), help);
    }
    rate
}

const ON_BREACH: [(&str, OnBreach); 3] =
    [("close", OnBreach::Close), ("hold-ramp", OnBreach::HoldRamp), ("warn", OnBreach::Warn)];

const DEFAULT_WATCH: Duration = Duration::from_secs(600);
/// Below this number a single failure is more than one in a hundred.
const DEFAULT_MIN_REQUESTS: u64 = 100;
/// Shorter tries would let visitors in and out again.
const LEAST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 3600);
const LONGEST_P99: Duration = Duration::from_secs(600);
const MOST_COUNT: u64 = 1_000_000;
