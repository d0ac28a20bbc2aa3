//! Tally of the history: from the transitions of routes, the times for which each was down, and why. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::control::history::{ClosureCounts, Entry, Event};

/// Time for which a route was not open.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Downtime {
    /// Name of the route.
    pub(super) route: String,
    /// Begin, or the oldest entry of it.
    pub(super) begun: Timestamp,
    /// False if the history begins later.
    pub(super) complete: bool,
    /// Instant at which clients came back; `None` while it lasts.
    pub(super) ended: Option<Timestamp>,
    /// Parts by cause, in order.
    pub(super) parts: Vec<Part>,
    /// Requests meanwhile.
    pub(super) requests: Requests,
}

/// Part of a downtime with one cause and one mode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) cause: Cause,
    /// Word of the mode.
    pub(super) mode: String,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// End of the window as it was planned when the route went down.
    pub(super) planned_end: Option<Timestamp>,
}

/// Cause of a downtime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A window, by its id.
    Window(String),
    /// An entry of `[routes]`.
    Flag,
    /// A finding of the guard.
    Guard,
    /// A saved state that was lost.
    LostState,
    /// Another cause, in the words of the history.
    Other(String),
}

/// Requests while a route was down or came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// Requests answered with the page.
    pub(super) refused: u64,
    /// Requests that waited.
    pub(super) held: u64,
    /// Requests broken off.
    pub(super) lost: u64,
    /// False if some went uncounted, because the proxy is older or was restarted, or the downtime lasts.
    pub(super) known: bool,
}

/// Sums of downtimes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) closures: usize,
    /// Offline or on hold.
    pub(super) down: SignedDuration,
    /// Read-only.
    pub(super) read_only: SignedDuration,
    pub(super) planned: SignedDuration,
    pub(super) overrun: SignedDuration,
    pub(super) by_flag: SignedDuration,
    pub(super) by_guard: SignedDuration,
    /// By a lost state, or by a cause that this version does not know.
    pub(super) by_other: SignedDuration,
    pub(super) longest: SignedDuration,
    pub(super) requests: Requests,
}

impl Cause {
    fn of(source: Option<&str>) -> Self {
        match source {
            Some("flag") => Self::Flag,
            Some("guard") => Self::Guard,
            Some("lost state") => Self::LostState,
            Some(other) => other
                .strip_prefix("window ")
                .map_or_else(|| Self::Other(other.to_owned()), |id| Self::Window(id.to_owned())),
            None => Self::Other("unknown".to_owned()),
        }
    }

    /// Returns the cause as the history has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Window(id) => format!("window {id}"),
            Self::Flag => "flag".to_owned(),
            Self::Guard => "guard".to_owned(),
            Self::LostState => "lost state".to_owned(),
            Self::Other(text) => text.clone(),
        }
    }
}

/// Tally that takes the entries in their order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    running: BTreeMap<String, Downtime>,
    done: Vec<Downtime>,
    /// Last downtime of a route, whose requests are counted until all clients are back.
    returning: BTreeMap<String, usize>,
}

impl Tally {
    /// Takes an entry.
    pub(super) fn take(&mut self, entry: &Entry) {
        let Event::Phase { route, from, to, at, mode, source, until, requests, .. } = &entry.event else { return };
        if let Some(counts) = requests {
            self.count(route, *counts);
        }
        let at = *at;
        if is_up(to) {
            self.open(route, at, to);
            return;
        }
        self.returning.remove(route);
        let cause = Cause::of(source.as_deref());
        let downtime = self.running.entry(route.clone()).or_insert_with(|| Downtime {
            route: route.clone(),
            begun: at,
            complete: is_up(from),
            ended: None,
            parts: Vec::new(),
            requests: Requests::default(),
        });
        let mode = mode.clone().unwrap_or_else(|| "offline".to_owned());
        downtime.go_on(Part { cause, mode, from: at, to: at, planned_end: *until });
    }

    /// Ends the downtime of a route.
    fn open(&mut self, route: &str, at: Timestamp, phase: &str) {
        if let Some(mut downtime) = self.running.remove(route) {
            downtime.ended = Some(at.max(downtime.begun));
            downtime.close(at);
            self.returning.insert(route.to_owned(), self.done.len());
            self.done.push(downtime);
        }
        if phase == "open" {
            self.returning.remove(route);
        }
    }

    /// Adds requests to the downtime of a route: to the one that lasts, or to the one from which it comes back.
    fn count(&mut self, route: &str, counts: ClosureCounts) {
        let last = self.returning.get(route).copied();
        let requests = match self.running.get_mut(route) {
            Some(downtime) => {
                // A count that begins late is that of a proxy which was restarted meanwhile.
                let latest = downtime.begun.checked_add(LATE).unwrap_or(Timestamp::MAX);
                downtime.requests.known = counts.since <= latest;
                &mut downtime.requests
            }
            None => match last.and_then(|index| self.done.get_mut(index)) {
                Some(downtime) => &mut downtime.requests,
                None => return,
            },
        };
        requests.refused += counts.refused;
        requests.held += counts.held;
        requests.lost += counts.lost;
    }

    /// Returns all downtimes, by their begin. Those that last go on until the present.
    pub(super) fn finish(self, now: Timestamp) -> Vec<Downtime> {
        let running = self.running.into_values().map(|mut downtime| {
            downtime.close(now);
            downtime
        });
        let mut all: Vec<Downtime> = self.done.into_iter().chain(running).collect();
        all.sort_by(|a, b| (a.begun, &a.route).cmp(&(b.begun, &b.route)));
        all
    }
}

impl Downtime {
    /// Begins a part, unless the last one goes on. The plan of a window is the one of its first part.
    fn go_on(&mut self, mut next: Part) {
        if self.parts.last().is_some_and(|part| part.cause == next.cause && part.mode == next.mode) {
            return;
        }
        self.close(next.from);
        if let Some(first) = self.parts.iter().find(|part| part.cause == next.cause) {
            next.planned_end = first.planned_end;
        }
        self.parts.push(next);
    }

    /// Ends the last part.
    fn close(&mut self, at: Timestamp) {
        if let Some(part) = self.parts.last_mut() {
            part.to = at.max(part.from);
        }
    }

    /// Returns the length of all parts.
    pub(super) fn length(&self) -> SignedDuration {
        self.parts.iter().fold(SignedDuration::ZERO, |sum, part| sum.saturating_add(part.length()))
    }

    /// Cuts away what was before an instant; `None` if nothing is left.
    pub(super) fn since(mut self, since: Timestamp) -> Option<Self> {
        self.parts.retain(|part| part.to > since || part.from >= since);
        self.parts.iter_mut().for_each(|part| part.from = part.from.max(since));
        (!self.parts.is_empty()).then_some(self)
    }
}

impl Part {
    pub(super) fn length(&self) -> SignedDuration {
        self.to.duration_since(self.from)
    }

    /// Returns the time after the planned end. Only a window has a plan.
    pub(super) fn overrun(&self) -> SignedDuration {
        match (&self.cause, self.planned_end) {
            (Cause::Window(_), Some(end)) => self.to.duration_since(end.max(self.from)).max(SignedDuration::ZERO),
            _ => SignedDuration::ZERO,
        }
    }
}

impl Sum {
    /// Sums up downtimes.
    pub(super) fn of<'d>(downtimes: impl IntoIterator<Item = &'d Downtime>) -> Self {
        let mut sum = Self { requests: Requests { known: true, ..Requests::default() }, ..Self::default() };
        for downtime in downtimes {
            sum.closures += 1;
            sum.longest = sum.longest.max(downtime.length());
            sum.requests.refused += downtime.requests.refused;
            sum.requests.held += downtime.requests.held;
            sum.requests.lost += downtime.requests.lost;
            sum.requests.known &= downtime.requests.known;
            downtime.parts.iter().for_each(|part| sum.add(part));
        }
        sum
    }

    fn add(&mut self, part: &Part) {
        let (length, overrun) = (part.length(), part.overrun());
        let whole = if part.mode == "read-only" { &mut self.read_only } else { &mut self.down };
        *whole = whole.saturating_add(length);
        let by = match part.cause {
            Cause::Window(_) => &mut self.planned,
            Cause::Flag => &mut self.by_flag,
            Cause::Guard => &mut self.by_guard,
            Cause::LostState | Cause::Other(_) => &mut self.by_other,
        };
        *by = by.saturating_add(length.saturating_sub(overrun));
        self.overrun = self.overrun.saturating_add(overrun);
    }
}

/// Returns true for a phase in which clients are let in.
fn is_up(phase: &str) -> bool {
    matches!(phase, "open" | "ramping")
}

/// Delay with which a count may begin after the downtime that it is of.
const LATE: SignedDuration = SignedDuration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-05-19T{time}:00Z").parse().unwrap()
    }

    /// Line of the history: route, from, to, time, mode, source, until.
    fn tallied(lines: &[(&str, &str, &str, &str, Option<&str>)]) -> Vec<Downtime> {
        let mut tally = Tally::default();
        for (from, to, time, source, until) in lines {
            let down = !is_up(to);
            let event = Event::Phase {
                route: "web".to_owned(),
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                at: at(time),
                why: String::new(),
                mode: down.then(|| "offline".to_owned()),
                source: down.then(|| (*source).to_owned()),
                until: until.map(at),
                flags: None,
                requests: (!down).then(|| ClosureCounts { since: at("14:00"), refused: 3, held: 2, lost: 1 }),
            };
            tally.take(&Entry { time: at(time), generation: 1, event });
        }
        tally.finish(at("20:00"))
    }

    fn minutes(span: SignedDuration) -> i64 {
        span.as_mins()
    }

    #[test]
    fn a_window_has_a_planned_and_an_overrun_part() {
        let all = tallied(&[
            ("open", "draining", "14:00", "window M-1", Some("15:00")),
            ("draining", "closed", "14:01", "window M-1", Some("15:00")),
            ("closed", "verifying", "15:10", "window M-1", None),
            ("verifying", "ramping", "15:12", "", None),
            ("ramping", "open", "15:20", "", None),
        ]);
        let sum = Sum::of(&all);
        assert_eq!((sum.closures, minutes(sum.down), minutes(sum.planned), minutes(sum.overrun)), (1, 72, 60, 12));
        assert_eq!(all[0].ended, Some(at("15:12")));
        assert_eq!(all[0].requests, Requests { refused: 6, held: 4, lost: 2, known: true });
    }

    #[test]
    fn a_guard_begins_a_downtime_of_its_own_and_one_may_last() {
        let all = tallied(&[
            ("open", "closed", "14:00", "flag", None),
            ("closed", "ramping", "14:10", "", None),
            ("ramping", "closed", "14:15", "guard", None),
            ("closed", "closed", "14:30", "flag", None),
        ]);
        let sum = Sum::of(&all);
        assert_eq!((sum.closures, minutes(sum.by_flag), minutes(sum.by_guard)), (2, 10 + 330, 15));
        assert_eq!((minutes(sum.longest), all[1].ended, all[1].requests.known), (345, None, false));
        let cut = Sum::of(&all.into_iter().filter_map(|one| one.since(at("19:00"))).collect::<Vec<_>>());
        assert_eq!((cut.closures, minutes(cut.down)), (1, 60));
    }

    #[test]
    fn a_history_that_begins_too_late_says_so() {
        let all =
            tallied(&[("closed", "verifying", "15:00", "window M-1", None), ("verifying", "open", "15:05", "", None)]);
        assert!(!all[0].complete);
        assert_eq!(minutes(Sum::of(&all).down), 5);
    }
}
