//! Ramps that a `read-only` flag suspends, and what else gives back what it interrupted.

use super::super::super::head::Head;
use super::super::super::pass::Pass;
use super::super::super::verdict::{Verdict, decide};
use super::comeback::{HOLD, RAMP, READ_ONLY, closed_by_guard, fresh, route, tried};
use super::*;

const CHECKED: &str = "drain = \"1m\"\nramp = \"10m\"\nverify = [{ get = \"/\", times = 3, every = \"5s\" }]";

/// Creates a proxy whose route ramps from 14:30 on, and looks at it at 14:36.
fn ramping(policy: &str, before: &str) -> Rehearsal {
    let mut proxy = web(policy);
    proxy.at("13:00:00");
    proxy.flag(before).at("14:00:00");
    proxy.at("14:10:00");
    proxy.flag("").at("14:30:00");
    if !proxy.config.routes[0].policy.verify.is_empty() {
        proxy.observe(verified("14:30:00", 3, "14:30:00", None)).at("14:30:00");
    }
    proxy.observe(Observed::default());
    assert!(proxy.at("14:36:00").starts_with("ramping since 14:30:00"));
    proxy
}

/// Returns mode, milder mode, and number of admitted cohorts.
fn closure(proxy: &Rehearsal) -> (Mode, Option<Mode>, u32) {
    let closure = route(proxy).closure.as_ref().unwrap();
    (closure.mode, closure.eases, closure.admits)
}

/// Returns the outcome of a read and of a write of each of some clients.
fn outcomes(proxy: &Rehearsal) -> Vec<[Option<Pass>; 2]> {
    let (live, none) = (proxy.live.as_ref().unwrap(), http::HeaderMap::new());
    let outcome = |peer: u8, method: &http::Method| {
        let head = Head { peer: Some([198, 51, 100, peer].into()).into(), method, path: "/", ..Head::unknown(&none) };
        if let Verdict::Forward(_, pass) = decide(live, head) { Some(pass) } else { None }
    };
    (0..100).map(|peer| [outcome(peer, &http::Method::GET), outcome(peer, &http::Method::POST)]).collect()
}

#[test]
fn a_read_only_flag_suspends_a_ramp_and_gives_it_back_where_it_was() {
    let until = "[routes.web]\nmode = \"read-only\"\nuntil = 2026-05-19T14:50:00Z\n";
    for (before, then, restarts) in
        [(OFFLINE, READ_ONLY, false), (OFFLINE, READ_ONLY, true), (OFFLINE, until, true), (WINDOW, READ_ONLY, true)]
    {
        let mut proxy = ramping(RAMP, before);
        let (share, outcomes_before) = (proxy.share(), outcomes(&proxy));
        let (_, _, admits) = closure(&proxy);
        for clock in ["14:36:00", "14:36:10", "14:49:00"] {
            let told = proxy.flag(then).at(clock);
            assert!(told.starts_with(if clock == "14:36:00" { "draining" } else { "closed" }), "{told}");
            assert_eq!(closure(&proxy), (Mode::ReadOnly, Some(Mode::ReadOnly), admits), "{before}{then}");
            // Who was admitted reads on, and all others have the page of before.
            for (now, before) in outcomes(&proxy).iter().zip(&outcomes_before) {
                assert_eq!(*now, [before[0], None]);
            }
            assert_eq!(route(&proxy).closure.as_ref().unwrap().page.model.content.mode, Mode::Offline);
            if restarts {
                proxy.restart();
            }
        }
        if then == READ_ONLY {
            proxy.flag("");
        }
        let told = proxy.at("14:50:00");
        assert!(told.starts_with("ramping since 14:50:00"), "{told}");
        assert!((proxy.share() - share).abs() < 0.011, "{} {share}", proxy.share());
        assert_eq!(outcomes(&proxy), outcomes_before);
        assert!(proxy.at("14:54:01").starts_with("open since 14:54:00"));
    }
}

#[test]
fn checks_between_a_suspended_ramp_and_its_return_let_nobody_else_in() {
    let mut proxy = ramping(CHECKED, OFFLINE);
    let share = proxy.share();
    let (_, _, admits) = closure(&proxy);
    proxy.flag(READ_ONLY).at("14:36:00");
    proxy.at("14:40:00");
    assert!(proxy.flag("").at("14:50:00").starts_with("verifying since 14:50:00"));
    assert_eq!(closure(&proxy), (Mode::ReadOnly, Some(Mode::ReadOnly), admits));
    assert_eq!(route(&proxy).next, Some((Phase::Ramping, None)));
    // A flag that comes meanwhile changes nothing about that.
    assert!(proxy.flag(READ_ONLY).at("14:50:05").starts_with("closed since 14:50:05"));
    assert_eq!(closure(&proxy).2, admits);
    proxy.flag("").at("14:51:00");
    proxy.observe(verified("14:51:00", 3, "14:51:10", None));
    assert!(proxy.at("14:51:10").starts_with("ramping since 14:51:10"));
    assert!((proxy.share() - share).abs() < 0.02, "{} {share}", proxy.share());
}

#[test]
fn what_follows_a_suspended_ramp_gives_it_back_or_begins_anew() {
    for (then, goes_on) in [(HOLD, true), (OFFLINE, false), ("", true)] {
        let mut proxy = ramping(RAMP, OFFLINE);
        let share = proxy.share();
        proxy.flag(READ_ONLY).at("14:36:00");
        proxy.at("14:36:01");
        proxy.flag(then).at("14:40:00");
        proxy.at("14:40:01");
        proxy.flag("").at("14:45:00");
        let expected = match then {
            "" => share + 0.5,
            _ if goes_on => share,
            _ => 0.01,
        };
        let now = if proxy.at("14:45:00").starts_with("open") { share + 0.5 } else { proxy.share() };
        assert!((now - expected).abs() < 0.02, "{then} {now} {expected}");
    }
    // Reads that were in while the writes ramped stay in.
    let mut proxy = ramping(RAMP, READ_ONLY);
    let share = proxy.share();
    proxy.flag(READ_ONLY).at("14:36:00");
    assert_eq!(closure(&proxy), (Mode::ReadOnly, None, 0));
    assert!(outcomes(&proxy).iter().all(|one| *one == [Some(Pass::ReadOnly), None]));
    proxy.flag("").at("14:50:00");
    assert!((proxy.share() - share).abs() < 0.02);
    // A slip that is corrected interrupts the same ramp.
    let mut proxy = ramping(&RAMP.replace("1ms", "1m"), OFFLINE);
    let (_, _, admits) = closure(&proxy);
    proxy.flag(OFFLINE).at("14:36:01");
    assert_eq!(closure(&proxy).2, 0);
    proxy.flag(READ_ONLY).at("14:36:02");
    assert!(closure(&proxy).2 >= admits && closure(&proxy).1 == Some(Mode::ReadOnly));
}

#[test]
fn a_read_only_flag_in_a_trial_or_its_checks_lets_only_the_few_clients_read() {
    for policy in ["", "ramp = \"10m\""] {
        let mut proxy = tried(policy);
        proxy.at("14:43:00");
        let (_, _, admits) = closure(&proxy);
        proxy.flag(READ_ONLY).at("14:44:00");
        assert_eq!(closure(&proxy), (Mode::ReadOnly, Some(Mode::ReadOnly), admits), "{policy}");
        proxy.at("14:46:00");
        assert!(proxy.flag("").at("14:50:00").starts_with("ramping"), "{policy}");
        assert!(route(&proxy).state.is_tried() && (proxy.share() - 0.05).abs() < f64::EPSILON, "{policy}");
    }
    // A flag from before the few clients come tries the reads alone; a hold then gives the trial back.
    let checked = "ramp = \"10m\"\nverify = [{ get = \"/\" }]";
    for (flag, then) in [(READ_ONLY, READ_ONLY), (HOLD, "")] {
        let mut proxy = closed_by_guard(checked);
        assert!(proxy.at("14:42:00").starts_with("verifying since 14:42:00"));
        proxy.flag(flag).at("14:42:02");
        proxy.flag(then).at("14:42:04");
        let began = route(&proxy).state.began().strftime("%H:%M:%S").to_string();
        proxy.observe(verified(&began, 1, "14:42:05", None)).at("14:42:05");
        assert!(route(&proxy).state.is_tried(), "{flag}: {}", proxy.at("14:42:06"));
        assert_eq!(closure(&proxy).1, (flag == READ_ONLY).then_some(Mode::ReadOnly), "{flag}");
    }
}

#[test]
fn a_start_without_memory_finds_what_a_hold_or_a_read_only_mode_suspends() {
    let lifted = "[lifted]\nweb = 2026-05-19T15:00:00Z\n";
    let held = WINDOW.replace("M-1", "M-2").replace("14:00", "15:02").replace("15:00:", "15:05:");
    let held = |mode: &str| held.replace("\"offline\"", mode);
    let checked = "ramp = \"10m\"\nverify = [{ get = \"/\", times = 3, every = \"5s\" }]";
    for (flags, then, share) in [
        (format!("{lifted}{HOLD}"), "", 0.36),
        (format!("{WINDOW}{HOLD}"), "", 0.36),
        (format!("{lifted}{READ_ONLY}"), "", 0.36),
        (format!("{WINDOW}{}", held("\"hold\"")), "same", 0.2),
        (format!("{WINDOW}{}", held("\"read-only\"")), "same", 0.2),
        // Nothing tells of a ramp.
        (HOLD.to_owned(), "", 1.0),
        (WINDOW.replace("15:00", "14:10") + HOLD, "", 1.0),
    ] {
        let mut proxy = fresh(RAMP, &flags);
        let told = proxy.at("15:03:30");
        assert!(told.starts_with("closed since 15:0"), "{flags}{told}");
        assert!(told.contains(": flagged ") || told.contains("by window M-2"), "{flags}{told}");
        let (mode, _, admits) = closure(&proxy);
        assert_eq!(mode == Mode::ReadOnly && share < 1.0, admits > 0, "{flags}");
        if then != "same" {
            proxy.flag(then);
        }
        proxy.restart().at("15:05:00");
        let now = if proxy.at("15:05:10").starts_with("open") { 1.0 } else { proxy.share() };
        assert!((now - share).abs() < 0.03, "{flags} {now} {share}");
    }
    // Checks that were due come before the ramp.
    let mut proxy = fresh(checked, &format!("{WINDOW}{HOLD}"));
    assert_eq!(proxy.at("15:03:30"), "closed since 15:03:30: flagged hold");
    assert!(proxy.restart().flag("").at("15:05:00").starts_with("verifying"));
    proxy.observe(verified("15:05:00", 3, "15:05:10", None));
    assert!(proxy.at("15:05:10").starts_with("ramping"));
    // Reads that come back beside a window that goes on are checked and ramped as in every replica.
    let nested =
        format!("{WINDOW}{}", WINDOW.replace("M-1", "M-2").replace("15:00", "16:00").replace("offline", "read-only"));
    assert!(fresh(RAMP, &nested).at("15:03:00").starts_with("ramping since 15:00:00"));
    assert!(fresh(checked, &nested).at("15:03:00").starts_with("verifying since 15:00:00"));
}
