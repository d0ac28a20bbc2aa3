//! Many clients at once: none takes what the others need, and honest crowds are served in turn.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};
use crate::two::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, INITIAL_WINDOW_SIZE, Two, TwoUpstream, WINDOW_UPDATE, frame,
    get_block, patiently, post_block, request as head, write,
};
use crate::wire::{Counts, alone, next, observed, settled};

/// Way in which a client stalls its request.
#[derive(Clone, Copy, Debug)]
enum Stall {
    /// The client announces a body and sends none of it.
    WithoutBody,
    /// The client sends one byte of the body.
    OneByte,
    /// The client sends a byte of the body now and then.
    Trickle,
    /// The client takes nothing of the answer.
    WithoutWindow,
    /// The client takes a byte of the answer now and then.
    TrickledWindow,
}

impl Stall {
    const ALL: [Self; 5] = [Self::WithoutBody, Self::OneByte, Self::Trickle, Self::WithoutWindow, Self::TrickledWindow];

    fn connect(self, address: SocketAddr) -> Frames {
        let settings: &[_] = match self {
            Self::WithoutBody | Self::OneByte | Self::Trickle => &[],
            Self::WithoutWindow | Self::TrickledWindow => &[(INITIAL_WINDOW_SIZE, 0)],
        };
        Frames::connect(address, settings)
    }

    /// Returns the frames that begin a request on a stream.
    fn begin(self, stream: u32) -> Vec<u8> {
        match self {
            Self::WithoutBody | Self::Trickle => frame(HEADERS, END_HEADERS, stream, &post_block(&[])),
            Self::OneByte => {
                [frame(HEADERS, END_HEADERS, stream, &post_block(&[])), frame(DATA, 0, stream, b"x")].concat()
            }
            Self::WithoutWindow | Self::TrickledWindow => {
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_block(&[]))
            }
        }
    }

    /// Returns the frames to send now and then.
    fn go_on(self, stream: u32) -> Vec<u8> {
        match self {
            Self::WithoutBody | Self::OneByte | Self::WithoutWindow => Vec::new(),
            Self::Trickle => frame(DATA, 0, stream, b"x"),
            Self::TrickledWindow => frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes()),
        }
    }
}

/// Clients that stall 100 streams on each of their connections and reconnect when cut, until dropped.
struct Crowd {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Crowd {
    fn new(address: SocketAddr, stall: Stall, connections: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..connections).map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(
                move || while !over.load(Ordering::Relaxed) && Self::stall(address, stall, &over).is_some() {},
            )
        });
        Self { threads: threads.collect(), over }
    }

    /// Stalls as many streams as one connection may have, for some seconds.
    fn stall(address: SocketAddr, stall: Stall, over: &AtomicBool) -> Option<()> {
        use std::io::Write as _;
        let mut client = stall.connect(address);
        let streams: Vec<u32> = (0..100).map(|number| number * 2 + 1).collect();
        client.send(streams.iter().flat_map(|&stream| stall.begin(stream)).collect::<Vec<_>>());
        client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (begun, mut went_on) = (Instant::now(), Instant::now());
        while begun.elapsed() < Duration::from_secs(4) && !over.load(Ordering::Relaxed) {
            // The answer is ignored; a stream that is reset is asked for again on the next connection.
            if client.stream.read(&mut [0; 16 * 1024]).is_ok_and(|read| read == 0) {
                break;
            }
            if went_on.elapsed() >= Duration::from_millis(200) {
                went_on = Instant::now();
                let more: Vec<u8> = streams.iter().flat_map(|&stream| stall.go_on(stream)).collect();
                if client.stream.write_all(&more).is_err() {
                    break;
                }
            }
        }
        Some(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Asks every 20 ms, each time on a new connection, and returns the sorted response times.
fn canaries(address: SocketAddr, time: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < time {
        let asked = Instant::now();
        assert_eq!(get(address, "/canary").status, 200);
        took.push(asked.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    took.sort_unstable();
    took
}

/// Returns the middle one of sorted response times.
fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

/// Returns an upstream whose answer does not fit into a small window.
fn upstream() -> Upstream {
    Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n{}", "x".repeat(20_000)))
}

/// One worker only, because 24 connections would be spread over two.
#[test]
fn streams_that_stall_take_nothing_from_others() {
    for stall in Stall::ALL {
        let upstream = upstream();
        let backsoon = alone(&upstream.url(), "");
        let crowd = Crowd::new(backsoon.address(), stall, 12);
        // Their arrival is work for a while. What is measured is what they take by staying.
        wait("the crowd to be there", || backsoon.metric("backsoon_requests_in_flight", "route=\"web\"") >= 1000.0);
        let took = canaries(backsoon.address(), Duration::from_secs(3));
        // Nobody waited for a connection, and no stream was cut for anybody.
        assert!(*took.last().unwrap() < Duration::from_secs(4), "{stall:?}: {:?}", took.last());
        assert_eq!((backsoon.reached("upstream_connections"), backsoon.reached("upstream_queue")), (0.0, 0.0));
        let evictions = format!("upstream=\"{}\"", upstream.url());
        assert_eq!(backsoon.metric("backsoon_upstream_evictions_total", &evictions), 0.0, "{stall:?}");
        drop(crowd);
        settled(&backsoon);
    }
}

/// When an upstream takes few connections, stalled requests give way.
#[test]
fn who_stalls_gives_way_to_who_waits() {
    for stall in [Stall::OneByte, Stall::Trickle, Stall::WithoutWindow, Stall::TrickledWindow] {
        let upstream = upstream();
        let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 32\n");
        let alone = median(&canaries(backsoon.address(), Duration::from_millis(500)));
        let crowd = Crowd::new(backsoon.address(), stall, 6);
        wait("all connections to be taken", || backsoon.upstream_connections(&upstream.url()) >= 32.0);
        let took = canaries(backsoon.address(), Duration::from_secs(5));
        assert!(*took.last().unwrap() < Duration::from_secs(4), "{stall:?}: {:?}", took.last());
        // Each client holds more than its share, so nobody has to wait until its patience ends.
        assert!(median(&took) < Duration::from_millis(500) + 10 * alone, "{stall:?}: {:?}, {alone:?}", median(&took));
        let evictions =
            backsoon.metric("backsoon_upstream_evictions_total", &format!("upstream=\"{}\"", upstream.url()));
        assert!(evictions > 0.0, "{stall:?}");
        drop(crowd);
        settled(&backsoon);
    }
}

/// Stalled HTTP/1 requests take a connection each.
#[test]
fn a_crowd_of_stalled_http_1_clients_gives_way() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.head() {
            let length = if head.starts_with("GET /large") { 20_000_000 } else { 2 };
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
            connection.send("x".repeat(length));
        }
    });
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 8\n");
    let ask = |request: &str| {
        let mut client = Client::connect(backsoon.address());
        client.send(request);
        client
    };
    let clients: Vec<_> = (0..10)
        .flat_map(|_| {
            [
                ask("GET /large HTTP/1.1\r\nhost: a\r\n\r\n"),
                ask("POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nx"),
            ]
        })
        .collect();
    wait("all connections to be taken", || backsoon.upstream_connections(&upstream.url()) == 8.0);
    let took = canaries(backsoon.address(), Duration::from_secs(1));
    assert!(*took.last().unwrap() < Duration::from_secs(4), "{:?}", took.last());
    drop(clients);
}

/// While nobody waits, a client may be as slow as it likes, within the time-outs.
#[test]
fn what_is_stalled_is_not_cut_while_nobody_waits() {
    let upstream = upstream();
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 3\n");
    let mut slow = Client::connect(backsoon.address());
    slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx");
    let mut two = Frames::connect(backsoon.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    two.send(Stall::WithoutWindow.begin(1));
    canaries(backsoon.address(), Duration::from_millis(2500));
    slow.send("y");
    assert_eq!(slow.response().status, 200);
    two.send(frame(WINDOW_UPDATE, 0, 1, &20_000_u32.to_be_bytes()));
    let mut left = 20_000;
    while left > 0 {
        left -= two.until(DATA, 1).unwrap().payload.len();
    }
    assert_eq!(backsoon.metric("backsoon_upstream_evictions_total", &format!("upstream=\"{}\"", upstream.url())), 0.0);
}

/// Only a body proves a request: most of those that sent none get no connection to the upstream.
#[test]
fn few_requests_go_ahead_of_their_body() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send((0..100).flat_map(|number| Stall::WithoutBody.begin(number * 2 + 1)).collect::<Vec<_>>());
    wait("all to be under way", || backsoon.in_flight() == 100.0);
    let mut first = next(&connections);
    assert!(first.head().unwrap().starts_with("POST"), "a conversation may begin with the upstream");
    assert_eq!((upstream.connections(), backsoon.upstream_connections(&upstream.url())), (1, 1.0));
    let mut plain: Vec<_> = (0..70)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
            client
        })
        .collect();
    wait("all to be under way", || backsoon.in_flight() == 170.0);
    wait("some to go ahead", || backsoon.upstream_connections(&upstream.url()) == 64.0);
    // The body of one that waits arrives: so does the request.
    plain.push(Client::connect(backsoon.address()));
    let last = plain.last_mut().unwrap();
    last.send("POST /last HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
    wait("all to be under way", || backsoon.in_flight() == 171.0);
    last.send("hello");
    wait("the request", || backsoon.upstream_connections(&upstream.url()) == 65.0);
    // The upstream may have taken its connections in any order.
    let mut all: Vec<_> = (1..65).map(|_| next(&connections)).collect();
    let heads: Vec<_> = all.iter_mut().map(|connection| connection.head().unwrap()).collect();
    let place = heads.iter().position(|head| head.starts_with("POST /last")).unwrap();
    let mut connection = all.swap_remove(place);
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(last.response().body, "ok");
}

#[test]
fn many_long_polls_of_one_worker_are_not_touched() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut clients: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send("GET /poll HTTP/1.1\r\nhost: a\r\n\r\n");
            client
        })
        .collect();
    let mut polls: Vec<_> = (0..1000).map(|_| next(&connections)).collect();
    let crowd = Crowd::new(backsoon.address(), Stall::WithoutBody, 4);
    wait("the crowd", || backsoon.in_flight() >= 1300.0);
    for poll in &mut polls {
        assert!(poll.head().unwrap().starts_with("GET /poll"));
        poll.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnews");
    }
    assert!(clients.iter_mut().all(|client| client.response().body == "news"));
    drop(crowd);
}

/// With more clients than connections, each gets its answer in turn.
#[test]
fn a_crowd_waits_in_order_while_the_upstream_answers() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let upstream = Upstream::handling(move |connection| {
        while connection.head().is_some() {
            thread::sleep(Duration::from_millis(12));
            count.fetch_add(1, Ordering::Relaxed);
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let limits = "[limits]\nupstream_connections = 2\nconnect = \"3s\"\n";
    let backsoon = alone(&upstream.url(), limits);
    let mut clients: Vec<_> = (0..600).map(|_| Client::connect(backsoon.address())).collect();
    let begun = Instant::now();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    // In order, apart from what two connections do at the same time.
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().status, 200);
        assert!(served.load(Ordering::Relaxed) + 2 >= number, "{number}");
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "all of them in less than one may wait in vain");
    assert_eq!((backsoon.reached("upstream_connections"), upstream.connections()), (0.0, 2));
}

/// Streams of one HTTP/2 connection to an upstream share its window, which unread streams must not use up.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_upstream_goes_on_for_others() {
    let upstream = TwoUpstream::handling(|_, mut respond| async move {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let _ = write(&mut stream, Bytes::from("x".repeat(1_000_000)), true).await;
    })
    .await;
    let backsoon = tokio::task::block_in_place(|| {
        let config = format!("workers = 1\n{LISTEN}[routes.web]\nupstream = \"{}\"\nhttp2 = true\n", upstream.url());
        Backsoon::start(&config)
    });
    let mut stalled = Two::with(backsoon.address(), h2::client::Builder::new().initial_window_size(0)).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let (response, _) = stalled.begin(head("GET", "/"), true).await;
        waiting.push(patiently(response).await.unwrap());
    }
    let mut other = Two::connect(backsoon.address()).await;
    let answer = other.get("/").await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 1_000_000));
}
