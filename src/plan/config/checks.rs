//! Checks of a route's upstreams.

use std::time::Duration;

use toml::de::DeValue;

use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text};
use super::values;

/// Smoke test of the upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// Path and query to ask for.
    pub get: String,
    /// Status of a success.
    pub expect: u16,
    /// Longest time for the answer.
    pub within: Duration,
    /// Successes in a row that are needed.
    pub times: u32,
    /// Time between two attempts.
    pub every: Duration,
    /// Name of the place that checks, for the timeline.
    pub region: Option<String>,
}

/// Number of upstreams that must pass every check before the route opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of them.
    #[default]
    Most,
    /// All of them.
    All,
    /// This many, or all if there are fewer.
    AtLeast(usize),
}

impl Quorum {
    /// Returns the number for a route with this many upstreams: at least 1.
    pub fn of(self, upstreams: usize) -> usize {
        match self {
            Self::Most => upstreams / 2 + 1,
            Self::All => upstreams.max(1),
            Self::AtLeast(number) => number.min(upstreams).max(1),
        }
    }
}

/// Reads the `quorum` of a route with this many upstreams.
pub(super) fn quorum_of(section: &mut Section<'_>, upstreams: usize, report: &mut Report<'_>) -> Quorum {
    let Some(value) = section.take("quorum") else { return Quorum::default() };
    if !section.has("verify") {
        let help = "say what must pass: `verify = [{ get = \"/healthz\" }]`";
        report.wrong(value.key_span.clone(), "`quorum` needs `verify`", help);
    }
    quorum(&value, upstreams, report).unwrap_or_default()
}

/// Reads `"all"` or a number of upstreams.
fn quorum(value: &Value<'_>, upstreams: usize, report: &mut Report<'_>) -> Option<Quorum> {
    match value.inner {
        DeValue::String(text) if text == "all" => Some(Quorum::All),
        DeValue::Integer(_) => {
            let number = usize::try_from(value.count(1, MOST_UPSTREAMS, report)?).ok()?;
            if number > upstreams {
                let message = format!("`quorum` asks for {number} upstreams, and the route has {upstreams}");
                report.warn(value.span.clone(), message, "all of them must pass then: write `\"all\"`");
            }
            Some(Quorum::AtLeast(number))
        }
        _ => {
            value.mistyped(
                "`\"all\"` or a number",
                "write `quorum = \"all\"`, or how many upstreams must pass",
                report,
            );
            None
        }
    }
}

/// Reads the checks of a route.
pub(super) fn verify(value: &Value<'_>, report: &mut Report<'_>) -> Vec<Check> {
    let items = value.one_or_more(report);
    report.at_most(MOST_CHECKS, items.len(), "checks", value.key_span.clone());
    items.iter().take(MOST_CHECKS).filter_map(|item| check(item, report)).collect()
}

fn check(value: &Value<'_>, report: &mut Report<'_>) -> Option<Check> {
    let table = value.table("verify = [{ get = \"/healthz\", expect = 200 }]", report)?;
    let mut section = Section::new(&keys::CHECK, "`verify`", value.span.clone(), table);
    let get = section.need("get", "say which path is asked for: `get = \"/healthz\"`");
    let get = get.and_then(|value| probe_path(&value, report));
    let expect = section.take("expect").and_then(|value| value.count(100, 599, report));
    let within = section.take("within").and_then(|value| values::duration(&value, report));
    let times = section.take("times").and_then(|value| value.count(1, MOST_TIMES, report));
    let every = section.take("every").and_then(|value| values::duration(&value, report));
    let region = section.take("region").and_then(|value| value.words(LONGEST_REGION, Lines::One, report));
    section.finish(report, |key, _| matches!(key, "path" | "url").then(|| did_you_mean_text("get")));
    Some(Check {
        get: get?,
        expect: expect.and_then(|expect| u16::try_from(expect).ok()).unwrap_or(200),
        within: within.unwrap_or(DEFAULT_WITHIN),
        times: times.and_then(|times| u32::try_from(times).ok()).unwrap_or(1),
        every: every.unwrap_or(DEFAULT_EVERY),
        region,
    })
}

fn probe_path(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("/healthz", report)?;
    let is_target = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
    if !is_target || text.contains('#') {
        report.wrong(value.span.clone(), format!("{} is not a path", quoted(text)), "write one like `/healthz`");
        return None;
    }
    Some(text.to_owned())
}

const DEFAULT_WITHIN: Duration = Duration::from_secs(2);
const DEFAULT_EVERY: Duration = Duration::from_secs(5);
const MOST_TIMES: u64 = 1000;
const MOST_CHECKS: usize = 32;
const MOST_UPSTREAMS: u64 = 64;
const LONGEST_REGION: usize = 64;
