//! What is observed of the routes while they run: how long their requests took lately, and how many failed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::plan::lifecycle::{Counted, Measured};

use crate::telemetry::{Meters, Recent, Summary};

/// What was observed of each route that ever had a request, by its name: also of one that is no longer configured, since
/// it may return, and its meter never goes back.
#[derive(Debug)]
pub(super) struct Observations {
    began: Instant,
    routes: HashMap<String, Recent>,
}

/// A route's traffic in the span that ends now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// For a rate: shorter than what was asked for as long as the process is young. Not 0.
    pub span: Duration,
    pub summary: Summary,
}

impl Observations {
    /// Must be made before the first request comes.
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, routes: HashMap::new() }
    }

    /// Looks at every route. Those without a new request cost a look at the cells of each worker.
    pub(super) fn observe(&mut self, meters: &Meters, now: Instant) {
        meters.each_route(|meter| {
            // Before the look-up: of ten thousand routes, most are idle.
            if meter.micros() == 0 {
                return;
            }
            match self.routes.get_mut(&meter.name) {
                Some(recent) => recent.observe(meter, now),
                None => self.routes.entry(meter.name.clone()).or_default().observe(meter, now),
            }
        });
    }

    /// What came over a route in the `span` before `now`; `None` if there was no request.
    pub(super) fn over(&self, route: &str, span: Duration, now: Instant) -> Option<Traffic> {
        let summary = self.routes.get(route)?.over(span, now)?;
        let lived = now.saturating_duration_since(self.began);
        Some(Traffic { span: span.min(Recent::SPAN).min(lived).max(EVERY), summary })
    }

    /// How a route does that comes back since so long: over the last [`JUDGED`] or, where those have fewer than
    /// `min_requests`, over all that is remembered; never over what was before.
    pub(super) fn measured(
        &self,
        route: &str,
        since: Duration,
        min_requests: u64,
        zombies: u64,
        now: Instant,
    ) -> Measured {
        let recent = self.routes.get(route);
        let over = |span: Duration| {
            let span = span.min(since);
            let summary = recent.and_then(|recent| recent.over(span, now));
            Measured {
                span,
                counted: summary
                    .map(|summary| Counted { requests: summary.count, errors: summary.failed })
                    .unwrap_or_default(),
                p99: summary.map(|summary| summary.p99),
                zombies,
            }
        };
        let lately = over(JUDGED);
        if lately.counted.requests >= min_requests { lately } else { over(Recent::SPAN) }
    }

    /// How a route did over the last ten minutes; `None` if there was no request.
    pub(super) fn lately(&self, route: &str, now: Instant) -> Option<Counted> {
        let (requests, errors) = self.routes.get(route)?.long(now)?;
        Some(Counted { requests, errors })
    }
}

/// What a guard looks at: long enough to mean something, and short enough to see what has just begun.
const JUDGED: Duration = Duration::from_secs(30);

/// Between two observations, and so what an answer may lag behind.
pub(super) const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_with_traffic_are_remembered_and_the_rate_is_that_of_the_time_so_far() {
        let (meters, start) = (Meters::new(2), Instant::now());
        let (web, _) = (meters.route("web"), meters.route("idle"));
        let mut observations = Observations::new(start);
        observations.observe(&meters, start);
        assert!(observations.routes.is_empty());
        web.workers[1].took(Duration::from_millis(1));
        let now = start + EVERY * 4;
        observations.observe(&meters, now);
        assert_eq!(observations.routes.len(), 1);
        let minute = Duration::from_secs(60);
        let traffic = observations.over("web", minute, now).unwrap();
        assert_eq!((traffic.summary.count, traffic.span), (1, EVERY * 4));
        assert!(observations.over("idle", minute, now).is_none() && observations.over("other", minute, now).is_none());
        assert_eq!(observations.over("web", minute, start + EVERY * 63).map(|traffic| traffic.span), Some(minute));
        assert!(observations.over("web", minute, start + EVERY * 64).is_none());
    }
}
