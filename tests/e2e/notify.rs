//! Operators are told: by programs, chats and webhooks, once for each change, and never in the way of anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use serde_json::Value;

use crate::command::run;
use crate::support::{Backsoon, LISTEN, Upstream, ask_until, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn program(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// Starts a proxy with a `[[notify]]` for each text. `DIR` in them is its directory.
fn start(upstream: &Upstream, route: &str, places: &[&str], programs: &[(&str, &str)]) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().display().to_string();
    for (name, text) in programs {
        program(dir.path(), name, &text.replace("DIR", &own));
    }
    let places: String = places.iter().map(|place| format!("[[notify]]\n{}\n", place.replace("DIR", &own))).collect();
    let url = upstream.url();
    Backsoon::start_in(dir, &format!("{LISTEN}[routes.web]\nupstream = \"{url}\"\n{route}\n{places}"))
}

fn read(backsoon: &Backsoon, name: &str) -> String {
    fs::read_to_string(backsoon.path(name)).unwrap_or_default()
}

/// Returns what a program wrote as the id of its child.
fn child(backsoon: &Backsoon) -> String {
    read(backsoon, "child")
}

/// Returns true for a process that has ended. Its parent is gone, so that it may be a zombie for a moment.
fn is_gone(child: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    state.is_empty() || state.contains(") Z")
}

#[test]
fn a_program_gets_the_event_once_and_nothing_of_the_environment() {
    let upstream = Upstream::ok();
    let record = "cat >> DIR/json; env > DIR/env; pwd >> DIR/env; echo told; echo aside >&2";
    let place = "to = \"exec:DIR/record\"\non = \"drained\"";
    let mut backsoon = start(&upstream, "", &[place], &[("record", record)]);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let line = backsoon.wait_for_log("a program was run for an event");
    assert_eq!((&line["code"], &line["output"]), (&Value::from(0), &Value::from("told\u{fffd}aside")), "{line}");
    backsoon.wait_for_log("operators were notified");
    // Other events, and other publications, are none of its business.
    backsoon.flag("[routes]\nweb = { mode = \"offline\", message = \"Back soon.\" }\n");
    wait("the words to be shown", || get(backsoon.address(), "/").body.contains("Back soon."));
    backsoon.unflag();
    wait("the route to be open", || get(backsoon.address(), "/").status == 200);
    let json = read(&backsoon, "json");
    assert_eq!(json.lines().count(), 1, "{json}");
    let event: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(event["event"], "drained");
    assert_eq!(event["type"], "operator.drained");
    assert_eq!(event["routes"], serde_json::json!(["web"]));
    assert_eq!(event["what"], "nothing is in flight any more");
    let environment = read(&backsoon, "env");
    assert!(environment.contains("BACKSOON_EVENT=drained\n") && environment.ends_with("\n/\n"), "{environment}");
    let own = |line: &str| {
        ["BACKSOON_", "PATH=", "PWD=", "OLDPWD=", "SHLVL=", "_=", "/"].iter().any(|own| line.starts_with(own))
    };
    assert!(environment.lines().all(own), "{environment}");
}

#[test]
fn a_program_that_hangs_is_killed_with_what_it_started() {
    let upstream = Upstream::ok();
    // It ignores the first signal, and so does its child.
    let hang = "trap '' TERM\nsleep 600 &\necho $! > DIR/child\nwait\nsleep 600";
    let places =
        ["to = \"exec:DIR/hang\"\non = \"closed\"\ntimeout = \"1s\"", "to = \"exec:DIR/good\"\non = \"closed\""];
    let mut backsoon = start(&upstream, "", &places, &[("hang", hang), ("good", "cat > DIR/good.json")]);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the other program to run", || read(&backsoon, "good.json").ends_with('\n'));
    let line = backsoon.wait_for_log("operators are not notified");
    assert!(line["why"].as_str().unwrap().contains("killed after 1s"), "{line}");
    wait("the child to be gone", || is_gone(&child(&backsoon)));
    backsoon.unflag();
    wait("the route to be open", || get(backsoon.address(), "/").status == 200);
}

#[test]
fn a_program_does_not_outlive_a_proxy_that_is_ended_at_once() {
    let upstream = Upstream::ok();
    let hang = "sleep 600 &\necho $! > DIR/child\nwait";
    let mut backsoon = start(&upstream, "", &["to = \"exec:DIR/hang\"\non = \"closed\""], &[("hang", hang)]);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the program to run", || child(&backsoon).ends_with('\n'));
    let child = child(&backsoon);
    backsoon.signal("TERM");
    backsoon.wait_for_log("ending: finishing what is in flight; a second signal ends at once");
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(1));
    wait("the child to be gone", || is_gone(&child));
}

#[test]
fn a_chat_that_is_busy_gets_one_message_for_a_breach() {
    let fails = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&fails);
    let upstream = Upstream::handling(move |connection| {
        while connection.request().is_some() {
            let broken = own.load(SeqCst);
            connection.send(if broken { "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n" } else { OK });
            if !broken {
                return;
            }
        }
    });
    let count = AtomicU64::new(0);
    let slack = Upstream::handling(move |connection| {
        if connection.request().is_some() {
            let first = count.fetch_add(1, SeqCst) == 0;
            connection.send(if first { BUSY } else { OK });
        }
    });
    let place = format!("to = \"slack:{}/services/T/B/secret\"", slack.url());
    let guard = "drain = \"1ms\"\nguard = { error_rate = \"5%\", min_requests = 20 }";
    let mut backsoon = start(&upstream, guard, &[&place], &[]);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || backsoon.route("web")["phase"] == "closed");
    backsoon.unflag();
    wait("the route to be open", || get(backsoon.address(), "/").status == 200);
    fails.store(true, SeqCst);
    ask_until("the guard to close it", || {
        (0..10).for_each(|_| drop(get(backsoon.address(), "/")));
        backsoon.route("web")["phase"] == "closed"
    });
    let line = backsoon.wait_for_log("operators were notified");
    assert_eq!(line["event"], "breach", "{line}");
    assert!(!backsoon.log_text().contains("secret"), "the URL is secret");
    let seen = slack.seen();
    assert_eq!(seen.matches("POST /services/T/B/secret HTTP/1.1\r\n").count(), 2, "one message, tried twice: {seen}");
    let bodies: Vec<&str> = seen.split("\r\n\r\n").filter_map(|part| part.split("POST ").next()).collect();
    let bodies: Vec<Value> = bodies.iter().filter_map(|body| serde_json::from_str(body).ok()).collect();
    assert!(bodies.len() == 2 && bodies[0] == bodies[1], "{seen}");
    let text = bodies[0]["text"].as_str().unwrap();
    assert!(text.starts_with("web is closed again by its guard: ") && text.contains('%'), "{text}");
}

#[test]
fn refused_edits_are_told_to_a_webhook_that_a_file_names() {
    let upstream = Upstream::ok();
    let hook = Upstream::answering(OK);
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("hook");
    fs::write(&secret, format!("webhook:{}/a?token=secret\n", hook.url())).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!("{LISTEN}[routes.web]\nupstream = \"{}\"\n[[notify]]\nto_file = \"hook\"\n", upstream.url());
    let mut backsoon = Backsoon::start_in(dir, &config);
    backsoon.flag("[routes]\nweb = \"ofline\"\n");
    backsoon.wait_for_log("operators were notified");
    let seen = hook.seen();
    assert!(seen.starts_with("POST /a?token=secret HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nwebhook-id: ") && seen.contains("\r\nwebhook-timestamp: "), "{seen}");
    let body: Value = serde_json::from_str(seen.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["event"], "refused-edit");
    assert!(body["what"].as_str().unwrap().contains("unknown mode"), "{body}");
    // A new content of the file counts from the next event on.
    let other = Upstream::answering(OK);
    fs::write(&secret, format!("webhook:{}/b\n", other.url())).unwrap();
    backsoon.wait_for_log("published");
    backsoon.flag("[routes]\nweb = \"oflin\"\n");
    wait("the other place to be told", || other.seen().contains("refused-edit"));
}

#[test]
fn the_command_lists_the_places_and_tries_them() {
    let dir = tempfile::tempdir().unwrap();
    let (good, gone) = (
        Upstream::answering(OK),
        Upstream::answering("HTTP/1.1 404 Gone\r\ncontent-length: 10\r\nconnection: close\r\n\r\nno_service"),
    );
    let program = program(dir.path(), "program", "echo ran > ran");
    let config = |places: &str| format!("{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n{places}");
    let file = dir.path().join("backsoon.toml");
    fs::write(&file, config("")).unwrap();
    run(dir.path(), &["notify"]).exits(64).complains("the config has no `[[notify]]`");
    let url = |upstream: &Upstream| upstream.url();
    let places = format!(
        "[[notify]]\nto = \"ntfy:{}/topic\"\non = \"drained\"\nroutes = \"web\"\n[[notify]]\nto = \"exec:{program}\"\n",
        url(&good)
    );
    fs::write(&file, config(&places)).unwrap();
    run(dir.path(), &["notify"]).exits(0).says("drained of web").keeps_quiet_of("topic");
    run(dir.path(), &["notify", "--test"]).exits(0).says("told: answered 200").says("can be run");
    assert!(good.seen().contains("POST /topic HTTP/1.1\r\n") && good.seen().contains("title: this is a test\r\n"));
    fs::write(&file, config(&format!("{places}[[notify]]\nto = \"slack:{}/x\"\n", url(&gone)))).unwrap();
    let failed = run(dir.path(), &["notify", "--test", "--json"]).exits(1);
    let rows: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!((&rows[0]["told"], &rows[1]["told"], &rows[2]["told"]), (&true.into(), &Value::Null, &false.into()));
    assert!(rows[2]["how"].as_str().unwrap().starts_with("answered 404: no_service"), "{rows}");
    fs::remove_file(dir.path().join("program")).unwrap();
    run(dir.path(), &["check"]).exits(0).tells("cannot be run");
}
