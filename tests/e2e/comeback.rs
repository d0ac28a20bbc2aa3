//! A route comes back: when its smoke tests have passed, and for as long as its guard is content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Upstream, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// An upstream that fails on command.
fn upstream(fails: &Arc<AtomicBool>) -> (Upstream, Arc<AtomicU64>) {
    let (fails, probed) = (Arc::clone(fails), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&probed);
    let upstream = Upstream::handling(move |connection| {
        while let Some(request) = connection.request() {
            if request.contains("(verify)") {
                count.fetch_add(1, SeqCst);
            }
            connection.send(if fails.load(SeqCst) { BROKEN } else { OK });
        }
    });
    (upstream, probed)
}

fn phase(backsoon: &Backsoon) -> String {
    backsoon.route("web")["phase"].as_str().unwrap().to_owned()
}

#[test]
fn a_route_stays_closed_and_says_why_until_its_checks_have_passed() {
    let fails = Arc::new(AtomicBool::new(true));
    let (upstream, probed) = upstream(&fails);
    let verify = "drain = \"1ms\"\nverify = [{ get = \"/healthz\", times = 3, every = \"50ms\" }]";
    let backsoon = Backsoon::before(&upstream.url(), verify);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(&backsoon) == "closed");
    assert_eq!(probed.load(SeqCst), 0);
    backsoon.flag("");
    let why = format!("a check fails: GET /healthz on {} answered 500, expected 200", upstream.url());
    wait("the reason", || backsoon.route("web")["why"] == why.as_str());
    assert_eq!((phase(&backsoon).as_str(), get(backsoon.address(), "/").status), ("verifying", 503));
    fails.store(false, SeqCst);
    wait("the route to open", || get(backsoon.address(), "/").status == 200);
    assert_eq!(phase(&backsoon), "open");
    let so_far = probed.load(SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(probed.load(SeqCst), so_far, "nothing is checked any more");
}

#[test]
fn a_guard_closes_the_route_within_two_seconds_of_its_threshold() {
    let fails = Arc::new(AtomicBool::new(false));
    let (upstream, _) = upstream(&fails);
    let guard = "drain = \"1ms\"\nguard = { error_rate = \"baseline + 5%\", min_requests = 50 }";
    let backsoon = Backsoon::before(&upstream.url(), guard);
    let ask = || get(backsoon.address(), "/").status;
    (0..60).for_each(|_| assert_eq!(ask(), 200));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(&backsoon) == "closed");
    backsoon.flag("");
    wait("the route to be open", || phase(&backsoon) == "open");
    // Enough to judge by, and then as many that fail as it takes.
    (0..60).for_each(|_| assert_eq!(ask(), 200));
    fails.store(true, SeqCst);
    (0..5).for_each(|_| assert_eq!(ask(), 500));
    let threshold = Instant::now();
    wait("the route to be closed again", || ask() == 503);
    let took = threshold.elapsed();
    println!("closed {took:?} after the threshold");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let route = backsoon.route("web");
    let why = route["why"].as_str().unwrap();
    assert!(why.starts_with("the guard tripped: ") && why.contains(" of requests failed ("), "{why}");
}
