//! Watchers: many at once, the cost of each, and events that reach all of them.
//!
//! `BACKSOON_WATCHERS=10000 cargo test --release --test e2e watchers -- --nocapture` runs the full number.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, PATIENCE, get, wait};

/// Connects a client that asks for the events of `/`.
fn watch(backsoon: &Backsoon) -> TcpStream {
    let mut stream = TcpStream::connect(backsoon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /.backsoon/events/ HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n").unwrap();
    stream
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
