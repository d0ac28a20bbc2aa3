//! `backsoon plan`: writes a window into the flag file, and says what it will be.

mod planned;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::control::edit::moment::{self, Moment};
use crate::control::edit::windows;
use crate::files::write::Emptied;

use super::edit::{self, EditError, NewWindow};
use super::failure::{EditFailure, Failure};
use super::on::ModeWord;
use super::planning;
use super::refusal::Refusal;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, dry_run, words};

use planned::{Origin, Planned};

/// The arguments of `plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// Routes by their names in the config; '*' is every route
    #[arg(required = true, value_name = "ROUTE")]
    routes: Vec<String>,
    /// Start: "Sun 02:00 Europe/Berlin", "tomorrow 02:00 UTC", 2026-12-06T02:00Z, "in 2h"
    #[arg(long, value_name = "WHEN", value_parser = parse_moment, required_unless_present = "every", requires = "span")]
    at: Option<Moment>,
    /// Length: 45m, 1h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = words::parse_span, requires = "at")]
    span: Option<SignedDuration>,
    /// Again and again, instead of --at and --for: "Sun 02:00-04:00 Europe/Berlin"
    #[arg(long, value_name = "RULE", conflicts_with_all = ["at", "span"])]
    every: Option<String>,
    /// Announce it to clients from this time before the start on: 48h
    #[arg(long, value_name = "TIME", value_parser = words::parse_span)]
    announce: Option<SignedDuration>,
    /// Effect on the routes
    #[arg(short, long, value_enum, default_value_t = ModeWord::Offline)]
    mode: ModeWord,
    /// Heading of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Paragraphs of the page
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Id of the window; made of its day if it is left out
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Accept a route that the config does not have, because one flag file can serve several proxies
    #[arg(long)]
    force: bool,
    /// Write the window as JSON to standard output
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    moment::parse(text, Timestamp::now())
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The window is added to the flag file; comments and layout stay. A time without a zone is UTC. The times are printed by the \
local clock and in UTC. Notes tell of other windows that it meets on a route, and of nights in which the clocks change.

Examples:
  backsoon plan web --at \"Sun 02:00 Europe/Berlin\" --for 1h --announce 48h --title \"A new disk\"
  backsoon plan web api --at 2026-12-06T02:00Z --for 90m --mode read-only --dry-run
  backsoon plan '*' --every \"1st Sun 02:00-04:00 Europe/Berlin\" --id MONTHLY

Exit codes:
  0   the window is written (with --wait: the flag file is in force)
  64  the arguments, the config or the flag file are wrong, or the start is in the past; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Plans the window.
pub(super) fn run(args: &PlanArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::find(&args.site)?;
    site.note(streams)?;
    let routes = edit::deduplicated(&args.routes);
    if !args.force {
        routes.iter().try_for_each(|route| site.check_route(route))?;
    }
    site.check_wait(&args.wait)?;
    let now = Timestamp::now();
    let draft = draft(args, routes, now)?;
    let is_taken = |id: &String| site.flags().is_ok_and(|flags| flags.window(id).is_some());
    if let Some(id) = args.id.as_ref().filter(|id| is_taken(id)) {
        return Err(Failure::Edit(EditFailure::Refused(Refusal::Taken(id.clone()))));
    }
    let zone = args.at.as_ref().map_or(TimeZone::UTC, |at| at.zone.clone());
    let plan = |text: &str| {
        let window = windows::with_id(&draft, &zone, &site.parse(text).unwrap_or_default());
        Ok::<_, EditError>((edit::add(text, &window)?, window.id))
    };
    let remark = args.at.as_ref().and_then(|at| at.remark.clone());
    let origin = Origin { now, zone: zone.clone(), remark };
    if args.wait.dry_run {
        return rehearse(&site, plan, origin, streams);
    }
    let edited = site.edit(Emptied::Refused, plan)?;
    let planned = Planned::new(&edited.report, &edited.flags, origin);
    let planned = planned.ok_or_else(|| Failure::Edit(EditFailure::Refused(windows::never(&draft))))?;
    if args.json {
        let json = |in_force| planned.json(in_force);
        return planning::finish(&site, edited.text, &args.wait, Some(json), streams);
    }
    planned.tell(now, streams)?;
    planned.tell_way_back(streams)?;
    planning::finish(&site, edited.text, &args.wait, planning::WORDS, streams)
}

/// Shows the edit, and tells what the window would be.
fn rehearse(
    site: &Site,
    mut plan: impl FnMut(&str) -> Result<(String, String), EditError>,
    origin: Origin,
    streams: &mut Streams,
) -> Result<u8, Failure> {
    let now = origin.now;
    let mut made = None;
    let edit = |text: &str| {
        let (text, id) = plan(text)?;
        made = Some((text.clone(), id));
        Ok((text, ()))
    };
    let code = dry_run::show(site, Emptied::Refused, edit, streams)?;
    let planned = made.and_then(|(text, id)| Planned::new(&id, &site.parse(&text)?, origin));
    planned.map_or(Ok(()), |planned| planned.tell(now, streams))?;
    Ok(code)
}

/// Checks what was asked for, and returns the window without its final id.
fn draft(args: &PlanArgs, routes: Vec<String>, now: Timestamp) -> Result<NewWindow, Failure> {
    let span = windows::span(args.at.as_ref(), args.span, args.every.as_deref());
    // The command line demands one of both.
    let when = span.ok_or(EditFailure::Past)?;
    let window = NewWindow {
        id: args.id.clone().unwrap_or_default(),
        title: args.title.clone(),
        message: args.message.clone(),
        when,
        announce: args.announce.map(windows::spelled),
        routes,
        mode: args.mode.into(),
    };
    Ok(windows::checked(window, args.at.as_ref(), now)?)
}
