//! Stale entries: flags and windows whose time was over when they were written, so that they can never act.
//!
//! Most are mistakes, such as the year of the last plan. An entry that was in force and is over is no mistake. So the
//! flags before are compared: an entry is reported only if it is new, or was stale before.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::super::problem::{Place, Problem, quoted};
use super::{Flag, Flags, Parsed, Target, When, Window};

/// Entries that were already over when they were first seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stale {
    flags: HashSet<(Target, Timestamp)>,
    windows: HashMap<String, When>,
}

/// Circumstances in which a flag file is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'f> {
    /// Instant of the reading.
    pub now: Timestamp,
    /// Flags in force, with their stale entries. Without them every entry is new.
    pub before: Option<(&'f Flags, &'f Stale)>,
}

/// Place of the end of a flag or a window, by its index in [`Flags`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ends {
    /// Ends of flags that have one.
    pub(super) flags: Vec<(usize, Place)>,
    /// Ends of windows.
    pub(super) windows: Vec<(usize, Place)>,
    /// Ends of windows of the past.
    pub(super) past: Vec<(usize, Place)>,
}

impl Parsed {
    /// Warns of entries that can never act, and returns them for the next reading.
    pub fn stale(&self, file: &str, reading: Reading<'_>) -> (Vec<Problem>, Stale) {
        let (mut problems, mut stale) = (Vec::new(), Stale::default());
        let known = Known::new(reading.before);
        for (index, place) in &self.ends.flags {
            let Some(flag) = self.flags.routes.get(*index) else { continue };
            let Some(until) = flag.lifts_at().filter(|until| *until <= reading.now && !known.has_flag(flag)) else {
                continue;
            };
            stale.flags.insert((flag.route.clone(), until));
            let message = format!("the flag for {} never acts: it is over since {until}", quoted(flag.route.key()));
            problems.push(Problem::warning(file, message).help(OVER).at(place.clone()));
        }
        for (index, place) in &self.ends.windows {
            let Some(window) = self.flags.windows.get(*index) else { continue };
            if let Some(message) = ended_before_start(window) {
                problems.push(Problem::warning(file, message).help(ENDED).at(place.clone()));
            }
            if window.is_done_early(reading.now) {
                let message = format!("window {} never closes its routes: {DONE_EARLY}", quoted(&window.id));
                problems.push(Problem::warning(file, message).help(TO_PENDING).at(place.clone()));
            }
            let Some(over) = over(window, reading.now).filter(|_| !known.has_window(window)) else { continue };
            stale.windows.insert(window.id.clone(), window.when.clone());
            problems.push(never_acts(file, window, &over, place));
        }
        problems.extend(self.stale_past(file, &known, reading.now, &mut stale));
        (problems, stale)
    }

    /// Warns of windows of the past that had no chance to act. If they are many, it is a history, and one warning is enough.
    fn stale_past(&self, file: &str, known: &Known<'_>, now: Timestamp, stale: &mut Stale) -> Vec<Problem> {
        let past = self.ends.past.iter().filter_map(|(index, place)| {
            let (_, window) = self.flags.past.windows.get(*index).filter(|(_, window)| !known.has_window(window))?;
            Some((window, over(window, now)?, place))
        });
        let found: Vec<_> = past.collect();
        stale.windows.extend(found.iter().map(|(window, ..)| (window.id.clone(), window.when.clone())));
        if found.len() <= MOST_TOLD {
            return found.iter().map(|(window, over, place)| never_acts(file, window, over, place)).collect();
        }
        let ids: Vec<String> = found.iter().take(MOST_NAMED).map(|(window, ..)| quoted(&window.id)).collect();
        let (ids, more) = (ids.join(", "), found.len() - ids.len());
        let message =
            format!("{} windows never act: they were over more than 30 days ago: {ids} and {more} more", found.len());
        let place = found.first().map(|(.., place)| (*place).clone());
        let problem = Problem::warning(file, message).help(PAST);
        place.map(|place| problem.at(place)).into_iter().collect()
    }
}

fn never_acts(file: &str, window: &Window, over: &str, place: &Place) -> Problem {
    let message = format!("window {} never acts: {over}", quoted(&window.id));
    Problem::warning(file, message).help(OVER).at(place.clone())
}

/// Entries that had a chance to act.
struct Known<'f> {
    flags: HashSet<(&'f Target, Option<Timestamp>)>,
    windows: HashMap<&'f str, &'f When>,
    stale: Option<&'f Stale>,
}

impl<'f> Known<'f> {
    fn new(before: Option<(&'f Flags, &'f Stale)>) -> Self {
        let Some((flags, stale)) = before else {
            return Self { flags: HashSet::new(), windows: HashMap::new(), stale: None };
        };
        // Most files have no flag with an end, and should cost nothing.
        let ending = flags.routes.iter().filter(|flag| flag.until.is_some());
        Self {
            flags: ending.map(|flag| (&flag.route, flag.until)).collect(),
            windows: flags.every_window().map(|window| (window.id.as_str(), &window.when)).collect(),
            stale: Some(stale),
        }
    }

    fn has_flag(&self, flag: &Flag) -> bool {
        let was_stale = |until| self.stale.is_some_and(|stale| stale.flags.contains(&(flag.route.clone(), until)));
        self.flags.contains(&(&flag.route, flag.until)) && !flag.until.is_some_and(was_stale)
    }

    fn has_window(&self, window: &Window) -> bool {
        let was_stale = self.stale.is_some_and(|stale| stale.windows.get(&window.id) == Some(&window.when));
        self.windows.get(window.id.as_str()) == Some(&&window.when) && !was_stale
    }
}

/// Tells since when a window is over; `None` if it may still act, or if somebody has ended it.
fn over(window: &Window, now: Timestamp) -> Option<String> {
    match &window.when {
        When::Once { starts, ends } => {
            let was_ended = window.ended.is_some_and(|ended| ended >= *starts);
            (*ends <= now && !was_ended && !window.stays()).then(|| format!("it is over since {ends}"))
        }
        When::Every(every) => every.is_over(now).then(|| match every.before(now) {
            Some((_, ends)) => format!("its last time is over since {ends}"),
            None => "its last day is over".to_owned(),
        }),
    }
}

/// Warns of an `ended` that does not count. For a window that recurs, it may belong to an earlier occurrence.
fn ended_before_start(window: &Window) -> Option<String> {
    let When::Once { starts, .. } = &window.when else { return None };
    let ended = window.ended.filter(|ended| ended < starts)?;
    Some(format!("`ended` of window {} is not used: {ended} is before its start", quoted(&window.id)))
}

const OVER: &str = "if the date is wrong, correct it; if not, remove the entry";
const PAST: &str = "if one of the dates is wrong, correct it; if not, they may stay: they cost next to nothing";
const DONE_EARLY: &str = "all of the steps that end it are done before it begins";
const TO_PENDING: &str = "set a step to `pending` if there is something left to do; if not, remove the window";
const ENDED: &str = "`ended` is when it really ended; to cancel a window, remove it";
/// Most windows of the past that have a warning of their own.
const MOST_TOLD: usize = 8;
/// Most windows that a warning names.
const MOST_NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn told(text: &str, before: Option<(&Flags, &Stale)>, now: &str) -> (Vec<String>, Flags, Stale) {
        let parsed = parse("maintenance.toml", text).0.unwrap();
        let (problems, stale) = parsed.stale("maintenance.toml", Reading { now: now.parse().unwrap(), before });
        let told =
            problems.iter().map(|problem| format!("{}: {}", problem.place.as_ref().unwrap().line, problem.message));
        (told.collect(), parsed.flags, stale)
    }

    #[test]
    fn an_entry_that_can_never_act_is_told_with_its_place() {
        let window = |more: &str| format!("[[windows]]\nid = \"W\"\nroutes = {{ web = \"offline\" }}\n{more}\n");
        let once = |starts: &str, ends: &str, more: &str| window(&format!("starts = {starts}\nends = {ends}\n{more}"));
        let over = once("2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z", "");
        let steps = |year: &str, state: &str| {
            let steps = "opens = \"steps\"\nsteps = [{ title = \"A\", auto = \"drain\" }, { title = \"B\", state = \"STATE\" }]";
            once(&format!("{year}-01-01T00:00:00Z"), "2030-01-02T00:00:00Z", &steps.replace("STATE", state))
        };
        const DONE: &str =
            "5: window `W` never closes its routes: all of the steps that end it are done before it begins";
        for (text, expected) in [
            (
                "[routes]\nweb = { until = 2020-01-01T00:00:00Z }".to_owned(),
                Some("2: the flag for `web` never acts: it is over since 2020-01-01T00:00:00Z"),
            ),
            ("[routes]\nweb = { until = 2030-01-01T00:00:00Z }".to_owned(), None),
            ("[routes]\nweb = { until = 2020-01-01T00:00:00Z, on_overrun = \"stay\" }".to_owned(), None),
            ("[routes]\nweb = \"offline\"".to_owned(), None),
            (over.clone(), Some("5: window `W` never acts: it is over since 2020-01-01T01:00:00Z")),
            // Somebody has ended it, or still has to.
            (format!("{over}ended = 2020-01-01T00:30:00Z"), None),
            (format!("{over}on_overrun = \"stay\""), None),
            (once("2030-01-01T00:00:00Z", "2030-01-01T01:00:00Z", ""), None),
            (
                once("2030-01-01T00:00:00Z", "2030-01-01T01:00:00Z", "ended = 2029-12-31T23:00:00Z"),
                Some("6: `ended` of window `W` is not used: 2029-12-31T23:00:00Z is before its start"),
            ),
            (steps("2030", "done"), Some(DONE)),
            (steps("2030", "running"), None),
            // The steps have ended it while it was on.
            (steps("2026", "done"), None),
            (window("every = \"Sun 02:00-04:00 Europe/Berlin\""), None),
            (
                window("every = \"DTSTART:20200101T020000Z RRULE:FREQ=WEEKLY;UNTIL=20200301T000000Z DURATION:PT1H\""),
                Some("4: window `W` never acts: its last time is over since 2020-02-26T03:00:00Z"),
            ),
        ] {
            let (told, ..) = told(&text, None, "2026-05-19T14:00:00Z");
            assert_eq!(told, expected.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn an_entry_that_has_had_its_time_is_not_told_and_a_mistake_stays_one() {
        let flags = |year: u16, word: &str| {
            format!(
                "# {word}\n[routes]\nweb = {{ until = {year}-05-19T15:00:00Z }}\n[[windows]]\nid = \"W\"\nroutes = {{ web = \"hold\" }}\nstarts = {year}-05-19T14:30:00Z\nends = {year}-05-19T15:00:00Z\n"
            )
        };
        let (none, known, stale) = told(&flags(2026, "a"), None, "2026-05-19T14:00:00Z");
        assert!(none.is_empty());
        let (none, known, stale) = told(&flags(2026, "b"), Some((&known, &stale)), "2026-05-19T16:00:00Z");
        assert!(none.is_empty(), "both were in force: {none:?}");
        let (both, known, stale) = told(&flags(2025, "c"), Some((&known, &stale)), "2026-05-19T16:00:00Z");
        assert_eq!(both.len(), 2, "{both:?}");
        let (both, ..) = told(&flags(2025, "d"), Some((&known, &stale)), "2026-05-19T17:00:00Z");
        assert_eq!(both.len(), 2, "an edit elsewhere does not mend it: {both:?}");
    }
}
