//! The toggling soak: flags and config change all the time under load, and every answer is right for its instant.
//!
//! The soak lasts for `BACKSOON_SOAK_SECONDS` (8 if unset; CONTRIBUTING.md has the command for the long one).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;

use crate::load::{Failure, Http2, block_on, exchange, for_all};
use crate::support::{Backsoon, Client, LISTEN, Upstream, replace};

/// Greatest age of an answer's state when its request is sent. The time covers a rename until the last worker has seen
/// it, on a machine busy with other tests. The measured age is printed.
const BOUND: Duration = Duration::from_secs(2);

/// Pause between two flips.
const FLIP: Duration = Duration::from_millis(50);

/// Pause between two requests of one client, so that the clients leave processor time to the proxy.
const PAUSE: Duration = Duration::from_millis(4);

const HTTP1_CLIENTS: usize = 6;
const HTTP2_CONNECTIONS: usize = 3;
const HTTP2_CLIENTS_EACH: usize = 4;

/// Requests in flight at a time.
const CLIENTS: usize = HTTP1_CLIENTS + HTTP2_CONNECTIONS * HTTP2_CLIENTS_EACH;

#[test]
fn every_answer_is_right_for_its_instant_while_the_flag_flips_twenty_times_a_second() {
    let seconds = std::env::var("BACKSOON_SOAK_SECONDS").ok().map_or(8, |seconds| seconds.parse::<u64>().unwrap());
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let target = head.split(' ').nth(1).unwrap_or_default();
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len()));
        }
    });
    let backsoon = Backsoon::start(&config(&upstream.url(), 0));
    backsoon.flag(&flags(0));
    let soak = &Soak::new(backsoon.address());
    let usage = thread::scope(|scope| {
        for client in 0..HTTP1_CLIENTS {
            scope.spawn(move || soak.guarded(|| http1(soak, client)));
        }
        scope.spawn(|| soak.guarded(|| block_on(http2(soak))));
        let usage = toggle(soak, &backsoon, &upstream, Duration::from_secs(seconds));
        soak.done.store(true, Ordering::Relaxed);
        usage
    });
    let mut tally = soak.tally.lock().unwrap();
    tally.stale.sort_unstable();
    tally.tell(&usage);
    let answers = tally.forwarded + tally.shown;
    assert!(answers > seconds * 100, "{answers} answers are no load");
    assert!(tally.shown > answers / 5 && tally.forwarded > answers / 5, "hardly ever the one or the other");
    assert!(tally.numbers.len() as u64 > seconds * 4, "only {} closings were ever seen", tally.numbers.len());
    let generation = backsoon.status()["generation"].as_u64().unwrap();
    assert!(generation > seconds * 10, "only {generation} generations were published");
    assert!(tally.stale_at(0.99) < BOUND / 4, "{:?}", tally.stale_at(0.99));
    assert_no_growth(&usage, seconds);
    // One for each concurrent client, and one more each for connections that were idle for too long in a long run. A
    // new generation closes no connection to an unchanged upstream.
    let opened = upstream.connections();
    assert!(opened <= 2 * CLIENTS, "{opened} connections to the upstream");
}

/// State shared by the clients and the task that flips.
struct Soak {
    address: SocketAddr,
    /// Start and end of the replacement of each flag file, by its number.
    flips: Mutex<Vec<(Instant, Instant)>>,
    /// Lowest number that an answer to a request from now on may show.
    floor: AtomicU64,
    done: AtomicBool,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    forwarded: u64,
    shown: u64,
    reconnected: u64,
    /// Numbers that a page showed.
    numbers: BTreeSet<u64>,
    /// Age of each answer's state when its request was sent.
    stale: Vec<Duration>,
}

/// Resources of the process at one moment.
struct Usage {
    after: Duration,
    resident: u64,
    descriptors: usize,
    /// Connections ever opened to the upstream.
    opened: usize,
}

impl Soak {
    fn new(address: SocketAddr) -> Self {
        let now = Instant::now();
        Self {
            address,
            flips: Mutex::new(vec![(now, now)]),
            floor: AtomicU64::new(0),
            done: AtomicBool::new(false),
            tally: Mutex::default(),
        }
    }

    /// A client that fails ends the soak for all, so that its message is not buried.
    fn guarded(&self, client: impl FnOnce()) {
        struct Stop<'s>(&'s AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&self.done);
        client();
    }

    fn goes_on(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }

    /// Judges one answer. `floor` and `started` are from before the request was sent.
    fn judge(&self, floor: u64, started: Instant, target: &str, answer: &Answer) {
        let ended = Instant::now();
        let flips = self.flips.lock().unwrap().clone();
        let stale = |number: u64| {
            let gone = flips.get(usize::try_from(number).unwrap() + 1).map(|(_, gone)| *gone);
            gone.map_or(Duration::ZERO, |gone| started.saturating_duration_since(gone))
        };
        let is_possible = |number: u64| {
            let begun = flips.get(usize::try_from(number).unwrap()).is_some_and(|(begun, _)| *begun <= ended);
            begun && stale(number) <= BOUND
        };
        let number = match answer.status {
            200 => {
                assert_eq!(answer.body, target, "the answer of another request");
                // An open gate does not show its number; the answer gets the oldest number that is possible.
                let open = (floor..flips.len() as u64).filter(|number| number % 2 == 0);
                let number = { open }.find(|number| is_possible(*number));
                number.unwrap_or_else(|| panic!("forwarded while closed: floor {floor}, {} flips", flips.len()))
            }
            503 => {
                let number = number_in(&answer.body).unwrap_or_else(|| panic!("not the page: {answer:?}"));
                assert!(number % 2 == 1, "{answer:?}");
                assert!(number >= floor, "went back from {floor} to {number}");
                assert!(is_possible(number), "{number} of {} is {:?} too old", flips.len(), stale(number));
                assert_eq!(answer.field("cache-control"), Some("no-store"), "{answer:?}");
                assert!(answer.field("retry-after").unwrap().parse::<u64>().unwrap() > 0, "{answer:?}");
                number
            }
            status => panic!("{status}: {answer:?}"),
        };
        self.floor.fetch_max(number, Ordering::SeqCst);
        let mut tally = self.tally.lock().unwrap();
        match answer.status {
            200 => tally.forwarded += 1,
            _ => {
                tally.shown += 1;
                tally.numbers.insert(number);
            }
        }
        tally.stale.push(stale(number));
    }
}

/// Answer in either protocol.
#[derive(Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Flips the flag and rewrites the config for a time. Returns the process's resource use meanwhile.
fn toggle(soak: &Soak, backsoon: &Backsoon, upstream: &Upstream, time: Duration) -> Vec<Usage> {
    let (flag_file, config_file) = (backsoon.path("maintenance.toml"), backsoon.path("backsoon.toml"));
    let began = Instant::now();
    let mut usage = Vec::new();
    for number in 1.. {
        let after = began.elapsed();
        // The last flip closes. Every answer of the wait at the end then shows its own number.
        let is_over = after >= time && number % 2 == 0;
        if is_over || !soak.goes_on() {
            break;
        }
        // Recorded before anybody can see the file.
        let begun = Instant::now();
        soak.flips.lock().unwrap().push((begun, begun + BOUND));
        replace(&flag_file, &flags(number));
        soak.flips.lock().unwrap()[usize::try_from(number).unwrap()].1 = Instant::now();
        if number % 20 == 0 {
            replace(&config_file, &config(&upstream.url(), number / 20));
        }
        if number % 5 == 0 {
            let opened = upstream.connections();
            usage.push(Usage { after, resident: backsoon.resident_now(), descriptors: backsoon.descriptors(), opened });
            upstream.forget();
        }
        thread::sleep((began + FLIP * u32::try_from(number).unwrap()).saturating_duration_since(Instant::now()));
    }
    // The last state lasts longer than any answer may be old.
    thread::sleep(BOUND + FLIP * 4);
    usage
}

/// Returns the flag file with this number: odd ones close.
fn flags(number: u64) -> String {
    match number % 2 {
        0 => format!("# flip {number}\n[routes]\n"),
        _ => format!("[routes.web]\nmode = \"offline\"\nmessage = \"flip {number}.\"\n"),
    }
}

/// Returns the config with this number. A route comes and goes before and behind the one under test.
fn config(upstream: &str, number: u64) -> String {
    let other = |name: &str| format!("[routes.{name}]\nhost = \"{name}.example\"\nupstream = \"{upstream}\"\n");
    let (before, behind) = match number % 3 {
        0 => (String::new(), String::new()),
        1 => (other("a"), String::new()),
        _ => (String::new(), other("z")),
    };
    format!("# {number}\n{LISTEN}{before}[routes.web]\nupstream = \"{upstream}\"\n{behind}")
}

fn number_in(page: &str) -> Option<u64> {
    let digits: String = page.split_once("flip ")?.1.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Requests of people, programs and shells, in turn.
const ACCEPT: [&str; 3] = ["text/html", "application/json", "*/*"];

/// Runs one client on a keep-alive connection.
fn http1(soak: &Soak, id: usize) {
    let mut client = Client::connect(soak.address);
    for turn in 0.. {
        if !soak.goes_on() {
            return;
        }
        let (target, accept) = (format!("/{id}/{turn}"), ACCEPT[turn % 3]);
        let request = match turn % 8 {
            0 => format!("POST {target} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\ncontent-length: 9\r\n\r\nsome body"),
            _ => format!("GET {target} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n"),
        };
        let (floor, started) = (soak.floor.load(Ordering::SeqCst), Instant::now());
        client.send(request);
        let response = client.try_response().unwrap_or_else(|| panic!("client {id}, request {turn}: no answer"));
        let fields = response.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let answer = Answer { status: response.status, fields, body: response.body };
        soak.judge(floor, started, &target, &answer);
        if answer.field("connection") == Some("close") {
            soak.tally.lock().unwrap().reconnected += 1;
            client = Client::connect(soak.address);
        }
        thread::sleep(PAUSE);
    }
}

/// Runs all HTTP/2 clients, several on each connection.
async fn http2(soak: &Soak) {
    let mut connections = Vec::new();
    for _ in 0..HTTP2_CONNECTIONS {
        connections.push(Http2::connect(soak.address).await.unwrap());
    }
    let clients = connections.iter().enumerate().flat_map(|(connection, http2)| {
        (0..HTTP2_CLIENTS_EACH).map(move |client| http2_client(soak, http2, format!("h{connection}-{client}")))
    });
    for_all(clients.collect()).await;
    for connection in connections {
        assert!(!connection.ended.is_finished(), "the connection ended");
    }
}

async fn http2_client(soak: &Soak, connection: &Http2, id: String) {
    for turn in 0_usize.. {
        if !soak.goes_on() {
            return;
        }
        let (target, posts) = (format!("/{id}/{turn}"), turn % 8 == 0);
        let request = Request::builder().uri(format!("http://a{target}")).header("accept", ACCEPT[turn % 3]);
        let request = request.method(if posts { "POST" } else { "GET" }).body(()).unwrap();
        let (floor, started) = (soak.floor.load(Ordering::SeqCst), Instant::now());
        let answer = exchange(&connection.sender, request, posts.then(|| Bytes::from_static(b"some body"))).await;
        let response = match answer {
            Ok(response) => response,
            Err(Failure::GoneAway | Failure::Refused) => panic!("client {id}, request {turn}: the connection is gone"),
            Err(Failure::Lost(error)) => panic!("client {id}, request {turn}: {error}"),
        };
        let fields =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        let answer = Answer { status: response.status().as_u16(), fields, body: text(response.body()) };
        soak.judge(floor, started, &target, &answer);
        tokio::time::sleep(PAUSE).await;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Compares the end with second 5 (or the middle of a short run), when everything has been used once.
fn assert_no_growth(usage: &[Usage], seconds: u64) {
    let settled = Duration::from_secs(5.min(seconds / 2));
    let (early, late): (Vec<_>, Vec<_>) = usage.iter().partition(|usage| usage.after < settled);
    let last = &late[late.len().saturating_sub(10)..];
    let most = |usage: &[&Usage], of: fn(&Usage) -> u64| usage.iter().map(|usage| of(usage)).max().unwrap_or(0);
    let (before, after) = (most(&early, |usage| usage.resident), most(last, |usage| usage.resident));
    // The allocator returns pages when it likes: some MiB are noise, a leak of one page for each flip is not.
    assert!(after <= before + 6 * 1024, "resident memory grew from {before} KiB to {after} KiB");
    // Without the upstream's connections; one more may be open while a file is read.
    let others = |usage: &Usage| (usage.descriptors as u64).saturating_sub(usage.opened as u64);
    let (before, after) = (most(&early, others), most(last, others));
    assert!(after <= before + 2, "descriptors grew from {before} to {after}, besides the upstream's");
}

impl Tally {
    /// Returns a quantile of the answers' ages, once sorted.
    fn stale_at(&self, share: f64) -> Duration {
        self.stale[((self.stale.len() - 1) as f64 * share) as usize]
    }

    fn tell(&self, usage: &[Usage]) {
        let (answers, closings) = (self.stale.len(), self.numbers.len());
        let (median, p99, most) = (self.stale_at(0.5), self.stale_at(0.99), self.stale_at(1.0));
        println!("soak: {answers} answers: {} of 200, {} of 503 naming {closings} flips", self.forwarded, self.shown);
        println!("soak: older than their request by: median {median:?}, p99 {p99:?}, most {most:?}");
        println!("soak: {} connections closed as announced", self.reconnected);
        for usage in usage.iter().step_by((usage.len() / 12).max(1)).chain(usage.last()) {
            println!(
                "soak: after {:5.1} s: {} KiB resident, {} descriptors, {} connections to the upstream opened so far",
                usage.after.as_secs_f64(),
                usage.resident,
                usage.descriptors,
                usage.opened
            );
        }
    }
}
