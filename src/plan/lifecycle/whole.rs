//! Whole fleet: what all replicas together measure on a route, so that a guard judges all traffic.
//!
//! Moments are summed, and windows are made of the sum. So requests that failed at two replicas in the same second are one
//! incident, as they are at one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::config::{Guard, PerStatus};
use super::super::units::millis;
use super::baseline::{Baseline, Usual};
use super::clients::Clients;
use super::counts::{Counts, GuardCounts, Hangs, steadied};
use super::guard::{Breach, Counted, Measured, is_suspect};
use super::state::RouteState;
use super::traffic::{Arrivals, Traffic, arrivals};
use super::window::{Moment, windows};

/// Word of the other replicas about a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    /// Behaviour of all replicas before the route went down; `None` if no other replica tells of it.
    pub baseline: Option<Baseline>,
    /// Finding of another replica about the same return, for which it has closed the route.
    pub breach: Option<Breach>,
    /// Replicas whose counts are summed, of those that are known.
    pub among: Among,
}

/// Number of replicas whose counts are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Among {
    /// Replicas that are counted, this one among them.
    pub counted: usize,
    /// Replicas that are known.
    pub known: usize,
    /// Nothing can be heard of others.
    pub is_cut_off: bool,
}

/// Counts of another replica, with their age.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'p> {
    /// Counts.
    pub counts: &'p Counts,
    /// Time since they were told.
    pub age: Duration,
}

/// Standard by which the sum is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standard<'s> {
    /// The guard.
    pub guard: &'s Guard,
    /// Behaviour of all replicas before.
    pub baseline: Option<&'s Baseline>,
    /// The guard counts anew from a finding on, so older moments of other replicas do not count either.
    pub anew: bool,
}

impl Default for Among {
    /// Returns one replica alone.
    fn default() -> Self {
        Self { counted: 1, known: 1, is_cut_off: false }
    }
}

impl Among {
    /// Returns the words that follow a finding; empty if there is no other replica.
    pub(super) fn words(self) -> String {
        let Self { counted, known, is_cut_off } = self;
        match known {
            2.. => format!("; counted at {counted} of {known} replicas"),
            _ if is_cut_off => "; counted at this replica alone".to_owned(),
            _ => String::new(),
        }
    }

    /// Returns true if there is another replica, or nobody knows whether there is.
    pub(crate) fn is_told(self) -> bool {
        self.known > 1 || self.is_cut_off
    }
}

impl GuardCounts {
    /// Returns true if another replica tells of the same return of a route. Its checks may have passed somewhat sooner or
    /// later. After a restart a replica knows the begin of the phase alone.
    pub(crate) fn is_of_same_return(&self, own: &RouteState, returned: Timestamp) -> bool {
        let Some(state) = &self.state else { return false };
        let is_near = |one: Timestamp, other: Timestamp| one.duration_since(other).abs() <= SAME_RETURN;
        let returns = self.returned.is_some_and(|theirs| is_near(theirs, returned));
        let tries = own.closing().map_or(0, |closing| closing.tries);
        tries == self.tries() && (returns || is_near(state.began(), own.began()))
    }

    /// Returns the finding for which another replica has closed the route since this one began to come back, by the clock
    /// here. An older one was answered: the route has come back since.
    pub(crate) fn closes(&self, since: Timestamp, ahead: SignedDuration, now: Timestamp) -> Option<Breach> {
        let state = self.state.as_ref().filter(|state| state.is_shut())?;
        let breach = state.breach()?;
        // What two clocks differ by is measured only roughly.
        let ahead = if ahead.abs() <= ROUGHLY { SignedDuration::ZERO } else { ahead };
        let at = breach.at.checked_sub(ahead).ok()?;
        let is_new = at >= since && at.duration_since(now) <= ROUGHLY;
        is_new.then(|| Breach { at: at.min(now), ..breach.clone() })
    }
}

impl Breach {
    /// Returns the finding as another replica takes it over.
    pub(crate) fn found_by(self, name: &str) -> Self {
        if self.by.is_some() {
            return self;
        }
        Self { what: format!("{}; found by {name}", self.what), by: Some(name.to_owned()), ..self }
    }
}

/// Measures what all replicas together have counted. `own` has the clients whose requests hang here, and `clients` returns
/// all clients of this replica, which are asked for only if something may be wrong.
pub(crate) fn measure(
    standard: Standard<'_>,
    own: &Counts,
    peers: &[Peer<'_>],
    clients: impl FnOnce() -> Counts,
) -> Measured {
    let Standard { guard, baseline, anew } = standard;
    let elapsed = Duration::from_millis(own.elapsed);
    let others = peers.iter().map(|peer| Duration::from_millis(peer.counts.elapsed).saturating_add(peer.age));
    let elapsed = if anew { elapsed } else { others.fold(elapsed, Duration::max) };
    let moments = moments(own, peers, elapsed);
    let open = peers.iter().map(|peer| peer.counts.open).fold(own.open, |least, open| Some(least?.min(open?)));
    let arrivals = open.map(|open| arrivals(&moments, Duration::from_millis(open))).unwrap_or_default();
    let mut windows = windows(&moments, elapsed);
    let suspects: Vec<bool> = windows.iter().map(|window| is_suspect(guard, window, baseline)).collect();
    let mut all = std::iter::once(own).chain(peers.iter().map(|peer| peer.counts));
    let hangs = all.any(|counts| counts.clients.iter().any(|client| client.hanging > 0));
    if !hangs && !suspects.contains(&true) {
        return Measured { windows, hanging: Clients::default(), arrivals };
    }
    let own = clients();
    let all: Vec<&Counts> = std::iter::once(&own).chain(peers.iter().map(|peer| peer.counts)).collect();
    for (index, window) in windows.iter_mut().enumerate().filter(|(index, _)| suspects[*index]) {
        window.clients = clients_of(&all, index, Hangs::Pass);
    }
    Measured { windows, hanging: clients_of(&all, MINUTE_WINDOW, Hangs::Count), arrivals }
}

/// Returns the moments of all replicas, the newest first.
fn moments(own: &Counts, peers: &[Peer<'_>], elapsed: Duration) -> Vec<Moment> {
    let mut moments: Vec<Moment> = own.moments.iter().map(|told| told.moment(Duration::ZERO)).collect();
    for Peer { counts, age } in peers {
        // A replica with a lower limit has counted requests as slow that are not. One with a higher limit has left some out,
        // which wrongs nobody.
        let is_slow = own.slow.zip(counts.slow).is_some_and(|(own, theirs)| theirs >= own);
        let theirs = counts.moments.iter().map(|told| told.moment(*age));
        let theirs = theirs.map(|moment| Moment { slow: if is_slow { moment.slow } else { 0 }, ..moment });
        moments.extend(theirs.filter(|moment| moment.age <= elapsed));
    }
    moments.sort_by_key(|moment| moment.age);
    moments
}

fn clients_of(all: &[&Counts], window: usize, hangs: Hangs) -> Clients {
    let mut clients = Clients::default();
    for told in all.iter().flat_map(|counts| &counts.clients) {
        clients.add_marked(told.mark, told.others, told.counts(window, hangs));
    }
    clients
}

impl Baseline {
    /// Returns what several replicas did together; `None` if there is none of them. The order does not matter.
    pub(crate) fn of_all<'b>(each: impl Iterator<Item = &'b Self>) -> Option<Self> {
        let each: Vec<&Self> = each.collect();
        let counted = each.iter().fold(Counted::default(), |sum, one| sum.plus(one.counted));
        let mut statuses = PerStatus::default();
        for (status, usual) in each.iter().flat_map(|one| one.statuses.iter()) {
            statuses.entry(status, Vec::new).into_iter().for_each(|all: &mut Vec<Usual>| all.push(*usual));
        }
        (!each.is_empty()).then(|| Self {
            counted,
            dispersion: common(each.iter().map(|one| one.dispersion)),
            hanging: each.iter().filter_map(|one| one.hanging).reduce(u64::saturating_add),
            p99: middle(each.iter().filter_map(|one| Some((one.p99?, one.counted.requests))).collect()),
            statuses: statuses.filter_map(|_, all| usual(all)),
            traffic: traffic(&each.iter().filter_map(|one| one.traffic).collect::<Vec<_>>()),
        })
    }
}

fn usual(all: &[Usual]) -> Option<Usual> {
    let sum = |of: fn(&Usual) -> u64| all.iter().map(of).fold(0, u64::saturating_add);
    let (requests, answered) = (sum(|usual| usual.requests), sum(|usual| usual.answered));
    let dispersion = common(all.iter().map(|usual| usual.dispersion));
    (requests > 0).then(|| Usual { requests, answered: answered.min(requests), dispersion })
}

/// Returns the traffic of all replicas, over the longest time that one of them counted.
fn traffic(all: &[Traffic]) -> Option<Traffic> {
    let span = all.iter().map(|traffic| traffic.arrivals.span).max().filter(|span| !span.is_zero())?;
    let scaled = |traffic: &Traffic| {
        let Arrivals { requests, span: own } = traffic.arrivals;
        let (span, own) = (u128::from(millis(span)), u128::from(millis(own)).max(1));
        u64::try_from(u128::from(requests) * span / own).unwrap_or(u64::MAX)
    };
    let requests = all.iter().map(scaled).fold(0, u64::saturating_add);
    let dispersion = common(all.iter().map(|traffic| traffic.dispersion));
    Some(Traffic { arrivals: Arrivals { requests, span }, dispersion })
}

/// Returns the dispersion of a sum. What one cause brings about at all replicas is spread over them, and so is its excess.
fn common(each: impl Iterator<Item = f64>) -> f64 {
    let mut excess: Vec<f64> = each.map(|one| steadied(one) - 1.0).collect();
    // The sum of floats depends on their order.
    excess.sort_unstable_by(f64::total_cmp);
    steadied(1.0 + excess.iter().sum::<f64>())
}

/// Returns the time that is the middle one, if each counts as often as it has requests. Percentiles cannot be averaged, and
/// a replica with few requests must not set the limit for all.
fn middle(mut each: Vec<(Duration, u64)>) -> Option<Duration> {
    each.sort_unstable();
    let all: u128 = each.iter().map(|(_, requests)| u128::from(*requests)).sum();
    let mut before = 0;
    let is_middle = |(_, requests): &&(Duration, u64)| {
        before += u128::from(*requests);
        before * 2 >= all
    };
    each.iter().find(is_middle).map(|(time, _)| *time)
}

/// Time by which the begins of one return differ between replicas: their checks pass sooner or later.
const SAME_RETURN: SignedDuration = SignedDuration::from_secs(60);

/// Time by which two clocks that agree may seem to differ.
const ROUGHLY: SignedDuration = SignedDuration::from_secs(2);

/// Place of the window of a minute.
const MINUTE_WINDOW: usize = 2;
