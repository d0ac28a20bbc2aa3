//! Parked HTTP/1 connections: idle ones are reduced to the bare socket and rebuilt for the next request.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{Authority, connect};
use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, UpstreamConnection, wait};
use crate::two::patiently;
use crate::wire::{Counts, alone, half_close, next, observed, settled};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn parked(backsoon: &Backsoon) -> f64 {
    backsoon.metric("backsoon_parked_connections", "")
}

/// Returns a client that has sent the beginning of a body, and the upstream that has received the head.
fn half_an_upload(
    backsoon: &Backsoon,
    connections: &mpsc::Receiver<UpstreamConnection>,
) -> (Client, UpstreamConnection) {
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\nbegin");
    let mut connection = next(connections);
    assert!(connection.head().is_some());
    (client, connection)
}

#[test]
fn a_parked_connection_serves_again_and_sees_what_was_flagged_meanwhile() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..2 {
        client.send(GET);
        assert_eq!(client.response().status, 200);
        wait("it to be parked", || parked(&backsoon) == 1.0);
    }
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the flag", || backsoon.route("web")["phase"] == "closed");
    // A head in two parts: the first alone wakes the connection.
    client.send("GET / HTTP/1.1\r\nho");
    wait("it to be served", || parked(&backsoon) == 0.0);
    client.send("st: a\r\n\r\n");
    assert_eq!(client.response().status, 503);
    wait("it to be parked", || parked(&backsoon) == 1.0);
    // Two at once, and a body.
    backsoon.unflag();
    wait("the flag to be lifted", || backsoon.route("web")["phase"] == "open");
    client.send(format!("{GET}POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"));
    assert_eq!((client.response().status, client.response().status), (200, 200));
    assert_eq!(backsoon.metric("backsoon_client_connections_accepted_total", "worker=\"0\""), 1.0);
    drop(client);
    settled(&backsoon);
    assert_eq!(parked(&backsoon), 0.0);
}

/// Nothing else happens meanwhile that would have the allocator give memory back.
#[test]
fn the_memory_of_parked_connections_goes_back_to_the_system() {
    const CLIENTS: usize = 400;
    // All of them are served at the same time, so that nothing is freed meanwhile. Then all rest.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let waiting = Arc::clone(&gate);
    let upstream = Upstream::handling(move |connection| {
        while connection.request().is_some() {
            let (open, opened) = &*waiting;
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            connection.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello");
        }
    });
    let backsoon = alone(&upstream.url(), "");
    let before = backsoon.resident();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(backsoon.address())).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    wait("all requests to be in flight", || upstream.connections() == CLIENTS);
    let each = || backsoon.resident_now().saturating_sub(before) as f64 / CLIENTS as f64;
    let busy = each();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    wait("them to be parked", || parked(&backsoon) == CLIENTS as f64);
    wait("their memory to go back", || each() < busy / 4.0);
    println!("a connection takes {busy:.1} KiB, and {:.1} KiB while it is parked", each());
    drop(clients);
}

#[test]
fn a_unix_socket_is_parked_as_well() {
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let front = dir.path().join("front.sock");
    let listen = format!("{LISTEN}[[listen]]\naddress = \"unix:{}\"\n", front.display());
    let config = format!("workers = 1\n{listen}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start_in(dir, &config);
    let mut stream = UnixStream::connect(&front).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..2 {
        stream.write_all(GET.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut some = [0; 1024];
            let read = stream.read(&mut some).unwrap();
            assert!(read > 0, "the connection ended behind {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&some[..read]);
        }
        wait("it to be parked", || parked(&backsoon) == 1.0);
    }
}

/// A TLS session may hold a request that it has read together with the previous one.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_tls_connection_is_parked_and_nothing_is_left_in_its_session() {
    let (authority, upstream, dir) = (Authority::new(), Upstream::ok(), tempfile::tempdir().unwrap());
    authority.identity(&["localhost"]).write(dir.path());
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\
                  [admin]\naddress = \"127.0.0.1:0\"\n";
    let config = format!("workers = 1\n{listen}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start_in(dir, &config);
    let client = authority.client(&["http/1.1"], &[&rustls::version::TLS13]);
    let mut stream = connect(backsoon.address(), &client).await.unwrap();
    for (requests, half) in [(1, ""), (3, ""), (1, "GET / HTTP/1.1\r\n"), (0, "host: a\r\n\r\n")] {
        patiently(stream.write_all(format!("{}{half}", GET.repeat(requests)).as_bytes())).await.unwrap();
        let expected = if half.starts_with("host") { 1 } else { requests };
        let mut answers = String::new();
        while answers.matches("hello").count() < expected {
            let mut some = [0; 4096];
            let read = patiently(stream.read(&mut some)).await.unwrap();
            assert!(read > 0, "the connection ended behind {answers:?}");
            answers.push_str(&String::from_utf8_lossy(&some[..read]));
        }
        if half.starts_with("GET") {
            // Longer than an idle connection takes to be parked.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(parked(&backsoon), 0.0, "the beginning of a request was read");
        } else {
            wait("it to be parked", || parked(&backsoon) == 1.0);
        }
    }
}

#[test]
fn the_limits_go_on_while_a_connection_is_parked() {
    let upstream = Upstream::ok();
    let mut backsoon = alone(&upstream.url(), "[limits]\nkeep_alive = \"3s\"\nhead_read = \"2s\"\ngrace = \"0s\"\n");
    let (mut idle, mut slow) = (Client::connect(backsoon.address()), Client::connect(backsoon.address()));
    for client in [&mut idle, &mut slow] {
        client.send(GET);
        assert_eq!(client.response().status, 200);
    }
    let quiet_since = Instant::now();
    wait("both to be parked", || parked(&backsoon) == 2.0);
    slow.send("GET / HT");
    assert_eq!(slow.response().status, 408, "a head that was begun has its own time");
    assert_eq!(idle.try_head(), None);
    assert!((2900..6000).contains(&quiet_since.elapsed().as_millis()), "{:?}", quiet_since.elapsed());
    wait("the counts", || backsoon.reached("keep_alive") == 1.0 && backsoon.reached("head_read") == 1.0);
    drop((idle, slow));
    settled(&backsoon);
    // A client that leaves frees its place, and the end of the process closes the rest.
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(backsoon.address())).collect();
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.response().status, 200);
    }
    wait("them to be parked", || parked(&backsoon) == 3.0);
    clients.pop();
    wait("the one that left", || parked(&backsoon) == 2.0 && backsoon.client_connections() == 2.0);
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    assert!(clients.iter_mut().all(|client| client.try_head().is_none()));
}

/// The beginning of a request that arrived with the previous one is neither lost nor awaited for too long.
#[test]
fn half_a_request_behind_another_is_not_parked() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "[limits]\nhead_read = \"2s\"\n");
    let (mut goes_on, mut stops) = (Client::connect(backsoon.address()), Client::connect(backsoon.address()));
    for client in [&mut goes_on, &mut stops] {
        client.send(format!("{GET}GET / HTTP/1.1\r\nho"));
        assert_eq!(client.response().status, 200);
    }
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(parked(&backsoon), 0.0);
    goes_on.send("st: a\r\n\r\n");
    assert_eq!(goes_on.response().status, 200);
    assert_eq!(stops.response().status, 408);
    wait("the count", || backsoon.reached("head_read") == 1.0);
}

/// The rest of a body after an early answer is never a request, however late it comes.
#[test]
fn the_rest_of_a_body_is_no_request_after_a_quiet_while() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let (mut client, mut connection) = half_an_upload(&backsoon, &connections);
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
    let response = client.response();
    assert_eq!((response.status, response.body.as_str()), (200, "early"));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(parked(&backsoon), 0.0);
    client.send("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.try_head(), None, "it is closed, and nothing is answered");
    assert!(!upstream.seen().contains("smuggled"), "{}", upstream.seen());
}

/// A client that gives up is noticed while its request is in flight, even with another request waiting behind it.
#[test]
fn a_client_that_leaves_ends_its_request() {
    for body in ["content-length: 3\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"] {
        leaves_behind(body);
    }
}

fn leaves_behind(body: &str) {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send(GET);
    let mut first = next(&connections);
    assert!(first.head().is_some());
    first.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    wait("it to be parked", || parked(&backsoon) == 1.0);
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}"));
    // On a new connection: an idle one may be closing, and this request must not be sent twice.
    let mut second = next(&connections);
    assert!(second.head().is_some());
    wait("the request", || backsoon.in_flight() == 1.0);
    drop(client);
    wait("it to be given up", || backsoon.metric("backsoon_client_aborts_total", "route=\"web\"") == 1.0);
    settled(&backsoon);
}

/// An end of the stream inside a body gets an answer and does not count as a client that has left.
#[test]
fn a_body_that_is_broken_off_by_half_closing_is_answered_400() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let (mut client, _connection) = half_an_upload(&backsoon, &connections);
    half_close(&client);
    assert_eq!(client.response().status, 400);
    wait("the request to end", || backsoon.in_flight() == 0.0);
    assert_eq!(backsoon.metric("backsoon_client_aborts_total", "route=\"web\""), 0.0);
}
