//! Routes that a reload adds or moves, and upstreams that fail while the route is open.

use super::*;

const CHECKED: &str = "verify = [{ get = \"/\", times = 3, every = \"5s\" }]\nguard = { p99 = \"800ms\" }";

/// Creates a config with one route, of a name, on upstreams at these ports.
fn config_of(name: &str, ports: &[u16], policy: &str) -> config::Config {
    let upstreams: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    let text = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.{name}]\nupstream = {upstreams:?}\n{policy}");
    let (config, problems) = config::parse("backsoon.toml", &text);
    config.unwrap_or_else(|| panic!("{problems:?}"))
}

#[test]
fn a_route_that_a_reload_adds_or_moves_opens_after_one_pass_of_its_checks() {
    let added = "verifying since 14:00:00: the config has added it: each check has to pass once";
    let moved = "verifying since 14:00:00: the config has moved it to other upstreams: each check has to pass once";
    let open = "open since 14:00:00: nothing flags it";
    let unchanged = "open since 13:00:00: nothing flags it";
    for (what, name, ports, policy, expected) in [
        ("another route", "api", [7, 8].as_slice(), CHECKED, added),
        ("one without checks", "api", &[7], "", open),
        ("the same by another name", "site", &[1, 2], CHECKED, open),
        ("other checks by another name", "site", &[1, 2], "verify = [{ get = \"/new\" }]", added),
        ("other upstreams", "web", &[7, 8], CHECKED, moved),
        ("other upstreams without checks", "web", &[7, 8], "", unchanged),
        ("one upstream more", "web", &[1, 2, 3], CHECKED, unchanged),
        ("other checks", "web", &[1, 2], "verify = [{ get = \"/new\" }]", unchanged),
    ] {
        let mut proxy = Rehearsal::new(config_of("web", &[1, 2], CHECKED));
        proxy.at("13:00:00");
        proxy.config = config_of(name, ports, policy);
        assert_eq!(proxy.at("14:00:00"), expected, "{what}");
        if [added, moved].contains(&expected) {
            let by = proxy.look(at("14:00:00")).closed_by().map(|by| by.to_string());
            assert_eq!(by.as_deref(), Some("reload"), "{what}");
            // Requests in flight go on, and one pass suffices. Nobody is turned away by a ramp.
            assert!(name != "web" || proxy.look(at("14:00:00")).epoch == 0, "{what}");
            let results = ports.iter().map(|_| CheckResult { passed: 1, at: Some(at("14:00:01")), failure: None });
            let verification = Some(of_upstreams(at("14:00:00"), results.collect()));
            proxy.known.observed = HashMap::from([(name.to_owned(), Observed { verification, ..Observed::default() })]);
            assert_eq!(proxy.at("14:00:02"), "open since 14:00:01: every check has passed", "{what}");
        }
    }
}

#[test]
fn a_route_that_is_moved_while_it_is_down_stays_so() {
    for (before, after) in [(OFFLINE, OFFLINE), ("", OFFLINE)] {
        let mut proxy = Rehearsal::new(config_of("web", &[1], CHECKED));
        proxy.flag(before).at("13:00:00");
        proxy.config = config_of("web", &[7], CHECKED);
        let told = proxy.flag(after).at("14:00:00");
        assert!(told.starts_with("closed") || told.starts_with("draining"), "{told}");
    }
    // Neither does another reload open what is checked.
    let mut proxy = Rehearsal::new(config_of("web", &[1], CHECKED));
    proxy.at("13:00:00");
    for (port, clock) in [(7, "14:00:00"), (8, "14:00:10"), (1, "14:00:20")] {
        proxy.config = config_of("web", &[port], CHECKED);
        assert!(proxy.at(clock).starts_with("verifying"), "{port}");
    }
}

#[test]
fn who_is_used_although_all_fail_is_told() {
    let mut proxy = web_with(2, "health = { get = \"/\" }");
    proxy.at("14:00:00");
    let unwell = |proxy: &mut Rehearsal, ports: &[u16]| {
        let upstreams = proxy.config.routes[0].upstreams.clone();
        let unwell = ports.iter().map(|port| {
            let upstream = upstreams[usize::from(*port) - 1].clone();
            super::super::Unwell { upstream, failure: format!("no from {port}") }
        });
        proxy.observe(Observed { unwell: unwell.collect(), ..Observed::default() });
        let is_due = proxy.is_due(at("14:00:01"));
        let told = |outs: &[crate::plan::snapshot::LeftOut]| outs.iter().map(|out| out.failure.clone()).collect();
        let route = proxy.look(at("14:00:01"));
        let (left_out, spared): (Vec<String>, Vec<String>) = (told(&route.left_out), told(&route.spared));
        (is_due, left_out.join(", "), spared.join(", "))
    };
    let told = |is_due: bool, left_out: &str, spared: &str| (is_due, left_out.to_owned(), spared.to_owned());
    assert_eq!(unwell(&mut proxy, &[2]), told(true, "no from 2", ""));
    assert_eq!(unwell(&mut proxy, &[1, 2]), told(true, "", "no from 1, no from 2"));
    assert_eq!(unwell(&mut proxy, &[1, 2]), told(false, "", "no from 1, no from 2"));
    assert_eq!(unwell(&mut proxy, &[]), told(true, "", ""));
    // With a single upstream nobody is left out, and it is told all the same.
    let mut proxy = web("health = { get = \"/\" }");
    proxy.at("14:00:00");
    assert_eq!(unwell(&mut proxy, &[1]), told(true, "", "no from 1"));
}

const RETURN: &str = "drain = \"1m\"\nramp = \"10m\"\nverify = [{ get = \"/\", times = 3, every = \"5s\" }]\n\
    guard = { p99 = \"800ms\" }";
const READ_ONLY: &str = "[routes]\nweb = \"read-only\"\n";
const MOVED: &str = "verifying since 14:36:00: the config has moved it to other upstreams: each check has to pass once";

/// Returns the results of the only check, begun at this instant, for each of a route's upstreams.
fn passes(proxy: &mut Rehearsal, began: &str, passed: u32) {
    let check = CheckResult { passed, at: Some(at(began)), failure: None };
    let mut verification = of_upstreams(at(began), vec![check]);
    verification.upstreams[0].upstream = proxy.config.routes[0].upstreams[0].clone();
    proxy.observe(Observed { verification: Some(verification), ..Observed::default() });
}

/// Creates a proxy that was flagged, and whose route ramps from 14:30 on or is milder from then.
fn ramping(before: &str, then: &str) -> Rehearsal {
    let mut proxy = Rehearsal::new(config_of("web", &[1], RETURN));
    proxy.at("13:00:00");
    proxy.flag(before).at("14:00:00");
    proxy.at("14:01:00");
    proxy.flag(then).at("14:29:50");
    passes(&mut proxy, "14:29:50", 3);
    proxy.at("14:30:00");
    proxy.observe(Observed::default()).at("14:36:00");
    proxy
}

/// Returns mode, milder mode, and true if clients are admitted.
fn closure(proxy: &Rehearsal) -> (Mode, Option<Mode>, bool) {
    let closure = proxy.live.as_ref().unwrap().routes[0].closure.as_ref().unwrap();
    (closure.mode, closure.eases, closure.admits > 0)
}

fn move_to(proxy: &mut Rehearsal, port: u16) -> &mut Rehearsal {
    proxy.config = config_of("web", &[port], RETURN);
    proxy
}

#[test]
fn a_ramp_that_a_reload_moves_goes_on_where_it_was_after_one_pass() {
    for (before, then, eases) in
        [(OFFLINE, "", None), (READ_ONLY, "", None), (OFFLINE, READ_ONLY, Some(Mode::ReadOnly))]
    {
        let mut proxy = ramping(before, then);
        let share = proxy.share();
        assert!(share > 0.5 && share < 0.7, "{share}");
        assert_eq!(move_to(&mut proxy, 7).at("14:36:00"), MOVED, "{before}{then}");
        let closed_by = proxy.look(at("14:36:00")).closed_by().map(|by| by.to_string());
        assert_eq!((closure(&proxy), closed_by.as_deref()), ((Mode::Offline, eases, false), Some("reload")));
        assert_eq!(proxy.look(at("14:36:00")).epoch, 0, "requests in flight go on");
        assert_eq!(proxy.look(at("14:36:00")).next, Some((Phase::Ramping, None)));
        proxy.restart().at("14:38:00");
        passes(&mut proxy, "14:36:00", 1);
        assert!(proxy.at("14:39:00").starts_with("ramping since"), "{}", proxy.at("14:39:00"));
        assert!((proxy.share() - share).abs() < 0.32, "{} {share}", proxy.share());
        assert_eq!(closure(&proxy).1, eases);
        let told = proxy.at("14:44:00");
        assert!(told.starts_with(if eases.is_some() { "closed" } else { "open" }), "{told}");
    }
}

#[test]
fn a_read_only_route_that_a_reload_moves_is_read_again_after_one_pass() {
    let moved = |flags: &str| {
        let mut proxy = Rehearsal::new(config_of("web", &[1], RETURN));
        proxy.at("13:00:00");
        proxy.flag(flags).observe(remaining(0)).at("14:00:00");
        proxy.at("14:00:01");
        assert_eq!(move_to(&mut proxy, 7).flag(READ_ONLY).at("14:36:00"), MOVED, "{flags}");
        assert_eq!(closure(&proxy), (Mode::Offline, Some(Mode::ReadOnly), false), "{flags}");
        let route = proxy.look(at("14:36:00"));
        assert_eq!((route.epoch, route.next), (0, Some((Phase::Closed, None))), "{flags}");
        proxy
    };
    // The flag may come with the reload.
    for flags in [READ_ONLY, ""] {
        let mut proxy = moved(flags);
        passes(&mut proxy, "14:36:00", 1);
        assert_eq!(proxy.at("14:36:02"), "draining since 14:36:00: flagged read-only", "{flags}");
        assert!(proxy.look(at("14:36:02")).epoch > 0, "{flags}");
        proxy.observe(remaining(0));
        assert_eq!(proxy.at("14:36:03"), "closed since 14:36:03: nothing is in flight any more", "{flags}");
        assert_eq!(closure(&proxy), (Mode::ReadOnly, None, false), "{flags}");
        assert!(proxy.flag("").at("14:40:00").starts_with("verifying since 14:40:00: 0 of 1"), "{flags}");
    }
    // A word of force counts if it is younger than the reload.
    let forced = |clock: &str| format!("{READ_ONLY}[forced]\nweb = 2026-05-19T{clock}Z\n");
    assert!(moved(READ_ONLY).flag(&forced("14:30:00")).at("14:37:00").starts_with("verifying"));
    assert!(moved(READ_ONLY).flag(&forced("14:37:00")).at("14:37:00").starts_with("draining since 14:37:00"));
    // What is lifted meanwhile is checked in full, and comes back by the ramp.
    let mut proxy = moved(READ_ONLY);
    proxy.flag("");
    passes(&mut proxy, "14:36:00", 1);
    assert!(proxy.at("14:36:02").starts_with("verifying since 14:36:00"));
    passes(&mut proxy, "14:36:00", 3);
    assert!(proxy.at("14:36:20").starts_with("ramping since 14:36:00"));
    // What was spared drains for a stricter mode.
    assert!(moved(READ_ONLY).flag(OFFLINE).at("14:37:00").starts_with("draining since 14:37:00: flagged offline"));
    // Another process has no older requests.
    let mut proxy = moved(READ_ONLY);
    proxy.restart().at("14:36:01");
    passes(&mut proxy, "14:36:00", 1);
    assert!(proxy.at("14:36:02").starts_with("closed since 14:36:00: flagged read-only"));
}

#[test]
fn what_is_read_while_it_is_checked_is_no_more_after_a_move() {
    let mut proxy = Rehearsal::new(config_of("web", &[1], RETURN));
    proxy.flag(READ_ONLY).at("14:00:00");
    proxy.flag("").at("14:30:00");
    assert_eq!(closure(&proxy), (Mode::ReadOnly, None, false));
    assert_eq!(move_to(&mut proxy, 7).at("14:36:00"), MOVED);
    assert_eq!(closure(&proxy), (Mode::Offline, None, false));
    // It is the end of a maintenance: one pass is not enough.
    passes(&mut proxy, "14:36:00", 1);
    assert!(proxy.at("14:36:01").starts_with("verifying"));
    passes(&mut proxy, "14:36:00", 3);
    assert!(proxy.at("14:36:20").starts_with("ramping"));
}
