//! What follows a breach: what visitors read, what operators are told, a second look, and another try.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Backsoon, Response, Upstream, ask_until, get, request, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// Upstream whose pages and checks fail on command. It counts its checks.
struct Service {
    upstream: Upstream,
    fails: Arc<AtomicBool>,
    checks: Arc<AtomicU64>,
}

impl Service {
    fn start() -> Self {
        let (fails, checks): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (own, count) = (Arc::clone(&fails), Arc::clone(&checks));
        let upstream = Upstream::handling(move |connection| {
            while let Some(request) = connection.request() {
                count.fetch_add(u64::from(request.contains("(verify)")), SeqCst);
                connection.send(if own.load(SeqCst) { BROKEN } else { OK });
            }
        });
        Self { upstream, fails, checks }
    }

    /// Starts a proxy with this policy, and lifts a hold by a window that says a lot.
    fn lifted(&self, policy: &str) -> Backsoon {
        let backsoon = Backsoon::before(&self.upstream.url(), &format!("drain = \"1ms\"\n{policy}\n"));
        backsoon.flag(&window(""));
        wait("the route to be closed", || phase(&backsoon) == "closed");
        backsoon.flag(&window(&format!("ended = {}\n", Timestamp::now())));
        backsoon
    }

    /// Lets requests fail until something holds.
    fn fail_until(&self, backsoon: &Backsoon, what: &str, condition: impl Fn() -> bool) {
        self.fails.store(true, SeqCst);
        ask_until(what, || {
            (0..10).for_each(|_| drop(get(backsoon.address(), "/")));
            condition()
        });
    }
}

fn window(more: &str) -> String {
    let later = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    format!(
        "[[windows]]\nid = \"M-1\"\ntitle = \"Moving house\"\nsummary = \"A bigger one.\"\nmessage = \"We move.\"\n\
         starts = {}\nends = {}\n{more}routes = {{ web = \"hold\" }}\n\
         [[windows.services]]\nname = \"Shop\"\neta = {}\n\
         [[windows.steps]]\ntitle = \"A last look\"\nauto = \"watch\"\n",
        later(-1),
        later(1),
        later(2)
    )
}

fn phase(backsoon: &Backsoon) -> String {
    backsoon.route("web")["phase"].as_str().unwrap().to_owned()
}

fn why(backsoon: &Backsoon) -> String {
    backsoon.route("web")["why"].as_str().unwrap().to_owned()
}

fn ask(backsoon: &Backsoon, path: &str, fields: &str) -> Response {
    request(backsoon.address(), &format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n"))
}

fn told(backsoon: &Backsoon, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    let output = command.args(args).arg("--config").arg(backsoon.path("backsoon.toml")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn visitors_read_that_a_problem_was_found_and_wait_for_nothing() {
    let service = Service::start();
    let backsoon = service.lifted("guard = { error_rate = \"5%\", min_requests = 20, ready = false }");
    wait("the route to be open", || phase(&backsoon) == "open");
    assert_eq!(get(backsoon.admin, "/readyz").status, 200);
    service.fail_until(&backsoon, "the guard to close the route", || phase(&backsoon) == "closed");
    for (accept, problem) in [
        ("text/html", "A problem was found"),
        ("text/html\r\naccept-language: de", "Ein Problem wurde gefunden"),
        ("text/html\r\naccept-language: ja", "問題が見つかりました"),
        ("text/plain", "A problem was found"),
        ("text/markdown", "# A problem was found"),
        ("application/xml", "<problem>true</problem>"),
        ("application/json", "\"problem\":true"),
        ("application/problem+json\r\naccept-encoding: gzip, br", "\"title\":\"A problem was found\""),
        ("*/*\r\nsec-fetch-dest: image", "503 a problem was found"),
    ] {
        wait(problem, || ask(&backsoon, "/", &format!("accept: {accept}\r\n")).body.contains(problem));
        let page = ask(&backsoon, "/", &format!("accept: {accept}\r\n"));
        assert_eq!(page.status, 503);
        for untrue in ["Moving house", "A bigger one", "We move.", "as soon as the work is done", "on schedule"] {
            assert!(!page.body.contains(untrue), "{accept}: {}", page.body);
        }
    }
    let page = ask(&backsoon, "/", "accept: application/json\r\n");
    let json: Value = serde_json::from_str(&page.body).unwrap();
    assert_eq!(page.field("retry-after"), Some(json["retry_after"].to_string().as_str()));
    assert_eq!((&json["mode"], &json["until"], &json["window"]), (&"offline".into(), &Value::Null, &Value::Null));
    assert_eq!((&json["services"][0]["eta"], &json["steps"][0]["state"]), (&Value::Null, &"failed".into()));
    let ready = get(backsoon.admin, "/readyz");
    let told: Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!((ready.status, &told["closed_by_guard"][0]), (503, &"web".into()), "{}", ready.body);
}

#[test]
fn a_guard_asks_the_checks_before_it_closes_and_may_try_again_by_itself() {
    let service = Service::start();
    let guard = "guard = { error_rate = \"5%\", min_requests = 20, retry_after = \"3s\" }";
    let backsoon = service.lifted(&format!("verify = [{{ get = \"/healthz\", every = \"50ms\" }}]\n{guard}"));
    wait("the route to be open", || phase(&backsoon) == "open");
    let before = service.checks.load(SeqCst);
    service.fail_until(&backsoon, "the guard to close the route", || phase(&backsoon) == "closed");
    assert!(service.checks.load(SeqCst) > before, "nothing was checked");
    assert!(why(&backsoon).contains("; a check fails: GET /healthz"), "{}", why(&backsoon));
    let history = told(&backsoon, &["history"]);
    assert!(history.contains("the guard asks the checks before it closes: "), "{history}");
    wait("a try in vain", || why(&backsoon).starts_with("a check fails"));
    assert!(told(&backsoon, &["history"]).contains("the guard closed it, and tries again"));
    service.fails.store(false, SeqCst);
    wait("a few clients to be let in", || backsoon.route("web")["share"] == 0.05);
    let status = told(&backsoon, &["status"]);
    assert!(status.contains("web is closed by its guard, which lets a few clients try it again"), "{status}");
}

#[test]
fn a_guard_that_only_warns_is_in_the_history_and_an_admitted_client_reads_of_no_503() {
    let service = Service::start();
    let ramp = "ramp = [\"99.99% at 0s\", \"100% at 10m\"]";
    let guard = "guard = { error_rate = \"5%\", min_requests = 20, on_breach = \"warn\" }";
    let backsoon = Backsoon::before(&service.upstream.url(), &format!("drain = \"1ms\"\n{ramp}\n{guard}\n"));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || phase(&backsoon) == "closed");
    assert!(ask(&backsoon, "/.backsoon/status", "accept: text/plain\r\n").body.contains("HTTP 503"));
    backsoon.unflag();
    wait("the route to ramp", || get(backsoon.address(), "/").status == 200);
    for accept in ["text/plain", "application/json", "text/html", "application/xml"] {
        let status = ask(&backsoon, "/.backsoon/status", &format!("accept: {accept}\r\n"));
        assert!(status.status == 200 && !status.body.contains("503"), "{accept}: {}", status.body);
    }
    service.fail_until(&backsoon, "the guard to warn", || why(&backsoon).starts_with("the guard warns: "));
    assert_eq!(phase(&backsoon), "ramping");
    let history = told(&backsoon, &["history"]);
    assert!(history.lines().any(|line| line.contains("ramping  ") && line.contains("the guard warns: ")), "{history}");
}
