//! `backsoon on`: flags routes in the flag file.

use std::io::Write as _;
use std::path::Path;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::control::edit::routes;
use crate::files::write::Emptied;
use crate::plan::flags::Mode;

use super::confirm::{Goal, Wish};
use super::edit::{self, Entry};
use super::failure::Failure;
use super::remains::{self, Asked};
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::words::whole_seconds;
use super::{WaitFor, dry_run, words};

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
    site: SiteArgs,
}

/// Modes as arguments.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeWord {
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
A new flag replaces the old one whole, with its end and its message. The admin listener is asked for up to a second \
whether the flag is in force; with --wait until it is. While the config is broken, the running proxy says what it goes by.

Examples:
  backsoon on web                                   until `backsoon off web`
  backsoon on web api --for 30m --wait              back on its own; returns once it is live and drained
  backsoon on api --mode read-only --message \"Writes are paused while we move the database.\"
  backsoon on '*' --until 2026-05-19T15:00:00Z      everything
  backsoon on web --dry-run                         shows the edit, and writes nothing
  backsoon on web --wait --admin replica-1:9901 --admin replica-2:9901

Exit codes:
  0   the flag is written (with --wait: it is in force, and all earlier requests have ended)
  3   with --wait: in force, but not drained in time; the flag is written
  64  the arguments, the config or the flag file are wrong; nothing was written
  65  with --wait: the proxy refuses the flag file; the flag is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the flag is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force, with the reason for each route; the flag is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Flags the routes.
pub(super) fn run(args: &On, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::find(&args.site)?;
    site.note(streams)?;
    let routes = edit::deduplicated(&args.routes);
    if !args.force {
        routes.iter().try_for_each(|route| site.check_route(route))?;
    }
    let now = whole_seconds(Timestamp::now());
    let entry = entry(args, now)?;
    site.check_wait(&args.wait)?;
    let flag = |text: &str| Ok((routes::flag(text, &routes, &entry, now)?, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, flag, streams);
    }
    let fresh = site.is_new();
    let edited = site.edit(Emptied::Refused, flag)?;
    let asked = Asked(routes.clone());
    let wish = Wish::Closed(entry.mode, entry.until);
    let mut confirmation = site.confirmation(edited.text, asked.clone(), wish)?;
    confirmation.ask();
    let facts = confirmation.facts().unwrap_or_else(|| site.facts(&edited.flags, now));
    let differing = remains::differing(&asked, &entry, &facts, now);
    let known = if confirmation.is_in_force() && differing.is_empty() { None } else { Some(&*site.file) };
    writeln!(streams.out, "{}", summary(&routes, &entry, now, (known, edited.changed)))?;
    if fresh {
        streams.note(format_args!("made `{}`", site.file.display()))?;
    }
    edit::deduplicated(&differing).iter().try_for_each(|line| streams.note(line))?;
    args.wait.conclude(confirmation, Goal::Drained, streams)
}

fn entry(args: &On, now: Timestamp) -> Result<Entry, Failure> {
    let until = routes::end(args.until, args.span, now)?;
    Ok(Entry { until, message: args.message.clone(), ..Entry::of(args.mode.into()) })
}

/// Returns a summary: `web and api are offline until 15:00 UTC (30 min); backsoon off web api lifts them`.
///
/// `file` is given if the flag is not known to be in force, and is named then.
fn summary(routes: &[String], entry: &Entry, now: Timestamp, (file, changed): (Option<&Path>, bool)) -> String {
    let names: Vec<&str> = routes.iter().map(|route| if route == "*" { "every route" } else { route }).collect();
    let (be, lifts) = if names.len() == 1 { ("is", "lifts it") } else { ("are", "lifts them") };
    let already = if changed { "" } else { " already" };
    let flagged = file.map(|file| format!(" flagged in {}:", file.display())).unwrap_or_default();
    let until = remains::until(entry.until, now);
    let typed: Vec<&str> = routes.iter().map(|route| if route == "*" { "'*'" } else { route }).collect();
    let (what, how) = (words::being(entry.mode), typed.join(" "));
    format!("{} {be}{already}{flagged} {what}{until}; backsoon off {how} {lifts}", words::list(&names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_in_one_line() {
        let now: Timestamp = "2026-05-19T14:30:00Z".parse().unwrap();
        let entry = |mode, until: Option<&str>| Entry { until: until.map(|at| at.parse().unwrap()), ..Entry::of(mode) };
        let say = |routes: &[&str], entry, changed| {
            summary(&routes.iter().map(|&route| route.to_owned()).collect::<Vec<_>>(), &entry, now, (None, changed))
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
        let file = Some(Path::new("maintenance.toml"));
        assert_eq!(
            summary(&["web".to_owned()], &entry(Mode::Offline, None), now, (file, true)),
            "web is flagged in maintenance.toml: offline until lifted; backsoon off web lifts it"
        );
    }
}
