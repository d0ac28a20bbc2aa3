//! View of the outbox, for the admin listener. The news thread starts and ends the outbox.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::outbox::progress::Readers;
use crate::outbox::run::{LeaseStatus, OutboxStatus};
use crate::status::outbox::{OutboxReport, SenderReport};
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
            sender: status.lease.as_ref().map(sender),
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

/// Describes the lease as it is now.
fn sender(lease: &LeaseStatus) -> SenderReport {
    let LeaseStatus { holding, readers } = lease;
    let own = holding.is_own(Instant::now());
    // The own name is left in the state until the time is over.
    let replica = holding.holder.clone().filter(|_| own || holding.until.is_none());
    let both = holding.told.readers.as_ref().zip(readers.as_ref());
    let differs = both.filter(|_| replica.is_some() && !own).and_then(|(others, here)| difference(others, here));
    SenderReport { own, replica, trouble: holding.trouble.clone(), differs }
}

fn difference(others: &Readers, here: &Readers) -> Option<String> {
    if others == here {
        return None;
    }
    Some(match (others.count, here.count) {
        (others, here) if others == here => format!("{here} each, not the same"),
        (others, here) => format!("{others} there, {here} here"),
    })
}
