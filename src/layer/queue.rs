//! Where requests wait while the app is on hold: in the order in which they came, with a limit and a time-out.
//!
//! The layer knows no client's address: one client may take all places, where the proxy would give each its share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::watch::Shared;

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: AtomicU64,
    /// How many were ever released: what comes behind the first of a release is spread by the rate.
    released: AtomicU64,
}

#[cfg(test)]
impl Queue {
    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    since: Instant,
}

/// A place whose waiting is over.
pub(super) struct Over(Place);

impl Place {
    /// Takes a place, if one is free.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let most = shared.hold.max_held;
        let take = |waiting| (waiting < most).then_some(waiting + 1);
        shared.queue.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Self { shared: Arc::clone(shared), since: Instant::now() })
    }

    /// Waits until the app is no longer on hold and it is this one's turn, or for as long as one may.
    pub(super) fn turn(self) -> Turn {
        Box::pin(async move {
            let deadline = self.since + self.shared.hold.max_wait;
            let waited = async {
                self.shared.goes_on().await;
                let ahead = self.shared.queue.released.fetch_add(1, Ordering::AcqRel);
                let waiting = Duration::from_secs_f64(ahead_in_seconds(ahead, self.shared.hold.release));
                sleep_until(Instant::now() + waiting).await;
            };
            // In vain or not: it is decided anew.
            let _ = timeout_at(deadline, waited).await;
            Over(self)
        })
    }
}

/// What a place becomes: its waiting, as a future.
pub(super) type Turn = Pin<Box<dyn Future<Output = Over> + Send>>;

impl Over {
    /// What is live now.
    pub(super) fn live(&self) -> Arc<super::watch::Live> {
        self.0.shared.live()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.shared.queue.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody waits any more: the next release begins anew.
            self.shared.queue.released.store(0, Ordering::Release);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "nobody waits behind 2^53 others")]
fn ahead_in_seconds(ahead: u64, rate: f64) -> f64 {
    ahead as f64 / rate.max(f64::MIN_POSITIVE)
}
