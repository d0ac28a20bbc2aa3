//! Drains requests in flight whose route went down: counts them, ends long-lived ones, and cuts the rest when the drain
//! time is over.
//!
//! Each round visits all connections of the worker, but only while there is something to drain.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::live::{Generation, Reader};
use crate::plan::config::Streams;
use crate::plan::flags::Mode;
use crate::plan::lifecycle::{ClientCounts, Clients};
use crate::plan::snapshot::{Phase, Route};

use super::in_flight::{DrainOrder, DrainOrders, identity};
use super::worker::Worker;

impl Worker {
    /// Follows publications: wakes the watchers of pages, and drains requests in flight.
    pub(crate) async fn follow(self: Rc<Self>, mut reader: Reader) {
        loop {
            let again = self.drain_routes() | self.drain_tunnels();
            let published = tokio::select! {
                published = reader.published() => Some(published),
                () = sleep(DRAIN_INTERVAL), if again => None,
                // The process is ending.
                () = self.shutdown.notified() => None,
            };
            match published {
                Some(true) => self.published.notify_waiters(),
                Some(false) => return,
                None => {}
            }
        }
    }

    /// Drains the requests of routes that are down. Returns true if that must be repeated soon.
    fn drain_routes(&self) -> bool {
        let generation = self.generation();
        let down: Vec<&Route> = generation.snapshot.routes.iter().filter(|route| route.closure.is_some()).collect();
        let mut orders: DrainOrders = down.iter().map(|route| order(&generation, route)).collect();
        if !orders.is_empty() {
            self.send_orders(&mut orders);
        }
        let mut again = false;
        for route in down {
            let meter = &generation.routes[route.index];
            let left = orders.left(meter);
            let cell = &meter.workers[self.id];
            cell.remaining.set(left.requests);
            // Published last: a reader that sees this generation also sees its count.
            cell.counted.publish(generation.snapshot.generation);
            again |= left.later || left.requests > 0 && route.phase() == Phase::Draining;
        }
        again
    }

    /// Ends tunnels when the process ends, spread over the first half of the drain time. Returns true if that must be
    /// repeated soon.
    fn drain_tunnels(&self) -> bool {
        if self.draining().is_none() {
            return false;
        }
        let (now, time) = (Instant::now(), self.generation().snapshot.drain.mul_f64(TUNNEL_DRAIN));
        for connection in self.connections().values() {
            for in_flight in connection.in_flight() {
                if in_flight.leave_within(time, now) {
                    connection.wake();
                }
            }
        }
        true
    }

    fn send_orders(&self, orders: &mut DrainOrders) {
        let now = Instant::now();
        for connection in self.connections().values() {
            for in_flight in connection.in_flight() {
                orders.apply(&in_flight, now, || connection.wake());
            }
        }
    }

    /// Counts the hanging requests of routes that are watched, and of those that are open, to know what is usual there.
    /// Resets the count of the others, so that a later watch does not start from a stale value.
    pub(crate) fn count_hanging(&self, generation: &Generation) {
        let now = Instant::now();
        let connections = self.connections();
        let in_flight = connections.values().flat_map(|connection| connection.in_flight());
        let hanging: Vec<_> = in_flight.filter(|in_flight| in_flight.hangs(now)).collect();
        for route in generation.snapshot.routes.iter().filter(|route| counts_hanging(route)) {
            let meter = &generation.routes[route.index];
            let is_watched = route.guard().is_some();
            let mut clients = Clients::default();
            for in_flight in hanging.iter().filter(|in_flight| in_flight.is_on(meter)) {
                let subject = in_flight.subject();
                // Requests from before the watch are not the guard's.
                let counts = if is_watched { subject.is_some() } else { route.phase() == Phase::Open };
                if counts {
                    let hangs = ClientCounts { hanging: 1, ..ClientCounts::default() };
                    clients.count(subject.and_then(|subject| subject.client), hangs);
                }
            }
            meter.workers[self.id].set_hanging(clients);
        }
    }
}

fn counts_hanging(route: &Route) -> bool {
    route.config.policy.guard.is_some_and(|guard| guard.zombies.is_some())
}

/// Returns the drain order of a route that is down, for requests that were forwarded before.
fn order(generation: &Generation, route: &Route) -> DrainOrder {
    let policy = &route.config.policy;
    let drain = policy.drain.unwrap_or(generation.snapshot.drain);
    let grace = match policy.streams {
        Streams::Keep => None,
        Streams::Drain => Some(drain),
        Streams::Grace(grace) => Some(grace),
    };
    let read_only = route.closure.as_ref().is_some_and(|closure| closure.mode == Mode::ReadOnly);
    let over = route.phase() != Phase::Draining;
    // A request that turns out to be long-lived later has only the rest of the time.
    let stay = grace.map(|grace| grace.saturating_sub(elapsed(generation, route)));
    DrainOrder { route: identity(&generation.routes[route.index]), epoch: route.epoch, read_only, stay, over }
}

/// Returns how long a route has been down, by the clock of control.
fn elapsed(generation: &Generation, route: &Route) -> Duration {
    let before = generation.snapshot.compiled.duration_since(route.state.began());
    Duration::try_from(before).unwrap_or_default() + generation.published.elapsed()
}

/// Part of the drain time in which tunnels are told to leave. The rest is for their closing messages.
const TUNNEL_DRAIN: f64 = 0.5;

/// Time between two looks at the requests in flight.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);
