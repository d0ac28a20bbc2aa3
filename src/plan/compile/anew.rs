//! Routes that a reload of the config adds, or moves to other upstreams: nobody knows whether they work.
//!
//! Each check has to pass once before such a route opens. A route that was open under another name goes on.

use std::sync::Arc;

use super::super::config::RouteConfig;
use super::super::lifecycle::{Phase, RouteState, Transition};
use super::super::snapshot::Route;
use super::Inputs;

/// Returns the state of a route that is to be checked because of a reload; `None` if it goes on as it was. `before` is
/// the route of this name before the reload.
pub(super) fn checked(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    before: Option<&Route>,
) -> Option<(Arc<RouteState>, Vec<Transition>)> {
    let live = inputs.previous.filter(|_| !config.policy.verify.is_empty())?;
    let (state, transition) = match before {
        Some(before) if before.phase() != Phase::Open || shares_upstream(before, config) => return None,
        Some(before) => before.state.moved(inputs.now),
        None if live.routes.iter().any(|route| is_renamed(route, config)) => return None,
        None => RouteState::added(inputs.now),
    };
    Some((Arc::new(state), vec![transition]))
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
