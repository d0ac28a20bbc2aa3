//! Index of a ledger for one look: a fleet may have a thousand incidents and hundreds of windows.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::{Incident, Key, Kind};

/// Places of incidents by what they are found by, and those that were found already.
pub(super) struct Index {
    windows: HashMap<String, Vec<usize>>,
    unplanned: HashMap<String, Vec<usize>>,
    keys: HashSet<Key>,
    seen: HashSet<usize>,
}

impl Index {
    pub(super) fn new(incidents: &[Incident]) -> Self {
        let mut index =
            Self { windows: HashMap::new(), unplanned: HashMap::new(), keys: HashSet::new(), seen: HashSet::new() };
        incidents.iter().enumerate().for_each(|(place, incident)| index.add(place, incident));
        index
    }

    /// Adds an incident.
    pub(super) fn add(&mut self, place: usize, incident: &Incident) {
        let facts = &incident.facts;
        if let Some(id) = &facts.reference {
            self.windows.entry(id.clone()).or_default().push(place);
        }
        for route in facts.routes.iter().filter(|_| facts.kind == Kind::Unplanned) {
            self.unplanned.entry(route.clone()).or_default().push(place);
        }
        self.keys.insert(incident.key.clone());
    }

    /// Returns the incidents of a window that were not seen yet, newest first.
    pub(super) fn of_window(&self, id: &str) -> Vec<usize> {
        let all = self.windows.get(id).into_iter().flatten().rev();
        all.copied().filter(|place| !self.is_seen(*place)).collect()
    }

    /// Returns the unplanned incidents of some routes that were not seen yet, newest first.
    pub(super) fn of_routes(&self, routes: &BTreeSet<String>) -> BTreeSet<std::cmp::Reverse<usize>> {
        let all = routes.iter().filter_map(|route| self.unplanned.get(route)).flatten();
        all.copied().filter(|place| !self.is_seen(*place)).map(std::cmp::Reverse).collect()
    }

    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    /// Notes that an incident was seen.
    pub(super) fn see(&mut self, place: usize) {
        self.seen.insert(place);
    }

    pub(super) fn is_seen(&self, place: usize) -> bool {
        self.seen.contains(&place)
    }
}
