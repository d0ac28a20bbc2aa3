//! The log on standard error: text on a terminal, JSON lines elsewhere.
//!
//! A thread of its own writes the lines. A stopped terminal, or a collector that does not read, must not hold up a
//! publication, a signal or a request. If the writer cannot keep up, lines are dropped, and their number is logged.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::plan::config::LogLevel;

/// Handle to change the level, and to wait for the last lines.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    lines: Lines,
}

impl LogHandle {
    /// Sets the level.
    pub fn set_level(&self, level: LogLevel) {
        // Reloading fails only if the subscriber is gone. Then there is nothing to filter.
        let _ = self.filter.reload(filter(level));
    }

    /// Waits until the lines so far are written. Gives up soon, since perhaps nobody reads.
    pub fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.lines.queue.try_send(Entry::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Starts logging. To be called once per process.
///
/// # Errors
/// If the writing thread cannot be started.
pub fn start(level: LogLevel) -> io::Result<LogHandle> {
    let (queue, entries) = sync_channel(QUEUED_LINES);
    let lines = Lines { queue, lost: Arc::default() };
    let lost = Arc::clone(&lines.lost);
    std::thread::Builder::new().name("log".into()).spawn(move || write(&entries, &lost))?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let writer = lines.clone();
    // A second start, in a test of this crate, keeps the first.
    let _ = if io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(move || writer.clone()).with_target(false)).try_init()
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_writer(move || writer.clone()).with_target(false);
        registry.with(layer).try_init()
    };
    Ok(LogHandle { filter: handle, lines })
}

/// Sender of lines to the writing thread.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    /// A whole event, already formatted.
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the writing thread.
fn write(entries: &Receiver<Entry>, lost: &AtomicU64) {
    let mut stderr = io::stderr();
    while let Ok(entry) = entries.recv() {
        // If standard error is closed, nobody can be told.
        let _ = match entry {
            Entry::Line(line) => stderr.write_all(&line),
            Entry::Flush(written) => {
                let _ = written.try_send(());
                Ok(())
            }
        };
        let lines = lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            tracing::warn!(lines, "lines of the log were lost, since nobody read them");
        }
    }
}

/// Makes the filter. The level applies to this crate. Libraries may only log warnings, since their details help nobody.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    Targets::new().with_default(level.min(Level::WARN)).with_target(env!("CARGO_CRATE_NAME"), level)
}

/// Lines that may wait to be written.
const QUEUED_LINES: usize = 4096;

/// Time that the process waits for the last lines when it ends.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);
