//! Switches: files whose existence closes a route, as deploy scripts touch and remove them.

use std::fs;
use std::os::unix::fs::symlink;

use crate::command::run;
use crate::support::{Backsoon, LISTEN, Upstream, get, request, wait};

fn until(backsoon: &Backsoon, route: &str, phase: &str) {
    wait(&format!("{route} to be {phase}"), || backsoon.route(route)["phase"] == phase);
}

#[test]
fn touch_closes_and_rm_opens_and_everything_says_so() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "switch = \"maintenance.enable\"\ndrain = \"1s\"");
    let dir = backsoon.path("");
    let switch = backsoon.path("maintenance.enable");
    assert_eq!(get(backsoon.address(), "/").status, 200);
    fs::write(&switch, "Back at three.\n").unwrap();
    until(&backsoon, "web", "closed");
    wait("the message", || get(backsoon.address(), "/").body.contains("Back at three."));
    let shown = switch.display().to_string();
    let route = backsoon.route("web");
    assert_eq!(
        (route["source"].as_str(), route["mode"].as_str()),
        (Some(&*format!("switch {shown}")), Some("offline"))
    );
    assert!(backsoon.status()["files"].as_array().unwrap().iter().any(|file| file["role"] == "switch"));
    run(&dir, &["status"]).tells(&format!("switch {shown}"));
    run(&dir, &["explain", "http://a/"]).exits(0).says("the switch");
    run(&dir, &["check"]).exits(0).complains("web is offline: its switch `maintenance.enable` exists");
    run(&dir, &["history"]).exits(0).says(&format!("offline by switch {shown}"));
    let holds = "maintenance.enable holds it; remove that file";
    run(&dir, &["off", "web"]).exits(4).says(holds);
    run(&dir, &["on", "web", "--for", "1h"]).exits(0).tells(&format!("the switch {shown} lasts longer"));
    run(&dir, &["off", "web", "--wait", "--timeout", "1s"]).exits(4).tells(holds);
    // A process that starts knows it from the first answer on.
    backsoon.signal("TERM");
    backsoon.wait_for_exit();
    let config = fs::read_to_string(backsoon.path("backsoon.toml")).unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("maintenance.enable"), "").unwrap();
    let backsoon = Backsoon::start_in(other, &config);
    assert_eq!(get(backsoon.address(), "/").status, 503);
    fs::remove_file(backsoon.path("maintenance.enable")).unwrap();
    until(&backsoon, "web", "open");
    assert_eq!(get(backsoon.address(), "/").status, 200);
    run(&backsoon.path(""), &["off", "web"]).exits(0).keeps_quiet_of("switch");
}

#[test]
fn what_is_no_message_closes_all_the_same_and_is_not_shown() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "switch = \"down\"");
    let switch = backsoon.path("down");
    let closed = || get(backsoon.address(), "/").status == 503;
    for (content, note) in [
        ("<!DOCTYPE html><p>s3cret</p>".to_owned(), "markup"),
        ("{\"retry\":60,\"secret\":\"s3cret\"}".to_owned(), "JSON"),
        (format!("s3cret{}", "x".repeat(2 << 20)), ""),
        ("s3cret\0".to_owned(), "no text"),
        ("off\n".to_owned(), "as long as it exists"),
    ] {
        fs::write(&switch, content).unwrap();
        wait("the route to close", closed);
        assert!(!get(backsoon.address(), "/").body.contains("s3cret"));
        run(&backsoon.path(""), &["check"]).exits(0).complains("its switch").complains(note);
        fs::remove_file(&switch).unwrap();
        until(&backsoon, "web", "open");
    }
    // A container makes a directory in the place of a file that is not there.
    fs::create_dir(&switch).unwrap();
    run(&backsoon.path(""), &["check"]).exits(0).complains("is a directory, which does not count");
    fs::remove_dir(&switch).unwrap();
    // A link counts once it leads to something.
    symlink("elsewhere", &switch).unwrap();
    fs::write(backsoon.path("elsewhere"), "Gone fishing").unwrap();
    wait("the route to close", closed);
    wait("the message", || get(backsoon.address(), "/").body.contains("Gone fishing"));
    fs::write(backsoon.path("elsewhere"), "Gone home").unwrap();
    wait("the other message", || get(backsoon.address(), "/").body.contains("Gone home"));
    fs::remove_file(&switch).unwrap();
    until(&backsoon, "web", "open");
}

#[test]
fn one_file_closes_several_routes_and_any_of_several_files_closes_one() {
    let upstream = Upstream::ok();
    let route = |name: &str, switch: &str| {
        format!("[routes.{name}]\nhost = \"{name}\"\nupstream = \"{}\"\nswitch = {switch}\n", upstream.url())
    };
    let config = |shop: &str| format!("{LISTEN}{}{}", route("web", "[\"one\", \"later/two\"]"), route("shop", shop));
    let backsoon = Backsoon::start(&config("{ file = \"one\", mode = \"read-only\" }"));
    run(&backsoon.path(""), &["check"]).exits(0).complains("the directory of the switch").complains("does not exist");
    fs::write(backsoon.path("one"), "").unwrap();
    until(&backsoon, "web", "closed");
    until(&backsoon, "shop", "closed");
    let post = request(backsoon.address(), "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n").status;
    let read = request(backsoon.address(), "GET / HTTP/1.1\r\nhost: shop\r\n\r\n").status;
    assert_eq!((post, read), (503, 200));
    fs::remove_file(backsoon.path("one")).unwrap();
    until(&backsoon, "web", "open");
    until(&backsoon, "shop", "open");
    fs::create_dir(backsoon.path("later")).unwrap();
    fs::write(backsoon.path("later/two"), "").unwrap();
    until(&backsoon, "web", "closed");
    // The key is read while the proxy runs; a route without it is not closed.
    backsoon.config(&config("\"later/two\""));
    until(&backsoon, "shop", "closed");
    // The whole directory of a release goes.
    fs::remove_dir_all(backsoon.path("later")).unwrap();
    until(&backsoon, "web", "open");
    until(&backsoon, "shop", "open");
}
