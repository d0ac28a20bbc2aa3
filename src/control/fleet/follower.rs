//! Follower of an engine, on a thread of its own: an engine that hangs must not hold up anything else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::plan::config::FleetConfig;
use crate::status::fleet::FleetStatus;

use super::outlet::{Outlet, Shared};
use super::peers::{Peers, Wire};
use super::{Document, FleetError, Revision, follow, nats};

/// Follower of an engine. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    sight: Sight,
    peers: Peers,
    changes: watch::Receiver<u64>,
    _end: oneshot::Sender<()>,
}

/// View of the last word of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    shared: Arc<Shared>,
    kind: &'static str,
    place: String,
}

/// Last word of an engine.
#[derive(Clone, Debug)]
pub(crate) enum Last {
    /// Text.
    Document(Document),
    /// There is no text.
    Missing,
    /// No word so far.
    Nothing,
}

impl Follower {
    /// Begins to follow. A text with an earlier revision than the copied one is told as a loss of data.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn start(config: FleetConfig, copied: Option<Revision>) -> io::Result<Self> {
        let place = config.to_string();
        let shared = Arc::new(Shared::new(place.clone()));
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sight = Sight { shared: Arc::clone(&shared), kind: config.kind(), place };
        let changes = shared.changes();
        let peers = Peers::default();
        let wire = Wire::new(peers.clone());
        std::thread::Builder::new().name("fleet".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = drive(&config, Outlet::new(shared, copied)) => {}
                    () = drive_beats(&config, wire) => {}
                    // The other end is dropped, and nothing is ever sent.
                    _ = ended => {}
                }
            });
            // A look-up that hangs is left behind.
            runtime.shutdown_background();
        })?;
        Ok(Self { sight, peers, changes, _end: end })
    }

    /// Waits until the last word, or its freshness, has changed. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The thread is gone, which only the end of the process brings about.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the first word. With `patient`, a failure is not enough.
    pub(crate) fn first(&self, within: Duration, patient: Patient) -> Last {
        let shared = &self.sight.shared;
        shared.wait(within, |state| {
            let is_told = state.document.is_some() || state.missing;
            is_told || patient == Patient::No && state.away.is_some()
        });
        self.sight.last()
    }

    /// Returns a view of the other replicas.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns a view of the last word.
    pub(crate) fn sight(&self) -> &Sight {
        &self.sight
    }
}

/// Patience of a start with an engine that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patient {
    /// There is nothing else to begin with.
    Yes,
    /// There is a copy of the last good text.
    No,
}

impl Sight {
    /// Returns the last word.
    pub(crate) fn last(&self) -> Last {
        let state = self.shared.state();
        match (state.missing, state.document) {
            (true, _) => Last::Missing,
            (false, Some(document)) => Last::Document(document),
            (false, None) => Last::Nothing,
        }
    }

    /// Returns the failure of the engine, while it is away.
    pub(crate) fn trouble(&self) -> FleetError {
        let away = self.shared.state().away;
        away.unwrap_or_else(|| FleetError::Unreached("it has not answered in time".to_owned()))
    }

    /// Describes the engine for `/status`.
    pub(crate) fn status(&self) -> FleetStatus {
        let state = self.shared.state();
        FleetStatus {
            source: self.place.clone(),
            kind: self.kind.to_owned(),
            revision: state.document.map(|document| document.revision.to_string()),
            confirmed: state.confirmed,
            stale_since: state.since,
            trouble: state.away.map(|error| error.to_string()),
            deleted: state.missing,
            lost: state.lost.map(|(before, after)| format!("from {before} to {after}")),
            ..FleetStatus::default()
        }
    }

    /// Returns the time since the engine gave its last word, if it gave one.
    pub(crate) fn age(&self) -> Option<Duration> {
        let confirmed = self.shared.state().confirmed?;
        Some(Duration::try_from(Timestamp::now().duration_since(confirmed)).unwrap_or_default())
    }
}

/// Follows for ever, with a pause after each failure.
async fn drive(config: &FleetConfig, mut outlet: Outlet) {
    let mut failures = 0;
    loop {
        let words = outlet.words();
        let error = follow(config, &mut outlet).await;
        outlet.away(&error);
        failures = match error {
            FleetError::Unreached(_) => 0,
            FleetError::Wrong(_) | FleetError::ReadOnly(_) if outlet.words() != words => 1,
            FleetError::Wrong(_) | FleetError::ReadOnly(_) => failures + 1,
        };
        tokio::time::sleep(pause(&error, failures, fastrand::f64())).await;
    }
}

/// Carries beats for ever, if the engine can, with a pause after each failure.
async fn drive_beats(config: &FleetConfig, mut wire: Wire) {
    let Some(nats) = config.nats() else { return std::future::pending().await };
    let mut failures = 0;
    loop {
        let begun = tokio::time::Instant::now();
        let error = nats::carry(nats, config.ca.as_deref(), &mut wire).await;
        wire.away(error.to_string());
        failures = if begun.elapsed() > LONG { 1 } else { failures + 1 };
        if failures == TOLD_FAILURES {
            tracing::warn!(place = %config, why = %error, "the other replicas are not heard");
        }
        tokio::time::sleep(pause(&error, failures, fastrand::f64())).await;
    }
}

/// Returns the pause after a failure. `chance` spreads the replicas, which all fail at the same time.
pub(super) fn pause(error: &FleetError, failures: u32, chance: f64) -> Duration {
    let longest = match error {
        // An attempt to connect costs the engine nothing, and its return is to be noticed soon.
        FleetError::Unreached(_) => SHORT,
        FleetError::Wrong(_) | FleetError::ReadOnly(_) => SHORT.saturating_mul(1 << failures.min(6)).min(LONG),
    };
    LEAST + (longest - LEAST).mul_f64(chance)
}

/// Failures in a row after which the log tells of beats that are not carried.
const TOLD_FAILURES: u32 = 5;
const LEAST: Duration = Duration::from_millis(500);
const SHORT: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_for_an_engine_that_answers_wrongly() {
        let wrong = FleetError::Wrong(String::new());
        let longest = |failures| pause(&wrong, failures, 1.0);
        assert_eq!(longest(1), Duration::from_secs(3));
        assert_eq!(longest(2), Duration::from_secs(6));
        assert_eq!((longest(5), longest(500)), (LONG, LONG));
        assert_eq!(pause(&wrong, 500, 0.0), LEAST);
        assert_eq!(pause(&FleetError::Unreached(String::new()), 500, 1.0), SHORT);
    }
}
