//! What lifts comes back by one rule: with requests in flight, in another replica, and in a process without memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::command::run;
use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};

/// Returns an upstream whose checks fail on command. It answers `/slow` in halves: the second as soon as the checks pass.
fn upstream(fails: &Arc<AtomicBool>) -> Upstream {
    let fails = Arc::clone(fails);
    Upstream::handling(move |connection| {
        while let Some(request) = connection.request() {
            let broken = fails.load(SeqCst) && request.contains("(verify)");
            let status = if broken { "500 Oh" } else { "200 OK" };
            connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhe"));
            while request.starts_with("GET /slow") && !fails.load(SeqCst) {
                std::thread::sleep(PAUSE);
            }
            while request.starts_with("GET /slow") && fails.load(SeqCst) {
                std::thread::sleep(PAUSE);
            }
            connection.send("llo");
        }
    })
}

fn until(backsoon: &Backsoon, phase: &str) {
    wait(phase, || backsoon.route("web")["phase"] == phase);
}

#[test]
fn what_is_lifted_while_it_drains_is_checked_and_older_requests_go_on() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = upstream(&fails);
    let policy = "drain = \"10m\"\nverify = [{ get = \"/healthz\", every = \"50ms\" }]\nguard = { p99 = \"30s\" }";
    let backsoon = Backsoon::before(&upstream.url(), policy);
    until(&backsoon, "open");
    let mut client = Client::connect(backsoon.address());
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the download", || upstream.seen().contains("GET /slow"));
    // A window that began long ago is no slip of the finger.
    let (starts, ends) = ("2026-01-01T00:00:00Z", "2096-01-01T00:00:00Z");
    let window =
        format!("[[windows]]\nid = \"W\"\nstarts = {starts}\nends = {ends}\nroutes = {{ web = \"offline\" }}\n");
    backsoon.flag(&window);
    until(&backsoon, "draining");
    fails.store(true, SeqCst);
    backsoon.unflag();
    until(&backsoon, "verifying");
    assert_eq!(get(backsoon.address(), "/").status, 503);
    wait("the failing check", || backsoon.route("web")["why"].as_str().unwrap().contains("a check fails"));
    fails.store(false, SeqCst);
    until(&backsoon, "open");
    assert_eq!(client.response().body, "hello", "the download goes on");
    assert!(!backsoon.route("web")["watched_until"].is_null(), "its guard watches");
}

#[test]
fn a_replica_without_memory_does_not_open_what_its_checks_keep_closed() {
    let fails = Arc::new(AtomicBool::new(true));
    let upstream = upstream(&fails);
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\nverify = [{{ get = \"/\", every = \"50ms\" }}]\n",
        upstream.url()
    );
    let replica = Backsoon::start(&config);
    wait("the failing check", || replica.route("web")["why"].as_str().unwrap().contains("a check fails"));
    assert_eq!((get(replica.address(), "/").status, &replica.route("web")["phase"]), (503, &"verifying".into()));
    fails.store(false, SeqCst);
    wait("the first pass", || get(replica.address(), "/").status == 200);
}

#[test]
fn off_waits_until_the_route_is_open_or_says_why_it_is_not() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = upstream(&fails);
    let verify = "drain = \"1ms\"\nverify = [{ get = \"/\", every = \"50ms\" }]";
    let checked = Backsoon::before(&upstream.url(), verify);
    let ramping = Backsoon::before(&upstream.url(), "drain = \"1ms\"\nramp = \"5m\"");
    until(&checked, "open");
    let off = |backsoon: &Backsoon, more: &[&str]| {
        let admin = backsoon.admin.to_string();
        run(backsoon.dir.path(), &[&["off", "web", "--wait", "--admin", &admin], more].concat())
    };
    for backsoon in [&checked, &ramping] {
        backsoon.flag("[routes]\nweb = \"offline\"\n");
        until(backsoon, "closed");
    }
    fails.store(true, SeqCst);
    off(&checked, &["--timeout", "2s"])
        .exits(4)
        .tells(&format!("not open at {}", checked.admin))
        .tells("web is verifying: a check fails: GET /")
        .tells("backsoon off web --force opens it without the checks");
    off(&ramping, &["--timeout", "2s"]).exits(4).tells("web is ramping, 1% are admitted, everybody at ");
    off(&ramping, &["--now"]).exits(0).tells("web is open at this proxy\n");
    assert_eq!(get(ramping.address(), "/").status, 200);
    fails.store(false, SeqCst);
    off(&checked, &[]).exits(0).tells("web is open at this proxy\n");
    assert_eq!(get(checked.address(), "/").status, 200);
}

const PAUSE: Duration = Duration::from_millis(10);
