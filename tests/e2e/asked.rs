//! Commands beside a proxy that goes by other content than the files on disk have, or beside something that is no proxy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::support::{Backsoon, Upstream, get, replace, wait};

/// Runs a command with the proxy's config, and returns its exit code and all that it says.
fn run(proxy: &Backsoon, args: &[&str]) -> (i32, String) {
    let config = proxy.path("backsoon.toml");
    run_in(config.parent().unwrap(), &[args, &["--config", config.to_str().unwrap()]].concat(), "")
}

fn run_in(dir: &Path, args: &[&str], admin: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(args).current_dir(dir).env_remove("BACKSOON_ADMIN");
    if !admin.is_empty() {
        command.env("BACKSOON_ADMIN", admin);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

/// Starts a proxy whose route `web` is flagged.
fn flagged() -> Backsoon {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    proxy.flag("[routes]\nweb = \"offline\"\n");
    proxy
}

#[test]
fn files_that_the_proxy_does_not_go_by_are_not_explained_as_if_it_did() {
    let removed: fn(&Path) = |file| fs::remove_file(file).unwrap();
    let emptied: fn(&Path) = |file| fs::write(file, "").unwrap();
    for (name, change, why) in [("emptied", emptied, "it is empty"), ("removed", removed, "there is no such file")] {
        let proxy = flagged();
        change(&proxy.path("maintenance.toml"));
        wait("the change to be seen", || {
            let flags = proxy.file("flags");
            !flags["pending"].is_null() || !flags["problems"].as_array().unwrap().is_empty()
        });
        for command in [["explain", "/"].as_slice(), &["check"]] {
            let (_, said) = run(&proxy, command);
            let note = said.contains("goes by an earlier content") || said.contains("does not take it");
            assert!(note && said.contains(why), "{name}: {command:?}: {said}");
        }
        let refused = || proxy.file("flags")["pending"].is_null();
        wait("the change to be refused", refused);
        assert_eq!(get(proxy.address(), "/").status, 503, "{name}");
        let (code, said) = run(&proxy, &["check"]);
        assert!(code == 64 && said.contains("does not take it"), "{name}: {said}");

        let (code, said) = run(&proxy, &["off", "--all", "--dry-run"]);
        assert!(code == 0 && said.contains("flags that a proxy has in force"), "{name}: {said}");
        let (code, said) = run(&proxy, &["off", "--all", "--wait"]);
        assert!(code == 0 && said.contains("lifts whatever was in force before"), "{name}: {said}");
        assert!(!said.contains("there was no flag to lift"), "{name}: {said}");
        assert_eq!(get(proxy.address(), "/").status, 200, "{name}");
        let (code, said) = run(&proxy, &["check"]);
        assert!(code == 0 && !said.contains("note"), "{name}: {said}");
    }
}

#[test]
fn an_object_of_another_program_is_no_status() {
    for body in ["{}", "{\"status\":\"ok\"}", "{\"version\":\"1.4\"}"] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let other = Upstream::answering(&format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
        let (code, said) = run_in(Path::new("/"), &["status", &other.url()], "");
        assert!(code == 69 && said.contains("not with a status"), "{body}: {said}");
    }
}

#[test]
fn status_asks_whom_the_environment_names() {
    let (one, two) = (flagged(), flagged());
    let all = [one.admin, two.admin].map(|admin: SocketAddr| admin.to_string()).join(",");
    let (_, said) = run_in(Path::new("/"), &["status", "--flags-only"], &all);
    assert!(said.contains(&one.admin.to_string()) && said.contains(&two.admin.to_string()), "{said}");
    let (_, said) = run_in(Path::new("/"), &["status", &two.admin.to_string()], &all);
    assert!(!said.contains(&one.admin.to_string()), "arguments win: {said}");
}

#[test]
fn a_route_that_is_closed_without_an_end_says_upon_what_it_opens() {
    let proxy = flagged();
    wait("the flag", || proxy.route("web")["phase"] == "closed");
    let (code, said) = run(&proxy, &["status"]);
    assert!(code == 0 && said.contains("then open once the flag is lifted"), "{said}");
    let window = "[[windows]]\nid = \"W-1\"\nstarts = 2026-01-01T00:00:00Z\nends = 2026-01-01T01:00:00Z\n\
                  on_overrun = \"stay\"\nroutes = { web = \"offline\" }\n";
    replace(&proxy.path("maintenance.toml"), window);
    wait("the window", || proxy.route("web")["source"] == "window W-1");
    let (_, said) = run(&proxy, &["status"]);
    assert!(said.contains("then open once the window W-1 is ended"), "{said}");
}
