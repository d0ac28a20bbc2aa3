//! Events of the calendar.

use jiff::{SignedDuration, Timestamp};

use super::super::super::super::ical::{escaped, instant, push};
use super::super::super::{Facts, Stage};
use super::super::entry;
use super::note::{self, Note};
use super::{Desk, Story};

/// Event that is being written.
pub(super) struct Event(String);

/// Facts that every event has.
pub(super) struct Words<'e> {
    pub(super) summary: &'e str,
    pub(super) description: &'e str,
    /// Instant of the last change.
    pub(super) stamp: Timestamp,
    pub(super) sequence: i64,
}

impl Event {
    /// Begins the event of a maintenance as it really was, is, or is planned, with the id of its note. It has no id of its
    /// own yet.
    pub(super) fn of_story(desk: &Desk<'_>, story: &Story, id: &str, sequence: i64) -> Self {
        let (incident, facts) = (&story.incident, &story.incident.facts);
        let (starts, ends) = span(story);
        let words = Words {
            summary: &story.title,
            description: &description(desk, story),
            stamp: incident.updated(),
            sequence,
        };
        let mut event = Self::new(desk, &words).span(starts, ends);
        event.push(&format!("CREATED:{}", instant(incident.created())));
        if desk.news.url.contains("://") {
            event.push(&format!("URL:{}", desk.page_of(story)));
        }
        let status = if facts.stage == Stage::Cancelled { "CANCELLED" } else { "CONFIRMED" };
        event.push(&format!("STATUS:{status}"));
        event.note(desk, &Note { id, mode: facts.mode, stage: facts.stage, objects: entry::services(desk, story) })
    }

    /// Begins an event. It has no id and no time yet.
    pub(super) fn new(desk: &Desk<'_>, words: &Words<'_>) -> Self {
        let mut event = Self(String::new());
        event.push("BEGIN:VEVENT");
        event.push(&format!("DTSTAMP:{}", instant(words.stamp)));
        event.push(&format!("LAST-MODIFIED:{}", instant(words.stamp)));
        event.push(&format!("SEQUENCE:{}", words.sequence));
        event.push(&format!("SUMMARY:{}", escaped(words.summary)));
        if !words.description.is_empty() {
            event.push(&format!("DESCRIPTION:{}", escaped(words.description)));
        }
        event.push(&note::organizer(desk));
        event.push("CATEGORIES:MAINTENANCE");
        event.push("TRANSP:TRANSPARENT");
        event
    }

    /// Adds an id, which must be the same for ever.
    pub(super) fn with_id(mut self, desk: &Desk<'_>, id: &str) -> Self {
        self.push(&format!("UID:{}@{}", escaped(id), desk.host));
        self
    }

    /// Adds the time in UTC.
    pub(super) fn span(mut self, starts: Timestamp, ends: Timestamp) -> Self {
        self.push(&format!("DTSTART:{}", instant(starts)));
        self.push(&format!("DTEND:{}", instant(ends)));
        self
    }

    /// Adds the note of network operators.
    pub(super) fn note(mut self, desk: &Desk<'_>, note: &Note<'_>) -> Self {
        note.lines(desk).iter().for_each(|line| self.push(line));
        self
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        push(&mut self.0, line);
    }

    /// Adds a line.
    pub(super) fn with(mut self, line: &str) -> Self {
        self.push(line);
        self
    }

    /// Returns the whole event.
    pub(super) fn finish(self) -> String {
        self.with("END:VEVENT").0
    }
}

/// Returns the number of a series' event that changed at an instant. Edits of a rule are not counted; the seconds rise with
/// each change that is told, for the rule and for its occurrences alike.
pub(super) fn sequence_at(desk: &Desk<'_>, stamp: Timestamp) -> i64 {
    stamp.duration_since(desk.news.since).as_secs().clamp(0, i32::MAX.into())
}

/// Returns the actual span as far as it is known, else the planned one. An event must not end before it begins.
fn span(story: &Story) -> (Timestamp, Timestamp) {
    let Facts { starts, ends, .. } = story.incident.facts;
    let starts = story.incident.began().unwrap_or(starts);
    let ends = story.incident.over().or(ends).unwrap_or(starts);
    (starts, ends.max(starts.checked_add(SHORTEST).unwrap_or(starts)))
}

/// Writes what the calendar shows of a maintenance: the summary, the last update, services and regions.
fn description(desk: &Desk<'_>, story: &Story) -> String {
    let facts = &story.incident.facts;
    let summary = facts.summary.iter().map(|summary| desk.words.text(summary).to_owned());
    let last = story.said.first().map(super::super::story::Said::text);
    let services = entry::services(desk, story).join(", ");
    let regions = facts.regions.iter().cloned().collect::<Vec<_>>().join(", ");
    let all = summary.chain(last).chain([services, regions]).filter(|text| !text.is_empty());
    all.collect::<Vec<_>>().join("\n\n")
}

/// Length of an event that was over as soon as it began.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);
