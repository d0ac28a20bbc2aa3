//! `backsoon off`: lifts flags from the flag file.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;

use super::edit::{self, EditError, FlagSource, Lifted, OtherFlag, Selection, TableRef};
use super::failure::Failure;
use super::flag_file::FlagFile;
use super::on::report_live;
use super::streams::Streams;
use super::wait::{Live, Wait};
use super::words::harmless;
use super::{ConfigFile, WaitFor, exit, words};
use crate::files::write::Emptied;

/// The arguments of `off`.
#[derive(Args, Debug)]
pub(super) struct Off {
    /// Routes by their names; '*' is the flag of that name
    #[arg(required_unless_present_any = ["all", "window"], conflicts_with = "all", value_name = "ROUTE")]
    routes: Vec<String>,
    /// Lift every flag (windows stay)
    #[arg(short, long)]
    all: bool,
    /// End this window now
    #[arg(long, value_name = "ID", conflicts_with_all = ["routes", "all", "force"])]
    window: Option<String>,
    /// Open the routes even if their checks or guards have failed
    #[arg(long, conflicts_with = "all")]
    force: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The flag's line is removed from the flag file; comments, layout and planned windows stay. A window or a flag '*' that \
still flags the route is reported. The route comes back as its config says: after checks (`verify`), or gradually (`ramp`). \
--force skips the checks, and opens a route that its guard has closed.

Examples:
  backsoon off web
  backsoon off --all --wait         returns once it is live
  backsoon off --window MNT-2026-0519-a
  backsoon off web --force          even if checks fail

Exit codes:
  0   the flags are gone, or there were none (with --wait: the change is live)
  64  the arguments, the config or the flag file are wrong; nothing was written
  69  with --wait: the admin listener cannot be reached; the file is written
  74  the flag file cannot be read or written
  75  with --wait: not live in time; the file is written";

/// Lifts the flags.
pub(super) fn run(args: &Off, streams: &mut Streams) -> Result<u8, Failure> {
    let file = FlagFile::of(&args.config.config)?;
    let wait = args.wait.wait(&file, &args.config.config)?;
    if let Some(id) = &args.window {
        return end_window(id, &file, wait, streams);
    }
    let which = if args.all { Selection::All } else { Selection::Routes(&args.routes) };
    // A route that only the flag file has may be lifted. A name that neither has is a typo, and then nothing is done.
    let all_known = |lifted: &Lifted| lifted.absent.iter().try_for_each(|route| file.check_route(route));
    let emptied = if args.all { Emptied::Taken } else { Emptied::Refused };
    let edited = file.edit_even(emptied, |text| {
        let lifted = edit::off(text, which)?;
        if all_known(&lifted).is_err() {
            return Ok((text.to_owned(), lifted));
        }
        let new =
            if args.force { with_forced(&lifted.text, &args.routes, Timestamp::now())? } else { lifted.text.clone() };
        Ok((new, lifted))
    })?;
    all_known(&edited.report)?;
    for line in summary(&edited.report, Timestamp::now()) {
        writeln!(streams.out, "{line}")?;
    }
    if args.force {
        writeln!(streams.out, "whatever was found of {} before now is overruled", words::list(&names(&args.routes)))?;
    }
    if let Some(wait) = wait {
        let live = wait.until_live(&file.path, &edited.text)?;
        report_live(&live, streams)?;
        note_returning(&live, &edited.report, streams)?;
    }
    Ok(exit::OK)
}

/// Notes the phases of the routes that did not open at once.
fn note_returning(live: &Live, lifted: &Lifted, streams: &mut Streams) -> Result<(), Failure> {
    let asked = |name: &str| lifted.removed.iter().chain(&lifted.absent).any(|route| route == "*" || route == name);
    for route in live.routes.iter().filter(|route| route.phase != "open" && asked(&route.name)) {
        let (name, phase, why) = (harmless(&route.name), harmless(&route.phase), harmless(&route.why));
        streams.note(format_args!("{name} is {phase}: {why}"))?;
    }
    Ok(())
}

/// Ends a window now.
fn end_window(id: &str, file: &FlagFile, wait: Option<Wait>, streams: &mut Streams) -> Result<u8, Failure> {
    let flags = file.flags()?;
    let now = whole_seconds(Timestamp::now());
    let Some(window) = flags.windows.iter().find(|window| window.id == id) else {
        let known = flags.windows.iter().map(|window| window.id.clone()).collect();
        return Err(Failure::NoWindow { id: id.to_owned(), known });
    };
    if window.in_force(now).is_none() {
        writeln!(streams.out, "window {id} is not in force")?;
        return Ok(exit::OK);
    }
    let keys = [("ended", Some(now.to_string()))];
    let edited = file.edit(|text| edit::set(text, TableRef::Window(id), &keys).map(|text| (text, ())))?;
    writeln!(streams.out, "window {id} is ended")?;
    if let Some(wait) = wait {
        report_live(&wait.until_live(&file.path, &edited.text)?, streams)?;
    }
    Ok(exit::OK)
}

/// Records in the text that an operator opens routes regardless of checks and guards.
fn with_forced(text: &str, routes: &[String], now: Timestamp) -> Result<String, EditError> {
    let keys: Vec<_> = routes.iter().map(|route| (route.as_str(), Some(now.to_string()))).collect();
    edit::set(text, TableRef::TopLevel("forced"), &keys)
}

/// Cuts an instant to whole seconds, because people read the file.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Returns a line for what was done, and one for each other entry that flags the routes.
fn summary(lifted: &Lifted, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if !lifted.removed.is_empty() {
        let flags = if lifted.removed.len() == 1 { "the flag" } else { "the flags" };
        lines.push(format!("lifted {flags} of {}", words::list(&names(&lifted.removed))));
    }
    if !lifted.absent.is_empty() {
        lines.extend(lifted.absent.iter().map(|route| match route.as_str() {
            "*" => "there was no flag for every route".to_owned(),
            route => format!("{route} had no flag of its own"),
        }));
    } else if lifted.removed.is_empty() {
        lines.push("there was no flag to lift".to_owned());
    }
    lines.extend(lifted.others.iter().filter_map(|other| describe_other(other, now)));
    lines
}

fn names(routes: &[String]) -> Vec<&str> {
    routes.iter().map(|route| if route == "*" { "every route" } else { route.as_str() }).collect()
}

/// Describes an entry that flags a route now or later; `None` for a window that is over.
fn describe_other(other: &OtherFlag, now: Timestamp) -> Option<String> {
    let name = if other.route == "*" { "every route" } else { &other.route };
    let FlagSource::Window { id, starts, ends } = &other.source else {
        return Some(format!("{name} is still flagged by \"*\"; backsoon off '*' lifts that"));
    };
    let window = if id.is_empty() { "a window".to_owned() } else { format!("window `{id}`") };
    let until = ends.map(|ends| format!(" until {}", words::instant(ends, now))).unwrap_or_default();
    match starts {
        _ if ends.is_some_and(|ends| ends <= now) => None,
        Some(starts) if *starts > now => {
            Some(format!("{window} will flag {name} from {}{until}", words::instant(*starts, now)))
        }
        _ => Some(format!("{name} is still flagged by {window}{until}; backsoon off --window {id} ends it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_flags_a_route_is_said_and_what_is_over_is_not() {
        let now: Timestamp = "2026-05-19T14:30:00Z".parse().unwrap();
        let window = |starts: &str, ends: &str| FlagSource::Window {
            id: "M-1".to_owned(),
            starts: Some(starts.parse().unwrap()),
            ends: Some(ends.parse().unwrap()),
        };
        let say = |by| describe_other(&OtherFlag { route: "web".to_owned(), source: by }, now);
        assert_eq!(
            say(window("2026-05-19T14:00:00Z", "2026-05-19T15:00:00Z")).as_deref(),
            Some("web is still flagged by window `M-1` until 15:00 UTC; backsoon off --window M-1 ends it")
        );
        assert_eq!(
            say(window("2026-05-19T16:00:00Z", "2026-05-19T17:00:00Z")).as_deref(),
            Some("window `M-1` will flag web from 16:00 UTC until 17:00 UTC")
        );
        assert_eq!(say(window("2026-05-19T13:00:00Z", "2026-05-19T14:30:00Z")), None);
        assert_eq!(
            say(FlagSource::Every).as_deref(),
            Some("web is still flagged by \"*\"; backsoon off '*' lifts that")
        );
    }
}
