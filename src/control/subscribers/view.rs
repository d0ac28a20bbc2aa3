//! View of the outbox, for the admin listener. The news thread starts and ends the outbox.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::outbox::run::OutboxStatus;
use crate::status::outbox::OutboxReport;
use crate::telemetry::FormMeter;

/// View of the outbox that runs, if one does.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct OutboxView {
    outbox: Arc<Mutex<Option<watch::Receiver<OutboxStatus>>>>,
    forms: Arc<FormMeter>,
}

impl OutboxView {
    /// Creates a view without an outbox, which shows the counters of the forms beside it.
    pub(in crate::control) fn new(forms: Arc<FormMeter>) -> Self {
        Self { outbox: Arc::default(), forms }
    }

    /// Shows another outbox, or none.
    pub(in crate::control) fn show(&self, outbox: Option<watch::Receiver<OutboxStatus>>) {
        *self.outbox.lock().unwrap_or_else(PoisonError::into_inner) = outbox;
    }

    /// Returns the state of the outbox; `None` if none runs.
    pub(in crate::control) fn report(&self) -> Option<OutboxReport> {
        let shown = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
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
            forms: self.forms.all().map(|(end, count)| (end.as_str().to_owned(), count)).collect(),
        })
    }
}
