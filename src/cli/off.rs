//! `backsoon off`: lifts flags from the flag file.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;

use crate::control::edit::routes::Lifting;
use crate::control::edit::windows;
use crate::files::write::Emptied;
use crate::plan::flags::{Lift, Pace};

use super::confirm::{Goal, Wish};
use super::edit::{self, Lifted, Selection, TableRef};
use super::failure::Failure;
use super::flag_file::Edited;
use super::remains::{self, Asked};
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::words::whole_seconds;
use super::{WaitFor, dry_run, exit, words};

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
    /// Let everybody in at once after the checks: no ramp
    #[arg(long)]
    now: bool,
    /// Open the routes even if their checks or guards have failed
    #[arg(long, conflicts_with = "all")]
    force: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The flag's line is removed from the flag file; comments, layout and planned windows stay. Whatever still closes the \
route is reported: another flag, a window, its guard, a failing check. The route comes back as its config says: after \
checks (`verify`), and gradually (`ramp`). --force skips the checks, and opens a route that its guard has closed; --now \
skips the ramp. The instant is noted in `[lifted]`, so that replicas which see it later ramp alike.

Examples:
  backsoon off web
  backsoon off --all --wait         returns once everything is open
  backsoon off web --now            without the ramp
  backsoon off --window MNT-2026-0519-a
  backsoon off web --force          even if checks fail

Exit codes:
  0   the flags are gone, or there were none (with --wait: every route is open)
  4   the flags are gone, and a flag, a window or a guard keeps a route closed (with --wait: or it is not open in time)
  64  the arguments, the config or the flag file are wrong; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Lifts the flags.
pub(super) fn run(args: &Off, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::to_edit(&args.site, &args.wait, streams)?;
    match &args.window {
        Some(id) => end_window(id, args, &site, streams),
        None => lift(args, &site, streams),
    }
}

/// Lifts flags of routes.
fn lift(args: &Off, site: &Site, streams: &mut Streams) -> Result<u8, Failure> {
    let which = if args.all { Selection::All } else { Selection::Routes(&args.routes) };
    // The flag of a route that only the flag file has may be lifted. A name in neither file is a typo, and nothing is
    // done.
    let now = Timestamp::now();
    let all_known = |lifted: &Lifted| lifted.absent.iter().try_for_each(|route| site.check_route(route));
    let edit = |text: &str| {
        let lifted = edit::off(text, which)?;
        if all_known(&lifted).is_err() {
            return Ok((text.to_owned(), lifted));
        }
        let new = Lifting { which, pace: pace(args), force: args.force, at: now }.apply(&lifted)?;
        Ok((new, lifted))
    };
    let emptied = if args.all { Emptied::Taken } else { Emptied::Refused };
    if args.wait.dry_run {
        return dry_run::show(site, emptied, edit, streams);
    }
    let edited = site.edit(emptied, edit)?;
    all_known(&edited.report)?;
    let anew = edited.changed && edited.report.removed.is_empty() && args.all;
    let lines = if anew { vec![lifted_unseen(site)] } else { summary(&edited.report) };
    for line in lines {
        writeln!(streams.out, "{line}")?;
    }
    if args.force {
        let names = words::list(&names(&edit::deduplicated(&args.routes)));
        writeln!(streams.out, "whatever was found of {names} before now is overruled")?;
    }
    let asked = if args.all { vec!["*".to_owned()] } else { edit::deduplicated(&args.routes) };
    report(site, edited, &Asked(asked), &args.wait, streams)
}

/// Asks whether an edit is in force, and says what still closes the routes.
fn report<T>(
    site: &Site,
    edited: Edited<T>,
    asked: &Asked,
    wait: &WaitFor,
    streams: &mut Streams,
) -> Result<u8, Failure> {
    let mut confirmation = site.confirmation(edited.text, asked.clone(), Wish::Lifted)?;
    confirmation.ask();
    if wait.wait {
        confirmation.wait(wait.timeout.unsigned_abs(), streams)?;
    }
    let now = Timestamp::now();
    let facts = confirmation.facts().unwrap_or_else(|| site.facts(&edited.flags, now));
    for line in remains::causes(&edited.flags, asked, &facts, now) {
        writeln!(streams.out, "{line}")?;
    }
    let notes = remains::unopened(&edited.flags, asked, &facts, now);
    edit::deduplicated(&notes).iter().try_for_each(|note| streams.note(note))?;
    let kept =
        facts.routes.iter().any(|route| asked.has(&route.name) && remains::keeps(&edited.flags, route, now).is_some());
    let code = wait.conclude(confirmation, Goal::Open, streams)?;
    Ok(if kept { exit::NOT_OPEN } else { code })
}

/// Ends a window now.
fn end_window(id: &str, args: &Off, site: &Site, streams: &mut Streams) -> Result<u8, Failure> {
    let flags = site.flags()?;
    let now = Timestamp::now();
    let window = windows::window(&flags, id)?;
    let asked = window.routes.iter().map(|(target, _)| target.key().to_owned());
    let asked = Asked(asked.collect());
    let Some(span) = window.in_force(now) else {
        writeln!(streams.out, "window {id} is not in force")?;
        // The proxy may judge differently, and something else may close the routes.
        let unchanged = site.edit(Emptied::Refused, |text| Ok((text.to_owned(), ())))?;
        return report(site, unchanged, &asked, &args.wait, streams);
    };
    // People prefer whole seconds, but an end before the start would be ignored.
    let ended = if whole_seconds(now) < span.starts { now } else { whole_seconds(now) };
    let keys = [("ended", Some(ended.to_string()))];
    let edit = |text: &str| {
        let text = edit::set(text, TableRef::Window(id), &keys)?;
        Ok((edit::note_lifted(&text, &asked.0, Lift { at: now, pace: pace(args) })?, ()))
    };
    if args.wait.dry_run {
        return dry_run::show(site, Emptied::Refused, edit, streams);
    }
    let edited = site.edit(Emptied::Refused, edit)?;
    writeln!(streams.out, "window {id} is ended")?;
    report(site, edited, &asked, &args.wait, streams)
}

fn pace(args: &Off) -> Pace {
    if args.now { Pace::AtOnce } else { Pace::Ramp }
}

/// Returns the line for a file that was empty or not there, and that has no flags from now on.
fn lifted_unseen(site: &Site) -> String {
    let file = site.file.display();
    format!("`{file}` had no content; now it says that nothing is flagged, which lifts whatever was in force before")
}

/// Returns lines for what was done.
fn summary(lifted: &Lifted) -> Vec<String> {
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
    lines
}

fn names(routes: &[String]) -> Vec<&str> {
    routes.iter().map(|route| if route == "*" { "every route" } else { route.as_str() }).collect()
}
