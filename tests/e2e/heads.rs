//! Lengths and hosts in heads: only one reading of each is forwarded, over both HTTP versions and in both directions.

use crate::support::{Backsoon, Client, Upstream, request};
use crate::two::{
    DATA, Frame, Frames, GOAWAY, HEADERS, RST_STREAM, Two, TwoUpstream, field, frame, has_status, post_block,
};
use crate::wire::alone;

/// Returns a field's values in a head that the upstream received.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Returns true if stream 1 is answered with 200, and false if it is refused or reset.
fn is_ok(client: &mut Frames) -> bool {
    let ends = |frame: &Frame| frame.kind == GOAWAY || frame.stream == 1 && [HEADERS, RST_STREAM].contains(&frame.kind);
    let first = std::iter::from_fn(|| client.frame()).find(ends);
    first.is_some_and(|head| head.kind == HEADERS && has_status(&head, 200))
}

/// Sends an HTTP/2 request with these lengths and a body of five bytes. Returns true if the answer is 200.
fn post(backsoon: &Backsoon, lengths: &[&str]) -> bool {
    let mut client = Frames::connect(backsoon.address(), &[]);
    let fields: Vec<u8> = lengths.iter().flat_map(|length| field("content-length", length)).collect();
    client.send(frame(HEADERS, 4, 1, &post_block(&fields)));
    client.send(frame(DATA, 1, 1, b"hello"));
    is_ok(&mut client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_length_goes_to_the_upstream_once_and_plainly() {
    let (one, two) = (Upstream::ok(), TwoUpstream::echoing_paths().await);
    let (before_one, before_two) = (alone(&one.url(), ""), alone(&two.url(), "http2 = true\n"));
    for lengths in [&["5"][..], &["5", "5"], &["5", "05"], &["005"], &["05", "5", "0005"]] {
        for backsoon in [&before_one, &before_two] {
            assert!(post(backsoon, lengths), "{lengths:?}");
        }
        assert_eq!(values(&one.seen(), "content-length"), ["5"], "{lengths:?}");
        let head = two.heads().pop().unwrap();
        assert_eq!(head.headers().get_all("content-length").iter().collect::<Vec<_>>(), ["5"], "{lengths:?}");
        one.forget();
        let fields: String = lengths.iter().map(|length| format!("content-length: {length}\r\n")).collect();
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\nhello");
        assert_eq!(request(before_one.address(), &bytes).status, 200, "{lengths:?}");
        assert_eq!(request(before_two.address(), &bytes).status, 200, "{lengths:?}");
        assert_eq!(values(&one.seen(), "content-length"), ["5"], "{lengths:?}");
        let head = two.heads().pop().unwrap();
        assert_eq!(head.headers().get_all("content-length").iter().collect::<Vec<_>>(), ["5"], "{lengths:?}");
        one.forget();
    }
    let heads = two.heads().len();
    for lengths in [&["5", "6"][..], &["6", "5"], &["+5"], &["5 5"], &["0x5"], &["5", ""], &["five"], &["5, 6"]] {
        for backsoon in [&before_one, &before_two] {
            assert!(!post(backsoon, lengths), "{lengths:?}");
        }
    }
    assert_eq!((one.seen().as_str(), two.heads().len()), ("", heads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstreams_length_comes_once_and_plainly() {
    for lengths in
        ["content-length: 005", "content-length: 5\r\ncontent-length: 5", "content-length: 5\r\ncontent-length: 05"]
    {
        let upstream = Upstream::answering(&format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nhello"));
        let backsoon = alone(&upstream.url(), "");
        let answer = crate::support::get(backsoon.address(), "/");
        assert_eq!((values(&answer.head, "content-length"), answer.body.as_str()), (vec!["5"], "hello"), "{lengths}");
        let answer = Two::connect(backsoon.address()).await.get("/").await.unwrap();
        assert_eq!(answer.headers.get_all("content-length").iter().collect::<Vec<_>>(), ["5"], "{lengths}");
        assert_eq!(answer.body, "hello", "{lengths}");
    }
    // A head alone has no body to reveal the length.
    for (lengths, plain) in [("content-length: 00", "0"), ("content-length: 05\r\ncontent-length: 5", "5")] {
        let upstream = Upstream::answering(&format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\n"));
        let backsoon = alone(&upstream.url(), "");
        let mut client = Client::connect(backsoon.address());
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = client.head();
        assert_eq!(values(&head, "content-length"), [plain], "{head}");
    }
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n");
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 502 "), "two lengths of a head without a body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_host_that_is_empty_is_400() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "");
    let status = |line: &str, fields: &str| request(backsoon.address(), &format!("{line}\r\n{fields}\r\n")).status;
    for host in [
        "host: \r\n",
        "host:\r\n",
        "host: :80\r\n",
        "host: :\r\n",
        "host: []\r\n",
        "host: []:80\r\n",
        "host: [:]\r\n",
        "host: .\r\n",
    ] {
        assert_eq!(status("GET / HTTP/1.1", host), 400, "{host:?}");
        assert_eq!(status("GET / HTTP/1.0", host), 400, "{host:?}");
        assert_eq!(status("OPTIONS * HTTP/1.1", host), 400, "{host:?}");
        assert_eq!(status("GET http://a/ HTTP/1.1", host), 400, "{host:?}");
    }
    for target in ["http://:80/", "http:///", "http://user@a/", "http://user:x@a/", "http://@a/", "http://[]/"] {
        assert_eq!(status(&format!("GET {target} HTTP/1.1"), "host: a\r\n"), 400, "{target}");
    }
    assert_eq!(upstream.seen(), "");
    assert_eq!(status("GET / HTTP/1.0", ""), 200);
    assert_eq!(status("GET / HTTP/1.1", "host: [::1]:80\r\n"), 200);
    assert_eq!(status("GET http://a:80/ HTTP/1.1", "host: b:\r\n"), 200);
    upstream.forget();
    // In HTTP/2: an empty authority, only a port, a user, none at all, and an empty `host` instead.
    let block = |authority: Option<&str>, more: &[u8]| {
        let head =
            authority.map_or(Vec::new(), |text| [&[0x01, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat());
        [&[0x82, 0x84, 0x86][..], &head, more].concat()
    };
    for block in [
        block(Some(""), &[]),
        block(Some(":80"), &[]),
        block(Some("user@a"), &[]),
        block(Some("[]"), &[]),
        block(None, &[]),
        block(None, &field("host", "")),
        block(None, &field("host", ":80")),
    ] {
        let mut client = Frames::connect(backsoon.address(), &[]);
        client.send(frame(HEADERS, 5, 1, &block));
        assert!(!is_ok(&mut client), "{:?}", String::from_utf8_lossy(&block));
    }
    assert_eq!(upstream.seen(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send(frame(HEADERS, 5, 1, &block(None, &field("host", "a"))));
    assert!(is_ok(&mut client));
}
