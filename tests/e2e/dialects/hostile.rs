//! Clients that mean harm or send nonsense: each gets an answer that contains nothing of theirs.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;

use super::reserved::Watcher;
use super::{BROWSER, CLOSED, ask, closed};
use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};
use crate::two::{Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, Two, field, frame, patiently, request};

/// Returns a flag file that differs from the others.
fn saying(number: usize) -> String {
    format!("[routes.web]\nmode = \"offline\"\nmessage = \"{number}\"\n")
}

/// Values that no sane client sends, for any list-like field.
fn nonsense() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = [
        "",
        ",",
        ";",
        "=",
        "/",
        "*",
        "*/*;q=0",
        ";q=1",
        "q=1",
        "a;q=",
        "a;q=1.0001",
        "a;q=-1",
        "a;q=1e9",
        "a;q=nan",
        "text/html;q=0.0000000000000000001",
        "text/html;;;;q=1",
        "text/html;q=1;q=0",
        "\"text/html",
        "text/html\\",
        "text//html",
        "/html",
        "text/",
        "-",
        "--",
        "-de",
        "de-",
        "de--at",
        "%0d%0aset-cookie:x",
        "\t\t,\t",
        "../../etc",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    values.push((0x80..=0xff).collect());
    values.push(vec![b','; 30_000]);
    values.push(vec![b'x'; 30_000]);
    values.push("a-".repeat(15_000).into_bytes());
    values.push((0..1000).map(|index| format!("x{index}/y;q=0.{index:03},")).collect::<String>().into_bytes());
    values.push("text/html;q=0.5,".repeat(1000).into_bytes());
    values.push(b"text/html;q=0.5;".repeat(1000));
    values
}

#[test]
fn whatever_is_sent_there_is_an_answer() {
    let backsoon = closed("[page]\ncors = [\"https://*.example.com\"]\n");
    let mut client = Client::connect(backsoon.address());
    for name in [
        "accept",
        "accept-language",
        "accept-encoding",
        "content-type",
        "origin",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "access-control-request-method",
        "access-control-request-headers",
        "connect-protocol-version",
    ] {
        for value in nonsense() {
            for repeated in [1, 2] {
                let line = [name.as_bytes(), b": ", &value, b"\r\n"].concat().repeat(repeated);
                let rest = b"content-length: 0\r\n\r\n";
                client.send([b"GET / HTTP/1.1\r\nhost: test\r\n", &line[..], rest].concat());
                let response = client.response();
                let shown = String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
                assert_eq!(response.status, 503, "{name}: {shown}: {}", response.head);
                assert!(!response.head.contains("access-control-"), "{name}: {shown}: {}", response.head);
            }
        }
    }
    let last = ask(backsoon.address(), "GET /", &[&format!("accept: {BROWSER}")]);
    assert_eq!((last.status, last.field("content-language")), (503, Some("en")));
}

#[test]
fn nothing_can_be_put_into_an_answer_by_way_of_cors() {
    let backsoon = closed("[page]\ncors = [\"https://app.example.com\", \"https://*.example.com\", \"*\"]\n");
    // Text after an end of line is another field of the request; a lone control character makes no valid head.
    for end in ["\r\n", "\n", "\r", "\0", "\x0b"] {
        for (name, value) in [
            ("origin", format!("https://app.example.com{end}x-mine: 1")),
            ("access-control-request-headers", format!("x-a{end}x-mine: 1")),
            ("access-control-request-method", format!("PUT{end}x-mine: 1")),
        ] {
            let others = [
                ("origin", "https://app.example.com"),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "x-a"),
            ];
            let others = others.iter().filter(|(other, _)| *other != name);
            let others: String = others.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let mut client = Client::connect(backsoon.address());
            client.send(format!(
                "OPTIONS / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{others}{name}: {value}\r\n\r\n"
            ));
            let Some(response) = client.try_response() else { continue };
            assert!(matches!(response.status, 204 | 400), "{name} {end:?}: {}", response.head);
            assert_eq!(response.field("x-mine"), None, "{name} {end:?}: {}", response.head);
        }
    }
}

#[test]
fn over_http_2_a_field_with_an_end_of_line_is_refused() {
    let backsoon = closed("[page]\ncors = [\"*\"]\n");
    for value in ["PUT\r\nx-mine: 1", "PUT\nx-mine: 1", "PUT\0"] {
        let mut client = Frames::connect(backsoon.address(), &[]);
        // OPTIONS is not in the static table, so it is a literal with the name of `:method`.
        let method = [&[0x02, 7][..], b"OPTIONS"].concat();
        let fields = [
            &method[..],
            &[0x84, 0x86, 0x01, 4],
            b"test",
            &field("origin", "https://a.example"),
            &field("access-control-request-method", value),
        ];
        client.send(frame(HEADERS, 5, 1, &fields.concat()));
        let refused =
            std::iter::from_fn(|| client.frame()).find(|frame| matches!(frame.kind, RST_STREAM | GOAWAY | HEADERS));
        assert!(refused.is_none_or(|frame| frame.kind != HEADERS), "{value:?}");
    }
    assert_eq!(get(backsoon.address(), "/").status, 503);
}

#[tokio::test]
async fn a_fixed_answer_without_a_body_has_none_in_either_version() {
    let exceptions = "{ path = \"/204\", answer = 204, body = \"x\" }, { path = \"/304\", answer = 304, body = \"x\" }";
    let backsoon = closed(&format!("always_open = [{exceptions}]\n"));
    for status in [204, 304] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("GET /{status} HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(client.head().starts_with(&format!("HTTP/1.1 {status}")));
        assert!(client.head().starts_with("HTTP/1.1 503"), "the next answer follows the head of {status}");
        let mut two = Two::connect(backsoon.address()).await;
        let answer = two.get(&format!("/{status}")).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
    }
}

#[test]
fn watchers_that_read_nothing_cost_little_however_much_there_is_to_tell() {
    let backsoon = closed("");
    // Printing pages takes some megabytes now and then. They are allocated before anybody watches.
    change(&backsoon);
    let before = backsoon.resident_now();
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = TcpStream::connect(backsoon.address()).unwrap();
        stream.write_all(b"GET /.backsoon/events HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        watchers.push(stream);
    }
    #[allow(clippy::cast_precision_loss, reason = "there are not that many")]
    let all = WATCHERS as f64;
    wait("everybody to watch", || backsoon.metric("backsoon_watchers", "") == all);
    change(&backsoon);
    let told = backsoon.resident_now();
    println!("{WATCHERS} watchers: {before} KiB before, {told} KiB when they were told of {CHANGES} changes");
    // A watcher costs what a connection does (19 to 24 KiB over HTTP/1), and the cost of printing varies.
    assert!(told.saturating_sub(before) < WATCHERS * 24 + 64 * 1024, "{before} {told}");
    assert_eq!(get(backsoon.address(), "/").status, 503, "everybody else is served");
    drop(watchers);
    wait("the places of those that left to be free", || backsoon.metric("backsoon_watchers", "") == 0.0);
}

/// Publishes one page after another.
fn change(backsoon: &Backsoon) {
    for number in 0..CHANGES {
        backsoon.flag(&saying(number));
    }
    backsoon.finished("test");
}

/// Number of watchers. The test's process holds as many descriptors again.
const WATCHERS: u64 = 400;
const CHANGES: usize = 20;

#[test]
fn a_watcher_that_was_asleep_is_told_how_it_is_now() {
    let backsoon = closed("");
    let mut watcher = Watcher::connect(backsoon.address(), "/.backsoon/events");
    for number in 0..20 {
        backsoon.flag(&saying(number));
    }
    backsoon.unflag();
    let events: Vec<String> = std::iter::from_fn(|| watcher.event()).collect();
    assert!(events.len() <= 22, "{events:?}");
    assert_eq!(events.last().unwrap(), "event: open\ndata: {\"phase\":\"open\",\"spread\":5}");
}

#[test]
fn a_watcher_that_takes_nothing_over_http_2_loses_its_place() {
    let backsoon = closed("[limits]\nwrite = \"1s\"\n");
    let mut client = Frames::connect(backsoon.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    // GET, http, host `test`, and a literal path.
    let fields = [&[0x82, 0x86, 0x01, 4][..], b"test", &[0x04, 17], b"/.backsoon/events"].concat();
    client.send(frame(HEADERS, 5, 1, &fields));
    wait("a watcher", || backsoon.metric("backsoon_watchers", "") == 1.0);
    wait("its place to be free", || backsoon.metric("backsoon_watchers", "") == 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn streams_that_are_reset_give_their_places_back() {
    let backsoon = Backsoon::start(&format!(
        "workers = 1\n{LISTEN}[limits]\nwatchers = 10\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n"
    ));
    backsoon.flag(CLOSED);
    let mut two = Two::connect(backsoon.address()).await;
    for _ in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..5 {
            let (response, stream) = two.begin(request("GET", "/.backsoon/events"), true).await;
            streams.push((patiently(response).await.unwrap(), stream));
        }
        drop(streams);
        wait("the places to be free", || backsoon.metric("backsoon_watchers", "") == 0.0);
    }
    assert_eq!(backsoon.metric("backsoon_limit_reached_total", "limit=\"watchers\""), 0.0);
}

#[test]
fn an_old_client_watches_until_the_connection_ends() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag(CLOSED);
    let mut client = Client::connect(backsoon.address());
    client.send("GET /.backsoon/events HTTP/1.0\r\nhost: test\r\n\r\n");
    let head = client.head();
    assert!(head.contains(" 200") && !head.contains("transfer-encoding"), "{head}");
    // The page is told before the route opens, or not at all.
    let mut rest = String::new();
    while !rest.contains("event: page\n") {
        assert!(client.stream.read_line(&mut rest).unwrap() > 0, "{rest}");
    }
    backsoon.unflag();
    client.stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("event: open\ndata: {\"phase\":\"open\",\"spread\":5}\n\n"), "{rest}");
}

#[test]
fn a_route_that_is_removed_is_open_to_those_who_watch_it() {
    let config = |name: &str| format!("{LISTEN}[routes.{name}]\nupstream = \"http://127.0.0.1:1\"\n");
    let backsoon = Backsoon::start(&config("web"));
    backsoon.flag("[routes]\n\"*\" = \"offline\"\n");
    let mut watcher = Watcher::connect(backsoon.address(), "/.backsoon/events");
    assert!(watcher.event().unwrap().contains("event: page"));
    backsoon.config(&config("other"));
    assert_eq!(watcher.event().as_deref(), Some("event: open\ndata: {\"phase\":\"open\",\"spread\":5}"));
    assert_eq!(watcher.event(), None);
}

#[test]
fn an_offer_to_speak_http_2_is_no_upgrade_that_must_be_refused_in_a_few_words() {
    let backsoon = closed("");
    let h2c = "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\naccept: application/json";
    let mut client = Client::connect(backsoon.address());
    // Java's client and curl --http2 send this with each first request in clear text.
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\n{h2c}\r\n\r\n"));
    let response = client.response();
    assert_eq!((response.status, response.field("content-type")), (503, Some("application/json")), "{}", response.head);
    client.send(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c, websocket\r\naccept: text/html\r\n\r\n",
    );
    assert_eq!(client.response().field("content-type"), Some("text/plain; charset=utf-8"));
}
