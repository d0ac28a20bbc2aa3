//! Two operators, an editor and two replicas of one flag file: each word of a command is compared with what clients get.
//!
//! The test lasts for `BACKSOON_OPERATORS_SECONDS` (6 if unset; CONTRIBUTING.md has the command for the long one).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backsoon, LISTEN, Upstream, get, replace, wait};

/// Routes of each operator; nobody else edits them.
const OWN: [[&str; 2]; 2] = [["web", "api"], ["shop", "search"]];

/// Route of the editor.
const EDITED: &str = "blog";

/// Route that is flagged all the time.
const ANCHOR: &str = "anchor";

/// Pause between two requests to the anchor.
const SAMPLE: Duration = Duration::from_millis(2);

#[test]
fn what_a_command_says_is_what_clients_get_from_every_replica() {
    let seconds = std::env::var("BACKSOON_OPERATORS_SECONDS").ok().map_or(6, |seconds| seconds.parse::<u64>().unwrap());
    let site = &Site::start();
    let begun = Instant::now();
    let ends = begun + Duration::from_secs(seconds);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| sample_anchor(site));
        let operators: Vec<_> = OWN
            .into_iter()
            .enumerate()
            .map(|(seed, own)| scope.spawn(move || Operator::new(site, own, seed).work_until(ends)))
            .collect();
        let editor = scope.spawn(|| edit_until(site, ends));
        let commands: usize = operators.into_iter().map(|operator| operator.join().unwrap()).sum();
        let edits = editor.join().unwrap();
        site.done.store(true, Ordering::Relaxed);
        let samples = sampler.join().unwrap();
        println!("operators: {commands} commands, {edits} edits, {samples} answers of the anchor, all as said");
        assert!(commands > 5 && edits > 5 && samples > 100, "{commands} commands, {edits} edits, {samples} samples");
    });
}

/// Two proxies that watch one flag file.
struct Site {
    replicas: [Backsoon; 2],
    /// Directory of the flag file.
    shared: tempfile::TempDir,
    done: AtomicBool,
    /// Number of answers of the anchor.
    samples: AtomicUsize,
}

impl Site {
    fn start() -> Self {
        let shared = tempfile::tempdir().unwrap();
        let upstream = Upstream::ok();
        let file = shared.path().join("maintenance.toml");
        fs::write(&file, format!("# Kept by hand.\n[routes]\n{ANCHOR} = \"offline\"\n")).unwrap();
        let mut config = format!("maintenance = \"{}\"\n{LISTEN}", file.display());
        for route in OWN.concat().into_iter().chain([EDITED, ANCHOR]) {
            config.push_str(&format!("[routes.{route}]\npath = \"/{route}\"\nupstream = \"{}\"\n", upstream.url()));
        }
        // The upstream lives as long as the test process.
        std::mem::forget(upstream);
        let replicas = [Backsoon::start(&config), Backsoon::start(&config)];
        Self { replicas, shared, done: AtomicBool::new(false), samples: AtomicUsize::new(0) }
    }

    fn file(&self) -> PathBuf {
        self.shared.path().join("maintenance.toml")
    }

    /// Returns the status of a route's page at each replica.
    fn answers(&self, route: &str) -> [u16; 2] {
        [0, 1].map(|replica| answer(self.replicas[replica].address(), route))
    }
}

fn answer(address: SocketAddr, route: &str) -> u16 {
    get(address, &format!("/{route}")).status
}

/// Operator who closes and opens routes with commands, and looks at once whether the command was right.
struct Operator<'s> {
    site: &'s Site,
    own: [&'s str; 2],
    random: fastrand::Rng,
}

impl<'s> Operator<'s> {
    fn new(site: &'s Site, own: [&'s str; 2], seed: usize) -> Self {
        Self { site, own, random: fastrand::Rng::with_seed(seed as u64) }
    }

    fn work_until(mut self, ends: Instant) -> usize {
        let mut commands = 0;
        while Instant::now() < ends {
            let routes = match self.random.u8(0..3) {
                0 => &self.own[..1],
                1 => &self.own[1..],
                _ => &self.own[..],
            };
            if self.random.bool() {
                let more = if self.random.bool() { &["--for", "1h"][..] } else { &[] };
                self.command("on", routes, more, 503);
            } else {
                self.command("off", routes, &[], 200);
            }
            commands += 1;
        }
        commands
    }

    /// Runs a command that waits for both replicas, and compares each route with what clients get from then on.
    fn command(&self, verb: &str, routes: &[&str], more: &[&str], expected: u16) {
        let [first, second] = self.site.replicas.each_ref();
        let output = Command::new(env!("CARGO_BIN_EXE_backsoon"))
            .arg(verb)
            .args(routes)
            .args(more)
            .args(["--wait", "--timeout", "30s", "--config"])
            .arg(first.path("backsoon.toml"))
            .args(["--admin", &first.admin.to_string(), "--admin", &second.admin.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let told = format!("{verb} {routes:?} {more:?}: {:?} {said}", output.status.code());
        assert_eq!(output.status.code(), Some(0), "{told}");
        for route in routes {
            assert_eq!(self.site.answers(route), [expected; 2], "{route}, after {told}");
        }
    }
}

/// Edits the file in every way that an editor has, and waits until clients get what it says.
fn edit_until(site: &Site, ends: Instant) -> usize {
    let (file, mut edits) = (site.file(), 0);
    let mut flagged = false;
    while Instant::now() < ends {
        flagged = !flagged;
        edit(&file, flagged, WAYS[edits % WAYS.len()]);
        let expected = if flagged { 503 } else { 200 };
        wait("the edit to be in force", || site.answers(EDITED) == [expected; 2]);
        edits += 1;
    }
    edits
}

/// Way of writing a file.
#[derive(Clone, Copy)]
enum Way {
    /// By another name, which is then moved over it.
    Rename,
    /// Over the old text, in one system call.
    InPlace,
    /// Over the old text, in two halves with a pause.
    Halves,
}

const WAYS: [Way; 3] = [Way::Rename, Way::InPlace, Way::Halves];

/// Sets or removes the editor's own line, under the lock that the commands take.
fn edit(file: &Path, flagged: bool, way: Way) {
    let directory = File::open(file.parent().unwrap()).unwrap();
    directory.lock().unwrap();
    let old = fs::read_to_string(file).unwrap();
    let line = format!("{EDITED} = \"offline\"\n");
    let rest = old.replace(&line, "");
    let text = if flagged { rest.replace("[routes]\n", &format!("[routes]\n{line}")) } else { rest };
    match way {
        Way::Rename => replace(file, &text),
        Way::InPlace => fs::write(file, &text).unwrap(),
        Way::Halves => {
            let mut file = OpenOptions::new().write(true).truncate(true).open(file).unwrap();
            let (first, second) = text.split_at(text.len() / 2);
            file.write_all(first.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(30));
            file.write_all(second.as_bytes()).unwrap();
        }
    }
}

/// Asks for the anchor until the test ends. The anchor is never open, whatever happens to the file.
fn sample_anchor(site: &Site) -> usize {
    while !site.done.load(Ordering::Relaxed) {
        assert_eq!(site.answers(ANCHOR), [503; 2], "the anchor is flagged all the time");
        site.samples.fetch_add(1, Ordering::Relaxed);
        thread::sleep(SAMPLE);
    }
    site.samples.load(Ordering::Relaxed)
}
