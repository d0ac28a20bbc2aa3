//! Beats of the replicas through NATS: who is there, who lags or differs, and who is missing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::command::{command, run};
use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, Client, LISTEN, Upstream, UpstreamConnection, wait};

const OPEN: &str = "[routes]\n";
const CLOSED: &str = "[routes]\nweb = \"offline\"\n";

/// Replicas that follow one key.
struct Fleet {
    proxies: Vec<Backsoon>,
    client: NatsClient,
    nats: Nats,
    upstream: Upstream,
    /// Connections to the upstream, which answers nothing by itself.
    connections: Receiver<UpstreamConnection>,
}

impl Fleet {
    /// Starts a server and as many replicas, and waits until each has heard of all others.
    fn start(claim: &str, count: usize) -> Option<Self> {
        let nats = Nats::start(claim)?;
        let mut client = nats.client();
        client.make_bucket();
        client.put(OPEN);
        let (sender, connections) = channel();
        let sender = Mutex::new(sender);
        let upstream = Upstream::taking(move |connection| drop(sender.lock().unwrap().send(connection)));
        let proxies = (0..count).map(|_| Backsoon::before(&upstream.url(), &nats.table())).collect();
        let fleet = Self { proxies, client, nats, upstream, connections };
        fleet.wait_for(count - 1);
        Some(fleet)
    }

    /// Waits until each replica has heard of as many others.
    fn wait_for(&self, others: usize) {
        for proxy in &self.proxies {
            wait(&format!("{others} others"), || peers(proxy)["heard"] == others);
        }
    }
}

/// Returns the end of a replica's name.
fn port(proxy: &Backsoon) -> String {
    format!(":{}", proxy.admin.port())
}

fn peers(proxy: &Backsoon) -> Value {
    proxy.status()["fleet"]["peers"].clone()
}

#[test]
fn replicas_hear_each_other_and_tell_a_farewell_from_silence() {
    let Some(mut fleet) = Fleet::start("beats of replicas are not tried", 3) else { return };
    let revision = fleet.client.put(CLOSED).to_string();
    for proxy in &fleet.proxies {
        wait("the others to tell the edit", || {
            let peers = peers(proxy);
            let told = peers["replicas"].as_array().unwrap();
            told.len() == 2 && told.iter().all(|peer| peer["revision"] == *revision)
        });
        let ahead = peers(proxy)["replicas"][0]["clock_ahead_ms"].as_i64().unwrap();
        assert!(ahead.abs() < 1000, "{ahead}");
    }
    let ended = fleet.proxies.remove(0);
    ended.signal("TERM");
    fleet.wait_for(1);
    assert_eq!(peers(&fleet.proxies[0])["late"], 0);
    let [first, second] = &fleet.proxies[..] else { unreachable!() };
    second.signal("STOP");
    wait("word that one is late", || peers(first)["late"] == 1);
    assert_eq!(peers(first)["replicas"][0]["late"], true);
    let labels = format!("source=\"{}\",kind=\"nats\"", fleet.nats.place());
    assert!(first.metric("backsoon_fleet_replicas", &labels) > 0.5);
    assert!(first.metric("backsoon_fleet_replicas_late", &labels) > 0.5);
    second.signal("CONT");
    wait("it to be back", || peers(first)["late"] == 0);
    let third = Backsoon::before(&fleet.upstream.url(), &fleet.nats.table());
    wait("a fresh replica to know both", || peers(&third)["heard"] == 2);
}

#[test]
fn status_shows_the_fleet_as_one_table_and_names_who_differs_or_is_missing() {
    let Some(mut fleet) = Fleet::start("the status of a fleet is not tried", 3) else { return };
    let here = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(fleet.proxies[0].path("backsoon.toml")).unwrap();
    std::fs::write(here.path().join("backsoon.toml"), &config).unwrap();
    let status = |more: &[&str]| run(here.path(), &[&["status"], more].concat());
    let done = status(&[]).exits(0).says("REPLICA").says("all 3 agree, no errors\n");
    fleet.proxies.iter().for_each(|proxy| assert!(done.out.contains(&port(proxy)), "{}", done.out));
    let json: Value = serde_json::from_str(&status(&["--json"]).exits(0).out).unwrap();
    assert_eq!((json["agree"].as_bool(), json["replicas"].as_array().map(Vec::len)), (Some(true), Some(3)));
    assert_eq!(json["replicas"][0]["status"]["fleet"]["in_force"], "1");
    assert!(json["replicas"][0]["admin"].is_string());
    status(&["--replicas", "4"]).exits(69).complains("4 replicas were to be asked, and 3 can be");
    run(here.path(), &["status", &fleet.proxies[0].admin.to_string()]).exits(0).says("this proxy: no errors");

    fleet.client.put("[routes]\nweb = \"of-line\"\n");
    wait("all to refuse it", || status(&[]).out.matches("refused").count() >= 3);
    status(&[]).exits(1).says("line 2");
    fleet.client.put(CLOSED);
    wait("all to take it", || status(&[]).out.contains("all 3 agree"));
    status(&[]).exits(0).says("web closed");

    let other = Backsoon::before(&fleet.upstream.url(), &format!("drain = \"7s\"\n{}", fleet.nats.table()));
    let told = status(&[]).exits(1).says("the replicas do not agree: they have different configs");
    assert!(told.out.lines().any(|line| line.contains(&port(&other)) && line.contains("other")), "{}", told.out);
    status(&["--flags-only"]).exits(0);
    fleet.wait_for(3);

    other.signal("STOP");
    status(&["--flags-only"]).exits(1).says("1 of 4 is missing").says(&format!("{}\n", port(&other)));
    other.signal("CONT");
    wait("it to be back", || status(&["--flags-only"]).code == 0);
    other.signal("TERM");
    wait("its farewell", || status(&[]).out.contains("all 3 agree"));
    let mut killed = fleet.proxies.pop().unwrap();
    killed.signal("KILL");
    killed.wait_for_exit();
    status(&[]).exits(1).says("1 of 3 is missing").says(&port(&killed)).says("missing, heard ");
    fleet.nats.kill();
    status(&[]).complains("the fleet cannot be asked through nats://");
}

#[test]
fn a_command_that_waits_waits_for_every_replica_that_is_heard_of() {
    let Some(mut fleet) = Fleet::start("waits for a fleet are not tried", 3) else { return };
    let dir = fleet.proxies[0].dir.path().to_owned();
    let second = &fleet.proxies[1];
    let mut client = Client::connect(second.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let mut connection = fleet.connections.recv().unwrap();
    assert!(connection.head().is_some());
    let late = run(&dir, &["on", "web", "--wait", "--timeout", "2s"]).exits(3).says("3 of 3 asked confirm it");
    late.complains(&format!("{}, but after 2 s not drained: web (1 request)", port(second)))
        .keeps_quiet_of("nothing is");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
    let done = run(&dir, &["on", "web", "--wait"]).exits(0);
    done.says("nothing is in flight at any of the 3 replicas that began before\n");
    let flags = fleet.client.flags();
    let few = run(&dir, &["off", "web", "--wait", "--replicas", "4"]).exits(69);
    few.complains("4 replicas were to be asked, and 3 can be");
    assert_eq!(fleet.client.flags(), flags, "nothing was written");
    run(&dir, &["off", "web", "--wait", "--replicas", "3"]).exits(0).says("web is open at all 3 replicas");
    run(&dir, &["with", "web", "--", "true"]).exits(0);
    run(&dir, &["on", "*", "--wait"]).exits(0).says("any of the 3 replicas");
    run(&dir, &["off", "*", "--wait"]).exits(0).says("every route is open at all 3 replicas");
    // One that is named is asked alone.
    let admin = second.admin.to_string();
    run(&dir, &["on", "web", "--wait", "--admin", &admin]).exits(0).says("at this proxy that began before");
    run(&dir, &["off", "web", "--wait"]).exits(0).says("3 of 3 asked confirm it");

    second.signal("STOP");
    let missing = run(&dir, &["on", "web", "--wait", "--timeout", "2s"]).exits(69).says("2 of 3 asked confirm it");
    missing.complains(&format!("{} did not confirm it: no answer", port(second)));
    second.signal("CONT");
    run(&dir, &["on", "web", "--wait"]).exits(0).says("any of the 3 replicas");
    second.signal("TERM");
    fleet.proxies.remove(1).wait_for_exit();
    run(&dir, &["off", "web", "--wait"]).exits(0).says("web is open at all 2 replicas");
}

#[test]
fn the_rights_of_the_documentation_suffice_and_without_those_for_beats_the_flags_are_followed() {
    let common =
        "\"$JS.API.STREAM.MSG.GET.KV_backsoon\", \"$JS.API.CONSUMER.CREATE.KV_backsoon.>\", \"$KV.backsoon.flags\"";
    let user = |name: &str, publish: &str, subscribe: &str| {
        let rights = format!("publish: [{common}{publish}], subscribe: [\"_INBOX.>\"{subscribe}]");
        format!("{{ user: {name}, password: secret, permissions: {{ {rights} }} }}")
    };
    let beats = ", \"backsoon.backsoon.flags.>\"";
    let users = ["{ user: root, password: secret }".to_owned(), user("anna", beats, beats), user("bert", "", "")];
    let users = format!("authorization {{ users = [{}] }}", users.join(", "));
    let Some(nats) = Nats::with("rights at NATS are not tried", &users) else { return };
    let mut client = NatsClient::connect(nats.address, r#"{"user":"root","pass":"secret"}"#);
    client.make_bucket();
    client.put(OPEN);
    let upstream = Upstream::ok();
    let start = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("login"), format!("{name}:secret\n")).unwrap();
        let table = format!("{}credentials = \"login\"\nname = \"{name}\"\n", nats.table());
        let route = format!("[routes.web]\nupstream = \"{}\"\n", upstream.url());
        Backsoon::start_in(dir, &format!("{LISTEN}{route}{table}"))
    };
    let (may, may_not) = (start("anna"), start("bert"));
    wait("a status by the engine", || {
        run(may.dir.path(), &["status"]).out.contains("the only replica that is heard of")
    });
    run(may.dir.path(), &["on", "web", "--wait"]).exits(0).says("at the only replica that is heard of");
    wait("the flags to be followed", || may_not.status()["routes"][0]["phase"] == "closed");
    wait("word of the lack of rights", || {
        run(may_not.dir.path(), &["status"]).out.contains("the other replicas are not heard")
    });
    let note = run(may_not.dir.path(), &["status"]).exits(1);
    note.complains("Permissions Violation").complains("which is not the whole fleet");
    let alone = run(may_not.dir.path(), &["off", "web", "--wait"]).exits(0);
    alone.complains("no replica answers through the engine, only one proxy is asked").says("(1 of 1 asked)");
}

#[test]
fn a_watched_fleet_is_shown_anew_when_it_changes() {
    let Some(mut fleet) = Fleet::start("the watch of a fleet is not tried", 2) else { return };
    let mut watch = command(fleet.proxies[0].dir.path(), &["status", "--watch", "--json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = |phase: &str| loop {
        let shown: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let replicas = shown["replicas"].as_array().unwrap();
        let phases = replicas.iter().map(|replica| replica["status"]["routes"][0]["phase"].as_str().unwrap_or("open"));
        if replicas.len() == 2 && phases.into_iter().all(|one| one == phase) {
            return;
        }
    };
    next("open");
    fleet.client.put(CLOSED);
    next("closed");
    assert!(Command::new("kill").args(["-INT", &watch.id().to_string()]).status().unwrap().success());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn status_waits_for_flags_that_somebody_else_has_edited() {
    let Some(mut fleet) = Fleet::start("waits for edits of others are not tried", 3) else { return };
    let dir = fleet.proxies[0].dir.path().to_owned();
    let status = |more: &[&str]| run(&dir, &[&["status", "--wait"], more].concat());
    let mut client = Client::connect(fleet.proxies[1].address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let mut connection = fleet.connections.recv().unwrap();
    assert!(connection.head().is_some());
    fleet.client.put(CLOSED);
    status(&[]).exits(0).says("3 of 3 asked confirm it").keeps_quiet_of("nothing is");
    status(&["--drained", "--timeout", "1s"]).exits(3).complains("not drained: web (1 request)");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
    status(&["--drained"]).exits(0).says("nothing is in flight at any of the 3 replicas that began before\n");
    status(&["--open", "--timeout", "1s"]).exits(4);
    fleet.client.put(OPEN);
    status(&["--open", "--route", "web", "--replicas", "3"]).exits(0).says("web is open at all 3 replicas\n");
    status(&["--route", "wbe"]).exits(64).complains("wbe");
    status(&["--replicas", "4"]).exits(69);
    fleet.client.put("[routes]\nweb = \"of-line\"\n");
    status(&["--timeout", "5s"]).exits(65).complains("of-line");
    fleet.proxies[2].signal("STOP");
    fleet.client.put(CLOSED);
    status(&["--timeout", "2s"]).exits(69).says("2 of 3 asked confirm it").complains(&port(&fleet.proxies[2]));
    fleet.proxies[2].signal("CONT");
    status(&["--drained"]).exits(0).says("3 of 3 asked confirm it");
}

#[test]
fn status_waits_for_an_edit_of_a_file_as_well() {
    let upstream = Upstream::ok();
    let proxy = Backsoon::before(&upstream.url(), "");
    let (dir, admin) = (proxy.dir.path(), proxy.admin.to_string());
    let status = |more: &[&str]| run(dir, &[&["status", "--wait", &admin], more].concat());
    proxy.flag(CLOSED);
    status(&["--drained"]).exits(0).says("nothing is in flight at this proxy that began before\n");
    proxy.flag("[routes]\nweb = 7\n");
    status(&["--timeout", "5s"]).exits(65);
    std::fs::remove_file(proxy.path("maintenance.toml")).unwrap();
    status(&["--timeout", "5s"]).exits(64).complains("maintenance.toml");
}
