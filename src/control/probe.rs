//! Probes: while a route is verifying, or before its guard closes it, its upstreams get the requests of its `verify`
//! checks. After it has opened, upstreams that are left out get them until they pass.
//!
//! The state machine ([`crate::plan::lifecycle`]) decides by the results whether the route opens, and who is left out.
//!
//! Attempts follow a schedule on the wall clock that starts with the phase. Replicas therefore probe at the same
//! instants, and a restarted one joins in.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::live::Generation;
use crate::plan::config::Check;
use crate::plan::flags::Mode;
use crate::plan::lifecycle::{CheckResult, Phase, UpstreamChecks, Verification};
use crate::plan::snapshot::Route;

use super::checker::{self, Permits, Target, host, targets};

/// Checks of every route that is verifying, or open without some of its upstreams. Dropping it ends their tasks.
pub(super) struct Probes {
    clock: Clock,
    permits: Permits,
    changed: Rc<Notify>,
    routes: HashMap<String, RouteProbe>,
}

/// The wall clock.
#[derive(Clone)]
struct Clock(Rc<dyn Fn() -> Timestamp>);

/// Checks of one route.
struct RouteProbe {
    spec: ProbeSpec,
    results: Rc<RefCell<Vec<UpstreamChecks>>>,
    /// For each upstream, one endless task for each check.
    tasks: Vec<JoinSet<()>>,
    /// Upstreams that the flag file takes out, by their place in the route. Nothing depends on their results.
    withdrawn: Vec<usize>,
}

/// The subject of the results. If any of it changes, they are void.
#[derive(Clone, Debug, PartialEq)]
struct ProbeSpec {
    began: Timestamp,
    checks: Vec<Check>,
    /// The ids of the upstreams, which change with their roots, and the host for which each is asked.
    upstreams: Vec<(usize, String)>,
}

impl Probes {
    /// Creates probes that check nothing yet. Tests pass a clock of their own.
    pub(super) fn new(clock: impl Fn() -> Timestamp + 'static) -> Self {
        Self {
            clock: Clock(Rc::new(clock)),
            permits: Permits::default(),
            changed: Rc::default(),
            routes: HashMap::new(),
        }
    }

    /// Starts the checks of routes that are verifying or suspected by their guard, and stops those that decide nothing
    /// any more. Must be called after each publication, on a thread that runs local tasks.
    pub(super) fn on_publish(&mut self, generation: &Generation) {
        let mut before = std::mem::take(&mut self.routes);
        for route in &generation.snapshot.routes {
            let name = &route.config.name;
            let before = before.remove(name);
            let probe = match route.state.checked_since() {
                Some(began) => {
                    let spec = ProbeSpec::of(route, began, generation);
                    let kept = before.and_then(|probe| probe.for_spec(&spec));
                    Some(kept.unwrap_or_else(|| self.begin(name, spec, targets(route, generation))))
                }
                None if is_served_without_some(route) => before.and_then(|probe| probe.go_on_for(route, generation)),
                None => None,
            };
            let withdrawn =
                || route.withdrawn.iter().filter_map(|(out, _)| route.upstreams.iter().position(|own| own == out));
            self.routes
                .extend(probe.map(|probe| (name.clone(), RouteProbe { withdrawn: withdrawn().collect(), ..probe })));
        }
    }

    /// Waits for a new result. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the results of a route's checks; `None` if none are made.
    pub(super) fn results(&self, route: &str) -> Option<Verification> {
        let probe = self.routes.get(route)?;
        let results = probe.results.borrow();
        let asked = results.iter().enumerate().filter(|(place, _)| !probe.withdrawn.contains(place));
        Some(Verification { began: probe.spec.began, upstreams: asked.map(|(_, results)| results.clone()).collect() })
    }

    /// Returns true if checks of a route are made.
    pub(super) fn has(&self, route: &str) -> bool {
        self.routes.contains_key(route)
    }

    fn begin(&self, name: &str, spec: ProbeSpec, targets: Vec<Target>) -> RouteProbe {
        let results = targets.iter().map(|target| UpstreamChecks::unasked(target.upstream.clone(), &spec.checks));
        let results = Rc::new(RefCell::new(results.collect()));
        let tasks = targets.into_iter().enumerate().map(|(upstream, target)| {
            let sink = ResultSink {
                route: name.to_owned(),
                upstream,
                results: Rc::clone(&results),
                changed: Rc::clone(&self.changed),
            };
            self.ask(&spec, target, &Rc::new(sink))
        });
        let tasks = tasks.collect();
        RouteProbe { spec, results, tasks, withdrawn: Vec::new() }
    }

    /// Spawns the tasks that check one upstream.
    fn ask(&self, spec: &ProbeSpec, target: Target, sink: &Rc<ResultSink>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let target = Rc::new(target);
        for (index, check) in spec.checks.iter().cloned().enumerate() {
            let (clock, permits) = (self.clock.clone(), self.permits.clone());
            let (target, sink) = (Rc::clone(&target), Rc::clone(sink));
            let schedule = Schedule { began: spec.began, every: check.every };
            tasks.spawn_local(async move {
                let ask = async || checker::attempt(&target, &check, &permits).await.failure;
                schedule.repeat(&clock, ask, |due, failure| sink.record(index, &check, due, failure)).await;
            });
        }
        tasks
    }
}

impl RouteProbe {
    /// Returns the probe if it is for this subject. A task ends only by a panic, and then the probe has to start again.
    fn for_spec(mut self, spec: &ProbeSpec) -> Option<Self> {
        let runs = self.tasks.iter_mut().all(|tasks| tasks.try_join_next().is_none());
        (runs && self.spec == *spec).then_some(self)
    }

    /// Returns the probe for a route that is served without some upstreams. Upstreams that have passed are not asked any
    /// more.
    fn go_on_for(mut self, route: &Route, generation: &Generation) -> Option<Self> {
        let spec = ProbeSpec::of(route, self.spec.began, generation);
        if spec != self.spec {
            return None;
        }
        for (results, tasks) in self.results.borrow().iter().zip(&mut self.tasks) {
            if results.passed(&spec.checks).is_some() {
                tasks.abort_all();
            }
        }
        Some(self)
    }
}

/// Returns true if requests are forwarded, and not to every upstream.
fn is_served_without_some(route: &Route) -> bool {
    let reads = route.closure.as_ref().is_some_and(|closure| closure.mode == Mode::ReadOnly);
    !route.left_out.is_empty() && (reads || matches!(route.phase(), Phase::Open | Phase::Ramping))
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").field("routes", &self.routes.keys()).finish_non_exhaustive()
    }
}

impl ProbeSpec {
    fn of(route: &Route, began: Timestamp, generation: &Generation) -> Self {
        let live = route.upstreams.iter().filter_map(|&index| {
            let (upstream, live) = (generation.snapshot.upstreams.get(index)?, generation.upstreams.get(index)?);
            Some((live.meter.id, host(&route.config).unwrap_or_else(|| upstream.address.authority())))
        });
        Self { began, checks: route.config.policy.verify.clone(), upstreams: live.collect() }
    }
}

/// Receiver of the results of one upstream.
struct ResultSink {
    route: String,
    upstream: usize,
    results: Rc<RefCell<Vec<UpstreamChecks>>>,
    changed: Rc<Notify>,
}

impl ResultSink {
    fn record(&self, index: usize, check: &Check, due: Timestamp, failure: Option<String>) {
        let mut results = self.results.borrow_mut();
        let Some(checked) = results.get_mut(self.upstream).and_then(|upstream| upstream.checks.get_mut(index)) else {
            return;
        };
        let after = after(checked, check.times, due, failure);
        if after == *checked {
            return;
        }
        match &after.failure {
            Some(failure) if after.failure != checked.failure => {
                tracing::warn!(route = self.route, failure, "a check fails");
            }
            Some(_) => {}
            None => {
                let (check, passed) = (check.probe.to_string(), after.passed);
                tracing::debug!(route = self.route, check, passed, "a check passes");
            }
        }
        *checked = after;
        self.changed.notify_one();
    }
}

/// Counts one more attempt. Once enough have passed in a row, the result stays. The result has the instant of the last
/// attempt needed, which is the same in every replica.
fn after(before: &CheckResult, times: u32, due: Timestamp, failure: Option<String>) -> CheckResult {
    match failure {
        Some(failure) => CheckResult { passed: 0, at: None, failure: Some(failure) },
        None if before.passed >= times => before.clone(),
        None => CheckResult { passed: before.passed + 1, at: Some(due), failure: None },
    }
}

/// Schedule of a check: at the beginning of the phase, and then at a fixed interval.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    began: Timestamp,
    every: Duration,
}

impl Schedule {
    /// Makes one attempt after another until it is dropped.
    async fn repeat(
        self,
        clock: &Clock,
        attempt: impl AsyncFn() -> Option<String>,
        note: impl Fn(Timestamp, Option<String>),
    ) {
        let mut last = None;
        loop {
            let number = self.wait(last, clock).await;
            note(self.due(number), attempt().await);
            last = Some(number);
        }
    }

    /// Waits until the next attempt is due. The clock is read now and then, because it can be set.
    async fn wait(self, last: Option<u64>, clock: &Clock) -> u64 {
        let mut number = self.next(last, (clock.0)());
        loop {
            let now = (clock.0)();
            let Ok(left) = Duration::try_from(self.due(number).duration_since(now)) else { return number };
            if left.is_zero() {
                return number;
            }
            if left > self.every {
                number = self.next(last, now);
            }
            if self.due(number) == Timestamp::MAX {
                pending::<()>().await;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    /// Returns the number of the next attempt. The first attempt is the one due last, made at once if late. Attempts
    /// that were due during another are skipped. If the clock is set back, nobody has to wait longer.
    fn next(self, last: Option<u64>, now: Timestamp) -> u64 {
        let elapsed = Duration::try_from(now.duration_since(self.began)).unwrap_or_default().as_nanos();
        let every = self.every.as_nanos().max(1);
        let soonest = |points: u128| u64::try_from(points).unwrap_or(u64::MAX);
        match last {
            None => soonest(elapsed / every),
            Some(last) => {
                let soonest = soonest(elapsed.div_ceil(every));
                if soonest < last { soonest } else { soonest.max(last.saturating_add(1)) }
            }
        }
    }

    /// Returns when an attempt is due, at most the last instant that can be represented.
    fn due(self, number: u64) -> Timestamp {
        let nanos = self.every.as_nanos().saturating_mul(number.into());
        let seconds = u64::try_from(nanos / NANOS).ok();
        let after =
            seconds.zip(u32::try_from(nanos % NANOS).ok()).map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let after = after.and_then(|after| SignedDuration::try_from(after).ok());
        after.and_then(|after| self.began.checked_add(after).ok()).unwrap_or(Timestamp::MAX)
    }
}

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

/// Greatest delay of an attempt after the clock was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
