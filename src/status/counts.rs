//! Counts: the part of a route's status that changes with every request. Followers receive it more often than the rest.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fleet::FleetStatus;
use super::{LatencyStatus, RequestsStatus, RouteStatus, Status, UpstreamStatus};

/// The counts of one route, as in [`RouteStatus`]. A field without a value is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CountsStatus {
    /// The route's name.
    pub name: String,
    /// Requests that were forwarded and are not finished.
    pub in_flight: u64,
    /// Requests in flight that began before the route went down.
    pub remaining: Option<u64>,
    /// Requests that wait for the route.
    pub held: u64,
    /// Outcomes since the process started.
    pub requests: RequestsStatus,
    /// The rate over the last minute.
    pub requests_per_second: f64,
    /// The latency in the last minute.
    pub latency: Option<LatencyStatus>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamStatus>,
}

impl CountsStatus {
    /// Takes the counts out of a route's status, and leaves the rest.
    fn take(route: &mut RouteStatus) -> Self {
        Self {
            name: route.name.clone(),
            in_flight: std::mem::take(&mut route.in_flight),
            remaining: route.remaining.take(),
            held: std::mem::take(&mut route.held),
            requests: std::mem::take(&mut route.requests),
            requests_per_second: std::mem::take(&mut route.requests_per_second),
            latency: route.latency.take(),
            upstreams: std::mem::take(&mut route.upstreams),
        }
    }
}

impl Status {
    /// Returns the counts that differ from an earlier status; `None` if anything besides counts differs.
    ///
    /// Only routes that differ are copied, because most of the thousands of routes are idle.
    pub(crate) fn counts_since(&self, before: &Self) -> Option<Vec<CountsStatus>> {
        if self.routes.len() != before.routes.len() || self.around_routes() != before.around_routes() {
            return None;
        }
        let differ = self.routes.iter().zip(&before.routes).filter(|(after, before)| after != before);
        let counts = differ.map(|(after, before)| {
            let (mut after, mut before) = (after.clone(), before.clone());
            let (counts, _) = (CountsStatus::take(&mut after), CountsStatus::take(&mut before));
            (after == before).then_some(counts)
        });
        counts.collect()
    }

    /// Returns everything but the routes.
    fn around_routes(&self) -> impl PartialEq {
        let Self {
            version,
            pid,
            started,
            generation,
            published,
            now: _,
            stage,
            workers,
            admin,
            watching,
            outbox,
            fleet,
            problems,
            files,
            routes: _,
        } = self;
        let fleet = fleet.as_ref().map(FleetStatus::timeless);
        let more = (workers, admin, watching, outbox, fleet, problems, files);
        ((version, pid, started, generation, published, stage), more)
    }
}

/// Replaces the counts of the routes in the JSON of a status.
pub(crate) fn apply(status: &mut Value, counts: &[Map<String, Value>]) {
    let Some(routes) = status.get_mut("routes").and_then(Value::as_array_mut) else { return };
    let mut routes = routes.iter_mut();
    for fresh in counts {
        // Both are sorted by name, so that one pass finds all.
        let Some(route) = routes.find(|route| route.get("name") == fresh.get("name")) else { return };
        let Some(route) = route.as_object_mut() else { continue };
        for (key, value) in fresh {
            let _ = if value.is_null() { route.remove(key) } else { route.insert(key.clone(), value.clone()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_come_back_into_the_status_that_they_were_taken_from() {
        let route = |name: &str, in_flight| RouteStatus { name: name.to_owned(), in_flight, ..RouteStatus::default() };
        let before = Status { routes: vec![route("api", 0), route("web", 2)], ..Status::default() };
        let mut after = before.clone();
        after.routes[1] = RouteStatus { remaining: Some(3), held: 4, ..route("web", 5) };
        assert_eq!(before.counts_since(&before), Some(vec![]));
        let counts = after.counts_since(&before).unwrap();
        assert_eq!(
            counts.iter().map(|counts| (counts.name.as_str(), counts.remaining)).collect::<Vec<_>>(),
            [("web", Some(3))]
        );
        let mut moved = after.clone();
        moved.routes[0].phase = "closed".to_owned();
        assert_eq!(moved.counts_since(&before), None);
        for (from, to) in [(&before, &after), (&after, &before)] {
            let mut json = json!(from);
            let Value::Array(counts) = json!(to.counts_since(from)) else { unreachable!() };
            let counts: Vec<_> = counts.into_iter().map(|counts| counts.as_object().unwrap().clone()).collect();
            apply(&mut json, &counts);
            assert_eq!(Status::deserialize(&json).unwrap(), *to);
        }
    }
}
