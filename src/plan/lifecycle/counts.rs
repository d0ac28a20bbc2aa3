//! Counts of one replica on a route that comes back, as replicas tell them to each other.
//!
//! Counts are told, and no shares: only counts can be summed. Each moment is told by its age, so that no clocks are
//! compared. Whatever another replica tells is bounded when it is read, so that no number of it does harm here.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::super::config::PerStatus;
use super::super::units::millis;
use super::clients::{ClientCounts, Clients};
use super::window::{LONG_SPAN, Moment};
use super::{Baseline, Counted, RouteState, Traffic, Usual};

/// Word of one replica about a route with a guard that is not plainly open.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct GuardCounts {
    /// State of the route: its phase, its baseline, and what its guard found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<RouteState>>,
    /// Begin of the ramp, or of the watch if there was no ramp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned: Option<Timestamp>,
    /// Counts of the guard; `None` while it does not judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// Counts since the return of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Milliseconds for which requests have counted.
    pub elapsed: u64,
    /// Milliseconds for which the route has been fully open; `None` while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<u64>,
    /// Milliseconds above which a request is slow; `None` if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<u64>,
    /// Moments in which something happened, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moments: Vec<ToldMoment>,
    /// Clients that are counted one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ToldClient>,
}

/// Counts of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ToldMoment {
    /// Milliseconds since its end.
    #[serde(rename = "a")]
    pub age: u64,
    /// Requests.
    #[serde(rename = "n")]
    pub requests: u64,
    /// Requests that failed.
    #[serde(rename = "f", skip_serializing_if = "is_zero")]
    pub errors: u64,
    /// Slow requests.
    #[serde(rename = "s", skip_serializing_if = "is_zero")]
    pub slow: u64,
    /// Requests that were answered with some statuses.
    #[serde(rename = "by", skip_serializing_if = "PerStatus::is_empty")]
    pub statuses: PerStatus<u64>,
}

/// Counts of one client, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ToldClient {
    /// Number that is made of its address, and from which nobody can tell the address. `None` for unknown clients.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// Several clients are counted together.
    #[serde(rename = "o", skip_serializing_if = "std::ops::Not::not")]
    pub others: bool,
    /// Requests that hang now.
    #[serde(rename = "h", skip_serializing_if = "is_zero")]
    pub hanging: u64,
    /// Counts in each window that a guard judges.
    #[serde(rename = "w")]
    pub windows: Vec<ToldCounts>,
}

/// Counts of a client in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ToldCounts {
    /// Requests.
    #[serde(rename = "n", skip_serializing_if = "is_zero")]
    pub requests: u64,
    /// Requests that failed.
    #[serde(rename = "f", skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Slow requests.
    #[serde(rename = "s", skip_serializing_if = "is_zero")]
    pub slow: u64,
    /// Requests that were answered with some statuses.
    #[serde(rename = "by", skip_serializing_if = "PerStatus::is_empty")]
    pub statuses: PerStatus<u32>,
}

impl GuardCounts {
    /// Returns the behaviour of the route before it went down.
    pub(crate) fn baseline(&self) -> Option<&Baseline> {
        self.state.as_ref()?.baseline()
    }

    /// Returns the bytes that it takes to tell this.
    pub(crate) fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |bytes| bytes.len())
    }

    /// Tells moments in which nothing was bad less exactly.
    pub(crate) fn thinned(self) -> Self {
        Self { counts: self.counts.map(Counts::thinned), ..self }
    }

    /// Returns the times that the guard has tried again by itself.
    pub(super) fn tries(&self) -> u32 {
        self.state.as_ref().and_then(|state| state.closing()).map_or(0, |closing| closing.tries)
    }
}

impl<'de> Deserialize<'de> for GuardCounts {
    /// Reads what another replica tells. Parts that cannot be read are left out: they are those of another version.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        tame(&mut value);
        let Value::Object(mut parts) = value else { return Ok(Self::default()) };
        let state = parts.remove("state").and_then(|state| serde_json::from_value::<RouteState>(state).ok());
        let returned = parts.remove("returned").and_then(|at| serde_json::from_value(at).ok());
        let counts = parts.remove("counts").and_then(|counts| serde_json::from_value::<Counts>(counts).ok());
        Ok(Self { state: state.map(|state| Box::new(state.bounded())), returned, counts: counts.map(Counts::bounded) })
    }
}

impl Counts {
    /// Creates counts of the moments of this replica, for this replica itself. Clients are added if they matter.
    pub(crate) fn new(moments: &[Moment], elapsed: Duration) -> Self {
        Self { elapsed: millis(elapsed), moments: moments.iter().map(ToldMoment::of).collect(), ..Self::default() }
    }

    /// Adds the clients of each window, and those whose requests hang. `salt` keeps a client from having the same number
    /// everywhere.
    pub(crate) fn with_clients(self, windows: &[Clients], hanging: &Clients, salt: &str) -> Self {
        Self { clients: told_clients(windows, hanging, salt), ..self }
    }

    /// Leaves out what another replica does not need. Clients that did well are counted together before others are.
    pub(crate) fn limited(mut self) -> Self {
        self.moments.truncate(MOST_MOMENTS);
        if self.clients.len() > MOST_CLIENTS {
            self.clients.sort_by_key(|client| (client.others, std::cmp::Reverse((client.bad(), client.requests()))));
            let rest = self.clients.split_off(MOST_CLIENTS);
            let mut others = ToldClient { others: true, ..ToldClient::default() };
            rest.iter().for_each(|client| others.add(client));
            self.clients.push(others);
        }
        self
    }

    fn thinned(mut self) -> Self {
        let mut thinned: Vec<ToldMoment> = Vec::with_capacity(self.moments.len());
        for moment in std::mem::take(&mut self.moments) {
            let is_near = |last: &&mut ToldMoment| last.is_good() && moment.age.saturating_sub(last.age) <= THIN_MILLIS;
            match thinned.last_mut().filter(is_near).filter(|_| moment.is_good()) {
                Some(last) => last.requests = last.requests.saturating_add(moment.requests),
                None => thinned.push(moment),
            }
        }
        Self { moments: thinned, ..self }
    }

    /// Bounds what another replica tells.
    fn bounded(mut self) -> Self {
        self.elapsed = self.elapsed.min(MOST_MILLIS);
        self.open = self.open.map(|open| open.min(MOST_MILLIS));
        self.moments.truncate(MOST_MOMENTS);
        self.clients.truncate(MOST_CLIENTS + 1);
        for moment in &mut self.moments {
            moment.age = moment.age.min(MOST_MILLIS);
            let counts = [&mut moment.requests, &mut moment.errors, &mut moment.slow];
            counts.into_iter().for_each(|count| *count = bounded(*count));
            moment.statuses = moment.statuses.filter_map(|_, count| Some(bounded(*count)));
        }
        for client in &mut self.clients {
            client.mark = client.mark.map(|mark| mark & MARKS);
            client.hanging = bounded(client.hanging);
            client.windows.truncate(WINDOWS);
            for counts in &mut client.windows {
                let each = [&mut counts.requests, &mut counts.failed, &mut counts.slow];
                each.into_iter().for_each(|count| *count = bounded(*count));
            }
        }
        self
    }
}

impl ToldMoment {
    fn of(moment: &Moment) -> Self {
        let Moment { age, counted, slow, statuses } = *moment;
        Self { age: millis(age), requests: counted.requests, errors: counted.errors, slow, statuses }
    }

    fn is_good(&self) -> bool {
        self.errors == 0 && self.slow == 0 && self.statuses.is_empty()
    }

    /// Returns the moment, which is older by the age of the word that tells it.
    pub(super) fn moment(&self, older: Duration) -> Moment {
        Moment {
            age: Duration::from_millis(self.age).saturating_add(older),
            counted: Counted { requests: self.requests, errors: self.errors },
            slow: self.slow,
            statuses: self.statuses,
        }
    }
}

impl ToldClient {
    fn bad(&self) -> u64 {
        let bad = |counts: &ToldCounts| {
            let statuses = counts.statuses.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
            counts.failed + counts.slow + statuses
        };
        self.hanging + self.windows.iter().map(bad).max().unwrap_or(0)
    }

    fn requests(&self) -> u64 {
        self.windows.iter().map(|counts| counts.requests).max().unwrap_or(0)
    }

    fn add(&mut self, more: &Self) {
        self.hanging = self.hanging.saturating_add(more.hanging);
        self.windows.resize(self.windows.len().max(more.windows.len()), ToldCounts::default());
        for (window, more) in self.windows.iter_mut().zip(&more.windows) {
            window.requests = window.requests.saturating_add(more.requests);
            window.failed = window.failed.saturating_add(more.failed);
            window.slow = window.slow.saturating_add(more.slow);
            for (status, more) in more.statuses.iter() {
                let count = window.statuses.entry(status, || 0);
                count.into_iter().for_each(|count| *count = count.saturating_add(*more));
            }
        }
    }

    /// Returns the counts in a window. Requests that hang count as well if they are asked for.
    pub(super) fn counts(&self, window: usize, hangs: Hangs) -> ClientCounts {
        let ToldCounts { requests, failed, slow, statuses } = self.windows.get(window).copied().unwrap_or_default();
        let hanging = match hangs {
            Hangs::Count => self.hanging,
            Hangs::Pass => 0,
        };
        ClientCounts { requests, failed, slow, hanging, statuses }
    }
}

/// Use of the requests that hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangs {
    /// Counted beside the others.
    Count,
    /// Left out.
    Pass,
}

/// Collects the counts of each client over all windows.
fn told_clients(windows: &[Clients], hanging: &Clients, salt: &str) -> Vec<ToldClient> {
    let mut told: std::collections::BTreeMap<(bool, Option<u32>), ToldClient> = std::collections::BTreeMap::new();
    let mut entry = |others: bool, mark: Option<u32>, of: &mut dyn FnMut(&mut ToldClient)| {
        let new =
            || ToldClient { mark, others, windows: vec![ToldCounts::default(); WINDOWS], ..ToldClient::default() };
        of(told.entry((others, mark)).or_insert_with(new));
    };
    for (index, clients) in windows.iter().enumerate().take(WINDOWS) {
        for (mark, others, counts) in clients.marked(salt) {
            entry(others, mark, &mut |client| client.take(index, counts));
        }
    }
    for (mark, others, counts) in hanging.marked(salt).filter(|(.., counts)| counts.hanging > 0) {
        entry(others, mark, &mut |client| client.hanging = client.hanging.saturating_add(counts.hanging));
    }
    told.into_values().collect()
}

impl ToldClient {
    fn take(&mut self, index: usize, counts: ClientCounts) {
        let ClientCounts { requests, failed, slow, statuses, .. } = counts;
        let windows =
            vec![ToldCounts::default(); index].into_iter().chain([ToldCounts { requests, failed, slow, statuses }]);
        self.add(&Self { windows: windows.collect(), ..Self::default() });
    }
}

impl RouteState {
    /// Bounds a state that another replica tells.
    fn bounded(self) -> Self {
        Self { baseline: self.baseline.map(|baseline| Box::new(baseline.bounded())), ..self }
    }
}

impl Baseline {
    /// Bounds a baseline that another replica tells.
    pub(super) fn bounded(self) -> Self {
        let requests = bounded(self.counted.requests);
        Self {
            counted: Counted { requests, errors: self.counted.errors.min(requests) },
            dispersion: steadied(self.dispersion),
            hanging: self.hanging.map(bounded),
            p99: self.p99.map(|p99| p99.min(LONG_SPAN)),
            statuses: self.statuses.filter_map(|_, usual| {
                let requests = bounded(usual.requests);
                let (answered, dispersion) = (usual.answered.min(requests), steadied(usual.dispersion));
                Some(Usual { requests, answered, dispersion })
            }),
            traffic: self.traffic.map(|traffic| {
                let mut arrivals = traffic.arrivals;
                (arrivals.requests, arrivals.span) = (bounded(arrivals.requests), arrivals.span.min(LONG_SPAN));
                Traffic { arrivals, dispersion: steadied(traffic.dispersion) }
            }),
        }
    }
}

/// Returns a factor of dispersion that can be reckoned with.
pub(super) fn steadied(dispersion: f64) -> f64 {
    if dispersion.is_finite() { dispersion.clamp(1.0, MOST_DISPERSION) } else { 1.0 }
}

/// Bounds every text, which an operator may read in a terminal.
fn tame(value: &mut Value) {
    match value {
        Value::String(text) => {
            *text = text.chars().filter(|character| !character.is_control()).take(MOST_CHARACTERS).collect();
        }
        Value::Array(values) => values.iter_mut().for_each(tame),
        Value::Object(parts) => parts.values_mut().for_each(tame),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn bounded(count: u64) -> u64 {
    count.min(MOST_COUNT)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Moments that a replica tells: those of a minute, and the longer ones before.
const MOST_MOMENTS: usize = 176;

/// Clients that a replica tells one by one, so that a few of all replicas can be left out.
const MOST_CLIENTS: usize = 24;

/// Windows that a guard judges.
pub(crate) const WINDOWS: usize = 4;

/// Milliseconds that moments are told together in which nothing was bad, if room is short.
const THIN_MILLIS: u64 = 4000;

/// Greatest count that is believed. A thousand of them can be summed.
const MOST_COUNT: u64 = 1 << 40;

/// Greatest age that is believed: a day.
const MOST_MILLIS: u64 = 24 * 3600 * 1000;

/// Greatest dispersion that is believed.
const MOST_DISPERSION: f64 = 1e6;

/// Characters of a text that is told.
const MOST_CHARACTERS: usize = 1000;

/// Bits of a client's number: so few that each belongs to 256 addresses of IPv4.
pub(super) const MARKS: u32 = (1 << 24) - 1;
