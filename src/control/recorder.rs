//! The recorder writes the state and the history.
//!
//! The recorder runs after each publication. A disk that fails does not affect what is served. The failure is logged
//! once, and so is the recovery.

use std::collections::HashMap;
use std::error::Error;
use std::{fmt, io, mem};

use jiff::Timestamp;

use crate::plan::lifecycle::RouteState;
use crate::plan::snapshot::Snapshot;

use super::history::{Entry, Event, History};
use super::state::{SaveError, StateDir, empty, text_of};

/// Writer of the state and the history.
pub(super) struct Recorder {
    state: StateDir,
    history: History,
    /// Events that are not written yet.
    events: Vec<Event>,
    /// Content of the state file, as far as it is known.
    saved: Option<String>,
    failing: bool,
}

impl Recorder {
    pub(super) fn new(state: StateDir) -> Self {
        let history = History::new(state.clone());
        Self { state, history, events: Vec::new(), saved: None, failing: false }
    }

    /// Returns what an earlier process remembered.
    pub(super) fn remembered(&mut self) -> HashMap<String, RouteState> {
        match self.state.load() {
            Ok(routes) if routes.is_empty() => {
                self.saved = Some(empty());
                routes
            }
            Ok(routes) => routes,
            Err(error) => {
                let source = error.source().map(ToString::to_string);
                tracing::error!(%error, source, "no saved state: phases follow from the flag file and the clock alone");
                HashMap::new()
            }
        }
    }

    /// Queues an event, to be written with the next publication or [`Recorder::flush`].
    pub(super) fn note(&mut self, event: Event) {
        if self.events.len() < MOST_NOTES {
            self.events.push(event);
        }
    }

    /// Records the transitions of a publication, and saves the state.
    pub(super) fn record(&mut self, live: &Snapshot, flags: Option<&str>) {
        for route in &live.routes {
            let mode = route.closure.as_ref().map(|closure| closure.mode.as_str().to_owned());
            let until = route.closure.as_ref().and_then(|closure| closure.until);
            for transition in &route.transitions {
                self.note(Event::Phase {
                    route: route.config.name.clone(),
                    from: transition.from.as_str().to_owned(),
                    to: transition.to.as_str().to_owned(),
                    at: transition.at,
                    why: transition.reason.to_string(),
                    mode: mode.clone(),
                    until,
                    flags: flags.map(ToOwned::to_owned),
                });
            }
        }
        self.flush(live.generation);
        self.save(live);
    }

    /// Writes the queued events.
    pub(super) fn flush(&mut self, generation: u64) {
        let time = Timestamp::now();
        let entries: Vec<Entry> = self.events.drain(..).map(|event| Entry { time, generation, event }).collect();
        if entries.is_empty() {
            return;
        }
        let written = self.history.append(&entries).map_err(RecordError::Append);
        self.report(written);
    }

    fn save(&mut self, live: &Snapshot) {
        let routes = live.routes.iter().map(|route| (route.config.name.as_str(), &*route.state));
        let text = text_of(routes).unwrap_or_else(empty);
        if self.saved.as_ref() == Some(&text) {
            return;
        }
        let written = self.state.save(&text).map_err(RecordError::Save);
        if written.is_ok() {
            self.saved = Some(text);
        }
        self.report(written);
    }

    /// Logs the first failure after a success, and the first success after a failure.
    fn report(&mut self, written: Result<(), RecordError>) {
        let failed = written.is_err();
        if failed == mem::replace(&mut self.failing, failed) {
            return;
        }
        let directory = self.state.path().display().to_string();
        match written {
            Ok(()) => tracing::info!(directory, "state and history are written again"),
            Err(error) => {
                let source = error.source().map(ToString::to_string);
                tracing::warn!(
                    directory,
                    %error,
                    source,
                    "state and history cannot be written; name a directory by `state_dir`"
                );
            }
        }
    }
}

/// A failure to record.
#[derive(Debug)]
enum RecordError {
    /// The history cannot be appended to.
    Append(io::Error),
    /// The state cannot be saved.
    Save(SaveError),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append(error) => error.fmt(f),
            Self::Save(error) => error.fmt(f),
        }
    }
}

impl Error for RecordError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Append(error) => error.source(),
            Self::Save(error) => error.source(),
        }
    }
}

/// Events that may be queued.
const MOST_NOTES: usize = 10_000;
