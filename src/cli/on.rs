//! `backsoon on`: flags routes in the flag file.

use std::io::Write as _;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::plan::flags::Mode;
use crate::plan::snapshot::{Snapshot, Source};

use super::edit::{self, Entry};
use super::failure::Failure;
use super::flag_file::FlagFile;
use super::streams::{GOOD, Streams, styled};
use super::wait::Live;
use super::{ConfigFile, WaitFor, exit, words};

/// The arguments of `on`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("end").args(["span", "until"]))]
pub(super) struct On {
    /// Routes by their names in the config; '*' is every route
    #[arg(required = true, value_name = "ROUTE")]
    routes: Vec<String>,
    /// Effect of the flag on the routes
    #[arg(short, long, value_enum, default_value_t = ModeWord::Offline)]
    mode: ModeWord,
    /// Lift by itself after this time: 45s, 30m, 1h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = words::parse_span)]
    span: Option<SignedDuration>,
    /// Lift by itself at this instant: 2026-05-19T15:00:00Z
    #[arg(short, long, value_name = "INSTANT", value_parser = words::parse_instant)]
    until: Option<Timestamp>,
    /// Say this on the page, in place of the built-in words
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Accept a route that the config does not have, because one flag file can serve several proxies
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    config: ConfigFile,
}

/// Modes as arguments.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeWord {
    /// Every request is answered with the maintenance page
    Offline,
    /// Reading goes on, the rest is answered with the page
    ReadOnly,
    /// Requests wait until the route is back; after too long a wait, or behind too many others, they get the page
    Hold,
}

impl From<ModeWord> for Mode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::Offline => Self::Offline,
            ModeWord::ReadOnly => Self::ReadOnly,
            ModeWord::Hold => Self::Hold,
        }
    }
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The flag file is found through the config and edited in place: comments and layout stay. A missing file is created. \
A new flag replaces the old one whole, with its end and its message.

Examples:
  backsoon on web                                   until `backsoon off web`
  backsoon on web api --for 30m --wait              back on its own; returns once it is live and drained
  backsoon on api --mode read-only --message \"Writes are paused while we move the database.\"
  backsoon on '*' --until 2026-05-19T15:00:00Z      everything

Exit codes:
  0   the flag is written (with --wait: it is live, and all earlier requests have ended)
  3   with --wait: live, but not drained in time; the flag is written
  64  the arguments, the config or the flag file are wrong; nothing was written
  69  with --wait: the admin listener cannot be reached; the flag is written
  74  the flag file cannot be read or written
  75  with --wait: not live in time; the flag is written";

/// Flags the routes.
pub(super) fn run(args: &On, streams: &mut Streams) -> Result<u8, Failure> {
    let file = FlagFile::of(&args.config.config)?;
    if !args.force {
        args.routes.iter().try_for_each(|route| file.check_route(route))?;
    }
    let now = Timestamp::now();
    let entry = entry(args, now)?;
    let wait = args.wait.wait(&file, &args.config.config)?;
    let fresh = !file.path.exists();
    let edited = file.edit(|text| edit::on(text, &args.routes, &entry).map(|text| (text, ())))?;
    writeln!(streams.out, "{}", summary(&args.routes, &entry, now, edited.changed))?;
    if fresh {
        streams.note(format_args!("made `{}`", file.path.display()))?;
    }
    for line in stricter_flags(&file.snapshot(&edited.flags, now), &args.routes, entry.mode) {
        streams.note(line)?;
    }
    if let Some(wait) = wait {
        report_live(&wait.until_drained(&file.path, &edited.text, &args.routes)?, streams)?;
        writeln!(streams.out, "nothing is in flight that began before")?;
    }
    Ok(exit::OK)
}

/// Prints that a change is live, where and since which generation.
pub(super) fn report_live(live: &Live, streams: &mut Streams) -> Result<(), Failure> {
    let word = styled(GOOD, "live");
    writeln!(streams.out, "{word} at {}, generation {}", live.endpoint, live.generation)?;
    Ok(())
}

fn entry(args: &On, now: Timestamp) -> Result<Entry, Failure> {
    let until = match (args.until, args.span) {
        (Some(until), _) => Some(until),
        // Whole seconds, because people read the file.
        (None, Some(span)) => Timestamp::from_second(now.as_second()).and_then(|now| now.checked_add(span)).ok(),
        (None, None) => None,
    };
    if until.is_some_and(|until| until <= now) {
        return Err(Failure::Past);
    }
    Ok(Entry { mode: args.mode.into(), until, message: args.message.clone() })
}

/// Returns a summary: `web and api are offline until 15:00 UTC (30 min); backsoon off web api lifts them`.
fn summary(routes: &[String], entry: &Entry, now: Timestamp, changed: bool) -> String {
    let names: Vec<&str> = routes.iter().map(|route| if route == "*" { "every route" } else { route }).collect();
    let (be, lifts) = if names.len() == 1 { ("is", "lifts it") } else { ("are", "lifts them") };
    let already = if changed { "" } else { " already" };
    let until = entry.until.map_or_else(
        || " until lifted".to_owned(),
        |until| format!(" until {} ({})", words::instant(until, now), words::span(now, until)),
    );
    let typed: Vec<&str> = routes.iter().map(|route| if route == "*" { "'*'" } else { route }).collect();
    let (what, how) = (words::being(entry.mode), typed.join(" "));
    format!("{} {be}{already} {what}{until}; backsoon off {how} {lifts}", words::list(&names))
}

/// Returns a note for each route on which another flag or window is stricter than the new flag.
fn stricter_flags(snapshot: &Snapshot, routes: &[String], mode: Mode) -> Vec<String> {
    let asked =
        snapshot.routes.iter().filter(|route| routes.iter().any(|name| name == "*" || *name == route.config.name));
    asked
        .filter_map(|route| {
            let closure = route.closure.as_ref().filter(|closure| closure.mode > mode)?;
            let by = match &closure.source {
                Source::Flag => "another flag".to_owned(),
                Source::Window(id) => format!("window `{id}`"),
            };
            Some(format!("{} is {} all the same: {by} is stricter", route.config.name, words::being(closure.mode)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_in_one_line() {
        let now: Timestamp = "2026-05-19T14:30:00Z".parse().unwrap();
        let entry =
            |mode, until: Option<&str>| Entry { mode, until: until.map(|at| at.parse().unwrap()), message: None };
        let say = |routes: &[&str], entry, changed| {
            summary(&routes.iter().map(|&route| route.to_owned()).collect::<Vec<_>>(), &entry, now, changed)
        };
        assert_eq!(
            say(&["web"], entry(Mode::Offline, Some("2026-05-19T15:00:00Z")), true),
            "web is offline until 15:00 UTC (30 min); backsoon off web lifts it"
        );
        assert_eq!(
            say(&["web", "api"], entry(Mode::ReadOnly, None), true),
            "web and api are read-only until lifted; backsoon off web api lifts them"
        );
        assert_eq!(
            say(&["*"], entry(Mode::Hold, None), false),
            "every route is already on hold until lifted; backsoon off '*' lifts it"
        );
    }
}
