//! The closed-loop load generators wrk and h2load: their command lines, and a reader for their output.

use std::io;
use std::process::Command;
use std::time::Duration;

use crate::machine;
use crate::nursery::Nursery;

/// A run to make.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// URL to request.
    pub(crate) url: String,
    /// Number of connections.
    pub(crate) connections: u32,
    /// Duration of the run.
    pub(crate) duration: Duration,
    /// Further request fields, `Name: value`.
    pub(crate) fields: Vec<String>,
    /// The generator.
    pub(crate) tool: Tool,
}

/// A load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// HTTP/1.1, one thread.
    Wrk,
    /// HTTP/2, one thread, eight streams a connection.
    H2load,
}

/// Counts of a load generator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Responses, whatever their status.
    pub(crate) requests: u64,
    /// Responses with a status outside 200-399.
    pub(crate) refused: u64,
    /// Connections, reads and writes that failed or took too long.
    pub(crate) errors: u64,
    /// Requests a second.
    pub(crate) rate: f64,
}

impl Load {
    /// Makes the run.
    ///
    /// # Errors
    /// If the tool is missing, fails, or prints something else.
    pub(crate) fn run(&self, nursery: &Nursery) -> io::Result<Counts> {
        let mut command = self.command()?;
        let finished = nursery.run(&mut command, self.duration + PATIENCE)?;
        let counts = match self.tool {
            Tool::Wrk => wrk_counts(&finished.text),
            Tool::H2load => h2load_counts(&finished.text),
        };
        counts
            .ok_or_else(|| io::Error::other(format!("{command:?} ended with {}:\n{}", finished.status, finished.text)))
    }

    fn command(&self) -> io::Result<Command> {
        let name = match self.tool {
            Tool::Wrk => "wrk",
            Tool::H2load => "h2load",
        };
        let program = machine::find(name).ok_or_else(|| io::Error::other(format!("{name} is not installed")))?;
        let mut command = Command::new(program);
        let seconds = self.duration.as_secs().max(1);
        match self.tool {
            Tool::Wrk => command.args(["-t1", &format!("-c{}", self.connections), &format!("-d{seconds}s")]),
            Tool::H2load => {
                let clients = (self.connections / H2_STREAMS).max(1);
                command.args(["-t1", &format!("-c{clients}"), &format!("-m{H2_STREAMS}"), &format!("-D{seconds}")])
            }
        };
        for field in &self.fields {
            command.args(["-H", field]);
        }
        command.arg(&self.url);
        Ok(command)
    }
}

/// ```text
///   78563 requests in 1.00s, 9.81MB read
///   Socket errors: connect 0, read 3, write 0, timeout 0
///   Non-2xx or 3xx responses: 5
/// Requests/sec:  78480.59
/// ```
fn wrk_counts(text: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    for line in text.lines().map(str::trim) {
        if let Some((requests, _)) = line.split_once(" requests in ") {
            counts.requests = requests.trim().parse().ok()?;
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            counts.errors = numbers(errors).iter().sum();
        } else if let Some(refused) = line.strip_prefix("Non-2xx or 3xx responses:") {
            counts.refused = refused.trim().parse().ok()?;
        } else if let Some(rate) = line.strip_prefix("Requests/sec:") {
            counts.rate = rate.trim().parse().ok()?;
        }
    }
    (counts.requests > 0).then_some(counts)
}

/// ```text
/// finished in 1.00s, 51094.00 req/s, 2.49MB/s
/// requests: 51094 total, 51158 started, 51094 done, 51094 succeeded, 0 failed, 0 errored, 0 timeout
/// status codes: 51094 2xx, 0 3xx, 0 4xx, 0 5xx
/// ```
fn h2load_counts(text: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("finished in ") {
            counts.rate = rest.split(", ").nth(1)?.strip_suffix(" req/s")?.parse().ok()?;
        } else if let Some(rest) = line.strip_prefix("requests: ") {
            let [_, _, done, _, _, errored, timeout] = numbers(rest)[..] else { return None };
            (counts.requests, counts.errors) = (done, errored + timeout);
        } else if let Some(rest) = line.strip_prefix("status codes: ") {
            // "2xx" and its like are not numbers.
            let [_, _, client, server] = numbers(rest)[..] else { return None };
            counts.refused = client + server;
        }
    }
    (counts.requests > 0).then_some(counts)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

/// Streams of one HTTP/2 connection.
const H2_STREAMS: u32 = 8;
/// Time that a load generator may need beyond the duration.
const PATIENCE: Duration = Duration::from_secs(15);
