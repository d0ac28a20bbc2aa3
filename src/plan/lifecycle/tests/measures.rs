//! Statuses and traffic, as a guard measures them by choice.

use super::excess::Sample;
use super::*;
use crate::plan::config::{PerStatus, Statuses};

const POLICY: &str = "drain = \"1ms\"\nguard = { statuses = { 401 = \"10%\" }, traffic = \"baseline - 80%\" }";

/// Returns measurements of 1000 requests of one client, some of which were refused, beside honest clients.
fn refused(refused: u32, honest: u8) -> Observed {
    let one = Statuses::One(401);
    let sample = Sample { requests: 1000, bad: refused.into(), stretches: 8 };
    let mut clients = Clients::default();
    let statuses: PerStatus<u32> = [(one, refused)].into_iter().collect();
    clients.count(None, ClientCounts { requests: 1000, statuses, ..ClientCounts::default() });
    for last in 0..honest {
        clients.count(Some([192, 0, 2, last].into()), ClientCounts { requests: 1, ..ClientCounts::default() });
    }
    let errors = Sample { requests: 1000, bad: 0, stretches: 0 };
    let statuses = [(one, sample)].into_iter().collect();
    let window = Window { span: Duration::from_secs(30), errors, statuses, clients, ..Window::default() };
    Observed { measured: Some(Measured { windows: vec![window], ..Measured::default() }), ..Observed::default() }
}

/// Returns measurements of a minute with this many requests.
fn came(requests: u64) -> Observed {
    let arrivals = vec![Arrivals { requests, span: Duration::from_secs(60) }];
    Observed { measured: Some(Measured { arrivals, ..Measured::default() }), ..Observed::default() }
}

/// Returns the behaviour of a route with ten requests a second.
fn usual() -> Observed {
    let traffic = Traffic::of(&[Arrivals { requests: 100, span: Duration::from_secs(10) }; 60]);
    let lately =
        Baseline::of(&[Counted { requests: 6000, errors: 0 }]).map(|baseline| Baseline { traffic, ..baseline });
    Observed { lately, ..Observed::default() }
}

/// Creates a proxy that comes back at 14:30.
fn returned(policy: &str) -> Rehearsal {
    let mut proxy = web(policy);
    proxy.observe(usual()).at("13:00:00");
    proxy.flag(OFFLINE).at("14:00:00");
    proxy.observe(Observed::default()).at("14:01:00");
    assert_eq!(proxy.flag("").at("14:30:00"), "open since 14:30:00: the flag was lifted");
    proxy
}

#[test]
fn a_status_closes_the_route_unless_few_clients_get_it() {
    for (observed, closes) in
        [(refused(100, 0), false), (refused(200, 0), true), (refused(200, 1), false), (refused(1000, 50), false)]
    {
        let told = returned(POLICY).observe(observed.clone()).at("14:31:00");
        assert_eq!(told.starts_with("draining"), closes, "{told} {observed:?}");
    }
}

#[test]
fn a_drop_that_is_told_closes_nothing_not_even_after_a_restart() {
    let mut proxy = returned(POLICY);
    let told = "open since 14:30:00: the guard warns: 50 requests came in 60 s, at least 120 should";
    assert!(proxy.observe(came(50)).at("14:32:00").starts_with(told));
    proxy.restart().observe(Observed::default());
    assert!(proxy.at("14:32:01").starts_with(told));
    assert!(proxy.observe(refused(0, 0)).at("14:32:02").contains("the guard finds nothing any more"));
    assert!(proxy.observe(refused(200, 0)).at("14:33:00").starts_with("draining"), "errors close as before");
}

#[test]
fn a_drop_closes_by_choice_whatever_other_breaches_do() {
    let closing = POLICY.replace("traffic =", "on_breach = \"warn\", on_drop = \"close\", traffic =");
    assert!(returned(&closing).observe(came(50)).at("14:32:00").starts_with("draining"));
    let warned = returned(&closing).observe(refused(200, 0)).at("14:32:00");
    assert!(
        warned.starts_with("open since 14:30:00: the guard warns: 20% of requests were answered with 401"),
        "{warned}"
    );
    let mut proxy = returned(&closing);
    proxy.observe(Observed { lately: None, ..came(120) });
    assert_eq!(proxy.at("14:32:00"), "open since 14:30:00: the flag was lifted");
}

#[test]
fn a_baseline_of_another_version_is_read_and_its_statuses_are_kept_by_name() {
    let old: Baseline = serde_json::from_str(r#"{"requests":9,"errors":1,"hanging":7}"#).unwrap();
    assert!(old.statuses.is_empty() && old.traffic.is_none());
    let text =
        r#"{"requests":9,"errors":1,"statuses":{"401":{"requests":9,"answered":2},"7xx":{"requests":1,"answered":1}}}"#;
    let new: Baseline = serde_json::from_str(text).unwrap();
    assert_eq!(new.statuses.get(Statuses::One(401)).map(|usual| usual.answered), Some(2));
    let usual = usual().lately.unwrap();
    assert_eq!(serde_json::from_str::<Baseline>(&serde_json::to_string(&usual).unwrap()).unwrap(), usual);
}
