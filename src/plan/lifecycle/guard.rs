//! Guard: judges whether a route that came back does as well as before.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::config::{ErrorRate, Guard};
use super::clients::Clients;

/// Count of requests and of failures among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Requests that the upstream answered with 5xx, or not at all.
    pub errors: u64,
}

impl Counted {
    /// Returns the share that failed; 0 if there were no requests.
    #[allow(clippy::cast_precision_loss, reason = "nobody counts to 2^53 in ten minutes")]
    pub fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 }
    }
}

/// Measurements of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Time over which the requests were counted.
    pub span: Duration,
    /// Requests in that time.
    pub counted: Counted,
    /// 99th percentile of their latencies.
    pub p99: Option<Duration>,
    /// Counts for each client, including requests that have waited longer than [`super::super::config::HANGS`] for a
    /// response's head. Filled in only if something may be wrong. Requests from before the watch belong to no client
    /// and cause no breach.
    pub clients: Clients,
}

impl Measured {
    /// Returns true if errors or latency may be a breach, before baseline and clients are considered.
    pub fn may_breach(&self, guard: &Guard) -> bool {
        let least = guard.error_rate.map(|rate| match rate {
            ErrorRate::Absolute(least) | ErrorRate::AboveBaseline(least) => least,
        });
        let fails = least.is_some_and(|least| self.counted.rate() > least);
        fails || guard.p99.zip(self.p99).is_some_and(|(most, p99)| p99 > most)
    }
}

/// Finding of a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Instant of the finding.
    pub at: Timestamp,
    /// Measured and allowed values, in words.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TRIPPED}{}", self.what)
    }
}

/// Judges the measurements. Returns `None` if all is well, if there are too few requests, or if only a few clients are
/// affected.
pub(crate) fn judge(guard: &Guard, measured: &Measured, baseline: Option<&Counted>, now: Timestamp) -> Option<Breach> {
    let enough = measured.counted.requests >= guard.min_requests;
    let zombies = || zombies(guard, measured);
    let errors = || enough.then(|| errors(guard, measured, baseline)).flatten();
    let slow = || enough.then(|| slow(guard, measured)).flatten();
    zombies().or_else(errors).or_else(slow).map(|what| Breach { at: now, what })
}

/// Compares the hanging requests with the allowed number. It is a number and not a share, since each hanging request
/// matters.
fn zombies(guard: &Guard, measured: &Measured) -> Option<String> {
    let most = guard.zombies?;
    let hanging = measured.clients.all_hanging();
    let seconds = super::super::config::HANGS.as_secs();
    (measured.clients.hanging(most) > most)
        .then(|| format!("{hanging} requests hang for more than {seconds} s without a response, at most {most} may"))
}

fn errors(guard: &Guard, measured: &Measured, baseline: Option<&Counted>) -> Option<String> {
    let before = baseline.copied().unwrap_or_default().rate();
    let (most, of) = match guard.error_rate? {
        ErrorRate::Absolute(most) => (most, String::new()),
        ErrorRate::AboveBaseline(more) => {
            (before + more, format!(" (before it was {}, and {} more may)", percent(before), percent(more)))
        }
    };
    let Counted { requests, errors } = measured.counted;
    let rate = measured.counted.rate();
    (rate > most && measured.clients.exceed(most, |met| met.failed)).then(|| {
        // A breach within the first second is no breach "in 0 s".
        let seconds = measured.span.as_secs().max(1);
        format!(
            "{} of requests failed ({errors} of {requests} in {seconds} s), at most {} may{of}",
            percent(rate),
            percent(most)
        )
    })
}

fn slow(guard: &Guard, measured: &Measured) -> Option<String> {
    let (most, p99) = (guard.p99?, measured.p99?);
    (p99 > most && measured.clients.exceed(SLOW, |met| met.slow)).then(|| {
        let requests = measured.counted.requests;
        // A breach within the first second is no breach "in 0 s".
        let seconds = measured.span.as_secs().max(1);
        format!(
            "the 99th percentile was {} ms ({requests} requests in {seconds} s), at most {} ms may be",
            p99.as_millis(),
            most.as_millis()
        )
    })
}

/// Opening of every text that tells of a breach.
pub(super) const TRIPPED: &str = "the guard tripped: ";

/// Share of requests that may be slower than the limit, by the definition of a 99th percentile.
const SLOW: f64 = 0.01;

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}
