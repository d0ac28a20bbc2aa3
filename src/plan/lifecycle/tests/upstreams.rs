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
