//! Rules one by one, and then random courses of events, through `compile`.

mod comeback;
mod measures;
mod suspended;
mod upstreams;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::compile::{Memory, compile};
use super::super::config::{self, Ramp};
use super::super::rehearsal::Rehearsal;
use super::super::snapshot::{ClosedBy, Closure, Route};
use super::ramp::share;
use super::state::{MOST_TRANSITIONS, PhaseState};
use super::*;

fn at(clock: &str) -> Timestamp {
    format!("2026-05-19T{clock}Z").parse().unwrap()
}

/// Creates a proxy whose only route has this policy.
fn web(policy: &str) -> Rehearsal {
    web_with(1, policy)
}

/// Creates a proxy whose only route has this many upstreams.
fn web_with(upstreams: usize, policy: &str) -> Rehearsal {
    let (config, problems) = config::parse("backsoon.toml", &text_of(upstreams, policy));
    Rehearsal::new(config.unwrap_or_else(|| panic!("{problems:?}")))
}

fn text_of(upstreams: usize, policy: &str) -> String {
    let upstreams: Vec<String> = (1..=upstreams).map(|port| format!("http://127.0.0.1:{port}")).collect();
    format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = {upstreams:?}\n{policy}")
}

impl Rehearsal {
    fn observe(&mut self, observed: Observed) -> &mut Self {
        self.known.observed = HashMap::from([("web".to_owned(), observed)]);
        self
    }

    fn look(&mut self, now: Timestamp) -> &Route {
        &self.compile(now).routes[0]
    }

    /// Returns its state at an instant, as one line.
    fn at(&mut self, clock: &str) -> String {
        let route = self.look(at(clock));
        let since = route.since().strftime("%H:%M:%S");
        format!("{} since {since}: {}", route.phase().as_str(), route.state.reason())
    }

    fn share(&self) -> f64 {
        self.live.as_ref().unwrap().routes[0].state.share().unwrap_or_default()
    }
}

fn remaining(count: u64) -> Observed {
    Observed { remaining: Some(count), ..Observed::default() }
}

fn measured(requests: u64, errors: u64, p99: u64, zombies: u64) -> Observed {
    let slow = if p99 > 800 { requests } else { 0 };
    let sample = |bad| excess::Sample { requests, bad, stretches: 8 };
    let window = window::Window {
        span: Duration::from_secs(30),
        errors: sample(errors),
        slow: sample(slow),
        p99: Some(Duration::from_millis(p99)),
        clients: alone(requests, errors, 0),
        ..window::Window::default()
    };
    let measured = Measured { windows: vec![window], hanging: alone(requests, errors, zombies), ..Measured::default() };
    let lately = Baseline::of(&[Counted { requests: 100, errors: 0 }; 10]).map(|baseline| Baseline {
        counted: Counted { requests: 1000, errors: 5 },
        hanging: Some(0),
        ..baseline
    });
    Observed { measured: Some(measured), lately, ..Observed::default() }
}

/// Adds this many clients that met nothing bad.
fn beside(honest: u8, observed: Observed) -> Observed {
    let mut observed = observed;
    for last in 0..honest {
        let met = ClientCounts { requests: 1, ..ClientCounts::default() };
        let measured = observed.measured.as_mut().unwrap();
        measured.windows[0].clients.count(Some([192, 0, 2, last].into()), met);
        measured.hanging.count(Some([192, 0, 2, last].into()), met);
    }
    observed
}

#[test]
fn a_guard_leaves_out_paths_as_they_are_written() {
    let rehearsal = web("guard = { error_rate = \"5%\", ignore = [\"/reports/*\", \"/v1/*/export\", \"/events\"] }");
    let policy = &rehearsal.config.routes[0].policy;
    for path in ["/reports", "/reports/1/2", "/v1/7/export", "/v1/7/export/all", "/events"] {
        assert!(policy.ignores(path), "{path}");
    }
    // Another spelling may be another page for the upstream, so it counts.
    for path in ["/", "/report", "/reportsx", "/v1/export", "/%72eports/1", "//reports/1", "/a/../events", "*", "/%"] {
        assert!(!policy.ignores(path), "{path}");
    }
    assert!(!web("guard = { error_rate = \"5%\" }").config.routes[0].policy.ignores("/reports"));
}

#[test]
fn a_guard_finds_nothing_that_one_client_brought_about_beside_others() {
    let rehearsal = web("guard = { error_rate = \"5%\", p99 = \"800ms\", zombies = 5 }");
    let guard = rehearsal.config.routes[0].policy.guard.unwrap();
    let found = |observed: &Observed| {
        judge(&guard, observed.measured.as_ref().unwrap(), observed.lately.as_ref(), at("14:00:00"))
    };
    for bad in [measured(1000, 900, 1, 0), measured(1000, 0, 900, 0), measured(500, 0, 1, 6)] {
        assert!(found(&bad).is_some(), "{bad:?}");
        for honest in [1, 3, 50] {
            assert_eq!(found(&beside(honest, bad.clone())), None, "{honest} {bad:?}");
        }
    }
}

/// Returns counts that all belong to one client.
fn alone(requests: u64, failed: u64, hanging: u64) -> Clients {
    let mut clients = Clients::default();
    clients.count(None, ClientCounts { requests, failed, slow: requests, hanging, ..ClientCounts::default() });
    clients
}

/// Returns the results of the only check, for each upstream.
fn of_upstreams(began: Timestamp, checks: Vec<CheckResult>) -> Verification {
    let (config, _) = config::parse("backsoon.toml", &text_of(checks.len(), ""));
    let upstreams = config.unwrap().routes[0].upstreams.clone();
    let upstreams = upstreams.into_iter().zip(checks);
    let upstreams = upstreams.map(|(upstream, check)| UpstreamChecks { upstream, checks: vec![check] }).collect();
    Verification { began, upstreams }
}

fn verified(began: &str, passed: u32, due: &str, failure: Option<&str>) -> Observed {
    let check = CheckResult { passed, at: Some(at(due)), failure: failure.map(str::to_owned) };
    Observed { verification: Some(of_upstreams(at(began), vec![check])), ..Observed::default() }
}

const OFFLINE: &str = "[routes]\nweb = \"offline\"\n";
const WINDOW: &str = "\
[[windows]]
id = \"M-1\"
starts = 2026-05-19T14:00:00Z
ends = 2026-05-19T15:00:00Z
routes = { web = \"offline\" }
";

#[test]
fn it_drains_until_nothing_is_in_flight_or_the_time_is_over() {
    let mut proxy = web("drain = \"30s\"");
    assert_eq!(proxy.at("13:00:00"), "open since 13:00:00: nothing flags it");
    proxy.flag(WINDOW).observe(remaining(0));
    assert_eq!(proxy.at("14:00:00"), "draining since 14:00:00: offline by window M-1");
    proxy.observe(remaining(3));
    assert_eq!(proxy.at("14:00:10"), "draining since 14:00:00: offline by window M-1");
    assert_eq!(proxy.live.as_ref().unwrap().next_change, Some(at("14:00:30")));
    proxy.observe(remaining(0));
    assert_eq!(proxy.at("14:00:20"), "closed since 14:00:20: nothing is in flight any more");
    let mut proxy = web("drain = \"30s\"");
    proxy.at("13:00:00");
    proxy.flag(WINDOW).observe(remaining(3)).at("14:00:00");
    assert_eq!(proxy.at("14:00:30"), "closed since 14:00:30: the drain time is over");
}

#[test]
fn a_stricter_mode_drains_what_the_milder_one_let_through() {
    let mut proxy = web("drain = \"30s\"");
    proxy.at("13:00:00");
    proxy.flag("[routes]\nweb = \"read-only\"\n").at("14:00:00");
    proxy.observe(remaining(0));
    assert_eq!(proxy.at("14:00:01"), "closed since 14:00:01: nothing is in flight any more");
    let epoch = proxy.live.as_ref().unwrap().routes[0].epoch;
    assert_eq!(proxy.flag(OFFLINE).at("14:10:00"), "draining since 14:10:00: flagged offline");
    assert!(proxy.live.as_ref().unwrap().routes[0].epoch > epoch);
    proxy.at("14:10:01");
    // A milder mode closes nothing more.
    assert!(proxy.flag("[routes]\nweb = \"read-only\"\n").at("14:20:00").starts_with("closed since 14:10:01"));
}

#[test]
fn it_opens_when_every_check_has_passed_and_says_why_it_does_not() {
    let policy = "verify = [{ get = \"/healthz\", times = 3, every = \"5s\" }]";
    let mut proxy = web(policy);
    proxy.flag(OFFLINE).at("14:00:00");
    assert_eq!(proxy.flag("").at("14:30:00"), "verifying since 14:30:00: 0 of 1 checks have passed");
    assert_eq!(proxy.live.as_ref().unwrap().routes[0].transitions[0].reason.to_string(), "the flag was lifted");
    proxy.observe(verified(
        "14:30:00",
        0,
        "14:30:00",
        Some("GET /healthz on http://127.0.0.1:1 answered 500, expected 200"),
    ));
    let why = "a check fails: GET /healthz on http://127.0.0.1:1 answered 500, expected 200";
    assert_eq!(proxy.at("14:30:01"), format!("verifying since 14:30:00: {why}"));
    // Results for another closing do not count.
    proxy.observe(verified("13:30:00", 3, "14:30:01", None));
    assert_eq!(proxy.at("14:30:02"), "verifying since 14:30:00: 0 of 1 checks have passed");
    proxy.observe(verified("14:30:00", 3, "14:30:10", None));
    assert_eq!(proxy.at("14:30:11"), "open since 14:30:10: every check has passed");
}

/// Returns the results of upstreams: the instant at which each has passed its only check, or its failure.
fn results(began: &str, results: &[Result<&str, &str>]) -> Observed {
    let check = |result: &Result<&str, &str>| match result {
        Ok(due) => CheckResult { passed: 1, at: Some(at(due)), failure: None },
        Err("") => CheckResult::default(),
        Err(failure) => CheckResult { passed: 0, at: None, failure: Some((*failure).to_owned()) },
    };
    let verification = of_upstreams(at(began), results.iter().map(check).collect());
    Observed { verification: Some(verification), ..Observed::default() }
}

#[test]
fn it_opens_when_a_quorum_of_its_upstreams_has_passed_and_leaves_out_the_others() {
    let (early, late) = (Ok("14:30:05"), Ok("14:30:10"));
    let opened = |clock: &str| format!("open since 14:30:{clock}: every check has passed");
    let fails = || "verifying since 14:30:00: a check fails: no".to_owned();
    let waits = || "verifying since 14:30:00: 0 of 1 checks have passed".to_owned();
    for (quorum, found, told, left_out) in [
        ("", vec![early, Err("no"), late], opened("10"), vec![1]),
        ("", vec![late, early, early], opened("05"), vec![]),
        ("", vec![early, Err(""), early], opened("05"), vec![1]),
        ("", vec![early, Err("no"), Err("")], fails(), vec![]),
        ("", vec![early, Err("no")], fails(), vec![]),
        ("", vec![Err(""), early], waits(), vec![]),
        ("", vec![Err("no"), Err("no"), Err("no")], fails(), vec![]),
        ("quorum = 1", vec![Err("no"), Err("no"), late], opened("10"), vec![0, 1]),
        ("quorum = 3", vec![early, Err("no"), early], fails(), vec![]),
        ("quorum = 9", vec![early, late], opened("10"), vec![]),
        ("quorum = \"all\"", vec![early, Err("no"), early], fails(), vec![]),
        ("quorum = \"all\"", vec![early, late, early], opened("10"), vec![]),
    ] {
        let mut proxy = web_with(found.len(), &format!("verify = [{{ get = \"/\" }}]\n{quorum}"));
        proxy.flag(OFFLINE).at("14:00:00");
        proxy.flag("").at("14:30:00");
        proxy.observe(results("14:30:00", &found));
        assert_eq!(proxy.at("14:30:11"), told, "{quorum} {found:?}");
        let route = &proxy.live.as_ref().unwrap().routes[0];
        let outs: Vec<usize> = route.left_out.iter().map(|out| out.upstream).collect();
        let used = found.len() - left_out.len();
        assert_eq!((outs, route.in_use.len()), (left_out, used), "{quorum} {found:?}");
    }
}

#[test]
fn who_passes_later_is_used_again_and_without_results_everybody_is() {
    let mut proxy = web_with(3, "verify = [{ get = \"/\" }]");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    let all = [Ok("14:30:05"), Ok("14:30:05"), Ok("14:40:00")];
    proxy.observe(results("14:30:00", &[all[0], all[1], Err("no")])).at("14:30:05");
    let used = |proxy: &Rehearsal| proxy.live.as_ref().unwrap().routes[0].in_use.to_vec();
    assert_eq!((used(&proxy), proxy.is_due(at("14:30:06"))), (vec![0, 1], false));
    proxy.observe(results("14:30:00", &all));
    assert!(proxy.is_due(at("14:40:00")));
    proxy.at("14:40:00");
    assert_eq!(used(&proxy), [0, 1, 2]);
    proxy.observe(results("14:30:00", &[all[0], all[1], Err("no")])).at("14:41:00");
    assert_eq!(used(&proxy), [0, 1]);
    proxy.restart().observe(Observed::default()).at("14:42:00");
    assert_eq!(used(&proxy), [0, 1, 2]);
}

#[test]
fn one_dead_of_three_is_no_second_witness_against_an_open_route_and_stays_left_out() {
    let policy = "verify = [{ get = \"/\", times = 1 }]\nguard = { p99 = \"800ms\", watch = \"10m\" }";
    let mut proxy = web_with(3, policy);
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    let (early, late) = (Ok("14:30:05"), Ok("14:31:01"));
    proxy.observe(results("14:30:00", &[early, Err("no"), early])).at("14:30:05");
    let suspected = |found: &[Result<&str, &str>]| Observed {
        verification: results("14:31:00", found).verification,
        ..measured(1000, 0, 900, 0)
    };
    let used = |proxy: &Rehearsal| proxy.live.as_ref().unwrap().routes[0].in_use.to_vec();
    let before = results("14:30:00", &[early, Err("no"), early]).verification;
    proxy.observe(Observed { verification: before, ..measured(1000, 0, 900, 0) }).at("14:31:00");
    for found in [[Err(""), Err(""), Err("")], [Err(""), Err("no"), Err("")], [late, Err("no"), late]] {
        let told = proxy.observe(suspected(&found)).at("14:31:01");
        assert!(told.starts_with("open"), "{found:?}: {told}");
        assert_eq!(used(&proxy), [0, 2], "{found:?}");
    }
}

#[test]
fn an_operator_may_overrule_the_checks_by_a_word_that_is_younger() {
    let mut proxy = web("verify = [{ get = \"/\" }]");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("[forced]\nweb = 2026-05-19T13:59:00Z\n");
    assert!(proxy.at("14:30:00").starts_with("verifying"));
    proxy.flag("[forced]\nweb = 2026-05-19T14:30:05Z\n");
    assert_eq!(proxy.at("14:30:06"), "open since 14:30:05: an operator opened it without the checks");
}

#[test]
fn the_share_grows_evenly_or_by_points_and_stays_the_same_between_ticks() {
    let linear = Ramp::Linear(Duration::from_secs(300));
    let share_at = |ramp: &Ramp, seconds| share(ramp, Duration::from_secs(seconds));
    assert_eq!(share_at(&linear, 0), 0.01);
    assert_eq!(share_at(&linear, 2), 0.01);
    assert_eq!(share_at(&linear, 3), 0.02);
    assert_eq!(share_at(&linear, 299), 1.0);
    let steps =
        Ramp::Steps(vec![(Duration::ZERO, 0.05), (Duration::from_secs(120), 0.25), (Duration::from_secs(300), 1.0)]);
    assert_eq!([0, 119, 120, 299, 300].map(|seconds| share_at(&steps, seconds)), [0.05, 0.05, 0.25, 0.25, 1.0]);
    assert_eq!((cohorts(0.0), cohorts(0.5), cohorts(1.0)), (0, 1 << 31, u32::MAX));
}

#[test]
fn it_ramps_from_the_end_of_its_window_whenever_that_is_noticed() {
    let mut proxy = web("ramp = \"5m\"");
    proxy.flag(WINDOW).at("14:30:00");
    // Noticed two minutes late, the share is still the one of every replica.
    assert_eq!(proxy.at("15:02:00"), "ramping since 15:00:00: its time is over");
    assert!((proxy.share() - 0.41).abs() < 1e-9, "{}", proxy.share());
    assert_eq!(proxy.live.as_ref().unwrap().next_change, Some(at("15:02:03")));
    assert_eq!(proxy.at("15:05:00"), "open since 15:05:00: everybody is admitted");
    // The machine slept over all of it.
    let mut proxy = web("ramp = \"5m\"");
    proxy.flag(WINDOW).at("14:30:00");
    assert_eq!(proxy.at("18:00:00"), "open since 15:05:00: everybody is admitted");
}

#[test]
fn what_was_on_hold_comes_back_by_its_release_and_not_by_a_ramp() {
    let mut proxy = web("ramp = \"5m\"");
    proxy.flag("[routes]\nweb = \"hold\"\n").at("14:00:00");
    assert_eq!(proxy.flag("").at("14:01:00"), "open since 14:01:00: the flag was lifted");
}

#[test]
fn a_guard_closes_the_route_until_an_operator_acts() {
    let policy = "drain = \"1ms\"\nramp = \"5m\"\nguard = { error_rate = \"baseline + 1%\", p99 = \"800ms\", zombies = 5, watch = \"10m\" }";
    let mut proxy = web(policy);
    proxy.observe(measured(0, 0, 0, 0)).at("13:00:00");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:00:01");
    proxy.flag("").at("14:30:00");
    // There are too few requests.
    assert!(proxy.observe(measured(19, 15, 10, 0)).at("14:31:00").starts_with("ramping"));
    // One in a hundred fails by chance.
    assert!(proxy.observe(measured(100, 3, 800, 5)).at("14:32:00").starts_with("ramping"));
    let why = "the guard tripped: 10% of requests failed (10 of 100 in 30 s), at most 1.8% may \
               (before it was 0.5%, by chance up to 0.8%, and 1.0% more may)";
    assert_eq!(proxy.observe(measured(100, 10, 10, 0)).at("14:33:00"), format!("draining since 14:33:00: {why}"));
    assert_eq!(proxy.at("14:33:01"), format!("closed since 14:33:00: {why}"));
    proxy.observe(measured(0, 0, 0, 0));
    assert!(proxy.at("16:00:00").starts_with("closed since 14:33:00"));
    // A word of force from before the breach does not count.
    assert!(proxy.flag("[forced]\nweb = 2026-05-19T14:32:00Z\n").at("16:01:00").starts_with("closed"));
    assert_eq!(
        proxy.flag("[forced]\nweb = 2026-05-19T16:02:00Z\n").at("16:02:01"),
        "ramping since 16:02:00: an operator opened it"
    );
    // A new flag that is lifted opens the route as well.
    proxy.observe(measured(100, 0, 900, 0));
    assert!(proxy.at("16:03:00").contains("99th percentile was 900 ms"));
    proxy.observe(measured(0, 0, 0, 0)).flag(OFFLINE).at("16:10:00");
    assert_eq!(proxy.flag("").at("16:20:00"), "ramping since 16:20:00: the flag was lifted");
    assert!(proxy.observe(measured(1, 0, 1, 6)).at("16:21:00").contains("6 requests hang for more than 10 s"));
}

#[test]
fn a_guard_may_hold_the_ramp_or_only_say_so_and_ends_with_its_watch() {
    let mut proxy = web("ramp = \"5m\"\nguard = { p99 = \"800ms\", watch = \"10m\", on_breach = \"hold-ramp\" }");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    proxy.at("14:31:00");
    let share = proxy.share();
    proxy.observe(measured(100, 0, 900, 0));
    for clock in ["14:32:00", "14:36:00", "14:50:00"] {
        assert!(proxy.at(clock).starts_with("ramping"));
        assert_eq!(proxy.share(), share);
    }
    proxy.observe(measured(100, 0, 10, 0)).at("14:51:00");
    assert!(proxy.share() > share);
    assert_eq!(proxy.at("14:54:01"), "open since 14:54:00: everybody is admitted");
    let watched = |proxy: &Rehearsal| proxy.live.as_ref().unwrap().routes[0].state.is_watched();
    assert!(watched(&proxy));
    proxy.at("15:04:00");
    assert!(!watched(&proxy));
    let mut proxy = web("guard = { p99 = \"800ms\", on_breach = \"warn\" }");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    assert!(proxy.observe(measured(100, 0, 900, 0)).at("14:31:00").starts_with("open"));
    assert!(proxy.live.as_ref().unwrap().routes[0].state.breach().is_some());
}

#[test]
fn a_window_that_overruns_stays_until_somebody_ends_it() {
    let stays = WINDOW.replace("routes", "on_overrun = \"stay\"\nroutes");
    let mut proxy = web("");
    proxy.flag(&stays).at("14:30:00");
    assert_eq!(proxy.at("15:30:00"), "closed since 14:00:00: offline by window M-1, which is overrunning");
    assert_eq!(proxy.live.as_ref().unwrap().routes[0].closure.as_ref().unwrap().until, None);
    let ended = stays.replace("routes", "ended = 2026-05-19T15:40:00Z\nroutes");
    assert_eq!(proxy.flag(&ended).at("15:41:00"), "open since 15:40:00: its time is over");
    // A window may end early as well.
    let mut proxy = web("");
    proxy.flag(WINDOW).at("14:30:00");
    let early = WINDOW.replace("routes", "ended = 2026-05-19T14:40:00Z\nroutes");
    assert!(proxy.flag(&early).at("14:40:01").starts_with("open"));
}

#[test]
fn a_flag_that_is_not_renewed_opens_or_stays_as_it_says() {
    let held = "[routes]\nweb = { until = 2026-05-19T15:00:00Z, held_by = \"anna@ci\" }\n";
    let mut proxy = web("");
    proxy.at("13:00:00");
    assert_eq!(proxy.flag(held).at("14:00:00"), "draining since 14:00:00: flagged offline, held by anna@ci");
    assert!(proxy.flag(&held.replace("15:00", "15:30")).at("15:10:00").starts_with("closed since"));
    assert_eq!(proxy.at("15:30:00"), "open since 15:30:00: its time is over");
    let stays = held.replace(" }", ", on_overrun = \"stay\" }");
    let mut proxy = web("");
    proxy.flag(&stays).at("14:00:00");
    let told = proxy.at("15:30:00");
    assert!(told.starts_with("closed since") && told.ends_with("held by anna@ci, who has not renewed it"), "{told}");
    assert_eq!(proxy.live.as_ref().unwrap().routes[0].closure.as_ref().unwrap().until, None);
    // A holder that is back renews it.
    let told = proxy.flag(&stays.replace("15:00", "16:00")).at("15:31:00");
    assert!(told.starts_with("closed since") && told.ends_with("held by anna@ci"), "{told}");
    assert!(proxy.flag("").at("15:32:00").starts_with("open since 15:32:00"));
}

#[test]
fn the_phase_is_found_again_after_a_restart_in_each_of_them() {
    let policy = "drain = \"30s\"\nramp = \"5m\"\nverify = [{ get = \"/\", times = 2 }]\nguard = { p99 = \"800ms\", watch = \"10m\" }";
    let mut proxy = web(policy);
    proxy.at("13:00:00");
    proxy.flag(WINDOW).observe(remaining(3)).at("14:00:00");
    assert_eq!(proxy.restart().at("14:00:02"), "closed since 14:00:00: the proxy was restarted: nothing is in flight");
    assert!(proxy.restart().at("14:30:00").starts_with("closed"));
    assert_eq!(proxy.restart().at("15:00:03"), "verifying since 15:00:00: 0 of 1 checks have passed");
    assert!(proxy.restart().at("15:00:05").starts_with("verifying since 15:00:00"));
    proxy.observe(verified("15:00:00", 2, "15:00:05", None));
    assert_eq!(proxy.at("15:00:06"), "ramping since 15:00:05: every check has passed");
    proxy.at("15:02:06");
    let share = proxy.share();
    assert!(proxy.restart().at("15:02:07").starts_with("ramping since 15:00:05") && proxy.share() >= share);
    proxy.at("15:05:06");
    assert!(proxy.restart().at("15:06:00").starts_with("open since 15:05:05"));
    assert!(proxy.live.as_ref().unwrap().routes[0].state.is_watched());
    // A breach outlives its process.
    proxy.observe(measured(100, 0, 900, 0)).at("15:07:00");
    assert!(proxy.at("15:07:10").contains("the checks have not passed since"));
    assert!(proxy.restart().observe(Observed::default()).at("15:08:00").contains("the guard tripped"));
}

#[test]
fn without_its_state_a_route_opens_only_after_its_checks_and_then_for_everybody() {
    let policy = "ramp = \"5m\"\nverify = [{ get = \"/\", times = 2 }]\nguard = { p99 = \"800ms\", watch = \"10m\" }";
    let lost = |policy: &str| {
        let mut proxy = web(policy);
        proxy.known.memory = Memory::Lost;
        proxy
    };
    let mut proxy = lost(policy);
    assert_eq!(proxy.at("15:00:00"), "verifying since 15:00:00: the saved state was lost: checks come first");
    let route = &proxy.live.as_ref().unwrap().routes[0];
    assert_eq!((route.transitions.len(), route.closed_by()), (1, Some(ClosedBy::LostState)));
    proxy.known.memory = Memory::default();
    proxy.observe(verified("15:00:00", 1, "15:00:03", None));
    assert!(proxy.at("15:00:04").starts_with("verifying"));
    assert!(proxy.restart().at("15:00:05").starts_with("verifying since 15:00:00"), "the loss is remembered");
    proxy.observe(verified("15:00:00", 2, "15:00:08", None));
    assert_eq!(proxy.at("15:00:09"), "open since 15:00:08: every check has passed");
    // A route without checks has nothing to wait for, and a flag says more than what was lost.
    assert!(lost("ramp = \"5m\"").at("15:00:00").starts_with("open"));
    assert!(lost(policy).flag("[routes]\nweb = \"offline\"").at("15:00:00").starts_with("closed"));
}

#[test]
fn the_guard_is_named_for_what_it_closed_and_not_the_flag_before() {
    let mut proxy = web("ramp = \"5m\"\nguard = { p99 = \"800ms\", watch = \"10m\" }");
    let by = |proxy: &Rehearsal| proxy.live.as_ref().unwrap().routes[0].closed_by().map(|by| by.to_string());
    proxy.at("13:00:00");
    proxy.flag("[routes]\nweb = \"offline\"").at("14:00:00");
    assert_eq!(by(&proxy).as_deref(), Some("flag"));
    proxy.observe(remaining(0)).at("14:00:01");
    proxy.flag("").at("14:01:00");
    proxy.observe(measured(100, 0, 900, 0)).at("14:02:00");
    assert_eq!(by(&proxy).as_deref(), Some("guard"));
    // The same while a window is on: lifting that would not open the route.
    proxy.observe(Observed::default()).flag(WINDOW).at("14:03:00");
    assert_eq!(by(&proxy).as_deref(), Some("guard"));
}

#[test]
fn a_clock_that_is_set_back_neither_undoes_a_ramp_nor_makes_a_drain_longer() {
    let mut proxy = web("drain = \"30s\"\nramp = \"5m\"");
    proxy.at("13:00:00");
    proxy.flag(OFFLINE).observe(remaining(1)).at("14:00:00");
    proxy.at("13:50:00");
    assert!(proxy.at("13:50:30").starts_with("closed"));
    proxy.flag("").at("14:30:00");
    proxy.at("14:33:00");
    let share = proxy.share();
    assert!(proxy.at("14:20:00").starts_with("ramping") && proxy.share() == share);
    assert!(proxy.at("14:25:00").starts_with("open"));
}

#[test]
fn a_window_that_is_written_down_late_drains_from_then() {
    let mut proxy = web("drain = \"30s\"");
    proxy.at("13:00:00");
    // The start has passed, and nobody knew of it.
    proxy.flag(WINDOW).observe(remaining(3));
    assert_eq!(proxy.at("14:10:00"), "draining since 14:10:00: offline by window M-1");
    assert_eq!(proxy.live.as_ref().unwrap().routes[0].closure.as_ref().unwrap().started, at("14:00:00"));
    assert_eq!(proxy.at("14:10:30"), "closed since 14:10:30: the drain time is over");
}

#[test]
fn a_proxy_that_was_asleep_comes_back_like_one_that_was_not() {
    let policy = "drain = \"30s\"\nramp = \"5m\"\nverify = [{ get = \"/\", times = 1 }]";
    // The machine slept from before the window until after it.
    let mut proxy = web(policy);
    proxy.flag(WINDOW).at("13:00:00");
    assert_eq!(proxy.at("15:02:00"), "verifying since 15:00:00: 0 of 1 checks have passed");
    let told =
        |proxy: &Rehearsal| proxy.live.as_ref().unwrap().routes[0].transitions.iter().map(told).collect::<Vec<_>>();
    let expected = ["14:00:00 open draining", "14:00:30 draining closed", "15:00:00 closed verifying"];
    assert_eq!(told(&proxy), expected);
    // The machine slept while the route drained.
    let mut proxy = web("drain = \"30s\"\nramp = \"5m\"");
    proxy.flag(WINDOW).observe(remaining(3)).at("13:00:00");
    proxy.at("14:00:00");
    assert_eq!(proxy.at("15:02:00"), "ramping since 15:00:00: its time is over");
    // The machine slept while one window took over from another; the milder one was the last.
    let two =
        format!("{WINDOW}{}", WINDOW.replace("M-1", "M-2").replace("15:00", "16:00").replace("offline", "read-only"));
    let mut proxy = web("ramp = \"5m\"");
    proxy.flag(&two).at("14:30:00");
    assert_eq!(proxy.at("16:02:00"), "ramping since 16:00:00: its time is over");
    assert_eq!(proxy.live.as_ref().unwrap().routes[0].closure.as_ref().unwrap().mode, Mode::ReadOnly);
}

/// Writes the instant and the phases of a transition.
fn told(transition: &Transition) -> String {
    let Transition { from, to, at, .. } = transition;
    format!("{} {} {}", at.strftime("%H:%M:%S"), from.as_str(), to.as_str())
}

#[test]
fn a_stricter_mode_drains_what_a_milder_one_let_through_while_it_was_checked() {
    let mut proxy = web("drain = \"30s\"\nverify = [{ get = \"/\" }]");
    proxy.flag("[routes]\nweb = \"read-only\"\n").at("14:00:00");
    assert!(proxy.flag("").at("14:10:00").starts_with("verifying"));
    let epoch = proxy.live.as_ref().unwrap().routes[0].epoch;
    assert_eq!(proxy.flag(OFFLINE).at("14:11:00"), "draining since 14:11:00: flagged offline");
    assert!(proxy.live.as_ref().unwrap().routes[0].epoch > epoch);
    // A mode that let nothing through needs no drain.
    proxy.at("14:12:00");
    assert!(proxy.flag("").at("14:13:00").starts_with("verifying"));
    assert_eq!(proxy.flag(OFFLINE).at("14:14:00"), "closed since 14:14:00: flagged offline");
}

#[test]
fn a_window_that_begins_by_itself_does_not_overrule_a_guard() {
    let mut proxy = web("drain = \"1ms\"\nguard = { p99 = \"800ms\" }");
    proxy.flag(OFFLINE).at("13:00:00");
    let nightly = WINDOW.replace("offline", "read-only");
    proxy.flag(&nightly).at("13:10:00");
    proxy.observe(measured(100, 0, 900, 0)).at("13:11:00");
    let closed = "closed since 13:11:00: the guard tripped: the 99th percentile was 900 ms (100 requests in 30 s), at most 800 ms may be";
    proxy.observe(Observed::default());
    assert!(proxy.at("13:12:00").starts_with("closed since 13:11:00"));
    // The window lets nothing through that the guard keeps out, and promises no end.
    assert!(proxy.at("14:30:00").ends_with(&closed[closed.len() - 60..]));
    let route = &proxy.live.as_ref().unwrap().routes[0];
    let closure = route.closure.as_ref().unwrap();
    assert_eq!((closure.mode, closure.until, route.next), (Mode::Offline, None, None));
    assert!(proxy.at("15:30:00").contains("the guard tripped"));
    // A stricter window is obeyed, and the guard's finding stands after it.
    let read_only = web("drain = \"1ms\"\nguard = { p99 = \"800ms\" }");
    let mut proxy = read_only;
    proxy.flag("[routes]\nweb = \"read-only\"\n").at("13:00:00");
    proxy.flag(WINDOW).at("13:10:00");
    proxy.observe(measured(100, 0, 900, 0)).at("13:11:00");
    proxy.observe(Observed::default()).at("14:30:00");
    assert_eq!(proxy.live.as_ref().unwrap().routes[0].closure.as_ref().unwrap().mode, Mode::Offline);
    assert!(proxy.at("15:30:00").contains("the guard tripped"));
    // An operator's word counts even while the window is on.
    proxy.flag(&WINDOW.replace("15:00", "17:00")).at("16:00:00");
    proxy.flag(&format!("[forced]\nweb = 2026-05-19T16:30:00Z\n{}", WINDOW.replace("15:00", "17:00"))).at("16:30:00");
    assert!(proxy.at("17:00:00").starts_with("open since 17:00:00"));
}

#[test]
fn what_is_flagged_anew_after_a_breach_is_checked_whatever_was_forced_before() {
    let mut proxy = web("drain = \"1ms\"\nverify = [{ get = \"/\" }]\nguard = { p99 = \"800ms\" }");
    let forced = "[forced]\nweb = 2026-05-19T14:10:00Z\n";
    proxy.flag(OFFLINE).at("14:00:00");
    assert!(proxy.flag(forced).at("14:10:00").starts_with("open"));
    proxy.observe(measured(100, 0, 900, 0)).at("14:15:00");
    proxy.at("14:15:10");
    proxy.observe(Observed::default()).at("14:16:00");
    assert_eq!(proxy.flag(&format!("{forced}{OFFLINE}")).at("14:30:00"), "closed since 14:15:10: flagged offline");
    assert!(proxy.flag(forced).at("14:40:00").starts_with("verifying since 14:40:00"));
}

#[test]
fn an_end_that_is_moved_into_the_past_begins_the_ramp_now() {
    let mut proxy = web("ramp = \"5m\"");
    proxy.flag(WINDOW).at("14:30:00");
    proxy.at("14:50:00");
    let earlier = WINDOW.replace("ends = 2026-05-19T15:00", "ends = 2026-05-19T14:40");
    assert_eq!(proxy.flag(&earlier).at("14:50:01"), "ramping since 14:50:01: its time is over");
    // A window that overran ends when its `on_overrun` is removed.
    let stays = WINDOW.replace("routes", "on_overrun = \"stay\"\nroutes");
    let mut proxy = web("ramp = \"5m\"");
    proxy.flag(&stays).at("14:30:00");
    proxy.at("15:30:00");
    assert_eq!(proxy.flag(WINDOW).at("15:40:00"), "ramping since 15:40:00: its time is over");
}

#[test]
fn checks_that_are_configured_no_more_open_the_route_from_then_on() {
    let mut proxy = web("ramp = \"5m\"\nverify = [{ get = \"/\" }]");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:10:00");
    proxy.at("14:30:00");
    proxy.config = web("ramp = \"5m\"").config;
    assert_eq!(proxy.at("14:30:01"), "ramping since 14:30:01: no checks are configured any more");
}

#[test]
fn an_operator_is_heard_whose_clock_was_set_back_since() {
    let mut proxy = web("drain = \"1ms\"\nverify = [{ get = \"/\" }]\nguard = { p99 = \"800ms\" }");
    proxy.flag(OFFLINE).at("18:00:00");
    proxy.flag("").at("18:10:00");
    assert!(proxy.at("14:00:00").starts_with("verifying"));
    let forced = |clock: &str| format!("[forced]\nweb = 2026-05-19T{clock}Z\n");
    assert!(proxy.flag(&forced("14:00:01")).at("14:00:02").starts_with("open"));
    assert!(proxy.observe(measured(100, 0, 900, 0)).at("14:01:00").contains("the guard asks the checks"));
    assert!(proxy.at("14:01:10").contains("the guard tripped"));
    proxy.observe(Observed::default());
    assert!(proxy.at("13:00:00").contains("the guard tripped"));
    assert!(proxy.flag(&forced("13:00:01")).at("13:00:02").starts_with("open"));
}

#[test]
fn a_held_ramp_is_still_held_by_a_clock_that_is_set_back_and_by_a_restart() {
    let mut proxy = web("ramp = \"5m\"\nguard = { p99 = \"800ms\", on_breach = \"hold-ramp\" }");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    proxy.observe(measured(100, 0, 900, 0)).at("14:31:00");
    let share = proxy.share();
    assert!(proxy.at("13:31:00").starts_with("ramping") && proxy.share() == share);
    assert!(proxy.at("13:33:00").starts_with("ramping") && proxy.share() == share);
    // The ramp is held until there are measurements again.
    assert!(proxy.observe(Observed::default()).restart().at("13:50:00").starts_with("ramping"));
    assert_eq!(proxy.share(), share);
    proxy.observe(measured(100, 0, 10, 0)).at("13:51:00");
    assert!(proxy.share() > share);
}

#[test]
fn what_is_measured_after_the_watch_is_over_closes_nothing() {
    let mut proxy = web("guard = { p99 = \"800ms\", watch = \"10m\" }");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    assert!(proxy.observe(measured(100, 0, 900, 0)).at("14:40:00").starts_with("open since 14:30:00"));
    assert!(proxy.live.as_ref().unwrap().routes[0].state.is_plain());
}

#[test]
fn a_ramp_that_is_made_shorter_is_over_now_and_not_before() {
    let mut proxy = web("ramp = \"60m\"\nguard = { p99 = \"800ms\", watch = \"10m\" }");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    proxy.at("15:00:00");
    proxy.config = web("ramp = \"5m\"\nguard = { p99 = \"800ms\", watch = \"10m\" }").config;
    assert_eq!(proxy.at("15:00:01"), "open since 15:00:00: everybody is admitted");
    // The guard watches for its whole time.
    assert!(proxy.live.as_ref().unwrap().routes[0].state.is_watched());
}

#[test]
fn a_route_that_only_stays_open_costs_no_new_memory() {
    let mut proxy = web("");
    proxy.at("13:00:00");
    let before = Arc::clone(&proxy.live.as_ref().unwrap().routes[0].state);
    proxy.at("14:00:00");
    assert!(Arc::ptr_eq(&before, &proxy.live.as_ref().unwrap().routes[0].state));
}

/// Event of a random course.
#[derive(Clone, Debug)]
enum Happens {
    Edit(usize),
    Policy(usize),
    /// A reload moves the route to another upstream.
    Move(usize),
    Observe(u64, u32, u64, bool),
    Time(i64),
    Restart,
    Forget,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (0..EDITS.len()).prop_map(Happens::Edit),
        1 => (0..POLICIES.len()).prop_map(Happens::Policy),
        1 => (1..3_usize).prop_map(Happens::Move),
        3 => (0..3_u64, 0..4_u32, 0..40_u64, any::<bool>()).prop_map(|(a, b, c, d)| Happens::Observe(a, b, c, d)),
        6 => prop_oneof![1..90_i64, 100..4000_i64, -300..0_i64].prop_map(Happens::Time),
        1 => Just(Happens::Restart),
        1 => Just(Happens::Forget),
    ]
}

const EDITS: [&str; 14] = [
    "",
    "[routes]\nweb = \"offline\"\n",
    "[routes]\nweb = \"read-only\"\n",
    "[routes]\nweb = \"hold\"\n",
    "[routes]\nweb = { mode = \"offline\", until = 2026-05-19T14:25:00Z }\n",
    "[[windows]]\nid = \"A\"\nstarts = 2026-05-19T14:10:00Z\nends = 2026-05-19T14:40:00Z\nroutes = { web = \"offline\" }\n",
    "[[windows]]\nid = \"B\"\nstarts = 2026-05-19T14:20:00Z\nends = 2026-05-19T14:50:00Z\non_overrun = \"stay\"\nroutes = { \"*\" = \"read-only\" }\n[[windows]]\nid = \"C\"\nstarts = 2026-05-19T14:30:00Z\nends = 2026-05-19T14:35:00Z\nroutes = { web = \"hold\" }\n",
    "[[windows]]\nid = \"D\"\nevery = \"DTSTART:20260518T000000Z RRULE:FREQ=DAILY DURATION:PT15H\"\nroutes = { web = \"read-only\" }\n[[windows]]\nid = \"E\"\nstarts = 2026-05-19T14:50:00Z\nends = 2026-05-19T15:30:00Z\nended = 2026-05-19T15:10:00Z\nroutes = { web = \"offline\" }\n",
    "[forced]\nweb = 2026-05-19T14:30:00Z\n",
    "[lifted]\nweb = 2026-05-19T14:28:00Z\n",
    "[lifted]\nweb = { at = 2026-05-19T14:35:00Z, ramp = false }\n",
    "[lifted]\nweb = 2026-05-19T14:18:00Z\n[[windows]]\nid = \"F\"\nstarts = 2026-05-19T14:05:00Z\nends = 2026-05-19T14:15:00Z\nroutes = { web = \"offline\" }\n[[windows]]\nid = \"G\"\nstarts = 2026-05-19T14:05:00Z\nends = 2026-05-19T14:45:00Z\nroutes = { web = \"read-only\" }\n[[windows]]\nid = \"H\"\nstarts = 2026-05-19T14:30:00Z\nends = 2026-05-19T14:32:00Z\nroutes = { web = \"hold\" }\n",
    "[[windows]]\nid = \"I\"\nstarts = 2026-05-19T14:05:00Z\nends = 2026-05-19T14:25:00Z\nopens = \"steps\"\nroutes = { web = \"offline\" }\nsteps = [{ title = \"a\", state = \"running\" }]\n",
    "[[windows]]\nid = \"I\"\nstarts = 2026-05-19T14:05:00Z\nends = 2026-05-19T14:25:00Z\nopens = \"steps\"\nroutes = { web = \"offline\" }\nsteps = [{ title = \"a\", state = \"done\" }]\n[[windows]]\nid = \"J\"\nstarts = 2026-05-19T14:30:00Z\nends = 2026-05-19T14:40:00Z\nopens = \"word\"\nroutes = { web = \"read-only\" }\n",
];

const POLICIES: [&str; 6] = [
    "",
    "verify = [{ get = \"/\" }]\nguard = { error_rate = \"5%\", watch = \"5m\", retry_after = \"2m\" }",
    "drain = \"30s\"\nramp = \"5m\"\nverify = [{ get = \"/\", times = 2 }]\nguard = { error_rate = \"5%\", watch = \"10m\" }",
    "ramp = [\"10% at 0s\", \"100% at 4m\"]\nguard = { error_rate = \"5%\", on_breach = \"hold-ramp\" }",
    "drain = \"1ms\"\nverify = [{ get = \"/\", times = 1 }]",
    "drain = \"5m\"\nramp = \"20m\"\nguard = { error_rate = \"5%\", watch = \"30m\", on_breach = \"warn\" }",
];

impl Rehearsal {
    /// Looks until nothing is due, as the controller does. Returns true if the route was closed on the way.
    fn settle(&mut self, now: Timestamp) -> bool {
        let mut was_closed = false;
        for _ in 0..4 {
            let route = self.look(now);
            was_closed |= route.transitions.iter().any(|transition| transition.to == Phase::Closed);
            // Missed instants are replayed, each with transitions of its own.
            assert!(route.transitions.len() < 2 * MOST_TRANSITIONS, "{:?}", route.transitions);
            if !self.is_due(now) {
                return was_closed;
            }
        }
        panic!("it is never settled: {:?}", self.live.as_ref().unwrap().routes[0].state);
    }

    fn happens(&mut self, step: &Happens, now: Timestamp) {
        match *step {
            Happens::Time(_) => {}
            Happens::Restart => drop(self.restart()),
            Happens::Forget => {
                self.restart().known.memory = Memory::Fresh;
            }
            Happens::Edit(edit) => drop(self.flag(EDITS[edit])),
            Happens::Policy(policy) => {
                self.config = web(POLICIES[policy]).config;
                self.unask();
            }
            Happens::Move(upstream) => {
                let mut route = (*self.config.routes[0]).clone();
                route.upstreams = web_with(2, "").config.routes[0].upstreams[upstream - 1..upstream].to_vec();
                self.config.routes[0] = Arc::new(route);
                self.unask();
            }
            Happens::Observe(left, passed, errors, fails) => {
                let began = self.live.as_ref().map_or(now, |live| live.routes[0].state.began());
                let check = CheckResult { passed, at: Some(began), failure: fails.then(|| "no".to_owned()) };
                let verification = Some(of_upstreams(began, vec![check]));
                self.observe(Observed {
                    remaining: Some(left),
                    verification,
                    lately: None,
                    ..measured(200, errors, 5, 0)
                });
            }
        }
    }

    /// Forgets the checks: nobody has asked the upstreams of another config yet.
    fn unask(&mut self) {
        self.known.observed.values_mut().for_each(|observed| observed.verification = None);
    }

    /// Returns the strictest mode in the flag file at an instant, computed without `compile`.
    fn demanded(&self, now: Timestamp) -> Option<Mode> {
        let flags = self.flags.routes.iter().filter(|flag| flag.acts(now));
        let windows = self.flags.windows.iter().filter(|window| window.in_force(now).is_some());
        let modes = windows.flat_map(|window| window.routes.iter().map(|(_, mode)| *mode));
        flags.map(|flag| flag.mode).chain(modes).max()
    }

    /// Returns everything that requests and operators can observe.
    fn told(&self) -> impl PartialEq + std::fmt::Debug {
        let route = &self.live.as_ref().unwrap().routes[0];
        let closure = route.closure.as_ref();
        // What the file does not tell any more, the page of before tells. That depends on the last look.
        let is_told = |source: &Source| match source {
            Source::Flag => !self.flags.routes.is_empty(),
            Source::Window(id) => self.flags.windows.iter().any(|window| window.id == *id),
            Source::Switch(file) => self.flags.switched.iter().any(|switch| switch.file == *file),
        };
        let version = |closure: &Closure| is_told(&closure.source).then_some(closure.page.version);
        let closure = closure.map(|closure| (closure.mode, closure.until, closure.admits, version(closure)));
        // The instant of the last look may differ between replicas, and that from which each one checks.
        let mut state = RouteState { seen: Timestamp::UNIX_EPOCH, ..(*route.state).clone() };
        if let PhaseState::Verifying(checking) = &mut state.phase {
            checking.late = Duration::ZERO;
        }
        (state, route.next, closure)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(
        policy in prop::sample::select(POLICIES.to_vec()), steps in prop::collection::vec(happens(), 1..40),
    ) {
        let mut replicas = [web(policy), web(policy)];
        let mut now = at("14:00:00");
        for proxy in &mut replicas {
            proxy.settle(now);
        }
        let mut last: Option<(Phase, f64)> = None;
        let mut let_in: Option<(Mode, u32)> = None;
        for step in steps {
            if let Happens::Time(seconds) = step {
                now += SignedDuration::from_secs(seconds);
            }
            let mut was_closed = false;
            let upstream = |proxy: &Rehearsal| proxy.config.routes[0].upstreams[0].clone();
            let before = upstream(&replicas[0]);
            for proxy in &mut replicas {
                proxy.happens(&step, now);
                was_closed = proxy.settle(now);
            }
            let one = &replicas[0];
            let live = one.live.as_ref().unwrap();
            let route = &live.routes[0];
            // A flag in force is obeyed; a guard may be stricter.
            let (demand, breached) = (one.demanded(now), route.state.breach().is_some());
            if let Some(mode) = demand {
                let down = matches!(route.phase(), Phase::Draining | Phase::Closed);
                let closure = route.closure.as_ref();
                let comes_back = closure.is_some_and(|closure| closure.eases == Some(mode));
                prop_assert!(down || comes_back, "{:?} {:?}", step, route.state);
                // A milder mode waits for the drain of a stricter one, and then comes back to what it lets through.
                let waits = mode == Mode::ReadOnly && route.phase() == Phase::Draining;
                let closure = closure.map(|closure| closure.mode);
                let stricter = (breached || comes_back || waits) && closure > Some(mode);
                prop_assert!(closure == Some(mode) || stricter, "{:?} {:?}", step, route.state);
            }
            // Without a flag, the route is down only for a reason that it names.
            let why = route.state.reason().to_string();
            if demand.is_none() {
                let told = match route.phase() {
                    Phase::Open => true,
                    Phase::Draining | Phase::Closed => breached && why.starts_with("the guard tripped: "),
                    Phase::Verifying => (why.contains("check") || why.contains("tries again")) && route.closure.is_some(),
                    Phase::Ramping => !why.is_empty() && route.closure.is_some() && route.next.is_some(),
                };
                prop_assert!(told, "{:?} {:?}", step, route.state);
            }
            // Nobody's requests go to an upstream that has not passed its checks since a reload.
            let moved = before != upstream(one) && !one.config.routes[0].policy.verify.is_empty();
            let forwards = route.closure.as_ref().is_none_or(|closure| closure.mode == Mode::ReadOnly || closure.admits > 0);
            prop_assert!(!moved || !forwards, "{:?} {:?}", step, route.state);
            // A ramp never falls, as long as it is the same one.
            let before = last.filter(|_| !matches!(step, Happens::Forget));
            if let (Some((Phase::Ramping, share)), Phase::Ramping, false) = (before, route.phase(), was_closed) {
                prop_assert!(route.state.share().unwrap_or_default() >= share, "{:?}: {} from {}", step, route.state.share().unwrap_or_default(), share);
            }
            // A read-only mode that interrupts a ramp lets in whom that had let in, and nobody else.
            let of = |closure: &Closure| (closure.mode, closure.admits);
            let now_let_in = route.closure.as_deref().map(of);
            if let (Happens::Edit(_), Some((Mode::Offline, admits)), Some((Mode::ReadOnly, now))) = (&step, let_in, now_let_in)
                && last.is_some_and(|(phase, _)| phase == Phase::Ramping)
            {
                let eases = route.closure.as_ref().and_then(|closure| closure.eases);
                prop_assert_eq!((eases, now), (Some(Mode::ReadOnly), admits), "{:?} {:?}", step, route.state);
            }
            let_in = now_let_in;
            last = Some((route.phase(), route.state.share().unwrap_or_default()));
            // Replicas with the same inputs agree.
            prop_assert_eq!(one.told(), replicas[1].told());
            // Nothing changes before the instant that is promised.
            if let Some(next) = live.next_change {
                prop_assert!(next > now);
                let just_before = next - SignedDuration::from_nanos(1);
                let again = compile(one.inputs(just_before));
                let same = |route: &Route| (route.phase(), route.state.since(), route.closure.as_ref().map(|closure| closure.admits));
                prop_assert_eq!(same(&again.routes[0]), same(route), "{:?} at {}, {:?} at {}", route.state, now, again.routes[0].state, just_before);
            }
        }
    }

    #[test]
    fn who_looks_seldom_is_where_a_punctual_one_is(
        policy in prop::sample::select(POLICIES.to_vec()),
        steps in prop::collection::vec((prop::option::of(0..EDITS.len()), prop_oneof![1..90_i64, 100..3000_i64]), 1..8),
    ) {
        let (mut punctual, mut late) = (web(policy), web(policy));
        let mut now = at("13:50:00");
        for (edit, seconds) in steps {
            for proxy in [&mut punctual, &mut late] {
                proxy.look(now);
                if let Some(edit) = edit {
                    proxy.flag(EDITS[edit]).look(now);
                }
            }
            now += SignedDuration::from_secs(seconds);
            let mut made = Vec::new();
            while let Some(next) = punctual.live.as_ref().unwrap().next_change.filter(|next| *next < now) {
                made.extend(punctual.look(next).transitions.iter().map(told));
            }
            made.extend(punctual.look(now).transitions.iter().map(told));
            prop_assert_eq!(made, late.look(now).transitions.iter().map(told).collect::<Vec<_>>());
            prop_assert_eq!(punctual.told(), late.told());
        }
    }
}

#[test]
fn a_maintenance_is_one_from_the_flag_over_the_guard_to_the_next_flag() {
    let mut proxy = web("guard = { error_rate = \"5%\" }\ndrain = \"1s\"");
    let began = |proxy: &mut Rehearsal, clock: &str| proxy.look(at(clock)).state.open_before();
    proxy.flag("").look(at("13:00:00"));
    proxy.flag(WINDOW);
    let opened = began(&mut proxy, "14:00:00");
    assert_eq!(opened, at("12:50:00"), "it was open before this process looked");
    proxy.look(at("14:30:00"));
    proxy.flag("");
    assert_eq!(proxy.look(at("14:40:00")).phase(), Phase::Open);
    proxy.observe(measured(1000, 900, 1, 0)).look(at("14:41:00"));
    assert!(proxy.look(at("14:42:00")).state.is_shut());
    proxy.flag(OFFLINE);
    assert_eq!(began(&mut proxy, "14:43:00"), opened, "the guard closed it, and then a flag");
    proxy.observe(Observed::default()).flag("").look(at("14:50:00"));
    proxy.look(at("14:51:00"));
    proxy.flag(OFFLINE);
    assert_eq!(began(&mut proxy, "14:55:00"), at("14:50:00"), "it was open, though watched");
    let saved = serde_json::to_string(&*proxy.look(at("14:56:00")).state).unwrap();
    let restored: RouteState = serde_json::from_str(&saved).unwrap();
    assert_eq!(restored.open_before(), at("14:50:00"));
}
