//! What a guard knows of the time before a maintenance.

use std::process::Command;

use crate::support::{Backsoon, LISTEN, Upstream, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const FILE: &str = "state/backsoon.baselines.json";

fn upstream() -> Upstream {
    Upstream::handling(|connection| {
        while connection.request().is_some() {
            connection.send(OK);
        }
    })
}

/// Returns the config of a proxy whose route `web` has a guard.
fn config(upstream: &Upstream) -> String {
    let guard = "drain = \"1ms\"\nguard = { error_rate = \"baseline + 1%\" }\n";
    format!("state_dir = \"state\"\n{LISTEN}[routes.web]\nupstream = \"{}\"\n{guard}", upstream.url())
}

fn unjudged_once_closed(backsoon: &Backsoon) -> String {
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || backsoon.route("web")["phase"] == "closed");
    backsoon.route("web")["unjudged"].to_string()
}

#[test]
fn an_unknown_baseline_is_told_and_a_known_one_outlasts_a_restart() {
    let upstream = upstream();
    let mut backsoon = Backsoon::start(&config(&upstream));
    assert_eq!(unjudged_once_closed(&backsoon), "[\"error_rate\"]");
    backsoon.unflag();
    wait("the route to be open", || backsoon.route("web")["phase"] == "open");
    backsoon = Backsoon::start(&config(&upstream));
    (0..5).for_each(|_| assert_eq!(get(backsoon.address(), "/").status, 200));
    let pid = backsoon.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    wait("the proxy to end", || backsoon.child.try_wait().unwrap().is_some());
    let saved = std::fs::read_to_string(backsoon.path(FILE)).unwrap();
    assert!(saved.contains("\"requests\":5,\"errors\":0"), "{saved}");
    // The next process closes the route before any request.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join(FILE), saved).unwrap();
    let next = Backsoon::start_in(dir, &config(&upstream));
    assert_eq!(unjudged_once_closed(&next), "null");
}
