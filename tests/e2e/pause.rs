//! The pause: a flagged route is answered from memory, and its upstream sees nothing.

use crate::support::{Backsoon, Client, Upstream, get, request};

#[test]
fn a_flagged_route_is_answered_503_and_its_upstream_sees_zero_bytes() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    upstream.forget();
    let connections = upstream.connections();
    let mut client = Client::connect(backsoon.address());
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        client.send(format!("{method} /x?y HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"));
        let response = client.response();
        assert_eq!(response.status, 503, "{method}");
        assert_eq!(response.field("connection"), None, "a small body is no reason to close");
    }
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(client.response().status, 503, "HEAD had no body: the next answer follows at once");
    assert_eq!((upstream.seen().as_str(), upstream.connections()), ("", connections));
    backsoon.flag("");
}

#[test]
fn the_answer_says_when_to_come_back_and_is_not_cached() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let response = get(backsoon.address(), "/");
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert_eq!(response.field("vary"), Some("accept"));
    let status = response.field("proxy-status").unwrap();
    assert!(status.starts_with("backsoon; error=proxy_internal_response"), "{status}");
    let mut waits: Vec<u64> = (0..40)
        .map(|_| request(backsoon.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
        .map(|response| response.field("retry-after").unwrap().parse().unwrap())
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1 && waits.iter().all(|wait| (61..=66).contains(wait)), "{waits:?}");
}
