//! Smuggling: input with two possible readings is refused, and bytes of a body are never a request.
//!
//! Each test names the advisories whose mistake it looks for.

use std::time::Duration;

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};
use crate::wire::{alone, ended, exchange, next, observed, statuses};

/// Long enough for an answer that must not come; a closed connection ends the wait early.
const QUIET: Duration = Duration::from_millis(400);

/// Proxy with every kind of answer of its own, and its upstreams.
struct Kinds {
    backsoon: Backsoon,
    upstream: Upstream,
}

impl Kinds {
    fn new() -> Self {
        let upstream = Upstream::ok();
        let url = upstream.url();
        let backsoon = Backsoon::start(&format!(
            "workers = 1\n{LISTEN}[limits]\nbody_size = \"2000B\"\nbody_read = \"1s\"\n\
             [routes.paused]\npath = \"/paused\"\nupstream = \"{url}\"\n[routes.web]\npath = \"/web\"\nupstream = \"{url}\"\n\
             [routes.down]\npath = \"/down\"\nupstream = \"http://127.0.0.1:1\"\n"
        ));
        backsoon.flag("[routes]\npaused = \"offline\"\n");
        Self { backsoon, upstream }
    }
}

/// CVE-2025-4366 (pingora), and the same for every other answer of the proxy's own: SMUG-CL0, GET-CL-BODY-DESYNC.
#[test]
fn bytes_behind_an_answer_of_our_own_are_never_answered_as_a_request() {
    let kinds = Kinds::new();
    let smuggled = "GET /web/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let length = smuggled.len();
    let chunk = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
    let long = format!("{smuggled}{}", "x".repeat(1000 - length));
    for (target, status) in [("/paused", 503), ("/nowhere", 404), ("/down", 502), ("/paused/..%2f%", 400)] {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "BREW"] {
            for (body, smuggles) in [
                // The whole body is the smuggled request.
                (format!("content-length: {length}\r\n\r\n{smuggled}"), 0),
                (format!("transfer-encoding: chunked\r\n\r\n{chunk}"), 0),
                // The announced body is longer or shorter than the bytes sent.
                (format!("content-length: {}\r\n\r\n{smuggled}", length + 10), 0),
                (format!("content-length: 1000\r\n\r\n{long}"), 0),
                (format!("content-length: {}\r\n\r\n{smuggled}", length - 9), 0),
                (format!("content-length: 1999\r\n\r\n{smuggled}"), 0),
                (format!("expect: 100-continue\r\ncontent-length: {length}\r\n\r\n{smuggled}"), 0),
                (format!("expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"), 0),
                (format!("expect: nonsense\r\ncontent-length: {length}\r\n\r\n{smuggled}"), 0),
                (format!("transfer-encoding: chunked\r\n\r\nnonsense\r\n{smuggled}"), 0),
                // A chunked body that is never finished.
                (format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}"), 0),
                // A real request after a complete body: an answer is allowed.
                ("content-length: 3\r\n\r\nabcGET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 1),
            ] {
                let request = format!("{method} {target} HTTP/1.1\r\nhost: a\r\n{body}");
                let read = exchange(kinds.backsoon.address(), request.as_bytes(), Duration::from_millis(60));
                let answers = statuses(&read);
                assert_eq!(answers.first(), Some(&status), "{request:?} → {read:?}");
                // Bytes after a body that was announced too short may be refused with 400.
                let more = answers[1..].iter().filter(|&&status| status != 400).count();
                assert!(more <= smuggles, "{request:?} → {read:?}");
            }
        }
    }
    assert!(!kinds.upstream.seen().contains("smuggled"), "{}", kinds.upstream.seen());
}

#[test]
fn bytes_behind_a_413_a_408_or_a_405_are_never_answered_as_a_request() {
    let kinds = Kinds::new();
    let smuggled = "GET /web/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let pad = "x".repeat(3000);
    for (request, status) in [
        (format!("POST /web HTTP/1.1\r\nhost: a\r\ncontent-length: 3000\r\n\r\n{smuggled}"), 413),
        (format!("POST /web HTTP/1.1\r\nhost: a\r\ncontent-length: 4000\r\n\r\n{pad}{smuggled}"), 413),
        (
            format!(
                "POST /web HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nbb8\r\n{pad}\r\n0\r\n\r\n{smuggled}"
            ),
            413,
        ),
        (format!("POST /web HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\n{smuggled}"), 408),
        (format!("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n{smuggled}"), 405),
        (format!("TRACE /web HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len()), 405),
    ] {
        let patience = if status == 408 { Duration::from_secs(3) } else { QUIET };
        let read = exchange(kinds.backsoon.address(), request.as_bytes(), patience);
        assert_eq!(statuses(&read), [status], "{request:?} → {read:?}");
    }
    assert!(
        !kinds.upstream.seen().contains("GET /web/smuggled HTTP/1.1\r\nhost: a\r\nx-f"),
        "{}",
        kinds.upstream.seen()
    );
}

/// Fields that must not be believed beside a body.
const BAD_FIELDS: &[&str] = &[
    // Transfer codings.
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, gzip",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: xchunked",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: chunked;a=b",
    "transfer-encoding: ,chunked",
    "transfer-encoding: chunked,",
    "transfer-encoding:",
    "transfer-encoding: \x0bchunked",
    "transfer-encoding: chunked\x0c",
    "transfer-encoding : chunked",
    "transfer-encoding\t: chunked",
    "transfer\u{2d}encoding: chunk\u{e9}d",
    "\ttransfer-encoding: chunked",
    "x: y\r\n transfer-encoding: chunked",
    "x: y\r\n\ttransfer-encoding: chunked",
    // Lengths.
    "content-length: +5",
    "content-length: -5",
    "content-length: -0",
    "content-length: 0x5",
    "content-length: 5 5",
    "content-length: 5, 6",
    "content-length: 5, 5",
    "content-length: 5,",
    "content-length: ,5",
    "content-length: 5\r\ncontent-length: 6",
    "content-length: 5\r\ncontent-length: 0",
    "content-length:",
    "content-length: ",
    "content-length: five",
    "content-length: 5.0",
    "content-length: 1e1",
    "content-length: 5;",
    "content-length : 5",
    // Names and values.
    ": empty",
    "bad name: x",
    "bad\x01name: x",
    "bad(name): x",
    "no colon at all",
    "x: a\0b",
    "x: a\rb",
    "x: a\x07b",
    // Hosts.
    "host: b",
    "host: a",
];

/// Heads that must not be believed at all.
const BAD_HEADS: &[&str] = &[
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: \r\n\r\n",
    "GET / HTTP/1.1\r\nhost: :80\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\u{e9}\r\n\r\n",
    "GET / HTTP/1.1\r\n host: a\r\n\r\n",
    "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
    "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
    "GET / HTTP/0.9\r\nhost: a\r\n\r\n",
    "GET /\r\nhost: a\r\n\r\n",
    "GET / http/1.1\r\nhost: a\r\n\r\n",
    "G\0T / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
    " GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
];

/// RUSTSEC-2020-0008, 2021-0020, 2021-0078; CVE-2026-2835 (pingora), CVE-2026-89044 (netty), CVE-2026-66752 (tiny_http),
/// CVE-2023-40225 (haproxy), CVE-2021-40346, CVE-2023-25725 (haproxy), tinyproxy#609, sozu#726, litespeed#392.
#[test]
fn a_head_that_two_could_read_differently_is_400_and_ends_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{smuggled}").into_bytes();
    let mut cases: Vec<Vec<u8>> = BAD_FIELDS.iter().map(|fields| with(fields)).collect();
    for head in BAD_HEADS {
        cases.push(format!("{head}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes());
    }
    for case in cases {
        let shown = String::from_utf8_lossy(&case).into_owned();
        let began = std::time::Instant::now();
        let read = exchange(backsoon.address(), &case, Duration::from_secs(5));
        assert_eq!(statuses(&read), [400], "{shown:?} → {read:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "the connection ends: {shown:?}");
    }
    assert_eq!(upstream.seen(), "");
}

/// Odd forms with only one reading: the upstream receives them in plain form.
#[test]
fn what_has_one_reading_is_forwarded_in_its_plain_form() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    for (fields, body, plain) in [
        ("Transfer-Encoding: Chunked", "0\r\n\r\n", "transfer-encoding: chunked\r\n"),
        ("transfer-encoding:\t chunked \t", "0\r\n\r\n", "transfer-encoding: chunked\r\n"),
        ("content-length: 5\r\ncontent-length: 5", "hello", "content-length: 5\r\n"),
        ("content-length:5", "hello", "content-length: 5\r\n"),
        ("content-length: 005", "hello", "content-length: 5\r\n"),
        ("content-length: 5\r\ncontent-length: 05", "hello", "content-length: 5\r\n"),
        ("connection: content-length\r\ncontent-length: 5", "hello", "content-length: 5\r\n"),
        ("connection: transfer-encoding\r\ntransfer-encoding: chunked", "0\r\n\r\n", "transfer-encoding: chunked\r\n"),
    ] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}"));
        assert_eq!(client.response().status, 200, "{fields}");
        let seen = upstream.seen().to_ascii_lowercase();
        assert_eq!(seen.matches("content-length").count() + seen.matches("transfer-encoding").count(), 1, "{seen}");
        assert!(seen.contains(plain), "{fields}: {seen}");
        upstream.forget();
    }
}

/// hyper#4123, CVE-2026-89044, RFC 9112 section 6.1: only one of two lengths is forwarded, and the connection ends.
#[test]
fn a_request_with_both_lengths_is_passed_on_with_one_and_ends_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for lengths in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 60\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\ncontent-length: 6",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n0\r\n\r\n{smuggled}");
        let read = exchange(backsoon.address(), request.as_bytes(), Duration::from_secs(5));
        let answers = statuses(&read);
        assert_eq!(answers.len(), 1, "{lengths}: {read}");
        assert!(answers == [400] || read.contains("connection: close\r\n"), "{read}");
        assert!(!upstream.seen().contains("content-length") && !upstream.seen().contains("smuggled"));
        upstream.forget();
    }
}

/// RUSTSEC-2021-0079, CVE-2025-55315 (Kestrel): chunks are read strictly.
#[test]
fn chunks_that_two_could_read_differently_are_400_and_end_both_connections() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n x: folded\r\n\r\n",
    ] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{smuggled}"));
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (400, Some("close")), "{chunks:?}");
        assert!(client.try_response().is_none(), "{chunks:?}");
        // The upstream may have received the start of a body, never a whole one.
        for mut connection in connections.try_iter() {
            assert!(ended(&mut connection.stream));
        }
    }
    let seen = upstream.seen();
    assert!(!seen.contains("smuggled") && !seen.contains("0\r\n\r\n"), "{seen}");
}

/// CVE-2023-45539 (haproxy): text after `#` is neither matched on nor forwarded.
#[test]
fn a_fragment_in_the_target_never_reaches_the_upstream() {
    let (web, admin) = (Upstream::ok(), Upstream::ok());
    let backsoon = Backsoon::start(&format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[routes.admin]\npath = \"/admin\"\nupstream = \"{}\"\n",
        web.url(),
        admin.url()
    ));
    for target in ["/admin#/x", "/#/admin", "/x?y#/../admin", "/admin%23x"] {
        let _ = get(backsoon.address(), target);
    }
    assert!(!web.seen().contains('#') && !admin.seen().contains('#'));
    assert!(!web.seen().contains("admin HTTP") && admin.seen().contains("GET /admin HTTP/1.1"));
}

/// Response smuggling: bytes of one client's response must never reach the next client.
#[test]
fn bytes_behind_a_response_never_reach_the_next_request() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for (request_line, first) in [
        ("GET /", format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello{evil}")),
        ("GET /", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        ("GET /", format!("HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n\r\n{evil}", evil.len())),
        ("HEAD /", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{evil}", evil.len())),
        ("HEAD /", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{evil}")),
        ("GET /", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{evil}")),
        ("GET /", format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n\r\n\r\n{evil}")),
    ] {
        let sent = first.clone();
        let upstream = Upstream::handling(move |connection| {
            while let Some(head) = connection.request() {
                if head.contains(" /good ") {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
                } else {
                    connection.send(&sent);
                }
            }
        });
        let backsoon = alone(&upstream.url(), "");
        let mut client = Client::connect(backsoon.address());
        client.send(format!("{request_line} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.1 3"), "{head}");
        for _ in 0..3 {
            assert_eq!(get(backsoon.address(), "/good").body, "good", "{first:?}");
        }
    }
}

#[test]
fn a_response_with_two_lengths_or_an_unknown_coding_is_502() {
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -1",
        "content-length: ",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: xchunked",
        "x: a\r\n folded",
        "x: a\0b",
    ] {
        let (upstream, connections) = observed();
        let backsoon = alone(&upstream.url(), "");
        let mut client = Client::connect(backsoon.address());
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        connection.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 502, "{fields:?}: {}", response.head);
        assert_eq!(response.field("proxy-status"), Some("backsoon; error=http_protocol_error"), "{fields:?}");
        assert!(ended(&mut connection.stream), "its connection is not used again");
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wait("another connection", || upstream.connections() == 2);
    }
}

#[test]
fn a_length_that_the_upstream_says_twice_is_said_once() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello");
    let backsoon = alone(&upstream.url(), "");
    let response = get(backsoon.address(), "/");
    assert_eq!(response.head.matches("content-length").count(), usize::from(response.status == 200));
    assert!([200, 502].contains(&response.status));
}
