//! Policy of a route: how it goes down and comes back, who may pass meanwhile, and what closes it again.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use toml::de::DeValue;

use super::super::keys;
use super::super::path::{PathPattern, normalize};
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, no_hint};
use super::checks::{self, Check, HealthCheck, Quorum};
use super::guard::{Guard, guard};
use super::read_only::{self, Allowed};
use super::values::percent;
use super::{address, values};

/// Policy of a route. By default requests in flight finish, and all clients come back at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Time that requests in flight may still take when the route closes or the process ends. `None` is the config's
    /// time.
    pub drain: Option<Duration>,
    /// Longest time that clients are told to wait; `None` if the end of the maintenance alone decides.
    pub retry_after_max: Option<Duration>,
    /// Handling of tunnels and event streams when the route closes.
    pub streams: Streams,
    /// Ramp by which clients come back.
    pub ramp: Option<Ramp>,
    /// Group of routes in whose ramps a client has the same place; `None` groups the routes of a window.
    pub ramp_group: Option<String>,
    /// Limits of held requests.
    pub hold: Hold,
    /// True if an open app may include a banner that tells of announced windows.
    pub announce_banner: bool,
    /// Checks that must succeed before the route opens.
    pub verify: Vec<Check>,
    /// Upstreams that must pass the checks.
    pub quorum: Quorum,
    /// Checks that are made while it is open.
    pub health: Vec<HealthCheck>,
    /// Guard that watches the returning route and may close it again.
    pub guard: Option<Guard>,
    /// Paths whose requests the guard leaves out.
    pub ignored: Vec<PathPattern>,
    /// Clients that may pass while it is closed.
    pub bypass: Option<Bypass>,
    /// Transports over which the cookies of the bypass and the ramp are kept.
    pub cookies: Cookies,
    /// Requests that pass while it is read-only, besides safe methods.
    pub read_only: Vec<Allowed>,
}

impl Policy {
    /// Returns true if upstreams are checked at any time.
    pub fn has_checks(&self) -> bool {
        !self.verify.is_empty() || !self.health.is_empty()
    }

    /// Returns true if the route may admit a share of the clients: by its ramp, or while a guard tries again.
    pub fn admits_shares(&self) -> bool {
        self.ramp.is_some() || self.guard.is_some_and(|guard| guard.retry_after.is_some())
    }

    /// Returns true if the guard leaves out requests of a path, as it came from a client. A path that is not in normal
    /// form is never left out: an upstream may take it for another.
    pub fn ignores(&self, path: &str) -> bool {
        if self.ignored.is_empty() {
            return false;
        }
        match normalize(path) {
            Ok(Cow::Borrowed(normal)) => self.ignored.iter().any(|ignored| ignored.covers(normal)),
            Ok(Cow::Owned(_)) | Err(_) => false,
        }
    }

    /// Returns true if the guard holds the ramp as long as a breach lasts.
    pub fn holds_ramp(&self) -> bool {
        self.guard.is_some_and(|guard| guard.on_breach == super::OnBreach::HoldRamp)
    }
}

/// Handling of WebSockets, other tunnels and event streams when a route closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// Close them properly, spread over the drain time.
    #[default]
    Drain,
    /// Close them properly, spread over this time.
    Grace(Duration),
    /// Leave them alone.
    Keep,
}

/// Growth of the share of admitted clients.
#[derive(Clone, Debug, PartialEq)]
pub enum Ramp {
    /// Even growth over this time.
    Linear(Duration),
    /// Growth in steps: each share, above 0 and at most 1, from its time after the beginning. The last one is 1.
    Steps(Vec<(Duration, f64)>),
}

impl Ramp {
    /// Returns the time until everybody is admitted.
    pub fn length(&self) -> Duration {
        match self {
            Self::Linear(length) => *length,
            Self::Steps(steps) => steps.last().map_or(Duration::ZERO, |(after, _)| *after),
        }
    }
}

/// Limits of the requests that wait for a route on hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hold {
    /// Longest wait; after it the page is the answer.
    pub max_wait: Duration,
    /// Most requests that wait, over all workers. The page answers the others at once.
    pub max_held: u64,
    /// Requests that are released in a second.
    pub release: f64,
}

impl Default for Hold {
    fn default() -> Self {
        Self { max_wait: Duration::from_secs(30), max_held: 1000, release: 50.0 }
    }
}

/// Clients that may pass a closed route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    /// Clients in these networks.
    pub networks: Vec<IpNet>,
    /// Field in which clients may send the secret.
    pub header: Option<HeaderName>,
    /// File of the secret, which also signs links and cookies.
    pub secret_file: Option<PathBuf>,
}

/// Transports over which the proxy's cookies are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cookies {
    /// HTTPS alone.
    #[default]
    Https,
    /// HTTPS, and plain HTTP of an internal site.
    AlsoHttp,
}

/// Reads the policy of a route with this many upstreams.
pub(super) fn policy(section: &mut Section<'_>, upstreams: usize, report: &mut Report<'_>) -> Policy {
    let mut ignored = Vec::new();
    Policy {
        drain: section.take("drain").and_then(|value| values::duration(&value, report)),
        retry_after_max: values::retry_after_max(section, report),
        streams: section.take("streams").and_then(|value| streams(&value, report)).unwrap_or_default(),
        ramp: section.take("ramp").and_then(|value| ramp(&value, report)),
        ramp_group: ramp_group(section, report),
        hold: section.take("hold").map(|value| hold(&value, report)).unwrap_or_default(),
        announce_banner: section.take("announce_banner").and_then(|value| value.boolean(report)).unwrap_or(false),
        verify: section.take("verify").map(|value| checks::verify(&value, report)).unwrap_or_default(),
        quorum: checks::quorum_of(section, upstreams, report),
        health: section.take("health").map(|value| checks::health(&value, report)).unwrap_or_default(),
        guard: section.take("guard").and_then(|value| guard(&value, report)).map(|(guard, paths)| {
            ignored = paths;
            guard
        }),
        ignored,
        bypass: section.take("bypass").and_then(|value| bypass(&value, report)),
        cookies: section.take("cookie_secure").map(|value| cookies(&value, report)).unwrap_or_default(),
        read_only: section.take("read_only").map(|value| read_only::read_only(&value, report)).unwrap_or_default(),
    }
}

fn streams(value: &Value<'_>, report: &mut Report<'_>) -> Option<Streams> {
    match value.string("10s", report)? {
        "keep" => Some(Streams::Keep),
        "drain" | "grace" => Some(Streams::Drain),
        word if word.starts_with(|c: char| c.is_ascii_digit()) => values::duration(value, report).map(Streams::Grace),
        word => {
            let help = "write `\"keep\"`, or the time over which they are closed: `\"10s\"`";
            report.wrong(value.span.clone(), format!("`streams` cannot be {}", quoted(word)), help);
            None
        }
    }
}

/// Reads `ramp_group = "shop"`.
fn ramp_group(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<String> {
    let value = section.take("ramp_group")?;
    if section.take("ramp").is_none() {
        report.wrong(
            value.key_span.clone(),
            "`ramp_group` needs `ramp`",
            "say how the clients come back: `ramp = \"5m\"`",
        );
    }
    value.words(LONGEST_GROUP, Lines::One, report)
}

fn ramp(value: &Value<'_>, report: &mut Report<'_>) -> Option<Ramp> {
    if !value.inner.is_array() {
        return values::duration(value, report).map(Ramp::Linear);
    }
    let items = value.one_or_more(report);
    report.at_most(MOST_POINTS, items.len(), "points", value.key_span.clone());
    let mut steps: Vec<(Duration, f64)> = Vec::new();
    for item in items.iter().take(MOST_POINTS) {
        let (after, share) = point(item, report)?;
        if steps.last().is_some_and(|(before, less)| after <= *before || share <= *less) {
            let help = "both must grow from point to point: `[\"5% at 0s\", \"25% at 2m\", \"100% at 5m\"]`";
            report.wrong(item.span.clone(), "this point is not later and higher than the one before it", help);
            return None;
        }
        steps.push((after, share));
    }
    if steps.last().is_none_or(|(_, share)| *share < 1.0) {
        let help = "end with the point where everybody is admitted: `\"100% at 5m\"`";
        report.wrong(value.span.clone(), "the ramp does not reach 100%", help);
        return None;
    }
    Some(Ramp::Steps(steps))
}

/// Reads `25% at 2m`.
fn point(value: &Value<'_>, report: &mut Report<'_>) -> Option<(Duration, f64)> {
    let text = value.string("25% at 2m", report)?;
    let read = || {
        let (share, after) = text.split_once(" at ")?;
        let share = percent(share)?;
        let after = match after.trim() {
            "0" | "0s" | "0m" => Duration::ZERO,
            after => Value::duration_of(after).ok()?,
        };
        (after <= LONGEST_RAMP).then_some((after, share))
    };
    let point = read();
    if point.is_none() {
        let help = "write a share and the time after the beginning: `\"25% at 2m\"`";
        report.wrong(value.span.clone(), format!("{} is not a point of a ramp", quoted(text)), help);
    }
    point
}

fn hold(value: &Value<'_>, report: &mut Report<'_>) -> Hold {
    let mut hold = Hold::default();
    let Some(table) = value.table("hold = { max_wait = \"30s\", max_held = 1000, release = \"50/s\" }", report) else {
        return hold;
    };
    let mut section = Section::new(&keys::HOLD, "`hold`", value.span.clone(), table);
    if let Some(time) = section.take("max_wait").and_then(|value| values::duration(&value, report)) {
        hold.max_wait = time;
    }
    if let Some(count) = section.take("max_held").and_then(|value| value.count(1, MOST_HELD, report)) {
        hold.max_held = count;
    }
    if let Some(rate) = section.take("release").and_then(|value| rate(&value, report)) {
        hold.release = rate;
    }
    section.finish(report, no_hint);
    hold
}

/// Reads `50/s` or `30/m` as a number in a second.
fn rate(value: &Value<'_>, report: &mut Report<'_>) -> Option<f64> {
    let text = value.string("50/s", report)?;
    let read = |unit: &str, seconds: f64| {
        let number = text.strip_suffix(unit)?.trim().parse::<u32>().ok().filter(|number| *number > 0)?;
        Some(f64::from(number) / seconds)
    };
    let rate = read("/s", 1.0).or_else(|| read("/m", 60.0));
    if rate.is_none() {
        report.wrong(value.span.clone(), format!("{} is not a rate", quoted(text)), "rates are written like `50/s`");
    }
    rate
}

fn bypass(value: &Value<'_>, report: &mut Report<'_>) -> Option<Bypass> {
    let table = value.table("bypass = { networks = [\"192.0.2.0/24\"] }", report)?;
    let mut section = Section::new(&keys::BYPASS, "`bypass`", value.span.clone(), table);
    let mut networks = Vec::new();
    if let Some(value) = section.take("networks") {
        let items = value.any_number();
        report.at_most(MOST_NETWORKS, items.len(), "networks", value.key_span.clone());
        for item in items.iter().take(MOST_NETWORKS) {
            networks.extend(item.string("192.0.2.0/24", report).and_then(|text| address::network(item, text, report)));
        }
    }
    let header = section.take("header");
    let secret = section.take("secret_file");
    if let (Some(value), None) = (&header, &secret) {
        let help = "name the file with the secret: `secret_file = \"key\"`";
        report.wrong(value.key_span.clone(), "`header` needs `secret_file`", help);
    }
    let header = header.and_then(|value| field_name(&value, report));
    let secret_file = secret.and_then(|value| value.path("key", report));
    section.finish(report, |key, inner| match (key, inner) {
        ("secret" | "key", DeValue::String(_)) => Some(
            "a secret does not belong in the config: write it in a file and name that with `secret_file`".to_owned(),
        ),
        _ => None,
    });
    Some(Bypass { networks, header, secret_file })
}

/// Reads `cookie_secure = false`.
fn cookies(value: &Value<'_>, report: &mut Report<'_>) -> Cookies {
    if value.boolean(report) == Some(false) { Cookies::AlsoHttp } else { Cookies::Https }
}

fn field_name(value: &Value<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    let text = value.string("X-Maintenance-Key", report)?;
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    let help = match &name {
        None => "write one like `X-Maintenance-Key`",
        Some(name) if TAKEN.contains(&name.as_str()) => {
            "this field means something else: write one like `X-Maintenance-Key`"
        }
        Some(_) => return name,
    };
    report.wrong(value.span.clone(), format!("{} is not the name of a header field for a secret", quoted(text)), help);
    None
}

/// Fields that cannot carry a secret, because they have another meaning.
const TAKEN: [&str; 8] =
    ["host", "cookie", "connection", "content-length", "transfer-encoding", "upgrade", "te", "expect"];

const MOST_HELD: u64 = 1_000_000;
const MOST_POINTS: usize = 64;
const MOST_NETWORKS: usize = 256;
const LONGEST_GROUP: usize = 64;
const LONGEST_RAMP: Duration = Duration::from_secs(7 * 24 * 3600);
