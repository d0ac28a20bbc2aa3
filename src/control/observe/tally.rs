//! The tally of an open route over the last ten minutes, from which its baseline is made.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::plan::config::PerStatus;
use crate::plan::lifecycle::{Arrivals, Baseline, Counted, Traffic, Usual};
use crate::telemetry::Seen;

/// Counts over the last [`Tally::SPAN`], in slots of ten seconds. Takes 9 KiB for a busy route.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Slots in which something happened, oldest first.
    slots: VecDeque<Slot>,
}

/// Behaviour of an open route just now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    /// Counts since the last look.
    pub seen: Seen,
    /// Requests that hang.
    pub hanging: u64,
    /// 99th percentile of the last minute's latencies.
    pub p99: Option<Duration>,
    /// Reason to remember that nothing came.
    pub quiet: Quiet,
}

/// Use of the time in which no request comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quiet {
    /// Nobody asks for it, and a quiet route takes no memory.
    #[default]
    Passes,
    /// A guard compares the traffic.
    Counts,
}

#[derive(Debug)]
struct Slot {
    began: Instant,
    counted: Counted,
    /// Time that was observed.
    span: Duration,
    /// Answers with the statuses that were counted for all that time.
    answers: PerStatus<u64>,
    /// Most requests that hung at once.
    hanging: u64,
    p99: Option<Duration>,
    /// Use of its time without requests.
    quiet: Quiet,
}

impl Tally {
    /// The span that is counted.
    pub(super) const SPAN: Duration = Duration::from_secs(600);

    /// Returns true if what is added now begins a slot.
    pub(super) fn begins_slot(&self, now: Instant) -> bool {
        self.slots.back().is_none_or(|slot| now.saturating_duration_since(slot.began) >= SLOT)
    }

    /// Adds what was seen just now.
    pub(super) fn add(&mut self, added: Now, now: Instant) {
        let Now { seen: Seen { counted, answers, span }, hanging, p99, quiet } = added;
        if counted == Counted::default() && hanging == 0 && quiet == Quiet::Passes {
            return;
        }
        let begins = self.begins_slot(now);
        self.slots.retain(|slot| slot.is_within(now));
        match self.slots.back_mut() {
            Some(slot) if !begins => {
                slot.counted = slot.counted.plus(counted);
                slot.span += span;
                slot.answers = slot.answers.filter_map(|status, count| Some(*count + *answers.get(status)?));
                slot.hanging = slot.hanging.max(hanging);
                slot.p99 = p99.or(slot.p99);
                slot.quiet = slot.quiet.min(quiet);
            }
            Some(_) | None => self.slots.push_back(Slot { began: now, counted, span, answers, hanging, p99, quiet }),
        }
    }

    /// Returns the baseline, with these statuses; `None` if there was no request.
    pub(super) fn baseline<T>(&self, statuses: &PerStatus<T>, now: Instant) -> Option<Baseline> {
        let slots: Vec<_> = self.slots.iter().filter(|slot| slot.is_within(now)).collect();
        let counted: Vec<_> = slots.iter().map(|slot| slot.counted).collect();
        let hanging = slots.iter().map(|slot| slot.hanging).max();
        let mut p99s: Vec<_> = slots.iter().filter_map(|slot| slot.p99).collect();
        p99s.sort_unstable();
        let p99 = p99s.get(p99s.len() / 2).copied();
        let statuses = statuses.filter_map(|status, _| {
            let counts = |slot: &&Slot| Some((slot.counted.requests, *slot.answers.get(status)?));
            Usual::of(&slots.iter().filter_map(counts).collect::<Vec<_>>())
        });
        let arrivals = |slot: &&Slot| Arrivals { requests: slot.counted.requests, span: slot.span };
        let counting = slots.iter().filter(|slot| slot.quiet == Quiet::Counts);
        let traffic = Traffic::of(&counting.map(arrivals).collect::<Vec<_>>());
        Baseline::of(&counted).map(|baseline| Baseline { hanging, p99, statuses, traffic, ..baseline })
    }
}

impl Slot {
    fn is_within(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < Tally::SPAN
    }
}

/// Length of a slot, so that there are at most sixty.
const SLOT: Duration = Duration::from_secs(10);
