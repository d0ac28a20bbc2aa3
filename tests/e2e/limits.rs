//! Limits and time-outs: each is reached, answered with its status, counted, and leaves nothing behind.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, Upstream, get, request, wait};
use crate::wire::{Counts, SlowReader, alone, ended, has, next, observed, pour, settled, skipped, stands_still};

fn limited(limits: &str) -> (Backsoon, Upstream) {
    let upstream = Upstream::ok();
    (alone(&upstream.url(), &format!("[limits]\n{limits}\n")), upstream)
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let (backsoon, upstream) = limited("head_size = \"8KiB\"");
    let filler = "x".repeat(9000);
    for (number, head) in [
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {filler}\r\n\r\n"),
        format!("GET /{filler} HTTP/1.1\r\nhost: a\r\n\r\n"),
        // The head is never finished, and the answer does not wait for its end.
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {filler}"),
        format!("GET /{filler}"),
    ]
    .iter()
    .enumerate()
    {
        let mut client = Client::connect(backsoon.address());
        client.send(head);
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (431, Some("close")), "{number}");
        assert!(client.is_closed());
    }
    wait("the count", || backsoon.reached("head_size") == 4.0);
    assert_eq!((backsoon.reached("head_fields"), upstream.seen().len()), (0.0, 0));
    // A head that fits passes.
    let fits = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\nconnection: close\r\n\r\n", "x".repeat(7000));
    assert_eq!(request(backsoon.address(), &fits).status, 200);
}

#[test]
fn a_head_with_too_many_fields_is_431() {
    for (limits, most) in [("", 100), ("head_fields = 20", 20), ("head_fields = 300", 300)] {
        let (backsoon, _upstream) = limited(limits);
        let head = |fields: usize| {
            let fields: String = (1..fields).map(|number| format!("x-{number}: 1\r\n")).collect();
            request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
        };
        assert_eq!(head(most).status, 200, "{most}");
        assert_eq!(head(most + 1).status, 431, "{most}");
        // Counted when the connection ends, after the answer.
        wait("the count", || backsoon.reached("head_fields") == 1.0);
        assert_eq!(backsoon.reached("head_size"), 0.0, "{most}");
    }
}

#[test]
fn a_head_that_does_not_end_in_time_is_408_and_a_silent_client_is_let_go() {
    let (backsoon, _upstream) = limited("head_read = \"1s\"\nlinger = \"1s\"");
    let began = Instant::now();
    let mut silent = Client::connect(backsoon.address());
    let mut slow = Client::connect(backsoon.address());
    slow.send("GET / HTTP/1.1\r\nhost: a\r\nx-");
    let mut later = Client::connect(backsoon.address());
    later.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(later.response().status, 200);
    later.send("GET / HT");
    let mut dripping = Client::connect(backsoon.address());
    let drip = std::thread::spawn({
        let mut stream = dripping.stream.get_ref().try_clone().unwrap();
        move || {
            for byte in b"GET / HTTP/1.1\r\nhost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle()
            {
                if std::io::Write::write_all(&mut stream, &[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    for client in [&mut slow, &mut later, &mut dripping] {
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    }
    assert_eq!(silent.try_head(), None, "nothing is said to who said nothing");
    assert!(silent.is_closed());
    assert!(began.elapsed() < Duration::from_secs(10));
    wait("the count", || backsoon.reached("head_read") == 4.0);
    drop((silent, slow, later, dripping));
    drip.join().unwrap();
    settled(&backsoon);
}

#[test]
fn an_idle_connection_is_closed() {
    let (backsoon, _upstream) = limited("keep_alive = \"1s\"");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let began = Instant::now();
    assert_eq!(client.try_head(), None);
    assert!((900..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    wait("the count", || backsoon.reached("keep_alive") == 1.0);
    assert_eq!(backsoon.reached("head_read"), 0.0);
    settled(&backsoon);
}

/// The idle time of a connection begins when the response has been received, not when it has been buffered.
#[test]
fn a_client_that_reads_slowly_is_not_idle() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\nkeep_alive = \"1s\"\nwrite = \"20s\"\n");
    let mut client = Client::connect(backsoon.address());
    // A small buffer in the kernel, so that the proxy has to keep the rest.
    socket2::SockRef::from(client.stream.get_ref()).set_recv_buffer_size(64 * 1024).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let size = 4 * 1024 * 1024;
    connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n"));
    let written = pour(connection.stream.try_clone().unwrap(), size);
    client.head();
    // The client reads just enough until the upstream is done and the proxy holds the end.
    let mut taken = client.stream.buffer().len() as u64;
    std::io::BufRead::consume(&mut client.stream, usize::try_from(taken).unwrap());
    wait("the upstream to be done", || {
        let mut block = [0; 16 * 1024];
        if backsoon.in_flight() > 0.0 {
            taken += std::io::Read::read(client.stream.get_mut(), &mut block).unwrap() as u64;
        }
        backsoon.in_flight() == 0.0
    });
    assert!(taken < size, "the proxy still holds a part");
    std::thread::sleep(Duration::from_millis(1500));
    let reader = SlowReader::start(client.stream.get_ref().try_clone().unwrap());
    let _ = reader.hurry.send(());
    wait("the rest", || reader.count() + taken == size);
    assert_eq!(written.load(std::sync::atomic::Ordering::Relaxed), size);
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let (backsoon, upstream) = limited("body_size = \"1KiB\"");
    let mut client = Client::connect(backsoon.address());
    let fits = "x".repeat(1024);
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\n\r\n{fits}"));
    assert_eq!(client.response().status, 200);
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n400\r\n{fits}\r\n0\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    upstream.forget();
    // Refused at once by its length; the upstream sees nothing of it.
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    assert!(client.is_closed() && upstream.seen().is_empty());
    // Refused by the bytes that arrive; the upstream has seen a part, never the whole.
    let mut client = Client::connect(backsoon.address());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n400\r\n{fits}\r\n1\r\nx\r\n0\r\n\r\n"
    ));
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    assert!(client.is_closed() && !upstream.seen().contains("\r\n0\r\n\r\n"));
    assert_eq!(backsoon.reached("body_size"), 2.0);
    settled(&backsoon);
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\nbody_read = \"1s\"\n");
    for framing in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}"));
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (408, Some("close")));
        assert!(client.is_closed());
        assert!(ended(&mut next(&connections).stream));
    }
    assert_eq!(backsoon.reached("body_read"), 2.0);
    settled(&backsoon);
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\nwrite = \"1s\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
    let written = pour(connection.stream.try_clone().unwrap(), 100_000_000);
    stands_still(&written);
    assert!(ended(&mut connection.stream), "its upstream is freed as well");
    settled(&backsoon);
    assert_eq!((backsoon.reached("write"), backsoon.upstream_connections(&upstream.url())), (1.0, 0.0));
    drop(client);
}

#[test]
fn an_upstream_that_does_not_answer_is_504() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\nfirst_byte = \"200ms\"\n");
    for request_line in ["GET /", "POST /"] {
        let head = format!("{request_line} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        let response = request(backsoon.address(), &head);
        assert_eq!((response.status, response.field("connection")), (504, None));
        assert_eq!(response.field("proxy-status"), Some("backsoon; error=http_response_timeout"));
        assert!(ended(&mut next(&connections).stream), "its connection is not used again");
    }
    assert_eq!((backsoon.reached("first_byte"), upstream.connections()), (2.0, 2));
    settled(&backsoon);
}

#[test]
fn an_upload_that_moves_is_not_held_against_the_first_byte() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\nfirst_byte = \"500ms\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    for _ in 0..10 {
        client.send("x");
        assert_eq!(connection.byte(), Some(b'x'));
        std::thread::sleep(Duration::from_millis(100));
    }
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
}

#[test]
fn an_upstream_that_stalls_inside_its_body_is_cut() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_read = \"1s\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.head();
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "5\r\nhello\r\n", "and no end that would make it look whole");
    assert!(ended(&mut connection.stream));
    assert_eq!(backsoon.reached("upstream_read"), 1.0);
    settled(&backsoon);
}

#[test]
fn connections_beyond_the_limit_of_a_worker_wait_their_turn() {
    let (backsoon, _upstream) = limited("connections = 2");
    let mut open: Vec<Client> = (0..10).map(|_| Client::connect(backsoon.address())).collect();
    for client in &mut open {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for client in &mut open[..2] {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(backsoon.client_connections(), 2.0);
    // Each one that leaves makes room for one, in order.
    for _ in 2..10 {
        open.remove(0);
        assert_eq!(open[1].response().status, 200);
        assert_eq!(backsoon.client_connections(), 2.0);
    }
    assert!(backsoon.reached("connections") >= 1.0);
}

#[test]
fn watchers_leave_half_of_the_connections_to_others() {
    let (backsoon, _upstream) = limited("connections = 4");
    backsoon.flag("[routes]\n\"*\" = \"offline\"\n");
    let watch = "GET /.backsoon/events/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut watchers: Vec<Client> = (0..2).map(|_| Client::connect(backsoon.address())).collect();
    for watcher in &mut watchers {
        watcher.send(watch);
        assert!(watcher.head().contains("text/event-stream"));
    }
    let told = request(backsoon.address(), watch);
    assert_eq!(told.status, 200);
    assert!(told.body.starts_with("retry: ") && told.body.contains("event: page"), "{}", told.body);
    assert_eq!(backsoon.reached("watchers"), 1.0);
    assert_eq!(get(backsoon.address(), "/").status, 503, "there is room for others");
}

#[test]
fn running_out_of_descriptors_keeps_open_connections_served_and_recovers() {
    let claim = "running out of descriptors keeps open connections served and recovers";
    if !has("prlimit") {
        return skipped(claim, "there is no prlimit");
    }
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    };
    ask();
    // The same requests, on a machine whose speed nobody knows.
    let mut ticks_of_asking = || {
        let (ticks, began) = (backsoon.ticks(), Instant::now());
        while began.elapsed() < Duration::from_secs(1) {
            ask();
            std::thread::sleep(Duration::from_millis(20));
        }
        backsoon.ticks() - ticks
    };
    let calm = ticks_of_asking();
    let limit = |descriptors: usize| {
        let arguments = [format!("--nofile={descriptors}:4096"), format!("--pid={}", backsoon.child.id())];
        assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
    };
    limit(backsoon.descriptors() + 10);
    let hoard: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(backsoon.address()).unwrap()).collect();
    wait("the descriptors to run out", || {
        backsoon.log_lines().iter().any(|line| line["message"] == "cannot accept connections, trying again")
    });
    let busy = ticks_of_asking();
    assert!(busy < 40 + 2 * calm, "{busy} of 100 ticks of 10 ms, {calm} before: it must wait, not spin");
    drop(hoard);
    limit(4096);
    assert_eq!(get(backsoon.address(), "/").status, 200, "it accepts again");
    wait("all of it to be over", || backsoon.client_connections() <= 1.0);
    assert!(backsoon.metric("backsoon_accept_failures_total", "") >= 1.0);
}

#[test]
fn a_lingering_close_is_bounded() {
    let (backsoon, _upstream) = limited("linger_size = \"1MiB\"\nlinger = \"1s\"");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    // More bytes than are ever discarded for a client.
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n");
    assert_eq!(client.response().status, 503);
    let written = pour(client.stream.get_ref().try_clone().unwrap(), 100_000_000);
    wait("an end to it", || backsoon.reached("linger") == 1.0);
    settled(&backsoon);
    assert!(written.load(std::sync::atomic::Ordering::Relaxed) < 50_000_000);
    // More time than is ever given to a client.
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n");
    assert_eq!(client.response().status, 503);
    settled(&backsoon);
    assert_eq!(backsoon.reached("linger"), 2.0);
}

/// A reader of the log at night finds out why clients are turned away.
#[test]
fn a_limit_that_is_reached_is_told_in_the_log() {
    let (backsoon, _upstream) = limited("connections = 2\nbody_size = \"1KiB\"");
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\nconnection: close\r\n\r\n";
    assert_eq!(request(backsoon.address(), head).status, 413);
    let clients: Vec<_> = (0..3).map(|_| Client::connect(backsoon.address())).collect();
    let told = || -> Vec<String> {
        let lines = backsoon.log_lines().into_iter().filter(|line| line["message"] == "a limit was reached");
        lines.map(|line| format!("{} {} {}", line["level"], line["limit"], line["times"])).collect()
    };
    wait("both lines", || told().len() == 2);
    let mut told = told();
    told.sort();
    assert_eq!(told, [r#""INFO" "body_size" 1"#, r#""WARN" "connections" 1"#]);
    drop(clients);
}
