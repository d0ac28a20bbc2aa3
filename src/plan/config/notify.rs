//! `[[notify]]`: places at which operators are told, and what they are told of.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::super::keys;
use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, did_you_mean_text, list};
use super::RouteConfig;
use super::destination::Destination;
use super::kind::EventKind;
use super::page;

/// One `[[notify]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Place that is told.
    pub to: To,
    /// Events that it is told of; at least one.
    pub on: BTreeSet<EventKind>,
    /// Routes that it is told of; empty means all. Events of the whole proxy are told in any case.
    pub routes: BTreeSet<String>,
    /// Language of the operator's own words, such as the title of a window.
    pub language: Option<String>,
    /// Time that an attempt may take.
    pub timeout: Duration,
    /// Attempts after the first one fails; `None` for the usual number of the kind.
    pub retries: Option<u32>,
}

/// Place that is told, as the config names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Written in the config.
    Written(Destination),
    /// Written in a file, because it is a secret.
    File(PathBuf),
}

/// Presence of `[mail]`, good or bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MailTable {
    /// The config has one.
    Written,
    /// The config has none.
    Missing,
}

impl To {
    /// Returns the file that has the destination.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Written(_) => None,
            Self::File(file) => Some(file),
        }
    }
}

/// Reads all `[[notify]]`.
pub(super) fn notify(
    top: &mut Section<'_>,
    known: &[Arc<RouteConfig>],
    mail: MailTable,
    report: &mut Report<'_>,
) -> Vec<Notify> {
    let Some(value) = top.take("notify") else { return Vec::new() };
    let tables = value.tables("notify", report);
    report.at_most(MOST_NOTIFY, tables.len(), "places to notify", value.key_span.clone());
    tables.into_iter().take(MOST_NOTIFY).filter_map(|(span, table)| one(span, table, known, mail, report)).collect()
}

fn one(
    span: Range<usize>,
    table: &DeTable<'_>,
    known: &[Arc<RouteConfig>],
    mail: MailTable,
    report: &mut Report<'_>,
) -> Option<Notify> {
    let mut section = Section::new(&keys::NOTIFY, "`[[notify]]`", span.clone(), table);
    let to = section.take("to");
    let to_span = to.as_ref().map(|value| value.span.clone());
    let to_file = section.take("to_file");
    let on = section.take("on").map(|value| events(&value, report));
    let routes = section.take("routes").map(|value| routes(&value, known, report)).unwrap_or_default();
    let language = section.take("language").and_then(|value| page::language(&value, report));
    let timeout = section.take("timeout").and_then(|value| value.duration(LEAST_TIMEOUT, LONGEST_TIMEOUT, report));
    let retries = section.take("retries").and_then(|value| value.count(0, MOST_RETRIES, report));
    section.finish(report, |key, _| match key {
        "url" | "webhook" | "slack" | "exec" => Some(format!("write it in `to`: `{TO_EXAMPLE}`")),
        "events" => Some("did you mean `on`?".to_owned()),
        _ => None,
    });
    let to = place(to, to_file, span, report);
    if mail == MailTable::Missing
        && let (Some(To::Written(Destination::Mail(_))), Some(span)) = (&to, to_span)
    {
        report.wrong(span, "no mail can be sent: the config has no `[mail]`", MAIL_HELP);
    }
    Some(Notify {
        to: to?,
        on: on.unwrap_or_else(|| EventKind::BY_DEFAULT.into_iter().collect()),
        routes,
        language,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        retries: retries.and_then(|retries| u32::try_from(retries).ok()),
    })
}

/// Reads `to` or `to_file`.
fn place(to: Option<Value<'_>>, to_file: Option<Value<'_>>, span: Range<usize>, report: &mut Report<'_>) -> Option<To> {
    match (to, to_file) {
        (Some(_), Some(file)) => {
            report.wrong(file.key_span, "`to` and `to_file` name two places", "keep one of them");
            None
        }
        (None, None) => {
            let help = format!("name one: `{TO_EXAMPLE}`, or `to_file = \"/run/secrets/slack\"`");
            report.wrong(span, "this `[[notify]]` names no place to tell", help);
            None
        }
        (Some(value), None) => destination(&value, report).map(To::Written),
        (None, Some(value)) => value.path("/run/secrets/slack", report).map(To::File),
    }
}

fn destination(value: &Value<'_>, report: &mut Report<'_>) -> Option<Destination> {
    let text = value.string("slack:https://hooks.slack.com/services/…", report)?;
    match Destination::parse(text) {
        Ok(destination) => {
            if let Some(advice) = destination.advice() {
                report.warn(value.span.clone(), format!("{destination} is sent in clear text"), advice);
            }
            Some(destination)
        }
        // The text may hold a secret: it is not repeated.
        Err(wrong) => {
            report.wrong(value.span.clone(), wrong.what, wrong.help);
            None
        }
    }
}

/// Reads `on`.
fn events(value: &Value<'_>, report: &mut Report<'_>) -> BTreeSet<EventKind> {
    let items = value.one_or_more(report);
    report.at_most(MOST_EVENTS, items.len(), "events", value.key_span.clone());
    let words: Vec<(&str, EventKind)> = EventKind::ALL.into_iter().map(|kind| (kind.as_str(), kind)).collect();
    items.iter().take(MOST_EVENTS).filter_map(|item| item.choice(&words, report)).collect()
}

/// Reads `routes`. Each must be one of the config's.
fn routes(value: &Value<'_>, known: &[Arc<RouteConfig>], report: &mut Report<'_>) -> BTreeSet<String> {
    let items = value.one_or_more(report);
    report.at_most(MOST_ROUTES, items.len(), "routes", value.key_span.clone());
    let mut routes = BTreeSet::new();
    for item in items.iter().take(MOST_ROUTES) {
        let Some(name) = item.string("web", report) else { continue };
        if known.iter().any(|route| route.name == name) {
            routes.insert(name.to_owned());
            continue;
        }
        let names: Vec<&str> = known.iter().map(|route| route.name.as_str()).take(MOST_NAMES).collect();
        let near = did_you_mean(name, names.iter().copied());
        let help = near.map_or_else(|| format!("the routes here are {}", list(&names, "and")), did_you_mean_text);
        report.wrong(item.span.clone(), format!("there is no route {}", quoted(name)), help);
    }
    routes
}

/// Correction of a mailbox without a server. A file that names a mailbox has the same.
pub const MAIL_HELP: &str = "name your mail server: `[mail]`, and below it `server = \"smtp://mail.example.com:587\"` and \
                             `from = \"status@example.com\"`";

const TO_EXAMPLE: &str = "to = \"slack:https://hooks.slack.com/services/…\"";

/// Most `[[notify]]`.
const MOST_NOTIFY: usize = 64;
const MOST_EVENTS: usize = 64;
const MOST_ROUTES: usize = 256;
/// Names of routes that a problem shows.
const MOST_NAMES: usize = 50;
const MOST_RETRIES: u64 = 10;

const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
/// A program may take its time. It is a start that is told, not the whole migration.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
