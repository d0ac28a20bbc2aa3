//! Time from a change of the flag file to the first answer that follows it.
//!
//! The targets are for a machine with nothing else to do: under 5 ms at the median, under 20 ms at p99. The tests run
//! on any machine beside other tests, so they only demand that events are followed: polling takes two seconds. They
//! print the measured times (CONTRIBUTING.md has the command).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, Upstream};

#[test]
fn a_rename_is_followed_within_milliseconds() {
    let spent = flip(100, |path, text| {
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        let began = Instant::now();
        fs::rename(&beside, path).unwrap();
        began
    });
    judge("from rename() to the first answer", spent);
}

#[test]
fn a_file_written_in_place_is_followed_within_milliseconds_of_its_closing() {
    let spent = flip(100, |path, text| {
        fs::write(path, text).unwrap();
        Instant::now()
    });
    judge("from close() after writing in place to the first answer", spent);
}

/// Closes and opens a route this many times and measures how long the answers take to follow. `put` changes the file
/// and returns when it did.
fn flip(times: usize, put: impl Fn(&Path, &str) -> Instant) -> Vec<Duration> {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag("[routes]\n");
    let path = backsoon.path("maintenance.toml");
    let mut client = Client::connect(backsoon.address());
    let mut spent = Vec::new();
    for turn in 0..times {
        for (text, status) in
            [("[routes]\nweb = \"offline\"\n".to_owned(), 503), (format!("# {turn}\n[routes]\n"), 200)]
        {
            let began = put(&path, &text);
            while ask(&mut client) != status {
                assert!(began.elapsed() < Duration::from_secs(20), "turn {turn}: no {status}");
            }
            spent.push(began.elapsed());
        }
    }
    spent
}

fn ask(client: &mut Client) -> u16 {
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.response().status
}

fn judge(what: &str, mut spent: Vec<Duration>) {
    spent.sort_unstable();
    let at = |share: f64| spent[((spent.len() - 1) as f64 * share) as usize];
    let (median, p99, most) = (at(0.5), at(0.99), at(1.0));
    println!("latency: {what}, {} flips: median {median:?}, p99 {p99:?}, most {most:?}", spent.len());
    assert!(median < Duration::from_millis(500), "median {median:?}");
    assert!(p99 < Duration::from_millis(1900), "p99 {p99:?}");
}
