//! Guard: judges whether a route that came back does as well as before.
//!
//! Everything is judged by whether it is more than chance explains, see [`super::excess`], and by whether more than a
//! few clients are affected, see [`super::clients`]. Without a baseline only fixed bounds count.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::config::{Bound, Guard, HANGS, Statuses};
use super::baseline::{Baseline, Usual};
use super::clients::{ClientCounts, Clients};
use super::excess::{Allowed, Sample, float, is_more_than};
use super::traffic::Arrivals;
use super::window::{MINUTE, Window};

/// Count of requests and of failures among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Requests that the upstream answered with 5xx, or not at all.
    pub errors: u64,
}

impl Counted {
    /// Returns the sum of both.
    pub fn plus(self, more: Self) -> Self {
        let requests = self.requests.saturating_add(more.requests);
        Self { requests, errors: self.errors.saturating_add(more.errors) }
    }

    /// Returns the share that failed; 0 if there were no requests.
    pub fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { float(self.errors) / float(self.requests) }
    }
}

/// Measurements of a route that came back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Counts over several spans, the shortest first.
    pub windows: Vec<Window>,
    /// Requests that wait longer than [`HANGS`] for a response's head, by client, beside all clients of the last
    /// minute. Empty if there are none.
    pub hanging: Clients,
    /// Requests that came while the route was fully open. Empty if it is not, or not for a minute.
    pub arrivals: Vec<Arrivals>,
}

impl Measured {
    /// Returns the time over which the longest window counted.
    pub fn span(&self) -> Duration {
        self.windows.last().map_or(Duration::ZERO, |window| window.span)
    }

    /// Returns the requests of the longest window.
    pub fn requests(&self) -> u64 {
        self.windows.last().map_or(0, |window| window.errors.requests)
    }
}

/// Finding of a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Instant of the finding.
    pub at: Timestamp,
    /// Measured and allowed values, in words.
    pub what: String,
    /// Replica that found it, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Breach {
    /// Creates a finding of this replica.
    pub(crate) fn new(at: Timestamp, what: String) -> Self {
        Self { at, what, by: None }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TRIPPED}{}", self.what)
    }
}

/// Judges the measurements. Returns `None` if all is well, if there are too few requests, or if only a few clients are
/// affected.
pub(crate) fn judge(guard: &Guard, measured: &Measured, baseline: Option<&Baseline>, now: Timestamp) -> Option<Breach> {
    let zombies = || zombies(guard, measured, baseline);
    let errors = || measured.windows.iter().find_map(|window| errors(guard, window, baseline));
    let slow = || measured.windows.iter().find_map(|window| slow(guard, window, baseline));
    let status = || measured.windows.iter().find_map(|window| statuses(guard, window, baseline));
    zombies().or_else(errors).or_else(slow).or_else(status).map(|what| Breach::new(now, what))
}

/// Returns true if a window may be a breach, before its clients are considered.
pub(crate) fn is_suspect(guard: &Guard, window: &Window, baseline: Option<&Baseline>) -> bool {
    let fails = || allowed(guard.error_rate, errors_of(baseline)).is_some_and(|allowed| window.errors.exceeds(allowed));
    let is_slow = || guard.p99.is_some() && window.slow.exceeds(SLOW);
    let answers_badly = || {
        let mut statuses = guard.statuses.iter();
        statuses.any(|(status, bound)| exceeding(*bound, status, window, baseline).is_some())
    };
    window.errors.requests >= guard.min_requests && (fails() || is_slow() || answers_badly())
}

/// Compares the hanging requests with those that hung before. Long polls hung before as well.
fn zombies(guard: &Guard, measured: &Measured, baseline: Option<&Baseline>) -> Option<String> {
    let bound = guard.zombies?;
    let before = baseline.and_then(|baseline| baseline.hanging);
    let minute = measured.windows.iter().rfind(|window| window.span <= MINUTE);
    let requests = minute.map_or(0, |window| window.errors.requests);
    let relative = bound.above().zip(before).map(|(above, before)| {
        // As many clients as before may come, and half again as many.
        before.saturating_add(before / 2).saturating_add(above.max(requests / FEW_OF))
    });
    let most = relative.into_iter().chain(bound.most()).min()?;
    let hanging = measured.hanging.all_hanging();
    let usual = float(before.unwrap_or(0));
    let by_chance = bound.most().is_none_or(|fixed| hanging <= fixed) && !is_more_than(usual, hanging);
    (!by_chance && measured.hanging.hanging(most) > most).then(|| {
        let seconds = HANGS.as_secs();
        let before = before.map(|before| format!(" (before it were at most {before})")).unwrap_or_default();
        format!("{hanging} requests hang for more than {seconds} s without a response, at most {most} may{before}")
    })
}

fn errors(guard: &Guard, window: &Window, baseline: Option<&Baseline>) -> Option<String> {
    let before = errors_of(baseline);
    let allowed = allowed(guard.error_rate, before)?;
    let errors = window.errors;
    let breaks = errors.requests >= guard.min_requests
        && errors.exceeds(allowed)
        && window.clients.exceed(allowed.share, |met| met.failed);
    breaks.then(|| {
        format!(
            "{} of requests failed ({} of {} in {} s), at most {} may{}",
            percent(errors.share()),
            errors.bad,
            errors.requests,
            seconds(window),
            percent(allowed.share),
            compared(guard.error_rate, before)
        )
    })
}

fn statuses(guard: &Guard, window: &Window, baseline: Option<&Baseline>) -> Option<String> {
    guard.statuses.iter().find_map(|(status, bound)| {
        let (sample, allowed) = exceeding(*bound, status, window, baseline)?;
        let count = |met: &ClientCounts| met.statuses.get(status).copied().map_or(0, u64::from);
        let breaks = sample.requests >= guard.min_requests && window.clients.exceed(allowed.share, count);
        breaks.then(|| {
            format!(
                "{} of requests were answered with {status} ({} of {} in {} s), at most {} may{}",
                percent(sample.share()),
                sample.bad,
                sample.requests,
                seconds(window),
                percent(allowed.share),
                compared(Some(*bound), status_of(baseline, status))
            )
        })
    })
}

/// Returns the answers with a status and the share that is allowed, if they are more than that share and chance explain.
fn exceeding(
    bound: Bound<f64>,
    status: Statuses,
    window: &Window,
    baseline: Option<&Baseline>,
) -> Option<(Sample, Allowed)> {
    let sample = window.statuses.get(status)?;
    let allowed = allowed(Some(bound), status_of(baseline, status))?;
    sample.exceeds(allowed).then_some((*sample, allowed))
}

fn errors_of(baseline: Option<&Baseline>) -> Option<Usual> {
    baseline.map(Baseline::errors)
}

fn status_of(baseline: Option<&Baseline>, status: Statuses) -> Option<Usual> {
    baseline.and_then(|baseline| baseline.statuses.get(status).copied())
}

/// Returns the share that may be bad; `None` if nothing is measured, or if there is nothing to compare with.
fn allowed(bound: Option<Bound<f64>>, before: Option<Usual>) -> Option<Allowed> {
    let bound = bound?;
    let relative = bound.above().zip(before).map(|(above, before)| {
        let before = before.allowed();
        Allowed { share: before.share + above, ..before }
    });
    let fixed = bound.most().map(|share| Allowed { share, dispersion: 1.0 });
    match (relative, fixed) {
        (Some(relative), Some(fixed)) => Some(if fixed.share < relative.share { fixed } else { relative }),
        (relative, fixed) => relative.or(fixed),
    }
}

/// Returns what a bound of a share is made of, in words.
fn compared(bound: Option<Bound<f64>>, before: Option<Usual>) -> String {
    let Some((above, before)) = bound.and_then(Bound::above).zip(before) else { return String::new() };
    let (before, by_chance) = (percent(before.rate()), percent(before.allowed().share));
    let chance = if before == by_chance { String::new() } else { format!(", by chance up to {by_chance}") };
    format!(" (before it was {before}{chance}, and {} more may)", percent(above))
}

fn slow(guard: &Guard, window: &Window, baseline: Option<&Baseline>) -> Option<String> {
    let most = guard.p99?.bound(baseline.and_then(|baseline| baseline.p99))?;
    let Window { slow, p99, .. } = window;
    let breaks =
        slow.requests >= guard.min_requests && slow.exceeds(SLOW) && window.clients.exceed(SLOW.share, |met| met.slow);
    let (seconds, most) = (seconds(window), most.as_millis());
    breaks.then(|| match p99 {
        Some(p99) => {
            let (p99, requests) = (p99.as_millis(), slow.requests);
            format!("the 99th percentile was {p99} ms ({requests} requests in {seconds} s), at most {most} ms may be")
        }
        // Percentiles of several replicas cannot be summed, and counts can.
        None => {
            let (share, Sample { bad, requests, .. }) = (percent(slow.share()), slow);
            format!("{share} of requests took more than {most} ms ({bad} of {requests} in {seconds} s), at most 1% may")
        }
    })
}

/// Returns the seconds of a window. A breach within the first second is no breach "in 0 s".
fn seconds(window: &Window) -> u64 {
    window.span.as_secs().max(1)
}

/// Opening of every text that tells of a breach.
pub(super) const TRIPPED: &str = "the guard tripped: ";

/// Requests that may be slower than the limit, by the definition of a 99th percentile.
const SLOW: Allowed = Allowed { share: 0.01, dispersion: 1.0 };

/// Hanging requests are few if they are not one in this many of the last minute's requests.
const FEW_OF: u64 = 100;

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}
