//! Words about everything that closes routes after an edit: other flags, windows, a guard, checks.
//!
//! The flags are judged by the code with which the proxy compiles them. If a proxy was asked, its word about a route
//! takes precedence.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::plan::flags::{Flags, Mode, Span, Target, Window};
use crate::plan::snapshot::{Phase, Route, Source};
use crate::status::{BreachStatus, RouteStatus, Status};

use super::edit::Entry;
use super::words::{self, harmless};

/// Routes named in an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked(pub(super) Vec<String>);

impl Asked {
    /// Returns true if a route is among them; `*` stands for every route.
    pub(super) fn has(&self, route: &str) -> bool {
        self.0.iter().any(|asked| asked == "*" || asked == route)
    }

    /// Returns the routes with their verb: `web is`, `web and api are`.
    pub(super) fn be(&self) -> String {
        let names: Vec<String> =
            self.0.iter().map(|name| if name == "*" { EVERY.to_owned() } else { name.clone() }).collect();
        are(&names)
    }

    /// Returns the routes of a flag's or window's target that are among them, in words.
    fn of(&self, target: &Target) -> Vec<String> {
        let every = self.0.iter().any(|asked| asked == "*");
        match target {
            Target::Every if every => vec![EVERY.to_owned()],
            Target::Route(name) if every => vec![name.clone()],
            Target::Every | Target::Route(_) => self.0.iter().filter(|asked| target.is(asked)).cloned().collect(),
        }
    }
}

/// Facts about routes.
pub(super) struct Facts {
    /// The routes, as `/status` has them.
    pub(super) routes: Vec<RouteStatus>,
    /// Origin of the facts.
    pub(super) from: Origin,
}

/// Origin of facts about routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A running proxy has told them.
    Proxy,
    /// The files say so, with the saved state.
    Files,
}

impl Facts {
    fn of(&self, asked: &Asked) -> impl Iterator<Item = &RouteStatus> {
        self.routes.iter().filter(|route| asked.has(&route.name))
    }

    /// Returns true if every running proxy that was asked has opened a route.
    fn has_open(&self, name: &str) -> bool {
        let mut told = self.routes.iter().filter(|route| self.from == Origin::Proxy && route.name == name).peekable();
        told.peek().is_some() && told.all(|route| route.is(Phase::Open))
    }
}

/// Describes a compiled route as `/status` would.
pub(super) fn compiled(route: &Route) -> RouteStatus {
    let closure = route.closure.as_ref();
    RouteStatus {
        name: route.config.name.clone(),
        phase: route.phase().as_str().to_owned(),
        mode: closure.map(|closure| closure.mode.as_str().to_owned()),
        why: route.state.reason().to_string(),
        until: closure.and_then(|closure| closure.until),
        source: closure.map(|closure| match &closure.source {
            Source::Flag => FLAG.to_owned(),
            Source::Window(id) => format!("{WINDOW}{id}"),
            Source::Switch(file) => format!("{SWITCH}{file}"),
        }),
        breach: route.state.breach().map(|breach| BreachStatus { at: Some(breach.at), what: breach.what.clone() }),
        ..RouteStatus::default()
    }
}

/// Describes each flag, window and switch that closes the routes, or will close them, after a flag was lifted or a window
/// ended.
pub(super) fn causes(flags: &Flags, asked: &Asked, facts: &Facts, now: Timestamp) -> Vec<String> {
    let closed = |names: Vec<String>| names.into_iter().filter(|name| !facts.has_open(name)).collect::<Vec<_>>();
    let mut lines = Vec::new();
    for flag in flags.routes.iter().filter(|flag| flag.acts(now)) {
        lines.extend(by_flag(&flag.route, flag.mode, &closed(asked.of(&flag.route))));
    }
    for window in &flags.windows {
        let names: BTreeSet<String> = window.routes.iter().flat_map(|(target, _)| asked.of(target)).collect();
        let names: Vec<String> = names.into_iter().collect();
        lines.extend(match window.in_force(now) {
            Some(span) => by_window(window, span, &closed(names), now),
            None => to_come(window, &names, now),
        });
    }
    let asked_of = |route: &str| closed(asked.of(&Target::Route(route.to_owned())));
    let switches = flags.switched.iter().filter(|switch| !asked_of(&switch.route).is_empty());
    lines.extend(switches.map(|switch| by_switch(&switch.route, switch.mode, &switch.file)));
    lines
}

/// Describes a route that a switch closes. No command removes another tool's file.
fn by_switch(route: &str, mode: Mode, file: &str) -> String {
    let (route, file) = (harmless(route), harmless(file));
    format!("{route} stays {}: the switch {file} holds it; remove that file", words::being(mode))
}

fn by_flag(target: &Target, mode: Mode, names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    Some(match target {
        Target::Every => format!("{} still flagged by \"*\"; backsoon off '*' lifts that", are(names)),
        Target::Route(name) => format!("{name} stays {}: flag; backsoon off {name} lifts it", words::being(mode)),
    })
}

fn by_window(window: &Window, span: Span, names: &[String], now: Timestamp) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let until = match span.until {
        Some(until) => format!(" until {}", words::instant(until, now)),
        None => ", which is overrunning".to_owned(),
    };
    Some(format!("{} still flagged by window `{1}`{until}; backsoon off --window {1} ends it", are(names), window.id))
}

fn to_come(window: &Window, names: &[String], now: Timestamp) -> Option<String> {
    let starts = window.next_start(now).filter(|_| !names.is_empty())?;
    let until = window.span_of(starts).map(|(_, ends)| format!(" until {}", words::instant(ends, now)));
    let (at, until) = (words::instant(starts, now), until.unwrap_or_default());
    Some(format!("window `{}` will flag {} from {at}{until}", window.id, words::list(names)))
}

/// Returns a note for each route that is not open, if neither a flag nor a window is the reason.
pub(super) fn unopened(flags: &Flags, asked: &Asked, facts: &Facts, now: Timestamp) -> Vec<String> {
    let notes = facts.of(asked).filter_map(|route| {
        let name = harmless(&route.name);
        if let Some(guarded) = by_guard(route) {
            return Some(guarded);
        }
        let down = route.is(Phase::Closed) || route.is(Phase::Draining);
        let told = route.is(Phase::Open) || facts.from == Origin::Files || down && is_flagged(flags, &route.name, now);
        if !told && route.failing.is_some() {
            return Some(comes_back(route, now));
        }
        (!told).then(|| format!("{name} is {}: {}", harmless(&route.phase), harmless(&route.why)))
    });
    notes.collect()
}

/// Returns what keeps a route closed until somebody acts, with the way to open it.
pub(super) fn keeps(flags: &Flags, route: &RouteStatus, now: Timestamp) -> Option<String> {
    if let Some(guarded) = by_guard(route) {
        return Some(guarded);
    }
    // The proxy may see a file that is not in sight here.
    let switch = route.source.as_deref().and_then(|source| source.strip_prefix(SWITCH));
    if let Some((file, mode)) = switch.zip(route.mode.as_deref().and_then(mode)).filter(|_| !route.is(Phase::Open)) {
        return Some(by_switch(&route.name, mode, file));
    }
    mode_of(flags, &route.name, now)?;
    let asked = Asked(vec![route.name.clone()]);
    let told = Facts { routes: vec![route.clone()], from: Origin::Proxy };
    causes(flags, &asked, &told, now).into_iter().next()
}

/// Returns the reason for each asked route that is not open, with the way to open it.
pub(super) fn unopened_reasons(flags: &Flags, asked: &Asked, status: &Status) -> Vec<String> {
    let now = Timestamp::now();
    let closed = status.routes.iter().filter(|route| asked.has(&route.name) && !route.is(Phase::Open));
    closed.map(|route| keeps(flags, route, now).unwrap_or_else(|| comes_back(route, now))).collect()
}

/// Describes a route that is coming back by itself, with the way to hurry that.
fn comes_back(route: &RouteStatus, now: Timestamp) -> String {
    let (name, phase, why) = (harmless(&route.name), harmless(&route.phase), harmless(&route.why));
    if route.is(Phase::Ramping) {
        let share = route.share.map(|share| format!(", {:.0}% are admitted", share * 100.0)).unwrap_or_default();
        let at = route.next.as_ref().and_then(|next| next.at);
        let at = at.map(|at| format!(", everybody at {}", words::instant(at, now))).unwrap_or_default();
        return format!("{name} is {phase}{share}{at}; backsoon off {name} --now admits everybody");
    }
    if route.is(Phase::Verifying) {
        return format!("{name} is {phase}: {why}; backsoon off {name} --force opens it without the checks");
    }
    format!("{name} is {phase}: {why}")
}

/// Describes a route that its guard has closed.
fn by_guard(route: &RouteStatus) -> Option<String> {
    let down = route.is(Phase::Closed) || route.is(Phase::Draining);
    let (name, breach) = (harmless(&route.name), route.breach.as_ref().filter(|_| down)?);
    Some(format!("{name} is closed by its guard: {}; backsoon off {name} --force opens it", harmless(&breach.what)))
}

/// Returns the strictest mode in which flags and windows close a route; `None` if they do not.
pub(super) fn mode_of(flags: &Flags, route: &str, now: Timestamp) -> Option<Mode> {
    let flagged = flags.routes.iter().filter(|flag| flag.acts(now));
    let flagged = flagged.filter(|flag| flag.route.is(route)).map(|flag| flag.mode);
    let windows = flags.windows.iter().filter(|window| window.in_force(now).is_some());
    let windows = windows.flat_map(|window| &window.routes).filter(|(target, _)| target.is(route));
    let switched = flags.switched.iter().filter(|switch| switch.route == route).map(|switch| switch.mode);
    flagged.chain(windows.map(|(_, mode)| *mode)).chain(switched).max()
}

fn is_flagged(flags: &Flags, route: &str, now: Timestamp) -> bool {
    mode_of(flags, route, now).is_some()
}

/// Returns a note for each route whose closure differs from a new flag: in a stricter mode, or with another end.
pub(super) fn differing(asked: &Asked, entry: &Entry, facts: &Facts, now: Timestamp) -> Vec<String> {
    facts.of(asked).filter_map(|route| differs(route, entry, now)).collect()
}

fn differs(route: &RouteStatus, entry: &Entry, now: Timestamp) -> Option<String> {
    // The guard stays, whatever is flagged.
    if let Some(guarded) = by_guard(route) {
        return Some(guarded);
    }
    let name = harmless(&route.name);
    let mode = route.mode.as_deref().and_then(mode)?;
    let source = route.source.as_deref().unwrap_or_default();
    let by = match (source.strip_prefix(WINDOW), source.strip_prefix(SWITCH)) {
        (Some(id), _) => format!("window `{}`", harmless(id)),
        (None, Some(file)) => format!("the switch {}", harmless(file)),
        (None, None) => "another flag".to_owned(),
    };
    let until = until(route.until, now);
    if mode > entry.mode {
        return Some(format!("{name} is {} all the same: {by} is stricter,{until}", words::being(mode)));
    }
    let being = words::being(mode);
    match (entry.until, route.until) {
        (Some(_), None) => Some(format!("{name} stays {being}{until}: {by} lasts longer")),
        (Some(asked), Some(real)) if real > asked => Some(format!("{name} stays {being}{until}: {by} lasts longer")),
        (None, Some(_)) => Some(format!("{name} is {being}{until}: a later edit gave it an end")),
        (Some(asked), Some(real)) if real < asked => {
            Some(format!("{name} is {being}{until}: a later edit gave it another end"))
        }
        (None, None) | (Some(_), Some(_)) => None,
    }
}

/// Formats the end of a closure: ` until 15:00 UTC (30 min)`, or ` until lifted`.
pub(super) fn until(until: Option<Timestamp>, now: Timestamp) -> String {
    until.map_or_else(
        || " until lifted".to_owned(),
        |until| format!(" until {} ({})", words::instant(until, now), words::span(now, until)),
    )
}

/// Parses a mode's word.
pub(super) fn mode(word: &str) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| mode.as_str() == word)
}

/// Formats names with their verb: `web is`, `web and api are`.
fn are(names: &[String]) -> String {
    format!("{} {}", words::list(names), if names.len() == 1 { "is" } else { "are" })
}

const EVERY: &str = "every route";
const FLAG: &str = "flag";
/// Prefix of a window's id in `source`.
const WINDOW: &str = "window ";
/// Prefix of a switch's file in `source`.
const SWITCH: &str = "switch ";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-19T14:30:00Z";

    fn flags(text: &str) -> Flags {
        crate::plan::flags::parse("maintenance.toml", text).0.unwrap().flags
    }

    fn facts(from: Origin, routes: &[RouteStatus]) -> Facts {
        Facts { routes: routes.to_vec(), from }
    }

    fn window(more: &str) -> String {
        format!("[[windows]]\nid = \"M-1\"\nroutes = {{ web = \"offline\" }}\n{more}\n")
    }

    #[test]
    fn what_still_flags_a_route_is_said_and_what_is_over_is_not() {
        let now = NOW.parse().unwrap();
        let nothing = facts(Origin::Files, &[]);
        let say = |text: &str, asked: &[&str]| {
            let asked = Asked(asked.iter().map(|&name| name.to_owned()).collect());
            causes(&flags(text), &asked, &nothing, now).join("\n")
        };
        let hour = |from: u8, more: &str| {
            window(&format!("starts = 2026-05-19T{from}:00:00Z\nends = 2026-05-19T{}:00:00Z\n{more}", from + 1))
        };
        let still = "web is still flagged by window `M-1` until 15:00 UTC; backsoon off --window M-1 ends it";
        for (text, expected) in [
            (hour(14, ""), still),
            (hour(16, ""), "window `M-1` will flag web from 16:00 UTC until 17:00 UTC"),
            (hour(13, ""), ""),
            (hour(14, "ended = 2026-05-19T14:10:00Z"), ""),
            (hour(14, "ended = 2026-05-19T15:00:00Z"), still),
            (
                hour(13, "on_overrun = \"stay\""),
                "web is still flagged by window `M-1`, which is overrunning; backsoon off --window M-1 ends it",
            ),
            (
                window("every = \"Wed 02:00-03:00 UTC\""),
                "window `M-1` will flag web from 2026-05-20 02:00 UTC until 2026-05-20 03:00 UTC",
            ),
            ("[routes]\n\"*\" = \"hold\"\n".to_owned(), "web is still flagged by \"*\"; backsoon off '*' lifts that"),
            ("[routes]\nweb = \"hold\"\n".to_owned(), "web stays on hold: flag; backsoon off web lifts it"),
            ("[routes]\nweb = { mode = \"hold\", until = 2026-05-19T14:00:00Z }\n".to_owned(), ""),
        ] {
            assert_eq!(say(&text, &["web"]), expected, "{text}");
        }
        assert_eq!(
            say("[routes]\n\"*\" = \"hold\"\n", &["web", "api"]).split(" still").next(),
            Some("web and api are")
        );
        assert_eq!(say("[routes]\n\"*\" = \"hold\"\n", &["*"]).split(" still").next(), Some("every route is"));
        assert_eq!(say(&hour(14, ""), &["api"]), "");
    }

    #[test]
    fn the_proxys_word_comes_before_the_file() {
        let now = NOW.parse().unwrap();
        let asked = Asked(vec!["web".to_owned()]);
        let open = RouteStatus { name: "web".to_owned(), phase: "open".to_owned(), ..RouteStatus::default() };
        let flags = flags("[routes]\nweb = \"hold\"\n");
        assert_eq!(causes(&flags, &asked, &facts(Origin::Proxy, std::slice::from_ref(&open)), now), [""; 0]);
        let replica = RouteStatus { phase: "closed".to_owned(), ..open.clone() };
        assert_eq!(causes(&flags, &asked, &facts(Origin::Proxy, &[open.clone(), replica]), now).len(), 1);
        let breach = Some(BreachStatus { at: None, what: "80 of 81 requests failed".to_owned() });
        let closed = RouteStatus { phase: "closed".to_owned(), breach, ..open.clone() };
        for from in [Origin::Proxy, Origin::Files] {
            assert_eq!(
                unopened(&Flags::default(), &asked, &facts(from, std::slice::from_ref(&closed)), now),
                ["web is closed by its guard: 80 of 81 requests failed; backsoon off web --force opens it"]
            );
        }
        let verifying =
            RouteStatus { phase: "verifying".to_owned(), why: "0 of 1 checks have passed".to_owned(), ..open };
        let failing =
            RouteStatus { why: "a check fails".to_owned(), failing: Some(String::new()), ..verifying.clone() };
        for (route, says) in [
            (verifying, "web is verifying: 0 of 1 checks have passed"),
            (failing, "web is verifying: a check fails; backsoon off web --force opens it without the checks"),
        ] {
            assert_eq!(unopened(&Flags::default(), &asked, &facts(Origin::Proxy, &[route]), now), [says]);
        }
    }

    #[test]
    fn a_closure_that_differs_from_the_flag_is_said() {
        let now: Timestamp = NOW.parse().unwrap();
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let asked = Asked(vec!["*".to_owned()]);
        let (three, four) = (at("2026-05-19T15:00:00Z"), at("2026-05-19T16:00:00Z"));
        let say = |mode: &str, until, flag: Mode, end| {
            let route = RouteStatus {
                name: "web".to_owned(),
                phase: "closed".to_owned(),
                mode: Some(mode.to_owned()),
                until,
                source: Some("window M-1".to_owned()),
                ..RouteStatus::default()
            };
            let entry = Entry { until: end, ..Entry::of(flag) };
            differing(&asked, &entry, &facts(Origin::Proxy, &[route]), now).join("\n")
        };
        assert_eq!(say("offline", three, Mode::Offline, three), "");
        assert_eq!(say("offline", None, Mode::Offline, None), "");
        assert_eq!(
            say("offline", four, Mode::Offline, three),
            "web stays offline until 16:00 UTC (1 h 30 min): window `M-1` lasts longer"
        );
        assert_eq!(say("hold", None, Mode::Hold, three), "web stays on hold until lifted: window `M-1` lasts longer");
        assert_eq!(
            say("offline", None, Mode::Hold, three),
            "web is offline all the same: window `M-1` is stricter, until lifted"
        );
    }
}
