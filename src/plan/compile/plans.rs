//! Windows to come, by route, for operators.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::flags::{Flags, Target, When};
use super::super::snapshot::Planned;

/// Next occurrences of all windows, by route.
pub(super) struct Plans<'f> {
    every: Vec<Planned>,
    by_route: HashMap<&'f str, Vec<Planned>>,
}

impl<'f> Plans<'f> {
    pub(super) fn new(flags: &'f Flags, now: Timestamp) -> Self {
        let mut all = Self { every: Vec::new(), by_route: HashMap::new() };
        for window in flags.acting(now) {
            let Some((starts, ends)) = window.next_span(now) else { continue };
            let every = match &window.when {
                When::Once { .. } => None,
                When::Every(every) => Some(every.to_string()),
            };
            for (target, mode) in &window.routes {
                let planned = Planned { id: window.id.clone(), mode: *mode, starts, ends, every: every.clone() };
                match target {
                    Target::Every => all.every.push(planned),
                    Target::Route(name) => all.by_route.entry(name).or_default().push(planned),
                }
            }
        }
        all
    }

    /// Returns the plans for one route, soonest first. A window that has two modes for the route has the stricter one.
    pub(super) fn of(&self, route: &str) -> Vec<Planned> {
        let own = self.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
        let mut all: Vec<Planned> = own.iter().chain(&self.every).cloned().collect();
        all.sort_by(|a, b| (a.starts, &a.id).cmp(&(b.starts, &b.id)).then(b.mode.cmp(&a.mode)));
        all.dedup_by(|later, earlier| later.id == earlier.id);
        all.truncate(MOST_PLANNED);
        all
    }
}

/// Most windows that are told of one route.
const MOST_PLANNED: usize = 16;
