//! `backsoon status`: shows the live state of every replica, and tells if they agree.

mod table;

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::status::{FileStatus, Role, Status};

use super::admin::{self, Endpoint};
use super::failure::Failure;
use super::flag_file::FlagFile;
use super::streams::Streams;
use super::{ConfigFile, exit};

/// The arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Admin listeners to ask: 127.0.0.1:9901, replica-2:9901, unix:/run/backsoon/admin.sock [default: the config's]
    #[arg(value_name = "ADMIN")]
    admin: Vec<Endpoint>,
    /// Write it as JSON, with all that the replicas say
    #[arg(long)]
    json: bool,
    /// Show it anew every second, until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Replicas agree when they have the same flag file and the same config, by the hash of the content. Warnings are shown, \
but do not count: one flag file may serve proxies with different routes.

Examples:
  backsoon status
  backsoon status replica-1:9901 replica-2:9901
  backsoon status --json | jq '.replicas[].status.routes[] | select(.phase != \"open\")'

Exit codes:
  0   all agree, and no file has an error
  1   they do not agree, or a file has an error or cannot be read
  64  the arguments or the config are wrong
  69  one of them cannot be reached";

/// Replica with its answer.
struct Replica {
    endpoint: Endpoint,
    answer: Result<(Status, Value), admin::Error>,
}

/// Common health of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    /// All replicas agree, and no file has an error.
    Well,
    /// A file has an error or cannot be read.
    Wrong,
    /// Replicas have different files.
    Apart,
    /// A replica did not answer.
    Unreachable,
}

impl Health {
    fn code(self) -> u8 {
        match self {
            Self::Well => exit::OK,
            Self::Wrong | Self::Apart => exit::DIFFERS,
            Self::Unreachable => exit::UNAVAILABLE,
        }
    }
}

/// Shows the status, once or repeatedly.
pub(super) fn run(args: &StatusArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let endpoints = endpoints(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
    runtime.block_on(async {
        if args.watch {
            return watch(args, &endpoints, streams).await;
        }
        let replicas = ask(&endpoints).await;
        write!(streams.out, "{}", shown(args, &replicas))?;
        Ok(health(&replicas).code())
    })
}

fn endpoints(args: &StatusArgs) -> Result<Vec<Endpoint>, Failure> {
    if !args.admin.is_empty() {
        return Ok(args.admin.clone());
    }
    let config = FlagFile::of(&args.config.config)?.config;
    let address = config.admin.ok_or_else(|| Failure::NoAdmin(args.config.config.clone()))?;
    Ok(vec![Endpoint::from(&address)])
}

/// Shows the status every second. The last one shown decides the exit code.
async fn watch(args: &StatusArgs, endpoints: &[Endpoint], streams: &mut Streams) -> Result<u8, Failure> {
    // Before the first status, since whoever reads that may interrupt at once.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Internal)?;
    let in_place = streams.out_is_terminal() && !args.json;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    if in_place {
        streams.clear()?;
    }
    let mut code = exit::OK;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(code),
            _ = every.tick() => {}
        }
        let replicas = tokio::select! {
            _ = interrupt.recv() => return Ok(code),
            replicas = ask(endpoints) => replicas,
        };
        code = health(&replicas).code();
        let text = shown(args, &replicas);
        if in_place {
            streams.draw_over(&text)?;
        } else {
            write!(streams.out, "{text}")?;
        }
        streams.out.flush()?;
    }
}

/// Asks all endpoints at once, and returns the answers in their order.
async fn ask(endpoints: &[Endpoint]) -> Vec<Replica> {
    let mut asking = JoinSet::new();
    for (index, endpoint) in endpoints.iter().cloned().enumerate() {
        asking.spawn(async move {
            let answer = admin::status(&endpoint, PATIENCE).await;
            (index, Replica { endpoint, answer })
        });
    }
    let mut replicas = asking.join_all().await;
    replicas.sort_unstable_by_key(|(index, _)| *index);
    replicas.into_iter().map(|(_, replica)| replica).collect()
}

fn health(replicas: &[Replica]) -> Health {
    let of_each = replicas.iter().map(|replica| match &replica.answer {
        Err(_) => Health::Unreachable,
        Ok((status, _)) if !status.files.iter().all(FileStatus::is_good) => Health::Wrong,
        Ok(_) => Health::Well,
    });
    let worst = of_each.max().unwrap_or(Health::Well);
    let apart = [Role::Flags, Role::Config].iter().any(|&role| !agree(replicas, role));
    if apart { worst.max(Health::Apart) } else { worst }
}

/// Returns true if all replicas that answered have the same content of a file.
fn agree(replicas: &[Replica], role: Role) -> bool {
    let answers = replicas.iter().filter_map(|replica| replica.answer.as_ref().ok());
    let mut hashes = answers.map(|(status, _)| status.file(role).and_then(|file| file.hash.as_deref()));
    hashes.next().is_none_or(|first| hashes.all(|hash| hash == first))
}

fn shown(args: &StatusArgs, replicas: &[Replica]) -> String {
    if args.json {
        return format!("{}\n", as_json(replicas));
    }
    let mut text = String::new();
    for replica in replicas {
        text.push_str(&table::replica(replica, Timestamp::now()));
        text.push('\n');
    }
    text.push_str(&table::verdict(replicas));
    text
}

fn as_json(replicas: &[Replica]) -> Value {
    let of_each = replicas.iter().map(|replica| match &replica.answer {
        Ok((_, value)) => json!({ "admin": replica.endpoint.to_string(), "status": value, "error": null }),
        Err(error) => json!({ "admin": replica.endpoint.to_string(), "status": null, "error": chain(error) }),
    });
    json!({
        "agree": agree(replicas, Role::Flags) && agree(replicas, Role::Config),
        "well": health(replicas) == Health::Well,
        "replicas": of_each.collect::<Vec<_>>(),
    })
}

/// Formats an error with its causes.
fn chain(error: &admin::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Time for one replica's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two requests of `--watch`.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
