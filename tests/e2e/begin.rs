//! The first minute: a proxy without a config, `backsoon init`, and variables of the environment.

use std::fs;
use std::process::Command;

use crate::command::{command, run};
use crate::support::{Backsoon, Upstream, get, run_to_end, wait};

/// Returns the command `run` without a config, in a folder, on ports that the system chooses.
fn without_config(dir: &std::path::Path, upstreams: &[&str]) -> Command {
    let to = upstreams.iter().flat_map(|upstream| ["--to", upstream]);
    let args = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"].into_iter().chain(to);
    command(dir, &args.collect::<Vec<_>>())
}

#[test]
fn a_proxy_without_a_config_is_found_by_the_commands_of_its_folder() {
    let (first, second) = (Upstream::ok(), Upstream::ok());
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_owned();
    let mut running = Backsoon::spawn(dir, without_config(&here, &[&first.url(), &second.url()]));
    assert_eq!(get(running.address(), "/").status, 200);
    let admin = running.admin.to_string();
    let with_admin = |args: &[&str]| run(&here, &[args, &["--admin", &admin]].concat());
    with_admin(&["on", "web", "--for", "5m", "--wait"]).exits(0);
    assert_eq!(get(running.address(), "/").status, 503);
    assert!(fs::read_to_string(here.join("maintenance.toml")).unwrap().contains("web"), "the flag file is beside");
    run(&here, &["status", &admin]).exits(0).says("web");
    run(&here, &["explain", "http://127.0.0.1/"]).exits(0).says("web");
    with_admin(&["off", "web", "--wait"]).exits(0);
    wait("the route to be open", || get(running.address(), "/").status == 200);

    // A second one would take the config of the first away.
    let (code, told) = run_to_end(without_config(&here, &[&first.url()]));
    assert!(code == Some(64) && told.contains("runs in this folder already"), "{told}");
    running.signal("TERM");
    assert_eq!(running.wait_for_exit().code(), Some(0));
}

#[test]
fn a_start_without_a_config_is_refused_beside_one_and_with_wrong_options() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["run"]).exits(64).complains("there is no such file").complains("backsoon init");
    run(dir.path(), &["run", "--listen", ":0"]).exits(64).complains("--to");
    run(dir.path(), &["run", "--listen", ":0", "--to", "3000", "--config", "x.toml"]).exits(64).complains("--config");
    run(dir.path(), &["run", "--listen", "nowhere", "--to", "ftp://a"])
        .exits(64)
        .complains("the command line")
        .complains("`ftp://a` is not an upstream")
        .complains("nowhere");
    assert!(!dir.path().join(".backsoon").exists(), "nothing is written for wrong options");
    fs::write(dir.path().join("backsoon.toml"), "").unwrap();
    run(dir.path(), &["run", "--listen", ":0", "--to", "3000"]).exits(64).complains("this folder has a config");
}

#[test]
fn init_writes_what_check_takes_without_a_word_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["init"]).exits(64).complains("nothing says where your service is");
    run(dir.path(), &["init", "--to", "ftp://a"]).exits(64).complains("is not an upstream");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    run(dir.path(), &["init", "--to", "3000", "--host", "www.example.com"])
        .exits(0)
        .says("backsoon check")
        .says("backsoon run");
    run(dir.path(), &["check"]).exits(0).says("ok: 1 route, 1 listener").keeps_quiet_of("warning");
    let config = fs::read_to_string(dir.path().join("backsoon.toml")).unwrap();
    assert!(config.contains("\nhost = \"www.example.com\"\n") && config.contains("http://127.0.0.1:3000"), "{config}");
    run(dir.path(), &["init", "--to", "3001"]).exits(64).complains("is not overwritten");
    assert_eq!(fs::read_to_string(dir.path().join("backsoon.toml")).unwrap(), config);
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("maintenance.toml"), "[routes]\nweb = \"hold\"\n").unwrap();
    run(dir.path(), &["init", "--to", "3000", "--dir", "other"]).exits(0).says("kept").says("--config other");
    assert_eq!(fs::read_to_string(other.join("maintenance.toml")).unwrap(), "[routes]\nweb = \"hold\"\n");
}

#[test]
fn variables_come_from_the_environment_and_their_values_are_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[listen]]\naddress = \"127.0.0.1:${PORT:-0}\"\n[routes.web]\nupstream = \"http://${APP}\"\n";
    fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    run(dir.path(), &["check"]).exits(64).complains("the environment has no `APP`").complains("backsoon.toml:4:20");
    let mut check = command(dir.path(), &["check"]);
    check.env("APP", "very-secret.example:80");
    let (code, told) = run_to_end(check);
    assert!(code == Some(0) && told.contains("variables from the environment: `APP`"), "{told}");
    assert!(told.contains("by their defaults: `PORT`") && !told.contains("very-secret"), "{told}");
    let mut check = command(dir.path(), &["check"]);
    check.env("APP", "very-secret.example:port");
    let (code, told) = run_to_end(check);
    assert!(code == Some(64) && told.contains("`http://${APP}`"), "{told}");
    assert!(!told.contains("very-secret"), "{told}");
}
