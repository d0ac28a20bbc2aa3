//! The raw results.

use serde::Serialize;

use crate::configs::FEATURES;
use crate::machine::Machine;

/// Content of `overhead.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// Machine and settings.
    pub(crate) machine: Machine,
    /// Features of each contender.
    pub(crate) features: &'static [[&'static str; 7]],
    /// Bytes of the page, as it is and compressed.
    pub(crate) pages: Vec<(String, usize)>,
    /// Closed-loop runs.
    pub(crate) runs: Vec<Run>,
    /// Open-loop runs, merged over the rounds.
    pub(crate) latencies: Vec<Latency>,
    /// Memory of idle connections.
    pub(crate) idle: Vec<Idle>,
    /// System calls.
    pub(crate) syscalls: Vec<Syscalls>,
    /// Times from an edit of the flag file to the first answer that follows.
    pub(crate) flips: Vec<Flip>,
    /// Parts that were left out, with the reasons.
    pub(crate) skipped: Vec<String>,
    /// Invalid figures, with the reasons.
    pub(crate) invalid: Vec<String>,
}

/// One closed-loop run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Workload of the run.
    pub(crate) workload: String,
    /// Name of the contender.
    pub(crate) contender: String,
    /// Number of the round, from 1.
    pub(crate) round: u32,
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds of CPU time per request; none for direct.
    pub(crate) cpu: Option<f64>,
    /// Share of the CPU time that was spent in user mode, from 0 to 1.
    pub(crate) user: Option<f64>,
    /// Cores that the process kept busy.
    pub(crate) busy: Option<f64>,
    /// Reason why the figures are invalid.
    pub(crate) invalid: Option<String>,
}

/// Latencies at one rate. Times are in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    /// Requests a second.
    pub(crate) rate: u32,
    /// Name of the contender.
    pub(crate) contender: String,
    /// Requests that were counted.
    pub(crate) count: u64,
    /// Pairs of percentile and microseconds.
    pub(crate) percentiles: Vec<(f64, f64)>,
    /// The largest.
    pub(crate) max: f64,
    /// p99 of each round.
    pub(crate) p99_of_rounds: Vec<f64>,
    /// How late the generator was at its 99th percentile, which is in the figures above.
    pub(crate) generator_p99: f64,
}

/// Memory per idle connection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    /// Protocol on the connections.
    #[serde(rename = "speech")]
    pub(crate) protocol: &'static str,
    /// Name of the contender.
    pub(crate) contender: String,
    /// Number of connections.
    pub(crate) connections: u32,
    /// Bytes per connection.
    pub(crate) bytes: f64,
}

/// System calls per request of the workload small.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Syscalls {
    /// Name of the contender.
    pub(crate) contender: String,
    /// Number of all calls.
    pub(crate) per_request: f64,
    /// Number by name, the most frequent first.
    pub(crate) by_name: Vec<(String, f64)>,
}

/// Times from the rename of a flag file to the first answer that follows, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flip {
    /// The answer that follows.
    pub(crate) answer: &'static str,
    /// Number of edits.
    pub(crate) count: usize,
    /// The median.
    pub(crate) median: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
    /// The largest.
    pub(crate) max: f64,
}

/// Median, minimum and maximum of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) low: f64,
    /// The largest.
    pub(crate) high: f64,
}

impl Spread {
    /// Computes the spread of at least one figure.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (low, high) = (*figures.first()?, *figures.last()?);
        let upper = *figures.get(figures.len() / 2)?;
        let lower = *figures.get((figures.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

impl Results {
    /// Makes empty results.
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            features: &FEATURES,
            pages: Vec::new(),
            runs: Vec::new(),
            latencies: Vec::new(),
            idle: Vec::new(),
            syscalls: Vec::new(),
            flips: Vec::new(),
            skipped: Vec::new(),
            invalid: Vec::new(),
        }
    }

    /// Records a part that is left out, and prints it at once.
    pub(crate) fn skip(&mut self, what: &str) {
        eprintln!("!! SKIPPED: {what}");
        self.skipped.push(what.to_owned());
    }

    /// Records an invalid figure, and prints it at once.
    pub(crate) fn invalidate(&mut self, what: &str) {
        eprintln!("!! INVALID: {what}");
        self.invalid.push(what.to_owned());
    }

    /// Returns the workloads of the runs, in order of appearance.
    pub(crate) fn workloads(&self) -> Vec<&str> {
        in_order(self.runs.iter().map(|run| run.workload.as_str()))
    }

    /// Returns the spread of a figure over all valid runs of a contender.
    pub(crate) fn spread(
        &self,
        workload: &str,
        contender: &str,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.valid(workload, contender).filter_map(figure).collect())
    }

    /// Returns the CPU time of `one` relative to `other`, round by round, because a disturbed round disturbs both.
    pub(crate) fn ratio(&self, workload: &str, one: &str, other: &str) -> Option<Spread> {
        let ratios = self.valid(workload, one).filter_map(|run| {
            let beside = self.valid(workload, other).find(|other| other.round == run.round)?;
            Some(run.cpu? / beside.cpu?)
        });
        Spread::of(ratios.collect())
    }

    fn valid<'r>(&'r self, workload: &'r str, contender: &'r str) -> impl Iterator<Item = &'r Run> {
        let these = self.runs.iter().filter(move |run| run.workload == workload && run.contender == contender);
        these.filter(|run| run.invalid.is_none())
    }
}

/// Removes duplicates, keeping the order of first appearance.
pub(crate) fn in_order<'t>(all: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}
