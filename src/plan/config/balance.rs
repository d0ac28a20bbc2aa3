//! Balance of a route's upstreams: their weights, who is a backup, and whether a client keeps to one. The parser of both.

use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text};
use super::Upstream;
use super::sticky::{self, Sticky, Written};

/// Balance of upstreams that are not all alike, or that clients keep to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Shares, in the order of the route's upstreams.
    pub shares: Vec<Share>,
    /// Rule by which a client keeps to an upstream.
    pub sticky: Option<Sticky>,
    /// Time in which the share of an upstream grows that comes back or is new.
    pub slow_start: Option<Duration>,
}

/// Share of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Requests that it gets, in proportion to the weights of the others.
    pub weight: u32,
    /// True if it is used only while no other upstream answers.
    pub backup: bool,
    /// Name of the upstream in the flag file, besides its address.
    pub name: Option<String>,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: 1, backup: false, name: None }
    }
}

/// Upstream with its share, as the config has it.
pub(super) struct Entry {
    pub(super) upstream: Upstream,
    pub(super) share: Share,
    pub(super) span: Range<usize>,
}

/// Reads `"http://127.0.0.1:3000"`, or `{ url = "…", weight = 3 }`. `url` reads the address.
pub(super) fn entry(
    value: Value<'_>,
    report: &mut Report<'_>,
    url: impl Fn(&Value<'_>, &mut Report<'_>) -> Option<Upstream>,
) -> Option<Entry> {
    let DeValue::Table(table) = value.inner else {
        return Some(Entry { upstream: url(&value, report)?, share: Share::default(), span: value.span });
    };
    let mut section = Section::new(&keys::UPSTREAM, "an item of `upstream`", value.span.clone(), table);
    let address = section.need("url", "say which: `url = \"http://127.0.0.1:3000\"`");
    let upstream = address.and_then(|value| url(&value, report));
    let weight = section.take("weight").and_then(|value| value.count(1, MOST_WEIGHT, report));
    let backup = section.take("backup").and_then(|value| value.boolean(report)).unwrap_or(false);
    let name = section.take("name").and_then(|value| name(&value, report));
    section.finish(report, |key, _| {
        matches!(key, "address" | "to" | "server" | "upstream" | "host").then(|| did_you_mean_text("url"))
    });
    let weight = weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
    Some(Entry { upstream: upstream?, share: Share { weight, backup, name }, span: value.span })
}

fn name(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = value.words(LONGEST_NAME, Lines::One, report)?;
    if name == "*" || name.chars().any(char::is_whitespace) {
        let help = "a name is one word, such as `app-1`";
        report.wrong(value.span.clone(), format!("{} cannot be the name of an upstream", quoted(&name)), help);
        return None;
    }
    Some(name)
}

/// Reports entries that repeat an upstream or a name, and warns of a list of backups alone. Returns the others.
pub(super) fn distinct(entries: Vec<Entry>, report: &mut Report<'_>) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        if kept.iter().any(|other| other.upstream == entry.upstream) {
            report.wrong(entry.span, "this upstream is listed twice", "remove one of them");
        } else if entry.share.name.is_some() && kept.iter().any(|other| other.share.name == entry.share.name) {
            report.wrong(entry.span, "two upstreams of this route have one name", "give each its own");
        } else {
            kept.push(entry);
        }
    }
    if let Some(first) = kept.first().filter(|_| kept.iter().all(|entry| entry.share.backup)) {
        let help = "leave `backup` out of those that are used first";
        report.warn(first.span.clone(), "every upstream of this route is a backup", help);
    }
    kept
}

/// Returns the balance of these shares; `None` if all are alike at all times, and no client keeps to one.
pub(super) fn balance(
    upstreams: &[Upstream],
    shares: Vec<Share>,
    sticky: Option<Written>,
    slow_start: Option<Duration>,
) -> Option<Balance> {
    let alike = shares.iter().all(|share| *share == Share::default());
    // With one upstream there is nothing to choose.
    let sticky = sticky.filter(|_| upstreams.len() > 1).map(|written| sticky::rule(written, upstreams, &shares));
    let slow_start = slow_start.filter(|_| upstreams.len() > 1);
    let is_plain = alike && sticky.is_none() && slow_start.is_none();
    (!is_plain).then_some(Balance { shares, sticky, slow_start })
}

const MOST_WEIGHT: u64 = 1000;
const LONGEST_NAME: usize = 64;
