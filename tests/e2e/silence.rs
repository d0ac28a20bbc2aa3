//! Nothing happens in silence: whatever differs from what the operator believes is in `/status`, in the log, and in a
//! metric.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Backsoon, LISTEN, Upstream, UpstreamConnection, get, wait};

#[test]
fn a_signal_that_comes_while_the_ports_open_is_not_lost() {
    for _ in 0..20 {
        let (ended, log) = signalled_while_starting("TERM");
        assert_eq!(ended, Some(0), "{log}");
        assert!(log.contains("ending: finishing what is in flight") && log.contains("\"ended\""), "{log}");
    }
    for _ in 0..20 {
        let (ended, log) = signalled_while_starting("HUP");
        assert_eq!(ended, None, "a reload ended it: {log}");
    }
}

/// Starts a proxy and sends it a signal as soon as its port is open. Returns its exit code, unless it goes on to
/// reload, and its log.
fn signalled_while_starting(signal: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{LISTEN}[limits]\ngrace = \"0s\"\n[routes.web]\nupstream = \"http://127.0.0.1:9\"\n");
    let mut child = started_in(dir.path(), &config);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("\"listening\"") {
        assert!(stderr.read_line(&mut log).unwrap() > 0, "no port: {log}");
    }
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    if signal == "HUP" {
        while !log.contains("reading everything again") {
            if stderr.read_line(&mut log).unwrap() == 0 {
                return (Some(child.wait().unwrap().code().unwrap_or(-1)), log);
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        return (None, log);
    }
    stderr.read_to_string(&mut log).unwrap();
    (Some(child.wait().unwrap().code().unwrap_or(-1)), log)
}

fn started_in(dir: &Path, config: &str) -> Child {
    fs::write(dir.join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(dir.join("backsoon.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A state file that cannot be used, and how a problem names its fault.
const UNUSABLE: [(&str, &[u8], &str); 4] = [
    ("torn", b"{ \"version\": 1, \"routes\": { \"web\": {", "damaged"),
    ("empty", b"", "damaged"),
    ("newer", b"{ \"version\": 99, \"routes\": {} }", "version 99"),
    ("a directory in its place", b"/", "cannot be read"),
];

#[test]
fn without_a_readable_state_a_checked_route_is_checked_before_it_opens() {
    for (what, bytes, fault) in UNUSABLE {
        let upstream = Upstream::handling(|connection: &mut UpstreamConnection| {
            while let Some(request) = connection.request() {
                let status = if request.starts_with("GET /health") { "500 Bad" } else { "200 OK" };
                connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(".backsoon/backsoon.state.json");
        fs::create_dir(state.parent().unwrap()).unwrap();
        match bytes {
            b"/" => fs::create_dir(&state).unwrap(),
            bytes => fs::write(&state, bytes).unwrap(),
        }
        let url = upstream.url();
        let config = format!(
            "{LISTEN}[routes.web]\nupstream = \"{url}\"\npath = \"/web\"\n\
             verify = {{ get = \"/health\", every = \"100ms\" }}\n\
             [routes.plain]\nupstream = \"{url}\"\npath = \"/plain\"\n"
        );
        let backsoon = Backsoon::start_in(dir, &config);
        assert_eq!(get(backsoon.address(), "/web").status, 503, "{what}: it is not open before its checks");
        assert_eq!(get(backsoon.address(), "/plain").status, 200, "{what}: nothing checks this one");
        assert_eq!(backsoon.route("web")["phase"], "verifying", "{what}");
        assert_eq!(backsoon.route("web")["source"], "lost state", "{what}: no flag closes it");
        let problem = problem(&backsoon, "state.json");
        assert!(problem["message"].as_str().unwrap().contains(fault), "{what}: {problem}");
        assert!(problem["help"].as_str().unwrap().contains("checks"), "{what}: {problem}");
        assert_eq!(backsoon.metric("backsoon_state_good", ""), 0.0, "{what}");
        backsoon.flag("[routes]\n[forced]\nweb = 2020-01-01T00:00:00Z\n");
        assert_eq!(backsoon.route("web")["phase"], "verifying", "{what}: an older word of force does not count");
        let now = jiff::Timestamp::now();
        backsoon.flag(&format!("[routes]\n[forced]\nweb = {now}\n"));
        wait("the operator's word", || get(backsoon.address(), "/web").status == 200);
    }
}

/// Returns the problem of `/status` whose file has this in its name.
fn problem(backsoon: &Backsoon, file: &str) -> Value {
    let problems = backsoon.status()["problems"].as_array().cloned().unwrap_or_default();
    let found = problems.iter().find(|problem| problem["file"].as_str().is_some_and(|name| name.contains(file)));
    found.cloned().unwrap_or_else(|| panic!("no problem of {file}: {problems:?}"))
}

#[test]
fn a_history_that_could_not_be_written_tells_what_is_missing() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let (history, aside) = (backsoon.path(".backsoon/backsoon.history.jsonl"), backsoon.path("aside"));
    wait("the history", || history.exists());
    assert_eq!(backsoon.metric("backsoon_state_good", ""), 1.0);
    // A directory in its place fails for root as well, unlike a file that may not be written.
    fs::rename(&history, &aside).unwrap();
    fs::create_dir(&history).unwrap();
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the problem", || backsoon.metric("backsoon_state_good", "") == 0.0);
    let told = problem(&backsoon, "history.jsonl");
    assert!(told["message"].as_str().unwrap().contains("the history is not written"), "{told}");
    assert!(backsoon.metric("backsoon_history_lost_total", "") >= 1.0);
    fs::remove_dir(&history).unwrap();
    fs::rename(&aside, &history).unwrap();
    // Nothing else has to happen for the gap to be told.
    wait("the gap", || fs::read_to_string(&history).is_ok_and(|text| text.contains("\"event\":\"gap\"")));
    wait("the end of the problem", || backsoon.metric("backsoon_state_good", "") == 1.0);
    assert_eq!(backsoon.status()["problems"], Value::Null);
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["history", "--route", "web", "--config"]).arg(backsoon.path("backsoon.toml"));
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(printed.contains("lost between") && printed.contains("could not be written"), "{printed}");
    assert_eq!(backsoon.log_text().matches("cannot be written").count(), 1, "the log tells it once");
}
