//! Subscribers in chats: imported, tried, told, and silenced when their place is gone.

use std::fs;

use serde_json::{Map, Value};

use crate::clients::python;
use crate::command::run as run_in;
use crate::support::{Backsoon, LISTEN, Upstream, request, wait};

fn answer(status: &str, body: &str) -> Upstream {
    let length = body.len();
    Upstream::answering(&format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"))
}

fn line(channel: &str, url: &str) -> String {
    format!(
        "{{\"channel\":\"{channel}\",\"address\":\"{url}/secret\",\"language\":\"de\",\"state\":\"active\",\
         \"secret\":\"\",\"created\":\"2026-05-19T14:00:00Z\"}}\n"
    )
}

#[test]
fn chats_are_imported_tried_and_told_in_their_forms() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (app, slack, gone) = (Upstream::ok(), answer("200 OK", "ok"), answer("404 Not Found", "no_service"));
    let (teams, ntfy) = (answer("202 Accepted", ""), answer("200 OK", "{}"));
    let url = app.url();
    let config =
        format!("{LISTEN}[routes.web]\nupstream = \"{url}\"\n[status]\nsend = true\nallow_private = \"127.0.0.0/8\"\n");
    let all = [("slack", &slack), ("slack", &gone), ("teams", &teams), ("ntfy", &ntfy)];
    let export: String = all.iter().map(|(channel, sink)| line(channel, &sink.url())).collect();
    fs::write(place.join("backsoon.toml"), &config).unwrap();
    fs::write(place.join("export"), &export).unwrap();
    fs::write(place.join("wrong"), format!("{export}{}", line("slack", "https://user@hooks.slack.com"))).unwrap();
    let wrong = run_in(place, &["subscribers", "import", "wrong"]).exits(64);
    wrong.complains("the address in `wrong:5` cannot be used").complains("has a user or a password before the host");
    run_in(place, &["subscribers", "import", "export"]).exits(0).says("4 subscribers added");
    // Who knows such a URL can write there.
    run_in(place, &["subscribers", "list"]).exits(0).says("slack").says("/…").keeps_quiet_of("secret");
    run_in(place, &["subscribers", "list", "--json"]).exits(0).keeps_quiet_of("secret");
    run_in(place, &["subscribers", "test", "1"]).exits(0).says("told: answered 200 OK");
    run_in(place, &["subscribers", "test", "2"]).exits(1).says("not told: answered 404 Not Found (no_service)");
    assert!(slack.seen().contains("This is a test"), "{}", slack.seen());
    let proxy = Backsoon::start_in(folder, &config);
    proxy.flag("[routes]\nweb = \"offline\"\n");
    let forms = [
        (&slack, "<!date^"),
        (&teams, "application/vnd.microsoft.card.adaptive"),
        (&ntfy, "priority: "),
        (&gone, "\"blocks\":"),
    ];
    for (sink, form) in forms {
        wait(form, || sink.seen().contains(form));
    }
    wait("the place that is gone to be silenced", || proxy.status()["outbox"]["silenced"] == 1);
    let list = run_in(proxy.dir.path(), &["subscribers", "list"]).exits(0);
    list.says("disabled").says("404 Not Found (no_service)");
}

#[test]
fn a_receiver_verifies_webhooks_by_the_key_that_the_site_tells() {
    let (folder, app, sink) = (tempfile::tempdir().unwrap(), Upstream::ok(), Upstream::ok());
    let url = app.url();
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{url}\"\n[status]\nhost = \"status.test\"\nsend = true\n\
         allow_private = \"127.0.0.0/8\"\n"
    );
    fs::write(folder.path().join("backsoon.toml"), &config).unwrap();
    fs::write(folder.path().join("export"), line("webhook", &sink.url())).unwrap();
    run_in(folder.path(), &["subscribers", "import", "export"]).exits(0);
    let proxy = Backsoon::start_in(folder, &config);
    let asked = "GET /.well-known/backsoon.json HTTP/1.1\r\nHost: status.test\r\n\r\n";
    let told: Value = serde_json::from_str(&request(proxy.address(), asked).body).unwrap();
    let keys = told["keys"]["webhooks"].as_array().unwrap().clone();
    assert!(keys.len() == 1 && keys[0].as_str().unwrap().starts_with("whpk_"), "{told}");
    assert_eq!(told["keys"]["push"].as_str().map(str::len), Some(87), "a point of P-256 in base64url");
    proxy.flag("[routes]\nweb = \"offline\"\n");
    wait("the message", || sink.seen().contains("maintenance.started"));
    let seen = sink.seen();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
    let fields = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let mut told: Map<String, Value> = fields.iter().map(|name| ((*name).to_owned(), field(name).into())).collect();
    told.extend([("body".to_owned(), body.into()), ("keys".to_owned(), keys.into())]);
    fs::write(proxy.path("seen.json"), Value::Object(told).to_string()).unwrap();
    let claim = "a webhook verified by the key of the site, with `cryptography` of PyPI";
    let Some(python) = python(claim) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/python/verify_webhook.py");
    let run = std::process::Command::new(python).arg(script).arg(proxy.path("seen.json")).output().unwrap();
    let (out, error) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert_eq!(out.trim(), "True False", "{error}");
}

#[test]
fn keys_that_are_known_late_are_told_without_a_publication() {
    let (folder, app) = (tempfile::tempdir().unwrap(), Upstream::ok());
    let url = app.url();
    let config = format!("{LISTEN}[routes.web]\nupstream = \"{url}\"\n[status]\nhost = \"status.test\"\nsend = true\n");
    fs::create_dir(folder.path().join(".backsoon")).unwrap();
    fs::write(folder.path().join(".backsoon/.push-key"), "nonsense").unwrap();
    let proxy = Backsoon::start_in(folder, &config);
    let told = || {
        let asked = "GET /.well-known/backsoon.json HTTP/1.1\r\nHost: status.test\r\n\r\n";
        request(proxy.address(), asked).body
    };
    wait("the outbox to say what is wrong", || !proxy.status()["outbox"]["error"].is_null());
    assert!(!told().contains("whpk_"), "{}", told());
    fs::remove_file(proxy.path(".backsoon/.push-key")).unwrap();
    wait("the keys", || told().contains("whpk_"));
}
