//! Counts the instructions of a request: `cargo test --all-features --bench instructions`.
//!
//! The counted program is the command, which this bench builds in the profile `count`. The bench itself is built like
//! the tests, so that no dependency is compiled twice. `-- --binary PATH --build plain` (or `optimized`) counts another
//! program, as `deploy/build` does: one of the profile `dist`, without or with a profile of its load.
//!
//! Time is noisy; the number of instructions is not. The command runs under callgrind with one worker, in front of an
//! upstream in this process. Clients send one request after the other. For each path, a run with additional requests is
//! compared with a run without them, and the worker's thread alone counts. So neither the start nor control's timers are
//! in the figure.
//!
//! `instructions.toml` has the recorded figures. A figure more than [`TOLERANCE`] above is a regression. One as far
//! below is an improvement, to be recorded by the same command with `UPDATE=1`. Figures recorded with another compiler
//! or for another target are compared, but not judged.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: the instructions of a request are not counted: valgrind is missing");
        return ExitCode::SUCCESS;
    }
    match Counted::read().and_then(|counted| measure(&counted).and_then(|measured| report(&counted, &measured))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: the instructions of a request cannot be counted: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The program that is counted, and how it was built.
#[derive(Debug)]
struct Counted {
    build: Build,
    path: PathBuf,
}

impl Counted {
    /// Reads the command line, and builds the program if none is named there. cargo adds `--bench`.
    fn read() -> Result<Self> {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let (mut build, mut path) = (Build::Count, None);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--binary" => path = Some(PathBuf::from(value)),
                "--build" => build = Build::named(&value)?,
                _ => return Err(format!("unknown option {word}: there are --binary PATH and --build NAME").into()),
            }
        }
        let path = path.map_or_else(compile, Ok)?;
        Ok(Self { build, path })
    }
}

/// A way of building the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Build {
    /// The profile `count`, which is built soon.
    Count,
    /// The profile `dist`.
    Plain,
    /// The profile `dist`, optimized by a profile of a load.
    Optimized,
}

impl Build {
    const ALL: [Self; 3] = [Self::Count, Self::Plain, Self::Optimized];

    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Plain => "plain",
            Self::Optimized => "optimized",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let build = Self::ALL.into_iter().find(|build| build.name() == name);
        build.ok_or_else(|| format!("unknown build {name:?}: there are count, plain and optimized").into())
    }
}

/// A key path of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// A GET that is forwarded, over HTTP/1.1.
    Forward,
    /// A GET of a browser that is shown the page.
    Page,
    /// A GET that is forwarded, over HTTP/2.
    Http2,
    /// A POST with a body that is forwarded, whose response is chunked.
    Post,
}

impl Key {
    const ALL: [Self; 4] = [Self::Forward, Self::Page, Self::Http2, Self::Post];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Page => "page",
            Self::Http2 => "http2",
            Self::Post => "post",
        }
    }
}

/// Instructions of one request, by the name of its path.
type Instructions = BTreeMap<String, u64>;

/// Figures that were recorded.
#[derive(Debug, Deserialize, Serialize)]
struct Recorded {
    /// `rustc --version`.
    rustc: String,
    /// The target's triple.
    target: String,
    /// By the way of building.
    instructions: BTreeMap<Build, Instructions>,
}

/// Runs one round, and if that differs from what is recorded, or is to be recorded, [`ROUNDS`].
fn measure(counted: &Counted) -> Result<Instructions> {
    let upstream = upstream()?;
    if !records() {
        let once = rounds(1, &counted.path, upstream)?;
        if judge(counted.build, &once)?.iter().all(|judgement| judgement.problem.is_none()) {
            return Ok(once);
        }
    }
    rounds(ROUNDS, &counted.path, upstream)
}

/// Returns true if the figures are to be recorded.
fn records() -> bool {
    std::env::var_os("UPDATE").is_some_and(|update| update == "1")
}

/// Runs some rounds side by side; the median counts.
fn rounds(count: usize, command: &Path, upstream: SocketAddr) -> Result<Instructions> {
    let mut found: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let rounds: Vec<Result<_>> = thread::scope(|scope| {
        let rounds: Vec<_> = (0..count).map(|_| scope.spawn(|| round(command, upstream))).collect();
        rounds.into_iter().map(|round| round.join().unwrap_or_else(|_| Err("a round panicked".into()))).collect()
    });
    for round in rounds {
        round?.into_iter().for_each(|(name, count)| found.entry(name).or_default().push(count));
    }
    let median = |mut counts: Vec<u64>| {
        counts.sort_unstable();
        counts[count / 2]
    };
    Ok(found.into_iter().map(|(name, counts)| (name.to_owned(), median(counts))).collect())
}

/// Builds the command in the profile `count`, and returns its path.
fn compile() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["build", "--locked", "--quiet", "--profile", PROFILE, "--package", "backsoon", "--bin", "backsoon"];
    // Incremental builds cut the code into other units, which decides what is inlined. Set it here, whatever the
    // environment says.
    if !Command::new(cargo).args(arguments).env("CARGO_INCREMENTAL", "1").status()?.success() {
        return Err("the command cannot be built".into());
    }
    // Cargo puts it into the folder beside the one of this profile.
    let built = Path::new(env!("CARGO_BIN_EXE_backsoon"));
    let (folder, name) = built.parent().zip(built.file_name()).ok_or("the command has no path")?;
    Ok(folder.with_file_name(PROFILE).join(name))
}

/// Runs the command for every path, and once without one for comparison. Returns the instructions per request of each.
fn round(command: &Path, upstream: SocketAddr) -> Result<Vec<(&'static str, u64)>> {
    let base = run(command, upstream, None)?;
    let of = |key: Key| {
        let more = run(command, upstream, Some(key))?;
        Ok((key.name(), more.saturating_sub(base) / MORE as u64))
    };
    Key::ALL.into_iter().map(of).collect()
}

/// Returns the version of the compiler, and the target.
fn compiler() -> Result<(String, String)> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
    Ok((text.lines().next().unwrap_or_default().to_owned(), line("host: ").ok_or("rustc says no host")?))
}

/// Records the figures if that is asked for, and tells how they compare with the recorded ones.
fn report(counted: &Counted, measured: &Instructions) -> Result<ExitCode> {
    let (rustc, target) = compiler()?;
    if records() {
        let mut all = recorded()?;
        (all.rustc, all.target) = (rustc.clone(), target.clone());
        all.instructions.insert(counted.build, measured.clone());
        fs::write(file(), text_of(&all))?;
        println!("recorded in {}", file().display());
    }
    let recorded = recorded()?;
    let judgements = judge(counted.build, measured)?;
    for judgement in &judgements {
        println!("{}", judgement.line);
    }
    if (&recorded.rustc, &recorded.target) != (&rustc, &target) {
        println!(
            "SKIPPED: the instructions of a request are not judged: recorded with {} for {}, measured with {rustc} for {target}",
            recorded.rustc, recorded.target
        );
        return Ok(ExitCode::SUCCESS);
    }
    let problems: Vec<_> = judgements.iter().filter_map(|judgement| judgement.problem.as_ref()).collect();
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the file with the recorded figures.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml")
}

fn recorded() -> Result<Recorded> {
    Ok(toml::from_str(&fs::read_to_string(file())?)?)
}

/// Compares the figure of each path with the recorded one, if there is one for this build.
fn judge(build: Build, measured: &Instructions) -> Result<Vec<Judgement>> {
    let recorded = recorded()?;
    let was = recorded.instructions.get(&build);
    Key::ALL.into_iter().map(|key| compare(key, was, measured)).collect()
}

/// A path's figure beside the recorded one.
struct Judgement {
    line: String,
    problem: Option<String>,
}

fn compare(key: Key, recorded: Option<&Instructions>, measured: &Instructions) -> Result<Judgement> {
    let name = key.name();
    let now = *measured.get(name).ok_or("a path was not measured")?;
    let Some(recorded) = recorded else {
        return Ok(Judgement {
            line: format!("{name:7} {now:>8} instructions a request, not recorded"),
            problem: None,
        });
    };
    let was = *recorded.get(name).ok_or_else(|| format!("no figure for {name:?} is recorded"))?;
    let change = now as f64 / was as f64 - 1.0;
    let percent = change * 100.0;
    let line = format!("{name:7} {now:>8} instructions a request, recorded {was:>8} ({percent:+.1} %)");
    let problem = if change > TOLERANCE {
        Some(format!(
            "{name}: {percent:.1} % more instructions a request than recorded ({was} to {now}). Find what made it dearer \
             (callgrind_annotate names it); if it is worth that, record it with UPDATE=1 and say so in the commit"
        ))
    } else if change < -TOLERANCE {
        Some(format!(
            "{name}: {:.1} % fewer instructions a request than recorded ({was} to {now}), an improvement: record it with \
             UPDATE=1",
            -percent
        ))
    } else {
        None
    };
    Ok(Judgement { line, problem })
}

fn text_of(recorded: &Recorded) -> String {
    let mut text = format!(
        "# Instructions of one request, by path and by build (see instructions.rs). UPDATE=1 rewrites those of one build.\n\
         rustc = {:?}\ntarget = {:?}\n",
        recorded.rustc, recorded.target
    );
    for (build, instructions) in &recorded.instructions {
        let _ = writeln!(text, "\n[instructions.{}]", build.name());
        for key in Key::ALL {
            let count = instructions.get(key.name()).copied().unwrap_or(0);
            let _ = writeln!(text, "{} = {count}", key.name());
        }
    }
    text
}

/// Runs the command under callgrind, and sends some requests of every path and [`MORE`] of one. Returns the
/// instructions of the worker.
fn run(command: &Path, upstream: SocketAddr, more: Option<Key>) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("backsoon.toml"), config(upstream))?;
    fs::write(dir.path().join("maintenance.toml"), "[routes]\npaused = \"offline\"\n")?;
    let mut proxy = Proxy::start(command, dir.path())?;
    for key in Key::ALL {
        if key == Key::Page {
            until_finished(proxy.address)?;
        }
        let count = if more == Some(key) { WARM + MORE } else { WARM };
        ask(key, proxy.address, count)?;
    }
    proxy.end()?;
    count(dir.path())
}

/// Sends [`WARM`] requests, with pauses until the page comes compressed, as browsers get it. A thread that callgrind
/// makes slow compresses the page after its publication. The number of requests before that differs little between runs,
/// and they cost little more.
fn until_finished(address: SocketAddr) -> Result<()> {
    let mut finished = false;
    for asked in 0..WARM {
        let head = ask_http1(address, &get("paused.example.com"), "503 Service Unavailable", 1)?;
        finished |= head.contains("content-encoding: br");
        if !finished {
            // The pauses grow, because on a busy machine the finishing thread hardly gets a turn.
            thread::sleep(Duration::from_millis(200) * u32::try_from((1 + asked / 10).pow(2))?);
        }
    }
    if finished { Ok(()) } else { Err("the page was not finished in time".into()) }
}

fn config(upstream: SocketAddr) -> String {
    format!(
        "workers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n[limits]\ngrace = \"1s\"\n\
         [routes.open]\nhost = \"open.example.com\"\nupstream = \"http://{upstream}\"\n\
         [routes.paused]\nhost = \"paused.example.com\"\nupstream = \"http://{upstream}\"\n"
    )
}

/// The command, running under callgrind.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(backsoon: &Path, dir: &Path) -> Result<Self> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--separate-threads=yes", "--quiet", "--read-inline-info=no"]);
        command.arg(format!("--callgrind-out-file={}", dir.join(COUNTS).display()));
        command.arg(backsoon).args(["run", "--config"]).arg(dir.join("backsoon.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let log = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let (send, addresses) = std::sync::mpsc::channel();
        thread::spawn(move || log.lines().map_while(std::io::Result::ok).for_each(|line| drop(send.send(line))));
        let mut proxy = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut said = String::new();
        loop {
            let line = addresses.recv_timeout(PATIENCE).map_err(|_| format!("it did not start:\n{said}"))?;
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) {
                if line["message"] == "listening" {
                    proxy.address = line["address"].as_str().ok_or("no address")?.parse()?;
                }
                if line["message"] == "started" {
                    return Ok(proxy);
                }
            }
            said += &line;
            said.push('\n');
        }
    }

    /// Ends the command, and waits until it has written the counts.
    fn end(&mut self) -> Result<()> {
        // SIGINT ends the command at once, without the drain of SIGTERM.
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        let began = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("it ended with {status}").into()),
                None if began.elapsed() > PATIENCE => return Err("it did not end".into()),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the instructions of the worker from callgrind's files, of which each thread has one.
///
/// Other threads are left out by what they execute: on a busy machine the one that compresses pages gets further in one
/// run than in another.
fn count(dir: &Path) -> Result<u64> {
    let mut counts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(COUNTS)) {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let number = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)?.trim().parse::<u64>().ok());
        if text.contains(WORKER)
            && let Some(count) = number("totals:").or_else(|| number("summary:"))
        {
            counts.push(count);
        }
    }
    match counts[..] {
        [count] => Ok(count),
        _ => Err(format!("{} threads execute {WORKER}, not one", counts.len()).into()),
    }
}

/// Sends `count` requests of a path, one after the other, over one connection.
fn ask(key: Key, address: SocketAddr, count: usize) -> Result<()> {
    let body = "x".repeat(BODY);
    let _last = match key {
        Key::Http2 => return ask_http2(address, count),
        Key::Forward => ask_http1(address, &get("open.example.com"), "200 OK", count)?,
        Key::Page => ask_http1(address, &get("paused.example.com"), "503 Service Unavailable", count)?,
        Key::Post => {
            let post = format!(
                "POST /orders HTTP/1.1\r\nhost: open.example.com\r\n{FIELDS}content-type: text/plain\r\n\
                 content-length: {BODY}\r\n\r\n{body}"
            );
            ask_http1(address, &post, "200 OK", count)?
        }
    };
    Ok(())
}

fn get(host: &str) -> String {
    format!("GET /assets/app.js?v=7 HTTP/1.1\r\nhost: {host}\r\n{FIELDS}\r\n")
}

/// Sends a request `count` times over one connection, and returns the last head.
fn ask_http1(address: SocketAddr, request: &str, status: &str, count: usize) -> Result<String> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    let mut last = String::new();
    for _ in 0..count {
        stream.get_mut().write_all(request.as_bytes())?;
        last = head(&mut stream)?.ok_or("the connection was closed")?;
        if !last.starts_with("HTTP/1.1 ") || !last[9..].starts_with(status) {
            return Err(format!("not {status}: {last}").into());
        }
        skip_body(&mut stream, &last)?;
    }
    Ok(last)
}

/// Reads a body by its length or its chunks.
fn skip_body(stream: &mut impl BufRead, head: &str) -> Result<()> {
    if let Some(length) = length(head) {
        std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
        return Ok(());
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16)?;
        // Includes the line end after the chunk, which ends the body after the last chunk.
        std::io::copy(&mut stream.take(size + 2), &mut std::io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// Reads a head; `None` at the end of the connection.
fn head(stream: &mut impl BufRead) -> Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn length(head: &str) -> Option<u64> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    length.trim().parse().ok()
}

/// Sends `count` requests over one HTTP/2 connection. Each stream begins when the one before has ended.
fn ask_http2(address: SocketAddr, count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = h2::client::handshake(stream).await?;
        let driver = tokio::spawn(connection);
        for _ in 0..count {
            let mut request = http::Request::get("http://open.example.com/assets/app.js?v=7");
            for (name, value) in FIELDS.lines().filter_map(|line| line.split_once(": ")) {
                request = request.header(name, value);
            }
            sender = sender.ready().await?;
            let (response, _) = sender.send_request(request.body(())?, true)?;
            let mut body = tokio::time::timeout(PATIENCE, response).await??.into_body();
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data?.len())?;
            }
        }
        driver.abort();
        Ok(())
    })
}

/// Starts the upstream. Requests without a body get a response with a length, others a chunked one.
fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(std::io::Result::ok) {
            // If a connection breaks, the proxy has to notice.
            thread::spawn(move || drop(answer(stream)));
        }
    });
    Ok(address)
}

fn answer(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let plain = format!("HTTP/1.1 200 OK\r\n{ANSWER_FIELDS}content-length: 131\r\n\r\n{}", "x".repeat(131));
    let half = "y".repeat(512);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\n{ANSWER_FIELDS}transfer-encoding: chunked\r\n\r\n200\r\n{half}\r\n200\r\n{half}\r\n0\r\n\r\n"
    );
    while let Some(head) = head(&mut stream)? {
        let answer = match length(&head) {
            Some(_) => {
                skip_body(&mut stream, &head)?;
                &chunked
            }
            None => &plain,
        };
        stream.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Fields that a browser sends with every request.
const FIELDS: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
accept-language: en-GB,en;q=0.7,de;q=0.3\r\n\
accept-encoding: gzip, deflate, br, zstd\r\n\
referer: https://open.example.com/orders\r\n\
cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
sec-fetch-dest: document\r\n\
sec-fetch-mode: navigate\r\n\
sec-fetch-site: same-origin\r\n";
/// Response of the application.
const ANSWER_FIELDS: &str = "date: Tue, 19 May 2026 14:00:00 GMT\r\nserver: app\r\ncontent-type: text/html; charset=utf-8\r\n\
cache-control: private, max-age=0\r\netag: \"5f2c-19\"\r\nvary: accept-encoding\r\n";
/// Bytes of the POST's body.
const BODY: usize = 1024;

/// Requests of every path in every run before the counted ones, so that these do nothing for the first time.
const WARM: usize = 100;
/// Number of counted requests.
const MORE: usize = 1000;
/// Number of rounds where one does not do. Now and then a run is a percent off, because a packet came earlier than in the
/// others. The number is odd, so that there is a median.
const ROUNDS: usize = 3;
/// The share by which a figure may differ from the recorded one; the spread of repeated runs is far below.
const TOLERANCE: f64 = 0.03;
/// Time limit, longer than anything takes under callgrind on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const COUNTS: &str = "counts";
/// The part of a function's name that only the worker's thread executes.
const WORKER: &str = "backsoon::proxy::request::";
/// The profile of the command that is counted.
const PROFILE: &str = "count";
