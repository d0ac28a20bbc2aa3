//! `/status`, `/events` and the page of the admin listener, and `backsoon status` as the one place to look.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, replace, request, sha256, wait};

// --- the admin listener

/// A follower of `/events`.
struct Follower(Client);

impl Follower {
    fn of(proxy: &Backsoon) -> Self {
        let mut client = Client::connect(proxy.admin);
        client.send("GET /events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n");
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
        Self(client)
    }

    /// Returns the name and the data of the next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let mut line = String::new();
            if self.0.stream.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = serde_json::from_str(text).unwrap();
            } else if line == "0" {
                return None;
            } else if line.is_empty() && !name.is_empty() {
                return Some((name, data));
            }
        }
    }

    /// Returns the next event for which a condition holds.
    fn until(&mut self, what: &str, condition: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().unwrap_or_else(|| panic!("the stream ended before {what}"));
            if condition(&name, &data) {
                return data;
            }
        }
    }
}

fn phase_is<'p>(phase: &'p str) -> impl Fn(&str, &Value) -> bool + 'p {
    move |name, data| name == "status" && data["routes"][0]["phase"] == phase
}

#[test]
fn followers_are_told_what_changes_and_when_it_ends() {
    let mut proxy = Backsoon::before(&Upstream::ok().url(), "");
    let mut follower = Follower::of(&proxy);
    let (name, first) = follower.next().unwrap();
    assert_eq!(name, "status");
    let mut asked = proxy.status();
    // Events do not tell the time.
    let now = asked.as_object_mut().unwrap().remove("now").unwrap();
    assert!(now.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{now}");
    // Computed anew for each answer.
    asked["published"] = first["published"].clone();
    assert_eq!(first, asked, "the first event is the whole status");
    proxy.flag("[routes]\nweb = \"offline\"\n");
    let closed = follower.until("the edit", phase_is("closed"));
    assert_eq!(closed["routes"][0]["source"], "flag");
    assert_eq!(get(proxy.address(), "/").status, 503);
    let counts = follower.until("the request", |name, _| name == "counts");
    assert_eq!(
        counts,
        json!([{ "name": "web", "requests": { "maintenance": 1, "forwarded": 0, "failed": 0, "aborted": 0 },
        "in_flight": 0, "held": 0, "remaining": null, "requests_per_second": counts[0]["requests_per_second"],
        "latency": counts[0]["latency"], "upstreams": counts[0]["upstreams"] }])
    );
    replace(&proxy.path("maintenance.toml"), "[routes]\nweb = \"of\"\n");
    follower.until("the mistake", |_, data| {
        data["files"].as_array().is_some_and(|files| files.iter().any(|file| !file["problems"][0].is_null()))
    });
    proxy.signal("INT");
    follower.until("the end", |name, _| name == "end");
    assert_eq!(follower.next(), None);
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn followers_are_bounded_and_leave_room_for_probes() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    let followers: Vec<Follower> = (0..32).map(|_| Follower::of(&proxy)).collect();
    let refused = get(proxy.admin, "/events");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("10")));
    assert_eq!(get(proxy.admin, "/livez").status, 200);
    drop(followers);
    wait("a place to be free", || {
        let mut client = Client::connect(proxy.admin);
        client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
        client.head().starts_with("HTTP/1.1 200")
    });
}

#[test]
fn a_browser_gets_a_page_and_everything_else_a_list() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    let ask =
        |accept: &str| request(proxy.admin, &format!("GET / HTTP/1.1\r\nhost: a\r\n{accept}connection: close\r\n\r\n"));
    for accept in ["", "accept: */*\r\n", "accept: application/json\r\n"] {
        let list = ask(accept);
        assert!(list.body.starts_with("backsoon\n") && list.body.contains("/events "), "{}", list.body);
    }
    let page = ask("accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("<h1>web is open</h1>"), "{}", page.body);
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    proxy.flag("[routes]\nweb = \"offline\"\n");
    assert!(ask("accept: text/html\r\n").body.contains("<h1>web is closed</h1>"));
}

#[test]
fn a_page_says_as_of_when_it_is_although_nothing_changes_and_somebody_follows() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    let mut follower = Follower::of(&proxy);
    follower.until("the state", |name, _| name == "status");
    let shown = || {
        let page = request(proxy.admin, "GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\nconnection: close\r\n\r\n");
        page.body.split("as of ").nth(1).unwrap().split('<').next().unwrap().to_owned()
    };
    let first = shown();
    wait("a later time", || shown() != first);
}

#[test]
fn the_listener_only_shows_and_only_to_its_own_pages() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    for path in ["/", "/livez", "/readyz", "/metrics", "/status", "/nowhere"] {
        let answer = get(proxy.admin, path);
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.field("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.field("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.field("access-control-allow-origin"), None, "{path}");
    }
    for (method, path) in [("POST", "/"), ("DELETE", "/status"), ("PUT", "/events"), ("OPTIONS", "/events")] {
        let answer = request(proxy.admin, &format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")), "{method} {path}");
    }
    let mut client = Client::connect(proxy.admin);
    client.send("HEAD /events HTTP/1.1\r\nhost: a\r\n\r\nGET /livez HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().contains("text/event-stream"));
    assert_eq!(client.response().body, "ok\n", "a HEAD follows nothing");
}

// --- the command

fn status(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    let output = command.arg("status").args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
}

/// A running `status --watch --json`.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn of(admin: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(["status", "--watch", "--json"]).args(admin).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Returns the first line for which a condition holds.
    fn until(&mut self, condition: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.next().expect("the watch goes on").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if condition(&line) {
                return line;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn route<'l>(line: &'l Value, replica: usize, key: &str) -> &'l Value {
    &line["replicas"][replica]["status"]["routes"][0][key]
}

/// Starts a proxy whose admin listener is a socket in another directory, which outlives it.
fn beside(socket: &Path, more: &str) -> Backsoon {
    Backsoon::start(&format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"{}\"\n{more}",
        socket.display(),
        Upstream::ok().url()
    ))
}

#[test]
fn a_watch_follows_several_proxies_over_their_ends() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = ["one", "two"].map(|name| dir.path().join(name));
    let admin = sockets.each_ref().map(|socket| format!("unix:{}", socket.display()));
    let (mut one, two) = (beside(&sockets[0], ""), beside(&sockets[1], ""));
    let mut watch = Watch::of(&[&admin[0], &admin[1], "--flags-only"]);
    watch.until(|line| line["agree"] == true && line["well"] == true);
    fs::write(two.path("maintenance.toml"), "[routes]\nweb = \"offline\"\n").unwrap();
    let apart = watch.until(|line| route(line, 1, "phase") == "closed" && route(line, 0, "phase") == "open");
    assert_eq!((&apart["agree"], &apart["differences"][1]["subject"]), (&json!(false), &json!("route web")));
    replace(&one.path("maintenance.toml"), "[routes]\nweb = \"offline\"\n");
    watch.until(|line| line["agree"] == true && line["well"] == true);
    assert_eq!(get(one.address(), "/").status, 503);
    watch.until(|line| route(line, 0, "requests")["maintenance"] == 1);
    one.signal("INT");
    one.wait_for_exit();
    watch.until(|line| line["replicas"][0]["error"].as_str().is_some_and(|error| error.starts_with("no connection")));
    let again = beside(&sockets[0], "");
    watch.until(|line| route(line, 0, "phase") == "open");
    drop((again, two));
}

/// Answers like the admin listener of an older proxy, which has no events.
fn older(status: impl Fn() -> Value + Send + Sync + 'static) -> Upstream {
    Upstream::handling(move |connection| {
        while let Some(head) = connection.head() {
            let (code, body) = match head.split(' ').nth(1) {
                Some("/status") => ("200 OK", status().to_string()),
                _ => ("404 Not Found", "not found\n".to_owned()),
            };
            connection.send(format!("HTTP/1.1 {code}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

#[test]
fn a_proxy_without_events_is_asked_again_and_again() {
    let asked = std::sync::atomic::AtomicU64::new(0);
    let admin = older(move || json!({ "generation": asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) }));
    let mut watch = Watch::of(&[&admin.address.to_string()]);
    watch.until(|line| line["replicas"][0]["status"]["generation"] == 2);
}

#[test]
fn a_file_on_disk_that_the_proxy_has_not_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("maintenance.toml");
    let path = file.clone();
    let hash = sha256(b"[routes]\n");
    let admin = older(move || json!({ "files": [{ "path": path, "role": "flags", "hash": hash, "problems": [] }] }));
    let ask = || status(dir.path(), &[&admin.address.to_string()]);
    for (text, code, told) in [
        (None, 0, "no errors\n"),
        (Some("[routes]\n"), 0, "no errors\n"),
        (Some("[routes]\nweb = \"offline\"\n"), 1, "maintenance.toml on disk is not what the proxy has read"),
    ] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let (found, out) = ask();
        assert!(found == code && out.contains(told), "{text:?}: {found}: {out}");
    }
    let mut watch = Watch::of(&[&admin.address.to_string()]);
    let line = watch.until(|line| line["well"] == false);
    assert!(line["replicas"][0]["concerns"][0].as_str().unwrap().contains("on disk is not what"), "{line}");
    fs::write(&file, "[routes]\n").unwrap();
    watch.until(|line| line["well"] == true);
}

#[test]
fn the_files_and_their_watch_are_told_at_a_glance() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    proxy.flag("[routes]\nweb = \"offline\"\n");
    let admin = proxy.admin.to_string();
    let (code, out) = status(proxy.dir.path(), &[&admin]);
    let line = |role: &str| out.lines().find(|line| line.trim_start().starts_with(role)).unwrap_or_default();
    let flags = proxy.path("maintenance.toml").display().to_string();
    assert!(code == 0 && line("flags").contains(&flags) && line("flags").contains(" read "), "{code}: {out}");
    assert!(line("config").contains("backsoon.toml"), "{out}");
    assert!(line("flags").contains(&sha256(b"[routes]\nweb = \"offline\"\n")[..8]), "{out}");
}

#[test]
fn replicas_with_the_same_files_and_other_phases_do_not_agree() {
    let route =
        |phase: &str, mode: Option<&str>| json!({ "routes": [{ "name": "web", "phase": phase, "mode": mode }] });
    let open = older(move || route("open", None));
    for (phase, mode, code) in [("open", None, 0), ("closed", Some("offline"), 1), ("open", Some("hold"), 1)] {
        let other = older(move || route(phase, mode));
        let admin = [&open, &other].map(|admin| admin.address.to_string());
        let dir = tempfile::tempdir().unwrap();
        for more in [&[][..], &["--flags-only"]] {
            let (found, out) = status(dir.path(), &[&[admin[0].as_str(), &admin[1]], more].concat());
            assert_eq!(found, code, "{phase} {mode:?}: {out}");
            let told = format!("at {}; ", admin[0]);
            assert!(code == 0 || out.contains("route web: open at ") && out.contains(&told), "{out}");
        }
    }
}

#[test]
fn a_blue_and_a_green_proxy_agree_in_their_flags_alone() {
    let shared = tempfile::tempdir().unwrap();
    let flags = shared.path().join("flags.toml");
    fs::write(&flags, "[routes]\nweb = \"offline\"\n").unwrap();
    let start = || {
        let upstream = Upstream::ok().url();
        let top = format!("maintenance = \"{}\"\n{LISTEN}", flags.display());
        Backsoon::start(&format!("{top}[routes.web]\nupstream = \"{upstream}\"\n"))
    };
    let (blue, green) = (start(), start());
    let admin = [&blue, &green].map(|proxy| proxy.admin.to_string());
    let (code, out) = status(shared.path(), &[&admin[0], &admin[1]]);
    assert!(code == 1 && out.contains("they have different configs"), "{out}");
    let (code, out) = status(shared.path(), &["--flags-only", &admin[0], &admin[1]]);
    assert!(code == 0 && out.ends_with("all 2 agree, no errors\n"), "{out}");
}

#[test]
fn a_broken_config_does_not_hide_the_running_proxy() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    let (admin, dir) = (proxy.admin.to_string(), proxy.dir.path());
    replace(&proxy.path("backsoon.toml"), "[routes.web\n");
    let is_refused = |file: &Value| file["role"] == "config" && !file["problems"][0].is_null();
    wait("the mistake to be seen", || proxy.status()["files"].as_array().unwrap().iter().any(is_refused));
    // As a proxy that writes no runtime file leaves it.
    let state = dir.join(".backsoon");
    let _ = fs::remove_file(state.join("backsoon.runtime.json"));
    let (code, out) = status(dir, &[]);
    assert!(
        code == 64 && out.contains("backsoon.toml:1:") && out.contains("`backsoon status 127.0.0.1:9901`"),
        "{out}"
    );
    let (code, out) = status(dir, &[&admin]);
    assert!(code == 1 && out.contains(&admin) && out.contains("a file has an error"), "{code}: {out}");
    fs::create_dir_all(&state).unwrap();
    let config = fs::canonicalize(proxy.path("backsoon.toml")).unwrap();
    let runtime = json!({ "admin": admin, "config": config, "maintenance": proxy.path("maintenance.toml") });
    fs::write(state.join("backsoon.runtime.json"), runtime.to_string()).unwrap();
    let (code, out) = status(dir, &[]);
    let told = "`backsoon.toml` has an error (line 1: ";
    assert!(code == 1 && out.contains(told) && out.contains(&format!("asking the running proxy at {admin}")), "{out}");
    assert!(out.contains("web    open "), "{out}");
}

#[test]
fn an_admin_listener_that_moved_is_asked_at_its_old_address() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    let (admin, dir) = (proxy.admin.to_string(), proxy.dir.path());
    let moved = LISTEN.replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"127.0.0.1:9\"");
    proxy.config(&format!("{moved}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n"));
    let state = dir.join(".backsoon");
    fs::create_dir_all(&state).unwrap();
    let config = fs::canonicalize(proxy.path("backsoon.toml")).unwrap();
    fs::write(state.join("backsoon.runtime.json"), json!({ "admin": admin, "config": config }).to_string()).unwrap();
    let (code, out) = status(dir, &[]);
    assert!(out.contains(&format!("the running proxy listens at {admin}; ")), "{out}");
    assert!(code == 1 && out.contains("takes effect only with a restart"), "{code}: {out}");
}
