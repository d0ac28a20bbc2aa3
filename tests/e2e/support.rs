//! Shared parts of the tests: a running backsoon with real files, upstreams that remember every byte, raw clients.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

/// Time beyond anything on a busy machine; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Running `backsoon run`. Dropping it kills the process and removes its directory.
pub struct Backsoon {
    pub dir: tempfile::TempDir,
    pub child: Child,
    /// Addresses of the listeners, in the order of the config.
    pub listen: Vec<SocketAddr>,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// Beginning of every test's config: one listener and the admin listener, on ports that the system chooses.
pub const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n";

impl Backsoon {
    /// Starts a proxy with one route `web` for everything, to `upstream` (a URL), followed by more config.
    pub fn before(upstream: &str, more: &str) -> Self {
        Self::start(&format!("{LISTEN}[routes.web]\nupstream = \"{upstream}\"\n{more}"))
    }

    /// Starts a proxy with a config and without a flag file.
    pub fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, config)
    }

    /// Starts a proxy in a directory that the test has prepared.
    pub fn start_in(dir: tempfile::TempDir, config: &str) -> Self {
        std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(["run", "--config"]).arg(dir.path().join("backsoon.toml"));
        Self::spawn(dir, command)
    }

    /// Starts a prepared command that runs backsoon with its files in `dir`.
    pub fn spawn(dir: tempfile::TempDir, mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_with_input(dir, command)
    }

    /// Starts a prepared command with a prepared standard input.
    pub fn spawn_with_input(dir: tempfile::TempDir, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line)));
        let mut running = Self { dir, child, listen: Vec::new(), admin: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        running.wait_for_log("started");
        let addresses = |message: &str| -> Vec<SocketAddr> {
            let found = running.log_lines().into_iter().filter(|line| line["message"] == message);
            found.filter_map(|line| line["address"].as_str()?.parse().ok()).collect()
        };
        (running.listen, running.admin) =
            (addresses("listening"), addresses("admin listener").first().copied().unwrap_or(running.admin));
        running
    }

    pub fn address(&self) -> SocketAddr {
        self.listen[0]
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces the flag file by rename and waits until that content is live.
    pub fn flag(&self, text: &str) {
        replace(&self.path("maintenance.toml"), text);
        self.wait_for_file("maintenance.toml", text);
    }

    /// Lifts every flag. An empty file would be refused.
    pub fn unflag(&self) {
        self.flag("[routes]\n");
    }

    /// Replaces the config by rename and waits until that content was read.
    pub fn config(&self, text: &str) {
        replace(&self.path("backsoon.toml"), text);
        self.wait_for_file("backsoon.toml", text);
    }

    /// Waits until `/status` shows a file with this content, and no route is draining with nothing in flight.
    pub fn wait_for_file(&self, name: &str, text: &str) {
        let hash = sha256(text.as_bytes());
        wait(&format!("{name} to be read"), || {
            let status = self.status();
            let files = status["files"].as_array().unwrap();
            let routes = status["routes"].as_array().unwrap();
            files.iter().any(|file| file["path"].as_str().unwrap().ends_with(name) && file["hash"] == hash.as_str())
                && !routes.iter().any(|route| route["phase"] == "draining" && route["in_flight"] == 0)
        });
    }

    /// Asks for `GET /status` and parses the answer.
    pub fn status(&self) -> Value {
        let response = get(self.admin, "/status");
        serde_json::from_str(&response.body).unwrap()
    }

    /// Returns a route in `/status`.
    pub fn route(&self, name: &str) -> Value {
        let status = self.status();
        let routes = status["routes"].as_array().unwrap();
        routes.iter().find(|route| route["name"] == name).unwrap().clone()
    }

    /// Returns the first file with a role in `/status`.
    pub fn file(&self, role: &str) -> Value {
        let status = self.status();
        let files = status["files"].as_array().unwrap();
        files.iter().find(|file| file["role"] == role).unwrap().clone()
    }

    /// Returns a metric with exactly these labels (the text between the braces), or 0 if it is absent.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = get(self.admin, "/metrics").body;
        let wanted = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") };
        let line = text.lines().find_map(|line| line.strip_prefix(&wanted)?.strip_prefix(' ')).unwrap_or("0");
        line.parse().unwrap()
    }

    /// Returns the log so far: the lines that are JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log.lock().unwrap().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the log so far, as written.
    pub fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a log line with this message.
    pub fn wait_for_log(&mut self, message: &str) -> Value {
        let began = Instant::now();
        loop {
            if let Some(line) = self.log_lines().into_iter().find(|line| line["message"] == message) {
                return line;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                thread::sleep(Duration::from_millis(50));
                panic!("backsoon ended ({status}) before it said {message:?}:\n{}", self.log_text());
            }
            assert!(began.elapsed() < PATIENCE, "no {message:?} in the log:\n{}", self.log_text());
            thread::sleep(until_next_look(began));
        }
    }

    /// Sends a signal by name: TERM, HUP, INT.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of the process.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait("backsoon to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Waits until the page of a host's closed route exists in every language and coding.
    pub fn finished(&self, host: &str) {
        let host = if host.is_empty() { "a" } else { host };
        let head = format!(
            "GET / HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\naccept-encoding: br\r\nconnection: close\r\n\r\n"
        );
        wait_for_page("the page to be finished", || {
            let mut client = Client::connect(self.address());
            client.send(&head);
            client.head().contains("content-encoding: br")
        });
    }

    /// Returns the number of descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Returns the resident memory that the process has allocated, in KiB. Pages of its program do not count: the first
    /// run of the code loads a dozen megabytes of them in a debug build.
    ///
    /// The thread that finishes pages behind their publication is waited for: what it takes is not the requests'.
    pub fn resident(&self) -> u64 {
        let mut before = None;
        wait("the pages to be finished", || {
            let now = self.finishing();
            let rests = now.is_some() && before == now;
            before = now;
            rests
        });
        self.resident_now()
    }

    /// Returns the same, whatever is being finished: where flags change all the time, that never ends.
    pub fn resident_now(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// Returns the processor time of the thread that finishes pages, 0 if there is none; `None` if it works.
    fn finishing(&self) -> Option<u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        let read =
            |thread: &std::path::Path, name: &str| std::fs::read_to_string(thread.join(name)).unwrap_or_default();
        let mut time = 0;
        for thread in threads.map(|thread| thread.path()).filter(|thread| read(thread, "comm") == "finisher\n") {
            if !read(&thread, "stat").contains(") S ") {
                return None;
            }
            time += read(&thread, "schedstat").split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
        }
        Some(time)
    }

    /// Returns the names of the process's threads.
    pub fn threads(&self) -> Vec<String> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |thread: std::path::PathBuf| std::fs::read_to_string(thread.join("comm")).ok();
        threads.flatten().filter_map(|thread| name(thread.path())).map(|name| name.trim().to_owned()).collect()
    }

    /// Returns how often the process's threads have gone to sleep.
    pub fn wakeups(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let sleeps = |thread: std::path::PathBuf| {
            let status = std::fs::read_to_string(thread.join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        threads.flatten().filter_map(|thread| sleeps(thread.path())).sum()
    }
}

impl Drop for Backsoon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- backsoon's log\n{}", self.log_text());
        }
    }
}

/// Runs a command to its end, and returns its exit code and its standard error.
pub fn run_to_end(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let printed = thread::spawn(move || {
        let mut printed = String::new();
        let _ = stderr.read_to_string(&mut printed);
        printed
    });
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() < PATIENCE => thread::sleep(until_next_look(began)),
            None => {
                let _ = child.kill();
                panic!("it did not end:\n{}", printed.join().unwrap());
            }
        }
    };
    (status.code(), printed.join().unwrap())
}

/// Waits for a condition.
pub fn wait(what: &str, condition: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, condition);
}

/// Waits until a page is finished or tried. The thread that does it leaves the processor to all others, so that it takes
/// long where others keep it busy.
pub fn wait_for_page(what: &str, condition: impl FnMut() -> bool) {
    wait_within(5 * PATIENCE, what, condition);
}

fn wait_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < patience, "waited in vain for {what}");
        thread::sleep(until_next_look(began));
    }
}

/// Asks until a condition holds, without a pause that would show in how much is asked.
pub fn ask_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "asked in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns how long to sleep between two looks: the longer something takes, the less it matters to see it at once.
/// Looking all the time would take the processor from what is waited for, and from the tests beside.
fn until_next_look(began: Instant) -> Duration {
    (began.elapsed() / 16).clamp(Duration::from_millis(1), Duration::from_millis(20))
}

/// Writes a file beside and renames it into place, as a careful writer does.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Response as received over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Status line and fields, as received.
    pub head: String,
    pub body: String,
}

impl Response {
    /// Returns a field's value, by its lowercase name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Sends a `GET` on a new connection.
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"))
}

/// Sends bytes on a new connection and reads one response.
pub fn request(address: SocketAddr, bytes: &str) -> Response {
    let mut client = Client::connect(address);
    client.send(bytes);
    client.response()
}

/// Raises the limit of descriptors to enough for thousands of clients, on both sides.
pub fn raise_the_limit_of_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(20_000, |maximum| maximum.min(20_000));
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    }
}

/// Raw HTTP/1 client.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects from 127.0.0.`last`.
    pub fn from(last: u8, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends, and ignores a connection that the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Reads a response's head.
    pub fn head(&mut self) -> String {
        self.try_head().expect("a response head")
    }

    /// Reads a response's head. Returns `None` at the end of the stream.
    pub fn try_head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let mut line = Vec::new();
            let read = self.stream.read_until(b'\n', &mut line).ok()?;
            if read == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            if line == "\r\n" {
                return Some(head);
            }
            head.push_str(&line);
        }
    }

    /// Reads a response with its body (by `Content-Length`, chunked, or to the end).
    pub fn response(&mut self) -> Response {
        self.try_response().expect("a response")
    }

    /// Reads a response with its body. Returns `None` if the connection ends first.
    pub fn try_response(&mut self) -> Option<Response> {
        let head = self.try_head()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut response = Response { status, head, body: String::new() };
        let mut body = Vec::new();
        if status == 101 || status == 204 || status == 304 || status == 100 {
            return Some(response);
        } else if let Some(length) = response.field("content-length") {
            body.resize(length.parse().ok()?, 0);
            self.stream.read_exact(&mut body).ok()?;
        } else if response.field("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line).ok()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk).ok()?;
                body.extend(chunk);
                if size == 0 {
                    // Trailers, if there are any.
                    self.try_head()?;
                    break;
                }
                self.stream.read_line(&mut String::new()).ok()?;
            }
        } else {
            self.stream.read_to_end(&mut body).ok()?;
        }
        response.body = String::from_utf8_lossy(&body).into_owned();
        Some(response)
    }

    /// Reads and discards to the end. Returns true if the other side has closed.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}

/// Upstream that does exactly as the test says, and remembers every byte it receives.
#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    connections: Arc<Mutex<usize>>,
}

impl Upstream {
    /// Answers every request, on connections that stay open, with these bytes. Bodies are read by `Content-Length`.
    pub fn answering(response: &str) -> Self {
        let response = response.to_owned();
        Self::handling(move |connection| {
            while connection.request().is_some() {
                connection.send(response.as_bytes());
            }
        })
    }

    /// Answers `200` with a short body.
    pub fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
    }

    /// Passes every connection to `handle`, in a thread of its own.
    pub fn handling(handle: impl Fn(&mut UpstreamConnection) + Send + Sync + 'static) -> Self {
        Self::taking(move |mut connection| handle(&mut connection))
    }

    /// Gives every connection away to `handle`, in a thread of its own.
    pub fn taking(handle: impl Fn(UpstreamConnection) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), handle)
    }

    /// Answers like [`Upstream::ok`], on a socket that the test has bound.
    pub fn listening(listener: TcpListener) -> Self {
        Self::on(listener, |mut connection| {
            while connection.request().is_some() {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
            }
        })
    }

    fn on(listener: TcpListener, handle: impl Fn(UpstreamConnection) + Send + Sync + 'static) -> Self {
        let upstream =
            Self { address: listener.local_addr().unwrap(), seen: Arc::default(), connections: Arc::default() };
        let (handle, shared) = (Arc::new(handle), upstream.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *shared.connections.lock().unwrap() += 1;
                let (handle, seen) = (Arc::clone(&handle), Arc::clone(&shared.seen));
                thread::spawn(move || handle(UpstreamConnection { stream, seen, ahead: VecDeque::new() }));
            }
        });
        upstream
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns every byte received, over all connections.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen_bytes()).into_owned()
    }

    /// Like [`Upstream::seen`], for bytes that need not be text.
    pub fn seen_bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// Forgets all bytes received.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }
}

/// One connection to an [`Upstream`].
pub struct UpstreamConnection {
    pub stream: TcpStream,
    seen: Arc<Mutex<Vec<u8>>>,
    ahead: VecDeque<u8>,
}

impl UpstreamConnection {
    /// Reads a request head. Returns `None` at the end of the stream.
    pub fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte()?);
        }
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// Reads a request with a body by `Content-Length` or chunked, and returns its head.
    pub fn request(&mut self) -> Option<String> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        if let Some(length) = lower.lines().find_map(|line| line.strip_prefix("content-length:")) {
            for _ in 0..length.trim().parse::<usize>().unwrap() {
                self.byte()?;
            }
        } else if lower.contains("transfer-encoding: chunked") {
            let mut tail = Vec::new();
            while !tail.ends_with(b"0\r\n\r\n") {
                tail.push(self.byte()?);
            }
        }
        Some(head)
    }

    /// Reads one byte. Returns `None` at the end of the stream.
    pub fn byte(&mut self) -> Option<u8> {
        if self.ahead.is_empty() {
            let mut buffer = [0; 16 * 1024];
            let read = self.stream.read(&mut buffer).ok().filter(|&read| read > 0)?;
            self.seen.lock().unwrap().extend(&buffer[..read]);
            self.ahead.extend(&buffer[..read]);
        }
        self.ahead.pop_front()
    }

    /// Reads a line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.byte().expect("a line"));
        }
        line.truncate(line.len() - 2);
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Returns the number of bytes received beyond those that were read.
    pub fn buffered(&self) -> u64 {
        self.ahead.len() as u64
    }

    /// Sends, and ignores a connection that the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }
}
