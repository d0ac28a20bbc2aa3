//! Windows and time: the nights in which the clock changes, ends of windows that touch, rules that may be mistakes.

use std::fs;

use serde_json::Value;

use crate::command::{Done, run};

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:8080"
[routes.web]
host = "www.example.com"
upstream = "http://127.0.0.1:3000"
"#;

fn place(flags: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("backsoon.toml"), CONFIG).unwrap();
    fs::write(dir.path().join("maintenance.toml"), flags).unwrap();
    dir
}

fn backsoon(dir: &tempfile::TempDir, args: &[&str]) -> Done {
    run(dir.path(), args)
}

#[test]
fn check_tells_the_odd_nights_of_the_next_year() {
    let every = |rule: &str| format!("[[windows]]\nid = \"W\"\nevery = \"{rule}\"\nroutes = {{ web = \"offline\" }}\n");
    // Each year has one gap and one fold there, whenever this test runs.
    let dir = place(&every("Sun 02:30-03:30 Europe/Berlin"));
    let told = backsoon(&dir, &["check"]).exits(0);
    let told = told.complains("02:30 does not exist, it is on from 03:30 to 04:30, for 1h");
    told.complains("02:30 comes twice, the first counts").says("ok: 1 route, 1 listener; ");
    let json: Value = serde_json::from_str(&backsoon(&dir, &["check", "--json"]).exits(0).out).unwrap();
    let nights = json["odd_nights"].as_array().unwrap();
    let oddities: Vec<&str> = nights.iter().filter_map(|night| night["oddity"].as_str()).collect();
    assert!(oddities.contains(&"moved") && oddities.contains(&"twice") && nights.len() >= 2, "{json:#}");
    for rule in ["Sun 04:00-05:00 Europe/Berlin", "daily 02:30-03:30 Asia/Kathmandu"] {
        let quiet = backsoon(&place(&every(rule)), &["check"]).exits(0);
        assert!(!quiet.err.contains("note: window"), "{}", quiet.err);
    }
    backsoon(&place(&every("daily 02:00-02:00 UTC")), &["check"])
        .exits(0)
        .complains("maintenance.toml:3:9")
        .complains("always on");
}

#[test]
fn windows_that_touch_are_told_with_the_end_of_the_last() {
    let window = |id: &str, starts: &str, ends: &str| {
        format!("[[windows]]\nid = \"{id}\"\nstarts = {starts}\nends = {ends}\nroutes = {{ web = \"offline\" }}\n")
    };
    let dir = place(&format!(
        "{}{}",
        window("a", "2090-05-19T22:00:00Z", "2090-05-20T00:00:00Z"),
        window("b", "2090-05-20T00:00:00Z", "2090-05-20T07:00:00Z"),
    ));
    let told = backsoon(&dir, &["explain", "http://www.example.com/", "--at", "2090-05-19T23:00:00Z"]).exits(0);
    assert!(told.out.contains("until 2090-05-20 07:00 UTC"), "{}", told.out);
}
