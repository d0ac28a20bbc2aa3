//! Clients and upstreams that are slow, or end early, and have not stalled.

use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, Upstream, wait};
use crate::two::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, WINDOW_UPDATE, frame, get_block,
};
use crate::wire::{Counts, alone, half_close};

fn told(answer: &'static str) -> (Option<String>, Duration) {
    let upstream = Upstream::handling(move |connection| {
        if connection.head().is_some() {
            connection.send(answer);
        }
    });
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_read = \"10s\"\n");
    let begun = Instant::now();
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let body = client.try_response().map(|answer| answer.body);
    (body, begun.elapsed())
}

#[test]
fn the_end_of_a_response_is_heard_whenever_it_comes() {
    let mut late = Vec::new();
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n", Some("")),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Some("hello"),
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Some("")),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", Some("")),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", Some("hello")),
        ("HTTP/1.0 200 OK\r\n\r\n", Some("")),
        ("HTTP/1.0 200 OK\r\n\r\nhello", Some("hello")),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", None),
    ] {
        let (told, took) = told(answer);
        if told.as_deref() != body || took > Duration::from_secs(2) {
            late.push(format!("{took:?} {told:?} {answer:?}"));
        }
    }
    assert!(late.is_empty(), "{late:#?}");
}

fn large() -> Upstream {
    Upstream::handling(|connection| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n");
            connection.send("x".repeat(40_000_000));
        }
    })
}

fn evictions(backsoon: &Backsoon, upstream: &Upstream) -> f64 {
    backsoon.metric("backsoon_upstream_evictions_total", &format!("upstream=\"{}\"", upstream.url()))
}

fn waits(address: SocketAddr) -> Client {
    let mut other = Client::connect(address);
    other.send("GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
    other
}

/// Reads for some seconds while another client waits; returns whether the reader was cut, and the longest time between two
/// of its reads.
type Reading = (bool, Duration);

/// A reader that was itself kept from reading, by a busy machine, shows nothing: it reads again.
fn assert_not_cut(read: impl Fn() -> Reading) {
    for _ in 0..4 {
        let (cut, longest) = read();
        assert!(!cut || longest > Duration::from_millis(700), "cut while it read, at least every {longest:?}");
        if !cut {
            return;
        }
    }
    panic!("the machine is too busy to read all the time");
}

/// 320 KB a second, and never more than 50 ms without a read.
fn read_http_1() -> Reading {
    let upstream = large();
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 1\n");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&backsoon.address().into()).unwrap();
    let mut slow: std::net::TcpStream = socket.into();
    std::io::Write::write_all(&mut slow, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let (begun, mut other, mut buffer) = (Instant::now(), None, [0; 16 * 1024]);
    let (mut last, mut longest) = (begun, Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(5) && slow.read(&mut buffer).is_ok_and(|read| read > 0) {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if begun.elapsed() > Duration::from_secs(1) && other.is_none() {
            other = Some(waits(backsoon.address()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    (evictions(&backsoon, &upstream) > 0.0, longest)
}

#[test]
fn an_http_1_client_that_reads_all_the_time_is_not_cut() {
    assert_not_cut(read_http_1);
}

/// 8 KB a second, in steps of a quarter of a second: an HTTP/2 client on a 2G line.
fn read_http_2() -> Reading {
    let upstream = large();
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 1\n");
    let mut slow = Frames::connect(backsoon.address(), &[(INITIAL_WINDOW_SIZE, 16 * 1024)]);
    slow.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_block(&[])));
    assert!(slow.until(DATA, 1).is_some());
    let (mut other, mut last, mut longest) = (None, Instant::now(), Duration::ZERO);
    for round in 0..20 {
        slow.send(frame(WINDOW_UPDATE, 0, 1, &2048_u32.to_be_bytes()));
        slow.send(frame(WINDOW_UPDATE, 0, 0, &2048_u32.to_be_bytes()));
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if round == 2 {
            other = Some(waits(backsoon.address()));
        }
        let mut taken = 0;
        while taken < 2048 {
            let next = slow.frame().expect("a frame");
            if next.kind == RST_STREAM {
                return (true, longest.max(last.elapsed()));
            }
            if next.kind == DATA {
                taken += next.payload.len();
            }
        }
        thread::sleep(Duration::from_millis(250));
    }
    drop(other);
    (evictions(&backsoon, &upstream) > 0.0, longest)
}

#[test]
fn an_http_2_client_that_reads_all_the_time_is_not_cut() {
    assert_not_cut(read_http_2);
}

#[test]
fn an_upload_that_waited_in_the_queue_is_given_its_patience() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            if head.starts_with("GET /slow") {
                thread::sleep(Duration::from_secs(2));
            }
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 1\n");
    let mut slow = Client::connect(backsoon.address());
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the slow one", || backsoon.in_flight() == 1.0);
    let mut upload = Client::connect(backsoon.address());
    upload.send("POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n");
    wait("the upload", || backsoon.in_flight() == 2.0);
    let mut other = Client::connect(backsoon.address());
    other.send("GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the other", || backsoon.in_flight() == 3.0);
    assert_eq!(slow.response().status, 200);
    // Told to go on only now. A mobile client's body is there a third of a second later.
    let first = upload.response();
    assert_eq!(first.status, 100, "{first:?}");
    thread::sleep(Duration::from_millis(300));
    upload.send("hello");
    let answer = upload.response();
    assert_eq!(answer.status, 200, "cut {answer:?}");
    assert_eq!(other.response().status, 200);
}

fn ask(head: &str, expects: bool) {
    let upstream = Upstream::handling(|connection| {
        while connection.request().is_some() {
            thread::sleep(Duration::from_secs(7));
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send(head);
    if expects {
        assert_eq!(client.response().status, 100);
    }
    client.send("hello");
    half_close(&client);
    assert_eq!(client.try_response().map(|answer| answer.status), Some(200), "{head}");
}

#[test]
fn a_client_that_ends_behind_its_body_gets_its_answer() {
    ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n", false);
}

#[test]
fn a_client_that_was_told_to_continue_and_ends_behind_its_body_gets_its_answer() {
    ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n", true);
}
