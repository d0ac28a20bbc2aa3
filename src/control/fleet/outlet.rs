//! Outlet of a follower: the last word of the engine, and how fresh it is.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Document, FleetError, Revision};

/// Last word of an engine, for all threads.
#[derive(Debug)]
pub(super) struct Shared {
    /// Place of the text, for the log.
    place: String,
    state: Mutex<State>,
    /// Wakes the start, which waits for the first word.
    first: Condvar,
    /// Number of changes that control should look at.
    changes: watch::Sender<u64>,
}

/// Last word of an engine.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Last text.
    pub document: Option<Document>,
    /// True if the engine has no text now.
    pub missing: bool,
    /// Instant of the last word.
    pub confirmed: Option<Timestamp>,
    /// Failure, while the engine is away.
    pub away: Option<FleetError>,
    /// Beginning of the failure.
    pub since: Option<Timestamp>,
    /// Revisions before and after the engine has lost data, until the next edit.
    pub lost: Option<(String, String)>,
}

/// Outlet of a follower. Control is woken when something has changed, and not by each confirmation.
#[derive(Debug)]
pub(super) struct Outlet {
    shared: std::sync::Arc<Shared>,
    /// Number of words so far.
    words: u64,
    /// Time of the last line in the log about an engine that is away.
    logged: Option<Instant>,
    /// True if the log says that the engine is away.
    said_away: bool,
    /// Revision of the copy that an earlier process has kept.
    copied: Option<Revision>,
    /// Document with an earlier revision that was seen once.
    suspect: Option<Document>,
}

impl Shared {
    pub(super) fn new(place: String) -> Self {
        let (changes, _) = watch::channel(0);
        Self { place, state: Mutex::default(), first: Condvar::new(), changes }
    }

    /// Returns a copy of the last word.
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    /// Returns a receiver that is told of changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits for the first word: a text, the lack of one, or a failure.
    pub(super) fn wait(&self, within: Duration, is_enough: impl Fn(&State) -> bool) -> State {
        let waited = self.first.wait_timeout_while(self.lock(), within, |state| !is_enough(state));
        waited.map_or_else(|poisoned| poisoned.into_inner().0.clone(), |(state, _)| state.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is replaced by assignments that cannot fail half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes control if the change matters.
    fn change(&self, change: impl FnOnce(&mut State) -> Matters) {
        let matters = change(&mut self.lock());
        self.first.notify_all();
        if matters == Matters::Yes {
            self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }
}

/// Significance of a change for control.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Matters {
    Yes,
    No,
}

impl Outlet {
    pub(super) fn new(shared: std::sync::Arc<Shared>, copied: Option<Revision>) -> Self {
        Self { shared, copied, words: 0, logged: None, said_away: false, suspect: None }
    }

    /// Returns the number of words so far.
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// Takes a text, or notes that the engine has none.
    pub(super) fn tell(&mut self, document: Option<Document>) -> Seen {
        match document {
            Some(document) => self.found(document),
            None => {
                self.missing();
                Seen::Taken
            }
        }
    }

    /// Takes a text. One with an earlier revision must be seen twice: an engine of several nodes may have asked one that
    /// lags.
    pub(super) fn found(&mut self, document: Document) -> Seen {
        let known = self.shared.lock().document.as_ref().map(|known| known.revision.clone());
        let known = known.or_else(|| self.copied.clone());
        let is_back = known.as_ref().is_some_and(|known| document.revision.is_before(known));
        if is_back && self.suspect.as_ref() != Some(&document) {
            self.suspect = Some(document);
            return Seen::Suspect;
        }
        self.suspect = None;
        let lost = known.filter(|_| is_back).map(|known| (known.to_string(), document.revision.to_string()));
        if let Some((before, after)) = &lost {
            let place = &self.shared.place;
            tracing::warn!(%place, %before, %after, "the engine of the flags has gone back to an earlier revision");
        }
        self.word();
        self.shared.change(|state| {
            let is_new = state.document.as_ref() != Some(&document) || state.missing;
            let was_away = state.away.take().is_some();
            if is_new {
                state.lost = lost;
            }
            (state.document, state.missing, state.since) = (Some(document), false, None);
            state.confirmed = Some(Timestamp::now());
            if is_new || was_away { Matters::Yes } else { Matters::No }
        });
        Seen::Taken
    }

    /// Notes that the engine has no text. The last one stays.
    pub(super) fn missing(&mut self) {
        self.word();
        self.shared.change(|state| {
            let is_new = !state.missing || state.away.is_some();
            (state.missing, state.away, state.since) = (true, None, None);
            state.confirmed = Some(Timestamp::now());
            if is_new { Matters::Yes } else { Matters::No }
        });
    }

    /// Notes that the last word still holds.
    pub(super) fn confirmed(&mut self) {
        self.word();
        self.shared.change(|state| {
            let was_away = state.away.take().is_some();
            (state.since, state.confirmed) = (None, Some(Timestamp::now()));
            if was_away { Matters::Yes } else { Matters::No }
        });
    }

    /// Notes a failure. The log tells at most once a minute.
    pub(super) fn away(&mut self, error: &FleetError) {
        let mut since = Timestamp::now();
        self.shared.change(|state| {
            since = *state.since.get_or_insert(state.confirmed.unwrap_or(since));
            let is_new = state.away.as_ref() != Some(error);
            state.away = Some(error.clone());
            if is_new { Matters::Yes } else { Matters::No }
        });
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            (self.logged, self.said_away) = (Some(Instant::now()), true);
            let place = &self.shared.place;
            tracing::warn!(%place, %since, why = %error, "the engine of the flags is away, the last good flags stay");
        }
    }

    fn word(&mut self) {
        self.words = self.words.wrapping_add(1);
        if std::mem::take(&mut self.said_away) {
            let place = &self.shared.place;
            tracing::info!(%place, "the engine of the flags answers again");
        }
    }
}

/// Fate of a text that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Taken as the last word.
    Taken,
    /// Left out until it is read again.
    Suspect,
}

const LOG_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn outlet() -> (Arc<Shared>, Outlet) {
        let shared = Arc::new(Shared::new("nats://n/b/k".to_owned()));
        (Arc::clone(&shared), Outlet::new(shared, None))
    }

    fn document(revision: u64, text: &str) -> Document {
        Document { text: text.to_owned().into(), revision: Revision::Number(revision), by: None }
    }

    #[test]
    fn a_revision_that_goes_back_is_taken_when_it_is_read_twice() {
        let (shared, mut outlet) = outlet();
        assert_eq!(outlet.found(document(7, "seven")), Seen::Taken);
        assert_eq!(outlet.found(document(3, "three")), Seen::Suspect);
        assert_eq!(outlet.found(document(7, "seven")), Seen::Taken, "a node that lagged");
        assert!(shared.state().lost.is_none());
        assert_eq!(outlet.found(document(3, "three")), Seen::Suspect);
        assert_eq!(outlet.found(document(3, "three")), Seen::Taken);
        let state = shared.state();
        assert_eq!(state.document, Some(document(3, "three")));
        assert_eq!(state.lost, Some(("7".to_owned(), "3".to_owned())));
        outlet.found(document(4, "four"));
        assert!(shared.state().lost.is_none(), "an edit ends it");
    }

    #[test]
    fn a_revision_before_that_of_the_copy_is_a_loss_as_well() {
        let shared = Arc::new(Shared::new("nats://n/b/k".to_owned()));
        let mut outlet = Outlet::new(Arc::clone(&shared), Some(Revision::Number(9)));
        assert_eq!(outlet.found(document(2, "two")), Seen::Suspect);
        assert_eq!(outlet.found(document(2, "two")), Seen::Taken);
        assert_eq!(shared.state().lost, Some(("9".to_owned(), "2".to_owned())));
    }

    #[test]
    fn control_is_woken_by_changes_alone() {
        let (shared, mut outlet) = outlet();
        let mut changes = shared.changes();
        let mut woken = || {
            let woken = changes.has_changed().unwrap();
            changes.mark_unchanged();
            woken
        };
        outlet.found(document(1, "one"));
        assert!(woken());
        outlet.found(document(1, "one"));
        outlet.confirmed();
        assert!(!woken());
        outlet.away(&FleetError::Unreached("refused".to_owned()));
        assert!(woken());
        outlet.away(&FleetError::Unreached("refused".to_owned()));
        assert!(!woken());
        assert!(shared.state().document.is_some(), "the last text stays");
        outlet.confirmed();
        assert!(woken());
        outlet.missing();
        assert!(woken() && shared.state().missing && shared.state().document.is_some());
        outlet.missing();
        assert!(!woken());
    }
}
