//! A route comes back once its smoke tests have passed, and stays back as long as its guard is content.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, LISTEN, Upstream, ask_until, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// Returns an upstream that fails on command.
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
    let fails = Arc::new(AtomicBool::new(false));
    let (upstream, probed) = upstream(&fails);
    let verify = "drain = \"1ms\"\nverify = [{ get = \"/healthz\", times = 3, every = \"50ms\" }]";
    let backsoon = Backsoon::before(&upstream.url(), verify);
    wait("the first pass of the start", || phase(&backsoon) == "open");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(&backsoon) == "closed");
    fails.store(true, SeqCst);
    let at_the_start = probed.load(SeqCst);
    assert!(at_the_start > 0, "nothing was known");
    backsoon.unflag();
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
fn a_guard_closes_a_route_that_fails_and_every_command_names_it() {
    let fails = Arc::new(AtomicBool::new(false));
    let (upstream, _) = upstream(&fails);
    let guard = "drain = \"1ms\"\nguard = { error_rate = \"baseline + 5%\", min_requests = 50 }";
    let backsoon = Backsoon::before(&upstream.url(), guard);
    let ask = || get(backsoon.address(), "/").status;
    (0..60).for_each(|_| assert_eq!(ask(), 200));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(&backsoon) == "closed");
    backsoon.unflag();
    wait("the route to be open", || phase(&backsoon) == "open");
    fails.store(true, SeqCst);
    let failing = Instant::now();
    ask_until("the route to be closed again", || ask() == 503);
    let took = failing.elapsed();
    println!("closed after {took:?}");
    // Failures that fit into two stretches are an incident.
    assert!(took > Duration::from_secs(6), "{took:?}");
    let route = backsoon.route("web");
    let why = route["why"].as_str().unwrap();
    assert!(why.starts_with("the guard tripped: ") && why.contains(" of requests failed ("), "{why}");
    assert_eq!(route["source"], "guard", "the flag that was lifted is not to blame");
    let told = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        let config = backsoon.path("backsoon.toml");
        String::from_utf8(command.args(args).arg("--config").arg(config).output().unwrap().stdout).unwrap()
    };
    let explained = told(&["explain", "http://any/"]);
    assert!(explained.contains("the guard keeps it offline: ") && explained.contains("off web --force"), "{explained}");
    assert!(told(&["explain", "http://any/", "--json"]).contains("\"source\": \"guard\""));
    assert!(told(&["history", "--json"]).contains("\"source\":\"guard\""));
}

/// Returns an upstream with some bad paths, and with all paths bad on command.
fn uneven(fails: &Arc<AtomicBool>) -> Upstream {
    let fails = Arc::clone(fails);
    Upstream::handling(move |connection| {
        while let Some(request) = connection.request() {
            let asks = |path: &str| request.starts_with(&format!("GET {path} "));
            if asks("/hangs") {
                while connection.byte().is_some() {}
                return;
            }
            if asks("/slow") {
                std::thread::sleep(Duration::from_millis(300));
            }
            connection.send(if asks("/bad") || fails.load(SeqCst) { BROKEN } else { OK });
        }
    })
}

/// Returns an open route that was down and is watched by this guard. With two workers, clients connect to both.
fn watched(upstream: &Upstream, guard: &str) -> Backsoon {
    watched_by(upstream, guard, "")
}

/// Like [`watched`], behind a trusted proxy.
fn trusting(upstream: &Upstream, guard: &str) -> Backsoon {
    watched_by(upstream, guard, "trusted_proxies = [\"127.0.0.1\"]\n")
}

fn watched_by(upstream: &Upstream, guard: &str, more: &str) -> Backsoon {
    let backsoon = Backsoon::start(&format!(
        "workers = 2\n{more}{LISTEN}[routes.web]\nupstream = \"{}\"\ndrain = \"1ms\"\nguard = {{ {guard}, watch = \"10m\" }}\n",
        upstream.url()
    ));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(&backsoon) == "closed");
    backsoon.unflag();
    wait("the route to be open", || phase(&backsoon) == "open");
    backsoon
}

/// Returns the status of an answer to the client at 127.0.0.`last`.
fn from(last: u8, backsoon: &Backsoon, path: &str) -> u16 {
    let mut client = Client::from(last, backsoon.address());
    client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    client.response().status
}

/// Sends requests of honest clients beside bad ones, for as long as a guard needs to notice, and expects every answer.
fn stays_open(backsoon: &Backsoon, honest: &[u8], bad: impl Fn()) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(9500) {
        bad();
        for &last in honest {
            assert_eq!(from(last, backsoon, "/"), 200, "{}", backsoon.route("web"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(phase(backsoon), "open");
}

#[test]
fn one_client_whose_requests_fail_does_not_close_the_route_and_all_do() {
    let fails = Arc::new(AtomicBool::new(false));
    let backsoon = watched(&uneven(&fails), "error_rate = \"5%\", min_requests = 20");
    let honest = [2, 3, 4];
    stays_open(&backsoon, &honest, || (0..10).for_each(|_| assert_eq!(from(9, &backsoon, "/bad"), 500)));
    fails.store(true, SeqCst);
    let mut turns = honest.iter().cycle();
    ask_until("the route to be closed", || from(*turns.next().unwrap(), &backsoon, "/") == 503);
}

#[test]
fn a_client_has_all_of_its_64_and_is_whom_trusted_proxies_name() {
    let backsoon = trusting(&uneven(&Arc::default()), "error_rate = \"5%\", min_requests = 20");
    let ask = |address: String, path: &str| {
        let mut client = Client::connect(backsoon.address());
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {address}\r\nconnection: close\r\n\r\n"));
        client.response().status
    };
    let (began, mut hosts) = (Instant::now(), 1..);
    while began.elapsed() < Duration::from_millis(9500) {
        assert_eq!(ask(format!("2001:db8::{:x}", hosts.next().unwrap()), "/bad"), 500);
        (1..4).for_each(|host| assert_eq!(ask(format!("192.0.2.{host}"), "/"), 200));
    }
    assert_eq!(phase(&backsoon), "open");
    // As many networks as it takes to trip the guard.
    let mut networks = 1..;
    ask_until("the route to be closed", || ask(format!("2001:db8:0:{:x}::1", networks.next().unwrap()), "/bad") == 503);
}

#[test]
fn one_clients_slow_requests_do_not_close_the_route_and_those_of_all_do() {
    let backsoon = watched(&uneven(&Arc::default()), "p99 = \"200ms\", min_requests = 20");
    let honest = [2, 3, 4];
    let slow = |clients: &[u8]| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = clients.iter().map(|last| scope.spawn(|| from(*last, &backsoon, "/slow"))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    };
    stays_open(&backsoon, &honest, || assert_eq!(slow(&[9; 10]), [200; 10]));
    ask_until("the route to be closed", || slow(&[2, 3, 4, 2, 3, 4]).contains(&503));
}

#[test]
fn one_clients_hanging_requests_do_not_close_the_route_and_those_of_all_do() {
    let backsoon = watched(&uneven(&Arc::default()), "zombies = \"at most 10\"");
    let honest = [2, 3, 4];
    let hang = |last| {
        let mut client = Client::from(last, backsoon.address());
        client.send("GET /hangs HTTP/1.1\r\nhost: a\r\n\r\n");
        client
    };
    let _stranger: Vec<Client> = (0..40).map(|_| hang(9)).collect();
    stays_open(&backsoon, &honest, || ());
    stays_open(&backsoon, &honest, || ());
    let _others: Vec<Client> = (20..32).map(hang).collect();
    wait("the route to be closed", || from(2, &backsoon, "/") == 503);
    let why = backsoon.route("web")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("hang for more than 10 s"), "{why}");
}
