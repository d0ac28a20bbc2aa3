//! Parser of the flag file: the top level and the flags. Windows have their own file.

#![expect(clippy::wildcard_enum_match_arm, reason = "every TOML type but the one that is read is wrong alike")]

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use jiff::Timestamp;
use toml::de::{DeTable, DeValue};

use super::super::config::{MOST_ROUTES, route_name};
use super::super::keys;
use super::super::mode::MODES;
use super::super::problem::{Place, Problem, quoted};
use super::super::read::{Lines, Report, Section, Value, document, in_order, no_hint};
use super::super::text::text;
use super::links::Link;
use super::past;
use super::stale::Ends;
use super::upstreams::upstreams;
use super::window::{self, window};
use super::{Flag, Flags, Lift, Mention, Mode, Pace, Parsed, Past, Target, Window};

/// Places of entries, each with its index.
type Places = Vec<(usize, Place)>;

/// Parses a flag file.
pub(super) fn flags(file: &str, text: &str, now: Timestamp) -> (Option<Parsed>, Vec<Problem>) {
    let mut report = Report::new(file, text);
    let Some(table) = document(text, &mut report) else {
        let (_, problems) = report.finish(());
        return (None, problems);
    };
    let mut mentions = Mentions { file, seen: HashSet::new(), all: Vec::new() };
    let mut top = Section::new(&keys::FLAGS, "the flag file", 0..0, &table);
    let (routes, flag_ends) =
        top.take("routes").map(|value| route_flags(&value, &mut mentions, &mut report)).unwrap_or_default();
    let windows = top.take("windows").map(|value| windows(&value, now, &mut mentions, &mut report)).unwrap_or_default();
    let mut flags = Flags {
        routes,
        windows: windows.list,
        past: windows.past,
        forced: instants(&mut top, "forced", &mut mentions, &mut report),
        lifted: lifted(&mut top, &mut mentions, &mut report),
        revoked: instants(&mut top, "revoked", &mut mentions, &mut report),
        links: links(&mut top, &mut mentions, &mut report),
        upstreams: Vec::new(),
        switched: Vec::new(),
    };
    let upstream_places;
    (flags.upstreams, upstream_places) = upstreams(&mut top, &mut report);
    top.finish(&mut report, misplaced);
    let ends = Ends { flags: flag_ends, windows: windows.ends, past: windows.past_ends };
    report.finish(Parsed { flags, mentions: mentions.all, ends, upstream_places })
}

/// Collector of the routes that a file names, each once.
pub(super) struct Mentions<'t> {
    file: &'t str,
    seen: HashSet<String>,
    all: Vec<Mention>,
}

impl Mentions<'_> {
    /// Notes a route, up to a limit.
    pub(super) fn note(&mut self, route: &str, span: Range<usize>, report: &Report<'_>) {
        if self.all.len() < MOST_MENTIONS && self.seen.insert(route.to_owned()) {
            let place = report.place(span);
            self.all.push(Mention { route: route.to_owned(), file: self.file.to_owned(), place });
        }
    }

    /// Reads a key that is a route or `"*"`, and notes it.
    pub(super) fn target(&mut self, value: &Value<'_>, report: &mut Report<'_>) -> Option<Target> {
        if value.key == "*" {
            return Some(Target::Every);
        }
        let name = route_name(value.key, &value.key_span, report)?;
        self.note(name, value.key_span.clone(), report);
        Some(Target::Route(name.to_owned()))
    }
}

/// Returns a correction for a route's name or a mode at the top level, which is a flag without its header.
fn misplaced(key: &str, value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(word) if MODES.iter().any(|(mode, _)| mode == word) => {
            Some("write it under a `[routes]` line".to_owned())
        }
        DeValue::Table(_) if !matches!(key, "window" | "route") => {
            Some(format!("if it is a route, write {}", quoted(&format!("[routes.{key}]"))))
        }
        _ => None,
    }
}

/// Reads `[routes]`.
fn route_flags(value: &Value<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> (Vec<Flag>, Places) {
    let Some(table) = value.table("[routes]", report) else { return (Vec::new(), Vec::new()) };
    report.at_most(MOST_ROUTES, table.len(), "flags", value.key_span.clone());
    let (mut flags, mut ends) = (Vec::new(), Vec::new());
    for (name, value) in in_order(table).into_iter().take(MOST_ROUTES) {
        let value = Value::new(name.get_ref(), name, value);
        let target = mentions.target(&value, report);
        let flag = route_flag(&value, report);
        if let (Some(route), Some(flag)) = (target, flag) {
            let until = value.inner.get("until").filter(|_| flag.until.is_some());
            ends.extend(until.map(|until| (flags.len(), report.place(until.span()))));
            flags.push(Flag { route, ..flag });
        }
    }
    (flags, ends)
}

/// Reads `[forced]` or `[revoked]`: an instant for each route.
fn instants(
    top: &mut Section<'_>,
    key: &'static str,
    mentions: &mut Mentions<'_>,
    report: &mut Report<'_>,
) -> Vec<(Target, Timestamp)> {
    let Some(value) = top.take(key) else { return Vec::new() };
    let Some(table) = value.table(&format!("[{key}]"), report) else { return Vec::new() };
    report.at_most(MOST_ROUTES, table.len(), "routes", value.key_span.clone());
    let mut instants = Vec::new();
    for (name, value) in in_order(table).into_iter().take(MOST_ROUTES) {
        let value = Value::new(name.get_ref(), name, value);
        let target = mentions.target(&value, report);
        instants.extend(target.zip(value.instant(report)));
    }
    instants
}

/// Reads `[links]`.
fn links(top: &mut Section<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Vec<Link> {
    let Some(value) = top.take("links") else { return Vec::new() };
    let Some(table) = value.table("[links]", report) else { return Vec::new() };
    report.at_most(MOST_LINKS, table.len(), "links", value.key_span.clone());
    let values = in_order(table).into_iter().take(MOST_LINKS);
    values.filter_map(|(name, value)| link(&Value::new(name.get_ref(), name, value), mentions, report)).collect()
}

/// Reads `ann = { route = "web", issued = …, expires = … }`.
fn link(value: &Value<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Option<Link> {
    let name = route_name(value.key, &value.key_span, report).map(str::to_owned);
    let table = value.table(LINK_EXAMPLE, report)?;
    let mut section = Section::new(&keys::LINK, format!("the link {}", quoted(value.key)), value.span.clone(), table);
    let route = section.need("route", "name the route that it passes: `route = \"web\"`");
    let route = route.and_then(|value| route_of(&value, mentions, report));
    let mut instant = |key, help: &str| section.need(key, help).and_then(|value| value.instant(report));
    let issued = instant("issued", "`backsoon bypass ROUTE --name NAME` writes it");
    let expires = instant("expires", "`backsoon bypass ROUTE --name NAME` writes it");
    section.finish(report, no_hint);
    Some(Link { name: name?, route: route?, issued: issued?, expires: expires? })
}

fn route_of(value: &Value<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("web", report)?;
    let name = route_name(text, &value.span, report)?;
    mentions.note(name, value.span.clone(), report);
    Some(name.to_owned())
}

/// Reads `[lifted]`: an instant for each route, or a table that tells how the clients come back.
fn lifted(top: &mut Section<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Vec<(Target, Lift)> {
    let Some(value) = top.take("lifted") else { return Vec::new() };
    let Some(table) = value.table("[lifted]", report) else { return Vec::new() };
    report.at_most(MOST_ROUTES, table.len(), "routes", value.key_span.clone());
    let mut lifts = Vec::new();
    for (name, value) in in_order(table).into_iter().take(MOST_ROUTES) {
        let value = Value::new(name.get_ref(), name, value);
        let target = mentions.target(&value, report);
        lifts.extend(target.zip(lift(&value, report)));
    }
    lifts
}

/// Reads an instant, or `{ at = INSTANT, ramp = false }`.
fn lift(value: &Value<'_>, report: &mut Report<'_>) -> Option<Lift> {
    let DeValue::Table(table) = value.inner else {
        return value.instant(report).map(|at| Lift { at, pace: Pace::Ramp });
    };
    let name = format!("the lifting of {}", quoted(value.key));
    let mut section = Section::new(&keys::LIFT, name, value.span.clone(), table);
    let at = section.need("at", "say when it was lifted: `at = 2026-05-19T14:40:00Z`");
    let at = at.and_then(|value| value.instant(report));
    let ramps = section.take("ramp").and_then(|value| value.boolean(report)).unwrap_or(true);
    section.finish(report, no_hint);
    Some(Lift { at: at?, pace: if ramps { Pace::Ramp } else { Pace::AtOnce } })
}

/// Reads `web = "offline"`, or a table with words and an end. The caller fills in the target.
fn route_flag(value: &Value<'_>, report: &mut Report<'_>) -> Option<Flag> {
    let mut flag = Flag::new(Target::Every, Mode::Offline);
    let DeValue::Table(table) = value.inner else {
        flag.mode = mode(value, report)?;
        return Some(flag);
    };
    let mut section =
        Section::new(&keys::FLAG, format!("the flag for {}", quoted(value.key)), value.span.clone(), table);
    if let Some(value) = section.take("mode") {
        flag.mode = mode(&value, report)?;
    }
    flag.until = section.take("until").and_then(|value| value.instant(report));
    flag.message = section.take("message").and_then(|value| text(&value, window::LONGEST_MESSAGE, Lines::Many, report));
    flag.held_by = section.take("held_by").and_then(|value| value.words(LONGEST_HOLDER, Lines::One, report));
    flag.on_overrun =
        section.take("on_overrun").and_then(|value| value.choice(&window::ON_OVERRUN, report)).unwrap_or_default();
    section.finish(report, |key, inner| split_name(value.key, key, inner));
    Some(flag)
}

/// Returns a correction for a name with a dot, which reads as two names unless it is quoted.
fn split_name(name: &str, key: &str, value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(word) if MODES.iter().any(|(mode, _)| mode == word) => {
            let whole = format!("\"{name}.{key}\" = \"{word}\"");
            Some(format!("a name with a dot is quoted: {}", quoted(&whole)))
        }
        DeValue::Table(_) => Some(format!("a name with a dot is quoted: {}", quoted(&format!("\"{name}.{key}\"")))),
        _ => match key {
            "ends" | "end" | "to" => Some("did you mean `until`?".to_owned()),
            "for" => Some("write when it ends: `until = 2026-05-19T15:00:00Z`".to_owned()),
            _ => None,
        },
    }
}

/// Reads a mode. Words that elsewhere mean on or off get a correction of their own.
pub(super) fn mode(value: &Value<'_>, report: &mut Report<'_>) -> Option<Mode> {
    let word = match value.inner {
        DeValue::Boolean(true) => "on",
        DeValue::Boolean(false) => "off",
        DeValue::String(word) => word,
        _ => {
            value.mistyped("a mode", MODE_HELP, report);
            return None;
        }
    };
    let help = match word.to_ascii_lowercase().as_str() {
        "off" | "open" | "online" | "false" | "none" | "up" => "to lift a flag, remove its line or put a `#` before it",
        "on" | "true" | "maintenance" | "down" | "closed" | "close" => {
            "write what to do: `\"offline\"`, `\"read-only\"` or `\"hold\"`"
        }
        "readonly" | "read_only" | "ro" => "did you mean `read-only`?",
        _ => return choose(value, report),
    };
    let shown = if value.inner.is_bool() { format!("`{}`", word == "on") } else { quoted(word) };
    report.wrong(value.span.clone(), format!("unknown mode {shown}"), help);
    None
}

fn choose(value: &Value<'_>, report: &mut Report<'_>) -> Option<Mode> {
    value.named("mode").choice(&MODES, report)
}

/// Windows of a file, with the places of their ends.
#[derive(Default)]
struct Windows {
    list: Vec<Window>,
    ends: Places,
    past: Past,
    past_ends: Places,
}

impl Windows {
    /// Adds a window to those that it belongs to.
    fn add(&mut self, window: Window, end: Option<Place>, since: Timestamp) {
        if window.is_over(since) {
            self.past_ends.extend(end.map(|end| (self.past.windows.len(), end)));
            self.past.windows.push((self.list.len(), window));
            self.past.since = Some(since);
        } else {
            self.ends.extend(end.map(|end| (self.list.len(), end)));
            self.list.push(window);
        }
    }

    /// Reports windows that are too many, without those that are over.
    fn limit(&self, now: Timestamp, span: &Range<usize>, report: &mut Report<'_>) {
        let ahead: Vec<&Window> = self.list.iter().filter(|window| !window.is_over(now)).collect();
        let recurring = ahead.iter().filter(|window| window.recurs()).count();
        for (most, count, what) in
            [(MOST_WINDOWS, ahead.len(), "windows"), (MOST_RECURRING, recurring, "recurring windows")]
        {
            if count > most {
                let message = format!("too many {what}: {count} that are not over, and at most {most} are allowed");
                report.wrong(span.clone(), message, "remove some; those that are over do not count");
            }
        }
    }
}

/// Reads `[[windows]]`.
fn windows(value: &Value<'_>, now: Timestamp, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Windows {
    let tables = value.tables("windows", report);
    report.at_most(MOST_WRITTEN, tables.len(), "windows", value.key_span.clone());
    let (mut windows, since) = (Windows::default(), past::begin(now));
    let tables: Vec<_> = tables.into_iter().take(MOST_WRITTEN).collect();
    for (span, table) in tables.iter().cloned() {
        if let Some(window) = window(span, table, mentions, report) {
            let end = ["ended", "ends", "every"].into_iter().find_map(|key| table.get(key));
            windows.add(window, end.map(|end| report.place(end.span())), since);
        }
    }
    windows.limit(now, &value.key_span, report);
    let mut ids: HashMap<String, Range<usize>> = HashMap::new();
    tables.iter().for_each(|(_, table)| unique_id(table, &mut ids, report));
    windows
}

/// Reports an id that another window has.
fn unique_id(table: &DeTable<'_>, ids: &mut HashMap<String, Range<usize>>, report: &mut Report<'_>) {
    let Some(value) = table.get("id") else { return };
    let DeValue::String(id) = value.get_ref() else { return };
    match ids.get(id.as_ref()) {
        Some(first) => {
            let help = format!("the first is at {}: every window has an id of its own", report.line(first.clone()));
            report.wrong(value.span(), format!("two windows have the id {}", quoted(id)), help);
        }
        None => {
            ids.insert(id.to_string(), value.span());
        }
    }
}

/// Bytes of a holder: a user, a host and the address of a job.
const LONGEST_HOLDER: usize = 1024;
/// Links of one file.
const MOST_LINKS: usize = 1024;
const LINK_EXAMPLE: &str = "ann = { route = \"web\", issued = 2026-05-19T14:00:00Z, expires = 2026-05-19T15:00:00Z }";
/// Windows of one file that are not over.
const MOST_WINDOWS: usize = 2048;
/// Windows of one file, with those that are over. They may stay for years.
const MOST_WRITTEN: usize = 65_536;
/// Recurring windows of one file that are not over. Each costs a look at the calendar.
const MOST_RECURRING: usize = 256;
/// Routes whose place is kept for "this proxy has no route".
const MOST_MENTIONS: usize = 4096;

const MODE_HELP: &str = "write `\"offline\"`, `\"read-only\"` or `\"hold\"`";
