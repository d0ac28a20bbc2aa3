//! Tends to requests whose route went down while they were in flight: counts them, has those leave that last, and cuts what
//! is left when the drain time is over.
//!
//! It looks at every connection of its worker, and only while there is something to tend to.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::live::{Generation, Reader};
use crate::plan::config::Streams;
use crate::plan::flags::Mode;
use crate::plan::lifecycle::{Clients, Met};
use crate::plan::snapshot::{Phase, Route};

use super::in_flight::{DrainOrder, DrainOrders};
use super::worker::Worker;

impl Worker {
    /// Passes on that something was published, and tends to what is in flight.
    pub(crate) async fn follow(self: Rc<Self>, mut reader: Reader) {
        loop {
            let again = self.tend() | self.see_off();
            let published = tokio::select! {
                published = reader.published() => Some(published),
                () = sleep(LOOK_EVERY), if again => None,
                // The process ends.
                () = self.leaving.notified() => None,
            };
            match published {
                Some(true) => self.news.notify_waiters(),
                Some(false) => return,
                None => {}
            }
        }
    }

    /// True if it is to be done again soon.
    fn tend(&self) -> bool {
        let generation = self.generation();
        let down: Vec<&Route> = generation.snapshot.routes.iter().filter(|route| route.closure.is_some()).collect();
        let mut orders: DrainOrders = down.iter().map(|route| order(&generation, route)).collect();
        if !orders.is_empty() {
            self.say(&mut orders);
        }
        let mut again = false;
        for route in down {
            let meter = &generation.routes[route.index];
            let left = orders.left(meter);
            let cell = &meter.workers[self.id];
            cell.remaining.set(left.requests);
            // Only now: whoever sees the one sees the other.
            cell.counted.publish(generation.snapshot.generation);
            again |= left.later || left.requests > 0 && route.phase() == Phase::Draining;
        }
        again
    }

    /// The process ends: tunnels are told so, spread over most of the drain time. True if it is to be done again soon.
    fn see_off(&self) -> bool {
        if self.draining().is_none() {
            return false;
        }
        let (now, time) = (Instant::now(), self.generation().snapshot.drain.mul_f64(SEE_OFF));
        for connection in self.connections().values() {
            for in_flight in connection.in_flight() {
                if in_flight.leave_within(time, now) {
                    connection.wake();
                }
            }
        }
        true
    }

    fn say(&self, orders: &mut DrainOrders) {
        let now = Instant::now();
        for connection in self.connections().values() {
            for in_flight in connection.in_flight() {
                orders.to(&in_flight, now, || connection.wake());
            }
        }
    }

    /// Counts the requests that hang on routes that are watched; of the others there are none, so that the next time that one
    /// is watched does not begin with what was counted the last time.
    pub(crate) fn count_zombies(&self, generation: &Generation) {
        let now = Instant::now();
        for route in generation.snapshot.routes.iter().filter(|route| counts_zombies(route)) {
            let meter = &generation.routes[route.index];
            let mut hanging = Clients::default();
            if route.guard().is_some() {
                let connections = self.connections();
                let in_flight = connections.values().flat_map(|connection| connection.in_flight());
                let clients = in_flight.filter_map(|in_flight| in_flight.hanging_client(meter, now));
                clients.for_each(|client| hanging.meet(client, Met { hanging: 1, ..Met::default() }));
            }
            meter.workers[self.id].set_hanging(hanging);
        }
    }
}

fn counts_zombies(route: &Route) -> bool {
    route.config.policy.guard.is_some_and(|guard| guard.zombies.is_some())
}

/// What a route that is down wants of the requests that were forwarded before.
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
    // What turns out to last when much of that time is gone has only the rest of it.
    let stay = grace.map(|grace| grace.saturating_sub(elapsed(generation, route)));
    DrainOrder::new(&generation.routes[route.index], route.epoch, read_only, stay, over)
}

/// How long a route is down, as control's clock has it.
fn elapsed(generation: &Generation, route: &Route) -> Duration {
    let before = generation.snapshot.compiled.duration_since(route.life.began);
    Duration::try_from(before).unwrap_or_default() + generation.published.elapsed()
}

/// The part of the drain time in which tunnels are told to leave: what is left is for their last words.
const SEE_OFF: f64 = 0.5;

/// Between two looks at what is in flight.
const LOOK_EVERY: Duration = Duration::from_millis(50);
