//! `backsoon upstream`: takes single upstreams out of their routes for maintenance, and back.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::files::write::Emptied;
use crate::plan::config::Config;
use crate::plan::flags::{Withdrawal, Withdrawn};

use super::edit::{self, TableRef};
use super::failure::{EditFailure, Failure};
use super::refusal::Refusal;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, dry_run, exit, planning, words};

/// The arguments of `upstream`.
#[derive(Args, Debug)]
pub(super) struct UpstreamArgs {
    /// Take them out, or back
    #[arg(value_enum, value_name = "ACTION")]
    action: Action,
    /// Upstreams by their addresses, or machines by their hosts
    #[arg(required = true, value_name = "UPSTREAM")]
    upstreams: Vec<String>,
    /// Write upstreams that no route of the config has, too
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

/// Effect on the upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// No new clients: what is in flight goes on
    Drain,
    /// No request at all: what is in flight goes on
    Down,
    /// Take them back
    Up,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
One line is written into `[upstreams]` of the flag file, or removed from it; comments and layout stay. Every route goes \
on with its other upstreams; one that has none left answers 503. Checks and guards do not ask after an upstream that is \
out. A host without a port means all upstreams on that machine.

Examples:
  backsoon upstream drain 10.0.0.3:8080 --wait     returns once nothing is in flight there
  backsoon upstream down app-2.internal
  backsoon upstream up 10.0.0.3:8080

Exit codes:
  0   the line is written (with --wait: it is in force, and nothing is in flight at an upstream that is out)
  3   with --wait: in force, but something is still in flight; the line is written
  64  the arguments, the config or the flag file are wrong; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Takes the upstreams out, or back.
pub(super) fn run(args: &UpstreamArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::to_edit(&args.site, &args.wait, streams)?;
    let names = edit::deduplicated(&args.upstreams);
    let flags = site.flags()?;
    let how = match args.action {
        Action::Drain => Some(Withdrawn::Drain),
        Action::Down => Some(Withdrawn::Down),
        Action::Up => None,
    };
    if let (Some(config), Some(_), false) = (site.config(), how, args.force) {
        names.iter().try_for_each(|name| check(config, name))?;
    }
    // An upstream may be written in several ways. One that is taken back must not stay out by another.
    let same = |name: &str| -> Vec<String> {
        let written = flags.upstreams.iter().filter(|one| is_same(site.config(), &one.upstream, name));
        written.map(|one| one.upstream.clone()).collect()
    };
    let mut lines: Vec<(String, Option<String>)> = Vec::new();
    for name in &names {
        lines.extend(same(name).into_iter().filter(|other| how.is_none() || other != name).map(|other| (other, None)));
        lines.extend(how.map(|how| (name.clone(), Some(format!("\"{}\"", how.as_str())))));
    }
    let keys: Vec<(&str, Option<String>)> = lines.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let edit = |text: &str| edit::set(text, TableRef::TopLevel("upstreams"), &keys).map(|text| (text, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let edited = site.edit(Emptied::Refused, edit)?;
    for name in &names {
        let was_out = edited.changed || how.is_some();
        writeln!(streams.out, "{}", told(name, how, was_out))?;
    }
    let left = edited.flags.upstreams.iter().filter(|one| how.is_none() && still_out(site.config(), one, &names));
    for one in left {
        streams.note(format_args!("`{}` = \"{}\" still takes it out", one.upstream, one.how.as_str()))?;
    }
    let code = planning::finish(&site, edited.text, &args.wait, planning::WORDS, streams)?;
    if !args.wait.wait || how.is_none() || code != exit::OK {
        return Ok(code);
    }
    await_idle(&site, &names, args.wait.timeout.unsigned_abs(), streams)
}

fn told(name: &str, how: Option<Withdrawn>, was_out: bool) -> String {
    match how {
        Some(Withdrawn::Drain) => {
            format!("{name} drains: it gets no new clients; backsoon upstream up {name} takes it back")
        }
        Some(Withdrawn::Down) => {
            format!("{name} is down: it gets no request; backsoon upstream up {name} takes it back")
        }
        None if was_out => format!("{name} is taken back"),
        None => format!("{name} was not out"),
    }
}

/// Demands that a route has an upstream of this name.
fn check(config: &Config, name: &str) -> Result<(), Failure> {
    if !shown(config, name).is_empty() {
        return Ok(());
    }
    let named = config.routes.iter().flat_map(|route| route.named_upstreams());
    let known = named.map(|(upstream, name)| name.map_or_else(|| upstream.address.authority(), str::to_owned));
    let known: BTreeSet<String> = known.collect();
    Err(Failure::Edit(EditFailure::Refused(Refusal::NoUpstream(name.to_owned(), known.into_iter().collect()))))
}

/// Returns the upstreams of a config that a name means, as `/status` has them.
fn shown(config: &Config, name: &str) -> BTreeSet<String> {
    let meant = Withdrawal { upstream: name.to_owned(), how: Withdrawn::Down };
    let named = config.routes.iter().flat_map(|route| route.named_upstreams());
    named.filter(|named| meant.is(*named)).map(|(upstream, _)| upstream.to_string()).collect()
}

/// Returns true if two names mean the same upstreams.
fn is_same(config: Option<&Config>, one: &str, other: &str) -> bool {
    let meant = |name: &str| config.map(|config| shown(config, name)).unwrap_or_default();
    one == other || !meant(one).is_empty() && meant(one) == meant(other)
}

/// Returns true if an entry takes out one of the named upstreams.
fn still_out(config: Option<&Config>, entry: &Withdrawal, names: &[String]) -> bool {
    let Some(config) = config else { return false };
    let out = shown(config, &entry.upstream);
    names.iter().any(|name| !shown(config, name).is_disjoint(&out))
}

/// Waits until no proxy has anything in flight at the upstreams.
fn await_idle(site: &Site, names: &[String], timeout: Duration, streams: &mut Streams) -> Result<u8, Failure> {
    let meant: BTreeSet<String> =
        site.config().iter().flat_map(|config| names.iter().flat_map(|name| shown(config, name))).collect();
    let deadline = Instant::now() + timeout;
    loop {
        let pending = site.in_flight_at(&meant);
        if pending == 0 {
            writeln!(streams.out, "nothing is in flight there")?;
            return Ok(exit::OK);
        }
        if Instant::now() >= deadline {
            let requests = words::count(usize::try_from(pending).unwrap_or(usize::MAX), "request");
            streams.note(format_args!("still in flight there after {} s: {requests}", timeout.as_secs()))?;
            return Ok(exit::NOT_DRAINED);
        }
        thread::sleep(ASK_EVERY);
    }
}

const ASK_EVERY: Duration = Duration::from_millis(100);
