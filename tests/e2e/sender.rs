//! One of several replicas tells subscribers: by a lease in the engine of their flags.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::command::run;
use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, LISTEN, Upstream, wait};

const OPEN: &str = "[routes]\n";
const SUBSCRIBERS: usize = 3;

fn config(nats: &Nats, app: &Upstream) -> String {
    let (url, fleet) = (app.url(), nats.table());
    format!(
        "{LISTEN}[routes.web]\nupstream = \"{url}\"\n{fleet}[status]\nhost = \"status.example.com\"\nsend = true\n\
         allow_private = \"127.0.0.0/8\"\n"
    )
}

/// Starts a replica with a file of its own, which has some subscribers.
fn replica(config: &str, sink: &Upstream, subscribers: usize) -> Backsoon {
    let folder = tempfile::tempdir().unwrap();
    let line = |at| {
        let url = format!("{}/{at}", sink.url());
        format!(
            r#"{{"channel":"webhook","address":"{url}","state":"active","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw","created":"2026-05-19T14:00:00Z"}}"#
        )
    };
    fs::write(folder.path().join("backsoon.toml"), config).unwrap();
    fs::write(folder.path().join("export"), (0..subscribers).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    run(folder.path(), &["subscribers", "import", "export"]).exits(0);
    Backsoon::start_in(folder, config)
}

/// Returns how often each message came, by its id: that of an update and of a subscriber, which are alike in all replicas.
fn messages(sink: &Upstream) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for id in sink.seen().lines().filter_map(|line| line.strip_prefix("webhook-id: ")) {
        *all.entry(id.to_owned()).or_default() += 1;
    }
    all
}

fn is_sender(proxy: &Backsoon) -> bool {
    let own = proxy.status()["outbox"]["sender"]["own"] == true;
    own && proxy.metric("backsoon_outbox_sender", "") == 1.0
}

fn due(proxy: &Backsoon) -> u64 {
    proxy.status()["outbox"]["due"].as_u64().unwrap()
}

#[test]
fn one_replica_tells_and_the_other_goes_on_when_it_is_killed_or_ends() {
    let Some(mut nats) = Nats::start("the lease of the sender is not tried") else { return };
    let mut client = nats.client();
    client.make_bucket();
    client.put(OPEN);
    let (app, sink) = (Upstream::ok(), Upstream::ok());
    let config = config(&nats, &app);
    let one = replica(&config, &sink, SUBSCRIBERS);
    wait("the first to have the lease", || is_sender(&one));
    let mut other = replica(&config, &sink, SUBSCRIBERS);
    wait("the other to see it", || other.status()["outbox"]["sender"]["replica"].is_string());
    assert!(!is_sender(&other));
    run(other.dir.path(), &["on", "web"]).exits(0);
    wait("all to be told", || messages(&sink).len() == SUBSCRIBERS);
    wait("the other to know", || due(&one) == 0 && due(&other) == 0);
    run(other.dir.path(), &["status", &other.admin.to_string()]).exits(0).says(&format!(":{}\n", one.admin.port()));
    assert_eq!(other.status()["outbox"]["sent"], 0);

    // This kills.
    drop(one);
    let killed = Instant::now();
    run(other.dir.path(), &["off", "web"]).exits(0);
    while !is_sender(&other) {
        assert!(killed.elapsed() < Duration::from_secs(40), "the lease is over by then");
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("the lease was taken {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() > Duration::from_secs(15), "while it lasted");
    wait("all to be told of the end", || messages(&sink).len() == 2 * SUBSCRIBERS);
    wait("nothing to be left", || due(&other) == 0);

    // One that comes later, with nothing but the subscribers, repeats nothing, and has the lease when it is given back.
    let third = replica(&config, &sink, SUBSCRIBERS);
    wait("the third to be there", || third.status()["outbox"]["sender"]["replica"].is_string());
    other.signal("TERM");
    other.wait_for_exit();
    let ended = Instant::now();
    wait("the third to have the lease", || is_sender(&third));
    assert!(ended.elapsed() < Duration::from_secs(15), "at once: {:?}", ended.elapsed());
    // Another target, since a new state directory numbers the closures of one anew.
    client.put("[routes]\n\"*\" = \"offline\"\n");
    wait("all to be told again", || messages(&sink).len() == 3 * SUBSCRIBERS);
    wait("the end of the outbox", || due(&third) == 0);
    let all = messages(&sink);
    assert!(all.len() == 3 * SUBSCRIBERS && all.values().all(|times| *times == 1), "{all:?}");

    // A holder that loses the engine stops before anybody can have its lease.
    nats.kill();
    wait("word of the engine", || third.status()["outbox"]["sender"]["trouble"].is_string());
    let lost = Instant::now();
    while is_sender(&third) {
        assert!(lost.elapsed() < Duration::from_secs(26), "others take it after 30 s");
        std::thread::sleep(Duration::from_millis(100));
    }
    run(third.dir.path(), &["status", &third.admin.to_string()]).exits(1).says("subscribers are told by nobody now");
    nats.run();
    wait("the lease again", || is_sender(&third));
}

#[test]
fn replicas_with_other_subscribers_and_without_the_right_to_write_say_so() {
    let login = "authorization { users = [{ user: \"anna\", password: \"a\" }, { user: \"reads\", password: \"r\", \
                 permissions { publish: { deny: \"$KV.backsoon.flags.sender\" } } }] }";
    let Some(nats) = Nats::with("rights for the lease of the sender are not tried", login) else { return };
    let mut client = NatsClient::connect(nats.address, r#"{"user":"anna","pass":"a"}"#);
    client.make_bucket();
    client.put(OPEN);
    let (app, sink) = (Upstream::ok(), Upstream::ok());
    let with = |login: &str| {
        let file = nats.dir.path().join(login.split(':').next().unwrap());
        fs::write(&file, login).unwrap();
        config(&nats, &app).replace("[status]", &format!("credentials = {file:?}\n[status]"))
    };
    let reads = replica(&with("reads:r"), &sink, 2);
    wait("the refusal", || {
        reads.status()["outbox"]["sender"]["trouble"].as_str().is_some_and(|why| why.contains("Permissions Violation"))
    });
    assert!(!is_sender(&reads));
    run(reads.dir.path(), &["status", &reads.admin.to_string()])
        .exits(1)
        .says("the sender's lease cannot be asked for");
    let one = replica(&with("anna:a"), &sink, 2);
    wait("the first to have the lease", || is_sender(&one));
    let other = replica(&with("anna:a"), &sink, 1);
    wait("the difference", || other.status()["outbox"]["sender"]["differs"] == "2 there, 1 here");
    run(other.dir.path(), &["status", &other.admin.to_string()])
        .exits(1)
        .says("knows others than this replica: 2 there");
}
