//! Replicas that share a store, and senders that are killed: everybody is told, and a repeated message has the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::command::run as run_in;
use crate::support::{Backsoon, LISTEN, Upstream, wait, wait_for_page};

#[path = "../postgres/server.rs"]
mod server;

use server::Server;

/// Endpoint that takes every message, after a while that differs.
fn sink() -> Upstream {
    Upstream::handling(|connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(fastrand::u64(0..8)));
            connection.send("HTTP/1.1 204 No Content\r\n\r\n");
        }
    })
}

/// Returns how often each message came, by its subscriber's path and its id.
fn messages(sink: &Upstream) -> BTreeMap<(String, String), usize> {
    let (mut path, mut all) = (String::new(), BTreeMap::new());
    for line in sink.seen().lines() {
        if let Some(rest) = line.split_once("POST ").map(|(_, rest)| rest) {
            path = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(id) = line.strip_prefix("webhook-id: ") {
            *all.entry((path.clone(), id.to_owned())).or_default() += 1;
        }
    }
    all
}

fn config(app: &Upstream, store: &str) -> String {
    let url = app.url();
    format!(
        "{LISTEN}[routes.web]\nupstream = \"{url}\"\n[status]\nsend = true\nallow_private = \"127.0.0.0/8\"\n{store}\n"
    )
}

/// Writes a config and an export with many subscribers, and imports it.
fn subscribe(folder: &Path, config: &str, sink: &Upstream, number: usize) {
    let line = |at| {
        let url = format!("{}/{at}", sink.url());
        format!(
            r#"{{"channel":"webhook","address":"{url}","state":"active","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw","created":"2026-05-19T14:00:00Z"}}"#
        )
    };
    fs::write(folder.join("backsoon.toml"), config).unwrap();
    fs::write(folder.join("export"), (0..number).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    run_in(folder, &["subscribers", "import", "export"]).exits(0).says(&format!("{number} subscribers added"));
}

#[test]
fn each_of_many_is_told_once_by_two_replicas_and_by_one_when_the_other_is_killed() {
    let Some(server) = Server::shared("two replicas with one store") else { return };
    let (app, sink, database) = (Upstream::ok(), sink(), server.database());
    let config = config(&app, &format!("store = \"{}\"", server.url(&database)));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    subscribe(folders[0].path(), &config, &sink, 200);
    let [one, other] = folders.map(|folder| Backsoon::start_in(folder, &config));
    let flag = |text: &str| [&one, &other].map(|proxy| proxy.flag(text));
    flag("[routes]\nweb = \"offline\"\n");
    wait("all to be told", || messages(&sink).len() == 200 && one.status()["outbox"]["due"] == 0);
    assert!(messages(&sink).values().all(|times| *times == 1), "each once");
    let sent = |proxy: &Backsoon| proxy.status()["outbox"]["sent"].as_u64().unwrap();
    wait("both to know what they sent", || sent(&one) + sent(&other) == 200);

    flag("[routes]\n");
    wait("the second round to begin", || messages(&sink).len() > 240);
    // This kills.
    drop(one);
    // The leases end: those of the dead one, and those of the other, which knows no better than to send again.
    server.sql(&database, "UPDATE deliveries SET claimed_until = 0 WHERE state = 'due'");
    wait_for_page("all to be told of the end", || messages(&sink).len() == 400 && other.status()["outbox"]["due"] == 0);
    let repeated = messages(&sink).values().filter(|times| **times > 1).count();
    assert!(repeated <= 32, "{repeated} messages came twice, more than were under way");
    let ids: BTreeSet<String> = messages(&sink).into_keys().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 400, "an id is of one message to one subscriber");
    assert!(other.status()["outbox"]["error"].is_null());
}

#[test]
fn a_store_that_is_away_loses_nothing_and_stops_no_request() {
    let Some(mut server) = Server::shared("a store that is away").and_then(|_| Server::start()) else { return };
    let (app, sink, database) = (Upstream::ok(), sink(), server.database());
    let config = config(&app, &format!("store = \"{}\"", server.url(&database)));
    let folder = tempfile::tempdir().unwrap();
    subscribe(folder.path(), &config, &sink, 3);
    let proxy = Backsoon::start_in(folder, &config);
    wait("the store to be open", || proxy.metric("backsoon_outbox_good", "") == 1.0);
    server.stop();
    proxy.flag("[routes]\nweb = \"offline\"\n");
    wait("the failure to be told", || {
        let outbox = &proxy.status()["outbox"];
        outbox["error"].as_str().is_some_and(|error| error.contains(&database)) && outbox["unrecorded"] == 1
    });
    assert_eq!(proxy.metric("backsoon_outbox_good", ""), 0.0);
    assert_eq!(crate::support::get(proxy.address(), "/").status, 503);
    run_in(proxy.dir.path(), &["subscribers", "list"]).exits(74).complains("cannot be used");
    server.run();
    wait("all to be told", || messages(&sink).len() == 3);
    wait("the outbox to be well", || proxy.status()["outbox"]["error"].is_null());
    assert_eq!(proxy.metric("backsoon_outbox_good", ""), 1.0);
    assert!(messages(&sink).values().all(|times| *times == 1));
}

#[test]
fn subscribers_move_from_the_file_to_the_shared_store() {
    let Some(server) = Server::shared("`backsoon subscribers` with a shared store") else { return };
    let (app, sink, folder) = (Upstream::ok(), sink(), tempfile::tempdir().unwrap());
    let place = folder.path();
    subscribe(place, &config(&app, ""), &sink, 2);
    let export = run_in(place, &["subscribers", "export"]).exits(0).out;
    fs::write(place.join("moved"), &export).unwrap();
    let store = format!("store = \"{}\"", server.url(&server.database()));
    fs::write(place.join("backsoon.toml"), config(&app, &store)).unwrap();
    run_in(place, &["subscribers", "list"]).exits(0).complains("nobody has subscribed");
    run_in(place, &["subscribers", "import", "moved"]).exits(0).says("2 subscribers added, 0 known already");
    run_in(place, &["subscribers", "import", "moved"]).exits(0).says("0 subscribers added, 2 known already");
    assert_eq!(run_in(place, &["subscribers", "export"]).exits(0).out, export);
    run_in(place, &["subscribers", "remove", &format!("{}/0", sink.url())]).exits(0).says("removed");
    run_in(place, &["subscribers", "remove", "1"]).exits(64).complains("there is no subscriber");
    run_in(place, &["subscribers", "resume", "2"]).exits(0).says("is told of what comes");
    run_in(place, &["check"]).keeps_quiet_of("replica");
}

/// `BACKSOON_KILLS=100` kills more often, and the seed is told.
#[test]
fn a_sender_that_is_killed_at_random_misses_nobody() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (kills, seed) = (number("BACKSOON_KILLS").unwrap_or(10), fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(number("BACKSOON_SEED").unwrap_or(seed));
    let (app, sink, folder, subscribers) = (Upstream::ok(), sink(), tempfile::tempdir().unwrap(), 40);
    let config = config(&app, "");
    subscribe(folder.path(), &config, &sink, subscribers);
    let file = folder.path().join(".backsoon/.subscribers.sqlite");
    let (mut proxy, mut folder, mut rounds) = (Backsoon::start_in(folder, &config), None, 0);
    for kill in 0..=kills {
        if messages(&sink).len() == rounds * subscribers {
            rounds += 1;
            proxy.flag(["[routes]\n", "[routes]\nweb = \"offline\"\n"][rounds % 2]);
        }
        if kill == kills {
            break;
        }
        let (before, some) = (messages(&sink).len(), random.usize(0..6));
        let aim = (before + some).min(rounds * subscribers);
        wait("some messages", || messages(&sink).len() >= aim);
        thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        folder.replace(std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap()));
        // This kills.
        drop(proxy);
        // The leases of the dead end.
        let store = rusqlite::Connection::open(&file).unwrap();
        store.busy_timeout(Duration::from_secs(30)).unwrap();
        store.execute("UPDATE deliveries SET claimed_until = 0", []).unwrap();
        drop(store);
        proxy = Backsoon::start_in(folder.take().unwrap(), &config);
    }
    wait("all to be told", || messages(&sink).len() == rounds * subscribers);
    let all = messages(&sink);
    let ids: BTreeSet<&String> = all.keys().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), all.len(), "an id is of one message to one subscriber (seed {seed})");
    let repeated: usize = all.values().map(|times| times - 1).sum();
    println!("{kills} kills: {} messages, {repeated} of them again, nobody missed", all.len());
    assert!(repeated as u64 <= 16 * kills, "{repeated} repeated after {kills} kills (seed {seed})");
}
