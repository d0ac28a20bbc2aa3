//! The keys of a route's coming and going that are part of the contract but that nothing acts on yet. Their shape is
//! checked, so that a config written today is still valid on the day they do.

use std::time::Duration;

use toml::de::DeValue;

use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, no_hint};
use super::{address, parse};

/// Checks the keys of a route that take effect in a later version, and warns of each that is used.
pub(super) fn check(section: &mut Section<'_>, report: &mut Report<'_>) {
    for (key, read, today) in KEYS {
        let Some(value) = section.take(key) else { continue };
        report.warn(value.key_span.clone(), format!("`{key}` has no effect yet"), today);
        read(&value, report);
    }
}

/// Whether a key is probably one of these.
pub(super) fn is_near(key: &str) -> bool {
    did_you_mean(key, KEYS.iter().map(|(key, ..)| *key)).is_some()
}

/// Checks a key's value.
type Check = fn(&Value<'_>, &mut Report<'_>);

fn ramp(value: &Value<'_>, report: &mut Report<'_>) {
    parse::duration(value, report);
}

fn hold(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(table) = value.table("hold = { max_wait = \"30s\", max_held = 1000, release = \"50/s\" }", report) else {
        return;
    };
    let mut section = Section::new("`hold`", value.span.clone(), table);
    section.check("max_wait", report, parse::duration);
    section.check("max_held", report, |value, report| value.count(1, MOST_HELD, report));
    section.check("release", report, rate);
    section.finish(report, no_hint);
}

/// `50/s`.
fn rate(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(text) = value.string("50/s", report) else { return };
    let number = text.strip_suffix("/s").and_then(|number| number.parse::<u32>().ok());
    if number.is_none_or(|number| number == 0) {
        report.wrong(value.span.clone(), format!("{} is not a rate", quoted(text)), "rates are written like `50/s`");
    }
}

fn verify(value: &Value<'_>, report: &mut Report<'_>) {
    for item in value.one_or_more(report) {
        let Some(table) = item.table("verify = [{ get = \"/healthz\", expect = 200 }]", report) else { continue };
        let mut section = Section::new("`verify`", item.span.clone(), table);
        let get = section.need("get", "say which path is asked for: `get = \"/healthz\"`");
        if let Some(value) = get {
            probe_path(&value, report);
        }
        section.check("expect", report, |value, report| value.count(100, 599, report));
        section.check("within", report, parse::duration);
        section.check("times", report, |value, report| value.count(1, MOST_TIMES, report));
        section.check("every", report, parse::duration);
        section.finish(report, no_hint);
    }
}

fn probe_path(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(text) = value.string("/healthz", report) else { return };
    if !text.starts_with('/') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        report.wrong(value.span.clone(), format!("{} is not a path", quoted(text)), "write one like `/healthz`");
    }
}

fn guard(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(table) = value.table("guard = { error_rate = \"baseline + 1%\", watch = \"10m\" }", report) else {
        return;
    };
    let mut section = Section::new("`guard`", value.span.clone(), table);
    section.check("error_rate", report, error_rate);
    section.check("p99", report, |value, report| value.duration(Duration::from_millis(1), LONGEST_P99, report));
    section.check("watch", report, parse::duration);
    section.check("on_breach", report, |value, report| value.choice(&[("close", ())], report));
    section.finish(report, no_hint);
}

/// `1%`, `baseline + 1%`.
fn error_rate(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(text) = value.string("baseline + 1%", report) else { return };
    let bare = text.trim();
    let share = bare.strip_prefix("baseline").map_or(Some(bare), |rest| rest.trim_start().strip_prefix('+'));
    let percent =
        share.and_then(|share| share.trim().strip_suffix('%')).and_then(|share| share.trim().parse::<f64>().ok());
    if !percent.is_some_and(|percent| percent > 0.0 && percent <= 100.0) {
        let help = "write it as `1%` or `baseline + 1%`";
        report.wrong(value.span.clone(), format!("{} is not a rate of errors", quoted(text)), help);
    }
}

fn bypass(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(table) = value.table("bypass = { networks = [\"192.0.2.0/24\"] }", report) else { return };
    let mut section = Section::new("`bypass`", value.span.clone(), table);
    for item in section.take("networks").map(|value| value.any_number()).unwrap_or_default() {
        if let Some(text) = item.string("192.0.2.0/24", report) {
            address::network(&item, text, report);
        }
    }
    let header = section.take("header");
    let secret = section.take("secret_file");
    if let (Some(value), None) = (&header, &secret) {
        let help = "name the file with the secret: `secret_file = \"key\"`";
        report.wrong(value.key_span.clone(), "`header` needs `secret_file`", help);
    }
    if let (None, Some(value)) = (&header, &secret) {
        let help = "name the field that carries the secret: `header = \"X-Maintenance-Key\"`";
        report.wrong(value.key_span.clone(), "`secret_file` needs `header`", help);
    }
    if let Some(value) = header {
        field_name(&value, report);
    }
    if let Some(value) = secret {
        value.path("key", report);
    }
    section.finish(report, |key, inner| match (key, inner) {
        ("secret" | "key", DeValue::String(_)) => Some(
            "a secret does not belong in the config: write it in a file and name that with `secret_file`".to_owned(),
        ),
        _ => None,
    });
}

fn field_name(value: &Value<'_>, report: &mut Report<'_>) {
    let Some(text) = value.string("X-Maintenance-Key", report) else { return };
    if http::HeaderName::from_bytes(text.as_bytes()).is_err() {
        let help = "write one like `X-Maintenance-Key`";
        report.wrong(value.span.clone(), format!("{} is not the name of a header field", quoted(text)), help);
    }
}

/// Key, check, and what happens today in its stead.
const KEYS: [(&str, Check, &str); 5] = [
    ("ramp", ramp, "this version lets every client back in at once; the value is checked and otherwise ignored"),
    ("hold", hold, "the value is checked and otherwise ignored by this version"),
    (
        "verify",
        verify,
        "this version opens a route without asking its upstreams; the value is checked and otherwise ignored",
    ),
    ("guard", guard, "this version does not watch a route that comes back; the value is checked and otherwise ignored"),
    ("bypass", bypass, "this version lets nobody through a closed route; the value is checked and otherwise ignored"),
];

const MOST_HELD: u64 = 1_000_000;
const MOST_TIMES: u64 = 1000;
const LONGEST_P99: Duration = Duration::from_secs(600);
