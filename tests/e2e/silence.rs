//! Nothing happens in silence: whatever differs from what the operator believes is in `/status`, in the log, and in a
//! metric.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Backsoon, LISTEN, Upstream, UpstreamConnection, get, run_to_end, wait};

/// A state file that cannot be used, and how a problem names its fault.
const UNUSABLE: [(&str, &[u8], &str); 5] = [
    ("torn", b"{ \"version\": 1, \"routes\": { \"web\": {", "damaged"),
    ("empty", b"", "damaged"),
    ("newer", b"{ \"version\": 99, \"routes\": {} }", "version 99"),
    ("a directory in its place", b"/", "cannot be read"),
    ("unknown phases", b"{ \"version\": 1, \"routes\": { \"plain\": 5, \"web\": { \"phase\": 7 } } }", "damaged"),
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

#[test]
fn a_flag_that_can_never_act_is_told_when_it_is_written() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let flags = |year: u16| {
        format!(
            "[routes]\nweb = {{ until = {year}-05-19T15:00:00Z }}\n[[windows]]\nid = \"M-1\"\n\
             routes = {{ web = \"offline\" }}\nstarts = {year}-05-19T14:00:00Z\nends = {year}-05-19T15:00:00Z\n"
        )
    };
    let told = |backsoon: &Backsoon| {
        let problems = flag_problems(backsoon);
        problems.iter().map(|problem| problem["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    backsoon.flag(&flags(2020));
    let expected = [
        "the flag for `web` never acts: it is over since 2020-05-19T15:00:00Z",
        "window `M-1` never acts: it is over since 2020-05-19T15:00:00Z",
    ];
    assert_eq!(told(&backsoon), expected);
    assert_eq!(flag_problems(&backsoon)[0]["line"], 2);
    assert_eq!(get(backsoon.address(), "/").status, 200);
    let (code, checked) = checked(&backsoon);
    assert_eq!(code, Some(0));
    expected.iter().for_each(|message| assert!(checked.contains(message), "{checked}"));
    // "For ever", as people write it.
    backsoon.flag(&flags(9999).replace("05-19T15:00:00Z", "12-31T23:59:59Z"));
    assert_eq!(told(&backsoon), [""; 0]);
    assert_eq!(get(backsoon.address(), "/").status, 503);
}

#[test]
fn the_routes_of_a_whole_fleet_are_one_warning() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "");
    let foreign: String = (0..100).map(|number| format!("node{number:03}-api = \"offline\"\n")).collect();
    backsoon.flag(&format!("[routes]\nwebb = \"offline\"\n{foreign}"));
    let problems = flag_problems(&backsoon);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0]["help"].as_str().unwrap().contains("did you mean `web`?"), "{problems:?}");
    let expected =
        "this proxy does not have 100 routes of this file: `node000-api`, `node001-api`, `node002-api` and 97 more";
    assert_eq!(problems[1]["message"], expected);
    backsoon.wait_for_log("taken, with a warning");
    let lines = backsoon.log_lines();
    assert_eq!(lines.iter().filter(|line| line["level"] == "WARN").count(), 2, "{lines:?}");
}

/// Returns the problems of the flag file in `/status`.
fn flag_problems(backsoon: &Backsoon) -> Vec<Value> {
    let flags = backsoon.file("flags");
    flags["problems"].as_array().cloned().unwrap_or_default()
}

/// Runs `backsoon check`, and returns its exit code and its standard error.
fn checked(backsoon: &Backsoon) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["check", "--config"]).arg(backsoon.path("backsoon.toml"));
    run_to_end(command)
}

#[test]
fn the_runtime_file_names_what_is_in_force_and_ends_with_its_process() {
    let upstream = Upstream::ok();
    let web = format!("[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let dir = tempfile::tempdir().unwrap();
    let given = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("backsoon.toml"), format!("{LISTEN}[limits]\ngrace = \"0s\"\n{web}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml")).env("RUNTIME_DIRECTORY", given.path());
    let mut backsoon = Backsoon::spawn(dir, command);
    let files = [backsoon.path(".backsoon/backsoon.runtime.json"), given.path().join("backsoon.runtime.json")];
    let read = |file: &PathBuf| serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap();
    let folder = backsoon.dir.path().canonicalize().unwrap();
    for file in &files {
        let told = read(file);
        assert_eq!(told["pid"], backsoon.child.id());
        assert_eq!(told["admin"], backsoon.admin.to_string());
        assert_eq!(told["config"], folder.join("backsoon.toml").display().to_string());
        assert_eq!(told["maintenance"], folder.join("maintenance.toml").display().to_string());
    }
    assert_eq!(backsoon.status()["admin"], backsoon.admin.to_string());
    // Another flag file is in force at once; another admin listener needs a restart, and the warning says where it is.
    fs::write(backsoon.path("other.toml"), "").unwrap();
    let moved = LISTEN.replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"127.0.0.1:1\"");
    backsoon.config(&format!("maintenance = \"other.toml\"\n{moved}[limits]\ngrace = \"0s\"\n{web}"));
    let other = folder.join("other.toml").display().to_string();
    files.iter().for_each(|file| wait("the new flag file", || read(file)["maintenance"] == other));
    assert_eq!(read(&files[0])["admin"], backsoon.admin.to_string());
    let still = format!("the admin listener is still {}", backsoon.admin);
    assert!(backsoon.status().to_string().contains(&still), "{}", backsoon.status());
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    files.iter().for_each(|file| assert!(!file.exists()));
}

#[test]
fn a_secret_that_others_can_read_is_told_without_an_edit() {
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let mode = |mode: u32| fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    let bypass = "bypass = { secret_file = \"secret\", header = \"X-Key\" }";
    let config = format!("{LISTEN}[routes.web]\nupstream = \"{}\"\n{bypass}\n", upstream.url());
    let backsoon = Backsoon::start_in(dir, &config);
    let exposed = || backsoon.status()["files"].to_string().contains("everybody on this machine can read");
    assert!(!exposed());
    for _ in 0..2 {
        mode(0o644);
        wait("the warning", exposed);
        mode(0o600);
        wait("the end of the warning", || !exposed());
    }
    let told = backsoon.log_text().matches("everybody on this machine").count();
    assert_eq!(told, 2, "once each time:\n{}", backsoon.log_text());
}

#[test]
fn check_refuses_a_missing_flag_file_as_the_running_proxy_does_and_not_before_a_start() {
    let upstream = Upstream::ok();
    let config = |more: &str| format!("{more}{LISTEN}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let mut backsoon = Backsoon::start(&config(""));
    assert_eq!(checked(&backsoon).0, Some(0), "the flag file need not exist");
    fs::write(backsoon.path("backsoon.toml"), config("maintenance = \"nowhere.toml\"\n")).unwrap();
    let refused = || {
        let file = backsoon.file("config");
        file["problems"].to_string().contains("nowhere.toml")
    };
    wait("the config to be refused", refused);
    let (code, told) = checked(&backsoon);
    assert!(
        code == Some(64) && told.contains("`maintenance` names") && told.contains("write that file first"),
        "{told}"
    );
    // Without the proxy there is nothing in force that could be lost.
    backsoon.signal("KILL");
    backsoon.wait_for_exit();
    let runtime_file = backsoon.path(".backsoon/backsoon.runtime.json");
    assert!(runtime_file.exists(), "it could not clean up");
    assert_eq!(checked(&backsoon).0, Some(0));
    // In a container the check before a start has the process id that the killed proxy had.
    let mut left: Value = serde_json::from_slice(&fs::read(&runtime_file).unwrap()).unwrap();
    left["pid"] = "PID".into();
    let script = format!(
        "sed -i \"s/\\\"PID\\\"/$$/\" '{}' && exec {} check --config '{}'",
        runtime_file.display(),
        env!("CARGO_BIN_EXE_backsoon"),
        backsoon.path("backsoon.toml").display()
    );
    fs::write(&runtime_file, left.to_string()).unwrap();
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!fs::read_to_string(&runtime_file).unwrap().contains("PID"), "the script has named its own process");
}

/// A file system without attributes leaves only the owner to tell.
#[test]
fn the_history_says_who_edited() {
    let upstream = Upstream::ok();
    let proxy = Backsoon::before(&upstream.url(), "");
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(words).arg("--config").arg(proxy.path("backsoon.toml"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let last_edit = || {
        let lines = command(&["history", "--json"]);
        let mut edits = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        edits.rfind(|line| line["event"] == "edit").unwrap_or_default()["by"].clone()
    };
    command(&["on", "web", "--wait"]);
    wait("the edit to be recorded", || !last_edit().is_null());
    let by = last_edit();
    let named = by["command"].as_str().is_some_and(|words| words.starts_with("on web --wait"));
    let (user, host) = (&by["user"], &by["host"]);
    assert!(named && user.is_string() && host.is_string() || by["owner"].is_string(), "{by}");
    if named {
        let user = user.as_str().unwrap();
        assert!(command(&["history"]).contains(&format!("by {user} at ")));
    }
    // Written over the file of the command, whose attribute stays.
    fs::write(proxy.path("maintenance.toml"), "[routes]\nweb = \"read-only\"\n").unwrap();
    wait("the other edit to be recorded", || last_edit()["owner"].is_string());
    assert!(command(&["history"]).contains("in a file of "));
}

#[test]
fn a_config_that_was_cut_off_does_not_drop_routes() {
    let upstream = Upstream::ok();
    let route =
        |name: &str, path: &str| format!("[routes.{name}]\npath = \"{path}\"\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start(&format!("{LISTEN}{}# Kept by hand.\n{}", route("web", "/"), route("api", "/api")));
    backsoon.flag("[routes]\napi = \"offline\"\n");
    let whole = fs::read_to_string(backsoon.path("backsoon.toml")).unwrap();
    let (before, _) = whole.split_once("# Kept by hand.\n").unwrap();
    // The first block of a longer file, and the beginning up to the middle of a comment.
    let block = format!("{before}{}\n", "#".repeat(4096 - before.len() - 1));
    for cut in [block, format!("{before}# Kept by")] {
        fs::write(backsoon.path("backsoon.toml"), &cut).unwrap();
        let refused = |file: &Value| file["role"] == "config" && !file["problems"][0].is_null();
        wait("the config to be refused", || backsoon.status()["files"].as_array().unwrap().iter().any(refused));
        assert!(backsoon.status().to_string().contains("it drops routes, and its end seems to be cut off"));
        assert_eq!(get(backsoon.address(), "/api").status, 503);
        backsoon.config(&whole);
    }
    // An edit that removes a route is taken, also in place.
    fs::write(backsoon.path("backsoon.toml"), before).unwrap();
    wait("the route to be gone", || get(backsoon.address(), "/api").status == 200);
}
