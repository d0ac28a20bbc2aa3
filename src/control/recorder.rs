//! The recorder writes the state and the history.
//!
//! The recorder runs after each publication. A disk that fails does not affect what is served. The failure is logged
//! once, and so is the recovery.

use std::error::Error;
use std::{fmt, io};

use jiff::Timestamp;

use crate::live::Generation;
use crate::plan::compile::Memory;
use crate::plan::problem::Problem;

use super::closure_counts::ClosureCounter;
use super::history::{Entry, Event, History};
use super::state::{Dropped, LoadError, SaveError, StateDir, empty, text_of};

/// Writer of the state and the history.
pub(super) struct Recorder {
    state: StateDir,
    history: History,
    /// Events that are not written yet.
    events: Vec<Event>,
    counter: ClosureCounter,
    /// Content of the state file, as far as it is known.
    saved: Option<String>,
    /// Content that the state file should have, while it cannot be written.
    unsaved: Option<String>,
    /// The saved state that could not be read at the start, until a reload.
    unread: Option<Problem>,
    /// Failure of the last attempt to write the state.
    state_failure: Option<String>,
    /// Failure of the last attempt to write the history.
    history_failure: Option<String>,
    /// Entries that could not be written, until the history tells of them.
    gap: Option<Gap>,
    /// Entries that could not be written since the start.
    lost: u64,
}

/// Entries of the history that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    entries: u64,
    from: Timestamp,
    to: Timestamp,
}

/// State of the state file and the history, for the report.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    /// Problems that last.
    pub problems: Vec<Problem>,
    /// Entries that could not be written since the start.
    pub lost: u64,
}

impl Recorder {
    pub(super) fn new(state: StateDir) -> Self {
        let history = History::new(state.clone());
        let (events, saved, unsaved, unread, gap) = (Vec::new(), None, None, None, None);
        Self {
            state,
            history,
            events,
            counter: ClosureCounter::new(Timestamp::now()),
            saved,
            unsaved,
            unread,
            state_failure: None,
            history_failure: None,
            gap,
            lost: 0,
        }
    }

    /// Returns the directory that is written to.
    pub(super) fn state_dir(&self) -> &StateDir {
        &self.state
    }

    /// Returns the memory of an earlier process.
    pub(super) fn memory(&mut self) -> Memory {
        match self.state.load() {
            // An empty state is written once a route has checks: the next start is not the first one then.
            Ok(None) => Memory::Fresh,
            Ok(Some(saved)) => {
                if saved.routes.is_empty() {
                    self.saved = Some(empty());
                }
                self.unread = damaged(&self.state, &saved.dropped);
                Memory::States(saved.routes)
            }
            Err(error) => {
                let source = error.source().map(ToString::to_string);
                tracing::error!(%error, source, "no saved state: routes with `verify` are checked before they open");
                self.unread = Some(unread(&self.state, &error));
                Memory::Lost
            }
        }
    }

    /// Forgets the problem of the start, because an operator has asked to read everything again.
    pub(super) fn on_reload(&mut self) {
        self.unread = None;
    }

    /// Returns the faults of the state file and the history.
    pub(super) fn recording(&self) -> Recording {
        let help = "make room, or make it writable; or name another directory by `state_dir`, and restart";
        let unwritten = |ending: PathEnding, failure: &String| {
            let (file, what) = match ending {
                PathEnding::State => {
                    (self.state.state_file(), "the state is not saved: a restart would not find the phases")
                }
                PathEnding::History => (self.history.file(), "the history is not written"),
            };
            let lost = self.gap.filter(|_| ending == PathEnding::History);
            let lost = lost.map(|gap| format!("; {} entries are lost", gap.entries)).unwrap_or_default();
            Problem::error(&file.display().to_string(), format!("{what}: {failure}{lost}")).help(help)
        };
        let state = self.state_failure.iter().map(|failure| unwritten(PathEnding::State, failure));
        let history = self.history_failure.iter().map(|failure| unwritten(PathEnding::History, failure));
        Recording { problems: self.unread.iter().cloned().chain(state).chain(history).collect(), lost: self.lost }
    }

    /// Repeats the writes that failed. Returns true if there was one.
    pub(super) fn retry(&mut self, generation: u64) -> bool {
        if self.state_failure.is_none() && self.history_failure.is_none() {
            return false;
        }
        self.flush(generation);
        if let Some(text) = self.unsaved.take() {
            self.write_state(text);
        }
        true
    }

    /// Queues an event, to be written with the next publication or [`Recorder::flush`]. If the queue is full, the event
    /// counts as lost.
    pub(super) fn note(&mut self, event: Event) {
        if self.events.len() < MOST_NOTES {
            self.events.push(event);
        } else {
            self.lose(1, Timestamp::now());
        }
    }

    /// Records the transitions of a publication, and saves the state.
    pub(super) fn record(&mut self, live: &Generation, flags: Option<&str>) {
        let snapshot = &live.snapshot;
        for route in &snapshot.routes {
            let mode = route.closure.as_ref().map(|closure| closure.mode.as_str().to_owned());
            let source = route.closed_by().map(|by| by.to_string());
            let until = route.closure.as_ref().and_then(|closure| closure.until);
            for transition in &route.transitions {
                let requests = self.counter.take(&live.routes[route.index], transition);
                self.note(Event::Phase {
                    route: route.config.name.clone(),
                    from: transition.from.as_str().to_owned(),
                    to: transition.to.as_str().to_owned(),
                    at: transition.at,
                    why: transition.reason.to_string(),
                    mode: mode.clone(),
                    source: source.clone(),
                    until,
                    flags: flags.map(ToOwned::to_owned),
                    requests,
                });
            }
        }
        self.flush(snapshot.generation);
        let routes = snapshot.routes.iter().map(|route| (route.config.name.as_str(), &*route.state));
        let text = text_of(routes);
        let has_checks = || snapshot.routes.iter().any(|route| !route.config.policy.verify.is_empty());
        if text.is_none() && self.saved.is_none() && self.unsaved.is_none() && !has_checks() {
            return;
        }
        self.save(text.unwrap_or_else(empty));
    }

    /// Writes the queued events. If events were lost before them, the first line says so.
    pub(super) fn flush(&mut self, generation: u64) {
        let time = Timestamp::now();
        let gap = self.gap.map(|Gap { entries, from, to }| Event::Gap { entries, from, to });
        let events = self.events.len() as u64;
        let entries: Vec<Entry> =
            gap.into_iter().chain(self.events.drain(..)).map(|event| Entry { time, generation, event }).collect();
        if entries.is_empty() {
            return;
        }
        let written = self.history.append(&entries).map_err(RecordError::Append);
        match &written {
            Ok(()) => self.gap = None,
            Err(_) if events > 0 => self.lose(events, time),
            Err(_) => {}
        }
        self.history_failure = self.report(written, self.history_failure.is_some());
    }

    /// Counts events that are not written, until the history tells of them.
    fn lose(&mut self, entries: u64, time: Timestamp) {
        let gap = self.gap.unwrap_or(Gap { entries: 0, from: time, to: time });
        self.gap = Some(Gap { entries: gap.entries + entries, to: time, ..gap });
        self.lost += entries;
    }

    /// Saves a state, unless the file has it already. After a failure the text waits for another attempt, and a newer
    /// state takes its place.
    fn save(&mut self, text: String) {
        if self.unsaved.is_some() || self.saved.as_ref() != Some(&text) {
            self.write_state(text);
        }
    }

    fn write_state(&mut self, text: String) {
        let written = self.state.save(&text).map_err(RecordError::Save);
        (self.saved, self.unsaved) = if written.is_ok() { (Some(text), None) } else { (self.saved.take(), Some(text)) };
        self.state_failure = self.report(written, self.state_failure.is_some());
    }

    /// Logs the first failure after a success, and the first success after a failure. Returns the failure in words.
    fn report(&self, written: Result<(), RecordError>, failed: bool) -> Option<String> {
        let directory = self.state.path().display().to_string();
        match written {
            Ok(()) => {
                if failed {
                    tracing::info!(directory, "state and history are written again");
                }
                None
            }
            Err(error) => {
                let source = error.source().map(ToString::to_string);
                if !failed {
                    tracing::warn!(
                        directory,
                        %error,
                        source,
                        "state and history cannot be written; name a directory by `state_dir`"
                    );
                }
                Some(source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
            }
        }
    }
}

/// File that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathEnding {
    State,
    History,
}

/// Returns the problem of a saved state that cannot be read.
fn unread(state: &StateDir, error: &LoadError) -> Problem {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let help = "routes with `verify` had to pass their checks before they opened, all others follow from the flag file \
                and the clock; a reload (SIGHUP) ends this remark";
    Problem::error(&state.state_file().display().to_string(), format!("{error}{source}")).help(help)
}

/// Logs the parts of a saved state that were dropped, and returns their problem.
fn damaged(state: &StateDir, dropped: &[Dropped]) -> Option<Problem> {
    for lost in dropped.iter().take(MOST_TOLD) {
        tracing::warn!(
            route = lost.route,
            part = lost.key,
            follows = lost.follows,
            "a damaged part of the state is dropped"
        );
    }
    let first = dropped.first()?;
    let more = match dropped.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more, see the log"),
    };
    let message = format!("the saved state was damaged, and a part of it is dropped: {first}{more}");
    let help =
        "the rest is kept, and a route without any rest had to pass its checks; a reload (SIGHUP) ends this remark";
    Some(Problem::error(&state.state_file().display().to_string(), message).help(help))
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

/// Dropped parts of a saved state that are logged.
const MOST_TOLD: usize = 100;
/// Events that may be queued.
const MOST_NOTES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn recorder(dir: &tempfile::TempDir) -> Recorder {
        Recorder::new(StateDir::new(&dir.path().join("backsoon.toml"), None, None))
    }

    #[test]
    fn a_state_that_became_true_again_is_not_overwritten_by_one_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = recorder(&dir);
        let file = recorder.state.state_file();
        recorder.save("open".to_owned());
        // A directory in the way fails for root as well.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        recorder.save("closed".to_owned());
        recorder.save("open".to_owned());
        fs::remove_dir(&file).unwrap();
        recorder.retry(1);
        assert_eq!(fs::read_to_string(&file).unwrap(), "open");
        assert!(recorder.recording().problems.is_empty());
    }

    #[test]
    fn events_beyond_the_queue_are_counted_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = recorder(&dir);
        for _ in 0..MOST_NOTES + 7 {
            recorder.note(Event::Ended);
        }
        recorder.flush(1);
        assert_eq!(recorder.recording().lost, 7);
        let text = fs::read_to_string(recorder.history.file()).unwrap();
        assert!(text.lines().any(|line| line.contains("\"gap\"") && line.contains('7')), "{}", text.len());
    }
}
