//! Lease of the sender: of the replicas that have stores of their own, the one that holds it tells subscribers.
//!
//! The outbox only sees the lease. Control keeps it, at the engine of the fleet.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::progress::Progress;

/// Lease as the outbox sees it.
#[derive(Clone, Debug)]
pub struct Lease {
    seen: watch::Receiver<Holding>,
    progress: Arc<watch::Sender<Arc<Progress>>>,
}

/// Ends that the keeper of the lease has.
#[derive(Debug)]
pub struct Keeper {
    /// State that the outbox is to see.
    pub shown: watch::Sender<Holding>,
    /// Progress of this replica, which goes into the lease while it holds it.
    pub progress: watch::Receiver<Arc<Progress>>,
}

/// State of the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// End of the time for which this replica may tell, by its own clock; `None` while it does not hold the lease.
    pub until: Option<Instant>,
    /// Name of the replica that holds it, as far as it is known.
    pub holder: Option<String>,
    /// Progress of the other holders.
    pub told: Arc<Progress>,
    /// Failure of the engine, in words.
    pub trouble: Option<String>,
}

/// Right to begin deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayTell {
    /// Permission.
    Yes,
    /// No permission: another replica tells.
    No,
}

impl Lease {
    /// Creates a lease that nobody holds so far, and the ends of its keeper.
    pub fn new() -> (Self, Keeper) {
        let (shown, seen) = watch::channel(Holding::default());
        let (progress, said) = watch::channel(Arc::default());
        (Self { seen, progress: Arc::new(progress) }, Keeper { shown, progress: said })
    }

    /// Returns the state as it was shown last.
    pub fn now(&self) -> Holding {
        self.seen.borrow().clone()
    }

    /// Waits until another state is shown. Cancel safe.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            // The keeper is gone, and the lease with it.
            std::future::pending::<()>().await;
        }
    }

    /// Hands over the progress of this replica.
    pub fn say(&self, progress: Progress) {
        self.progress.send_if_modified(|said| {
            let is_new = **said != progress;
            if is_new {
                *said = Arc::new(progress);
            }
            is_new
        });
    }
}

impl Holding {
    /// Returns true if this replica may tell at an instant.
    pub fn is_own(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}
