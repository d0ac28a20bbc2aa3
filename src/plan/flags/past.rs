//! Past of a flag file: windows that were over long ago. They are kept apart, so that years of them cost nothing.
//!
//! Nothing is lost: an earlier instant still finds them, and so does a command that names one. Only the present and the
//! future are spared the look.

use jiff::{SignedDuration, Timestamp};

use super::{Flags, When, Window};

/// Windows that were over long before the file was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// The windows in the order of the file, each with the number of other windows before it.
    pub(super) windows: Vec<(usize, Window)>,
    /// Instant from which on none of them acts; `None` if there is none.
    pub(super) since: Option<Timestamp>,
}

impl Flags {
    /// Returns the windows that may act at an instant or later, in the order of the file.
    pub fn acting(&self, at: Timestamp) -> impl Iterator<Item = &Window> {
        let past = self.past.since.filter(|since| at < *since).map(|_| self.past.windows.as_slice());
        self.merged(past.unwrap_or_default())
    }

    /// Returns every window of the file, in its order.
    pub fn every_window(&self) -> impl Iterator<Item = &Window> {
        self.merged(&self.past.windows)
    }

    /// Finds a window by its id, however long it is over.
    pub fn window(&self, id: &str) -> Option<&Window> {
        let past = self.past.windows.iter().map(|(_, window)| window);
        self.windows.iter().chain(past).find(|window| window.id == id)
    }

    /// Returns the ids of all windows, those of the past last.
    pub fn ids(&self) -> Vec<String> {
        let past = self.past.windows.iter().map(|(_, window)| window);
        self.windows.iter().chain(past).map(|window| window.id.clone()).collect()
    }

    fn merged<'f>(&'f self, past: &'f [(usize, Window)]) -> impl Iterator<Item = &'f Window> {
        // The first of several windows that are alike gives its words to the page, so the order counts.
        let (mut past, mut others, mut taken) = (past.iter().peekable(), self.windows.iter(), 0);
        std::iter::from_fn(move || {
            let earlier = past.next_if(|(before, _)| *before <= taken).map(|(_, window)| window);
            earlier.or_else(|| {
                taken += 1;
                others.next()
            })
        })
    }
}

impl Window {
    /// Returns true if nothing of the window happens at an instant or later.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let is_planned_over = match &self.when {
            When::Once { ends, .. } => *ends <= now,
            When::Every(every) => every.is_over(now),
        };
        is_planned_over && self.ended.is_none_or(|ended| ended <= now) && self.in_force(now).is_none()
    }
}

/// Returns the instant before which a window has to be over to belong to the past.
pub(super) fn begin(now: Timestamp) -> Timestamp {
    now.checked_sub(KEPT).unwrap_or(Timestamp::MIN)
}

/// Time for which a window that is over stays among the others. A ramp, a watch and an announcement that somebody still
/// looks at are over by then, and clocks do not differ by so much.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

#[cfg(test)]
mod tests {

    use super::super::super::compile::{Inputs, Known, compile};
    use super::super::super::config::{self, Config};
    use super::super::super::page::Renderers;
    use super::super::super::snapshot::Snapshot;
    use super::super::{Reading, lifts, parse, parse_at};
    use super::*;

    const CONFIG: &str = "\
[[listen]]
address = \"127.0.0.1:8080\"
[routes.web]
upstream = \"http://127.0.0.1:3000\"
ramp = [\"25% at 0s\", \"100% at 1h\"]
";
    /// Instant of the readings.
    const NOW: &str = "2026-05-19T14:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(id: &str, more: &str) -> String {
        format!("[[windows]]\nid = \"{id}\"\nroutes = {{ web = \"offline\" }}\n{more}\n")
    }

    fn once(from: &str, to: &str, more: &str) -> String {
        format!("starts = {from}:00Z\nends = {to}:00Z\n{more}")
    }

    #[test]
    fn only_what_cannot_act_for_long_belongs_to_the_past() {
        let long_ago = |more: &str| once("2026-01-05T10:00", "2026-01-05T12:00", more);
        let rule =
            |until: &str| format!("every = \"DTSTART:20260101T020000Z RRULE:FREQ=DAILY;UNTIL={until} DURATION:PT1H\"");
        let steps = |state: &str| {
            long_ago(&format!("opens = \"steps\"\nsteps = [{{ title = \"Migrate\", state = \"{state}\" }}]"))
        };
        for (more, is_past) in [
            (long_ago(""), true),
            (long_ago("ended = 2026-01-05T11:00:00Z"), true),
            (long_ago("ended = 2026-04-01T11:00:00Z"), true),
            (long_ago("ended = 2026-05-01T11:00:00Z"), false),
            (long_ago("ended = 2026-06-01T11:00:00Z"), false),
            // It overruns until somebody ends it.
            (long_ago("on_overrun = \"stay\""), false),
            (long_ago("opens = \"word\""), false),
            (long_ago("opens = \"word\"\nended = 2026-01-05T11:00:00Z"), true),
            (steps("running"), false),
            (steps("done"), true),
            (once("2026-05-01T10:00", "2026-05-01T12:00", ""), false),
            (once("2026-06-01T10:00", "2026-06-01T12:00", ""), false),
            (rule("20260301T020000Z"), true),
            (rule("20260510T020000Z"), false),
            ("every = \"Sun 02:00-04:00 UTC\"".to_owned(), false),
        ] {
            let flags = parse_at("flags", &window("W", &more), at(NOW)).0.unwrap().flags;
            assert_eq!(
                (flags.past.windows.len(), flags.windows.len()),
                if is_past { (1, 0) } else { (0, 1) },
                "{more}"
            );
            assert!(flags.window("W").is_some() && flags.window("X").is_none());
        }
    }

    #[test]
    fn windows_that_are_over_do_not_count_to_the_limits() {
        let many = |count: usize, id: &str, more: &str| -> String {
            (0..count).map(|number| window(&format!("{id}{number}"), more)).collect()
        };
        let old = many(3000, "OLD", &once("2020-01-05T10:00", "2020-01-05T12:00", ""));
        let ahead = |count| old.clone() + &many(count, "W", &once("2026-08-01T10:00", "2026-08-01T12:00", ""));
        let today = many(2049, "W", &once("2026-05-19T10:00", "2026-05-19T12:00", ""));
        let recurring = |rule: &str| many(257, "W", &format!("every = \"{rule}\""));
        let ended = recurring("DTSTART:20200101T020000Z RRULE:FREQ=DAILY;COUNT=3 DURATION:PT1H");
        let too_many = "too many windows: 2049 that are not over, and at most 2048 are allowed";
        let too_often = "too many recurring windows: 257 that are not over, and at most 256 are allowed";
        for (text, now, told) in [
            (ahead(2048), NOW, None),
            (ahead(2049), NOW, Some(too_many)),
            (today.clone(), "2026-05-19T11:59:59Z", Some(too_many)),
            (today, NOW, None),
            (recurring("Sun 02:00-04:00 UTC"), NOW, Some(too_often)),
            (ended, NOW, None),
        ] {
            let (parsed, problems) = parse_at("flags", &text, at(now));
            let first = problems.first().map(|problem| problem.message.as_str());
            assert_eq!((parsed.is_none(), first), (told.is_some(), told));
            assert!(problems.iter().all(|problem| problem.place.as_ref().is_some_and(|place| place.line == 1)));
        }
    }

    #[test]
    fn a_history_has_one_warning_and_a_few_old_dates_have_their_own() {
        let many = |count: usize| {
            let over = once("2020-01-05T10:00", "2020-01-05T12:00", "");
            (0..count).map(|id| window(&format!("W{id}"), &over)).collect::<String>()
        };
        let told = |count: usize, before: Option<usize>| {
            let read = |count| parse_at("flags", &many(count), at(NOW)).0.unwrap();
            let early = before.map(|count| {
                (parse_at("flags", &many(count), at("2020-01-05T11:00:00Z")).0.unwrap().flags, Default::default())
            });
            let before = early.as_ref().map(|(flags, stale)| (flags, stale));
            let (problems, stale) = read(count).stale("flags", Reading { now: at(NOW), before });
            let again = read(count);
            let (more, _) = again.stale("flags", Reading { now: at(NOW), before: Some((&read(count).flags, &stale)) });
            assert_eq!(problems, more, "an edit elsewhere changes nothing");
            problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        assert_eq!(told(1, None), ["window `W0` never acts: it is over since 2020-01-05T12:00:00Z"]);
        assert_eq!(told(8, None).len(), 8);
        let many = "300 windows never act: they were over more than 30 days ago: `W0`, `W1`, `W2` and 297 more";
        assert_eq!(told(300, None), [many]);
        assert_eq!(told(300, Some(300)), [""; 0], "all of them had their time");
        assert_eq!(told(301, Some(300)), ["window `W300` never acts: it is over since 2020-01-05T12:00:00Z"]);
    }

    #[test]
    fn a_window_that_becomes_past_lifts_nothing() {
        let text = window("W", &once("2026-05-19T10:00", "2026-05-19T12:00", ""));
        let [before, after] =
            [NOW, "2026-07-19T14:00:00Z"].map(|now| parse_at("flags", &text, at(now)).0.unwrap().flags);
        assert_eq!((before.windows.len(), after.past.windows.len()), (1, 1));
        assert!(!lifts(&before, &after) && !lifts(&after, &before));
        assert!(lifts(&before, &Flags::default()));
    }

    fn snapshot(config: &Config, flags: &Flags, previous: Option<&Snapshot>, now: Timestamp) -> Snapshot {
        let (renderers, known) = (Renderers::built_in(), Known::default());
        compile(Inputs { config, flags, renderers: &renderers, known: &known, previous, now, generation: 1 })
    }

    #[test]
    fn the_past_changes_nothing_of_what_is_served() {
        let config = config::parse("backsoon.toml", CONFIG).0.unwrap();
        let text = [
            window("A", &once("2026-01-05T10:00", "2026-01-05T12:00", "announce = \"2h\"")),
            window("B", &once("2026-01-05T11:00", "2026-01-05T13:00", "ended = 2026-03-01T00:00:00Z")),
            window("C", "every = \"DTSTART:20260101T020000Z RRULE:FREQ=WEEKLY;COUNT=5 DURATION:PT3H\""),
            window("D", &once("2026-03-05T10:00", "2026-03-05T12:00", "on_overrun = \"stay\"")),
            window("E", &once("2026-04-30T10:00", "2026-04-30T12:00", "")),
            window("F", "every = \"Tue 13:00-15:00 UTC\""),
            window("G", &once("2026-06-30T10:00", "2026-06-30T12:00", "announce = \"48h\"")),
        ];
        let whole = parse("flags", &text.concat()).0.unwrap().flags;
        let mut state: u64 = 7;
        let mut random = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from((state >> 33) % most).unwrap()
        };
        for _ in 0..300 {
            let read = at("2025-12-31T00:00:00Z") + SignedDuration::from_mins(random(400 * 24 * 60));
            let folded = parse_at("flags", &text.concat(), read).0.unwrap().flags;
            // Earlier than the reading, too: a process may have slept, and `explain --at` asks for any instant.
            let now = read + SignedDuration::from_mins(random(400 * 24 * 60) - 200 * 24 * 60);
            let next = now + SignedDuration::from_mins(random(3 * 24 * 60));
            let see = |flags: &Flags| {
                let first = snapshot(&config, flags, None, now);
                let second = snapshot(&config, flags, Some(&first), next);
                [first, second].map(|snapshot| {
                    let route = &snapshot.routes[0];
                    let closure =
                        route.closure.as_ref().map(|closure| (closure.mode, closure.source.clone(), closure.until));
                    let told = (route.announced.clone(), route.planned.clone(), route.notice.clone());
                    format!("{:?} {closure:?} {told:?} {:?} {:?}", route.state, snapshot.next_change, route.transitions)
                })
            };
            assert_eq!(see(&folded), see(&whole), "read {read}, at {now} and {next}");
        }
    }
}
