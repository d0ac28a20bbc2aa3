//! What a guard knows of the time before a maintenance.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::{Backsoon, LISTEN, Upstream, ask_until, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const FILE: &str = "state/backsoon.baselines.json";

const REFUSED: &str = "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// Returns an upstream whose paths with `bad` in them fail.
fn upstream() -> Upstream {
    Upstream::handling(|connection| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap_or_default();
            connection.send(if path.contains("bad") { BROKEN } else { OK });
        }
    })
}

/// Returns the config of a proxy whose route `web` has a guard.
fn config(upstream: &Upstream) -> String {
    config_with(upstream, "")
}

fn config_with(upstream: &Upstream, more: &str) -> String {
    let guard = format!("drain = \"1ms\"\nguard = {{ error_rate = \"baseline + 1%\"{more} }}\n");
    format!("state_dir = \"state\"\n{LISTEN}[routes.web]\nupstream = \"{}\"\n{guard}", upstream.url())
}

/// Ends a proxy, and returns the baselines that it remembered.
fn remembered(backsoon: &mut Backsoon) -> String {
    let pid = backsoon.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    wait("the proxy to end", || backsoon.child.try_wait().unwrap().is_some());
    std::fs::read_to_string(backsoon.path(FILE)).unwrap()
}

fn unjudged_once_closed(backsoon: &Backsoon) -> String {
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || backsoon.route("web")["phase"] == "closed");
    backsoon.route("web")["unjudged"].to_string()
}

#[test]
fn an_unknown_baseline_is_told_and_a_known_one_outlasts_a_restart() {
    let upstream = upstream();
    let mut backsoon = Backsoon::start(&config(&upstream));
    assert_eq!(unjudged_once_closed(&backsoon), "[\"error_rate\"]");
    backsoon.unflag();
    wait("the route to be open", || backsoon.route("web")["phase"] == "open");
    backsoon = Backsoon::start(&config(&upstream));
    (0..5).for_each(|_| assert_eq!(get(backsoon.address(), "/").status, 200));
    let saved = remembered(&mut backsoon);
    assert!(saved.contains("\"requests\":5,\"errors\":0"), "{saved}");
    // The next process closes the route before any request.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join(FILE), saved).unwrap();
    let next = Backsoon::start_in(dir, &config(&upstream));
    assert_eq!(unjudged_once_closed(&next), "null");
}

#[test]
fn paths_that_the_guard_ignores_are_not_counted_by_it_and_are_by_metrics() {
    let upstream = upstream();
    let mut backsoon = Backsoon::start(&config_with(&upstream, ", ignore = [\"/reports/*\", \"/v1/*/bad\"]"));
    let ask = |path: &str| get(backsoon.address(), path).status;
    for path in ["/", "/bad", "/%72eports/bad"] {
        (0..5).for_each(|_| assert!([200, 500].contains(&ask(path)), "{path}"));
    }
    for path in ["/reports/bad", "/reports/good", "/v1/7/bad"] {
        (0..5).for_each(|_| assert!([200, 500].contains(&ask(path)), "{path}"));
    }
    let metric = |labels| backsoon.metric("backsoon_upstream_responses_total", labels);
    wait("the metrics to have all", || metric("route=\"web\",class=\"5xx\"") >= 20.0);
    let saved = remembered(&mut backsoon);
    assert!(saved.contains("\"requests\":15,\"errors\":10"), "{saved}");
}

#[test]
fn a_service_that_refuses_everybody_after_its_return_is_closed() {
    let refuses = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&refuses);
    let upstream = Upstream::handling(move |connection| {
        while connection.request().is_some() {
            connection.send(if own.load(SeqCst) { REFUSED } else { OK });
        }
    });
    let guard = "guard = { statuses = { 401 = \"baseline + 5%\", \"5xx\" = \"1%\" } }";
    let backsoon = Backsoon::before(&upstream.url(), &format!("drain = \"1ms\"\n{guard}\n"));
    (0..50).for_each(|_| assert_eq!(get(backsoon.address(), "/").status, 200));
    assert_eq!(unjudged_once_closed(&backsoon), "null", "the baseline knows how many 401 there were");
    refuses.store(true, SeqCst);
    backsoon.unflag();
    ask_until("the guard to close the route", || {
        (0..10).for_each(|_| drop(get(backsoon.address(), "/")));
        backsoon.route("web")["source"] == "guard"
    });
    let why = backsoon.route("web")["breach"]["what"].to_string();
    assert!(why.contains("100% of requests were answered with 401 ("), "{why}");
    assert!(why.contains("(before it was 0%, by chance up to "), "{why}");
}
