//! Parser of one `[[windows]]`, with its services and steps.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::super::config::{MOST_ROUTES, route_name};
use super::super::instant;
use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text, in_order, list, no_hint};
use super::super::text::{Text, text};
use super::super::units::LARGEST;
use super::parse::{Mentions, mode};
use super::{
    Auto, Every, Exception, Impact, Mode, OnOverrun, Opens, Progress, Service, ServiceStatus, Step, StepState, Target,
    When, Window,
};

/// Reads a window. Returns `None` if a required part is wrong or absent.
pub(super) fn window(
    span: Range<usize>,
    table: &DeTable<'_>,
    mentions: &mut Mentions<'_>,
    report: &mut Report<'_>,
) -> Option<Window> {
    let mut section = Section::new(&keys::WINDOW, window_name(table), span, table);
    let id = section.need("id", "give it one: `id = \"MNT-2026-0519-a\"`").and_then(|value| id(&value, report));
    let span = Span::read(&mut section, report);
    let opens;
    let mut window = Window {
        id: id.unwrap_or_default(),
        title: line(&mut section, "title", report),
        summary: line(&mut section, "summary", report),
        message: section.take("message").and_then(|value| text(&value, LONGEST_MESSAGE, Lines::Many, report)),
        label: line(&mut section, "label", report),
        when: When::Once { starts: Timestamp::UNIX_EPOCH, ends: Timestamp::UNIX_EPOCH },
        started: None,
        ended: section.take("ended").and_then(|value| value.instant(report)),
        announce: section.take("announce").and_then(|value| announce(&value, report)),
        on_overrun: section.take("on_overrun").and_then(|value| value.choice(&ON_OVERRUN, report)).unwrap_or_default(),
        opens: {
            opens = section.take("opens");
            opens.as_ref().and_then(|value| value.choice(&OPENS, report)).unwrap_or_default()
        },
        regions: regions(&mut section, report),
        impact: section.take("impact").and_then(|value| impact(&value, report)),
        routes: routes(&mut section, mentions, report),
        services: services(&mut section, mentions, report),
        steps: steps(&mut section, report),
    };
    section.finish(report, hint);
    if let Some(value) = opens.filter(|_| window.opens == Opens::Steps) {
        window.opens = by_steps(&value, table, &window.steps, report);
    }
    let span = span?;
    if let When::Every(_) = span.when {
        undated(table, &window.steps, report);
    }
    (window.when, window.started) = (span.when, span.started);
    Some(window)
}

/// Judges `opens = "steps"`. The steps belong to one occurrence. Without a step that somebody can move, the time counts.
fn by_steps(value: &Value<'_>, table: &DeTable<'_>, steps: &[Step], report: &mut Report<'_>) -> Opens {
    if table.contains_key("every") {
        let help = "its steps belong to one occurrence: use `\"word\"`, or give it `starts` and `ends`";
        report.wrong(value.span.clone(), "`opens = \"steps\"` is not for a window that comes again", help);
    } else if steps.iter().all(|step| step.auto.is_some()) {
        let message = format!("`opens = \"steps\"` of {} is not used: no step is moved by hand", window_name(table));
        report.warn(value.span.clone(), message, "add a step without `auto`, or use `\"word\"`");
        return Opens::Time;
    }
    Opens::Steps
}

/// Returns the name of a window in messages.
fn window_name(table: &DeTable<'_>) -> String {
    match table.get("id").map(|id| id.get_ref()) {
        Some(DeValue::String(id)) => format!("window {}", quoted(id)),
        _ => "`[[windows]]`".to_owned(),
    }
}

fn hint(key: &str, _: &DeValue<'_>) -> Option<String> {
    let meant = match key {
        "from" | "begin" | "begins" | "since" => "starts",
        "to" | "until" | "till" => "ends",
        "name" => "title",
        "description" => "summary",
        "route" => "routes",
        "mode" => return Some("a window has a mode for each route: `routes = { web = \"offline\" }`".to_owned()),
        "components" | "component" => "services",
        "tasks" | "timeline" => "steps",
        "exdate" | "exceptions" | "exception" | "skip" | "skips" => "except",
        "rrule" | "repeat" | "repeats" | "recurring" | "schedule" => "every",
        _ => return None,
    };
    Some(did_you_mean_text(meant))
}

fn id(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    value.words(LONGEST_ID, Lines::One, report)
}

/// Plan of a window, read from its keys.
struct Span {
    when: When,
    started: Option<Timestamp>,
}

impl Span {
    fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Some(value) = section.take("every") {
            return Self::recurring(&value, section, report);
        }
        if let Some(value) = section.take("except") {
            let help = "remove it; a window that comes once is cancelled by removing the window";
            report.wrong(value.key_span, "`except` is for a window that comes again", help);
        }
        let starts =
            section.need("starts", &format!("say when it begins: `starts = 2026-05-19T14:00:00Z`; {OR_EVERY}"));
        let starts = starts.and_then(|value| value.instant(report));
        let written = section.need("ends", &format!("say when it ends: `ends = 2026-05-19T15:00:00Z`; {OR_EVERY}"));
        let ends = written.as_ref().and_then(|value| value.instant(report));
        let began = section.take("started");
        let started = began.as_ref().and_then(|value| value.instant(report));
        let (starts, ends, written) = (starts?, ends?, written?);
        if ends <= starts {
            let help =
                if ends == starts { "both are the same instant" } else { "`starts` is later: are they swapped?" };
            report.wrong(written.span, "`ends` is not after `starts`", help);
        } else if let (Some(value), Some(true)) = (began, started.map(|started| started >= ends)) {
            let help = "`started` is when it really began; leave it out until it has";
            report.wrong(value.span, "`started` is not before `ends`", help);
        }
        Some(Self { when: When::Once { starts, ends }, started })
    }

    /// Reads `every = "Sun 02:00-04:00 Europe/Berlin"`.
    fn recurring(value: &Value<'_>, section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Self> {
        let except = section.take("except");
        for key in ["starts", "ends", "started"] {
            if let Some(other) = section.take(key) {
                let help = format!("remove `{key}`, or remove `every` if it comes only once");
                report.wrong(other.key_span.clone(), format!("`{key}` is not for a window that comes again"), help);
            }
        }
        let text = value.string("Sun 02:00-04:00 Europe/Berlin", report)?;
        if text.len() > LONGEST_RULE {
            let help =
                format!("at most {LONGEST_RULE} bytes are allowed; days that are left out may stand in `except`");
            report.wrong(value.span.clone(), "`every` is too long", help);
            return None;
        }
        match Every::parse(text) {
            Ok(mut every) => {
                if let Some((message, help)) = every.caution() {
                    report.warn(value.span.clone(), message, help);
                }
                except.iter().for_each(|value| leave_out(&mut every, value, report));
                Some(Self { when: When::Every(Box::new(every)), started: None })
            }
            Err((message, help)) => {
                report.wrong(value.span.clone(), message, help);
                None
            }
        }
    }
}

/// Reads `except = [2026-12-27, 2027-01-03T01:00:00Z]`. An exception without an occurrence is most likely a mistake.
fn leave_out(every: &mut Every, value: &Value<'_>, report: &mut Report<'_>) {
    let items = value.any_number();
    report.at_most(MOST_EXCEPTIONS, items.len(), "exceptions", value.key_span.clone());
    for item in items.iter().take(MOST_EXCEPTIONS) {
        let Some(exception) = exception(item, report) else { continue };
        if every.leave_out(exception) {
            continue;
        }
        let (shown, from) = match exception {
            Exception::Day(day) => (format!("on {day}"), every.midnight(day)),
            Exception::Start(start) => (format!("at {start}"), Some(start)),
        };
        let near = from.map(|from| [every.before(from), every.after(from)]).unwrap_or_default();
        let near = near.iter().flatten().map(|(starts, _)| match exception {
            Exception::Day(_) => every.day_of(*starts).to_string(),
            Exception::Start(_) => starts.to_string(),
        });
        let near: Vec<String> = near.collect();
        let near: Vec<&str> = near.iter().map(String::as_str).collect();
        let help = match near.as_slice() {
            [] => "remove it".to_owned(),
            near => format!("the nearest to it are {}", list(near, "and")),
        };
        report.warn(item.span.clone(), format!("`except` leaves nothing out: no occurrence begins {shown}"), help);
    }
}

/// Reads a date, or an instant.
fn exception(item: &Value<'_>, report: &mut Report<'_>) -> Option<Exception> {
    let written = match item.inner {
        DeValue::String(text) => text.parse::<Datetime>().ok(),
        DeValue::Datetime(datetime) => Some(*datetime),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    let is_instant = matches!(item.inner, DeValue::String(text) if instant::parse(text).is_some());
    if written.is_none() && !is_instant {
        let help = format!("write the day on which it begins, `except = [{EXAMPLE_DAY}]`, or the instant of its start");
        item.mistyped("a day that exists, or a date and time", help, report);
        return None;
    }
    let day = written.filter(|written| written.time.is_none()).and_then(|written| written.date);
    match day.and_then(|day| day.to_string().parse().ok()) {
        Some(day) => Some(Exception::Day(day)),
        None => item.instant(report).map(Exception::Start),
    }
}

const EXAMPLE_DAY: &str = "2026-12-27";

/// Reads the time of the announcement before the start.
fn announce(value: &Value<'_>, report: &mut Report<'_>) -> Option<Duration> {
    value.duration(Duration::from_secs(1), LONGEST_ANNOUNCE, report)
}

/// Reads a text that is shown on one line.
fn line(section: &mut Section<'_>, key: &'static str, report: &mut Report<'_>) -> Option<Text> {
    section.take(key).and_then(|value| text(&value, LONGEST_LINE, Lines::One, report))
}

fn regions(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<String> {
    let Some(value) = section.take("regions") else { return Vec::new() };
    let items = value.any_number();
    report.at_most(MOST_REGIONS, items.len(), "regions", value.key_span.clone());
    items.iter().take(MOST_REGIONS).filter_map(|item| item.words(LONGEST_LINE, Lines::One, report)).collect()
}

fn impact(value: &Value<'_>, report: &mut Report<'_>) -> Option<Impact> {
    let table = value.table("impact = { level = \"low\", note = \"most data reachable\" }", report)?;
    let mut section = Section::new(&keys::IMPACT, "`impact`", value.span.clone(), table);
    let level = section.need("level", "say how much: `level = \"low\"`");
    let level = level.and_then(|value| text(&value, LONGEST_LINE, Lines::One, report));
    let note = line(&mut section, "note", report);
    section.finish(report, no_hint);
    Some(Impact { level: level?, note })
}

/// Reads `routes = { web = "offline" }`.
fn routes(section: &mut Section<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Vec<(Target, Mode)> {
    let Some(value) = section.take("routes") else {
        let message = format!("{} closes no route", section.name);
        report.warn(section.span.clone(), message, "add one: `routes = { web = \"offline\" }`");
        return Vec::new();
    };
    let Some(table) = value.table("routes = { web = \"offline\" }", report) else { return Vec::new() };
    if table.is_empty() {
        report.warn(
            value.span.clone(),
            format!("{} closes no route", section.name),
            "add one: `routes = { web = \"offline\" }`",
        );
    }
    report.at_most(MOST_ROUTES, table.len(), "routes", value.key_span.clone());
    let mut routes = Vec::new();
    for (name, value) in in_order(table).into_iter().take(MOST_ROUTES) {
        let value = Value::new(name.get_ref(), name, value);
        let target = mentions.target(&value, report);
        if let (Some(target), Some(mode)) = (target, mode(&value, report)) {
            routes.push((target, mode));
        }
    }
    routes
}

/// Reads `[[windows.services]]`.
fn services(section: &mut Section<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Vec<Service> {
    let Some(value) = section.take("services") else { return Vec::new() };
    let tables = value.tables("windows.services", report);
    report.at_most(MOST_SERVICES, tables.len(), "services", value.key_span.clone());
    tables
        .into_iter()
        .take(MOST_SERVICES)
        .filter_map(|(span, table)| {
            service(Section::new(&keys::SERVICE, "`[[windows.services]]`", span, table), mentions, report)
        })
        .collect()
}

fn service(mut section: Section<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Option<Service> {
    let name = section.need("name", "give it one: `name = \"Web application\"`");
    let name = name.and_then(|value| text(&value, LONGEST_LINE, Lines::One, report));
    let detail = line(&mut section, "detail", report);
    let route = section.take("route").and_then(|value| service_route(&value, mentions, report));
    let status = section.take("status").and_then(|value| value.choice(&STATUSES, report));
    let eta = section.take("eta").and_then(|value| value.instant(report));
    let regions = regions(&mut section, report);
    section.finish(report, |key, _| (key == "state").then(|| "did you mean `status`?".to_owned()));
    Some(Service { name: name?, detail, route, status: status.unwrap_or_default(), eta, regions })
}

fn service_route(value: &Value<'_>, mentions: &mut Mentions<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = value.string("web", report)?;
    if name == "*" {
        let help = "a service follows one route: write its name, or leave `route` out";
        report.wrong(value.span.clone(), "a service cannot follow every route", help);
        return None;
    }
    let name = route_name(name, &value.span, report)?;
    mentions.note(name, value.span.clone(), report);
    Some(name.to_owned())
}

/// Reads `[[windows.steps]]`.
fn steps(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<Step> {
    let Some(value) = section.take("steps") else { return Vec::new() };
    let tables = value.tables("windows.steps", report);
    report.at_most(MOST_STEPS, tables.len(), "steps", value.key_span.clone());
    tables
        .into_iter()
        .take(MOST_STEPS)
        .filter_map(|(span, table)| step(Section::new(&keys::STEP, "`[[windows.steps]]`", span, table), report))
        .collect()
}

/// Warns of steps of a recurring window whose state holds for every occurrence.
fn undated(table: &DeTable<'_>, steps: &[Step], report: &mut Report<'_>) {
    let Some(DeValue::Array(written)) = table.get("steps").map(|steps| steps.get_ref()) else { return };
    let is_undated = |step: &Step| step.at.is_none() && step.auto.is_none() && step.state != StepState::Pending;
    for (step, table) in steps.iter().zip(written).filter(|(step, _)| is_undated(step)) {
        let message = format!("step {} is {} in every occurrence", quoted(&step.title.plain), step.state.as_str());
        let help = "say when it was moved, `at = 2026-05-19T14:00:00Z`; `backsoon step` writes it";
        report.warn(table.span(), message, help);
    }
}

fn step(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Step> {
    let title = section.need("title", "give it one: `title = \"Database migrations\"`");
    let title = title.and_then(|value| text(&value, LONGEST_LINE, Lines::One, report));
    let detail = section.take("detail").and_then(|value| text(&value, LONGEST_MESSAGE, Lines::Many, report));
    let auto = section.take("auto").and_then(|value| value.choice(&AUTOS, report));
    let written = ["state", "progress"].map(|key| section.take(key));
    if let (Some(auto), Some(value)) = (auto, written.iter().flatten().next()) {
        let help = format!("remove it, or remove `auto = \"{}\"` and move the step by hand", auto.as_str());
        report.warn(
            value.key_span.clone(),
            format!("`{}` of a step that moves by itself is not used", value.key),
            help,
        );
    }
    let state = section.take("state").and_then(|value| value.choice(&STATES, report));
    let progress = section.take("progress").and_then(|value| progress(&value, report));
    let at = section.take("at").and_then(|value| value.instant(report));
    section.finish(report, |key, _| match key {
        "status" => Some("did you mean `state`?".to_owned()),
        "name" => Some("did you mean `title`?".to_owned()),
        _ => None,
    });
    Some(Step { title: title?, detail, auto, state: state.unwrap_or_default(), progress, at })
}

fn progress(value: &Value<'_>, report: &mut Report<'_>) -> Option<Progress> {
    let table = value.table(PROGRESS_EXAMPLE, report)?;
    let mut section = Section::new(&keys::PROGRESS, "`progress`", value.span.clone(), table);
    let help = format!("write it as `{PROGRESS_EXAMPLE}`");
    let written = section.need("done", &help);
    let done = written.as_ref().and_then(|value| value.count(0, LARGEST, report));
    let total = section.need("total", &help).and_then(|value| value.count(1, LARGEST, report));
    let unit = line(&mut section, "unit", report);
    section.finish(report, no_hint);
    let (done, total) = (done?, total?);
    if done > total {
        let message = format!("`done` is more than `total`: {done} of {total}");
        report.wrong(written?.span, message, "lower `done`, or raise `total`");
        return None;
    }
    Some(Progress { done, total, unit })
}

/// Bytes of a message, or of a step's detail: a few paragraphs.
pub(super) const LONGEST_MESSAGE: usize = 4096;
/// Bytes of a text that is shown on one line.
const LONGEST_LINE: usize = 256;
/// Bytes of a recurrence, with some EXDATEs.
const LONGEST_RULE: usize = 1024;
/// Bytes of a window's id, which becomes part of headers and file names.
const LONGEST_ID: usize = 64;
/// Longest announcement: a year.
const LONGEST_ANNOUNCE: Duration = Duration::from_secs(366 * 24 * 3600);
const MOST_REGIONS: usize = 64;
const MOST_EXCEPTIONS: usize = 256;
const MOST_SERVICES: usize = 256;
const MOST_STEPS: usize = 256;

const OR_EVERY: &str = "if it comes again, `every = \"Sun 02:00-04:00 Europe/Berlin\"` in place of both";
pub(super) const ON_OVERRUN: [(&str, OnOverrun); 2] = [("open", OnOverrun::Open), ("stay", OnOverrun::Stay)];
const OPENS: [(&str, Opens); 3] = [("time", Opens::Time), ("steps", Opens::Steps), ("word", Opens::Word)];
const AUTOS: [(&str, Auto); 4] = {
    use Auto::{Drain, Ramp, Verify, Watch};
    [(Drain.as_str(), Drain), (Verify.as_str(), Verify), (Ramp.as_str(), Ramp), (Watch.as_str(), Watch)]
};
const PROGRESS_EXAMPLE: &str = "progress = { done = 3, total = 7, unit = \"schema changes\" }";
const STATUSES: [(&str, ServiceStatus); 5] = {
    use ServiceStatus::{Degraded, Offline, Operational, Queued, Restarting};
    [
        (Operational.as_str(), Operational),
        (Degraded.as_str(), Degraded),
        (Restarting.as_str(), Restarting),
        (Queued.as_str(), Queued),
        (Offline.as_str(), Offline),
    ]
};
const STATES: [(&str, StepState); 4] = {
    use StepState::{Done, Failed, Pending, Running};
    [(Pending.as_str(), Pending), (Running.as_str(), Running), (Done.as_str(), Done), (Failed.as_str(), Failed)]
};
