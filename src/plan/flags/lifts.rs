//! Comparison of two flag files: does the later one lift anything, and is its text the beginning of a longer one?
//!
//! No clock is asked, so a flag that is over counts like any other. If two files are hard to compare, the later one
//! counts as lifting.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Flag, Flags, Lift, Mode, Opens, Pace, Target, When, Window, Withdrawal};

/// Returns true if the flags `after` let anything through, now or later, that the flags `before` stop.
pub fn lifts(before: &Flags, after: &Flags) -> bool {
    lifts_flag(&before.routes, &after.routes)
        || lifts_window(&before.windows, after)
        || is_ahead(&after.forced, &before.forced)
        || is_ahead(&at_once(&after.lifted), &at_once(&before.lifted))
        || is_ahead(&before.revoked, &after.revoked)
        || takes_back(before, after)
        || after.links.iter().any(|link| !before.links.contains(link))
}

/// Returns true if an upstream that was out is used again, or less strictly out.
fn takes_back(before: &Flags, after: &Flags) -> bool {
    let stays =
        |one: &Withdrawal| after.upstreams.iter().any(|other| other.upstream == one.upstream && other.how >= one.how);
    !before.upstreams.iter().all(stays)
}

/// Returns true if a text that lifts something looks like the beginning of a longer one. `good` is the text in force.
///
/// A full disk, a limit on a file's size and a killed writer leave such a text. It is valid by itself only by chance.
/// No editor leaves any of these signs:
/// - The size is a multiple of 4096 bytes: the block of a file system and the buffer of a writer. For a text that ends
///   within a line, a multiple of 512 bytes is enough, the smallest block that exists.
/// - The text is the beginning of the text in force, up to the middle of a line.
/// - The text ends in the middle of a comment, and has less than half the size of the text in force.
///
/// A text that lacks only its last line break is not cut: `printf '[routes]' > file` is a usual edit. So the last line
/// is compared with all lines in force. A cut between two lines looks the same as the removal of the last lines.
pub fn is_cut(text: &[u8], good: &[u8]) -> bool {
    if text.len().is_multiple_of(BLOCK) {
        return true;
    }
    let last = last_line(text);
    if last.is_empty() || good.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == last) {
        return false;
    }
    let ends_in_comment = || last.trim_ascii().is_empty() || after_strings(last).contains(&b'#');
    good.starts_with(text)
        || text.len().is_multiple_of(LEAST_BLOCK)
        || (text.len() < good.len() / 2 && ends_in_comment())
}

/// Returns true if a text lacks the last line break that the text in force has, in a line that is not in force.
pub fn is_unended(text: &[u8], good: &[u8]) -> bool {
    let last = last_line(text);
    good.ends_with(b"\n") && !last.is_empty() && !good.split(|byte| *byte == b'\n').any(|line| line == last)
}

/// Returns the end of a text that no line break follows.
fn last_line(text: &[u8]) -> &[u8] {
    text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Returns the part of a line behind its last quote.
fn after_strings(line: &[u8]) -> &[u8] {
    line.rsplit(|byte| matches!(byte, b'"' | b'\'')).next().unwrap_or_default()
}

fn lifts_flag(before: &[Flag], after: &[Flag]) -> bool {
    let kept: HashMap<_, _> = after.iter().map(|flag| (name(&flag.route), flag)).collect();
    let covers = |kept: &Flag, flag: &Flag| kept.mode >= flag.mode && !is_earlier(kept.lifts_at(), flag.lifts_at());
    before.iter().any(|flag| {
        let mut candidates = [kept.get(&name(&flag.route)), kept.get(&None)].into_iter().flatten();
        !candidates.any(|kept| covers(kept, flag))
    })
}

fn lifts_window(before: &[Window], after: &Flags) -> bool {
    let kept: HashMap<_, _> = after.every_window().map(|window| (window.id.as_str(), window)).collect();
    before.iter().any(|window| match kept.get(window.id.as_str()) {
        Some(kept) => {
            lifts_time(window, kept) || lifts_steps(window, kept) || lifts_route(&window.routes, &kept.routes)
        }
        None => true,
    })
}

fn lifts_time(before: &Window, after: &Window) -> bool {
    match (&before.when, &after.when) {
        (When::Once { starts, ends }, When::Once { starts: now_starts, ends: now_ends }) => {
            now_starts > starts || is_earlier(end(after, (*now_starts, *now_ends)), end(before, (*starts, *ends)))
        }
        (When::Every(rule), When::Every(now)) => {
            let opens = before.stays() && !after.stays();
            rule != now || before.ended != after.ended || opens
        }
        (When::Once { .. }, When::Every(_)) | (When::Every(_), When::Once { .. }) => true,
    }
}

/// Returns the end of a window's single span; `None` if it goes on until somebody ends it.
fn end(window: &Window, (starts, ends): (Timestamp, Timestamp)) -> Option<Timestamp> {
    let ended = window.ended.filter(|ended| *ended >= starts);
    ended.or_else(|| (!window.stays()).then_some(ends))
}

/// Returns true if steps end a window that others did not end before.
fn lifts_steps(before: &Window, after: &Window) -> bool {
    let over = |window: &Window| window.opens == Opens::Steps && window.undone().next().is_none();
    over(after) && !over(before)
}

fn lifts_route(before: &[(Target, Mode)], after: &[(Target, Mode)]) -> bool {
    let kept: HashMap<_, _> = after.iter().map(|(target, mode)| (name(target), *mode)).collect();
    before.iter().any(|(target, mode)| {
        let candidates = [kept.get(&name(target)), kept.get(&None)];
        !candidates.into_iter().flatten().any(|kept| kept >= mode)
    })
}

/// Returns true if a list has an instant that the other list lacks, or has earlier.
fn is_ahead(list: &[(Target, Timestamp)], other: &[(Target, Timestamp)]) -> bool {
    let known: HashMap<_, _> = other.iter().map(|(target, instant)| (name(target), *instant)).collect();
    list.iter().any(|(target, instant)| known.get(&name(target)).is_none_or(|known| known < instant))
}

/// Returns the liftings that skip a ramp. The others let nothing through by themselves.
fn at_once(lifted: &[(Target, Lift)]) -> Vec<(Target, Timestamp)> {
    let at_once = lifted.iter().filter(|(_, lift)| lift.pace == Pace::AtOnce);
    at_once.map(|(target, lift)| (target.clone(), lift.at)).collect()
}

/// Returns true if an end comes before another. `None` is no end.
fn is_earlier(end: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    end.is_some_and(|end| other.is_none_or(|other| end < other))
}

/// Returns the name of a target; `None` for every route.
fn name(target: &Target) -> Option<&str> {
    match target {
        Target::Every => None,
        Target::Route(name) => Some(name),
    }
}

/// Block of most file systems, and buffer of many writers.
const BLOCK: usize = 4096;
const LEAST_BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Flags {
        super::super::parse("flags", text).0.unwrap().flags
    }

    fn window(more: &str) -> String {
        format!("[[windows]]\nid = \"w\"\ntitle = \"t\"\n{more}\n")
    }

    /// Two texts, and whether the second lifts something of the first, and the first of the second.
    #[track_caller]
    fn check(before: &str, after: &str, (forward, backward): (bool, bool)) {
        let (one, two) = (flags(before), flags(after));
        assert_eq!(lifts(&one, &two), forward, "{before}\n-->\n{after}");
        assert_eq!(lifts(&two, &one), backward, "{after}\n-->\n{before}");
        assert!(!lifts(&one, &one) && !lifts(&two, &two));
    }

    #[test]
    fn a_flag_is_lifted_by_its_removal_a_milder_mode_or_an_earlier_end() {
        let until = |day: u8| format!("[routes.web]\nmode = \"offline\"\nuntil = 2026-05-{day}T10:00:00Z\n");
        let offline = "[routes]\nweb = \"offline\"\n";
        check("", offline, (false, true));
        check(offline, "[routes]\nweb = \"offline\"\napi = \"hold\"\n", (false, true));
        check(offline, "[routes]\nweb = \"read-only\"\n", (true, false));
        check(offline, "[routes]\n\"*\" = \"offline\"\n", (false, true));
        check(offline, "[routes]\n\"*\" = \"hold\"\n", (true, true));
        check(offline, "[routes]\napi = \"offline\"\n", (true, true));
        check(offline, &until(19), (true, false));
        check(&until(20), &until(19), (true, false));
        check(offline, "[routes]\nweb = { message = \"words\" }\n", (false, false));
        // A flag that stays has no end at which it lifts by itself.
        let stays = |day: u8| format!("{}on_overrun = \"stay\"\n", until(day));
        check(&stays(19), &until(20), (true, false));
        check(&stays(20), &stays(19), (false, false));
        check(offline, &format!("{}held_by = \"anna@ci\"\n", stays(19)), (false, false));
    }

    #[test]
    fn a_window_is_lifted_by_its_removal_a_shorter_time_or_fewer_routes() {
        let once = |hours: &str, more: &str| {
            let (from, to) = hours.split_once('-').unwrap();
            let times = format!("starts = 2026-05-19T{from}:00:00Z\nends = 2026-05-19T{to}:00:00Z\n{more}");
            window(&format!("{times}\nroutes = {{ web = \"offline\" }}"))
        };
        let rule = |rule: &str| window(&format!("every = \"{rule}\"\nroutes = {{ web = \"offline\" }}"));
        let routes = |routes: &str| window(&format!("every = \"Sun 02:00-04:00 UTC\"\nroutes = {{ {routes} }}"));
        check("", &once("10-12", ""), (false, true));
        check(&once("10-12", ""), &once("10-13", ""), (false, true));
        check(&once("10-12", ""), &once("11-12", ""), (true, false));
        check(&once("10-12", ""), &once("11-13", ""), (true, true));
        check(&once("10-12", ""), &once("10-12", "ended = 2026-05-19T11:00:00Z"), (true, false));
        check(&once("10-12", ""), &once("10-12", "ended = 2026-05-19T13:00:00Z"), (false, true));
        check(&once("10-12", "on_overrun = \"stay\""), &once("10-12", ""), (true, false));
        check(&once("10-12", "on_overrun = \"stay\""), &once("10-12", "ended = 2026-05-19T13:00:00Z"), (true, false));
        check(&once("10-12", ""), &once("10-12", "summary = \"words\""), (false, false));
        check(&once("10-12", ""), &rule("Tue 10:00-12:00 UTC"), (true, true));
        check(&rule("Sun 02:00-04:00 UTC"), &rule("Sun 02:00-05:00 UTC"), (true, true));
        check(&routes("web = \"offline\", api = \"hold\""), &routes("web = \"offline\""), (true, false));
        check(&routes("web = \"offline\""), &routes("\"*\" = \"offline\""), (false, true));
        check(&routes("web = \"offline\""), &routes("web = \"read-only\""), (true, false));
    }

    #[test]
    fn a_forced_return_lifts_and_so_does_a_revocation_taken_back() {
        check("", "[forced]\nweb = 2026-05-19T10:00:00Z\n", (true, false));
        check("[forced]\nweb = 2026-05-19T10:00:00Z\n", "[forced]\nweb = 2026-05-19T11:00:00Z\n", (true, false));
        check("", "[revoked]\nweb = 2026-05-19T10:00:00Z\n", (false, true));
        check("[revoked]\nweb = 2026-05-19T10:00:00Z\n", "[revoked]\nweb = 2026-05-19T11:00:00Z\n", (false, true));
    }

    #[test]
    fn a_text_is_cut_where_no_editor_ends_one() {
        let good = format!("# a comment at the top\n[routes]\n{}web = \"offline\" # last\n", "# filled\n".repeat(600));
        let cut = |text: &str| is_cut(text.as_bytes(), good.as_bytes());
        for length in [5, 12, 37, 700, 4095, 4097, good.len() - 3] {
            assert!(cut(&good[..length]), "the first {length} bytes: {:?}", &good[length - 4..length]);
        }
        for length in [4096, 8192] {
            assert!(cut(&"# other\n".repeat(length / 8)), "{length} bytes, and a whole line at the end");
            assert!(!cut(&"# other\n".repeat(length / 8 - 1)));
        }
        assert!(cut(&format!("{}#", "# other\n".repeat(64).split_off(1))), "512 bytes, and half a line");
        for text in ["# a comm", "[routes]\n# oth", "[routes]\n  ", "[routes]\nweb = \"hold\" # si"] {
            assert!(cut(text), "{text:?}");
        }
        let first_lines = &good[..good.find("# filled").unwrap()];
        let usual = [
            "[routes]",
            "[routes]\n",
            "[routes]\nweb = \"hold\"",
            "[routes]\nweb = { message = \"see #5\" }",
            first_lines,
            first_lines.trim_end(),
            "# a comment at the top",
            "#\n",
            "[routes]\n# none\n",
            &good[..good.len() - 1],
        ];
        for text in usual {
            assert!(!cut(text), "{text:?}");
        }
        let long = good.replace("web", "#web");
        assert!(!cut(long.trim_end()), "not much shorter");
    }

    #[test]
    fn a_text_is_unended_if_its_last_line_is_new_and_lacks_its_line_break() {
        let unended = |text: &str, good: &str| is_unended(text.as_bytes(), good.as_bytes());
        assert!(unended("[routes]\nweb = \"ho", "[routes]\nweb = \"hold\"\n"));
        assert!(!unended("[routes]", "[routes]\nweb = \"hold\"\n"));
        assert!(!unended("[routes]\n", "[routes]\nweb = \"hold\"\n"));
        assert!(!unended("[routes]\napi = \"hold\"", "[routes]\nweb = \"hold\""), "nor has the text in force");
    }
}
