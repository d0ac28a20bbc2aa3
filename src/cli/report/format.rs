//! Reports as text, Markdown and JSON. Texts of the history are made harmless for terminals and for tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cli::words::{self, harmless};

use super::Report;
use super::tally::{Downtime, Requests, Sum};

/// Formats the report for a terminal.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n", title(report));
    for (route, downtimes) in by_route(report) {
        let sum = Sum::of(downtimes.iter().copied());
        let _ = writeln!(text, "\n{}: {}", harmless(route), in_words(&sum));
        let _ = writeln!(text, "  {}", requests(&sum.requests));
        for downtime in downtimes {
            let cells = row(downtime, report.now);
            let [begin, _, length, mode, cause, remarks] = cells;
            let told: Vec<String> = [cause, remarks].into_iter().filter(|text| !text.is_empty()).collect();
            let _ = writeln!(text, "  {begin}  {length:>9}  {mode:9}  {}", told.join("; "));
        }
    }
    text
}

/// Formats the report as Markdown, with a table of sums and one of downtimes.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!("# Downtime\n\n{}.\n", title(report));
    if report.downtimes.is_empty() {
        return text;
    }
    text.push_str("\n| route | down | read-only | closures | longest | planned | overrun | by flag | by guard | other | refused | held | lost |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (route, downtimes) in by_route(report) {
        let sum = Sum::of(downtimes.iter().copied());
        let spans = [sum.longest, sum.planned, sum.overrun, sum.by_flag, sum.by_guard, sum.by_other].map(span);
        let Requests { refused, held, lost, .. } = sum.requests;
        let (down, read_only) = (span(sum.down), span(sum.read_only));
        let spans = spans.join(" | ");
        let _ = writeln!(
            text,
            "| {} | {down} | {read_only} | {} | {spans} | {refused} | {held} | {lost} |",
            cell(route),
            sum.closures
        );
    }
    text.push_str("\n| route | begin | end | length | mode | cause | overrun | refused | held | lost |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for downtime in &report.downtimes {
        let [begin, end, length, mode, cause, ..] = row(downtime, report.now).map(|text| cell(&text));
        let Requests { refused, held, lost, .. } = downtime.requests;
        let overrun = span(Sum::of([downtime]).overrun);
        let route = cell(&downtime.route);
        let _ = writeln!(
            text,
            "| {route} | {begin} | {end} | {length} | {mode} | {cause} | {overrun} | {refused} | {held} | {lost} |"
        );
    }
    if report.downtimes.iter().any(|downtime| !downtime.requests.known) {
        text.push_str(
            "\nSome requests went uncounted: a proxy was restarted meanwhile, is older, or a route is still down.\n",
        );
    }
    text
}

/// Formats the report as JSON. Times are in seconds.
pub(super) fn json(report: &Report) -> Value {
    let routes = by_route(report).into_iter().map(|(route, downtimes)| {
        let mut value = sum(&Sum::of(downtimes));
        value["route"] = route.into();
        value
    });
    let mut windows: BTreeMap<String, Vec<Downtime>> = BTreeMap::new();
    for downtime in &report.downtimes {
        for part in &downtime.parts {
            let alone = Downtime { parts: vec![part.clone()], ..downtime.clone() };
            windows.entry(part.cause.text()).or_default().push(alone);
        }
    }
    let causes = windows.iter().map(|(cause, downtimes)| {
        let sum = Sum::of(downtimes);
        let whole = sum.down.saturating_add(sum.read_only);
        json!({ "cause": cause, "seconds": whole.as_secs(), "overrun_seconds": sum.overrun.as_secs() })
    });
    json!({
        "since": report.since,
        "until": report.now,
        "routes": routes.collect::<Vec<_>>(),
        "causes": causes.collect::<Vec<_>>(),
        "downtimes": report.downtimes.iter().map(downtime).collect::<Vec<_>>(),
    })
}

fn sum(sum: &Sum) -> Value {
    json!({
        "closures": sum.closures,
        "down_seconds": sum.down.as_secs(),
        "read_only_seconds": sum.read_only.as_secs(),
        "planned_seconds": sum.planned.as_secs(),
        "overrun_seconds": sum.overrun.as_secs(),
        "by_flag_seconds": sum.by_flag.as_secs(),
        "by_guard_seconds": sum.by_guard.as_secs(),
        "by_other_seconds": sum.by_other.as_secs(),
        "longest_seconds": sum.longest.as_secs(),
        "requests": counts(&sum.requests),
    })
}

fn counts(requests: &Requests) -> Value {
    let Requests { refused, held, lost, known } = requests;
    json!({ "refused": refused, "held": held, "lost": lost, "complete": known })
}

fn downtime(downtime: &Downtime) -> Value {
    let parts = downtime.parts.iter().map(|part| {
        json!({
            "cause": part.cause.text(),
            "mode": part.mode,
            "from": part.from,
            "to": part.to,
            "planned_end": part.planned_end,
            "overrun_seconds": part.overrun().as_secs(),
        })
    });
    json!({
        "route": downtime.route,
        "begun": downtime.begun,
        "ended": downtime.ended,
        "begun_before_the_history": !downtime.complete,
        "parts": parts.collect::<Vec<_>>(),
        "requests": counts(&downtime.requests),
    })
}

fn title(report: &Report) -> String {
    let since = report.since.map_or("in all of the history".to_owned(), |since| format!("since {}", minute(since)));
    match report.downtimes.len() {
        0 => format!("nothing was down {since}"),
        count => format!("{} {since}, until {}", words::count(count, "downtime"), minute(report.now)),
    }
}

/// Groups the downtimes by route, sorted.
fn by_route(report: &Report) -> BTreeMap<&str, Vec<&Downtime>> {
    let mut routes: BTreeMap<&str, Vec<&Downtime>> = BTreeMap::new();
    for downtime in &report.downtimes {
        routes.entry(&downtime.route).or_default().push(downtime);
    }
    routes
}

/// Describes sums: `1 h 5 min down, the longest 1 h; planned 1 h, overrun 5 min`.
fn in_words(sum: &Sum) -> String {
    let none = SignedDuration::ZERO;
    let whole = [(sum.down, "down"), (sum.read_only, "read-only")];
    let whole = whole.into_iter().filter(|(time, _)| *time > none).map(|(time, word)| format!("{} {word}", span(time)));
    let whole: Vec<String> = whole.collect();
    let whole = if whole.is_empty() { "0 s down".to_owned() } else { words::list(&whole) };
    let parts = [
        ("planned", sum.planned),
        ("overrun", sum.overrun),
        ("by flag", sum.by_flag),
        ("by guard", sum.by_guard),
        ("other", sum.by_other),
    ];
    let parts = parts.into_iter().filter(|(_, time)| *time > none);
    let parts: Vec<String> = parts.map(|(word, time)| format!("{word} {}", span(time))).collect();
    let parts = if parts.is_empty() { String::new() } else { format!("; {}", parts.join(", ")) };
    let longest = if sum.closures > 1 { format!(", the longest {}", span(sum.longest)) } else { String::new() };
    format!("{whole} in {}{longest}{parts}", words::count(sum.closures, "downtime"))
}

fn requests(requests: &Requests) -> String {
    let Requests { refused, held, lost, known } = requests;
    let known = if *known { "" } else { " (some went uncounted)" };
    format!("requests: {refused} refused, {held} held, {lost} lost{known}")
}

/// Returns begin, end, length, mode, causes and remarks of a downtime.
fn row(downtime: &Downtime, now: Timestamp) -> [String; 6] {
    let words = |of: fn(&super::tally::Part) -> String| {
        let mut words: Vec<String> = downtime.parts.iter().map(of).collect();
        words.dedup();
        harmless(&words.join(", "))
    };
    let overrun = Sum::of([downtime]).overrun;
    let mut remarks = Vec::new();
    if overrun > SignedDuration::ZERO {
        remarks.push(format!("overrun {}", span(overrun)));
    }
    if downtime.ended.is_none() {
        remarks.push("still down".to_owned());
    }
    if !downtime.complete {
        remarks.push("the history begins later".to_owned());
    }
    let begin = downtime.parts.first().map_or(downtime.begun, |part| part.from);
    let end = downtime.ended.unwrap_or(now);
    let end = if downtime.ended.is_some() { minute(end) } else { "-".to_owned() };
    let (mode, cause) = (words(|part| part.mode.clone()), words(|part| part.cause.text()));
    [minute(begin), end, span(downtime.length()), mode, cause, remarks.join(", ")]
}

fn span(time: SignedDuration) -> String {
    let from = Timestamp::UNIX_EPOCH;
    words::span(from, from.checked_add(time).unwrap_or(Timestamp::MAX))
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Makes a text fit for a cell of a table.
fn cell(text: &str) -> String {
    harmless(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
