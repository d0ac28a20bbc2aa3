//! Upgrades: a connection becomes a tunnel after the upstream's 101, and never otherwise.

use std::io::Read;

use crate::support::{Client, Upstream, UpstreamConnection, request, wait};
use crate::wire::{Counts, alone, ended, half_close, next, observed, reset, settled};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: y\r\n\r\n";

fn read(client: &mut Client, count: usize) -> String {
    let mut bytes = vec![0; count];
    client.stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn receive(connection: &mut UpstreamConnection, count: usize) -> String {
    (0..count).map(|_| char::from(connection.byte().expect("a byte through the tunnel"))).collect()
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_both_sides_are_done() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send(ASK);
    let mut connection = next(&connections);
    let head = connection.head().unwrap();
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: x\r\n"] {
        assert!(head.contains(field), "{head}");
    }
    connection.send(SWITCH);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: y\r\n"] {
        assert!(head.contains(field), "{head}");
    }
    wait("the tunnel to be counted", || backsoon.metric("backsoon_tunnels", "") == 1.0);
    assert_eq!(backsoon.in_flight(), 1.0);
    client.send("ping");
    assert_eq!(receive(&mut connection, 4), "ping");
    // In a tunnel, bytes that look like HTTP are only bytes.
    connection.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(read(&mut client, 28), "HTTP/1.1 400 Bad Request\r\n\r\n");
    half_close(&client);
    assert_eq!(connection.byte(), None, "the end of one direction is passed on");
    connection.send("and the other goes on");
    assert_eq!(read(&mut client, 21), "and the other goes on");
    drop(connection);
    assert!(client.is_closed());
    drop(client);
    settled(&backsoon);
    assert_eq!((backsoon.metric("backsoon_tunnels", ""), backsoon.upstream_connections(&upstream.url())), (0.0, 0.0));
}

#[test]
fn what_is_sent_right_behind_the_request_and_the_101_is_not_lost() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    // A little, and more than is read ahead; on a new connection, and on a parked one.
    let much: String = (0..8000).map(|number| format!("{number:05}")).collect();
    for (early, parks) in [("early", false), (&*much, false), (&*much, true)] {
        let mut client = Client::connect(backsoon.address());
        if parks {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let mut connection = next(&connections);
            assert!(connection.head().is_some());
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            assert_eq!(client.response().status, 200);
            wait("it to be parked", || backsoon.metric("backsoon_parked_connections", "") == 1.0);
        }
        client.send(format!("{ASK}{early}"));
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        connection.send(format!("{SWITCH}eager"));
        client.head();
        assert_eq!(read(&mut client, 5), "eager");
        assert!(receive(&mut connection, early.len()) == early, "{} bytes, parked: {parks}", early.len());
    }
}

/// CVE-2026-2833.
#[test]
fn nothing_goes_through_before_the_101() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send(format!("{ASK}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"));
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!(client.response().body, "no");
    // The bytes were a request all along: checked and forwarded as one.
    let head = connection.head().unwrap();
    assert!(head.starts_with("GET /smuggled HTTP/1.1\r\n") && head.contains("x-forwarded-for: "), "{head}");
    connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response().status, 204);
    assert_eq!(upstream.connections(), 1);
}

/// CVE-2024-23326.
#[test]
fn a_200_to_an_upgrade_is_an_ordinary_response() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello",
    );
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..3 {
        client.send(ASK);
        let response = client.response();
        assert_eq!((response.status, response.body.as_str()), (200, "hello"));
        assert_eq!((response.field("upgrade"), response.field("connection")), (None, None));
    }
    assert_eq!(backsoon.metric("backsoon_tunnels", ""), 0.0);
}

/// CVE-2026-58055.
#[test]
fn an_upgrade_with_a_body_is_forwarded_as_a_plain_request() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    for framing in ["content-length: 3\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"] {
        let mut client = Client::connect(backsoon.address());
        let ask = ASK.trim_end();
        client.send(format!("{ask}\r\n{framing}"));
        assert_eq!(client.response().body, "hello");
        assert!(!upstream.seen().contains("upgrade"), "{}", upstream.seen());
        upstream.forget();
    }
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for head in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc",
    ] {
        let mut client = Client::connect(backsoon.address());
        client.send(head);
        let mut connection = next(&connections);
        assert!(connection.request().is_some());
        connection.send(format!("{SWITCH}GET /evil HTTP/1.1\r\n\r\n"));
        assert_eq!(client.response().status, 502, "{head}");
        assert!(ended(&mut connection.stream));
    }
    settled(&backsoon);
    assert_eq!(backsoon.metric("backsoon_tunnels", ""), 0.0);
}

#[test]
fn an_upgrade_to_another_http_is_not_offered() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    for protocol in ["h2c", "H2C", "websocket, h2c", "h2"] {
        let head = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: {protocol}\r\n\
             http2-settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        assert_eq!(request(backsoon.address(), &head).body, "hello");
        assert!(!upstream.seen().contains("upgrade") && !upstream.seen().contains("settings"), "{}", upstream.seen());
        upstream.forget();
    }
}

#[test]
fn a_side_that_breaks_off_ends_the_tunnel() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for client_breaks in [true, false] {
        let mut client = Client::connect(backsoon.address());
        client.send(ASK);
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        connection.send(SWITCH);
        client.head();
        if client_breaks {
            reset(client.stream.into_inner());
            assert!(ended(&mut connection.stream));
        } else {
            reset(connection.stream);
            assert!(client.is_closed());
        }
    }
    settled(&backsoon);
    assert_eq!(backsoon.upstream_connections(&upstream.url()), 0.0);
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_ended() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "[limits]\ntunnel_idle = \"1s\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send(ASK);
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send(SWITCH);
    client.head();
    assert!(client.is_closed() && ended(&mut connection.stream));
    assert_eq!(backsoon.reached("tunnel_idle"), 1.0);
    settled(&backsoon);
}
