//! The tally of an open route over the last ten minutes, from which its baseline is made.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::plan::lifecycle::{Baseline, Counted};

/// Counts over the last [`Tally::SPAN`], in slots of ten seconds. Takes 4 KiB for a busy route.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Slots in which something happened, oldest first.
    slots: VecDeque<Slot>,
}

/// Behaviour of an open route just now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Requests since the last look.
    pub counted: Counted,
    /// Requests that hang.
    pub hanging: u64,
    /// 99th percentile of the last minute's latencies.
    pub p99: Option<Duration>,
}

#[derive(Debug)]
struct Slot {
    began: Instant,
    counted: Counted,
    /// Most requests that hung at once.
    hanging: u64,
    p99: Option<Duration>,
}

impl Tally {
    /// The span that is counted.
    pub(super) const SPAN: Duration = Duration::from_secs(600);

    /// Returns true if what is added now begins a slot.
    pub(super) fn begins_slot(&self, now: Instant) -> bool {
        self.slots.back().is_none_or(|slot| now.saturating_duration_since(slot.began) >= SLOT)
    }

    /// Adds what was seen just now.
    pub(super) fn add(&mut self, seen: Seen, now: Instant) {
        let Seen { counted, hanging, p99 } = seen;
        if counted == Counted::default() && hanging == 0 {
            return;
        }
        let begins = self.begins_slot(now);
        self.slots.retain(|slot| slot.is_within(now));
        match self.slots.back_mut() {
            Some(slot) if !begins => {
                slot.counted = slot.counted.plus(counted);
                slot.hanging = slot.hanging.max(hanging);
                slot.p99 = p99.or(slot.p99);
            }
            Some(_) | None => self.slots.push_back(Slot { began: now, counted, hanging, p99 }),
        }
    }

    /// Returns the baseline; `None` if there was no request.
    pub(super) fn baseline(&self, now: Instant) -> Option<Baseline> {
        let slots: Vec<_> = self.slots.iter().filter(|slot| slot.is_within(now)).collect();
        let counted: Vec<_> = slots.iter().map(|slot| slot.counted).collect();
        let hanging = slots.iter().map(|slot| slot.hanging).max();
        let mut p99s: Vec<_> = slots.iter().filter_map(|slot| slot.p99).collect();
        p99s.sort_unstable();
        let p99 = p99s.get(p99s.len() / 2).copied();
        Baseline::of(&counted).map(|baseline| Baseline { hanging, p99, ..baseline })
    }
}

impl Slot {
    fn is_within(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < Tally::SPAN
    }
}

/// Length of a slot, so that there are at most sixty.
const SLOT: Duration = Duration::from_secs(10);
