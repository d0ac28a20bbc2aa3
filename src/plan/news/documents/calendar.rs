//! Calendar (RFC 5545, RFC 7986), with the properties of the maintenance notes of network operators (MAINTNOTE).
//!
//! Maintenance that is announced, on, or over for a while is an event with its actual times. A window that comes again and
//! is announced is a series of events with a rule; its known occurrences stand beside the rule with their own times.
//! What has changed replaces what was there: ids stay, and numbers rise. Nothing depends on the time of the reading.

mod event;
mod note;
mod series;
mod zone;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::super::flags::When;
use super::super::super::ical::{escaped, push};
use super::super::document::{Document, Item, Section, Tags};
use super::super::{Key, Kind};
use super::{Desk, Story};

use event::Event;
use series::Series;

/// Writes the calendar.
pub(super) fn calendar(desk: &Desk<'_>) -> Document {
    let oldest = desk.news.changed.checked_sub(SHOWN_AFTER).unwrap_or(Timestamp::MIN);
    let planned = desk.stories.iter().filter(|story| story.incident.facts.kind == Kind::Planned);
    let shown: Vec<&Story> = planned
        .map(|story| &**story)
        .filter(|story| !story.incident.facts.stage.is_final() || story.incident.updated() >= oldest)
        .collect();
    let all: Vec<Series<'_, '_>> =
        desk.news.windows.iter().filter_map(|window| Series::new(desk, window, &shown)).collect();
    let mut items: Vec<Item> = all.iter().flat_map(Series::items).collect();
    items.extend(alone(desk, &all, &shown));
    let events = Section { items, ..Section::default() };
    let sections = vec![zones(desk, &all), events];
    Document::new("text/calendar; charset=utf-8", desk.news.changed, sections, "END:VCALENDAR\r\n")
}

/// Writes the head.
fn head(desk: &Desk<'_>) -> String {
    let mut text = String::new();
    let name = escaped(&desk.news.title);
    for line in [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//backsoon//backsoon//EN",
        "CALSCALE:GREGORIAN",
        &format!("NAME:{name}"),
        &format!("X-WR-CALNAME:{name}"),
        "REFRESH-INTERVAL;VALUE=DURATION:PT15M",
        "X-PUBLISHED-TTL:PT15M",
    ] {
        push(&mut text, line);
    }
    text
}

/// Writes the head and the time zones of the series that a filter leaves. A calendar must have at least one component, so
/// that there is UTC besides.
fn zones(desk: &Desk<'_>, all: &[Series<'_, '_>]) -> Section {
    let zone = |tags: Arc<Tags>, (name, zone, from): (&str, &TimeZone, Timestamp)| {
        let mut text = String::new();
        zone::push_zone(&mut text, (name, zone), from, desk.news.changed);
        Item::new(&tags, text)
    };
    let always = Arc::new(Tags { always: true, ..Tags::default() });
    let utc = zone(always, ("Etc/UTC", &TimeZone::UTC, desk.news.since));
    let of_series = all.iter().filter_map(|series| Some(zone(series.tags(), series.zone()?)));
    let items = std::iter::once(utc).chain(of_series).collect();
    Section { head: head(desk).into(), items, separator: "", fold: Some(each_zone_once) }
}

/// Joins time zones, in the order of their names. Of several with one name, the one that is known for longest counts. The
/// first is there for a calendar without any other.
fn each_zone_once(zones: &[&Bytes]) -> Bytes {
    let mut by_name: BTreeMap<&[u8], &Bytes> = BTreeMap::new();
    for zone in zones.iter().skip(usize::from(zones.len() > 1)) {
        let name = zone.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
        let known = by_name.entry(name).or_insert(zone);
        if known.len() < zone.len() {
            *known = zone;
        }
    }
    by_name.into_values().flat_map(|zone| zone.iter().copied()).collect()
}

/// Writes the events of maintenance that is in no series. Of several windows with one id, the latest has it.
fn alone(desk: &Desk<'_>, all: &[Series<'_, '_>], shown: &[&Story]) -> Vec<Item> {
    let of_series: HashSet<&Key> = all.iter().flat_map(Series::keys).collect();
    let recurring = desk.news.windows.iter().filter(|window| matches!(window.when, When::Every(_)));
    let mut taken: HashSet<&str> = recurring.map(|window| window.id.as_str()).collect();
    let mut items = Vec::new();
    for story in shown {
        let key = &story.incident.key;
        let id = story.incident.facts.reference.as_deref().filter(|id| taken.insert(id)).unwrap_or(key.as_str());
        if !of_series.contains(key) {
            let sequence = story.said.first().map_or(0, |said| said.update.sequence).into();
            let event = Event::of_story(desk, story, id, sequence).with_id(desk, id);
            items.push(Item::new(&story.tags, event.finish()));
        }
    }
    items
}

/// Time for which maintenance stays in the calendar after it is over or cancelled.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

#[cfg(test)]
mod tests;
