//! The tally of requests and failures over the last ten minutes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::plan::lifecycle::Counted;

/// Counts over the last [`Tally::SPAN`], in slots of ten seconds. Takes 2 KiB for a busy route.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Slots in which something happened, oldest first.
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    began: Instant,
    counted: Counted,
}

impl Tally {
    /// The span that is counted.
    pub(super) const SPAN: Duration = Duration::from_secs(600);

    /// Adds requests that were counted just now.
    pub(super) fn add(&mut self, more: Counted, now: Instant) {
        if more == Counted::default() {
            return;
        }
        self.slots.retain(|slot| slot.is_within(now));
        match self.slots.back_mut() {
            Some(Slot { began, counted }) if now.saturating_duration_since(*began) < SLOT => {
                counted.requests += more.requests;
                counted.errors += more.errors;
            }
            Some(_) | None => self.slots.push_back(Slot { began: now, counted: more }),
        }
    }

    /// Returns the sums; `None` if there was no request.
    pub(super) fn counted(&self, now: Instant) -> Option<Counted> {
        let slots = self.slots.iter().filter(|slot| slot.is_within(now)).map(|slot| slot.counted);
        let sum = slots.fold(Counted::default(), |sum, slot| Counted {
            requests: sum.requests + slot.requests,
            errors: sum.errors + slot.errors,
        });
        // A cut response failed after its request was counted.
        (sum.requests > 0).then(|| Counted { errors: sum.errors.min(sum.requests), ..sum })
    }
}

impl Slot {
    fn is_within(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < Tally::SPAN
    }
}

/// Length of a slot, so that there are at most sixty.
const SLOT: Duration = Duration::from_secs(10);
