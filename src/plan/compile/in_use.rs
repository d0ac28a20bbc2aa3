//! Choice of the upstreams that a route uses: all but those that fail their checks.

use std::sync::Arc;
use std::time::Duration;

use super::super::config::{RouteConfig, Sticky, Upstream};
use super::super::flags::{self, Flags, Mode, Withdrawn};
use super::super::lifecycle::{Observed, Phase, left_out};
use super::super::snapshot::{Keeping, LeftOut, Portion, Portions, Route, Snapshot};
use super::Inputs;

/// Upstreams that fail their checks.
#[derive(Default)]
pub(super) struct Outs {
    /// Upstreams that are left out.
    pub(super) left_out: Vec<LeftOut>,
    /// Upstreams that fail `health`, and are used because no other is left.
    pub(super) spared: Vec<LeftOut>,
}

/// Upstreams of a route by what becomes of them.
pub(super) struct Choice {
    pub(super) withdrawn: Vec<(usize, Withdrawn)>,
    pub(super) outs: Outs,
    pub(super) in_use: Arc<[usize]>,
    pub(super) portions: Option<Portions>,
}

/// Chooses among the upstreams of a route. `upstreams` are the indexes of all of them in `list`.
pub(super) fn choice(inputs: &Inputs<'_>, config: &RouteConfig, upstreams: &Arc<[usize]>, list: &[Upstream]) -> Choice {
    let withdrawn = withdrawn(inputs.flags, config, upstreams);
    let left = left(upstreams, &withdrawn);
    let outs = outs(inputs, config, &left, list);
    let in_use = in_use(&left, &outs.left_out);
    let drained = || drained(inputs, config, &withdrawn, list);
    let mut portions = portions(config, upstreams, &in_use, drained);
    if let Some(portions) = &mut portions {
        grow(inputs, config, portions, |place| list.get(*in_use.get(place)?));
    }
    Choice { portions, withdrawn, outs, in_use }
}

/// Returns the upstreams of a route that the flag file takes out.
fn withdrawn(flags: &Flags, config: &RouteConfig, upstreams: &[usize]) -> Vec<(usize, Withdrawn)> {
    // Most files take none out. They cost no look at the upstreams.
    if flags.upstreams.is_empty() {
        return Vec::new();
    }
    let all = upstreams.iter().zip(config.named_upstreams());
    all.filter_map(|(index, named)| Some((*index, flags::withdrawn(&flags.upstreams, named)?))).collect()
}

/// Returns the portions of the upstreams in use. `upstreams` are all of the route, in the order of its shares. `drained`
/// returns those that clients still keep to.
fn portions(
    config: &RouteConfig,
    upstreams: &[usize],
    in_use: &[usize],
    drained: impl FnOnce() -> Vec<usize>,
) -> Option<Portions> {
    let balance = config.balance.as_ref()?;
    let portion = |index: &usize| {
        let place = upstreams.iter().position(|own| own == index)?;
        let (share, upstream) = (balance.shares.get(place)?, config.upstreams.get(place)?);
        Some(Portion::new(share, place, &upstream.to_string()))
    };
    let sticky = balance.sticky.as_ref().map(|sticky| match sticky {
        Sticky::Address => Keeping::Address,
        Sticky::Cookie(marks) => {
            let drained = drained().into_iter().filter_map(|index| Some((index, portion(&index)?)));
            Keeping::Cookie { marks: Arc::clone(marks), drained: drained.collect() }
        }
    });
    let each = in_use.iter().filter_map(portion).collect();
    Some(Portions { each, sticky, slow_start: balance.slow_start })
}

/// Notes for how long upstreams have been in use that are not used since the start. `upstream` returns that of a portion.
fn grow<'l>(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    portions: &mut Portions,
    upstream: impl Fn(usize) -> Option<&'l Upstream>,
) {
    let (Some(slow_start), Some(live)) = (portions.slow_start, inputs.previous) else { return };
    // A route that is new has no upstream that others could relieve.
    let Some(before) = live.route(&config.name) else { return };
    let passed = Duration::try_from(inputs.now.duration_since(live.compiled)).unwrap_or_default();
    let used =
        |upstream: &Upstream| match before.in_use.iter().position(|own| live.upstreams.get(*own) == Some(upstream)) {
            None => Some(Duration::ZERO),
            Some(place) => before.portions.as_ref()?.each.get(place)?.used.map(|used| used.saturating_add(passed)),
        };
    let grown = portions
        .each
        .iter()
        .enumerate()
        .map(|(place, portion)| portion.used_for(upstream(place).and_then(used).filter(|used| *used < slow_start)));
    portions.each = grown.collect();
}

/// Returns the upstreams that drain, as far as they pass their checks: the clients that have their marks stay.
fn drained(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    withdrawn: &[(usize, Withdrawn)],
    list: &[Upstream],
) -> Vec<usize> {
    let observed = inputs.known.observed.get(&config.name);
    let fails = |upstream: &Upstream| {
        observed.is_some_and(|observed| observed.unwell.iter().any(|unwell| unwell.upstream == *upstream))
    };
    let drains = withdrawn.iter().filter(|(_, how)| *how == Withdrawn::Drain).map(|(index, _)| *index);
    drains.filter(|index| !list.get(*index).is_some_and(fails)).collect()
}

/// Returns the upstreams that the flag file leaves.
fn left(upstreams: &Arc<[usize]>, withdrawn: &[(usize, Withdrawn)]) -> Arc<[usize]> {
    if withdrawn.is_empty() {
        return Arc::clone(upstreams);
    }
    upstreams.iter().copied().filter(|index| !withdrawn.iter().any(|(out, _)| out == index)).collect()
}

/// Returns the upstreams of a route that fail their checks now. `upstreams` are the indexes in `list` of those that the
/// flag file leaves.
fn outs(inputs: &Inputs<'_>, config: &RouteConfig, upstreams: &[usize], list: &[Upstream]) -> Outs {
    // Most routes have no checks. They cost no look-up.
    let observed = config.policy.has_checks().then(|| inputs.known.observed.get(&config.name)).flatten();
    let Some(observed) = observed else { return Outs::default() };
    let find = |upstream: &Upstream| upstreams.iter().copied().find(|index| list.get(*index) == Some(upstream));
    let mut unproven = unproven(inputs, config, observed, list, find);
    unproven.retain(|out| upstreams.contains(&out.upstream));
    let unwell = observed.unwell.iter().filter(|_| !config.policy.health.is_empty()).filter_map(|unwell| {
        let upstream = find(&unwell.upstream)?;
        let is_new = !unproven.iter().any(|out| out.upstream == upstream);
        is_new.then(|| LeftOut { upstream, failure: unwell.failure.clone() })
    });
    let unwell: Vec<LeftOut> = unwell.collect();
    // If nobody were left, all are used that have passed when the route opened.
    let (left_out, spared) = if unproven.len() + unwell.len() < upstreams.len() {
        ([unproven, unwell].concat(), Vec::new())
    } else {
        (unproven, unwell)
    };
    // Results of an earlier config may name other upstreams. One is always used.
    if left_out.len() < upstreams.len() { Outs { left_out, spared } } else { Outs { left_out: Vec::new(), spared } }
}

/// Returns the upstreams that have not passed the checks before the opening. `find` returns the index of an upstream.
fn unproven(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    observed: &Observed,
    list: &[Upstream],
    find: impl Fn(&Upstream) -> Option<usize>,
) -> Vec<LeftOut> {
    let policy = &config.policy;
    let Some(results) = observed.verification.as_ref().filter(|_| !policy.verify.is_empty()) else { return Vec::new() };
    let outs = left_out(policy, &results.upstreams).into_iter().filter_map(|results| {
        let failure = results.failure().map_or(UNPROVEN, |(_, failure)| failure).to_owned();
        Some(LeftOut { upstream: find(&results.upstream)?, failure })
    });
    let outs: Vec<LeftOut> = outs.collect();
    // A guard that looks twice has the checks begin anew. Until they tell, it stays as it was.
    if outs.is_empty() && !results.upstreams.iter().all(|results| results.passed(&policy.verify).is_some()) {
        return before(inputs, config, list);
    }
    outs
}

/// Returns the upstreams that were left out while the route served.
fn before(inputs: &Inputs<'_>, config: &RouteConfig, list: &[Upstream]) -> Vec<LeftOut> {
    let Some(live) = inputs.previous else { return Vec::new() };
    let reads = |route: &Route| route.closure.as_ref().is_some_and(|closure| closure.mode == Mode::ReadOnly);
    let serves = |route: &&Route| reads(route) || matches!(route.phase(), Phase::Open | Phase::Ramping);
    let route = live.route(&config.name).filter(serves);
    let outs = route.map(|route| route.left_out.clone()).unwrap_or_default();
    outs.into_iter().filter(|out| live.upstreams.get(out.upstream) == list.get(out.upstream)).collect()
}

/// Returns the upstreams that are used.
fn in_use(upstreams: &Arc<[usize]>, outs: &[LeftOut]) -> Arc<[usize]> {
    if outs.is_empty() {
        return Arc::clone(upstreams);
    }
    let used = |index: &usize| !outs.iter().any(|out| out.upstream == *index);
    upstreams.iter().copied().filter(used).collect()
}

/// Returns true if a route would use other upstreams than it does.
pub(super) fn is_due(inputs: &Inputs<'_>, live: &Snapshot) -> bool {
    let indexes = |outs: &[LeftOut]| outs.iter().map(|out| out.upstream).collect::<Vec<_>>();
    live.routes.iter().filter(|route| route.config.policy.has_checks()).any(|route| {
        let outs = outs(inputs, &route.config, &left(&route.upstreams, &route.withdrawn), &live.upstreams);
        indexes(&outs.left_out) != indexes(&route.left_out) || indexes(&outs.spared) != indexes(&route.spared)
    })
}

/// Words for an upstream that has neither passed nor failed yet.
const UNPROVEN: &str = "it has not passed its checks yet";
