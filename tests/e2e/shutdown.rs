//! The end: requests in flight are finished, no client loses a request, and the end comes in time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::Request;

use crate::load::{Failure, Http2, block_on, exchange};
use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, UpstreamConnection, get, wait};

#[test]
fn sigterm_under_load_loses_no_request_of_a_client_that_leaves_when_it_is_told_to() {
    let upstream = Upstream::handling(varied);
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"1s\"\n");
    let load = &Load::new(backsoon.address(), Told::Leave);
    thread::scope(|scope| {
        load.keep_alive(scope, 12);
        load.new_connections(scope, 2);
        scope.spawn(|| load.guarded(|| block_on(load.http2(3, 4))));
        load.wait_for(500);
        backsoon.signal("TERM");
        // Load balancers look at readiness, and new clients are still admitted meanwhile.
        wait("readiness to turn", || get(backsoon.admin, "/readyz").status == 503);
        assert_eq!(get(backsoon.address(), "/").status, 200, "not ready, and still serving");
        assert_eq!(get(backsoon.admin, "/livez").status, 200, "not ready, and still alive");
        load.no_new.store(true, Ordering::Relaxed);
    });
    let status = backsoon.wait_for_exit();
    load.tell("SIGTERM with own sockets");
    assert_eq!(status.code(), Some(0));
    assert_eq!(load.left.load(Ordering::Relaxed), 12 + 3, "every kept connection was told to leave");
}

#[test]
fn five_hand_overs_of_the_listening_socket_under_load_lose_no_request() {
    let upstream = Upstream::handling(varied);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "workers = 2\n[[listen]]\naddress = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[limits]\ngrace = \"600ms\"\n[routes.web]\nupstream = \"{}\"\n",
        socket.local_addr().unwrap(),
        upstream.url()
    );
    let mut running = on_socket(&socket, &config);
    let load = &Load::new(socket.local_addr().unwrap(), Told::ComeBack);
    thread::scope(|scope| {
        let _stop = Stop(&load.done);
        load.keep_alive(scope, 24);
        load.new_connections(scope, 12);
        scope.spawn(|| load.guarded(|| block_on(load.http2(3, 4))));
        load.wait_for(300);
        for _ in 0..5 {
            let next = on_socket(&socket, &config);
            running.signal("TERM");
            assert_eq!(running.wait_for_exit().code(), Some(0));
            running = next;
            load.wait_for(100);
        }
    });
    load.tell("five hand-overs");
    assert!(load.left.load(Ordering::Relaxed) >= 5 * (24 + 3), "the clients that stay were told each time");
}

#[test]
fn a_download_and_an_upload_that_are_in_flight_at_sigterm_finish() {
    let upstream = Upstream::handling(streaming);
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"100ms\"\n");
    let (mut download, mut upload) = (Client::connect(backsoon.address()), Client::connect(backsoon.address()));
    download.send("GET /download HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(download.head().starts_with("HTTP/1.1 200"));
    upload.send(format!("PUT /upload HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", PIECES * PIECE));
    upload.send(vec![b'x'; PIECE]);
    wait("both to be in flight", || backsoon.route("web")["in_flight"] == 2);
    backsoon.signal("TERM");
    let began = Instant::now();
    let received = thread::spawn(move || {
        let mut body = vec![0; PIECES * PIECE];
        download.stream.read_exact(&mut body).map(|()| body)
    });
    for _ in 1..PIECES {
        thread::sleep(PACE);
        upload.send(vec![b'x'; PIECE]);
    }
    assert!(began.elapsed() > Duration::from_millis(500), "longer than the grace");
    let answer = upload.response();
    assert_eq!((answer.status, answer.body.as_str()), (200, (PIECES * PIECE).to_string().as_str()));
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(received.join().unwrap().unwrap().iter().all(|&byte| byte == b'y'));
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn who_was_not_told_in_the_answer_that_was_under_way_gets_one_more_request_answered() {
    let upstream = Upstream::handling(streaming);
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"200ms\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET /download HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!client.head().contains("connection: close"), "it was said before anybody knew");
    backsoon.signal("TERM");
    backsoon.wait_for_log("ending: finishing what is in flight; a second signal ends at once");
    client.stream.read_exact(&mut vec![0; PIECES * PIECE]).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = client.try_response().expect("an answer to the request behind the download");
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn what_takes_longer_than_the_drain_time_is_cut_and_the_process_ends() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.byte();
    });
    let mut backsoon = Backsoon::start(&format!(
        "drain = \"1s\"\n{LISTEN}[limits]\ngrace = \"200ms\"\n[routes.web]\nupstream = \"{}\"\n",
        upstream.url()
    ));
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the request to be in flight", || backsoon.route("web")["in_flight"] == 1);
    let began = Instant::now();
    backsoon.signal("TERM");
    let status = backsoon.wait_for_exit();
    let took = began.elapsed();
    assert!(client.is_closed());
    assert_eq!(status.code(), Some(0));
    assert!(took >= Duration::from_millis(1200) && took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_route_that_may_drain_for_longer_does() {
    let upstream = Upstream::handling(streaming);
    let mut backsoon = Backsoon::start(&format!(
        "drain = \"1ms\"\n{LISTEN}[limits]\ngrace = \"1ms\"\n[routes.web]\ndrain = \"20s\"\nupstream = \"{}\"\n",
        upstream.url()
    ));
    let mut client = Client::connect(backsoon.address());
    client.send("GET /download HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    backsoon.signal("TERM");
    client.stream.read_exact(&mut vec![0; PIECES * PIECE]).unwrap();
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.byte();
    });
    let mut backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("the request to be in flight", || backsoon.route("web")["in_flight"] == 1);
    backsoon.signal("TERM");
    backsoon.wait_for_log("ending: finishing what is in flight; a second signal ends at once");
    let began = Instant::now();
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(1), "not the code of an orderly end");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(client.is_closed());
}

#[test]
fn idle_connections_are_closed_within_the_grace_and_do_not_delay_the_end() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"1s\"\n");
    let address = backsoon.address();
    let mut idle: Vec<Client> = (0..20).map(|_| used(address)).collect();
    // Spare connections, as browsers and load balancers keep them.
    idle.extend((0..20).map(|_| Client::connect(address)));
    wait("all to be accepted", || backsoon.metric("backsoon_client_connections", "") >= 40.0);
    let took = block_on(async {
        let http2 = Http2::connect(address).await.unwrap();
        let fine = Request::builder().uri("http://a/").body(()).unwrap();
        assert_eq!(exchange(&http2.sender, fine, None).await.unwrap().status(), 200);
        let began = Instant::now();
        backsoon.signal("TERM");
        http2.ended.await.unwrap().unwrap();
        assert_eq!(backsoon.wait_for_exit().code(), Some(0));
        began.elapsed()
    });
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(15), "{took:?}");
    assert!(idle.iter_mut().all(Client::is_closed));
}

#[test]
fn idle_connections_are_answered_during_the_grace_and_told_to_leave() {
    let upstream = Upstream::ok();
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"3s\"\n");
    let mut clients: Vec<Client> = (0..20).map(|_| used(backsoon.address())).collect();
    clients.extend((0..5).map(|_| Client::connect(backsoon.address())));
    backsoon.signal("TERM");
    backsoon.wait_for_log("ending: finishing what is in flight; a second signal ends at once");
    for client in &mut clients {
        // Its worker may learn of the end a moment after the log.
        wait("the client to be told", || {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let answer = client.response();
            assert_eq!(answer.status, 200);
            answer.field("connection") == Some("close")
        });
        assert!(client.is_closed());
    }
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn ctrl_c_finishes_what_is_in_flight_and_waits_for_nobody_else() {
    let upstream = Upstream::handling(streaming);
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"1m\"\n");
    let idle = (used(backsoon.address()), Client::connect(backsoon.address()));
    let mut client = Client::connect(backsoon.address());
    client.send("GET /download HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    backsoon.signal("INT");
    client.stream.read_exact(&mut vec![0; PIECES * PIECE]).unwrap();
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(idle);
}

#[test]
fn a_tunnel_that_is_opened_during_the_grace_is_still_a_tunnel() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome");
        connection.byte();
    });
    let mut backsoon = Backsoon::before(&upstream.url(), "[limits]\ngrace = \"2s\"\n");
    backsoon.signal("TERM");
    backsoon.wait_for_log("ending: finishing what is in flight; a second signal ends at once");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let head = client.response();
    assert_eq!((head.status, head.field("connection")), (101, Some("upgrade")), "{head:?}");
    let mut welcome = [0; 7];
    client.stream.read_exact(&mut welcome).unwrap();
    assert_eq!(&welcome, b"welcome");
}

/// Returns a keep-alive connection that has served a request.
fn used(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client
}

/// Starts a process with a listening socket passed as systemd passes it.
fn on_socket(socket: &TcpListener, config: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = Command::new("sh");
    // The shell becomes the command, so that its process id is the announced one.
    let exec = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    command.args(["-c", exec, "sh", env!("CARGO_BIN_EXE_backsoon"), "run", "--config"]);
    command.arg(dir.path().join("backsoon.toml"));
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Backsoon::spawn_with_input(dir, command)
}

/// Answers with the target: most requests at once, some after a while, some in pieces.
fn varied(connection: &mut UpstreamConnection) {
    while let Some(head) = connection.request() {
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = target.len();
        if target.ends_with("/slow") {
            thread::sleep(Duration::from_millis(80));
        }
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
        for piece in target.as_bytes().chunks(if target.ends_with("/pieces") { 2 } else { length }) {
            connection.send(piece);
            if piece.len() < length {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Answers `/download` slowly, reads `/upload` slowly and answers with its size, and answers all else at once.
fn streaming(connection: &mut UpstreamConnection) {
    while let Some(head) = connection.head() {
        match head.split(' ').nth(1).unwrap_or_default() {
            "/download" => {
                connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES * PIECE));
                for _ in 0..PIECES {
                    thread::sleep(PACE);
                    connection.send(vec![b'y'; PIECE]);
                }
            }
            "/upload" => {
                let read = (0..PIECES * PIECE).map_while(|_| connection.byte()).count().to_string();
                connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{read}", read.len()));
            }
            _ => connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        }
    }
}

const PIECES: usize = 12;
const PIECE: usize = 64 * 1024;
const PACE: Duration = Duration::from_millis(100);

/// Behaviour of a client that was told to leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Leave,
    ComeBack,
}

/// Clients that count their requests, and fail with the first one that gets no answer.
struct Load {
    address: SocketAddr,
    told: Told,
    answered: AtomicU64,
    left: AtomicU64,
    /// Requests that were returned unprocessed.
    refused: AtomicU64,
    lost: Mutex<Vec<String>>,
    no_new: AtomicBool,
    done: AtomicBool,
}

/// Guard that ends the load, even after a panic.
struct Stop<'l>(&'l AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn new(address: SocketAddr, told: Told) -> Self {
        Self {
            address,
            told,
            answered: AtomicU64::new(0),
            left: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: Mutex::default(),
            no_new: AtomicBool::new(false),
            done: AtomicBool::new(false),
        }
    }

    fn guarded(&self, client: impl FnOnce()) {
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(client));
        if unwound.is_err() {
            self.lose("a client panicked".to_owned());
        }
    }

    fn lose(&self, what: String) {
        self.lost.lock().unwrap().push(what);
    }

    fn goes_on(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }

    /// Waits for this many more answers.
    fn wait_for(&self, more: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        wait("the load to get answers", || self.answered.load(Ordering::Relaxed) >= before + more);
    }

    fn tell(&self, what: &str) {
        let lost = self.lost.lock().unwrap();
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sent = number(&self.answered) + lost.len() as u64;
        println!(
            "{what}: {} of {sent} requests lost; {} connections told to leave, {} HTTP/2 requests given back unseen",
            lost.len(),
            number(&self.left),
            number(&self.refused)
        );
        assert!(lost.is_empty(), "{what}: lost {}: {:#?}", lost.len(), &lost[..lost.len().min(10)]);
    }

    /// Starts clients that keep their connection as long as they may.
    fn keep_alive<'s>(&'s self, scope: &'s thread::Scope<'s, '_>, clients: usize) {
        for client in 0..clients {
            scope.spawn(move || self.guarded(|| while self.one_connection(client) && self.goes_on() {}));
        }
    }

    /// Sends requests until told to leave. Returns false if the client is not to come back.
    fn one_connection(&self, id: usize) -> bool {
        let mut client = Client::connect(self.address);
        for turn in 0.. {
            if !self.goes_on() {
                return false;
            }
            let target = target(id, turn);
            client.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
            let Some(answer) = client.try_response() else {
                self.lose(format!("keep-alive client {id}: no answer to request {turn} of its connection"));
                return self.told == Told::ComeBack;
            };
            assert_eq!((answer.status, &answer.body), (200, &target));
            self.answered.fetch_add(1, Ordering::Relaxed);
            if answer.field("connection") == Some("close") {
                self.left.fetch_add(1, Ordering::Relaxed);
                return self.told == Told::ComeBack;
            }
            thread::sleep(PAUSE);
        }
        false
    }

    /// Starts clients with a connection for each request.
    fn new_connections<'s>(&'s self, scope: &'s thread::Scope<'s, '_>, clients: usize) {
        for client in 0..clients {
            scope.spawn(move || {
                self.guarded(|| {
                    for turn in 0.. {
                        if !self.goes_on() || self.no_new.load(Ordering::Relaxed) {
                            return;
                        }
                        self.new_connection(100 + client, turn);
                        thread::sleep(PAUSE);
                    }
                });
            });
        }
    }

    fn new_connection(&self, id: usize, turn: usize) {
        let target = target(id, turn);
        let stream = match std::net::TcpStream::connect(self.address) {
            Ok(stream) => stream,
            Err(error) => return self.lose(format!("new connection: {error}")),
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream: std::io::BufReader::new(stream) };
        let _ = write!(client.stream.get_mut(), "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        match client.try_response() {
            Some(answer) => {
                assert_eq!((answer.status, answer.body), (200, target));
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            None => self.lose(format!("new connection: no answer to {target}")),
        }
    }

    /// Runs HTTP/2 connections, each with some clients.
    async fn http2(&self, connections: usize, clients: usize) {
        let connections = (0..connections).map(async |connection| {
            loop {
                let http2 = Http2::connect(self.address).await.unwrap();
                let clients = (0..clients).map(|client| self.http2_client(&http2, 1000 + 100 * connection + client));
                crate::load::for_all(clients.collect()).await;
                if self.goes_on() {
                    self.left.fetch_add(1, Ordering::Relaxed);
                }
                if self.told == Told::Leave || !self.goes_on() {
                    return;
                }
            }
        });
        crate::load::for_all(connections.collect()).await;
    }

    async fn http2_client(&self, connection: &Http2, id: usize) {
        for turn in 0.. {
            if !self.goes_on() {
                return;
            }
            let target = target(id, turn);
            let request = Request::builder().uri(format!("http://a{target}")).body(()).unwrap();
            match exchange(&connection.sender, request, None).await {
                Ok(response) => {
                    assert_eq!((response.status().as_u16(), response.body().as_slice()), (200, target.as_bytes()));
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(Failure::GoneAway) => return,
                Err(Failure::Refused) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(Failure::Lost(error)) => return self.lose(format!("HTTP/2 client {id}, request {turn}: {error}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn target(id: usize, turn: usize) -> String {
    let how = match turn % 20 {
        7 => "slow",
        13 => "pieces",
        _ => "fast",
    };
    format!("/{id}/{turn}/{how}")
}

/// Pause between two requests of one client.
const PAUSE: Duration = Duration::from_millis(2);
