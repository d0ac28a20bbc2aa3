//! The log on standard error: for a person on a terminal, JSON lines otherwise.
//!
//! Lines are written by a thread of their own. A terminal that was stopped, or a collector that does not read, must not
//! hold up a publication, a signal or a request: where the writer cannot keep up, lines are lost, and how many is said.

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

/// Changes the level while running, and waits for what was logged at the end.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    lines: Lines,
}

impl LogHandle {
    /// Logs from this level on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then there is nothing to filter.
        let _ = self.filter.reload(filter(level));
    }

    /// Waits until what was logged so far is written, but not for long: perhaps nobody reads.
    pub fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.lines.queue.try_send(Entry::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Starts logging, once in the life of the process.
///
/// # Errors
/// When the writing thread cannot be started.
pub fn start(level: LogLevel) -> io::Result<LogHandle> {
    let (queue, entries) = sync_channel(QUEUED_LINES);
    let lines = Lines { queue, lost: Arc::default() };
    let lost = Arc::clone(&lines.lost);
    std::thread::Builder::new().name("log".into()).spawn(move || write(&entries, &lost))?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let writer = lines.clone();
    // A second start (in a test of this crate) keeps the first.
    let _ = if io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(move || writer.clone()).with_target(false)).try_init()
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_writer(move || writer.clone()).with_target(false);
        registry.with(layer).try_init()
    };
    Ok(LogHandle { filter: handle, lines })
}

/// Hands lines to the writing thread.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    /// An event, whole: it is formatted before it is written.
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

/// The writing thread.
fn write(entries: &Receiver<Entry>, lost: &AtomicU64) {
    let mut stderr = io::stderr();
    while let Ok(entry) = entries.recv() {
        // Where standard error is closed there is nobody to tell.
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

/// The level is ours: a library's word for every frame helps nobody, but its warnings may.
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

/// How long the end of the process waits for the last of them.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);
