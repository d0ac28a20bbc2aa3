//! Bodies: they stream both ways, at the pace of the slower side, in constant memory; broken ones are reported.

use std::io::{BufRead, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::{Backsoon, Client, PATIENCE, Upstream, request, wait};
use crate::wire::{Counts, FEW_PAGES, SlowReader, alone, ended, next, observed, pour, reset, settled, stands_still};

const UPLOAD: u64 = 200 * 1024 * 1024;

/// Allowed growth of the proxy's memory, in KiB. Its own buffers are below 1 MiB a body, but the allocator takes its
/// first block of 8 MiB at some moment. The limit is far below the body.
const HELD: u64 = 16 * 1024;

#[test]
fn a_large_upload_to_a_slow_upstream_is_held_back_in_constant_memory() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), FEW_PAGES);
    let mut client = Client::connect(backsoon.address());
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n"));
    let mut connection = next(&connections);
    let head = connection.head().unwrap();
    assert!(head.contains(&format!("content-length: {UPLOAD}\r\n")), "{head}");
    let before = backsoon.resident();
    let written = pour(client.stream.get_ref().try_clone().unwrap(), UPLOAD);
    let stuck = stands_still(&written);
    assert!(stuck < UPLOAD / 2, "{stuck} bytes went somewhere though nobody reads them");
    let ahead = connection.buffered();
    let reader = SlowReader::start(connection.stream.try_clone().unwrap());
    wait("the slow upstream to get some", || reader.count() > 4 * 1024 * 1024);
    let during = backsoon.resident();
    let _ = reader.hurry.send(());
    wait("the rest", || reader.count() + ahead == UPLOAD);
    let after = backsoon.resident();
    assert!(during.max(after) < before + HELD, "{before} KiB before, {during} while slow, {after} after");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
    drop(client);
    settled(&backsoon);
}

#[test]
fn a_large_download_to_a_slow_client_is_held_back_in_constant_memory() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), FEW_PAGES);
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {UPLOAD}\r\n\r\n"));
    client.head();
    let before = backsoon.resident();
    let written = pour(connection.stream.try_clone().unwrap(), UPLOAD);
    let stuck = stands_still(&written);
    assert!(stuck < UPLOAD / 2, "{stuck} bytes went somewhere though nobody reads them");
    let ahead = client.stream.buffer().len() as u64;
    let reader = SlowReader::start(client.stream.get_ref().try_clone().unwrap());
    wait("the slow client to get some", || reader.count() > 4 * 1024 * 1024);
    let during = backsoon.resident();
    let _ = reader.hurry.send(());
    wait("the rest", || reader.count() + ahead == UPLOAD);
    let after = backsoon.resident();
    assert!(during.max(after) < before + HELD, "{before} KiB before, {during} while slow, {after} after");
    drop((client, connection));
    reader.finish();
    settled(&backsoon);
}

#[test]
fn chunks_pass_both_ways_as_they_come() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut connection = next(&connections);
    let head = connection.head().unwrap();
    assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length"), "{head}");
    connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    client.head();
    // A conversation: neither side waits for the other to end.
    for word in ["one", "three", "seventeen"] {
        client.send(format!("{:x};ext=1\r\n{word}\r\n", word.len()));
        assert_eq!(connection.line(), format!("{:X}", word.len()));
        assert_eq!(connection.line(), word);
        connection.send(format!("{:x}\r\n{word}\r\n", word.len()));
        let mut line = String::new();
        client.stream.read_line(&mut line).unwrap();
        client.stream.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{:X}\r\n{word}\r\n", word.len()));
    }
    client.send("0\r\n\r\n");
    assert_eq!((connection.line().as_str(), connection.line().as_str()), ("0", ""));
    connection.send("0\r\n\r\n");
    let mut end = [0; 5];
    client.stream.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"0\r\n\r\n");
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(connection.head().is_some(), "both connections go on");
}

/// The beginning of such a body is sent together with the head, which must not change by that.
#[test]
fn a_chunked_answer_that_comes_with_its_head_stays_chunked() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    for body in ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n"] {
        assert!(connection.head().is_some());
        connection.send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"));
        let head = client.head();
        assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length"), "{head}");
        let mut came = vec![0; body.len()];
        client.stream.read_exact(&mut came).unwrap();
        assert_eq!(String::from_utf8_lossy(&came), body);
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
}

/// The cost of a chunk does not depend on its size: bytes that arrive one by one are forwarded together (RFC 9112
/// section 7.1).
#[test]
fn small_chunks_are_put_together_both_ways() {
    const CHUNKS: usize = 50_000;
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
    let all: String = (0..CHUNKS).map(letter).collect();
    let chunked: String = all.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    let chunked = format!("{chunked}0\r\nx-sum: 7\r\n\r\n");
    let (send, receive) = mpsc::channel();
    let (send, answer) = (Mutex::new(send), chunked.clone());
    let upstream = Upstream::handling(move |connection| {
        connection.head();
        let (mut body, mut chunks) = (String::new(), 0);
        loop {
            let size = usize::from_str_radix(&connection.line(), 16).unwrap();
            body.extend((0..size).map(|_| char::from(connection.byte().unwrap())));
            if size == 0 {
                break;
            }
            connection.line();
            chunks += 1;
        }
        let trailer = connection.line();
        send.lock().unwrap().send((body, chunks, trailer)).unwrap();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n");
        connection.send(&answer);
    });
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    let before = backsoon.ticks();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n");
    client.send("trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(&chunked);
    let (body, chunks, trailer) = receive.recv_timeout(PATIENCE).unwrap();
    assert!(body == all && trailer == "x-sum: 7", "{trailer}");
    client.head();
    let mut raw = String::new();
    while !raw.ends_with("0\r\nx-sum: 7\r\n\r\n") {
        client.stream.read_line(&mut raw).unwrap();
    }
    let letters: String =
        raw.lines().skip(1).step_by(2).take_while(|line| !line.is_empty() && *line != "x-sum: 7").collect();
    assert!(letters == all, "{} of {CHUNKS}", letters.len());
    let answered = raw.lines().count() / 2;
    assert!(chunks < CHUNKS / 100 && answered < CHUNKS / 100, "{chunks} and {answered} chunks");
    println!("{} ms for twice {CHUNKS} chunks", (backsoon.ticks() - before) * 10);
    drop(client);
    settled(&backsoon);
}

#[test]
fn trailers_reach_a_client_that_takes_them_and_nobody_else() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, content-length\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 42\r\ncontent-length: 9\r\nx-undeclared: 1\r\n\r\n",
    );
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for (te, trailers) in [("te: trailers\r\n", "0\r\nx-sum: 42\r\n\r\n"), ("", "0\r\n\r\n")] {
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{te}\r\n"));
        let head = client.head();
        assert_eq!(head.contains("trailer:"), !te.is_empty(), "{head}");
        let mut body = vec![0; 10 + trailers.len()];
        client.stream.read_exact(&mut body).unwrap();
        assert_eq!(String::from_utf8_lossy(&body), format!("5\r\nhello\r\n{trailers}"));
    }
}

#[test]
fn trailers_of_a_request_reach_the_upstream_if_they_were_announced() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, host\r\n\r\n\
         2\r\nhi\r\n0\r\nx-sum: 42\r\nhost: evil\r\nx-forwarded-for: 1.1.1.1\r\n\r\n",
    );
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let lines: Vec<String> = std::iter::repeat_with(|| connection.line()).take(5).collect();
    assert_eq!(lines, ["2", "hi", "0", "x-sum: 42", ""]);
    connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response().status, 204);
}

#[test]
fn a_client_is_told_to_continue_when_its_body_is_wanted() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let mut connection = next(&connections);
    let head = connection.head().unwrap();
    assert!(!head.contains("expect:"), "{head}");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n");
    client.send("hello");
    assert_eq!((0..5).map(|_| connection.byte().unwrap()).collect::<Vec<_>>(), b"hello");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
}

#[test]
fn a_client_is_never_told_to_continue_by_an_answer_of_our_own() {
    let backsoon = Backsoon::start(&format!(
        "{}[limits]\nbody_size = \"1KiB\"\n[routes.web]\npath = [\"/web\"]\nupstream = \"{}\"\n\
         [routes.down]\npath = \"/down\"\nupstream = \"http://127.0.0.1:1\"\n\
         [routes.paused]\npath = \"/paused\"\nupstream = \"{}\"\n",
        crate::support::LISTEN,
        Upstream::ok().url(),
        Upstream::ok().url()
    ));
    backsoon.flag("[routes]\npaused = \"offline\"\n");
    for (target, length, status) in [("/paused", 5, 503), ("/nowhere", 5, 404), ("/web", 2000, 413), ("/down", 5, 502)]
    {
        for method in ["POST", "GET"] {
            let mut client = Client::connect(backsoon.address());
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            ));
            let response = client.response();
            assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{method} {target}");
            assert!(client.is_closed());
        }
    }
}

#[test]
fn every_event_arrives_before_the_next_is_sent() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for framing in ["transfer-encoding: chunked\r\n", ""] {
        let mut client = Client::connect(backsoon.address());
        client.send("GET /events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n");
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n"));
        assert!(client.head().contains("text/event-stream"), "the head does not wait for the first event");
        for number in 0..10 {
            let event = format!("data: {number}\n\n");
            if framing.is_empty() {
                connection.send(&event);
            } else {
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            }
            let mut line = String::new();
            while !line.ends_with(&format!("data: {number}\n")) {
                line.clear();
                client.stream.read_line(&mut line).unwrap();
            }
        }
    }
}

#[test]
fn a_body_that_the_upstream_breaks_off_is_broken_off_for_the_client() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for (framing, start, with_reset) in [
        ("content-length: 10\r\n", "hello", false),
        ("content-length: 10\r\n", "hello", true),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n", false),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n3\r\nx", false),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\nnonsense\r\n", false),
    ] {
        let mut client = Client::connect(backsoon.address());
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        connection.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{start}"));
        client.head();
        let mut first = [0; 1];
        client.stream.read_exact(&mut first).unwrap();
        if with_reset {
            reset(connection.stream);
        } else {
            drop(connection);
        }
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(!rest.contains("0\r\n\r\n") && rest.len() < 24, "{framing:?} {start:?}: {rest:?}");
    }
    settled(&backsoon);
    assert_eq!(backsoon.metric("backsoon_proxy_errors_total", "route=\"web\""), 5.0);
    assert_eq!(backsoon.upstream_connections(&upstream.url()), 0.0);
}

#[test]
fn a_client_that_aborts_its_upload_ends_the_upstreams_work() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for (framing, with_reset) in [
        ("content-length: 10\r\n\r\nhello", true),
        ("content-length: 10\r\n\r\nhello", false),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", true),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
    ] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}"));
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        while !upstream.seen().contains("hello") {
            connection.byte().expect("the body's start");
        }
        upstream.forget();
        if with_reset {
            reset(client.stream.into_inner());
        } else {
            drop(client);
        }
        assert!(ended(&mut connection.stream), "{framing:?}");
        assert!(!upstream.seen().contains("0\r\n\r\n"), "a broken body must not look whole");
    }
    settled(&backsoon);
    assert_eq!(backsoon.upstream_connections(&upstream.url()), 0.0);
}

#[test]
fn a_client_that_leaves_ends_the_upstreams_work() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    // Before the head, between head and body, and in the middle of a body that is being sent.
    for stage in 0..3 {
        let mut client = Client::connect(backsoon.address());
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        if stage > 0 {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
            client.head();
        }
        let poured = (stage > 1).then(|| pour(connection.stream.try_clone().unwrap(), 100_000_000));
        if let Some(poured) = poured {
            stands_still(&poured);
        }
        drop(client);
        assert!(ended(&mut connection.stream), "stage {stage}");
    }
    settled(&backsoon);
    assert_eq!(backsoon.upstream_connections(&upstream.url()), 0.0);
    assert_eq!(backsoon.metric("backsoon_client_aborts_total", "route=\"web\""), 3.0);
}

/// RFC 9293 section 3.6: a client that sends no more may still listen.
#[test]
fn a_client_that_closes_its_side_gets_its_answers() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            if head.contains("/digits") {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n");
                for digit in 0..10 {
                    thread::sleep(Duration::from_millis(50));
                    connection.send(digit.to_string());
                }
                continue;
            }
            if head.contains("/slow") {
                thread::sleep(Duration::from_millis(300));
            }
            connection.send("HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\n0123456789");
        }
    });
    let backsoon = Backsoon::start(&format!(
        "{}[routes.web]\nupstream = \"{}\"\n[routes.closed]\npath = \"/closed\"\nupstream = \"{}\"\n",
        crate::support::LISTEN,
        upstream.url(),
        upstream.url()
    ));
    backsoon.flag("[routes]\nclosed = \"offline\"\n");
    for (requests, statuses) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[201][..]),
        ("GET /slow HTTP/1.0\r\nhost: a\r\n\r\n", &[201]),
        ("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n", &[201]),
        ("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", &[201]),
        ("POST /slow HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[201]),
        ("GET /digits HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        ("GET /closed HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n", &[503]),
        ("GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET /digits HTTP/1.1\r\nhost: a\r\n\r\n", &[201, 200]),
    ] {
        let mut client = Client::connect(backsoon.address());
        client.send(requests);
        crate::wire::half_close(&client);
        for status in statuses {
            let response = client.response();
            assert_eq!(response.status, *status, "{requests}");
            assert!(*status == 503 || response.body == "0123456789", "{requests}");
        }
        assert!(client.is_closed());
    }
    // Half-closed in the middle of the answer.
    let mut client = Client::connect(backsoon.address());
    client.send("GET /digits HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().contains("200 OK"));
    crate::wire::half_close(&client);
    let mut digits = [0; 10];
    client.stream.read_exact(&mut digits).unwrap();
    assert_eq!(&digits, b"0123456789");
    assert!(client.is_closed());
    settled(&backsoon);
    assert_eq!(backsoon.metric("backsoon_client_aborts_total", "route=\"web\""), 0.0);
}

/// hyper#4176: the connection would neither end nor be usable again.
#[test]
fn an_answer_before_the_end_of_the_body_leaks_no_connection() {
    let (send, receive) = mpsc::channel();
    let send = Mutex::new(send);
    let upstream = Upstream::handling(move |connection| {
        connection.head();
        connection.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        // The upstream itself keeps the connection open.
        let _ = send.lock().unwrap().send(ended(&mut connection.stream));
    });
    let backsoon = alone(&upstream.url(), "");
    for round in 0..20 {
        let mut client = Client::connect(backsoon.address());
        let part = if round % 2 == 0 { "content-length: 1000000" } else { "transfer-encoding: chunked" };
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{part}\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.body.as_str()), (403, "no"));
        assert!(receive.recv_timeout(PATIENCE).unwrap(), "the upstream's connection ends");
    }
    settled(&backsoon);
    assert_eq!((upstream.connections(), backsoon.upstream_connections(&upstream.url())), (20, 0.0));
}

#[test]
fn an_early_answer_is_readable_by_a_client_that_writes_everything_first() {
    let upstream = Upstream::handling(|connection| {
        connection.head();
        connection.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    });
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n");
    let block = vec![b'x'; 100_000];
    for _ in 0..200 {
        client.stream.get_mut().write_all(&block).expect("the upload is not reset");
    }
    assert_eq!(client.response().body, "no");
    drop(client);
    settled(&backsoon);
}

#[test]
fn an_upload_that_shrinks_or_grows_is_not_passed_on_as_whole() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    // Fewer bytes than announced, then the end: CVE-2026-33555.
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    crate::wire::half_close(&client);
    assert!(ended(&mut connection.stream), "neither answered nor used again");
    settled(&backsoon);
    // More than announced: the rest is a request of its own, and a malformed one.
    let address = backsoon.address();
    let answering = std::thread::spawn(move || {
        let mut connection = next(&connections);
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        connection
    });
    let response = request(address, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nhello\r\n\r\n");
    assert_eq!(response.status, 200);
    drop(answering.join().unwrap());
    assert!(!upstream.seen().contains("lo\r\n"), "{}", upstream.seen());
}

#[test]
fn a_client_that_only_listens_behind_the_head_of_the_answer_is_not_late() {
    // Longer than `body_read`, which concerns only clients that delay their own request.
    const SILENCE: Duration = Duration::from_millis(2200);
    let upstream = Upstream::handling(|connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n");
        thread::sleep(SILENCE);
        connection.send("1\r\nb\r\n0\r\n\r\n");
        while connection.byte().is_some() {}
    });
    let backsoon = Backsoon::before(&upstream.url(), "[limits]\nbody_read = \"1s\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
    assert_eq!(client.response().body, "ab");
    assert_eq!(backsoon.metric("backsoon_limit_reached_total", "limit=\"body_read\""), 0.0);
}
