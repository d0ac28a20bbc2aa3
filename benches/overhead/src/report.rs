//! The tables.

use std::fmt::Write as _;

use crate::contenders::Kind;
use crate::results::{Flip, Results, Run, Spread, in_order};
use crate::workloads::at_percentile;

/// Writes all results as Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from("# What backsoon costs\n\n");
    machine(&mut text, results);
    warnings(&mut text, results);
    table(&mut text, results, "CPU time per request, µs: median (lowest to highest round)", |run| run.cpu, 2);
    ratios(&mut text, results);
    table(&mut text, results, "Requests per second", |run| Some(run.rate), 0);
    text.push_str(
        "Throughput is that of the slowest of load generator, upstream and proxy. If the proxy's process is busy for \
         less than one core (see below), the proxy is not the slowest.\n\n",
    );
    table(&mut text, results, "Cores that the process kept busy", |run| run.busy, 2);
    table(&mut text, results, "Share of the CPU time in user mode", |run| run.user, 2);
    latencies(&mut text, results);
    idle(&mut text, results);
    syscalls(&mut text, results);
    scaling(&mut text, results);
    flips(&mut text, results);
    features(&mut text, results);
    text
}

fn machine(text: &mut String, results: &Results) {
    let machine = &results.machine;
    let _ = writeln!(text, "`{}`, {}\n", machine.command, machine.date);
    let _ = writeln!(text, "| | |\n|---|---|\n| cores | {} |\n| processor | {} |", machine.cores, machine.processor);
    let _ = writeln!(text, "| kernel | Linux {} |\n| pinning | {} |", machine.kernel, machine.pinning);
    for (name, version) in &machine.versions {
        let _ = writeln!(text, "| {name} | {version} |");
    }
    for (name, bytes) in &results.pages {
        let _ = writeln!(text, "| {name} | {bytes} bytes |");
    }
    text.push_str(
        "\nThe configs are in `configs/`, raw figures in `overhead.json`. Direct is no proxy; the floor is a bare TCP \
         forwarder, with a buffer of 64 KiB.\n\n",
    );
}

fn warnings(text: &mut String, results: &Results) {
    for (word, list) in [("INVALID", &results.invalid), ("skipped", &results.skipped)] {
        for what in list {
            let _ = writeln!(text, "- **{word}**: {}", what.replace('\n', " "));
        }
    }
    text.push('\n');
}

fn table(
    text: &mut String,
    results: &Results,
    title: &str,
    figure: impl Fn(&Run) -> Option<f64> + Copy,
    digits: usize,
) {
    if results.runs.is_empty() {
        return;
    }
    let _ = writeln!(text, "## {title}\n");
    let (workers, others): (Vec<&str>, Vec<&str>) =
        results.workloads().into_iter().partition(|workload| workload.starts_with("workers"));
    for workloads in [others, workers] {
        let runs = results.runs.iter().filter(|run| workloads.contains(&run.workload.as_str()));
        let contenders = in_order(runs.map(|run| run.contender.as_str()));
        let contenders = ordered(contenders);
        let rows = workloads.iter().map(|workload| {
            let cells = contenders.iter().map(|one| cell(results.spread(workload, one, figure), digits));
            (*workload, cells.collect())
        });
        rows_of(text, &contenders, rows.collect());
    }
}

fn ratios(text: &mut String, results: &Results) {
    let backsoon = Kind::Backsoon.name();
    let others = [Kind::Floor, Kind::Nginx, Kind::Haproxy, Kind::Caddy, Kind::Traefik, Kind::Envoy].map(Kind::name);
    let took_part = |name: &&str| results.runs.iter().any(|run| run.contender == *name);
    let others: Vec<&str> = others.into_iter().filter(took_part).collect();
    let rows = results.workloads().into_iter().filter(|workload| !workload.starts_with("workers")).map(|workload| {
        let cells = others.iter().map(|other| cell(results.ratio(workload, backsoon, other), 2));
        (workload, cells.collect::<Vec<_>>())
    });
    let rows: Vec<_> = rows.filter(|(_, cells)| cells.iter().any(|cell| cell != NOTHING)).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "## backsoon's CPU time per request, relative to\n\nTaken within each round; below 1 backsoon costs less.\n\n",
    );
    rows_of(text, &others, rows);
}

fn latencies(text: &mut String, results: &Results) {
    let mut rates: Vec<u32> = results.latencies.iter().map(|latency| latency.rate).collect();
    rates.dedup();
    for rate in rates {
        let _ = writeln!(text, "## Latency at {rate} requests/s, µs\n");
        text.push_str(
            "Open loop, counted from the instant planned for each request (corrected for coordinated omission). \
             The last column is the generator's own lateness while a connection was free, which is part of the other \
             figures. If it is not small beside them, the machine was too busy for this measurement.\n\n",
        );
        let heads = ["p50", "p90", "p99", "p99.9", "max", "p99 by round", "generator late, p99"];
        let rows = results.latencies.iter().filter(|latency| latency.rate == rate).map(|latency| {
            let mut cells: Vec<String> =
                [50.0, 90.0, 99.0, 99.9].iter().map(|at| format!("{:.0}", at_percentile(latency, *at))).collect();
            cells.push(format!("{:.0}", latency.max));
            cells
                .push(Spread::of(latency.p99_of_rounds.clone()).map_or(NOTHING.into(), |spread| cell(Some(spread), 0)));
            cells.push(format!("{:.0}", latency.generator_p99));
            (latency.contender.as_str(), cells)
        });
        rows_of(text, &heads, rows.collect());
    }
}

fn idle(text: &mut String, results: &Results) {
    if results.idle.is_empty() {
        return;
    }
    text.push_str("## Memory of an idle connection, KiB\n\nResident memory of the process, without the kernel's socket buffers; one \
         process for each row. Measured before and after 40,000 requests of eight other clients, because an allocator returns \
         memory only while it is used. Before them, all connections are at rest.\n\n",
    );
    let contenders = in_order(results.idle.iter().map(|idle| idle.contender.as_str()));
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for protocol in in_order(results.idle.iter().map(|idle| idle.protocol)) {
        let these = results.idle.iter().filter(|idle| idle.protocol == protocol);
        let connections = these.clone().map(|idle| idle.connections).max().unwrap_or(0);
        let cells = contenders.iter().map(|one| {
            let found = these.clone().find(|idle| idle.contender == *one);
            found.map_or(NOTHING.into(), |idle| format!("{:.2}", idle.bytes / 1024.0))
        });
        rows.push((format!("{protocol}, {connections} connections"), cells.collect()));
    }
    rows_of(text, &contenders, rows.iter().map(|(name, cells)| (name.as_str(), cells.clone())).collect());
}

fn syscalls(text: &mut String, results: &Results) {
    if results.syscalls.is_empty() {
        return;
    }
    text.push_str(
        "## System calls per request, workload small\n\nUnder strace, which slows everything and \
         so changes how many requests come together in one wake-up.\n\n",
    );
    let rows = results.syscalls.iter().map(|one| {
        let names = one.by_name.iter().map(|(name, calls)| format!("{name} {calls:.2}")).collect::<Vec<_>>();
        (one.contender.as_str(), vec![format!("{:.2}", one.per_request), names.join(", ")])
    });
    rows_of(text, &["all", "by name"], rows.collect());
}

/// Writes how two workers compare with one. Where the load generator takes the cores that they need, requests a second say
/// nothing; the CPU time of a request says what a second core would give.
fn scaling(text: &mut String, results: &Results) {
    let workloads = results.workloads().into_iter().filter(|workload| workload.starts_with("workers"));
    let rows = workloads.filter_map(|workload| {
        let of =
            |workers: &str, figure: fn(&Run) -> Option<f64>| Some(results.spread(workload, workers, figure)?.median);
        let rate = of("2 workers", |run| Some(run.rate))? / of("1 worker", |run| Some(run.rate))?;
        let (one, two) = (of("1 worker", |run| run.cpu)?, of("2 workers", |run| run.cpu)?);
        let cells = [rate, one, two, 2.0 * one / two].map(|figure| format!("{figure:.2}"));
        Some((workload, cells.to_vec()))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "## Two workers against one\n\nAll processes share all cores, so the load generator and the upstream take what a \
         second worker needs. The last column is computed: what two workers serve with a core each, if one fills its core.\n\n",
    );
    let heads = [
        "requests/s, 2 to 1",
        "CPU time a request, 1 worker, µs",
        "CPU time a request, 2 workers, µs",
        "with a core each, 2 to 1",
    ];
    rows_of(text, &heads, rows);
}

fn flips(text: &mut String, results: &Results) {
    let cells = |flip: &Flip| [flip.median, flip.p99, flip.max].map(|time| format!("{time:.2}")).to_vec();
    let rows: Vec<_> = results.flips.iter().map(|flip| (flip.answer, cells(flip))).collect();
    let Some(Flip { count, .. }) = results.flips.first() else { return };
    let _ = writeln!(
        text,
        "## From the rename of a flag file to an answer, ms\n\n{count} edits of each kind, 50 ms after the last answer. One client \
         asks without pause meanwhile, so its own request is in the figure.\n"
    );
    rows_of(text, &["median", "p99", "max"], rows);
}

fn features(text: &mut String, results: &Results) {
    text.push_str("## Features\n\n");
    let Some(([_, heads @ ..], rows)) = results.features.split_first() else { return };
    let rows = rows.iter().map(|[name, cells @ ..]| (*name, cells.iter().map(|cell| (*cell).to_owned()).collect()));
    rows_of(text, heads, rows.collect());
}

fn rows_of(text: &mut String, heads: &[&str], rows: Vec<(&str, Vec<String>)>) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for (name, cells) in rows {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { median, low, high }) = spread else { return NOTHING.into() };
    format!("{median:.digits$} ({low:.digits$}-{high:.digits$})")
}

/// Sorts by the order of [`Kind::ALL`], with all others at the end.
fn ordered(mut contenders: Vec<&str>) -> Vec<&str> {
    let place = |name: &str| Kind::ALL.iter().position(|kind| kind.name() == name).unwrap_or(Kind::ALL.len());
    contenders.sort_by_key(|name| place(name));
    contenders
}

const NOTHING: &str = "-";
