//! Routes that a reload of the config adds, or moves to other upstreams: nobody knows whether they work.
//!
//! Each check has to pass once before such a route opens, and goes on where it was. A route that was open under another
//! name goes on.

use std::sync::Arc;

use super::super::config::RouteConfig;
use super::super::lifecycle::{Phase, RouteInputs, RouteState, Transition};
use super::super::snapshot::Route;
use super::Inputs;

/// Returns the state of a route that a reload adds and that is to be checked; `None` if it is not new.
pub(super) fn added(inputs: &Inputs<'_>, config: &RouteConfig) -> Option<(Arc<RouteState>, Vec<Transition>)> {
    let live = inputs.previous.filter(|_| !config.policy.verify.is_empty())?;
    if live.routes.iter().any(|route| route.config.name == config.name || is_renamed(route, config)) {
        return None;
    }
    let (state, transition) = RouteState::added(inputs.now);
    Some((Arc::new(state), vec![transition]))
}

/// Returns the state of a route that is to be checked because a reload has moved it while it forwards requests; `None` if
/// it goes on as it was. `before` is the route of this name before the reload, and `state` is its state now.
pub(super) fn moved(
    state: &RouteState,
    config: &RouteConfig,
    before: &Route,
    route_inputs: RouteInputs<'_>,
) -> Option<(Arc<RouteState>, Transition)> {
    if config.policy.verify.is_empty() || shares_upstream(before, config) {
        return None;
    }
    let (state, transition) = state.moved(route_inputs)?;
    Some((Arc::new(state), transition))
}

/// Returns true if an open route has the checks of this one, and an upstream of it.
fn is_renamed(route: &Route, config: &RouteConfig) -> bool {
    let is_open = route.phase() == Phase::Open;
    is_open && route.config.policy.verify == config.policy.verify && shares_upstream(route, config)
}

/// Returns true if an address stays. Other roots or another protocol are no move.
fn shares_upstream(route: &Route, config: &RouteConfig) -> bool {
    let mut before = route.config.upstreams.iter();
    before.any(|before| config.upstreams.iter().any(|upstream| upstream.address == before.address))
}
