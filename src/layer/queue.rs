//! A place in the hold queue of a layer, and the wait in it.
//!
//! The layer knows no client's address: one client may take all places, where the proxy would give each its share.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use crate::hold::{HoldQueues, Signal};
use crate::plan::config::Hold;

/// Place in the queue, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    holds: Arc<HoldQueues>,
    route: String,
    ticket: u64,
    deadline: Instant,
}

/// Reason why a request looks again at its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakeup {
    /// The route is neither on hold nor open.
    Look,
    /// The request's turn has come.
    Turn,
    /// The request has waited as long as it may.
    Deadline,
}

impl Place {
    /// Takes a place for a request to this route, if one is free.
    pub(super) fn take(holds: &Arc<HoldQueues>, route: &str, policy: Hold) -> Option<Self> {
        let ticket = holds.enter(route, policy, None)?;
        let deadline = Instant::now() + policy.max_wait;
        Some(Self { holds: Arc::clone(holds), route: route.to_owned(), ticket, deadline })
    }

    /// Waits for a reason to look again, and returns it with the place.
    pub(super) fn wait(self) -> Wait {
        Box::pin(async move {
            let mut deadline = std::pin::pin!(sleep_until(self.deadline));
            let wakeup = poll_fn(|cx| match self.holds.poll_signal(&self.route, self.ticket, cx.waker()) {
                Some(Signal::Look) => Poll::Ready(Wakeup::Look),
                Some(Signal::Go) => Poll::Ready(Wakeup::Turn),
                // Unknown clients have no shares to give way to; a lost place ends the wait all the same.
                Some(Signal::GiveWay) => Poll::Ready(Wakeup::Deadline),
                None => deadline.as_mut().poll(cx).map(|()| Wakeup::Deadline),
            });
            (wakeup.await, self)
        })
    }

    /// Waits again after a wakeup that changed nothing: in the same place, even after a turn.
    pub(super) fn wait_on(self, wakeup: Wakeup) -> Wait {
        if wakeup == Wakeup::Turn {
            self.holds.requeue(&self.route, self.ticket);
        }
        self.wait()
    }
}

/// Wait of a place, as a future.
pub(super) type Wait = Pin<Box<dyn Future<Output = (Wakeup, Place)> + Send>>;

impl Drop for Place {
    fn drop(&mut self) {
        self.holds.leave(&self.route, self.ticket);
    }
}
