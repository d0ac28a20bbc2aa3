//! Round of checks: one attempt of each check on each upstream, all at once, within a limit of time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::live::Generation;
use crate::plan::config::{Check, HostPattern, Quorum, RouteConfig, Upstream};
use crate::plan::snapshot::Route;
use crate::status::verified::{Verified, VerifiedAttempt, VerifiedRoute};

use super::{Attempt, Permits, Target, attempt};

/// Route that is checked.
pub(crate) struct Subject {
    /// Name of the route.
    pub name: String,
    /// Checks of the route.
    pub checks: Vec<Check>,
    /// Number of upstreams that must pass.
    pub quorum: Quorum,
    /// Upstreams of the route.
    pub targets: Vec<Target>,
}

impl Subject {
    /// Returns the subject for a live route.
    pub(crate) fn live(route: &Route, generation: &Generation) -> Self {
        let (out, list) = (&route.withdrawn, &generation.snapshot.upstreams);
        let is_out = |target: &Target| out.iter().any(|(index, _)| list.get(*index) == Some(&target.upstream));
        let targets = targets(route, generation).into_iter().filter(|target| !is_out(target)).collect();
        Self::new(&route.config, targets)
    }

    /// Returns the subject for a route of a config. `tls` returns the TLS client of an upstream.
    pub(crate) fn of_config(route: &RouteConfig, tls: impl Fn(&Upstream) -> Option<Arc<ClientConfig>>) -> Self {
        let targets = route.upstreams.iter().map(|upstream| target(route, upstream, tls(upstream))).collect();
        Self::new(route, targets)
    }

    fn new(route: &RouteConfig, targets: Vec<Target>) -> Self {
        let policy = &route.policy;
        Self { name: route.name.clone(), checks: policy.verify.clone(), quorum: policy.quorum, targets }
    }
}

/// Returns the upstreams of a live route.
pub(crate) fn targets(route: &Route, generation: &Generation) -> Vec<Target> {
    let targets = route.upstreams.iter().filter_map(|&index| {
        let (upstream, live) = (generation.snapshot.upstreams.get(index)?, generation.upstreams.get(index)?);
        Some(target(&route.config, upstream, live.tls.clone()))
    });
    targets.collect()
}

fn target(route: &RouteConfig, upstream: &Upstream, tls: Option<Arc<ClientConfig>>) -> Target {
    let host = host(route).unwrap_or_else(|| upstream.address.authority());
    Target { upstream: upstream.clone(), tls, host }
}

/// Returns the first host of a route that is no pattern, if upstreams see the client's `Host`.
pub(crate) fn host(route: &RouteConfig) -> Option<String> {
    let exact = route.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(host.clone()),
        HostPattern::Below(_) => None,
    });
    exact.filter(|_| route.keep_host)
}

/// Makes one attempt of each check on each upstream. Must be called on a thread that runs local tasks.
///
/// Attempts that have not ended after [`LONGEST_ROUND`] count as failed.
pub(crate) async fn round(subjects: Vec<Subject>, permits: &Permits) -> Verified {
    let at = Timestamp::now();
    let deadline = Instant::now() + LONGEST_ROUND;
    let mut asked = begin(&subjects, permits);
    let mut made = HashMap::new();
    while let Ok(Some(ended)) = timeout_at(deadline, asked.join_next()).await {
        // An attempt that panicked is one that was not made.
        made.extend(ended.ok());
    }
    let routes = subjects
        .iter()
        .enumerate()
        .map(|(index, subject)| outcome(subject, |upstream, check| made.remove(&(index, upstream, check))));
    Verified { at: Some(at), routes: routes.collect() }
}

/// Place of an attempt: the indexes of route, upstream and check.
type At = (usize, usize, usize);

/// Spawns the attempts, up to [`MOST_ATTEMPTS`].
fn begin(subjects: &[Subject], permits: &Permits) -> JoinSet<(At, Attempt)> {
    let mut asked = JoinSet::new();
    for (subject, of) in subjects.iter().enumerate() {
        for (upstream, target) in of.targets.iter().enumerate() {
            for (index, check) in of.checks.iter().enumerate() {
                if asked.len() >= MOST_ATTEMPTS {
                    return asked;
                }
                let (target, check, permits) = (target.clone(), check.clone(), permits.clone());
                let at = (subject, upstream, index);
                asked.spawn_local(async move { (at, attempt(&target, &check, &permits).await) });
            }
        }
    }
    asked
}

/// Puts the attempts of a route together.
fn outcome(subject: &Subject, mut made: impl FnMut(usize, usize) -> Option<Attempt>) -> VerifiedRoute {
    let mut attempts = Vec::new();
    let mut passed = 0;
    for (upstream, target) in subject.targets.iter().enumerate() {
        let name = target.upstream.to_string();
        let of_upstream = subject.checks.iter().enumerate();
        let of_upstream: Vec<_> = of_upstream.map(|(index, check)| told(&name, check, made(upstream, index))).collect();
        passed += usize::from(of_upstream.iter().all(|attempt| attempt.failure.is_none()));
        attempts.extend(of_upstream);
    }
    let upstreams = subject.targets.len();
    VerifiedRoute { name: subject.name.clone(), upstreams, passed, quorum: subject.quorum.of(upstreams), attempts }
}

fn told(upstream: &str, check: &Check, made: Option<Attempt>) -> VerifiedAttempt {
    let (millis, failure) = match made {
        Some(Attempt { took, failure }) => (Some(millis(took)), failure),
        None => {
            let seconds = LONGEST_ROUND.as_secs();
            (None, Some(format!("{} on {upstream} was not asked to the end within {seconds} s", check.probe)))
        }
    };
    let (upstream, check, regions) = (upstream.to_owned(), check.probe.to_string(), check.regions.clone());
    VerifiedAttempt { upstream, check, regions, millis, failure }
}

/// Returns milliseconds with one decimal.
fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Longest time of a round.
pub(crate) const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// Attempts of one round.
const MOST_ATTEMPTS: usize = 8192;
