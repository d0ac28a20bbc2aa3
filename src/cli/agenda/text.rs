//! Agenda as text for people: a plot of each week, and a line for each occurrence.

use std::collections::BTreeSet;
use std::io::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cli::failure::Failure;
use crate::cli::streams::{BOLD, DIM, Streams, WARNING, styled};
use crate::cli::{calendar, words};
use crate::plan::agenda::{Occurrence, OccurrenceState};
use crate::plan::flags::Mode;
use crate::plan::words::harmless;

use super::{View, monday};

/// Writes the agenda.
pub(super) fn write(view: &View, weeks: u8, streams: &mut Streams) -> Result<(), Failure> {
    let View { agenda, .. } = view;
    let ahead = words::count(usize::from(weeks), "week");
    if agenda.occurrences.is_empty() {
        writeln!(streams.out, "nothing is planned within {ahead}")?;
        return Ok(());
    }
    let planned = words::count(agenda.occurrences.len(), "occurrence");
    let meeting = match agenda.conflicts.len() {
        0 => String::new(),
        1 => ", 1 conflict".to_owned(),
        more => format!(", {more} conflicts"),
    };
    writeln!(streams.out, "{planned} within {ahead}{meeting}")?;
    writeln!(streams.out, "{}", styled(DIM, LEGEND))?;
    let mut begin = monday(agenda.occurrences.iter().map(|one| one.starts).min().unwrap_or(view.now).max(view.now));
    while begin < view.until {
        let end = begin.checked_add(WEEK).unwrap_or(Timestamp::MAX);
        week(view, begin, end, streams)?;
        if end <= begin {
            break;
        }
        begin = end;
    }
    Ok(())
}

/// Writes a week: its plot, and the occurrences that begin in it or are on at the present.
fn week(view: &View, begin: Timestamp, end: Timestamp, streams: &mut Streams) -> Result<(), Failure> {
    let agenda = &view.agenda;
    let is_of = |one: &&Occurrence| one.starts.max(view.now) >= begin && one.starts.max(view.now) < end;
    let listed: Vec<&Occurrence> = agenda.occurrences.iter().filter(is_of).collect();
    if listed.is_empty() {
        return Ok(());
    }
    writeln!(streams.out, "\n{}", styled(BOLD, format!("week of {}", calendar::day(begin, &TimeZone::UTC))))?;
    let names = names(view, &listed);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let days = (0..7).map(|day| begin.checked_add(SignedDuration::from_hours(24 * day)).unwrap_or(begin));
    let heads: Vec<String> = days.map(|day| format!("{:8}", day.strftime("%a %d").to_string())).collect();
    writeln!(streams.out, "  {:width$}  {}", "", styled(DIM, heads.join(" ").trim_end()))?;
    for name in &names {
        writeln!(streams.out, "  {:width$}  {}", harmless(name), row(&agenda.occurrences, name, begin))?;
    }
    listed.iter().try_for_each(|one| occurrence(view, one, streams))
}

/// Returns the routes to plot, sorted: those asked for, or those that the occurrences name.
fn names<'v>(view: &'v View, listed: &[&'v Occurrence]) -> Vec<&'v str> {
    let all: BTreeSet<&str> = listed.iter().flat_map(|one| &one.routes).map(|(target, _)| target.key()).collect();
    let asked = |name: &&str| view.asked.is_empty() || *name == "*" || view.asked.iter().any(|asked| asked == name);
    all.into_iter().filter(asked).take(MOST_ROWS).collect()
}

/// Returns the plot of a route in a week: a character for each three hours.
fn row(occurrences: &[Occurrence], name: &str, begin: Timestamp) -> String {
    let mut row = String::new();
    for cell in 0..CELLS {
        if cell > 0 && cell % 8 == 0 {
            row.push(' ');
        }
        let from = begin.checked_add(CELL * cell).unwrap_or(Timestamp::MAX);
        let to = from.checked_add(CELL).unwrap_or(Timestamp::MAX);
        let on = occurrences.iter().filter(|one| one.starts < to && from < one.ends);
        let modes: Vec<Mode> = on.filter_map(|one| one.mode(name)).collect();
        row.push(match (modes.as_slice(), modes.iter().max()) {
            (_, None) => '.',
            ([_], Some(Mode::Offline)) => '#',
            ([_], Some(Mode::Hold)) => 'h',
            ([_], Some(Mode::ReadOnly)) => 'r',
            (_, Some(Mode::Offline | Mode::Hold | Mode::ReadOnly)) => '!',
        });
    }
    row
}

/// Writes an occurrence, with the remarks on it.
fn occurrence(view: &View, one: &Occurrence, streams: &mut Streams) -> Result<(), Failure> {
    let state = match one.state {
        OccurrenceState::Coming => String::new(),
        OccurrenceState::On => " (on)".to_owned(),
        OccurrenceState::Overrunning => " (overrunning)".to_owned(),
    };
    let routes =
        one.routes.iter().map(|(target, mode)| format!("{} {}", calendar::target(target), words::being(*mode)));
    let routes = harmless(&routes.collect::<Vec<_>>().join(", "));
    let span = calendar::span(one.starts, one.ends, &one.zone);
    writeln!(streams.out, "  {span}  {}{state}  {routes}", styled(BOLD, harmless(&one.window)))?;
    let title = one.title.as_ref().map(|title| format!("\"{title}\""));
    let every = one.every.as_ref().map(|every| format!("every {every}"));
    let aside: Vec<String> = title.into_iter().chain(every).collect();
    if !aside.is_empty() {
        writeln!(streams.out, "      {}", styled(DIM, harmless(&aside.join("; "))))?;
    }
    if let Some(odd) = &one.odd {
        let odd = calendar::odd(odd, one.starts, one.ends, &one.zone);
        writeln!(streams.out, "      {}", styled(WARNING, format!("! it {odd}")))?;
    }
    let met = view.agenda.conflicts.iter().filter(|met| met.windows.1 == one.window && met.from == one.starts);
    for met in met {
        let (with, when) = (harmless(&met.windows.0), calendar::span(met.from, met.to, &one.zone));
        let routes = harmless(&words::list(&met.routes));
        writeln!(streams.out, "      {}", styled(WARNING, format!("! meets {with} on {routes}, {when}")))?;
    }
    Ok(())
}

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
const CELL: SignedDuration = SignedDuration::from_hours(3);
/// Cells of a week.
const CELLS: i32 = 56;
/// Most routes that are plotted.
const MOST_ROWS: usize = 30;
const LEGEND: &str = "UTC, 3 h a character: # offline, h on hold, r read-only, ! windows meet";
