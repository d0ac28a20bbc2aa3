//! One rule for whatever lifts: checks, ramp, guard.

use super::*;

pub(super) const READ_ONLY: &str = "[routes]\nweb = \"read-only\"\n";
pub(super) const HOLD: &str = "[routes]\nweb = \"hold\"\n";
const WHOLE: &str = "drain = \"10m\"\nramp = \"10m\"\nverify = [{ get = \"/\", times = 3, every = \"5s\" }]\n\
    guard = { p99 = \"800ms\", watch = \"10m\" }";
pub(super) const RAMP: &str = "drain = \"1ms\"\nramp = \"10m\"\nguard = { p99 = \"800ms\", watch = \"10m\" }";

/// Creates a proxy that is open at 13:00, and flagged at 14:00 with requests in flight.
pub(super) fn flagged(policy: &str, flags: &str) -> Rehearsal {
    let mut proxy = web(policy);
    proxy.at("13:00:00");
    proxy.flag(flags).observe(remaining(3)).at("14:00:00");
    proxy
}

pub(super) fn route(proxy: &Rehearsal) -> &Route {
    &proxy.live.as_ref().unwrap().routes[0]
}

#[test]
fn only_a_slip_of_the_finger_opens_what_still_drains_at_once() {
    for (mode, clock, expected) in [
        (OFFLINE, "14:00:01", "open since 14:00:01: lifted before it was drained"),
        (HOLD, "14:00:01", "open since 14:00:01: lifted before it was drained"),
        (OFFLINE, "14:00:02", "verifying since 14:00:02: 0 of 1 checks have passed"),
        (READ_ONLY, "14:00:03", "verifying since 14:00:03: 0 of 1 checks have passed"),
        (HOLD, "14:00:03", "verifying since 14:00:03: 0 of 1 checks have passed"),
        (OFFLINE, "14:09:00", "verifying since 14:09:00: 0 of 1 checks have passed"),
    ] {
        let mut proxy = flagged(WHOLE, mode);
        assert_eq!(proxy.flag("").at(clock), expected, "{mode}");
        // Older requests go on: none is older than the first generation.
        assert!(expected.starts_with("open") || route(&proxy).epoch == 0, "{mode}");
    }
    // Without checks the ramp and the guard remain.
    assert_eq!(
        flagged(RAMP.trim_start_matches("drain = \"1ms\""), OFFLINE).flag("").at("14:00:05"),
        "ramping since 14:00:05: the flag was lifted"
    );
    let mut proxy = flagged("drain = \"10m\"\nguard = { p99 = \"800ms\" }", OFFLINE);
    assert_eq!(proxy.flag("").at("14:00:05"), "open since 14:00:05: the flag was lifted");
    assert!(route(&proxy).state.is_watched());
}

#[test]
fn what_was_spared_drains_if_the_route_is_flagged_again() {
    let mut proxy = flagged(WHOLE, OFFLINE);
    proxy.flag("").at("14:01:00");
    assert_eq!(route(&proxy).epoch, 0);
    assert_eq!(proxy.flag(OFFLINE).at("14:01:30"), "draining since 14:01:30: flagged offline");
    assert!(route(&proxy).epoch > 0);
}

#[test]
fn a_slip_in_a_ramp_or_in_a_watch_gives_that_back() {
    let mut proxy = web(RAMP);
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    proxy.at("14:31:00");
    let share = proxy.share();
    assert!(proxy.flag(OFFLINE).at("14:31:01").starts_with("closed") || route(&proxy).phase() == Phase::Draining);
    let mut proxy = web(&RAMP.replace("1ms", "1m"));
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:02:00");
    proxy.flag("").at("14:30:00");
    proxy.at("14:31:00");
    proxy.flag(OFFLINE).at("14:31:01");
    assert_eq!(proxy.flag("").at("14:31:02"), "ramping since 14:31:02: lifted before it was drained");
    assert!((proxy.share() - share).abs() < 0.011, "{} {share}", proxy.share());
    // While the guard watches the open route.
    assert!(proxy.at("14:41:00").starts_with("open"));
    proxy.flag(OFFLINE).at("14:42:00");
    assert_eq!(proxy.flag("").at("14:42:01"), "open since 14:42:01: lifted before it was drained");
    assert!(route(&proxy).state.is_watched());
}

#[test]
fn a_watch_that_ended_unseen_is_not_given_back() {
    let mut proxy = web(&RAMP.replace("1ms", "1m"));
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:02:00");
    proxy.flag("").at("14:30:00");
    assert!(proxy.at("14:41:00").starts_with("open") && route(&proxy).state.is_watched());
    // Nobody looks until long after the watch.
    proxy.flag(OFFLINE).at("15:30:00");
    let saved = serde_json::to_value(&*route(&proxy).state).unwrap();
    assert_eq!((route(&proxy).phase(), saved.get("interrupted")), (Phase::Draining, None), "{saved:#}");
}

#[test]
fn a_hold_suspends_a_ramp_and_gives_it_back_where_it_was() {
    for (policy, hold) in [(RAMP, HOLD), (RAMP, "[routes.web]\nmode = \"hold\"\nuntil = 2026-05-19T14:36:02Z\n")] {
        let mut proxy = web(policy);
        proxy.flag(OFFLINE).at("14:00:00");
        proxy.flag("").at("14:30:00");
        proxy.at("14:36:00");
        let share = proxy.share();
        assert!(share > 0.5 && share < 0.7);
        proxy.flag(hold).at("14:36:00");
        let back = if hold == HOLD { proxy.restart().flag("").at("14:36:02") } else { proxy.restart().at("14:36:02") };
        assert!(back.starts_with("ramping since 14:36:02"), "{back}");
        assert!((proxy.share() - share).abs() < 0.011, "{} {share}", proxy.share());
        assert!(proxy.at("14:39:00").starts_with("ramping"));
        assert!(proxy.at("14:40:03").starts_with("open since 14:40:02"));
    }
}

/// Creates a proxy whose guard closed the route, and tries again at 14:42.
pub(super) fn closed_by_guard(policy: &str) -> Rehearsal {
    let mut proxy = web(&format!("drain = \"1m\"\nguard = {{ error_rate = \"5%\", retry_after = \"10m\" }}\n{policy}"));
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:01:00");
    proxy.flag("").at("14:30:00");
    if !proxy.config.routes[0].policy.verify.is_empty() {
        proxy.observe(verified("14:30:00", 1, "14:30:00", None)).at("14:30:00");
    }
    proxy.observe(measured(100, 90, 1, 0)).at("14:31:00");
    proxy.observe(suspected("14:31:00", "no")).at("14:31:00");
    proxy.at("14:32:00");
    proxy.observe(Observed::default());
    proxy
}

/// Returns measurements as bad as before, with a check that fails.
fn suspected(began: &str, failure: &str) -> Observed {
    let verification = verified(began, 0, began, Some(failure)).verification;
    Observed { verification, ..measured(100, 90, 1, 0) }
}

/// Creates a proxy whose guard closed the route, and tries again with a few clients.
pub(super) fn tried(policy: &str) -> Rehearsal {
    let mut proxy = closed_by_guard(policy);
    assert_eq!(proxy.at("14:42:00"), "ramping since 14:42:00: the guard closed it, and tries again");
    proxy
}

#[test]
fn a_slip_and_a_hold_in_a_trial_give_the_trial_back() {
    for policy in ["", "ramp = \"10m\"", "ramp = [\"5% at 0s\", \"100% at 1m\"]"] {
        for (closes, shut, over) in [(OFFLINE, "14:44:00", "14:44:01"), (HOLD, "14:44:00", "14:48:00")] {
            let mut proxy = tried(policy);
            proxy.flag(closes).at(shut);
            // A process that begins has no requests to drain, so that nothing slipped.
            let back = if closes == HOLD { proxy.restart() } else { &mut proxy }.flag("").at(over);
            assert!(back.starts_with("ramping"), "{policy} {closes} {back}");
            assert!((proxy.share() - 0.05).abs() < f64::EPSILON, "{policy} {closes} {}", proxy.share());
            proxy.observe(measured(100, 90, 1, 0)).at("14:48:10");
            assert!(route(&proxy).state.breach().is_some(), "{policy} {closes}: the trial fails");
        }
    }
}

#[test]
fn an_operator_ends_a_trial_by_force_or_at_once() {
    let now = "[lifted]\nweb = { at = 2026-05-19T14:44:00Z, ramp = false }\n";
    let force = "[forced]\nweb = 2026-05-19T14:44:00Z\n";
    let opened = "open since 14:44:00: an operator let everybody in at once";
    for (policy, word, expected) in [
        ("", now, opened),
        ("ramp = \"10m\"", now, opened),
        ("", force, "open since 14:44:00: an operator opened it"),
        ("ramp = \"10m\"", force, "ramping since 14:44:00: an operator opened it"),
    ] {
        let mut proxy = tried(policy);
        assert_eq!(proxy.flag(word).at("14:44:00"), expected, "{policy} {word}");
        assert!(proxy.at("14:58:00").starts_with("open"));
    }
    // A word from before the trial is no answer to what the guard found.
    for word in [now, force] {
        let mut proxy = tried("ramp = \"10m\"");
        let before = word.replace("14:44", "14:30");
        assert!(proxy.flag(&before).at("14:44:00").contains("tries again"), "{before}");
        proxy.observe(measured(100, 0, 1, 0));
        assert_eq!(proxy.at("14:45:00"), "ramping since 14:42:00: the few clients that tried it did well", "{before}");
        assert!(proxy.at("14:46:00").starts_with("ramping"), "{before}");
    }
}

#[test]
fn an_operator_ends_the_checks_of_a_try_at_once() {
    let now = "[lifted]\nweb = { at = 2026-05-19T14:42:03Z, ramp = false }\n";
    let policy = "ramp = \"10m\"\nverify = [{ get = \"/\" }]";
    let opened = "open since 14:42:05: an operator let everybody in at once";
    let tries = "ramping since 14:42:05: every check has passed";
    for (word, expected) in [(now, opened), (&now.replace("14:42:03", "14:41:59"), tries), ("", tries)] {
        let mut proxy = closed_by_guard(policy);
        assert!(proxy.at("14:42:00").starts_with("verifying since 14:42:00"));
        assert!(proxy.flag(word).at("14:42:03").starts_with("verifying"), "{word}: the checks come first");
        proxy.observe(verified("14:42:00", 1, "14:42:05", None));
        assert_eq!(proxy.at("14:42:05"), expected, "{word}");
        assert_eq!(route(&proxy).state.is_tried(), expected == tries, "{word}");
    }
}

#[test]
fn a_hold_after_another_mode_owes_its_ramp_and_a_hold_alone_does_not() {
    for (before, now, expected) in [
        (OFFLINE, HOLD, "ramping since 14:30:10: the flag was lifted"),
        (READ_ONLY, HOLD, "ramping since 14:30:10: the flag was lifted"),
        (HOLD, HOLD, "open since 14:30:10: the flag was lifted"),
    ] {
        let mut proxy = web(RAMP);
        proxy.flag(before).at("14:00:00");
        proxy.at("14:00:01");
        proxy.flag(now).at("14:30:00");
        proxy.at("14:30:01");
        assert_eq!(proxy.flag("").at("14:30:10"), expected, "{before}");
    }
    // The checks come first, and the hold in between owes the ramp as well.
    let mut proxy = web(&WHOLE.replace("10m\"\nramp", "1ms\"\nramp"));
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:30:00");
    assert!(proxy.flag(HOLD).at("14:30:01").starts_with("closed since 14:30:01: flagged hold"));
    assert!(proxy.flag("").at("14:30:02").starts_with("verifying since 14:30:02"));
    proxy.observe(verified("14:30:02", 3, "14:30:12", None));
    assert_eq!(proxy.at("14:30:13"), "ramping since 14:30:12: every check has passed");
}

#[test]
fn a_softer_mode_is_a_return_of_what_it_lets_through() {
    let nested =
        format!("{WINDOW}{}", WINDOW.replace("M-1", "M-2").replace("15:00", "16:00").replace("offline", "read-only"));
    let mut proxy = web(&WHOLE.replace("10m\"\nramp", "1ms\"\nramp"));
    proxy.flag(&nested).at("14:30:00");
    assert_eq!(proxy.at("15:00:01"), "verifying since 15:00:00: 0 of 1 checks have passed");
    let closure = |proxy: &Rehearsal| {
        let closure = route(proxy).closure.as_ref().unwrap();
        (closure.mode, closure.eases, closure.admits)
    };
    assert_eq!(closure(&proxy), (Mode::Offline, Some(Mode::ReadOnly), 0));
    proxy.observe(verified("15:00:00", 0, "15:00:00", Some("GET / answered 500")));
    assert_eq!(proxy.at("15:10:00"), "verifying since 15:00:00: a check fails: GET / answered 500");
    proxy.observe(verified("15:00:00", 3, "15:20:10", None)).restart();
    assert_eq!(proxy.at("15:20:11"), "ramping since 15:20:10: every check has passed");
    let (mode, eases, admits) = closure(&proxy);
    assert_eq!((mode, eases, admits > 0), (Mode::Offline, Some(Mode::ReadOnly), true));
    // All reads are in, and the guard watches them.
    assert_eq!(proxy.at("15:30:10"), "closed since 15:30:10: read-only by window M-2");
    assert_eq!((closure(&proxy).0, route(&proxy).state.is_watched()), (Mode::ReadOnly, true));
    assert!(route(&proxy).guard().is_some());
    proxy.observe(measured(100, 0, 900, 0));
    assert!(proxy.at("15:31:00").contains("the guard asks the checks"), "{}", proxy.at("15:31:00"));
    assert!(proxy.at("15:31:20").contains("the guard tripped"), "{}", proxy.at("15:31:20"));
    assert_eq!(closure(&proxy).0, Mode::Offline);
    assert!(proxy.observe(Observed::default()).at("15:40:00").contains("the guard tripped"), "the window is no answer");
    // Its end brings the writes back: not before somebody has looked at the breach.
    assert!(proxy.at("16:10:00").contains("the guard tripped"));
}

#[test]
fn what_a_softer_mode_does_not_let_through_comes_back_with_its_end() {
    let mut proxy = web(RAMP);
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:00:01");
    assert_eq!(proxy.flag(READ_ONLY).at("14:30:00"), "ramping since 14:30:00: flagged read-only");
    proxy.at("14:33:00");
    let share = proxy.share();
    // Lifted in the middle, the same ramp goes on for everything.
    proxy.flag("").at("14:33:01");
    assert!(route(&proxy).phase() == Phase::Ramping && proxy.share() >= share);
    assert_eq!(route(&proxy).closure.as_ref().unwrap().eases, None);
    assert_eq!(proxy.at("14:40:00"), "open since 14:40:00: everybody is admitted");
    // A stricter flag in the middle closes everything again.
    let mut proxy = web(RAMP);
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:00:01");
    proxy.flag(READ_ONLY).at("14:30:00");
    proxy.at("14:33:00");
    assert_eq!(proxy.flag(OFFLINE).at("14:34:00"), "draining since 14:34:00: flagged offline");
    assert_eq!(route(&proxy).closure.as_ref().unwrap().eases, None);
    // A route that is held comes back to read-only without a ramp, and the guard watches.
    let mut proxy = web(RAMP);
    proxy.flag(HOLD).at("14:00:00");
    proxy.at("14:00:01");
    assert_eq!(proxy.flag(READ_ONLY).at("14:30:00"), "closed since 14:30:00: flagged read-only");
    assert!(route(&proxy).state.is_watched());
    // A flag by hand that was in force when the guard tripped does not overrule it.
    proxy.observe(measured(100, 0, 900, 0)).at("14:31:00");
    proxy.observe(Observed::default());
    assert!(proxy.at("14:32:00").contains("the guard tripped"), "{}", proxy.at("14:32:00"));
}

#[test]
fn a_milder_mode_waits_until_the_stricter_one_has_drained_unless_it_corrects_a_slip() {
    let mut proxy = flagged(RAMP.trim_start_matches("drain = \"1ms\""), OFFLINE);
    assert_eq!(proxy.flag(READ_ONLY).at("14:00:01"), "draining since 14:00:00: flagged read-only");
    let mut proxy = flagged(RAMP.trim_start_matches("drain = \"1ms\""), OFFLINE);
    assert_eq!(proxy.flag(READ_ONLY).at("14:00:05"), "draining since 14:00:00: flagged offline");
    proxy.observe(remaining(0)).at("14:00:06");
    assert!(proxy.at("14:00:06").starts_with("ramping since 14:00:06: flagged read-only"));
}

#[test]
fn replicas_that_see_a_lifting_later_ramp_alike() {
    let lifted = "[lifted]\nweb = 2026-05-19T14:30:00Z\n";
    let late = |policy: &str, clock: &str| {
        let mut proxy = web(policy);
        proxy.flag(OFFLINE).at("14:00:00");
        proxy.at("14:00:01");
        proxy.at("14:29:00");
        proxy.flag(lifted).at(clock);
        proxy
    };
    let mut shares = Vec::new();
    for clock in ["14:30:00", "14:30:10", "14:32:00"] {
        let mut proxy = late(RAMP, clock);
        assert_eq!(proxy.at("14:33:00"), "ramping since 14:30:00: the flag was lifted", "{clock}");
        shares.push(proxy.share());
    }
    assert!(shares.iter().all(|share| *share == shares[0]), "{shares:?}");
    // An edit that is seen much later counts from then, and so does a lifting from before the closure.
    assert!(late(RAMP, "14:36:00").at("14:36:00").starts_with("ramping since 14:36:00"));
    let mut proxy = web(RAMP);
    proxy.flag(&format!("{lifted}{OFFLINE}")).at("14:31:00");
    proxy.at("14:31:01");
    assert!(proxy.flag(lifted).at("14:32:00").starts_with("ramping since 14:32:00"));
    // After checks that pass at once, the ramp counts as in a replica that was in time.
    let checked = WHOLE.replace("10m\"\nramp", "1ms\"\nramp");
    for (clock, due) in [("14:30:00", "14:30:10"), ("14:30:12", "14:30:20")] {
        let mut proxy = late(&checked, clock);
        assert!(proxy.at(clock).starts_with("verifying since 14:30:00"), "{clock}");
        proxy.observe(verified("14:30:00", 3, due, None)).at(due);
        assert!(proxy.at("14:33:00").starts_with("ramping"));
        assert!((proxy.share() - shares[0]).abs() < 0.03, "{clock}: {} {}", proxy.share(), shares[0]);
        assert_eq!(route(&proxy).state.began(), at("14:30:10"), "{clock}");
    }
    // Checks that failed meanwhile have passed where they passed.
    let mut proxy = late(&checked, "14:30:12");
    proxy.observe(verified("14:30:00", 3, "14:31:00", None)).at("14:31:00");
    assert_eq!(route(&proxy).state.began(), at("14:31:00"));
}

#[test]
fn a_lifting_may_skip_the_ramp_but_not_the_checks() {
    let now = "[lifted]\nweb = { at = 2026-05-19T14:30:00Z, ramp = false }\n";
    let mut proxy = web(RAMP);
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:00:01");
    assert_eq!(proxy.flag(now).at("14:30:00"), "open since 14:30:00: the flag was lifted");
    assert!(route(&proxy).state.is_watched());
    // While it ramps already.
    let mut proxy = web(RAMP);
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.flag("").at("14:29:00");
    assert_eq!(proxy.flag(now).at("14:30:01"), "open since 14:30:00: an operator let everybody in at once");
    // The next closure is not lifted by it.
    proxy.flag(&format!("{now}{OFFLINE}")).at("15:00:00");
    proxy.at("15:00:01");
    assert!(proxy.flag(now).at("15:10:00").starts_with("ramping since 15:10:00"));
    let mut proxy = web(&WHOLE.replace("10m\"\nramp", "1ms\"\nramp"));
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.at("14:00:01");
    assert!(proxy.flag(now).at("14:30:00").starts_with("verifying since 14:30:00"));
    proxy.observe(verified("14:30:00", 3, "14:30:10", None));
    assert_eq!(proxy.at("14:30:11"), "open since 14:30:10: every check has passed");
}

/// Starts another process without memory, with these flags.
pub(super) fn fresh(policy: &str, flags: &str) -> Rehearsal {
    let mut proxy = web(policy);
    proxy.known.memory = Memory::Fresh;
    proxy.flag(flags);
    proxy
}

#[test]
fn a_start_without_memory_joins_the_return_that_the_file_tells_of() {
    let checked = "ramp = \"10m\"\nverify = [{ get = \"/\", times = 3, every = \"5s\" }]\nguard = { p99 = \"800ms\", watch = \"10m\" }";
    let lifted = "[lifted]\nweb = 2026-05-19T15:00:00Z\n";
    let until = "[routes.web]\nmode = \"offline\"\nuntil = 2026-05-19T15:00:00Z\n";
    for flags in [WINDOW, lifted, until] {
        assert_eq!(fresh(RAMP, flags).at("15:03:00").split(':').next(), Some("ramping since 15"), "{flags}");
        let mut proxy = fresh(RAMP, flags);
        proxy.at("15:03:00");
        assert_eq!(route(&proxy).state.began(), at("15:00:00"));
        assert!((proxy.share() - 0.31).abs() < 0.011, "{flags} {}", proxy.share());
        // The guard still watches, and then nothing is left of it.
        let mut proxy = fresh(RAMP, flags);
        assert!(proxy.at("15:12:00").starts_with("open") && route(&proxy).state.is_watched());
        assert_eq!(fresh(RAMP, flags).at("15:40:00"), "open since 15:40:00: nothing flags it");
        // Checks come first, in full, and the ramp after them is the one of the others.
        let mut proxy = fresh(checked, flags);
        assert_eq!(proxy.at("15:03:02"), "verifying since 15:00:00: 0 of 1 checks have passed", "{flags}");
        proxy.known.memory = Memory::default();
        proxy.observe(verified("15:00:00", 1, "15:03:00", None));
        assert!(proxy.at("15:03:03").starts_with("verifying"));
        proxy.observe(verified("15:00:00", 3, "15:03:10", None));
        assert!(proxy.at("15:03:10").starts_with("ramping since 15:03:10: every check has passed"));
        assert_eq!(route(&proxy).state.began(), at("15:00:10"), "{flags}");
    }
}

#[test]
fn a_start_without_memory_and_history_needs_one_pass_of_each_check() {
    let checked = "ramp = \"10m\"\nverify = [{ get = \"/\", times = 3, every = \"5s\" }]";
    // A window that ended hours ago may be verifying still, elsewhere.
    for flags in ["", WINDOW] {
        let mut proxy = fresh(checked, flags);
        let untold = "verifying since 18:00:00: nothing is known of it yet: each check has to pass once";
        assert_eq!(proxy.at("18:00:00"), untold);
        assert_eq!(route(&proxy).closed_by(), Some(ClosedBy::Start));
        proxy.known.memory = Memory::default();
        proxy.observe(verified("18:00:00", 0, "18:00:00", Some("GET / answered 500")));
        assert!(proxy.at("18:00:01").ends_with("a check fails: GET / answered 500"));
        proxy.restart().observe(verified("18:00:00", 1, "18:00:05", None));
        assert_eq!(proxy.at("18:00:05"), "open since 18:00:05: every check has passed");
    }
    // A flag that is in force says more, and so does an operator.
    assert!(fresh(checked, OFFLINE).at("18:00:00").starts_with("closed since 18:00:00: flagged offline"));
    let mut proxy = fresh(checked, "");
    proxy.at("18:00:00");
    assert!(proxy.flag("[forced]\nweb = 2026-05-19T18:00:02Z\n").at("18:00:02").starts_with("open since 18:00:02"));
    assert!(fresh("ramp = \"10m\"", "").at("18:00:00").starts_with("open"));
}

#[test]
fn a_window_ends_by_the_clock_by_its_steps_or_by_a_word() {
    let window = |opens: &str, state: &str, more: &str| {
        let steps =
            format!("steps = [{{ title = \"drain\", auto = \"drain\" }}, {{ title = \"move\", state = \"{state}\" }}]");
        format!("{WINDOW}opens = \"{opens}\"\n{more}{steps}\n")
    };
    let ended = "ended = 2026-05-19T15:20:00Z\n";
    for (opens, state, then, at_ten_past, at_twenty_past) in [
        ("time", "running", window("time", "running", ""), "open", "open"),
        ("steps", "running", window("steps", "done", ""), "closed", "open"),
        ("steps", "failed", window("steps", "failed", ended), "closed", "open"),
        ("word", "done", window("word", "done", ended), "closed", "open"),
        ("word", "done", window("word", "done", ""), "closed", "closed"),
    ] {
        let mut proxy = web("");
        proxy.flag(&window(opens, state, "")).at("14:30:00");
        let told = proxy.at("15:10:00");
        assert!(told.starts_with(at_ten_past), "{opens} {state}: {told}");
        assert_eq!(told.ends_with(", which is overrunning"), at_ten_past == "closed", "{told}");
        let told = proxy.flag(&then).at("15:20:00");
        assert!(told.starts_with(at_twenty_past), "{opens} {state}: {told}");
    }
    // The steps may be done before the end, and the ramp counts from when that was seen, also after an overrun.
    for clock in ["14:50:00", "15:02:00"] {
        let mut proxy = web(RAMP);
        proxy.flag(&window("steps", "running", "")).at("14:30:00");
        proxy.at("14:31:00");
        proxy.at("15:01:00".min(clock));
        assert!(proxy.flag(&window("steps", "done", "")).at(clock).starts_with(&format!("ramping since {clock}")));
    }
}

#[test]
fn the_guard_of_what_came_back_to_read_only_asks_the_checks_first() {
    let policy = "drain = \"1ms\"\nverify = [{ get = \"/\", times = 1 }]\nguard = { p99 = \"800ms\", watch = \"10m\" }";
    let suspected = |failure: Option<&str>| {
        let passed = u32::from(failure.is_none());
        Observed {
            verification: verified("14:32:00", passed, "14:32:01", failure).verification,
            ..measured(1000, 0, 900, 0)
        }
    };
    let read_only = || {
        let mut proxy = web(policy);
        proxy.flag(OFFLINE).at("14:00:00");
        proxy.at("14:00:01");
        proxy.flag(READ_ONLY).at("14:30:00");
        proxy.observe(verified("14:30:00", 1, "14:30:01", None));
        assert_eq!(proxy.at("14:30:02"), "closed since 14:30:01: flagged read-only");
        proxy.observe(measured(1000, 0, 900, 0));
        let told = proxy.at("14:32:00");
        assert!(told.starts_with("closed since 14:30:01: the guard asks the checks"), "{told}");
        assert_eq!(route(&proxy).closure.as_ref().unwrap().mode, Mode::ReadOnly);
        assert_eq!(route(&proxy).state.checked_since(), Some(at("14:32:00")));
        proxy
    };
    // A check that fails is a second witness; none in a minute is an answer.
    let mut proxy = read_only();
    assert!(proxy.observe(suspected(Some("no"))).at("14:32:02").contains("the guard tripped"));
    assert_eq!(route(&proxy).closure.as_ref().unwrap().mode, Mode::Offline);
    let mut proxy = read_only();
    assert!(proxy.at("14:32:02").starts_with("closed since 14:30:01"));
    assert!(proxy.at("14:33:05").contains("the guard tripped"));
    // Checks that pass let it count anew, also over a restart. What is as bad then closes it.
    let mut proxy = read_only();
    proxy.observe(suspected(None)).at("14:32:02");
    assert_eq!(route(&proxy).closure.as_ref().unwrap().mode, Mode::ReadOnly);
    assert_eq!(route(&proxy).state.checked_since(), None);
    proxy.observe(Observed::default()).restart();
    assert!(proxy.at("14:32:10").starts_with("closed since 14:30:01"));
    assert!(route(&proxy).state.suspicion().is_some_and(|suspicion| suspicion.cleared));
    assert!(proxy.observe(measured(1000, 0, 900, 0)).at("14:33:00").contains("the guard tripped"));
}
