//! Counters of the forms of the status site.

use std::sync::atomic::{AtomicU64, Ordering};

/// End of a visit that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormEnd {
    /// An address will be asked.
    Asked,
    /// A subscription was confirmed.
    Confirmed,
    /// Preferences were changed.
    Changed,
    /// A subscription was ended by its link.
    Ended,
    /// All data of a subscription was deleted.
    Erased,
    /// Refused: something of the form is wrong.
    Mistake,
    /// Refused: a field that people do not see was filled in. The client is not told.
    Trap,
    /// Refused: too many came from the network of the client, or from everywhere.
    Limit,
    /// Refused: the mailbox was asked lately. The client is not told.
    Mailbox,
    /// Refused: another site made its visitor send it.
    CrossSite,
    /// Refused: a body of another type.
    Media,
    /// Refused: a body that is too large, too slow or broken.
    Body,
    /// Refused: the link serves no more, or never did.
    Link,
    /// Refused: the outbox cannot take it now.
    Busy,
}

/// Counts of visits since the start, which workers and control share. Visits are few.
#[derive(Debug, Default)]
pub struct FormMeter([AtomicU64; FormEnd::ALL.len()]);

impl FormEnd {
    /// All ends.
    pub const ALL: [Self; 14] = [
        Self::Asked,
        Self::Confirmed,
        Self::Changed,
        Self::Ended,
        Self::Erased,
        Self::Mistake,
        Self::Trap,
        Self::Limit,
        Self::Mailbox,
        Self::CrossSite,
        Self::Media,
        Self::Body,
        Self::Link,
        Self::Busy,
    ];

    /// Returns the word for the end.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Confirmed => "confirmed",
            Self::Changed => "changed",
            Self::Ended => "unsubscribed",
            Self::Erased => "erased",
            Self::Mistake => "mistake",
            Self::Trap => "trap",
            Self::Limit => "limit",
            Self::Mailbox => "mailbox-limit",
            Self::CrossSite => "cross-site",
            Self::Media => "media-type",
            Self::Body => "body",
            Self::Link => "link",
            Self::Busy => "busy",
        }
    }
}

impl FormMeter {
    /// Counts the end of a visit.
    pub fn count(&self, end: FormEnd) {
        if let Some(cell) = FormEnd::ALL.iter().position(|one| *one == end).and_then(|at| self.0.get(at)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the counts.
    pub fn all(&self) -> impl Iterator<Item = (FormEnd, u64)> {
        FormEnd::ALL.into_iter().zip(self.0.iter().map(|cell| cell.load(Ordering::Relaxed)))
    }
}
