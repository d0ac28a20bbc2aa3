//! `backsoon agenda`: shows which windows are to come, by route, with those that meet and nights in which clocks change.

mod ical;
mod text;

use std::io::Write as _;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::plan::agenda::{Agenda, Occurrence, OccurrenceState};
use crate::plan::flags::{Flags, Target, Window};
use crate::plan::problem::quoted;

use super::failure::Failure;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{calendar, edit, exit};

/// The arguments of `agenda`.
#[derive(Args, Debug)]
pub(super) struct AgendaArgs {
    /// Only what concerns these routes
    #[arg(value_name = "ROUTE")]
    routes: Vec<String>,
    /// Weeks to look ahead
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=53))]
    weeks: u8,
    /// Write the agenda as JSON
    #[arg(long)]
    json: bool,
    /// Write the agenda as iCalendar (RFC 5545), for calendars
    #[arg(long, conflicts_with = "json")]
    ical: bool,
    #[command(flatten)]
    site: SiteArgs,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The agenda is made of the flag file: a proxy need not run. Flags without a window are not in it; `backsoon status` has them. \
Two windows that meet on a route are marked: the stricter mode applies then.

Examples:
  backsoon agenda
  backsoon agenda web --weeks 12
  backsoon agenda --ical > maintenance.ics
  backsoon agenda --json | jq -r '.conflicts[] | .windows | join(\" meets \")'

Exit codes:
  0   shown, even if nothing is planned
  64  the arguments, the config or the flag file are wrong
  74  the output cannot be written";

/// Agenda that was asked for, with its time.
struct View {
    agenda: Agenda,
    now: Timestamp,
    until: Timestamp,
    /// Routes that were asked for; all if empty.
    asked: Vec<String>,
}

/// Shows the agenda.
pub(super) fn run(args: &AgendaArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::find(&args.site)?;
    site.note(streams)?;
    let flags = site.flags()?;
    let asked = edit::deduplicated(&args.routes);
    // The file may serve other proxies, so that their routes are known as well.
    let foreign = asked.iter().filter(|route| !names(&flags, route));
    foreign.into_iter().try_for_each(|route| site.check_route(route))?;
    let now = Timestamp::now();
    let until = now.checked_add(SignedDuration::from_hours(i64::from(args.weeks) * 7 * 24)).unwrap_or(Timestamp::MAX);
    let all = Agenda::new(&flags, now, until);
    let agenda = if asked.is_empty() { all } else { all.of(&asked) };
    let is_listed = |window: &&Window| agenda.occurrences.iter().any(|occurrence| occurrence.window == window.id);
    let early = flags.acting(now).filter(|window| window.is_done_early(now));
    let early: Vec<&Window> = early.filter(is_listed).take(MOST_NOTES).collect();
    let view = View { agenda, now, until, asked };
    match (args.json, args.ical) {
        (true, _) => writeln!(streams.data(), "{:#}", as_json(&view))?,
        (_, true) => streams.data().write_all(ical::calendar(&view.agenda, now).as_bytes())?,
        _ => text::write(&view, args.weeks, streams)?,
    }
    for window in early {
        let message = "will not close its routes: all of the steps that end it are done already";
        streams.note(format_args!("window {} {message}", quoted(&window.id)))?;
    }
    if view.agenda.cut {
        streams.note("there is more than is listed: name fewer weeks or routes")?;
    }
    Ok(exit::OK)
}

/// Returns true if a window names a route.
fn names(flags: &Flags, route: &str) -> bool {
    let targets = flags.windows.iter().flat_map(|window| &window.routes);
    targets.into_iter().any(|(target, _)| *target == Target::Route(route.to_owned()))
}

fn as_json(view: &View) -> Value {
    let conflicts = view.agenda.conflicts.iter().map(|conflict| {
        let (first, second) = &conflict.windows;
        json!({ "windows": [first, second], "routes": conflict.routes, "from": conflict.from, "to": conflict.to })
    });
    json!({
        "from": view.now,
        "until": view.until,
        "occurrences": view.agenda.occurrences.iter().map(occurrence).collect::<Vec<_>>(),
        "conflicts": conflicts.collect::<Vec<_>>(),
        "complete": !view.agenda.cut,
    })
}

fn occurrence(one: &Occurrence) -> Value {
    let local = |at: Timestamp| at.display_with_offset(one.zone.to_offset(at)).to_string();
    let routes: serde_json::Map<String, Value> =
        one.routes.iter().map(|(target, mode)| (target.key().to_owned(), mode.as_str().into())).collect();
    json!({
        "window": one.window,
        "title": one.title,
        "starts": one.starts,
        "ends": one.ends,
        "local": { "starts": local(one.starts), "ends": local(one.ends), "zone": one.zone.iana_name() },
        "state": state(one.state),
        "every": one.every,
        "announced_from": one.announced,
        "routes": routes,
        "odd": one.odd.as_ref().map(|odd| json!({
            "kind": odd.oddity.as_str(),
            "what": calendar::odd(odd, one.starts, one.ends, &one.zone),
        })),
    })
}

fn state(state: OccurrenceState) -> &'static str {
    match state {
        OccurrenceState::Coming => "coming",
        OccurrenceState::On => "on",
        OccurrenceState::Overrunning => "overrunning",
    }
}

/// Returns the first instant of the week of an instant, in UTC.
fn monday(at: Timestamp) -> Timestamp {
    let day = TimeZone::UTC.to_datetime(at).date();
    let past = i64::from(day.weekday().to_monday_zero_offset()) * 86400;
    let midnight = at.as_second() - at.as_second().rem_euclid(86400);
    Timestamp::from_second(midnight - past).unwrap_or(at)
}

/// Most windows that a note tells of.
const MOST_NOTES: usize = 8;
