//! Time from `put` at a NATS server until the last of many replicas answers by it.
//!
//! `cargo run --release -p fleet -- BACKSOON NATS-SERVER [REPLICAS] [EDITS] [MILLISECONDS]`: everything runs on this
//! machine, and each edit closes or opens a route, this long after the one before. Every replica is asked until it answers
//! as the edit says, one request after the other. The load average stands beside, since a machine that is busy with other
//! things adds its own.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Process that ends with this program.
struct Running(Child);

impl Running {
    /// Returns its CPU time so far, in the ticks of 10 ms that the system tells.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks =
            after.split_ascii_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connection of a NATS client that only publishes and reads answers.
struct Client(BufReader<TcpStream>);

/// Connection to a replica that stays open.
struct Visitor(BufReader<TcpStream>);

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let (Some(backsoon), Some(server)) = (words.next(), words.next()) else {
        return Err("usage: fleet BACKSOON NATS-SERVER [REPLICAS] [EDITS] [MILLISECONDS]".into());
    };
    let replicas: usize = words.next().map_or(Ok(20), |word| word.parse())?;
    let edits: usize = words.next().map_or(Ok(100), |word| word.parse())?;
    let pause = Duration::from_millis(words.next().map_or(Ok(1000), |word| word.parse())?);
    let dir = std::env::temp_dir().join(format!("backsoon-fleet-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, (&backsoon, &server), replicas, (edits, pause));
    // What is left there is of no use.
    let _ = fs::remove_dir_all(&dir);
    let (mut first, mut last, cpu) = measured?;
    println!("{replicas} replicas, {edits} edits, {} ms between them, load average {}", pause.as_millis(), load());
    println!("CPU time of a replica for an edit: {:.1} ms", cpu.as_secs_f64() * 1e3 / (replicas * edits) as f64);
    print("first replica", &mut first);
    print("last replica", &mut last);
    Ok(())
}

/// Returns the times until the first and until the last replica went by each edit, and the CPU time of all.
fn measure(
    dir: &Path,
    (backsoon, server): (&str, &str),
    replicas: usize,
    (edits, pause): (usize, Duration),
) -> Outcome<(Vec<Duration>, Vec<Duration>, Duration)> {
    let (_nats, nats) = start_nats(dir, server)?;
    let mut client = Client::connect(nats)?;
    client.ask(
        "$JS.API.STREAM.CREATE.KV_backsoon",
        r#"{"name":"KV_backsoon","subjects":["$KV.backsoon.>"],"max_msgs_per_subject":16,"storage":"file","num_replicas":1}"#,
    )?;
    client.put(&text(0))?;
    let upstream = start_upstream()?;
    let started: Vec<_> =
        (0..replicas).map(|at| start(dir, at, backsoon, (nats, upstream))).collect::<Result<_, _>>()?;
    let mut visitors = started.iter().map(|(_, address)| Visitor::connect(*address)).collect::<Result<Vec<_>, _>>()?;
    for visitor in &mut visitors {
        let begun = Instant::now();
        while visitor.status()? != 200 {
            patient(begun)?;
        }
    }
    let spent = || started.iter().map(|(running, _)| running.cpu()).sum::<Duration>();
    let (mut first, mut last, before) = (Vec::new(), Vec::new(), spent());
    for edit in 1..=edits {
        // A replica at rest, as it is when an edit comes.
        thread::sleep(pause);
        let wanted = if edit % 2 == 1 { 503 } else { 200 };
        let put = Instant::now();
        client.put(&text(edit))?;
        let mut waiting: Vec<usize> = (0..visitors.len()).collect();
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for at in waiting {
                if visitors[at].status()? == wanted {
                    if first.len() < edit {
                        first.push(put.elapsed());
                    }
                } else {
                    still.push(at);
                }
            }
            waiting = still;
            patient(put)?;
            thread::sleep(ROUND);
        }
        last.push(put.elapsed());
    }
    Ok((first, last, spent().saturating_sub(before)))
}

/// Returns the flags after an edit: closed after an odd one.
fn text(edit: usize) -> String {
    let flag = if edit % 2 == 1 { "web = \"offline\"\n" } else { "" };
    format!("# edit {edit}\n[routes]\n{flag}")
}

fn patient(since: Instant) -> Outcome<()> {
    if since.elapsed() > PATIENCE { Err("a replica does not go by an edit".into()) } else { Ok(()) }
}

fn start_nats(dir: &Path, program: &str) -> Outcome<(Running, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = dir.join("nats.conf");
    let store = dir.join("store");
    fs::write(&config, format!("listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\n", store.display()))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn()?);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        patient(begun)?;
        thread::sleep(ROUND);
    }
    Ok((running, address))
}

/// Starts an upstream that answers 200 to everything.
fn start_upstream() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        line.clear();
    }
    Ok(())
}

/// Starts a replica, and waits until it listens.
fn start(
    dir: &Path,
    at: usize,
    program: &str,
    (nats, upstream): (SocketAddr, SocketAddr),
) -> Outcome<(Running, SocketAddr)> {
    let place: PathBuf = dir.join(format!("replica-{at}"));
    fs::create_dir_all(&place)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = format!(
        "workers = 1\n[[listen]]\naddress = \"{address}\"\n[routes.web]\nupstream = \"http://{upstream}\"\n\
         [fleet]\nnats = \"nats://{nats}\"\nname = \"replica-{at}\"\n"
    );
    fs::write(place.join("backsoon.toml"), config)?;
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(place.join("backsoon.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(fs::File::create(place.join("log"))?));
    let running = Running(command.spawn()?);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        patient(begun)?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok((running, address))
}

impl Client {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self(BufReader::new(stream));
        client.line()?;
        client.0.get_mut().write_all(b"CONNECT {\"verbose\":false}\r\nSUB answer 1\r\n")?;
        Ok(client)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn put(&mut self, text: &str) -> Outcome<()> {
        let answer = self.ask("$KV.backsoon.flags", text)?;
        if answer.contains("\"seq\"") { Ok(()) } else { Err(answer.into()) }
    }

    fn ask(&mut self, subject: &str, payload: &str) -> Outcome<String> {
        let message = format!("PUB {subject} answer {}\r\n{payload}\r\n", payload.len());
        self.0.get_mut().write_all(message.as_bytes())?;
        loop {
            let line = self.line()?;
            match line.split(' ').next() {
                Some("PING") => self.0.get_mut().write_all(b"PONG\r\n")?,
                Some("MSG") => {
                    let size: usize = line.rsplit(' ').next().unwrap_or_default().parse()?;
                    let mut body = vec![0; size + 2];
                    self.0.read_exact(&mut body)?;
                    return Ok(String::from_utf8_lossy(&body[..size]).into_owned());
                }
                Some(_) | None if line.is_empty() => return Err("the NATS server has closed the connection".into()),
                Some(_) | None => {}
            }
        }
    }
}

impl Visitor {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and returns the status of the answer.
    fn status(&mut self) -> Outcome<u16> {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n")?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            if line.is_empty() {
                return Err("a replica has closed the connection".into());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().unwrap_or_default().parse()?;
            } else if let Some(rest) = lower.strip_prefix("content-length:") {
                length = rest.trim().parse()?;
            } else if line == "\r\n" {
                break;
            }
        }
        self.0.read_exact(&mut vec![0; length])?;
        Ok(status)
    }
}

/// Prints the median, the 99th percentile and the longest.
fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at =
        |share: usize| times.get((times.len() * share).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("{what}: p50 {}, p99 {}, max {}", millis(at(50)), millis(at(99)), millis(at(100)));
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Time between two rounds of questions.
const ROUND: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_secs(20);
