//! Days of the history: each with the incidents that began on it, or with the words that there were none.
//!
//! Nothing is claimed of days before the news were kept, or after their last change: a page must stay true until they
//! change again.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::document::Tags;
use super::{Incident, News, Stage};

/// Days, newest first, and the incidents before them.
pub(super) struct Days {
    pub(super) days: Vec<Day>,
    /// Places of the incidents that began earlier, newest first.
    pub(super) earlier: Vec<usize>,
}

/// Day in UTC.
pub(super) struct Day {
    /// First instant.
    pub(super) begins: Timestamp,
    /// Places of the incidents that began on it, newest first.
    pub(super) rows: Vec<usize>,
    /// Subjects of its heading: those of its incidents.
    pub(super) head: Arc<Tags>,
    /// Subjects of the words that there were no incidents. They are left out if one was going on, and for those whose news
    /// do not reach that day: how far those of others reach is not told.
    pub(super) void: Arc<Tags>,
}

impl Days {
    pub(super) fn new(news: &News<'_>, tags: &[Arc<Tags>]) -> Self {
        let last = number(news.changed);
        let first = number(news.since).max(last - (MOST_DAYS - 1));
        let mut days: Vec<Open> = (first..=last).map(|_| Open::default()).collect();
        let mut earlier = Vec::new();
        let place = |day: i64| usize::try_from(day - first).ok();
        for (index, (incident, tags)) in news.incidents.iter().zip(tags).enumerate().rev() {
            if incident.facts.stage == Stage::Scheduled {
                continue;
            }
            let (from, to) = span(incident, news.changed);
            match place(from).and_then(|place| days.get_mut(place)) {
                Some(day) => day.rows.push(index),
                None => earlier.push(index),
            }
            for day in (from.max(first)..=to.min(last)).filter_map(place) {
                days[day].going.push(Arc::clone(tags));
            }
            if let Some(day) = place(number(incident.updated()).min(last)).and_then(|place| days.get_mut(place)) {
                day.updated.push(Arc::clone(tags));
            }
        }
        let mut reach = Vec::new();
        let days = (first..=last).rev().zip(days.into_iter().rev()).map(|(day, open)| {
            reach.extend(open.updated.iter().cloned());
            let head = union(open.rows.iter().filter_map(|index| tags.get(*index)));
            let void = Tags { instead_of: open.going, ..union(reach.iter()) };
            Day { begins: instant(day), rows: open.rows, head: Arc::new(head), void: Arc::new(void) }
        });
        Self { days: days.collect(), earlier }
    }
}

/// Day that is being filled.
#[derive(Default)]
struct Open {
    rows: Vec<usize>,
    going: Vec<Arc<Tags>>,
    updated: Vec<Arc<Tags>>,
}

/// Returns the days on which an incident began and ended. A window that was called off has the day of that.
fn span(incident: &Incident, now: Timestamp) -> (i64, i64) {
    let from = incident.began().unwrap_or_else(|| incident.updated());
    let to = if incident.facts.stage.is_active() { now } else { incident.over().unwrap_or_else(|| incident.updated()) };
    (number(from), number(to.max(from)))
}

/// Returns all subjects of several items.
fn union<'t>(all: impl Iterator<Item = &'t Arc<Tags>>) -> Tags {
    let mut union = Tags::default();
    let mut everywhere = false;
    for tags in all {
        union.routes.extend(tags.routes.iter().cloned());
        union.services.extend(tags.services.iter().cloned());
        union.windows.extend(tags.windows.iter().cloned());
        union.regions.extend(tags.regions.iter().cloned());
        everywhere |= tags.regions.is_empty();
    }
    if everywhere {
        union.regions = BTreeSet::new();
    }
    union
}

fn number(instant: Timestamp) -> i64 {
    instant.as_second().div_euclid(DAY)
}

fn instant(day: i64) -> Timestamp {
    Timestamp::from_second(day.saturating_mul(DAY)).unwrap_or_default()
}

const DAY: i64 = 86_400;
/// Days that are shown one by one.
const MOST_DAYS: i64 = 90;
