//! `backsoon subscribers`, on the file of the outbox.

use std::collections::BTreeSet;
use std::fs;

use crate::command::run as run_in;
use crate::support::{Backsoon, LISTEN, Upstream, wait};

const CONFIG: &str = "[[listen]]\naddress = \"127.0.0.1:8080\"\n[routes.web]\nupstream = \"http://127.0.0.1:3000\"\n";

const EXPORT: &str = r#"{"id":9,"uid":"0123456789abcdef0123456789abcdef","channel":"webhook","address":"https://a.example/hook","language":"de","services":["shop"],"regions":[],"kinds":[],"pace":"each-step","state":"active","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw","created":"2026-05-19T14:00:00Z","failures":0,"last_error":null}
{"channel":"webhook","address":"https://b.example/hook","state":"quarantined","secret":"whsec_AAAA","created":"2026-05-19T14:00:00Z"}
"#;

#[test]
fn subscribers_are_saved_restored_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    fs::write(place.join("backsoon.toml"), CONFIG).unwrap();
    fs::write(place.join("export"), EXPORT).unwrap();
    run_in(place, &["subscribers", "list"]).exits(0).complains("nobody has subscribed");
    assert!(!place.join(".backsoon").exists(), "a look makes no file");
    run_in(place, &["subscribers", "import", "export"]).exits(0).says("2 subscribers added, 0 known already");
    run_in(place, &["subscribers", "import", "export"]).exits(0).says("0 subscribers added, 2 known already");
    run_in(place, &["subscribers", "list"])
        .exits(0)
        .says("quarantined")
        .says("each-step  since 2026-05-19  https://a.example/hook");
    let list = run_in(place, &["subscribers", "list", "--json"]).exits(0).says("\"services\":[\"shop\"]");
    assert!(!list.out.contains("whsec_"), "{}", list.out);
    let export = run_in(place, &["subscribers", "export"]).exits(0);
    assert_eq!(export.out.lines().next().unwrap().replace("\"id\":1,", "\"id\":9,"), EXPORT.lines().next().unwrap());
    run_in(place, &["subscribers", "resume", "2"]).exits(0).says("https://b.example/hook is told of what comes");
    run_in(place, &["subscribers", "remove", "https://a.example/hook"]).exits(0).says("removed https://a.example/hook");
    run_in(place, &["subscribers", "remove", "1"]).exits(64).complains("there is no subscriber");
    let left = run_in(place, &["subscribers", "list"]).exits(0);
    assert!(left.out.contains("active") && !left.out.contains("a.example"), "{}", left.out);
}

#[test]
fn a_wrong_export_and_a_damaged_file_are_told_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    fs::write(place.join("backsoon.toml"), CONFIG).unwrap();
    fs::write(place.join("export"), format!("{EXPORT}nonsense\n")).unwrap();
    run_in(place, &["subscribers", "import", "export"]).exits(64).complains("export:3` is no subscriber");
    assert!(!place.join(".backsoon").exists());
    fs::create_dir(place.join(".backsoon")).unwrap();
    fs::write(place.join(".backsoon/.subscribers.sqlite"), [b'x'; 9000]).unwrap();
    run_in(place, &["subscribers", "list"]).exits(74).complains("is damaged");
}

#[test]
fn a_subscriber_is_told_of_a_flag_once_whatever_kills_the_proxy() {
    let (app, sink, folder) = (Upstream::ok(), Upstream::ok(), tempfile::tempdir().unwrap());
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[status]\nsend = true\nallow_private = \"127.0.0.0/8\"\n",
        app.url()
    );
    let subscriber = EXPORT.lines().next().unwrap().replace("https://a.example", &sink.url()).replace("\"shop\"", "");
    fs::write(folder.path().join("backsoon.toml"), &config).unwrap();
    fs::write(folder.path().join("export"), subscriber).unwrap();
    run_in(folder.path(), &["subscribers", "import", "export"]).exits(0);
    let mut proxy = Backsoon::start_in(folder, &config);
    proxy.flag("[routes]\nweb = \"offline\"\n");
    wait("the first message", || sink.seen().contains("maintenance.started"));
    let seen = sink.seen();
    assert!(seen.contains("webhook-signature: v1,") && seen.contains(" v1a,"), "{seen}");
    wait("the outbox to be empty", || proxy.status()["outbox"]["sent"] == 1 && proxy.status()["outbox"]["due"] == 0);
    let folder = std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap());
    // This kills.
    drop(proxy);
    let again = Backsoon::start_in(folder, &config);
    again.flag("[routes]\n");
    wait("the last message", || sink.seen().contains("maintenance.completed"));
    let ids: Vec<String> =
        sink.seen().lines().filter(|line| line.starts_with("webhook-id: ")).map(str::to_owned).collect();
    let different: BTreeSet<&String> = ids.iter().collect();
    // A kill between the answer and its record sends once more, with the same id.
    assert!(different.len() == 2 && ids.len() <= 3, "{ids:?}");
}
