//! Entries of the history as lines of text for people. No text of an entry reaches a terminal as an escape code.

use jiff::{SignedDuration, Timestamp};

use crate::control::history::{Entry, Event};
use crate::plan::config::Config;
use crate::plan::lifecycle::Reason;

use super::super::streams::{BOLD, DIM, ERROR, GOOD, WARNING, styled};
use super::super::words::{author, harmless};

/// Returns the width of the column that names a line's subject.
pub(super) fn width(config: &Config) -> usize {
    let names = config.routes.iter().map(|route| route.name.chars().count());
    names.chain(["config".len()]).max().unwrap_or(0).min(WIDEST)
}

/// Formats an entry:
/// `2026-05-19 14:00:00 UTC  web     open → draining       offline by window M-1  (flags 3fa9c1d2)`.
pub(super) fn entry(entry: &Entry, width: usize) -> String {
    let time = styled(DIM, instant(entry.time));
    let (about, told) = match &entry.event {
        Event::Started { version, pid } => {
            ("proxy", styled(BOLD, format!("backsoon {} started, pid {pid}", harmless(version))))
        }
        Event::Ended => ("proxy", styled(BOLD, "ended")),
        Event::Gap { entries, from, to } => ("gap", styled(ERROR, gap(*entries, *from, *to))),
        Event::Edit { file, role, hash, taken, by, problems } => {
            let file = harmless(file);
            let facts = hash.as_deref().map(short).into_iter().chain(by.as_ref().map(author));
            let hash = aside(&facts.collect::<Vec<_>>());
            let problems = first_problems(problems);
            let told = match (taken, problems.is_empty()) {
                (true, true) => format!("{file} {}{hash}", styled(GOOD, "taken")),
                (true, false) => {
                    format!("{file} {}{hash}: {}", styled(GOOD, "taken"), styled(WARNING, problems))
                }
                (false, _) => format!("{file} {}{hash}: {problems}", styled(ERROR, "refused")),
            };
            (role.as_str(), told)
        }
        Event::Phase { route, .. } => (route.as_str(), phase(entry)),
    };
    format!("{time}  {:width$}  {told}", harmless(about))
}

/// Escapes control characters that JSON leaves alone, such as DEL and C1, in a line of JSON.
pub(super) fn json(line: &str) -> String {
    let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    line.chars().map(escaped).collect()
}

/// Tells of entries that are missing here.
fn gap(entries: u64, from: Timestamp, to: Timestamp) -> String {
    let lost = if entries == 1 { "1 entry was lost".to_owned() } else { format!("{entries} entries were lost") };
    format!("{lost} between {} and {}: the history could not be written", instant(from), instant(to))
}

fn phase(entry: &Entry) -> String {
    let Event::Phase { from, to, at, why, until, flags, .. } = &entry.event else { return String::new() };
    let stays = from == to;
    let style = match (to.as_str(), Reason::parse(why)) {
        // Only a guard that trips takes down a route that was coming back.
        ("draining" | "closed", Reason::GuardTripped(_)) => ERROR,
        (_, Reason::GuardContent | Reason::TriedWell) => GOOD,
        ("open", _) if !stays => GOOD,
        _ => WARNING,
    };
    // A guard may find something that does not change the phase.
    let transition = if stays { harmless(to) } else { format!("{} → {}", harmless(from), harmless(to)) };
    let transition = format!("{transition:TRANSITION_WIDTH$}");
    let mut more = Vec::new();
    if entry.time.duration_since(*at).abs() >= LATE {
        more.push(format!("since {}", instant(*at)));
    }
    if let Some(until) = until.filter(|_| to != "open") {
        more.push(format!("until {}", instant(until)));
    }
    more.extend(flags.as_deref().map(|flags| format!("flags {}", short(flags))));
    format!("{}  {}{}", styled(style, transition), harmless(why), aside(&more))
}

/// Formats an aside, such as `  (until 2026-05-19 15:00:00 UTC, flags 3fa9c1d2)`.
fn aside(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!("  {}", styled(DIM, format!("({})", parts.join(", ")))) }
}

/// Joins the first problems, and counts the others.
fn first_problems(problems: &[String]) -> String {
    let mut told: Vec<String> = problems.iter().take(PROBLEMS).map(|problem| harmless(problem)).collect();
    if let more @ 1.. = problems.len().saturating_sub(PROBLEMS) {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Shortens a hash to the digits that people compare.
fn short(hash: &str) -> String {
    harmless(&hash.chars().take(8).collect::<String>())
}

/// Width of the widest common transition.
const TRANSITION_WIDTH: usize = "verifying → ramping".len() - "→".len() + 1;
/// Greatest width of the first column. A longer route name shifts only its own line.
const WIDEST: usize = 24;
/// Most problems of an edit that a line shows.
const PROBLEMS: usize = 3;
/// Delay from which a line says when its transition really happened.
const LATE: SignedDuration = SignedDuration::from_secs(2);

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::files::author::Author;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn plain(event: Event) -> String {
        strip_str(&styled(event)).to_string()
    }

    fn styled(event: Event) -> String {
        entry(&Entry { time: at("2026-05-19T14:00:00Z"), generation: 7, event }, 6)
    }

    fn transition(from: &str, to: &str, why: &str) -> Event {
        Event::Phase {
            route: "web".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            at: at("2026-05-19T14:00:00Z"),
            why: why.to_owned(),
            mode: Some("offline".to_owned()),
            source: Some("window M-1".to_owned()),
            until: Some(at("2026-05-19T15:00:00Z")),
            flags: Some("3fa9c1d2e4".to_owned()),
            requests: None,
        }
    }

    #[test]
    fn each_entry_is_a_line_that_says_what_became_of_what_and_why() {
        assert_eq!(
            plain(transition("open", "draining", "offline by window M-1")),
            "2026-05-19 14:00:00 UTC  web     open → draining      offline by window M-1  \
             (until 2026-05-19 15:00:00 UTC, flags 3fa9c1d2)"
        );
        let mut late = transition("closed", "open", "its time is over");
        if let Event::Phase { at: since, .. } = &mut late {
            *since = at("2026-05-19T13:30:00Z");
        }
        assert_eq!(
            plain(late),
            "2026-05-19 14:00:00 UTC  web     closed → open        its time is over  \
             (since 2026-05-19 13:30:00 UTC, flags 3fa9c1d2)"
        );
        let started = Event::Started { version: "0.1.0".to_owned(), pid: 42 };
        assert_eq!(plain(started), "2026-05-19 14:00:00 UTC  proxy   backsoon 0.1.0 started, pid 42");
        assert_eq!(plain(Event::Ended), "2026-05-19 14:00:00 UTC  proxy   ended");
        let edit = |taken, problems: &[&str]| Event::Edit {
            file: "maintenance.toml".to_owned(),
            role: "flags".to_owned(),
            hash: Some("3fa9c1d2e4".to_owned()),
            taken,
            by: None,
            problems: problems.iter().copied().map(ToOwned::to_owned).collect(),
        };
        let line = |rest: &str| format!("2026-05-19 14:00:00 UTC  flags   maintenance.toml {rest}");
        assert_eq!(plain(edit(true, &[])), line("taken  (3fa9c1d2)"));
        assert_eq!(plain(edit(true, &["a"])), line("taken  (3fa9c1d2): a"));
        let words = |text: &str| text.to_owned();
        let command = Author::Command { user: words("anna"), host: words("edge-1"), command: words("on web\u{1b}") };
        for (by, told) in [
            (command, "by anna at edge-1: on web\u{fffd}"),
            (Author::Owner { owner: words("anna") }, "in a file of anna"),
        ] {
            let mut edit = edit(true, &[]);
            let Event::Edit { by: author, .. } = &mut edit else { panic!("{edit:?}") };
            *author = Some(by);
            assert_eq!(plain(edit), line(&format!("taken  (3fa9c1d2, {told})")));
        }
        assert_eq!(plain(edit(false, &["a", "b", "c", "d", "e"])), line("refused  (3fa9c1d2): a; b; c; and 2 more"));
    }

    #[test]
    fn nothing_in_a_line_is_obeyed_by_a_terminal() {
        let line = plain(transition("open\u{1b}[2J", "draining\n", "gone\u{9b}31m\r"));
        assert!(line.contains("open\u{fffd}[2J"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.contains("gone\u{fffd}31m"), "{line:?}");
        let text = serde_json::to_string("a\u{1b}\u{7f}\u{9b}\u{e4}").unwrap();
        assert_eq!(json(&text), "\"a\\u001b\\u007f\\u009b\u{e4}\"");
        assert_eq!(serde_json::from_str::<String>(&json(&text)).unwrap(), "a\u{1b}\u{7f}\u{9b}\u{e4}");
    }

    #[test]
    fn colours_say_how_it_went() {
        assert!(styled(transition("ramping", "open", "")).contains("\x1b[32mramping → open"));
        assert!(styled(transition("open", "draining", "flagged offline")).contains("\x1b[1m\x1b[33mopen → draining"));
        assert!(
            styled(transition("ramping", "draining", "the guard tripped: x"))
                .contains("\x1b[1m\x1b[31mramping → draining")
        );
    }
}
