//! Checks of upstreams: who fails is left out, and the route opens with those that pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use serde_json::Value;

use crate::command::{Done, run};
use crate::support::{Backsoon, LISTEN, Upstream, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// An upstream whose checks fail on command. Other requests are always answered well, and counted.
struct Service {
    upstream: Upstream,
    fails: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
}

impl Service {
    fn new(fails: bool) -> Self {
        let (fails, served) = (Arc::new(AtomicBool::new(fails)), Arc::new(AtomicU64::new(0)));
        let (failing, count) = (Arc::clone(&fails), Arc::clone(&served));
        let upstream = Upstream::handling(move |connection| {
            while let Some(request) = connection.request() {
                let is_check = request.contains("(verify)");
                count.fetch_add(u64::from(!is_check), SeqCst);
                connection.send(if is_check && failing.load(SeqCst) { BROKEN } else { OK });
            }
        });
        Self { upstream, fails, served }
    }

    fn served(&self) -> u64 {
        self.served.load(SeqCst)
    }
}

fn before(services: &[Service], policy: &str) -> Backsoon {
    let urls: Vec<String> = services.iter().map(|service| format!("{:?}", service.upstream.url())).collect();
    let policy = format!("drain = \"1ms\"\nverify = [{{ get = \"/healthz\", times = 2, every = \"50ms\" }}]\n{policy}");
    Backsoon::start(&format!("{LISTEN}[routes.web]\nupstream = [{}]\n{policy}", urls.join(", ")))
}

fn phase(backsoon: &Backsoon) -> String {
    backsoon.route("web")["phase"].as_str().unwrap().to_owned()
}

/// Closes the route, and lifts the flag.
fn close_and_lift(backsoon: &Backsoon) {
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(backsoon) == "closed");
    backsoon.unflag();
}

#[test]
fn one_of_three_that_fails_is_left_out_and_told_of_and_used_again_once_it_passes() {
    let services = [Service::new(false), Service::new(true), Service::new(false)];
    let mut backsoon = before(&services, "");
    close_and_lift(&backsoon);
    wait("the route to open", || phase(&backsoon) == "open");
    (0..30).for_each(|_| assert_eq!(get(backsoon.address(), "/").status, 200));
    assert_eq!(services[1].served(), 0, "who fails is not asked");
    assert!(services[0].served() > 0 && services[2].served() > 0);
    let upstream = services[1].upstream.url();
    let told = &backsoon.route("web")["upstreams"];
    let failure = format!("GET /healthz on {upstream} answered 500, expected 200");
    assert_eq!(told[1]["left_out"], failure.as_str(), "{told}");
    assert!(told[0].get("left_out").is_none() && told[2].get("left_out").is_none(), "{told}");
    let labels = format!("route=\"web\",upstream=\"{upstream}\"");
    assert_eq!(backsoon.metric("backsoon_upstream_left_out", &labels), 1.0);
    assert_eq!(backsoon.wait_for_log("the route goes without an upstream that fails its checks")["upstream"], upstream);
    services[1].fails.store(false, SeqCst);
    wait("it to be used again", || get(backsoon.address(), "/").status == 200 && services[1].served() > 0);
    assert_eq!(backsoon.metric("backsoon_upstream_left_out", &labels), 0.0);
}

#[test]
fn all_can_be_asked_for_and_without_a_quorum_the_route_stays_closed() {
    for (quorum, services) in [
        ("quorum = \"all\"", vec![Service::new(false), Service::new(true), Service::new(false)]),
        ("quorum = 2", vec![Service::new(true), Service::new(true), Service::new(false)]),
        ("", vec![Service::new(true), Service::new(true)]),
    ] {
        let backsoon = before(&services, quorum);
        close_and_lift(&backsoon);
        wait("a failure to be told", || backsoon.route("web")["why"].as_str().unwrap().starts_with("a check fails"));
        assert_eq!((phase(&backsoon).as_str(), get(backsoon.address(), "/").status), ("verifying", 503), "{quorum}");
        services[1].fails.store(false, SeqCst);
        services[0].fails.store(false, SeqCst);
        wait("the route to open", || phase(&backsoon) == "open");
    }
}

/// Runs `backsoon verify` with the proxy's config.
fn verify(backsoon: &Backsoon, args: &[&str]) -> Done {
    run(backsoon.dir.path(), &[&["verify"], args].concat())
}

#[test]
fn verify_has_the_running_proxy_try_the_checks_now_and_status_tells_what_came() {
    let services = [Service::new(false), Service::new(true), Service::new(false)];
    let backsoon =
        before(&services, "[routes.plain]\nhost = \"plain.example.com\"\nupstream = \"http://127.0.0.1:1\"\n");
    let fails = format!("{}  ", services[1].upstream.url());
    let done = verify(&backsoon, &[]).exits(0).says("web would open: 2 of 3 upstreams pass, 2 must");
    let row = done.out.lines().find(|line| line.contains(&fails)).unwrap();
    assert!(row.starts_with("  fails   GET /healthz  ") && row.ends_with("  answered 500, expected 200"), "{row}");
    done.says(&format!("checked by the proxy at {}", backsoon.admin)).keeps_quiet_of("plain");
    assert_eq!(backsoon.route("web")["outlook"]["opens"], true);
    services[0].fails.store(true, SeqCst);
    verify(&backsoon, &["web"]).exits(1).says("web would stay closed: 1 of 3 upstreams pass, 2 must");
    let outlook = backsoon.route("web")["outlook"].clone();
    assert_eq!(
        (&outlook["opens"], outlook["failures"].as_array().unwrap().len()),
        (&Value::from(false), 2),
        "{outlook}"
    );
    assert_eq!(backsoon.metric("backsoon_route_checks_would_fail", "route=\"web\""), 1.0);
    let told = "the checks of web would fail now: GET /healthz on ";
    run(backsoon.dir.path(), &["status"]).exits(1).says(told);
    let json: Value = serde_json::from_str(&verify(&backsoon, &["--json"]).exits(1).out).unwrap();
    let attempts = json[0]["verified"]["routes"][0]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), attempts[2]["failure"].is_null()), (3, true), "{json}");
    // Nothing was closed by that.
    assert_eq!((phase(&backsoon).as_str(), get(backsoon.address(), "/").status), ("open", 200));
    let admin = backsoon.admin.to_string();
    verify(&backsoon, &["--admin", &admin, "--admin", &admin]).exits(1).says(&admin);
    verify(&backsoon, &["plain"]).exits(64).complains("the route `plain` has no checks");
    verify(&backsoon, &["wbe"]).exits(64).complains("wbe");
    // One that gives no answer does not hide what the others find.
    let one_is_gone = verify(&backsoon, &["--admin", "127.0.0.1:1", "--admin", &admin]).exits(69);
    one_is_gone.says("web would stay closed").complains("127.0.0.1:1 cannot be asked").complains("start that proxy");
}

#[test]
fn verify_checks_from_its_own_process_where_no_proxy_can_be_asked() {
    let service = Service::new(false);
    let dir = tempfile::tempdir().unwrap();
    let config = |admin: &str| {
        let route = format!("[routes.web]\nupstream = {:?}\nverify = {{ get = \"/\" }}\n", service.upstream.url());
        std::fs::write(
            dir.path().join("backsoon.toml"),
            format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{admin}{route}"),
        )
        .unwrap();
    };
    for (admin, why) in [
        ("", "the config has no `[admin]`: this process checks by `backsoon.toml`"),
        ("[admin]\naddress = \"127.0.0.1:1\"\n", "the proxy at 127.0.0.1:1 cannot be asked"),
    ] {
        config(admin);
        service.fails.store(false, SeqCst);
        run(dir.path(), &["verify"]).exits(0).complains(why).says("checked from here\nweb would open: 1 of 1");
        service.fails.store(true, SeqCst);
        run(dir.path(), &["verify", "web"]).exits(1).says("answered 500, expected 200");
    }
    run(dir.path(), &["verify", "wbe"]).exits(64).complains("did you mean `web`?");
}

#[test]
fn health_leaves_out_who_fails_while_the_route_is_open_and_never_all() {
    let services = [Service::new(false), Service::new(false)];
    let urls: Vec<String> = services.iter().map(|service| format!("{:?}", service.upstream.url())).collect();
    let health = "health = { get = \"/healthz\", every = \"20ms\", fails = 2, times = 2 }";
    let config = format!("{LISTEN}[routes.web]\nupstream = [{}]\n{health}\n", urls.join(", "));
    let mut backsoon = Backsoon::start(&config);
    let left_out = |backsoon: &Backsoon| -> Vec<bool> {
        let route = backsoon.route("web");
        route["upstreams"].as_array().unwrap().iter().map(|upstream| upstream["left_out"].is_string()).collect()
    };
    services[0].fails.store(true, SeqCst);
    wait("it to be left out", || left_out(&backsoon) == [true, false]);
    let told = backsoon.wait_for_log("the route goes without an upstream that fails its checks");
    assert_eq!(told["upstream"], services[0].upstream.url());
    let so_far = services[0].served();
    (0..20).for_each(|_| assert_eq!(get(backsoon.address(), "/").status, 200));
    assert_eq!(services[0].served(), so_far, "who fails is not asked");
    services[1].fails.store(true, SeqCst);
    wait("all to be used", || left_out(&backsoon) == [false, false]);
    let told = backsoon.wait_for_log("all upstreams fail their health checks, and are used all the same");
    assert_eq!(told["route"], "web");
    let unwell = |upstream: &Value| upstream["unwell"].is_string();
    assert!(backsoon.route("web")["upstreams"].as_array().unwrap().iter().all(unwell));
    assert_eq!(backsoon.metric("backsoon_route_all_unwell", "route=\"web\""), 1.0);
    assert_eq!((phase(&backsoon).as_str(), get(backsoon.address(), "/").status), ("open", 200));
    services[0].fails.store(false, SeqCst);
    wait("the other to be left out", || left_out(&backsoon) == [false, true]);
    services[1].fails.store(false, SeqCst);
    wait("both to be used", || left_out(&backsoon) == [false, false]);
}
