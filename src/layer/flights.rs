//! Requests in the app, counted by era: an era ends when the app closes, or closes further.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use crate::plan::flags::Mode;
use crate::plan::methods::is_safe;

/// Requests that reached the app between two closings.
#[derive(Debug, Default)]
pub(super) struct Era {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// Request in the app. It counts until it is dropped: with its future, or with the body of its response.
#[derive(Debug)]
pub(super) struct Flight {
    era: Arc<Era>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A safe method, which a read-only app still serves.
    Read,
    Write,
}

/// Eras that matter: the present one, and earlier ones with requests in the app.
#[derive(Clone, Debug, Default)]
pub(super) struct Eras {
    present: Arc<Era>,
    past: Vec<Arc<Era>>,
}

impl Eras {
    /// Returns the eras after a publication. A closing begins a new one.
    pub(super) fn next(&self, before: Option<Mode>, after: Option<Mode>) -> Self {
        if after <= before {
            return self.clone();
        }
        let past = self.past.iter().chain([&self.present]).filter(|era| era.count() > 0);
        Self { present: Arc::default(), past: past.map(Arc::clone).collect() }
    }

    /// Counts a request of the present era.
    pub(super) fn begin(&self, method: &Method) -> Flight {
        let kind = if is_safe(method) { Kind::Read } else { Kind::Write };
        self.present.counter(kind).fetch_add(1, Ordering::SeqCst);
        Flight { era: Arc::clone(&self.present), kind }
    }

    /// Returns the number of all requests in the app.
    pub(super) fn in_flight(&self) -> u64 {
        self.present.count() + self.past.iter().map(|era| era.count()).sum::<u64>()
    }

    /// Returns the number of requests from before the app was closed, if they matter in this mode.
    pub(super) fn remaining(&self, mode: Mode) -> u64 {
        let of = |era: &Arc<Era>| match mode {
            Mode::ReadOnly => era.writes.load(Ordering::SeqCst),
            Mode::Hold | Mode::Offline => era.count(),
        };
        self.past.iter().map(of).sum()
    }
}

impl Era {
    fn counter(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        }
    }

    fn count(&self) -> u64 {
        self.reads.load(Ordering::SeqCst) + self.writes.load(Ordering::SeqCst)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.era.counter(self.kind).fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_from_before_the_closing_remain() {
        let open = Eras::default();
        let (read, write) = (open.begin(&Method::GET), open.begin(&Method::POST));
        let closed = open.next(None, Some(Mode::ReadOnly));
        let later = closed.begin(&Method::GET);
        assert_eq!((closed.in_flight(), closed.remaining(Mode::ReadOnly), closed.remaining(Mode::Offline)), (3, 1, 2));
        drop(write);
        assert_eq!(closed.remaining(Mode::ReadOnly), 0);
        // Reads of the read-only app have to end once it closes further, and not when it opens.
        assert_eq!(closed.next(Some(Mode::ReadOnly), None).remaining(Mode::Offline), 1);
        let offline = closed.next(Some(Mode::ReadOnly), Some(Mode::Offline));
        assert_eq!(offline.remaining(Mode::Offline), 2);
        drop((read, later));
        assert_eq!((offline.in_flight(), offline.remaining(Mode::Offline)), (0, 0));
        assert!(offline.next(None, Some(Mode::Hold)).past.is_empty(), "nothing piles up");
    }
}
