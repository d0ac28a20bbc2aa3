//! Answers of replicas as text for people.

use jiff::Timestamp;

use crate::plan::problem::{Place, Problem};

use crate::plan::snapshot::Phase;
use crate::status::{FileStatus, ProblemStatus, Role, RouteStatus, Status};

use super::super::streams::{BOLD, DIM, ERROR, GOOD, WARNING, styled, styled_problem};
use super::super::words::{self, harmless};
use super::{Health, Replica, agree, chain, health};

/// Formats a replica: a line about the process, its routes, and the problems of its files.
pub(super) fn replica(replica: &Replica, now: Timestamp) -> String {
    let name = styled(BOLD, &replica.endpoint);
    let status = match &replica.answer {
        Ok((status, _)) => status,
        Err(error) => return format!("{name}  {}\n", styled(ERROR, chain(error))),
    };
    let mut text = format!("{name}  {}\n", about(status, now));
    text.push_str(&routes(&status.routes, now));
    status.files.iter().for_each(|file| text.push_str(&wrong(file)));
    text
}

/// Formats the last line, about the health of all replicas.
pub(super) fn verdict(replicas: &[Replica]) -> String {
    let (style, text) = match health(replicas) {
        Health::Well if replicas.len() == 1 => (GOOD, "no errors".to_owned()),
        Health::Well => (GOOD, format!("all {} agree, no errors", replicas.len())),
        Health::Wrong => (ERROR, "a file has an error: what was live before it stays live".to_owned()),
        Health::Apart => (ERROR, apart(replicas)),
        Health::Unreachable => {
            let silent = replicas.iter().filter(|replica| replica.answer.is_err()).count();
            (ERROR, format!("{silent} of {} cannot be reached", replicas.len()))
        }
    };
    format!("{}\n", styled(style, text))
}

fn apart(replicas: &[Replica]) -> String {
    let differ: Vec<&str> = [(Role::Flags, "flag files"), (Role::Config, "configs")]
        .iter()
        .filter(|(role, _)| !agree(replicas, *role))
        .map(|(_, name)| *name)
        .collect();
    format!("the replicas do not agree: they have different {}", words::list(&differ))
}

/// Formats the line about a process: `backsoon 0.1.0, pid 4242, running, generation 7 for 2 min`.
fn about(status: &Status, now: Timestamp) -> String {
    let age = status.published.map(|at| format!(" for {}", words::span(at, now))).unwrap_or_default();
    let hash = |role| {
        status.file(role).and_then(|file| file.hash.as_deref()).map_or("none", |hash| hash.get(..8).unwrap_or(hash))
    };
    format!(
        "backsoon {}, pid {}, {}, generation {}{age}, flags {}, config {}",
        harmless(&status.version),
        status.pid,
        harmless(&status.stage),
        status.generation,
        harmless(hash(Role::Flags)),
        harmless(hash(Role::Config)),
    )
}

fn routes(routes: &[RouteStatus], now: Timestamp) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(routes.iter().map(|route| row(route, now)));
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        let style = match index.checked_sub(1).and_then(|index| routes.get(index)) {
            None => DIM,
            Some(route) if route.is(Phase::Open) => {
                text.push_str(&format!("  {line}\n"));
                text.push_str(&content(route, now));
                continue;
            }
            Some(_) => WARNING,
        };
        text.push_str(&format!("  {}\n", styled(style, line)));
        if let Some(route) = index.checked_sub(1).and_then(|index| routes.get(index)) {
            text.push_str(&content(route, now));
        }
    }
    text
}

/// Formats the reason of a route's phase and its next phase. A route that stays open has neither.
fn content(route: &RouteStatus, now: Timestamp) -> String {
    let instant = |at: Option<Timestamp>| at.map(|at| words::instant(at, now));
    let mut parts = Vec::new();
    if !route.is(Phase::Open) && !route.why.is_empty() {
        parts.push(harmless(&route.why));
    }
    if let Some(remaining) = route.remaining.filter(|_| route.is(Phase::Draining)) {
        parts.push(format!("{remaining} still in flight"));
    }
    if let Some(share) = route.share {
        parts.push(format!("{:.0}% of clients are admitted", share * 100.0));
    }
    if let Some(until) = instant(route.watched_until) {
        parts.push(format!("watched by its guard until {until}"));
    }
    if let Some(next) = &route.next {
        let at = instant(next.at).map(|at| format!(" at {at}")).unwrap_or_default();
        parts.push(format!("then {}{at}", harmless(&next.phase)));
    }
    if parts.is_empty() { String::new() } else { format!("    {}\n", styled(DIM, parts.join("; "))) }
}

fn row(route: &RouteStatus, now: Timestamp) -> [String; COLUMNS.len()] {
    let instant = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| words::instant(at, now));
    let word = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), harmless);
    [
        harmless(&route.name),
        harmless(&route.phase),
        word(&route.mode),
        instant(route.since),
        instant(route.until),
        route.in_flight.to_string(),
        route.held.to_string(),
        route.latency.map_or("-".to_owned(), |latency| words::latency(latency.p99)),
        word(&route.source),
    ]
}

fn wrong(file: &FileStatus) -> String {
    let mut text = String::new();
    if let Some(trouble) = &file.trouble {
        text.push_str(&format!("  {}: {}\n", harmless(&file.path), styled(ERROR, harmless(trouble))));
    }
    if let Some(caveat) = &file.caveat {
        text.push_str(&format!("  {}: {}\n", harmless(&file.path), styled(WARNING, harmless(caveat))));
    }
    for problem in &file.problems {
        text.push_str(&format!("{}\n", styled_problem(&of_status(problem))));
    }
    text
}

/// Rebuilds a problem from a status.
fn of_status(problem: &ProblemStatus) -> Problem {
    let message = harmless(&problem.message);
    let file = harmless(&problem.file);
    let made = if problem.is_error() { Problem::error(&file, message) } else { Problem::warning(&file, message) };
    let mut made = Problem { help: problem.help.as_deref().map(harmless), ..made };
    if let (Some(line), Some(column)) = (problem.line, problem.column) {
        let excerpt = problem.excerpt.as_deref().map(harmless).unwrap_or_default();
        // The excerpt of a long line starts at an unknown column, so carets cannot be placed.
        let cut = excerpt.starts_with('…') || column > excerpt.chars().count() + 1;
        if cut {
            made.file = format!("{file}:{line}:{column}");
        } else {
            let width = problem.width.unwrap_or(1).clamp(1, excerpt.chars().count().max(1));
            made.place = Some(Place { line, column, excerpt, first: 1, width });
        }
    }
    made
}

const COLUMNS: [&str; 9] = ["ROUTE", "PHASE", "MODE", "SINCE", "UNTIL", "IN FLIGHT", "HELD", "P99", "BY"];
