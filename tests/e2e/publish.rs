//! Cost of a publication with much to publish: 10,000 routes, of which an edit flags 1,000.
//!
//! The goal on a quiet machine, with a release build: an edit is live within 50 ms, and no request waits for it. The
//! test runs anywhere, so it allows much more, and it prints the measured times. The figures that count come from
//! `cargo test --release --test e2e publish -- --nocapture`.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, LISTEN, Upstream, get};

#[test]
fn a_flag_edit_for_a_thousand_of_ten_thousand_routes_is_live_at_once() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start(&config(&upstream.url()));
    let edits = [switches("offline"), "[routes]\n".to_owned()];
    let bystander = Bystander::start(backsoon.address());
    let (mut spent, path) = (Vec::new(), backsoon.path("maintenance.toml"));
    let mut client = Client::connect(backsoon.address());
    for turn in 0..TURNS {
        for (edit, status) in edits.iter().zip([503, 200]) {
            let beside = path.with_extension("new");
            fs::write(&beside, format!("# {turn}\n{edit}")).unwrap();
            // The admin listener answers once control has logged the result of the last edit: 1,000 lines.
            get(backsoon.admin, "/livez");
            let began = Instant::now();
            fs::rename(&beside, &path).unwrap();
            while ask(&mut client, FLAGGED) != status {
                assert!(began.elapsed() < Duration::from_secs(20), "turn {turn}: no {status}");
            }
            spent.push(began.elapsed());
        }
    }
    let longest = bystander.longest();
    spent.sort_unstable();
    let (median, most) = (spent[spent.len() / 2], spent[spent.len() - 1]);
    println!(
        "publish: from rename() to the first answer that follows, {} edits: median {median:?}, most {most:?}; \
         the longest request of a bystander: {longest:?}",
        spent.len()
    );
    assert!(most < Duration::from_secs(10), "an edit took {most:?}");
    assert!(longest < Duration::from_secs(3), "a request beside a publication took {longest:?}");
}

/// Client of a route that no edit concerns. It asks without pause and remembers the slowest answer.
struct Bystander {
    done: Arc<AtomicBool>,
    asking: thread::JoinHandle<Duration>,
}

impl Bystander {
    fn start(address: SocketAddr) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let asking = thread::spawn(move || {
            let mut client = Client::connect(address);
            let mut longest = Duration::ZERO;
            while !told.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(ask(&mut client, OPEN), 200);
                longest = longest.max(began.elapsed());
            }
            longest
        });
        Self { done, asking }
    }

    fn longest(self) -> Duration {
        self.done.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

fn ask(client: &mut Client, host: &str) -> u16 {
    client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    client.response().status
}

fn config(upstream: &str) -> String {
    let mut text = LISTEN.to_owned();
    for index in 0..ROUTES {
        let _ = writeln!(text, "[routes.r{index}]\nhost = \"www.t{index}.example.com\"\nupstream = \"{upstream}\"");
    }
    text
}

/// Returns a flag file that puts every tenth route into this mode.
fn switches(mode: &str) -> String {
    let mut text = "[routes]\n".to_owned();
    for index in (0..ROUTES).filter(|index| index % 10 == 9) {
        let _ = writeln!(text, "r{index} = \"{mode}\"");
    }
    text
}

const ROUTES: usize = 10_000;
const TURNS: usize = 5;
const FLAGGED: &str = "www.t9999.example.com";
const OPEN: &str = "www.t5000.example.com";
