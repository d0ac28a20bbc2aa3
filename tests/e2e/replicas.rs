//! Replicas on one flag file: what a command says counts for all of them, and names the one that differs.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::command::run;
use crate::support::{Backsoon, Client, LISTEN, Upstream, UpstreamConnection, wait};

/// Two proxies that share a flag file, and a directory with a config that names both as `replicas`.
struct Fleet {
    here: tempfile::TempDir,
    proxies: [Backsoon; 2],
    /// Connections of the second proxy's upstream.
    connections: Receiver<UpstreamConnection>,
}

impl Fleet {
    fn start() -> Self {
        let here = tempfile::tempdir().unwrap();
        let flags = here.path().join("maintenance.toml");
        std::fs::write(&flags, "[routes]\n").unwrap();
        let (sender, connections) = channel();
        let sender = Mutex::new(sender);
        let slow = Upstream::taking(move |connection| drop(sender.lock().unwrap().send(connection)));
        let proxies = [Upstream::ok().url(), slow.url()].map(|upstream| {
            let top = format!("maintenance = \"{}\"\n{LISTEN}", flags.display());
            Backsoon::start(&format!("{top}[routes.web]\nupstream = \"{upstream}\"\n"))
        });
        let fleet = Self { here, proxies, connections };
        fleet.name(&fleet.admins());
        fleet
    }

    fn admins(&self) -> Vec<String> {
        self.proxies.iter().map(|proxy| proxy.admin.to_string()).collect()
    }

    /// Writes the config that the commands read.
    fn name(&self, replicas: &[String]) {
        let replicas = json!(replicas);
        let config = format!("replicas = {replicas}\n{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:9\"\n");
        std::fs::write(self.path().join("backsoon.toml"), config).unwrap();
    }

    fn path(&self) -> &Path {
        self.here.path()
    }
}

#[test]
fn a_command_that_waits_waits_for_every_replica_of_the_config() {
    let fleet = Fleet::start();
    let [first, second] = &fleet.proxies;
    run(fleet.path(), &["status", "--flags-only"]).exits(0).says("all 2 agree, no errors");
    let mut client = Client::connect(second.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let mut connection = fleet.connections.recv().unwrap();
    assert!(connection.head().is_some());
    // The first replica drains at once, and says nothing about the second.
    let late = run(fleet.path(), &["on", "web", "--wait", "--timeout", "1s"]).exits(3).says("2 of 2 asked confirm it");
    let told = format!("it is live at {}, but after 1 s not drained: web (1 request)", second.admin);
    late.complains(&told).keeps_quiet_of(&format!("it is live at {}", first.admin)).keeps_quiet_of("nothing is in");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
    run(fleet.path(), &["on", "web", "--wait"])
        .exits(0)
        .says("nothing is in flight at any of the 2 replicas that began before\n");
}

#[test]
fn a_replica_that_cannot_be_asked_is_named_and_counts() {
    let fleet = Fleet::start();
    let mut all = fleet.admins();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    all.push(nobody.clone());
    fleet.name(&all);
    run(fleet.path(), &["status"]).exits(69).says("1 of 3 cannot be reached").says(&format!("{nobody}  no connection"));
    run(fleet.path(), &["on", "web", "--wait", "--timeout", "1s"])
        .exits(69)
        .says("2 of 3 asked confirm it")
        .complains(&format!("{nobody} did not confirm it"));
    // An address that is named takes the place of the config's.
    run(fleet.path(), &["off", "web", "--wait", "--admin", &all[0]]).exits(0).says("(1 of 1 asked)");
}

#[test]
fn fewer_replicas_than_there_are_to_be_are_no_word_about_all() {
    let fleet = Fleet::start();
    let flags = fleet.path().join("maintenance.toml");
    let all = fleet.admins().join(", ");
    let told = format!("error: 3 replicas were to be asked, and 2 can be: {all}");
    run(fleet.path(), &["on", "web", "--wait", "--replicas", "3"]).exits(69).complains(&told).complains("nothing was");
    run(fleet.path(), &["with", "web", "--replicas", "3", "--", "true"]).exits(125).complains("3 replicas");
    assert_eq!(std::fs::read_to_string(&flags).unwrap(), "[routes]\n");
    run(fleet.path(), &["status", "--replicas", "3"]).exits(69).complains(&told);
    run(fleet.path(), &["status", "--flags-only", "--replicas", "2"]).exits(0).says("all 2 agree");
    run(fleet.path(), &["on", "web", "--wait", "--replicas", "2"]).exits(0).says("2 of 2 asked confirm it");
    for (wrong, code) in [(["--replicas", "0"], 64), (["--replicas", "many"], 64)] {
        let args = [&["status"][..], &wrong].concat();
        run(fleet.path(), &args).exits(code).complains("write a number from 1 to 16384");
    }
    run(fleet.path(), &["on", "web", "--replicas", "2"]).exits(64).complains("--wait");
}

/// Starts an admin listener that has a route `web` in this state, and the clock of this machine plus some seconds.
fn telling(route: Value, ahead: i64) -> Upstream {
    Upstream::handling(move |connection| {
        while let Some(head) = connection.head() {
            let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead);
            let (code, body) = match head.split(' ').nth(1) {
                Some("/status") => ("200 OK", json!({ "generation": 1, "now": now, "routes": [route] }).to_string()),
                _ => ("404 Not Found", String::new()),
            };
            connection.send(format!("HTTP/1.1 {code}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

#[test]
fn status_says_which_replica_differs_and_in_what() {
    let closed = json!({ "name": "web", "phase": "closed", "mode": "offline" });
    let ramping = |share: f64| json!({ "name": "web", "phase": "ramping", "share": share });
    let mut tripped = closed.clone();
    tripped["breach"] = json!({ "what": "3 of 9 requests failed" });
    let place = tempfile::tempdir().unwrap();
    let ask = |routes: [(Value, i64); 2]| {
        let admins = routes.map(|(route, ahead)| telling(route, ahead));
        let [one, other] = [0, 1].map(|index: usize| admins[index].address.to_string());
        (run(place.path(), &["status", &one, &other]), one, other)
    };
    let (done, ..) = ask([(ramping(0.30), 0), (ramping(0.31), 0)]);
    done.exits(0).says("all 2 agree, no errors");
    let (done, one, other) = ask([(closed.clone(), 0), (tripped.clone(), 0)]);
    let told =
        format!("route web: closed, offline at {one}; closed, offline, with a finding of its guard at {other}\n");
    done.exits(1).says(&told).says("web is closed by its guard: 3 of 9 requests failed");
    let (done, one, other) = ask([(ramping(0.51), 0), (ramping(0.21), 0)]);
    let told = format!("route web: ramping, 51% of clients at {one}; ramping, 21% of clients at {other}\n");
    done.exits(1).says(&told).says("the replicas do not agree: they have different states of web");
    let (done, _, other) = ask([(closed.clone(), 0), (closed, 3600)]);
    done.exits(1).says(&format!("; 1 h ahead at {other}\n")).says("is 1 h ahead").says("they have different times");
    let alone = telling(tripped, 0);
    run(place.path(), &["status", &alone.address.to_string()]).exits(1).says("one thing is not as it should be");
}

#[test]
fn a_proxy_whose_clock_is_right_is_well() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    wait("the status", || proxy.status()["now"].is_string());
    run(proxy.dir.path(), &["status", &proxy.admin.to_string()]).exits(0).says("this proxy: no errors\n");
}
