//! Answers of replicas as text for people.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::plan::problem::{Place, Problem};
use crate::plan::snapshot::Phase;
use crate::status::concerns::{Kind, by_kind};
use crate::status::{FileStatus, ProblemStatus, RouteStatus, Status, story};

use super::super::failure::chain;
use super::super::streams::{BOLD, DIM, ERROR, GOOD, WARNING, styled, styled_problem};
use super::super::words::{self, harmless};
use super::agree::{Difference, differences, subjects};
use super::columns::aligned;
use super::{Health, Replica, Scope, health};

/// Formats a replica: lines about the process and its files, its routes, and what is wrong.
pub(super) fn replica(replica: &Replica, now: Timestamp) -> String {
    let name = styled(BOLD, &replica.whom);
    let status = match &replica.answer {
        Ok((status, _)) => status,
        Err(error) => return format!("{name}  {}\n", styled(ERROR, chain(error))),
    };
    let mut text = format!("{name}  {}\n", about(status, now));
    text.push_str(&files(status, now));
    text.push_str(&routes(&status.routes, now));
    text.push_str(&withdrawn(&status.routes));
    for concern in replica.concerns(now) {
        match concern.kind {
            // Shown above, or below with their places.
            Kind::Polling | Kind::File | Kind::Warning | Kind::Other => {}
            Kind::Pending
            | Kind::Route
            | Kind::LeftOut
            | Kind::Unwell
            | Kind::Outlook
            | Kind::Engine
            | Kind::Outbox => {
                text.push_str(&alarm(&concern.text));
            }
        }
    }
    replica.remarks().iter().for_each(|remark| text.push_str(&alarm(remark)));
    status.files.iter().for_each(|file| text.push_str(&wrong(file)));
    text.push_str(&problems(status.other_problems()));
    text
}

/// Formats the last lines: the differences between the replicas, and the health of all.
pub(super) fn verdict(replicas: &[&Replica], scope: Scope) -> String {
    let differences = differences(replicas, scope);
    let (style, text) = match health(replicas, scope) {
        Health::Well if replicas.len() == 1 && replicas[0].beat.is_some() => {
            (GOOD, "the only replica that is heard of: no errors".to_owned())
        }
        Health::Well if replicas.len() == 1 => (GOOD, "this proxy: no errors".to_owned()),
        Health::Well => (GOOD, format!("all {} agree, no errors", replicas.len())),
        Health::Wrong => (ERROR, not_well(replicas)),
        Health::Apart => (ERROR, format!("the replicas do not agree: they have different {}", subjects(&differences))),
        Health::Missing => {
            let missing = replicas.iter().filter(|replica| replica.answer.is_err());
            let names: Vec<String> = missing.map(|replica| replica.whom.to_string()).collect();
            let be = if names.len() == 1 { "is" } else { "are" };
            (ERROR, format!("{} of {} {be} missing: {}", names.len(), replicas.len(), few(&names)))
        }
        Health::Unreachable => {
            let silent = replicas.iter().filter(|replica| replica.answer.is_err()).count();
            (ERROR, format!("{silent} of {} cannot be reached", replicas.len()))
        }
    };
    let mut lines: String = differences.iter().take(MOST_DIFFERENCES).map(difference).collect();
    if differences.len() > MOST_DIFFERENCES {
        lines.push_str(&format!("and {} more differences: --json has all\n", differences.len() - MOST_DIFFERENCES));
    }
    format!("{lines}{}\n", styled(style, text))
}

/// Formats a difference: `route web: closed, offline at 127.0.0.1:9901; open at 127.0.0.1:9902`.
fn difference(difference: &Difference) -> String {
    let states = difference.states.iter().map(|(state, names)| {
        let state = if difference.is_of_file() { story::short(state) } else { state };
        format!("{} at {}", harmless(state), few(names))
    });
    format!("{}: {}\n", difference.subject, states.collect::<Vec<_>>().join("; "))
}

/// Lists names, as far as a line has room for them.
fn few(names: &[String]) -> String {
    if names.len() <= MOST_NAMES {
        return words::list(names);
    }
    format!("{} and {} more", names[..MOST_NAMES].join(", "), names.len() - MOST_NAMES)
}

/// Returns the sentence for replicas with concerns.
fn not_well(replicas: &[&Replica]) -> String {
    let now = Timestamp::now();
    let concerns: Vec<_> = replicas.iter().flat_map(|replica| replica.concerns(now)).collect();
    if concerns.iter().any(|concern| concern.kind == Kind::File) {
        return "a file has an error: what was live before it stays live".to_owned();
    }
    match concerns.len() + replicas.iter().map(|replica| replica.remarks().len()).sum::<usize>() {
        1 => "one thing is not as it should be".to_owned(),
        more => format!("{more} things are not as they should be"),
    }
}

pub(super) fn alarm(text: &str) -> String {
    format!("  {}\n", styled(ERROR, harmless(text)))
}

/// Formats the line about a process: `backsoon 0.1.0, pid 4242, running, generation 7 for 2 min`.
fn about(status: &Status, now: Timestamp) -> String {
    let age = status.published.map(|at| format!(" for {}", words::span(at, now))).unwrap_or_default();
    format!(
        "backsoon {}, pid {}, {}, generation {}{age}",
        harmless(&status.version),
        status.pid,
        harmless(&status.stage),
        status.generation,
    )
}

/// Formats a line for the flag file and the config each, and one about how all files are watched.
fn files(status: &Status, now: Timestamp) -> String {
    let paths: Vec<String> = status.main_files().map(|file| harmless(&story::path(file))).collect();
    let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (file, path) in status.main_files().zip(&paths) {
        let line = format!("{:6}  {path:width$}  {}", harmless(&file.role), harmless(&story::content(file, now)));
        let style = if file.is_good() && file.pending.is_none() { DIM } else { ERROR };
        text.push_str(&format!("  {}\n", styled(style, line)));
    }
    if let Some(fleet) = &status.fleet {
        let style = if fleet.is_good() { DIM } else { ERROR };
        text.push_str(&format!("  {}\n", styled(style, harmless(&story::engine(fleet, now)))));
    }
    if let Some(sender) = status.outbox.as_ref().and_then(|outbox| outbox.sender.as_ref()) {
        let style = if sender.is_good() { DIM } else { ERROR };
        text.push_str(&format!("  {}\n", styled(style, harmless(&story::sender(sender)))));
    }
    if let Some(watching) = &status.watching {
        let style = if watching.trouble.is_none() { DIM } else { ERROR };
        text.push_str(&format!("  {}\n", styled(style, harmless(&story::watching(watching)))));
    }
    text
}

/// Formats a line for each upstream that the flag file takes out.
fn withdrawn(routes: &[RouteStatus]) -> String {
    let mut lines = BTreeMap::new();
    for upstream in routes.iter().flat_map(|route| &route.upstreams) {
        if let Some(how) = &upstream.withdrawn {
            let (name, how) = (harmless(&upstream.name), harmless(how));
            lines.insert(&upstream.name, format!("  upstream {name}: {how}, {} in flight\n", upstream.pending));
        }
    }
    lines.into_values().collect()
}

pub(super) fn routes(routes: &[RouteStatus], now: Timestamp) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(routes.iter().map(|route| row(route, now)));
    let mut text = String::new();
    for (index, line) in aligned(&rows.iter().collect::<Vec<_>>()).into_iter().enumerate() {
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

/// Formats the line below a route: the reason of its phase, and its next phase.
fn content(route: &RouteStatus, now: Timestamp) -> String {
    let parts = story::route(route, now);
    if parts.is_empty() { String::new() } else { format!("    {}\n", styled(DIM, harmless(&parts.join("; ")))) }
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
    text.push_str(&problems(&file.problems));
    text
}

/// Formats problems. If many are of one kind, the rest is only counted.
fn problems<'p>(problems: impl IntoIterator<Item = &'p ProblemStatus>) -> String {
    let mut text = String::new();
    for group in by_kind(problems) {
        for problem in group.shown {
            text.push_str(&format!("{}\n", styled_problem(&of_status(problem))));
        }
        if group.more > 0 {
            text.push_str(&format!("  {}\n", styled(WARNING, format!("and {} more like this", group.more))));
        }
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

/// Replicas that a line names one by one.
const MOST_NAMES: usize = 8;
/// Differences that are shown one by one.
const MOST_DIFFERENCES: usize = 20;
