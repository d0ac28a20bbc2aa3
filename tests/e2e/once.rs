//! Requests that are not safe to repeat leave once: wherever an upstream breaks off, no upstream sees one twice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, UpstreamConnection, wait};
use crate::two::{
    ACK, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADER_TABLE_SIZE, HEADERS, MAX_CONCURRENT_STREAMS, NO_ERROR, PING,
    PREFACE, REFUSED_STREAM, RST_STREAM, SETTINGS, frame,
};
use crate::wire::{Counts, balanced, reset, settled};

/// Part of a request that an upstream reads before it breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    AByte,
    TheHead,
    All,
}

/// Way in which an upstream breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Closes,
    Resets,
    AnswersInPart,
}

/// Returns requests that are not safe to repeat, with and without bodies, as method, fields and body.
fn unsafe_requests() -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("POST", "content-length: 0\r\n", String::new()),
        ("POST", "", String::new()),
        ("DELETE", "", String::new()),
        ("PATCH", "", String::new()),
        ("PROPFIND", "", String::new()),
        ("get", "", String::new()),
        ("PUT", "content-length: 3\r\n", "abc".to_owned()),
        ("POST", "transfer-encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("POST", "content-length: 300000\r\n", "x".repeat(300_000)),
        // A safe method, but its body is gone once sent.
        ("GET", "content-length: 3\r\n", "abc".to_owned()),
    ]
}

/// Upstreams that break off during a request for `/once`, the first or the second one on a connection.
struct Breaking {
    upstreams: Vec<Upstream>,
    /// Number of such requests that had arrived unread.
    left_unread: Arc<AtomicUsize>,
}

impl Breaking {
    fn new(number: usize, kept: bool, reads: Reads, ends: Ends) -> Self {
        let left_unread = Arc::new(AtomicUsize::new(0));
        let upstreams = (0..number).map(|_| {
            let left_unread = Arc::clone(&left_unread);
            Upstream::taking(move |connection| break_off(connection, kept, reads, ends, &left_unread))
        });
        Self { upstreams: upstreams.collect(), left_unread }
    }

    /// Returns how often requests for `/once` arrived since the last call.
    fn arrived(&self) -> usize {
        let read: usize =
            self.upstreams.iter().map(|upstream| upstream.seen().matches(" /once HTTP/1.1\r\n").count()).sum();
        self.upstreams.iter().for_each(Upstream::forget);
        self.left_unread.swap(0, Ordering::SeqCst) + read
    }
}

#[allow(clippy::too_many_arguments, reason = "a test's table")]
fn break_off(mut connection: UpstreamConnection, kept: bool, reads: Reads, ends: Ends, left_unread: &AtomicUsize) {
    if kept {
        if connection.request().is_none() {
            return;
        }
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
    match reads {
        Reads::Nothing => {
            let mut there = [0; 256];
            let length = connection.stream.peek(&mut there).unwrap_or(0);
            if there[..length].windows(7).any(|part| part == b" /once ") {
                left_unread.fetch_add(1, Ordering::SeqCst);
            }
        }
        Reads::AByte => drop(connection.byte()),
        Reads::TheHead => drop(connection.head()),
        Reads::All => drop(connection.request()),
    }
    match ends {
        Ends::Closes => {}
        Ends::Resets => reset(connection.stream),
        Ends::AnswersInPart => connection.send("HTTP/1.1 200 OK\r\ncontent-le"),
    }
}

/// Sends a request on a new connection and returns the status of the answer, if any.
fn ask(address: SocketAddr, (method, fields, body): &(&str, &str, String)) -> Option<u16> {
    let mut client = Client::connect(address);
    client.send(format!("{method} /once HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n{body}"));
    client.try_response().map(|response| response.status)
}

fn breaks_off(kept: bool) {
    for number in [1, 2] {
        for reads in [Reads::Nothing, Reads::AByte, Reads::TheHead, Reads::All] {
            for ends in [Ends::Closes, Ends::Resets, Ends::AnswersInPart] {
                let breaking = Breaking::new(number, kept, reads, ends);
                let urls: Vec<String> = breaking.upstreams.iter().map(Upstream::url).collect();
                let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
                let backsoon = balanced(&urls, "");
                for request in unsafe_requests() {
                    let case = format!("{number} {kept} {reads:?} {ends:?} {} {:?}", request.0, request.1);
                    for _ in 0..if kept { 2 * number } else { 0 } {
                        let mut client = Client::connect(backsoon.address());
                        client.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
                        assert_eq!(client.response().status, 200, "{case}");
                    }
                    let status = ask(backsoon.address(), &request);
                    assert!(matches!(status, Some(200 | 502) | None), "{case}: {status:?}");
                    settled(&backsoon);
                    let arrived = breaking.arrived();
                    assert!(arrived <= 1, "{case}: arrived {arrived} times");
                    assert!(kept || arrived == 1, "{case}: it was to arrive");
                }
            }
        }
    }
}

#[test]
fn an_unsafe_request_on_a_fresh_connection_is_seen_once_wherever_it_breaks_off() {
    breaks_off(false);
}

#[test]
fn an_unsafe_request_on_a_kept_connection_is_seen_once_wherever_it_breaks_off() {
    breaks_off(true);
}

/// Upstream whose HTTP/2 frames are written by hand. Requests other than GET are counted; the first of them gets
/// `answer`, and all others get 200.
struct Raw {
    address: SocketAddr,
    unsafe_seen: Arc<AtomicUsize>,
}

/// Frames that an upstream sends instead of an answer, by stream number. `goes_on` keeps the connection open.
#[derive(Clone, Copy)]
struct Break {
    name: &'static str,
    frames: fn(u32) -> Vec<u8>,
    goes_on: bool,
}

impl Raw {
    /// Starts an upstream that allows `limit` streams at a time on a connection.
    fn new(limit: u32, answer: Break) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let unsafe_seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&unsafe_seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&counted);
                thread::spawn(move || serve(greet(stream, limit)?, answer, &seen));
            }
        });
        Self { address, unsafe_seen }
    }

    fn before(&self) -> Backsoon {
        Backsoon::start(&format!(
            "workers = 1\n{LISTEN}[routes.web]\nupstream = \"http://{}\"\nhttp2 = true\n",
            self.address
        ))
    }
}

/// Reads a client's preface and sends the settings. They forbid the header table, so that each head can be read alone.
fn greet(mut stream: TcpStream, limit: u32) -> Option<Frames> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).ok()?;
    let settings = [(HEADER_TABLE_SIZE, 0), (MAX_CONCURRENT_STREAMS, limit)];
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    stream.write_all(&frame(SETTINGS, 0, 0, &payload)).ok()?;
    Some(Frames { stream })
}

/// Returns true if a head is that of a GET, which has an entry in HPACK's static table.
fn is_get(payload: &[u8]) -> bool {
    payload.iter().find(|&byte| byte & 0xe0 != 0x20) == Some(&0x82)
}

fn serve(mut frames: Frames, answer: Break, seen: &AtomicUsize) -> Option<()> {
    loop {
        let head = frames.frame()?;
        match head.kind {
            SETTINGS if head.flags & ACK == 0 => drop(frames.send(frame(SETTINGS, ACK, 0, &[]))),
            PING if head.flags & ACK == 0 => drop(frames.send(frame(PING, ACK, 0, &head.payload))),
            HEADERS if !is_get(&head.payload) && seen.fetch_add(1, Ordering::SeqCst) == 0 => {
                frames.send((answer.frames)(head.stream));
                if !answer.goes_on {
                    return None;
                }
            }
            HEADERS => drop(frames.send(ok(head.stream))),
            _ => {}
        }
    }
}

fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88])
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn reset_stream(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

const LAST: u32 = u32::MAX >> 1;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// After these, nobody knows whether the request was processed.
const UNKNOWN: [Break; 14] = [
    Break { name: "closes", frames: |_| Vec::new(), goes_on: false },
    Break { name: "goes away behind it", frames: |stream| goaway(stream, NO_ERROR), goes_on: false },
    Break { name: "goes away", frames: |_| goaway(LAST, NO_ERROR), goes_on: false },
    Break {
        name: "goes away in two steps",
        frames: |stream| [goaway(LAST, NO_ERROR), goaway(stream, NO_ERROR)].concat(),
        goes_on: false,
    },
    Break { name: "goes away in anger", frames: |stream| goaway(stream, ENHANCE_YOUR_CALM), goes_on: false },
    Break { name: "goes away in anger before it", frames: |_| goaway(0, ENHANCE_YOUR_CALM), goes_on: false },
    Break { name: "goes away broken", frames: |_| goaway(LAST, INTERNAL_ERROR), goes_on: false },
    Break { name: "cancels", frames: |stream| reset_stream(stream, CANCEL), goes_on: true },
    Break { name: "breaks the stream", frames: |stream| reset_stream(stream, INTERNAL_ERROR), goes_on: true },
    Break { name: "ends the stream", frames: |stream| reset_stream(stream, NO_ERROR), goes_on: true },
    Break {
        name: "goes away, and cancels",
        frames: |stream| [goaway(LAST, NO_ERROR), reset_stream(stream, CANCEL)].concat(),
        goes_on: true,
    },
    Break {
        name: "goes away behind it, and ends the stream",
        frames: |stream| [goaway(stream, NO_ERROR), reset_stream(stream, NO_ERROR)].concat(),
        goes_on: true,
    },
    Break { name: "sends half a frame", frames: |stream| ok(stream)[..9].to_vec(), goes_on: false },
    Break { name: "speaks HTTP/1", frames: |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), goes_on: false },
];

/// After these, the request was not processed (RFC 9113 section 8.7).
const UNPROCESSED: [Break; 3] = [
    Break { name: "refuses", frames: |stream| reset_stream(stream, REFUSED_STREAM), goes_on: true },
    Break { name: "goes away before it", frames: |stream| goaway(stream.saturating_sub(2), NO_ERROR), goes_on: false },
    Break {
        name: "goes away in two steps before it",
        frames: |stream| [goaway(LAST, NO_ERROR), goaway(stream.saturating_sub(2), NO_ERROR)].concat(),
        goes_on: false,
    },
];

#[test]
fn an_http_2_upstream_that_breaks_off_sees_an_unsafe_request_once() {
    for kept in [false, true] {
        for answer in UNKNOWN.into_iter().chain(UNPROCESSED) {
            for request in unsafe_requests().into_iter().filter(|(method, ..)| *method != "GET") {
                let case = format!("{kept} {} {} {:?}", answer.name, request.0, request.1);
                let raw = Raw::new(100, answer);
                let backsoon = raw.before();
                if kept {
                    assert_eq!(ask(backsoon.address(), &("GET", "", String::new())), Some(200), "{case}");
                }
                let status = ask(backsoon.address(), &request);
                settled(&backsoon);
                let seen = raw.unsafe_seen.load(Ordering::SeqCst);
                let again = UNPROCESSED.iter().any(|other| other.name == answer.name) && request.2.is_empty();
                let expected = if again { (Some(200), 2) } else { (Some(502), 1) };
                let large = request.2.len() > 100_000 && status.is_none();
                assert!((status, seen) == expected || large && seen == 1, "{case}: {status:?}, seen {seen} times");
            }
        }
    }
}

/// A request waiting for a free stream starts only once, even if the upstream goes away and another one is asked.
#[test]
fn an_unsafe_request_that_waits_for_a_stream_is_seen_once_where_the_upstream_goes_away() {
    for last in [LAST, 1, 0] {
        for before in [0, 1, 3] {
            for how in ["answers", "closes"] {
                waits_for_a_stream(last, before, how);
            }
        }
    }
}

/// The first connection takes one stream and leaves it unanswered until the others wait; `before` of them are GETs.
fn waits_for_a_stream(last: u32, before: usize, how: &'static str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let (go, going) = std::sync::mpsc::channel::<()>();
    let counted = Arc::clone(&seen);
    thread::spawn(move || {
        let mut first = greet(listener.accept().unwrap().0, 1)?;
        let others = Arc::clone(&counted);
        let begun = first.until(HEADERS, 1)?;
        assert!(is_get(&begun.payload));
        going.recv().ok()?;
        first.send(goaway(last, NO_ERROR));
        thread::spawn(move || {
            let answer = Break { name: "", frames: ok, goes_on: true };
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&others);
                thread::spawn(move || serve(greet(stream, 100)?, answer, &seen));
            }
        });
        if how == "answers" {
            first.send(ok(1));
        } else {
            return None;
        }
        serve(first, Break { name: "", frames: ok, goes_on: true }, &counted)
    });
    let raw = Raw { address, unsafe_seen: seen };
    let backsoon = raw.before();
    let mut clients: Vec<Client> = (0..before + 2).map(|_| Client::connect(backsoon.address())).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let method = if index == before + 1 { "POST" } else { "GET" };
        client.send(format!("{method} /once HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        wait("the request to be on its way", || backsoon.in_flight() == (index + 1) as f64);
    }
    go.send(()).unwrap();
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.try_response().map(|answer| answer.status)).collect();
    settled(&backsoon);
    let seen = raw.unsafe_seen.load(Ordering::SeqCst);
    assert!(seen <= 1, "{last} {before} {how}: {statuses:?}, seen {seen} times");
}

#[test]
fn a_held_request_is_sent_once_when_it_is_released() {
    for reads in [None, Some(Reads::TheHead), Some(Reads::All)] {
        let upstream = match reads {
            None => Upstream::ok(),
            Some(reads) => Upstream::taking(move |connection| {
                break_off(connection, false, reads, Ends::Closes, &AtomicUsize::new(0));
            }),
        };
        let backsoon = balanced(&[&upstream.url()], "hold = { max_wait = \"30s\", release = \"1000/s\" }\n");
        backsoon.flag("[routes]\nweb = \"hold\"\n");
        let requests: Vec<_> = unsafe_requests().into_iter().filter(|(_, _, body)| body.len() < 100_000).collect();
        let mut clients = Vec::new();
        for (index, (method, fields, body)) in requests.iter().enumerate() {
            let mut client = Client::connect(backsoon.address());
            client
                .send(format!("{method} /once/{index} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n{body}"));
            wait("the request to be held", || backsoon.route("web")["held"] == index + 1);
            clients.push(client);
        }
        assert_eq!(upstream.seen(), "");
        // Held again in between: no request has left.
        backsoon.flag("[routes.web]\nmode = \"hold\"\nmessage = \"A moment.\"\n");
        assert_eq!(upstream.seen(), "");
        backsoon.flag("[routes]\n");
        for (index, client) in clients.iter_mut().enumerate() {
            let status = client.response().status;
            assert_eq!(status, if reads.is_none() { 200 } else { 502 }, "{reads:?} {:?}", requests[index]);
        }
        settled(&backsoon);
        for (index, request) in requests.iter().enumerate() {
            let times = upstream.seen().matches(&format!(" /once/{index} ")).count();
            assert_eq!(times, 1, "{reads:?} {request:?}");
        }
    }
}

#[test]
fn no_answer_asks_a_browser_to_send_a_form_again() {
    let upstream = Upstream::ok();
    let backsoon = balanced(&[&upstream.url()], "hold = { max_wait = \"10ms\" }\n");
    for mode in ["offline", "read-only", "hold"] {
        backsoon.flag(&format!("[routes]\nweb = \"{mode}\"\n"));
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "QUERY", "get"] {
            let mut client = Client::connect(backsoon.address());
            client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\ncontent-length: 0\r\n\r\n"));
            let answer = client.response();
            if mode == "read-only" && matches!(method, "PROPFIND" | "QUERY") {
                continue;
            }
            assert_eq!((answer.status, answer.field("refresh")), (503, None), "{mode} {method}");
            assert!(!answer.body.contains("<form"), "{mode} {method}");
            assert!(!answer.body.contains(".reload("), "{mode} {method}");
        }
    }
}
