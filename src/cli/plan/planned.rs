//! Report of a planned window: its times, its routes, and everything that it meets.

use std::io::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::refusal::shell;
use crate::cli::streams::Streams;
use crate::cli::{calendar, words};
use crate::plan::agenda::{Agenda, Conflict, Occurrence};
use crate::plan::flags::Flags;

/// Time of a plan, and how it was written.
pub(super) struct Origin {
    /// The present.
    pub(super) now: Timestamp,
    /// Zone by which the start was written.
    pub(super) zone: TimeZone,
    /// Remark on how it was understood.
    pub(super) remark: Option<String>,
}

/// Window as the flag file has it now.
pub(super) struct Planned {
    /// First occurrence.
    first: Occurrence,
    /// Further ones of the next year.
    further: Vec<Occurrence>,
    /// The first meeting with each other window.
    conflicts: Vec<Conflict>,
    zone: TimeZone,
    remark: Option<String>,
}

impl Planned {
    /// Looks for a window in the agenda of the flags; `None` if it never comes.
    pub(super) fn new(id: &str, flags: &Flags, origin: Origin) -> Option<Self> {
        let window = flags.window(id)?;
        let begin = window.next_start(origin.now)?;
        let until = begin.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        let mut own = window.occurrences(origin.now, until);
        let first = own.next()?;
        let further: Vec<Occurrence> = own.take(MOST_FURTHER).collect();
        let last = further.last().map_or(first.ends, |last| last.ends);
        let agenda = Agenda::new(flags, origin.now, last);
        let mut conflicts: Vec<Conflict> = Vec::new();
        for found in agenda.conflicts {
            let is_own = found.windows.0 == id || found.windows.1 == id;
            if is_own && conflicts.iter().all(|known| other(known, id) != other(&found, id)) {
                conflicts.push(found);
            }
        }
        let zone = if first.every.is_some() { first.zone.clone() } else { origin.zone };
        Some(Self { first, further, conflicts, zone, remark: origin.remark })
    }

    /// Tells what the window will be.
    pub(super) fn tell(&self, now: Timestamp, streams: &mut Streams) -> Result<(), Failure> {
        let Occurrence { window, starts, ends, .. } = &self.first;
        let ahead = words::span(now, *starts);
        writeln!(
            streams.out,
            "{window}: {} {}, in {ahead}",
            self.effect(),
            calendar::span(*starts, *ends, &self.zone)
        )?;
        if let Some(rule) = &self.first.every {
            let next: Vec<_> = self.further.iter().take(3).map(|one| calendar::day(one.starts, &self.zone)).collect();
            let next = if next.is_empty() { "not again".to_owned() } else { format!("again {}", words::list(&next)) };
            writeln!(streams.out, "{next}, by the rule {rule}")?;
        }
        match self.first.announced {
            Some(from) if from > now => writeln!(streams.out, "announced from {}", calendar::moment(from, &self.zone))?,
            Some(_) => writeln!(streams.out, "announced at once")?,
            None => writeln!(streams.out, "not announced to clients (--announce 48h does that)")?,
        }
        self.notes().iter().try_for_each(|note| streams.note(note)).map_err(Failure::Output)
    }

    /// Tells how the plan is taken back.
    pub(super) fn tell_way_back(&self, streams: &mut Streams) -> Result<(), Failure> {
        let series = if self.first.every.is_some() { " --series" } else { "" };
        writeln!(streams.out, "backsoon cancel {}{series} takes it back", shell(&self.first.window))?;
        Ok(())
    }

    /// Returns the remarks: the clock's, and the other windows on the routes.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.remark.iter().cloned().collect();
        let odd = std::iter::once(&self.first).chain(&self.further).filter_map(|one| Some((one, one.odd.as_ref()?)));
        notes.extend(odd.map(|(one, odd)| {
            let day = calendar::day(one.starts, &self.zone);
            format!("on {day} it {}", calendar::odd(odd, one.starts, one.ends, &self.zone))
        }));
        notes.extend(self.conflicts.iter().map(|conflict| {
            let (with, routes) = (other(conflict, &self.first.window), words::list(&conflict.routes));
            let routes = if routes == "*" { "every route".to_owned() } else { routes };
            let when = calendar::span(conflict.from, conflict.to, &self.zone);
            format!("meets window {with} on {routes}, {when}: the stricter mode applies")
        }));
        notes
    }

    /// Returns the effect on the routes: `web and api will be offline`.
    fn effect(&self) -> String {
        let names: Vec<&str> = self.first.routes.iter().map(|(target, _)| calendar::target(target)).collect();
        let mode = self.first.routes.first().map(|(_, mode)| words::being(*mode));
        format!("{} will be {}", words::list(&names), mode.unwrap_or("untouched"))
    }

    /// Returns the window as JSON.
    pub(super) fn json(&self, in_force: bool) -> Value {
        let first = &self.first;
        let local = |at: Timestamp| at.display_with_offset(self.zone.to_offset(at)).to_string();
        let routes: serde_json::Map<String, Value> =
            first.routes.iter().map(|(target, mode)| (target.key().to_owned(), mode.as_str().into())).collect();
        let conflicts = self.conflicts.iter().map(|conflict| {
            let window = other(conflict, &first.window);
            json!({ "window": window, "routes": conflict.routes, "from": conflict.from, "to": conflict.to })
        });
        json!({
            "id": first.window,
            "title": first.title,
            "starts": first.starts,
            "ends": first.ends,
            "local": { "starts": local(first.starts), "ends": local(first.ends), "zone": self.zone.iana_name() },
            "every": first.every,
            "announced_from": first.announced,
            "routes": routes,
            "conflicts": conflicts.collect::<Vec<_>>(),
            "notes": self.notes(),
            "in_force": in_force,
        })
    }
}

/// Returns the window of a conflict that is not this one.
fn other<'c>(conflict: &'c Conflict, id: &str) -> &'c str {
    if conflict.windows.0 == id { &conflict.windows.1 } else { &conflict.windows.0 }
}

/// Time for which a recurring window is looked at: it has both changes of the clock.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 371);
/// Most occurrences after the first that are looked at.
const MOST_FURTHER: usize = 400;
