//! View of the outbox, for the admin listener. The news thread starts and ends the outbox.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::outbox::run::OutboxStatus;
use crate::status::outbox::OutboxReport;

/// View of the outbox that runs, if one does.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct OutboxView(Arc<Mutex<Option<watch::Receiver<OutboxStatus>>>>);

impl OutboxView {
    /// Shows another outbox, or none.
    pub(in crate::control) fn show(&self, outbox: Option<watch::Receiver<OutboxStatus>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = outbox;
    }

    /// Returns the state of the outbox; `None` if none runs.
    pub(in crate::control) fn report(&self) -> Option<OutboxReport> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = shown.as_ref()?.borrow().clone();
        Some(OutboxReport {
            error: status.error,
            unrecorded: status.unrecorded,
            due: status.depth.due,
            oldest: status.depth.oldest,
            failed: status.depth.failed,
            silenced: status.depth.silenced,
            sent: status.counts.sent,
            failures: status.counts.failures,
        })
    }
}
