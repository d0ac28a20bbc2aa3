//! Agenda: the occurrences of windows that are to come, with those that meet on a route, and those that a change of the
//! clock moves. The time is an argument, and nothing is judged here that the snapshot does not judge alike.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::flags::{Flags, Mode, Odd, Target, When, Window};

/// Occurrences from an instant on, soonest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agenda {
    /// Occurrences that are on, and those to come.
    pub occurrences: Vec<Occurrence>,
    /// Pairs of them that meet on a route, soonest first.
    pub conflicts: Vec<Conflict>,
    /// True if there are more occurrences than are listed.
    pub cut: bool,
}

/// Occurrence of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// Id of the window.
    pub window: String,
    /// Heading of the page.
    pub title: Option<String>,
    /// Start.
    pub starts: Timestamp,
    /// End: the planned one, or the actual one if that is known.
    pub ends: Timestamp,
    /// Instant from which it is announced.
    pub announced: Option<Timestamp>,
    /// Modes by route.
    pub routes: Vec<(Target, Mode)>,
    /// State at the instant of the agenda.
    pub state: OccurrenceState,
    /// Rule of a window that comes again.
    pub every: Option<String>,
    /// Time zone of that rule; UTC for a window that comes once.
    pub zone: TimeZone,
    /// Way in which a change of the clock moves it.
    pub odd: Option<Odd>,
}

/// State of an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OccurrenceState {
    /// Still to come.
    Coming,
    /// On.
    On,
    /// On after its end, until somebody ends it.
    Overrunning,
}

/// Two occurrences of different windows that meet on routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Ids of both windows, that of the earlier start first.
    pub windows: (String, String),
    /// Routes of both; `*` if both are for every route.
    pub routes: Vec<String>,
    /// Start of the later one.
    pub from: Timestamp,
    /// End of the one that ends first.
    pub to: Timestamp,
}

impl Agenda {
    /// Lists the occurrences that are on, and those that begin before an instant.
    pub fn new(flags: &Flags, now: Timestamp, until: Timestamp) -> Self {
        let mut agenda = Self::default();
        for window in flags.acting(now) {
            let known = agenda.occurrences.len();
            let room = MOST_OCCURRENCES - known.min(MOST_OCCURRENCES);
            agenda.occurrences.extend(window.occurrences(now, until).take(room + 1));
            agenda.cut |= agenda.occurrences.len() > MOST_OCCURRENCES;
            agenda.occurrences.truncate(MOST_OCCURRENCES);
        }
        agenda.occurrences.sort_by(|a, b| (a.starts, &a.window).cmp(&(b.starts, &b.window)));
        agenda.conflicts = conflicts(&agenda.occurrences);
        agenda
    }

    /// Keeps what concerns at least one of the routes.
    #[must_use]
    pub fn of(mut self, routes: &[String]) -> Self {
        let asked = |name: &String| routes.iter().any(|route| route == name || route == "*");
        self.occurrences.retain(|occurrence| {
            occurrence.routes.iter().any(|(target, _)| routes.iter().any(|route| route == "*" || target.is(route)))
        });
        self.conflicts.retain(|conflict| conflict.routes.iter().any(|route| route == "*" || asked(route)));
        self
    }
}

impl Occurrence {
    /// Returns the mode of a route: the strictest of those that the window has for it.
    pub fn mode(&self, route: &str) -> Option<Mode> {
        self.routes.iter().filter(|(target, _)| target.is(route)).map(|(_, mode)| *mode).max()
    }

    fn of_window(window: &Window, (starts, ends): (Timestamp, Timestamp), state: OccurrenceState) -> Self {
        let (every, zone, odd) = match &window.when {
            When::Once { .. } => (None, TimeZone::UTC, None),
            When::Every(every) => (Some(every.to_string()), every.zone().clone(), every.odd_at(starts)),
        };
        let ahead = window.announce.and_then(|announce| SignedDuration::try_from(announce).ok());
        Self {
            window: window.id.clone(),
            title: window.title.as_ref().map(|title| title.plain.clone()),
            starts,
            ends,
            announced: ahead.map(|ahead| starts.checked_sub(ahead).unwrap_or(Timestamp::MIN)),
            routes: window.routes.clone(),
            state,
            every,
            zone,
            odd,
        }
    }
}

impl Window {
    /// Returns the occurrence that is on, and those that begin before an instant.
    pub fn occurrences(&self, now: Timestamp, until: Timestamp) -> impl Iterator<Item = Occurrence> {
        let on = self.in_force(now).map(|span| {
            let state = if span.until.is_none() { OccurrenceState::Overrunning } else { OccurrenceState::On };
            Occurrence::of_window(self, (span.starts, span.until.unwrap_or(span.ends)), state)
        });
        let next = move |after: Timestamp| match &self.when {
            When::Once { starts, ends } => {
                (*starts > after).then(|| (*starts, self.ended.filter(|ended| ended > starts).unwrap_or(*ends)))
            }
            When::Every(every) => every.after(after),
        };
        let to_come = std::iter::successors(next(now), move |(starts, _)| next(*starts));
        let to_come = to_come.take_while(move |(starts, _)| *starts < until);
        on.into_iter().chain(to_come.map(|span| Occurrence::of_window(self, span, OccurrenceState::Coming)))
    }
}

/// Finds the pairs that meet. The occurrences are sorted by their starts.
fn conflicts(occurrences: &[Occurrence]) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (index, first) in occurrences.iter().enumerate() {
        let meeting = occurrences[index + 1..].iter().take_while(|second| second.starts < first.ends);
        for second in meeting.filter(|second| second.window != first.window) {
            let routes = shared_routes(&first.routes, &second.routes);
            if !routes.is_empty() {
                let windows = (first.window.clone(), second.window.clone());
                found.push(Conflict { windows, routes, from: second.starts, to: first.ends.min(second.ends) });
            }
            if found.len() == MOST_CONFLICTS {
                return found;
            }
        }
    }
    found
}

/// Returns the routes that are in both lists, sorted. Every route is in a list that has `*`.
fn shared_routes(first: &[(Target, Mode)], second: &[(Target, Mode)]) -> Vec<String> {
    let has = |list: &[(Target, Mode)], name: &str| list.iter().any(|(target, _)| target.is(name));
    let every = |list: &[(Target, Mode)]| list.iter().any(|(target, _)| *target == Target::Every);
    if every(first) && every(second) {
        return vec!["*".to_owned()];
    }
    let named = first.iter().chain(second).filter_map(|(target, _)| match target {
        Target::Route(name) => Some(name),
        Target::Every => None,
    });
    let both: BTreeSet<&String> = named.filter(|name| has(first, name) && has(second, name)).collect();
    both.into_iter().cloned().collect()
}

/// Most occurrences of an agenda: those of 256 windows for two weeks of days.
const MOST_OCCURRENCES: usize = 4096;
/// Most pairs that are told.
const MOST_CONFLICTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::super::flags::Oddity;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn agenda(text: &str, now: &str, until: &str) -> Agenda {
        let (parsed, problems) = super::super::flags::parse("maintenance.toml", text);
        Agenda::new(&parsed.unwrap_or_else(|| panic!("{problems:?}")).flags, at(now), at(until))
    }

    fn window(id: &str, when: &str, routes: &str) -> String {
        format!("[[windows]]\nid = \"{id}\"\n{when}\nroutes = {{ {routes} }}\n")
    }

    fn once(starts: &str, ends: &str) -> String {
        format!("starts = 2026-05-{starts}:00Z\nends = 2026-05-{ends}:00Z")
    }

    #[test]
    fn windows_are_listed_in_order_with_what_is_on() {
        let text = [
            window("later", &once("20T10:00", "20T11:00"), "web = \"offline\""),
            window("on", &once("18T23:00", "19T01:00"), "\"*\" = \"hold\""),
            window("stay", &format!("{}\non_overrun = \"stay\"", once("18T20:00", "18T21:00")), "a = \"offline\""),
            window("over", &once("18T20:00", "18T21:00"), "a = \"offline\""),
            window("weekly", "every = \"Wed 02:00-03:00 UTC\"\nexcept = 2026-05-27", "web = \"read-only\""),
            window("far", &once("31T20:00", "31T21:00"), "a = \"offline\""),
        ];
        let found = agenda(&text.concat(), "2026-05-19T00:00:00Z", "2026-05-31T00:00:00Z");
        let listed: Vec<_> = found.occurrences.iter().map(|one| (one.window.as_str(), one.state)).collect();
        use OccurrenceState::{Coming, On, Overrunning};
        assert_eq!(listed, [("stay", Overrunning), ("on", On), ("weekly", Coming), ("later", Coming)]);
        let of_api = found.of(&["a".to_owned()]);
        let ids: Vec<_> = of_api.occurrences.iter().map(|one| one.window.as_str()).collect();
        assert_eq!(ids, ["stay", "on"]);
    }

    #[test]
    fn windows_that_meet_on_a_route_are_told() {
        let met = |first: &str, second: &str, hours: [&str; 2]| {
            let text = window("A", &once("19T10:00", "19T12:00"), first)
                + &window("B", &once(&format!("19T{}", hours[0]), &format!("19T{}", hours[1])), second);
            let found = agenda(&text, "2026-05-19T00:00:00Z", "2026-05-20T00:00:00Z").conflicts;
            found.into_iter().map(|one| (one.routes.join(","), one.from.to_string(), one.to.to_string())).next()
        };
        let (web, api, every) = ("web = \"offline\"", "api = \"hold\"", "\"*\" = \"offline\"");
        let told = |routes: &str, from: &str, to: &str| {
            Some((routes.to_owned(), format!("2026-05-19T{from}:00Z"), format!("2026-05-19T{to}:00Z")))
        };
        assert_eq!(met(web, web, ["11:00", "13:00"]), told("web", "11:00", "12:00"));
        assert_eq!(met(every, api, ["10:30", "11:00"]), told("api", "10:30", "11:00"));
        assert_eq!(met(every, every, ["09:00", "10:30"]), told("*", "10:00", "10:30"));
        assert_eq!(met(web, web, ["12:00", "13:00"]), None, "they only touch");
        assert_eq!(met(web, api, ["11:00", "13:00"]), None, "on different routes");
    }

    #[test]
    fn nights_in_which_the_clock_changes_are_odd() {
        let odd = |rule: &str, day: &str| {
            let text = window("W", &format!("every = \"{rule}\""), "web = \"offline\"");
            let from = at(&format!("{day}T00:00:00Z")) - SignedDuration::from_hours(12);
            let found = agenda(&text, &from.to_string(), &(from + SignedDuration::from_hours(36)).to_string());
            found.occurrences.iter().map(|one| one.odd.as_ref().map(|odd| odd.oddity)).collect::<Vec<_>>()
        };
        assert_eq!(odd("Sun 02:30-05:30 Europe/Berlin", "2027-03-28"), [Some(Oddity::Moved)]);
        assert_eq!(odd("Sun 02:30-05:30 Europe/Berlin", "2027-03-21"), [None]);
        assert_eq!(odd("Sun 12:00-14:00 Europe/Berlin", "2027-03-28"), [None]);
        assert_eq!(odd("Sun 02:15-02:45 Europe/Berlin", "2026-10-25"), [Some(Oddity::Twice)]);
        assert_eq!(odd("Sun 01:00-04:00 Europe/Berlin", "2026-10-25"), [Some(Oddity::OtherEnd)]);
        assert_eq!(odd("Sun 01:00-04:00 UTC", "2026-10-25"), [None]);
    }
}
