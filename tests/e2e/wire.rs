//! Shared parts of the HTTP/1 tests beyond [`support`](crate::support): shapes of config, bulk, hostile ways to end a
//! stream.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, UpstreamConnection, wait};

/// Starts a proxy with one worker, so that every request finds the same upstream connections, and one route `web` for
/// everything.
pub fn alone(upstream: &str, more: &str) -> Backsoon {
    Backsoon::start(&format!("workers = 1\n{LISTEN}[routes.web]\nupstream = \"{upstream}\"\n{more}"))
}

/// Settings with which few pages are rendered after the start. They would be taken for memory that requests hold.
pub const FEW_PAGES: &str = "[page]\nlanguages = \"en\"\nerrors = false\n";

/// Like [`alone`], with several upstreams.
pub fn balanced(upstreams: &[&str], more: &str) -> Backsoon {
    Backsoon::start(&format!("workers = 1\n{LISTEN}[routes.web]\nupstream = {upstreams:?}\n{more}"))
}

/// Readings that the harness's own types do not offer.
pub trait Counts {
    /// Returns how often a limit was reached.
    fn reached(&self, limit: &str) -> f64;
    fn in_flight(&self) -> f64;
    fn client_connections(&self) -> f64;
    fn upstream_connections(&self, upstream: &str) -> f64;
    /// Returns the processor time used so far, in ticks of 10 ms.
    fn ticks(&self) -> u64;
}

impl Counts for Backsoon {
    fn reached(&self, limit: &str) -> f64 {
        self.metric("backsoon_limit_reached_total", &format!("limit=\"{limit}\""))
    }

    fn in_flight(&self) -> f64 {
        self.metric("backsoon_requests_in_flight", "route=\"web\"")
    }

    fn client_connections(&self) -> f64 {
        self.metric("backsoon_client_connections", "")
    }

    fn upstream_connections(&self, upstream: &str) -> f64 {
        self.metric("backsoon_upstream_connections", &format!("upstream=\"{upstream}\""))
    }

    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

/// Waits until no request and no client connection is left.
pub fn settled(backsoon: &Backsoon) {
    wait("requests and connections to end", || backsoon.in_flight() == 0.0 && backsoon.client_connections() == 0.0);
}

/// Starts an upstream that hands each connection to the test.
pub fn observed() -> (Upstream, mpsc::Receiver<UpstreamConnection>) {
    let (send, receive) = mpsc::channel();
    let send = Mutex::new(send);
    let upstream = Upstream::taking(move |connection| drop(send.lock().unwrap().send(connection)));
    (upstream, receive)
}

/// Returns the next connection of an [`observed`] upstream.
pub fn next(connections: &mpsc::Receiver<UpstreamConnection>) -> UpstreamConnection {
    let connection = connections.recv_timeout(PATIENCE).expect("a connection to the upstream");
    connection.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

/// Returns true if the other side has closed, by an end or a reset. Bytes before it are discarded.
pub fn ended(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            }
        }
    }
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Opens a listener whose backlog is full: connecting to it gets no answer, like an address that drops packets.
pub struct Blackhole {
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

impl Blackhole {
    pub fn new() -> Self {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        // One more than fits: the last stays half open.
        for _ in 0..4 {
            let queue = socket();
            queue.set_nonblocking(true).unwrap();
            let _ = queue.connect(&address.into());
            queued.push(queue);
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// Returns everything a client can read after it has sent `bytes`: from the first byte until nothing has come for
/// `quiet`, or to the end of the stream.
pub fn exchange(address: SocketAddr, bytes: &[u8], quiet: Duration) -> String {
    let mut client = Client::connect(address);
    client.send(bytes);
    let mut read = client.stream.fill_buf().map(<[u8]>::to_vec).unwrap_or_default();
    client.stream.consume(read.len());
    client.stream.get_ref().set_read_timeout(Some(quiet)).unwrap();
    let _ = client.stream.read_to_end(&mut read);
    String::from_utf8_lossy(&read).into_owned()
}

/// Returns the number of responses in the bytes read.
pub fn statuses(read: &str) -> Vec<u16> {
    let lines = read.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.split(' ').nth(1)?.get(..3)?.parse().ok()).collect()
}

/// Reader that takes `rate` bytes a second until told to read at full speed, and counts.
pub struct SlowReader {
    pub read: Arc<AtomicU64>,
    pub hurry: mpsc::Sender<()>,
    thread: thread::JoinHandle<u64>,
}

impl SlowReader {
    pub fn start(mut stream: TcpStream) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let (hurry, hurried) = mpsc::channel();
        let counted = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            let mut fast = false;
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return counted.load(Ordering::Relaxed),
                    Ok(count) => counted.fetch_add(count as u64, Ordering::Relaxed),
                };
                fast = fast || hurried.recv_timeout(Duration::from_millis(20)).is_ok();
            }
        });
        Self { read, hurry, thread }
    }

    pub fn count(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub fn finish(self) -> u64 {
        let _ = self.hurry.send(());
        self.thread.join().unwrap()
    }
}

/// Writes `size` bytes into a stream from a thread, and shares the count of bytes written so far.
pub fn pour(mut stream: TcpStream, size: u64) -> Arc<AtomicU64> {
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    thread::spawn(move || {
        let block = vec![b'x'; 256 * 1024];
        while counted.load(Ordering::Relaxed) < size {
            let rest = usize::try_from(size - counted.load(Ordering::Relaxed)).unwrap();
            match stream.write(&block[..rest.min(block.len())]) {
                Ok(count) => counted.fetch_add(count as u64, Ordering::Relaxed),
                Err(_) => return,
            };
        }
        // The other direction stays open.
        let _ = stream.flush();
    });
    written
}

/// Waits until a count has not moved for a while: all buffers between the two ends are full.
pub fn stands_still(count: &AtomicU64) -> u64 {
    let mut last = (count.load(Ordering::Relaxed), Instant::now());
    wait("the flow to stand still", || {
        let now = count.load(Ordering::Relaxed);
        if now != last.0 || now == 0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(300)
    });
    last.0
}

/// Ends the sending direction only.
pub fn half_close(client: &Client) {
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
}

/// Returns true if a command can be run.
pub fn has(command: &str) -> bool {
    Command::new(command).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Reports on the real standard error what was not tested; captured output would be hidden for a passing test.
pub fn skipped(claim: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {claim}: {reason}");
}
