//! `include`: a config of several files is one config, whichever of them changes.

use std::fs;

use serde_json::Value;

use crate::command::run;
use crate::support::{Backsoon, LISTEN, Upstream, get, replace, wait};

fn route(name: &str, upstream: &Upstream) -> String {
    format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\n", upstream.url())
}

fn file(backsoon: &Backsoon, name: &str) -> Value {
    let status = backsoon.status();
    let files = status["files"].as_array().unwrap();
    files.iter().find(|file| file["path"].as_str().unwrap().ends_with(name)).cloned().unwrap_or_default()
}

fn is_served(backsoon: &Backsoon, name: &str) -> bool {
    get(backsoon.address(), &format!("/{name}")).status == 200
}

#[test]
fn files_that_come_change_and_go_replace_the_config_as_one() {
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("routes")).unwrap();
    fs::write(dir.path().join("routes/a.toml"), route("a", &upstream)).unwrap();
    let backsoon =
        Backsoon::start_in(dir, &format!("include = [\"routes/*.toml\"]\n{LISTEN}{}", route("web", &upstream)));
    assert!(is_served(&backsoon, "web") && is_served(&backsoon, "a") && !is_served(&backsoon, "b"));
    let first = file(&backsoon, "backsoon.toml")["hash"].clone();
    assert_eq!(file(&backsoon, "routes/a.toml")["role"], "included");

    replace(&backsoon.path("routes/b.toml"), &route("b", &upstream));
    wait("a new file to be taken", || is_served(&backsoon, "b"));
    let with_b = file(&backsoon, "backsoon.toml");
    assert_ne!(with_b["hash"], first, "the hash is that of all files");
    assert_eq!(with_b["in_force"]["hash"], with_b["hash"]);

    // A mistake in one file refuses all of them.
    replace(&backsoon.path("routes/c.toml"), &route("c", &upstream));
    wait("another file to be taken", || is_served(&backsoon, "c"));
    replace(&backsoon.path("routes/a.toml"), "[routes.a]\nupstrem = \"http://127.0.0.1:1\"\n");
    wait("the mistake to be told", || {
        let problems = file(&backsoon, "backsoon.toml")["problems"].to_string();
        problems.contains("routes/a.toml") && problems.contains("unknown key") && problems.contains("\"line\":2")
    });
    assert!(["web", "a", "b", "c"].iter().all(|name| is_served(&backsoon, name)), "the last good config stays");

    // Mended under another name, while a file goes.
    replace(&backsoon.path("routes/a.toml"), &route("d", &upstream));
    wait("the mended file to be taken", || is_served(&backsoon, "d") && !is_served(&backsoon, "a"));
    fs::remove_file(backsoon.path("routes/b.toml")).unwrap();
    wait("the file to be gone", || !is_served(&backsoon, "b"));
    assert!(["web", "c", "d"].iter().all(|name| is_served(&backsoon, name)));
    assert_eq!(file(&backsoon, "routes/b.toml"), Value::Null);
}

#[test]
fn a_file_that_is_named_must_be_there_and_is_waited_for() {
    let upstream = Upstream::ok();
    let config = format!("{LISTEN}{}", route("web", &upstream));
    let backsoon = Backsoon::start(&config);
    replace(&backsoon.path("backsoon.toml"), &format!("include = \"more.toml\"\n{config}"));
    wait("the missing file to be told", || {
        file(&backsoon, "backsoon.toml")["problems"].to_string().contains("more.toml` cannot be included")
    });
    run(backsoon.dir.path(), &["check"]).exits(64).complains("cannot be included: there is no such file");
    replace(&backsoon.path("more.toml"), &route("more", &upstream));
    wait("the file to be taken", || is_served(&backsoon, "more"));
    run(backsoon.dir.path(), &["check"]).exits(0).complains("included: 1 file").says("2 routes");
    replace(&backsoon.path("more.toml"), &route("web", &upstream));
    run(backsoon.dir.path(), &["check"])
        .exits(64)
        .complains("route `web` is written twice")
        .complains("backsoon.toml:6");
}
