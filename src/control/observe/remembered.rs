//! Baselines of earlier times: of before a restart, of before an incident, of before a quiet hour.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::lifecycle::Baseline;

/// Remembered baselines by route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Baselines(BTreeMap<String, Remembered>);

/// Baseline with its instant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Instant at which it was taken.
    pub at: Timestamp,
    /// The baseline of the ten minutes before.
    #[serde(flatten)]
    pub baseline: Baseline,
}

impl Baselines {
    /// Chooses between the baseline of the last minutes and the remembered one. That one counts if the last minutes say
    /// little, or if they are those of an incident. Traffic differs from hour to hour: only that of the last minutes
    /// counts.
    pub(super) fn choose(&self, route: &str, lately: Option<Baseline>) -> Option<Baseline> {
        let before = self.0.get(route).map(|remembered| remembered.baseline);
        let before =
            before.map(|before| lately.map_or(Baseline { traffic: None, ..before }, |lately| filled(before, lately)));
        let (Some(lately), Some(before)) = (lately, before) else { return lately.or(before) };
        let says_more = lately.counted.requests < THIN && before.counted.requests > lately.counted.requests;
        Some(if says_more || lately.is_worse_than(&before) { before } else { lately })
    }

    /// Remembers a baseline, unless the one that is remembered would be chosen before it. What lasts is no incident.
    pub(super) fn take(&mut self, route: &str, lately: Remembered) {
        let lasts = self.0.get(route).is_some_and(|before| lately.at.duration_since(before.at) > INCIDENT);
        if lasts || self.choose(route, Some(lately.baseline)) == Some(lately.baseline) {
            let baseline = Baseline { traffic: None, ..lately.baseline };
            self.0.insert(route.to_owned(), Remembered { baseline, ..lately });
        }
    }

    /// Forgets baselines that are too old, or of a time that has not come.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, remembered| now.duration_since(remembered.at).abs() <= KEPT);
    }

    /// Returns true if nothing is remembered.
    pub(in crate::control) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Fills in what a remembered baseline does not tell: statuses that were not named then, and the traffic of this hour.
fn filled(before: Baseline, lately: Baseline) -> Baseline {
    let statuses = lately.statuses.filter_map(|status, now| Some(*before.statuses.get(status).unwrap_or(now)));
    Baseline { statuses, traffic: lately.traffic, ..before }
}

/// Requests below which a baseline says little.
const THIN: u64 = 200;

/// Time after which more errors are no incident any more, but usual.
const INCIDENT: SignedDuration = SignedDuration::from_hours(2);

/// Time for which a baseline is remembered.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use crate::plan::lifecycle::Counted;

    use super::*;

    fn baseline(requests: u64, errors: u64) -> Baseline {
        Baseline::of(&[Counted { requests, errors }]).unwrap()
    }

    fn at(clock: &str) -> Timestamp {
        format!("2026-05-19T{clock}:00Z").parse().unwrap()
    }

    fn remembering(requests: u64, errors: u64) -> Baselines {
        let mut baselines = Baselines::default();
        baselines.take("web", Remembered { at: at("10:00"), baseline: baseline(requests, errors) });
        baselines
    }

    #[test]
    fn the_last_minutes_count_unless_they_say_little_or_are_those_of_an_incident() {
        let remembered = remembering(5000, 10);
        let chosen = |requests, errors| {
            remembered.choose("web", Some(baseline(requests, errors))).map(|chosen| chosen.counted.requests)
        };
        assert_eq!((chosen(1000, 0), chosen(1000, 6)), (Some(1000), Some(1000)));
        assert_eq!((chosen(199, 0), chosen(1000, 400)), (Some(5000), Some(5000)));
        assert_eq!(remembered.choose("web", None), Some(baseline(5000, 10)));
        assert_eq!(
            (remembered.choose("api", None), remembered.choose("api", Some(baseline(3, 0)))),
            (None, Some(baseline(3, 0)))
        );
    }

    #[test]
    fn what_lasts_is_usual_and_what_is_old_is_forgotten() {
        let mut baselines = remembering(5000, 10);
        let incident = baseline(1000, 400);
        baselines.take("web", Remembered { at: at("11:30"), baseline: incident });
        assert_eq!(baselines, remembering(5000, 10));
        baselines.take("web", Remembered { at: at("12:01"), baseline: incident });
        assert_eq!(baselines.choose("web", None), Some(incident));
        baselines.forget(at("23:00"));
        assert!(!baselines.is_empty());
        baselines.forget("2026-05-20T12:02:00Z".parse().unwrap());
        assert!(baselines.is_empty());
    }
}
