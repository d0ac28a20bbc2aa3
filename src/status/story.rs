//! The sentences about files and routes that the command and the admin listener's page share. Text from outside stays
//! as it is. The caller makes a sentence harmless, or escapes it.

use jiff::Timestamp;

use super::fleet::FleetStatus;
use super::judged::JudgedStatus;
use super::outbox::SenderReport;
use super::{FileStatus, RouteStatus, WatchingStatus};
use crate::plan::snapshot::Phase;
use crate::plan::words;

/// Returns the path of a file, and where its links lead.
pub(crate) fn path(file: &FileStatus) -> String {
    match file.real.as_deref().filter(|real| *real != file.path) {
        Some(real) => format!("{} = {real}", file.path),
        None => file.path.clone(),
    }
}

/// Returns the content of a file that is in force, and the content read last if it differs.
pub(crate) fn content(file: &FileStatus, now: Timestamp) -> String {
    let Some(loaded) = file.loaded else {
        return if file.is_good() { "not there" } else { "not read" }.to_owned();
    };
    let read = format!("read {}", words::instant(loaded, now));
    let read = match &file.hash {
        Some(hash) => format!("{} {read}", short(hash)),
        None => read,
    };
    let Some(content) = &file.in_force else {
        return if file.is_good() { read } else { format!("{read}, not in force as it stands") };
    };
    if file.hash.as_ref() == Some(&content.hash) {
        return format!("{read}, in force since generation {}", content.generation);
    }
    let since = content.since.map(|at| format!(" read {}", words::instant(at, now))).unwrap_or_default();
    format!("{read}, not in force; {}{since} is, since generation {}", short(&content.hash), content.generation)
}

/// Returns the way in which files are watched.
pub(crate) fn watching(watching: &WatchingStatus) -> String {
    let why = watching.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    format!("files are watched by {}{why}", watching.by)
}

/// Returns how fresh the last word of the flags' engine is.
pub(crate) fn engine(fleet: &FleetStatus, now: Timestamp) -> String {
    let revision = match (&fleet.in_force, &fleet.revision) {
        (Some(in_force), Some(last)) if in_force != last => format!("revision {in_force} of {last}"),
        (Some(revision), _) => format!("revision {revision}"),
        (None, _) => "no flags".to_owned(),
    };
    let word = match fleet.confirmed {
        Some(confirmed) => format!("last word {}", words::instant(confirmed, now)),
        None => "no word yet".to_owned(),
    };
    let others = fleet.peers.as_ref().map(|peers| match (peers.heard, peers.late) {
        (1, 0) => ", 1 other replica is heard".to_owned(),
        (heard, 0) => format!(", {heard} other replicas are heard"),
        (heard, late) => format!(", {heard} other replicas are heard, and {late} of them late"),
    });
    format!("flags come from {}, {revision}, {word}{}", fleet.kind, others.unwrap_or_default())
}

/// Returns who tells subscribers.
pub(crate) fn sender(sender: &SenderReport) -> String {
    match (&sender.replica, sender.own) {
        (_, true) => "subscribers are told by this replica".to_owned(),
        (Some(replica), false) => format!("subscribers are told by {replica}"),
        (None, false) => "subscribers are told by nobody now".to_owned(),
    }
}

/// Returns the reason of a route's phase and its next phase. A route that stays open has neither.
pub(crate) fn route(route: &RouteStatus, now: Timestamp) -> Vec<String> {
    let instant = |at: Option<Timestamp>| at.map(|at| words::instant(at, now));
    let mut parts = Vec::new();
    if !route.is(Phase::Open) && !route.why.is_empty() {
        parts.push(route.why.clone());
    }
    if let Some(holder) = route.held_by.as_ref().filter(|holder| !route.why.contains(*holder)) {
        parts.push(format!("held by {holder}"));
    }
    if let Some(remaining) = route.remaining.filter(|_| route.is(Phase::Draining)) {
        parts.push(format!("{remaining} still in flight"));
    }
    match route.share.map(|share| share * 100.0) {
        Some(share) if route.is(Phase::Ramping) => parts.push(format!("{share:.0}% of clients are admitted")),
        Some(share) => parts.push(format!("its ramp is suspended: {share:.0}% of clients may read")),
        None => {}
    }
    if let Some(until) = instant(route.watched_until) {
        parts.push(format!("watched by its guard until {until}"));
    }
    if !route.unjudged.is_empty() {
        parts.push(format!("its guard does not judge {}: no baseline", route.unjudged.join(", ")));
    }
    parts.extend(route.judged.as_ref().map(judged));
    if let Some(next) = &route.next {
        let when = match instant(next.at) {
            Some(at) => format!(" at {at}"),
            None => condition(route).unwrap_or_default(),
        };
        // Without an instant, a route that its guard closed has no next phase.
        let tries = route.source.as_deref() == Some(GUARD) && route.is(Phase::Closed);
        parts.push(if tries { format!("tries again{when}") } else { format!("then {}{when}", next.phase) });
    }
    parts.extend(planned(route, now));
    parts
}

/// Returns whose counts a guard judges: `its guard counts 2 of 3 replicas: edge-3 is late`.
fn judged(judged: &JudgedStatus) -> String {
    let JudgedStatus { counted, known, missing } = judged;
    let told = missing.iter().take(MOST_PLANS).map(|one| format!("{} {}", one.replica, one.why));
    let told = told.collect::<Vec<_>>().join(", ");
    let more = match missing.len().saturating_sub(MOST_PLANS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match known {
        0..=1 => "its guard counts this replica alone: no other one can be heard".to_owned(),
        _ if missing.is_empty() => format!("its guard counts all {known} replicas"),
        _ => format!("its guard counts {counted} of {known} replicas: {told}{more}"),
    }
}

/// Returns the plans for a route: `planned: M-1, offline from 2026-12-06 01:00 UTC`.
fn planned(route: &RouteStatus, now: Timestamp) -> Option<String> {
    let told = route.planned.iter().take(MOST_PLANS).filter_map(|plan| {
        let from = words::instant(plan.starts?, now);
        Some(format!("{}, {} from {from}", plan.window, plan.mode))
    });
    let told = told.collect::<Vec<_>>().join("; ");
    let more = match route.planned.len().saturating_sub(MOST_PLANS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!told.is_empty()).then(|| format!("planned: {told}{more}"))
}

/// Most plans that are told of one route; `backsoon agenda` has all.
const MOST_PLANS: usize = 2;

/// Returns the condition for a closed route to leave its phase, where no time is known for that.
fn condition(route: &RouteStatus) -> Option<String> {
    let source = route.source.as_ref().filter(|_| route.is(Phase::Closed))?;
    let end = if source == "flag" { "lifted" } else { "ended" };
    Some(format!(" once the {source} is {end}"))
}

/// Returns the first digits of a hash, which are enough to compare by eye.
pub(crate) fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// Source of a route that its guard closed.
const GUARD: &str = "guard";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::NextStatus;

    #[test]
    fn a_route_that_its_guard_closed_is_told_when_it_is_tried_again() {
        let at = "2026-05-19T14:40:00Z".parse().unwrap();
        let next = NextStatus { phase: Phase::Verifying.as_str().to_owned(), at: Some(at) };
        let closed = |source: &str, next: Option<NextStatus>| {
            let (phase, why) = (Phase::Closed.as_str().to_owned(), "x".to_owned());
            route(&RouteStatus { phase, why, source: Some(source.to_owned()), next, ..RouteStatus::default() }, at)
        };
        assert_eq!(closed("guard", Some(next.clone())), ["x", "tries again at 14:40 UTC"]);
        assert_eq!(closed("flag", Some(next)), ["x", "then verifying at 14:40 UTC"]);
        assert_eq!(closed("guard", None), ["x"]);
    }
}
