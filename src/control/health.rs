//! Health: while a route is open, its upstreams get the requests of its `health` checks.
//!
//! An upstream that fails is left out of the route. Plan decides that, by what is noted here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::live::Generation;
use crate::plan::config::{HealthCheck, Upstream};
use crate::plan::flags::Mode;
use crate::plan::lifecycle::{Phase, Unwell};
use crate::plan::snapshot::Route;

use super::checker::{self, Permits, Target, targets};

/// Health checks of every route that serves and has some. Dropping it ends their tasks.
#[derive(Default)]
pub(super) struct Health {
    permits: Permits,
    changed: Rc<Notify>,
    routes: HashMap<String, RouteHealth>,
}

/// Health checks of one route.
struct RouteHealth {
    spec: Spec,
    results: Results,
    /// One endless task for each check of each upstream.
    tasks: JoinSet<()>,
}

/// The subject of the results. If any of it changes, they are void.
#[derive(Clone, Debug, PartialEq)]
struct Spec {
    checks: Vec<HealthCheck>,
    /// The ids of the upstreams, which change with their roots, and the host for which each is asked.
    upstreams: Vec<(usize, String)>,
}

/// Results of each check, by upstream and then by check.
type Results = Rc<RefCell<Vec<(Upstream, Vec<Series>)>>>;

/// Attempts of one check in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Series {
    passed: u32,
    failed: u32,
    /// The failure for which the upstream is unwell.
    unwell: Option<String>,
}

impl Series {
    /// Counts one more attempt.
    fn after(&self, check: &HealthCheck, failure: Option<String>) -> Self {
        match failure {
            Some(failure) => {
                let failed = self.failed.saturating_add(1);
                let is_enough = self.unwell.is_some() || failed >= check.fails;
                Self { passed: 0, failed, unwell: is_enough.then_some(failure) }
            }
            None => {
                let passed = self.passed.saturating_add(1);
                Self { passed, failed: 0, unwell: self.unwell.clone().filter(|_| passed < check.check.times) }
            }
        }
    }
}

impl Health {
    /// Starts the checks of routes that serve, and stops those of other routes. Must be called after each publication, on
    /// a thread that runs local tasks.
    pub(super) fn on_publish(&mut self, generation: &Generation) {
        let mut before = std::mem::take(&mut self.routes);
        let routes = generation.snapshot.routes.iter().filter(|route| !route.config.policy.health.is_empty());
        for route in routes.filter(|route| serves(route)) {
            let (name, targets) = (&route.config.name, targets(route, generation));
            let ids = route.upstreams.iter().filter_map(|&index| Some(generation.upstreams.get(index)?.meter.id));
            let upstreams = ids.zip(targets.iter().map(|target| target.host.clone())).collect();
            let spec = Spec { checks: route.config.policy.health.clone(), upstreams };
            // A task ends only by a panic. Start the checks again then.
            let is_current = |health: &mut RouteHealth| health.spec == spec && health.tasks.try_join_next().is_none();
            let kept = before.remove(name).and_then(|mut health| is_current(&mut health).then_some(health));
            let health = kept.unwrap_or_else(|| self.begin(spec, targets));
            self.routes.insert(name.clone(), health);
        }
    }

    /// Waits until an upstream has become well or unwell. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns true if health checks of a route are made.
    pub(super) fn has(&self, route: &str) -> bool {
        self.routes.contains_key(route)
    }

    /// Returns the upstreams of a route that are unwell.
    pub(super) fn unwell(&self, route: &str) -> Vec<Unwell> {
        let Some(health) = self.routes.get(route) else { return Vec::new() };
        let results = health.results.borrow();
        let unwell = results.iter().filter_map(|(upstream, series)| {
            let failure = series.iter().find_map(|series| series.unwell.clone())?;
            Some(Unwell { upstream: upstream.clone(), failure })
        });
        unwell.collect()
    }

    fn begin(&self, spec: Spec, targets: Vec<Target>) -> RouteHealth {
        let series = vec![Series::default(); spec.checks.len()];
        let results = targets.iter().map(|target| (target.upstream.clone(), series.clone()));
        let results: Results = Rc::new(RefCell::new(results.collect()));
        let mut tasks = JoinSet::new();
        for (upstream, target) in targets.into_iter().enumerate() {
            for (index, check) in spec.checks.iter().cloned().enumerate() {
                let (target, permits) = (target.clone(), self.permits.clone());
                let (results, changed) = (Rc::clone(&results), Rc::clone(&self.changed));
                tasks.spawn_local(async move {
                    sleep(check.check.every.mul_f64(fastrand::f64())).await;
                    loop {
                        let failure = checker::attempt(&target, &check.check, &permits).await.failure;
                        note(&results, (upstream, index), &check, failure, &changed);
                        sleep(check.check.every.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
                    }
                });
            }
        }
        RouteHealth { spec, results, tasks }
    }
}

/// Notes an attempt, and tells if the upstream has become well or unwell by it.
fn note(
    results: &Results,
    (upstream, index): (usize, usize),
    check: &HealthCheck,
    failure: Option<String>,
    changed: &Notify,
) {
    let mut results = results.borrow_mut();
    let Some(series) = results.get_mut(upstream).and_then(|(_, series)| series.get_mut(index)) else { return };
    let after = series.after(check, failure);
    let news = after.unwell.is_some() != series.unwell.is_some();
    *series = after;
    if news {
        changed.notify_one();
    }
}

/// Returns true if requests of a route are forwarded.
fn serves(route: &Route) -> bool {
    let reads = route.closure.as_ref().is_some_and(|closure| closure.mode == Mode::ReadOnly);
    reads || matches!(route.phase(), Phase::Open | Phase::Ramping)
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("routes", &self.routes.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::config;

    use super::*;

    #[test]
    fn several_failures_in_a_row_make_unwell_and_several_passes_make_well() {
        let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n\
                    health = { tcp = true, fails = 3, times = 2 }\n";
        let config = config::parse("backsoon.toml", text).0.unwrap();
        let check = &config.routes[0].policy.health[0];
        let course = |attempts: &str| {
            let unwell = attempts.chars().scan(Series::default(), |series, attempt| {
                *series = series.after(check, (attempt == 'x').then(|| "no".to_owned()));
                Some(if series.unwell.is_some() { 'x' } else { '.' })
            });
            unwell.collect::<String>()
        };
        assert_eq!(course("..xx.xx.xxxxx.x..x."), "..........xxxxxx...");
        assert_eq!(course("xxx.x.x.x.."), "..xxxxxxxx.");
    }
}
