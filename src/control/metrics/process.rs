//! The process itself, by the names that Prometheus's own clients have for it. What a system does not tell is left out.

use std::fs;

use jiff::Timestamp;
use rustix::process::{Resource, getrlimit};

use super::exposition::Exposition;
use super::{number, seconds};

/// Writes what the system tells about the process.
pub(super) fn process(text: &mut Exposition, started: Timestamp) {
    let start = text.gauge("process_start_time_seconds", "When the process started.");
    start.only(seconds(started));
    if let Some(cpu) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
        text.counter("process_cpu_seconds", "Time that the process has computed.").only(cpu);
    }
    if let Some(open) = open_descriptors() {
        text.gauge("process_open_fds", "Descriptors that are open.").only(number(open));
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        text.gauge("process_max_fds", "Descriptors that may be open.").only(number(most));
    }
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return };
    for (name, help, field) in MEMORY {
        if let Some(bytes) = kibibytes(&status, field) {
            text.gauge(name, help).only(number(bytes.saturating_mul(1024)));
        }
    }
    if let Some(threads) = value(&status, "Threads:").and_then(|count| count.parse().ok()) {
        text.gauge("process_threads", "Threads of the process.").only(number(threads));
    }
}

/// Reads the time in user and in system mode from `/proc/self/stat`. The name of the program comes before, in brackets,
/// and may have any bytes (proc(5)).
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(|ticks| ticks.parse::<u64>().ok());
    Some(number(ticks.next()??.saturating_add(ticks.next()??)) / TICKS)
}

/// Counts the open descriptors. Linux 6.2 tells their number as the size of the directory; before, they are listed.
fn open_descriptors() -> Option<u64> {
    match fs::metadata(DESCRIPTORS).ok()?.len() {
        // The listing itself takes one.
        0 => Some((fs::read_dir(DESCRIPTORS).ok()?.count() as u64).saturating_sub(1)),
        told => Some(told),
    }
}

/// Reads a line such as `VmRSS:     12345 kB` of `/proc/self/status`.
fn kibibytes(status: &str, field: &str) -> Option<u64> {
    value(status, field)?.strip_suffix("kB")?.trim().parse().ok()
}

fn value<'s>(status: &'s str, field: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim)
}

/// Gauges of memory: name, help, and the field of `/proc/self/status`.
const MEMORY: [(&str, &str, &str); 3] = [
    ("process_resident_memory_bytes", "Memory that is resident.", "VmRSS:"),
    ("process_virtual_memory_bytes", "Memory that is mapped, most of it reserved and untouched.", "VmSize:"),
    (
        "backsoon_anonymous_memory_bytes",
        "Resident memory that no file backs: what the allocator (mimalloc) has taken and not given back, and stacks.",
        "RssAnon:",
    ),
];

/// Ticks of a second, in which Linux counts for programs on every architecture of today (USER_HZ).
const TICKS: f64 = 100.0;

const DESCRIPTORS: &str = "/proc/self/fd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_status_are_found_and_odd_ones_left_out() {
        let status = "Name:\tVmRSS:\nVmRSS:\t   12345 kB\nThreads:\t7\nRssAnon:\t x kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(12_345));
        assert_eq!(value(status, "Threads:"), Some("7"));
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!((cpu_seconds(stat), cpu_seconds("7 (a)")), (Some(2.0), None));
        assert_eq!((kibibytes(status, "RssAnon:"), kibibytes(status, "VmSize:")), (None, None));
    }
}
