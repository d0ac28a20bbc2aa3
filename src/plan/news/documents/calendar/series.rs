//! Series of the calendar: a window that comes again, with the occurrences that differ from its rule.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::super::super::super::flags::{Every, Mode, Recurrence, Target, When, Window};
use super::super::super::super::ical::instant;
use super::super::super::document::{Item, Tags};
use super::super::super::{Key, News, Service, Stage};
use super::event::{Event, Words, sequence_at};
use super::note::Note;
use super::{Desk, Story};

/// Window that comes again and is announced.
pub(super) struct Series<'d, 'n> {
    desk: &'d Desk<'n>,
    window: &'n Window,
    every: &'n Every,
    /// Rule in the words of calendars, with the name of its zone; `None` if they cannot say it.
    rule: Option<(&'n str, Recurrence)>,
    /// Occurrences that the calendar knows more of, each with the local start that the rule has for it.
    known: Vec<(DateTime, &'d Story)>,
    tags: Arc<Tags>,
}

impl<'d, 'n> Series<'d, 'n> {
    pub(super) fn new(desk: &'d Desk<'n>, window: &'n Window, shown: &[&'d Story]) -> Option<Self> {
        let When::Every(every) = &window.when else { return None };
        window.announce?;
        let own = shown.iter().filter(|story| story.incident.facts.reference.as_deref() == Some(&window.id));
        let known: Vec<_> =
            own.filter_map(|story| Some((every.planned_at(story.incident.facts.starts)?, *story))).collect();
        let starts = known.iter().map(|(_, story)| story.incident.facts.starts);
        let from = starts.min().map_or(desk.news.changed, |starts| starts.min(desk.news.changed));
        let rule = every.zone().iana_name().zip(recurrence(every, from));
        Some(Self { desk, window, every, rule, known, tags: tags(desk.news, window) })
    }

    /// Returns the keys of the incidents whose events stand in the series.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.iter().map(|(_, story)| &story.incident.key)
    }

    /// Returns what the series is about.
    pub(super) fn tags(&self) -> Arc<Tags> {
        Arc::clone(&self.tags)
    }

    /// Returns the time zone of the rule, and the instant from which it is needed; `None` for UTC.
    pub(super) fn zone(&self) -> Option<(&'n str, &'n TimeZone, Timestamp)> {
        let (name, rule) = self.rule.as_ref().filter(|(name, _)| !is_utc(name))?;
        let from = self.every.zone().to_timestamp(rule.start).ok()?;
        Some((name, self.every.zone(), from))
    }

    /// Returns the events: the rule and what differs from it, or each occurrence of the next twelve months.
    pub(super) fn items(&self) -> Vec<Item> {
        let mut items = match &self.rule {
            Some((_, rule)) => {
                let mut items = vec![self.item(self.rule_event(rule))];
                items.extend(self.odd_nights(rule).map(|text| self.item(text)));
                items
            }
            None => self.expanded().map(|text| self.item(text)).collect(),
        };
        items.extend(self.known.iter().map(|(planned, story)| {
            let id = self.occurrence_id(story.incident.facts.starts);
            let sequence = sequence_at(self.desk, story.incident.updated());
            let event = Event::of_story(self.desk, story, &id, sequence);
            let text = match &self.rule {
                Some(_) => event.with_id(self.desk, &self.window.id).with(&self.time("RECURRENCE-ID", &[*planned])),
                None => event.with_id(self.desk, &id),
            };
            Item::new(&story.tags, text.finish())
        }));
        items
    }

    fn item(&self, text: String) -> Item {
        Item::new(&self.tags, text)
    }

    /// Begins the event of an occurrence, or of all from it on, with the words of the window.
    fn event(&self, starts: Timestamp) -> Event {
        let (news, words) = (self.desk.news, self.desk.words);
        let own = news.incidents.iter().filter(|one| one.facts.reference.as_deref() == Some(&self.window.id));
        let stamp = own.map(super::super::super::Incident::updated).max().unwrap_or(news.since);
        let event = Event::new(
            self.desk,
            &Words {
                summary: &words.heading(self.window.title.as_ref(), super::Kind::Planned),
                description: self.window.summary.as_ref().map_or("", |summary| words.text(summary)),
                stamp,
                sequence: sequence_at(self.desk, stamp),
            },
        );
        event.with("STATUS:CONFIRMED").note(self.desk, &self.note(&self.occurrence_id(starts), starts))
    }

    fn note<'e>(&self, id: &'e str, starts: Timestamp) -> Note<'e> {
        let known = self.known.iter().find(|(_, story)| story.incident.facts.starts == starts);
        let passed = if starts <= self.desk.news.changed { Stage::Over } else { Stage::Scheduled };
        Note {
            id,
            mode: self.window.routes.iter().map(|(_, mode)| *mode).max().unwrap_or(Mode::Offline),
            stage: known.map_or(passed, |(_, story)| story.incident.facts.stage),
            objects: objects(self.desk.news, self.window),
        }
    }

    fn rule_event(&self, rule: &Recurrence) -> String {
        let starts =
            self.every.zone().to_ambiguous_timestamp(rule.start).compatible().unwrap_or(self.desk.news.changed);
        let mut event = self.event(starts).with_id(self.desk, &self.window.id);
        event.push(&self.time("DTSTART", &[rule.start]));
        match self.end(rule) {
            Some(end) => event.push(&self.time("DTEND", &[end])),
            None => event.push(&format!("DURATION:{}", duration(rule.days, rule.more))),
        }
        event.push(&format!("RRULE:{}", rule.rule));
        let is_known = |planned: &DateTime| self.known.iter().any(|(known, _)| known == planned);
        let left_out: Vec<DateTime> = rule.left_out.iter().copied().filter(|planned| !is_known(planned)).collect();
        if !left_out.is_empty() {
            event.push(&self.time("EXDATE", &left_out));
        }
        event.finish()
    }

    /// Returns the local end of the first occurrence. All others have its exact length (RFC 5545 section 3.8.5.3), so it must
    /// be one like all others.
    fn end(&self, rule: &Recurrence) -> Option<DateTime> {
        let starts = self.every.zone().to_ambiguous_timestamp(rule.start).compatible().ok()?;
        let end = shifted(rule.start, rule)?;
        is_plain(self.every, rule, starts).then_some(end)
    }

    /// Writes the occurrences to come that a change of the clock moves, or makes longer or shorter than the others. Not all
    /// calendars do so alike.
    fn odd_nights(&self, rule: &Recurrence) -> impl Iterator<Item = String> {
        let changed = self.desk.news.changed;
        let until = changed.checked_add(ODD_AHEAD).unwrap_or(changed);
        let mut odd: Vec<(DateTime, Timestamp, Timestamp)> =
            self.every.odd(changed, until).into_iter().map(|odd| (odd.planned, odd.starts, odd.ends)).collect();
        let changes = self.every.zone().following(changed).take(MOST_CHANGES).map(|change| change.timestamp());
        for change in changes.take_while(|change| *change <= until) {
            let Some((starts, ends)) = self.every.on(change).filter(|(starts, _)| *starts > changed) else { continue };
            let planned = self.every.planned_at(starts).filter(|_| !is_plain(self.every, rule, starts));
            odd.extend(planned.map(|planned| (planned, starts, ends)));
        }
        odd.sort_unstable();
        odd.dedup();
        odd.retain(|(planned, ..)| self.known.iter().all(|(known, _)| known != planned));
        odd.into_iter().map(|(planned, starts, ends)| {
            let event = self.event(starts).with_id(self.desk, &self.window.id).span(starts, ends);
            event.with(&self.time("RECURRENCE-ID", &[planned])).finish()
        })
    }

    /// Writes each occurrence to come, for a rule that calendars cannot say.
    fn expanded(&self) -> impl Iterator<Item = String> {
        let changed = self.desk.news.changed;
        let until = changed.checked_add(EXPANDED).unwrap_or(changed);
        let spans = std::iter::successors(self.every.after(changed), |(starts, _)| self.every.after(*starts));
        let spans = spans.take_while(move |(starts, _)| *starts < until).take(MOST_EXPANDED);
        let is_new = |starts: Timestamp| self.known.iter().all(|(_, story)| story.incident.facts.starts != starts);
        spans.filter(move |(starts, _)| is_new(*starts)).map(|(starts, ends)| {
            let event = self.event(starts).with_id(self.desk, &self.occurrence_id(starts)).span(starts, ends);
            event.finish()
        })
    }

    fn occurrence_id(&self, starts: Timestamp) -> String {
        format!("{}-{}", self.window.id, instant(starts))
    }

    /// Writes a property with local times of the rule's zone.
    fn time(&self, name: &str, times: &[DateTime]) -> String {
        let zone = self.rule.as_ref().map_or("UTC", |(zone, _)| zone);
        let utc = if is_utc(zone) { "Z" } else { "" };
        let times: Vec<String> = times.iter().map(|at| format!("{}{utc}", at.strftime("%Y%m%dT%H%M%S"))).collect();
        let times = times.join(",");
        if is_utc(zone) { format!("{name}:{times}") } else { format!("{name};TZID={zone}:{times}") }
    }
}

/// Returns the recurrence from an instant on, or from shortly before it. Calendars take the length of all occurrences from
/// the first, so it should be none that a change of the clock moves.
fn recurrence(every: &Every, from: Timestamp) -> Option<Recurrence> {
    let wanted = every.recurrence(from)?;
    let mut first = wanted.clone();
    for _ in 0..MOST_ODD {
        let Ok(starts) = every.zone().to_ambiguous_timestamp(first.start).compatible() else { break };
        if is_plain(every, &first, starts) {
            return Some(first);
        }
        let before = starts.checked_sub(SignedDuration::from_secs(1)).ok().and_then(|before| every.before(before));
        let Some(earlier) = before.and_then(|(starts, _)| every.recurrence(starts)) else { break };
        first = earlier;
    }
    Some(wanted)
}

/// Returns true if the occurrence that begins at an instant has the length that the local clock shows, and no change of the
/// clock moves it.
fn is_plain(every: &Every, rule: &Recurrence, starts: Timestamp) -> bool {
    let local = SignedDuration::from_hours(i64::from(rule.days) * 24).saturating_add(rule.more);
    let is_whole = every.on(starts).is_some_and(|(_, ends)| ends.duration_since(starts) == local);
    is_whole && every.odd_at(starts).is_none()
}

fn shifted(start: DateTime, rule: &Recurrence) -> Option<DateTime> {
    start.checked_add(Span::new().try_days(rule.days).ok()?).ok()?.checked_add(rule.more).ok()
}

/// Returns what a window is about.
fn tags(news: &News<'_>, window: &Window) -> Arc<Tags> {
    let concerned: Vec<&Service> = services(news, window).collect();
    // As with an incident, those learn of it whose routes it closes, and not all that share a service with them.
    let closed = window.routes.iter().flat_map(|(target, _)| match target {
        Target::Route(name) => BTreeSet::from([name.clone()]),
        Target::Every => news.routes.clone(),
    });
    let regions = window.regions.iter().chain(window.services.iter().flat_map(|service| &service.regions));
    let keys = concerned.iter().map(|service| service.key.to_string());
    Arc::new(Tags {
        routes: closed.collect(),
        services: objects(news, window).into_iter().chain(keys).collect(),
        regions: regions.cloned().collect(),
        windows: [window.id.clone()].into(),
        ..Tags::default()
    })
}

/// Returns the services that a window concerns: by one of their routes, or by their names.
fn services<'a>(news: &'a News<'_>, window: &'a Window) -> impl Iterator<Item = &'a Service> {
    let is_named = |service: &Service| window.services.iter().any(|own| own.name.plain == service.name);
    let closes = |route: &String| window.routes.iter().any(|(target, _)| target.is(route));
    news.services.iter().filter(move |service| is_named(service) || service.routes.iter().any(closes))
}

/// Returns the names of all that a window concerns, each once.
fn objects(news: &News<'_>, window: &Window) -> Vec<String> {
    let mut all: Vec<String> = services(news, window).map(|service| service.name.clone()).collect();
    for own in &window.services {
        if !all.contains(&own.name.plain) {
            all.push(own.name.plain.clone());
        }
    }
    all
}

fn is_utc(zone: &str) -> bool {
    ["UTC", "Etc/UTC", "Etc/UCT", "Etc/Zulu", "Etc/Universal", "UCT", "Zulu", "Universal"].contains(&zone)
}

/// Formats a length: whole days, which may be longer or shorter than 24 hours, and an exact time.
fn duration(days: i32, more: SignedDuration) -> String {
    let time = if more.is_zero() { String::new() } else { format!("T{}S", more.as_secs()) };
    if days == 0 { format!("P{time}") } else { format!("P{days}D{time}") }
}

/// Time for which a rule is written out that calendars cannot say.
const EXPANDED: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Most occurrences that are written out.
const MOST_EXPANDED: usize = 400;
/// Most occurrences in a row that a change of the clock moves.
const MOST_ODD: usize = 8;
/// Most changes of the clock that are looked at.
const MOST_CHANGES: usize = 8;
/// Time for which odd nights are told.
const ODD_AHEAD: SignedDuration = SignedDuration::from_hours(2 * 366 * 24);
