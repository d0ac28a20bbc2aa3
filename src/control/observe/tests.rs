//! Tests of which span is measured. The clock is an argument.

mod measures;

use crate::control::tests::Routes;
use crate::plan::config::{Bound, OnBreach, PerStatus, Readiness};
use crate::plan::lifecycle::{ClientCounts, Counted};

use super::*;

const GUARD: Guard = Guard {
    error_rate: Some(Bound::AboveBaseline(0.01)),
    p99: None,
    zombies: Some(Bound::AboveBaseline(3)),
    statuses: PerStatus::EMPTY,
    traffic: None,
    watch: Duration::from_secs(600),
    min_requests: 20,
    on_breach: OnBreach::Close,
    on_drop: OnBreach::Warn,
    retry_after: None,
    readiness: Readiness::Stays,
};

/// One guarded route, `web`, that ramps for ten minutes, and its observations.
struct Watched {
    routes: Routes,
    observations: Observations,
    start: Instant,
}

impl Watched {
    fn new() -> Self {
        Self::by("ramp = \"10m\"\nguard = { error_rate = \"baseline + 1%\", zombies = 3, min_requests = 20 }")
    }

    fn by(policy: &str) -> Self {
        let routes = Routes::new(&format!("[routes.web]\nupstream = \"http://127.0.0.1:1\"\n{policy}\n"));
        let start = Instant::now();
        let mut observations = Observations::new(start);
        observations.on_publish(&routes.live, start);
        Self { routes, observations, start }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// Applies a flag file from now on.
    fn flagged(&mut self, millis: u64, flags: &str) -> Phase {
        self.routes.compile(flags, Duration::from_millis(millis));
        self.observations.on_publish(&self.routes.live, self.at(millis));
        self.routes.live.snapshot.route("web").unwrap().phase()
    }

    /// Serves requests, some of which fail.
    fn serves(&self, requests: usize, errors: u64) {
        let cell = &self.routes.live.routes[0].workers[0];
        (0..requests).for_each(|_| cell.record_latency(Duration::from_millis(3)));
        cell.upstream[5].add(errors);
        cell.record_outcome(
            None,
            ClientCounts { requests: requests as u64, failed: errors, ..ClientCounts::default() },
        );
    }

    /// Observes as often as is due, with these requests before each observation.
    fn runs(&mut self, millis: std::ops::Range<u64>, requests: usize, errors: u64) {
        for now in millis.step_by(500) {
            self.serves(requests, errors);
            self.observations.observe_guarded(self.at(now));
            if now % 1000 == 0 {
                self.observations.observe(&self.routes.meters, self.at(now));
            }
        }
    }

    /// Measures by a guard without a baseline.
    fn look(&self, millis: u64) -> Option<Measured> {
        let judged = Judged { guard: &GUARD, baseline: None, hanging: &Clients::default() };
        self.observations.measured("web", judged, self.at(millis))
    }

    /// Returns seconds, requests and errors of the longest window.
    fn measured(&self, millis: u64) -> Option<(f32, u64, u64)> {
        let window = self.look(millis)?.windows.pop().unwrap();
        Some((window.span.as_secs_f32(), window.errors.requests, window.errors.bad))
    }

    fn baseline(&self, millis: u64) -> Option<(u64, u64)> {
        self.observations
            .baseline("web", self.at(millis))
            .map(|before| (before.counted.requests, before.counted.errors))
    }
}

const DOWN: &str = "[routes]\nweb = \"offline\"\n";

#[test]
fn only_routes_with_traffic_are_remembered_and_the_rate_is_that_of_the_time_so_far() {
    let (meters, start) = (Meters::new(2), Instant::now());
    let (web, _) = (meters.route("web"), meters.route("idle"));
    let mut observations = Observations::new(start);
    observations.observe(&meters, start);
    assert!(observations.routes.is_empty());
    web.workers[1].record_latency(Duration::from_millis(1));
    let now = start + OBSERVE_EVERY * 4;
    observations.observe(&meters, now);
    assert_eq!(observations.routes.len(), 1);
    let minute = Duration::from_secs(60);
    let traffic = observations.traffic("web", minute, now).unwrap();
    assert_eq!((traffic.summary.count, traffic.span), (1, OBSERVE_EVERY * 4));
    assert!(
        observations.traffic("idle", minute, now).is_none() && observations.traffic("other", minute, now).is_none()
    );
    assert_eq!(
        observations.traffic("web", minute, start + OBSERVE_EVERY * 63).map(|traffic| traffic.span),
        Some(minute)
    );
    assert!(observations.traffic("web", minute, start + OBSERVE_EVERY * 64).is_none());
}

#[test]
fn ten_minutes_of_an_open_route_are_its_baseline_and_nothing_else_is() {
    let mut web = Watched::new();
    assert_eq!(web.baseline(0), None);
    for second in 0..900 {
        web.serves(10, u64::from(second >= 300));
        web.observations.observe(&web.routes.meters, web.at(second * 1000));
    }
    let (requests, errors) = web.baseline(899_000).unwrap();
    assert!((5900..=6000).contains(&requests) && errors * 10 == requests, "{errors} of {requests}");
    // Requests up to the publication belong to the open route. Later ones do not: the application is going down.
    web.serves(7, 0);
    assert_eq!(web.flagged(900_000, DOWN), Phase::Draining);
    assert_eq!(web.baseline(900_000), None);
    web.serves(50, 50);
    web.observations.observe(&web.routes.meters, web.at(901_000));
    assert_eq!(web.flagged(930_000, DOWN), Phase::Closed);
    assert_eq!(web.flagged(931_000, ""), Phase::Ramping);
    web.runs(931_500..940_000, 5, 5);
    assert_eq!(web.baseline(940_000), None, "a route that comes back is no measure for itself");
    // Back, and no longer watched. Counts from when the route was open are still valid.
    assert_eq!(web.flagged(931_000 + 1_201_000, ""), Phase::Open);
    assert_eq!(web.baseline(931_000 + 1_201_000), None, "all of it is too long ago");
    let state = &web.routes.live.snapshot.route("web").unwrap().state;
    assert!(state.is_plain());
}

#[test]
fn a_baseline_outlasts_a_short_maintenance() {
    let mut web = Watched::new();
    web.serves(100, 1);
    web.observations.observe(&web.routes.meters, web.at(1000));
    web.flagged(2000, DOWN);
    assert_eq!(web.baseline(2000), None);
    // Lifted before anything drained, so the route was never down.
    assert_eq!(web.flagged(3000, ""), Phase::Open);
    assert_eq!(web.baseline(3000), Some((100, 1)));
    assert_eq!(web.baseline(601_001), None);
}

#[test]
fn nothing_is_measured_of_a_route_that_does_not_come_back() {
    let mut web = Watched::new();
    web.runs(0..5000, 10, 0);
    assert!(web.measured(5000).is_none() && !web.observations.has_guarded());
    assert_eq!(web.flagged(5000, DOWN), Phase::Draining);
    assert!(web.measured(5000).is_none() && !web.observations.has_guarded());
    web.flagged(36_000, DOWN);
    assert_eq!(web.flagged(37_000, ""), Phase::Ramping);
    assert!(web.measured(37_000).is_some() && web.observations.has_guarded());
}

#[test]
fn the_last_minute_is_measured_but_nothing_before_the_ramp() {
    let mut web = Watched::new();
    web.runs(0..5000, 100, 100);
    web.flagged(5000, DOWN);
    web.runs(5000..40_000, 9, 9);
    web.flagged(36_000, DOWN);
    // Between the last observation and the publication.
    web.serves(30, 30);
    assert_eq!(web.flagged(40_000, ""), Phase::Ramping);
    assert_eq!(web.measured(40_000), Some((0.0, 0, 0)));
    web.runs(40_500..41_001, 15, 1);
    assert_eq!(web.measured(41_000), Some((1.0, 30, 2)));
    web.runs(41_500..110_001, 15, 0);
    // 120 observations, and the first failures are out of the window.
    assert_eq!(web.measured(110_000), Some((60.0, 1800, 0)));
    // After another closure, the first ramp does not count for the second.
    web.flagged(110_000, DOWN);
    web.flagged(141_000, DOWN);
    assert_eq!(web.flagged(141_000, ""), Phase::Ramping);
    web.runs(141_500..142_001, 1, 0);
    assert_eq!(web.measured(142_000), Some((1.0, 2, 0)));
}

#[test]
fn where_there_is_too_little_in_a_minute_all_counts_since_the_ramp_began() {
    let mut web = Watched::new();
    web.flagged(1000, DOWN);
    web.flagged(32_000, DOWN);
    assert_eq!(web.flagged(32_000, ""), Phase::Ramping);
    // Two requests a minute.
    for minute in 0..20 {
        let begin = 32_000 + minute * 60_000;
        web.serves(2, 1);
        web.runs(begin + 500..begin + 60_001, 0, 0);
    }
    let (span, requests, errors) = web.measured(32_000 + 1_200_000).unwrap();
    assert!(span == 600.0 && (20..=22).contains(&requests) && errors * 2 == requests, "{span} {requests} {errors}");
    // A minute has enough requests, and the rest is forgotten.
    web.serves(30, 0);
    web.runs(1_232_500..1_233_001, 0, 0);
    assert_eq!(web.measured(1_233_000), Some((60.0, 30, 0)));
}

#[test]
fn the_watch_goes_on_with_what_the_ramp_began() {
    let mut web = Watched::new();
    web.flagged(1000, DOWN);
    web.flagged(32_000, DOWN);
    web.flagged(32_000, "");
    web.runs(32_500..632_000, 1, 0);
    assert_eq!(web.flagged(632_000, ""), Phase::Open);
    assert_eq!(web.measured(632_000), Some((60.0, 119, 0)));
    // Watched for ten more minutes, and no longer.
    assert_eq!(web.flagged(1_233_000, ""), Phase::Open);
    assert!(web.measured(1_233_000).is_none() && !web.observations.has_guarded());
}

#[test]
fn a_breach_is_found_in_eight_seconds_and_an_incident_of_three_is_none() {
    let mut web = Watched::new();
    web.serves(1000, 10);
    web.observations.observe(&web.routes.meters, web.at(500));
    web.routes.observe("web", None, web.observations.baseline("web", web.at(500)));
    web.flagged(1000, DOWN);
    web.flagged(32_000, DOWN);
    web.flagged(32_000, "");
    let before = web.routes.live.snapshot.route("web").unwrap().state.baseline().copied().unwrap();
    assert_eq!(before.counted, Counted { requests: 1000, errors: 10 });
    let mut look = |from: u64, to: u64, errors| {
        for now in (from + 500..=to).step_by(500) {
            web.runs(now..now + 1, 20, errors);
            let judged = Judged { guard: &GUARD, baseline: Some(&before), hanging: &Clients::default() };
            let measured = web.observations.measured("web", judged, web.at(now));
            web.routes.observe("web", measured, None);
            if web.flagged(now, "") == Phase::Draining {
                return Some(now);
            }
        }
        None
    };
    assert_eq!(look(32_000, 40_000, 0), None);
    assert_eq!(look(40_000, 43_000, 20), None);
    assert_eq!(look(43_000, 105_000, 0), None);
    assert_eq!(look(105_000, 115_000, 4), Some(112_500));
    assert!(!web.observations.has_guarded());
    let why = web.routes.live.snapshot.route("web").unwrap().state.reason().to_string();
    assert!(why.contains("10% of requests failed (60 of 600 in 15 s), at most 2.4% may"), "{why}");
}

#[test]
fn what_comes_in_the_very_moment_of_the_return_counts() {
    let mut web = Watched::new();
    web.serves(1, 0);
    web.observations.observe(&web.routes.meters, web.at(500));
    web.flagged(1000, DOWN);
    web.flagged(32_000, DOWN);
    web.observations.observe_returning(web.at(32_000));
    // The workers know of the publication before the observations do.
    web.serves(40, 40);
    assert_eq!(web.flagged(32_100, ""), Phase::Ramping);
    web.serves(2, 2);
    web.runs(32_500..32_501, 0, 0);
    assert_eq!(web.measured(32_500), Some((0.5, 42, 42)));
}

#[test]
fn a_baseline_tells_what_hung_and_how_long_it_took() {
    let mut web = Watched::new();
    web.routes.configure(
        "[routes.web]\nupstream = \"http://127.0.0.1:1\"\nguard = { p99 = \"baseline * 1.5\", zombies = 3 }\n",
    );
    web.flagged(0, "");
    for second in 1..60 {
        let mut hanging = Clients::default();
        (0..second % 8).for_each(|_| hanging.count(None, ClientCounts { hanging: 1, ..ClientCounts::default() }));
        web.routes.live.routes[0].workers[0].set_hanging(hanging);
        web.serves(10, 0);
        web.observations.observe(&web.routes.meters, web.at(second * 1000));
    }
    let before = web.observations.baseline("web", web.at(60_000)).unwrap();
    assert_eq!((before.hanging, before.p99.map(|p99| p99.as_millis())), (Some(7), Some(3)));
}

#[test]
fn requests_count_anew_from_the_finding_that_the_checks_are_asked_about() {
    let mut web = Watched::by("verify = [{ get = \"/\" }]\nguard = { error_rate = \"5%\", min_requests = 20 }");
    web.flagged(1_000, DOWN);
    web.flagged(40_000, DOWN);
    let forced = "[forced]\nweb = 2026-05-19T14:00:41Z\n";
    assert_eq!(web.flagged(41_000, forced), Phase::Open);
    web.runs(41_500..61_500, 10, 5);
    // The bound of the guard is fixed.
    let guard = web.routes.live.snapshot.routes[0].config.policy.guard.unwrap();
    let judged = Judged { guard: &guard, baseline: None, hanging: &Clients::default() };
    let found = web.observations.measured("web", judged, web.at(61_000));
    assert_eq!(web.measured(61_000).map(|(span, ..)| span), Some(20.0));
    web.routes.observe("web", found, None);
    assert_eq!(web.flagged(61_500, forced), Phase::Open);
    assert!(web.routes.live.snapshot.route("web").unwrap().state.suspicion().is_some());
    web.runs(62_000..64_000, 10, 0);
    assert_eq!(web.measured(63_500), Some((2.0, 40, 0)), "nothing from before counts");
    // The same suspicion again, after its checks have passed, changes nothing.
    assert_eq!(web.flagged(64_000, forced), Phase::Open);
    assert_eq!(web.measured(64_000).map(|(span, ..)| span), Some(2.5));
}
