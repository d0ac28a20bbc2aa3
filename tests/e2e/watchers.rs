//! Watchers: many at once, the cost of each, and events that reach all of them.
//!
//! `BACKSOON_WATCHERS=10000 cargo test --release --test e2e watchers -- --nocapture` runs the full number.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Backsoon, Client, LISTEN, PATIENCE, get, raise_the_limit_of_descriptors, wait};

/// Connects a client that asks for the events of `/`.
fn watch(backsoon: &Backsoon) -> TcpStream {
    watch_with(backsoon, "host: a")
}

/// Connects a client that sends these fields.
fn watch_with(backsoon: &Backsoon, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(backsoon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /.backsoon/events/ HTTP/1.1\r\n{fields}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Reads the event that tells of the opening, and returns the seconds that it names.
fn spread(stream: &mut TcpStream) -> u64 {
    spread_of(&read_until(stream, "event: open\ndata: {\"phase\":\"open\",\"spread\":"))
}

fn spread_of(event: &str) -> u64 {
    let data = event.rsplit_once("data: ").unwrap().1;
    serde_json::from_str::<Value>(data).unwrap()["spread"].as_u64().unwrap()
}

/// Reads until a text has arrived.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&read).contains(text) {
        let some = stream.read(&mut buffer).unwrap();
        assert!(some > 0, "the stream ended before {text:?}: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..some]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn thousands_of_watchers_cost_little_and_all_are_told() {
    let most: usize = std::env::var("BACKSOON_WATCHERS").ok().and_then(|most| most.parse().ok()).unwrap_or(1000);
    let config = "workers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [limits]\nconnections = 40000\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    // Freed memory is returned at once. Otherwise the watchers would fit into memory that printing the page has left.
    command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml")).env("MIMALLOC_PURGE_DELAY", "0");
    let backsoon = Backsoon::spawn(dir, command);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    backsoon.finished("");
    // The first watchers pay for the allocator's first growth.
    let mut watchers: Vec<TcpStream> = (0..100).map(|_| watch(&backsoon)).collect();
    watchers.iter_mut().for_each(|watcher| drop(read_until(watcher, "event: page")));
    let before = backsoon.resident();
    watchers.extend((100..most).map(|_| watch(&backsoon)));
    watchers[100..].iter_mut().for_each(|watcher| drop(read_until(watcher, "event: page")));
    assert_eq!(backsoon.metric("backsoon_watchers", ""), watchers.len() as f64);
    let grown = backsoon.resident().saturating_sub(before);
    let began = Instant::now();
    backsoon.flag("[routes.web]\nmode = \"offline\"\nmessage = \"Nearly done.\"\n");
    watchers.iter_mut().for_each(|watcher| drop(read_until(watcher, "event: page")));
    let told = began.elapsed();
    let quick = Instant::now();
    assert_eq!(get(backsoon.address(), "/").status, 503);
    let answered = quick.elapsed();
    backsoon.unflag();
    watchers.iter_mut().for_each(|watcher| drop(read_until(watcher, "event: open")));
    wait("all streams to end", || backsoon.metric("backsoon_watchers", "") == 0.0);
    #[allow(clippy::cast_precision_loss, reason = "it is shown to a tenth")]
    let each = grown as f64 / (most - 100) as f64;
    println!(
        "{most} watchers: {each:.1} KiB of resident memory each, beside {before} KiB; all told of a change after {told:?}; a page then took {answered:?}"
    );
    assert!(each < 64.0, "{each} KiB each");
    assert!(told < Duration::from_secs(10), "{told:?}");
}

#[test]
fn watchers_come_back_no_faster_than_the_rate_of_their_route() {
    raise_the_limit_of_descriptors();
    let config = format!(
        "workers = 2\n{LISTEN}[limits]\nconnections = 40000\n\
         [routes.web]\nhost = \"web\"\nupstream = \"http://127.0.0.1:1\"\nhold = {{ release = \"100/s\" }}\n\
         [routes.slow]\nhost = \"slow\"\nupstream = \"http://127.0.0.1:1\"\nhold = {{ release = \"1/s\" }}\n\
         [routes.quiet]\nhost = \"quiet\"\nupstream = \"http://127.0.0.1:1\"\n"
    );
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\n\"*\" = \"offline\"\n");
    let crowd = |host: &str, size: u32| {
        let mut crowd: Vec<TcpStream> = (0..size).map(|_| watch_with(&backsoon, &format!("host: {host}"))).collect();
        crowd.iter_mut().for_each(|watcher| drop(read_until(watcher, "event: page")));
        crowd
    };
    let (mut web, mut slow, mut quiet) = (crowd("web", 2000), crowd("slow", 300), crowd("quiet", 10));
    assert_eq!(backsoon.metric("backsoon_watchers", ""), 2310.0);
    backsoon.unflag();
    let spreads = |crowd: &mut [TcpStream]| crowd.iter_mut().map(spread).collect::<Vec<u64>>();
    // 2,000 watchers at 100 in a second take 20 s, and those of other routes do not count.
    assert_eq!(spreads(&mut web), [20; 2000]);
    // 300 at one in a second would take 5 min, and nobody waits longer than 2 min.
    assert_eq!(spreads(&mut slow), [120; 300]);
    assert_eq!(spreads(&mut quiet), [5; 10]);
    // A page that polls is told the same as long as others come back.
    let status = |host: &str| -> Value {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("GET /.backsoon/status/ HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        serde_json::from_str(&client.response().body).unwrap()
    };
    assert_eq!(
        (status("web"), status("slow")),
        (json!({"phase":"open","spread":20}), json!({"phase":"open","spread":120}))
    );
    assert_eq!(status("quiet"), json!({"phase":"open"}));
    // Each page takes a random moment of its spread. The numbers are fixed, so that this draw is always the same.
    let mut random = fastrand::Rng::with_seed(7);
    let mut arrivals = [0; 20];
    for _ in 0..2000 {
        arrivals[random.usize(..20_000) / 1000] += 1;
    }
    let most = arrivals.iter().max().unwrap();
    println!("2000 watchers at 100/s: {arrivals:?} in each second");
    assert!(*most <= 150, "{arrivals:?}");
}

#[test]
fn a_ramp_spreads_those_whose_turn_it_is() {
    let config = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n\
         hold = {{ release = \"10/s\" }}\nramp = [\"50% at 0s\", \"100% at 1h\"]\n"
    );
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    // Each comes from an address of its own, and so has a turn of its own.
    let from = |n: u32| watch_with(&backsoon, &format!("host: a\r\nx-forwarded-for: 198.51.{}.{}", n / 250, n % 250));
    let mut watchers: Vec<TcpStream> = (0..400).map(from).collect();
    watchers.iter_mut().for_each(|watcher| drop(read_until(watcher, "event: page")));
    backsoon.unflag();
    let mut told = Vec::new();
    for watcher in &mut watchers {
        let text = read_until(watcher, "event: ");
        let event = if text.contains("event: open") { text } else { continue };
        told.push(spread_of(&event));
    }
    // Half of 400 at 10 in a second.
    assert!(told.iter().all(|spread| *spread == 20), "{told:?}");
    assert!((150..250).contains(&told.len()), "{}", told.len());
    let left = (watchers.len() - told.len()) as f64;
    wait("the others alone to watch", || backsoon.metric("backsoon_watchers", "") == left);
}
