//! `backsoon report`: sums up downtimes from the history, for the post-mortem.

mod format;
mod tally;

use std::collections::BTreeSet;
use std::io;
use std::io::Write as _;
use std::path::Path;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::control::history::Reader;
use crate::plan::config::Config;
use crate::plan::problem::{did_you_mean, quoted};

use super::failure::{Failure, FlagFileSeen};
use super::flag_file;
use super::history::{self, StartTime};
use super::place::Place;
use super::streams::Streams;
use super::{ConfigFile, exit, words};

use tally::{Cause, Downtime, Tally};

/// The arguments of `report`.
#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Only these routes
    #[arg(value_name = "ROUTE")]
    routes: Vec<String>,
    /// Only the downtimes of this window, however long ago
    #[arg(long, value_name = "ID")]
    window: Option<String>,
    /// Only what was down since then: 30d, or an instant like 2026-05-19T14:00:00Z
    #[arg(short, long, value_name = "WHEN", value_parser = history::parse_since)]
    since: Option<StartTime>,
    /// Write the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The report is made of the history that the proxy writes on this host, for the last 30 days unless --since or --window is \
given. Overrun is the time after the end that the window had when the route went down. Requests are those of this proxy: \
answered with the page (refused), made to wait (held), broken off at the end of the drain (lost). Times are UTC.

Examples:
  backsoon report
  backsoon report --window MNT-2026-0519-a --markdown > post-mortem.md
  backsoon report web --since 90d --json | jq '.routes[].overrun_seconds'

Exit codes:
  0   shown, even if nothing was down
  64  the arguments or the config are wrong, or nothing tells of the window
  74  the history cannot be read, or the output not be written";

/// Report that was asked for.
struct Report {
    /// Begin of the time that is reported on; `None` for all of the history.
    since: Option<Timestamp>,
    now: Timestamp,
    downtimes: Vec<Downtime>,
}

/// Shows the report.
pub(super) fn run(args: &ReportArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let source = history::open(&args.config.config, streams)?;
    let now = Timestamp::now();
    let since = match (&args.since, &args.window) {
        (Some(since), _) => Some(since.instant(now)),
        (None, Some(_)) => None,
        (None, None) => now.checked_sub(DEFAULT).ok(),
    };
    let (all, damaged) = downtimes(source.reader, &source.path, now)?;
    if let Some(id) = &args.window {
        check_window(id, &all, source.config.as_ref())?;
    }
    let downtimes = all.into_iter().filter(|downtime| asked(args, downtime));
    let downtimes: Vec<Downtime> = match since {
        Some(since) => downtimes.filter_map(|downtime| downtime.since(since)).collect(),
        None => downtimes.collect(),
    };
    let report = Report { since, now, downtimes };
    match (args.json, args.markdown) {
        (true, _) => writeln!(streams.data(), "{:#}", format::json(&report))?,
        (_, true) => streams.data().write_all(format::markdown(&report).as_bytes())?,
        _ => write!(streams.out, "{}", format::text(&report))?,
    }
    streams.out.flush()?;
    if damaged > 0 {
        streams.note(format_args!("{} of the history left out: damaged", words::count(damaged, "line")))?;
    }
    let known: Vec<&str> =
        source.config.iter().flat_map(|config| &config.routes).map(|route| route.name.as_str()).collect();
    for route in args.routes.iter().filter(|route| !known.is_empty() && !known.contains(&route.as_str())) {
        let near = did_you_mean(route, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        streams.note(format_args!("the config has no route {}{}", quoted(route), near.unwrap_or_default()))?;
    }
    Ok(exit::OK)
}

/// Demands that the history or the flag file has a window. A mistyped id must not read as "nothing was down".
fn check_window(id: &str, all: &[Downtime], config: Option<&Config>) -> Result<(), Failure> {
    let causes = all.iter().flat_map(|downtime| &downtime.parts).map(|part| &part.cause);
    let told: BTreeSet<&String> = causes
        .filter_map(|cause| match cause {
            Cause::Window(id) => Some(id),
            Cause::Flag | Cause::Guard | Cause::LostState | Cause::Other(_) => None,
        })
        .collect();
    if told.iter().any(|told| *told == id) {
        return Ok(());
    }
    let flags = config.and_then(|config| flag_file::flags(&Place::of(config)).ok());
    let flag_file = if flags.is_some() { FlagFileSeen::Read } else { FlagFileSeen::Unreadable };
    let mut known = flags.map(|flags| flags.ids()).unwrap_or_default();
    if known.iter().any(|known| known == id) {
        return Ok(());
    }
    known.extend(told.into_iter().filter(|told| !known.contains(*told)).cloned().collect::<Vec<_>>());
    Err(Failure::Untold { id: id.to_owned(), known, flag_file })
}

/// Reads the history to its end. Returns the downtimes, and the number of damaged lines.
fn downtimes(mut reader: Reader, path: &Path, now: Timestamp) -> Result<(Vec<Downtime>, usize), Failure> {
    let unreadable = |source: io::Error| Failure::File { verb: "read the history in", path: path.to_owned(), source };
    let mut tally = Tally::default();
    while let Some(line) = reader.line().map_err(unreadable)? {
        line.entry.iter().for_each(|entry| tally.take(entry));
    }
    reader.rest().and_then(|line| line.entry).iter().for_each(|entry| tally.take(entry));
    Ok((tally.finish(now), reader.damaged()))
}

/// Returns true if a downtime is of a route and a window that were asked for.
fn asked(args: &ReportArgs, downtime: &Downtime) -> bool {
    let of_route = args.routes.is_empty() || args.routes.contains(&downtime.route);
    let is = |id: &String, cause: &Cause| matches!(cause, Cause::Window(window) if window == id);
    let of_window = args.window.as_ref().is_none_or(|id| downtime.parts.iter().any(|part| is(id, &part.cause)));
    of_route && of_window
}

/// Time that is reported on unless another is asked for.
const DEFAULT: SignedDuration = SignedDuration::from_hours(30 * 24);
