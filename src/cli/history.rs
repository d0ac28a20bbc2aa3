//! `backsoon history`: shows transitions of routes and edits of files. The lines come from the proxy's files, so the
//! proxy need not run.

mod format;

use std::collections::VecDeque;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::history::{Event, Line, Reader};
use crate::control::state::StateDir;
use crate::plan::config::Config;
use crate::plan::problem::{did_you_mean, quoted};

use super::failure::Failure;
use super::flag_file::FlagFile;
use super::streams::Streams;
use super::{ConfigFile, exit, runtime, site, words};

/// The arguments of `history`.
#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// Only what happened to this route; may be given again
    #[arg(short, long = "route", value_name = "ROUTE")]
    routes: Vec<String>,
    /// Only what was written since then: 2h for the last two hours, or an instant like 2026-05-19T14:00:00Z
    #[arg(short, long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<StartTime>,
    /// Number of lines, the latest ones; 0 for all
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Write the lines as they are: a JSON object each
    #[arg(long)]
    json: bool,
    /// Keep showing new lines, until interrupted
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Start of the part to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartTime {
    Ago(SignedDuration),
    At(Timestamp),
}

/// Parses how long ago something was, or an instant.
///
/// # Errors
/// A message with the right form.
pub(super) fn parse_since(text: &str) -> Result<StartTime, String> {
    if let Ok(span) = words::parse_span(text) {
        return Ok(StartTime::Ago(span));
    }
    match words::parse_instant(text) {
        Ok(at) => Ok(StartTime::At(at)),
        // For a date or a time, the message says what is missing. Any other text may be meant as a span or an instant.
        Err(lacks) if text.contains([':', '-']) => Err(lacks),
        Err(_) => Err("write how long ago that is, like `30m` or `2h`, or an instant".to_owned()),
    }
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The proxy writes the history into `state_dir` of the config; without that into $STATE_DIRECTORY, which systemd sets for \
`StateDirectory=`, else into `.backsoon` beside the config. Times are UTC. Beyond 20 MiB, old lines are removed.

Examples:
  backsoon history
  backsoon history --route web --since 2h
  backsoon history --follow
  backsoon history -n 0 --json | jq -r 'select(.event == \"phase\" and .to == \"closed\") | [.time, .route, .why] | @tsv'

Exit codes:
  0   shown, even if there is nothing to show
  64  the arguments or the config are wrong
  74  the history cannot be read, or the output not be written";

/// Shows the history.
pub(super) fn run(args: &HistoryArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let Recorded { config, reader, path } = open(&args.config.config, streams)?;
    let config = config.as_ref();
    let since = args.since.map(|since| since.instant(Timestamp::now()));
    let mut printer = HistoryPrinter {
        args,
        since,
        width: config.map_or(0, format::width),
        reader,
        path: &path,
        any: false,
        unknown: 0,
    };
    if !args.follow {
        printer.print_existing(streams)?;
        printer.print_notes(config, streams)?;
        return Ok(exit::OK);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
    runtime.block_on(async {
        // The handler comes before the first line, since a reader of that line may interrupt at once.
        let interrupt = signal(SignalKind::interrupt()).map_err(Failure::Internal)?;
        printer.print_existing(streams)?;
        printer.print_notes(config, streams)?;
        printer.follow(interrupt, streams).await
    })?;
    Ok(exit::OK)
}

/// History of a proxy, and its config.
pub(super) struct Recorded {
    /// The config; `None` if it is broken.
    pub(super) config: Option<Config>,
    /// Reader at the oldest line.
    pub(super) reader: Reader,
    /// Directory of the history.
    pub(super) path: PathBuf,
}

/// Opens the history of the proxy with this config.
///
/// # Errors
/// If the config is missing, or the history cannot be read.
pub(super) fn open(config_file: &Path, streams: &mut Streams) -> Result<Recorded, Failure> {
    let config = config(config_file, streams)?;
    let state_dir = match &config {
        Some(config) => config.state_dir.clone(),
        None => runtime::state_dir(config_file),
    };
    let dir = StateDir::of_process(config_file, state_dir.as_deref());
    let path = dir.path().to_owned();
    let reader = Reader::open(dir).map_err(unreadable(&path))?;
    Ok(Recorded { config, reader, path })
}

/// Reads the config. A broken config is only noted, since the history is in other files.
fn config(file: &Path, streams: &mut Streams) -> Result<Option<Config>, Failure> {
    match FlagFile::of(file) {
        Ok(FlagFile { config, .. }) => Ok(Some(config)),
        Err(Failure::Problems(problems)) if file.exists() => {
            streams.note(site::described(file, &problems))?;
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Printer of the lines that were asked for.
struct HistoryPrinter<'a> {
    args: &'a HistoryArgs,
    since: Option<Timestamp>,
    width: usize,
    reader: Reader,
    path: &'a Path,
    /// True once a line was read.
    any: bool,
    /// Number of lines that this version cannot put into words.
    unknown: usize,
}

impl HistoryPrinter<'_> {
    /// Shows the lines that exist.
    fn print_existing(&mut self, streams: &mut Streams) -> Result<(), Failure> {
        let mut latest = VecDeque::new();
        while let Some(line) = self.next(ReadUntil::End)? {
            if self.args.lines == 0 {
                self.print_line(&line, streams)?;
                continue;
            }
            if latest.len() == self.args.lines {
                latest.pop_front();
            }
            latest.push_back(line);
        }
        latest.iter().try_for_each(|line| self.print_line(line, streams))
    }

    /// Shows lines as they are added. Cancel safe: every line that was read was shown.
    async fn follow(&mut self, mut interrupt: Signal, streams: &mut Streams) -> Result<(), Failure> {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Some(line) = self.next(ReadUntil::Now)? {
                self.print_line(&line, streams)?;
            }
            streams.out.flush()?;
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = every.tick() => {}
            }
            self.reader.look_again().map_err(unreadable(self.path))?;
        }
    }

    /// Returns the next line that was asked for.
    fn next(&mut self, until: ReadUntil) -> Result<Option<Line>, Failure> {
        loop {
            let line = match self.reader.line().map_err(unreadable(self.path))? {
                // With `--follow`, the rest of an incomplete line may still come.
                None if until == ReadUntil::End && !self.args.follow => self.reader.rest(),
                line => line,
            };
            let Some(line) = line else { return Ok(None) };
            self.any = true;
            if self.matches(&line) {
                return Ok(Some(line));
            }
        }
    }

    fn matches(&mut self, line: &Line) -> bool {
        let asked = |route: &String| self.args.routes.is_empty() || self.args.routes.contains(route);
        let late_enough = self.since.is_none_or(|since| line.time >= since);
        late_enough
            && match line.entry.as_ref().map(|entry| &entry.event) {
                Some(Event::Phase { route, .. }) => asked(route),
                // The lost entries may have been about any route.
                Some(Event::Gap { .. }) => true,
                Some(Event::Started { .. } | Event::Ended | Event::Edit { .. }) => self.args.routes.is_empty(),
                // A reader of JSON may understand lines of newer versions.
                None if self.args.json => self.args.routes.is_empty(),
                None => {
                    self.unknown += 1;
                    false
                }
            }
    }

    fn print_line(&self, line: &Line, streams: &mut Streams) -> Result<(), Failure> {
        let text = match &line.entry {
            Some(entry) if !self.args.json => format::entry(entry, self.width),
            Some(_) | None => format::json(&line.text),
        };
        writeln!(streams.out, "{text}")?;
        Ok(())
    }

    /// Notes which lines are not shown, and the likely reason.
    fn print_notes(&mut self, config: Option<&Config>, streams: &mut Streams) -> Result<(), Failure> {
        streams.out.flush()?;
        if !self.any {
            let place = words::harmless(&self.path.display().to_string());
            streams.note(format_args!(
                "nothing is recorded in `{place}`; under systemd it may be elsewhere: name it by `state_dir` in the config"
            ))?;
        }
        for (route, config) in self.args.routes.iter().filter_map(|route| Some((route, config?))) {
            if config.routes.iter().all(|known| known.name != *route) {
                let near = did_you_mean(route, config.routes.iter().map(|known| known.name.as_str()));
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                streams.note(format_args!("the config has no route {}{near}", quoted(route)))?;
            }
        }
        let damaged = self.reader.damaged();
        if damaged > 0 {
            streams.note(format_args!("{} left out: damaged", words::count(damaged, "line")))?;
        }
        if self.unknown > 0 {
            let lines = words::count(self.unknown, "line");
            streams.note(format_args!("{lines} left out: another version wrote them, `--json` shows them"))?;
        }
        Ok(())
    }
}

/// Extent of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadUntil {
    /// To the last byte, even if the last line is incomplete.
    End,
    /// To the last complete line.
    Now,
}

impl StartTime {
    /// Returns the instant that is meant.
    pub(super) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.checked_sub(span).unwrap_or(Timestamp::MIN),
        }
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<'_> {
    move |source| Failure::File { verb: "read the history in", path: path.to_owned(), source }
}

/// Time between two reads of `--follow`; to a person it looks immediate.
const EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_length_or_an_instant_and_says_what_it_lacks() {
        let now: Timestamp = "2026-05-19T14:00:00Z".parse().unwrap();
        let since = |text: &str| parse_since(text).unwrap().instant(now).to_string();
        assert_eq!(since("2h"), "2026-05-19T12:00:00Z");
        assert_eq!(since("1 day"), "2026-05-18T14:00:00Z");
        assert_eq!(since("2026-05-19T14:00:00+02:00"), "2026-05-19T12:00:00Z");
        assert!(parse_since("2026-05-19T14:00").unwrap_err().contains("time zone"));
        assert!(parse_since("2026-05-19").unwrap_err().contains("no time of day"));
        for neither in ["yesterday", "2", "1 month", ""] {
            assert!(parse_since(neither).unwrap_err().contains("how long ago"), "{neither}");
        }
    }
}
