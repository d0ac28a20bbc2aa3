//! The log on standard error: for a person on a terminal, JSON lines otherwise.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::plan::config::LogLevel;

/// Changes the level while running.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
}

impl LogHandle {
    /// Logs from this level on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then there is nothing to filter.
        let _ = self.filter.reload(filter(level));
    }
}

/// Starts logging, once in the life of the process.
pub fn start(level: LogLevel) -> LogHandle {
    let (filter, handle) = reload::Layer::new(filter(level));
    let stderr = std::io::stderr;
    let registry = tracing_subscriber::registry().with(filter);
    // A second start (in a test of this crate) keeps the first.
    let _ = if stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(stderr).with_target(false)).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(stderr).with_target(false)).try_init()
    };
    LogHandle { filter: handle }
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
