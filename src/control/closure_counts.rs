//! Counts of the requests that a maintenance concerned, taken from the meters between transitions of a route.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::plan::snapshot::{Phase, Transition};
use crate::telemetry::RouteMeter;

use super::history::ClosureCounts;

/// Totals of the meters at the last transition of each route that is not open.
#[derive(Debug)]
pub(super) struct ClosureCounter {
    /// Start of the process, from which the meters count.
    started: Timestamp,
    totals: HashMap<String, ClosureCounts>,
}

impl ClosureCounter {
    pub(super) fn new(started: Timestamp) -> Self {
        Self { started, totals: HashMap::new() }
    }

    /// Takes a transition of a route. Returns the requests since the last one that began or ended a downtime or a ramp,
    /// unless the route was open.
    pub(super) fn take(&mut self, meter: &RouteMeter, transition: &Transition) -> Option<ClosureCounts> {
        let (from, to) = (transition.from, transition.to);
        if from != Phase::Open && is_down(from) == is_down(to) && to != Phase::Open {
            return None;
        }
        let now = totals(meter, transition.at);
        let zero = ClosureCounts { since: self.started, refused: 0, held: 0, lost: 0 };
        let before = self.totals.remove(&meter.name).unwrap_or(zero);
        if to != Phase::Open {
            self.totals.insert(meter.name.clone(), now);
        }
        (from != Phase::Open).then_some(ClosureCounts {
            since: before.since,
            refused: now.refused.saturating_sub(before.refused),
            held: now.held.saturating_sub(before.held),
            lost: now.lost.saturating_sub(before.lost),
        })
    }
}

fn totals(meter: &RouteMeter, since: Timestamp) -> ClosureCounts {
    ClosureCounts {
        since,
        refused: meter.sum(|cell| cell.maintenance.get()),
        held: meter.sum(|cell| cell.held_total.get()),
        lost: meter.sum(|cell| cell.cut.get()),
    }
}

/// Returns true for a phase in which no client is let in.
fn is_down(phase: Phase) -> bool {
    match phase {
        Phase::Draining | Phase::Closed | Phase::Verifying => true,
        Phase::Ramping | Phase::Open => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::lifecycle::Reason;
    use crate::telemetry::Meters;

    use super::*;

    #[test]
    fn requests_are_counted_for_the_downtime_and_for_the_ramp() {
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let meters = Meters::new(2);
        let meter = meters.route("web");
        let mut counter = ClosureCounter::new(at(0));
        let mut go = |from, to, minute, pages| {
            meter.workers[1].maintenance.add(pages);
            let counts = counter.take(&meter, &Transition { from, to, at: at(minute), reason: Reason::Lifted });
            counts.map(|counts| (counts.since, counts.refused))
        };
        use Phase::{Closed, Draining, Open, Ramping, Verifying};
        // The process was started while the route was closed.
        assert_eq!(go(Closed, Open, 1, 4), Some((at(0), 4)));
        assert_eq!(go(Open, Draining, 2, 1), None);
        assert_eq!(go(Draining, Closed, 3, 5), None);
        assert_eq!(go(Closed, Verifying, 4, 6), None);
        assert_eq!(go(Verifying, Ramping, 5, 7), Some((at(2), 18)));
        assert_eq!(go(Ramping, Closed, 6, 8), Some((at(5), 8)));
        assert_eq!(go(Closed, Open, 7, 9), Some((at(6), 9)));
        assert_eq!(go(Open, Closed, 8, 0), None);
        assert_eq!(go(Closed, Open, 9, 2), Some((at(8), 2)));
    }
}
