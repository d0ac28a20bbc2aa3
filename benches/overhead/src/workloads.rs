//! The workloads, measured in interleaved rounds.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::configs::PAGE;
use crate::contenders::{Contender, Kind, Setup};
use crate::idle::{IdleClients, PerConnection, Protocol};
use crate::load::{Load, Tool};
use crate::openloop::{self, Latencies};
use crate::options::Options;
use crate::proc::Cpu;
use crate::results::{Idle, Latency, Results, Run, Syscalls};
use crate::{machine, upstream, wire};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Proxied keep-alive GET of 131 bytes
    Small,
    /// The maintenance page from memory (18 KB)
    Page,
    /// The same, compressed
    PageGzip,
    /// A response of 1 MiB
    Large,
    /// GET over TLS
    Tls,
    /// GET over HTTP/2 in clear text
    H2,
    /// Latency at fixed rates
    Latency,
    /// Memory of idle connections
    Idle,
    /// System calls per request
    Syscalls,
    /// backsoon with one and with two workers
    Workers,
    /// Time from the rename of the flag file to the first answer that follows
    Flips,
}

/// The whole measurement.
#[derive(Debug)]
pub(crate) struct Bench<'b> {
    /// Options of the command line.
    pub(crate) options: &'b Options,
    /// Surroundings in which contenders start.
    pub(crate) setup: &'b Setup<'b>,
    /// Contenders that take part.
    pub(crate) contenders: Vec<Contender>,
    /// Results so far.
    pub(crate) results: Results,
}

/// Closed-loop workload, with one run for each contender that has a `port` for it.
struct Closed {
    name: &'static str,
    path: String,
    scheme: &'static str,
    port: fn(&Contender) -> Option<u16>,
    tool: Tool,
    connections: u32,
    fields: Vec<String>,
    expect: Expect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Success,
    Refusal,
}

impl Bench<'_> {
    /// Runs every workload that was asked for. A failure makes its own figure invalid, and no other.
    pub(crate) fn run(&mut self) {
        for closed in self.closed() {
            self.rounds(&closed);
        }
        if self.options.wants(Workload::Latency) {
            self.latency();
        }
        if self.options.wants(Workload::Idle) {
            self.idle();
        }
        if self.options.wants(Workload::Syscalls) {
            self.syscalls();
        }
        if self.options.wants(Workload::Workers) {
            self.workers();
        }
        if self.options.wants(Workload::Flips) {
            self.flips();
        }
    }

    /// Returns the path of the small response, or of the user's upstream.
    pub(crate) fn path(&self) -> String {
        self.options.url.as_ref().map_or_else(|| upstream::SMALL.to_owned(), |url| url.path.clone())
    }

    fn small(&self) -> Closed {
        Closed {
            name: "small",
            path: self.path(),
            scheme: "http",
            port: |contender| Some(contender.ports.clear),
            tool: Tool::Wrk,
            connections: self.options.connections,
            fields: vec![format!("Host: {}", self.setup.upstream)],
            expect: Expect::Success,
        }
    }

    fn closed(&mut self) -> Vec<Closed> {
        let proxies = |contender: &Contender| contender.kind.serves_pages().then_some(contender.ports.clear);
        let page = |name, path: &str, fields: &[&str]| Closed {
            name,
            path: path.into(),
            port: proxies,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            expect: Expect::Refusal,
            ..self.small()
        };
        let html = "Accept: text/html";
        let mut all = vec![
            (Workload::Small, self.small()),
            (Workload::Page, page("page", PAGE, &[html])),
            (Workload::PageGzip, page("page gzip", PAGE, &[html, "Accept-Encoding: gzip"])),
        ];
        let mut left_out = Vec::new();
        if self.options.url.is_none() {
            let connections = self.options.connections.min(LARGE_CONNECTIONS);
            let large = Closed { name: "large", path: upstream::LARGE.into(), connections, ..self.small() };
            all.push((Workload::Large, large));
        } else if self.options.wants(Workload::Large) {
            left_out.push("large: needs the built-in upstream");
        }
        let tls = |contender: &Contender| contender.kind.is_proxy().then_some(contender.ports.tls);
        all.push((Workload::Tls, Closed { name: "small tls", scheme: "https", port: tls, ..self.small() }));
        if machine::find("h2load").is_some() {
            let h2c = |contender: &Contender| contender.kind.is_proxy().then_some(contender.ports.h2c);
            // h2load takes the authority from the URL, and a second one would be an error.
            let h2 = Closed { name: "small h2", port: h2c, tool: Tool::H2load, fields: vec![], ..self.small() };
            all.push((Workload::H2, h2));
        } else {
            left_out.push("h2: h2load is not installed");
        }
        if machine::find("wrk").is_none() {
            left_out.push("everything that wrk drives: it is not installed");
            all.retain(|(_, closed)| closed.tool != Tool::Wrk);
        }
        left_out.into_iter().for_each(|reason| self.results.skip(reason));
        all.into_iter().filter(|(workload, _)| self.options.wants(*workload)).map(|(_, closed)| closed).collect()
    }

    fn rounds(&mut self, closed: &Closed) {
        for round in 1..=self.options.rounds {
            for at in self.turns(round) {
                let Some(contender) = self.contenders.get(at) else { continue };
                let Some(port) = (closed.port)(contender) else { continue };
                let run = self.one(closed, contender, port, round);
                self.note(run);
            }
        }
    }

    /// Returns the order of a round. Each contender comes first in its turn.
    fn turns(&self, round: u32) -> Vec<usize> {
        let count = self.contenders.len();
        (0..count).map(|at| (at + round as usize - 1) % count).collect()
    }

    fn one(&self, closed: &Closed, contender: &Contender, port: u16, round: u32) -> Run {
        let load = Load {
            url: format!("{}://{}:{port}{}", closed.scheme, self.host(contender), closed.path),
            connections: closed.connections,
            duration: self.options.duration,
            fields: closed.fields.clone(),
            tool: closed.tool,
        };
        let mut run = self.measure(&load, contender.pid, closed.expect);
        run.workload = closed.name.into();
        run.contender = contender.kind.name().into();
        run.round = round;
        run
    }

    /// Returns the host to connect to. A direct run goes to the upstream, which may be on another machine.
    fn host(&self, contender: &Contender) -> String {
        let upstream = self.setup.upstream.rsplit_once(':').map_or("", |(host, _)| host);
        if contender.kind == Kind::Direct { upstream.to_owned() } else { Ipv4Addr::LOCALHOST.to_string() }
    }

    fn measure(&self, load: &Load, pid: Option<u32>, expect: Expect) -> Run {
        self.try_to_measure(load, pid, expect).unwrap_or_else(|error| Run {
            workload: String::new(),
            contender: String::new(),
            round: 0,
            requests: 0,
            rate: 0.0,
            cpu: None,
            user: None,
            busy: None,
            invalid: Some(error.to_string()),
        })
    }

    fn try_to_measure(&self, load: &Load, pid: Option<u32>, expect: Expect) -> io::Result<Run> {
        let before = pid.map(Cpu::of).transpose()?;
        let begun = Instant::now();
        let counts = load.run(self.setup.nursery)?;
        let took = begun.elapsed().as_secs_f64();
        let used = pid.map(Cpu::of).transpose()?.zip(before).map(|(after, before)| after.since(before));
        let wrong = match expect {
            Expect::Success => counts.refused,
            Expect::Refusal => counts.requests.saturating_sub(counts.refused),
        };
        let invalid = (wrong + counts.errors > 0)
            .then(|| format!("{wrong} responses with the wrong status, {} socket errors", counts.errors));
        let share = |cpu: &Cpu| (cpu.user + cpu.system > 0).then(|| number(cpu.user) / number(cpu.user + cpu.system));
        Ok(Run {
            workload: String::new(),
            contender: String::new(),
            round: 0,
            requests: counts.requests,
            rate: counts.rate,
            cpu: used.map(|cpu| cpu.total.as_secs_f64() * 1e6 / number(counts.requests.max(1))),
            user: used.as_ref().and_then(share),
            busy: used.map(|cpu| cpu.total.as_secs_f64() / took),
            invalid,
        })
    }

    fn note(&mut self, run: Run) {
        if let Some(reason) = &run.invalid {
            self.results.invalidate(&format!("{} {} round {}: {reason}", run.workload, run.contender, run.round));
        } else {
            let cpu = run.cpu.map_or("-".into(), |cpu| format!("{cpu:.2} µs"));
            let (workload, contender, rate) = (&run.workload, &run.contender, run.rate);
            eprintln!(
                "{workload:<12} {contender:<12} round {}: {rate:>9.0} requests/s, {cpu} CPU a request",
                run.round
            );
        }
        self.results.runs.push(run);
    }

    fn latency(&mut self) {
        let mut rates = vec![self.options.rate];
        rates.extend(self.high_rate().filter(|rate| *rate > self.options.rate));
        for rate in rates {
            let mut rounds: Vec<(usize, Latencies)> = Vec::new();
            for round in 1..=self.options.rounds {
                for at in self.turns(round) {
                    let Some(contender) = self.contenders.get(at) else { continue };
                    let name = contender.kind.name();
                    match self.at_rate(contender, rate) {
                        Ok(latencies) => rounds.push((at, latencies)),
                        Err(error) => self.results.invalidate(&format!("latency {name} at {rate}/s: {error}")),
                    }
                }
            }
            let kinds: Vec<Kind> = self.contenders.iter().map(|contender| contender.kind).collect();
            for (at, kind) in kinds.into_iter().enumerate() {
                let these = rounds.iter().filter(|(of, _)| *of == at).map(|(_, latencies)| latencies);
                self.note_latency(rate, kind, &these.collect::<Vec<_>>());
            }
        }
    }

    fn note_latency(&mut self, rate: u32, kind: Kind, rounds: &[&Latencies]) {
        let Some(latency) = summary(rate, kind, rounds) else { return };
        let refused: u64 = rounds.iter().map(|round| round.refused).sum();
        if refused > 0 {
            let name = kind.name();
            return self.results.invalidate(&format!("latency {name} at {rate}/s: {refused} responses are not 200"));
        }
        let p99 = at_percentile(&latency, 99.0);
        eprintln!("latency      {:<12} {rate}/s: p99 {p99:.0} µs", kind.name());
        self.results.latencies.push(latency);
    }

    fn at_rate(&self, contender: &Contender, rate: u32) -> io::Result<Latencies> {
        let address = match contender.kind {
            Kind::Direct => crate::contenders::address(&self.setup.upstream)?,
            Kind::Floor | Kind::Backsoon | Kind::Nginx | Kind::Haproxy | Kind::Caddy | Kind::Traefik | Kind::Envoy => {
                SocketAddr::from((Ipv4Addr::LOCALHOST, contender.ports.clear))
            }
        };
        openloop::run(&openloop::Plan {
            address,
            request: wire::get(&self.path(), &self.setup.upstream, ""),
            connections: self.options.connections,
            rate,
            duration: self.options.duration,
        })
    }

    /// Returns a share of the slowest contender's rate in the workload small, which is measured now if it was not yet.
    fn high_rate(&mut self) -> Option<u32> {
        let small = self.small();
        if self.results.spread(small.name, Kind::Backsoon.name(), |run| Some(run.rate)).is_none() {
            self.rounds(&small);
        }
        let of = |contender: &Contender| self.results.spread(small.name, contender.kind.name(), |run| Some(run.rate));
        let slowest = self.contenders.iter().filter_map(of).map(|spread| spread.median).min_by(f64::total_cmp)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and small")]
        Some((slowest * HIGH_RATE / 100.0).round() as u32 * 100)
    }

    fn idle(&mut self) {
        let most = self.setup.most_connections;
        for protocol in [Protocol::Plain, Protocol::Tls, Protocol::Http2] {
            let wanted = if protocol == Protocol::Http2 { self.options.idle / 5 } else { self.options.idle };
            let connections = wanted.min(most);
            let kinds: Vec<Kind> = self.contenders.iter().map(|one| one.kind).filter(|kind| kind.is_proxy()).collect();
            for kind in kinds {
                match self.idle_of(kind, protocol, connections) {
                    Ok(PerConnection { at_rest, serving }) => {
                        for (protocol, bytes) in [(protocol.name(), serving), (protocol.at_rest(), at_rest)] {
                            let size = bytes / 1024.0;
                            eprintln!("idle         {:<12} {protocol}: {size:.2} KiB a connection", kind.name());
                            let contender = kind.name().to_owned();
                            self.results.idle.push(Idle { protocol, contender, connections, bytes });
                        }
                    }
                    Err(error) => {
                        self.results.invalidate(&format!("idle {} {}: {error}", kind.name(), protocol.name()))
                    }
                }
            }
        }
    }

    /// Measures in a new process, because one that had many connections still has their memory.
    fn idle_of(&self, kind: Kind, protocol: Protocol, connections: u32) -> io::Result<PerConnection> {
        let fresh = self.setup.start(kind)?;
        let port = if protocol == Protocol::Plain { fresh.ports.clear } else { fresh.ports.tls };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (path, host) = (self.path(), self.setup.upstream.clone());
        let clients = IdleClients { protocol, address, connections, pid: fresh.pid.unwrap_or_default(), path, host };
        let measured = clients.measure(self.setup.nursery);
        self.setup.nursery.end(fresh.process);
        measured
    }

    fn syscalls(&mut self) {
        let Some(strace) = machine::find("strace") else {
            self.results.skip("syscalls: strace is not installed");
            return;
        };
        let small = self.small();
        let with_process: Vec<(Kind, u32, u16)> =
            self.contenders.iter().filter_map(|one| Some((one.kind, one.pid?, one.ports.clear))).collect();
        for (kind, pid, port) in with_process {
            match self.syscalls_of(&strace, &small, pid, port) {
                Ok((total, by_name)) => {
                    eprintln!("syscalls     {:<12} {total:.2} a request", kind.name());
                    self.results.syscalls.push(Syscalls { contender: kind.name().into(), per_request: total, by_name });
                }
                Err(error) => self.results.skip(&format!("syscalls of {}: {error}", kind.name())),
            }
        }
    }

    fn syscalls_of(&self, strace: &std::path::Path, small: &Closed, pid: u32, port: u16) -> io::Result<Counted> {
        let nursery = self.setup.nursery;
        let table = nursery.path("strace.txt");
        let mut command = std::process::Command::new(strace);
        command.args(["-c", "-f", "-o"]).arg(&table).args(["-p", &pid.to_string()]);
        let tracer = nursery.start("strace", &mut command)?;
        let deadline = Instant::now() + ATTACH;
        while !nursery.log("strace").contains("attached") {
            if Instant::now() > deadline {
                nursery.end(tracer);
                return Err(io::Error::other(format!("cannot attach: {}", nursery.log("strace"))));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let load = Load {
            url: format!("http://{}:{port}{}", Ipv4Addr::LOCALHOST, small.path),
            connections: small.connections,
            duration: STRACED,
            fields: small.fields.clone(),
            tool: Tool::Wrk,
        };
        let counts = load.run(nursery);
        crate::nursery::Nursery::signal(tracer, Signal::INT);
        nursery.wait(tracer, ATTACH)?;
        Ok(per_request(&fs::read_to_string(&table)?, counts?.requests))
    }

    fn workers(&mut self) {
        let cores = self.setup.cores.unpinned();
        if cores.all < 2 {
            self.results.skip("workers: there is only one core");
            return;
        }
        let started: io::Result<Vec<Contender>> =
            [1, 2].iter().map(|count| self.setup.backsoon(&format!("backsoon-{count}"), *count, &cores)).collect();
        let started = match started {
            Ok(started) => started,
            Err(error) => return self.results.invalidate(&format!("workers: {error}")),
        };
        for round in 1..=self.options.rounds {
            for connections in [1, 2, 8, self.options.connections] {
                for (contender, workers) in started.iter().zip(1..) {
                    let connections_name = if connections == 1 { "connection" } else { "connections" };
                    let closed = Closed { name: "workers", connections, ..self.small() };
                    let mut run = self.one(&closed, contender, contender.ports.clear, round);
                    run.workload = format!("workers, {connections} {connections_name}");
                    run.contender = format!("{workers} worker{}", if workers == 1 { "" } else { "s" });
                    self.note(run);
                }
            }
        }
        started.iter().for_each(|contender| self.setup.nursery.end(contender.process));
    }
}

type Counted = (f64, Vec<(String, f64)>);

/// Reads strace's table: `% time  seconds  usecs/call  calls  [errors]  syscall`.
fn per_request(table: &str, requests: u64) -> Counted {
    let mut by_name: Vec<(String, f64)> = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(calls), Some(name)) = (words.get(3).and_then(|calls| calls.parse::<u64>().ok()), words.last()) else {
            continue;
        };
        if *name != "total" {
            by_name.push(((*name).to_owned(), number(calls) / number(requests.max(1))));
        }
    }
    by_name.sort_by(|one, other| other.1.total_cmp(&one.1));
    let total = by_name.iter().map(|(_, calls)| calls).sum();
    by_name.retain(|(_, calls)| *calls >= RARE);
    (total, by_name)
}

/// Merges the latencies of all rounds; `None` without any round.
fn summary(rate: u32, kind: Kind, rounds: &[&Latencies]) -> Option<Latency> {
    let mut all = Latencies::new().ok()?;
    rounds.iter().for_each(|round| all.add(round));
    let at = |latencies: &Latencies, percentile| microseconds(latencies.response.value_at_percentile(percentile));
    (!rounds.is_empty()).then(|| Latency {
        rate,
        contender: kind.name().into(),
        count: all.response.len(),
        percentiles: PERCENTILES.iter().map(|percentile| (*percentile, at(&all, *percentile))).collect(),
        max: microseconds(all.response.max()),
        p99_of_rounds: rounds.iter().map(|round| at(round, 99.0)).collect(),
        generator_p99: microseconds(all.lateness.value_at_percentile(99.0)),
    })
}

/// Returns the latency at one of the percentiles that are kept.
pub(crate) fn at_percentile(latency: &Latency, percentile: f64) -> f64 {
    let found = latency.percentiles.iter().find(|(at, _)| (at - percentile).abs() < 1e-9);
    found.map_or(f64::NAN, |(_, latency)| *latency)
}

fn microseconds(nanoseconds: u64) -> f64 {
    number(nanoseconds) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Percentiles that are kept of every latency: enough points for a curve.
const PERCENTILES: [f64; 18] =
    [0.0, 10.0, 25.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99];
/// Connections at a time. More would measure the sockets' buffers.
const LARGE_CONNECTIONS: u32 = 16;
/// Share of the slowest contender's saturation that all contenders must serve.
const HIGH_RATE: f64 = 0.6;
const STRACED: Duration = Duration::from_secs(2);
const ATTACH: Duration = Duration::from_secs(5);
/// System calls fewer than this per request are counted but not named.
const RARE: f64 = 0.005;
