//! `backsoon status`: shows the live state of every replica, and tells if the replicas agree.
//!
//! Replicas are asked through the engine of their flags if that carries beats, and by their admin listeners otherwise.
//! Both ways end in the same [`Replica`], so that one code compares and shows them.

mod agree;
mod columns;
mod disk;
mod fleet;
mod table;
mod wait;
mod watch;

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::status::Status;
use crate::status::beat::Beat;
use crate::status::concerns::{Concern, Kind, concerns};

use super::admin::{self, Endpoint, Offset};
use super::failure::{Failure, chain};
use super::streams::Streams;
use super::whom::Whom;
use super::{ConfigFile, exit, site};
use agree::differences;

/// The arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Admin listeners to ask: 127.0.0.1:9901, replica-2:9901, unix:/run/backsoon/admin.sock [default: all replicas
    /// through the NATS of `[fleet]`, or `replicas` of the config, or its own]
    #[arg(value_name = "ADMIN", env = "BACKSOON_ADMIN", hide_env_values = true, value_delimiter = ',')]
    admin: Vec<Endpoint>,
    /// Write it as JSON, with all that the replicas say
    #[arg(long)]
    json: bool,
    /// Show it anew whenever it changes, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Compare the flag file and the phases of routes, and not the configs, which differ in a blue-green pair
    #[arg(long)]
    flags_only: bool,
    /// Only tell whether each one answers, as the health check of a container does
    #[arg(long, conflicts_with_all = ["json", "watch", "flags_only"])]
    alive: bool,
    /// Ask none if there are fewer than this: a name with some addresses missing would be no word about all
    #[arg(long, value_name = "NUMBER", value_parser = super::number_of_replicas)]
    replicas: Option<usize>,
    #[command(flatten)]
    wait: wait::WaitArgs,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Replicas agree when they have the same flag file and the same config in force, by the hash of the content, and each \
route in the same phase and mode, with the same share of clients, and with or without a finding of its guard. Their \
clocks must be less than a second apart. What differs is listed by replica.
Routes of other proxies that share the flag file are shown, but do not count, nor does advice about the page.
With --wait, the flags that count are those of the flag file as it is when the command begins, or later ones, whoever has \
edited them: `kubectl`, a pipeline, an editor. Nothing is written.
With NATS in `[fleet]`, all replicas are asked through it. One that another has heard of in the last minute, and that does \
not answer, is missing. While nobody answers there, admin listeners are asked, and it is said that they are not the fleet.

Examples:
  backsoon status
  backsoon status --watch
  backsoon status replica-1:9901 replica-2:9901
  backsoon status backsoon-headless:9901    all addresses of the name
  backsoon status --flags-only blue:9901 green:9902
  backsoon status --alive                   in the health check of a container
  backsoon status --wait --drained --replicas 3    after `kubectl apply`: once all have switched
  backsoon status --json | jq '.replicas[].status.routes[] | select(.phase != \"open\")'

Exit codes:
  0   all agree, and all is as it should be; with --alive: all answer; with --wait: all are as it was waited for
  1   they do not agree, or something is not as it should be: a file has an error, a warning or cannot be read, an edit is
      not believed yet, files are polled although events were wanted, the file on disk is not what the proxy has read, a
      guard found something, a check fails, a window overruns, a clock is off, a replica is missing, or a problem is reported
  3   with --drained: requests from before are in flight
  4   with --open: a route is not open
  64  the arguments or the config are wrong; with --wait: or the flag file is missing, or no text
  65  with --wait: a proxy refuses the flag file
  69  one of them, or the engine of `[fleet]`, cannot be reached, or there are fewer than --replicas
  75  with --wait: the flags are not in force in time";

/// Replica with its answer.
struct Replica {
    whom: Whom,
    answer: Answer,
    /// Descriptions of files whose content on disk the proxy has not read.
    unread: Vec<String>,
    /// Files that differed at the last look.
    looked: Vec<String>,
    /// Offset of the proxy's clock, if it told the time.
    clock: Option<Offset>,
    /// Last word of one that was asked through the engine.
    beat: Option<Beat>,
}

/// Answer of an admin listener.
type Answer = Result<(Status, Value), admin::Error>;

/// The things by which replicas are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Flag file, config and routes.
    All,
    /// Flag file and routes.
    FlagsOnly,
}

/// Common health of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    /// All replicas agree, and all is as it should be.
    Well,
    /// Something is not as it should be.
    Wrong,
    /// Replicas have different files, or routes in different phases.
    Apart,
    /// A replica that another one has heard of does not answer.
    Missing,
    /// A replica did not answer.
    Unreachable,
}

impl Health {
    fn code(self) -> u8 {
        match self {
            Self::Well => exit::OK,
            Self::Wrong | Self::Apart | Self::Missing => exit::DIFFERS,
            Self::Unreachable => exit::UNAVAILABLE,
        }
    }
}

impl StatusArgs {
    fn scope(&self) -> Scope {
        if self.flags_only { Scope::FlagsOnly } else { Scope::All }
    }
}

impl Replica {
    /// Compares an answer with the files on disk.
    fn at(endpoint: Endpoint, answer: Answer, clock: Option<Offset>) -> Self {
        let unread = answer.as_ref().map_or_else(|_| Vec::new(), |(status, _)| disk::unread(&endpoint, status));
        Self { whom: Whom::At(endpoint), answer, looked: unread.clone(), unread, clock, beat: None }
    }

    /// Looks at the files on disk again. A file that differs for the second time is unread. Returns true if the unread
    /// files have changed.
    fn look_at_disk(&mut self) -> bool {
        let (Ok((status, _)), Whom::At(endpoint)) = (&self.answer, &self.whom) else { return false };
        let fresh = disk::unread(endpoint, status);
        let still: Vec<String> = fresh.iter().filter(|file| self.looked.contains(*file)).cloned().collect();
        self.looked = fresh;
        let news = self.unread != still;
        self.unread = still;
        news
    }

    /// Returns the concerns about a replica. A replica that did not answer has none.
    fn concerns(&self, now: Timestamp) -> Vec<Concern> {
        if let Some(beat) = &self.beat {
            return beat.concerns.iter().map(|text| Concern { kind: Kind::Other, text: text.clone() }).collect();
        }
        self.answer.as_ref().map_or_else(|_| Vec::new(), |(status, _)| concerns(status, now))
    }

    /// Returns the number of requests in flight; `None` if it did not answer.
    fn in_flight(&self) -> Option<u64> {
        let listed = || Some(self.answer.as_ref().ok()?.0.routes.iter().map(|route| route.in_flight).sum());
        self.beat.as_ref().map(|beat| beat.in_flight).or_else(listed)
    }

    /// Returns what this machine alone can tell: files on disk that the proxy has not read, and a clock that is off.
    fn remarks(&self) -> Vec<String> {
        let clock = self.clock.as_ref().filter(|clock| clock.is_told());
        let clock = clock.map(|clock| format!("its clock, by which windows begin and end, is {clock}"));
        self.unread.iter().cloned().chain(clock).collect()
    }
}

/// Shows the status, once or repeatedly, or waits.
pub(super) fn run(args: &StatusArgs, streams: &mut Streams) -> Result<u8, Failure> {
    if args.wait.wait {
        return wait::run(args, streams);
    }
    if let Some(roll) = fleet::roll(args, streams)? {
        return fleet::run(args, roll, streams);
    }
    let endpoints = endpoints(args, streams)?;
    admin::expect(args.replicas, &endpoints)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
    runtime.block_on(async {
        if args.watch {
            return watch::run(args, &endpoints, streams).await;
        }
        if args.alive {
            return alive(&ask(&endpoints).await, streams);
        }
        let replicas = settled(&endpoints, args.scope()).await;
        let replicas: Vec<&Replica> = replicas.iter().collect();
        write!(streams.out, "{}", shown(args, &replicas))?;
        Ok(health(&replicas, args.scope()).code())
    })
}

/// Tells which proxies answer. What they answer does not matter: a container whose flag file has an error goes on serving,
/// and must not be restarted.
fn alive(replicas: &[Replica], streams: &mut Streams) -> Result<u8, Failure> {
    let mut code = exit::OK;
    for Replica { whom, answer, .. } in replicas {
        match answer {
            Ok((status, _)) => writeln!(streams.out, "{whom}  {}", status.stage)?,
            Err(error) => {
                writeln!(streams.out, "{whom}  {}", chain(error))?;
                code = exit::UNAVAILABLE;
            }
        }
    }
    Ok(code)
}

/// Returns the listeners to ask: those named, or that of the proxy that runs with the config.
fn endpoints(args: &StatusArgs, streams: &mut Streams) -> Result<Vec<Endpoint>, Failure> {
    match site::listeners(&args.admin, &args.config.config) {
        Ok((endpoints, notes)) => {
            notes.into_iter().try_for_each(|note| streams.note(note))?;
            Ok(endpoints)
        }
        Err(failure) => {
            if matches!(failure, Failure::Problems(_)) {
                streams
                    .note("a running proxy is asked all the same if it is named: `backsoon status 127.0.0.1:9901`")?;
            }
            Err(failure)
        }
    }
}

/// Asks all endpoints, and asks again while a proxy may be about to read its files or to reach the phase of another.
async fn settled(endpoints: &[Endpoint], scope: Scope) -> Vec<Replica> {
    let mut replicas = ask(endpoints).await;
    for _ in 0..LOOKS {
        let all: Vec<&Replica> = replicas.iter().collect();
        if all.iter().all(|replica| replica.unread.is_empty()) && differences(&all, scope).is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        replicas = ask(endpoints).await;
    }
    replicas
}

/// Asks all endpoints at once, and returns the answers in their order.
async fn ask(endpoints: &[Endpoint]) -> Vec<Replica> {
    let mut asking = JoinSet::new();
    for (index, endpoint) in endpoints.iter().cloned().enumerate() {
        asking.spawn(async move {
            let (answer, clock) = split(admin::status(&endpoint, PATIENCE).await);
            (index, Replica::at(endpoint, answer, clock))
        });
    }
    let mut replicas = asking.join_all().await;
    replicas.sort_unstable_by_key(|(index, _)| *index);
    replicas.into_iter().map(|(_, replica)| replica).collect()
}

/// Takes the offset of the clock out of an answer.
fn split(asked: Result<((Status, Value), Option<Offset>), admin::Error>) -> (Answer, Option<Offset>) {
    match asked {
        Ok((answer, clock)) => (Ok(answer), clock),
        Err(error) => (Err(error), None),
    }
}

fn health(replicas: &[&Replica], scope: Scope) -> Health {
    let of_each = replicas.iter().map(|replica| match &replica.answer {
        Err(admin::Error::Missing(_)) => Health::Missing,
        Err(_) => Health::Unreachable,
        Ok(_) if !replica.remarks().is_empty() || !replica.concerns(Timestamp::now()).is_empty() => Health::Wrong,
        Ok(_) => Health::Well,
    });
    let worst = of_each.max().unwrap_or(Health::Well);
    if differences(replicas, scope).is_empty() { worst } else { worst.max(Health::Apart) }
}

fn shown(args: &StatusArgs, replicas: &[&Replica]) -> String {
    if args.json {
        return format!("{}\n", as_json(replicas, args.scope()));
    }
    let mut text = String::new();
    let now = Timestamp::now();
    let (asked, heard): (Vec<&Replica>, Vec<&Replica>) =
        replicas.iter().partition(|replica| matches!(replica.whom, Whom::At(_)));
    for replica in asked {
        text.push_str(&table::replica(replica, now));
        text.push('\n');
    }
    if replicas.len() > 1 || !heard.is_empty() {
        text.push_str(&fleet::table(replicas, now));
        text.push('\n');
    }
    text.push_str(&table::verdict(replicas, args.scope()));
    text
}

fn as_json(replicas: &[&Replica], scope: Scope) -> Value {
    let of_each = replicas.iter().map(|replica| {
        let told = replica.concerns(Timestamp::now()).into_iter().map(|concern| concern.text);
        let concerns: Vec<String> = told.chain(replica.remarks()).collect();
        let (status, error) = match &replica.answer {
            Ok((_, value)) => (Some(value), None),
            Err(error) => (None, Some(chain(error))),
        };
        let admin = match &replica.whom {
            Whom::At(endpoint) => Some(endpoint.to_string()),
            Whom::Named(_) => replica.beat.as_ref().and_then(|beat| beat.admin.clone()),
        };
        json!({
            "replica": replica.whom.to_string(), "admin": admin, "status": status, "concerns": concerns, "error": error,
            "in_flight": replica.in_flight(),
        })
    });
    let differences = differences(replicas, scope);
    json!({
        "agree": differences.is_empty(),
        "differences": differences.iter().map(agree::Difference::as_json).collect::<Vec<_>>(),
        "well": health(replicas, scope) == Health::Well,
        "replicas": of_each.collect::<Vec<_>>(),
    })
}

/// Time for one replica's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Number of looks at a differing file on disk before the difference is told. A proxy takes milliseconds to read an
/// edit.
const LOOKS: usize = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Time between two looks at the files on disk, and between two requests where there are no events.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
