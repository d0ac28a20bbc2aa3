//! Report of the layer: its state in the form of the proxy's `/status`, which the commands understand.

use jiff::Timestamp;

use crate::plan::snapshot::{Phase, Route};
use crate::status::{NextStatus, RouteStatus, Status};

use super::watch::{Live, Shared};

/// Describes the app as it is now.
pub(super) fn status(shared: &Shared) -> Status {
    let live = shared.live();
    let now = Timestamp::now();
    let ago = live.published.elapsed();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: Some(shared.started),
        generation: live.snapshot.generation,
        published: Some(now.checked_sub(ago).unwrap_or(now)),
        now: Some(now),
        stage: "running".to_owned(),
        files: vec![shared.file()],
        routes: vec![route(&live, shared)],
        ..Status::default()
    }
}

/// Describes the app's route. The app drains as long as requests from before the closing are in it.
fn route(live: &Live, shared: &Shared) -> RouteStatus {
    let route = live.route();
    let closure = route.closure.as_ref();
    let remaining = closure.map(|closure| live.eras.remaining(closure.mode)).filter(|remaining| *remaining > 0);
    let (phase, why) = match remaining {
        Some(_) => (Phase::Draining, "requests from before are in the app".to_owned()),
        None => (route.phase(), route.state.reason().to_string()),
    };
    RouteStatus {
        name: route.config.name.clone(),
        phase: phase.as_str().to_owned(),
        mode: closure.map(|closure| closure.mode.as_str().to_owned()),
        since: Some(route.since()),
        why,
        next: next(route),
        started: closure.map(|closure| closure.started),
        until: closure.and_then(|closure| closure.until),
        source: route.closed_by().map(|by| by.to_string()),
        long: route.long,
        in_flight: live.eras.in_flight(),
        remaining,
        held: u64::try_from(shared.holds.held(&route.config.name)).unwrap_or(u64::MAX),
        ..RouteStatus::default()
    }
}

/// Returns the next phase. For an open app, that is the first announced closing.
fn next(route: &Route) -> Option<NextStatus> {
    let announced = || route.announced.first().map(|next| (Phase::Closed, Some(next.starts)));
    let (phase, at) = route.next.or_else(announced)?;
    Some(NextStatus { phase: phase.as_str().to_owned(), at })
}
