//! `cargo run --release -p overhead`: what backsoon costs, beside other proxies, on this machine.
//!
//! It starts an upstream, the contenders and two references (no proxy, and a bare TCP forwarder), drives each in turn
//! in interleaved rounds, and writes tables, raw figures and plots to `target/overhead`. `-- --help` lists the options.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for a person, and its children say their port"
)]
#![allow(clippy::exit, reason = "a signal ends the bench, after its children")]

mod options;
mod workloads;

mod configs;
mod contenders;
mod flips;
mod idle;
mod load;
mod openloop;
mod wire;

mod epoll;
mod floor;
mod upstream;

mod machine;
mod nursery;
mod peers;
mod proc;

mod plot;
mod report;
mod results;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::configs::PAGE;
use crate::contenders::{Contender, Kind, Setup};
use crate::machine::{Cores, Machine};
use crate::nursery::{Guard, Nursery};
use crate::options::Options;
use crate::results::Results;
use crate::workloads::Bench;

/// First argument that makes this binary the forwarder.
pub(crate) const FLOOR: &str = "be-the-floor";
/// First argument that makes this binary the upstream.
const UPSTREAM: &str = "be-the-upstream";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).take(2).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [FLOOR, upstream] => upstream.parse().map_err(io::Error::other).and_then(floor::run),
        [UPSTREAM] => upstream::run(),
        _ => bench(&Options::read()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> io::Result<()> {
    if !options.no_install {
        machine::install_missing()?;
    }
    let backsoon = machine::backsoon(options.backsoon.as_deref())?;
    let limit = machine::raise_descriptor_limit();
    let cores = Cores::share(!options.no_pin);
    let nursery = Nursery::new()?;
    let _guard = Guard(nursery.clone());
    let peers = options.peers();
    if !options.no_install {
        peers::install(&peers, &nursery)?;
    }
    let configs = fresh_folder(&options.out)?;
    configs::write_certificate(&nursery)?;
    let upstream = match &options.url {
        Some(url) => url.authority.clone(),
        None => start_upstream(&nursery)?,
    };
    let most_connections = u32::try_from(limit.saturating_sub(DESCRIPTORS_BESIDE) / 2).unwrap_or(u32::MAX);
    let mut results = Results::new(Machine::inspect(&cores, &backsoon, &peers));
    let setup = Setup { nursery: &nursery, backsoon, configs, cores: &cores, upstream, most_connections };
    let contenders = start_all(options, &setup, &mut results)?;
    let mut bench = Bench { options, setup: &setup, contenders, results };
    bench.run();
    finish(options, &bench.results)
}

/// Makes an empty folder for the configs, after removing that of an earlier run.
fn fresh_folder(out: &std::path::Path) -> io::Result<std::path::PathBuf> {
    let configs = std::path::absolute(out)?.join("configs");
    match fs::remove_dir_all(&configs) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&configs)?,
    }
    Ok(configs)
}

fn start_upstream(nursery: &Nursery) -> io::Result<String> {
    let (_, port) = nursery.start_and_ask_port(Command::new(std::env::current_exe()?).arg(UPSTREAM))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string())
}

/// Starts all contenders: backsoon first, because the others serve its page.
fn start_all(options: &Options, setup: &Setup<'_>, results: &mut Results) -> io::Result<Vec<Contender>> {
    let backsoon = setup.start(Kind::Backsoon)?;
    results.pages = fetch_pages(setup, &backsoon)?;
    let mut backsoon = Some(backsoon);
    let mut contenders = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| options.wants_contender(*kind)) {
        match (kind, backsoon.take_if(|_| kind == Kind::Backsoon)) {
            (_, Some(started)) => contenders.push(started),
            (kind, None) => match setup.start(kind).and_then(|started| same_pages(setup, started)) {
                Ok(started) => contenders.push(started),
                Err(error) => results.skip(&format!("{}: {error}", kind.name())),
            },
        }
    }
    Ok(contenders)
}

/// Saves backsoon's page, plain and compressed, for the others to serve. Returns the names and sizes of the files.
fn fetch_pages(setup: &Setup<'_>, backsoon: &Contender) -> io::Result<Vec<(String, usize)>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, backsoon.ports.clear));
    let mut sizes = Vec::new();
    for (end, fields) in [("html", ""), ("html.gz", "Accept-Encoding: gzip\r\n")] {
        let request = wire::get(PAGE, &setup.upstream, &format!("Accept: text/html\r\n{fields}"));
        let began = Instant::now();
        let body = loop {
            let (head, body) = wire::fetch(address, &request)?;
            if wire::status(head.as_bytes()) != 503 {
                return Err(io::Error::other(format!("{PAGE} is not the maintenance page: {head}")));
            }
            // Compression follows after the publication.
            if fields.is_empty() || wire::field(&head, "content-encoding") == Some("gzip") {
                break body;
            }
            if began.elapsed() > COMPRESSED_WITHIN {
                return Err(io::Error::other("the page does not come compressed"));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let name = format!("{}.{end}", PAGE.trim_start_matches('/'));
        fs::write(setup.configs.join(&name), &body)?;
        sizes.push((name, body.len()));
    }
    Ok(sizes)
}

/// Makes sure that a proxy serves what backsoon serves, byte for byte.
fn same_pages(setup: &Setup<'_>, contender: Contender) -> io::Result<Contender> {
    if !contender.kind.serves_pages() {
        return Ok(contender);
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, contender.ports.clear));
    for (end, fields) in [("html", ""), ("html.gz", "Accept-Encoding: gzip\r\n")] {
        let request = wire::get(PAGE, &setup.upstream, &format!("Accept: text/html\r\n{fields}"));
        let (head, body) = wire::fetch(address, &request)?;
        let page = fs::read(setup.configs.join(format!("{}.{end}", PAGE.trim_start_matches('/'))))?;
        let html = wire::field(&head, "content-type").is_some_and(|value| value.starts_with("text/html"));
        if wire::status(head.as_bytes()) != 503 || !html || body != page {
            return Err(io::Error::other(format!("its {PAGE} is not backsoon's page: {head}")));
        }
    }
    Ok(contender)
}

/// Longest wait for the compressed page, which takes some tens of milliseconds.
const COMPRESSED_WITHIN: Duration = Duration::from_secs(10);

fn finish(options: &Options, results: &Results) -> io::Result<()> {
    let markdown = report::markdown(results);
    fs::write(options.out.join("overhead.json"), serde_json::to_vec_pretty(results)?)?;
    fs::write(options.out.join("overhead.md"), &markdown)?;
    plot::write(results, &options.out)?;
    println!("{markdown}");
    eprintln!("written to {}", options.out.display());
    if results.invalid.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} figures are invalid, see above", results.invalid.len())))
}

/// Generous allowance for descriptors of a process that belong to no connection.
const DESCRIPTORS_BESIDE: u64 = 400;
