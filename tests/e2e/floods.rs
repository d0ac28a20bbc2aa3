//! Floods over HTTP/2: each ends in a bounded and correct way, while other clients are served.
//!
//! The numbers are those of the advisories. Most frames are written by hand, because no library sends them.

use bytes::Bytes;
use http::Response;

use crate::support::{Backsoon, Upstream, get, wait};
use crate::two::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS, NO_ERROR, PING, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, Two, TwoUpstream,
    WINDOW_UPDATE, code, field, frame, get_block, has_status, post_block, request,
};
use crate::wire::FEW_PAGES;

const REQUEST: u8 = END_HEADERS | END_STREAM;
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();

/// Asserts that other clients are served, nothing of a flood is left, and nothing panicked.
fn assert_well(backsoon: &Backsoon) {
    assert_eq!(get(backsoon.address(), "/").status, 200);
    wait("nothing to be in flight", || backsoon.route("web")["in_flight"] == 0);
    assert_eq!(backsoon.metric("backsoon_panics_total", ""), 0.0);
}

/// CVE-2023-44487, "rapid reset": requests that are cancelled as soon as they are sent.
#[test]
fn rapid_resets_end_the_connection_and_leave_nothing_behind() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    let flood: Vec<u8> = (0..2000)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            [frame(HEADERS, REQUEST, stream, &get_block(&[])), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
        })
        .collect();
    client.send(flood);
    assert_eq!(client.goaway(), Some(ENHANCE_YOUR_CALM));
    assert_well(&backsoon);
    assert!(upstream.connections() < 200, "{} upstream connections", upstream.connections());
}

/// RUSTSEC-2023-0034: resets slow enough for each request to begin.
#[test]
fn requests_that_are_reset_one_by_one_are_cancelled_upstream() {
    let upstream = Upstream::handling(|connection| {
        connection.head();
        // Never answers; only the end of its connection frees it.
        connection.byte();
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    for number in 0..200 {
        let stream = number * 2 + 1;
        client.send(frame(HEADERS, REQUEST, stream, &get_block(&[])));
        client.send(frame(PING, 0, 0, &[7; 8]));
        client.until(PING, 0).unwrap();
        client.send(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    wait("all to be cancelled", || {
        let route = backsoon.route("web");
        route["in_flight"] == 0 && route["upstreams"][0]["connections"] == 0
    });
}

/// CVE-2025-8671, "MadeYouReset": the client breaks a rule on each stream, and the server resets the stream.
#[test]
fn resets_that_the_client_provokes_are_counted_and_end_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[limits]\nh2_error_resets = 50\n");
    let mut client = Frames::connect(backsoon.address(), &[]);
    for number in 0..1000 {
        let stream = number * 2 + 1;
        // A window beyond 2^31-1 bytes is a stream error.
        client.send(frame(HEADERS, END_HEADERS, stream, &post_block(&[])));
        if !client.send(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())) {
            break;
        }
    }
    assert_eq!(client.goaway(), Some(ENHANCE_YOUR_CALM));
    assert_well(&backsoon);
}

/// RUSTSEC-2024-0332 and similar advisories, the CONTINUATION flood: a head that never ends.
#[test]
fn a_head_of_endless_continuations_ends_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    // The first requests allocate memory that stays.
    assert_well(&backsoon);
    let (before, seen) = (backsoon.resident(), upstream.seen());
    for piece in [&[][..], &field("x", "y"), &field("x", "y").repeat(2000)] {
        let mut client = Frames::connect(backsoon.address(), &[]);
        client.send(frame(HEADERS, END_STREAM, 1, &get_block(&[])));
        let flood = frame(CONTINUATION, 0, 1, piece);
        // Much more than is accepted; the server hangs up meanwhile.
        let sent = (0..200_000_usize / (1 + piece.len() / 64)).take_while(|_| client.send(&flood)).count();
        let reason = client.goaway();
        assert!(reason.is_none_or(|reason| reason != NO_ERROR), "after {sent} frames: {reason:?}");
    }
    let grown = backsoon.resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    assert_eq!(upstream.seen(), seen);
    assert_well(&backsoon);
}

/// RUSTSEC-2026-0258 and CVE-2019-9518: empty DATA frames.
#[test]
fn endless_empty_data_ends_the_connection() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET") {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send(frame(HEADERS, END_HEADERS, 1, &post_block(&[])));
    let flood = frame(DATA, 0, 1, &[]).repeat(1000);
    let sent = (0..1000).take_while(|_| client.send(&flood)).count();
    assert_eq!(client.goaway().unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM);
    assert!(sent < 1000, "a million empty frames were taken");
    assert_well(&backsoon);
}

/// CVE-2019-9512, the ping flood, and CVE-2019-9515, the settings flood: each asks for answers that nobody reads.
#[test]
fn answers_that_nobody_reads_are_bounded_and_end_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[limits]\nwrite = \"1s\"\n");
    // The first requests allocate memory that stays.
    assert_well(&backsoon);
    let before = backsoon.resident();
    for flood in [frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut client = Frames::connect(backsoon.address(), &[]);
        client.stream.set_write_timeout(Some(crate::support::PATIENCE)).unwrap();
        let flood = flood.repeat(4096);
        // Nothing is read. The answers fill all buffers, then the server stops reading, and then its patience ends.
        let sent = (0..4096).take_while(|_| client.send(&flood)).count();
        assert!(sent < 4096, "all was taken");
    }
    assert_eq!(backsoon.metric("backsoon_limit_reached_total", "limit=\"write\""), 2.0);
    let grown = backsoon.resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    assert_well(&backsoon);
}

/// CVE-2016-6581, the HPACK bomb: a few bytes that decode to a large head.
#[test]
fn a_head_that_unfolds_beyond_the_limit_is_431_and_never_held() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    // One field of 3 KB in the table, and then one-byte references to it.
    let value = vec![b'a'; 3000];
    let mut bomb = [&[0x40, 1, b'x', 0x7f, 0xb9, 0x16][..], &value].concat();
    assert_eq!(127 + 0x39 + (0x16 << 7), value.len());
    client.send(frame(HEADERS, REQUEST, 1, &get_block(&bomb)));
    let (head, _) = client.answer(1).unwrap();
    assert!(has_status(&head, 200));
    upstream.forget();
    // 90 KB is over the limit, and is answered.
    client.send(frame(HEADERS, REQUEST, 3, &get_block(&[0xbe; 30])));
    let (head, _) = client.answer(3).unwrap();
    assert!(has_status(&head, 431), "{head:?}");
    // 15 MB is an attack.
    bomb = vec![0xbe; 5000];
    client.send(frame(HEADERS, REQUEST, 5, &get_block(&bomb)));
    let reset = std::iter::from_fn(|| client.frame()).find(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY);
    assert!(reset.is_none_or(|frame| code(&frame.payload[frame.payload.len().min(8) - 4..]) != NO_ERROR));
    assert_eq!(upstream.seen(), "");
    assert_well(&backsoon);
}

/// CVE-2026-49975: more fields than any client needs, one byte each.
#[test]
fn too_many_fields_are_431_and_cookie_crumbs_count_as_one() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send(frame(HEADERS, REQUEST, 1, &get_block(&field("x", "y").repeat(101))));
    let (head, _) = client.answer(1).unwrap();
    assert!(has_status(&head, 431), "{head:?}");
    assert_eq!(upstream.seen(), "");
    client.send(frame(HEADERS, REQUEST, 3, &get_block(&field("cookie", "a=b").repeat(300))));
    let (head, _) = client.answer(3).unwrap();
    assert!(has_status(&head, 200), "{head:?}");
    assert_well(&backsoon);
}

/// The HTTP/2 bomb (CVE-2026-49975, CVE-2026-47774): as many fields as allowed on as many streams as allowed. The
/// window lets no byte of any answer out.
#[test]
fn streams_that_take_nothing_are_freed_and_pin_little_memory() {
    let upstream =
        Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000)));
    let backsoon = Backsoon::before(&upstream.url(), &format!("[limits]\nwrite = \"2s\"\n{FEW_PAGES}"));
    get(backsoon.address(), "/");
    let before = backsoon.resident();
    let block = get_block(&field("x", "y").repeat(90));
    let mut clients: Vec<_> =
        (0..5).map(|_| Frames::connect(backsoon.address(), &[(INITIAL_WINDOW_SIZE, 0)])).collect();
    for client in &mut clients {
        client.send((0..100).flat_map(|number| frame(HEADERS, REQUEST, number * 2 + 1, &block)).collect::<Vec<_>>());
    }
    let mut grown = 0;
    wait("all streams to be freed", || {
        grown = grown.max(backsoon.resident().saturating_sub(before));
        backsoon.metric("backsoon_limit_reached_total", "limit=\"write\"") >= 500.0
    });
    // The upstream has 50 MB waiting. Measured: 35 MB at most, which is 70 KB a stream and 7 MB a connection.
    assert!(grown < 48 * 1024, "{grown} KiB for 500 streams");
    // The connections still serve other requests.
    for client in &mut clients {
        client.send(frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()));
        client.send(frame(HEADERS, REQUEST, 201, &get_block(&[])));
        let head = client.until(HEADERS, 201).unwrap();
        assert!(has_status(&head, 200));
    }
    drop(clients);
    assert_well(&backsoon);
}

/// The same attack on the page, which costs the attacker even less.
#[test]
fn pages_that_nobody_takes_are_freed() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", &format!("[limits]\nwrite = \"1s\"\n{FEW_PAGES}"));
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    backsoon.finished("");
    let mut client = Frames::connect(backsoon.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let before = backsoon.resident();
    let mut first = before;
    for round in 0..20_u32 {
        for number in 0..100 {
            client.send(frame(HEADERS, REQUEST, (round * 100 + number) * 2 + 1, &get_block(&[])));
        }
        if round == 0 {
            client.until(RST_STREAM, 1).unwrap();
            // The first round also pays once for the pages of errors, which are finished meanwhile.
            first = backsoon.resident();
        }
    }
    let grown = backsoon.resident().saturating_sub(first);
    assert!(grown < 1024, "{grown} KiB for 1,900 requests");
    assert!(first.saturating_sub(before) < 16 * 1024, "{before} to {first} KiB");
    assert_eq!(get(backsoon.address(), "/").status, 503);
}

#[test]
fn more_streams_than_allowed_are_refused_one_by_one() {
    let upstream = TwoEnds::new();
    let backsoon = Backsoon::before(&upstream.url, "[limits]\nh2_streams = 5\n");
    let mut client = Frames::connect(backsoon.address(), &[]);
    let settings = client.until(SETTINGS, 0).unwrap();
    let announced = settings.payload.chunks(6).find(|entry| entry[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes());
    assert_eq!(announced.map(|entry| code(&entry[2..])), Some(5));
    for number in 0..8 {
        client.send(frame(HEADERS, REQUEST, number * 2 + 1, &get_block(&[])));
    }
    for stream in [11, 13, 15] {
        assert_eq!(code(&client.until(RST_STREAM, stream).unwrap().payload), REFUSED_STREAM);
    }
    upstream.release();
    for _ in 0..5 {
        let head = std::iter::from_fn(|| client.frame()).find(|frame| frame.kind == HEADERS).unwrap();
        assert!(head.stream < 10 && has_status(&head, 200));
    }
}

/// Returns an upstream that answers nothing until it is released.
struct TwoEnds {
    url: String,
    gate: std::sync::Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>,
}

impl TwoEnds {
    fn new() -> Self {
        let gate = std::sync::Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
        let held = std::sync::Arc::clone(&gate);
        let upstream = Upstream::handling(move |connection| {
            while connection.request().is_some() {
                drop(held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap());
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Self { url: upstream.url(), gate }
    }

    fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

/// RFC 9113 section 8.1.1: a length that contradicts the frames is used to smuggle requests into HTTP/1.1.
#[test]
fn a_content_length_that_the_data_contradicts_resets_the_stream() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    for (stream, length, data) in [(1, "3", &b"GET /smuggled HTTP/1.1\r\n\r\n"[..]), (3, "100", b"short")] {
        client.send(frame(HEADERS, END_HEADERS, stream, &post_block(&field("content-length", length))));
        client.send(frame(DATA, END_STREAM, stream, data));
        let reset = client.until(RST_STREAM, stream).unwrap();
        assert_eq!(code(&reset.payload), PROTOCOL_ERROR);
    }
    client.send(frame(HEADERS, REQUEST, 5, &get_block(&[])));
    let (head, _) = client.answer(5).unwrap();
    assert!(has_status(&head, 200));
    assert!(!upstream.seen().contains("smuggled"), "{}", upstream.seen());
    assert_well(&backsoon);
}

#[test]
fn a_host_that_contradicts_the_authority_is_refused() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    for (stream, fields, status) in [
        (1, field("host", "other"), 400),
        (3, [field("host", "test"), field("host", "test")].concat(), 400),
        (5, field("host", "TEST"), 200),
    ] {
        client.send(frame(HEADERS, REQUEST, stream, &get_block(&fields)));
        let (head, _) = client.answer(stream).unwrap();
        assert!(has_status(&head, status), "{stream}: {head:?}");
    }
    assert_eq!(upstream.seen().matches("GET").count(), 1);
}

/// RFC 9113 section 8.2.2: fields that concern one connection only, and values that HTTP/1.1 would misread.
#[test]
fn malformed_fields_reset_the_stream_or_the_connection_and_reach_no_upstream() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let malformed = [
        field("connection", "close"),
        field("keep-alive", "timeout=5"),
        field("proxy-connection", "keep-alive"),
        field("transfer-encoding", "chunked"),
        field("upgrade", "websocket"),
        field("te", "gzip"),
        field("X-Upper", "1"),
        field("x-line", "a\r\nx-smuggled: 1"),
        field("x-nul", "a\0b"),
        field("bad name", "1"),
        field("", "1"),
        // A pseudo-field after the others, an unknown one, and one for responses.
        [field("x", "1"), vec![0x84]].concat(),
        field(":unknown", "1"),
        field(":status", "200"),
    ];
    for fields in malformed {
        let mut client = Frames::connect(backsoon.address(), &[]);
        client.send(frame(HEADERS, REQUEST, 1, &get_block(&fields)));
        // Bytes that cannot be a name or a value count as broken compression, which ends the connection.
        let last = std::iter::from_fn(|| client.frame()).find(|frame| frame.stream == 1 || frame.kind == GOAWAY);
        let refused = last.as_ref().is_none_or(|last| last.kind != HEADERS || has_status(last, 400));
        assert!(refused, "{:?}: {last:?}", String::from_utf8_lossy(&fields));
    }
    assert_eq!(upstream.seen(), "");
    assert_well(&backsoon);
}

#[test]
fn what_is_not_http_2_at_all_ends_the_connection() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let broken = [
        // A missing settings frame, a stream of the server's, an oversized frame, and data on an idle stream.
        frame(HEADERS, REQUEST, 2, &get_block(&[])),
        [&[0xff, 0xff, 0xff, DATA, 0][..], &1_u32.to_be_bytes()].concat(),
        frame(DATA, 0, 1, b"x"),
        frame(SETTINGS, 0, 1, &[]),
        frame(PING, 0, 0, b"short"),
        frame(HEADERS, REQUEST, 1, &[0xff; 20]),
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
    ];
    for bytes in broken {
        let mut client = Frames::connect(backsoon.address(), &[]);
        client.send(&bytes);
        let reason = client.goaway();
        assert!(reason.is_some_and(|reason| reason != NO_ERROR), "{bytes:?}: {reason:?}");
    }
    assert_eq!(upstream.seen(), "");
    assert_well(&backsoon);
}

/// CVE-2019-9511, "data dribble": a window of one byte at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_window_of_one_byte_gets_its_bytes_and_nobody_else_waits() {
    let upstream = TwoUpstream::handling(|_, mut respond| async move {
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from(vec![b'x'; 1000]), true).unwrap();
    })
    .await;
    let backsoon = Backsoon::before(&upstream.url(), "http2 = true\n");
    let mut slow = Two::with(backsoon.address(), h2::client::Builder::new().initial_window_size(1)).await;
    let answer = slow.ask(request("GET", "/"), "");
    let mut quick = Two::connect(backsoon.address()).await;
    assert_eq!(quick.get("/").await.unwrap().body.len(), 1000);
    assert_eq!(answer.await.unwrap().body.len(), 1000);
}
