//! Who shares connections, descriptors and streams: no client and no upstream takes what others need.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};
use crate::two::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, Two, TwoUpstream, WINDOW_UPDATE,
    frame, get_block, request as head, write,
};
use crate::wire::{Blackhole, Counts, alone, half_close};

#[test]
fn who_stalls_one_upstream_does_not_close_another() {
    let (one, other) = (Upstream::ok(), Upstream::ok());
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "workers = 1\n{LISTEN}[limits]\nconnections = 100\n[routes.one]\npath = \"/one\"\nupstream = \"{}\"\n\
         [routes.web]\nupstream = \"{}\"\n",
        one.url(),
        other.url()
    );
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new("sh");
    // 180 descriptors: 64 are reserved, 100 are for clients, 16 for all upstreams.
    let run = format!(
        "ulimit -n 180 && exec {} run --config {}",
        env!("CARGO_BIN_EXE_backsoon"),
        dir.path().join("backsoon.toml").display()
    );
    command.args(["-c", &run]);
    let backsoon = Backsoon::spawn(dir, command);
    let stalled: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send("POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nx");
            client
        })
        .collect();
    wait("all connections to be taken", || backsoon.upstream_connections(&one.url()) == 16.0);
    let begun = Instant::now();
    let answer = get(backsoon.address(), "/canary");
    assert_eq!(answer.status, 200, "after {:?}", begun.elapsed());
    drop(stalled);
}

/// Returns how many others are answered, how many descriptors there were, and how many of the crowd are answered.
fn answered(half_closes: bool) -> (usize, usize, usize) {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET /slow") {
                thread::sleep(Duration::from_secs(8));
            }
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let config = format!("workers = 1\n{LISTEN}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new("sh");
    // 64 are reserved, 180 are for clients, 180 for upstreams.
    let run = format!(
        "ulimit -n 424 && exec {} run --config {}",
        env!("CARGO_BIN_EXE_backsoon"),
        dir.path().join("backsoon.toml").display()
    );
    command.args(["-c", &run]);
    let backsoon = Backsoon::spawn(dir, command);
    let crowd: Vec<_> = (0..125)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
            client
        })
        .collect();
    wait("the crowd", || backsoon.metric("backsoon_requests_in_flight", "route=\"web\"") == 125.0);
    thread::sleep(Duration::from_millis(200));
    if half_closes {
        crowd.iter().for_each(half_close);
    }
    thread::sleep(Duration::from_millis(500));
    let descriptors = backsoon.descriptors();
    let others: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.stream.get_ref().set_read_timeout(Some(Duration::from_secs(12))).unwrap();
            client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
            client
        })
        .collect();
    let answered = |clients: Vec<Client>| {
        clients.into_iter().filter_map(|mut client| client.try_response()).filter(|answer| answer.status == 200).count()
    };
    (answered(others), descriptors, answered(crowd))
}

#[test]
fn a_crowd_that_stays_open_takes_nothing_from_others() {
    let (others, descriptors, crowd) = answered(false);
    assert_eq!((others, crowd), (40, 125), "{descriptors} descriptors");
}

#[test]
fn a_crowd_that_sends_no_more_takes_nothing_from_others() {
    let (others, descriptors, crowd) = answered(true);
    assert_eq!((others, crowd), (40, 125), "{descriptors} descriptors");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_a_hundred_streams_are_not_more_than_a_sixteenth() {
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        if request.uri().path() == "/slow" {
            return std::future::pending().await;
        }
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let _ = write(&mut stream, Bytes::from("x".repeat(20_000)), true).await;
    })
    .await;
    let config = format!(
        "workers = 1\n{LISTEN}[limits]\nupstream_connections = 1\n[routes.web]\nupstream = \"{}\"\nhttp2 = true\n",
        upstream.url()
    );
    let backsoon = tokio::task::block_in_place(|| Backsoon::start(&config));
    let in_flight = |count: f64| {
        tokio::task::block_in_place(|| {
            wait("requests", || backsoon.metric("backsoon_requests_in_flight", "route=\"web\"") == count);
        });
    };
    // 98 streams wait for a slow upstream.
    let mut slow = [Two::connect(backsoon.address()).await, Two::connect(backsoon.address()).await];
    let mut waiting = Vec::new();
    for number in 0..98 {
        waiting.push(slow[number % 2].begin(head("GET", "/slow"), true).await);
    }
    in_flight(98.0);
    tokio::task::block_in_place(|| {
        // Two streams of one client, which pauses for 0.8 s.
        let mut client = Frames::connect(backsoon.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
        for stream in [1, 3] {
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_block(&[])));
            assert!(client.until(HEADERS, stream).is_some());
        }
        let mut other = Client::connect(backsoon.address());
        other.send("GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
        thread::sleep(Duration::from_millis(800));
        for stream in [1, 3] {
            client.send(frame(WINDOW_UPDATE, 0, stream, &20_000_u32.to_be_bytes()));
        }
        let mut left = 40_000;
        while left > 0 {
            let next = client.frame().expect("a frame");
            assert_ne!(next.kind, RST_STREAM, "cut after less than 1.5 s, with 2 of 100 streams");
            left -= if next.kind == DATA { next.payload.len() } else { 0 };
        }
        assert_eq!(other.response().status, 200);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polls_of_an_upstream_with_few_streams_leave_room_for_others() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(10);
    let handle = |request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>| async move {
        if request.uri().path() == "/poll" {
            return std::future::pending().await;
        }
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from("ok"), true).unwrap();
    };
    let upstream = TwoUpstream::start(handle, None, builder).await;
    let config = format!(
        "workers = 1\n{LISTEN}[limits]\nfirst_byte = \"10s\"\n[routes.web]\nupstream = \"{}\"\nhttp2 = true\n",
        upstream.url()
    );
    let backsoon = tokio::task::block_in_place(|| Backsoon::start(&config));
    let mut polls = Two::connect(backsoon.address()).await;
    let mut waiting = Vec::new();
    assert_eq!(tokio::task::block_in_place(|| get(backsoon.address(), "/warm")).status, 200);
    for _ in 0..10 {
        waiting.push(polls.begin(head("GET", "/poll"), true).await);
    }
    tokio::task::block_in_place(|| {
        wait("the polls", || backsoon.metric("backsoon_requests_in_flight", "route=\"web\"") == 10.0);
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        let answer = get(backsoon.address(), "/canary");
        let (took, connections) = (begun.elapsed(), upstream.connections());
        assert!(took < Duration::from_secs(8), "{took:?}, over {connections} connections");
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn clients_that_nobody_names_leave_places_to_others() {
    let upstream = Upstream::handling(|connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_millis(50));
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let backsoon = Backsoon::start(&format!(
        "workers = 1\ntrusted_proxies = [\"127.0.0.1\"]\n{LISTEN}[limits]\nupstream_connections = 1\nupstream_queue = 20\n\
         [routes.web]\nupstream = \"{}\"\n",
        upstream.url()
    ));
    let ask = |who: &str| {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {who}\r\n\r\n"));
        client
    };
    let crowd: Vec<_> = (0..60).map(|_| ask("unknown")).collect();
    wait("the queue to be full", || backsoon.reached("upstream_queue") > 0.0);
    let mut known = ask("192.0.2.1");
    assert_eq!(known.response().status, 200);
    drop(crowd);
}

#[test]
fn who_waits_for_an_http_2_upstream_that_is_away_is_told_in_time() {
    let away = Blackhole::new();
    let backsoon = alone(&format!("http://{}", away.address), "http2 = true\n[limits]\nconnect = \"300ms\"\n");
    let clients: Vec<_> = (0..60)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            let asked = Instant::now();
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            thread::sleep(Duration::from_millis(17));
            thread::spawn(move || (client.response().status, asked.elapsed()))
        })
        .collect();
    let mut took: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    took.sort_by_key(|(_, took)| *took);
    assert!(took[59].1 < Duration::from_secs(5), "{:?}", took[59]);
}
