//! Part of the thread that goes by the lease: who may tell, and what others have told.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::super::lease::{Holding, Lease, MayTell};
use super::super::progress::{Progress, Readers};
use super::super::sender::Sender;
use super::super::store::StoreError;

/// Lease, if this proxy needs one to tell, and how far the store goes by it.
pub(super) struct Tenancy {
    lease: Option<Lease>,
    /// Progress of others that the store has taken over.
    taken: Arc<Progress>,
}

/// Lease as the status has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// State of the lease.
    pub holding: Holding,
    /// Subscribers of the own store.
    pub readers: Option<Readers>,
}

impl Tenancy {
    pub(super) fn new(lease: Option<Lease>) -> Self {
        Self { lease, taken: Arc::default() }
    }

    /// Notes that the store has deliveries which others may have made.
    pub(super) fn recorded(&mut self) {
        self.taken = Arc::default();
    }

    /// Ends what others have told, and what may not go on. Returns whether this proxy may tell.
    pub(super) fn settle(&mut self, sender: &mut Sender, now: Timestamp) -> Result<MayTell, StoreError> {
        let Some(lease) = &self.lease else { return Ok(MayTell::Yes) };
        let holding = lease.now();
        let is_own = holding.is_own(Instant::now());
        if !is_own {
            sender.stand_down();
        }
        if !Arc::ptr_eq(&self.taken, &holding.told) {
            let ended = sender.store().take_over(&holding.told, now)?;
            if ended > 0 && is_own {
                tracing::info!(deliveries = ended, "the sender before this one had told them");
            }
            self.taken = holding.told;
        }
        Ok(if is_own { MayTell::Yes } else { MayTell::No })
    }

    /// Hands over what was told, and returns the state.
    pub(super) fn say(&self, sender: &mut Sender, now: Timestamp) -> Option<LeaseStatus> {
        let lease = self.lease.as_ref()?;
        // A store that cannot be read is told by the next turn.
        let progress = sender.store().progress(now).ok()?.bounded();
        let readers = progress.readers.clone();
        lease.say(progress);
        Some(LeaseStatus { holding: lease.now(), readers })
    }

    /// Waits until the lease changes; for ever without one. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.lease {
            Some(lease) => lease.changed().await,
            None => pending().await,
        }
    }

    /// Returns the time until this proxy may not tell any more.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = self.lease.as_ref()?.now().until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}
