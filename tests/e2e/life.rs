//! A maintenance from end to end: announced, drained, closed, checked, ramped, watched. The proxy dies in each phase,
//! and the history tells all of it.

use std::io::BufRead;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, replace, request, wait};
use crate::wire::{next, observed};

/// Directory that outlives its proxies.
struct Place(tempfile::TempDir);

impl Place {
    fn new(routes: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("backsoon.toml"), format!("workers = 2\n{LISTEN}{routes}")).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self) -> Backsoon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(["run", "--config"]).arg(self.path().join("backsoon.toml"));
        Backsoon::spawn(tempfile::tempdir().unwrap(), command)
    }

    fn flag(&self, text: &str) {
        replace(&self.path().join("maintenance.toml"), text);
    }

    fn command(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_backsoon")).args(args).current_dir(self.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    }
}

fn until(backsoon: &Backsoon, phase: &str) {
    wait(phase, || backsoon.route("web")["phase"] == phase);
}

/// Returns the instant this many milliseconds from now.
fn soon(millis: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_millis(millis)
}

/// Returns an upstream whose checks fail as long as told to.
fn upstream(fails: &Arc<AtomicBool>) -> Upstream {
    let fails = Arc::clone(fails);
    Upstream::handling(move |connection| {
        while let Some(request) = connection.request() {
            let broken = fails.load(SeqCst) && request.contains("(verify)");
            let status = if broken { "500 Oh" } else { "200 OK" };
            connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello"));
        }
    })
}

#[test]
fn a_proxy_that_is_killed_finds_every_phase_again() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = upstream(&fails);
    let policy =
        "drain = \"20s\"\nramp = \"1h\"\nverify = [{ get = \"/\", every = \"50ms\" }]\nguard = { error_rate = \"5%\" }";
    let (slow, connections) = observed();
    let place = Place::new(&format!(
        "[routes.web]\nupstream = \"{}\"\n{policy}\n[routes.slow]\npath = \"/slow\"\nupstream = \"{}\"\ndrain = \"20s\"\n",
        upstream.url(),
        slow.url()
    ));
    let backsoon = place.run();
    until(&backsoon, "open");
    fails.store(true, SeqCst);
    let mut client = Client::connect(backsoon.address());
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    place.flag("[routes]\n\"*\" = \"offline\"\n");
    until(&backsoon, "closed");
    assert_eq!(backsoon.route("slow")["phase"], "draining");
    wait("what is left to be counted", || backsoon.route("slow")["remaining"] == 1);
    drop(backsoon);

    // Killed while it drained and while it was closed: nothing is in flight any more.
    let backsoon = place.run();
    assert_eq!(backsoon.route("slow")["phase"], "closed");
    let web = backsoon.route("web");
    assert_eq!((&web["phase"], get(backsoon.address(), "/").status), (&"closed".into(), 503));
    place.flag("# over\n");
    until(&backsoon, "verifying");
    let since = backsoon.route("web")["since"].clone();
    drop(backsoon);

    // Killed while the route was checked, when the flag file no longer mentions it.
    let backsoon = place.run();
    let web = backsoon.route("web");
    assert_eq!((&web["phase"], &web["since"], get(backsoon.address(), "/").status), (&"verifying".into(), &since, 503));
    fails.store(false, SeqCst);
    until(&backsoon, "ramping");
    let before = backsoon.route("web");
    drop(backsoon);

    // Killed while the route came back.
    let backsoon = place.run();
    let after = backsoon.route("web");
    assert_eq!((&after["phase"], &after["since"]), (&"ramping".into(), &before["since"]));
    assert!(after["share"].as_f64() >= before["share"].as_f64(), "{before} {after}");
    // The history covers all of that.
    let (code, history, _) = place.command(&["history", "--route", "web", "--json"]);
    assert_eq!(code, Some(0));
    let told: Vec<String> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["event"] == "phase")
        .map(|line| format!("{} {}", line["from"].as_str().unwrap(), line["to"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "closed verifying",
            "verifying open",
            "open draining",
            "draining closed",
            "closed verifying",
            "verifying ramping"
        ]
    );
}

#[test]
fn a_window_is_announced_comes_by_itself_and_goes() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let (starts, ends) = (soon(2500), soon(4500));
    backsoon.flag(&format!(
        "[[windows]]\nid = \"M-1\"\nstarts = {starts}\nends = {ends}\nannounce = \"1h\"\nroutes = {{ web = \"offline\" }}\n"
    ));
    let open = get(backsoon.address(), "/");
    let expected =
        format!("announced;mode=offline;starts=@{};ends=@{};id=\"M-1\"", starts.as_second(), ends.as_second());
    assert_eq!((open.status, open.field("maintenance")), (200, Some(expected.as_str())));
    let told: Value = serde_json::from_str(&get(backsoon.address(), "/.backsoon/status").body).unwrap();
    assert_eq!((&told["phase"], &told["announced"][0]["window"]), (&"open".into(), &"M-1".into()));
    let web = backsoon.route("web");
    assert_eq!((&web["announced"][0]["window"], &web["next"]["phase"]), (&"M-1".into(), &"closed".into()));
    until(&backsoon, "closed");
    assert!(Timestamp::now() >= starts);
    let closed = get(backsoon.address(), "/");
    assert_eq!((closed.status, closed.field("maintenance")), (503, None));
    until(&backsoon, "open");
    assert!(Timestamp::now() >= ends);
    let open = get(backsoon.address(), "/");
    assert_eq!((open.status, open.field("maintenance")), (200, None));
}

#[test]
fn a_flag_that_expires_by_itself_comes_back_in_all_its_phases() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = upstream(&fails);
    let policy = "verify = [{ get = \"/\", times = 2, every = \"50ms\" }]\nramp = \"1s\"\nguard = { p99 = \"5s\", watch = \"200ms\" }";
    let place = Place::new(&format!("[routes.web]\nupstream = \"{}\"\n{policy}\n", upstream.url()));
    let backsoon = place.run();
    until(&backsoon, "open");
    let until = Timestamp::now() + SignedDuration::from_millis(800);
    place.flag(&format!("[routes.web]\nmode = \"offline\"\nuntil = {until}\n"));
    let phases = || -> Vec<String> {
        let (_, history, _) = place.command(&["history", "--json"]);
        let lines = history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == "phase").map(|line| line["to"].as_str().unwrap().to_owned()).collect()
    };
    wait("all of its life", || phases().len() > 2 && phases().last().is_some_and(|phase| phase == "open"));
    assert_eq!(phases(), ["verifying", "open", "draining", "closed", "verifying", "ramping", "open"]);
    wait("the watch to be over", || backsoon.route("web")["watched_until"].is_null());
    // Clients of one address are admitted together, and in the end everybody is.
    assert_eq!(get(backsoon.address(), "/").status, 200);
}

#[test]
fn wait_returns_when_nothing_is_in_flight_any_more_and_has_a_code_for_giving_up() {
    let (upstream, connections) = observed();
    let place = Place::new("");
    let admin = format!("unix:{}", place.path().join("admin.sock").display());
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{admin}\"\n[routes.web]\nupstream = \"{}\"\n",
        upstream.url()
    );
    std::fs::write(place.path().join("backsoon.toml"), config).unwrap();
    let backsoon = place.run();
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let (code, _, error) = place.command(&["on", "web", "--wait", "--timeout", "1s"]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("not drained: web (1 request)"), "{error}");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.command(&["on", "web", "--wait"]));
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(client.response().body, "hello");
        waiting.join().unwrap()
    });
    assert_eq!(waiting.0, Some(0), "{}", waiting.2);
    assert!(waiting.1.ends_with("nothing is in flight at this proxy that began before\n"), "{}", waiting.1);
}

#[test]
fn steps_follow_what_happens_and_what_a_script_reports() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = upstream(&fails);
    let policy = "drain = \"1s\"\nverify = [{ get = \"/\", times = 2, every = \"50ms\" }]";
    let place = Place::new(&format!("[routes.web]\nupstream = \"{}\"\n{policy}\n", upstream.url()));
    let backsoon = place.run();
    until(&backsoon, "open");
    fails.store(true, SeqCst);
    place.flag(&format!(
        "[[windows]]\nid = \"M-1\"\nstarts = {}\nends = {}\nroutes = {{ web = \"offline\" }}\n\
         [[windows.steps]]\ntitle = \"Drain\"\nauto = \"drain\"\n[[windows.steps]]\ntitle = \"Migrate\"\n\
         [[windows.steps]]\ntitle = \"Smoke tests\"\nauto = \"verify\"\n",
        soon(-1000),
        soon(60_000)
    ));
    let steps = || -> Vec<String> {
        let answer = request(
            backsoon.address(),
            "GET /.backsoon/status HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n",
        );
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let steps = told["steps"].as_array().cloned().unwrap_or_default();
        steps.iter().map(|step| step["state"].as_str().unwrap_or_default().to_owned()).collect()
    };
    wait("the drain to be done", || steps() == ["done", "pending", "pending"]);
    assert_eq!(place.command(&["step", "M-1", "2", "progress", "3/7"]).0, Some(0));
    wait("the migration to run", || steps() == ["done", "running", "pending"]);
    assert_eq!(place.command(&["step", "M-1", "2", "done"]).0, Some(0));
    wait("the migration to be done", || steps() == ["done", "done", "pending"]);
    assert_eq!(place.command(&["off", "--window", "M-1"]).0, Some(0));
    wait("the checks to fail", || steps() == ["done", "done", "failed"]);
    let (code, _, error) = place.command(&["step", "M-1", "3", "done"]);
    assert_eq!(code, Some(64));
    assert!(error.contains("step 3 moves by itself"), "{error}");
    fails.store(false, SeqCst);
    until(&backsoon, "open");
}

#[test]
fn who_watches_the_page_goes_when_its_turn_comes() {
    let upstream = Upstream::ok();
    let place = Place::new(&format!(
        "[routes.web]\nupstream = \"{}\"\nramp = [\"50% at 0s\", \"100% at 6s\"]\n",
        upstream.url()
    ));
    let config = std::fs::read_to_string(place.path().join("backsoon.toml")).unwrap();
    std::fs::write(place.path().join("backsoon.toml"), format!("trusted_proxies = [\"127.0.0.1\"]\n{config}")).unwrap();
    let backsoon = place.run();
    place.flag("[routes]\nweb = \"offline\"\n");
    until(&backsoon, "closed");
    let ask = |client: usize| {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.{client}\r\n\r\n");
        request(backsoon.address(), &head).status
    };
    let watch = |client: usize| {
        let mut stream = Client::connect(backsoon.address());
        stream.send(format!("GET /.backsoon/events/ HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.{client}\r\n\r\n"));
        stream.head();
        stream
    };
    let mut watchers: Vec<Client> = (0..60).map(watch).collect();
    place.flag("# over\n");
    until(&backsoon, "ramping");
    let admitted: Vec<bool> = (0..60).map(|client| ask(client) == 200).collect();
    let count = admitted.iter().filter(|admitted| **admitted).count();
    assert!((12..=48).contains(&count), "{count} of 60");
    // An admitted client's stream ends with `open`; the others still hear of the page.
    let heard = |watcher: &mut Client| {
        let mut line = String::new();
        while !line.starts_with("event: open") {
            line.clear();
            assert!(watcher.stream.read_line(&mut line).unwrap() > 0, "the stream ended without the word");
        }
    };
    let phase = || backsoon.route("web")["phase"].clone();
    for (client, watcher) in watchers.iter_mut().enumerate().filter(|(client, _)| admitted[*client]) {
        heard(watcher);
        assert_eq!(ask(client), 200);
    }
    assert_eq!(phase(), "ramping", "they heard it before everybody did");
    watchers.iter_mut().enumerate().filter(|(client, _)| !admitted[*client]).for_each(|(_, watcher)| heard(watcher));
    until(&backsoon, "open");
    // A client that was admitted stays admitted.
    assert!((0..60).all(|client| ask(client) == 200));
}
