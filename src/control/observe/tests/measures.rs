//! Tests of the measurements that a guard makes by choice: statuses, and a drop in traffic.

use crate::plan::config::{Guard, Statuses};

use super::*;

const STATUSES: &str = "guard = { statuses = { 401 = \"baseline + 5%\", 4xx = \"baseline + 20%\" } }";
const TRAFFIC: &str = "guard = { traffic = \"baseline - 80%\" }";

impl Watched {
    /// Creates a route with this policy that was open for ten minutes, with ten requests a second.
    fn served(policy: &str, status: impl Fn(u64) -> u16) -> Self {
        let mut web = Self::by(policy);
        web.routes.live.routes[0].count_statuses();
        for second in 0..600 {
            (0..10).for_each(|request| web.answers(status(request)));
            web.observations.observe(&web.routes.meters, web.at(second * 1000));
        }
        let lately = web.observations.baseline("web", web.at(600_000));
        web.routes.observe("web", None, lately);
        web
    }

    /// Answers one request.
    fn answers(&self, status: u16) {
        let (cell, guard) = (&self.routes.live.routes[0].workers[0], self.guard());
        cell.record_latency(Duration::from_millis(3));
        cell.record_status(status);
        let statuses = guard.statuses.filter_map(|named, _| named.has(status).then_some(1));
        cell.record_outcome(None, ClientCounts { requests: 1, statuses, ..ClientCounts::default() });
    }

    fn guard(&self) -> Guard {
        self.routes.live.snapshot.routes[0].config.policy.guard.unwrap()
    }

    /// Closes the route for a while, and lifts that at 640 s.
    fn returns(&mut self) {
        self.flagged(600_000, DOWN);
        self.flagged(639_000, DOWN);
        self.flagged(640_000, "");
    }

    /// Watches the route for some seconds, with these answers each second, and returns why it is as it is at the end.
    fn watch(&mut self, seconds: std::ops::Range<u64>, statuses: &[u16]) -> String {
        for half in seconds.start * 2 + 1..=seconds.end * 2 {
            let now = half * 500;
            if half % 2 == 0 {
                statuses.iter().for_each(|status| self.answers(*status));
            }
            self.observations.observe_guarded(self.at(now));
            let (guard, baseline) = (self.guard(), self.routes.live.snapshot.routes[0].state.baseline());
            let judged = Judged { guard: &guard, baseline, hanging: &Clients::default() };
            let measured = self.observations.measured("web", judged, self.at(now));
            self.routes.observe("web", measured, None);
            self.flagged(now, "");
        }
        let route = &self.routes.live.snapshot.routes[0];
        format!("{}: {}", route.phase().as_str(), route.state.reason())
    }

    fn unjudged(&self) -> Vec<String> {
        self.routes.live.snapshot.routes[0].unjudged().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn more_answers_with_a_status_than_before_close_the_route() {
    let mut web = Watched::served(STATUSES, |request| if request == 0 { 404 } else { 200 });
    web.returns();
    assert_eq!(web.unjudged(), Vec::<String>::new());
    let same = [404, 200, 200, 200, 200, 200, 200, 200, 200, 200];
    assert_eq!(web.watch(640..700, &same), "open: the flag was lifted");
    let refused = [401, 401, 404, 200, 200, 200, 200, 200, 200, 200];
    let told = web.watch(700..715, &refused);
    let (begin, end) = ("draining: the guard tripped: ", "at most 5.0% may (before it was 0%");
    assert!(told.starts_with(begin) && told.contains(" of requests were answered with 401 (") && told.contains(end));
    let mut web = Watched::served(STATUSES, |request| if request < 3 { 404 } else { 200 });
    web.returns();
    let told = web.watch(640..660, &[404, 403, 410, 410, 404, 404, 404, 404, 200, 200]);
    assert!(told.contains(" of requests were answered with 4xx (") && told.contains("before it was 30%"), "{told}");
}

#[test]
fn a_status_that_a_new_config_names_has_no_baseline_of_another() {
    let mut web = Watched::served(STATUSES, |request| if request == 0 { 404 } else { 200 });
    web.returns();
    let other = "guard = { statuses = { 404 = \"baseline + 1%\", 401 = \"baseline + 5%\", 403 = \"at most 50%\" } }";
    web.routes.configure(&format!("[routes.web]\nupstream = \"http://127.0.0.1:1\"\n{other}\n"));
    web.flagged(640_500, "");
    assert_eq!(web.unjudged(), ["statuses.404"]);
    let told = web.watch(641..700, &[404, 404, 404, 404, 403, 200, 200, 200, 200, 200]);
    assert_eq!(told, "open: the flag was lifted", "nobody knows how many 404 there were");
    let told = web.watch(700..760, &[404, 403, 403, 403, 403, 403, 403, 403, 403, 200]);
    assert!(told.contains("answered with 403 (") && told.ends_with("at most 50% may"), "{told}");
}

#[test]
fn a_baseline_of_a_status_begins_when_it_is_counted() {
    let mut web = Watched::by("guard = { error_rate = \"1%\" }");
    let meter = Arc::clone(&web.routes.live.routes[0]);
    web.runs(0..300_000, 5, 0);
    web.routes.configure(&format!("[routes.web]\nupstream = \"http://127.0.0.1:1\"\n{STATUSES}\n"));
    web.flagged(300_000, "");
    meter.count_statuses();
    for second in 301..330 {
        (0..10).for_each(|request| web.answers(if request == 0 { 401 } else { 200 }));
        web.observations.observe(&web.routes.meters, web.at(second * 1000));
    }
    let before = web.observations.baseline("web", web.at(330_000)).unwrap();
    let usual = before.statuses.get(Statuses::One(401)).unwrap();
    assert!(usual.requests > 150 && usual.requests < 300 && usual.answered * 10 == usual.requests, "{usual:?}");
    assert!(before.counted.requests > 3000);
}

#[test]
fn a_balancer_that_does_not_come_back_is_told_after_a_minute_and_closes_only_by_choice() {
    let all = [200; 10];
    let came = "0 requests came in 60 s, at least 120 should (before it were 600, and 80% fewer may)";
    for (policy, told) in [
        (TRAFFIC, "open: the guard warns: "),
        ("guard = { traffic = \"baseline - 80%\", on_breach = \"close\" }", "open: the guard warns: "),
        (
            "guard = { traffic = \"baseline - 80%\", on_breach = \"warn\", on_drop = \"close\" }",
            "draining: the guard tripped: ",
        ),
    ] {
        let mut web = Watched::served(policy, |_| 200);
        web.returns();
        assert_eq!(web.unjudged(), Vec::<String>::new());
        assert_eq!(web.watch(640..699, &[]), "open: the flag was lifted", "{policy}");
        let found = web.watch(699..701, &[]);
        assert_eq!(found, format!("{told}{came}"), "{policy}");
        if told.starts_with("open") {
            assert_eq!(web.watch(701..760, &all), "open: the guard finds nothing any more");
        }
    }
}

#[test]
fn a_fifth_of_the_requests_is_enough_and_a_ramp_admits_few() {
    let mut web = Watched::served(TRAFFIC, |_| 200);
    web.returns();
    assert_eq!(web.watch(640..900, &[200; 3]), "open: the flag was lifted");
    let mut web = Watched::served(&format!("ramp = \"5m\"\n{TRAFFIC}"), |_| 200);
    web.returns();
    assert!(web.watch(640..939, &[]).starts_with("ramping"));
    assert!(web.watch(939..999, &[]).starts_with("open: everybody"), "a minute of the open route is needed");
    assert!(web.watch(999..1001, &[]).starts_with("open: the guard warns: 0 requests came in 60 s"));
}

#[test]
fn traffic_that_says_too_little_is_not_judged() {
    // Two requests a minute.
    let mut web = Watched::by(TRAFFIC);
    for second in 0..600 {
        if second % 30 == 0 {
            web.answers(200);
        }
        web.observations.observe(&web.routes.meters, web.at(second * 1000));
    }
    let lately = web.observations.baseline("web", web.at(600_000)).unwrap();
    let seconds = lately.traffic.map(|traffic| traffic.arrivals.span.as_secs());
    assert!(seconds.is_some_and(|seconds| seconds >= 590), "the quiet time counts: {seconds:?}");
    web.routes.observe("web", None, Some(lately));
    web.returns();
    assert_eq!(web.unjudged(), ["traffic"]);
    assert_eq!(web.watch(640..1200, &[]), "open: the flag was lifted");
}
